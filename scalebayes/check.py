"""What a table of runs can and cannot say about D*/N*, before anything is sampled."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

import numpy as np
import pandas as pd

from scalebayes.codes import coded, coded_design_warning
from scalebayes.counting import count_parameters
from scalebayes.design_information import Expected, expected_errors
from scalebayes.errors import InputError
from scalebayes.isoflop import LEAST_BUDGETS, LEAST_SIZES, TOLERANCE
from scalebayes.laws import FLOP_PER_PARAMETER_AND_TOKEN
from scalebayes.studies import load_study
from scalebayes.study import Study
from scalebayes.sweeps import LEAST_RUNS

USUAL_RATIO, USUAL_TOKENS = 2.0, 1.5e8
"""Least D/N and least D of the usual window (Porian et al. 2024, arXiv:2406.19146)."""

MOSTLY_PRIOR = 0.5
"""Share of the prior's standard deviation above which a quantity is mostly prior, as in `fit`."""

FAR_DECADES = 1.0
_IF_EXACT = "if the law holds exactly in this N, with noise of 1%"
Z_90 = 1.6448536269514722  # 95th percentile of the standard Normal distribution

MODELS = {"total": "hoffmann-total", "body": "hoffmann-nonembedding", "body+head": "one-matrix"}
"""The hypothesis that takes N in each counting."""

_LINE_WIDTH = 5 * TOLERANCE  # of log compute: a chain of neighbours wider than this is no line


@dataclass(frozen=True, kw_only=True)
class StudyCheck:
    """A study's design report.

    Parameters
    ----------
    study : str
        Its name.
    table : DataFrame
        Tidy: name, unit, value, lower, upper, note. Ranges have lower and upper (smallest and
        largest) and the median as value.
    warnings : tuple of str
        Each led by its code.
    can, cannot : tuple of str
        What these runs can and cannot say, in sentences.
    compute : float
        Budget in FLOP that `can` and `cannot` are about.
    model : str
        The hypothesis to begin with, "" where what N counts must be said first.
    with_literature : bool
        Whether the runs alone would give an answer that is mostly prior.
    """

    study: str
    table: pd.DataFrame
    warnings: tuple[str, ...]
    can: tuple[str, ...]
    cannot: tuple[str, ...]
    compute: float
    model: str
    with_literature: bool

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of the warnings, in order of appearance."""
        return tuple(dict.fromkeys(text.partition(":")[0] for text in self.warnings))


def check(study: Study | str, *, compute: float | None = None) -> StudyCheck:
    """Return what a study's runs can and cannot say about the compute-optimal ratio D*/N*.

    Nothing is fitted or sampled: sizes, tokens and budgets alone are judged, with the usual priors
    and noise (`design_information`), and the losses only where an isoFLOP line has its lowest.

    Parameters
    ----------
    study : Study or str
        A study, or the name of a bundled one.
    compute : float, optional
        Budget asked about, in FLOP as the study counts them (else 6 N D); by default the largest
        of the runs.

    Returns
    -------
    StudyCheck

    Raises
    ------
    InputError
        When the budget is not a positive number, or the study is unknown.
    """
    study = load_study(study)
    runs = study.runs
    spent = _spent(runs)
    target = _target(compute, spent)
    lines = isoflop_lines(runs["N"], runs["loss"], spent)
    decades = max(math.log10(target / spent.max()), 0.0)
    head_share = _head_share(study, runs)
    N, counted = _sizes_of_law(study, runs)
    expected = expected_errors(N, runs["D"], head_share=head_share, compute=target)
    facts = {
        "lines": lines,
        "counted": counted,
        "decades": decades,
        "expected": expected,
        "target": target,
    }
    warnings = _warnings(study, runs, facts)
    mostly_prior = _mostly_prior(expected["a"]) or any("SB103" in text for text in warnings)
    sentences = tuple(_sentences(study, runs, facts, mostly_prior=mostly_prior))
    return StudyCheck(
        study=study.name,
        table=_table(study, runs, spent, head_share, facts),
        warnings=warnings,
        can=tuple(text for holds, text in sentences if holds),
        cannot=tuple(text for holds, text in sentences if not holds),
        compute=target,
        model=_model(study),
        with_literature=mostly_prior,
    )


def isoflop_lines(N: pd.Series, loss: pd.Series, spent: pd.Series) -> Mapping[str, int]:
    """Return how many isoFLOP lines there are, and how many have their lowest loss inside.

    A line is a set of at least three sizes whose compute differs by less than 1% from neighbour
    to neighbour, and by less than 5% in all.

    Parameters
    ----------
    N, loss, spent : Series
        Parameters, nats per token and FLOP of the runs, alike indexed.

    Returns
    -------
    dict
        "lines" and "inside".
    """
    log_spent = np.log(spent.to_numpy())
    order = np.argsort(log_spent, kind="stable")
    gaps = np.diff(log_spent[order], prepend=log_spent[order[0]])
    group = np.empty(len(order), dtype=int)
    group[order] = np.cumsum(gaps > TOLERANCE)
    runs = pd.DataFrame({"N": N.to_numpy(), "loss": loss.to_numpy(), "log": log_spent})
    by_line = runs.groupby(group)
    width = by_line["log"].max() - by_line["log"].min()
    is_line = (by_line["N"].nunique() >= LEAST_SIZES) & (width <= _LINE_WIDTH)
    at_lowest = runs.loc[by_line["loss"].idxmin(), "N"].to_numpy()
    inside = (at_lowest > by_line["N"].min()) & (at_lowest < by_line["N"].max())
    return {"lines": int(is_line.sum()), "inside": int((is_line & inside).sum())}


def _spent(runs):
    stated = "flops" in runs and runs["flops"].notna().all()
    return runs["flops"] if stated else FLOP_PER_PARAMETER_AND_TOKEN * runs["N"] * runs["D"]


def _target(compute, spent):
    if compute is None:
        return float(spent.max())
    number = isinstance(compute, Real) and not isinstance(compute, bool)
    if not (number and math.isfinite(compute) and compute > 0):
        msg = f"compute: a budget must be a positive finite number of FLOP, got {compute!r}."
        raise InputError(msg)
    return float(compute)


def _total_known(study):
    """Return whether every parameter of every run is known by its parts."""
    runs = study.runs
    return study.has_shapes and "embedding" in runs and runs["embedding"].notna().all()


def _sizes_of_law(study, runs):
    """Return N as the hypothesis to begin with counts it, and that counting in words."""
    if _total_known(study):
        return count_parameters(runs, "total"), ", N counted as total"
    counted = "" if study.counting == "unknown" else f", N counted as {study.counting}"
    return runs["N"], counted


def _head_share(study, runs):
    """Return head / (body + head) of each run, or None where some is unknown."""
    return runs["head"] / (runs["body"] + runs["head"]) if study.has_shapes else None


def _mostly_prior(expected: Expected) -> bool:
    return expected.ratio > MOSTLY_PRIOR


def _outside_window(runs):
    return int(((runs["D"] / runs["N"] < USUAL_RATIO) | (runs["D"] < USUAL_TOKENS)).sum())


def _r_squared(runs):
    """Return R² of log D on log N, NaN where one of them does not vary."""
    logs = np.log(runs[["N", "D"]].to_numpy())
    if not np.ptp(logs, axis=0).all():
        return math.nan
    return float(np.corrcoef(logs.T)[0, 1] ** 2)


def _warnings(study, runs, facts):
    outside, shared = _outside_window(runs), study.shared_trajectories
    rows_shared = int(runs["trajectory"].isin(shared).sum()) if shared else 0
    expected, far = facts["expected"], facts["decades"]
    omega = expected.get("omega")
    found = {
        "SB102": study.counting == "unknown" and "what N counts was not said",
        "SB111": (omega is None or _mostly_prior(omega))
        and "omega (does the law count vocabulary matrices?) is not identified: "
        + ("body and head are not known" if omega is None else _left_of(omega)),
        "SB112": rows_shared
        and f"{rows_shared} rows are checkpoints of {len(shared)} runs, and share their luck",
        "SB113": outside
        and f"{outside} rows have D/N below {USUAL_RATIO:g} or D below {USUAL_TOKENS:g}",
        "SB114": far > FAR_DECADES
        and f"the budget {facts['target']:.3g} lies {far:.1f} decades above the largest run",
        "SB116": study.n_used < LEAST_RUNS and f"only {study.n_used} runs",
        "SB117": _mostly_prior(expected["a"])
        and f"a (N* grows as C^a) would be mostly prior: {_left_of(expected['a'])}",
    }
    design = tuple(coded_design_warning(text) for text in study.design_warnings)
    own = tuple(coded(code, text) for code, text in found.items() if text)
    return (*_coded_only(study.assumed), *design, *own)


def _left_of(expected):
    return f"{expected.ratio:.0%} of its prior's standard deviation would be left"


def _coded_only(notes):
    return tuple(text for text in notes if re.match(r"SB\d{3}: ", text))


def _factor(deviation):
    """Return the factor either way that holds 90% of a log-normal quantity."""
    factor = math.exp(min(Z_90 * deviation, 700.0))
    return f"{factor:.2g}" if factor < 100 else "more than 100"


def _sentences(study, runs, facts, *, mostly_prior):
    """Return (whether the runs can say it, sentence)."""
    expected, lines = facts["expected"], facts["lines"]
    ratio, a = expected["log_ratio"], expected["a"]
    alone = f"(from the prior alone: {_factor(ratio.prior)})"
    yield (
        not mostly_prior,
        f"D*/N* at {facts['target']:.3g} FLOP{facts['counted']}: expected to within a factor of "
        f"{_factor(ratio.with_runs)} either way {alone}, {_IF_EXACT}.",
    )
    yield (
        not mostly_prior,
        f"How N* grows with compute: C^a, a expected to ± {Z_90 * a.with_runs:.2f} "
        f"(± {Z_90 * a.prior:.2f} from the prior alone).",
    )
    omega = expected.get("omega")
    told = omega is not None and not _mostly_prior(omega)
    yield told, "Whether the law counts vocabulary matrices (omega)." + _omega_words(omega)
    many = study.architecture is not None
    needed = "; d_model, n_layers, the vocabulary and whether it is tied are needed."
    yield many, "D*/N* in other countings and FLOP conventions" + ("." if many else needed)
    enough = lines["inside"] >= LEAST_BUDGETS
    yield (
        enough,
        f"The optimum read off isoFLOP lines, without a surface: {lines['lines']} lines, "
        f"{lines['inside']} with their lowest loss inside"
        + ("." if enough else f"; {LEAST_BUDGETS} are needed."),
    )
    if facts["decades"] > 0:
        yield (
            False,
            f"Losses at {facts['target']:.3g} FLOP: {facts['decades']:.1f} decades above the "
            "largest run, so the law is trusted there without a test.",
        )


def _omega_words(omega):
    return "" if omega is None else f" Expected to ± {Z_90 * omega.with_runs:.2f} (90%)."


def _model(study):
    if _total_known(study):
        return MODELS["total"]
    return MODELS.get(study.counting, "")


def _table(study, runs, spent, head_share, facts):
    expected, target = facts["expected"], facts["target"]
    flops = study.flops or "6ND"
    ratio = runs["D"] / runs["N"]
    rows = [
        _row("rows used", "rows", study.n_used, note=f"of {study.n_rows}"),
        *(_row("rows left out", "rows", n, note=why) for why, n in study.left_out.items()),
        _range("N", "parameters", runs["N"], note=f"counting: {study.counting}"),
        _range("D", "tokens", runs["D"]),
        _range("D/N", "tokens/parameter", ratio),
        _range("C", "FLOP", spent, note=f"counted as {flops}"),
        _range("loss", "nats/token", runs["loss"]),
        _row("model sizes", "distinct N", runs["N"].nunique()),
        _row("token counts", "distinct D", runs["D"].nunique()),
        _row("isoFLOP lines", "budgets", facts["lines"]["lines"]),
        _row("isoFLOP lines with their lowest loss inside", "budgets", facts["lines"]["inside"]),
        _row("R² of log D on log N", "1", _r_squared(runs)),
        _row("replicates", "rows", study.n_replicates),
        _row("runs with several checkpoints", "runs", len(study.shared_trajectories)),
        _row("rows outside the usual window", "rows", _outside_window(runs)),
        _row("rows with repeated data", "rows", _repeated(runs)),
        _row("tokenizer", "", math.nan, note=study.tokenizer or "not said"),
        *([] if head_share is None else [_range("head/(body + head)", "1", head_share)]),
        *(_expected_row(name, one, target) for name, one in expected.items()),
        _row("decades above the largest run", "log10 FLOP", facts["decades"], note=f"{target:.4g}"),
    ]
    return pd.DataFrame(rows)


def _expected_row(name, expected, target):
    words = {
        "a": "expected sd of a (N* grows as C^a)",
        "log_ratio": f"expected sd of log D*/N* at {target:.3g} FLOP",
        "omega": "expected sd of omega",
    }
    note = f"{expected.ratio:.0%} of the prior's {expected.prior:.2g}"
    return _row(words[name], "1", expected.with_runs, note=note)


def _repeated(runs):
    return int((runs["D"] > runs["unique_tokens"]).sum()) if "unique_tokens" in runs else 0


def _row(name, unit, value, *, note=""):
    row = {"name": name, "unit": unit, "value": float(value)}
    return row | {"lower": math.nan, "upper": math.nan, "note": note}


def _range(name, unit, values, *, note=""):
    ends = {"lower": float(values.min()), "upper": float(values.max())}
    return _row(name, unit, values.median(), note=note) | ends
