"""Simulation-based calibration of a population: does it hold what it was simulated with?

Mean, spread, correlation and recipe effect come from the population's prior, each study's exponents
from that population, and all other values of a study from its hypothesis. Every study is sampled
from its simulated runs and the studies are pooled, as `fit` and `pool` do.
"""

import time
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from scalebayes.build import run_data
from scalebayes.calibrate import (
    LOG_LIKELIHOOD,
    Calibration,
    draw_problems,
    log_likelihood_of,
    place,
)
from scalebayes.compiled import log_density
from scalebayes.errors import InputError, StudyError
from scalebayes.executors import mapped
from scalebayes.gate import Settings, draw_posterior
from scalebayes.hypotheses import LATENT, load_hypothesis
from scalebayes.laws import ISOFLOP
from scalebayes.optimum import allocation_exponent
from scalebayes.pooled_draws import covariance, hyperparameters, new_study, pooled_indices
from scalebayes.population import population_of
from scalebayes.population_density import EXPONENTS, PRIOR
from scalebayes.simulate import simulate
from scalebayes.studies import load_study
from scalebayes.study_cells import check_poolable, pooled_studies
from scalebayes.trees import tree_of_posterior

STUDY_DRAWS = {"draws": 500, "tune": 250, "chains": 2}
POPULATION_DRAWS = {"draws": 500, "tune": 400, "chains": 4}

_LEAST_RUNS = 20
_REDRAWS = 1000


def calibrate_population(
    hypothesis="hoffmann-total",
    design="hoffmann2022-epoch",
    *,
    groups=(2, 2, 1),
    simulations=100,
    random_seed=1,
    executor=None,
    advance=None,
):
    """Return where true values lie among draws of populations simulated from their prior.

    Parameters
    ----------
    hypothesis : Hypothesis, str or path
        With a fixed counting, and priors of log_alpha and log_beta.
    design : Study or str
        Whose runs, in order of N, are dealt out among the studies. Runs that are checkpoints of one
        training run are taken as separate ones.
    groups : sequence of int
        Studies of each group. In a group of several, every other study has a long warm-up, whose
        effect on both log exponents is one more unknown.
    simulations : int
        >= 20.
    random_seed : int
    executor, advance
        As in `calibrate.calibrate`.

    Returns
    -------
    Calibration
        Of the population's mean, spreads and correlations (log alpha, log beta), the recipe effect,
        the exponents of a new study and of the first one, pooled, and the log likelihood of the
        first study's runs.

    Raises
    ------
    InputError
        When the hypothesis cannot be pooled at one counting, or studies or runs are too few.
    WorkerLost
        When a simulation has no result, for the processes that took it up died.

    References
    ----------
    Talts et al. (2018), arXiv:1804.06788; Modrák et al. (2023), arXiv:2211.02383.
    """
    hypothesis, design = load_hypothesis(hypothesis), load_study(design)
    _refuse(hypothesis, design, groups, simulations)
    task = partial(_simulation, hypothesis, design, tuple(groups), random_seed)
    told = {"advance": advance, "named": lambda i: f"simulation {i + 1} of {simulations}"}
    found = list(mapped(task, range(simulations), executor=executor, **told))
    places, problems, redrawn, seconds = zip(*found, strict=True)
    return Calibration(
        places=pd.DataFrame(places),
        problems=problems,
        redrawn=sum(redrawn),
        hypothesis=hypothesis.name,
        design=f"{sum(groups)} studies of {design.name}",
        cpu_seconds=sum(seconds),
    )


def prior_population(n_recipes, rng, prior=PRIOR):
    """Return hyperparameters drawn from a population's prior.

    Parameters
    ----------
    n_recipes : int
    rng : Generator
    prior : dict
        As `population_density.PRIOR`.

    Returns
    -------
    dict of ndarray
        mu, sd_between, sd_within [exponent], correlation [level], recipe_effect
        [recipe, exponent].
    """
    return {
        "mu": prior["mu_location"] + prior["mu_sd"] * rng.standard_normal(2),
        "sd_between": prior["between"] * np.abs(rng.standard_normal(2)),
        "sd_within": prior["within"] * np.abs(rng.standard_normal(2)),
        "correlation": 2 * rng.beta(2, 2, size=2) - 1,
        "recipe_effect": prior["recipe_sd"] * rng.standard_normal((n_recipes, 2)),
    }


def _refuse(hypothesis, design, groups, simulations):
    check_poolable(hypothesis)
    if hypothesis.counting == LATENT or hypothesis.law in ISOFLOP:
        raise InputError(f"calibrate: a population of {hypothesis.name} needs a fixed counting.")
    if sum(groups) < 2 or min(groups) < 1:
        raise InputError(f"calibrate: groups must hold two studies at least, got {groups}.")
    if design.n_used < _LEAST_RUNS * sum(groups):
        msg = f"calibrate: {design.name} has too few runs for {sum(groups)} studies of 20."
        raise InputError(msg)
    if simulations < 20:
        raise InputError(f"calibrate: 20 simulations are the least, not {simulations}.")


def _simulation(hypothesis, design, groups, random_seed, i):
    """Return places, problems, draws made again, and CPU seconds of the i-th simulation."""
    start, rng = time.process_time(), np.random.default_rng([random_seed, i, len(groups)])
    truth, studies, of_first, redrawn = _finite(hypothesis, design, groups, rng)
    fits = [_fit(study, hypothesis, rng) for study in studies]
    settings = Settings(cores=1, random_seed=int(rng.integers(2**31)), **POPULATION_DRAWS)
    population = population_of(pooled_studies(fits), settings, cache=False, attempts=1)
    [cell] = population.cells
    drawn = _drawn(population, cell, rng)
    data = run_data(studies[0], hypothesis)
    truth[LOG_LIKELIHOOD] = log_likelihood_of(of_first, data, hypothesis)
    drawn[LOG_LIKELIHOOD] = log_likelihood_of(_first(population, cell), data, hypothesis)
    found = {name: place(value, np.ravel(drawn[name]), rng) for name, value in truth.items()}
    why = draw_problems(cell.diagnostics)
    return found, "; ".join(why), redrawn, time.process_time() - start


def _finite(hypothesis, design, groups, rng):
    """Return what `_simulated` does, and how many draws of the prior gave no finite losses."""
    for redrawn in range(_REDRAWS):
        try:
            return *_simulated(hypothesis, design, groups, rng), redrawn
        except StudyError:
            continue
    raise InputError(f"calibrate: {hypothesis.name} hardly ever gives finite losses.")


def _simulated(hypothesis, design, groups, rng):
    """Return true values by name, the studies, and all true values of the first study."""
    long = np.concatenate([np.arange(n) % 2 if n > 1 else [0] for n in groups]).astype(bool)
    group = np.repeat(np.arange(len(groups)), groups)
    true = prior_population(1, rng)
    between, within = (
        covariance(true[name], rho)
        for name, rho in zip(("sd_between", "sd_within"), true["correlation"], strict=True)
    )
    theta = true["mu"] + rng.multivariate_normal(np.zeros(2), between, size=len(groups))[group]
    theta = theta + rng.multivariate_normal(np.zeros(2), within, size=len(group))
    theta = theta + np.outer(long, true["recipe_effect"][0])
    another = rng.multivariate_normal(true["mu"], between + within)
    parts = _dealt(design, len(group))
    made = [
        simulate(
            part,
            hypothesis,
            parameters=dict(zip(("alpha", "beta"), np.exp(own), strict=True)),
            random_seed=rng,
        )
        for part, own in zip(parts, theta, strict=True)
    ]
    studies = [
        replace(
            study,
            name=f"study-{i}",
            shared_runs="",
            group=f"group-{group[i]}" if groups[group[i]] > 1 else "",
            recipe={"warmup": "long" if long[i] else "short"},
        )
        for i, (study, _) in enumerate(made)
    ]
    truth = _named({**true, "new study": another, "first study": theta[0]})
    if not long.any():
        truth = {name: value for name, value in truth.items() if "recipe" not in name}
    return truth, studies, made[0][1]


def _dealt(design, n):
    """Return a design per study: every n-th run in order of N."""
    table = design.runs.assign(left_out="", trajectory="").sort_values("N", kind="stable")
    return [replace(design, table=table.iloc[i::n]) for i in range(n)]


def _fit(study, hypothesis, rng):
    settings = Settings(cores=1, random_seed=int(rng.integers(2**31)), **STUDY_DRAWS)
    density = log_density(run_data(study, hypothesis), hypothesis)
    return tree_of_posterior(
        draw_posterior(density, hypothesis, settings), study, hypothesis, settings
    )


def _drawn(population, cell, rng):
    found = hyperparameters(cell.density.form, cell.draws.unconstrained)
    another = new_study(found, np.zeros(len(population.recipes.names)), rng)
    alpha, beta = (_first(population, cell)[name] for name in ("alpha", "beta"))
    first = np.log(np.stack([alpha, beta], axis=-1))
    return _named({**found, "new study": another, "first study": first})


def _first(population, cell):
    """Return natural quantities of the first study, drawn within the population [draw]."""
    quantities = cell.cells[0].quantities
    n = cell.draws.log_density.size
    picked = pooled_indices(cell, population, 0, n, seed=1)
    return {name: x.reshape(-1)[picked] for name, x in quantities.items() if x.ndim == 2}


def _named(values):
    """Return one entry per element of hyperparameters and of two studies' log exponents."""
    found = {}
    for i, one in enumerate(EXPONENTS):
        for name in ("mu", "sd_between", "sd_within", "new study", "first study"):
            found[f"{name}, log {one}"] = values[name][..., i]
        if "recipe_effect" in values:
            found[f"recipe effect, log {one}"] = values["recipe_effect"][..., 0, i]
    for i, level in enumerate(("between", "within")):
        found[f"correlation {level}"] = values["correlation"][..., i]
    alpha, beta = np.moveaxis(np.exp(values["new study"]), -1, 0)
    found["new study, a"] = allocation_exponent(alpha, beta)
    return found
