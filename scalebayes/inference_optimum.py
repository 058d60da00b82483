"""Compute-optimal models that are served as well as trained.

Two questions, the total being the FLOP of training and serving (`equal_loss`):

- least total at a loss l = L*(C), the one that a budget C spent on training alone would reach;
- least loss at a total.

Both have their answers among the cheapest models of each loss. For a total budget, with R = l - E,
log R is the root of log total(R) = log C. With s and t the slopes of log N and log N_C in log body
and w the share of the term of N, the envelope theorem makes the slope of log total in log R
-t / (alpha s w), between -(alpha + 3 beta) / (alpha beta) and -1 / (3 alpha). Serving makes models
smaller and trained for longer.

All of this is as if the law held exactly: the discrepancy was learned of isoFLOP curves in training
compute and has no agreed form along curves of equal loss.

Source: Sardana et al. (2024), arXiv:2401.00448, section 2, for the first.
"""

import numpy as np
import xarray as xr
from scipy.optimize import elementwise

from scalebayes.equal_loss import TRAINING_OVER_INFERENCE, cheapest, log_total
from scalebayes.errors import InputError
from scalebayes.first_order import log_count
from scalebayes.laws import FLOP_PER_PARAMETER_AND_TOKEN
from scalebayes.optimum import UNITS
from scalebayes.regret import curves

_TOLERANCES = {"xatol": 1e-12, "xrtol": 0.0}


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
    if "A" not in fit["posterior"]:
        msg = (
            "inference_tokens: models of equal loss are known for laws of a whole surface, not for "
            f"{fit.attrs.get('law')!r}; fit one, such as isoflop-surface or hoffmann-total."
        )
        raise InputError(msg)
    asked = {"counting": counting, "flops": flops, "architecture": architecture}
    best, found = curves(fit, compute, **asked)
    law, counts = found.values, found.counts
    log_R = np.log(best["loss"] - law.get("E", 0.0))
    terms = np.log(law["A"]), np.log(law["B"]), law["alpha"], law["beta"], law.get("q", 1.0)
    arguments = (*terms, counts.law.linear)
    options = {"charged": counts.charged, "one_count": counts.law_is_charged, "served": served}
    if total:
        log_R = xr.apply_ufunc(
            _log_R_of_total, found.log_compute, log_R, *arguments, kwargs=options
        )
    log_N, log_D, saved = (
        one.transpose(*best["N"].dims)
        for one in xr.apply_ufunc(
            _served_model,
            *(log_R, *arguments),
            kwargs={"reported": counts.reported, **options},
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


def _served_model(*arguments, reported, charged, one_count, served):
    """Return log N as reported, log D and the share saved of the cheapest models of losses."""
    known = {"charged": charged, "one_count": one_count}
    x, log_D = cheapest(*arguments, served=served, **known)
    cost = log_total(x, log_D, charged=charged, served=served)
    alone = log_total(*cheapest(*arguments, **known), charged=charged, served=served)
    return log_count(x, reported)[0], log_D, -np.expm1(cost - alone)


def _log_R_of_total(log_compute, log_R, *arguments, charged, one_count, served):
    """Return log R of the least loss at total budgets; log_R is that of training alone."""
    shape = np.broadcast_shapes(*map(np.shape, (log_compute, log_R, *arguments)))
    flat = [np.broadcast_to(one, shape).ravel() for one in (log_compute, log_R, *arguments)]
    log_compute, log_R, *rest = flat

    def excess(log_R, log_compute, *rest):
        models = cheapest(log_R, *rest, charged=charged, one_count=one_count, served=served)
        return log_total(*models, charged=charged, served=served) - log_compute

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


def _checked_tokens(value):
    try:
        tokens = float(value)
    except (TypeError, ValueError):
        tokens = np.nan
    if not (np.isfinite(tokens) and tokens >= 0):
        msg = f"inference_tokens: a number of tokens, 0 or more, is needed, found {value!r}."
        raise InputError(msg)
    return tokens
