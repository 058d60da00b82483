"""Why published exponents disagree: replays, attribution, Porian's chain, and what recipes cost."""

import warnings

from scalebayes.advice import compute_cost, observed_cost, ratio_by_budget
from scalebayes.attribution import attribute_exponent
from scalebayes.errors import NotConvergedWarning
from scalebayes.fit import fit as fit_study
from scalebayes.gap_record import Gap, gap_of_tree, tree_of_gap
from scalebayes.recipe_chain import CORPORA, chain_effects, fit_isoflop_states, porian_stages
from scalebayes.replays import HOFFMANN_WORLD, replay_published, replay_table
from scalebayes.storage import (
    cached_fit,
    content_digest,
    content_key,
    package_digest,
    store_in_cache,
)
from scalebayes.trees import versions

RECIPES = {
    "a long warm-up": ("2", "3"),
    "a schedule not matched to the budget": ("3", "4"),
    "an untuned optimiser (against a tuned one at a constant rate)": ("3", "5"),
}
"""What is compared in compute, and the stages of Porian's chain with it and without it."""

_SECOND_STAGE = "one-matrix"  # the law of the second stage, whose runs are those of the first


def explain_gap(fits, *, advance=None, random_seed=1, cache=True, **settings):
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
    cache : bool
        Take the result from the cache if it is there, and keep it.
    **settings
        Of `fit`, for the further fits: draws, tune, chains, cores.

    Returns
    -------
    Gap
    """
    say = (lambda text: None) if advance is None else advance
    settings |= {"random_seed": random_seed, "cache": cache}
    key = _key(fits, settings)
    tree = cached_fit(key) if cache else None
    if tree is not None:
        gap = gap_of_tree(tree)
        for step in _steps(gap):
            say(step)
        return gap
    gap = _explained(fits, say, settings)
    if cache:
        store_in_cache(key, tree_of_gap(gap))
    return gap


def _key(fits, settings):
    """Return the name of a result in the cache: what its numbers depend on."""
    own = ("draws", "tune", "chains", "random_seed")
    return content_key(
        kind="gap",
        fits={name: content_digest(one) for name, one in fits.items()},
        settings=[settings.get(name) for name in own],
        versions=versions(),
        code=package_digest(),
    )


def _steps(gap):
    """Return what `_explained` said on its way to a result."""
    attribution = [] if gap.counts is None else ["attribution"]
    return [*attribution, "replays", *map(_chain_step, gap.chains)]


def _chain_step(corpus):
    return f"Porian's chain, {corpus}"


def _explained(fits, say, settings):
    """Return a `Gap`; settings are those of `fit`."""
    random_seed = settings["random_seed"]
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
        say(_chain_step(corpus))
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
