"""A file or a DataFrame -> its cells as they stand: CSV, Parquet, JSON lines.

No cell is converted here; what a cell must be is the same for every kind of file (`tables`).
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scalebayes.codes import coded
from scalebayes.errors import StudyError

PARQUET, JSON_LINES = (".parquet", ".pq"), (".jsonl", ".ndjson")
ENDINGS = (".csv", ".tsv", ".txt", *PARQUET, *JSON_LINES)
"""Endings of files of runs."""

_OTHER_KINDS = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a spreadsheet"),
    **dict.fromkeys((".gz", ".zip", ".xz", ".bz2", ".zst"), "a compressed file"),
    ".json": "JSON other than lines of one object each (.jsonl)",
}

MISSING_WORDS = ("", "nan", "na", "n/a", "null", "none")
"""Texts that stand for a missing value, in lower case."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as they stand in a file or a DataFrame, and where each row is.

    Parameters
    ----------
    source : str
        File, or "DataFrame".
    cells : mapping
        Column name -> cells, all of one length.
    rows : tuple
        For each row its line in the file (the header is line 1), or its index label.
    in_file : bool
        Whether `rows` are lines of a file.
    """

    source: str
    cells: Mapping[str, Sequence]
    rows: tuple
    in_file: bool

    def where(self, position: int, column: str | None = None) -> str:
        """Return "file, row 7 (line 7 of the file), column 'loss'" for the row at a position."""
        place = f"{self.source}, {row_words(self.rows[position], in_file=self.in_file)}"
        return place if column is None else f"{place}, column {column!r}"


def read_table(source: str | Path | pd.DataFrame) -> Table:
    """Return the cells of a file or a DataFrame, every row as wide as the header.

    Parameters
    ----------
    source : path or DataFrame
        The ending says what a file is: .parquet (or .pq); .jsonl (or .ndjson), one JSON object a
        line, objects inside it flattened to names like config/d_model; .tsv, columns separated by
        tabs; any other, CSV with commas. Text is UTF-8 (byte order mark and CRLF accepted) and has
        a header line.

    Raises
    ------
    StudyError
        When the file cannot be read or is not UTF-8, when a name occurs twice, a row is too short
        or too long, or there are no rows.
    """
    if isinstance(source, pd.DataFrame):
        return _from_frame(source)
    if not isinstance(source, str | Path):
        msg = (
            "runs: expected the path of a CSV file or a DataFrame, got "
            f"{type(source).__name__}. Parquet (.parquet) and JSON lines (.jsonl) are read too."
        )
        raise StudyError(coded("SB201", msg))
    path = Path(source)
    ending = path.suffix.lower()
    if ending in _OTHER_KINDS:
        msg = (
            f"{source}: {_OTHER_KINDS[ending]} is not read; save it as CSV, Parquet or JSON lines."
        )
        raise StudyError(coded("SB201", msg))
    if ending in PARQUET:
        return _from_parquet(_bytes(path), source=str(source))
    if ending in JSON_LINES:
        return _from_json_lines(_decoded(path), source=str(source))
    delimiter = "\t" if ending == ".tsv" else ","
    return _from_text(_decoded(path), source=str(source), delimiter=delimiter)


def is_blank(cell) -> bool:
    """Return whether a cell holds nothing: None, NaN, or one of `MISSING_WORDS` in any case."""
    if isinstance(cell, str):
        return cell.strip().lower() in MISSING_WORDS
    return pd.api.types.is_scalar(cell) and bool(pd.isna(cell))


def _from_frame(frame):
    refuse_duplicate_names([str(name) for name in frame.columns], source="DataFrame")
    if frame.empty:
        msg = "DataFrame: it has no rows; a study needs runs."
        raise StudyError(coded("SB202", msg))
    cells = {str(name): frame[name].tolist() for name in frame.columns}
    return Table(source="DataFrame", cells=cells, rows=tuple(frame.index), in_file=False)


def _from_parquet(raw, *, source):
    from pyarrow import ArrowException, BufferReader, parquet

    try:
        frame = parquet.read_table(BufferReader(raw))
    except (ArrowException, OSError) as error:
        msg = f"{source}: not a Parquet file ({str(error).splitlines()[0]}). Check its ending."
        raise StudyError(coded("SB201", msg)) from error
    try:
        names = [str(name) for name in frame.column_names]
        cells = [frame.column(i).to_pylist() for i in range(len(names))]
    except UnicodeDecodeError as error:
        msg = f"{source}: it holds text that is not UTF-8 ({error.reason}); the file is damaged."
        raise StudyError(coded("SB201", msg)) from error
    refuse_duplicate_names(names, source=source)
    if not frame.num_rows or not names:
        msg = f"{source}: the table has no rows; a study needs runs."
        raise StudyError(coded("SB202", msg))
    cells = dict(zip(names, cells, strict=True))
    rows = tuple(range(1, frame.num_rows + 1))
    return Table(source=source, cells=cells, rows=rows, in_file=False)


def _from_json_lines(text, *, source):
    lines = [(i, line) for i, line in enumerate(text.split("\n"), start=1) if line.strip()]
    records = [_json_record(line, f"{source}, {row_words(i, in_file=True)}") for i, line in lines]
    names = dict.fromkeys(name for record in records for name in record)
    if not names:
        msg = f"{source}: the file is empty; it needs one JSON object per line."
        raise StudyError(coded("SB202", msg))
    cells = {name: [record.get(name) for record in records] for name in names}
    return Table(source=source, cells=cells, rows=tuple(i for i, _ in lines), in_file=True)


def _json_record(line, where):
    """Return a line's object, objects inside it flattened by "/"."""
    try:
        record = _JSON.decode(line)
    except RecursionError as error:
        raise StudyError(coded("SB202", f"{where}: objects lie too deep in each other.")) from error
    except ValueError as error:
        msg = f"{where}: not a JSON object ({error}). Write one object per line."
        raise StudyError(coded("SB202", msg)) from error
    if not isinstance(record, dict):
        msg = f"{where}: found {line[:40]!r}, not a JSON object. Write one object per line."
        raise StudyError(coded("SB202", msg))
    if "\\u" in line:
        _refuse_half_characters(record, where)
    if dict not in map(type, record.values()):
        return record
    try:
        return _unique(list(_flat(record)))
    except RecursionError as error:
        raise StudyError(coded("SB202", f"{where}: objects lie too deep in each other.")) from error
    except ValueError as error:
        raise StudyError(coded("SB202", f"{where}: {error}. Rename one.")) from error


def _refuse_half_characters(record, where):
    """Refuse half of a surrogate pair, which JSON can escape and no text can hold."""
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except RecursionError as error:
        raise StudyError(coded("SB202", f"{where}: objects lie too deep in each other.")) from error
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        msg = f"{where}: {half} is half of a character. Write both halves, or the character itself."
        raise StudyError(coded("SB202", msg)) from error


def _unique(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
        msg = f"the name {twice[0]!r} comes twice"
        raise ValueError(msg)
    return found


_JSON = json.JSONDecoder(object_pairs_hook=_unique)


def _flat(record, prefix=""):
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value


def _bytes(path):
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}). Check the path."
        raise StudyError(coded("SB201", msg)) from error


def _decoded(path):
    raw = _bytes(path)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        msg = (
            f"{path}, {row_words(line, in_file=True)}: byte {raw[error.start]:#04x} is not UTF-8. "
            "Save the table as UTF-8 (spreadsheets call it “CSV UTF-8”), or convert it: "
            "iconv -f latin1 -t utf-8."
        )
        raise StudyError(coded("SB201", msg)) from error


def _from_text(text, *, source, delimiter):
    lines, records = _records(text, source=source, delimiter=delimiter)
    if not records:
        msg = f"{source}: the file is empty; it needs a header line and one line per run."
        raise StudyError(coded("SB202", msg))
    header, *rows = records
    header = [name.strip() for name in header]
    _refuse_other_separator(source, text, header)
    refuse_duplicate_names(header, source=source)
    if set(map(len, rows)) - {len(header)}:
        ragged = next(i for i, row in enumerate(rows) if len(row) != len(header))
        msg = _ragged(source, lines[1 + ragged], rows[ragged], header)
        raise StudyError(coded("SB202", msg))
    if not rows:
        msg = f"{source}: the table has a header and no rows; a study needs runs."
        raise StudyError(coded("SB202", msg))
    columns = zip(header, zip(*rows, strict=True), strict=True)
    cells = {name: column for name, column in columns if name}
    return Table(source=source, cells=cells, rows=tuple(lines[1:]), in_file=True)


def _records(text, *, source, delimiter):
    """Return the first line and the fields of every record that is not blank."""
    try:
        reader = _reader(text, delimiter)
        records = list(reader)
    except csv.Error:
        return _records_line_by_line(text, source=source, delimiter=delimiter)
    if len(records) == reader.line_num and all(records):
        return range(1, len(records) + 1), records
    return _records_line_by_line(text, source=source, delimiter=delimiter)


def _records_line_by_line(text, *, source, delimiter):
    """Do what `_records` does where some line is blank, or a record has several, or is broken."""
    reader = _reader(text, delimiter)
    lines, records = [], []
    line = 1
    try:
        for fields in reader:
            if fields:
                lines.append(line)
                records.append(fields)
            line = reader.line_num + 1
    except csv.Error as error:
        msg = f"{source}, {row_words(line, in_file=True)}: not a CSV row ({error}). Check quotes."
        raise StudyError(coded("SB202", msg)) from error
    return lines, records


def _reader(text, delimiter):
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)


def _refuse_other_separator(source, text, header):
    """Refuse a table whose header falls into more columns at another separator than at its own."""
    head, *body = text.lstrip("\r\n").splitlines()[:2]
    fields = {name: len(head.split(mark)) for name, mark in _SEPARATORS.items()}
    other = max(fields, key=lambda name: fields[name])
    mark = _SEPARATORS[other]
    alike = all(len(line.split(mark)) == fields[other] for line in body)
    if fields[other] <= len(header) or not alike:
        return
    cells = [cell.strip() for line in body for cell in line.split(mark)]
    decimal = ', decimal=","' if any(map(_DECIMAL_COMMA.fullmatch, cells)) else ""
    name, shown = Path(source), repr(mark)[1:-1]
    copy = name.with_name(f"{name.stem}-commas.csv")
    commas = f'pandas.read_csv("{name}", sep="{shown}"{decimal}).to_csv("{copy}", index=False)'
    msg = (
        f"{source}: the header has {fields[other]} columns if {other} separate them, {len(header)} "
        f"as it is read{' (and the numbers have decimal commas)' if decimal else ''}. Separate "
        f"columns by commas, with decimal points; in Python: {commas}"
    )
    raise StudyError(coded("SB202", msg))


_SEPARATORS = {"semicolons": ";", "tabs": "\t", "vertical bars": "|"}
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(e[+-]?\d+)?", re.IGNORECASE)


def _ragged(source, line, fields, header):
    return (
        f"{source}, {row_words(line, in_file=True)}: the row has {len(fields)} fields, but the "
        f"header has {len(header)} ({header}); found {fields}. Look for a missing or extra comma; "
        'a number written as 1,000 needs to be 1000, and text with a comma needs quotes "…".'
    )


def refuse_duplicate_names(header: Sequence[str], *, source: str) -> None:
    """Raise a `StudyError` when a header has a name twice."""
    twice = [name for name, times in Counter(header).items() if name and times > 1]
    if twice:
        msg = f"{source}: the header has {twice[0]!r} more than once ({list(header)}). Rename one."
        raise StudyError(coded("SB202", msg))


def row_words(row, *, in_file):
    """Return "row 7 (line 7 of the file)", or "row 7" where rows are no lines."""
    return f"row {row} (line {row} of the file)" if in_file else f"row {row}"
