"""Results -> what the commands print: tables for people, tidy rows for programs."""

import json

import numpy as np
import pandas as pd

from scalebayes.codes import UNLIKELY_LOSS, coded_design_warning
from scalebayes.counting import Architecture
from scalebayes.diagnostics import diagnose
from scalebayes.report import interval_text, mark_of, number, share, summary_row
from scalebayes.text_table import text_table

LAW_UNITS = {
    "E": "nats/token",
    "A": "nats/token",
    "B": "nats/token",
    "K": "nats/token",
    "n0": "log parameters",
    "alpha": "1",
    "beta": "1",
    "a": "1",
    "gamma": "1",
    "sigma": "1 (log loss)",
    "eta": "1",
    "tau": "1 (log loss)",
    "kappa": "1",
    "nu": "1",
    "omega": "vocabulary matrices",
}
"""Quantities of a fit, in the order shown. A and B are what one parameter, one token leaves; K and
n0 belong to the compute-optimal model at a budget C0 of the study."""

OPTIMUM_UNITS = {
    "N": "parameters",
    "D": "tokens",
    "tokens_per_parameter": "tokens/parameter",
    "exponent": "1",
    "loss": "nats/token",
}

_CLASSICAL = ("E", "A", "B", "alpha", "beta", "a")
_CONVENTION_NAMES = {"body": "body (Kaplan)", "body+head": "body+head (Porian)"}
_CONVENTIONS_LEGEND = (
    "One FLOP number, counted three ways: three different budgets, so three different questions.\n"
    "N* differs because N and C are counted differently; the law is the same.\n"
    "total: N with every vocabulary matrix stored, C = 6ND with that N (6ND). body (Kaplan): N\n"
    "and C without vocabulary matrices (6ND:body). body+head (Porian): with one (6ND:body+head)."
)
_LEGEND = (
    "Medians with 90% equal-tailed intervals. a = beta/(alpha + beta): N* grows as C^a\n"
    "in the law's own count."
)
_ISOFLOP_LEGEND = (
    "Medians with 90% equal-tailed intervals. N* grows as C^a, its loss less E falls as C^-gamma,\n"
    "C = 6ND in the law's own count. alpha and beta: how steeply the loss rises below and above N*."
)
_IF_EXACT = "Medians with 90% equal-tailed intervals, if the law holds exactly."
_OPTIMUM_LEGEND = (
    f"{_IF_EXACT}\n"
    "decades outside: of C, above (+) or below (-) the study's own runs, counted likewise."
)
_PRIOR_LEGEND = (
    "mostly prior: the posterior's standard deviation is more than half of the prior's;\n"
    "the runs say little about it."
)
_LITERATURE_LEGEND = (
    "mostly literature: the posterior's standard deviation is more than half of the one that the\n"
    "published studies alone lead one to expect; these runs add little."
)


def verdict(fit):
    """Return whether a fit can be trusted, in one line; it goes first in every output."""
    if fit.attrs["converged"]:
        alone = fit.attrs.get("problems_alone")
        return f"Converged; but ALONE NOT CONVERGED: {alone}" if alone else "Converged."
    return f"NOT CONVERGED, do not use these numbers: {fit.attrs['problems']}"


def fit_rows(fit):
    """Return tidy rows of a fit's quantities, median and 90% equal-tailed interval.

    Parameters
    ----------
    fit : DataTree

    Returns
    -------
    list of dict
        study, name, unit, median, lower, upper, ci_prob, ci_kind, mark.
    """
    posterior, mark = fit["posterior"], mark_of(fit)
    return [
        summary_row(fit.attrs["study"], name, unit, posterior[name], mark=mark(name))
        for name, unit in LAW_UNITS.items()
        if name in posterior and _varies(posterior[name])
    ]


def fit_text(fit, *, classical=None):
    """Return a fit as text: rows used, quantities, evidence and what qualifies them.

    Parameters
    ----------
    fit : DataTree
    classical : ClassicalFit, optional
        A point fit of the same runs, shown in a column of its own.

    Returns
    -------
    str
    """
    rows = fit_rows(fit)
    attrs = fit.attrs
    blocks = [
        f"{attrs['study']} under {attrs['hypothesis_name']} (N counted as: {attrs['counting']})",
        f"{attrs['rows_note']}.",
        f"{diagnostics_text(fit)}",
        text_table(pd.DataFrame([_row_text(row, classical) for row in rows])),
        f"log evidence {_evidence_text(attrs['log_evidence'], attrs['log_evidence_se'])} nats"
        + (", given the published studies" if attrs.get("literature") else ""),
        *([_omega_table(fit["evidence"].to_dataset())] if "evidence" in fit else []),
        "\n".join([*law_legend(fit), *_classical_notes(classical), *_notes(fit, rows)]),
    ]
    return "\n\n".join(["\n".join(blocks[:3]), *blocks[3:]])


def optimal_rows(best, decades, fit):
    """Return tidy rows of the compute-optimal models at each budget.

    Parameters
    ----------
    best : Dataset
        As `optimum.optimal` returns it.
    decades : DataArray or None
        As `optimum.extrapolation_decades` returns it.
    fit : DataTree
        The fit that both came from.

    Returns
    -------
    list of dict
        As `fit_rows`, and compute (FLOP), counting, flops, extrapolation_decades (None if unknown).
    """
    mark = mark_of(fit)
    rows = []
    for index, compute in enumerate(best["compute"].values):
        beyond = None if decades is None else float(decades.isel(compute=index))
        at = {"compute": float(compute), "extrapolation_decades": beyond}
        at |= {name: best.attrs[name] for name in ("counting", "flops")}
        for name, unit in OPTIMUM_UNITS.items():
            draws = best[name].isel(compute=index)
            marked = mark("loss" if name == "loss" else "a")
            rows.append(summary_row(fit.attrs["study"], name, unit, draws, mark=marked) | at)
    return rows


def optimal_text(best, decades, fit):
    """Return the compute-optimal models as text, a row per budget; arguments as `optimal_rows`."""
    table = [_optimum_row(best, decades, index) for index in range(best.sizes["compute"])]
    head = (
        f"{fit.attrs['study']} under {fit.attrs['hypothesis_name']}; "
        f"N counted as {best.attrs['counting']}, C as {best.attrs['flops']}"
    )
    notes = [_OPTIMUM_LEGEND]
    if not fit.attrs.get("architecture") and not best.attrs["architecture"]:
        notes.append("For other countings give the shape of the models: --architecture.")
    notes += _exponent_notes(fit)
    return "\n\n".join([head, text_table(pd.DataFrame(table)), "\n".join(notes)])


def conventions_text(answers, fit):
    """Return compute-optimal models in several conventions as text, side by side per budget.

    Parameters
    ----------
    answers : list of (Dataset, DataArray or None)
        As `report.optimal_conventions` returns them.
    fit : DataTree

    Returns
    -------
    str
    """
    first = answers[0][0]
    table = [
        _convention_row(best, decades, index)
        for index in range(first.sizes["compute"])
        for best, decades in answers
    ]
    head = f"{fit.attrs['study']} under {fit.attrs['hypothesis_name']}"
    family = _family_text(first.attrs["architecture"], fit)
    notes = [_CONVENTIONS_LEGEND, _OPTIMUM_LEGEND]
    notes += _exponent_notes(fit)
    return "\n\n".join([f"{head}\n{family}", text_table(pd.DataFrame(table)), "\n".join(notes)])


def _exponent_notes(fit):
    mark = mark_of(fit)("a")
    legends = {"mostly prior": _PRIOR_LEGEND, "mostly literature": _LITERATURE_LEGEND}
    return [f"The exponent is {legend}" for said, legend in legends.items() if said in mark]


def _convention_row(best, decades, index):
    counting = best.attrs["counting"]
    row = _optimum_row(best, decades, index)
    del row["loss (nats/token)"]  # no room on a line, and of no use to compare counts
    return {"N and C counted": _CONVENTION_NAMES.get(counting, counting)} | row


def _optimum_row(best, decades, index):
    one = best.isel(compute=index)
    return {
        "C (FLOP)": budget_text(one["compute"]),
        "N* (parameters)": interval_text(one["N"]),
        "D* (tokens)": interval_text(one["D"]),
        "D*/N*": interval_text(one["tokens_per_parameter"], digits=2),
        "exponent of N*": interval_text(one["exponent"], digits=2),
        "loss (nats/token)": interval_text(one["loss"]),
        "decades outside": decades_text(decades, index),
    }


def _family_text(text, fit):
    """Return the shape of the models that an optimum is about, and whether it is the study's."""
    family = Architecture.from_json(text)
    own = "the study's own shape" if text == fit.attrs.get("architecture") else "the shape given"
    tied = "tied" if family.tied else "untied"
    tied += ", so that total is body+head" * (family.stored_matrices == 1)
    return (
        f"Models of {own}: aspect ratio {family.aspect_ratio:.3g}, vocabulary "
        f"{family.vocab_size:.0f}, {tied}."
    )


def prediction_rows(draws, fit):
    """Return tidy rows of predicted losses: of the law, and of a new run with its noise.

    Parameters
    ----------
    draws : Dataset
        As `predict.predict` returns it.
    fit : DataTree

    Returns
    -------
    list of dict
        As `fit_rows`, and point (row of the table, from 0), D (tokens), domain.
    """
    mark = mark_of(fit)("loss")
    rows = []
    for index in range(draws.sizes["point"]):
        one = draws.isel(point=index)
        at = {"point": index, "D": float(one["D"]), "domain": str(one["domain"].values)}
        for name in ("loss", "loss_new"):
            row = summary_row(fit.attrs["study"], name, "nats/token", one[name], mark=mark)
            rows.append(row | at)
    return rows


def prediction_text(draws, fit):
    """Return predicted losses as text, one row per point; arguments as `prediction_rows`."""
    table = []
    for index in range(draws.sizes["point"]):
        one = draws.isel(point=index)
        table.append(
            {
                "row": str(index + 1),
                "D (tokens)": number(float(one["D"])),
                "loss of the law": interval_text(one["loss"], digits=4),
                "loss of a new run": interval_text(one["loss_new"], digits=4),
                "domain": str(one["domain"].values),
            }
        )
    head = f"{fit.attrs['study']} under {fit.attrs['hypothesis_name']}, nats per token"
    return "\n\n".join([head, text_table(pd.DataFrame(table)), _IF_EXACT])


def frame_text(frame):
    """Return a DataFrame as a plain table, its named index first."""
    frame = frame.reset_index() if frame.index.name else frame
    return text_table(frame.astype(str))


def budget_text(compute):
    """Return a budget in FLOP as text: three digits, 1e21 for 1e+21."""
    return f"{float(compute):.3g}".replace("e+", "e")


def decades_text(decades, index):
    """Return decades outside the data at one of several budgets as text: +1.9, 0, unknown."""
    if decades is None:
        return "unknown"
    beyond = float(decades.isel(compute=index))
    return f"{beyond:+.1f}" if round(beyond, 1) else "0"


def _row_text(row, classical):
    point = classical is not None and row["name"] in _CLASSICAL
    label = "" if classical is None else f" (N: {classical.counting})"
    return {
        "quantity": row["name"],
        "median": number(row["median"]),
        "90% interval": f"[{number(row['lower'])}, {number(row['upper'])}]",
        "unit": "" if row["unit"] == "1" else row["unit"],
        f"classical{label}": number(getattr(classical, row["name"])) if point else "",
        "note": row["mark"],
    }


def law_legend(fit):
    """Return what the quantities of a fit's law mean, in lines."""
    legend = _ISOFLOP_LEGEND if fit.attrs["law"] == "isoflop" else _LEGEND
    if "C0" not in fit.attrs:
        return [legend]
    n0, ratio = fit["posterior"]["n0"], np.exp(fit["posterior"]["log_ratio"])
    return [
        legend,
        f"K and n0 (log N*) are those at C0 = {number(fit.attrs['C0'])} FLOP, the middle budget,\n"
        f"where N* is {interval_text(np.exp(n0))} parameters, D*/N* {interval_text(ratio)}.",
    ]


def _design_warnings(attrs):
    """Return the warnings of a fit's study, as they are in its record or in its attrs."""
    recorded = json.loads(attrs["study_record"]).get("design_warnings")
    return recorded or [text for text in (attrs.get("design_warnings"),) if text]


def _notes(fit, rows):
    attrs = fit.attrs
    assumed = json.loads(attrs["study_record"]).get("assumed") or []
    unlikely = [text for text in assumed if text.startswith(UNLIKELY_LOSS)]
    assumed = [text for text in assumed if text not in unlikely]
    return [
        *([_omega_note(attrs.get("omega_decided"))] if "evidence" in fit else []),
        *([_PRIOR_LEGEND] if any("mostly prior" in row["mark"] for row in rows) else []),
        *([_LITERATURE_LEGEND] if any("mostly lit" in row["mark"] for row in rows) else []),
        *(f"Warning: {coded_design_warning(text)}." for text in _design_warnings(attrs)),
        *(f"Warning: {text}." for text in unlikely),
        *(f"Note: {text}." for text in ("; ".join(assumed), attrs.get("run_effect")) if text),
    ]


def _classical_notes(classical):
    """Return what the column of the point fit means, and whether its search ended at a limit."""
    if classical is None:
        return []
    said = (
        f"classical: not a posterior, but the point fit that papers report (Huber loss, delta\n"
        f"{classical.delta:g}, of log loss) of the same {classical.n} runs, N counted as "
        f"{classical.counting}; it has no interval."
    )
    limits = ", ".join(classical.at_limit)
    at_limit = f"The classical fit ended at the limit of its search in {limits}: no optimum there."
    return [said, at_limit] if limits else [said]


def _omega_note(decided):
    said = f"omega is decided: {decided}." if decided else "omega is not decided."
    return (
        f"{said} The other rows mix laws whose N counts different things;\n"
        "for one count, see: scalebayes optimal FIT -C ... --counting total --architecture study"
    )


def diagnostics_text(fit):
    """Return the worst convergence measures of a fit, in words."""
    if fit.attrs.get("literature"):
        n = len(json.loads(fit.attrs["literature"]))
        return f"Drawn within the population of {n} published studies."
    if "evidence" in fit:
        cells = fit["evidence"].to_dataset()
        r_hat, ess = cells["r_hat"].max(), cells["ess_bulk"].min()
        return f"Worst R-hat {float(r_hat):.3f}, least bulk ESS {float(ess):.0f} over the grid."
    posterior, stats = fit["posterior"], fit["sample_stats"]
    varying = {name: x.values for name, x in posterior.data_vars.items() if _varies(x)}
    worst = diagnose(varying, {name: stats[name].values for name in ("diverging", "energy")})
    return (
        f"Worst R-hat {worst.r_hat:.3f}, least ESS {worst.ess_bulk:.0f} (bulk) and "
        f"{worst.ess_tail:.0f} (tail), {worst.divergences} divergences."
    )


def _varies(draws):
    return float(draws.max()) > float(draws.min())


def _omega_table(evidence):
    table = []
    for omega in evidence["omega"].values:
        cell = evidence.sel(omega=omega)
        row = {
            "omega": f"{omega:g}",
            "log evidence": _evidence_text(cell["log_evidence"], cell["log_evidence_se"]),
            "weight": share(float(cell["weight"])),
        }
        if "weight_default" in evidence:
            row["weight, default priors"] = share(float(cell["weight_default"]))
        table.append(row | {"status": str(cell["status"].values)})
    return text_table(pd.DataFrame(table))


def _evidence_text(log_evidence, se):
    return f"{float(log_evidence):.2f} ± {float(se):.2f}"
