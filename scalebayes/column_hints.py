"""Names of a table that look like ours -> the options to paste. Proposed only, never applied."""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scalebayes.table_files import Table

KNOWN_NAMES = {
    "N": (
        *("n", "params", "parameters", "n_params", "num_params", "n_parameters", "num_parameters"),
        *("model_size", "n_params_total", "total_params", "total_parameters", "param_count"),
        *("parameter_count", "params_b", "params_m", "size"),
        *("non_embedding_params", "n_params_non_embedding", "non_embedding_parameters"),
        *("num_non_embedding_params", "n_params_nonembedding", "params_non_embedding"),
        *("nonembedding_params", "n_non_embedding"),
    ),
    "D": (
        *("d", "tokens", "n_tokens", "num_tokens", "training_tokens", "train_tokens"),
        *("total_tokens", "tokens_seen", "tokens_b", "num_train_tokens", "n_train_tokens"),
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
    medians = {name: median_of(table, found[name]) for name in unsaid}
    guessed = {name: unit for name, value in medians.items() if (unit := _unit(name, value))}
    mapped = {ours: theirs for ours, theirs in found.items() if ours != theirs}
    guesses = [
        f"A guess, to be checked: the median of {found[name]!r}, {medians[name]:.3g}, looks like "
        f"{_WORDS[unit]} (--units {name}={unit})."
        for name, unit in guessed.items()
    ]
    return Suggestion(
        columns=mapped, units=guessed, rows=rows, notes=(*guesses, *_notes(table, found))
    )


def plain_name(name: str) -> str:
    """Return a name in lower case, with one "_" for anything that is no letter or digit."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def median_of(table: Table, column: str) -> float:
    """Return the median of a column's first cells that are numbers, NaN where none is."""
    numbers = [value for cell in table.cells[column][:_SAMPLE] if (value := _float(cell)) == value]
    return float(np.median(numbers)) if numbers else math.nan


def _recognised(names: Sequence[str], said):
    """Return our name -> the likeliest of the table's, each used once."""
    plain = {name: (plain_name(name), plain_name(re.split("[/.]", name)[-1])) for name in names}
    found, used = {}, set(said.values())
    for ours, known in KNOWN_NAMES.items():
        if ours in said:
            continue
        own = [ours] if ours in names and ours not in used else []
        fits = own + [
            name
            for word in known
            for part in (0, 1)
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


_WORDS = {"M": "millions", "B": "billions"}


def _unit(name, median):
    """Return the unit that a median looks like, None where it may be in parameters or tokens."""
    plain, billions = {"N": (1e4, 20.0), "D": (1e6, 1e4)}[name]
    if not median < plain:
        return None
    return "B" if median < billions else "M"


def _notes(table, found):
    names = {plain_name(name): name for name in table.cells}
    if "non" in plain_name(found.get("N", "")):
        yield f"The name {found['N']!r} suggests --counting body."
    if "loss" not in found:
        for word, kind in _OTHER_LOSSES.items():
            if word in names:
                yield (
                    f"{names[word]!r} looks like {kind}; a loss per token is needed, and it is not "
                    "converted here."
                )
    if "N" not in found and {"d_model", "n_layers"} <= set(found):
        yield (
            "There is no N, but width and layers: with --counting total (or body, body+head), "
            "--vocab-size and --tied or --untied it is computed from them."
        )
    missing = [name for name in _NEEDED if name not in found]
    if "D" in missing and found.get("step"):
        yield "Without a column of tokens, D is step times --tokens-per-step."


def _float(cell):
    if isinstance(cell, bool):
        return math.nan
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return math.nan
