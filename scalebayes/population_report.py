"""A population -> what people read of it: tidy rows, a table, and what qualifies them."""

import json
import textwrap

import numpy as np
import pandas as pd

from scalebayes.population_density import PRIOR
from scalebayes.report import CI_KIND, CI_PROB, interval_text, number, share, summary_row
from scalebayes.text_table import text_table
from scalebayes.trees import MOSTLY_PRIOR

_LINE = 100  # letters
_EXPONENT_NAMES = {"alpha": "alpha", "beta": "beta"}
_SPREAD_LEGEND = (
    "spread: standard deviation of log exponents over groups, and over studies of one group. new\n"
    "study: of a new group, without any of the recipes. recipe: a contrast within groups."
)
_LATENT_LEGEND = (
    "Medians with 90% equal-tailed intervals. alpha, beta and the spreads are those of the law in\n"
    "N = body + omega V d at the omega shown; they are not averaged over omega. a, the exponent\n"
    "of N* in C, is: in total counting, at 1e9 parameters, for models of Pearce & Song's shape."
)
_FIXED_LEGEND = (
    "Medians with 90% equal-tailed intervals. a = beta/(alpha + beta), the exponent of N* in C, N\n"
    "and C counted as in the law."
)
_STUDIES_LEGEND = (
    "a = beta/(alpha + beta) of each study, alone and in the population{at}. Pareto k: how well\n"
    "the draws made alone stand for those in the population; good below 0.7."
)


def legend(population):
    """Return what the quantities of a population mean, in lines."""
    first = _FIXED_LEGEND if population.attrs["omega"] == "" else _LATENT_LEGEND
    return f"{first}\n{_SPREAD_LEGEND}"


def population_rows(population):
    """Return tidy rows of a population: exponents, spreads, recipe effects, a new study.

    Parameters
    ----------
    population : DataTree
        From `population.pool`.

    Returns
    -------
    list of dict
        As `report.summary_row`, with "population" or the study's name as study.
    """
    posterior, mark = population["posterior"].to_dataset(), _marks(population)
    rows = []

    def add(name, draws, key=None):
        rows.append(summary_row("population", name, "1", draws, mark=mark(key or name, draws)))

    for one in _EXPONENT_NAMES:
        add(f"{one} (mean study)", np.exp(posterior["mu"].sel(exponent=one)), ("mu", one))
    checks = population["checks"].to_dataset().isel(check=0)
    counted = population.attrs["counting"] if population.attrs["omega"] == "" else "total"
    rows.append(_checked_row(population, checks, "a", f"a (mean study, {counted} counting)"))
    for level in ("between", "within"):
        for one in _EXPONENT_NAMES:
            draws = posterior[f"sd_{level}"].sel(exponent=one)
            add(f"spread of log {one} {level} groups", draws, (f"sd_{level}", one))
    for recipe in map(str, checks["quantity"].to_numpy()[1:]):
        rows.append(_checked_row(population, checks, recipe, f"{recipe}: effect on a"))
    add(f"a (new study, {counted} counting)", population["new_study"]["a"])
    studies = population["studies"].to_dataset()
    converged = "" if population.attrs["converged"] else "not converged"
    for study in studies["study"].to_numpy():
        chosen = studies.sel(study=study)
        rows.append(
            summary_row(str(study), "a in the population", "1", chosen["a"], mark=converged)
        )
        rows.append(summary_row(str(study), "a alone", "1", chosen["own_a"], mark=converged))
    return rows


def _checked_row(population, checks, quantity, name):
    """Return the row of what is averaged over omega: a of the mean study, and recipe effects."""
    one, prior = checks.sel(quantity=quantity), population["prior"].to_dataset()
    before = prior["a"] if quantity == "a" else prior["recipe_effect_a"].sel(recipe=quantity)
    low, high = (float(x) for x in before.quantile((0.05, 0.95)))
    lower, middle, upper = (float(one[end]) for end in ("lower", "median", "upper"))
    marks = [] if population.attrs["converged"] else ["not converged"]
    marks += ["mostly prior"] * (upper - lower > MOSTLY_PRIOR * (high - low))
    row = {"study": "population", "name": name, "unit": "1"}
    row |= {"median": middle, "lower": lower, "upper": upper}
    return row | {"ci_prob": CI_PROB, "ci_kind": CI_KIND, "mark": "; ".join(marks)}


def population_text(population):
    """Return a population as text for a terminal."""
    rows = population_rows(population)
    shared = [row for row in rows if row["study"] == "population"]
    table = pd.DataFrame(
        [
            {
                "quantity": row["name"],
                "median": number(row["median"]),
                "90% interval": f"[{number(row['lower'])}, {number(row['upper'])}]",
                "note": row["mark"],
            }
            for row in shared
        ]
    )
    blocks = [_head(population), text_table(table), legend(population)]
    blocks += [_omega_table(population)] if population["evidence"].sizes["omega"] > 1 else []
    at = "" if population.attrs["omega"] == "" else " at the omega shown"
    blocks += [text_table(_study_table(population)), _STUDIES_LEGEND.format(at=at)]
    blocks += [textwrap.fill(flips_sentence(population), _LINE), *_notes(population)]
    return "\n\n".join(blocks)


def flips_sentence(population):
    """Return which conclusions change when a study is left out or a prior is changed, in words."""
    checks = population["checks"].to_dataset()
    flips = [
        f"{check}: {text}"
        for check, text in zip(
            checks["check"].to_numpy(), checks["flips"].to_numpy().astype(str), strict=True
        )
        if text
    ]
    n = checks.sizes["check"] - 1
    if not flips:
        return (
            f"None of {n} checks (a study left out, a prior half or twice as wide) changes these."
        )
    return f"{len(flips)} of {n} checks change a conclusion: {' | '.join(flips)}."


def new_study_row(new):
    """Return the tidy row of a new study's exponent a; `new` is from `new_study.new_study`."""
    recipe = ", ".join(json.loads(new.attrs["recipe_columns"])) or "none of the recipes"
    mark = "" if new.attrs["converged"] else "not converged"
    return summary_row("population", f"a (new study with {recipe})", "1", new["a"], mark=mark)


def new_study_sentence(new):
    """Return what to expect of a new study with a recipe, in words."""
    row = new_study_row(new)
    interval = f"{number(row['median'])} [{number(row['lower'])}, {number(row['upper'])}]"
    unknown = json.loads(new.attrs["not_identified"])
    left_out = (
        f" Without effect here, for it is not identified: {', '.join(unknown)}." if unknown else ""
    )
    return f"{row['name']}: {interval}, median and 90% equal-tailed interval.{left_out}"


def _head(population):
    attrs = population.attrs
    studies = json.loads(attrs["studies"])
    head = f"{len(studies)} studies under {attrs['hypothesis_name']}"
    if attrs["omega"] == "":
        return f"{head}, N counted as {attrs['counting']}."
    weight = share(attrs["omega_weight"])
    return f"{head}, omega common to all: shown at {attrs['omega']:g}, which has weight {weight}."


def _omega_table(population):
    evidence = population["evidence"].to_dataset()
    best = float(evidence["log_evidence"].max())
    return text_table(
        pd.DataFrame(
            {
                "omega": [f"{one:g}" for one in evidence["omega"].to_numpy()],
                "log evidence below the best": [
                    f"{best - float(one):.1f}" for one in evidence["log_evidence"]
                ],
                "weight": [share(float(one)) for one in evidence["weight"]],
                "state": [str(one) for one in evidence["status"].to_numpy()],
            }
        )
    )


def _study_table(population):
    studies, facts = population["studies"].to_dataset(), population["constant_data"].to_dataset()
    return pd.DataFrame(
        [
            {
                "study": str(name),
                "group": str(facts["group"].sel(study=name).item()),
                "a alone": interval_text(studies["own_a"].sel(study=name)),
                "a in the population": interval_text(studies["a"].sel(study=name)),
                "Pareto k": f"{facts['pareto_k'].sel(study=name).item():.2f}",
            }
            for name in studies["study"].to_numpy()
        ]
    )


def _notes(population):
    attrs = population.attrs
    notes = [*json.loads(attrs["recipes_not_identified"]), *json.loads(attrs["recipes_assumed"])]
    refitted = json.loads(attrs["refitted"])
    notes += [f"fitted again near the population: {', '.join(refitted)}"] if refitted else []
    prior = json.loads(attrs["population_prior"])
    if prior != PRIOR:
        changed = {name: value for name, value in prior.items() if value != PRIOR[name]}
        notes.append(f"priors changed: {changed}")
    if any(row["mark"] == "mostly prior" for row in population_rows(population)):
        notes.append("mostly prior: posterior sd above half of the prior's")
    return ["\n".join(notes)] if notes else []


def _marks(population):
    """Return a function from a quantity to what keeps it from being a finding."""
    prior = population["prior"].to_dataset()

    def mark(key, draws):
        marks = [] if population.attrs["converged"] else ["not converged"]
        name, label = key if isinstance(key, tuple) else (key, None)
        if name in prior and not name.startswith("new_study"):
            before = prior[name]
            before = before.sel({before.dims[-1]: label}) if label is not None else before
            after = np.log(draws) if name == "mu" else draws
            if float(after.std()) > MOSTLY_PRIOR * float(before.std()):
                marks.append("mostly prior")
        return "; ".join(marks)

    return mark
