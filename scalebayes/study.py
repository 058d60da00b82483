"""A checked run table with what is true of all of it, as a frozen value."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace

import numpy as np
import pandas as pd

from scalebayes.codes import coded_design_warning
from scalebayes.counting import (
    COUNTINGS,
    Architecture,
    count_parameters,
    counting_label,
    flops_counting,
    parse_counting,
)
from scalebayes.errors import CountingError
from scalebayes.flops import ATTENTION_COLUMNS, charged_parameters
from scalebayes.sweeps import count_replicates

_NEARLY_ONE_LINE = 0.99
_USUAL_SIZES = (1e5, 1e13)
_MANY_EPOCHS = 4
_PARTS = {"body": {"body"}, "body+head": {"body", "head"}, "total": {"body", "embedding"}}


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """A run table with what is true of all of it. Losses are in nats per token.

    Parameters
    ----------
    name : str
    table : DataFrame
        All rows; the last column, `left_out`, is "" when the row is used, else the reason.
    counting : str
        What the column N counts: "body", "body+head", "total", a number omega as text, or
        "unknown".
    flops : str
        FLOP convention of the column flops, "" when none is known, "exact" when they were counted
        by no formula of `counting.FLOPS`.
    tokenizer, corpus, loss_kind : str
    loss_unit : str
        Always "nats" after reading.
    vocab_size, context_length : float or None
    tied : bool or None
        Whether input embedding and output head are one matrix.
    learned_positions : bool
    recipe : mapping
        warmup ("long", "short", "unknown"), schedule ("matched", "not matched", "constant",
        "unknown"), tuning ("tuned", "rule", "not tuned", "unknown").
    group : str
        Code base and corpus family.
    shared_runs : str
        Name of the set of studies made from the same runs; "" when there is none.
    window : str
        Which rows are used, in words.
    citation, licence : str
    known_problems : tuple of str
    source : str
        File, "DataFrame" or "bundled".
    assumed : tuple of str
        What was not said and taken for granted, such as units.
    published : mapping
        Published exponents of these runs, flat; `frontier_exponent` is the compute-optimal exponent
        read off the runs, without a law.
    """

    name: str
    table: pd.DataFrame
    counting: str = "unknown"
    flops: str = ""
    tokenizer: str = ""
    corpus: str = ""
    loss_kind: str = ""
    loss_unit: str = "nats"
    vocab_size: float | None = None
    context_length: float | None = None
    tied: bool | None = None
    learned_positions: bool = False
    recipe: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    shared_runs: str = ""
    window: str = "all rows"
    citation: str = ""
    licence: str = ""
    known_problems: tuple[str, ...] = ()
    source: str = ""
    assumed: tuple[str, ...] = ()
    published: Mapping[str, float | str | None] = field(default_factory=dict)

    @property
    def runs(self) -> pd.DataFrame:
        """Used rows, as a copy with a fresh index."""
        used = self.table[self.table["left_out"] == ""]
        return used.drop(columns="left_out").reset_index(drop=True)

    @property
    def n_rows(self) -> int:
        """Rows of the table."""
        return len(self.table)

    @property
    def n_used(self) -> int:
        """Rows that are used."""
        return int((self.table["left_out"] == "").sum())

    @property
    def n_replicates(self) -> int:
        """Used rows that share their N and D with an earlier one."""
        return count_replicates(self.runs)

    @property
    def shared_trajectories(self) -> tuple[str, ...]:
        """Ids of the training runs that several used rows are checkpoints of, as they appear."""
        if "trajectory" not in self.table:
            return ()
        ids = self.runs["trajectory"]
        return tuple(ids[ids.duplicated(keep=False) & (ids != "")].unique())

    @property
    def left_out(self) -> dict[str, int]:
        """Reason -> number of rows left out for it, in order of first appearance."""
        reasons = self.table["left_out"]
        counts = reasons[reasons != ""].value_counts(sort=False)
        return {str(reason): int(n) for reason, n in counts.items()}

    @property
    def rows_note(self) -> str:
        """How many rows are used, and why the others are not, in one line."""
        note = f"{self.n_used} of {self.n_rows} rows used"
        reasons = "; ".join(f"{n} because {why}" for why, n in self.left_out.items())
        return f"{note}; left out: {reasons}" if reasons else note

    @property
    def has_shapes(self) -> bool:
        """Whether body and head of every used row are known."""
        runs = self.runs
        return all(name in runs and runs[name].notna().all() for name in ("body", "head"))

    @property
    def architecture(self) -> Architecture | None:
        """The family of the study's own shapes at its median aspect ratio, or None if unknown."""
        return _architecture(self)

    @property
    def design_warnings(self) -> tuple[str, ...]:
        """What the choice of N and D, or of tokens, keeps these runs from telling."""
        return _design_warnings(self.runs)

    @property
    def data_hash(self) -> str:
        """SHA-256, in hex, of the counting and of every used run."""
        return _hash(self.runs, self.counting)

    def record(self) -> dict:
        """Return all but the table as plain values for JSON."""
        values = {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.name != "table"}
        architecture = self.architecture
        return values | {
            "n_rows": self.n_rows,
            "n_used": self.n_used,
            "n_replicates": self.n_replicates,
            "left_out": self.left_out,
            "rows_note": self.rows_note,
            "has_shapes": self.has_shapes,
            "architecture": None if architecture is None else asdict(architecture),
            "design_warnings": list(self.design_warnings),
            "data_hash": self.data_hash,
        }


def recount(study: Study, counting: str | float) -> Study:
    """Return a study with N expressed in another counting, through the shapes of its models.

    N is multiplied by the ratio of the two counts of each shape, so that it keeps its distance from
    the shape's own count (rounding, digitising), and going there and back gives the same N. The
    same rows are used as before; left-out rows of unknown shape have no N in the result.

    Parameters
    ----------
    study : Study
    counting : str or float
        "body", "body+head", "total", or a number omega >= 0: body + omega head.

    Returns
    -------
    Study
        With other `N` and `counting` (a number as text, "0.5"). FLOPs stay as reported: `flops`
        "6ND", which means N as reported, then names that counting ("6ND:total"). `reflop` restates
        them.

    Raises
    ------
    CountingError
        When the counting is not one of these, or that of the study is unknown, or the parts that
        either count is made of are not known for every used row.
    """
    asked = _known_counting(study, counting, "asked for")
    if asked == _known_counting(study, study.counting, "of its N"):
        return study
    label = counting_label(asked)
    wanted = f"N is {study.counting!r}; to express it as {label!r}"
    shaped = _rows_with(study, sorted(_parts_of(asked) | _parts_of(study.counting)), wanted)
    ratio = count_parameters(shaped, label) / count_parameters(shaped, study.counting)
    table = study.table.assign(N=(shaped["N"] * ratio).reindex(study.table.index))
    return replace(study, table=table, counting=label, flops=_flops_of_other_count(study, label))


def reflop(study: Study, flops: str) -> Study:
    """Return a study with its budgets C restated in another FLOP convention, through its shapes.

    C is multiplied by the ratio of what the two conventions charge each shape for, so that it keeps
    its distance from the shape's own C, and going there and back gives the same C. Where the study
    reports none, or counts them by no known formula ("exact"), C is what the convention charges
    times D. Budgets common to several sizes in one convention are not in one that charges sizes
    otherwise.

    Parameters
    ----------
    study : Study
    flops : str
        One of `counting.FLOPS`; "6ND" takes N in the study's counting.

    Returns
    -------
    Study
        With another column `flops` (FLOP) and convention. N, D and the rows used are the same;
        left-out rows of unknown shape have no C.

    Raises
    ------
    CountingError
        When the convention is unknown, or what either is made of is not known for every used row;
        the message says what is missing.

    References
    ----------
    `flops.charged_parameters`.
    """
    if flops == study.flops and "flops" in study.table:
        return study
    known = study.flops not in ("", "exact") and "flops" in study.table
    conventions = (flops, study.flops) if known else (flops,)
    need = set().union(*(_charged_columns(study, name) for name in conventions))
    now = repr(study.flops) if known else "not known by a formula"
    shaped = _rows_with(study, sorted(need), f"C is {now}; to express it as {flops!r}")
    charged = [_charged_for(study, shaped, name) for name in conventions]
    C = shaped["flops"] * charged[0] / charged[1] if known else 6.0 * charged[0] * shaped["D"]
    return replace(study, table=study.table.assign(flops=C.reindex(study.table.index)), flops=flops)


def _known_counting(study, counting, which):
    """Return a counting's name or number; raise when it is none, saying which it was."""
    try:
        return parse_counting(counting)
    except CountingError as error:
        msg = (
            f"{study.name}: the counting {which} is {counting!r}; it must be one of {COUNTINGS} or "
            "a number omega >= 0."
        )
        raise CountingError(msg) from error


def _parts_of(counting):
    """Return the run columns that a counting (or its text) is made of."""
    counting = parse_counting(counting)
    return _PARTS.get(counting, {"body", "head"} if counting else {"body"})


def _charged_columns(study, flops):
    """Return the run columns that a FLOP convention is made of."""
    own = study.counting if flops == "6ND" else "total"
    counted = flops_counting(flops, _known_counting(study, own, "of its N"))
    return ATTENTION_COLUMNS[flops] if counted is None else _parts_of(counted)


def _charged_for(study, shaped, flops):
    """Return C / (6 D) of rows of a study in a FLOP convention."""
    counting = study.counting if flops == "6ND" else "total"
    try:
        return charged_parameters(
            shaped, flops, counting=counting, context_length=study.context_length
        )
    except CountingError as error:
        raise CountingError(f"{study.name}: {error}") from error


def _rows_with(study, parts, wanted):
    """Return the rows of the table that have every part; refuse when some used row lacks one."""
    runs = study.runs.reindex(columns=["run", *parts])
    lacking = [name for name in parts if runs[name].isna().any()]
    if lacking:
        rows = runs[runs[lacking].isna().any(axis="columns")]
        msg = (
            f"{study.name}: {wanted}, {lacking} must be known, and they are not for {len(rows)} of "
            f"{len(runs)} used runs, such as {rows['run'].iloc[0]!r}. Give them in parameters, or "
            "d_model, vocab_size and tied, when reading the table; a bundled study has what was "
            "published."
        )
        raise CountingError(msg)
    return study.table[study.table[parts].notna().all(axis="columns")]


def _flops_of_other_count(study, counting):
    """Return the FLOP convention in words that stay true when N is counted otherwise."""
    if study.flops == "6ND":
        return f"6ND:{study.counting}"
    own = study.flops == f"6ND:{counting}" and counting not in ("body", "body+head")
    return "6ND" if own else study.flops


def plain(value):
    """Return a value as str, int, float, bool, None, list or dict, NaN as None, for JSON."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and np.isnan(value) else value


def _architecture(study):
    runs = study.runs
    columns = ("d_model", "n_layers")
    known = all(name in runs and runs[name].notna().all() for name in columns)
    if not (study.has_shapes and known and study.vocab_size and study.tied is not None):
        return None
    if study.learned_positions and study.context_length is None:
        return None
    return Architecture(
        aspect_ratio=float((runs["d_model"] / runs["n_layers"]).median()),
        vocab_size=float(study.vocab_size),
        tied=study.tied,
        context_length=study.context_length,
        learned_positions=study.learned_positions,
        body_coefficient=float((runs["body"] / (runs["n_layers"] * runs["d_model"] ** 2)).median()),
    )


def _design_warnings(runs):
    warnings = (_one_line(runs), _unusual_sizes(runs), _repeated_data(runs))
    return tuple(coded_design_warning(warning) for warning in warnings if warning)


def _one_line(runs):
    log_n, log_d = np.log(runs["N"].to_numpy()), np.log(runs["D"].to_numpy())
    for name, quantity, logs in (("N", "model size", log_n), ("D", "token count", log_d)):
        if np.ptp(logs) == 0:
            return f"exponents not identified: there is only one {quantity} {name}"
    r_squared = np.corrcoef(log_n, log_d)[0, 1] ** 2
    if r_squared > _NEARLY_ONE_LINE:
        return (
            "exponents not identified: D/N is (nearly) fixed, or D a power of N "
            f"(R² of log D on log N is {r_squared:.4f})"
        )
    return ""


def _unusual_sizes(runs):
    least, most = _USUAL_SIZES
    n = int((~runs["N"].between(least, most)).sum())
    return f"{n} runs have N outside {least:g} to {most:g} parameters" if n else ""


def _repeated_data(runs):
    if "unique_tokens" not in runs:
        return ""
    n = int((runs["D"] > _MANY_EPOCHS * runs["unique_tokens"]).sum())
    note = f"{n} runs saw their data more than {_MANY_EPOCHS} times; the law is for fresh tokens"
    return note if n else ""


def _hash(runs, counting):
    digest = hashlib.sha256(counting.encode())
    for name in runs:
        digest.update(f"\n{name}\n".encode())
        if pd.api.types.is_numeric_dtype(runs[name]):
            values = runs[name].to_numpy(dtype="<f8", na_value=np.nan)
            digest.update(np.where(np.isnan(values), np.nan, values).tobytes())
        else:
            digest.update("\n".join(runs[name]).encode())
    return digest.hexdigest()
