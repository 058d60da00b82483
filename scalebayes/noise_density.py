"""The log density of a study's noise and run effects, and its gradient, written out.

Of log losses less the law's, under Student-t or Normal noise whose scale may grow as tokens per
parameter fall (`noise`), with and without run effects (`coordinates.conditional_effects`).

Coordinates, those there are: log sigma, log (nu - 1), log eta, log tau; then one per run effect.
"""

import math

import numpy as np

from scalebayes.machine_code import inner, versioned
from scalebayes.noise import RATIO
from scalebayes.vector_math import WIDTH, exp_each

NOISES = {
    "normal": (),
    "student-t": ("nu_minus_one",),
    "student-t-ratio": ("nu_minus_one", "eta"),
}
"""Likelihoods that are written here, and their free variables after the scale of the noise.
Compiled functions know a likelihood by its place, which is also how many of those it has."""

LOG_2_PI = math.log(2 * math.pi)

_STUDENT_T, _BY_RATIO = 1, 2  # places in `NOISES`; the second is Student-t noise too
_LOG_RATIO = math.log(RATIO)
_VERSIONED = versioned("machine_code", "vector_math", "noise", by=WIDTH)
_TINY, _HUGE = 1e-150, 1e150
_NEARLY_NORMAL = 1e4  # of nu: from there on logarithms close to 0 are taken one by one
_BOUND = 36.0  # of `coordinates.bounded_residual`


@inner
@_VERSIONED
def runs_log_density(z, place, noise, runs, index, rows, residual, by_residual, gradient):
    """Return the log likelihood of the runs and the log density of their effects.

    Writes the derivatives by the residuals to `by_residual`, and those by the coordinates from log
    sigma on to `gradient`; priors are not in them.

    Parameters
    ----------
    z : ndarray
        Point [coordinate].
    place : int
        Place of log sigma.
    noise : int
        Place of the likelihood in `NOISES`.
    runs : ndarray
        log N, log D, log loss and its relative standard error [4, run].
    index, rows : ndarray
        Which effect a run has [run], and how many runs each has [effect]; empty without effects.
    residual : ndarray
        Log loss less the law's [run].
    by_residual, gradient : ndarray
    """
    n_effects = len(rows)
    scales = _scales(z, place, noise, n_effects)
    bound = _BOUND * (scales[0] ** 2 + scales[3] ** 2)
    effects, means, widths = np.empty(n_effects), np.zeros(n_effects), np.empty(n_effects)
    by_effect, by_scale = np.empty(n_effects), np.zeros(4)
    of_effects = 0.0
    if n_effects:
        of_effects = _effects(
            *(z, scales[0], scales[3], rows, index, bound, residual),
            *(effects, means, widths, by_effect),
        )
    total = _likelihood(
        *(of_effects, noise, scales, runs, index, residual, effects),
        *(by_residual, by_effect, by_scale),
    )
    if n_effects:
        _slopes_of_effects(
            *(z, scales[0], scales[3], rows, index, bound, residual, means, widths),
            *(by_effect, by_residual, by_scale, gradient),
        )
    # sigma, then as many of nu and eta as the noise has, then tau
    for kind in range(1 + noise):
        gradient[place + kind] = math.exp(z[place + kind]) * by_scale[kind]
    for j in range(place + 1 + noise, len(z) - n_effects):
        gradient[j] = math.exp(z[j]) * by_scale[3]
    return total


@inner
@_VERSIONED
def _scales(z, place, noise, n_effects):
    """Return sigma, nu, eta and tau; 0 for one that a form does not have."""
    nu = 1.0 + math.exp(z[place + 1]) if noise >= _STUDENT_T else 0.0
    eta = math.exp(z[place + 2]) if noise == _BY_RATIO else 0.0
    tau = math.exp(z[place + 1 + noise]) if n_effects else 0.0
    return math.exp(z[place]), nu, eta, tau


@inner
@_VERSIONED
def _effects(z, sigma, tau, rows, index, bound, residual, effects, means, widths, by_effect):
    """Return the log density of the effects; write them, their means and widths and its slopes."""
    for i in range(len(residual)):
        if index[i] >= 0:
            means[int(index[i])] += residual[i] / (1 + residual[i] ** 2 / bound)
    first = len(z) - len(rows)
    total = 0.0
    for j in range(len(rows)):
        widths[j] = math.sqrt(1 + rows[j] * (tau / sigma) ** 2)
        means[j] *= tau / (sigma * widths[j]) ** 2
        effects[j] = means[j] + z[first + j] / widths[j]
        by_effect[j] = -effects[j]
        total -= 0.5 * (effects[j] ** 2 + LOG_2_PI) + math.log(widths[j])
    return total


@inner
@_VERSIONED
def _likelihood(
    total, noise, scales, runs, index, residual, effects, by_residual, by_effect, by_scale
):
    """Return total and the log likelihood, and add its slopes by residuals, effects and scales."""
    sigma, nu, _, tau = scales
    n = len(residual)
    if noise >= _STUDENT_T:
        constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)
        by_nu = n * (0.5 * (_digamma((nu + 1) / 2) - _digamma(nu / 2)) - 0.5 / nu)
    else:
        constant, by_nu = -0.5 * LOG_2_PI, 0.0
    total += n * constant
    left, scale = _left_and_scale(noise, scales, runs, index, residual, effects)
    # rows are taken several at a time in loops that neither add up nor branch
    square, ratio, weight = np.empty(n), np.empty(n), np.empty(n)
    inverse_nu = 1.0 / nu if noise >= _STUDENT_T else 0.0
    for i in range(n):
        square[i] = scale[i] ** 2 + runs[3, i] ** 2
        inverse = 1.0 / square[i]
        whole = left[i] ** 2 * inverse
        ratio[i] = whole * inverse_nu
        share = (1.0 + inverse_nu) / (1.0 + ratio[i])  # 1 under Normal noise
        weight[i] = share * whole
        by_residual[i] = -share * left[i] * inverse
        scale[i] = scale[i] ** 2 * (weight[i] - 1.0) * inverse  # now the derivative by its log
    # many logarithms are that of one product, as long as it is neither too large nor too small
    squares, log_squares, weights, by_log_scale = 1.0, 0.0, 0.0, 0.0
    for i in range(n):
        squares *= square[i]
        if not _TINY < squares < _HUGE:
            log_squares += math.log(squares) if squares > 0.0 else np.nan
            squares = 1.0
        weights += weight[i]
        by_log_scale += scale[i]
    total -= 0.5 * (log_squares + math.log(squares))
    if noise >= _STUDENT_T:
        log_tails = _log_tails(ratio, nu)
        total -= 0.5 * (nu + 1) * log_tails
        by_nu += 0.5 * (weights * inverse_nu - log_tails)
    else:
        total -= 0.5 * weights
    by_eta = by_tau = 0.0
    if noise == _BY_RATIO:
        for i in range(n):
            by_eta += scale[i] * (_LOG_RATIO + runs[0, i] - runs[1, i])
    if len(effects):
        for i in range(n):
            if index[i] >= 0:
                j = int(index[i])
                by_tau -= effects[j] * by_residual[i]
                by_effect[j] -= tau * by_residual[i]
    by_sigma = by_log_scale / sigma if sigma > 0.0 else 0.0
    by_scale[0], by_scale[1], by_scale[2], by_scale[3] = by_sigma, by_nu, by_eta, by_tau
    return total


@inner
@_VERSIONED
def _left_and_scale(noise, scales, runs, index, residual, effects):
    """Return the residuals less the runs' effects, and the scale of the noise of each run."""
    sigma, _, eta, tau = scales
    left, scale = residual.copy(), np.full(len(residual), sigma)
    if len(effects):
        for i in range(len(left)):
            if index[i] >= 0:
                left[i] -= tau * effects[int(index[i])]
    if noise == _BY_RATIO:
        for i in range(len(scale)):
            scale[i] = eta * (_LOG_RATIO + runs[0, i] - runs[1, i])
        exp_each(scale)
        scale *= sigma
    return left, scale


@inner
@_VERSIONED
def _log_tails(ratio, nu):
    """Return the sum of log(1 + ratio)."""
    total, product = 0.0, 1.0
    if nu > _NEARLY_NORMAL:
        for one in ratio:
            total += math.log1p(one)
        return total
    for one in ratio:
        product *= 1.0 + one
        if product > _HUGE:
            total += math.log(product)
            product = 1.0
    return total + math.log(product)


@inner
@_VERSIONED
def _slopes_of_effects(
    z,
    sigma,
    tau,
    rows,
    index,
    bound,
    residual,
    means,
    widths,
    by_effect,
    by_residual,
    by_scale,
    gradient,
):
    """Write derivatives by the effects' coordinates; add what mean and width pass on."""
    first = len(z) - len(rows)
    by_sum = np.empty(len(rows))
    by_sigma, by_tau = by_scale[0], by_scale[3]
    for j in range(len(rows)):
        width, of_mean = widths[j], by_effect[j]
        gradient[first + j] = of_mean / width
        of_width = -(of_mean * z[first + j] / width + 1 + 2 * of_mean * means[j]) / width
        by_sum[j] = of_mean * tau / (sigma * width) ** 2
        by_tau += of_mean * means[j] / tau + of_width * rows[j] * tau / (sigma**2 * width)
        by_sigma -= 2 * of_mean * means[j] / sigma
        by_sigma -= of_width * rows[j] * tau**2 / (sigma**3 * width)
    for i in range(len(residual)):
        if index[i] >= 0:
            of_sum, u = by_sum[int(index[i])], residual[i] ** 2 / bound
            by_residual[i] += of_sum * (1 - u) / (1 + u) ** 2
            by_bound = of_sum * residual[i] * u / (bound * (1 + u) ** 2)
            by_sigma += 2 * _BOUND * sigma * by_bound
            by_tau += 2 * _BOUND * tau * by_bound
    by_scale[0], by_scale[3] = by_sigma, by_tau


@inner
@_VERSIONED
def _digamma(x):
    """Return the derivative of log Gamma at x > 0, to rounding (asymptotic from 8 on)."""
    total = 0.0
    while x < 8.0:
        total -= 1.0 / x
        x += 1.0
    inverse = 1.0 / (x * x)
    series = 1 / 252 - inverse * (1 / 240 - inverse * (1 / 132 - inverse * 691 / 32760))
    series = 1 / 12 - inverse * (1 / 120 - inverse * series)
    return total + math.log(x) - 0.5 / x - inverse * series
