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
from scalebayes.laws import ISOFLOP, LATENTS
from scalebayes.machine_code import compiled, inner, versioned
from scalebayes.noise_density import LOG_2_PI, NOISES, runs_log_density
from scalebayes.vector_math import WIDTH, exp_each, log_each

LAWS = ("chinchilla", "symmetric", "isoflop", "isoflop-surface")
"""Laws that are written here. Compiled functions know a law by its place."""

HEAD = 10
"""Numbers before the priors' parameters: those of runs and of run effects, mean log N, mean log D,
and what `form_numbers` returns."""

PARTS = (
    *("machine_code", "vector_math", "laws", "noise"),
    *("noise_density", "additive_density", "isoflop_density"),
)
"""Modules whose code or numbers are compiled into what is written here."""

_SIGMAS = ("log_sigma", "sigma")
_KINDS = {"Normal": 0, "LogNormal": 1, "HalfNormal": 2}
_WIDTHS = (2, 2, 1)  # parameters of each kind
_VERSIONED = versioned(*PARTS, by=WIDTH)
_SYMMETRIC, _ISOFLOP, _SURFACE = 1, 2, 3  # places in `LAWS`
_N_LAW = tuple(len(LATENTS[law]) for law in LAWS)
_COLUMNS = 4  # log N, log D, log loss and its standard error; then budget, index of the effect
_LARGEST_LOG = 600.0  # of a term over the offset; above, the largest term is the unit
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
    """Return what compiled functions know of a written form.

    Parameters
    ----------
    law, likelihood : str
    dists : tuple of str
        Of the free variables, in order.

    Returns
    -------
    tuple of int
        Law, likelihood, numbers of free variables, of their priors' parameters and of columns, and
        the kinds of priors as the digits of one number, the first one last.
    """
    kinds = [_KINDS[dist] for dist in dists]
    noise = tuple(NOISES).index(likelihood)
    has_tau = len(dists) > len(LATENTS[law]) + 1 + noise
    return (
        LAWS.index(law),
        noise,
        len(dists),
        sum(_WIDTHS[kind] for kind in kinds),
        _COLUMNS + (law in ISOFLOP) + has_tau,
        sum(kind * 10**place for place, kind in enumerate(kinds)),
    )


@lru_cache(maxsize=1)
def written_log_density():
    """Return a C callback (n, point*, gradient*, value*, data*) -> code, in nutpie's convention.

    It is the same for all written forms: the data say which one they belong to.
    """

    @_VERSIONED
    def callback(n, point_, gradient_, value_, data_):
        head = numba.carray(data_, (HEAD,))
        rows, effects = int(head[0]), int(head[1])
        n_latents, n_priors, n_columns = int(head[6]), int(head[7]), int(head[8])
        if n != n_latents + effects:
            return -1
        size = HEAD + n_priors + n_columns * rows + effects
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
@_VERSIONED
def _log_densities(points, data):
    values, gradient = np.empty(len(points)), np.empty(points.shape[1])
    for i in range(len(points)):
        value = _log_density(points[i], data, gradient)
        values[i] = value if math.isfinite(value) else -np.inf
    return values


@inner
@_VERSIONED
def _log_density(z, data, gradient):
    """Return the log density at z, NaN where anything is not finite, and write its gradient."""
    n, n_effects, law, noise = int(data[0]), int(data[1]), int(data[4]), int(data[5])
    n_latents, start, n_columns = int(data[6]), HEAD + int(data[7]), int(data[8])
    n_law = _N_LAW[law]
    runs = data[start : start + n_columns * n].reshape((n_columns, n))
    terms, residual, by_residual = np.empty((3, n)), np.empty(n), np.empty(n)
    latents, slopes = np.empty(n_law), np.empty(n_latents)
    if law >= _ISOFLOP:
        isoflop_terms(z, law == _SURFACE, runs, runs[_COLUMNS], terms, latents)
    else:
        additive_terms(z, law == _SYMMETRIC, data[2], data[3], runs, terms, latents)
    _to_shares(terms, runs[2], residual)
    index, rows = runs[n_columns - 1], data[len(data) - n_effects :]
    total = runs_log_density(z, n_law, noise, runs, index, rows, residual, by_residual, gradient)
    total += _priors(z, data, int(data[9]), latents, slopes)
    for i in range(n):
        for k in range(3):
            terms[k, i] *= -by_residual[i]  # the derivatives by the logs of the terms
    if law >= _ISOFLOP:
        isoflop_gradient(z, law == _SURFACE, runs, runs[_COLUMNS], terms, slopes, gradient)
    else:
        additive_gradient(z, law == _SYMMETRIC, data[2], data[3], runs, terms, slopes, gradient)
    for place in range(n_law, n_latents):
        gradient[place] += slopes[place]
    for one in gradient:
        if not math.isfinite(one):
            return np.nan
    return total


@inner
@_VERSIONED
def _to_shares(terms, loss, residual):
    """Write log losses less the law's, and in place of the logs of its terms their shares."""
    offset, size, data = terms[0], terms[1], terms[2]
    n = len(residual)
    for i in range(n):
        base = offset[i]
        if max(size[i], data[i]) - base > _LARGEST_LOG:
            base = max(size[i], data[i])
        residual[i] = loss[i] - base
        offset[i] = 1.0 if base == offset[i] else math.exp(offset[i] - base)
        size[i] -= base
        data[i] -= base
    exp_each(size)
    exp_each(data)
    whole = np.empty(n)
    for i in range(n):
        whole[i] = offset[i] + size[i] + data[i]
        share = 1.0 / whole[i]
        offset[i] *= share
        size[i] *= share
        data[i] *= share
    log_each(whole)
    for i in range(n):
        residual[i] -= whole[i]


@inner
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
