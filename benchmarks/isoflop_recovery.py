"""Does the law `isoflop` give back the optima of a Chinchilla surface, where approach 2 does not?

    python benchmarks/isoflop_recovery.py [-o docs/isoflop_recovery.md] [--repeats 200]

Losses on isoFLOP grids are drawn from a Chinchilla surface with Student-t noise, many times over.
Grids are centred on the optimum of each budget, or their centre drifts off it: the more the larger
the budget. Each study is fitted under `isoflop`, and by approach 2 of Hoffmann et al. (2022): a
parabola of loss in log N at each budget, then a line of log N* on log C. Where alpha and beta
differ the curves are lopsided, and a parabola's vertex lies off their lowest point (Czech et al.
2026, arXiv:2603.22339): by the same factor at every budget on a centred grid, which spoils N* but
not its exponent; by different ones on a drifting grid, which spoils both. Prints Markdown tables of
the errors of a, the exponent of N* in C, and of N* at the middle budget, and of how often 90%
intervals hold the true ones. Results are kept study by study in a CSV file, from which an
interrupted run goes on.
"""

import argparse
import sys
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

import scalebayes as sb
from scalebayes.errors import NotConvergedWarning
from scalebayes.laws import chinchilla, chinchilla_terms
from scalebayes.optimum import optimal_allocation
from scalebayes.regressions import parabola_minima, power_law

BUDGETS = np.geomspace(6e18, 2.4e21, 9)
MIDDLE = float(np.median(BUDGETS))
LOPSIDED = {"alpha": 0.5, "beta": 0.25}
SURFACES = {
    # Hoffmann et al. (2022), unrounded as in the source of the paper
    "Chinchilla": {"E": 1.6934, "A": 406.4, "B": 410.7, "alpha": 0.3392, "beta": 0.2849},
    # alpha twice beta, with twenty tokens per parameter at the optimum of the middle budget
    "lopsided": {"E": 1.7, **LOPSIDED, **chinchilla_terms(K=0.8, N0=1e9, C0=MIDDLE, **LOPSIDED)},
}
SIZES = np.geomspace(1 / 4, 4, 9)
"""Sizes at each budget, over the grid's centre."""

DRIFTS = {"centred": 1.0, "drifting": 3.0}
"""Centre of the grid over the optimum at the largest budget; 1 at the least, and a power law."""

NOISE = {"sigma": 0.003, "nu": 5.0}
PROBABILITY = 0.9
WANTED = (0.84, 0.95)
METHODS = {"isoflop": "isoflop", "approach_2": "approach 2"}
COLUMNS = (
    *("surface", "grid", "truth", "isoflop: error", "sd", "90% interval holds it", "as wanted"),
    *("approach 2: error", "sd", "90% interval holds it", "without noise"),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="also write the tables to this file")
    parser.add_argument("--repeats", type=int, default=200, help="simulated studies a row")
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--surfaces", nargs="*", default=list(SURFACES), choices=SURFACES)
    parser.add_argument(
        "--results", type=Path, default=Path("isoflop_recovery.csv"), help="results by study"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore", NotConvergedWarning)  # counted in the table
    found = simulated(options)
    text = report(found, options)
    print(text)
    if options.out:
        title = "# Does the isoFLOP law give back the optima of a Chinchilla surface?"
        more = "" if options.repeats == 200 else f" --repeats {options.repeats}"
        if options.surfaces != list(SURFACES):
            more += f" --surfaces {' '.join(options.surfaces)}"
        command = f"python benchmarks/isoflop_recovery.py{more} -o {options.out.as_posix()}"
        options.out.write_text(f"{title}\n\nMade by `{command}`.\n\n{text}\n", encoding="utf-8")


def simulated(options):
    """Return the results of every study asked for, new ones kept in the file as they come."""
    path = options.results
    found = pd.read_csv(path) if path.is_file() else pd.DataFrame()
    keys = ["surface", "grid", "draws", "seed"]
    done = set(found[keys].itertuples(index=False, name=None)) if len(found) else set()
    for surface in options.surfaces:
        for grid in DRIFTS:
            wanted = [(surface, grid, options.draws, seed) for seed in range(options.repeats)]
            for key in wanted:
                if key not in done:
                    one = pd.DataFrame([dict(zip(keys, key, strict=True)) | repeat(*key)])
                    found = pd.concat([found, one], ignore_index=True)
                    found.to_csv(path, index=False)
            print(f"{surface}, {grid}: {len(wanted)} studies", file=sys.stderr, flush=True)
    asked = found["surface"].isin(options.surfaces) & (found["draws"] == options.draws)
    return found[asked & (found["seed"] < options.repeats)]


def repeat(surface, grid, draws, seed):
    """Return both methods' a and log N* at the middle budget for one study, and 90% intervals."""
    started, law = time.process_time(), SURFACES[surface]
    study, _ = sb.simulate(
        design(law, DRIFTS[grid]), "hoffmann-total", parameters=law | NOISE, random_seed=seed
    )
    fit = sb.fit(study, "isoflop", draws=draws, tune=draws, cores=1, random_seed=seed, cache=False)
    log_N = np.log(sb.optimal(fit, MIDDLE, counting="total")["N"])
    result = {"converged": int(fit.attrs["converged"])}
    result |= named("isoflop", "a", interval(fit["posterior"]["a"]))
    result |= named("isoflop", "log_N", interval(log_N))
    for name, found in approach_2(study.runs["N"], study.runs["loss"]).items():
        result |= named("approach_2", name, found)
    return result | {"cpu_seconds": time.process_time() - started}


def interval(draws):
    """Return the ends of the equal-tailed interval of posterior draws, the median between."""
    tail = (1 - PROBABILITY) / 2
    return draws.quantile([tail, 0.5, 1 - tail], ("chain", "draw")).values.ravel()


def named(method, quantity, found):
    parts = ("low", "middle", "high")
    return {f"{method}_{quantity}_{part}": value for part, value in zip(parts, found, strict=True)}


def design(law, drift):
    """Return the runs of a grid whose centre drifts off the optimum; its losses mean nothing."""
    centre = optima(law) * np.geomspace(1, drift, BUDGETS.size)
    N = np.outer(centre, SIZES)
    D = BUDGETS[:, None] / (6 * N)
    runs = pd.DataFrame({"N": N.ravel(), "D": D.ravel(), "loss": np.linspace(3, 2, N.size)})
    return sb.read_runs(runs, counting="total", name="grid")


def optima(law, budgets=BUDGETS):
    terms = {name: law[name] for name in ("A", "B", "alpha", "beta")}
    return optimal_allocation(budgets, **terms)[0]


def truth(law):
    return {"a": law["beta"] / (law["alpha"] + law["beta"]), "log_N": np.log(optima(law, MIDDLE))}


def approach_2(N, loss):
    """Return a and log N* at the middle budget by parabolas, with the usual interval of a line.

    A budget whose vertex lies beyond the sizes trained is left out.

    Parameters
    ----------
    N, loss : Series
        Of a grid: budget by budget, at each from the smallest model.

    Returns
    -------
    dict of str to (float, float, float)
        Lower end, estimate and upper end.
    """
    shape, dims = (BUDGETS.size, SIZES.size), ("compute", "size")
    log_N = xr.DataArray(np.log(N.to_numpy()).reshape(shape), dims=dims)
    losses = xr.DataArray(loss.to_numpy().reshape(shape), dims=dims)
    best = np.exp(parabola_minima(log_N, losses)["log_size"])
    fitted = power_law(xr.DataArray(BUDGETS, dims="compute"), best)
    a, level = float(fitted["exponent"]), float(fitted["log_coefficient"])
    y = np.log(best.values)
    x, y = np.log(BUDGETS[np.isfinite(y)]), y[np.isfinite(y)]
    spread = np.sum((x - x.mean()) ** 2)
    noise = np.sqrt(np.sum((y - level - a * x) ** 2) / (x.size - 2))
    reach = stats.t.ppf((1 + PROBABILITY) / 2, x.size - 2) * noise
    width = {
        "a": reach / np.sqrt(spread),
        "log_N": reach * np.sqrt(1 / x.size + (np.log(MIDDLE) - x.mean()) ** 2 / spread),
    }
    estimate = {"a": a, "log_N": level + a * np.log(MIDDLE)}
    return {name: (z - width[name], z, z + width[name]) for name, z in estimate.items()}


def without_noise(law, drift):
    """Return the estimates of approach 2 from the losses of the law itself."""
    runs = design(law, drift).runs
    loss = chinchilla(runs["N"], runs["D"], **law)
    return {name: estimate for name, (_, estimate, _) in approach_2(runs["N"], loss).items()}


def report(found, options):
    """Return the tables and what they are about, in Markdown."""
    head = [line(COLUMNS), line(["---"] * len(COLUMNS))]
    parts, blocks = dict(list(found.groupby(["surface", "grid"]))), []
    for quantity, heading in (
        ("a", "## The exponent a"),
        ("log_N", f"## N* at the middle budget, {MIDDLE:g} FLOP"),
    ):
        rows = [
            line(row(surface, grid, quantity, parts[surface, grid]))
            for surface in options.surfaces
            for grid in DRIFTS
        ]
        blocks += [heading, "\n".join([*head, *rows])]
    return "\n\n".join([*blocks, legend(found, options)])


def row(surface, grid, quantity, found):
    """Return the cells of one surface and grid; errors of N* in per cent."""
    law = SURFACES[surface]
    true = truth(law)[quantity]
    share = {method: holds(true, found, f"{method}_{quantity}") for method in METHODS}
    errors = {method: found[f"{method}_{quantity}_middle"] - true for method in METHODS}
    hidden = without_noise(law, DRIFTS[grid])[quantity] - true
    shown = said_of_a if quantity == "a" else said_of_size
    rate = share["isoflop"].mean()
    return [
        *(surface, grid, f"{true:.4f}" if quantity == "a" else f"{np.exp(true):.3g}"),
        *(*shown(errors["isoflop"]), said(share["isoflop"])),
        "yes" if WANTED[0] <= rate <= WANTED[1] else "no",
        *(*shown(errors["approach_2"]), said(share["approach_2"])),
        f"{hidden:+.4f}" if quantity == "a" else f"{np.expm1(hidden):+.1%}",
    ]


def holds(true, found, name):
    return (found[f"{name}_low"] <= true) & (true <= found[f"{name}_high"])


def said(share):
    return f"{share.mean():.1%} ({int(share.sum())} of {share.size})"


def said_of_a(errors):
    """Return the mean error with its standard error, and the standard deviation."""
    return f"{errors.mean():+.4f} ± {errors.std() / errors.size**0.5:.4f}", f"{errors.std():.4f}"


def said_of_size(errors):
    """Return the same of errors of log N*, as per cent of N*."""
    se = errors.std() / errors.size**0.5
    return f"{np.expm1(errors.mean()):+.1%} ± {se:.1%}", f"{errors.std():.1%}"


def legend(found, options):
    """Return what the tables are about."""
    low, high = BUDGETS[[0, -1]]
    drift, steep, flat = DRIFTS["drifting"], LOPSIDED["alpha"], LOPSIDED["beta"]
    failed = int((found["converged"] == 0).sum())
    surfaces = {
        "Chinchilla": "Chinchilla: the unrounded coefficients of Hoffmann et al. (2022).",
        "lopsided": f"Lopsided: alpha {steep:g}, beta {flat:g}.",
    }
    sentences = (
        f"{options.repeats} studies a row: {BUDGETS.size} budgets of {low:g} to {high:g} FLOP with",
        f"{SIZES.size} sizes each, within {SIZES[-1]:g} times of the grid's centre. The centre of",
        f"a drifting grid is the optimum at the least budget and {drift:g} times it at the",
        f"largest. Student-t noise of log loss: scale {NOISE['sigma']:g}, nu {NOISE['nu']:g}.",
        *(meaning for name, meaning in surfaces.items() if name in options.surfaces),
        "Estimates under `isoflop` are posterior medians with",
        f"equal-tailed intervals ({options.draws} draws in each of 4 chains, its own window of",
        f"rows); {failed} of {len(found)} fits did not pass the gate and are counted like the",
        "others. Approach 2 is the parabola's, with the interval of the regression line; column",
        "without noise: its error on the losses of the law itself (Czech et al. 2026,",
        "arXiv:2603.22339).",
        "± is the standard error of the mean error.",
        f"Wanted: {WANTED[0]:.0%} to {WANTED[1]:.0%}.",
        f"{found['cpu_seconds'].sum() / 60:.0f} minutes of CPU.",
    )
    return textwrap.fill(" ".join(sentences), 100)


def line(cells):
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
