"""Why published exponents disagree: replays, attribution, Porian's chain, and what recipes cost."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes.advice import compute_cost, observed_cost, ratio_by_budget
from scalebayes.attribution import attribute_exponent
from scalebayes.errors import NotConvergedWarning
from scalebayes.fit import fit as fit_study
from scalebayes.recipe_chain import CORPORA, chain_effects, fit_isoflop_states, porian_stages
from scalebayes.replays import HOFFMANN_WORLD, replay_published, replay_table

RECIPES = {
    "a long warm-up": ("2", "3"),
    "a schedule not matched to the budget": ("3", "4"),
    "an untuned optimiser (against a tuned one at a constant rate)": ("3", "5"),
}
"""What is compared in compute, and the stages of Porian's chain with it and without it."""

_SECOND_STAGE = "one-matrix"  # the law of the second stage, whose runs are those of the first


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What separates Kaplan's exponent from Hoffmann's. None where its studies are not at hand.

    Parameters
    ----------
    counts : DataTree or None
        From `attribution.attribute_exponent`, in the world of Hoffmann's points.
    chains : dict of str to Dataset
        From `recipe_chain.chain_effects`, by corpus.
    costs : dict of (str, str) to DataArray
        Share of compute wasted by a recipe, by corpus and recipe, over (compute, draw).
    replays : DataFrame
        From `replays.replay_table`.
    ratios : DataFrame or None
        From `advice.ratio_by_budget`, for Hoffmann's points.
    problems : tuple of str
        What did not converge of the fits that are in the numbers.
    observed_costs : dict of (str, str) to ndarray
        The same shares read off published optima, [compute].
    """

    counts: xr.DataTree | None
    chains: dict[str, xr.Dataset]
    costs: dict[tuple[str, str], xr.DataArray]
    replays: pd.DataFrame
    ratios: pd.DataFrame | None
    problems: tuple[str, ...] = ()
    observed_costs: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)


def explain_gap(fits, *, advance=None, random_seed=1, **settings):
    """Return what the fitted studies say about the gap between published exponents.

    Parameters
    ----------
    fits : dict of str to DataTree
        By study; those of `replays.HOFFMANN_WORLD` and of Porian's stages 1, 3, 4 and 5 on a corpus
        are what attribution and chain need. There is no chain of stages fitted to other rows than
        the bundled studies use.
    advance : callable, optional
        Told in words what begins.
    random_seed : int
    **settings
        Of `fit`, for the further fits: draws, tune, chains, cores, cache.

    Returns
    -------
    Gap
    """
    say = (lambda text: None) if advance is None else advance
    settings |= {"random_seed": random_seed}
    counts = ratios = None
    if HOFFMANN_WORLD in fits:
        say("attribution")
        counts = attribute_exponent(fits[HOFFMANN_WORLD], random_seed=random_seed)
        ratios = ratio_by_budget(fits[HOFFMANN_WORLD])
    say("replays")
    replays = replay_table(replay_published(fits, random_seed=random_seed))
    chains, costs, observed = {}, {}, {}
    problems = [
        f"{name}: {one.attrs['problems']}"
        for name, one in fits.items()
        if not one.attrs["converged"]
    ]
    for corpus in CORPORA:
        stages = porian_stages(corpus)
        surfaces = {key: _fit_of(one, fits) for key, one in stages.studies.items() if key != "2"}
        if any(one is None for one in surfaces.values()):
            continue
        say(f"Porian's chain, {corpus}")
        chain, second, failed = _chain(stages, surfaces, settings)
        chains[corpus] = chain
        problems += failed
        costs |= {
            (corpus, recipe): compute_cost(
                *(({"2": second} | surfaces)[key] for key in pair),
                random_seed=random_seed,
                counting="body+head",
                flops="6ND",
                architecture="study",
            )
            for recipe, pair in RECIPES.items()
        }
        observed |= {
            (corpus, recipe): observed_cost(*(stages.studies[key].name for key in pair))
            for recipe, pair in RECIPES.items()
        }
    return Gap(
        counts=counts,
        chains=chains,
        costs=costs,
        replays=replays,
        ratios=ratios,
        problems=tuple(problems),
        observed_costs=observed,
    )


def _fit_of(study, fits):
    """Return the fit of a study's rows, or None."""
    found = fits.get(study.name)
    same = found is not None and found.attrs["data_hash"] == study.data_hash
    return found if same else None


def _chain(stages, surfaces, settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConvergedWarning)  # said in the result instead
        isoflops = fit_isoflop_states(stages, **settings)
        second = fit_study(stages.studies["2"], _SECOND_STAGE, progressbar=False, **settings)
    chain = chain_effects(
        stages, surfaces=surfaces, isoflops=isoflops, random_seed=settings["random_seed"]
    )
    return chain, second, _failed(isoflops) + _failed({"stage 2": second})


def _failed(fits):
    return [
        f"{name} ({one.attrs['study']}, {one.attrs['hypothesis_name']}): {one.attrs['problems']}"
        for name, one in fits.items()
        if not one.attrs["converged"]
    ]
