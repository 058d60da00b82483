"""How far laws miss beyond their data: the discrepancy between a law and the losses to come.

With h the decades of compute by which a run lies outside the data of a fit, and L the fitted law,

    log loss(N, D) = log L* + level(h) + w [log L(N e^-s(h), D e^s(h)) - log L*],   C = 6 N D,

L* the law's lowest loss at that compute. So a real isoFLOP curve is the law's, at another level,
shifted along log N by s(h), and steeper or flatter by w. Every part is zero-mean over studies and
Gaussian in one study:

    level(h) ~ Normal(0, level) + h Normal(0, level_growth),
    s(h)     ~ Normal(0, shift) + h Normal(0, shift_growth),   log w ~ Normal(0, valley).

The five amplitudes are common to all studies. They are learned from runs above a cut in compute
that the fit did not see (`discrepancy_model`), not from residuals of fitted runs.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import xarray as xr

from scalebayes.errors import InputError
from scalebayes.laws import FLOP_PER_PARAMETER_AND_TOKEN, expected_loss
from scalebayes.optimum import optimal_allocation
from scalebayes.studies import bundled_table

AMPLITUDES = ("level", "level_growth", "shift", "shift_growth", "valley")
"""Log loss; log loss per decade; log N; log N per decade; log of the curve's steepness."""

PUBLISHED = "published"
"""Name of the discrepancy that the bundled studies show."""

_TABLE = "discrepancy.csv"


@dataclass(frozen=True, kw_only=True)
class Discrepancy:
    """Draws of the five amplitudes.

    Parameters
    ----------
    amplitudes : dict of str to ndarray
        `AMPLITUDES`, each [draw], >= 0.
    exact : float
        Probability that laws hold exactly; a share of the draws this large is 0.
    """

    amplitudes: dict[str, np.ndarray]
    exact: float = 0.0

    def coefficients(self, like, rng):
        """Return one study's discrepancy for every draw of a posterior.

        Parameters
        ----------
        like : DataArray
            Over (chain, draw); the result has its coords.
        rng : Generator

        Returns
        -------
        dict of str to DataArray
            level, level_growth, shift, shift_growth and valley: Normal(0, amplitude), the
            amplitudes drawn anew for each.
        """
        picked = rng.integers(len(self.amplitudes["level"]), size=like.shape)
        return {
            name: like.copy(data=self.amplitudes[name][picked] * rng.standard_normal(like.shape))
            for name in AMPLITUDES
        }


def find_discrepancy(given):
    """Return the discrepancy that an argument means.

    Parameters
    ----------
    given : Discrepancy, "published" or None

    Returns
    -------
    Discrepancy or None

    Raises
    ------
    InputError
        For anything else.
    """
    if given is None or isinstance(given, Discrepancy):
        return given
    if given == PUBLISHED:
        return published_discrepancy()
    msg = f'discrepancy: pass a Discrepancy, "{PUBLISHED}" or None, not {given!r}.'
    raise InputError(msg)


@lru_cache(maxsize=1)
def published_discrepancy():
    """Return what the bundled studies show of how far laws miss.

    Learned under hoffmann-total from cuts at 50% and 65% of each study's log range of compute, by
    `benchmarks/forecast_scores.py --amplitudes`.
    """
    table = bundled_table(_TABLE, text=())
    return Discrepancy(amplitudes={name: table[name].to_numpy(float) for name in AMPLITUDES})


def decades_outside(compute, limits):
    """Return the decades of compute by which budgets lie outside a range; 0 inside.

    Parameters
    ----------
    compute : float or array
        FLOP.
    limits : pair of float
        Least and largest compute of the data, FLOP.
    """
    log = np.log10(compute)
    low, high = np.log10(limits[0]), np.log10(limits[1])
    return np.maximum(np.maximum(log - high, low - log), 0.0)


def law_log_losses(N, D, values, law):
    """Return log L and log L* of a law at runs.

    Parameters
    ----------
    N, D : float or DataArray
        Parameters in the law's count, tokens.
    values : mapping
        Natural coefficients (`fitted_law.law_values`).
    law : str
        Name of the law, for the error.

    Returns
    -------
    log_loss, log_lowest : DataArray

    Raises
    ------
    InputError
        For the law isoflop, whose valley is known at its own optimum alone.
    """
    refuse_isoflop(values, law)
    best = optimal_allocation(FLOP_PER_PARAMETER_AND_TOKEN * N * D, **_terms(values))
    lowest = np.log(expected_loss(*best, values))
    return np.log(expected_loss(N, D, values)), lowest


def discrepant_log_loss(N, D, values, coefficients, *, decades, law="chinchilla"):
    """Return the log loss that is expected of runs, discrepancy included.

    Parameters
    ----------
    N, D : float or DataArray
        Parameters in the law's count, tokens.
    values : mapping
        Natural coefficients of the law.
    coefficients : mapping
        As `Discrepancy.coefficients` returns them.
    decades : float or DataArray
        Decades of compute outside the data (`decades_outside`).
    law : str

    Returns
    -------
    DataArray
        Nats per token, logarithm.

    Raises
    ------
    InputError
        For the law isoflop.
    """
    shift = np.exp(shift_of(coefficients, decades))
    with np.errstate(over="ignore"):
        moved, lowest = law_log_losses(N / shift, D * shift, values, law)
    return (
        lowest + level_of(coefficients, decades) + np.exp(coefficients["valley"]) * (moved - lowest)
    )


def shift_of(coefficients, decades):
    """Return by how much log N* lies beside that of the law."""
    return coefficients["shift"] + decades * coefficients["shift_growth"]


def level_of(coefficients, decades):
    """Return by how much the log of the lowest loss lies above that of the law."""
    return coefficients["level"] + decades * coefficients["level_growth"]


def log_loss_features(N, D, values, *, decades, step=1e-3):
    """Return how log loss answers to each part of the discrepancy, to first order.

    Parameters
    ----------
    N, D : DataArray
        Over (point,), parameters in the law's count and tokens.
    values : mapping
        Natural coefficients over (chain, draw).
    decades : DataArray
        Over (point,).
    step : float
        Of the numerical derivative in log N.

    Returns
    -------
    DataArray
        Over (point, amplitude), means over draws: 1, h, -dV, -h dV, V with V = log L - log L* of
        the law and dV its derivative in log N along the isoFLOP curve.
    """
    here, lowest = law_log_losses(N, D, values, "chinchilla")
    right, _ = law_log_losses(N * np.exp(step), D * np.exp(-step), values, "chinchilla")
    left, _ = law_log_losses(N * np.exp(-step), D * np.exp(step), values, "chinchilla")
    draws = [dim for dim in here.dims if dim != "point"]
    slope = -((right - left) / (2 * step)).mean(draws)
    ones = xr.ones_like(slope)
    columns = [ones, decades * ones, slope, decades * slope, (here - lowest).mean(draws)]
    return xr.concat(columns, dim=xr.Variable("amplitude", list(AMPLITUDES))).transpose(
        "point", ...
    )


def _terms(values):
    return {name: values[name] for name in ("A", "B", "alpha", "beta", "q") if name in values}


def refuse_isoflop(values, law):
    """Raise for a law that is no surface over N and D, whose isoFLOP curves cannot be moved."""
    if "A" not in values:
        msg = f"the discrepancy is known for laws of a whole surface, not for {law!r}."
        raise InputError(msg)
