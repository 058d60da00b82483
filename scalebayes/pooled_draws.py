"""What draws of a population say of its studies: each one's own law, and that of a new one.

Arrays only: hyperparameters in, draws and weights out.
"""

import math

import numpy as np
from arviz_stats.base import array_stats
from scipy.special import expit, logsumexp

from scalebayes.machine_code import compiled

_AVERAGED_DRAWS = 4000  # of the population
_NEGLIGIBLE = 35.0  # nats: of such a term, and of all of them together, a sum loses nothing
_LOG_2_PI = math.log(2 * math.pi)


def hyperparameters(form, unconstrained):
    """Return the hyperparameters of sampled coordinates.

    Parameters
    ----------
    form : PopulationForm
    unconstrained : ndarray
        [..., latent].

    Returns
    -------
    dict of ndarray
        mu, sd_between, sd_within [..., exponent], correlation [..., level], recipe_effect
        [..., recipe, exponent] and group_effect [..., group, exponent] as far as there are any.
    """
    z = np.asarray(unconstrained, dtype=float)
    lead = z.shape[:-1]
    sd_between = np.exp(z[..., 2:4])
    found = {
        "mu": z[..., 0:2],
        "sd_between": sd_between,
        "sd_within": np.exp(z[..., 4:6]),
        "correlation": 2 * expit(z[..., 6:8]) - 1,
    }
    end = 8 + 2 * form.n_recipes
    if form.n_recipes:
        found["recipe_effect"] = z[..., 8:end].reshape(*lead, form.n_recipes, 2)
    if form.n_groups:
        scaled = np.moveaxis(z[..., end:].reshape(*lead, 2, form.n_groups), -2, -1)
        unit = np.sqrt(1 + (sd_between / form.known) ** 2)
        found["group_effect"] = scaled * (sd_between / unit)[..., None, :]
    return found


def covariance(sd, correlation):
    """Return covariances [..., 2, 2] of standard deviations [..., 2] and correlations [...]."""
    cross = correlation * sd[..., 0] * sd[..., 1]
    rows = [np.stack([sd[..., 0] ** 2, cross], -1), np.stack([cross, sd[..., 1] ** 2], -1)]
    return np.stack(rows, axis=-2)


def study_moments(found, x, in_group):
    """Return mean [..., exponent] and covariance of a study's theta given hyperparameters.

    Parameters
    ----------
    found : dict of ndarray
        From `hyperparameters`.
    x : ndarray
        [recipe], the study's recipe columns.
    in_group : ndarray
        [group], 1 at the study's group; all 0 where the group has no effect of its own among the
        hyperparameters, so that it adds to the spread.
    """
    mean = found["mu"]
    if len(x):
        mean = mean + np.einsum("r,...re->...e", x, found["recipe_effect"])
    if len(in_group):
        mean = mean + np.einsum("g,...ge->...e", in_group, found["group_effect"])
    correlation = found["correlation"]
    spread = covariance(found["sd_within"], correlation[..., 1])
    if not np.any(in_group):
        spread = spread + covariance(found["sd_between"], correlation[..., 0])
    return mean, spread


def pooled_log_weights(cell, design, i, *, seed):
    """Return the log weights that turn study i's own draws into draws within the population.

    p(theta | all) is proportional to p(theta | own runs) / prior(theta) times the mean, over draws
    of the population, of N(theta; population) / L_i(population), L_i the study's likelihood with
    theta integrated out. Averaged over draws, the weights stay smooth where a single draw has next
    to no spread and would single out the nearest of the study's draws.

    Parameters
    ----------
    cell : PopulationCell
    design : Population
        With recipes and in_group.
    i : int
        Position of the study.
    seed : int
        Picks the population's draws.

    Returns
    -------
    ndarray
        [draw], over the study's draws, flattened over chains; not normalised.
    """
    study, theta = cell.cells[i], cell.cells[i].theta.reshape(-1, 2)
    found = _some_draws(cell, _AVERAGED_DRAWS, np.random.default_rng(seed))
    mean, spread = study_moments(found, design.recipes.x[i], design.in_group[i])
    log_marginal = cell.likelihoods[i].log_integral(mean, spread)
    averaged = _log_mean_normal(theta, mean, _precisions(spread, log_marginal))
    return averaged - study.log_prior(theta)


def _precisions(spread, log_marginal):
    """Return what a Gaussian needs, [draw, 4]: log factor, precision of alpha, cross, of beta."""
    v11, v12, v22 = spread[:, 0, 0], spread[:, 0, 1], spread[:, 1, 1]
    determinant = v11 * v22 - v12**2
    factor = -_LOG_2_PI - 0.5 * np.log(determinant) - log_marginal
    return np.column_stack([factor, v22 / determinant, -v12 / determinant, v11 / determinant])


@compiled
def _log_mean_normal(theta, mean, precision):
    """Return the log of the mean over draws of exp(log factor) times a Gaussian, [point]."""
    n_points, n_draws = theta.shape[0], mean.shape[0]
    found = np.empty(n_points)
    terms = np.empty(n_draws)
    for i in range(n_points):
        highest = -np.inf
        for d in range(n_draws):
            x, y = theta[i, 0] - mean[d, 0], theta[i, 1] - mean[d, 1]
            squared = precision[d, 1] * x * x + precision[d, 3] * y * y
            terms[d] = precision[d, 0] - 0.5 * squared - precision[d, 2] * x * y
            highest = max(highest, terms[d])
        total = 0.0
        for d in range(n_draws):
            if terms[d] > highest - _NEGLIGIBLE:
                total += math.exp(terms[d] - highest)
        found[i] = highest + math.log(total / n_draws)
    return found


def pareto_k(log_weights):
    """Return the Pareto k of studies' draws, weighted to the population [study].

    Minus infinity where all weights are equal.

    Parameters
    ----------
    log_weights : sequence of ndarray
        From `pooled_log_weights`, one per study.

    References
    ----------
    Vehtari et al. (2024), Pareto smoothed importance sampling, arXiv:1507.02646.
    """
    return np.array(
        [
            -np.inf if np.ptp(one) < 1e-9 else float(array_stats.psislw(-one)[1])
            for one in log_weights
        ]
    )


def pooled_indices(cell, design, i, n, *, seed):
    """Return n positions in study i's draws (flattened over chains), drawn within the population.

    Parameters
    ----------
    cell, design, i, seed
        As in `pooled_log_weights`.
    n : int
    """
    known = cell.pooled_log_weights
    log_weight = pooled_log_weights(cell, design, i, seed=seed) if known is None else known[i]
    rng = np.random.default_rng([seed, i])
    mass = np.cumsum(np.exp(log_weight - log_weight.max()))
    marks = (np.arange(n) + rng.uniform()) / n * mass[-1]
    picks = np.minimum(np.searchsorted(mass, marks), mass.size - 1)
    return rng.permutation(picks)


def new_study(found, x, rng):
    """Return draws [..., exponent] of theta of a new study in a new group, with a given recipe."""
    mean, spread = study_moments(found, x, np.zeros(0))
    roots = np.linalg.cholesky(spread)
    return mean + np.einsum("...ij,...j->...i", roots, rng.standard_normal(mean.shape))


def study_predictive(cell, design, i):
    """Return mean and sd [exponent] of what the population expects of study i."""
    found = hyperparameters(
        cell.density.form, cell.draws.unconstrained.reshape(-1, len(cell.density.form.latents))
    )
    mean, spread = study_moments(found, design.recipes.x[i], design.in_group[i])
    variance = spread.diagonal(axis1=-2, axis2=-1).mean(0) + mean.var(0)
    return mean.mean(0), np.sqrt(variance)


def log_predictive(likelihood, found, x, in_group):
    """Return the log of a study's mean likelihood under each draw of hyperparameters [...]."""
    return likelihood.log_integral(*study_moments(found, x, in_group))


def _some_draws(cell, n, rng):
    z = cell.draws.unconstrained.reshape(-1, len(cell.density.form.latents))
    if n < len(z):
        z = z[rng.choice(len(z), size=n, replace=False)]
    return hyperparameters(cell.density.form, z)


def log_mean_exp(values, axis=None):
    """Return the log of the mean of exp(values)."""
    size = np.size(values) if axis is None else np.shape(values)[axis]
    return logsumexp(values, axis=axis) - np.log(size)
