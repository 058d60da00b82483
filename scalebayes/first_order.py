"""Root of the first-order condition for the compute-optimal size.

Along a budget C = 6 N_C D the loss [(A N^-alpha)^(1/q) + (B D^-beta)^(1/q)]^q, with q = 1 for the
Chinchilla law, is stationary in x = log body at the roots of

    f(x) = q log(alpha s_N) + log(A N^-alpha) - q log(beta s_C) - log(B D^-beta),  D = C / (6 N_C),

where N is the law's count, N_C the one that the FLOP convention charges for, and s =
dlog(count)/dx. f has the sign of -dloss/dx, so that a minimum is where f falls through zero.
Source: Pearce & Song (2024), arXiv:2406.12907, here for any two counts.
"""

import math
from functools import partial

import numpy as np
from scipy.optimize import elementwise

from scalebayes.counting import CountTerms

_TOLERANCE = 1e-11  # on log body
_STEPS = 8
_LARGEST = 700.0  # |log body| beyond which exp overflows or underflows
_SCAN_POINTS = 128
_SCAN_ROWS = 4096  # draws scanned at once: 4 MB per array


def log_count(x, terms):
    """Return the log of a count, its slope s in x, and dlog s/dx, at x = log body.

    Parameters
    ----------
    x : float or array
        Log of the body parameters.
    terms : counting.CountTerms
        The count as a polynomial in body^(1/3); its coefficients may be arrays.

    Returns
    -------
    log_count, slope, bend : float or array
        The slope is the mean of the powers 1, 2/3 and 1/3 of body weighted by their terms, between
        1/3 and 1; the bend is their variance over their mean, >= 0.
    """
    weight = terms.body_weight
    square = terms.square * np.exp(-x / 3)
    linear = terms.linear * np.exp(-2 * x / 3)
    total = weight + square + linear
    slope = (weight + square * (2 / 3) + linear / 3) / total
    spread = (weight * square + square * linear + 4 * weight * linear) / (9 * total**2)
    return x + np.log(total), slope, spread / slope


def _condition(x, *arguments, charged):
    """Return f of the module's docstring."""
    return _condition_and_fall(x, *arguments, charged=charged)[0]


def _condition_and_fall(x, log_budget, log_A, log_B, alpha, beta, linear, q, *, charged):
    """Return f of the module's docstring and -df/dx."""
    log_law, law_slope, law_bend = log_count(x, CountTerms(linear=linear))
    log_charged, charged_slope, charged_bend = log_count(x, charged)
    size = q * np.log(alpha * law_slope) + log_A - alpha * log_law
    data = q * np.log(beta * charged_slope) + log_B - beta * (log_budget - log_charged)
    fall = alpha * law_slope + beta * charged_slope - q * (law_bend - charged_bend)
    return size - data, fall


def log_body(*arguments, charged):
    """Return the log body of lowest loss on the budget, elementwise.

    Parameters
    ----------
    log_budget, log_A, log_B, alpha, beta, linear, q : float or array
        Positional: log(C / 6), the logs of the coefficients of `laws.nested`, its exponents (> 0),
        omega gamma, the coefficient of body^(1/3) in the law's count (>= 0), and q (> 0). They
        broadcast as NumPy arrays.
    charged : counting.CountTerms
        C / (6 D), with numbers for coefficients.

    Returns
    -------
    ndarray
        log body to 1e-10; NaN where it is beyond the range of floating-point numbers.
    """
    shape = np.broadcast_shapes(*map(np.shape, arguments))
    flat = [np.broadcast_to(argument, shape).ravel() for argument in arguments]
    bracket = _bracket(*flat, charged=charged)
    x = _root(bracket, flat, charged)
    several = ~certainly_unique(*flat[3:])
    for rows in _portions(np.flatnonzero(several)):
        part = [argument[rows] for argument in flat]
        x[rows] = _lowest_of_several([end[rows] for end in bracket], part, charged)
    return x.reshape(shape)


def _root(bracket, arguments, charged):
    """Return the root of f between two ends: by Newton's steps, else by a search between them."""
    x = _newton(bracket, arguments, charged)
    rows = np.isnan(x)
    if rows.any():
        left = [one[rows] for one in arguments]
        tolerances = {"xatol": _TOLERANCE, "xrtol": 0.0}
        found = elementwise.find_root(
            partial(_condition, charged=charged),
            tuple(end[rows] for end in bracket),
            args=tuple(left),
            tolerances=tolerances,
        )
        x[rows] = np.where(found.success, found.x, np.nan)
    return np.where(np.abs(x) < _LARGEST, x, np.nan)


def _newton(bracket, arguments, charged):
    """Return where Newton's steps from the middle end; NaN where they leave the bracket, or go on.

    A logarithm of a count is nearly straight in x, so that four or five steps mostly do.
    """
    lower, upper = bracket
    x = (lower + upper) / 2
    with np.errstate(all="ignore"):
        for _ in range(_STEPS):
            value, fall = _condition_and_fall(x, *arguments, charged=charged)
            step = value / fall
            x = x + step
            there = np.abs(step) < _TOLERANCE
            if there.all():
                break
        return np.where(there & (lower <= x) & (x <= upper), x, np.nan)


def _bracket(log_budget, log_A, log_B, alpha, beta, linear, q, *, charged):
    """Return x below and above every root of f.

    As 1/3 <= s <= 1, f differs by at most q log 3 from level - alpha log N - beta log N_C. A count
    of three terms lies between its body's and three times its greatest term.
    """
    level = q * np.log(alpha / beta) + log_A - log_B + beta * log_budget
    weight = np.minimum(charged.body_weight, 1.0)
    above = (level + q * math.log(3)) / (alpha + beta) - math.log(weight)
    log_count = (level - q * math.log(3)) / (alpha + beta) - math.log(3)
    with np.errstate(divide="ignore"):
        greatest_linear = np.log(np.maximum(linear, charged.linear))
        square = np.log(charged.square)
    below = log_count - max(math.log(charged.body_weight), 0.0)
    below = np.minimum(below, 1.5 * (log_count - square))
    below = np.minimum(below, 3 * (log_count - greatest_linear))
    return below - 1.0, above + 1.0


def certainly_unique(alpha, beta, linear, q):
    """Return where f falls for every x, whatever the charged count.

    -df/dx >= alpha s + beta/3 - q dlog s/dx, and with u = omega gamma body^(-2/3) this is positive
    when (alpha/q) (1 + u/3)^2 + (beta/3q) (1 + u) (1 + u/3) - (4/9) u is, for all u > 0.
    """
    alpha, beta = alpha / q, beta / q
    quadratic = (alpha + beta) / 9
    slope = 2 * alpha / 3 + 4 * beta / 9 - 4 / 9
    constant = alpha + beta / 3
    return (linear == 0) | (slope >= 0) | (slope**2 < 4 * quadratic * constant)


def _lowest_of_several(bracket, arguments, charged):
    """Return the root of lowest loss among the sign changes of f on a grid.

    Two roots closer than the grid are missed together; they bound a shallow dip of the loss whose
    bottom is not its lowest point, so that nothing is lost.
    """
    low, high = bracket
    grid = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, _SCAN_POINTS)
    value = _condition(grid, *(argument[:, None] for argument in arguments), charged=charged)
    row, left = np.nonzero((value[:, :-1] > 0) & (value[:, 1:] <= 0))
    part = [argument[row] for argument in arguments]
    x = _root((grid[row, left], grid[row, left + 1]), part, charged)
    order = np.lexsort((_reducible_loss(x, *part, charged=charged), row))
    lowest = np.full(low.shape, np.nan)
    rows, first = np.unique(row[order], return_index=True)
    lowest[rows] = x[order][first]
    return lowest


def _reducible_loss(x, log_budget, log_A, log_B, alpha, beta, linear, q, *, charged):
    log_D = log_budget - log_count(x, charged)[0]
    size = log_A - alpha * log_count(x, CountTerms(linear=linear))[0]
    return np.exp(size / q) + np.exp((log_B - beta * log_D) / q)


def _portions(rows):
    return [rows[start : start + _SCAN_ROWS] for start in range(0, rows.size, _SCAN_ROWS)]
