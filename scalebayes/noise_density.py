"""The log density of a study's noise and run effects, and its gradient, written out.

Of log losses less the law's, under Student-t or Normal noise whose scale may grow as tokens per
parameter fall (`noise`), with and without run effects (`coordinates.conditional_effects`).

Coordinates, those there are: log sigma, log (nu - 1), log eta, log tau; then one per run effect.
"""

import math

import numpy as np

from scalebayes.machine_code import inner
from scalebayes.noise import RATIO

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
_TINY, _HUGE = 1e-150, 1e150
_NEARLY_NORMAL = 1e4  # of nu: from there on logarithms close to 0 are taken one by one
_BOUND = 36.0  # of `coordinates.bounded_residual`


@inner
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
def _scales(z, place, noise, n_effects):
    """Return sigma, nu, eta and tau; 0 for one that a form does not have."""
    nu = 1.0 + math.exp(z[place + 1]) if noise >= _STUDENT_T else 0.0
    eta = math.exp(z[place + 2]) if noise == _BY_RATIO else 0.0
    tau = math.exp(z[place + 1 + noise]) if n_effects else 0.0
    return math.exp(z[place]), nu, eta, tau


@inner
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
def _likelihood(
    total, noise, scales, runs, index, residual, effects, by_residual, by_effect, by_scale
):
    """Return total and the log likelihood, and add its slopes by residuals, effects and scales."""
    sigma, nu, eta, tau = scales
    n, has_effects = len(residual), len(effects) > 0
    if noise >= _STUDENT_T:
        constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)
        by_nu = n * (0.5 * (_digamma((nu + 1) / 2) - _digamma(nu / 2)) - 0.5 / nu)
    else:
        constant, by_nu = -0.5 * LOG_2_PI, 0.0
    total += n * constant
    by_sigma = by_eta = by_tau = 0.0
    away, growth = 0.0, 1.0  # of the tokens per parameter from 20; of the scale with them
    # many logarithms are that of one product, as long as it is neither too large nor too small
    squares = tails = 1.0
    log_squares = log_tails = 0.0
    inverse_nu = 1.0 / nu if noise >= _STUDENT_T else 0.0
    nearly_normal = nu > _NEARLY_NORMAL
    for i in range(n):
        j = int(index[i]) if has_effects else -1
        left = residual[i] - tau * effects[j] if j >= 0 else residual[i]
        if noise == _BY_RATIO:
            away = _LOG_RATIO + runs[0, i] - runs[1, i]
            growth = math.exp(eta * away)
        scale = sigma * growth
        square = scale**2 + runs[3, i] ** 2
        inverse = 1.0 / square
        squares *= square
        if not _TINY < squares < _HUGE:
            log_squares += math.log(squares) if squares > 0.0 else np.nan
            squares = 1.0
        share, whole = 1.0, left**2 * inverse
        if noise >= _STUDENT_T:
            ratio = whole * inverse_nu
            share = (1.0 + inverse_nu) / (1.0 + ratio)
            by_nu += 0.5 * share * ratio
            whole *= share
            if nearly_normal:
                log_tails += math.log1p(ratio)
            else:
                tails *= 1.0 + ratio
                if tails > _HUGE:
                    log_tails += math.log(tails)
                    tails = 1.0
        else:
            total -= 0.5 * whole
        by_residual[i] = -share * left * inverse
        of_scale = scale * (whole - 1.0) * inverse
        by_sigma += of_scale * growth
        by_eta += of_scale * scale * away
        if j >= 0:
            by_tau -= effects[j] * by_residual[i]
            by_effect[j] -= tau * by_residual[i]
    total -= 0.5 * (log_squares + math.log(squares))
    log_tails += math.log(tails)
    if noise >= _STUDENT_T:
        total -= 0.5 * (nu + 1) * log_tails
        by_nu -= 0.5 * log_tails
    by_scale[0], by_scale[1], by_scale[2], by_scale[3] = by_sigma, by_nu, by_eta, by_tau
    return total


@inner
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
