"""Does the law `isoflop` give back the exponent of a Chinchilla surface, where approach 2 does not?

    python benchmarks/isoflop_recovery.py [-o docs/isoflop_recovery.md] [--repeats 200]

Losses on isoFLOP grids are drawn from a Chinchilla surface with Student-t noise, many times over.
Grids are centred on the optimum of each budget, or their centre drifts off it: the more the larger
the budget. Each study is fitted under `isoflop`, and by approach 2 of Hoffmann et al. (2022): a
parabola of loss in log N at each budget, then a line of log N* on log C. Prints a Markdown table of
the bias of a, the exponent of N* in C, and of how often 90% intervals hold the true one.
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
from scalebayes.laws import chinchilla_terms
from scalebayes.optimum import optimal_allocation
from scalebayes.regressions import parabola_minima, power_law

BUDGETS = np.geomspace(6e18, 2.4e21, 9)
LOPSIDED = {"alpha": 0.465, "beta": 0.155}
SURFACES = {
    # Hoffmann et al. (2022), unrounded as in the source of the paper
    "Chinchilla": {"E": 1.6934, "A": 406.4, "B": 410.7, "alpha": 0.3392, "beta": 0.2849},
    # alpha three times beta, with twenty tokens per parameter at the optimum of the middle budget
    "lopsided": {"E": 1.7, **LOPSIDED, **chinchilla_terms(K=0.8, N0=1e9, C0=1.2e20, **LOPSIDED)},
}
SIZES = np.geomspace(1 / 4, 4, 9)
"""Sizes at each budget, over the grid's centre."""

DRIFTS = {"centred": 1.0, "drifting": 3.0}
"""Centre of the grid over the optimum at the largest budget; 1 at the least, and a power law."""

NOISE = {"sigma": 0.003, "nu": 5.0}
PROBABILITY = 0.9
WANTED = (0.84, 0.95)
COLUMNS = (
    *("surface", "grid", "true a", "isoflop: bias", "sd", "90% interval holds a"),
    *("not converged", "approach 2: bias", "sd", "90% interval holds a", "isoflop as wanted"),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="also write the table to this file")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--surfaces", nargs="*", default=list(SURFACES), choices=SURFACES)
    options = parser.parse_args()
    warnings.simplefilter("ignore", NotConvergedWarning)  # counted in the table
    started, rows = time.process_time(), []
    for surface in options.surfaces:
        law = SURFACES[surface]
        for grid, drift in DRIFTS.items():
            found = [repeat(law, drift, options.draws, seed) for seed in range(options.repeats)]
            rows.append(row(surface, grid, law, pd.DataFrame(found)))
            print(line(rows[-1]), file=sys.stderr, flush=True)
    table = "\n".join([line(COLUMNS), line(["---"] * len(COLUMNS)), *map(line, rows)])
    spent = (time.process_time() - started) / (len(rows) * options.repeats)
    text = f"{table}\n\n{legend(options.repeats, options.draws, options.surfaces)}"
    print(f"{text}\n\n{spent:.1f} s of CPU per study.")
    if options.out:
        title = "# Does the isoFLOP law give back the exponent of a Chinchilla surface?"
        more = "" if options.repeats == 200 else f" --repeats {options.repeats}"
        if options.surfaces != list(SURFACES):
            more += f" --surfaces {' '.join(options.surfaces)}"
        command = f"python benchmarks/isoflop_recovery.py{more} -o {options.out.as_posix()}"
        options.out.write_text(f"{title}\n\nMade by `{command}`.\n\n{text}\n", encoding="utf-8")


def repeat(law, drift, draws, seed):
    """Return both estimates of a for one simulated study, with their 90% intervals."""
    study, _ = sb.simulate(
        design(law, drift), "hoffmann-total", parameters=law | NOISE, random_seed=seed
    )
    fit = sb.fit(study, "isoflop", draws=draws, tune=draws, cores=1, random_seed=seed, cache=False)
    tail = (1 - PROBABILITY) / 2
    low, middle, high = fit["posterior"]["a"].quantile([tail, 0.5, 1 - tail]).values
    by_law = {"a": middle, "low": low, "high": high, "converged": fit.attrs["converged"]}
    return by_law | approach_2(study)


def design(law, drift):
    """Return the runs of a grid whose centre drifts off the optimum; its losses mean nothing."""
    terms = {name: law[name] for name in ("A", "B", "alpha", "beta")}
    best, _ = optimal_allocation(BUDGETS, **terms)
    centre = best * np.geomspace(1, drift, BUDGETS.size)
    N = np.outer(centre, SIZES)
    D = BUDGETS[:, None] / (6 * N)
    runs = pd.DataFrame({"N": N.ravel(), "D": D.ravel(), "loss": np.linspace(3, 2, N.size)})
    return sb.read_runs(runs, counting="total", name="grid")


def approach_2(study):
    """Return a by parabolas, and its interval by the usual theory of a regression line."""
    shape = BUDGETS.size, SIZES.size
    runs = study.runs
    dims = ("compute", "size")
    log_N = xr.DataArray(np.log(runs["N"].to_numpy()).reshape(shape), dims=dims)
    loss = xr.DataArray(runs["loss"].to_numpy().reshape(shape), dims=dims)
    best = np.exp(parabola_minima(log_N, loss))
    compute = xr.DataArray(BUDGETS, dims="compute")
    fitted = power_law(compute, best)
    x, y = np.log(BUDGETS), np.log(best.values)
    known = np.isfinite(y)
    a, n = float(fitted["exponent"]), int(known.sum())
    residual = y[known] - float(fitted["log_coefficient"]) - a * x[known]
    spread = np.sum((x[known] - x[known].mean()) ** 2)
    width = stats.t.ppf((1 + PROBABILITY) / 2, n - 2) * np.sqrt(
        np.sum(residual**2) / (n - 2) / spread
    )
    return {"a_2": a, "low_2": a - width, "high_2": a + width}


def row(surface, grid, law, found):
    """Return the cells of one surface and grid."""
    a = law["beta"] / (law["alpha"] + law["beta"])
    share = coverage(a, found["low"], found["high"])
    wanted = "yes" if WANTED[0] <= share.mean() <= WANTED[1] else "no"
    return [
        surface,
        grid,
        f"{a:.4f}",
        *error_of(found["a"] - a),
        said(share),
        str(int((found["converged"] == 0).sum())),
        *error_of(found["a_2"] - a),
        said(coverage(a, found["low_2"], found["high_2"])),
        wanted,
    ]


def coverage(a, low, high):
    return (low <= a) & (a <= high)


def said(share):
    return f"{share.mean():.1%} ({int(share.sum())} of {share.size})"


def error_of(errors):
    """Return the mean error with its standard error, and the standard deviation."""
    return f"{errors.mean():+.4f} ± {errors.std() / errors.size**0.5:.4f}", f"{errors.std():.4f}"


def legend(repeats, draws, surfaces):
    """Return what the table is about."""
    low, high = BUDGETS[[0, -1]]
    drift, steep, flat = DRIFTS["drifting"], LOPSIDED["alpha"], LOPSIDED["beta"]
    sentences = (
        f"{repeats} studies a row: {BUDGETS.size} budgets of {low:g} to {high:g} FLOP with",
        f"{SIZES.size} sizes each, within {SIZES[-1]:g} times of the grid's centre. The centre of",
        f"a drifting grid is the optimum at the least budget and {drift:g} times it at the",
        f"largest. Student-t noise of log loss: scale {NOISE['sigma']:g}, nu {NOISE['nu']:g}.",
        "Chinchilla: the unrounded coefficients of Hoffmann et al. (2022).",
        *([f"Lopsided: alpha {steep:g}, beta {flat:g}."] if "lopsided" in surfaces else []),
        "Estimates under `isoflop` are posterior medians with",
        f"equal-tailed intervals ({draws} draws in each of 4 chains, its own window of rows);",
        "approach 2 is the parabola's, with the interval of the regression line. ± is the",
        f"standard error of the mean error. Wanted: {WANTED[0]:.0%} to {WANTED[1]:.0%}.",
    )
    return textwrap.fill(" ".join(sentences), 100)


def line(cells):
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
