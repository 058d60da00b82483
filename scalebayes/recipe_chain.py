"""Porian's chain of real runs, from Kaplan's exponent to Hoffmann's, one step after another.

Each step changes one thing in what was trained or counted, in the order in which Porian et al.
(2024) did. The exponents are read three ways: as published, off interpolated isoFLOP curves of the
losses; off the isoFLOP law's posterior; and off the posterior of the loss surface. Counts of N and
C are switched on the same runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes.errors import InputError
from scalebayes.fit import fit as fit_study
from scalebayes.frontiers import porian_exponents
from scalebayes.hypotheses import load_hypothesis
from scalebayes.optimum import optimal
from scalebayes.studies import load_study
from scalebayes.study import recount

CORPORA = ("rw", "owt2")
"""RefinedWeb and OpenWebText2."""

SEED_NOISE = {"rw": 0.002, "owt2": 0.01}
"""sd of a loss between seeds, nats: Porian et al. (2024), arXiv:2406.19146, published code."""

ISOFLOP_CURVES, ISOFLOP_LAW, SURFACE = "isoFLOP curves", "isoFLOP law", "loss surface"
"""How exponents are read off the same runs."""

STEPS = {
    "count of N alone": ("N", "Kaplan"),
    "count of C alone": ("C", "Kaplan"),
    "counts of N and C": ("N and C", "Kaplan"),
    "warm-up": ("3", "N and C"),
    "schedule": ("4", "3"),
    "tuning": ("5", "4"),
    "whole chain": ("5", "Kaplan"),
}
"""Each step and the states after and before it. The first two are parts of the third, beside an
interaction; the third to sixth add up to the last."""

CHAIN = ("counts of N and C", "warm-up", "schedule", "tuning")

_CORNERS = {
    "Kaplan": ("body", "body"),
    "N": ("body+head", "body"),
    "C": ("body", "body+head"),
    "N and C": ("body+head", "body+head"),
}
_STAGES = {"1": "1-kaplan", "2": "2-lastlayer", "3": "3-warmup", "4": "4-cosine", "5": "5-tuned"}
_DRAWS = 1000


@dataclass(frozen=True, kw_only=True)
class Stages:
    """The runs of a chain, by stage.

    Parameters
    ----------
    studies : dict of str to Study
        "1" to "5": Kaplan's setup in its counts; the same runs at budgets that count one
        vocabulary matrix; warm-up that suits the size; a schedule matched to the budget; tuned.
    noise_sd : float
        sd of a loss between seeds, nats.
    ranges : dict of str to (float, float)
        Budgets between which the surface's exponent is read, FLOP in the stage's own count.
    published : dict of str to (float, float)
        Exponent and standard error of each stage as published; may be empty.
    """

    studies: Mapping
    noise_sd: float
    ranges: Mapping
    published: Mapping


def porian_stages(corpus):
    """Return the stages of Porian's chain on a corpus, "rw" or "owt2".

    Raises
    ------
    InputError
        When the corpus is another.

    References
    ----------
    Porian et al. (2024), arXiv:2406.19146, table 1 and figure 1.
    """
    if corpus not in CORPORA:
        raise InputError(f"corpus: {corpus!r} is none of {list(CORPORA)}.")
    studies = {key: load_study(f"porian2024-{corpus}-{name}") for key, name in _STAGES.items()}
    known = {key: one.published for key, one in studies.items()}
    return Stages(
        studies=studies,
        noise_sd=SEED_NOISE[corpus],
        ranges={key: (one["frontier_c_min"], one["frontier_c_max"]) for key, one in known.items()},
        published={
            key: (one["frontier_exponent"], one["frontier_exponent_se"])
            for key, one in known.items()
        },
    )


def chain_effects(stages, *, surfaces=None, isoflops=None, random_seed=0):
    """Return the exponent at each state of a chain, and what each step does to it.

    Parameters
    ----------
    stages : Stages
    surfaces : mapping of str to DataTree, optional
        Posteriors of a surface at stages "1", "3", "4" and "5", as `fit` returns them.
    isoflops : mapping of str to DataTree, optional
        Posteriors of the isoFLOP law at each state, from `fit_isoflop_states`.
    random_seed : int

    Returns
    -------
    Dataset
        `value` over (reading, state, draw) and `effect` over (reading, step, draw), changes of the
        exponent of N* in C; `published` and `published_se` over step, of the chain as published,
        NaN where it is not. Posteriors of different stages are independent, so that their draws are
        paired at random; counts are switched draw by draw, except in the isoFLOP law, which is
        fitted anew to the same runs: there the interval of a count's effect is too wide.

    Raises
    ------
    InputError
        When a stage or state is missing.
    """
    readings = {ISOFLOP_CURVES: _curve_values(stages, random_seed)}
    if isoflops is not None:
        _refuse_missing("isoflops", isoflops, [*_CORNERS, "3", "4", "5"])
        readings[ISOFLOP_LAW] = {key: _flat(one["posterior"]["a"]) for key, one in isoflops.items()}
    if surfaces is not None:
        _refuse_missing("surfaces", surfaces, ["1", "3", "4", "5"])
        readings[SURFACE] = _surface_values(stages, surfaces)
    states = [*_CORNERS, "3", "4", "5"]
    rng = np.random.default_rng(random_seed)
    drawn = [_paired(values, states, rng) for values in readings.values()]
    value = xr.DataArray(
        np.array(drawn),
        dims=("reading", "state", "draw"),
        coords={"reading": list(readings), "state": states},
    )
    steps = xr.Variable("step", list(STEPS))
    effects = [value.sel(state=after, drop=True) - value.sel(state=before, drop=True)
               for after, before in STEPS.values()]  # fmt: skip
    effect = xr.concat(effects, dim=steps).transpose("reading", "step", "draw")
    published = np.array([_published_step(stages.published, step) for step in STEPS]).T
    return xr.Dataset(
        {
            "value": value,
            "effect": effect,
            "published": ("step", published[0]),
            "published_se": ("step", published[1]),
        }
    )


def chain_table(chain):
    """Return one row per step and reading: median and 90% interval of the effect, and as published.

    Parameters
    ----------
    chain : Dataset
        From `chain_effects`.

    Returns
    -------
    DataFrame
        step, reading, median, lower, upper, published, published_se, residual (published less
        median).
    """
    ends = chain["effect"].quantile([0.05, 0.5, 0.95], "draw")
    rows = []
    for step in chain["step"].values:
        published = float(chain["published"].sel(step=step))
        published_se = float(chain["published_se"].sel(step=step))
        for reading in chain["reading"].values:
            lower, median, upper = ends.sel(step=step, reading=reading).values
            rows.append(
                {
                    "step": step,
                    "reading": reading,
                    "median": median,
                    "lower": lower,
                    "upper": upper,
                    "published": published,
                    "published_se": published_se,
                    "residual": published - median,
                }
            )
    return pd.DataFrame(rows)


def fit_isoflop_states(stages, *, hypothesis="isoflop", **settings):
    """Return posteriors of the isoFLOP law at every state of a chain.

    The counts are switched on the runs of stage 1: the law takes N and C of each run, so that its
    D is C / (6 N) where the two are counted differently.

    Parameters
    ----------
    stages : Stages
    hypothesis : Hypothesis, str or path
        With the law "isoflop"; it is counted as each stage is.
    **settings
        Of `fit`: draws, tune, chains, cores, random_seed, cache.

    Returns
    -------
    dict of str to DataTree
    """
    chosen = {key: counted(stages.studies["1"], *counts) for key, counts in _CORNERS.items()}
    chosen |= {key: stages.studies[key] for key in ("3", "4", "5")}
    usual = load_hypothesis(hypothesis)
    return {
        key: fit_study(one, replace(usual, counting=one.counting), progressbar=False, **settings)
        for key, one in chosen.items()
    }


def counted(study, of_N, of_C):
    """Return a study with N in one counting and 6 N D equal to the compute in another.

    Where the two differ its D is no number of tokens but C / (6 N), as the isoFLOP law takes it.

    Parameters
    ----------
    study : Study
        Of known shapes.
    of_N, of_C : str or float
        Countings of N and of C = 6 N D.
    """
    recounted = recount(study, of_N)
    if of_N == of_C:
        return recounted
    charged = recount(study, of_C).table["N"]
    table = recounted.table
    table = table.assign(D=table["D"] * charged / table["N"])
    return replace(recounted, table=table)


def _curve_values(stages, seed):
    """Return exponents off isoFLOP curves; budgets that count C otherwise are those of stage 2."""
    chosen = {
        key: recount(stages.studies["1" if of_C == "body" else "2"], of_N)
        for key, (of_N, of_C) in _CORNERS.items()
    }
    chosen |= {key: stages.studies[key] for key in ("3", "4", "5")}
    return {
        key: porian_exponents(
            one, noise_sd=stages.noise_sd, resamples=_DRAWS, random_seed=seed
        ).to_numpy()
        for key, one in chosen.items()
    }


def _surface_values(stages, surfaces):
    """Return exponents of laws between the ends of each stage's budgets, in its counts."""
    values = {
        key: _slope(surfaces["1"], stages.ranges["1" if of_C == "body" else "2"], of_N, of_C)
        for key, (of_N, of_C) in _CORNERS.items()
    }
    for key in ("3", "4", "5"):
        values[key] = _slope(surfaces[key], stages.ranges[key], "body+head", "body+head")
    return values


def _slope(fit, ends, of_N, of_C):
    how = {"counting": of_N, "flops": f"6ND:{of_C}", "architecture": "study"}
    N = np.log(optimal(fit, list(ends), **how)["N"])
    return _flat((N.isel(compute=1) - N.isel(compute=0)) / np.log(ends[1] / ends[0]))


def _flat(draws):
    return draws.transpose("chain", "draw").to_numpy().ravel()


def _paired(values, states, rng):
    """Return [state, draw]: the corners share their order of draws, other stages have their own."""
    n = min(_DRAWS, *(len(values[key]) for key in states))
    together = {len(values[key]) for key in _CORNERS}
    first = {length: rng.choice(length, size=n, replace=False) for length in sorted(together)}
    return np.array(
        [
            values[key][first[len(values[key])]]
            if key in _CORNERS
            else rng.choice(values[key], size=n, replace=False)
            for key in states
        ]
    )


def _published_step(published, step):
    """Return the published change and its standard error, if both stages were published."""
    stage = {"Kaplan": "1", "N and C": "2"}
    keys = [stage.get(state, state) for state in STEPS[step]]
    if any(key not in published for key in keys):
        return np.nan, np.nan
    (after, after_se), (before, before_se) = (published[key] for key in keys)
    return after - before, float(np.hypot(after_se, before_se))


def _refuse_missing(what, found, needed):
    missing = [key for key in needed if key not in found]
    if missing:
        raise InputError(f"{what}: {missing} missing; found {list(found)}.")
