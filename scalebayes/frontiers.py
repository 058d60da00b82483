"""Compute-optimal exponents read off measured runs, without a law, as published procedures do."""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from scalebayes.designs import study_losses
from scalebayes.errors import InputError
from scalebayes.regressions import (
    hull,
    interpolated_minima,
    isoflop_power_law,
    power_law,
    refuse_without_curves,
)
from scalebayes.study import Study


def porian_frontier(
    study: Study, *, noise_sd: float | None = None, resamples: int = 1000, random_seed: int = 0
) -> xr.Dataset:
    """Return the compute-optimal exponent that Porian's procedure reads off a study's runs.

    Without noise_sd: one interpolated curve per budget and a plain log-log line. With it: as
    published, each budget's optimum is the median over curves with noise added to their losses,
    weighted in the line by 1 / sd(log N)^2; the sd is at least a third of the spacing of sizes, and
    grows as resamples have their lowest loss at an end. Budgets where half of them do are left out,
    and those where the losses as measured do.

    Parameters
    ----------
    study : Study
        With budgets (column flops) of every run, such as the bundled Porian stages.
    noise_sd : float, optional
        Standard deviation of a loss between seeds in nats; published: .002 on RefinedWeb, .01 on
        OpenWebText2.
    resamples : int
        Curves per budget.
    random_seed : int or Generator

    Returns
    -------
    Dataset
        exponent, log_coefficient, n_budgets, and N over compute.

    Raises
    ------
    CountingError
        When a run's budget is not known.
    InputError
        When no budget has three sizes.

    References
    ----------
    Porian et al. (2024), arXiv:2406.19146, section 3 and published code.
    """
    if noise_sd is None:
        table = study_losses(study)
        refuse_without_curves(table["loss"].notnull(), name=study.name)
        return isoflop_power_law(table["compute"], table["N"], table["loss"])
    compute, minima, weights = _resampled_minima(study, noise_sd, resamples, random_seed)
    N = np.exp(minima.median("resample")).where(weights > 0)
    line = power_law(compute, N, weights=weights)
    return line.rename(n_points="n_budgets").assign(N=N)


def porian_exponents(
    study: Study, *, noise_sd: float, resamples: int = 1000, random_seed: int = 0
) -> xr.DataArray:
    """Return what Porian's procedure reads off a study's runs under the noise between seeds.

    Each resample adds noise to all losses and draws the line through its own optima, with the
    budgets and weights of `porian_frontier`. Studies of the same runs and seed have the same noise.

    Parameters
    ----------
    study, noise_sd, resamples, random_seed
        As in `porian_frontier`.

    Returns
    -------
    DataArray
        Exponents over resample.

    Raises
    ------
    CountingError, InputError
        As `porian_frontier`.
    """
    compute, minima, weights = _resampled_minima(study, noise_sd, resamples, random_seed)
    return power_law(compute, np.exp(minima), weights=weights)["exponent"]


def gemstones_envelope(N: ArrayLike, compute: ArrayLike, loss: ArrayLike) -> tuple[float, float]:
    """Return the power law of N over compute along the lower convex hull of runs.

    Parameters
    ----------
    N, compute, loss : array
        Parameters, training FLOP and loss of each checkpoint, positive.

    Returns
    -------
    exponent, log_coefficient : float

    Raises
    ------
    InputError
        When fewer than three runs are given, a value is not positive and finite, or fewer than two
        runs are on the hull.

    References
    ----------
    McLeish et al. (2025), arXiv:2502.06857, approach 1.
    """
    best = hull(compute, loss)
    if len(best) < 2:
        msg = f"envelope: a line needs two runs on the hull of {np.size(loss)}, found {len(best)}."
        raise InputError(msg)
    log_compute, log_N = np.log(np.asarray(compute))[best], np.log(np.asarray(N))[best]
    exponent, log_coefficient = np.polyfit(log_compute, log_N, 1)
    return float(exponent), float(log_coefficient)


def _resampled_minima(study, noise_sd, resamples, seed):
    """Return budgets, log N of each resample's optima, and weights, 0 of a budget left out."""
    table = study_losses(study)
    refuse_without_curves(table["loss"].notnull(), name=study.name)
    rng = np.random.default_rng(seed)
    noise = xr.DataArray(
        rng.standard_normal((resamples, *table["loss"].shape)),
        dims=("resample", *table["loss"].dims),
    )
    minima = interpolated_minima(np.log(table["N"]), table["loss"] + noise_sd * noise)["log_size"]
    valid = minima.notnull().mean("resample")
    spread = np.maximum(minima.std("resample"), _spacing(table) / 3) / valid
    plain = interpolated_minima(np.log(table["N"]), table["loss"])["log_size"]
    kept = (valid >= 0.5) & (spread > 0) & plain.notnull()
    return table["compute"], minima, (1 / spread**2).where(kept, 0.0)


def _spacing(table):
    """Return the mean distance between neighbouring log sizes at each budget."""
    log_N = np.log(table["N"]).where(table["loss"].notnull())
    return (log_N.max("size") - log_N.min("size")) / (table["loss"].count("size") - 1)
