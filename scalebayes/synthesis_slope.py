"""The exponent that a study reports: the slope of log N on log C along one law's frontier.

The law is Chinchilla's, N counted with one vocabulary matrix; N and C = 6 N D are reported with
weight w of it: N_w = n + w gamma n^(1/3), n = body. At a budget C = 6 N_w D the loss
A N_1^-alpha + B D^-beta is stationary where

    D^beta = (beta B / (alpha A)) N_1^alpha s_w / s_1,   s = dlog(count)/dlog(n),

so that C is a function of n. Source: Pearce & Song (2024), arXiv:2406.12907, appendix, for w = 0;
here for any w. Every formula serves NumPy and PyTensor, whichever of them is `xp`.
"""

import math

import numpy as np

from scalebayes.laws import FLOP_PER_PARAMETER_AND_TOKEN

REFERENCE_COMPUTE = 1e21
"""FLOP (6 N D, one matrix counted) at which a law is placed by its tokens per parameter."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(4)
PLACES = (1 + _NODES) / 2
"""Where in a range, as shares of its length in log C, the frontier is looked at."""

SLOPE_WEIGHTS = 3 * _WEIGHTS * _NODES
"""Weights of log N there. The least-squares slope over budgets that fill a range of length l evenly
is (12 / l) times the integral of (t - 1/2) log N(t) over t from 0 to 1, taken by Gauss's rule: off
by .003 where the local exponent has its hump, against .02 for five evenly spaced budgets."""

_LOG_SIX = math.log(FLOP_PER_PARAMETER_AND_TOKEN)
STEPS = 5  # of Newton's method before the last one: 1e-11 of a slope over the whole prior
LEAST_RISE = 0.3  # of log C in log n; below, the frontier jumps, and Newton's steps are cut
LONGEST_STEP = 6.0
NO_WEIGHT = 1e-30  # stands for a weight of 0, whose log is not finite


def frontier_slope(alpha, beta, log_ratio, log_gamma, *, weight, log_c_min, log_c_max, **more):
    """Return the least-squares slope of log N_w on log C over budgets that fill a range.

    Parameters
    ----------
    alpha, beta : array
        Exponents of the law, > 0.
    log_ratio : array
        log of the law's tokens per parameter at `REFERENCE_COMPUTE`, which fixes A/B.
    log_gamma : array
        log(head / body^(1/3)).
    weight : ndarray
        Weight w of a vocabulary matrix in the reported N and C, >= 0.
    log_c_min, log_c_max : array
        Ends of the range, log FLOP, C counted as N is.
    xp : module
        numpy by default, or pytensor.tensor.
    solve : callable
        (function, *arguments) -> function(*arguments). In a graph it may cut the derivative: the
        last of Newton's steps, from a converged point, has the root's exact one.

    Returns
    -------
    array
        Of the arguments' broadcast shape.
    """
    xp = more.get("xp", np)
    law = alpha, beta, log_ratio, log_gamma
    depth = max(np.ndim(value) if xp is np else value.ndim for value in law)
    places, weights = (x.reshape(-1, *[1] * depth) for x in (PLACES, SLOPE_WEIGHTS))
    length = log_c_max - log_c_min
    log_c = log_c_min + places * length
    log_head = log_gamma + xp.log(xp.maximum(weight, NO_WEIGHT))
    x = optimal_log_body(log_c, *law, log_head, **more)
    log_n = x - xp.log(body_share(x, log_head, xp=xp))
    return (weights * log_n).sum(axis=0) / length


def optimal_log_body(
    log_c, alpha, beta, log_ratio, log_gamma, log_head, *, xp=np, solve=lambda f, *args: f(*args)
):
    """Return the log of the compute-optimal body at a log budget, by a fixed number of steps.

    Parameters
    ----------
    log_c : array
        log FLOP, C = 6 N_w D.
    alpha, beta, log_ratio, log_gamma, xp, solve
        As in `frontier_slope`.
    log_head : array
        log(w gamma); very negative where w = 0.
    """

    def stepped(x, log_c, *law):
        value, rise = log_compute(x, *law, xp=xp)
        step = (log_c - value) / xp.maximum(rise, LEAST_RISE)
        return x + xp.minimum(xp.maximum(step, -LONGEST_STEP), LONGEST_STEP)

    def root(log_c, alpha, beta, log_ratio, log_gamma, log_head):
        law = alpha, beta, log_ratio, log_gamma, log_head
        x = (beta * (log_c - _LOG_SIX) - log_balance(*law[:3])) / (alpha + beta)  # if all were body
        x = xp.minimum(x, 3 * (x - log_gamma))
        for _ in range(STEPS):
            x = stepped(x, log_c, *law)
        return x

    arguments = log_c, alpha, beta, log_ratio, log_gamma, log_head
    return stepped(solve(root, *arguments), *arguments)


def log_compute(x, alpha, beta, log_ratio, log_gamma, log_head, *, xp=np):
    """Return the log budget whose optimal model has log body x, and its derivative in x.

    With p the body's share of a count, s = (1 + 2 p)/3 and ds/dx = (4/9) p (1 - p).

    Parameters
    ----------
    x : array
        log of body parameters.
    alpha, beta, log_ratio, log_gamma, log_head, xp
        As in `optimal_log_body`.
    """
    of_law, reported = (body_share(x, log, xp=xp) for log in (log_gamma, log_head))
    law_slope, slope = (1 + 2 * of_law) / 3, (1 + 2 * reported) / 3
    ratio = xp.log(slope) - xp.log(law_slope)
    log_d = (log_balance(alpha, beta, log_ratio) + alpha * (x - xp.log(of_law)) + ratio) / beta
    bend = reported * (1 - reported) / slope - of_law * (1 - of_law) / law_slope
    rise = slope + (alpha * law_slope + (4 / 9) * bend) / beta
    return _LOG_SIX + x - xp.log(reported) + log_d, rise


def body_share(x, log_linear, *, xp=np):
    """Return n / (n + linear n^(1/3)) at x = log n."""
    return 1 / (1 + xp.exp(log_linear - 2 * x / 3))


def log_balance(alpha, beta, log_ratio):
    """Return log(beta B / (alpha A)), from the tokens per parameter at `REFERENCE_COMPUTE`.

    There alpha A N^-alpha = beta B D^-beta, N counted with one matrix in law and budget.
    """
    log_n = (math.log(REFERENCE_COMPUTE) - _LOG_SIX - log_ratio) / 2
    return beta * (log_n + log_ratio) - alpha * log_n
