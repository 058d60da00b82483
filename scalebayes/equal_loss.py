"""The models of one loss, and the cheapest of them to train and to serve.

Training on D tokens and serving T (a forward pass each) costs, with N_C the count that the FLOP
convention charges for,

    total = 6 N_C D + 2 N_C T,

2 FLOP per parameter and token being the forward third of training's 6. Along L(N, D) = l, with
R = l - E, w the share of the term of N in the bracket of `laws.nested`, 1 - w that of D, and
z = log w/(1 - w),

    N = [A / (R w^q)]^(1/alpha),     D = [B / (R (1 - w)^q)]^(1/beta),

and the total is least where, s and t being the slopes of log N and log N_C in log body,

    f(z) = z - log [beta t / (alpha s)] - log [1 + T / (3 D)] = 0.

In the law's own count s = t and f rises throughout, since D grows with z: the root lies between
log beta/alpha and that plus log(1 + T/3D) at the lower end. Elsewhere s / t lies between 1/3 and 3,
which moves either end by log 3. T = 0 is the optimum of training alone, where f has one root if
`first_order.certainly_unique`: every model of the frontier has a loss of its own. Otherwise the
lowest total on a grid of z between the ends brackets the root.

Source: Sardana et al. (2024), arXiv:2401.00448, section 2, for one count and q = 1.
"""

import numpy as np
from scipy.optimize import elementwise

from scalebayes.counting import CountTerms
from scalebayes.first_order import certainly_unique, log_count
from scalebayes.laws import FLOP_PER_PARAMETER_AND_TOKEN

TRAINING_OVER_INFERENCE = 3.0
"""FLOP of a token in training, forward and backward, over those of a forward pass: 6 over 2.

Kaplan et al. (2020), arXiv:2001.08361, section 2.1.
"""

_TOLERANCES = {"xatol": 1e-12, "xrtol": 0.0}
_SCAN_POINTS = 65
_SCAN_ROWS = 8192  # draws scanned at once: 4 MB per array
_LOG_SIX = np.log(FLOP_PER_PARAMETER_AND_TOKEN)


def cheapest(log_R, *arguments, charged, one_count, served=0.0):
    """Return the models of given losses that cost least to train and to serve, elementwise.

    Parameters
    ----------
    log_R, log_A, log_B, alpha, beta, q, linear : float or array
        Positional: log (l - E), the logs of the coefficients of `laws.nested`, its exponents and q,
        and omega gamma, the coefficient of body^(1/3) in the law's count. They broadcast.
    charged : counting.CountTerms
        C / (6 D), with numbers for coefficients.
    one_count : bool
        Whether that is what the law counts.
    served : float
        Tokens T, >= 0.

    Returns
    -------
    log_body, log_D : ndarray
        Good to 1e-10; NaN where they are beyond the range of floating-point numbers.
    """
    shape = np.broadcast_shapes(*map(np.shape, (log_R, *arguments)))
    values = [np.broadcast_to(one, shape).ravel() for one in (log_R, *arguments)]
    alpha, beta, linear = values[3], values[4], values[6]
    centre, slack = np.log(beta / alpha), 0.0 if one_count else np.log(3.0)
    low = centre - slack - 1e-6
    _, log_D = _model(low, *values)
    high = centre + slack + np.log1p(served * np.exp(-log_D) / TRAINING_OVER_INFERENCE) + 1e-6
    if not one_count:
        certain = (served == 0) & certainly_unique(alpha, beta, linear, values[5])
        rows = np.flatnonzero(~certain)
        part = [one[rows] for one in values]
        low[rows], high[rows] = _around_the_lowest(low[rows], high[rows], part, served, charged)

    def condition(z, *values):
        x, log_D = _model(z, *values)
        slopes = log_count(x, charged)[1] / log_count(x, CountTerms(linear=values[6]))[1]
        more = np.log1p(served * np.exp(-log_D) / TRAINING_OVER_INFERENCE)
        return z - np.log(values[4] / values[3] * slopes) - more

    found = elementwise.find_root(
        condition, (low, high), args=tuple(values), tolerances=_TOLERANCES
    )
    z = np.where(found.success, found.x, np.nan)
    return tuple(one.reshape(shape) for one in _model(z, *values))


def log_total(x, log_D, *, charged, served=0.0):
    """Return the log FLOP of training models of log body x on D tokens and of serving."""
    tokens = np.logaddexp(log_D, np.log(served / TRAINING_OVER_INFERENCE)) if served else log_D
    return _LOG_SIX + log_count(x, charged)[0] + tokens


def _around_the_lowest(low, high, values, served, charged):
    """Return the neighbours of the lowest total on a grid between two ends."""
    ends = np.empty_like(low), np.empty_like(low)
    for start in range(0, low.size, _SCAN_ROWS):
        rows = slice(start, start + _SCAN_ROWS)
        points = np.linspace(low[rows], high[rows], _SCAN_POINTS)
        totals = log_total(
            *_model(points, *(one[rows] for one in values)), charged=charged, served=served
        )
        deepest = np.argmin(totals, axis=0)
        column = np.arange(points.shape[1])
        ends[0][rows] = points[np.maximum(deepest - 1, 0), column]
        ends[1][rows] = points[np.minimum(deepest + 1, _SCAN_POINTS - 1), column]
    return ends


def _model(z, log_R, log_A, log_B, alpha, beta, q, linear):
    """Return log body and log D of the model with z on the curve of a loss."""
    log_N = (log_A - log_R + q * np.logaddexp(0.0, -z)) / alpha
    log_D = (log_B - log_R + q * np.logaddexp(0.0, z)) / beta
    return _log_body(log_N, linear), log_D


def _log_body(log_N, linear):
    """Return the log body y^3 with y^3 + linear y = N, as `counting.body_of`, for arrays."""
    scale = np.sqrt(np.maximum(linear, 1e-9) / 3)
    with np.errstate(over="ignore"):  # such draws become NaN
        root = 2 * scale * np.sinh(np.arcsinh(np.exp(log_N) / (2 * scale**3)) / 3)
    return np.where(linear < 1e-9, log_N, 3 * np.log(root))
