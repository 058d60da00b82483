"""The population of scaling exponents at one omega, as a plain `pm.Model`.

theta_s = (log alpha, log beta) of study s = mu + g_group + x_s Gamma + e_s, where a study enters
through its likelihood of theta, a Gaussian mixture, so that e_s is integrated out exactly. So is
the effect of a group that holds one study only; g is a variable for the others.

This is the definition; `population_density` is the same by hand, and what is sampled.
"""

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from scalebayes.mixtures import MAX_COMPONENTS
from scalebayes.population_density import EXPONENTS, KNOWN, MIXTURE_COLUMNS, PRIOR

# (1 + correlation) / 2 ~ Beta(2, 2); a plain 2.0 would have PyTensor normalise in single precision
_CORRELATION = np.float64(2)


def population_model(mixtures, x, in_group, *, prior=None, coords=None):
    """Return the PyMC model of a population at one omega.

    Parameters
    ----------
    mixtures, x, in_group, prior
        As in `population_density.population_density`.
    coords : dict, optional
        Labels of study, recipe and group.

    Returns
    -------
    pm.Model
        Free variables mu, sd_between, sd_within [exponent], half_one_plus_correlation [level],
        recipe_effect [recipe, exponent], group_alpha and group_beta [group]; Deterministics
        correlation [level] and group_effect [group, exponent]. The studies' likelihoods are a
        Potential.
    """
    sizes = {"study": len(mixtures), "recipe": x.shape[1], "group": in_group.shape[1]}
    named = {dim: np.arange(size) for dim, size in sizes.items() if size} | (coords or {})
    fixed = {"exponent": EXPONENTS, "level": ("between", "within")}
    fixed["component"] = np.arange(MAX_COMPONENTS)
    with pm.Model(coords=named | fixed) as model:
        prior = pm.Data("prior", np.array(list((PRIOR | (prior or {})).values())))
        studies = pm.Data("mixtures", mixtures)
        mu = pm.Normal("mu", prior[0], prior[1], dims="exponent")
        sd_between = pm.HalfNormal("sd_between", prior[2], dims="exponent")
        sd_within = pm.HalfNormal("sd_within", prior[3], dims="exponent")
        half = pm.Beta("half_one_plus_correlation", _CORRELATION, _CORRELATION, dims="level")
        correlation = pm.Deterministic("correlation", 2 * half - 1, dims="level")
        mean = pt.tile(mu[None, :], (studies.shape[0], 1))
        if sizes["recipe"]:
            recipe = pm.Normal("recipe_effect", 0, prior[4], dims=("recipe", "exponent"))
            mean = mean + pm.Data("x", x) @ recipe
        alone = pt.ones(studies.shape[0])
        if sizes["group"]:
            effect = _group_effects(sd_between, correlation[0])
            membership = pm.Data("in_group", in_group)
            mean = mean + membership @ effect
            alone = 1 - membership.sum(axis=1)
        spread = _spread(sd_within, correlation[1], 1) + _spread(sd_between, correlation[0], alone)
        pm.Potential("studies", _log_integrals(studies, mean, spread).sum())
    return model


def _group_effects(sd, correlation):
    """Return the bivariate effects [group, exponent].

    The variables are effects over min(sd, `KNOWN`), softly: what the runs tell of a group where it
    differs from the others, its prior where it does not, so that both are of unit size.
    """
    odds = pt.sqrt(1 + (sd / KNOWN) ** 2)  # sd over the unit of the variable
    first = pm.Normal("group_alpha", 0, odds[0], dims="group")
    standard = first / odds[0]  # the effect on log alpha over its sd
    left = pt.sqrt(1 - correlation**2)
    second = pm.Normal("group_beta", correlation * odds[1] * standard, left * odds[1], dims="group")
    effect = pt.stack([first * sd[0] / odds[0], second * sd[1] / odds[1]], axis=1)
    return pm.Deterministic("group_effect", effect, dims=("group", "exponent"))


def _spread(sd, correlation, factor):
    """Return var alpha, covariance and var beta, times a factor, each [...]."""
    entries = (sd[0] ** 2, correlation * sd[0] * sd[1], sd[1] ** 2)
    return pt.stack([entry * factor * pt.ones(1) for entry in entries])


def _log_integrals(studies, mean, spread):
    """Return the log integral of every study's mixture against its Gaussian [study]."""
    log_weight, m1, m2, *covariance = (studies[:, :, i] for i in range(MIXTURE_COLUMNS))
    v11, v12, v22 = (entry + spread[i][:, None] for i, entry in enumerate(covariance))
    first, second = m1 - mean[:, 0][:, None], m2 - mean[:, 1][:, None]
    determinant = v11 * v22 - v12**2
    squared = (v22 * first**2 - 2 * v12 * first * second + v11 * second**2) / determinant
    log_normal = -np.log(2 * np.pi) - 0.5 * pt.log(determinant) - 0.5 * squared
    return pt.logsumexp(log_weight + log_normal, axis=1)
