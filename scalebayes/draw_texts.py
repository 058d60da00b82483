"""Draws as texts: medians with 90% equal-tailed intervals, or that they tell nothing."""

import numpy as np

from scalebayes.report import CI_PROB

NOT_TOLD = "not told"
"""Where too few draws have a value."""

CORPUS_NAMES = {"rw": "RefinedWeb", "owt2": "OpenWebText2"}

_LEAST_TOLD = 0.9  # share of draws that must have a value
_TAILS = ((1 - CI_PROB) / 2, 0.5, (1 + CI_PROB) / 2)


def ends_of(draws):
    """Return lower end, median and upper end; NaN where too few draws have a value."""
    values = np.asarray(draws, dtype=float).ravel()
    known = values[np.isfinite(values)]
    if known.size < _LEAST_TOLD * values.size or not known.size:
        return np.full(3, np.nan)
    return np.quantile(known, _TAILS)


def plain(draws):
    """Return "median [lower, upper]" to three digits."""
    lower, median, upper = ends_of(draws)
    return NOT_TOLD if np.isnan(median) else f"{median:.3f} [{lower:.3f}, {upper:.3f}]"


def signed(draws):
    """Return the same with signs, for a change."""
    lower, median, upper = ends_of(draws)
    return NOT_TOLD if np.isnan(median) else f"{median:+.3f} [{lower:+.3f}, {upper:+.3f}]"


def percent(draws):
    """Return the same in percent, for a share."""
    lower, median, upper = ends_of(draws)
    return NOT_TOLD if np.isnan(median) else f"{median:.0%} [{lower:.0%}, {upper:.0%}]"


def p_text(p):
    """Return a predictive p of about 2000 draws."""
    return "<.002" if p < 0.002 else f"{p:.3f}".lstrip("0")
