"""A table of runs someone measured -> run columns in our units, with what was left out and assumed.

The rows keep the position they have in the table, so that an error can point at them.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scalebayes.codes import coded
from scalebayes.column_hints import other_loss, suggest
from scalebayes.counting import flops_counting
from scalebayes.errors import CountingError, StudyError
from scalebayes.laws import chinchilla
from scalebayes.long_tables import named_rows, refuse_unusable_rows, with_tokens
from scalebayes.sizes import (
    Shapes,
    agreement_note,
    n_is_asked_of_shapes,
    refuse_impossible_sizes,
    refuse_unusable_facts,
    with_n_of_shapes,
    with_sizes,
    with_tied_column,
)
from scalebayes.tables import (
    COLUMNS,
    PARAMETER_COLUMNS,
    REQUIRED,
    TOKEN_COLUMNS,
    column_names,
    read_columns,
    read_table,
    refuse_unknown,
)

LEAST_RUNS = 8
"""One more than the parameters of law and noise: E, A, B, alpha, beta, sigma, nu."""

COUNT_UNITS = {"1": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
LOSS_UNITS = {"nats": 1.0, "bits": math.log(2), "log10": math.log(10)}
"""Nats per unit of loss; "log10" is a cross entropy taken with logarithms to base 10."""

LOSS_RATIOS = (0.65, 1.4)
"""Smallest loss of a sweep over that of the law of Hoffmann's points at the same N and D: outside,
the unit is doubted. The 27 bundled studies lie between 0.74 and 1.29."""

_PUBLISHED_LAW = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
"""Besiroglu et al. (2024), arXiv:2404.10102, table 1."""

_JUDGED_FROM = {"N": 5e6, "D": 1e8}  # below, no law is known to hold

_UNITS = {
    **dict.fromkeys((*PARAMETER_COLUMNS, *TOKEN_COLUMNS), COUNT_UNITS),
    "loss": LOSS_UNITS,
}
_FLOP_TOLERANCE = 0.01

MOST_NATS = 12.5
"""Nats per token of a model to which each of 2^18 = 262144 tokens is equally likely, rounded up."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A checked run table with the reason of each left-out row, and what was assumed."""

    source: str
    table: pd.DataFrame
    tokenizer: str
    tied: bool | None
    assumed: tuple[str, ...]


def read_sweep(
    source: str | Path | pd.DataFrame,
    *,
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str | int] | None = None,
    counting: str = "unknown",
    shapes: Shapes | None = None,
    rows: str = "every",
    tokens_per_step: float | None = None,
    drop_missing: bool = False,
    dedupe: bool = False,
    prior_dominated_ok: bool = False,
) -> Sweep:
    """Return the runs of a file or a DataFrame, checked; see `studies.read_runs`."""
    table = read_table(source)
    shapes = Shapes() if shapes is None else shapes
    _refuse_no_mapping(columns, units, source=table.source)
    refuse_unusable_facts(counting, shapes, source=table.source)
    refuse_unusable_rows(rows, tokens_per_step, columns or {}, source=table.source)
    from_shapes = n_is_asked_of_shapes(table, columns, counting)
    required = _required(table, columns, rows, tokens_per_step, from_shapes=from_shapes)
    names = column_names(table, columns, required=required)
    factors, assumed = unit_factors(units, names, source=table.source)
    zero_allowed = () if rows == "every" else ("D",)
    runs = _scaled(read_columns(table, names, zero_allowed=zero_allowed), factors)
    runs, unused, note = _of_steps(table, runs, rows=rows, tokens_per_step=tokens_per_step)
    assumed += note
    runs, shapes = with_tied_column(table, runs, shapes, names)
    if from_shapes:
        counted = runs, unused == ""
        runs, note = with_n_of_shapes(table, *counted, counting=counting, shapes=shapes)
        assumed += note
    missing = _missing(table, runs, names, unused, drop=drop_missing)
    present = runs[missing == ""]
    few_is_ok = {"prior_dominated_ok": prior_dominated_ok}
    _refuse_few(table, len(present), **few_is_ok)
    _refuse_unlikely_units(table, present, tuple(units or ()), names)
    left_out = missing.mask(_repeated(table, present, dedupe=dedupe), _REPEATED)
    used = runs[left_out == ""]
    _refuse_few(table, len(used), **few_is_ok)
    _refuse_constant_loss(table, used)
    sized = with_sizes(runs, counting=counting, shapes=shapes)
    refuse_impossible_sizes(table, sized.loc[used.index], counting=counting)
    return Sweep(
        source=table.source,
        table=_with_ids(table, sized, used.index).assign(left_out=left_out),
        tokenizer=_one_tokenizer(table, used),
        tied=shapes.tied,
        assumed=(
            *assumed,
            *_kind_note(used, names["loss"]),
            *_replicate_note(used),
            *_size_note(used),
            *agreement_note(used, counting=counting, shapes=shapes),
        ),
    )


def unit_factors(
    units: Mapping[str, str | int] | None, names: Iterable[str], *, source: str
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return the factor from each column's unit to ours, and in words what was assumed.

    Parameters
    ----------
    units : mapping, optional
        Our column name -> 1, "K", "M", "B" or "T" (parameters, tokens), or "nats", "bits" or
        "log10" (loss, which holds for `loss_se` too).
    names : iterable of str
        Our names of the columns that are read.
    source : str
        Said in errors.

    Raises
    ------
    StudyError
        When a key is not a column with a unit that is read, or the unit is unknown.
    """
    units = dict(units or {})
    with_units = [name for name in names if name in _UNITS]
    refuse_unknown(units, with_units, what="units", source=source)
    factors = {name: _unit_factor(name, unit, source=source) for name, unit in units.items()}
    assumed = tuple(
        coded("SB101", f"{name} assumed to be in {_default_unit(name)}")
        for name in with_units
        if name not in units
    )
    if "loss" in factors:
        factors["loss_se"] = factors["loss"]
    return factors, assumed


def flops_convention(
    table: pd.DataFrame, flops: str, *, source: str
) -> tuple[str, tuple[str, ...]]:
    """Return the FLOP convention of a run table's budgets, and in words what was assumed.

    Parameters
    ----------
    table : DataFrame
        Run table with N, D and perhaps flops, in parameters, tokens and FLOP.
    flops : str
        What was said: one of `counting.FLOPS`, "exact", or "" for nothing. Then budgets that are
        6 N D to 1% in every row are "6ND", and others stay unknown ("").
    source : str
        Said in errors.

    Raises
    ------
    StudyError
        When the convention is unknown, or there are no budgets that it could be of.
    """
    if flops and flops != "exact":
        try:
            flops_counting(flops, "total")
        except CountingError as error:
            msg = f'{source}: {error} Or "exact", if C is the trainer\'s own count.'
            raise StudyError(coded("SB215", msg)) from error
    if "flops" not in table:
        if flops:
            msg = (
                f"{source}: flops={flops!r} says what the column flops counts, and there is none. "
                'Map it (columns={"flops": ...}), or read without flops= and compute budgets: '
                f"reflop(study, {flops!r})."
            )
            raise StudyError(coded("SB215", msg))
        return "", ()
    if flops:
        return flops, ()
    ratio = (table["flops"] / (6 * table["N"] * table["D"])).dropna()
    if len(ratio) and ((ratio - 1).abs() < _FLOP_TOLERANCE).all():
        note = "flops assumed to count 6 N D, as they are to 1% in every row"
        return "6ND", (coded("SB107", note),)
    return "", (coded("SB108", "what flops count was not said, and they are not 6 N D"),)


def count_replicates(runs: pd.DataFrame) -> int:
    """Return how many runs share their N and D with an earlier one."""
    return int(runs.duplicated(["N", "D"]).sum())


def _refuse_no_mapping(columns, units, *, source):
    """Refuse columns and units that are no mappings, and columns whose names are no texts."""
    for what, given in (("columns", columns), ("units", units)):
        if given is not None and not isinstance(given, Mapping):
            msg = f'{source}: {what} is {given!r}; it must be a mapping, such as {{"N": "B"}}.'
            raise StudyError(coded("SB204", msg))
    wrong = [name for name in (columns or {}).values() if not isinstance(name, str)]
    if wrong:
        msg = f"{source}: columns names {wrong[0]!r}; names of columns are texts."
        raise StudyError(coded("SB204", msg))


_REPEATED = "exact duplicate of an earlier row"


def _required(table, columns, rows, tokens_per_step, *, from_shapes):
    """Return our names of the columns that a table must have."""
    columns = columns or {}
    needed = [name for name in REQUIRED if not (name == "N" and from_shapes)]
    if rows == "every":
        return tuple(needed)
    there = {name for name in COLUMNS if columns.get(name, name) in table.cells}
    if tokens_per_step is not None and "D" in there:
        msg = (
            f"{table.source}: tokens_per_step is given, but there is a column of tokens D too. "
            "Leave one of them out."
        )
        raise StudyError(coded("SB204", msg))
    computed = "D" not in there and (tokens_per_step is not None or "tokens_per_step" in there)
    if computed:
        needed.remove("D")
        needed += ["step"] if tokens_per_step is not None else ["step", "tokens_per_step"]
    elif "step" in there:
        needed.append("step")
    return (*needed, "run")


def _of_steps(table, runs, *, rows, tokens_per_step):
    """Return rows, why some are not used ("" where they are), and what was computed."""
    if rows == "every":
        return runs, pd.Series("", index=runs.index), ()
    runs, note = with_tokens(runs, tokens_per_step)
    return (*named_rows(table, runs, rows=rows), note)


def _scaled(runs, factors):
    scaled = {name: runs[name] * factor for name, factor in factors.items() if name in runs}
    return runs.assign(**scaled)


def _missing(table, runs, names, unused, *, drop):
    """Return for each row why it is not used, "" if it may be; raise unless dropping."""
    left_out = unused
    for ours in REQUIRED:
        blank = runs[ours].isna() & (unused == "")
        if blank.any() and not drop:
            column = names.get(ours, names.get("tokens_per_step", ""))
            first = int(np.flatnonzero(blank)[0])
            msg = (
                f"{table.where(first, column)}: found {table.cells[column][first]!r}, "
                f"a missing value ({int(blank.sum())} in this column). Fill it in, or leave such "
                "rows out and have them counted: drop_missing=True (--drop-missing)."
                + _steps_hint(table, names)
            )
            raise StudyError(coded("SB206", msg))
        left_out = left_out.mask(blank & (left_out == ""), f"{ours} is missing")
    return left_out


def _steps_hint(table, names):
    """Return what to add where a table looks like one with a row for each step, else ""."""
    proposed = suggest(table, names)
    return f" This looks like one row per step: {proposed.options}." if proposed.rows else ""


def _refuse_few(table, n, *, prior_dominated_ok):
    if n >= LEAST_RUNS or (prior_dominated_ok and n):
        return
    msg = (
        f"{table.source}: {n} usable rows; a law with noise has {LEAST_RUNS - 1} parameters, so at "
        f"least {LEAST_RUNS} runs are needed. Add runs, or accept a posterior that is mostly prior:"
        " prior_dominated_ok=True (--prior-dominated-ok)."
    )
    raise StudyError(coded("SB210", msg))


def _refuse_unlikely_units(table, runs, units, names):
    """Raise when N or D look like billions, or D/N is out of this world, and no unit was given."""
    for name, least in (("N", 1e4), ("D", 1e6)):
        median = runs[name].median()
        if name in names and name not in units and median < least:
            guess = suggest(table, names).units
            asked = ",".join(f"{one}={guess[one]}" for one in ("N", "D") if one in guess)
            msg = (
                f"{table.source}: the median {name} is {median:g}, too small for "
                f'{_default_unit(name)}. Say the unit: units={{"{name}": "B"}} (or "K", "M", "T"; '
                f"1 if it is right). A guess from the medians: --units {asked}."
            )
            raise StudyError(coded("SB209", msg))
    ratio = runs["D"] / runs["N"]
    unlikely = ratio[(ratio < 1e-2) | (ratio > 1e5)]
    if len(unlikely) and not {"N", "D"} & set(names) <= set(units):
        msg = (
            f"{table.where(unlikely.index[0])}: tokens per parameter D/N is {unlikely.iloc[0]:g} "
            f"({len(unlikely)} such rows), outside 0.01 to 100000; N or D may be in other units "
            "than parameters and tokens. Say both units, "
            'e.g. units={"N": "B", "D": "B"} (1 if they are right).'
        )
        raise StudyError(coded("SB209", msg))


def _repeated(table, runs, *, dedupe):
    """Return which rows of the whole table repeat an earlier used one; raise unless deduping."""
    repeated = runs.duplicated()
    if repeated.any() and not dedupe:
        again = repeated.idxmax()
        first = (runs == runs.loc[again]) | (runs.isna() & runs.loc[again].isna())
        same = table.rows[first.all(axis=1).idxmax()]
        msg = (
            f"{table.where(again)}: the same values as in row {same} ({int(repeated.sum())} exact "
            "duplicates of an earlier row). Remove them, or have them left out and counted: "
            "dedupe=True. If they are separate runs, map a column that tells them apart: "
            'columns={"run": ...}.'
        )
        raise StudyError(coded("SB207", msg))
    return repeated.reindex(range(len(table.rows)), fill_value=False)


def _refuse_constant_loss(table, runs):
    if np.ptp(runs["loss"]) == 0:
        msg = (
            f"{table.source}: the loss is {runs['loss'].iloc[0]:g} nats in every row (zero "
            "variance); nothing can be learned from it. Is the right column mapped to loss?"
        )
        raise StudyError(coded("SB211", msg))


def _one_tokenizer(table, runs):
    found = sorted(set(runs.get("tokenizer", [])))
    if len(found) > 1:
        msg = (
            f"{table.source}: runs of several tokenizers {found}; their losses per token do not "
            "compare. Read each tokenizer's runs as a study of its own."
        )
        raise StudyError(coded("SB212", msg))
    return found[0] if found else ""


def _with_ids(table, runs, used):
    """Name runs by their row where they have no name, and trajectories by their run."""
    run = _or_else(runs, "run", _names_by_row(table, runs.index))
    if "run" in runs:
        _refuse_repeated_names(table, run[used])
    ids = {"run": run, "trajectory": _or_else(runs, "trajectory", run)}
    rest = runs.drop(columns=["run", "trajectory", "tokenizer"], errors="ignore")
    return pd.concat([pd.DataFrame(ids), rest], axis=1)


def _names_by_row(table, index):
    """Return "row 7" for each row: its line in the file, or its index label if that is unique."""
    rows = table.rows
    if not table.in_file and len(set(map(str, rows))) < len(rows):
        rows = range(len(rows))
    return pd.Series([f"row {row}" for row in rows], index=index)


def _refuse_repeated_names(table, run):
    repeated = run.duplicated()
    if repeated.any():
        again = repeated.idxmax()
        msg = (
            f"{table.where(again)}: the run {run[again]!r} is named in an earlier row too. Map "
            'names shared by checkpoints of one run as columns={"trajectory": ...}, and run to a '
            "column with a name for each row, or to none. Of a table with a row for each step, "
            'rows="last" (--rows last) takes the last of each run, "checkpoints" all.'
        )
        raise StudyError(coded("SB208", msg))


def _or_else(runs, name, values):
    return values if name not in runs else runs[name].where(runs[name] != "", values)


def _kind_note(runs, column):
    """Return what is unlikely about a loss per token, by its size or its column's name."""
    median, kind = runs["loss"].median(), other_loss(column)
    found = [f"the name {column!r} looks like {kind}"] if kind else []
    if median > MOST_NATS:
        found.append(f"the median loss is {median:.3g} nats per token, above {MOST_NATS:g}")
    advice = "; a loss per token is needed, and nothing was converted"
    return (coded("SB118", "; ".join(found) + advice),) if found else ()


def _replicate_note(runs):
    n = count_replicates(runs)
    note = f"{n} rows repeat the N and D of another with another loss; kept as replicates"
    return (coded("SB106", note),) if n else ()


def _size_note(runs):
    """Return in words where the smallest loss is far from published ones at its N and D."""
    lowest = runs.loc[runs["loss"].idxmin()]
    if lowest["N"] < _JUDGED_FROM["N"] or lowest["D"] < _JUDGED_FROM["D"]:
        return ()
    ratio = lowest["loss"] / chinchilla(lowest["N"], lowest["D"], **_PUBLISHED_LAW)
    least, most = LOSS_RATIOS
    if least <= ratio <= most:
        return ()
    note = (
        f"the smallest loss, {lowest['loss']:.3g} nats, is {ratio:.2f} times the published one at "
        f"N = {lowest['N']:.3g}, D = {lowest['D']:.3g}; bits taken for nats are 1.44 times, "
        "base-10 logarithms 0.43 times too large. Nothing was converted"
    )
    return (coded("SB119", note),)


def _unit_factor(name, unit, *, source):
    allowed = _UNITS[name]
    if str(unit) not in allowed:
        msg = f"{source}: units: {name!r} is in {unit!r}; allowed: {list(allowed)}."
        raise StudyError(coded("SB209", msg))
    return allowed[str(unit)]


def _default_unit(name):
    if name in PARAMETER_COLUMNS:
        return "parameters"
    return "nats per token" if name == "loss" else "tokens"
