"""Compute-optimal models that are served as well as trained.

Training on D tokens and serving T (inference: a forward pass each) costs, with N_C the count that
the FLOP convention charges for,

    total = 6 N_C D + 2 N_C T,

2 FLOP per parameter and token being the forward third of training's 6. Two questions:

- least total FLOP at a loss l = L*(C), the one that a budget C spent on training alone would reach
  (Sardana et al. 2024);
- least loss at a total FLOP.

Both have their answers on one curve. Along L(N, D) = l, with R = l - E, w the share of the term of
N in the bracket of `laws.nested`, 1 - w that of D, and z = log w/(1 - w),

    N = [A / (R w^q)]^(1/alpha),     D = [B / (R (1 - w)^q)]^(1/beta),

and the total is least where, s and t being the slopes of log N and log N_C in log body,

    f(z) = z - log [beta t / (alpha s)] - log [1 + T / (3 D)] = 0.

T = 0 is the optimum of training alone. In the law's own count s = t and f rises throughout: D grows
with z, and the root lies between log beta/alpha and that plus log(1 + T/3D) at the lower end.
Elsewhere s / t lies between 1/3 and 3, which moves either end by log 3, and the lowest total on a
grid of z between them brackets the root. Serving makes models smaller and trained for longer.

For a total budget, log R is the root of log total(R) = log C. By the envelope theorem the slope of
log total in log R is -t / (alpha s w), between -(alpha + 3 beta) / (alpha beta) and -1 / (3 alpha).

All of this is as if the law held exactly: the discrepancy was learned of isoFLOP curves in training
compute and has no agreed form along curves of equal loss.

Source: Sardana et al. (2024), arXiv:2401.00448, section 2.
"""

import numpy as np
import xarray as xr
from scipy.optimize import elementwise

from scalebayes.counting import CountTerms
from scalebayes.discrepancy import refuse_isoflop
from scalebayes.errors import InputError
from scalebayes.first_order import log_count
from scalebayes.laws import FLOP_PER_PARAMETER_AND_TOKEN
from scalebayes.optimum import UNITS
from scalebayes.regret import curves

TRAINING_OVER_INFERENCE = 3.0
"""FLOP of a token in training, forward and backward, over those of a forward pass: 6 over 2.

Kaplan et al. (2020), arXiv:2001.08361, section 2.1.
"""

_TOLERANCES = {"xatol": 1e-12, "xrtol": 0.0}
_SCAN_POINTS = 65
_SCAN_ROWS = 8192  # draws scanned at once: 4 MB per array
_LOG_SIX = np.log(FLOP_PER_PARAMETER_AND_TOKEN)


def inference_optimal(
    fit,
    compute,
    inference_tokens,
    *,
    total=False,
    counting=None,
    flops="6ND",
    architecture=None,
):
    """Return the models that cost least to train and to serve, for every draw.

    Parameters
    ----------
    fit : DataTree
        Of a law of a whole surface.
    compute : float, sequence or DataArray
        FLOP, > 0. Budgets of training alone whose loss is to be reached at least total cost; with
        `total`, what training and serving may cost together at least loss.
    inference_tokens : float
        Tokens T that are served over the model's life, >= 0; prompt and answer alike.
    total : bool
    counting, flops, architecture
        As in `optimum.optimal`; serving charges for what the FLOP convention does.

    Returns
    -------
    Dataset
        Over (compute, chain, draw): N (parameters), D (tokens), tokens_per_parameter, loss (nats
        per token), training_compute and total_compute (FLOP), and saved: the share of the total
        that is saved against the training-optimal model of the same loss, served alike. Attrs as
        `optimal`'s, inference_tokens, and held: "loss" or "total", what the budget fixes. Roots are
        good to 1e-10 of the log.

    Raises
    ------
    InputError
        When a budget or T is not such a number, or for the law isoflop.
    CountingError
        As `optimal`.
    """
    served = _checked_tokens(inference_tokens)
    refuse_isoflop(fit["posterior"], fit.attrs.get("law"))
    asked = {"counting": counting, "flops": flops, "architecture": architecture}
    best, found = curves(fit, compute, **asked)
    law, counts = found.values, found.counts
    log_R = np.log(best["loss"] - law.get("E", 0.0))
    terms = np.log(law["A"]), np.log(law["B"]), law["alpha"], law["beta"], law.get("q", 1.0)
    arguments = (*terms, counts.law.linear)
    options = {"charged": counts.charged, "unique": counts.law_is_charged}
    if total:
        kwargs = {"served": served, **options}
        log_R = xr.apply_ufunc(_log_R_of_total, found.log_compute, log_R, *arguments, kwargs=kwargs)
    log_N, log_D, saved = (
        one.transpose(*best["N"].dims)
        for one in xr.apply_ufunc(
            _served_model,
            *(log_R, *arguments),
            kwargs={"served": served, "reported": counts.reported, **options},
            output_core_dims=[(), (), ()],
        )
    )
    N, D = np.exp(log_N), np.exp(log_D)
    charged = np.exp(log_count(counts.log_body_of(log_N), counts.charged)[0])
    values = {"N": N, "D": D, "tokens_per_parameter": D / N}
    values["loss"] = (law.get("E", 0.0) + np.exp(log_R)).transpose(*best["N"].dims)
    values["training_compute"] = FLOP_PER_PARAMETER_AND_TOKEN * charged * D
    values["total_compute"] = (
        FLOP_PER_PARAMETER_AND_TOKEN * charged * (D + served / TRAINING_OVER_INFERENCE)
    )
    values["saved"] = saved
    units = UNITS | {"training_compute": "FLOP", "total_compute": "FLOP", "saved": "1"}
    facts = {"inference_tokens": served, "held": "total" if total else "loss"}
    return xr.Dataset(
        {name: value.assign_attrs(units=units[name]) for name, value in values.items()},
        attrs=best.attrs | facts,
    )


def _served_model(log_R, *arguments, served, charged, reported, unique):
    """Return log N as reported, log D and the share saved of the cheapest models of losses."""
    options = {"charged": charged, "unique": unique}
    ways = []
    for tokens in (served, 0.0):
        z, values = _cheapest(log_R, *arguments, served=tokens, **options)
        x, log_D = _model(z, *values)
        ways.append((x, log_D, _log_total(x, log_D, served, charged)))
    (x, log_D, cost), (_, _, plain) = ways
    shape = np.broadcast_shapes(*map(np.shape, (log_R, *arguments)))
    results = log_count(x, reported)[0], log_D, -np.expm1(cost - plain)
    return tuple(one.reshape(shape) for one in results)


def _log_R_of_total(log_compute, log_R, *arguments, served, charged, unique):
    """Return log R of the least loss at total budgets; log_R is that of training alone."""
    shape = np.broadcast_shapes(*map(np.shape, (log_compute, log_R, *arguments)))
    flat = [np.broadcast_to(one, shape).ravel() for one in (log_compute, log_R, *arguments)]
    log_compute, log_R, *rest = flat

    def excess(log_R, log_compute, *rest):
        z, values = _cheapest(log_R, *rest, served=served, charged=charged, unique=unique)
        cost = _log_total(*_model(z, *values), served, charged)
        return cost.reshape(np.shape(log_R)) - log_compute

    alpha, beta = rest[2], rest[3]
    over = excess(log_R, log_compute, *rest)
    bracket = (
        log_R + over * alpha * beta / (alpha + 3 * beta) - 1e-9,
        log_R + over * 3 * alpha + 1e-9,
    )
    found = elementwise.find_root(
        excess, bracket, args=(log_compute, *rest), tolerances=_TOLERANCES
    )
    return np.where(found.success, found.x, np.nan).reshape(shape)


def _cheapest(log_R, *arguments, served, charged, unique):
    """Return z of the least total, and the arguments of `_model`, flat."""
    shape = np.broadcast_shapes(*map(np.shape, (log_R, *arguments)))
    values = [np.broadcast_to(one, shape).ravel() for one in (log_R, *arguments)]
    alpha, beta = values[3], values[4]
    centre, slack = np.log(beta / alpha), 0.0 if unique else np.log(3.0)
    low = centre - slack - 1e-6
    _, log_D = _model(low, *values)
    high = centre + slack + np.log1p(served * np.exp(-log_D) / TRAINING_OVER_INFERENCE) + 1e-6
    if not unique:
        low, high = _bracket_of_the_lowest(low, high, values, served, charged)

    def condition(z, *values):
        x, log_D = _model(z, *values)
        law, paid = CountTerms(linear=values[6]), charged
        slopes = log_count(x, paid)[1] / log_count(x, law)[1]
        more = np.log1p(served * np.exp(-log_D) / TRAINING_OVER_INFERENCE)
        return z - np.log(values[4] / values[3] * slopes) - more

    found = elementwise.find_root(
        condition, (low, high), args=tuple(values), tolerances=_TOLERANCES
    )
    return np.where(found.success, found.x, np.nan), values


def _bracket_of_the_lowest(low, high, values, served, charged):
    """Return the neighbours of the lowest total on a grid between two ends."""
    ends = np.empty_like(low), np.empty_like(low)
    for start in range(0, low.size, _SCAN_ROWS):
        rows = slice(start, start + _SCAN_ROWS)
        points = np.linspace(low[rows], high[rows], _SCAN_POINTS)
        totals = _log_total(*_model(points, *(one[rows] for one in values)), served, charged)
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


def _log_total(x, log_D, served, charged):
    """Return the log FLOP of training and serving."""
    tokens = np.logaddexp(log_D, np.log(served / TRAINING_OVER_INFERENCE)) if served else log_D
    return _LOG_SIX + log_count(x, charged)[0] + tokens


def _checked_tokens(value):
    try:
        tokens = float(value)
    except (TypeError, ValueError):
        tokens = np.nan
    if not (np.isfinite(tokens) and tokens >= 0):
        msg = f"inference_tokens: a number of tokens, 0 or more, is needed, found {value!r}."
        raise InputError(msg)
    return tokens
