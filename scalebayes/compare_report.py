"""A comparison of hypotheses -> what people read of it: tidy rows, a table, a verdict."""

import json

import numpy as np

from scalebayes.text_table import text_table

_HEADS = {
    "leave_budget": "budgets left out",
    "leave_trajectory": "trajectories left out",
    "leave_largest": "largest left out",
}
LEGEND = (
    "log evidence: of all rows, nats. Below it: how much lower than the best, with the error of\n"
    "the evidence. elpd: rows left out one by one (PSIS-LOO), and what is left out in groups: log\n"
    "predictive density less that of the first line, nats; above 0 predicts better. k: largest\n"
    "Pareto k; rows above .7 were refitted. weight: stacking of what is left out in groups, else\n"
    "of rows. narrow, wide: probability with every prior half and twice as wide."
)


def comparison_rows(table):
    """Return tidy rows of a comparison: one dict per hypothesis, and per study where several.

    Parameters
    ----------
    table : DataFrame
        From `compare.compare`.

    Returns
    -------
    list of dict
        Columns of the table with `study`, `hypothesis` and `prior_probability`; what is not known
        is None. Logarithms are in nats.
    """
    flat = table.reset_index()
    if "study" not in flat:
        flat.insert(0, "study", next(iter(table.attrs["verdicts"])))
    prior = table.attrs["prior_probability"]
    flat.insert(2, "prior_probability", flat["hypothesis"].map(prior))
    flat["converged"] = flat["converged"].astype(bool)
    return json.loads(flat.to_json(orient="records", double_precision=15))


def comparison_text(table):
    """Return a comparison as text for a terminal: a table and a verdict per study.

    Parameters
    ----------
    table : DataFrame
        From `compare.compare`.
    """
    blocks = []
    several = "study" in table.index.names
    for study, said in table.attrs["verdicts"].items():
        part = table.loc[study] if several else table
        blocks += [f"{study}: {said}", text_table(comparison_table(part))]
    notes = [f"note: {note}" for note in table.attrs["notes"]]
    return "\n\n".join([*blocks, LEGEND, *(["\n".join(notes)] if notes else [])])


def comparison_table(part):
    """Return the texts of one study's table.

    Parameters
    ----------
    part : DataFrame
        From `compare.compare`, of one study.
    """
    best = part["log_evidence"].iloc[0]
    shown = part.index.to_frame(index=False)
    shown["log evidence"] = [f"{one:.2f}" for one in part["log_evidence"]]
    gaps = zip(best - part["log_evidence"], part["se"], strict=True)
    shown["below the first"] = [f"{gap:.2f} ± {se:.2f}" for gap, se in gaps]
    shown["probability"] = [_share(one) for one in part["probability"]]
    shown["elpd"] = _relative(part["elpd"])
    shown["k"] = ["" if np.isnan(one) else f"{one:.2f}" for one in part["pareto_k"]]
    for column in (name for name in _HEADS if name in part):
        shown[_HEADS[column]] = _relative(part[column])
    shown["weight"] = [_share(one) for one in part["weight"]]
    for column, head in (("probability_half", "narrow"), ("probability_twice", "wide")):
        if column in part:
            shown[head] = [_share(one) for one in part[column]]
    shown["note"] = ["" if one else "NOT CONVERGED" for one in part["converged"]]
    return shown


def _relative(values):
    """Return scores less the first one as text."""
    gaps = values - values.iloc[0]
    return ["" if np.isnan(one) else f"{one:+.1f}" for one in gaps]


def _share(value):
    if np.isnan(value):
        return ""
    if value > 0.999:
        return ">.999"
    return "<.001" if value < 0.001 else f"{value:.3f}".lstrip("0")
