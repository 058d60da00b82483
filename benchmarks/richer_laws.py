"""Do richer laws forecast better, and does averaging hypotheses?

    python benchmarks/richer_laws.py [-o docs/richer_laws.md] [-m hoffmann-total nested symmetric]

Every default study is fitted under each hypothesis below its cuts in compute and judged by its runs
above, as `forecast` does: as if the law held exactly, and with a discrepancy learned under the same
hypothesis from the other studies. Then the hypotheses are stacked on those forecasts, each study
with the weights that the others give.
"""

import argparse
import logging
import time
import warnings
from pathlib import Path

import scalebayes as sb
from scalebayes.forecast import DISCREPANCY, LAW, summary
from scalebayes.forecast_stacking import stacked_scores, stacked_weights

NAMES = ("hoffmann-total", "symmetric", "nested")
_SHOWN = {
    "log_score": "log score",
    "crps": "CRPS",
    "coverage_90": "90% holds",
    "lowest_coverage_90": "lowest",
    "optimum_score": "N\\* score",
    "optimum_coverage": "N\\* holds",
}
LEGEND = """\
Averages over the cuts of a study, then over studies, as in `docs/forecasts.md`: log score (nats a
run, of log loss; higher is better), CRPS (lower is better), share of runs inside 90% equal-tailed
intervals and the lowest such share of a study; interval score of 90% intervals of log N\\* (lower
is better) and their coverage.

`nested` adds one parameter q to `hoffmann-total`. The coupled law E + A (N^-a + R D^-b)^k is the
same family in other symbols: k = q, a = alpha/q, b = beta/q. `symmetric` takes one away (alpha =
beta)."""


def main():
    """Forecast under every hypothesis; print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("-m", "--models", nargs="+", default=list(NAMES))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("arviz").setLevel(logging.ERROR)
    found = {}
    for name in options.models:
        start = time.process_time()
        found[name] = sb.forecast(hypothesis=name, cores=1)
        seconds = time.process_time() - start
        print(f"{name}: {seconds:.0f} CPU s, {found[name].problems or 'no problems'}", flush=True)
    text = page(found, options)
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


def page(found, options):
    """Return the page as Markdown."""
    out = "docs/richer_laws.md" if options.out is None else options.out.as_posix()
    models = "" if options.models == list(NAMES) else f" -m {' '.join(options.models)}"
    scores, weights = stacked_scores(found), stacked_weights(found)
    problems = {name: "; ".join(one.problems) for name, one in found.items() if one.problems}
    parts = [
        "# Richer laws, and their average",
        f"Made by `python benchmarks/richer_laws.py -o {out}{models}`.",
        score_table(found),
        LEGEND,
        "## Stacking",
        stacking_table(scores),
        "Mean log density of a held-out run with discrepancy, nats. Stacked: the mixture of the "
        "hypotheses' predictive densities with the weights that foresee the other studies' runs "
        "best, each study weighing the same. With all studies the weights are "
        + ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items())
        + ".",
    ]
    if problems:
        listed = [f"- {name}: {why}" for name, why in problems.items()]
        parts += ["Not to be trusted:", "\n".join(listed)]
    return "\n\n".join(parts) + "\n"


def score_table(found):
    rows = [line(["hypothesis", "", *_SHOWN.values()]), line(["---"] * (2 + len(_SHOWN)))]
    for name, one in found.items():
        table = summary(one)
        for method, label in ((LAW, "law exact"), (DISCREPANCY, "with discrepancy")):
            rows.append(line([name, label, *(cell(key, table.loc[method, key]) for key in _SHOWN)]))
    return "\n".join(rows)


def stacking_table(scores):
    kept = [name for name in scores if not name.startswith("weight of")]
    rows = [line(["study", *kept]), line(["---"] * (1 + len(kept)))]
    rows += [
        line([study, *(f"{row[name]:.2f}" for name in kept)]) for study, row in scores.iterrows()
    ]
    return "\n".join([*rows, line(["**mean**", *(f"{scores[name].mean():.2f}" for name in kept)])])


def cell(key, value):
    if "coverage" in key:
        return f"{value:.0%}"
    return f"{value:.4f}" if key == "crps" else f"{value:.2f}"


def line(cells):
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
