"""What to train, what a rule costs and what serving changes, in numbers and words."""

import textwrap

import pandas as pd

from scalebayes.formatting import budget_text, decades_text
from scalebayes.recommend import COMPUTE_TOLERANCE
from scalebayes.report import interval, interval_text, mark_of, number, summary_row
from scalebayes.text_table import text_table

_ASSUMED = {"law": "law exact", "discrepancy": "discrepancy"}
_RECOMMENDED = ("tokens_per_parameter", "N", "D")
_RATIOS = {"": "at it", "_of_median": "median ratio", "_of_rule": "rule"}
_LINE = 100  # letters
_RECOMMEND_LEGEND = (
    "best D/N: the recommended ratio, whose loss, expected over the posterior, is least; the "
    "median of D*/N* need not be. excess: the loss expected above the compute-optimal one; waste: "
    "the share of C that this is worth; at the best ratio, at the median of D*/N*, and at {rule} "
    "tokens per parameter. as good: ratios expected to waste at most {tolerance:.0%} of C more."
)
_RULE_LEGEND = (
    "Medians with 90% equal-tailed intervals. excess loss: above that of the compute-optimal "
    "model at the same C. compute wasted: the share of C that could be saved at the same loss, "
    "were the rest spent well."
)
_SERVED_LEGEND = (
    "Medians with 90% equal-tailed intervals, if the law holds exactly. Serving a token costs 2 "
    "FLOP per parameter, a third of training on it. saved: of training and serving together, "
    "against the model of the same loss that is optimal for training alone."
)
_CURVE_LEGEND = (
    "Medians with 90% equal-tailed intervals, if the law holds exactly unless said otherwise. "
    "recommended D/N: of least expected loss{assumed}."
)
_DECADES_LEGEND = (
    "decades outside: of C, above (+) or below (-) the study's own runs, counted likewise."
)


def recommendation_rows(found, decades, fit):
    """Return tidy rows of the recommended ratios and what they and others cost.

    Parameters
    ----------
    found : Dataset
        From `recommend.recommend`.
    decades : DataArray or None
        From `optimum.extrapolation_decades`.
    fit : DataTree

    Returns
    -------
    list of dict
        study, name, unit, value (one number: expectations and ends of ranges have no interval),
        mark, compute, extrapolation_decades, counting, flops and assumption.
    """
    rows = []
    for assumption in found["assumption"].to_numpy():
        for index in range(found.sizes["compute"]):
            one = found.sel(assumption=assumption).isel(compute=index)
            at = _place(one, decades, index) | {"assumption": str(assumption)}
            for name in one.data_vars:
                label = f"recommended_{name}" if name in _RECOMMENDED else name
                row = {"study": fit.attrs["study"], "name": label, "unit": _unit(name)}
                row |= {"value": float(one[name]), "mark": mark_of(fit)("a")}
                rows.append(row | at)
    return rows


def recommendation_text(found, decades, fit):
    """Return the recommended ratios as text; arguments as `recommendation_rows`."""
    rule, table = float(found["rule"].isel(assumption=0, compute=0)), []
    for index in range(found.sizes["compute"]):
        for assumption in found["assumption"].to_numpy():
            one = found.sel(assumption=assumption).isel(compute=index)
            ends = (one[f"{end}_within_compute"] for end in ("lowest", "highest"))
            losses = (one[f"expected_regret{which}"] for which in _RATIOS)
            wasted = (one[f"expected_wasted{which}"] for which in _RATIOS)
            table.append(
                {
                    "C (FLOP)": budget_text(one["compute"]),
                    "decades outside": decades_text(decades, index),
                    "assuming": _ASSUMED[str(assumption)],
                    "best D/N": number(float(one["tokens_per_parameter"]), 2),
                    "N": number(float(one["N"])),
                    "D": number(float(one["D"])),
                    f"excess (nats/token) at it / median / {rule:g}": _triple(losses, number),
                    f"waste (of C) at it / median / {rule:g}": _triple(wasted, _percent),
                    "as good": " to ".join(number(float(end), 2) for end in ends),
                }
            )
    notes = _RECOMMEND_LEGEND.format(rule=f"{rule:g}", tolerance=COMPUTE_TOLERANCE)
    return _block(f"What to train; {_counted(found)}", table, notes, fit)


def regret_rows(found, decades, fit):
    """Return tidy rows of what a rule or a plan costs, a row per quantity and budget.

    Parameters
    ----------
    found : Dataset
        From `regret.regret`.
    decades : DataArray or None
    fit : DataTree

    Returns
    -------
    list of dict
        As `formatting.optimal_rows`, and rule, N (parameters) and D (tokens) of it.
    """
    rows, mark = [], mark_of(fit)("a")
    for index in range(found.sizes["compute"]):
        one = found.isel(compute=index)
        at = _place(one, decades, index) | {"rule": found.attrs["rule"]}
        at |= {"N": float(one["N"]), "D": float(one["D"])}
        for name in (name for name in one.data_vars if name.startswith(("regret", "compute_wa"))):
            unit = one[name].attrs["units"]
            rows.append(summary_row(fit.attrs["study"], name, unit, one[name], mark=mark) | at)
    return rows


def regret_text(found, decades, fit):
    """Return what a rule or a plan costs as text; arguments as `regret_rows`."""
    table = []
    for index in range(found.sizes["compute"]):
        one = found.isel(compute=index)
        for assumption, suffix in (("law", ""), ("discrepancy", "_with_discrepancy")):
            if f"regret{suffix}" in one:
                table.append(
                    {
                        "C (FLOP)": budget_text(one["compute"]),
                        "decades outside": decades_text(decades, index),
                        "assuming": _ASSUMED[assumption],
                        "N (parameters)": number(float(one["N"])),
                        "D (tokens)": number(float(one["D"])),
                        "D/N": number(float(one["tokens_per_parameter"]), 2),
                        "excess loss (nats/token)": interval_text(one[f"regret{suffix}"], digits=2),
                        "compute wasted": _percents(one[f"compute_wasted{suffix}"]),
                    }
                )
    head = f"What {found.attrs['rule']} costs; {_counted(found)}"
    return _block(head, table, _RULE_LEGEND, fit)


def served_rows(found, decades, fit):
    """Return tidy rows of models that are served too.

    Parameters
    ----------
    found : Dataset
        From `inference_optimum.inference_optimal`.
    decades : DataArray or None
    fit : DataTree

    Returns
    -------
    list of dict
        As `formatting.optimal_rows`, names ending in _with_inference, and inference_tokens and held
        (what the budget fixes: "loss" or "total").
    """
    rows, mark = [], mark_of(fit)
    for index in range(found.sizes["compute"]):
        one = found.isel(compute=index)
        at = _place(one, decades, index)
        at |= {name: found.attrs[name] for name in ("inference_tokens", "held")}
        for name in one.data_vars:
            marked = mark("loss" if name == "loss" else "a")
            label, unit = f"{name}_with_inference", one[name].attrs["units"]
            rows.append(summary_row(fit.attrs["study"], label, unit, one[name], mark=marked) | at)
    return rows


def served_text(found, decades, fit):
    """Return models that are served too as text; arguments as `served_rows`."""
    whole = found.attrs["held"] == "total"
    table = []
    for index in range(found.sizes["compute"]):
        one = found.isel(compute=index)
        row = {
            "C (FLOP)": budget_text(one["compute"]),
            "decades outside": decades_text(decades, index),
            "N (parameters)": interval_text(one["N"]),
            "D (tokens)": interval_text(one["D"]),
            "D/N": interval_text(one["tokens_per_parameter"], digits=2),
        }
        if whole:
            row["loss (nats/token)"] = interval_text(one["loss"])
        else:
            row["total FLOP"] = interval_text(one["total_compute"])
        table.append(row | {"saved": _percents(one["saved"])})
    tokens = number(found.attrs["inference_tokens"])
    meant = (
        "least loss if C pays for training and serving"
        if whole
        else "least total FLOP at the loss of C spent on training alone"
    )
    head = f"Serving {tokens} tokens, {_counted(found)}:\n{meant}"
    return _block(head, table, _SERVED_LEGEND, fit)


def curve_text(best, found, decades, fit):
    """Return optima over a range of budgets as text, a short row each.

    Parameters
    ----------
    best : Dataset
        From `optimum.optimal`, or with discrepancy from `discrepant_optimum.with_discrepancy`.
    found : Dataset or None
        From `recommend.recommend` at the same budgets.
    decades : DataArray or None
    fit : DataTree
    """
    table = []
    for index in range(best.sizes["compute"]):
        one = best.isel(compute=index)
        row = {
            "C (FLOP)": budget_text(one["compute"]),
            "decades outside": decades_text(decades, index),
            "N* (parameters)": interval_text(one["N"]),
            "D* (tokens)": interval_text(one["D"]),
            "D*/N*": interval_text(one["tokens_per_parameter"], digits=2),
        }
        if "tokens_per_parameter_with_discrepancy" in one:
            ratio = one["tokens_per_parameter_with_discrepancy"]
            row["D*/N* with discrepancy"] = interval_text(ratio, digits=2)
        if found is not None:
            ratio = found["tokens_per_parameter"].isel(assumption=-1, compute=index)
            row["recommended D/N"] = number(float(ratio), 2)
        table.append(row)
    missed = found is not None and "discrepancy" in found["assumption"]
    assumed = ", discrepancy included" if missed else ""
    notes = _CURVE_LEGEND.format(assumed=assumed)
    return _block(f"Over budgets; {_counted(best)}", table, notes, fit)


def _block(head, table, legend, fit):
    """Return a title, a table and its legend; it says what keeps the optima from being findings."""
    notes = ["\n".join(textwrap.wrap(legend, _LINE)), _DECADES_LEGEND]
    if mark := mark_of(fit)("a"):
        notes.append(f"The optimum behind these numbers is {mark}: no finding of the runs.")
    return "\n\n".join([head, text_table(pd.DataFrame(table)), "\n".join(notes)])


def _place(one, decades, index):
    """Return the entries of a row that say where it holds."""
    beyond = None if decades is None else float(decades.isel(compute=index))
    at = {"compute": float(one["compute"]), "extrapolation_decades": beyond}
    return at | {name: one.attrs[name] for name in ("counting", "flops")}


def _unit(name):
    if name.startswith("expected_regret"):
        return "nats/token"
    if name.startswith("expected_wasted") or name == "log_ratio_error":
        return "1"
    return {"N": "parameters", "D": "tokens"}.get(name, "tokens/parameter")


def _counted(found):
    return f"N counted as {found.attrs['counting']}, C as {found.attrs['flops']}"


def _triple(values, as_text):
    return " / ".join(as_text(float(value), 2) for value in values)


def _percent(value, digits=2):
    """Return a share as text in per cent; below .005% as "<.01%"."""
    return "<.01%" if 0 < value < 5e-5 else f"{number(100 * value, digits)}%"


def _percents(draws):
    lower, median, upper = interval(draws)
    return f"{_percent(median)} [{_percent(lower)}, {_percent(upper)}]"
