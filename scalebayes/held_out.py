"""Runs that a fit did not see because they cost more: cuts in compute, and what was optimal above.

A forecast is judged by runs above a cut in compute: by their losses, and by where on their isoFLOP
curves the lowest loss lay, read off without any law.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scalebayes.counting import count_parameters
from scalebayes.errors import CountingError, StudyError
from scalebayes.laws import FLOP_PER_PARAMETER_AND_TOKEN
from scalebayes.sweeps import LEAST_RUNS

ABOVE = "above the cut in compute"
"""Why a row is left out of the fit."""

LEAST_ABOVE = 4
"""Held-out runs without which there is nothing to judge."""

BUDGET_STEP = 0.3
"""Decades between budgets at which the optimum is read off: about as the bundled studies spent."""

LARGEST_ERROR = 0.15
"""Standard error of log N* beyond which an optimum counts as not measured."""

_REACH = 0.3 * np.log(10)  # runs this near to a budget in log compute tell of its curve
_SIZES = np.log(6.0)  # and this near to its lowest point in log N, after a first look
_MARGIN = 0.3  # by which sizes must go beyond the lowest point on both sides, in log N
_LEAST_LOCAL = 8
_ONE_BUDGET = 0.1  # spread of log C below which all runs count as at the budget itself


@dataclass(frozen=True, kw_only=True)
class Split:
    """A study cut at a compute budget.

    Parameters
    ----------
    below : Study
        With the rows above the cut left out.
    above : DataFrame
        N (parameters, in the counting of the law), D (tokens), loss (nats per token) of the
        held-out runs.
    runs : DataFrame
        The same columns of all used runs.
    cut : float
        Largest compute below, FLOP (6 N D).
    share : float
        Share of the log range of compute that lies below.
    """

    below: object
    above: pd.DataFrame
    runs: pd.DataFrame
    cut: float
    share: float


@dataclass(frozen=True, kw_only=True)
class LocalOptimum:
    """Where an isoFLOP curve was lowest, read off the runs around it.

    Parameters
    ----------
    compute : float
        FLOP (6 N D).
    log_N : float
        Log of the parameters at the lowest point, in the counting of the runs.
    se : float
        Standard error of log_N.
    n : int
        Runs it rests on.
    """

    compute: float
    log_N: float
    se: float
    n: int


def split_by_compute(study, share, *, counting="total"):
    """Return a study cut at a share of the log range of its compute.

    Parameters
    ----------
    study : Study
    share : float
        Between 0 and 1.
    counting : str or float
        What N counts in the law, and in C = 6 N D.

    Returns
    -------
    Split

    Raises
    ------
    StudyError
        When fewer than 8 runs lie below the cut or fewer than 4 above it.
    CountingError
        When the parameters of the runs are not known in that counting.
    """
    runs = counted_runs(study, counting)
    log_compute = np.log(compute_of(runs))
    limit = log_compute.min() + share * np.ptp(log_compute)
    above = log_compute > limit
    if (~above).sum() < LEAST_RUNS or above.sum() < LEAST_ABOVE:
        msg = (
            f"{study.name}: a cut at {share:.0%} of the log range of compute leaves "
            f"{(~above).sum()} runs below and {above.sum()} above; {LEAST_RUNS} and {LEAST_ABOVE} "
            "are needed."
        )
        raise StudyError(msg)
    kept = study.table.copy()
    kept.loc[runs.index[above], "left_out"] = ABOVE
    return Split(
        below=dataclasses.replace(study, name=f"{study.name} below {share:.0%}", table=kept),
        above=runs[above].reset_index(drop=True),
        runs=runs.reset_index(drop=True),
        cut=float(np.exp(log_compute[~above].max())),
        share=share,
    )


def counted_runs(study, counting):
    """Return N (parameters, in a counting), D (tokens) and loss of a study's used runs.

    Parameters
    ----------
    study : Study
    counting : str or float

    Raises
    ------
    CountingError
        When the parameters of the runs are not known in that counting.
    """
    table = study.table.loc[study.table["left_out"] == ""]
    values = {"N": count_parameters(table, counting, reported=study.counting)}
    values |= {name: table[name].to_numpy(dtype=float) for name in ("D", "loss")}
    return pd.DataFrame(
        {name: np.asarray(column, dtype=float) for name, column in values.items()},
        index=table.index,
    )


def splits_of(studies, shares, *, counting="total"):
    """Return every cut of several studies that leaves enough runs, and why others do not.

    Parameters
    ----------
    studies : sequence of Study
    shares : sequence of float
    counting : str or float

    Returns
    -------
    splits : dict of (str, float) to Split
        By the study's name and the share.
    left_out : dict of (str, float) to str
        Reasons.
    """
    splits, left_out = {}, {}
    for study in studies:
        for share in shares:
            try:
                splits[study.name, share] = split_by_compute(study, share, counting=counting)
            except (StudyError, CountingError) as error:
                left_out[study.name, share] = str(error)
    return splits, left_out


def optima_above(split):
    """Return the measured optima at budgets above a cut, half a step above it and on.

    Parameters
    ----------
    split : Split

    Returns
    -------
    list of LocalOptimum
        Only those measured to `LARGEST_ERROR` with sizes on both sides.
    """
    last = np.log10(compute_of(split.above).max() / split.cut)
    decades = np.arange(BUDGET_STEP / 2, last + 1e-9, BUDGET_STEP)
    found = [local_optimum(split.runs, split.cut * 10**one) for one in decades]
    return [one for one in found if one is not None]


def local_optimum(runs, compute):
    """Return where the loss at a budget was lowest, from the runs that spent about that much.

    A quadratic of log N, with a level and a tilt that are linear in log C where that varies, is
    fitted to the log loss of runs within a factor 2 of the budget, then again to those near its
    lowest point.

    Parameters
    ----------
    runs : DataFrame
        N, D, loss.
    compute : float
        FLOP (6 N D).

    Returns
    -------
    LocalOptimum or None
        None where fewer than 8 runs are near, where the curve has no lowest point inside the sizes
        that were trained, or where its error is above `LARGEST_ERROR`.
    """
    x, y = np.log(runs["N"].to_numpy()), np.log(runs["loss"].to_numpy())
    c = np.log(compute_of(runs)) - np.log(compute)
    near = abs(c) < _REACH
    centre = None
    for _ in range(3):
        some = near if centre is None else near & (abs(x - centre) < _SIZES)
        if some.sum() < _LEAST_LOCAL:
            return None
        found = _vertex(x[some], c[some], y[some])
        if found is None:
            return None
        centre, se = found
    inside = x[some].min() < centre - _MARGIN and x[some].max() > centre + _MARGIN
    if not inside or se > LARGEST_ERROR:
        return None
    return LocalOptimum(
        compute=float(compute), log_N=float(centre), se=float(se), n=int(some.sum())
    )


def largest_optimum(study, *, counting="total"):
    """Return the optimum at the largest budget of a study at which it can be measured, or None."""
    runs = counted_runs(study, counting)
    compute = compute_of(runs)
    decades = np.arange(0, np.log10(compute.max() / compute.min()), BUDGET_STEP)
    for back in decades:
        found = local_optimum(runs, compute.max() / 10**back)
        if found is not None:
            return found
    return None


def _vertex(x, c, y):
    """Return the lowest point of a quadratic in x at c = 0, with its standard error, or None."""
    middle = x.mean()
    u = x - middle
    columns = [np.ones_like(u), u, u * u]
    columns += [c, c * u] if np.ptp(c) > _ONE_BUDGET else []
    design = np.column_stack(columns)
    beta, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    if rank < design.shape[1] or beta[2] <= 0:
        return None
    residual = y - design @ beta
    freedom = len(y) - design.shape[1]
    covariance = residual @ residual / freedom * np.linalg.inv(design.T @ design)
    slope = np.zeros(len(columns))
    slope[1:3] = -1 / (2 * beta[2]), beta[1] / (2 * beta[2] ** 2)
    return middle - beta[1] / (2 * beta[2]), np.sqrt(slope @ covariance @ slope)


def compute_of(runs):
    """Return the compute of runs with N and D, 6 N D in FLOP."""
    return FLOP_PER_PARAMETER_AND_TOKEN * (runs["N"] * runs["D"]).to_numpy()
