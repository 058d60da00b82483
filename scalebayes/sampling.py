"""Draws from a compiled log density by nutpie, and the highest points an optimiser finds."""

from dataclasses import dataclass
from functools import cache, lru_cache

import numba
import numpy as np
import pandas as pd
import pyarrow
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController

from scalebayes import nuts
from scalebayes.errors import SamplingInterrupted

_DOUBLES = numba.types.CPointer(numba.types.double)
_EXPAND_SIGNATURE = numba.types.int64(*[numba.types.uint64] * 2, *[_DOUBLES] * 3)
_STATS = ("diverging", "energy", "n_steps", "depth", "maxdepth_reached", "step_size_bar")

_METRIC = {"low_rank": {"mass_matrix_eigval_cutoff": 1.5}, "diag": {}}
"""Directions whose variance is off by more than this factor are stretched. nutpie's 2 leaves noise
scale and nu correlated, which costs a fifth of the effective draws per gradient."""

_ROUGHLY = {"ftol": 1e-6, "gtol": 1e-2}  # a missed mode is a matter of nats, not of digits


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Draws of one log density.

    Parameters
    ----------
    unconstrained : ndarray
        Draws [chain, draw, latent].
    log_density : ndarray
        Log density at each draw [chain, draw], nats.
    stats : dict of ndarray
        Sampler statistics [chain, draw]: diverging, energy, n_steps, depth, maxdepth_reached,
        step_size_bar.
    settings : dict
        draws, tune, chains, seed, adaptation, target_accept.
    """

    unconstrained: np.ndarray
    log_density: np.ndarray
    stats: dict
    settings: dict

    @property
    def by_chain(self):
        """Return the draws of each chain, as in `errors.SamplingInterrupted`."""
        values = zip(self.unconstrained, self.log_density, self.stats["diverging"], strict=True)
        names = ("unconstrained", "log_density", "diverging")
        return tuple(dict(zip(names, one, strict=True)) for one in values)


def sample(
    density, start, *, draws, tune, chains, cores, seed, adaptation="low_rank", target_accept=0.95
):
    """Return posterior draws by the no-U-turn sampler.

    Parameters
    ----------
    density : LogDensity
    start : ndarray
        Unconstrained point [latent] about which each chain starts (uniformly within 1).
    draws, tune, chains : int
        Kept and discarded draws per chain, and number of chains.
    cores : int or None
        Chains run at once; the draws do not depend on it.
    seed : int
        Same seed, same draws.
    adaptation : str
        nutpie's metric: "low_rank" or "diag".
    target_accept : float
        Target of the step size's adaptation, in (0, 1).

    Returns
    -------
    Draws

    Raises
    ------
    SamplingInterrupted
        With what there is.
    """
    settings = dict(draws=draws, tune=tune, chains=chains, seed=seed)
    settings |= dict(adaptation=adaptation, target_accept=target_accept)
    model = _as_nutpie(density, start)
    trace, interrupted = nuts.sampled(
        model,
        cores=cores,
        save_warmup=False,
        return_raw_trace=True,  # nutpie's own way to a DataTree takes a tenth of a second
        **settings,
        **_METRIC[adaptation],
    )
    points, stats = trace.get_arrow_trace()
    made = [int((~_numpy(batch.column("tuning"))).sum()) for batch in stats]
    if interrupted:
        raise SamplingInterrupted(chains=_chains(points, stats, made))
    unconstrained = _kept(points, "point", draws).reshape(chains, draws, start.size)
    return Draws(
        unconstrained=unconstrained,
        log_density=_kept(stats, "logp", draws),
        stats={name: _kept(stats, name, draws) for name in _STATS},
        settings=settings,
    )


def _chains(points, stats, made):
    """Return what there is of each chain that got beyond tuning."""
    return tuple(
        {
            "unconstrained": _kept([of_points], "point", n).reshape(n, -1),
            "log_density": _kept([of_stats], "logp", n)[0],
            "diverging": _kept([of_stats], "diverging", n)[0],
        }
        for of_points, of_stats, n in zip(points, stats, made, strict=True)
        if n
    )


def _kept(batches, name, draws):
    """Return a column of the draws after tuning [chain, draw]; lists are flat [chain, entry]."""
    columns = [_numpy(batch.column(name)) for batch in batches]
    width = columns[0].size // batches[0].num_rows
    return np.stack([one[-draws * width :] for one in columns])


def _numpy(column):
    """Return a column of Arrow as an array; one of lists as their entries, one after the other."""
    values = pyarrow.array(column)
    values = values.flatten() if hasattr(values, "flatten") else values
    return values.to_numpy(zero_copy_only=False)


def highest_density(density, starts):
    """Return the highest log density (nats) an optimiser reaches from starts, and where.

    The arguments are those of `ascended`.
    """
    values, points = ascended(density, starts)
    return values.max(), points[values.argmax()]


def ascended(density, starts, *, arrived=None):
    """Return where an optimiser ends from each start.

    Parameters
    ----------
    density : LogDensity
    starts : ndarray
        Unconstrained points [start, latent].
    arrived : callable, optional
        Of a log density and a point: whether that is far enough. The first start goes all the way.

    Returns
    -------
    values : ndarray
        Log densities [start], nats.
    points : ndarray
        Unconstrained points [start, latent].
    """

    def objective(point):
        value, gradient = density.value_and_gradient(point)
        return (-value, -gradient) if np.isfinite(value) else (1e12, gradient)

    def stop(intermediate_result):
        if arrived(-intermediate_result.fun, intermediate_result.x):
            raise StopIteration

    method = {"jac": True, "method": "L-BFGS-B", "options": _ROUGHLY}
    callbacks = [None, *[stop if arrived else None] * (len(starts) - 1)]
    with one_blas_thread():
        ends = [
            minimize(objective, start, callback=callback, **method)
            for start, callback in zip(starts, callbacks, strict=True)
        ]
    return np.array([-end.fun for end in ends]), np.stack([end.x for end in ends])


def one_blas_thread():
    """Return a context in which BLAS uses one thread: on small matrices more of them only wait."""
    return _blas().limit(limits=1, user_api="blas")


@cache
def _blas():
    return ThreadpoolController()


def _as_nutpie(density, start):
    """Return the density as a nutpie model whose draws are the unconstrained points."""
    n = start.size

    def initial_point(seed):
        return start + np.random.default_rng(seed).uniform(-1, 1, size=n)

    return nuts.CompiledPyMCModel(
        dims={},
        reparameterized_names=[],
        compiled_logp_func=density.callback,
        compiled_expand_func=_identity(),
        initial_point_func=initial_point,
        shared_data={},
        shared_var_keys={},
        user_data=density.data,
        n_expanded=n,
        shape_info=(["point"], [slice(0, n)], [(n,)]),
        logp_func=None,
        expand_func=None,
        _n_dim=n,
        _shapes={"point": (n,)},
        _coords={"unconstrained_parameter": pd.RangeIndex(n)},
    )


@lru_cache(maxsize=1)
def _identity():
    """Return nutpie's callback from a sampled point to what is stored: the point itself."""

    def callback(n, n_out, point_, out_, data_):
        point, out = numba.carray(point_, (n,)), numba.carray(out_, (n,))
        for i in range(n):
            out[i] = point[i]
        return 0

    try:
        return numba.cfunc(_EXPAND_SIGNATURE, cache=True)(callback)
    except RuntimeError:  # no place on disk
        return numba.cfunc(_EXPAND_SIGNATURE)(callback)
