"""The log density of groups that may differ in omega and its gradient, written out and compiled.

`omega_by_group_model` is the model as PyMC has it; this is the same density over the same
unconstrained coordinates, by hand, since compiling its graph took two minutes.

Coordinates: log frequency of every omega but the last, less the mean over all of them; mu [omega,
exponent], log sd between groups (2), log sd within (2), logit of (1 + correlation) / 2 between and
within, recipe effects [recipe, exponent].
"""

import math
from dataclasses import dataclass, field
from functools import cache

import numba
import numpy as np
from scipy.special import gammaln, softmax

from scalebayes.machine_code import compiled
from scalebayes.population_density import PRIOR

_HEAD = 12
"""Numbers before the concentration: length of the data, numbers of choices, groups, omegas, recipe
columns and members of the largest group, the priors, log normaliser of the frequencies' prior."""

_PRIOR = 6  # place of the priors
_ROW = 4  # numbers of a choice before its members': group, omega, members, log weight
_MEMBER = 5  # numbers of a member before its recipe columns: means, var alpha, covariance, var beta
_PART = 9  # of a choice: weight, derivatives by mu (2), spread within (3) and between (3); recipes
_LOG_2_PI = math.log(2 * math.pi)
_DOUBLES = numba.types.CPointer(numba.types.double)
_SIGNATURE = numba.types.int64(numba.types.uint64, *[_DOUBLES] * 4)
_NON_FINITE = 4  # a code that nutpie takes as a divergence


@dataclass(frozen=True, kw_only=True)
class OmegaByGroupDensity:
    """Log density of groups that may differ in omega, over unconstrained coordinates.

    Parameters
    ----------
    n_groups, n_omega, n_recipes : int
    data : ndarray
        Sizes, priors and one row per choice of components, packed for the compiled code.
    start : ndarray
        [coordinate], where the priors have their mean or their scale.
    """

    n_groups: int
    n_omega: int
    n_recipes: int
    data: np.ndarray = field(repr=False)
    start: np.ndarray = field(repr=False)

    @property
    def callback(self):
        """Return the compiled density in nutpie's convention."""
        return _callback()

    def value_and_gradient(self, point):
        """Return the log density (nats), NaN where it overflows, and its gradient [coordinate]."""
        gradient = np.empty(len(point))
        return _log_density(np.ascontiguousarray(point, dtype=float), self.data, gradient), gradient

    def values(self, points):
        """Return the log density (nats) at each unconstrained point; -inf where it overflows."""
        return _log_densities(np.ascontiguousarray(points, dtype=float), self.data)

    def variables(self, unconstrained):
        """Return the model's variables [...] of points [..., coordinate], omega_weight among them.

        Returns
        -------
        dict of ndarray
            frequency [..., omega], mu [..., omega, exponent], sd_between and sd_within [...,
            exponent], correlation [..., level], recipe_effect [..., recipe, exponent] where there
            are recipe columns, omega_weight [..., group, omega].
        """
        sizes = (self.n_omega - 1, 2 * self.n_omega, 2, 2, 2, 2 * self.n_recipes)
        parts = np.split(unconstrained, np.cumsum(sizes)[:-1], axis=-1)
        free, mu, between, within, logit, recipe = parts
        lead = unconstrained.shape[:-1]
        points = np.ascontiguousarray(unconstrained.reshape(-1, unconstrained.shape[-1]))
        weight = _omega_weights(points, self.data)
        found = {
            "frequency": softmax(np.append(free, -free.sum(-1, keepdims=True), axis=-1), axis=-1),
            "mu": mu.reshape(*lead, self.n_omega, 2),
            "sd_between": np.exp(between),
            "sd_within": np.exp(within),
            "correlation": np.tanh(logit / 2),
            "recipe_effect": recipe.reshape(*lead, self.n_recipes, 2),
            "omega_weight": weight.reshape(*lead, self.n_groups, self.n_omega),
        }
        return {name: value for name, value in found.items() if value.size}


def omega_by_group_density(tables, concentration, prior=None):
    """Return the `OmegaByGroupDensity` of groups.

    Parameters
    ----------
    tables, concentration, prior
        As in `omega_by_group_model.omega_by_group_model`.
    """
    given = PRIOR | (prior or {})
    n_groups, n_omega, _ = tables.position.shape
    n_choices, n_members, n_recipes = tables.x.shape
    group = np.empty(n_choices)
    for g, places in enumerate(tables.position):
        group[places[places < n_choices]] = g
    members = np.concatenate([tables.mean, tables.covariance, tables.x], axis=-1)
    columns = [group, tables.omega, tables.present.sum(axis=-1), tables.log_weight]
    rows = np.column_stack([*columns, members.reshape(n_choices, -1)])
    head = [n_choices, n_groups, n_omega, n_recipes, n_members, *given.values()]
    head += [gammaln(np.sum(concentration)) - gammaln(concentration).sum() + math.log(n_omega)]
    data = np.concatenate([[0], head, concentration, rows.ravel()]).astype(float)
    data[0] = data.size
    log_mean = np.log(concentration) - np.log(concentration).mean()
    scales = np.log(np.repeat([given["between"], given["within"]], 2))
    mu = np.full(2 * n_omega, given["mu_location"])
    return OmegaByGroupDensity(
        n_groups=n_groups,
        n_omega=n_omega,
        n_recipes=n_recipes,
        data=data,
        start=np.concatenate([log_mean[:-1], mu, scales, np.zeros(2 + 2 * n_recipes)]),
    )


@cache
def _callback():
    """Return a C callback (n, point*, gradient*, value*, data*) -> code, in nutpie's convention."""

    def callback(n, point_, gradient_, value_, data_):
        data = numba.carray(data_, (int(numba.carray(data_, (1,))[0]),))
        point, gradient = numba.carray(point_, (n,)), numba.carray(gradient_, (n,))
        value = numba.carray(value_, (1,))
        value[0] = _log_density(point, data, gradient)
        return 0 if math.isfinite(value[0]) else _NON_FINITE

    try:
        return numba.cfunc(_SIGNATURE, cache=True)(callback)
    except RuntimeError:  # no place on disk
        return numba.cfunc(_SIGNATURE)(callback)


@compiled
def _log_densities(points, data):
    values, gradient = np.empty(len(points)), np.empty(points.shape[1])
    for i in range(len(points)):
        value = _log_density(points[i], data, gradient)
        values[i] = value if math.isfinite(value) else -np.inf
    return values


@compiled
def _omega_weights(points, data):
    """Return the weight of each group's omega given the others [point, group, omega]."""
    n_choices, n_groups, n_omega, n_recipes = int(data[1]), int(data[2]), int(data[3]), int(data[4])
    width = _ROW + int(data[5]) * (_MEMBER + n_recipes)
    parts = np.empty((n_choices, _PART + 2 * n_recipes))
    weight = np.zeros((len(points), n_groups, n_omega))
    for i in range(len(points)):
        _choices(points[i], data, parts)
        for c in range(n_choices):
            row = _HEAD + n_omega + c * width
            weight[i, int(data[row]), int(data[row + 1])] += parts[c, 0]
    return weight


@compiled
def _log_density(z, data, gradient):
    """Return the log density at z, NaN where anything is not finite, and write its gradient."""
    n_choices, n_omega, n_recipes = int(data[1]), int(data[3]), int(data[4])
    width = _ROW + int(data[5]) * (_MEMBER + n_recipes)
    parts = np.empty((n_choices, _PART + 2 * n_recipes))
    total = _choices(z, data, parts)
    by_spread, by_frequency = np.zeros(6), np.zeros(n_omega)
    for i in range(len(z)):
        gradient[i] = 0.0
    first_mu = n_omega - 1
    scales = 3 * n_omega - 1
    first_recipe = scales + 6
    for c in range(n_choices):
        k = int(data[_HEAD + n_omega + c * width + 1])
        weight = parts[c, 0]
        by_frequency[k] += weight
        gradient[first_mu + 2 * k] += weight * parts[c, 1]
        gradient[first_mu + 2 * k + 1] += weight * parts[c, 2]
        for i in range(6):
            by_spread[i] += weight * parts[c, 3 + i]
        for i in range(2 * n_recipes):
            gradient[first_recipe + i] += weight * parts[c, _PART + i]
    _by_scale(z, scales, scales + 4, by_spread, 3, gradient)
    _by_scale(z, scales + 2, scales + 5, by_spread, 0, gradient)
    total += _frequency_prior(z, data, n_omega, by_frequency, gradient)
    total += _hyperpriors(z, data, n_omega, n_recipes, gradient)
    for one in gradient:
        if not math.isfinite(one):
            return np.nan
    return total


@compiled
def _choices(z, data, parts):
    """Return the log likelihood, and write each choice's weight in its group and derivatives."""
    n_choices, n_groups, n_omega, n_recipes = int(data[1]), int(data[2]), int(data[3]), int(data[4])
    width = _ROW + int(data[5]) * (_MEMBER + n_recipes)
    scales = 3 * n_omega - 1
    sd, other, share = math.exp(z[scales]), math.exp(z[scales + 1]), math.tanh(z[scales + 4] / 2)
    t11, t12, t22 = sd * sd, share * sd * other, other * other
    sd, other = math.exp(z[scales + 2]), math.exp(z[scales + 3])
    share = math.tanh(z[scales + 5] / 2)
    w11, w12, w22 = sd * sd, share * sd * other, other * other
    log_frequency = _log_frequency(z, n_omega)
    highest, total = np.empty(n_groups), np.zeros(n_groups)
    for g in range(n_groups):
        highest[g] = -np.inf
    inverse = np.empty((int(data[5]), 5))
    for c in range(n_choices):
        row = _HEAD + n_omega + c * width
        g, k = int(data[row]), int(data[row + 1])
        value = data[row + 3] + log_frequency[k]
        value += _log_integral(z, data, row, t11, t12, t22, w11, w12, w22, inverse, parts[c])
        parts[c, 0] = value
        highest[g] = max(highest[g], value)
    for c in range(n_choices):
        g = int(data[_HEAD + n_omega + c * width])
        parts[c, 0] = math.exp(parts[c, 0] - highest[g])
        total[g] += parts[c, 0]
    for c in range(n_choices):
        parts[c, 0] /= total[int(data[_HEAD + n_omega + c * width])]
    found = 0.0
    for g in range(n_groups):
        found += highest[g] + math.log(total[g])
    return found


@compiled
def _log_frequency(z, n_omega):
    """Return the log frequency of every omega."""
    found, last = np.empty(n_omega), 0.0
    for k in range(n_omega - 1):
        found[k] = z[k]
        last -= z[k]
    found[n_omega - 1] = last
    highest, whole = last, 0.0
    for k in range(n_omega - 1):
        highest = max(highest, found[k])
    for k in range(n_omega):
        whole += math.exp(found[k] - highest)
    for k in range(n_omega):
        found[k] -= highest + math.log(whole)
    return found


@compiled
def _log_integral(z, data, row, t11, t12, t22, w11, w12, w22, inverse, part):
    """Return `omega_by_group_model.log_integral` of one choice; write its derivatives to `part`.

    `inverse` [member, 5] is to work in: V_s^-1 and d_s.

    With S = (I + T P)^-1 T and m = S h, the group's effect given the rest is Normal(m, S). So with
    r_s = V_s^-1 (d_s - m) and q = h - P m the derivative by the mean of d_s is r_s, by V_s
    (r_s r_s' + V_s^-1 S V_s^-1 - V_s^-1) / 2, and by T (q q' + P S P - P) / 2 (Fisher's identity).
    """
    n_omega, n_recipes = int(data[3]), int(data[4])
    k, n_members = int(data[row + 1]), int(data[row + 2])
    first_recipe = 3 * n_omega + 5
    own = p11 = p12 = p22 = h1 = h2 = 0.0
    for s in range(n_members):
        at = row + _ROW + s * (_MEMBER + n_recipes)
        d1 = data[at] - z[n_omega - 1 + 2 * k]
        d2 = data[at + 1] - z[n_omega + 2 * k]
        for i in range(n_recipes):
            d1 -= data[at + _MEMBER + i] * z[first_recipe + 2 * i]
            d2 -= data[at + _MEMBER + i] * z[first_recipe + 2 * i + 1]
        v11, v12, v22 = data[at + 2] + w11, data[at + 3] + w12, data[at + 4] + w22
        determinant = v11 * v22 - v12 * v12
        share = 1 / determinant
        i11, i12, i22 = v22 * share, -v12 * share, v11 * share
        f1, f2 = i11 * d1 + i12 * d2, i12 * d1 + i22 * d2
        own += _LOG_2_PI + 0.5 * math.log(determinant) + 0.5 * (d1 * f1 + d2 * f2)
        p11, p12, p22, h1, h2 = p11 + i11, p12 + i12, p22 + i22, h1 + f1, h2 + f2
        inverse[s, 0], inverse[s, 1], inverse[s, 2] = i11, i12, i22
        inverse[s, 3], inverse[s, 4] = d1, d2
    m11, m12 = 1 + t11 * p11 + t12 * p12, t11 * p12 + t12 * p22  # of I + T P
    m21, m22 = t12 * p11 + t22 * p12, 1 + t12 * p12 + t22 * p22
    joined = m11 * m22 - m12 * m21
    s11, s12 = (m22 * t11 - m12 * t12) / joined, (m22 * t12 - m12 * t22) / joined
    s22 = (m11 * t22 - m21 * t12) / joined
    g1, g2 = s11 * h1 + s12 * h2, s12 * h1 + s22 * h2
    for i in range(len(part)):
        part[i] = 0.0
    for s in range(n_members):
        i11, i12, i22 = inverse[s, 0], inverse[s, 1], inverse[s, 2]
        e1, e2 = inverse[s, 3] - g1, inverse[s, 4] - g2
        r1, r2 = i11 * e1 + i12 * e2, i12 * e1 + i22 * e2
        part[1] += r1
        part[2] += r2
        _add_curvature(r1, r2, i11, i12, i22, s11, s12, s22, 3, part)
        at = row + _ROW + s * (_MEMBER + n_recipes) + _MEMBER
        for i in range(n_recipes):
            part[_PART + 2 * i] += data[at + i] * r1
            part[_PART + 2 * i + 1] += data[at + i] * r2
    q1, q2 = h1 - p11 * g1 - p12 * g2, h2 - p12 * g1 - p22 * g2
    _add_curvature(q1, q2, p11, p12, p22, s11, s12, s22, 6, part)
    return -own - 0.5 * math.log(joined) + 0.5 * (h1 * g1 + h2 * g2)


@compiled
def _add_curvature(r1, r2, p11, p12, p22, s11, s12, s22, place, part):
    """Add (r r' + P S P - P) / 2 as derivatives by var alpha, covariance (twice) and var beta."""
    a11, a12 = p11 * s11 + p12 * s12, p11 * s12 + p12 * s22  # of P S
    a21, a22 = p12 * s11 + p22 * s12, p12 * s12 + p22 * s22
    part[place] += 0.5 * (r1 * r1 + a11 * p11 + a12 * p12 - p11)
    part[place + 1] += r1 * r2 + a11 * p12 + a12 * p22 - p12
    part[place + 2] += 0.5 * (r2 * r2 + a21 * p12 + a22 * p22 - p22)


@compiled
def _by_scale(z, sd, logit, by_spread, place, gradient):
    """Write derivatives by two sds and a correlation, from those by the spread's entries."""
    d11, d12, d22 = by_spread[place], by_spread[place + 1], by_spread[place + 2]
    first, second, c = math.exp(z[sd]), math.exp(z[sd + 1]), math.tanh(z[logit] / 2)
    gradient[sd] = 2 * first * d11 + c * second * d12
    gradient[sd + 1] = 2 * second * d22 + c * first * d12
    gradient[logit] = first * second * d12


@compiled
def _frequency_prior(z, data, n_omega, by_frequency, gradient):
    """Return the log prior of the frequencies over z, and write the gradient by their coordinates.

    The Jacobian of the coordinates is the product of the frequencies, times their number.
    `by_frequency` has the likelihood's derivatives by log frequencies.
    """
    log_frequency = _log_frequency(z, n_omega)
    total, sum_of_slopes = data[_HEAD - 1], 0.0
    for k in range(n_omega):
        concentration = data[_HEAD + k]
        total += concentration * log_frequency[k]
        by_frequency[k] += concentration
        sum_of_slopes += by_frequency[k]
    last = math.exp(log_frequency[n_omega - 1])
    for k in range(n_omega - 1):
        own = math.exp(log_frequency[k])
        gradient[k] = by_frequency[k] - by_frequency[n_omega - 1] - (own - last) * sum_of_slopes
    return total


# As in `population_density`: numba's cache on disk does not notice what changes in another file.
@compiled
def _hyperpriors(z, data, n_omega, n_recipes, gradient):
    """Return the log prior of all but the frequencies over z, and add its gradient.

    Derivatives by sd and correlation, which the gradient has at their places, become those by z.
    """
    location, mu_sd, recipe_sd = data[_PRIOR], data[_PRIOR + 1], data[_PRIOR + 4]
    scales = 3 * n_omega - 1
    total = 0.0
    for i in range(n_omega - 1, scales):
        total += _add_normal(z, i, location, mu_sd, gradient)
    for i in range(scales, scales + 4):
        sd, scale = math.exp(z[i]), data[_PRIOR + 2] if i < scales + 2 else data[_PRIOR + 3]
        total += 0.5 * math.log(2 / math.pi) - math.log(scale) - 0.5 * (sd / scale) ** 2 + z[i]
        gradient[i] = sd * gradient[i] + 1 - (sd / scale) ** 2
    for i in range(scales + 4, scales + 6):
        # of h = (1 + correlation) / 2 ~ Beta(2, 2); h (1 - h) = 1 / (2 cosh(z / 2))^2
        size = abs(z[i])
        total += math.log(6.0) - 2 * (size + 2 * math.log1p(math.exp(-size)))
        correlation = math.tanh(z[i] / 2)
        gradient[i] = gradient[i] / (2 * math.cosh(z[i] / 2) ** 2) - 2 * correlation
    for i in range(scales + 6, scales + 6 + 2 * n_recipes):
        total += _add_normal(z, i, 0.0, recipe_sd, gradient)
    return total


@compiled
def _add_normal(z, i, location, sd, gradient):
    """Return the log density of a Normal at z[i], and add its derivative."""
    standard = (z[i] - location) / sd
    gradient[i] -= standard / sd
    return -0.5 * standard**2 - math.log(sd) - 0.5 * _LOG_2_PI
