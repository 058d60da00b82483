"""The advice that the literature gives about allocating compute, in numbers with intervals."""

import json

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes.errors import InputError
from scalebayes.fitted_law import thinned_fit
from scalebayes.optimum import compute_range, optimal
from scalebayes.published import published_optima
from scalebayes.report import CI_PROB

BUDGETS = (1e17, 1e18, 1e19, 1e20, 1e21, 1e22, 1e23, 1e24)
"""FLOP at which the compute-optimal ratio is given in both counts."""

COST_BUDGETS = (1e17, 1e18, 1e19)
"""FLOP at which recipes are compared: inside the budgets of Porian's runs."""

LEAST_BUDGET = "tokens_per_parameter of the first budget over this one's"

_DECADES, _STEPS_PER_DECADE = 2.0, 16  # of compute searched below and above for the same loss
_DRAWS = 1000  # about
_TAILS = ((1 - CI_PROB) / 2, 0.5, (1 + CI_PROB) / 2)


def ratio_by_budget(fit, budgets=BUDGETS):
    """Return compute-optimal tokens per parameter and exponent by budget, in both counts.

    Parameters
    ----------
    fit : DataTree
        A fit of a study whose shapes are known.
    budgets : sequence of float
        FLOP, > 0; 6 body D in the count "body", 6 N D in the count "total".

    Returns
    -------
    DataFrame
        compute, counting, quantity ("tokens_per_parameter", "exponent", and `LEAST_BUDGET`: the
        ratio at the first budget over that at `compute`, the largest one within the fit's runs),
        median, lower, upper, ci_prob (equal-tailed).
    """
    rows = []
    for counting in ("body", "total"):
        how = {"counting": counting, "flops": "6ND", "architecture": "study"}
        best = optimal(fit, list(budgets), **how)
        top = compute_range(fit, **how)[1]
        inside = [one for one in budgets if one <= top] or [max(budgets)]
        ratio = best["tokens_per_parameter"]
        against = ratio.isel(compute=0) / ratio.sel(compute=inside[-1])
        found = {"tokens_per_parameter": ratio, "exponent": best["exponent"]}
        for quantity, values in found.items():
            for compute in budgets:
                rows.append(_row(compute, counting, quantity, values.sel(compute=compute)))
        rows.append(_row(inside[-1], counting, LEAST_BUDGET, against))
    return pd.DataFrame(rows)


def _row(compute, counting, quantity, draws):
    lower, median, upper = draws.quantile(_TAILS, ("chain", "draw")).values.tolist()
    row = {"compute": compute, "counting": counting, "quantity": quantity}
    return row | {"median": median, "lower": lower, "upper": upper, "ci_prob": CI_PROB}


def compute_cost(worse, better, budgets=COST_BUDGETS, *, random_seed=0, **convention):
    """Return the share of compute that a recipe wastes against another, at its own optimum.

    1 - C'/C, where the better recipe's optimal model reaches with C' the loss that the worse one's
    reaches with C. Negative where the "better" one needs more.

    Parameters
    ----------
    worse, better : DataTree
        Fits of studies whose losses compare: same tokenizer, corpus and kind of loss.
    budgets : sequence of float
        C in FLOP, > 0.
    random_seed : int
        Pairs the draws of the two fits, which are independent, at random.
    **convention
        counting, flops and architecture of `optimum.optimal`.

    Returns
    -------
    DataArray
        Over (compute, draw). NaN where no C' within a factor of 100 of C reaches that loss.

    Raises
    ------
    InputError
        When a fit has other losses than the other: their kind, tokenizer or corpus differs.
    """
    _refuse_other_losses(worse, better)
    rng = np.random.default_rng(random_seed)
    reached = _losses(worse, budgets, convention, rng)
    ends = np.log10([min(budgets), max(budgets)]) + np.array([-_DECADES, _DECADES])
    grid = np.logspace(*ends, round((ends[1] - ends[0]) * _STEPS_PER_DECADE) + 1)
    curves = _losses(better, grid, convention, rng)
    n = min(reached.shape[1], curves.shape[1])
    wasted = [
        [1 - _first_to_reach(grid, curves[:, i], reached[row, i]) / budget for i in range(n)]
        for row, budget in enumerate(budgets)
    ]
    return xr.DataArray(wasted, dims=("compute", "draw"), coords={"compute": list(budgets)})


def observed_cost(worse, better, budgets=COST_BUDGETS):
    """Return the same share read off published optima, without a law.

    Parameters
    ----------
    worse, better : str
        Studies of `published.published_optima`, whose losses compare.
    budgets : sequence of float
        FLOP, > 0.

    Returns
    -------
    ndarray
        [budget]; NaN outside the published budgets or losses. log C is interpolated linearly, on
        the budget for the one and on -log loss for the other.

    References
    ----------
    Porian et al. (2024), arXiv:2406.19146, released optima.
    """
    table = published_optima()
    first, second = (
        table[table["study"] == name].sort_values("compute") for name in (worse, better)
    )
    log_budget = np.log(budgets)
    loss = np.interp(
        log_budget, np.log(first["compute"]), np.log(first["loss"]), left=np.nan, right=np.nan
    )
    log_loss = np.minimum.accumulate(np.log(second["loss"]))
    needed = np.interp(-loss, -log_loss, np.log(second["compute"]), left=np.nan, right=np.nan)
    return 1 - np.exp(needed - log_budget)


def _first_to_reach(grid, loss, reached):
    """Return the compute at which a falling curve of losses reaches a value; NaN outside it."""
    if not loss[-1] <= reached <= loss[0]:
        return np.nan
    return np.exp(np.interp(-np.log(reached), -np.log(loss), np.log(grid)))


def _losses(fit, budgets, convention, rng):
    """Return the losses of optimal models, [compute, draw], of some draws in random order."""
    loss = optimal(thinned_fit(fit, _DRAWS), list(budgets), **convention)["loss"]
    flat = loss.transpose("compute", "chain", "draw").to_numpy().reshape(len(budgets), -1)
    return flat[:, rng.permutation(flat.shape[1])]


def _refuse_other_losses(worse, better):
    first, second = (json.loads(one.attrs["study_record"]) for one in (worse, better))
    for name in ("tokenizer", "corpus", "loss_kind"):
        if first.get(name) != second.get(name):
            msg = (
                f"losses do not compare: {name} is {first.get(name)!r} in {first.get('name')} and "
                f"{second.get(name)!r} in {second.get('name')}."
            )
            raise InputError(msg)
