"""How forecasts did, as tables and a figure."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scalebayes.forecast import (
    BOOTSTRAP,
    DISCREPANCY,
    LAW,
    LITERATURE,
    METHODS,
    POPULATION,
    TWENTY,
    summary,
)

LEGEND = (
    "Averages over the cuts of a study, then over studies. Each study was fitted below 50% and "
    "below 65% of its log range of compute and scored on its runs above. Losses: log score (nats "
    "a run, higher is better), CRPS (of log loss, lower is better), share of runs inside 50% and "
    "90% equal-tailed intervals, and the lowest such share of a study. Optimum: interval score of "
    "90% intervals of log N* (lower is better), their coverage and width, against the lowest point "
    "of an isoFLOP curve read off the runs without a law. Discrepancy and literature were learned "
    "without the study that is judged, the literature without its whole group."
)
FEW_LEGEND = (
    "Averages over random draws of runs, then over studies: interval score of 90% intervals of log "
    "D*/N* at the largest budget at which a study's optimum can be measured, their coverage and "
    "width. Literature: exponents pooled with the other studies, and their D*/N* as a prior."
)

_COLOURS = {
    LAW: "#0072b2",
    DISCREPANCY: "#d55e00",
    LITERATURE: "#009e73",
    BOOTSTRAP: "#56b4e9",
    TWENTY: "#7f7f7f",
    POPULATION: "#cc79a7",
}
_COLUMNS = {
    "log_score": "log score",
    "crps": "CRPS",
    "coverage_50": "50% holds",
    "coverage_90": "90% holds",
    "lowest_coverage_90": "lowest",
    "optimum_score": "N* score",
    "optimum_coverage": "N* holds",
    "optimum_width": "N* width",
}
_PERCENT = ("coverage_50", "coverage_90", "lowest_coverage_90", "optimum_coverage")


def forecast_table(result):
    """Return `forecast.summary` as texts, a row per method.

    Parameters
    ----------
    result : Forecast
    """
    table = summary(result)
    shown = {"forecast": list(table.index)}
    for name, label in _COLUMNS.items():
        shown[label] = [_cell(value, name in _PERCENT, name == "crps") for value in table[name]]
    return pd.DataFrame(shown)


def few_runs_summary(rows):
    """Return score, coverage and width of each method by number of runs, averaged over studies.

    Parameters
    ----------
    rows : DataFrame
        From `forecast_subsamples.subsample_scores`.

    Returns
    -------
    DataFrame
        Over (n, method): score, covered, width, studies.
    """
    rows = rows.assign(width=rows["upper"] - rows["lower"])
    of_study = rows.groupby(["n", "method", "study"])[["score", "covered", "width"]].mean()
    mean = of_study.groupby(["n", "method"]).mean()
    mean["studies"] = of_study.groupby(["n", "method"]).size()
    order = [(n, one) for n in sorted(set(rows["n"])) for one in METHODS]
    return mean.reindex([one for one in order if one in mean.index])


def few_runs_table(rows):
    """Return `few_runs_summary` as texts, a row per number of runs and method."""
    table = few_runs_summary(rows).reset_index()
    return pd.DataFrame(
        {
            "runs": table["n"].astype(str),
            "forecast": table["method"],
            "D*/N* score": [_cell(value) for value in table["score"]],
            "holds": [_cell(value, percent=True) for value in table["covered"]],
            "width": [_cell(value) for value in table["width"]],
        }
    )


def plot_forecast(result):
    """Return the forecasts of the optimum against what was measured, one panel per study.

    Parameters
    ----------
    result : Forecast

    Returns
    -------
    Figure
        Per study, at each budget above the 50% cut (65% where that was not made): 90% equal-tailed
        intervals of N* over the measured one, by method.
    """
    optima = result.optima
    names = list(dict.fromkeys(optima["study"]))
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.3 * lines + 0.8), layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    shown = (LAW, DISCREPANCY, LITERATURE, TWENTY)
    for ax, name in zip(axes.flat, names, strict=False):
        part = optima[optima["study"] == name]
        part = part[part["share"] == part["share"].min()]
        for i, method in enumerate(shown):
            some = part[part["method"] == method]
            x = some["decades"] + 0.04 * (i - 1.5)
            middle = np.exp(some["median"] - some["measured"])
            ends = np.exp(some[["lower", "upper"]].sub(some["measured"], axis=0))
            ax.vlines(x, ends["lower"], ends["upper"], color=_COLOURS[method], lw=2)
            ax.plot(x, middle, "o", ms=3.5, color=_COLOURS[method], label=method)
        ax.axhline(1, color="#444444", lw=0.8)
        ax.set_yscale("log")
        ax.set_title(name, fontsize=9)
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel("N* over measured N*")
        ax.set_yticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
        ax.minorticks_off()
    figure.supxlabel("decades of compute above the cut (6ND)", fontsize=9)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    return figure


def _cell(value, percent=False, small=False):
    if pd.isna(value):
        return "–"
    return f"{value:.0%}" if percent else f"{value:.4f}" if small else f"{value:.2f}"
