"""What a set of study posteriors says: one row a study, and the sentences above the table."""

import json
import textwrap

import pandas as pd

from scalebayes.discrepant_optimum import with_discrepancy
from scalebayes.errors import InputError
from scalebayes.optimum import CHINCHILLA_COMPUTE, optimal
from scalebayes.population_findings import population_sentences
from scalebayes.report import (
    CI_PROB,
    classical_of,
    frontier_exponent,
    interval,
    interval_text,
    number,
    omega_bins,
    share,
)
from scalebayes.text_table import text_table

_INTERVAL = f"{CI_PROB:.0%} equal-tailed interval"
_CHINCHILLA = f"{number(CHINCHILLA_COMPUTE)} FLOP"
_EXPONENTS = ("exponent a", "classical a", "law over its range", "published", "note")
_LINE = 100  # letters

WHY, ALONE, POOLED = "Why 0.73 and 0.50", "Each study by itself", "The studies pooled"
"""Titles of `grouped_sentences`."""


def study_table(fits):
    """Return one row per study: rows, weight on omega, exponents, optimum, frontier exponent.

    Parameters
    ----------
    fits : dict of str to DataTree

    Returns
    -------
    DataFrame
        Texts; intervals are 90% equal-tailed. Weights stand as "wide / default priors". "classical
        a" is a point fit in total counting, and no posterior.
    """
    return pd.DataFrame([_study_row(name, one) for name, one in fits.items()])


def _study_row(name, one):
    best = optimal(one, CHINCHILLA_COMPUTE, counting="total", architecture="study")
    missed = with_discrepancy(one, best).isel(compute=0)
    best = best.isel(compute=0)
    wide, default = omega_bins(one), omega_bins(one, weight="weight_default")
    weights = {f"omega: {bin_}": f"{share(wide[bin_])} / {share(default[bin_])}" for bin_ in wide}
    marks = [] if one.attrs["converged"] else ["NOT CONVERGED"]
    marks += ["a mostly prior"] * ("a" in json.loads(one.attrs["still_prior"]))
    return {
        "study": name,
        "rows": f"{one.attrs['n_used']} of {one.attrs['n_rows']}",
        **weights,
        "exponent a": interval_text(best["exponent"], digits=2),
        "classical a": _classical_exponent(one),
        "D*/N*": interval_text(best["tokens_per_parameter"], digits=2),
        "D*/N* with discrepancy": interval_text(
            missed["tokens_per_parameter_with_discrepancy"], digits=2
        ),
        "law over its range": _law_frontier(one),
        "published": _published_frontier(one),
        "note": "; ".join(marks),
    }


def _classical_exponent(one):
    """Return the a of the point fit, and whether its search ended at a limit; "" without one."""
    try:
        point = classical_of(one)
    except InputError:  # too few runs, or their total is not known
        return ""
    return f"{point.a:.2f}" + " (at limit)" * bool(point.at_limit)


def _law_frontier(one):
    frontier = frontier_exponent(one)
    return "" if frontier is None else interval_text(frontier["law"], digits=2)


def _published_frontier(one):
    frontier = frontier_exponent(one)
    if frontier is None:
        return ""
    lower, upper = frontier["low"], frontier["high"]
    text = f"{frontier['published']:.2f}"
    return text if lower is None else f"{text} [{lower:.2f}, {upper:.2f}]"


def headline(fits, table, population=None, *, why=()):
    """Return the findings as text for a terminal: sentences, two tables, and what they mean.

    Parameters
    ----------
    fits : dict of str to DataTree
    table : DataFrame
        From `study_table`.
    population : DataTree, optional
    why : sequence of str
        As in `grouped_sentences`.
    """
    exponents = text_table(table[["study", *_EXPONENTS]])
    optima = text_table(table[[column for column in table if column not in _EXPONENTS]])
    banner, parts = grouped_sentences(fits, population, why=why)
    blocks = [*banner, *([""] if banner else [])]
    for title, said in parts.items():
        blocks += [f"{title}:", *map(_item, said), ""]
    blocks += [exponents, "", *exponent_legend(), "", optima, "", *ratio_legend()]
    return "\n".join([*blocks, *omega_legend(), "", *caveats()])


def _item(sentence):
    """Return a sentence as an item of a list in a terminal."""
    return textwrap.fill(sentence, _LINE, initial_indent="- ", subsequent_indent="  ")


def grouped_sentences(fits, population=None, *, why=()):
    """Return warnings, and what the posteriors say in words by title.

    Parameters
    ----------
    fits : dict of str to DataTree
    population : DataTree, optional
        From `population.pool`.
    why : sequence of str
        What separates published exponents, in words; warnings among them begin with "NOT".

    Returns
    -------
    warnings : list of str
    sentences : dict of str to list of str
        By title; no title without a sentence.
    """
    failed = [name for name, one in fits.items() if not one.attrs["converged"]]
    findings = {
        name: optimal(one, CHINCHILLA_COMPUTE, counting="total", architecture="study").isel(
            compute=0
        )
        for name, one in fits.items()
        if one.attrs["converged"] and "a" not in json.loads(one.attrs["still_prior"])
    }
    decided = {name: one.attrs["omega_decided"] for name, one in fits.items()}
    pooled = [] if population is None else population_sentences(population)
    parts = {
        WHY: list(why),
        ALONE: [
            f"{len(fits)} studies, each read by itself; {len(fits) - len(failed)} converged, "
            f"{len(findings)} tell their exponent (posterior sd below half the prior's).",
            *_spread_sentences(findings),
            _decided_sentence(decided),
        ],
        POOLED: pooled,
    }
    warnings = [f"NOT CONVERGED: {name}: {fits[name].attrs['problems']}." for name in failed]
    warnings += [line for said in parts.values() for line in said if _is_warning(line)]
    kept = {
        title: [line for line in said if not _is_warning(line)] for title, said in parts.items()
    }
    warnings = list(dict.fromkeys(warnings))
    return warnings, {title: said for title, said in kept.items() if said}


def _is_warning(line):
    return line.startswith("NOT CONVERGED")


def _spread_sentences(findings):
    """Return how far the medians of converged, identified studies lie apart."""
    if not findings:
        return []
    where = f"at {_CHINCHILLA} (6ND), total parameters"
    spreads = [
        _spread({name: best[quantity] for name, best in findings.items()})
        for quantity in ("exponent", "tokens_per_parameter")
    ]
    labels = ("exponent a of N* in C", "D*/N*")
    return [
        f"Median {label} {where}: from {low} to {high}."
        for label, (low, high) in zip(labels, spreads, strict=True)
    ]


def _spread(draws):
    """Return the studies with the lowest and the highest median, as "name: median [interval]"."""
    order = sorted(draws, key=lambda name: interval(draws[name])[1])
    ends = (order[0], order[-1])
    return [f"{interval_text(draws[name], digits=2)} ({name})" for name in ends]


def _decided_sentence(decided):
    named = [f"{name} (omega {omega})" for name, omega in decided.items() if omega]
    if not named:
        return "No study decides omega: none puts more than .95 on one value under both priors."
    return (
        f"omega is decided, with more than .95 on one value under both priors, by "
        f"{', '.join(named)} only."
    )


def exponent_legend():
    """Return what the columns of exponents mean, in lines."""
    return [
        f"Medians with {_INTERVAL}s. exponent a = dlog N*/dlog C at {_CHINCHILLA}, total",
        "parameters, C = 6ND, models of the study's own shape. classical a: not a posterior, but",
        "the point fit that papers report (Huber loss, delta 1e-3, of log loss) of the same runs,",
        "total parameters; it has no interval. law over its range: exponent of the fitted law over",
        "the budgets, in the counts, of the published frontier. published: that frontier, read off",
        "the runs without a law (95% interval where one was given). Where these two part, the law",
        "misses the runs.",
    ]


def ratio_legend():
    """Return what the column of ratios means, in lines."""
    return [
        f"D*/N*: compute-optimal tokens per parameter, as exponent a; {_INTERVAL}s. First as",
        "if the law held exactly, then with how far laws have missed beyond their data.",
    ]


def omega_legend():
    """Return what the columns of weights mean, in lines."""
    return [
        "omega: weight of a vocabulary matrix in the N with which the law describes the losses;",
        "posterior weight under the wide / the default priors. body: up to 1/2; one matrix: 1/2",
        "to 3/2; two matrices: above; law misfit: beyond the matrices that the models store.",
    ]


def caveats():
    """Return what holds for all of it, in lines."""
    return [
        "In this table each study is read alone. Checkpoints of one run share a run effect, whose",
        "size the prior sets where every run has an N of its own. Exponents, and D*/N* where it is",
        "not said to have the discrepancy, are as if the law held beyond the data.",
    ]
