"""Strict reading of a run table: cells as they stand -> checked numbers and texts, by our names.

Every refusal names the file, the row, the column, the value found and what to do about it.
Nothing is skipped, shifted, clipped or guessed.
"""

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from scalebayes.codes import coded
from scalebayes.column_hints import KNOWN_NAMES, suggest
from scalebayes.errors import StudyError
from scalebayes.table_files import MISSING_WORDS, Table, is_blank
from scalebayes.table_files import read_table as read_table  # callers know it from here

REQUIRED = ("N", "D", "loss")
"""Columns that every run table has: parameters, tokens, loss."""

PARAMETER_COLUMNS = ("N", "body", "embedding", "head")
TOKEN_COLUMNS = ("D", "warmup_tokens", "unique_tokens")
SHAPE_COLUMNS = ("d_model", "n_layers", "d_ff", "n_heads", "vocab_size")
OPTIONAL = ("loss_se", *PARAMETER_COLUMNS[1:], *SHAPE_COLUMNS, *TOKEN_COLUMNS[1:], "flops")
"""Number columns a table may have; a blank there means "not known"."""

TEXT_COLUMNS = ("run", "trajectory", "tokenizer", "tied")
STEP_COLUMNS = ("step", "tokens_per_step")
"""Read only where a table has a row for each step (`long_tables`)."""

COLUMNS = (*TEXT_COLUMNS[:2], *REQUIRED, *OPTIONAL, *TEXT_COLUMNS[2:], *STEP_COLUMNS)
"""Every name that `columns` may map."""

_ZERO_ALLOWED = ("loss_se", "embedding", "warmup_tokens", "step")
_BLANK = frozenset(MISSING_WORDS)


def column_names(
    table: Table, columns: Mapping[str, str] | None, *, required: Iterable[str] = REQUIRED
) -> dict[str, str]:
    """Return our name -> the table's name for every column to be read.

    Parameters
    ----------
    table : Table
        Where the columns are.
    columns : mapping, optional
        Our names (`COLUMNS`) -> the table's. A column that already has our name needs no entry.
    required : iterable of str
        Our names that must be found.

    Raises
    ------
    StudyError
        When a name of ours is unknown, a column is not in the table (the nearest name is
        suggested), or two of ours point at one column.
    """
    columns = dict(columns or {})
    refuse_unknown(columns, COLUMNS, what="columns", source=table.source)
    names = {ours: columns.get(ours, ours) for ours in COLUMNS}
    names = {
        ours: theirs
        for ours, theirs in names.items()
        if ours in columns
        or ours in required
        or (theirs in table.cells and ours not in STEP_COLUMNS)
    }
    for ours, theirs in names.items():
        if theirs not in table.cells:
            raise StudyError(coded("SB203", _missing_column(table, ours, theirs, columns)))
    for theirs, times in Counter(names.values()).items():
        if times > 1:
            both = [ours for ours, name in names.items() if name == theirs]
            msg = f"{table.source}: column {theirs!r} is read as {both}; map it to one of them."
            raise StudyError(coded("SB204", msg))
    return names


def read_numbers(table: Table, column: str, *, zero_allowed: bool = False) -> np.ndarray:
    """Return a column as floats, NaN where it is blank.

    Parameters
    ----------
    table : Table
        Where the column is.
    column : str
        The table's own name of the column.
    zero_allowed : bool
        Whether 0 is a possible value; negative numbers never are.

    Raises
    ------
    StudyError
        When a cell is text, infinite, negative, or zero where zero is not possible.
    """
    numbers = _numbers(table, column)
    if not isinstance(numbers, np.ndarray):
        text = [position for position, number in enumerate(numbers) if number is None]
        advice = (
            "Write plain numbers, without thousands separators, decimal commas, percent signs or "
            "units (1000, 1e9, 2.5)."
        )
        refuse_cells(table, column, text, found="is not a number", advice=advice)
    values = np.array(numbers, dtype=float)
    advice = "Correct the row, or take it out of the table."
    infinite = np.flatnonzero(np.isinf(values))
    refuse_cells(table, column, infinite, found="is not finite", advice=advice)
    impossible = np.flatnonzero(values < 0 if zero_allowed else values <= 0)
    sign = "is negative" if zero_allowed else "is not above zero"
    refuse_cells(table, column, impossible, found=sign, advice=advice)
    return values


def refuse_cells(table: Table, column: str, positions, *, found: str, advice: str) -> None:
    """Raise a `StudyError` about the first of these cells, and say how many there are."""
    if not len(positions):
        return
    first = int(positions[0])
    more = f" (and {len(positions) - 1} more rows)" if len(positions) > 1 else ""
    value = table.cells[column][first]
    msg = f"{table.where(first, column)}: found {value!r}, which {found}{more}. {advice}"
    raise StudyError(coded("SB205", msg))


def refuse_unknown(given: Iterable[str], allowed: Iterable[str], *, what: str, source: str) -> None:
    """Raise a `StudyError` when a key is not among the allowed ones."""
    unknown = [key for key in given if key not in allowed]
    if unknown:
        msg = f"{source}: {what} has the unknown key {unknown[0]!r}; allowed: {sorted(allowed)}."
        raise StudyError(coded("SB204", msg))


def read_columns(
    table: Table, names: Mapping[str, str], *, zero_allowed: Iterable[str] = ()
) -> pd.DataFrame:
    """Return the table's columns under our names: numbers checked, text stripped.

    Parameters
    ----------
    table : Table
        Where the columns are.
    names : mapping
        As `column_names` returns it.
    zero_allowed : iterable of str
        Our names of further columns in which 0 is possible.

    Returns
    -------
    DataFrame
        In the table's units. NaN in a number column and "" in a text column are blanks.

    Raises
    ------
    StudyError
        As `read_numbers`.
    """
    zero = {*_ZERO_ALLOWED, *zero_allowed}
    return pd.DataFrame(
        {
            ours: _texts(table, theirs)
            if ours in TEXT_COLUMNS
            else read_numbers(table, theirs, zero_allowed=ours in zero)
            for ours, theirs in names.items()
        }
    )


def _missing_column(table, ours, theirs, columns):
    found = list(table.cells)
    near = nearest_name(theirs, found, known=KNOWN_NAMES.get(ours, ()))
    hint = f" The nearest name is {near!r}." if near else ""
    separator = " Separate columns by commas." if len(found) == 1 else ""
    proposed = suggest(table, columns)
    example = proposed.columns.get(ours) or near or "their name"
    how = f'Say which column it is: columns={{"{ours}": "{example}"}}.'
    start = f"{table.source}: no column {theirs!r}; the table has {found}.{hint}{separator} "
    return start + (proposed.text if ours in proposed.columns else f"{how} {proposed.text}".strip())


def nearest_name(wanted: str, found: Sequence[str], *, known: Sequence[str] = ()) -> str | None:
    """Return the found name most like the wanted one (or one of its known synonyms), or None."""
    by_lower = {name.lower(): name for name in found}
    for name in (wanted.lower(), *known):
        if name in by_lower:
            return by_lower[name]
    close = difflib.get_close_matches(wanted.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[close[0]] if close else None


def _numbers(table, column):
    """Return each cell as `_number` does; all at once where every cell is a number or blank."""
    cells = table.cells[column]
    kinds = set(map(type, cells))
    if kinds == {str}:
        cells = ["nan" if cell in _BLANK else cell for cell in cells] if "" in cells else cells
    elif kinds == {float, type(None)}:
        cells = [math.nan if cell is None else cell for cell in cells]
        kinds = {float}
    if (kinds == {str} and _is_plain("".join(cells))) or kinds <= {float, int}:
        try:
            return np.array(list(map(float, cells)))
        except (ValueError, OverflowError):
            pass  # some cell is text, or blank in other words: find out which
    return [_number(cell) for cell in cells]


def _number(cell):
    """Return a cell as float, NaN when it is blank, None when it is text."""
    if isinstance(cell, bool | np.bool_) or (isinstance(cell, str) and not _is_plain(cell.strip())):
        return None
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan if is_blank(cell) else None


def _is_plain(text):
    """Return whether Python reads no more in a number's text than people: 1_000, Arabic digits."""
    return "_" not in text and text.isascii()


def _texts(table, column):
    cells = table.cells[column]
    broken = [place for place, cell in enumerate(cells) if _is_broken(cell)]
    advice = "Write the character itself, in UTF-8."
    refuse_cells(table, column, broken, found="holds half of a character", advice=advice)
    if set(map(type, cells)) == {str}:
        return ["" if text.lower() in _BLANK else text for text in map(str.strip, cells)]
    return ["" if is_blank(cell) else str(cell).strip() for cell in cells]


def _is_broken(cell):
    """Return whether a cell is text with half of a surrogate pair, which no file can hold."""
    if not isinstance(cell, str) or cell.isascii():
        return False
    try:
        cell.encode()
    except UnicodeEncodeError:
        return True
    return False
