"""A design report as text for a terminal, as rows for programs, and the next commands to type."""

import math
import re
import shlex

from scalebayes.check import StudyCheck

_UNKNOWN_COUNT = "COUNT"


def check_rows(found: StudyCheck) -> list[dict]:
    """Return the tidy rows of a design report: study, name, unit, value, lower, upper, note."""
    return [{"study": found.study, **row} for row in found.table.to_dict("records")]


def next_commands(found: StudyCheck, typed: str) -> list[str]:
    """Return what to type next.

    Parameters
    ----------
    found : StudyCheck
    typed : str
        The study and the options that it was read with.

    Returns
    -------
    list of str
        A fit and its optimum; where what N counts was not said, the check with it.
    """
    if not found.model:
        return [f"scalebayes check {typed} --counting {_UNKNOWN_COUNT}"]
    literature = " --with-literature" if found.with_literature else ""
    suffix = "-with-literature" if found.with_literature else ""
    path = shlex.quote(f"{found.study}-{found.model}{suffix}.nc")
    return [
        f"scalebayes fit {typed} -m {found.model}{literature}",
        f"scalebayes optimal {path} -C {found.compute:.3g}",
    ]


def check_text(found: StudyCheck, commands: list[str]) -> str:
    """Return a design report as text.

    Parameters
    ----------
    found : StudyCheck
    commands : list of str
        As `next_commands` returns them.
    """
    blocks = [
        f"{found.study}: what its runs can say, before any fit",
        _table_text(found.table),
        _listed("Warnings", found.warnings),
        _listed("These runs can say", found.can),
        _listed("These runs cannot say", found.cannot),
        _next_text(found, commands),
    ]
    return "\n\n".join(block for block in blocks if block)


def _next_text(found, commands):
    count = (
        ""
        if found.model
        else f"\n(in place of {_UNKNOWN_COUNT} what N counts: body, body+head or total)"
    )
    return "Next:\n" + "\n".join(f"  {command}" for command in commands) + count


def _listed(title, texts):
    return "\n".join([f"{title}:", *(f"  {text}" for text in texts)]) if texts else ""


def _table_text(table):
    rows = [(row.name, _value_text(row)) for row in table.itertuples(index=False)]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows)


def _value_text(row):
    if math.isnan(row.value):
        return row.note or "-"
    value = _count(row.value)
    if not math.isnan(row.lower):
        value = f"{_count(row.lower)} to {_count(row.upper)}, median {value}"
    unit = "" if row.unit in ("1", "rows", "runs", "budgets") else f" {row.unit}"
    return f"{value}{unit}" + (f" ({row.note})" if row.note else "")


def _count(value):
    """Return whole numbers below 1e7 in full, others to three digits."""
    whole = value == round(value) and abs(value) < 1e7
    return str(round(value)) if whole else re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.3g}")
