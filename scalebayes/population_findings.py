"""What a population says: sentences, and tables for the page of `reconcile`."""

import json

import numpy as np
import pandas as pd

from scalebayes.optimum import CHINCHILLA_COMPUTE
from scalebayes.population_report import flips_sentence, population_rows
from scalebayes.report import interval_text, number, share

_AT = f"{number(CHINCHILLA_COMPUTE)} FLOP"


def population_sentences(population):
    """Return what the population says, in words, with what qualifies it first.

    Parameters
    ----------
    population : DataTree
        From `population.pool`.

    Returns
    -------
    list of str
    """
    attrs = population.attrs
    first = population["checks"].to_dataset().isel(check=0)
    failed = [] if attrs["converged"] else [f"NOT CONVERGED: population: {attrs['problems']}."]
    n = len(json.loads(attrs["studies"]))
    counted = attrs.get("counting") if attrs.get("omega") == "" else "total"
    return [
        *failed,
        f"Pooled, {n} studies have a mean exponent a of {_interval(first, 'a')} in {counted} "
        f"counting, with a spread of log exponents of {_spreads(population)}; a new study's a is "
        f"expected at {interval_text(population['new_study']['a'], digits=2)}.",
        _ratio_sentence(population),
        *_omega_sentence(population),
        *_by_group_sentence(population),
        *_recipe_sentences(population, first),
        flips_sentence(population),
    ]


def _interval(check, quantity):
    one = check.sel(quantity=quantity)
    low, middle, high = (number(float(one[name]), 2) for name in ("lower", "median", "upper"))
    return f"{middle} [{low}, {high}]"


def _spreads(population):
    posterior = population["posterior"].to_dataset()
    texts = []
    for level in ("between", "within"):
        for one in ("alpha", "beta"):
            draws = posterior[f"sd_{level}"].sel(exponent=one)
            texts.append(f"{interval_text(draws, digits=2)} ({one}, {level} groups)")
    return ", ".join(texts)


def _ratio_sentence(population):
    studies = population["studies"].to_dataset()
    ratio = studies["tokens_per_parameter"].dropna("study")
    if not ratio.sizes["study"]:
        return "No study's optimal ratio is known in total counting."
    n, left = ratio.sizes["study"], studies.sizes["study"] - ratio.sizes["study"]
    which = f"{n} studies" + (f" ({left} without a known total left out)" if left else "")
    low, middle, high = np.quantile(ratio.to_numpy(), (0.05, 0.5, 0.95))
    medians = ratio.median(("chain", "draw"))
    return (
        f"D*/N* at {_AT} (6ND, total parameters) depends on tokenizer and corpus: over {which} "
        f"in the population, equally weighted, {number(middle, 2)} [{number(low, 2)}, "
        f"{number(high, 2)}]; medians from {number(float(medians.min()), 2)} to "
        f"{number(float(medians.max()), 2)}."
    )


def _omega_sentence(population):
    evidence = population["evidence"].to_dataset()
    if evidence.sizes["omega"] < 2:
        return []
    weight = evidence["weight"]
    parts = {
        "up to 1/2 (near the body alone)": float(weight.where(weight.omega <= 0.5).sum()),
        "1/2 to 3/2 (one matrix)": float(
            weight.where((weight.omega > 0.5) & (weight.omega <= 1.5)).sum()
        ),
        "above 3/2": float(weight.where(weight.omega > 1.5).sum()),
    }
    said = ", ".join(f"{share(value)} on {name}" for name, value in parts.items())
    return [f"Weight on an omega common to all studies: {said}."]


def _by_group_sentence(population):
    if "omega_by_group" not in population.children:
        return []
    found = population["omega_by_group"]
    attrs, posterior = found.attrs, found["posterior"].to_dataset()
    if not attrs["converged"]:
        return [f"NOT CONVERGED: omega per group: {attrs['problems']}; its answer is left out."]
    weight = posterior["omega_weight"].mean(("chain", "draw"))
    heaviest = [
        f"{group} {float(weight.sel(group=group).idxmax('omega')):g} "
        f"({share(float(weight.sel(group=group).max()))})"
        for group in map(str, weight["group"].to_numpy())
    ]
    difference, error = attrs["log_evidence_difference"], attrs["log_evidence_difference_se"]
    return [
        f"With an omega of its own for each group the evidence changes by {difference:+.1f} ± "
        f"{error:.1f} nats: one omega for all is {attrs['common_omega']}. Heaviest omega by group: "
        f"{', '.join(heaviest)}. A new study's a is then expected at "
        f"{interval_text(posterior['new_study_a_total'], digits=2)}, against "
        f"{interval_text(posterior['common_new_study_a_total'], digits=2)} under one omega."
    ]


def _recipe_sentences(population, first):
    names = [str(name) for name in first["quantity"].to_numpy() if name != "a"]
    found = [f"{name} {_signed(first.sel(quantity=name))}" for name in names]
    not_identified = json.loads(population.attrs["recipes_not_identified"])
    said = [f"Effects on a, contrasts within groups: {'; '.join(found)}."] if found else []
    return said + ([f"{'; '.join(not_identified)}."] if not_identified else [])


def _signed(one):
    low, middle, high = (float(one[name]) for name in ("lower", "median", "upper"))
    return f"{middle:+.3f} [{low:+.3f}, {high:+.3f}] ({one['conclusion'].item()!s})"


def population_table(population):
    """Return the population's quantities as a table of texts."""
    rows = [row for row in population_rows(population) if row["study"] == "population"]
    return pd.DataFrame(
        [
            {
                "quantity": row["name"],
                "median": number(row["median"]),
                "90% interval": f"[{number(row['lower'])}, {number(row['upper'])}]",
                "note": row["mark"],
            }
            for row in rows
        ]
    )


def checks_table(population):
    """Return the checks of the population's conclusions as a table of texts."""
    checks = population["checks"].to_dataset()
    rows = []
    for check in checks["check"].to_numpy():
        one = checks.sel(check=check)
        quantities = {
            ("exponent a" if name == "a" else f"{name}: effect on a"): _interval(one, name)
            for name in map(str, checks["quantity"].to_numpy())
        }
        k = float(one["pareto_k"])
        how = "drawn again" if int(one["drawn_again"]) else ("" if np.isinf(k) else f"k {k:.2f}")
        heaviest = float(one["omega"])
        omega = (
            {}
            if np.isnan(heaviest)
            else {"heaviest omega": f"{heaviest:g} ({share(float(one['omega_weight']))})"}
        )
        rows.append(
            {
                "check": str(check),
                **quantities,
                **omega,
                "weights": how,
                "flips": str(one["flips"].item()),
            }
        )
    return pd.DataFrame(rows)
