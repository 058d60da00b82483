"""A saved population -> its report."""

import json

import pandas as pd

from scalebayes.fit_facts import FORMULAS, NOT_SAID, priors_table
from scalebayes.hypotheses import hypothesis_from_json
from scalebayes.population_findings import population_sentences
from scalebayes.population_report import population_rows
from scalebayes.reconcile_page import population_figures, population_tables
from scalebayes.report_parts import Table, put_together

_PRIORS = {
    "mu": "log exponents of the mean study ~ Normal({mu_location:g}, {mu_sd:g})",
    "between": "spread between groups ~ HalfNormal({between:g})",
    "within": "spread within groups ~ HalfNormal({within:g})",
    "recipe": "effect of a recipe on a log exponent ~ Normal(0, {recipe_sd:g})",
}
_CAPTION = "What a reader needs to redo this population."


def population_report(population):
    """Return the report of a population.

    Parameters
    ----------
    population : DataTree
        From `population.pool`.

    Returns
    -------
    Report
    """
    said = population_sentences(population)
    failed = [one for one in said if one.startswith("NOT CONVERGED")]
    lead = ["All medians with 90% equal-tailed intervals."]
    tables = [
        Table(one.heading, one.anchor, one.table, one.caption)
        for one in population_tables(population)
    ]
    names = json.loads(population.attrs["studies"])
    return put_together(
        title=f"Population of {len(names)} studies under {population.attrs['hypothesis_name']}",
        lead=lead + [one for one in said if one not in failed],
        warnings=failed,
        figures=population_figures(population),
        tables=[
            *tables,
            Table("Studies and their data", "studies", studies_table(population)),
            Table("Priors of each study", "priors", priors_table(population)),
            Table("How to redo this", "checklist", population_checklist(population), _CAPTION),
        ],
        rows=population_rows(population),
        converged=bool(population.attrs["converged"]),
    )


def studies_table(population):
    """Return the studies of a population with their runs and the hash of their data."""
    facts = population["constant_data"].to_dataset()
    names, hashes = (json.loads(population.attrs[key]) for key in ("studies", "data_hashes"))
    return pd.DataFrame(
        [
            {
                "study": name,
                "group": str(facts["group"].sel(study=name).item()),
                "runs": int(facts["n_runs"].sel(study=name)),
                "data hash (SHA-256)": digest,
            }
            for name, digest in zip(names, hashes, strict=True)
        ]
    )


def population_checklist(population):
    """Return what a reader needs to redo a population, as a table of items."""
    attrs, posterior = population.attrs, population["posterior"]
    hypothesis = hypothesis_from_json(attrs["hypothesis"])
    prior = json.loads(attrs["population_prior"])
    versions = json.loads(attrs["versions"])
    kept = f"{posterior.sizes['chain']} chains of {posterior.sizes['draw']} draws kept"
    shown = NOT_SAID if attrs["omega"] == "" else f"{attrs['omega']:g}"
    items = {
        "hypothesis": f"{hypothesis.name}: {hypothesis.title or hypothesis.law}",
        "law": FORMULAS[hypothesis.law],
        "N in the law": attrs["counting"],
        "omega shown": "fixed by the counting" if shown == NOT_SAID else shown,
        "priors of the population": "; ".join(_PRIORS.values()).format(**prior),
        "recipes not identified": "; ".join(json.loads(attrs["recipes_not_identified"])) or "none",
        "recipes taken for granted": "; ".join(json.loads(attrs["recipes_assumed"])) or "nothing",
        "fitted again near the population": ", ".join(json.loads(attrs["refitted"])) or "none",
        "estimator": f"NUTS (nutpie) on mixtures that stand for the studies, {kept}",
        "gate": "passed" if attrs["converged"] else f"NOT CONVERGED: {attrs['problems']}",
        "log evidence": f"{attrs['log_evidence']:.2f} nats",
        "intervals": "90% equal-tailed, over the posterior",
        "random seed": attrs["random_seed"],
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    return pd.DataFrame([{"item": item, "what": str(what)} for item, what in items.items()])
