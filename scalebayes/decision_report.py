"""What to train, what a rule costs and what serving changes, in numbers and words."""


import pandas as pd

from scalebayes.recommend import COMPUTE_TOLERANCE
from scalebayes.report import interval, interval_text, mark_of, number, summary_row
from scalebayes.text_table import text_table

_ASSUMED = {"law": "law exact", "discrepancy": "discrepancy"}
_RECOMMENDED = ("tokens_per_parameter", "N", "D")
_RATIOS = {"": "at it", "_of_median": "median ratio", "_of_rule": "rule"}
_RECOMMEND_LEGEND = (
    "recommended D/N: the ratio whose loss, expected over the posterior, is least; the median of\n"
    "D*/N* is not. excess: expected loss above that of the compute-optimal model, and the share of C\n"
    "that would have done for the same loss; at the recommended ratio, at the median of D*/N* and at\n"
    f"{{rule}} tokens per parameter. as good: ratios that waste at most {COMPUTE_TOLERANCE:.0%} of C more than the\n"
    "recommended one. decades outside: of C, above (+) or below (-) the study's own runs."
)
_RULE_LEGEND = (
    "Medians with 90% equal-tailed intervals. excess loss: above the compute-optimal model's at the\n"
    "same C. compute wasted: the share of C without which, spent well, the loss would be the same."
)
_SERVED_LEGEND = (
    "Medians with 90% equal-tailed intervals, if the law holds exactly. Serving costs a third of the\n"
    "training FLOP of a token, 2 per parameter. saved: of the total FLOP, against the model of the\n"
    "same loss that is optimal for training alone, served alike."
)
_CURVE_LEGEND = (
    "Medians with 90% equal-tailed intervals; N*, D* and the first D*/N* if the law holds exactly.\n"
    "recommended D/N: of least expected loss{assumed}. decades outside: of C, above (+)\n"
    "or below (-) the study's own runs."
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
                    "C (FLOP)": _budget(one["compute"]),
                    "decades outside": _decades(decades, index),
                    "assuming": _ASSUMED[str(assumption)],
                    "recommended D/N": number(float(one["tokens_per_parameter"]), 2),
                    "N": number(float(one["N"])),
                    "D": number(float(one["D"])),
                    f"excess (nats/token) at it / median / {rule:g}": _triple(losses, number),
                    f"excess (of C) at it / median / {rule:g}": _triple(wasted, _percent),
                    "as good": " to ".join(number(float(end), 2) for end in ends),
                }
            )
    head = f"What to train; {_counted(found)}"
    notes = _RECOMMEND_LEGEND.format(rule=f"{rule:g}")
    mark = mark_of(fit)("a")
    if mark:
        notes += f"\nThese ratios are {mark}: the runs themselves say little about them."
    return "\n\n".join([head, text_table(pd.DataFrame(table)), notes])


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
                        "C (FLOP)": _budget(one["compute"]),
                        "decades outside": _decades(decades, index),
                        "assuming": _ASSUMED[assumption],
                        "N (parameters)": number(float(one["N"])),
                        "D (tokens)": number(float(one["D"])),
                        "D/N": number(float(one["tokens_per_parameter"]), 2),
                        "excess loss (nats/token)": interval_text(one[f"regret{suffix}"], digits=2),
                        "compute wasted": _percents(one[f"compute_wasted{suffix}"]),
                    }
                )
    head = f"What {found.attrs['rule']} costs; {_counted(found)}"
    notes = _RULE_LEGEND
    mark = mark_of(fit)("a")
    if mark:
        notes += f"\nThe optimum that this compares with is {mark}."
    return "\n\n".join([head, text_table(pd.DataFrame(table)), notes])


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
    rows, mark = [], mark_of(fit)("a")
    for index in range(found.sizes["compute"]):
        one = found.isel(compute=index)
        at = _place(one, decades, index)
        at |= {name: found.attrs[name] for name in ("inference_tokens", "held")}
        for name in one.data_vars:
            marked = "" if name == "loss" else mark
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
            "C (FLOP)": _budget(one["compute"]),
            "decades outside": _decades(decades, index),
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
    head = f"Serving {tokens} tokens: {meant}; {_counted(found)}"
    notes = _SERVED_LEGEND
    mark = mark_of(fit)("a")
    if mark:
        notes += f"\nThese models are {mark}: the runs themselves say little about them."
    return "\n\n".join([head, text_table(pd.DataFrame(table)), notes])


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
            "C (FLOP)": _budget(one["compute"]),
            "decades outside": _decades(decades, index),
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
    mark = mark_of(fit)("a")
    if mark:
        notes += f"\nThese ratios are {mark}: the runs themselves say little about them."
    head = f"Over budgets; {_counted(best)}"
    return "\n\n".join([head, text_table(pd.DataFrame(table)), notes])


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


def _budget(compute):
    return f"{float(compute):.3g}".replace("e+", "e")


def _decades(decades, index):
    if decades is None:
        return "unknown"
    beyond = float(decades.isel(compute=index))
    return f"{beyond:+.1f}" if round(beyond, 1) else "0"


def _triple(values, as_text):
    return " / ".join(as_text(float(value), 2) for value in values)


def _percent(value, digits=2):
    return f"{number(100 * value, digits)}%"


def _percents(draws):
    lower, median, upper = interval(draws)
    return f"{_percent(median)} [{_percent(lower)}, {_percent(upper)}]"
