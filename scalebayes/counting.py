"""What N and C mean: run columns or an architecture -> parameters and training FLOP.

`body` is everything but vocabulary and position matrices, `head` one vocabulary matrix
(vocabulary x width), `embedding` every vocabulary and position matrix that is stored. A counting is
"body", "body+head", "total" (body + embedding), or a number omega: N = body + omega head.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scalebayes.architecture import Architecture as Architecture  # callers know it from here
from scalebayes.errors import CountingError

COUNTINGS = ("body", "body+head", "total")
"""Countings that have a name; a number is one too."""

FLOPS = (
    *("6ND", "6ND:body", "6ND:body+head", "6ND:total", "kaplan"),
    *("porian-attention", "deepseek", "hoffmann-f"),
)
"""FLOP conventions; "6ND" takes N in the counting that is asked for, and "6ND:0.5" (or another
omega) is one too. See `flops`."""

_FIXED_WEIGHTS = {"body": 0.0, "body+head": 1.0}
_SIX_N_D = "6ND:"
_ATTENTION = ("porian-attention", "deepseek", "hoffmann-f")
_BODY_WIDTHS = 12.0  # DeepSeek and Hoffmann charge for 12 L d^2, whatever else the body holds


def parse_counting(counting):
    """Return a counting's name or its number omega, checked.

    Parameters
    ----------
    counting : str or float
        "body", "body+head", "total", or omega >= 0, also as text ("0.5").

    Returns
    -------
    str or float
        The name, or omega as a float.

    Raises
    ------
    CountingError
        When it is neither a known name nor a non-negative finite number.
    """
    if isinstance(counting, str) and counting in COUNTINGS:
        return counting
    number = _number_or_none(counting)
    if number is None or number < 0:
        msg = (
            f"counting: {counting!r} is not a parameter count; "
            f"use one of {list(COUNTINGS)} or a number omega >= 0 (N = body + omega head)."
        )
        raise CountingError(msg)
    return number


def counting_label(counting):
    """Return a counting as text, such that `parse_counting` of it gives it back."""
    return str(parse_counting(counting))


def omega_of(counting, architecture=None):
    """Return the weight omega of a vocabulary matrix in a counting: N = body + omega head.

    Parameters
    ----------
    counting : str or float
        As in `parse_counting`.
    architecture : Architecture, optional
        Needed for "total", which depends on what is tied and on learned positions.

    Returns
    -------
    float
        0 for "body", 1 for "body+head"; for "total" 1 if tied, else 2, and context_length /
        vocab_size more with learned positions; a number is returned as it is.

    Raises
    ------
    CountingError
        When the counting is unknown, or "total" is asked for without an architecture.
    """
    counting = parse_counting(counting)
    if counting != "total":
        return _FIXED_WEIGHTS.get(counting, counting)
    if architecture is None:
        msg = (
            'counting "total": the number of stored vocabulary matrices is not known; '
            "pass architecture=Architecture(...) with tied, vocab_size and aspect_ratio."
        )
        raise CountingError(msg)
    return architecture.stored_matrices


def flops_counting(flops, counting):
    """Return the counting whose N makes C = 6 N D in a FLOP convention, or None.

    Parameters
    ----------
    flops : str
        One of `FLOPS`. "6ND" takes N in `counting`, "6ND:" and a counting takes it in that one;
        "kaplan" is "6ND:body".
    counting : str or float
        The counting that N is reported in.

    Returns
    -------
    str, float or None
        A counting; None where attention is counted too, so that no counting gives C.

    Raises
    ------
    CountingError
        When the convention or the counting is unknown.

    References
    ----------
    Kaplan et al. (2020), arXiv:2001.08361; Porian et al. (2024), arXiv:2406.19146.
    """
    counting = parse_counting(counting)
    if flops in _ATTENTION:
        return None
    if flops == "kaplan":
        return "body"
    if isinstance(flops, str) and flops.startswith(_SIX_N_D):
        return parse_counting(flops.removeprefix(_SIX_N_D))
    if flops != "6ND":
        msg = f"flops: {flops!r} is not a FLOP convention known here; use one of {list(FLOPS)}."
        raise CountingError(msg)
    return counting


@dataclass(frozen=True, kw_only=True)
class CountTerms:
    """A count along an architecture family, as a polynomial in body^(1/3).

    count = body_weight body + square body^(2/3) + linear body^(1/3): the body, attention over the
    context (proportional to L d), and vocabulary matrices (proportional to d).
    """

    body_weight: float = 1.0
    square: float = 0.0
    linear: float = 0.0

    def at(self, body):
        """Return the count of models with `body` parameters (> 0)."""
        root = body ** (1 / 3)
        return self.body_weight * body + self.square * root**2 + self.linear * root


def parameter_terms(counting, architecture):
    """Return the `CountTerms` of N in a counting (str or float) for an `Architecture`."""
    return CountTerms(linear=omega_of(counting, architecture) * architecture.gamma)


def body_of(count, counting, architecture):
    """Return the body of the models of a family that have `count` parameters in a counting.

    The positive root y of y^3 + gamma omega y = count, cubed, in closed form.

    Parameters
    ----------
    count : float or array
        Parameters, > 0.
    counting : str or float
        As in `parse_counting`.
    architecture : Architecture

    Returns
    -------
    float or array
        Body parameters, of the shape of `count`.
    """
    linear = parameter_terms(counting, architecture).linear
    if linear < 1e-9:  # nothing beside a body of one parameter, and no division by zero
        return count
    scale = math.sqrt(linear / 3)
    return (2 * scale * np.sinh(np.arcsinh(count / (2 * scale**3)) / 3)) ** 3


def flops_terms(flops, counting, architecture):
    """Return the `CountTerms` of C / (6 D), the parameters that a FLOP convention charges for.

    Per token and over 6: "porian-attention" is body + V d + n_ctx d L, "deepseek" is
    12 L d^2 + 2 n_ctx d L, and "hoffmann-f" 12 L d^2 + (2 + 1.5 / key_size) n_ctx d L: without the
    vocabulary's matrices, as in `flops.hoffmann_f`, and with a feed-forward width of 4 d.

    Parameters
    ----------
    flops : str
        One of `FLOPS`.
    counting : str or float
        The counting of N, which "6ND" uses.
    architecture : Architecture
        Family; attention needs its context_length.

    Returns
    -------
    CountTerms

    Raises
    ------
    CountingError
        When the convention is unknown, or counts attention and context_length is missing.

    References
    ----------
    Porian et al. (2024), arXiv:2406.19146; DeepSeek-AI (2024), arXiv:2401.02954; Hoffmann et al.
    (2022), arXiv:2203.15556, appendix F.
    """
    counted = flops_counting(flops, counting)
    if counted is not None:
        return parameter_terms(counted, architecture)
    if architecture.context_length is None:
        msg = f"flops {flops!r} counts attention: the architecture's context_length is missing."
        raise CountingError(msg)
    layers_by_width = architecture.width(1.0) ** 2 / architecture.aspect_ratio
    attention = architecture.context_length * layers_by_width
    if flops == "porian-attention":
        return CountTerms(square=attention, linear=architecture.gamma)
    weight = _BODY_WIDTHS / architecture.body_coefficient
    softmax = 1.5 / architecture.key_size if flops == "hoffmann-f" else 0.0
    return CountTerms(body_weight=weight, square=(2 + softmax) * attention)


def count_parameters(runs, counting, *, reported=None):
    """Return the parameters of each run in a counting.

    Parameters
    ----------
    runs : DataFrame
        One row per run, with `body`, `head` and `embedding` (parameters) where known, and `N`.
    counting : str or float
        "body", "body+head", "total", or omega.
    reported : str or float, optional
        The counting of the column `N`. Rows without the columns that `counting` is made of take `N`
        when the two agree.

    Returns
    -------
    ndarray
        Parameters, float, one per row.

    Raises
    ------
    CountingError
        When some run's count cannot be had; the message names the columns and the first rows.
    """
    counting = parse_counting(counting)
    count = _count_from_columns(runs, counting)
    if reported is not None and counting_matches(counting, reported) and "N" in runs:
        count = np.where(np.isnan(count), _column(runs, "N"), count)
    unknown = np.flatnonzero(np.isnan(count))
    if unknown.size:
        raise CountingError(_missing_count(runs, counting, reported, unknown))
    return count


def counting_matches(one, other):
    """Return whether two countings count the same for every model, architecture unknown.

    "unknown" (and any other text that is not a counting) matches nothing.
    """
    try:
        one, other = parse_counting(one), parse_counting(other)
    except CountingError:
        return False
    return _FIXED_WEIGHTS.get(one, one) == _FIXED_WEIGHTS.get(other, other)


def total_omega(runs, *, tolerance=1e-3):
    """Return the omega at which N(omega) is the total of every run, or None.

    Parameters
    ----------
    runs : DataFrame
        Run table; `embedding` and `head` in parameters.
    tolerance : float
        Largest difference of embedding / head between runs that still counts as one omega.

    Returns
    -------
    float or None
        The median of embedding / head; None when it is unknown for a run or differs between runs.
    """
    weight = _column(runs, "embedding") / _column(runs, "head")
    if not weight.size or not np.isfinite(weight).all() or np.ptp(weight) > tolerance:
        return None
    return float(np.median(weight))


def study_omega(runs, counting):
    """Return the omega of a counting for a run table, or None when "total" has no single one."""
    counting = parse_counting(counting)
    return total_omega(runs) if counting == "total" else omega_of(counting)


def _count_from_columns(runs, counting):
    if counting == "total":
        return _column(runs, "body") + _column(runs, "embedding")
    omega = omega_of(counting)
    body = _column(runs, "body")
    return body + omega * _column(runs, "head") if omega else body


def _column(runs, name):
    if name not in runs:
        return np.full(len(runs), np.nan)
    return pd.to_numeric(runs[name]).to_numpy(dtype=float, na_value=np.nan)


def _missing_count(runs, counting, reported, unknown):
    parts = {"body": ["body"], "total": ["body", "embedding"]}.get(counting, ["body", "head"])
    absent = [name for name in parts if name not in runs]
    found = f"no column {absent}" if absent else f"{parts} not given in every row"
    known = (
        f"its N is {reported!r}" if reported is not None else "the counting of its N is not said"
    )
    return (
        f"counting {counting!r}: cannot be had for {unknown.size} of {len(runs)} runs, first rows "
        f"{unknown[:3].tolist()}: {found}, and {known}. Give {parts} in parameters, or say "
        f"counting={counting!r} when reading the table if that is what N counts."
    )


def _number_or_none(value):
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
