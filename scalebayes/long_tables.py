"""A logger's export, one row per step of each run -> one row per run, or its checkpoints.

Every row stays in the table with the reason why it is not used.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scalebayes.codes import coded
from scalebayes.errors import StudyError
from scalebayes.tables import Table

ROWS = ("every", "last", "checkpoints")
"""What is a run: every row, the last step of each run with a loss, or every step with a loss."""

NO_LOSS = "no loss at this step"
NEVER_A_LOSS = "its run has no loss at any step"
NO_TOKENS = "no tokens seen yet"
NOT_LAST = "not the last step of its run"


def refuse_unusable_rows(
    rows: str, tokens_per_step: float | None, columns: Mapping, *, source: str
) -> None:
    """Raise a `StudyError` when `rows`, or an option that goes with it, cannot be used."""
    if rows not in ROWS:
        msg = f"{source}: rows is {rows!r}; allowed: {list(ROWS)}."
        raise StudyError(coded("SB204", msg))
    if rows == "every":
        mapped = [name for name in ("step", "tokens_per_step") if name in columns]
        given = mapped or (["tokens_per_step"] if tokens_per_step is not None else [])
        if given:
            msg = (
                f"{source}: {given[0]} is read only where a table has a row for each step; say "
                'rows="last" (the last step of each run) or rows="checkpoints" (all of them).'
            )
            raise StudyError(coded("SB204", msg))
    if tokens_per_step is not None and not (np.isfinite(tokens_per_step) and tokens_per_step > 0):
        msg = f"{source}: tokens_per_step is {tokens_per_step!r}; it must be a positive number."
        raise StudyError(coded("SB204", msg))


def with_tokens(
    runs: pd.DataFrame, tokens_per_step: float | None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return runs with D as step times tokens per step where D is missing, and a note of it.

    Parameters
    ----------
    runs : DataFrame
        With `step`, and `tokens_per_step` unless it is given.
    tokens_per_step : float, optional
        Tokens, > 0.
    """
    if "D" in runs:
        return runs.drop(columns="tokens_per_step", errors="ignore"), ()
    each = runs["tokens_per_step"] if tokens_per_step is None else tokens_per_step
    words = "tokens_per_step" if tokens_per_step is None else f"{tokens_per_step:g} tokens"
    runs = runs.assign(D=runs["step"] * each).drop(columns="tokens_per_step", errors="ignore")
    return runs, (coded("SB115", f"D computed as step times {words}"),)


def named_rows(table: Table, runs: pd.DataFrame, *, rows: str) -> tuple[pd.DataFrame, pd.Series]:
    """Return the rows with names of runs and trajectories, and for each why it is not used.

    Parameters
    ----------
    table : Table
        Said in errors.
    runs : DataFrame
        One row per step, with run (its id), D, loss, and step unless D orders the rows.
    rows : str
        "last" or "checkpoints".

    Returns
    -------
    DataFrame
        With `trajectory` the id of the run, and `run` a name for each row that is used.
    Series
        Reasons, "" where the row is used.

    Raises
    ------
    StudyError
        When an id or a step is missing, a step has two losses, tokens fall or N changes in a run.
    """
    order = "step" if "step" in runs else "D"
    _refuse(table, runs["run"] == "", "run", "has no id of its run")
    reasons = pd.Series("", index=runs.index).mask(runs["loss"].isna(), NO_LOSS)
    reasons = reasons.mask((runs["D"] == 0) & (reasons == ""), NO_TOKENS)
    used = runs[reasons == ""]
    never = ~runs["run"].isin(used["run"]) & (reasons == NO_LOSS)
    reasons = reasons.mask(never, NEVER_A_LOSS)
    _refuse(table, used[order].isna(), order, "has a loss and no step")
    _refuse(table, used.duplicated(["run", order]), order, "is a step of its run that has a loss")
    _refuse_inconsistent(table, used.sort_values(["run", order], kind="stable"))
    ids = runs["run"]
    if rows == "last":
        last = used.loc[used.groupby("run", sort=False)[order].idxmax()].index
        reasons = reasons.mask((reasons == "") & ~runs.index.isin(last), NOT_LAST)
        return runs.assign(trajectory=ids), reasons
    steps = [f"{run} at {order} {at:.12g}" for run, at in zip(ids, runs[order], strict=True)]
    return runs.assign(run=steps, trajectory=ids), reasons


def _refuse_inconsistent(table, ordered):
    """Raise where tokens fall along a run, or its N changes; rows by run and step."""
    same = ordered["run"] == ordered["run"].shift()
    _refuse(
        table, same & (ordered["D"] < ordered["D"].shift()), "D", "has fewer tokens than before"
    )
    if "N" in ordered:
        changed = same & (ordered["N"] != ordered["N"].shift()) & ordered["N"].notna()
        _refuse(table, changed & ordered["N"].shift().notna(), "N", "has another N than before")


def _refuse(table, bad, column, found):
    if bad.any():
        where = table.where(bad.idxmax())
        msg = (
            f"{where}: the row {found} (column {column}; {int(bad.sum())} such rows). Take out "
            "what a restart wrote twice, or give each run an id of its own."
        )
        raise StudyError(coded("SB216", msg))
