"""How well are runs forecast that cost more than those fitted? By this package and by its rivals.

    python benchmarks/forecast_scores.py -o docs/forecasts.md [--records few_runs.jsonl]
    python benchmarks/forecast_scores.py --amplitudes scalebayes/data/discrepancy.csv

Writes the table, and a figure beside it; with --amplitudes the draws of the discrepancy's
amplitudes that the package ships.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from scalebayes.discrepancy import AMPLITUDES
from scalebayes.figure_files import save_figure
from scalebayes.forecast import forecast, summary
from scalebayes.forecast_report import (
    FEW_LEGEND,
    LEGEND,
    few_runs_table,
    forecast_table,
    plot_forecast,
)
from scalebayes.forecast_subsamples import subsample_scores

KEPT = 400
"""Draws of the amplitudes that are written."""


def markdown(table):
    """Return a table of texts as Markdown."""
    lines = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    escaped = (" | ".join(cell.replace("*", "\\*") for cell in line) for line in lines)
    return "\n".join(f"| {line} |" for line in escaped)


def by_study(result):
    """Return coverage of losses and score of the optimum by study, for the main methods."""
    chosen = ("law held exactly", "with discrepancy")
    losses = result.losses.pivot_table(index="study", columns="method", values="coverage_90")
    optima = result.optima.pivot_table(index="study", columns="method", values="score")
    table = pd.DataFrame({"study": losses.index})
    for name in chosen:
        table[f"90% holds, {name}"] = [f"{one:.0%}" for one in losses[name]]
    for name in optima.columns:
        column = optima[name].reindex(losses.index)
        table[f"N* score, {name}"] = ["–" if np.isnan(one) else f"{one:.2f}" for one in column]
    return table


def few_runs(result, records):
    """Return the rows of `subsample_scores`, those recorded before not made again."""
    if records is None:
        return None
    done = records.read_text().splitlines() if records.exists() else []
    rows = [json.loads(line) for line in done]
    finished = {row["study"] for row in rows if row["n"] == 30}
    rows = [row for row in rows if row["study"] in finished]
    known = {name: one for name, one in result.known.items() if name not in finished}
    records.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def record(row):
        plain = {k: v if isinstance(v, str | bool | int) else float(v) for k, v in row.items()}
        with records.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain) + "\n")

    made = subsample_scores(known, cores=1, record=record)
    return pd.concat([pd.DataFrame(rows), made], ignore_index=True)


def main():
    """Make the forecasts, then write or print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--records", type=Path, help="also few runs; resumed from this file")
    parser.add_argument("--amplitudes", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    result = forecast(cores=1)
    if result.problems:
        raise SystemExit("\n".join(result.problems))
    if arguments.amplitudes is not None:
        draws = pd.DataFrame({name: result.discrepancy.amplitudes[name] for name in AMPLITUDES})
        draws.iloc[:: len(draws) // KEPT].iloc[:KEPT].to_csv(
            arguments.amplitudes, index=False, float_format="%.6g"
        )
    text = [
        "# Forecasts beyond the data",
        "Made by `python benchmarks/forecast_scores.py -o docs/forecasts.md --records "
        "few_runs.jsonl`; the first table also by `scalebayes calibrate --forecast`.",
        markdown(forecast_table(result)),
        LEGEND,
        "![Forecasts of the optimum](forecasts.svg)",
        "Forecasts of N\\* above the lower cut of each study over what was measured there; 90% "
        "equal-tailed intervals.",
        "## By study",
        markdown(by_study(result)),
    ]
    text += [f"Left out: {label}: {why}" for label, why in result.left_out.items()]
    rows = few_runs(result, arguments.records)
    if rows is not None:
        text += ["## From few runs", markdown(few_runs_table(rows)), FEW_LEGEND]
    if arguments.out is None:
        print("\n\n".join(text), summary(result), sep="\n\n")
    else:
        arguments.out.write_text("\n\n".join(text) + "\n", encoding="utf-8")
        save_figure(plot_forecast(result), arguments.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
