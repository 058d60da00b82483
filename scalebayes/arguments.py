"""What was typed -> what the functions take: studies, points, architectures, places to write."""

import contextlib
import os
import shlex
import tempfile
from pathlib import Path

import scalebayes as sb
from scalebayes.codes import coded
from scalebayes.errors import InputError, ResultError

_POINT_COLUMNS = ("N", "D", "body", "head", "embedding")
TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".jsonl", ".ndjson")
"""Endings of files of runs; those of `table_files`, which is slow to import."""


def read_pairs(texts, option):
    """Return what an option of the form name=value,name=value says.

    Parameters
    ----------
    texts : list of str or None
        One for each time the option was given.
    option : str
        Its name, said in errors.

    Returns
    -------
    dict of str to str, or None
        None where the option was not given.

    Raises
    ------
    InputError
        When a part is not name=value, or a name comes twice.
    """
    if not texts:
        return None
    pairs = [pair.partition("=") for text in texts for pair in text.split(",")]
    for name, equals, value in pairs:
        if not (name.strip() and equals and value.strip()):
            msg = f"{option}: {name + equals + value!r} is not of the form name=value."
            raise InputError(msg)
    found = {name.strip(): value.strip() for name, _, value in pairs}
    if len(found) < len(pairs):
        msg = f"{option}: a name is given twice in {','.join(texts)!r}."
        raise InputError(msg)
    return found


def read_study(runs, options, *, loss_unit, window):
    """Return the study of a file of runs, or the bundled one of that name.

    Parameters
    ----------
    runs : str
        Anything with a folder or a file ending is a file; else it is a name.
    options : dict
        Those of `studies.read_runs` that were given.
    loss_unit : str or None
        Unit of a file's losses; never guessed.
    window : str or None
        Window of a bundled study.

    Returns
    -------
    Study

    Raises
    ------
    InputError
        When an option is missing, or is not for this kind of study, or the table cannot be used.
    """
    if _is_file_name(runs):
        return _study_of_file(runs, options, loss_unit=loss_unit, window=window)
    given = sorted(options) + (["loss_unit"] if loss_unit else [])
    if given:
        msg = f"{runs} is taken as a bundled study, for which {given} cannot be set."
        raise InputError(msg)
    return sb.load_study(runs, window=window or "default")


def _is_file_name(runs):
    return Path(runs).is_file() or Path(runs).suffix in TABLE_ENDINGS or os.sep in runs


def _study_of_file(runs, options, *, loss_unit, window):
    if not Path(runs).is_file():
        msg = f"{runs}: no such file. Bundled studies are listed by: scalebayes studies."
        raise InputError(coded("SB201", msg))
    if loss_unit is None:
        raise InputError(coded("SB218", _loss_unit_missing(runs, options)))
    if window is not None:
        msg = f"{runs}: --window is for bundled studies; take rows out of the file instead."
        raise InputError(msg)
    return sb.read_runs(
        runs, **{**options, "units": {**options.get("units", {}), "loss": loss_unit}}
    )


def _loss_unit_missing(runs, options):
    """Return what to say where the unit of the losses is missing, and what else is needed."""
    from scalebayes.column_hints import suggest
    from scalebayes.table_files import read_table

    proposed = suggest(read_table(runs), options.get("columns"), options.get("units"))
    msg = f"{runs}: say the unit of its losses with --loss-unit nats, bits or log10."
    return f"{msg} {proposed.text}".strip()


def reading_options(*, columns, units, rows, **facts):
    """Return the options of `studies.read_runs` that were given.

    Parameters
    ----------
    columns, units : list of str or None
        As typed, name=value.
    rows : str or None
    **facts
        Further options; None and False are not given.

    Raises
    ------
    InputError
        When a mapping is not of the form name=value.
    """
    pairs = {"columns": read_pairs(columns, "--columns"), "units": read_pairs(units, "--units")}
    options = {**pairs, "rows": rows, **facts}
    switches = ("drop_missing", "dedupe", "prior_dominated_ok")
    return {
        name: value
        for name, value in options.items()
        if value is not None and not (name in switches and value is False)
    }


def typed(runs, options, *, loss_unit=None, window=None):
    """Return a study and the options it was read with as they are typed, for the next command."""
    words = [shlex.quote(runs)]
    facts = {**options, "loss_unit": loss_unit, "window": window}
    for name, value in facts.items():
        option = "--" + name.replace("_", "-")
        if isinstance(value, dict):
            value = ",".join(f"{ours}={theirs}" for ours, theirs in value.items())
        if name == "tied":
            words.append("--tied" if value else "--untied")
        elif name == "gated":
            words.append("--gated" if value else "--not-gated")
        elif value is True:
            words.append(option)
        elif value is not None:
            words += [option, shlex.quote(f"{value:g}" if isinstance(value, float) else value)]
    return " ".join(words)


def read_points(path, columns, units):
    """Return the points of a CSV file, in parameters and tokens.

    Parameters
    ----------
    path : path
    columns, units : dict or None
        As in `studies.read_runs`.

    Returns
    -------
    DataFrame
        D, and those of N, body, head and embedding that the file has.

    Raises
    ------
    StudyError
        When the table cannot be used; it says where and why.
    """
    from scalebayes.sweeps import unit_factors
    from scalebayes.tables import column_names, read_columns, read_table

    table = read_table(path)
    names = column_names(table, columns, required=("D",))
    names = {ours: theirs for ours, theirs in names.items() if ours in _POINT_COLUMNS}
    factors, _ = unit_factors(units, names, source=table.source)
    frame = read_columns(table, names)
    return frame.assign(**{name: frame[name] * factor for name, factor in factors.items()})


def read_architecture(text):
    """Return what --architecture says: an `Architecture`, "study", or None where it was not given.

    Parameters
    ----------
    text : str or None
        "study", or aspect_ratio=64,vocab_size=32000,tied=true.

    Raises
    ------
    InputError
        When a name is unknown or missing, or a value is not of its kind.
    """
    if text is None or text == "study":
        return text
    from scalebayes.counting import Architecture

    known = Architecture.__dataclass_fields__
    values = read_pairs([text], "--architecture")
    unknown = [name for name in values if name not in known]
    missing = [name for name in ("aspect_ratio", "vocab_size", "tied") if name not in values]
    if unknown or missing:
        problem = f"does not know {unknown}" if unknown else f"lacks {missing}"
        msg = f"--architecture {problem}; it is study, or name=value of {list(known)}."
        raise InputError(msg)
    return Architecture(**{name: _value(name, value) for name, value in values.items()})


def _value(name, text):
    if name in ("tied", "learned_positions"):
        if text.lower() not in ("true", "false"):
            msg = f"--architecture {name}: found {text!r}; it is true or false."
            raise InputError(msg)
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError as error:
        msg = f"--architecture {name}: {text!r} is not a number."
        raise InputError(msg) from error


def load_study_fit(path):
    """Return a saved fit of a study.

    Raises
    ------
    InputError
        When the file holds something else, such as a population.
    ResultError
        When it cannot be read.
    """
    result = sb.load_fit(path)
    if "posterior" not in result.children or "study_record" not in result.attrs:
        kind = result.attrs.get("kind", "something else")
        msg = f"{path}: a fit of a study is needed; this file holds a {kind}."
        raise InputError(msg)
    return result


def writable(path):
    """Return a path at which a file can be written; refuse others before anything is computed.

    Raises
    ------
    ResultError
        When it is a folder, or its folder is missing or cannot be written.
    """
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        reason = "is a folder" if path.is_dir() else f"cannot be written: look at {str(folder)!r}"
        msg = f"{path} {reason}. Choose another file with -o."
        raise ResultError(msg)
    return path


def write_csv(rows, path):
    """Write rows (list of dict) as CSV; an older file is replaced only by a complete new one.

    The study's name is left out: it is the same in every row.

    Raises
    ------
    OSError
        When it cannot be written; the old file is then as it was.
    """
    import pandas as pd

    from scalebayes.spreadsheet import without_formulas

    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            table = pd.DataFrame(rows).drop(columns="study")
            without_formulas(table).to_csv(file, index=False)
        os.chmod(part, 0o644)
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
