"""What a synthesis of published exponents says: sentences, and tables of texts."""

import json

import numpy as np
import pandas as pd

from scalebayes.report import interval, interval_text, number, share
from scalebayes.trees import MOSTLY_PRIOR

LEARNED = 0.1
"""By how much the probability of some counting must differ from its prior to be called learned."""

KAPLAN_LESS_HOFFMANN = 0.23
"""Kaplan et al.'s .73 (arXiv:2001.08361) less Hoffmann et al.'s .50 (arXiv:2203.15556, Table 2)."""

NOT_LEARNED = "not learned"
_FAR_OUT = 0.1  # two-sided p below which a value lies outside the 90% predictive interval


def synthesis_sentences(tree):
    """Return what a synthesis says, in words, with what qualifies it first.

    Parameters
    ----------
    tree : DataTree
        From `synthesis.synthesis`.

    Returns
    -------
    list of str
        Of draws that failed the gate nothing but that, and which rows there are.
    """
    if not tree.attrs["converged"]:
        problems = tree.attrs["problems"]
        failed = f"NOT CONVERGED: synthesis: {problems}; its estimates are left out."
        return [failed, _data_sentence(tree)]
    said = [
        _data_sentence(tree),
        _consensus_sentence(tree),
        _spread_sentence(tree),
        _counting_effect_sentence(tree),
        _unknown_sentence(tree),
        _checks_sentence(tree),
    ]
    return [sentence for sentence in said if sentence]


def synthesis_lead(tree):
    """Return the sentences of `synthesis_sentences` that matter most, without a warning."""
    if not tree.attrs["converged"]:
        return []
    return [
        f"Published exponents as one law: {_lower(_consensus_sentence(tree))}",
        _counting_effect_sentence(tree),
    ]


def _lower(sentence):
    return sentence[0].lower() + sentence[1:]


def synthesis_table(tree):
    """Return the rows of a synthesis that are data as a table of texts.

    Returns
    -------
    DataFrame
        study, counting, role, published, error (with "imputed", or where it comes from), fitted and
        residual (median and 90% interval), note.
    """
    rows = tree["rows"].to_dataset()
    return pd.DataFrame([_table_row(rows.sel(row=row)) for row in rows["row"].to_numpy()])


def synthesis_checks_table(tree):
    """Return the predictive checks of a synthesis as a table of texts.

    Returns
    -------
    DataFrame
        study, counting, published, predicted (median and 90% interval of what a new run set would
        report) and p, two-sided.
    """
    checks = tree["checks"].to_dataset()
    found = []
    for check in checks.get("check", np.array([])).data:
        one = checks.sel(check=check)
        low, middle, high = (number(float(one[x]), 2) for x in ("lower", "median", "upper"))
        found.append(
            {
                "study": str(check),
                "counting": str(one["counting"].item()),
                "published": number(float(one["value"]), 3),
                "predicted": f"{middle} [{low}, {high}]",
                "p": share(float(one["p"])),
                "origin": str(one["origin"].item()).replace("_", " "),
            }
        )
    return pd.DataFrame(found)


def unknown_countings(tree):
    """Return what was learned of each run set's unknown counting.

    Returns
    -------
    dict
        run set -> {category: probability}, or `NOT_LEARNED` where none differs from its prior, one
        over the number of categories, by more than `LEARNED`.
    """
    rows = tree["rows"].to_dataset()
    unknown = rows.isel(row=np.flatnonzero(rows["counting"] == "unknown"))
    names = [str(name) for name in unknown["category"].to_numpy()]
    found = {}
    for i in range(unknown.sizes["row"]):
        weight = unknown["responsibility"].isel(row=i).to_numpy()
        learned = (abs(weight - 1 / len(names)) > LEARNED).any()
        told = dict(zip(names, map(float, weight), strict=True)) if learned else NOT_LEARNED
        found[str(unknown["run_set"].isel(row=i).item())] = told
    return found


def _data_sentence(tree):
    attrs = tree.attrs
    left = json.loads(attrs["left_out"])
    n = attrs["n_primary"] + attrs["n_replicate"]
    reasons = "; ".join(f"{reason} ({count})" for reason, count in left.items())
    return (
        f"Synthesis of {n} published exponents of {attrs['n_run_sets']} run sets: "
        f"{attrs['n_primary']} primary, {attrs['n_replicate']} replicates. {attrs['n_imputed']} of "
        f"{n} were published without a usable error, which is imputed. {attrs['n_check']} of run "
        f"sets whose runs this package has are compared only. Left out: "
        f"{reasons or 'none'}."
    )


def _consensus_sentence(tree):
    a = tree["posterior"]["a"]
    low, _, high = interval(a)
    where = (
        "the interval holds .50"
        if low <= 0.5 <= high
        else f"the interval lies {'below' if high < 0.5 else 'above'} .50"
    )
    return (
        f"The consensus exponent a is {interval_text(a)} in total counting (one vocabulary "
        f"matrix){_prior_mark(tree, 'a')}: {where}{_imputed(tree)}. A new run set's, in total "
        f"counting, is expected at {interval_text(tree['posterior']['new_a'], digits=2)}."
    )


def _imputed(tree):
    n = tree.attrs["n_primary"] + tree.attrs["n_replicate"]
    return ", with every error imputed" if tree.attrs["n_imputed"] == n else ""


def _spread_sentence(tree):
    posterior = tree["posterior"]
    between, within = (
        f"{interval_text(posterior[name], digits=2)}{_prior_mark(tree, name)}"
        for name in ("tau_between", "tau_within")
    )
    return (
        f"Run sets differ from the law, beyond counting, range and error, by a standard deviation "
        f"of {between}; further exponents of one run set by {within}."
    )


def _counting_effect_sentence(tree):
    effect = tree["posterior"]["counting_effect"]
    kaplan, hoffmann = (effect.sel(range=name) for name in ("kaplan", "hoffmann"))
    told = (
        f"Under the consensus law, counting N and C without vocabulary matrices instead of with "
        f"one changes the exponent by {interval_text(kaplan, digits=2)}"
        f"{_prior_mark(tree, 'counting_effect', range='kaplan')} over Kaplan's budgets and by "
        f"{interval_text(hoffmann, digits=2)}"
        f"{_prior_mark(tree, 'counting_effect', range='hoffmann')} over Hoffmann's"
    )
    low, _, high = interval(kaplan)
    if low <= 0 <= high:
        return f"{told}; the sign of the first is {NOT_LEARNED}."
    gap = f"{KAPLAN_LESS_HOFFMANN:.2f}".lstrip("0")
    held = "holds" if low <= KAPLAN_LESS_HOFFMANN <= high else "does not hold"
    own = "Kaplan's exponent is itself among the data."
    return f"{told}. The first interval {held} Kaplan's .73 less Hoffmann's .50, {gap}; {own}"


def _unknown_sentence(tree):
    found = unknown_countings(tree)
    if not found:
        return ""
    texts = [
        f"{run_set} {told}"
        if told == NOT_LEARNED
        else f"{run_set} {', '.join(f'{share(p)} {name}' for name, p in told.items())}"
        for run_set, told in found.items()
    ]
    return f"Probability of each unknown counting (prior a third each): {'; '.join(texts)}."


def _checks_sentence(tree):
    checks = tree["checks"].to_dataset()
    if "p" not in checks:
        return ""
    far = checks.isel(check=np.flatnonzero(checks["p"] < _FAR_OUT))
    names = [
        f"{name} ({number(float(value), 2)}, p {share(float(p))})"
        for name, value, p in zip(far["check"].data, far["value"], far["p"], strict=True)
    ]
    outside = f": {'; '.join(names)}" if names else ""
    return (
        f"Of {checks.sizes['check']} exponents of run sets whose runs are here, {len(names)} "
        f"lie outside the 90% interval of what a new run set would report{outside}. Many are of "
        f"the same runs, so that they are no independent checks."
    )


def _prior_mark(tree, name, **at):
    """Return " (mostly prior)" where the data narrowed a quantity by less than half."""
    own, prior = (float(tree[group][name].sel(at).std()) for group in ("posterior", "prior"))
    ratio = own / prior
    return " (mostly prior)" if ratio > MOSTLY_PRIOR else ""


def _table_row(one):
    imputed = not np.isfinite(float(one["se_published"]))
    error = number(float(one["se"].median()), 2)
    source = "imputed" if imputed else str(one["se_from"].item())
    return {
        "study": str(one["row"].item()),
        "counting": str(one["counting"].item()),
        "role": str(one["role"].item()),
        "published": number(float(one["value"]), 3),
        "error": f"{error} ({source})",
        "fitted": interval_text(one["fitted"], digits=2),
        "residual": interval_text(one["residual"], digits=2),
        "note": "; ".join(_notes(one)),
    }


def _notes(one):
    obtained, source = str(one["obtained"].item()), str(one["range_from"].item())
    notes = {
        "1 - b": "a = 1 - b, for C = 6 N D in one count",
        "alpha, beta": "a = beta/(alpha + beta) of its surface",
        "sizes": "range from its sizes at 20 tokens per parameter (assumed)",
        "default": "range assumed, 1e18 to 1e21 FLOP",
        "Pearce & Song": "range as Pearce & Song read it",
    }
    found = [notes[key] for key in (obtained, source) if key in notes]
    if str(one["run_set"].item()).startswith("deepseek2024"):
        found.append("its N and C count attention too")
    if str(one["counting"].item()) == "unknown":
        weights = one["responsibility"]
        prior = 1 / weights.size
        learned = (abs(weights - prior) > LEARNED).any()
        parts = zip(weights["category"].data, weights.to_numpy(), strict=True)
        told = ", ".join(f"{share(float(p))} {name}" for name, p in parts)
        found.append(f"counting: {told if learned else NOT_LEARNED}")
    return found
