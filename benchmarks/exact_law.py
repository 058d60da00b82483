"""Does the discrepancy shrink where laws hold exactly?

    python benchmarks/exact_law.py [-o docs/exact_law.md] [--repeats 3]

Every default study is simulated from the law that fits it, at its own sizes and tokens, with its
own noise; cut as the real ones are; and the discrepancy learned from the cuts of all but one. For
that one: how much wider are 90% intervals one decade beyond the cut than those of the law alone?
"""

import argparse
import warnings
from pathlib import Path

import numpy as np

import scalebayes as sb
from scalebayes.discrepancy import AMPLITUDES, discrepant_log_loss, shift_of
from scalebayes.discrepancy_model import Learner, record_of
from scalebayes.fitted_law import law_values
from scalebayes.forecast import SHARES
from scalebayes.held_out import splits_of
from scalebayes.laws import expected_loss
from scalebayes.optimum import compute_range, optimal

SETTINGS = {"draws": 500, "tune": 500, "chains": 4, "cores": 1, "progressbar": False}
HYPOTHESIS = "hoffmann-total"
NAMES = ("E", "A", "B", "alpha", "beta", "sigma", "nu")


def simulated(seed):
    """Return every default study with losses from its own fitted law."""
    studies = []
    for i, name in enumerate(sb.DEFAULT_STUDIES):
        fit = sb.fit(name, HYPOTHESIS, **SETTINGS)
        posterior = fit["posterior"].to_dataset()[list(NAMES)]
        rng = np.random.default_rng([seed, i])
        one = posterior.isel(chain=rng.integers(4), draw=rng.integers(posterior.sizes["draw"]))
        parameters = {name: float(one[name]) for name in NAMES}
        study, _ = sb.simulate(name, HYPOTHESIS, parameters=parameters, random_seed=rng)
        studies.append(study)
    return studies


def widening(seed):
    """Return the ratio of widths with and without discrepancy, (study and cut, 2), and amplitudes.

    Of log N* and of the log loss at N*, one decade beyond the cut.
    """
    splits, _ = splits_of(simulated(seed), SHARES)
    fits = {
        key: sb.fit(one.below, HYPOTHESIS, cache=False, **SETTINGS) for key, one in splits.items()
    }
    learner = Learner([record_of(fits[key], splits[key], study=key[0]) for key in splits])
    found = []
    for key, fit in fits.items():
        known, problems = learner.learn(without=[key[0]], random_seed=seed)
        if problems:
            raise SystemExit(f"{key}: {problems}")
        rng = np.random.default_rng(seed)
        compute = 10 * compute_range(fit)[1]
        best = optimal(fit, compute).isel(compute=0)
        coefficients = known.coefficients(best["N"], rng)
        values = law_values(fit["posterior"].to_dataset(), fit.attrs)
        N = float(best["N"].median())
        D = compute / (6 * N)
        log_N = np.log(best["N"])
        wide = discrepant_log_loss(N, D, values, coefficients, decades=1.0)
        found.append(
            [
                _width(log_N + shift_of(coefficients, 1.0)) / _width(log_N),
                _width(wide) / _width(np.log(expected_loss(N, D, values))),
            ]
        )
    whole, _ = learner.learn(random_seed=seed)
    return np.array(found), {name: whole.amplitudes[name].mean() for name in AMPLITUDES}


def _width(draws):
    return float(np.diff(np.quantile(draws, [0.05, 0.95]))[0])


def main():
    """Simulate, learn, compare; print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = [
        "| worlds | wider, log N\\* | wider, log loss | " + " | ".join(AMPLITUDES) + " |",
        "| --- " * (3 + len(AMPLITUDES)) + "|",
    ]
    for seed in range(arguments.repeats):
        ratios, amplitudes = widening(seed)
        cells = [f"{round(one - 1, 2) + 0.0:+.0%}" for one in ratios.mean(axis=0)]
        cells += [f"{one:.4f}" for one in amplitudes.values()]
        lines.append(f"| {seed + 1} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    real = sb.published_discrepancy().amplitudes
    cells = ["", "", *[f"{real[name].mean():.4f}" for name in AMPLITUDES]]
    lines.append("| the real studies | " + " | ".join(cells) + " |")
    text = (
        "# Where laws hold exactly\n\nMade by `python benchmarks/exact_law.py --repeats "
        f"{arguments.repeats} -o docs/exact_law.md`.\n\n"
        + "\n".join(lines)
        + "\n\nEach world: the default studies, "
        "simulated from laws that hold exactly, cut and learned from as the real ones. Wider: mean "
        "over studies and cuts of the width of a 90% interval with the discrepancy over that of "
        "the law alone, one decade of compute beyond the cut. The other columns are posterior "
        "means of the amplitudes (log loss, per decade, log N, per decade, log steepness).\n"
    )
    if arguments.out is None:
        print(text)
    else:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
