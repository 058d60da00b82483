"""The log density of a population of scaling exponents and its gradient, written out and compiled.

`population_model` is the model as PyMC has it; this is the same density over unconstrained
coordinates, by hand, since the compiled graph took ten seconds and more of every new form.

Coordinates: mu (2), log sd between groups (2), log sd within (2), logit of (1 + correlation) / 2
between and within, recipe effects [recipe, exponent], group alpha [group], group beta [group].
"""

import ctypes
import math
from dataclasses import dataclass, field
from functools import cache

import numba
import numpy as np

from scalebayes.machine_code import compiled
from scalebayes.mixtures import MAX_COMPONENTS

EXPONENTS = ("alpha", "beta")
PRIOR = {
    "mu_location": -1.0498,  # log 0.35
    "mu_sd": 0.5,
    "between": 0.3,
    "within": 0.1,
    "recipe_sd": 0.3,
}
"""Priors: mu ~ Normal(mu_location, mu_sd) of a log exponent; standard deviations between and within
groups ~ HalfNormal(between), HalfNormal(within); recipe effects ~ Normal(0, recipe_sd)."""

KNOWN = 0.1
"""About how well the runs of a group know its log exponents."""

MIXTURE_COLUMNS = 6
"""Of a component: log weight, two means, var alpha, covariance, var beta."""

_MIXTURES = MAX_COMPONENTS * MIXTURE_COLUMNS
_HEAD = 1 + len(PRIOR)  # numbers before the studies' rows
_HYPERPARAMETERS = 8  # coordinates before the recipe effects
_ABSENT = -1e5  # log weight below which a component is not there
_LOG_2_PI = math.log(2 * math.pi)
_DOUBLES = numba.types.CPointer(numba.types.double)
_SIGNATURE = numba.types.int64(numba.types.uint64, *[_DOUBLES] * 4)
_NON_FINITE = 4  # a code that nutpie takes as a divergence


@dataclass(frozen=True)
class PopulationForm:
    """What decides the coordinates: how many groups of several studies and recipe columns."""

    n_groups: int
    n_recipes: int

    @property
    def latents(self):
        """Return the names of the sampled coordinates, in order."""
        names = [f"mu[{one}]" for one in EXPONENTS]
        for scale in ("between", "within"):
            names += [f"log_sd_{scale}[{one}]" for one in EXPONENTS]
        names += ["logit_correlation_between", "logit_correlation_within"]
        names += [f"recipe_effect[{i},{one}]" for i in range(self.n_recipes) for one in EXPONENTS]
        names += [f"group_{one}[{i}]" for one in EXPONENTS for i in range(self.n_groups)]
        return tuple(names)

    @property
    def known(self):
        """Return the size beyond which a group effect is sampled on its own scale."""
        return KNOWN

    @property
    def n_columns(self):
        """Return how many numbers describe a study."""
        return _MIXTURES + self.n_recipes + self.n_groups


@dataclass(frozen=True, kw_only=True)
class PopulationDensity:
    """Log density of a population's hyperparameters over unconstrained coordinates.

    Parameters
    ----------
    form : PopulationForm
    data : ndarray
        Number of studies, priors and one row per study, packed for the compiled code.
    """

    form: PopulationForm
    data: np.ndarray = field(repr=False)

    @property
    def callback(self):
        """Return the compiled density in nutpie's convention."""
        return compiled_population(self.form)

    def value_and_gradient(self, point):
        """Return the log density (nats) and its gradient at an unconstrained point [latent]."""
        point = np.ascontiguousarray(point, dtype=float)
        out = np.zeros(point.size + 1)
        address = out.ctypes.data
        places = (point.ctypes.data, address + out.itemsize, address, self.data.ctypes.data)
        code = _callable(self.form)(point.size, *places)
        return (out[0], out[1:]) if code == 0 else (-np.inf, np.zeros_like(point))

    def values(self, points):
        """Return the log density (nats) at each unconstrained point [point, latent]."""
        points = np.ascontiguousarray(points, dtype=float)
        # a copy: data that cannot be written to would be compiled for a second time
        return _log_densities(points, self.data.copy(), self.form.n_recipes, self.form.n_groups)


def population_density(mixtures, x, in_group, prior=None):
    """Return the `PopulationDensity` of studies.

    Parameters
    ----------
    mixtures : ndarray
        [study, component, 6], from `mixtures.padded`.
    x : ndarray
        [study, recipe], recipe columns.
    in_group : ndarray
        [study, group], 1 where the study is of that group of several studies.
    prior : mapping, optional
        Values that replace those of `PRIOR`.
    """
    n = len(mixtures)
    rows = np.concatenate([mixtures.reshape(n, -1), x.reshape(n, -1), in_group.reshape(n, -1)], 1)
    data = np.concatenate([[n], list((PRIOR | (prior or {})).values()), rows.ravel()]).astype(float)
    data.flags.writeable = False
    return PopulationDensity(form=PopulationForm(in_group.shape[1], x.shape[1]), data=data)


@cache
def compiled_population(form):
    """Return a C callback (n, point*, gradient*, value*, data*) -> code, in nutpie's convention."""
    n_latents, n_columns = len(form.latents), form.n_columns
    recipes, groups = form.n_recipes, form.n_groups

    def callback(n, point_, gradient_, value_, data_):
        if n != n_latents:
            return -1
        rows = int(numba.carray(data_, (1,))[0])
        data = numba.carray(data_, (_HEAD + n_columns * rows,))
        point, gradient = numba.carray(point_, (n_latents,)), numba.carray(gradient_, (n_latents,))
        value = numba.carray(value_, (1,))
        # as integers, not as constants for each of which everything would be compiled again
        sizes = (np.int64(recipes), np.int64(groups))
        value[0] = _log_density(point, data, sizes[0], sizes[1], gradient)
        return 0 if math.isfinite(value[0]) else _NON_FINITE

    try:
        return numba.cfunc(_SIGNATURE, cache=True)(callback)
    except RuntimeError:  # no place on disk
        return numba.cfunc(_SIGNATURE)(callback)


@cache
def _callable(form):
    kinds = (ctypes.c_uint64, *[ctypes.c_void_p] * 4)
    return ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(compiled_population(form).address)


@compiled
def _log_densities(points, data, n_recipes, n_groups):
    values, gradient = np.empty(len(points)), np.empty(points.shape[1])
    for i in range(len(points)):
        value = _log_density(points[i], data, n_recipes, n_groups, gradient)
        values[i] = value if math.isfinite(value) else -np.inf
    return values


@compiled
def _log_density(z, data, n_recipes, n_groups, gradient):
    """Return the log density at z, NaN where anything is not finite, and write its gradient."""
    between = (math.exp(z[2]), math.exp(z[3]), math.tanh(z[6] / 2))
    within = (math.exp(z[4]), math.exp(z[5]), math.tanh(z[7] / 2))
    gradient[:] = 0.0
    # the first two write derivatives by sd and correlation, which the third turns into those by z
    total = _studies(z, data, n_recipes, n_groups, between, within, gradient)
    total += _groups(z, n_recipes, n_groups, between, gradient)
    total += _hyperpriors(z, data, n_recipes, gradient)
    for one in gradient:
        if not math.isfinite(one):
            return np.nan
    return total


@compiled
def _units(between):
    """Return the sds between groups over the units of the group variables."""
    return (
        math.sqrt(1.0 + (between[0] / KNOWN) ** 2),
        math.sqrt(1.0 + (between[1] / KNOWN) ** 2),
    )


@compiled
def _studies(z, data, n_recipes, n_groups, between, within, gradient):
    """Return the sum of the studies' log integrals, and add its gradient.

    Groups' places of the gradient get derivatives by the group effects themselves.
    """
    width = _MIXTURES + n_recipes + n_groups
    first_group = _HYPERPARAMETERS + 2 * n_recipes
    u_alpha, u_beta = _units(between)
    parts = np.empty((MAX_COMPONENTS, MIXTURE_COLUMNS))
    by_within, by_between = np.zeros(3), np.zeros(3)
    total = 0.0
    for i in range(int(data[0])):
        row = data[_HEAD + i * width : _HEAD + (i + 1) * width]
        x, in_group = row[_MIXTURES : _MIXTURES + n_recipes], row[_MIXTURES + n_recipes :]
        alpha, beta, alone = z[0], z[1], 1.0
        for r in range(n_recipes):
            alpha += x[r] * z[_HYPERPARAMETERS + 2 * r]
            beta += x[r] * z[_HYPERPARAMETERS + 2 * r + 1]
        for g in range(n_groups):
            alone -= in_group[g]
            alpha += in_group[g] * z[first_group + g] * between[0] / u_alpha
            beta += in_group[g] * z[first_group + n_groups + g] * between[1] / u_beta
        value, d_alpha, d_beta, d11, d12, d22 = _log_integral(
            row, alpha, beta, _spread(within, between, alone), parts
        )
        total += value
        gradient[0] += d_alpha
        gradient[1] += d_beta
        for r in range(n_recipes):
            gradient[_HYPERPARAMETERS + 2 * r] += x[r] * d_alpha
            gradient[_HYPERPARAMETERS + 2 * r + 1] += x[r] * d_beta
        for g in range(n_groups):
            gradient[first_group + g] += in_group[g] * d_alpha
            gradient[first_group + n_groups + g] += in_group[g] * d_beta
        for k, one in enumerate((d11, d12, d22)):
            by_within[k] += one
            by_between[k] += alone * one
    gradient[2], gradient[3], gradient[6] = _by_scale(by_between, between)
    gradient[4], gradient[5], gradient[7] = _by_scale(by_within, within)
    return total


@compiled
def _spread(within, between, alone):
    """Return var alpha, covariance and var beta of a study around its mean."""
    return (
        within[0] ** 2 + alone * between[0] ** 2,
        within[2] * within[0] * within[1] + alone * between[2] * between[0] * between[1],
        within[1] ** 2 + alone * between[1] ** 2,
    )


@compiled
def _by_scale(by_spread, scale):
    """Return derivatives by two sds and a correlation, from those by the spread's entries."""
    d11, d12, d22 = by_spread
    first, second, c = scale
    return (
        2 * first * d11 + c * second * d12,
        2 * second * d22 + c * first * d12,
        first * second * d12,
    )


@compiled
def _log_integral(row, alpha, beta, spread, parts):
    """Return the log integral of a study's mixture, and its derivatives.

    Parameters
    ----------
    row : ndarray
        The study's packed numbers, mixture first.
    alpha, beta : float
        Mean of the study's log exponents.
    spread : tuple of float
        Variances and covariance around that mean.
    parts : ndarray
        [component, 6], to work in.

    Returns
    -------
    tuple of float
        Value, then derivatives by the two means, var alpha, covariance and var beta.
    """
    highest = -np.inf
    for k in range(MAX_COMPONENTS):
        component, part = row[MIXTURE_COLUMNS * k : MIXTURE_COLUMNS * (k + 1)], parts[k]
        part[0] = -np.inf
        if component[0] < _ABSENT:
            continue
        first, second = component[1] - alpha, component[2] - beta
        v11, v12, v22 = component[3] + spread[0], component[4] + spread[1], component[5] + spread[2]
        determinant = v11 * v22 - v12**2
        part[3], part[4], part[5] = v22 / determinant, -v12 / determinant, v11 / determinant
        part[1] = part[3] * first + part[4] * second
        part[2] = part[4] * first + part[5] * second
        squared = first * part[1] + second * part[2]
        part[0] = component[0] - _LOG_2_PI - 0.5 * math.log(determinant) - 0.5 * squared
        highest = max(highest, part[0])
    total = d_alpha = d_beta = d11 = d12 = d22 = 0.0
    for k in range(MAX_COMPONENTS):
        log_part, first, second, p11, p12, p22 = parts[k]
        if log_part == -np.inf:
            continue
        share = math.exp(log_part - highest)
        total += share
        d_alpha += share * first
        d_beta += share * second
        d11 += share * (first**2 - p11) / 2
        d12 += share * (first * second - p12)
        d22 += share * (second**2 - p22) / 2
    value = highest + math.log(total)
    return value, d_alpha / total, d_beta / total, d11 / total, d12 / total, d22 / total


@compiled
def _groups(z, n_recipes, n_groups, between, gradient):
    """Return the log density of the group variables, and add its gradient.

    Derivatives by group effects, which the gradient has at their places, become those by the
    variables and by the sds between groups.
    """
    sd_alpha, sd_beta, c = between
    u_alpha, u_beta = _units(between)
    left = 1.0 / (math.cosh(z[6] / 2))  # sqrt(1 - c^2), without cancellation
    total = 0.0
    for g in range(n_groups):
        i = _HYPERPARAMETERS + 2 * n_recipes + g
        j = i + n_groups
        first, second = z[i] / u_alpha, z[j] / u_beta
        e = (second - c * first) / left
        total -= 0.5 * (first**2 + e**2) + math.log(u_alpha * u_beta * left) + _LOG_2_PI
        by_u_alpha = (first**2 - 1 - e * c * first / left) / u_alpha
        by_u_beta = (e * second / left - 1) / u_beta
        gradient[2] += by_u_alpha * sd_alpha / (KNOWN**2 * u_alpha)
        gradient[3] += by_u_beta * sd_beta / (KNOWN**2 * u_beta)
        gradient[2] += gradient[i] * z[i] / u_alpha**3
        gradient[3] += gradient[j] * z[j] / u_beta**3
        gradient[6] += e * first / left + c * (1 - e**2) / left**2
        gradient[i] = gradient[i] * sd_alpha / u_alpha + (e * c / left - first) / u_alpha
        gradient[j] = gradient[j] * sd_beta / u_beta - e / (left * u_beta)
    return total


@compiled
def _hyperpriors(z, data, n_recipes, gradient):
    """Return the log prior of the hyperparameters over z, and add its gradient.

    Derivatives by sd and correlation, which the gradient has at their places, become those by z.
    """
    location, mu_sd, recipe_sd = data[1], data[2], data[5]
    total = 0.0
    for i in range(2):
        total += _add_normal(z, i, location, mu_sd, gradient)
    for i in range(2, 6):
        sd, scale = math.exp(z[i]), data[3] if i < 4 else data[4]
        total += 0.5 * math.log(2 / math.pi) - math.log(scale) - 0.5 * (sd / scale) ** 2 + z[i]
        gradient[i] = sd * gradient[i] + 1 - (sd / scale) ** 2
    for i in range(6, 8):
        # of h = (1 + correlation) / 2 ~ Beta(2, 2); h (1 - h) = 1 / (2 cosh(z / 2))^2
        size = abs(z[i])
        total += math.log(6.0) - 2 * (size + 2 * math.log1p(math.exp(-size)))
        correlation = math.tanh(z[i] / 2)
        gradient[i] = gradient[i] / (2 * math.cosh(z[i] / 2) ** 2) - 2 * correlation
    for i in range(_HYPERPARAMETERS, _HYPERPARAMETERS + 2 * n_recipes):
        total += _add_normal(z, i, 0.0, recipe_sd, gradient)
    return total


@compiled
def _add_normal(z, i, location, sd, gradient):
    """Return the log density of a Normal at z[i], and add its derivative."""
    standard = (z[i] - location) / sd
    gradient[i] -= standard / sd
    return -0.5 * standard**2 - math.log(sd) - 0.5 * _LOG_2_PI
