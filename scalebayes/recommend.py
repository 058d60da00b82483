"""The ratio D/N to train at: the one whose expected loss over the posterior is lowest.

With rho = log D/N at a budget, and one law for every draw i of the posterior,

    R(rho) = mean_i [L_i(rho) - L*_i]      (`regret`)

is the expected regret, and the recommended ratio is where R is least. Near the bottom of draw i's
curve the regret is k_i (rho - rho_i)^2 / 2, rho_i being its own optimum, so that

    rho* = sum_i k_i rho_i / sum_i k_i,    min R = sum_i k_i (rho_i - rho*)^2 / 2 n

to second order: the mean of log D*/N* weighted by curvature. The median ratio is another. In the
law's own count k_i = alpha_i beta_i (L*_i - E_i) / 4, times w_i e^level_i with the discrepancy.
min R is what not knowing the law costs: no ratio does better, only more runs.

As draws are added rho* goes to the minimiser of the posterior expected loss; its standard error for
independent draws is that of an M-estimator, sd_i(L_i'(rho*)) / (sqrt(n) R''(rho*)).

Where law, budget and asked N share one count, every L_i is a sum of exponentials in rho (of a power
of one in `laws.nested`, log-convex all the same), so that R is convex and has one minimum, between
the least and the greatest rho_i. In other counts that is not certain: the lowest of a grid of
points brackets the minimum. The bottom is flat: what range of ratios costs next to nothing more is
part of the answer.
"""

import numpy as np
import xarray as xr
from scipy.optimize import brentq, minimize_scalar

from scalebayes.discrepancy import shift_of
from scalebayes.errors import InputError
from scalebayes.first_order import log_count
from scalebayes.progress import status_line
from scalebayes.regret import RULE, curves

ASSUMPTIONS = ("law", "discrepancy")
"""The law holds exactly; it misses as the discrepancy says."""

LOSS_TOLERANCE = 1e-3
"""Share of the expected loss that a ratio may cost more than the best and still be as good."""

COMPUTE_TOLERANCE = 1e-2
"""Share of the budget that a ratio may waste more than the best and still be as good."""

_GRID = 33
_FARTHEST = 100.0  # log ratios from the best one at which a range is said to have no end
_STEP = 1e-3


def recommend(
    fit,
    compute,
    *,
    rule=RULE,
    counting=None,
    flops="6ND",
    architecture=None,
    discrepancy=None,
    random_seed=1,
    progressbar=None,
):
    """Return the tokens per parameter of least posterior expected loss at each budget.

    Parameters
    ----------
    fit : DataTree
        A fit whose law has a frontier.
    compute : float, sequence or DataArray
        Budgets in FLOP, > 0.
    rule : float
        Tokens per parameter of a rule to compare with, > 0.
    counting, flops, architecture
        As in `optimum.optimal`.
    discrepancy : Discrepancy or "published", optional
        How far the law may miss; then both with it and as if the law held exactly.
    random_seed : int or Generator
        Of the discrepancy. With the same seed it is the one of `with_discrepancy`.
    progressbar : bool, optional
        By default only when stderr is a terminal.

    Returns
    -------
    Dataset
        Over (assumption, compute), assumption being "law" and, where asked for, "discrepancy":
        tokens_per_parameter, N and D recommended, to 1e-6 of the log, and log_ratio_error, the
        Monte Carlo standard error of log D/N for independent draws; median_ratio, of the draws'
        optima; rule. For the recommended ratio, the median and the rule: expected_regret (nats per
        token) and expected_wasted (share of the budget), each also with _of_median and _of_rule.
        lowest_within_loss and highest_within_loss: ratios whose expected loss is at most
        `LOSS_TOLERANCE` of it above the least; lowest_within_compute and highest_within_compute:
        ratios that waste at most `COMPUTE_TOLERANCE` of the budget more than the recommended one; 0
        or infinite where there is no such end. Attrs as `optimal`'s, and still_prior of the fit.

    Raises
    ------
    InputError
        As `regret.regret`; or when a draw's optimum is no floating-point number.
    CountingError
        As `optimal`.
    """
    if not (np.isfinite(rule) and rule > 0):
        raise InputError(f"rule: a positive number of tokens per parameter is needed, got {rule}.")
    asked = {"counting": counting, "flops": flops, "architecture": architecture}
    best, found = curves(fit, compute, **asked, discrepancy=discrepancy, random_seed=random_seed)
    _refuse_without_optimum(best)
    assumed = ASSUMPTIONS[: 1 if found.missed is None else 2]
    n = best.sizes["compute"]
    columns = [[] for _ in assumed]
    with status_line(progressbar, "recommended ratio", doing="minimising") as advance:
        for index in range(n):
            curve = found.at(index)
            for column, name in zip(columns, assumed, strict=True):
                column.append(_recommended(curve, name, rule))
            if advance is not None:
                advance(f"{index + 1} of {n} budgets")
    values = {
        name: (("assumption", "compute"), [[one[name] for one in row] for row in columns])
        for name in columns[0][0]
    }
    result = xr.Dataset(values, coords={"assumption": list(assumed), "compute": best["compute"]})
    facts = {"rule": float(rule), "still_prior": fit.attrs.get("still_prior", "")}
    return result.assign_attrs(best.attrs | facts)


def optimal_log_ratio(curve, assumption):
    """Return log D*/N* of every draw on a curve's budgets, under an assumption."""
    moved = 0.0 if assumption == "law" else shift_of(curve.missed, curve.decades)
    log_N = curve.log_N + moved
    log_D = curve.counts.log_tokens(curve.counts.log_body_of(log_N), curve.log_compute)
    return log_D - log_N


def expected_regret(curve, log_ratio, assumption):
    """Return the regret of a ratio at one budget, nats per token, mean over draws."""
    return float(_regret(curve, log_ratio, assumption).mean())


def expected_wasted(curve, log_ratio, assumption):
    """Return the share of one budget that a ratio wastes, mean over draws."""
    x = curve.counts.log_body_on(curve.log_compute, log_ratio)
    exact = assumption == "law"
    above = curve.regret(x) if exact else curve.regret_at_the_laws_level(x)
    return float(curve.wasted(above).mean())


def _recommended(curve, assumption, rule):
    """Return what `recommend` says of one budget, by name."""
    optima = optimal_log_ratio(curve, assumption)
    best = _lowest(curve, assumption, optima)
    ratios = {"": best, "_of_median": float(np.median(optima)), "_of_rule": float(np.log(rule))}
    values = {"log_ratio_error": _error(curve, best, assumption)}
    for suffix, log_ratio in ratios.items():
        values[f"expected_regret{suffix}"] = expected_regret(curve, log_ratio, assumption)
        values[f"expected_wasted{suffix}"] = expected_wasted(curve, log_ratio, assumption)
    lowest = curve.lowest if assumption == "law" else curve.level() * curve.lowest
    loss = float(np.mean(lowest)) + values["expected_regret"]
    values |= _flat(curve, best, assumption, loss)
    x = curve.counts.log_body_on(curve.log_compute, best)
    N = np.exp(log_count(x, curve.counts.reported)[0])
    values |= {"tokens_per_parameter": np.exp(best), "N": N, "D": N * np.exp(best)}
    values |= {"median_ratio": np.exp(ratios["_of_median"]), "rule": float(rule)}
    return {name: float(value) for name, value in values.items()}


def _regret(curve, log_ratio, assumption):
    x = curve.counts.log_body_on(curve.log_compute, log_ratio)
    return curve.regret(x) if assumption == "law" else curve.regret_with_discrepancy(x)


def _lowest(curve, assumption, optima):
    """Return the log ratio of least expected regret at one budget."""
    low, high = float(optima.min()), float(optima.max())
    slack = 1e-3 + (0.0 if curve.counts.law_is_charged else 0.1 * (high - low))
    grid = np.linspace(low - slack, high + slack, _GRID)

    def expected(log_ratio):
        return expected_regret(curve, log_ratio, assumption)

    deepest = int(np.argmin([expected(point) for point in grid]))
    bounds = grid[max(deepest - 1, 0)], grid[min(deepest + 1, _GRID - 1)]
    return float(minimize_scalar(expected, bounds=bounds, options={"xatol": 1e-9}).x)


def _error(curve, best, assumption):
    """Return the standard error of the log ratio, of the module's docstring."""
    left, here, right = (_regret(curve, best + step, assumption) for step in (-_STEP, 0.0, _STEP))
    slope = (right - left) / (2 * _STEP)
    bend = (right - 2 * here + left).mean() / _STEP**2
    return slope.std() / np.sqrt(slope.size) / bend


def _flat(curve, best, assumption, loss):
    """Return the ends of the two ranges of ratios that are as good as the best."""
    bounds = {
        "loss": (expected_regret, LOSS_TOLERANCE * loss),
        "compute": (expected_wasted, COMPUTE_TOLERANCE),
    }
    ends = {}
    for name, (cost, tolerance) in bounds.items():
        least = cost(curve, best, assumption)

        def excess(step, cost=cost, allowed=least + tolerance):
            return cost(curve, best + step, assumption) - allowed

        ends[f"lowest_within_{name}"] = np.exp(best + _end(excess, -1.0))
        ends[f"highest_within_{name}"] = np.exp(best + _end(excess, 1.0))
    return ends


def _end(excess, direction):
    """Return the first step in a direction at which an excess is no longer negative."""
    inner, outer = 0.0, 0.1
    while excess(direction * outer) < 0:
        inner, outer = outer, 2 * outer
        if outer > _FARTHEST:
            return direction * np.inf
    return direction * brentq(lambda step: excess(direction * step), inner, outer, xtol=1e-5)


def _refuse_without_optimum(best):
    lost = int(best["loss"].isnull().sum())
    if lost:
        msg = (
            f"recommend: {lost} of {best['loss'].size} draws have no optimum that a floating-point "
            "number can hold, so that there is no expected regret; regret gives it draw by draw."
        )
        raise InputError(msg)
