"""Runs near the bottoms of isoFLOP curves: the rows that isoFLOP laws are fitted to, and their C0.

An isoFLOP line is a set of runs that spent the same compute on models of different size. Budgets
are grouped by the FLOP that a study states, else by 6 N D; the laws themselves take the 6 N D of
each run, N in the hypothesis' counting, so that a surface in that N is among them.
"""

import dataclasses

import numpy as np
from scipy.optimize import least_squares

from scalebayes.counting import count_parameters
from scalebayes.errors import StudyError
from scalebayes.hypotheses import NEAR_OPTIMUM
from scalebayes.laws import FLOP_PER_PARAMETER_AND_TOKEN, log_isoflop

TOLERANCE = 0.01
"""Runs whose compute differs by less than this share of it are on one line."""

FACTOR = 8.0
"""How many times smaller or larger than the optimum of its budget a used model may be."""

LEAST_SIZES, LEAST_BUDGETS = 3, 3
"""Sizes that make a line, and lines that a fit needs."""

OFF_LINE = f"fewer than {LEAST_SIZES} sizes have its compute"
FAR = f"N is more than {FACTOR:g} times off the optimum of a first isoFLOP fit"
ONE_SIDED = "its budget has no runs on both sides of that optimum"
REASONS = (OFF_LINE, FAR, ONE_SIDED)

_NOISE = 0.01  # scale of log loss beyond which the first fit's residuals count less
_USUAL = np.array([0.5, -0.2, np.log(20.0), 0.5, np.log(0.16), np.log(0.35), np.log(0.35)])
_WIDTH = np.array([0.5, 1.0, 2.0, 0.2, 0.5, 0.5, 0.5])  # priors of models/isoflop.toml
_STARTS = (0.0, -1.5, 1.5)  # of log D*/N*, in widths


def windowed(study, hypothesis):
    """Return a study with the rows that a hypothesis' window leaves.

    The window "isoflop" takes, of the rows that the study uses, those on isoFLOP lines, at most 8
    times smaller or larger than the optimum of a first fit, at budgets with runs on both sides of
    it. The first fit is one of the isoFLOP law by robust least squares, penalised by the usual
    priors: over all lines, then over the rows near its optimum.

    Parameters
    ----------
    study : Study
    hypothesis : Hypothesis

    Returns
    -------
    Study
        With other reasons in `left_out`; the same for a study that was windowed before.

    Raises
    ------
    StudyError
        When fewer than three isoFLOP lines, or fewer than three with an optimum inside, are there.
    """
    if hypothesis.window != NEAR_OPTIMUM:
        return study
    rows, line, log_N, log_D = _lines(study, hypothesis.counting)
    reason = np.where(line < 0, OFF_LINE, "").astype(object)
    log_loss = np.log(rows["loss"].to_numpy(dtype=float))
    near = line >= 0
    for _ in range(2):
        u = _first_fit(log_N, log_D, log_loss, near, _log_middle(line, log_N + log_D))
        near = (line >= 0) & (np.abs(u) <= np.log(FACTOR))
    reason[(line >= 0) & ~near] = FAR
    sided = [k for k in range(line.max() + 1) if _both_sides(u[near & (line == k)])]
    reason[near & ~np.isin(line, sided)] = ONE_SIDED
    if len(sided) < LEAST_BUDGETS:
        msg = (
            f"{study.name}: {len(sided)} of {line.max() + 1} isoFLOP lines have runs on both sides "
            f"of their optimum and within {FACTOR:g} times of it in N; {LEAST_BUDGETS} are needed. "
            "Add smaller or larger models at the same budgets."
        )
        raise StudyError(msg)
    table = study.table.copy()
    table.loc[rows.index, "left_out"] = reason
    window = f"{study.window}; of these, isoFLOP lines near their optimum"
    already = study.table["left_out"].isin(REASONS).any()
    return dataclasses.replace(study, table=table, window=study.window if already else window)


def middle_budget(study, counting):
    """Return C0: the median over a study's isoFLOP lines of their compute, 6 N D in FLOP.

    It depends on the design alone, not on losses nor on the window "isoflop".

    Parameters
    ----------
    study : Study
    counting : str or float
        What N counts.

    Raises
    ------
    StudyError
        When fewer than three isoFLOP lines are there.
    """
    _, line, log_N, log_D = _lines(study, counting)
    return float(np.exp(_log_middle(line, log_N + log_D)) * FLOP_PER_PARAMETER_AND_TOKEN)


def _lines(study, counting):
    """Return rows before any isoFLOP window, line of each (-1: none), log N and log D."""
    table = study.table
    rows = table[table["left_out"].isin(["", *REASONS])]
    N = np.asarray(count_parameters(rows, counting, reported=study.counting), dtype=float)
    D = rows["D"].to_numpy(dtype=float)
    stated = "flops" in rows and rows["flops"].notna().all()
    spent = rows["flops"].to_numpy(dtype=float) if stated else FLOP_PER_PARAMETER_AND_TOKEN * N * D
    line = _grouped(np.log(spent), N)
    if line.max() + 1 < LEAST_BUDGETS:
        msg = (
            f"{study.name}: the law and window 'isoflop' need runs on isoFLOP lines: at least "
            f"{LEAST_BUDGETS} budgets, each spent on {LEAST_SIZES} sizes or more to within "
            f"{TOLERANCE:.0%} of compute. Found {line.max() + 1} among {len(rows)} runs, their "
            f"compute {'as stated (flops)' if stated else 'taken as 6 N D'}. Another law, such as "
            "hoffmann-total, takes runs off lines."
        )
        raise StudyError(msg)
    return rows, line, np.log(N), np.log(D)


def _grouped(log_spent, N):
    """Return the line of each run, from 0 in order of compute; -1 where too few sizes share it."""
    order = np.argsort(log_spent, kind="stable")
    group = np.empty(len(order), dtype=int)
    group[order] = np.cumsum(np.diff(log_spent[order], prepend=log_spent[order[0]]) > TOLERANCE)
    sizes = [len(np.unique(N[group == k])) for k in range(group.max() + 1)]
    kept = np.cumsum(np.array(sizes) >= LEAST_SIZES) - 1
    return np.where(np.array(sizes)[group] >= LEAST_SIZES, kept[group], -1)


def _log_middle(line, log_product):
    """Return the log of the median over lines of the mean N D of each."""
    return np.median([log_product[line == k].mean() for k in range(line.max() + 1)])


def _first_fit(log_N, log_D, log_loss, used, log_middle):
    """Return log N/N* of every row, N* from a fit to the rows used."""
    log_budget = log_N + log_D - log_middle

    def misfit(z):
        theta = _USUAL + _WIDTH * z
        law = _log_law(theta, log_N[used], log_D[used], log_budget[used])
        return np.concatenate([(log_loss[used] - law) / _NOISE, z])

    fits = []
    for shift in _STARTS:
        start = np.zeros(7)
        start[2] = shift
        with np.errstate(over="ignore"):
            fits.append(least_squares(misfit, start, loss="soft_l1", bounds=(-8, 8)))
    theta = _USUAL + _WIDTH * min(fits, key=lambda one: one.cost).x
    return (theta[2] + log_N - log_D) / 2 + (0.5 - theta[3]) * log_budget


def _log_law(theta, log_N, log_D, log_budget):
    log_E, log_K, log_ratio, a, log_gamma, log_alpha, log_beta = theta
    exponents = {"a": a, "gamma": np.exp(log_gamma)}
    exponents |= {"alpha": np.exp(log_alpha), "beta": np.exp(log_beta)}
    level = {"log_E": log_E, "log_K": log_K, "log_ratio": log_ratio}
    return log_isoflop(log_N, log_D, log_budget=log_budget, **level, **exponents)


def _both_sides(u):
    return (u < 0).any() and (u > 0).any()
