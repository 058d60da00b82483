"""Forecasts from few runs: what 10 or 30 of a study's runs say of its optimum at a large budget."""

import dataclasses
import warnings

import numpy as np
import pandas as pd

from scalebayes.discrepancy import shift_of
from scalebayes.errors import NotConvergedWarning
from scalebayes.fit import fit
from scalebayes.forecast import (
    DISCREPANCY,
    LAW,
    LITERATURE,
    POPULATION,
    TWENTY,
    ends,
    interval_row,
    weighted_ends,
)
from scalebayes.held_out import largest_optimum
from scalebayes.hypotheses import load_hypothesis
from scalebayes.literature import literature_fits, with_literature
from scalebayes.optimum import extrapolation_decades, optimal
from scalebayes.population import pool_settings
from scalebayes.ratio_literature import optimum_weights
from scalebayes.studies import load_study

SIZES = {10: 4, 30: 2}
"""Runs that are drawn, and how often."""

HYPOTHESIS = "hoffmann-total"
_SETTINGS = {"draws": 500, "tune": 500, "chains": 4}


def subsample_scores(
    known, *, sizes=None, random_seed=1, cores=None, cache=True, advance=None, record=None
):
    """Return how well few runs of each study tell its D*/N* at its largest measured budget.

    Parameters
    ----------
    known : dict of str to forecast.Known
        What the other studies say, by study (`forecast.Forecast.known`).
    sizes : dict of int to int, optional
        Number of runs -> how often they are drawn; by default `SIZES`.
    random_seed, cores, cache
        As in `fit`.
    advance : callable, optional
        Called with a text before each study.
    record : callable, optional
        Called with each row as it is made.

    Returns
    -------
    DataFrame
        study, n (runs), repeat, compute (FLOP), method, measured and se (log D*/N*), lower, median,
        upper (90% equal-tailed interval), score, covered, converged. Studies without a measured
        optimum are left out.
    """
    rows = []
    settings = {"cores": cores, "random_seed": random_seed, "cache": cache}
    for name, one in known.items():
        target = largest_optimum(load_study(name))
        if target is None:
            continue
        if advance is not None:
            advance(f"few runs: {name}")
        for row in _study_rows(name, one, target, sizes or SIZES, settings):
            rows.append(row)
            if record is not None:
                record(row)
    return pd.DataFrame(rows)


def few_runs(study, n, rng):
    """Return a study with n of its used runs, drawn at random."""
    used = study.table[study.table["left_out"] == ""]
    rows = used.iloc[np.sort(rng.choice(len(used), size=n, replace=False))]
    return dataclasses.replace(study, name=f"{n} runs of {study.name}", table=rows, shared_runs="")


def _study_rows(name, known, target, sizes, settings):
    study = load_study(name)
    others, _ = literature_fits(study, load_hypothesis(HYPOTHESIS), **settings)
    for n, repeats in sizes.items():
        if n >= study.n_used:
            continue
        for repeat in range(repeats):
            rng = np.random.default_rng([settings["random_seed"], n, repeat, _number(name)])
            few = few_runs(study, n, rng)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotConvergedWarning)  # a column says it
                alone = fit(few, HYPOTHESIS, **_SETTINGS, progressbar=False, **settings)
                joined = with_literature(
                    alone,
                    few,
                    others,
                    pool_settings(500, 500, 4, settings["cores"], settings["random_seed"]),
                    cache=settings["cache"],
                )
            good = bool(alone.attrs["converged"] and joined.attrs["converged"])
            place = {"study": name, "n": n, "repeat": repeat, "compute": target.compute}
            for row in _rows(alone, joined, known, target, rng):
                yield place | row | {"converged": good}


def _rows(alone, joined, known, target, rng):
    compute, budget = target.compute, np.log(target.compute / 6)
    measured, se = budget - 2 * target.log_N, 2 * target.se
    best = np.log(optimal(alone, compute)["tokens_per_parameter"].isel(compute=0))
    decades = abs(float(extrapolation_decades(alone, compute)))
    own = known.discrepancy.coefficients(best, rng)
    both = known.discrepancy.coefficients(joined["posterior"]["alpha"], rng)
    weight, log_N = optimum_weights(joined, compute, known.literature, both)
    twenty = np.log(20.0)
    intervals = {
        LAW: ends(best.to_numpy()),
        DISCREPANCY: ends((best - 2 * shift_of(own, decades)).to_numpy()),
        LITERATURE: weighted_ends((budget - 2 * log_N).to_numpy(), weight.to_numpy()),
        TWENTY: (twenty - np.log(2.0), twenty, twenty + np.log(2.0)),
        POPULATION: ends(known.literature.draws(compute, 4000, rng)),
    }
    for method, (lower, median, upper) in intervals.items():
        row = {"method": method, "measured": measured, "se": se}
        row |= {"lower": lower, "median": median, "upper": upper}
        yield row | interval_row(lower, upper, measured, se)


def _number(name):
    """Return a number that stands for a study's name in a seed."""
    return sum(ord(letter) * 31**i for i, letter in enumerate(name)) % 2**31
