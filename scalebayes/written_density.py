"""The log density of the forms that most fits have and its gradient, written out by hand.

`build.model_of` is the model as PyMC has it, and `compiled` compiles it for any law. This is the
same density, over the same coordinates, of the laws in `LAWS` under the noises in
`noise_density.NOISES`: less time per gradient, and no graph to compile. One compiled function
serves all of them, with and without run effects.
"""

import math
from functools import lru_cache

import numba
import numpy as np

from scalebayes.additive_density import additive_gradient, additive_terms
from scalebayes.isoflop_density import isoflop_gradient, isoflop_terms
from scalebayes.laws import LATENTS
from scalebayes.machine_code import compiled
from scalebayes.noise_density import LOG_2_PI, NOISES, runs_log_density

LAWS = ("chinchilla", "symmetric", "isoflop", "isoflop-surface")
"""Laws that are written here. Compiled functions know a law by its place."""

HEAD = 7
"""Numbers before the priors' parameters: the number of runs, mean log N, mean log D, and what
`form_numbers` returns."""

_SIGMAS = ("log_sigma", "sigma")
_KINDS = {"Normal": 0, "LogNormal": 1, "HalfNormal": 2}
_SYMMETRIC, _ISOFLOP, _SURFACE = 1, 2, 3  # places in `LAWS`
_N_LAW = tuple(len(LATENTS[law]) for law in LAWS)
_COLUMNS = (
    4  # log N, log D, log loss, its relative standard error; then budget, index of the effect
)
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
    if law not in LAWS or likelihood not in NOISES:
        return False
    n, noise = len(LATENTS[law]), NOISES[likelihood]
    return (
        latents[:n] == LATENTS[law]
        and latents[n] in _SIGMAS
        and latents[n + 1 :] in (noise, (*noise, "tau"))
        and set(dists[:n]) == {"Normal"}
        and set(dists) <= set(_KINDS)
    )


def form_numbers(law, likelihood, dists):
    """Return a written form as numbers: law, likelihood, number and kinds of its priors.

    The kinds are the digits of one number, the first one last.
    """
    kinds = sum(_KINDS[dist] * 10**place for place, dist in enumerate(dists))
    return LAWS.index(law), tuple(NOISES).index(likelihood), len(dists), kinds


@lru_cache(maxsize=1)
def written_log_density():
    """Return a C callback (n, point*, gradient*, value*, data*) -> code, in nutpie's convention.

    It is the same for all written forms: the data say which one they belong to.
    """

    def callback(n, point_, gradient_, value_, data_):
        size = _n_data(n, numba.carray(data_, (HEAD,)))
        if size < 0:
            return -1
        data = numba.carray(data_, (size,))
        point, gradient = numba.carray(point_, (n,)), numba.carray(gradient_, (n,))
        value = numba.carray(value_, (1,))
        value[0] = _log_density(point, data, gradient)
        return 0 if math.isfinite(value[0]) else _NON_FINITE

    try:
        return numba.cfunc(_SIGNATURE, cache=True)(callback)
    except RuntimeError:  # no place on disk
        return numba.cfunc(_SIGNATURE)(callback)


def written_log_densities(points, data):
    """Return the log density (nats) at each point [point, coordinate]; -inf where it overflows."""
    points = np.ascontiguousarray(points, dtype=float)
    # a copy: data that cannot be written to would be compiled for a second time
    return _log_densities(points, data.copy())


@compiled
def _log_densities(points, data):
    values, gradient = np.empty(len(points)), np.empty(points.shape[1])
    for i in range(len(points)):
        value = _log_density(points[i], data, gradient)
        values[i] = value if math.isfinite(value) else -np.inf
    return values


@compiled
def _log_density(z, data, gradient):
    """Return the log density at z, NaN where anything is not finite, and write its gradient."""
    n, law, noise, n_latents, kinds = (
        int(data[0]),
        int(data[3]),
        int(data[4]),
        int(data[5]),
        int(data[6]),
    )
    n_law, n_columns, n_effects = _N_LAW[law], _n_columns(data), len(z) - n_latents
    start = HEAD + _n_parameters(n_latents, kinds)
    runs = data[start : start + n_columns * n].reshape((n_columns, n))
    terms, residual, by_residual = np.empty((n, 3)), np.empty(n), np.empty(n)
    latents, slopes = np.empty(n_law), np.empty(n_latents)
    if law >= _ISOFLOP:
        isoflop_terms(z, law == _SURFACE, runs, runs[_COLUMNS], terms, latents)
    else:
        additive_terms(z, law == _SYMMETRIC, data[1], data[2], runs, terms, latents)
    _to_shares(terms, runs[2], residual)
    index, rows = runs[n_columns - 1], data[len(data) - n_effects :]
    total = runs_log_density(z, n_law, noise, runs, index, rows, residual, by_residual, gradient)
    total += _priors(z, data, kinds, latents, slopes)
    for i in range(n):
        for k in range(3):
            terms[i, k] *= -by_residual[i]  # the derivatives by the logs of the terms
    if law >= _ISOFLOP:
        isoflop_gradient(z, law == _SURFACE, runs, runs[_COLUMNS], terms, slopes, gradient)
    else:
        additive_gradient(z, law == _SYMMETRIC, data[1], data[2], runs, terms, slopes, gradient)
    for place in range(n_law, n_latents):
        gradient[place] += slopes[place]
    for one in gradient:
        if not math.isfinite(one):
            return np.nan
    return total


@compiled
def _to_shares(terms, loss, residual):
    """Write log losses less the law's, and in place of the logs of its terms their shares."""
    for i in range(len(residual)):
        highest = max(terms[i, 0], terms[i, 1], terms[i, 2])
        e = math.exp(terms[i, 0] - highest)
        s = math.exp(terms[i, 1] - highest)
        d = math.exp(terms[i, 2] - highest)
        whole = e + s + d
        terms[i, 0], terms[i, 1], terms[i, 2] = e / whole, s / whole, d / whole
        residual[i] = loss[i] - highest - math.log(whole)


@compiled
def _priors(z, data, kinds, latents, slopes):
    """Return the log priors over the coordinates, and write their derivatives by the latents."""
    total, place = 0.0, HEAD
    for i in range(len(slopes)):
        x = latents[i] if i < len(latents) else z[i]
        if (kinds // 10**i) % 10 == 2:
            scale = data[place]
            square = (math.exp(x) / scale) ** 2
            total += 0.5 * math.log(2 / math.pi) - math.log(scale) - 0.5 * square + x
            slopes[i] = 1 - square
            place += 1
        else:  # the logarithm of a LogNormal is Normal
            deviation = (x - data[place]) / data[place + 1]
            total -= 0.5 * (LOG_2_PI + deviation**2) + math.log(data[place + 1])
            slopes[i] = -deviation / data[place + 1]
            place += 2
    return total


@compiled
def _n_data(n_coordinates, head):
    """Return how many numbers the data are; -1 where a point is not one of their form."""
    n_latents = int(head[5])
    n_effects = n_coordinates - n_latents
    if n_effects < 0 or (n_effects > 0 and not _has_tau(head)):
        return -1
    n_priors = _n_parameters(n_latents, int(head[6]))
    return HEAD + n_priors + _n_columns(head) * int(head[0]) + n_effects


@compiled
def _has_tau(head):
    return int(head[5]) > _N_LAW[int(head[3])] + 1 + int(head[4])


@compiled
def _n_columns(head):
    return _COLUMNS + (int(head[3]) >= _ISOFLOP) + _has_tau(head)


@compiled
def _n_parameters(n_latents, kinds):
    total = 0
    for i in range(n_latents):
        total += 1 if (kinds // 10**i) % 10 == 2 else 2
    return total
