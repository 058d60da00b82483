"""The log density of the additive law under Student-t noise and its gradient, written out.

`build.model_of` is the model as PyMC has it, and `compiled` compiles it for any law. This is the
same density, over the same coordinates, by hand for the form that most fits have, with and without
run effects: less time per gradient, and no graph to compile.

Coordinates (see `coordinates`): log loss at the centre of the runs, log odds of the offset, log
odds of the size's share, log slopes by N and by D; log sigma, log (nu - 1) and, with run effects,
log tau and one coordinate per effect.
"""

import math
from functools import lru_cache

import numba
import numpy as np

from scalebayes.laws import ANCHOR_D, ANCHOR_N, LATENTS
from scalebayes.machine_code import compiled

LAW, LIKELIHOOD = "chinchilla", "student-t"
HEAD = 3
"""Numbers before the priors' parameters: the number of runs, mean log N, mean log D."""

_NOISE = ("nu_minus_one",)
_SIGMAS = ("log_sigma", "sigma")
_KINDS = {"Normal": 0, "LogNormal": 1, "HalfNormal": 2}
_WIDTHS = np.array([2, 2, 1])  # parameters of each kind
_N_LAW, _SIGMA, _NU, _TAU = 5, 5, 6, 7  # places of the coordinates
_COLUMNS = 4  # log N, log D, log loss, its relative standard error; then the index of the effect
_LOG_2_PI = math.log(2 * math.pi)
_LOG_ANCHOR_N, _LOG_ANCHOR_D = math.log(ANCHOR_N), math.log(ANCHOR_D)
_BOUND = 36.0  # of `coordinates.bounded_residual`
_NON_FINITE = 4  # a code that nutpie takes as a divergence
_DOUBLES = numba.types.CPointer(numba.types.double)
_SIGNATURE = numba.types.int64(numba.types.uint64, *[_DOUBLES] * 4)


def is_written(law, likelihood, latents, dists):
    """Return whether the density of a form is written here.

    Parameters
    ----------
    law, likelihood : str
    latents, dists : tuple of str
        Names of the free variables and PyMC's names of their priors.
    """
    noise = latents[_N_LAW:]
    return (
        (law, likelihood) == (LAW, LIKELIHOOD)
        and latents[:_N_LAW] == LATENTS[LAW]
        and noise[:1] in [(name,) for name in _SIGMAS]
        and noise[1:] in (_NOISE, (*_NOISE, "tau"))
        and set(dists[:_N_LAW]) == {"Normal"}
        and set(dists) <= set(_KINDS)
    )


@lru_cache(maxsize=8)
def written_log_density(dists):
    """Return a C callback (n, point*, gradient*, value*, data*) -> code, in nutpie's convention.

    Parameters
    ----------
    dists : tuple of str
        Of the free variables, in order.
    """
    code = _code(dists)
    n_latents, n_priors = len(dists), _n_parameters(dists)
    n_columns = _COLUMNS + (n_latents > _TAU)

    def callback(n, point_, gradient_, value_, data_):
        if n < n_latents or (n > n_latents and n_latents <= _TAU):
            return -1
        rows = int(numba.carray(data_, (1,))[0])
        data = numba.carray(data_, (HEAD + n_priors + n_columns * rows + n - n_latents,))
        point, gradient = numba.carray(point_, (n,)), numba.carray(gradient_, (n,))
        value = numba.carray(value_, (1,))
        # as an integer, not as a constant for each of which everything would be compiled again
        value[0] = _log_density(point, data, np.int64(n_latents), np.int64(code), gradient)
        return 0 if math.isfinite(value[0]) else _NON_FINITE

    try:
        return numba.cfunc(_SIGNATURE, cache=True)(callback)
    except RuntimeError:  # no place on disk
        return numba.cfunc(_SIGNATURE)(callback)


def written_log_densities(points, data, dists):
    """Return the log density (nats) at each point [point, coordinate]; -inf where it overflows."""
    points = np.ascontiguousarray(points, dtype=float)
    # a copy: data that cannot be written to would be compiled for a second time
    return _log_densities(points, data.copy(), len(dists), _code(dists))


def _code(dists):
    """Return the kinds of priors as the digits of one number, the first one last."""
    return sum(_KINDS[dist] * 10**place for place, dist in enumerate(dists))


def _n_parameters(dists):
    return int(sum(_WIDTHS[_KINDS[dist]] for dist in dists))


@compiled
def _log_densities(points, data, n_latents, code):
    values, gradient = np.empty(len(points)), np.empty(points.shape[1])
    for i in range(len(points)):
        value = _log_density(points[i], data, n_latents, code, gradient)
        values[i] = value if math.isfinite(value) else -np.inf
    return values


@compiled
def _log_density(z, data, n_latents, code, gradient):
    """Return the log density at z, NaN where anything is not finite, and write its gradient."""
    law = _law(z, data[1], data[2])
    start = HEAD + _n_priors(n_latents, code)
    by_law, by_scale = np.zeros(5), np.zeros(3)
    n_effects = len(z) - n_latents
    total = _runs(z, data, start, law, n_effects, by_law, by_scale, gradient)
    total += _priors(z, data, n_latents, code, law, by_law, gradient)
    _chain(z, law, by_law, gradient)
    for place in range(_SIGMA, n_latents):
        gradient[place] += math.exp(z[place]) * by_scale[place - _SIGMA]
    for one in gradient:
        if not math.isfinite(one):
            return np.nan
    return total


@compiled
def _softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@compiled
def _sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x))


@compiled
def _law(z, centre_N, centre_D):
    """Return log E, both log terms at the centre of the runs, alpha, beta and that centre."""
    reducible = z[0] - _softplus(z[1])
    log_E = z[0] - _softplus(-z[1])
    alpha = math.exp(z[3] + _softplus(z[1]) + _softplus(-z[2]))
    beta = math.exp(z[4] + _softplus(z[1]) + _softplus(z[2]))
    size, data = reducible - _softplus(-z[2]), reducible - _softplus(z[2])
    return log_E, size, data, alpha, beta, centre_N, centre_D


@compiled
def _runs(z, data, start, law, n_effects, by_law, by_scale, gradient):
    """Return the log likelihood of the runs and the log density of their effects.

    Adds derivatives by log E, both terms, alpha and beta to `by_law`, those by sigma, nu and tau to
    `by_scale`, and writes those by the effects' coordinates.
    """
    n = int(data[0])
    log_N, log_D = data[start : start + n], data[start + n : start + 2 * n]
    loss, loss_se = data[start + 2 * n : start + 3 * n], data[start + 3 * n : start + 4 * n]
    index = data[start + 4 * n : start + 5 * n]
    rows = data[len(data) - n_effects :]
    first = len(z) - n_effects
    tau = math.exp(z[_TAU]) if n_effects else 0.0
    sigma, nu = math.exp(z[_SIGMA]), 1.0 + math.exp(z[_NU])
    log_E, size, rest, alpha, beta, centre_N, centre_D = law
    residual, by_residual, shares = np.empty(n), np.empty(n), np.empty((n, 3))
    for i in range(n):
        of_N = size - alpha * (log_N[i] - centre_N)
        of_D = rest - beta * (log_D[i] - centre_D)
        highest = max(log_E, of_N, of_D)
        e, s, d = math.exp(log_E - highest), math.exp(of_N - highest), math.exp(of_D - highest)
        whole = e + s + d
        shares[i, 0], shares[i, 1], shares[i, 2] = e / whole, s / whole, d / whole
        residual[i] = loss[i] - highest - math.log(whole)
    bound = _BOUND * (sigma**2 + tau**2)
    effects, means, widths = np.empty(n_effects), np.zeros(n_effects), np.empty(n_effects)
    if n_effects:
        for i in range(n):
            if index[i] >= 0:
                means[int(index[i])] += residual[i] / (1 + residual[i] ** 2 / bound)
    total = 0.0
    for j in range(n_effects):
        widths[j] = math.sqrt(1 + rows[j] * (tau / sigma) ** 2)
        means[j] *= tau / (sigma * widths[j]) ** 2
        effects[j] = means[j] + z[first + j] / widths[j]
        total -= 0.5 * (effects[j] ** 2 + _LOG_2_PI) + math.log(widths[j])
    by_effect = -effects
    constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)
    total += n * constant
    by_nu = n * (0.5 * (_digamma((nu + 1) / 2) - _digamma(nu / 2)) - 0.5 / nu)
    by_sigma = by_tau = 0.0
    for i in range(n):
        j = int(index[i]) if n_effects else -1
        left = residual[i] - tau * effects[j] if j >= 0 else residual[i]
        square = sigma**2 + loss_se[i] ** 2
        ratio = left**2 / (nu * square)
        log_ratio = math.log1p(ratio)
        total -= 0.5 * math.log(square) + 0.5 * (nu + 1) * log_ratio
        share = (nu + 1) / (nu * (1 + ratio))
        by_residual[i] = -share * left / square
        by_sigma += sigma * (share * left**2 / square - 1) / square
        by_nu += 0.5 * (share * ratio - log_ratio)
        if j >= 0:
            by_tau -= effects[j] * by_residual[i]
            by_effect[j] -= tau * by_residual[i]
    by_sum = np.zeros(n_effects)
    for j in range(n_effects):
        width, of_mean = widths[j], by_effect[j]
        gradient[first + j] = of_mean / width
        of_width = -(of_mean * z[first + j] / width + 1 + 2 * of_mean * means[j]) / width
        by_sum[j] = of_mean * tau / (sigma * width) ** 2
        by_tau += of_mean * means[j] / tau + of_width * rows[j] * tau / (sigma**2 * width)
        by_sigma -= 2 * of_mean * means[j] / sigma
        by_sigma -= of_width * rows[j] * tau**2 / (sigma**3 * width)
    for i in range(n):
        if n_effects and index[i] >= 0:
            of_sum, u = by_sum[int(index[i])], residual[i] ** 2 / bound
            by_residual[i] += of_sum * (1 - u) / (1 + u) ** 2
            by_bound = of_sum * residual[i] * u / (bound * (1 + u) ** 2)
            by_sigma += 2 * _BOUND * sigma * by_bound
            by_tau += 2 * _BOUND * tau * by_bound
        of_N, of_D = by_residual[i] * shares[i, 1], by_residual[i] * shares[i, 2]
        by_law[0] -= by_residual[i] * shares[i, 0]
        by_law[1] -= of_N
        by_law[2] -= of_D
        by_law[3] += of_N * (log_N[i] - centre_N)
        by_law[4] += of_D * (log_D[i] - centre_D)
    by_scale[0], by_scale[1], by_scale[2] = by_sigma, by_nu, by_tau
    return total


@compiled
def _priors(z, data, n_latents, code, law, by_law, gradient):
    """Return the log priors over the coordinates, and add derivatives.

    Those of the law's latents go to `by_law`, where alpha and beta become log alpha and log beta.
    """
    log_E, size, rest, alpha, beta, centre_N, centre_D = law
    shift_N, shift_D = centre_N - _LOG_ANCHOR_N, centre_D - _LOG_ANCHOR_D
    latents = (
        log_E,
        size + alpha * shift_N,
        rest + beta * shift_D,
        math.log(alpha),
        math.log(beta),
    )
    total, place = 0.0, HEAD
    slopes = np.empty(n_latents)
    for i in range(n_latents):
        kind = (code // 10**i) % 10
        x = latents[i] if i < _N_LAW else z[i]
        if kind == 2:
            scale = data[place]
            square = (math.exp(x) / scale) ** 2
            total += 0.5 * math.log(2 / math.pi) - math.log(scale) - 0.5 * square + x
            slopes[i] = 1 - square
            place += 1
        else:  # the logarithm of a LogNormal is Normal
            deviation = (x - data[place]) / data[place + 1]
            total -= 0.5 * (_LOG_2_PI + deviation**2) + math.log(data[place + 1])
            slopes[i] = -deviation / data[place + 1]
            place += 2
    by_law[3] = alpha * (by_law[3] + slopes[1] * shift_N) + slopes[3]
    by_law[4] = beta * (by_law[4] + slopes[2] * shift_D) + slopes[4]
    for i in range(3):
        by_law[i] += slopes[i]
    for i in range(_SIGMA, n_latents):
        gradient[i] = slopes[i]
    return total


@compiled
def _chain(z, law, by_law, gradient):
    """Write derivatives by the law's coordinates, from those by its latents."""
    of_E, of_size, of_data, of_alpha, of_beta = by_law
    offset, share = _sigmoid(z[1]), _sigmoid(z[2])
    gradient[0] = of_E + of_size + of_data
    gradient[1] = offset * (of_alpha + of_beta - of_size - of_data) + (1 - offset) * of_E
    gradient[2] = (1 - share) * (of_size - of_alpha) + share * (of_beta - of_data)
    gradient[3] = of_alpha
    gradient[4] = of_beta


@compiled
def _n_priors(n_latents, code):
    total = 0
    for i in range(n_latents):
        total += 1 if (code // 10**i) % 10 == 2 else 2
    return total


@compiled
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
