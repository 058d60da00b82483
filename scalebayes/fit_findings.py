"""A fit -> what a report of it says: warnings, optima at a few budgets, sentences."""

import json
from dataclasses import dataclass

import pandas as pd
import xarray as xr

from scalebayes.codes import UNLIKELY_LOSS
from scalebayes.discrepancy_report import discrepant_rows
from scalebayes.discrepant_optimum import with_discrepancy, with_ratio_literature
from scalebayes.formatting import fit_rows, optimal_rows
from scalebayes.hypotheses import LATENT
from scalebayes.law_views import common_counting
from scalebayes.literature import place_sentence
from scalebayes.literature_report import literature_rows, with_its_own
from scalebayes.optimum import CHINCHILLA_COMPUTE, compute_range, extrapolation_decades, optimal
from scalebayes.population_trees import MAX_STUDY_MISFIT
from scalebayes.report import interval_text, mark_of, number

INTERVALS = "medians with 90% equal-tailed intervals"

_COLUMNS = {"D*/N*": "tokens_per_parameter", "N*": "N", "D*": "D", "loss": "loss"}
_HOW = {"law exact": "", "with discrepancy": "_with_discrepancy"}
_SAME = 1.02  # ratio of budgets that are not told apart
_NO_SHAPES = (
    "No optimum is given: the count of parameters is latent and the shapes of the models are not "
    "known; say them with --architecture (architecture= in Python)."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """The compute-optimal models of one posterior.

    Parameters
    ----------
    label : str
        "", or whose posterior: "With literature", "Alone".
    fit : DataTree
    best : Dataset
        From `optimum.optimal`, with the discrepancy where the law has one.
    decades : DataArray or None
        From `optimum.extrapolation_decades`.
    published : Dataset or None
        From `discrepant_optimum.with_ratio_literature`.
    names : dict of float to str
        What a budget is, in words.
    """

    label: str
    fit: xr.DataTree
    best: xr.Dataset
    decades: xr.DataArray | None
    published: xr.Dataset | None
    names: dict[float, str]


def answers_of(fit, *, counting=None, architecture=None, random_seed=1):
    """Return the `Answer`s of a fit at the report's budgets: two of a fit with literature.

    The budgets are the largest of the runs, ten and a hundred times it, and Chinchilla's.

    Parameters
    ----------
    fit : DataTree
    counting, architecture
        As in `optimum.optimal`; without them as `law_views.common_counting` says.
    random_seed : int
        Of the discrepancy.

    Returns
    -------
    list of Answer
        Empty where the count is latent, no shapes are known and none are given.
    """
    own = counting is None and architecture is None
    asked = common_counting(fit) if own else {"counting": counting, "architecture": architecture}
    if own and not asked and fit.attrs["counting"] == LATENT:
        return []
    names = budget_names(fit, asked)
    return [
        _answer(label, one, names, asked, random_seed) for label, one in with_its_own(fit).items()
    ]


def budget_names(fit, asked):
    """Return the report's budgets in FLOP, in order, with what each is in words."""
    limits = compute_range(fit, **asked)
    names = {}
    if limits is not None:
        largest = float(f"{limits[1]:.3g}")
        names = {largest: "largest of the runs"}
        names |= {10 * largest: "10 times that", 100 * largest: "100 times that"}
    if not any(1 / _SAME < one / CHINCHILLA_COMPUTE < _SAME for one in names):
        names[CHINCHILLA_COMPUTE] = "Chinchilla's"
    return dict(sorted(names.items()))


def optimum_table(answers):
    """Return the optima of answers as a table of texts, a row per posterior and budget."""
    rows = []
    for answer in answers:
        for index, compute in enumerate(answer.best["compute"].to_numpy()):
            rows.append(_optimum_row(answer, index, float(compute)))
    table = pd.DataFrame(rows)
    return table.loc[:, (table != "").any()]


def headline(fit, answers, *, last=False):
    """Return what a fit comes to, in sentences that give every number its interval.

    Parameters
    ----------
    fit : DataTree
    answers : list of Answer
    last : bool
        Whether to tell of Chinchilla's budget alone, or of the largest where it is not among them.

    Returns
    -------
    list of str
    """
    if not answers:
        return [_NO_SHAPES]
    said = [
        _ratio_sentence(answer, index, float(compute))
        for answer in answers
        for index, compute in enumerate(answer.best["compute"].to_numpy())
        if not last or compute == _last(answer.names)
    ]
    first = answers[0].best.attrs
    counted = f"N is counted as {first['counting']}, C as {first['flops']}"
    place = [place_sentence(fit)] if fit.attrs.get("literature") else []
    return [f"All {INTERVALS}; {counted}.", *said, *_exponent_sentences(fit), *place]


def warnings_of(fit, answers=()):
    """Return what keeps a fit's numbers from being findings, in lines, the gravest first.

    Parameters
    ----------
    fit : DataTree
    answers : sequence of Answer

    Returns
    -------
    list of str
    """
    attrs = fit.attrs
    said = [] if attrs["converged"] else [f"NOT CONVERGED, do not use: {attrs['problems']}"]
    if attrs.get("problems_alone"):
        said.append(f"ALONE NOT CONVERGED: {attrs['problems_alone']}")
    if attrs.get("literature") and attrs["literature_place"] < MAX_STUDY_MISFIT:
        said.append("Outside the population of the published studies: prefer the fit alone")
    still = json.loads(attrs.get("still_prior", "{}"))
    if still:
        said.append(_still_text(fit, still))
    if attrs.get("design_warnings"):
        said.append(f"Design of the runs: {attrs['design_warnings']}")
    if "not separable" in attrs.get("run_effect", "") or "far above" in attrs.get("run_effect", ""):
        said.append(f"Run effect: {attrs['run_effect']}")
    if attrs.get("run_effect") == "checkpoints treated as independent":
        said.append("Checkpoints of one training run are treated as independent runs")
    assumed = json.loads(attrs["study_record"]).get("assumed") or []
    said += [
        text if text.startswith(UNLIKELY_LOSS) else f"Taken for granted: {text}" for text in assumed
    ]
    unsolved = [one for one in answers if bool(one.best["N"].isnull().any())]
    for one in unsolved:
        share = float(one.best["N"].isnull().any("compute").mean())
        said.append(f"No finite optimum in {share:.1%} of the draws, at some budget")
    return said


def quantity_table(fit):
    """Return the quantities of a fit as a table of texts."""
    table = pd.DataFrame(
        [
            {
                "quantity": row["name"],
                "median": number(row["median"]),
                "90% interval": f"[{number(row['lower'])}, {number(row['upper'])}]",
                "unit": "" if row["unit"] == "1" else row["unit"],
                "note": row["mark"],
            }
            for row in fit_rows(fit)
        ]
    )
    return table.loc[:, (table != "").any()]


def literature_table(fit):
    """Return how much of each quantity is the literature's, as a table of texts.

    Parameters
    ----------
    fit : DataTree
        With literature.
    """
    measures = {
        "sd ratio to alone": "sd_ratio",
        "sd ratio to literature": "prior_ratio",
        "sensitivity to literature": "sensitivity_literature",
        "sensitivity to these runs": "sensitivity_runs",
    }
    rows = [row for row in literature_rows(fit) if row["posterior"] != "alone"]
    known = [row for row in rows if row["sd_ratio"] is not None]
    return pd.DataFrame(
        [
            {"quantity": row["name"]}
            | {
                label: "" if row[name] is None else f"{row[name]:.2f}"
                for label, name in measures.items()
            }
            for row in known
        ]
    )


def report_rows(fit, answers):
    """Return tidy rows of everything a report says in numbers, as the commands print them."""
    rows = fit_rows(fit)
    for answer in answers:
        some = optimal_rows(answer.best, answer.decades, answer.fit)
        if "decades_outside" in answer.best.coords:
            some += discrepant_rows(answer.best, answer.fit, answer.published)
        rows += [row | {"posterior": answer.label} if answer.label else row for row in some]
    return rows


def _last(names):
    return CHINCHILLA_COMPUTE if CHINCHILLA_COMPUTE in names else max(names)


def _answer(label, fit, names, asked, random_seed):
    compute = list(names)
    best, published = optimal(fit, compute, **asked), None
    if fit.attrs["law"] != "isoflop":
        published = with_ratio_literature(fit, best, random_seed=random_seed)
        best = with_discrepancy(fit, best, random_seed=random_seed)
    decades = extrapolation_decades(fit, compute, **asked)
    parts = {"best": best, "decades": decades, "published": published, "names": names}
    return Answer(label=label, fit=fit, **parts)


def _optimum_row(answer, index, compute):
    one = answer.best.isel(compute=index)
    beyond = None if answer.decades is None else float(answer.decades[index])
    row = {"posterior": answer.label, "C (FLOP)": number(compute)}
    row["budget"] = answer.names[compute]
    row["decades outside"] = _decades_text(beyond)
    row |= {
        f"{label}, {how}": _text(one, f"{name}{suffix}")
        for label, name in _COLUMNS.items()
        for how, suffix in _HOW.items()
    }
    row["D*/N*, with published ratios"] = ""
    if answer.published is not None:
        known = answer.published.isel(compute=index)
        row["D*/N*, with published ratios"] = _text(known, "tokens_per_parameter_with_literature")
    return row | {"note": mark_of(answer.fit)("a")}


def _decades_text(beyond):
    if beyond is None:
        return "unknown"
    return f"{beyond:+.1f}" if round(beyond, 1) else "0"


def _text(dataset, name):
    if name not in dataset:
        return ""
    digits = 2 if "per_parameter" in name else 3
    draws = dataset[name]
    if bool(draws.isnull().any()):
        return "no finite optimum in some draws"
    return interval_text(draws, digits=digits)


def _ratio_sentence(answer, index, compute):
    one = answer.best.isel(compute=index)
    where = f"At {number(compute)} FLOP ({answer.names[compute]})"
    whose = f"{answer.label}: " if answer.label else ""
    said = f"{whose}{where}: D*/N* {_text(one, 'tokens_per_parameter')} if the law holds exactly"
    wide = _text(one, "tokens_per_parameter_with_discrepancy")
    said += f", {wide} with discrepancy" if wide else ""
    if answer.published is not None:
        known = answer.published.isel(compute=index)
        ratio = _text(known, "tokens_per_parameter_with_literature")
        said += f", {ratio} with the published ratios too"
    said += f"; N* {_text(one, 'N')} parameters, D* {_text(one, 'D')} tokens (law exact)"
    mark = mark_of(answer.fit)("a")
    return f"{said} [{mark}]." if mark else f"{said}."


def _exponent_sentences(fit):
    if "a" not in fit["posterior"]:
        return []
    mark = mark_of(fit)("a")
    said = f"N* grows as C^a in the law's own count, a = {interval_text(fit['posterior']['a'])}"
    return [f"{said} [{mark}]." if mark else f"{said}."]


def _still_text(fit, still):
    pooled = ("alpha", "beta", "a") if fit.attrs.get("literature") else ()
    parts = []
    for source, names in (
        ("prior", [name for name in still if name not in pooled]),
        ("literature", [name for name in still if name in pooled]),
    ):
        if names:
            ratios = ", ".join(f"{name} (sd ratio {still[name]:.2f})" for name in sorted(names))
            parts.append(f"Mostly {source}, not a finding of these runs: {ratios}")
    return "; ".join(parts)
