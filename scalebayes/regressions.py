"""Regressions that published procedures read compute-optimal sizes off losses with.

They take losses over the dims `size` and `compute`, measured or simulated, with any further dims
(such as chain and draw) along; a loss that does not exist is NaN. Loops run over budgets, never
over draws.
"""

import numpy as np
import xarray as xr
from scipy.interpolate import Akima1DInterpolator
from scipy.spatial import ConvexHull, QhullError

from scalebayes.errors import InputError

POINTS_PER_SIZE = 25
"""Points between neighbouring sizes at which an interpolated isoFLOP curve is read.

Porian et al. (2024), arXiv:2406.19146, published code.
"""


LEAST_SIZES = 3
"""Sizes of one budget that a parabola, or an interpolated curve with an inside, needs."""


def refuse_other_coordinates(what, *arrays):
    """Raise where arrays that share a dim differ in its length or coordinates.

    Arithmetic would otherwise keep what they have in common and drop the rest.

    Raises
    ------
    InputError
        It names the dims; `what` says whose arrays they are.
    """
    try:
        xr.align(*arrays, join="exact", copy=False)
    except ValueError as error:
        msg = f"{what}: lengths and coordinates of shared dims must be equal, to the last digit: "
        raise InputError(f"{msg}{error}.") from error


def refuse_without_curves(present, *, name):
    """Raise when no budget has `LEAST_SIZES` sizes.

    Parameters
    ----------
    present : DataArray of bool
        Over size and compute; which runs there are.
    name : str
        Of the design or study, for the message.

    Raises
    ------
    InputError
    """
    most = int(present.sum("size").max())
    if most < LEAST_SIZES:
        msg = (
            f"{name}: isoFLOP curves need budgets at which {LEAST_SIZES} or more sizes were "
            f"trained; the most at one budget here is {most}."
        )
        raise InputError(msg)


def power_law(x, y, *, dim="compute", weights=None):
    """Return the exponent and coefficient of y = coefficient x^exponent, by least squares on logs.

    Parameters
    ----------
    x, y : DataArray
        Positive, sharing `dim`. Pairs where either is NaN or infinite do not count.
    dim : str
        Dim regressed over.
    weights : DataArray, optional
        Weight of each squared residual, >= 0, such as 1 / var(log y); pairs of weight 0 or NaN do
        not count.

    Returns
    -------
    Dataset
        exponent, log_coefficient, and n_points, the pairs used; NaN with fewer than two.

    Raises
    ------
    InputError
        When x or y is zero or negative somewhere, or a weight negative, or their coordinates
        differ.
    """
    weights = xr.ones_like(x) if weights is None else weights
    refuse_other_coordinates("power law", x, y, weights)
    if bool((x <= 0).any() | (y <= 0).any() | (weights < 0).any()):
        raise InputError("power law: x and y must be positive, and no weight negative.")
    log_x, log_y, weights = xr.broadcast(np.log(x), np.log(y), weights)
    known = np.isfinite(log_x) & np.isfinite(log_y) & (weights > 0)
    log_x, log_y, weight = log_x.where(known), log_y.where(known), weights.where(known, 0.0)
    n_points = known.sum(dim)
    total = weight.sum(dim).where(n_points > 1)
    mean_x = (weight * log_x).sum(dim) / total
    mean_y = (weight * log_y).sum(dim) / total
    spread = log_x - mean_x
    exponent = (weight * spread * log_y).sum(dim) / (weight * spread**2).sum(dim)
    return xr.Dataset(
        {
            "exponent": exponent,
            "log_coefficient": mean_y - exponent * mean_x,
            "n_points": n_points,
        }
    )


def envelope(loss):
    """Return the index along `size` of the lowest loss, and where there is one.

    Parameters
    ----------
    loss : DataArray
        Over size and more; NaN where there is no run.

    Returns
    -------
    index : DataArray
        Position along size, over the other dims; 0 where no loss is known.
    known : DataArray
        Whether any loss is.
    """
    known = loss.notnull().any("size")
    return loss.fillna(np.inf).argmin("size"), known


def hull(compute, loss):
    """Return the positions of the runs on the lower convex hull of log loss over log compute.

    Parameters
    ----------
    compute, loss : array
        Training FLOP and loss of each run or checkpoint, positive, one-dimensional.

    Returns
    -------
    ndarray of int
        In order of compute, each lower in loss than the one before.

    Raises
    ------
    InputError
        When fewer than three runs are given, a value is not positive and finite, or all runs have
        one compute or lie on one line.

    References
    ----------
    McLeish et al. (2025), arXiv:2502.06857, approach 1, in its published code: the hull together
    with one point beyond twice the greatest compute and loss.
    """
    compute, loss = np.asarray(compute, dtype=float), np.asarray(loss, dtype=float)
    if compute.size < 3:
        raise InputError(f"envelope: a hull needs three runs or more, found {compute.size}.")
    wrong = ~(np.isfinite([compute, loss]) & (np.array([compute, loss]) > 0)).all(axis=0)
    if wrong.any():
        found = compute[wrong][0], loss[wrong][0]
        msg = f"envelope: compute and loss must be positive and finite, found {found}."
        raise InputError(msg)
    corner = [2 * compute.max(), 2 * loss.max()]
    points = np.log(np.vstack([corner, np.column_stack([compute, loss])]))
    try:
        vertices = ConvexHull(points).vertices
    except QhullError as error:
        msg = "envelope: the runs have no hull; they repeat one point or lie on one line."
        raise InputError(msg) from error
    vertices = vertices[vertices != 0] - 1
    vertices = vertices[np.argsort(compute[vertices], kind="stable")]
    return vertices[np.diff(loss[vertices], prepend=np.inf) < 0]


def parabola_minima(log_size, loss):
    """Return the log size of lowest loss of a parabola through each budget's losses.

    A vertex beyond the sizes trained is an extrapolation of the parabola, not an optimum found.

    Parameters
    ----------
    log_size : DataArray
        Log parameters (or tokens) over size, and further dims.
    loss : DataArray
        Over size and further dims; NaN where there is no run.

    Returns
    -------
    Dataset
        log_size over all dims but size; NaN where fewer than three losses are known, the parabola
        is not convex, or its vertex lies beyond the sizes whose loss is known, which `outside`
        says.

    References
    ----------
    Hoffmann et al. (2022), arXiv:2203.15556, approach 2.
    """
    vertex = xr.apply_ufunc(_vertex, log_size, loss, input_core_dims=[["size"], ["size"]])
    trained = log_size.where(np.isfinite(loss))
    outside = (vertex < trained.min("size")) | (vertex > trained.max("size"))
    return xr.Dataset({"log_size": vertex.where(~outside), "outside": outside})


def _vertex(x, y):
    """Return the vertex of the least-squares parabola along the last axis."""
    x, y = np.broadcast_arrays(x, y)
    known = np.isfinite(y)
    n = known.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = np.where(known, x, 0.0).sum(axis=-1, keepdims=True) / n
        width = np.sqrt(np.where(known, (x - centre) ** 2, 0.0).sum(axis=-1, keepdims=True) / n)
        u = np.where(known, (x - centre) / width, 0.0)  # mean 0, mean square 1
        level = np.where(known, y, 0.0).sum(axis=-1, keepdims=True) / n
        y = np.where(known, y - level, 0.0)
        # u^2 made orthogonal to 1 and u
        skew = (u**3).sum(axis=-1, keepdims=True) / n
        v = np.where(known, u**2 - 1.0 - skew * u, 0.0)
        curvature = (v * y).sum(axis=-1) / (v**2).sum(axis=-1)
        slope = (u * y).sum(axis=-1) / n[..., 0] - curvature * skew[..., 0]
        vertex = centre[..., 0] - width[..., 0] * slope / (2 * curvature)
    return np.where((n[..., 0] >= LEAST_SIZES) & (curvature > 0), vertex, np.nan)


def interpolated_minima(log_size, loss):
    """Return the log size and loss at the bottom of each budget's interpolated isoFLOP curve.

    Log loss is interpolated in log size by Akima's piecewise cubics, and its lowest value read off
    at `POINTS_PER_SIZE` points per size.

    Parameters
    ----------
    log_size : DataArray
        Log parameters over size, and compute where sizes differ between budgets.
    loss : DataArray
        Over size, compute and further dims; NaN where there is no run. A run is there for all
        further dims or for none; a draw that lacks a loss which another has, has no minimum.

    Returns
    -------
    Dataset
        log_size and loss over compute and further dims; NaN where there are fewer than three sizes
        or the lowest value is at the smallest or largest.

    Raises
    ------
    InputError
        When sizes differ between draws: interpolation needs one set of sizes per budget.

    References
    ----------
    Porian et al. (2024), arXiv:2406.19146, section 3 and published code.
    """
    if set(log_size.dims) - {"size", "compute"}:
        msg = f"isoFLOP: sizes must not differ along {log_size.dims}, but between budgets at most."
        raise InputError(msg)
    others = [dim for dim in loss.dims if dim not in ("size", "compute")]
    loss = loss.transpose("compute", "size", *others)
    sizes = log_size.broadcast_like(loss.isel(dict.fromkeys(others, 0))).transpose(
        "compute", "size"
    )
    pairs = zip(sizes.values, loss.values, strict=True)
    found = np.array([_akima_minimum(x, y) for x, y in pairs])
    template = loss.isel(size=0, drop=True)
    values = {"log_size": found[:, 0], "loss": found[:, 1]}
    return xr.Dataset({name: template.copy(data=value) for name, value in values.items()})


def isoflop_power_law(compute, N, loss, *, weights=None):
    """Return the power law of N over compute at the bottoms of interpolated isoFLOP curves.

    Parameters
    ----------
    compute : DataArray
        Budgets in FLOP over compute.
    N, loss : DataArray
        As in `interpolated_minima`, N in parameters.
    weights : DataArray, optional
        As in `power_law`.

    Returns
    -------
    Dataset
        exponent, log_coefficient, n_budgets that have an optimum, and N over compute.
    """
    optimum = np.exp(interpolated_minima(np.log(N), loss)["log_size"])
    line = power_law(compute, optimum, weights=weights)
    return line.rename(n_points="n_budgets").assign(N=optimum)


def _akima_minimum(x, loss):
    """Return log size and loss at the minimum over sizes x, losses (size, ...)."""
    known = np.isfinite(x) & np.isfinite(loss.reshape(len(x), -1)).any(axis=1)
    order = np.flatnonzero(known)[np.argsort(x[known], kind="stable")]
    if len(order) < LEAST_SIZES:
        return np.full((2, *loss.shape[1:]), np.nan)
    x, loss = x[order], loss[order]
    whole = np.isfinite(loss).all(axis=0)
    log_loss = np.log(np.where(whole, loss, 1.0))
    grid = np.linspace(x[0], x[-1], POINTS_PER_SIZE * (len(x) - 1))
    curve = Akima1DInterpolator(x, log_loss)(grid)
    lowest = curve.argmin(axis=0)
    inside = (lowest > 0) & (lowest < len(grid) - 1) & whole
    bottom = np.exp(np.take_along_axis(curve, lowest[None], axis=0)[0])
    return np.stack([np.where(inside, grid[lowest], np.nan), np.where(inside, bottom, np.nan)])
