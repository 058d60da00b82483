"""Are fits that cannot be trusted flagged, and good ones left alone?

    python benchmarks/bad_and_good_fits.py [-o docs/bad_and_good_fits.md] [--good 100]

Forty tables of runs of which a fit would mislead go through `read_runs` and `fit`: values in other
units than said, too few runs, designs that leave the exponents open, losses of two kinds in one
table, losses that N and D do not explain. Each must be flagged: refused, noted (SB103, SB116, SB118
or SB119), not converged, or with an exponent a that is marked as mostly prior. By the same rule as
many sweeps of usual designs, with losses that the hypothesis itself made, are false alarms. Results
are kept case by case in a JSON file (--results), from which an interrupted run goes on.
"""

import argparse
import json
import sys
import textwrap
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

import scalebayes as sb
from scalebayes.errors import InputError, NotConvergedWarning
from scalebayes.laws import chinchilla

# Besiroglu et al. (2024), arXiv:2404.10102
EPOCH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
NOTES = ("SB103", "SB116", "SB118", "SB119")
"""Notes that are flags."""

SAID = {"N": 1, "D": 1, "loss": "nats"}
REFUSED, NOTED = "refused", "noted"
NOT_CONVERGED, MOSTLY_PRIOR = "not converged", "a mostly prior"
FLAGS = (REFUSED, NOTED, NOT_CONVERGED, MOSTLY_PRIOR)
WANTED = 0.02
"""Largest share of false alarms."""


def grid(n_sizes, n_tokens, *, sizes=(1e8, 1e10), tokens=(2e9, 2e11)):
    """Return every pair of log-spaced sizes and tokens."""
    N, D = np.meshgrid(np.geomspace(*sizes, n_sizes), np.geomspace(*tokens, n_tokens))
    return pd.DataFrame({"N": N.ravel(), "D": D.ravel()})


def with_losses(runs, rng, *, sigma=0.005, **law):
    """Return runs with losses of the law of Epoch, or one changed in part, and noise."""
    loss = chinchilla(runs["N"], runs["D"], **(EPOCH | law))
    return runs.assign(loss=loss * np.exp(sigma * rng.standard_normal(len(runs))))


def in_units(runs, **factors):
    """Return runs with columns divided, as if they were in larger units."""
    return runs.assign(**{name: runs[name] / factor for name, factor in factors.items()})


def ray(rng, *, ratio=20.0, n=12):
    N = np.geomspace(1e8, 1e10, n)
    return with_losses(pd.DataFrame({"N": N, "D": ratio * N}), rng)


def two_kinds(rng, factor, *, n=6):
    """Return a sweep of which every second row's losses are of another kind."""
    runs = with_losses(grid(n, n), rng, sigma=0.002)
    other = np.arange(len(runs)) % 2 == 1
    return runs.assign(loss=runs["loss"].where(~other, runs["loss"] * factor))


def unexplained(rng, *, n=5):
    """Return a sweep whose losses are in no order."""
    runs = with_losses(grid(n, n), rng)
    return runs.assign(loss=rng.permutation(runs["loss"].to_numpy()))


def cases():
    """Return kind -> list of (table, options of `read_runs`) of which a fit would mislead."""
    rng = np.random.default_rng(40)
    few = {"prior_dominated_ok": True}
    sweep = [with_losses(grid(5, 5), rng) for _ in range(8)]
    said = {"units": SAID}
    return {
        "other units than said": [
            (in_units(sweep[0], N=1e9), {}),
            (in_units(sweep[1], D=1e9), {}),
            (in_units(sweep[2], N=1e9, D=1e9), {"units": {"loss": "nats"}}),
            (in_units(sweep[3], N=1e3, D=1e-3), {}),
            (in_units(sweep[4], loss=np.log(2)), said),
            (in_units(sweep[5], loss=1 / np.log(10)), {"units": SAID | {"loss": "log10"}}),
            (in_units(sweep[6], loss=np.log(10)), said),
            (sweep[7].assign(loss=np.exp(sweep[7]["loss"])), said),
        ],
        "too few runs": [
            (sweep[i].sample(n, random_state=i), said | (few if accepted else {}))
            for i, (n, accepted) in enumerate([(3, 0), (6, 0), (3, 1), (4, 1), (5, 1), (6, 1)])
        ],
        "exponents not identified": [
            *((ray(rng, ratio=ratio), said) for ratio in (20.0, 5.0, 200.0)),
            (with_losses(grid(1, 12, sizes=(1e9, 1e9)), rng), said),
            (with_losses(grid(12, 1, tokens=(2e10, 2e10)), rng), said),
            (with_losses(grid(4, 4, sizes=(1e9, 1.2e9), tokens=(2e10, 2.4e10)), rng), said),
            (with_losses(grid(2, 6, sizes=(1e9, 1.02e9)), rng), said),
            (with_losses(grid(6, 2, tokens=(2e10, 2.04e10)), rng), said),
            (with_losses(grid(3, 3, sizes=(5e8, 2e9), tokens=(1e10, 4e10)), rng, sigma=0.05), said),
            (with_losses(grid(3, 3, sizes=(1e9, 3e9), tokens=(2e10, 6e10)), rng, sigma=0.02), said),
        ],
        "losses of two kinds": [
            (two_kinds(rng, factor, n=n), said)
            for factor, n in ((1.44, 6), (1.2, 6), (0.8, 6), (1.44, 4), (1.2, 4), (1.1, 5), (2, 5))
        ],
        "losses that N and D do not explain": [(unexplained(rng), said) for _ in range(5)],
        "rows that say nothing": [
            (pd.concat([sweep[0]] * 8, ignore_index=True), said),
            (sweep[1].assign(loss=3.0), said),
            (sweep[2].assign(loss=sweep[2]["loss"].where(sweep[2].index != 3)), said),
            (sweep[3].assign(loss=-sweep[3]["loss"]), said),
        ],
    }


def designs(rng):
    """Return name -> runs of usual sweeps."""
    scattered = pd.DataFrame(
        {"N": 10 ** rng.uniform(7.7, 10, 40), "D": 10 ** rng.uniform(9.3, 11.7, 40)}
    )
    budgets = np.repeat(np.geomspace(1e19, 1e22, 7), 7)
    N = np.sqrt(budgets / 120) * np.tile(np.geomspace(1 / 4, 4, 7), 7)
    return {
        "grid of 6 x 6": grid(6, 6),
        "grid of 8 x 4": grid(8, 4),
        "40 scattered runs": scattered,
        "7 isoFLOP lines": pd.DataFrame({"N": N, "D": budgets / (6 * N)}),
    }


HYPOTHESES = ("hoffmann-total", "normal-noise", "symmetric", "ratio-noise", "hoffmann-total")


def good_case(number):
    """Return the hypothesis, the design's name and the runs of a sweep that it made."""
    rng = np.random.default_rng(1000 + number)
    hypothesis = HYPOTHESES[number % len(HYPOTHESES)]
    named = list(designs(rng).items())
    name, runs = named[number // len(HYPOTHESES) % len(named)]
    isoflop = name.startswith("7 iso") and hypothesis == "hoffmann-total"
    law = {"E": rng.uniform(1.5, 2.0), "alpha": rng.uniform(0.28, 0.42)}
    law["A"] = EPOCH["A"] * 1e9 ** (law["alpha"] - EPOCH["alpha"])
    if hypothesis != "symmetric":
        law["beta"] = rng.uniform(0.28, 0.42)
    law["B"] = EPOCH["B"] * 2e10 ** (law.get("beta", law["alpha"]) - EPOCH["beta"])
    noise = {"sigma": rng.uniform(0.002, 0.008)}
    noise |= {} if hypothesis == "normal-noise" else {"nu": 5.0}
    noise |= {"eta": 0.2} if hypothesis == "ratio-noise" else {}
    design = sb.read_runs(with_losses(runs, rng), units=SAID, counting="total")
    made, _ = sb.simulate(design, hypothesis, parameters=law | noise, random_seed=number)
    return "isoflop" if isoflop else hypothesis, name, made.runs[["N", "D", "loss"]]


def flag_of(table, options, hypothesis, *, seed=1):
    """Return how a table is flagged, "" where it is not, and the words."""
    try:
        study = sb.read_runs(table, **({"counting": "total", "name": "sweep"} | options))
        fit = sb.fit(study, hypothesis, draws=500, tune=500, cores=1, random_seed=seed, cache=False)
    except InputError as error:
        return REFUSED, str(error)
    notes = (*study.assumed, *study.design_warnings)
    found = [note for note in notes if note.partition(":")[0] in NOTES]
    if not fit.attrs["converged"]:
        return NOT_CONVERGED, fit.attrs["problems"]
    if found:
        return NOTED, "; ".join(found)
    still = json.loads(fit.attrs["still_prior"])
    return (MOSTLY_PRIOR, f"{still['a']:.2f} of its sd") if "a" in still else ("", "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="also write the page to this file")
    parser.add_argument("--good", type=int, default=100, help="good sweeps")
    parser.add_argument(
        "--results", type=Path, default=Path("bad_and_good_fits.json"), help="results by case"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore", NotConvergedWarning)  # counted in the table
    found = json.loads(options.results.read_text()) if options.results.is_file() else []
    done = {(one["kind"], one["number"]) for one in found}
    for kind, number, hypothesis, table, reading in every(options.good, done):
        began = time.process_time()
        flag, words = flag_of(table(), reading, hypothesis)
        seconds = time.process_time() - began
        one = {"kind": kind, "number": number, "flag": flag, "words": words, "seconds": seconds}
        found.append(one)
        options.results.write_text(json.dumps(found, indent=1))
        print(f"{kind} {number}: {flag or '-'} {words[:90]}", file=sys.stderr, flush=True)
    text = page(found)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def every(n_good, done):
    """Yield kind, number, hypothesis, how to make the table, and how to read it, of new cases."""
    for kind, tables in cases().items():
        for number, (table, reading) in enumerate(tables):
            if (kind, number) not in done:
                yield kind, number, "hoffmann-total", lambda table=table: table, reading
    for number in range(n_good):
        hypothesis, name, runs = good_case(number)
        kind = f"good: {name}, {hypothesis}"
        if (kind, number) not in done:
            yield kind, number, hypothesis, lambda runs=runs: runs, {"units": SAID}


def page(found):
    """Return the page, in Markdown."""
    bad = [one for one in found if not one["kind"].startswith("good: ")]
    good = [one for one in found if one["kind"].startswith("good: ")]
    missed = [one for one in bad if not one["flag"]]
    alarms = [one for one in good if one["flag"]]
    seconds = sum(one["seconds"] for one in found)
    verdict = (
        f"{len(bad) - len(missed)} of {len(bad)} tables of which a fit would mislead are flagged; "
        f"{len(alarms)} of {len(good)} good sweeps are, too (wanted: at most {WANTED:.0%})."
    )
    legend = (
        "Refused: by `read_runs` or `fit`. Noted: the fit passed the gate and carries "
        f"{', '.join(NOTES[:-1])} or {NOTES[-1]}. Not converged: it did not pass the gate. "
        "A mostly prior: more than half of the prior's standard deviation of the exponent a is "
        "left, and it is marked so wherever it is shown. The losses of a good sweep were drawn "
        "from the hypothesis it is fitted with (isoFLOP lines under hoffmann-total are fitted with "
        "isoflop), with exponents of .28 to .42 and noise of .2% to .8%. 4 chains of 500 draws; "
        f"{seconds / 60:.0f} minutes of CPU."
    )
    parts = [
        "# Fits that mislead, and good ones",
        "Made by `python benchmarks/bad_and_good_fits.py -o docs/bad_and_good_fits.md`.",
        verdict,
        table_of(bad, "what is wrong"),
        table_of(good, "good sweep"),
    ]
    named = [f"- {one['kind']}, number {one['number']}" for one in missed]
    named += [
        f"- {one['kind']}, number {one['number']}: {one['flag']} ({one['words']})" for one in alarms
    ]
    parts += ["Not flagged though wrong, or flagged though good:\n\n" + "\n".join(named)] * bool(
        named
    )
    return "\n\n".join([*parts, textwrap.fill(legend, 100)])


def table_of(found, heading):
    """Return how often each kind was flagged, and how, as a table."""
    columns = (heading, "fits", *FLAGS, "not flagged")
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1)]
    for kind in dict.fromkeys(one["kind"] for one in found):
        flags = Counter(one["flag"] for one in found if one["kind"] == kind)
        counts = (flags.total(), *(flags[name] for name in FLAGS), flags[""])
        lines.append([kind.removeprefix("good: "), *map(str, counts)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
