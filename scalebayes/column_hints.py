"""Names of a table that look like ours -> the options to paste. Proposed only, never applied."""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scalebayes.table_files import Table, is_blank

KNOWN_NAMES = {
    "N": (
        *("n", "params", "parameters", "n_params", "num_params", "n_parameters", "num_parameters"),
        *("model_size", "n_params_total", "total_params", "total_parameters", "param_count"),
        *("parameter_count", "model_params", "model_parameters", "size"),
        *("non_embedding_params", "n_params_non_embedding", "non_embedding_parameters"),
        *("num_non_embedding_params", "n_params_nonembedding", "params_non_embedding"),
        *("nonembedding_params", "n_non_embedding"),
    ),
    "D": (
        *("d", "tokens", "n_tokens", "num_tokens", "training_tokens", "train_tokens"),
        *("total_tokens", "tokens_seen", "num_train_tokens", "n_train_tokens"),
        *("consumed_tokens", "token_count", "tokens_trained"),
    ),
    "loss": (
        *("eval_loss", "val_loss", "validation_loss", "valid_loss", "test_loss", "final_loss"),
        *("eval_ce", "val_ce", "ce", "ce_loss", "cross_entropy", "val_cross_entropy", "nll"),
        *("loss_bits", "loss_nats", "bits_per_token", "nats_per_token", "loss", "train_loss"),
    ),
    "run": ("run", "run_id", "run_name", "runid", "experiment", "experiment_id"),
    "step": ("step", "global_step", "train_step", "training_step", "iteration", "iter", "steps"),
    "tokens_per_step": ("tokens_per_step", "tokens_per_batch", "batch_tokens", "tokens_per_update"),
    "d_model": ("d_model", "hidden_size", "n_embd", "dim", "width", "hidden_dim", "model_dim"),
    "n_layers": ("n_layers", "n_layer", "num_layers", "num_hidden_layers", "layers", "depth"),
    "d_ff": ("d_ff", "intermediate_size", "ffn_dim", "ffn_hidden_size", "d_mlp", "n_inner"),
    "n_heads": ("n_heads", "n_head", "num_heads", "num_attention_heads"),
    "vocab_size": ("vocab_size", "vocabulary_size", "n_vocab", "padded_vocab_size"),
    "tied": ("tied", "tie_word_embeddings", "tied_embeddings", "tie_embeddings"),
    "flops": ("flops", "flop", "compute", "total_flops", "train_flops", "training_flops"),
}
"""Our name -> names seen elsewhere, likeliest first; compared without case and punctuation."""

_OTHER_LOSSES = {
    "bpb": "bits per byte",
    "bits_per_byte": "bits per byte",
    "ppl": "a perplexity",
    "perplexity": "a perplexity",
}
_UNIT_WORDS = {
    "K": ("k", "thousand", "thousands"),
    "M": ("m", "mio", "million", "millions"),
    "B": ("b", "bn", "billion", "billions"),
    "T": ("t", "trillion", "trillions"),
}
_OTHER_LOSS_ADVICE = {
    "a perplexity": "The natural logarithm of a perplexity per token is a loss in nats.",
    "bits per byte": "Times bytes per token, it is a loss in bits.",
}
_NEEDED = ("N", "D", "loss")
_SAMPLE = 10_000


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """What a table's names and sizes suggest.

    Parameters
    ----------
    columns : mapping
        Our names -> the table's, those that differ.
    units : mapping
        "N" or "D" -> the unit that its median looks like: a guess.
    rows : str
        "last" where the table has many steps of each run, else "".
    notes : tuple of str
        What else was seen, in sentences.
    """

    columns: Mapping[str, str]
    units: Mapping[str, str]
    rows: str
    notes: tuple[str, ...]

    @property
    def options(self) -> str:
        """As options of the command line, "" for none."""
        parts = {
            "--columns": ",".join(f"{ours}={theirs}" for ours, theirs in self.columns.items()),
            "--units": ",".join(f"{name}={unit}" for name, unit in self.units.items()),
            "--rows": self.rows,
        }
        return " ".join(f"{name} {shlex.quote(value)}" for name, value in parts.items() if value)

    @property
    def python(self) -> str:
        """As arguments in Python."""
        parts = {"columns": dict(self.columns), "units": dict(self.units), "rows": self.rows}
        return ", ".join(f"{name}={value!r}" for name, value in parts.items() if value)

    @property
    def text(self) -> str:
        """In sentences on one line, "" where nothing was recognised."""
        if not self.options:
            return " ".join(self.notes)
        python = self.python.replace("'", '"')
        first = f"These names look like ours: {self.options} (in Python {python}); check it first."
        return " ".join([first, *self.notes])


def suggest(
    table: Table,
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str | int] | None = None,
) -> Suggestion:
    """Return what a table's names and sizes suggest beside the columns that are mapped.

    Parameters
    ----------
    table : Table
    columns : mapping, optional
        Our names -> the table's, as far as they were said.
    units : mapping, optional
        Units that were said; no other is proposed for these columns.

    Returns
    -------
    Suggestion
        Its `columns` repeats those that were said and exist, so that it can be pasted as it is.
    """
    said = {ours: theirs for ours, theirs in (columns or {}).items() if theirs in table.cells}
    found = said | _recognised(list(table.cells), said)
    rows = "last" if _many_steps(table, found) else ""
    if not rows:
        found = {
            ours: theirs
            for ours, theirs in found.items()
            if ours in said or ours not in ("run", "step", "tokens_per_step")
        }
    elif "D" in found:
        found = {ours: theirs for ours, theirs in found.items() if ours != "tokens_per_step"}
    unsaid = [name for name in ("N", "D") if name in found and name not in (units or {})]
    guesses = {name: guess for name in unsaid if (guess := _unit(table, name, found[name]))}
    guessed = {name: unit for name, (unit, _) in guesses.items()}
    mapped = {ours: theirs for ours, theirs in found.items() if ours != theirs}
    notes = (*(why for _, why in guesses.values()), *_notes(table, found, rows))
    return Suggestion(columns=mapped, units=guessed, rows=rows, notes=notes)


def other_loss(column: str) -> str:
    """Return what a column's name says if it is no loss per token ("a perplexity"), else ""."""
    last = plain_name(re.split("[/.]", column)[-1])
    return next((k for word, k in _OTHER_LOSSES.items() if f"_{last}".endswith(f"_{word}")), "")


def plain_name(name: str) -> str:
    """Return a name in lower case, with one "_" for anything that is no letter or digit."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def median_of(table: Table, column: str) -> float:
    """Return the median of a column's first cells that are numbers, NaN where none is."""
    numbers = [value for cell in table.cells[column][:_SAMPLE] if (value := _float(cell)) == value]
    return float(np.median(numbers)) if numbers else math.nan


def _recognised(names: Sequence[str], said):
    """Return our name -> the likeliest of the table's, each used once."""
    last = {name: plain_name(re.split("[/.]", name)[-1]) for name in names}
    plain = {name: (plain_name(name), last[name], _without_unit(last[name])[0]) for name in names}
    found, used = {}, set(said.values())
    for ours, known in KNOWN_NAMES.items():
        if ours in said:
            continue
        own = [ours] if ours in names and ours not in used else []
        fits = own + [
            name
            for word in known
            for part in ((0, 1, 2) if ours in ("N", "D") else (0, 1))
            for name in names
            if plain[name][part] == word and name not in used
        ]
        if fits:
            found[ours] = fits[0]
            used.add(fits[0])
    return found


def _many_steps(table, found):
    if not {"run", "step"} <= set(found):
        return False
    ids = [str(cell) for cell in table.cells[found["run"]][:_SAMPLE]]
    return len(set(ids)) < len(ids)


_WORDS = {"K": "thousands", "M": "millions", "B": "billions", "T": "trillions"}
_FACTORS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_MOST = {"N": 1e13, "D": 1e15}


def _without_unit(plain):
    """Return a plain name without the unit at its end, and that unit ("" for none)."""
    for unit, words in _UNIT_WORDS.items():
        for word in words:
            for end in (f"_in_{word}", f"_{word}"):
                if plain.endswith(end):
                    return plain.removesuffix(end), unit
    return plain, ""


def _unit(table, name, column):
    """Return (unit, why) as the column's name or its median suggests, None for no unit."""
    median = median_of(table, column)
    _, named = _without_unit(plain_name(column))
    if named and median * _FACTORS[named] <= _MOST[name]:
        why = f"the name {column!r} says {_WORDS[named]}"
        return named, f"A guess, to be checked: {why} (--units {name}={named})."
    plain, billions = {"N": (1e4, 20.0), "D": (1e6, 1e4)}[name]
    if not median < plain:
        return None
    unit = "B" if median < billions else "M"
    why = f"the median of {column!r}, {median:.3g}, looks like {_WORDS[unit]}"
    return unit, f"A guess, to be checked: {why} (--units {name}={unit})."


def _missing_cells(table, found):
    """Return in how many rows one of N, D and loss is blank, of those that are found."""
    columns = [table.cells[found[name]] for name in _NEEDED if name in found]
    return sum(any(map(is_blank, row)) for row in zip(*columns, strict=True))


def _notes(table, found, rows):
    if "non" in plain_name(found.get("N", "")):
        yield f"The name {found['N']!r} suggests --counting body."
    if "loss" not in found:
        for name in table.cells:
            if kind := other_loss(name):
                yield (
                    f"{name!r} looks like {kind}; a loss per token is needed, and it is not "
                    f"converted here. {_OTHER_LOSS_ADVICE[kind]}"
                )
    by_shapes = {"d_model", "n_layers"} <= set(found)
    if "N" not in found and by_shapes:
        yield (
            "There is no N, but width and layers: with --counting total (or body, body+head), "
            "--vocab-size and --tied or --untied it is computed from them."
        )
    missing = [name for name in _NEEDED if name not in found]
    if "D" in missing and found.get("step"):
        yield "Without a column of tokens, D is step times --tokens-per-step."
    unnamed = [
        name
        for name in missing
        if not ((name == "N" and by_shapes) or (name == "D" and found.get("step")))
    ]
    if unnamed:
        asked = ",".join(f"{name}=NAME" for name in unnamed)
        yield f"No name looks like {' or '.join(unnamed)}: add --columns {asked}."
    blank = 0 if rows else _missing_cells(table, found)
    if blank:
        yield (
            f"{blank} of {len(table.rows)} rows lack one of them; --drop-missing leaves such rows "
            "out and counts them."
        )


def _float(cell):
    if isinstance(cell, bool):
        return math.nan
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan
