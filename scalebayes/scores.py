"""Proper scores of predictive draws and intervals."""

import numpy as np

LEVELS = (0.5, 0.9)
"""Nominal coverage of the intervals that are judged."""


def interval_score(lower, upper, truth, *, prob=0.9):
    """Return the interval score: width, and 2 / (1 - prob) times what the truth lies outside.

    Parameters
    ----------
    lower, upper, truth : array
        Broadcast together.
    prob : float
        Nominal coverage.

    Returns
    -------
    ndarray
        In the unit of the truth; lower is better.

    References
    ----------
    Gneiting & Raftery (2007), doi:10.1198/016214506000001437, eq. 43.
    """
    missed = np.maximum(lower - truth, 0.0) + np.maximum(truth - upper, 0.0)
    return upper - lower + 2 / (1 - prob) * missed


def crps(draws, truth):
    """Return the continuous ranked probability score of predictive draws.

    Parameters
    ----------
    draws : ndarray
        [..., draw].
    truth : ndarray
        [...].

    Returns
    -------
    ndarray
        [...], in the unit of the truth; lower is better.

    References
    ----------
    Gneiting & Raftery (2007), doi:10.1198/016214506000001437, eq. 21.
    """
    draws = np.sort(draws, axis=-1)
    n = draws.shape[-1]
    rank = 2 * np.arange(1, n + 1) - n - 1
    spread = (draws * rank).sum(axis=-1) / n**2
    return np.abs(draws - np.asarray(truth)[..., None]).mean(axis=-1) - spread


def covered(draws, truth, *, prob):
    """Return whether equal-tailed intervals of draws hold the truth, bool [...].

    Parameters
    ----------
    draws : ndarray
        [..., draw].
    truth : ndarray
        [...].
    prob : float
    """
    lower, upper = np.quantile(draws, [(1 - prob) / 2, (1 + prob) / 2], axis=-1)
    return (lower <= truth) & (truth <= upper)
