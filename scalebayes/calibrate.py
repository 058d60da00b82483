"""Simulation-based calibration: do posteriors hold what they were simulated with, as often as said?

Values come from a hypothesis' prior, losses from the values at the runs of a study, and a posterior
from the losses. The place of each true value among its posterior draws is then uniform on (0, 1) if
and only if prior, simulation, density and sampler agree. Quantities that depend on the data too,
such as the log likelihood, find faults that parameters alone do not (Modrák et al. 2023).
"""

import time
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import pandas as pd
from scipy.stats import binom

from scalebayes.build import WARMUP_SHARE, applied, natural_quantities, run_data
from scalebayes.compiled import log_density
from scalebayes.counting_grid import resample, sample_grid, weighty
from scalebayes.diagnostics import diagnose
from scalebayes.errors import InputError, StudyError
from scalebayes.executors import mapped
from scalebayes.gate import Settings, draw_posterior, sampled
from scalebayes.hypotheses import LATENT, load_hypothesis
from scalebayes.laws import ISOFLOP, expected_loss
from scalebayes.likelihoods import log_likelihood
from scalebayes.noise import sigma_of_run
from scalebayes.optimum import CHINCHILLA_COMPUTE, optimal_allocation
from scalebayes.simulate import simulate
from scalebayes.studies import load_study

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Probabilities of the central intervals whose coverage is counted."""

LOG_LIKELIHOOD, LOG_RATIO = "log likelihood", "log D*/N* at 5.76e23 FLOP"

MAX_R_HAT, MIN_ESS = 1.03, 150
"""What draws must pass; those that do not are made again."""

_NULL_DRAWS = 2000  # uniform samples that a p-value is read off
_NATURAL = ("E", "A", "B", "alpha", "beta", "q", "kappa", "a", "sigma", "nu", "eta", "omega")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Places of true values among posterior draws, one row per simulation.

    Parameters
    ----------
    places : DataFrame
        [simulation, quantity], in (0, 1); ties are broken at random.
    problems : tuple of str
        "" or why the gate did not pass a simulation's posterior, one per simulation; all count.
    redrawn : int
        Prior draws whose losses were no floating-point numbers, drawn again.
    hypothesis, design : str
    cpu_seconds : float
    """

    places: pd.DataFrame
    problems: tuple[str, ...]
    redrawn: int
    hypothesis: str
    design: str
    cpu_seconds: float


def calibrate(
    hypothesis="hoffmann-total",
    design="hoffmann2022-epoch",
    *,
    simulations=200,
    draws=250,
    tune=250,
    chains=4,
    random_seed=1,
    executor=None,
    advance=None,
):
    """Return where true values lie among draws of posteriors simulated from the prior.

    Parameters
    ----------
    hypothesis : Hypothesis, str or path
        Not of the law isoflop, whose prior is stated at the runs' own budget.
    design : Study or str
        Whose N, D and shapes the simulated runs have. Runs that are checkpoints of one training run
        are taken as separate ones.
    simulations : int
        >= 20.
    draws, tune, chains : int
        Per posterior. Draws with a divergence, an R-hat above `MAX_R_HAT` or fewer than `MIN_ESS`
        effective ones are made again, four times as many. No optimiser looks for missed modes.
    random_seed : int
    executor : concurrent.futures.Executor, optional
        Whose processes take the simulations (`executors.mapped`); changes no number.
    advance : callable, optional
        Called with a text, once per simulation: when it begins, or with an executor when another
        one is done.

    Returns
    -------
    Calibration

    Raises
    ------
    InputError
        When hypothesis or design cannot be simulated, or there are too few simulations.
    WorkerLost
        When a simulation has no result, for the processes that took it up died.

    References
    ----------
    Talts et al. (2018), arXiv:1804.06788; Modrák et al. (2023), arXiv:2211.02383.
    """
    hypothesis, design = load_hypothesis(hypothesis), load_study(design)
    if hypothesis.law in ISOFLOP:
        raise InputError(f"calibrate: {hypothesis.name} has priors at the budget of its own runs.")
    if simulations < 20:
        raise InputError(f"calibrate: 20 simulations are the least, not {simulations}.")
    design = replace(design, table=design.table.assign(trajectory=""))
    settings = Settings(draws=draws, tune=tune, chains=chains, cores=1)
    task = partial(_simulation, design, hypothesis, settings, random_seed)
    told = {"advance": advance, "named": lambda i: f"simulation {i + 1} of {simulations}"}
    found = list(mapped(task, range(simulations), executor=executor, **told))
    places, problems, redrawn, seconds = zip(*found, strict=True)
    return Calibration(
        places=pd.DataFrame(places),
        problems=problems,
        redrawn=sum(redrawn),
        hypothesis=hypothesis.name,
        design=design.name,
        cpu_seconds=sum(seconds),
    )


def _simulation(design, hypothesis, settings, random_seed, i):
    """Return places, problems, draws made again, and CPU seconds of the i-th simulation."""
    start, rng = time.process_time(), np.random.default_rng([random_seed, i])
    study, truth, redrawn = _simulated(design, hypothesis, rng)
    seeded = replace(settings, random_seed=int(rng.integers(2**31)))
    found, why = _posterior(study, hypothesis, seeded)
    places = _places(found, truth, study, hypothesis, rng)
    return places, "; ".join(why), redrawn, time.process_time() - start


def calibration_table(result, *, random_seed=1):
    """Return, per quantity, how uniform its places are and how often intervals hold the truth.

    Parameters
    ----------
    result : Calibration
    random_seed : int
        Of the null distribution that p is read off.

    Returns
    -------
    DataFrame
        Over quantity: p (of uniformity, `uniformity_p`), p_holm (adjusted for all quantities) and
        coverage_50, coverage_80, coverage_90 and coverage_95 of central intervals.

    References
    ----------
    Holm (1979), Scandinavian Journal of Statistics 6.
    """
    places = result.places
    null = null_extremes(len(places), random_seed=random_seed)
    p = [uniformity_p(places[name], null) for name in places]
    table = pd.DataFrame({"p": p}, index=places.columns)
    table["p_holm"] = _holm(table["p"].to_numpy())
    for level in LEVELS:
        inside = (places - 0.5).abs() <= level / 2
        table[f"coverage_{level * 100:.0f}"] = inside.mean()
    return table.rename_axis("quantity")


def extreme(places):
    """Return how unlikely the most deviating step of an ECDF of places is.

    For each of the values z = 1/n, ..., 1: twice the smaller tail of Binomial(n, z) at the number
    of places up to z. The least of them is returned.

    Parameters
    ----------
    places : array
        [simulation], in (0, 1).

    References
    ----------
    Säilynoja, Bürkner & Vehtari (2022), arXiv:2103.10522, eq. 7.
    """
    places = np.sort(np.asarray(places, dtype=float))
    n = places.size
    z = np.arange(1, n) / n
    counts = np.searchsorted(places, z, side="right")
    return float(_smaller_tails(n)[counts, np.arange(n - 1)].min())


@lru_cache(maxsize=4)
def _smaller_tails(n):
    """Return twice the smaller tail of Binomial(n, z) at each count [count, z]."""
    counts, z = np.arange(n + 1)[:, None], np.arange(1, n) / n
    return 2 * np.minimum(binom.cdf(counts, n, z), binom.sf(counts - 1, n, z))


def null_extremes(n, *, random_seed=1):
    """Return `extreme` of many samples of n uniform places, in increasing order."""
    rng = np.random.default_rng([random_seed, n])
    return np.sort([extreme(rng.uniform(size=n)) for _ in range(_NULL_DRAWS)])


def uniformity_p(places, null):
    """Return the probability that uniform places deviate as much as these.

    Parameters
    ----------
    places : array
        [simulation], in (0, 1).
    null : ndarray
        From `null_extremes`, of as many places.
    """
    as_extreme = np.searchsorted(null, extreme(places), side="right")
    return (as_extreme + 1) / (len(null) + 1)


def _holm(p):
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    result = np.empty_like(adjusted)
    result[order] = np.minimum(adjusted, 1.0)
    return result


def _simulated(design, hypothesis, rng):
    """Return a study, its true values, and how many draws of them gave no finite loss."""
    for again in range(1000):
        try:
            study, truth = simulate(design, hypothesis, random_seed=rng)
        except StudyError:
            continue
        return study, truth, again
    raise InputError(f"calibrate: {hypothesis.name} hardly ever gives finite losses.")


def _posterior(study, hypothesis, settings):
    """Return draws of latents, natural quantities and omega [draw], and the gate's problems."""
    if hypothesis.counting == LATENT:
        grid, why = _grid(study, hypothesis, settings)
        found, _, _ = resample(grid, settings.draws, seed=settings.seed(3))
    else:
        data = run_data(study, hypothesis)
        hypothesis = applied(hypothesis, data)
        density = log_density(data, hypothesis)
        for attempt in range(2):
            draws = sampled(density, hypothesis, settings, attempt=attempt)
            latents = density.constrain(draws.unconstrained)
            why = draw_problems(diagnose(latents, draws.stats))
            if not why:
                break
        found = {**latents, **natural_quantities(latents, law=hypothesis.law)}
    return {name: np.ravel(values) for name, values in found.items()}, why


def _grid(study, hypothesis, settings):
    """Return the grid of omega, its cells of some weight drawn again where needed, and problems."""
    grid = sample_grid(study, hypothesis, settings, gated=False)
    heavy, posteriors, problems = weighty(grid), [], []
    for omega, one in zip(grid.omega, grid.posteriors, strict=True):
        if omega in heavy and draw_problems(diagnose(one.latents, one.sampler_stats)):
            one = draw_posterior(one.density, hypothesis, settings, path=(omega,), attempt=1)
            why = draw_problems(diagnose(one.latents, one.sampler_stats))
            problems += [f"omega {omega:g}: {problem}" for problem in why]
        posteriors.append(one)
    return replace(grid, posteriors=tuple(posteriors)), problems


def draw_problems(diagnostics):
    """Return what fails here, in words: places ask less of draws than the digits of a result do.

    Parameters
    ----------
    diagnostics : Diagnostics

    Returns
    -------
    list of str
    """
    found = []
    if diagnostics.divergences:
        found.append(f"{diagnostics.divergences} divergent transitions")
    if not diagnostics.r_hat < MAX_R_HAT:
        found.append(f"R-hat {diagnostics.r_hat:.3f}")
    least = min(diagnostics.ess_bulk, diagnostics.ess_tail)
    if not least >= MIN_ESS:
        found.append(f"ESS {least:.0f}")
    return found


def _places(found, truth, study, hypothesis, rng):
    """Return the place in (0, 1) of each true value among the draws."""
    known = {name: truth[name] for name in _NATURAL if name in truth and name in found}
    drawn = {name: found[name] for name in known}
    if "A" in truth and "beta" in truth:
        known[LOG_RATIO], drawn[LOG_RATIO] = _log_ratio(truth), _log_ratio(found)
    data = run_data(study, hypothesis)
    known[LOG_LIKELIHOOD] = log_likelihood_of(truth, data, hypothesis)
    drawn[LOG_LIKELIHOOD] = log_likelihood_of(found, data, hypothesis)
    return {name: place(value, drawn[name], rng) for name, value in known.items()}


def place(value, draws, rng):
    """Return the place in (0, 1) of a value among draws [draw], ties broken at random."""
    below, equal = np.sum(draws < value), np.sum(draws == value)
    return (below + rng.uniform() * (equal + 1)) / (len(draws) + 1)


def _log_ratio(values):
    terms = {name: values[name] for name in ("A", "B", "alpha", "beta")}
    with np.errstate(over="ignore", invalid="ignore"):
        N, D = optimal_allocation(CHINCHILLA_COMPUTE, **terms, q=values.get("q", 1.0))
        return np.log(D) - np.log(N)


def log_likelihood_of(values, data, hypothesis):
    """Return the log likelihood (nats) of natural values, one number or one per draw.

    Parameters
    ----------
    values : dict
        Natural values by name, each a number or an array [draw].
    data : dict of ndarray
        From `build.run_data`.
    hypothesis : Hypothesis
    """
    per_draw = {name: np.asarray(x, dtype=float)[..., None] for name, x in values.items()}
    N = data["N"] if "N" in data else data["body"] + per_draw["omega"] * data["head"]
    D = data["D"]
    if "kappa" in per_draw:
        D = D * (1 - per_draw["kappa"] * data[WARMUP_SHARE])
    logs = {"log_N": np.log(N), "log_D": np.log(data["D"])}
    with np.errstate(over="ignore", invalid="ignore"):
        mu = np.log(expected_loss(N, D, per_draw))
    return log_likelihood(
        hypothesis.likelihood,
        data["observed_log_loss"],
        mu=mu,
        sigma=sigma_of_run(per_draw["sigma"], per_draw.get("eta"), **logs),
        nu=per_draw.get("nu"),
        relative_loss_se=data["relative_loss_se"],
    ).sum(axis=-1)
