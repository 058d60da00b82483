"""A bundled or a user's table -> checked `Study`: runs, units, counting, recipe and source."""

import tomllib
from collections.abc import Collection, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scalebayes.errors import StudyError
from scalebayes.sizes import Shapes
from scalebayes.study import Study, plain
from scalebayes.sweeps import flops_convention, read_sweep
from scalebayes.tables import nearest_name, refuse_unknown

DEFAULT_STUDIES = (
    "hoffmann2022-epoch",
    "porian2024-rw-1-kaplan",
    "porian2024-rw-3-warmup",
    "porian2024-rw-4-cosine",
    "porian2024-rw-5-tuned",
    "porian2024-owt2-1-kaplan",
    "porian2024-owt2-3-warmup",
    "porian2024-owt2-4-cosine",
    "porian2024-owt2-5-tuned",
    "li2025-misfitting",
    "marin2026-comma",
    "marin2026-dclm",
    "muennighoff2023-oneepoch",
    "mcleish2025-gemstones-cooldown",
)
"""The studies that `reconcile` pools unless told otherwise: one of each set of shared runs."""

RUN_COLUMNS = (
    *("run", "trajectory", "N", "D", "loss", "loss_se", "body", "embedding", "head"),
    *("d_model", "n_layers", "d_ff", "n_heads", "vocab_size"),
    *("warmup_tokens", "unique_tokens", "flops"),
)
"""Columns of a bundled study's runs: parameters, tokens, FLOP, nats per token."""

_WINDOW_RANGES = {
    "min_tokens": ("D", "at least"),
    "max_tokens": ("D", "at most"),
    "min_tokens_per_parameter": ("D/N", "at least"),
    "max_tokens_per_parameter": ("D/N", "at most"),
    "min_parameters": ("N", "at least"),
    "max_parameters": ("N", "at most"),
}
_WINDOW_SWITCHES = {"outliers": True, "best_hparams_only": False, "known_shapes_only": False}
_RUN_TEXT = ("run", "trajectory", "best_hparams", "flag")
_PUBLISHED_TEXT = ("study", "quantity", "counting", "flops_convention", "method", "citation")
_NOT_KNOWN = dict.fromkeys(("vocab_size", "context_length", "tied"))
_OF_THE_WINDOW = ("window_reason", "reported_count")
_WINDOW_OF_ROWS = {
    "every": "all rows of the table that have N, D and loss",
    "last": "the last step with a loss of every run that has N and D",
    "checkpoints": "every step that has N, D and loss",
}
WINDOW_KEYS = (*_WINDOW_RANGES, *_WINDOW_SWITCHES)
"""What a window may set. N is the study's reported count; None takes a limit away."""


def load_study(name: str | Study, *, window: str | Mapping = "default") -> Study:
    """Return a bundled study.

    Parameters
    ----------
    name : str or Study
        One of `studies().index`. A `Study` is returned as it is.
    window : str or mapping
        "default", the study's own window; "none", every row; or changes to the default:
        min_tokens, max_tokens, min_parameters, max_parameters, min_tokens_per_parameter and
        max_tokens_per_parameter (floats or None; N as
        reported), outliers, best_hparams_only and known_shapes_only (bools).

    Raises
    ------
    StudyError
        When there is no such study, or the window is not one of these or leaves no row; or when a
        `Study` is given with a window, which only bundled tables have.

    Examples
    --------
    >>> import scalebayes as sb
    >>> study = sb.load_study("hoffmann2022-epoch")
    >>> study.n_used, study.n_rows
    (240, 245)
    >>> sb.load_study("hoffmann2022-epoch", window={"max_parameters": 1e9}).n_used
    118
    """
    if isinstance(name, Study):
        return _as_it_is(name, window)
    facts = _facts(name)
    rows = bundled_table(f"{name}.csv", text=_RUN_TEXT)
    limits = _window(facts.pop("window", {}), window, name=name)
    table = _run_columns(rows, facts).assign(left_out=_left_out(rows, limits))
    if not (table["left_out"] == "").any():
        msg = f"{name}: the window {window} leaves none of {len(rows)} rows. Widen it."
        raise StudyError(msg)
    return Study(
        name=name,
        table=table,
        window=_window_words(limits, facts, changed=window != "default"),
        published=_published(name),
        source="bundled",
        **{key: value for key, value in facts.items() if key not in _OF_THE_WINDOW},
    )


def _as_it_is(study, window):
    if window == "default":
        return study
    msg = f"{study.name}: a window needs the name of a bundled study, not a study already read."
    raise StudyError(msg)


def studies() -> pd.DataFrame:
    """Return what is bundled: one row per study, by name.

    `default` says whether `reconcile` takes the study unless told otherwise; at most one study of
    each `shared_runs` (studies made from the same runs) may be in one pool.
    """
    loaded = [load_study(name) for name in _metadata()["studies"]]
    shown = ("group", "shared_runs", "corpus", "tokenizer", "loss_kind", "counting", "flops")
    last = ("n_rows", "n_used", "window", "citation", "licence")
    records = [{name: getattr(study, name) for name in (*shown, *last)} for study in loaded]
    index = pd.Index([study.name for study in loaded], name="study")
    table = pd.DataFrame(records, index=index)
    table.insert(0, "default", table.index.isin(DEFAULT_STUDIES))
    return table


def read_runs(
    source: str | Path | pd.DataFrame,
    *,
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str | int] | None = None,
    counting: str = "unknown",
    flops: str = "",
    name: str | None = None,
    tokenizer: str = "",
    corpus: str = "",
    vocab_size: float | None = None,
    tied: bool | None = None,
    context_length: float | None = None,
    learned_positions: bool = False,
    gated: bool | None = None,
    rows: str = "every",
    tokens_per_step: float | None = None,
    drop_missing: bool = False,
    dedupe: bool = False,
    prior_dominated_ok: bool = False,
) -> Study:
    """Return the study in a file or a DataFrame, every cell checked.

    Parameters
    ----------
    source : path or DataFrame
        One row per run, with parameters N, tokens D and loss; or one row per step (see `rows`). The
        ending says what a file is: .parquet, .jsonl (objects inside a line's object become names
        like config/d_model), .tsv, or else CSV.
    columns : mapping, optional
        Our names (`tables.COLUMNS`) -> the table's, for those that differ.
    units : mapping, optional
        Our names -> 1, "K", "M", "B", "T" (parameters and tokens) or "nats", "bits", "log10" (loss,
        per token). Those not given are taken as parameters, tokens and nats, and recorded in
        `Study.assumed`.
    counting : str
        What N counts: "body", "body+head", "total" or "unknown". With a column d_model, vocab_size
        and tied, body and embedding follow from it; nothing else is inferred. Where the table has
        no N but columns d_model and n_layers, N is computed in this counting (recorded in
        `Study.assumed`); where N and the shapes' count differ by more than 5%, that is recorded
        too, with the counting that N agrees with best.
    flops : str
        What the column flops counts: one of `counting.FLOPS`, or "exact" for the trainer's own
        count. By default "6ND", recorded in `Study.assumed`, if they are 6 N D to 1% in every row,
        and else not known: then `study.reflop` can count them anew.
    name : str, optional
        By default the file's name without its ending.
    tokenizer : str
        A column `tokenizer` is read too; it must then hold one name only.
    corpus : str
        What the models were trained on.
    vocab_size, context_length : float, optional
        Rows of a vocabulary matrix, and tokens per sequence; > 0.
    tied : bool, optional
        Whether input embedding and output head are one matrix; a column `tied` of true and false,
        one value throughout, says it too.
    learned_positions : bool
        Whether a position matrix (context_length x d_model) is stored.
    gated : bool, optional
        Whether feed-forward blocks have three matrices; for counts from shapes with d_ff. Taken for
        no where it is not said, and recorded.
    rows : str
        "every", each row is a run; or, for a logger's export with a row per step, the column run
        its id and the column step, "last": the last step of each run that has a loss, or
        "checkpoints": every step that has one, with its run as trajectory. Rows not used stay in
        `Study.table` with the reason. For an export with columns run_id, _step, config/params,
        tokens, eval/loss:
        `columns={"run": "run_id", "step": "_step", "N": "config/params", "D": "tokens",
        "loss": "eval/loss"}, rows="last"`.
    tokens_per_step : float, optional
        Where such a table has no D: tokens per step, > 0, so that D is step times it. It may be a
        column (`columns={"tokens_per_step": ...}`) instead.
    drop_missing, dedupe : bool
        Leave out rows that lack N, D or loss, or that repeat another in every column read; they
        stay in `Study.table` with the reason. Otherwise such rows are refused.
    prior_dominated_ok : bool
        Accept fewer than 8 runs.

    Raises
    ------
    StudyError
        When anything in the table is wrong or unlikely; it says where and what to do.

    Examples
    --------
    >>> import numpy as np, pandas as pd, scalebayes as sb
    >>> N, D = (grid.ravel() for grid in np.meshgrid([0.1, 0.3, 1.0], [2.0, 6.0, 20.0]))
    >>> table = pd.DataFrame({"params": N, "tokens": D, "loss": 2 + 0.4 / N**0.3 + 1 / D**0.3})
    >>> study = sb.read_runs(
    ...     table, columns={"N": "params", "D": "tokens"}, units={"N": "B", "D": "B"},
    ...     counting="total", name="sweep",
    ... )
    >>> study.rows_note
    '9 of 9 rows used'
    """
    matrices: dict[str, Any] = {"vocab_size": vocab_size, "tied": tied}
    matrices["context_length"] = context_length
    sweep = read_sweep(
        source,
        columns=columns,
        units=units,
        counting=counting,
        shapes=Shapes(**matrices, learned_positions=learned_positions, gated=gated),
        rows=rows,
        tokens_per_step=tokens_per_step,
        drop_missing=drop_missing,
        dedupe=dedupe,
        prior_dominated_ok=prior_dominated_ok,
    )
    convention, assumed = flops_convention(sweep.table, flops, source=sweep.source)
    name = name or ("runs" if isinstance(source, pd.DataFrame) else Path(source).stem)
    return Study(
        name=name,
        table=sweep.table,
        counting=counting,
        flops=convention,
        tokenizer=tokenizer or sweep.tokenizer,
        corpus=corpus,
        vocab_size=_one_vocabulary(sweep.table),
        tied=sweep.tied,
        context_length=context_length,
        learned_positions=learned_positions,
        group="",
        window=_WINDOW_OF_ROWS[rows],
        source=sweep.source,
        assumed=(*sweep.assumed, *assumed),
    )


def _facts(name):
    """Return a bundled study's metadata: those of its source, then its own."""
    metadata = _metadata()
    if name not in metadata["studies"]:
        near = nearest_name(str(name), list(metadata["studies"]))
        hint = f" Did you mean {near!r}?" if near else ""
        msg = f"no bundled study {name!r}.{hint} Bundled: {list(metadata['studies'])}."
        raise StudyError(msg)
    own = dict(metadata["studies"][name])
    facts = {"group": name, **_NOT_KNOWN, **metadata["sources"][own.pop("source")], **own}
    problems = facts.pop("problems", ()), facts.pop("own_problems", ())
    facts["known_problems"] = tuple(problem for some in problems for problem in some)
    return facts


def _metadata():
    return tomllib.loads(_data("studies.toml").read_text(encoding="utf-8"))


def _data(file):
    return resources.files("scalebayes") / "data" / file


def bundled_table(file: str, *, text: Collection[str]) -> pd.DataFrame:
    """Return a CSV table of the package's data.

    Parameters
    ----------
    file : str
        Its name.
    text : collection of str
        Columns that are no numbers. Numbers are read by Python's exact `float`, not by a faster
        parser; an empty cell is NaN.
    """
    with _data(file).open(encoding="utf-8", newline="") as lines:
        table = pd.read_csv(lines, dtype=str, keep_default_na=False)
    numbers = [name for name in table if name not in text]
    return table.replace({name: {"": "nan"} for name in numbers}).astype(
        dict.fromkeys(numbers, float)
    )


def _run_columns(rows, facts):
    """Return the run columns of a bundled table, with what is not stored for every row."""
    runs = rows.reindex(columns=list(RUN_COLUMNS))
    numbers = list(RUN_COLUMNS[2:])
    runs = runs.assign(
        vocab_size=facts["vocab_size"],
        trajectory=rows.get("trajectory", runs["run"]),
        unique_tokens=runs["unique_tokens"].fillna(runs["D"]),
    )
    return runs.astype(dict.fromkeys(RUN_COLUMNS[:2], str)).astype(dict.fromkeys(numbers, float))


def _published(name):
    """Return a study's published exponents as one flat mapping, keys led by their quantity."""
    rows = bundled_table("published.csv", text=_PUBLISHED_TEXT)
    rows = rows.rename(columns={"flops_convention": "flops"})
    flat = {}
    for row in rows[rows["study"] == name].to_dict("records"):
        quantity = row["quantity"].removesuffix("_exponent")
        values = {key: plain(row[key]) for key in rows.columns.drop(["study", "quantity", "value"])}
        flat[f"{quantity}_exponent"] = row["value"]
        flat |= {f"{quantity}_exponent_{end}": values.pop(end) for end in ("low", "high", "se")}
        flat |= {f"{quantity}_{key}": value for key, value in values.items()}
    return flat


def _window(default, window, *, name):
    """Return the limits in force, every key present."""
    limits = dict.fromkeys(_WINDOW_RANGES) | _WINDOW_SWITCHES
    if isinstance(window, str):
        if window not in ("default", "none"):
            msg = f"{name}: window is {window!r}; allowed: 'default', 'none', or a mapping."
            raise StudyError(msg)
        window = {} if window == "default" else limits
    refuse_unknown(window, WINDOW_KEYS, what="window", source=name)
    for key, value in window.items():
        _refuse_window_value(key, value, name=name)
    usual = {"outliers": False, "best_hparams_only": True}
    return limits | usual | default | dict(window)


def _refuse_window_value(key, value, *, name):
    switch = isinstance(value, bool | np.bool_)
    number = isinstance(value, int | float | np.number) and not switch and value > 0
    if not (switch if key in _WINDOW_SWITCHES else number or value is None):
        wanted = "True or False" if key in _WINDOW_SWITCHES else "a positive number or None"
        msg = f"{name}: window {key!r} is {value!r}; it must be {wanted}."
        raise StudyError(msg)


def _left_out(rows, limits):
    """Return for each row why it is not used, "" when it is; the first reason that holds counts."""
    reasons = pd.Series("", index=rows.index)
    for left_out, why in _exclusions(rows, limits):
        reasons = reasons.mask(left_out & (reasons == ""), why)
    return reasons


def _exclusions(rows, limits):
    """Yield (rows, reason in words) for every limit in force."""
    if not limits["outliers"]:
        yield rows["flag"] != "", rows["flag"]
    if limits["best_hparams_only"]:
        yield (
            rows["best_hparams"] != "True",
            "another learning rate or batch size did better at the same size and tokens",
        )
    if limits["known_shapes_only"]:
        yield rows["body"].isna(), "the shape is unknown, so only the total is known"
    quantities = {"N": rows["N"], "D": rows["D"], "D/N": rows["D"] / rows["N"]}
    for key, (quantity, side) in _WINDOW_RANGES.items():
        limit = limits[key]
        if limit is not None:
            values = quantities[quantity]
            beyond = values < limit if side == "at least" else values > limit
            yield beyond, f"{quantity} is {'below' if side == 'at least' else 'above'} {limit:g}"


def _window_words(limits, facts, *, changed):
    """Return the limits in force in words, with the reason of the study's own window."""
    ranges = [
        f"{quantity} {side} {limits[key]:g}"
        for key, (quantity, side) in _WINDOW_RANGES.items()
        if limits[key] is not None
    ]
    reported = facts.get("reported_count")
    source = f"reported: {reported}" if reported else "as reported"
    count = f"N is {facts['counting']}, {source}"
    ranges += [count] if any("N" in text for text in ranges) else []
    switches = {
        "flagged rows left out": not limits["outliers"],
        "best hyper-parameters only": limits["best_hparams_only"],
        "known shapes only": limits["known_shapes_only"],
    }
    words = "; ".join([*ranges, *(text for text, on in switches.items() if on)]) or "all rows"
    return f"{words} (changed by the user)" if changed else f"{words}. {facts['window_reason']}"


def _one_vocabulary(table):
    """Return the vocabulary size that every run has, or None."""
    sizes = table.get("vocab_size", pd.Series(dtype=float)).unique()
    return float(sizes[0]) if len(sizes) == 1 and np.isfinite(sizes[0]) else None
