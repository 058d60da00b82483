"""Width, layers and vocabulary of each run -> body, head, embedding, and N where asked for."""

from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
import pandas as pd

from scalebayes.architecture import Shape
from scalebayes.codes import coded
from scalebayes.errors import StudyError
from scalebayes.tables import Table, refuse_cells

COUNTINGS = ("body", "body+head", "total", "unknown")
"""What the column N of a study may count."""

TOLERANCE = 0.05
"""Median distance of N from the shapes' own count beyond which they are said to disagree."""

_SIZE_TOLERANCE = 1e-3  # rounding of published sizes


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """What is true of the models of every run, as far as it is known.

    Parameters
    ----------
    vocab_size : float, optional
        Rows of a vocabulary matrix; a column `vocab_size` wins.
    tied : bool, optional
        Whether input embedding and output head are one matrix.
    context_length : float, optional
        Tokens per sequence.
    learned_positions : bool
        Whether a position matrix (context_length x d_model) is stored.
    gated : bool, optional
        Whether the feed-forward block has three matrices instead of two; taken for no where it
        matters and is not said.
    """

    vocab_size: float | None = None
    tied: bool | None = None
    context_length: float | None = None
    learned_positions: bool = False
    gated: bool | None = None


def refuse_unusable_facts(counting: str, shapes: Shapes, *, source: str) -> None:
    """Raise a `StudyError` when a counting or a fact about the models cannot be used."""
    if counting not in COUNTINGS:
        msg = f"{source}: counting is {counting!r}; allowed: {list(COUNTINGS)}."
        raise StudyError(coded("SB213", msg))
    for name in ("vocab_size", "context_length"):
        value = getattr(shapes, name)
        if value is not None and not (isinstance(value, Real) and 0 < float(value) < np.inf):
            msg = f"{source}: {name} is {value!r}; it must be a positive number, or left out."
            raise StudyError(coded("SB213", msg))
    if shapes.learned_positions and shapes.context_length is None:
        msg = f"{source}: learned_positions needs context_length, the rows of that matrix."
        raise StudyError(coded("SB213", msg))


_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def with_tied_column(
    table: Table, runs: pd.DataFrame, shapes: Shapes, names
) -> tuple[pd.DataFrame, Shapes]:
    """Return runs without the column `tied`, and the shapes with what it says.

    Raises
    ------
    StudyError
        When a cell is not true or false, or runs differ among each other or from what was said.
    """
    if "tied" not in runs:
        return runs, shapes
    words = runs["tied"].str.lower()
    wrong = np.flatnonzero(~words.isin([*_TRUTH, ""]))
    advice = "Write true or false."
    refuse_cells(table, names["tied"], wrong, found="is not true or false", advice=advice)
    found = {_TRUTH[word] for word in words.unique() if word}
    found |= set() if shapes.tied is None else {shapes.tied}
    if len(found) > 1:
        msg = (
            f"{table.source}: some runs have tied embeddings and others not (column "
            f"{names['tied']!r}, or what was said of them all). Read them as two studies."
        )
        raise StudyError(coded("SB213", msg))
    tied = found.pop() if found else None
    return runs.drop(columns="tied"), replace(shapes, tied=tied)


def n_is_asked_of_shapes(table: Table, columns, counting: str) -> bool:
    """Return whether N is to be computed: no such column, a counting said, width and layers."""
    columns = columns or {}
    there = [columns.get(name, name) in table.cells for name in ("d_model", "n_layers")]
    return all(there) and counting != "unknown" and "N" not in columns and "N" not in table.cells


def with_n_of_shapes(
    table: Table, runs: pd.DataFrame, used: pd.Series, *, counting: str, shapes: Shapes
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return runs with N, counted from their shapes, and in words what was computed.

    Parameters
    ----------
    table : Table
        Said in errors.
    runs : DataFrame
        With d_model and n_layers.
    used : Series of bool
        Rows that must have an N.
    counting : str
        "body", "body+head" or "total".
    shapes : Shapes

    Raises
    ------
    StudyError
        When some row's count cannot be had; it says what is missing.
    """
    N = shape_counts(runs, shapes)[counting]
    unknown = N.isna() & used
    if unknown.any():
        needed = "d_model and n_layers"
        needed += "" if counting == "body" else ", vocab_size (a column or an option)"
        needed += " and tied or untied" if counting == "total" else ""
        first = table.where(int(np.flatnonzero(unknown)[0]))
        msg = (
            f"{first}: there is no column N, and it cannot be computed "
            f"from the shapes as {counting!r} ({int(unknown.sum())} rows): {needed} must be known."
        )
        raise StudyError(coded("SB217", msg))
    note = f"N computed from the shapes as {counting!r}, the body as {body_words(runs, shapes)}"
    return runs.assign(N=N), (coded("SB109", note),)


def body_words(runs: pd.DataFrame, shapes: Shapes) -> str:
    """Return the formula of the body that `shape_counts` takes, in words."""
    if "d_ff" not in runs or runs["d_ff"].isna().all():
        return "12 layers width² (no d_ff given)"
    matrices = "three" if shapes.gated else "two"
    said = "" if shapes.gated is not None else ", assumed"
    return f"attention and {matrices} feed-forward matrices{said}"


def shape_counts(runs: pd.DataFrame, shapes: Shapes) -> dict[str, pd.Series]:
    """Return counting -> parameters of each run by its shape, NaN where that is not known.

    Parameters
    ----------
    runs : DataFrame
        With d_model and n_layers; d_ff and vocab_size where known.
    shapes : Shapes

    References
    ----------
    `architecture.Shape`; without d_ff the feed-forward width is 4 d_model, which gives 12 L d².
    """
    runs = _with_vocabulary(runs, shapes)
    nothing = pd.Series(np.nan, index=runs.index)
    if not {"d_model", "n_layers"} <= set(runs):
        return dict.fromkeys(COUNTINGS[:3], nothing)
    known = runs[runs[["d_model", "n_layers"]].notna().all(axis="columns")]
    body = pd.Series(_body(known, shapes), index=known.index).reindex(runs.index)
    head = runs["vocab_size"] * runs["d_model"] if "vocab_size" in runs else nothing
    stored = nothing if shapes.tied is None else _stored(runs, head, shapes)
    return {"body": body, "body+head": body + head, "total": body + stored}


def agreement_note(runs: pd.DataFrame, *, counting: str, shapes: Shapes) -> tuple[str, ...]:
    """Return in words which counting N agrees with best, where that is not the one said.

    The distance of a counting is the median of |N / count - 1| over the runs of known shape.
    """
    counts = shape_counts(runs, shapes)
    distance = {
        name: float((runs["N"] / count - 1).abs().median())
        for name, count in counts.items()
        if count.notna().any()
    }
    if not distance or distance.get(counting, np.inf) <= TOLERANCE:
        return ()
    if counting != "unknown" and counting not in distance:
        return ()
    best = min(distance, key=lambda name: distance[name])
    said = (
        "what N counts was not said"
        if counting == "unknown"
        else f"N is {distance[counting]:.1%} off the shapes' count as {counting!r} (median)"
    )
    close = f"it agrees best with {best!r} ({distance[best]:.1%} off)"
    far = f"it agrees with no count of the shapes ({best!r} is nearest, {distance[best]:.0%} off)"
    formula = f"; body as {body_words(runs, shapes)}"
    verdict = close if distance[best] <= TOLERANCE else far
    return (coded("SB110", f"{said}; {verdict}{formula}"),)


def _body(known, shapes):
    if not len(known):
        return []
    width = known["d_model"].to_numpy()
    feed_forward = known["d_ff"].fillna(4 * known["d_model"]) if "d_ff" in known else 4 * width
    shape = Shape(
        d_model=width,
        n_layers=known["n_layers"].to_numpy(),
        d_ff=np.asarray(feed_forward, dtype=float),
        n_heads=1.0,  # of the whole width: the count is the same for any number of heads
        vocab_size=1.0,
        tied=True,
        gated=bool(shapes.gated) and "d_ff" in known,
    )
    return shape.body


def _with_vocabulary(runs, shapes):
    if "vocab_size" in runs or shapes.vocab_size is None:
        return runs
    return runs.assign(vocab_size=float(shapes.vocab_size))


def with_sizes(runs, *, counting, shapes):
    """Add head, embedding and body wherever the counting of N and the shapes give them."""
    sizes = {name: runs[name] for name in ("body", "embedding", "head") if name in runs}
    runs = _with_vocabulary(runs, shapes)
    if {"d_model", "vocab_size"} <= set(runs):
        _fill(sizes, "head", runs["vocab_size"] * runs["d_model"])
    if "head" in sizes and shapes.tied is not None:
        _fill(sizes, "embedding", _stored(runs, sizes["head"], shapes))
    known = {"body": 0.0, "body+head": sizes.get("head"), "total": sizes.get("embedding")}
    if known.get(counting) is not None:
        _fill(sizes, "body", runs["N"] - known[counting])
    return runs.assign(**sizes)


def _stored(runs, head, shapes):
    """Return every vocabulary and position parameter, NaN where a position matrix is unknown."""
    matrices = head * (1.0 if shapes.tied else 2.0)
    if not shapes.learned_positions:
        return matrices
    return matrices + shapes.context_length * runs.get("d_model", np.nan)


def _fill(sizes, name, values):
    given = sizes.get(name)
    sizes[name] = values if given is None else given.fillna(values)


def refuse_impossible_sizes(table, runs, *, counting):
    """Raise when what N contains is larger than N: a wrong counting, unit or column."""
    parts = {"total": ("embedding", "body"), "body+head": ("head", "body"), "body": ("body",)}
    for part in parts.get(counting, ()):
        if part not in runs:
            continue
        slack = 1 + (_SIZE_TOLERANCE if part == "body" else 0.0)
        too_large = runs[part] > runs["N"] * slack
        if part != "body":
            too_large |= runs[part] == runs["N"]
        if too_large.any():
            msg = _impossible_size(table, runs, part, too_large.idxmax(), counting)
            raise StudyError(coded("SB214", msg))


def _impossible_size(table, runs, part, position, counting):
    return (
        f"{table.where(position)}: {part} has {runs[part][position]:g} parameters, but N, counted "
        f"as {counting!r}, only {runs['N'][position]:g}. Check the unit of each, vocab_size, tied, "
        "and what N counts."
    )
