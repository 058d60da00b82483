"""Is a stated probability of a hypothesis what it says? Model choice on simulated studies.

    python benchmarks/model_choice.py [-o docs/model_choice.md] [--sets 200] [--every 3]

Simulates data sets at the runs of one of Porian et al.'s stages (2024), half of them under "every
parameter counted" (hoffmann-total), half under "the body alone" (hoffmann-nonembedding), the truth
of each drawn from its prior. Fits both hypotheses to each and compares the probability of the
first, at equal prior odds, with how often it was true. Results are kept row by row in a CSV file,
from which an interrupted run goes on.
"""

import argparse
import csv
import dataclasses
import sys
import time
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import binom

import scalebayes as sb
from scalebayes.errors import NotConvergedWarning, StudyError

FIRST, SECOND = "hoffmann-total", "hoffmann-nonembedding"
DESIGN = "porian2024-rw-4-cosine"
EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
BAND = 0.99
SLOPES = (0.7, 1.4)
COLUMNS = ("seed", "truth", "log_odds", "se", "converged", "drawn_again", "cpu_seconds")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="also write the tables to this file")
    parser.add_argument("--sets", type=int, default=200, help="simulated data sets")
    parser.add_argument("--every", type=int, default=3, help="keep every so manieth run")
    parser.add_argument(
        "--rows", type=Path, default=Path("model_choice.csv"), help="results by row"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore", NotConvergedWarning)
    design = thinned(sb.load_study(DESIGN), options.every)
    rows = read_rows(options.rows)
    for seed in range(len(rows), options.sets):
        rows.append(one_set(design, seed))
        write_rows(rows, options.rows)
        print(f"{seed + 1} of {options.sets}", file=sys.stderr)
    text = report(rows[: options.sets], design, options.every)
    print(text)
    if options.out:
        command = f"python benchmarks/model_choice.py -o {options.out.as_posix()}"
        title = "# Model choice: are stated probabilities what they say?"
        options.out.write_text(f"{title}\n\nMade by `{command}`.\n\n{text}\n", encoding="utf-8")


def thinned(study, every):
    """Return a study with every so manieth of its used runs."""
    used = study.table[study.table["left_out"] == ""]
    return dataclasses.replace(study, table=used.iloc[::every])


def one_set(design, seed):
    """Return what two fits say of one simulated data set, as a row of `COLUMNS`."""
    start = time.process_time()
    truth = (FIRST, SECOND)[seed % 2]
    study, drawn_again = simulated(design, truth, seed)
    settings = {"draws": 500, "tune": 500, "cores": 1, "cache": False, "random_seed": seed}
    first, second = (sb.fit(study, name, **settings).attrs for name in (FIRST, SECOND))
    values = (
        seed,
        truth,
        first["log_evidence"] - second["log_evidence"],
        float(np.hypot(first["log_evidence_se"], second["log_evidence_se"])),
        int(first["converged"] and second["converged"]),
        drawn_again,
        time.process_time() - start,
    )
    return dict(zip(COLUMNS, values, strict=True))


def simulated(design, truth, seed):
    """Return a simulated study, and how often a draw of the prior overflowed before it."""
    rng = np.random.default_rng([20, seed])
    for drawn_again in range(100):
        try:
            return sb.simulate(design, truth, random_seed=rng)[0], drawn_again
        except StudyError:
            continue
    msg = f"{truth}: no draw of the prior gives losses that are numbers."
    raise RuntimeError(msg)


def read_rows(path):
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{**row, "log_odds": float(row["log_odds"])} for row in csv.DictReader(file)]


def write_rows(rows, path):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def report(rows, design, every):
    """Return the tables and what they say, in Markdown."""
    log_odds = np.array([float(row["log_odds"]) for row in rows])
    truth = np.array([row["truth"] == FIRST for row in rows])
    converged = np.array([int(row["converged"]) == 1 for row in rows])
    again = sum(int(row["drawn_again"]) for row in rows)
    worst = max(float(row["se"]) for row, good in zip(rows, converged, strict=True) if good)
    cpu = sum(float(row["cpu_seconds"]) for row in rows)
    head = (
        f"{len(rows)} data sets at one in {every} of the used runs of {DESIGN} "
        f"({design.n_used} runs; with all runs nearly every probability is 0 or 1, which tests "
        f"little). {truth.sum()} simulated under {FIRST}, {(~truth).sum()} under {SECOND}, the "
        "truth drawn from the prior, equal prior odds; 4 chains of 500 draws. Some fit of "
        f"{(~converged).sum()} sets did not pass the gate; {again} draws of a prior were made "
        "again for losses beyond floating-point numbers. Largest error of log odds among the "
        f"others {worst:.3f} nats. {cpu / 60:.0f} minutes of CPU."
    )
    blocks = [head, "## All data sets", table(log_odds, truth)]
    if not converged.all():
        kept = table(log_odds[converged], truth[converged])
        blocks += ["## Only those whose fits both passed the gate", kept]
    return "\n\n".join(blocks)


def table(log_odds, truth):
    """Return the calibration table and slope of one selection of data sets."""
    stated = expit(log_odds)
    lines = [
        f"| stated P({FIRST}) | data sets | mean stated | true | {BAND:.0%} band | inside |",
        "| --- | ---: | ---: | ---: | --- | --- |",
        *bins(stated, truth),
    ]
    slope, se, intercept, intercept_se = logistic(log_odds, truth)
    inside = SLOPES[0] <= slope <= SLOPES[1]
    decided = np.maximum(stated, 1 - stated) > 0.95
    right = (stated > 0.5) == truth
    said = (
        f"Logistic regression of the truth on the stated log odds: slope {slope:.2f} ± {se:.2f} "
        f"({'inside' if inside else 'OUTSIDE'} {SLOPES[0]} to {SLOPES[1]}), intercept "
        f"{intercept:.2f} ± {intercept_se:.2f}. Stated above .95 for either: {decided.sum()}, of "
        f"which {right[decided].sum()} right."
    )
    return "\n".join([*lines, "", said])


def bins(stated, truth):
    """Yield a line per bin: how many of it were true, and the binomial band of its mean."""
    place = np.clip(np.digitize(stated, EDGES) - 1, 0, len(EDGES) - 2)
    for position, (low, high) in enumerate(pairwise(EDGES)):
        chosen = place == position
        n, true = int(chosen.sum()), int(truth[chosen].sum())
        if n == 0:
            yield f"| {low:.1f} to {high:.1f} | 0 | – | – | – | – |"
            continue
        mean = stated[chosen].mean()
        least, most = binom.interval(BAND, n, mean)
        inside = "yes" if least <= true <= most else "NO"
        yield (
            f"| {low:.1f} to {high:.1f} | {n} | {mean:.3f} | {true} | "
            f"{least:.0f} to {most:.0f} | {inside} |"
        )


def logistic(log_odds, truth):
    """Return slope and intercept of a logistic regression, each with its standard error."""
    design = np.stack([log_odds, np.ones_like(log_odds)], axis=1)
    signs = np.where(truth, 1.0, -1.0)

    def loss(coefficients):
        margin = signs * (design @ coefficients)
        return np.logaddexp(0, -margin).sum(), -(signs * expit(-margin)) @ design

    found = minimize(loss, [1.0, 0.0], jac=True).x
    p = expit(design @ found)
    covariance = np.linalg.inv((design * (p * (1 - p))[:, None]).T @ design)
    slope_se, intercept_se = np.sqrt(np.diag(covariance))
    return found[0], slope_se, found[1], intercept_se


if __name__ == "__main__":
    main()
