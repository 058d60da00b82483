"""The log density of a literature and its gradient, written out and compiled.

`synthesis_model` is the model as PyMC has it; this is the same density over the same unconstrained
coordinates, by hand, since compiling its graph took two minutes. One compilation serves any
literature.

Coordinates: log alpha, log beta, log tokens per parameter, log gamma, offsets of log gamma [run
set], log tau between and within, log of the errors that were not published [imputed].
"""

import math
from dataclasses import dataclass, field, replace
from functools import cache

import numba
import numpy as np

from scalebayes.laws import FLOP_PER_PARAMETER_AND_TOKEN
from scalebayes.machine_code import compiled
from scalebayes.synthesis_data import CATEGORIES
from scalebayes.synthesis_model import PRIOR, SynthesisData
from scalebayes.synthesis_slope import (
    LEAST_RISE,
    LONGEST_STEP,
    NO_WEIGHT,
    PLACES,
    REFERENCE_COMPUTE,
    SLOPE_WEIGHTS,
    STEPS,
)

_PRIOR = 5  # numbers before the priors: length of the data, rows, cells, run sets, imputed errors
_HEAD = _PRIOR + len(PRIOR)
_LOCATION, _SD, _RATIO, _GAMMA, _OWN_SD, _BETWEEN, _WITHIN, _ERROR = (
    _PRIOR + list(PRIOR).index(name)
    for name in (
        *("log_exponent_location", "log_exponent_sd", "log_ratio_location", "log_gamma_location"),
        *("log_gamma_own_sd", "tau_between", "tau_within", "log_se_location"),
    )
)
_N_CATEGORIES = len(CATEGORIES)
_ROW = 5 + _N_CATEGORIES  # value, error, replicate, run set, place of an imputed error or -1, cells
_CELL = 4  # run set, weight, log_c_min, log_c_max
_SCALARS = 4  # coordinates before the offsets
_NEAR = 1e-8  # a step of Newton's method after which the next is the last one
_LOG_SIX = math.log(FLOP_PER_PARAMETER_AND_TOKEN)
_LOG_REFERENCE = math.log(REFERENCE_COMPUTE)
_LOG_2_PI = math.log(2 * math.pi)
_DOUBLES = numba.types.CPointer(numba.types.double)
_SIGNATURE = numba.types.int64(numba.types.uint64, *[_DOUBLES] * 4)
_NON_FINITE = 4  # a code that nutpie takes as a divergence


@dataclass(frozen=True, kw_only=True)
class SynthesisDensity:
    """Log density of a literature over unconstrained coordinates.

    Parameters
    ----------
    literature : SynthesisData
    prior : dict
        Values of `synthesis_model.PRIOR`.
    coords : dict
        Labels of run_set and imputed.
    """

    literature: SynthesisData
    prior: dict = field(repr=False)
    coords: dict = field(repr=False)

    @property
    def callback(self):
        """Return the compiled density in nutpie's convention."""
        return _callback()

    @property
    def data(self):
        """Return sizes, priors, rows and cells, packed for the compiled code."""
        return _packed(self.literature, self.prior)

    @property
    def start(self):
        """Return the point [coordinate] where the priors have their mean or their scale."""
        prior, one = self.prior, self.literature
        exponent = [prior["log_exponent_location"]] * 2
        scalars = [*exponent, prior["log_ratio_location"], prior["log_gamma_location"]]
        scales = np.log([prior["tau_between"], prior["tau_within"]])
        errors = np.full(one.missing.size, prior["log_se_location"])
        return np.concatenate([scalars, np.zeros(len(one.member)), scales, errors])

    def with_data(self, **arrays):
        """Return the density of a literature of the same shape with other arrays."""
        return replace(self, literature=replace(self.literature, **arrays))

    def value_and_gradient(self, point):
        """Return the log density (nats), NaN where it overflows, and its gradient [coordinate]."""
        gradient = np.empty(len(point))
        return _log_density(np.ascontiguousarray(point, dtype=float), self.data, gradient), gradient

    def variables(self, unconstrained):
        """Return `synthesis_model.LATENTS`, each [...] or [..., element], of points."""
        first, last = _SCALARS, _SCALARS + len(self.literature.member)
        taus = np.exp(unconstrained[..., last : last + 2])
        return {
            "log_alpha": unconstrained[..., 0],
            "log_beta": unconstrained[..., 1],
            "log_tokens_per_parameter": unconstrained[..., 2],
            "log_gamma": unconstrained[..., 3],
            "gamma_offset": unconstrained[..., first:last],
            "tau_between": taus[..., 0],
            "tau_within": taus[..., 1],
            "log_se": unconstrained[..., last + 2 :],
        }


def synthesis_density(literature, *, prior=None, coords=None):
    """Return the `SynthesisDensity` of a literature.

    Parameters
    ----------
    literature, prior, coords
        As in `synthesis_model.synthesis_model`, whose first argument is called data.
    """
    sizes = {"run_set": len(literature.member), "imputed": literature.missing.size}
    labels = {dim: np.arange(size) for dim, size in sizes.items()} | (coords or {})
    return SynthesisDensity(literature=literature, prior=PRIOR | (prior or {}), coords=labels)


def _packed(data, prior):
    imputed = np.full(data.value.size, -1)
    imputed[data.missing] = np.arange(data.missing.size)
    rows = [data.value, data.se, data.replicate, data.run_set, imputed, *data.cell.T]
    cells = [data.run_set[data.row_of_cell], data.weight, data.log_c_min, data.log_c_max]
    head = [data.value.size, data.weight.size, len(data.member), data.missing.size]
    values = [prior[name] for name in PRIOR]
    bodies = (np.column_stack(columns).ravel() for columns in (rows, cells))
    packed = np.concatenate([[0], head, values, *bodies]).astype(float)
    packed[0] = packed.size
    return packed


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
def _log_density(z, data, gradient):
    """Return the log density at z, NaN where anything is not finite, and write its gradient."""
    n_rows, n_cells = int(data[1]), int(data[2])
    for i in range(len(z)):
        gradient[i] = 0.0
    slopes, by_slope = np.empty((n_cells, 5)), np.zeros(n_cells)
    for c in range(n_cells):
        cell = _HEAD + n_rows * _ROW + c * _CELL
        log_gamma = z[3] + data[_OWN_SD] * z[_SCALARS + int(data[cell])]
        _slope(z, log_gamma, data, cell, slopes[c])
    total = _likelihood(z, data, slopes, by_slope, gradient)
    for c in range(n_cells):
        run_set = int(data[_HEAD + n_rows * _ROW + c * _CELL])
        for i in range(4):
            gradient[i] += by_slope[c] * slopes[c, 1 + i]
        gradient[_SCALARS + run_set] += data[_OWN_SD] * by_slope[c] * slopes[c, 4]
    total += _priors(z, data, gradient)
    for one in gradient:
        if not math.isfinite(one):
            return np.nan
    return total


@compiled
def _slope(z, log_gamma, data, cell, found):
    """Write `synthesis_slope.frontier_slope` and its derivatives by the law of a cell.

    These are by log alpha, log beta, the log of tokens per parameter, and the cell's log gamma.
    """
    weight, length = max(data[cell + 1], NO_WEIGHT), data[cell + 3] - data[cell + 2]
    for i in range(5):
        found[i] = 0.0
    for j in range(len(PLACES)):
        log_c = data[cell + 2] + PLACES[j] * length
        values = _log_size(log_c, math.exp(z[0]), math.exp(z[1]), z[2], log_gamma, weight)
        for i in range(5):
            found[i] += SLOPE_WEIGHTS[j] / length * values[i]


@compiled
def _log_size(log_c, alpha, beta, log_ratio, log_gamma, weight):
    """Return the log of the optimal reported N at a log budget, and its four derivatives.

    Newton's steps are those of `synthesis_slope.optimal_log_body`, each with its derivative, so
    that the gradient is that of the value also where the steps did not reach the root. Once there,
    a step forgets the derivative it began with, and further ones change nothing.
    """
    log_n = (_LOG_REFERENCE - _LOG_SIX - log_ratio) / 2
    balance = beta * (log_n + log_ratio) - alpha * log_n
    x = (beta * (log_c - _LOG_SIX) - balance) / (alpha + beta)  # if all were body
    x_alpha = (log_n - x) / (alpha + beta)
    x_beta = (log_c - _LOG_SIX - log_n - log_ratio - x) / (alpha + beta)
    x_ratio, x_gamma = -0.5, 0.0
    if x > 3 * (x - log_gamma):
        x, x_alpha, x_beta = 3 * (x - log_gamma), 3 * x_alpha, 3 * x_beta
        x_ratio, x_gamma = -1.5, -3.0
    before = 1.0
    for _ in range(STEPS + 1):
        e = math.exp(log_gamma - 2 * x / 3)
        p, q = 1 / (1 + e), 1 / (1 + weight * e)  # body shares, of the law and as reported
        s, t = (1 + 2 * p) / 3, (1 + 2 * q) / 3
        counted = x + math.log1p(e)
        top = balance + alpha * counted + math.log(t / s)
        of_law, reported = p * (1 - p) / s, q * (1 - q) / t
        bend = reported - of_law
        whole = alpha * s + (4 / 9) * bend
        rise = t + whole / beta
        used = max(rise, LEAST_RISE)
        step = (log_c - _LOG_SIX - x - math.log1p(weight * e) - top / beta) / used
        if abs(step) > LONGEST_STEP:
            before = math.copysign(LONGEST_STEP, step)
            x += before
            continue
        # derivatives of the rise at this x, where it is not cut; d p / d log_gamma = -p (1 - p)
        r_alpha = r_beta = r_gamma = 0.0
        if rise > LEAST_RISE:
            d_p, d_q = -p * (1 - p), -q * (1 - q)
            of_p = d_p * (1 - 2 * p - (2 / 3) * of_law) / s
            of_q = d_q * (1 - 2 * q - (2 / 3) * reported) / t
            r_alpha, r_beta = s / beta, -whole / beta**2
            r_gamma = (2 / 3) * d_q + (alpha * (2 / 3) * d_p + (4 / 9) * (of_q - of_p)) / beta
        kept = 1 - (rise - (2 / 3) * step * r_gamma) / used
        by_beta = (log_n + log_ratio - top / beta) / beta  # of log C, as are the others
        by_gamma = (1 - q) + (alpha * (1 - p) - (2 / 3) * bend) / beta
        x_alpha = kept * x_alpha - ((counted - log_n) / beta + step * r_alpha) / used
        x_beta = kept * x_beta - (by_beta + step * r_beta) / used
        x_ratio = kept * x_ratio - (alpha + beta) / (2 * beta) / used
        x_gamma = kept * x_gamma - (by_gamma + step * r_gamma) / used
        x += step
        if abs(before) < _NEAR and rise > LEAST_RISE:
            break
        before = step
    reached = weight * math.exp(log_gamma - 2 * x / 3)
    share = 1 / (1 + reached)
    slope = (1 + 2 * share) / 3
    return (
        x + math.log1p(reached),
        slope * x_alpha * alpha,
        slope * x_beta * beta,
        slope * x_ratio,
        slope * x_gamma + 1 - share,
    )


@compiled
def _likelihood(z, data, slopes, by_slope, gradient):
    """Return the log likelihood of all run sets, and add its derivatives.

    Those by slopes of cells go to `by_slope`. A run set's effect given its rows and a category is
    Normal(m, S), m = tau^2 h / (1 + tau^2 P) and S = tau^2 / (1 + tau^2 P), so that the derivative
    by a slope is (d - m) / sigma^2 and by sigma^2 ((d - m)^2 + S - sigma^2) / (2 sigma^4)
    (Fisher's identity; for d, h and P see `synthesis_model.log_likelihoods`).
    """
    n_rows, n_sets = int(data[1]), int(data[3])
    place = _SCALARS + n_sets
    between, within = math.exp(2 * z[place]), math.exp(2 * z[place + 1])
    variance, own, precision = np.empty(n_rows), np.zeros(n_sets), np.zeros(n_sets)
    pull, part = np.zeros((n_sets, _N_CATEGORIES)), np.zeros((n_sets, _N_CATEGORIES))
    for i in range(n_rows):
        row = _HEAD + i * _ROW
        s, imputed = int(data[row + 3]), int(data[row + 4])
        square = data[row + 1] ** 2 if imputed < 0 else math.exp(2 * z[place + 2 + imputed])
        variance[i] = square + within * data[row + 2]
        own[s] += _LOG_2_PI + math.log(variance[i])
        precision[s] += 1 / variance[i]
        for k in range(_N_CATEGORIES):
            deviation = data[row] - slopes[int(data[row + 5 + k]), 0]
            pull[s, k] += deviation / variance[i]
            part[s, k] += deviation**2 / variance[i]
    total = 0.0
    for s in range(n_sets):
        spread = 1 + between * precision[s]
        highest, whole = -np.inf, 0.0
        for k in range(_N_CATEGORIES):
            value = own[s] + part[s, k] + math.log(spread) - between * pull[s, k] ** 2 / spread
            part[s, k] = -value / 2 - math.log(_N_CATEGORIES)
            highest = max(highest, part[s, k])
        for k in range(_N_CATEGORIES):
            part[s, k] = math.exp(part[s, k] - highest)
            whole += part[s, k]
        total += highest + math.log(whole)
        for k in range(_N_CATEGORIES):
            part[s, k] /= whole  # from here on the probability of a category
            gap = precision[s] - pull[s, k] ** 2 / spread
            gradient[place] -= part[s, k] * between * gap / spread
    for i in range(n_rows):
        row = _HEAD + i * _ROW
        s, imputed = int(data[row + 3]), int(data[row + 4])
        spread, by_variance = 1 + between * precision[s], 0.0
        for k in range(_N_CATEGORIES):
            cell = int(data[row + 5 + k])
            left = data[row] - slopes[cell, 0] - between * pull[s, k] / spread
            by_slope[cell] += part[s, k] * left / variance[i]
            square = left**2 + between / spread
            by_variance += 0.5 * part[s, k] * (square / variance[i] - 1) / variance[i]
        gradient[place + 1] += 2 * within * data[row + 2] * by_variance
        if imputed >= 0:
            gradient[place + 2 + imputed] += 2 * math.exp(2 * z[place + 2 + imputed]) * by_variance
    return total


@compiled
def _priors(z, data, gradient):
    """Return the log prior over z, and add its gradient."""
    place = _SCALARS + int(data[3])
    total = _add_normal(z, 0, data[_LOCATION], data[_SD], gradient)
    total += _add_normal(z, 1, data[_LOCATION], data[_SD], gradient)
    total += _add_normal(z, 2, data[_RATIO], data[_RATIO + 1], gradient)
    total += _add_normal(z, 3, data[_GAMMA], data[_GAMMA + 1], gradient)
    for i in range(_SCALARS, place):
        total += _add_normal(z, i, 0.0, 1.0, gradient)
    for i in range(place, place + 2):
        scale = data[_BETWEEN] if i == place else data[_WITHIN]
        square = (math.exp(z[i]) / scale) ** 2
        total += 0.5 * math.log(2 / math.pi) - math.log(scale) - 0.5 * square + z[i]
        gradient[i] += 1 - square
    for i in range(place + 2, len(z)):
        total += _add_normal(z, i, data[_ERROR], data[_ERROR + 1], gradient)
    return total


@compiled
def _add_normal(z, i, location, sd, gradient):
    """Return the log density of a Normal at z[i], and add its derivative."""
    standard = (z[i] - location) / sd
    gradient[i] -= standard / sd
    return -0.5 * standard**2 - math.log(sd) - 0.5 * _LOG_2_PI
