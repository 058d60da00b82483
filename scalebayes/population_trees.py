"""A population -> the `DataTree` that people and every later step read."""

import json

import numpy as np
import xarray as xr
from scipy import stats

from scalebayes.counting import Architecture
from scalebayes.optimum import allocation_exponent, exponent_at_size
from scalebayes.pooled_draws import (
    covariance,
    hyperparameters,
    new_study,
    pooled_indices,
)
from scalebayes.pooled_studies import study_optima
from scalebayes.population_density import EXPONENTS
from scalebayes.trees import versions

REFERENCE_SIZE = 1e9
"""Total parameters at which the population's exponent is stated in total counting."""

REFERENCE_FAMILY = Architecture(aspect_ratio=39.2, vocab_size=32000, tied=True)
"""Models for which it is stated: those of Pearce & Song (2024), arXiv:2406.12907."""

MAX_STUDY_MISFIT = 0.01
"""Probability of a study's place below which it is called outside the population."""

_PRIOR_DRAWS = 4000
_DIMS = {
    "mu": ("exponent",),
    "sd_between": ("exponent",),
    "sd_within": ("exponent",),
    "correlation": ("level",),
    "recipe_effect": ("exponent", "recipe"),
    "recipe_effect_a": ("recipe",),
    "group_effect": ("exponent", "group"),
    "new_study": ("exponent",),
}


def tree_of_population(population):
    """Return a population as a DataTree.

    Parameters
    ----------
    population : Population

    Returns
    -------
    DataTree
        As in `population.pool`.
    """
    weight = population.weight
    best = int(np.argmax(weight))
    shown = population.cells[best]
    rng = np.random.default_rng(population.settings.seed(30))
    quantities = _quantities(population, shown, rng)
    groups = {
        "posterior": _dataset(quantities, population),
        "sample_stats": _chains({**shown.draws.stats, "lp": shown.draws.log_density}),
        "studies": _studies(population, shown, rng).merge(study_optima(population)),
        "constant_data": _constant(population, shown),
        "prior": _prior(population, rng),
        "evidence": evidence_over_omega(population),
    }
    kept = [i for i, one in enumerate(population.cells) if one.diagnostics is not None]
    every = [_quantities(population, population.cells[i], rng) for i in kept]
    stacked = {name: np.stack([one[name] for one in every]) for name in quantities}
    groups["grid"] = _dataset(
        stacked, population, omega=[_label(population.cells[i]) for i in kept]
    )
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = _attrs(population, shown, weight[best])
    return tree


def study_place(likelihood, mean, spread):
    """Return the probability of a study as far from the population as this one.

    Parameters
    ----------
    likelihood : Mixture
        The study's own, over its evidence.
    mean, spread : ndarray
        [draw, exponent] and [draw, exponent, exponent], what the population without this study
        expects.

    Returns
    -------
    float
        Upper tail of chi-squared with two degrees of freedom at the squared Mahalanobis distance
        between the study's likelihood and the expectation, both widths counted.
    """
    centre, own = likelihood.moments()
    expected, between = mean.mean(0), np.cov(mean.T) + spread.mean(0)
    apart = centre - expected
    return float(stats.chi2.sf(apart @ np.linalg.solve(own + between, apart), df=2))


def _quantities(population, cell, rng):
    """Return hyperparameters and what follows from them, each [chain, draw, ...]."""
    found = hyperparameters(cell.density.form, cell.draws.unconstrained)
    mu = found["mu"]
    found["a"] = _exponent_a(mu)
    if "recipe_effect" in found:
        shifted = mu[..., None, :] + found["recipe_effect"]
        found["recipe_effect_a"] = _exponent_a(shifted) - found["a"][..., None]
    found["new_study"] = new_study(found, np.zeros(len(population.recipes.names)), rng)
    found["new_study_a"] = _exponent_a(found["new_study"])
    if cell.omega is not None:
        for name in ("mu", "new_study"):
            alpha, beta = np.moveaxis(np.exp(found[name]), -1, 0)
            label = "a_total" if name == "mu" else "new_study_a_total"
            found[label] = exponent_at_size(
                REFERENCE_SIZE,
                alpha=alpha,
                beta=beta,
                omega=cell.omega,
                architecture=REFERENCE_FAMILY,
            )
    return found


def _exponent_a(theta):
    alpha, beta = np.moveaxis(np.exp(theta), -1, 0)
    return allocation_exponent(alpha, beta)


def _studies(population, cell, rng):
    """Return log exponents of each study, alone and in the population, at one omega."""
    z = cell.draws.unconstrained
    shape = z.shape[:2]
    seed = population.settings.seed(31)
    columns = {"pooled": [], "own": []}
    n = shape[0] * shape[1]
    for i, (study, alone) in enumerate(zip(cell.cells, cell.alone, strict=True)):
        picks = pooled_indices(cell, population, i, n, seed=seed)
        own = alone.theta.reshape(-1, 2)
        some = rng.choice(len(own), size=n, replace=len(own) < n)
        columns["pooled"].append(study.theta.reshape(-1, 2)[picks].reshape(*shape, 2))
        columns["own"].append(own[some].reshape(*shape, 2))
    values = {}
    for kind, parts in columns.items():
        theta = np.stack(parts)
        prefix = "" if kind == "pooled" else "own_"
        for position, name in enumerate(EXPONENTS):
            values[f"{prefix}log_{name}"] = (("study", "chain", "draw"), theta[..., position])
        values[f"{prefix}a"] = (("study", "chain", "draw"), _exponent_a(theta))
    coords = {
        "study": _names(population),
        "chain": np.arange(shape[0]),
        "draw": np.arange(shape[1]),
    }
    return xr.Dataset(values, coords=coords)


def _constant(population, cell):
    recipes = population.recipes
    coords = {"study": _names(population), "recipe": list(recipes.names)}
    values = {
        "group": ("study", np.array([one.group for one in population.studies], dtype=str)),
        "x": (("study", "recipe"), recipes.x),
        "pareto_k": ("study", cell.pareto_k),
        "log_evidence": ("study", [one.evidence.log_evidence for one in cell.alone]),
        "n_runs": ("study", [one.fit.attrs["n_used"] for one in population.studies]),
    }
    return xr.Dataset(values, coords=coords)


def _prior(population, rng):
    """Return draws of the hyperparameters from their prior."""
    prior = _prior_of(population)
    shape = (1, _PRIOR_DRAWS)
    found = {
        "mu": prior["mu_location"] + prior["mu_sd"] * rng.standard_normal((*shape, 2)),
        "sd_between": prior["between"] * np.abs(rng.standard_normal((*shape, 2))),
        "sd_within": prior["within"] * np.abs(rng.standard_normal((*shape, 2))),
        "correlation": 2 * rng.beta(2, 2, size=(*shape, 2)) - 1,
    }
    n_recipes = len(population.recipes.names)
    if n_recipes:
        found["recipe_effect"] = prior["recipe_sd"] * rng.standard_normal((*shape, n_recipes, 2))
        shifted = found["mu"][..., None, :] + found["recipe_effect"]
        found["recipe_effect_a"] = _exponent_a(shifted) - _exponent_a(found["mu"])[..., None]
    if population.groups:
        spread = covariance(found["sd_between"], found["correlation"][..., 0])
        noise = rng.standard_normal((*shape, len(population.groups), 2))
        found["group_effect"] = np.einsum("...ij,...gj->...gi", np.linalg.cholesky(spread), noise)
    found["a"] = _exponent_a(found["mu"])
    found["new_study"] = new_study(found, np.zeros(n_recipes), rng)
    found["new_study_a"] = _exponent_a(found["new_study"])
    return _dataset(found, population)


def evidence_over_omega(population):
    """Return a Dataset of evidence, prior and weight of each omega and what the gate says of it."""
    omega = [_label(one) for one in population.cells]
    looked = [one.diagnostics for one in population.cells]
    columns = {
        "log_evidence": population.log_evidence,
        "log_evidence_se": [one.evidence.se for one in population.cells],
        "prior": population.prior,
        "weight": population.weight,
        **{
            name: [np.nan if one is None else float(getattr(one, name)) for one in looked]
            for name in ("r_hat", "ess_bulk", "ess_tail", "bfmi", "divergences")
        },
        "pareto_k": [float(np.max(one.pareto_k)) for one in population.cells],
        "status": [
            "negligible" if one.diagnostics is None else "; ".join(one.problems) or "converged"
            for one in population.cells
        ],
    }
    values = {name: ("omega", np.asarray(value)) for name, value in columns.items()}
    studies = [[cell.evidence.log_evidence for cell in one.alone] for one in population.cells]
    values["study_log_evidence"] = (("omega", "study"), np.array(studies))
    return xr.Dataset(values, coords={"omega": omega, "study": _names(population)})


def _attrs(population, shown, weight):
    first = population.studies[0].fit.attrs
    problems = [
        problem if one.omega is None else f"omega {one.omega:g}: {problem}"
        for one in population.cells
        for problem in one.problems
    ]
    problems += [
        f"{one.name} alone did not converge"
        for one in population.studies
        if not one.fit.attrs["converged"]
    ]
    problems = list(dict.fromkeys(problems))
    recipes = population.recipes
    return {
        "kind": "population",
        "studies": json.dumps(_names(population)),
        "hypothesis": first["hypothesis"],
        "hypothesis_name": first["hypothesis_name"],
        "counting": first["counting"],
        "omega": "" if shown.omega is None else float(shown.omega),
        "omega_weight": float(weight),
        "log_evidence": float(_total_evidence(population)),
        "converged": int(not problems),
        "problems": "; ".join(problems),
        "refitted": json.dumps(list(shown.refitted)),
        "recipes_not_identified": json.dumps(list(recipes.not_identified)),
        "recipes_assumed": json.dumps(list(recipes.assumed)),
        "population_prior": json.dumps(_prior_of(population)),
        "random_seed": population.settings.random_seed,
        "versions": json.dumps(versions()),
        "data_hashes": json.dumps([one.fit.attrs["data_hash"] for one in population.studies]),
    }


def _total_evidence(population):
    with np.errstate(divide="ignore"):
        return np.logaddexp.reduce(np.log(population.prior) + population.log_evidence)


def _prior_of(population):
    return dict(population.hyperprior)


def _names(population):
    return [one.name for one in population.studies]


def _label(cell):
    return np.nan if cell.omega is None else cell.omega


def _dataset(quantities, population, omega=None):
    lead = ("chain", "draw") if omega is None else ("omega", "chain", "draw")
    shape = quantities["a"].shape
    coords = dict(zip(lead, map(np.arange, shape), strict=True))
    if omega is not None:
        coords["omega"] = omega
    coords["exponent"], coords["level"] = list(EXPONENTS), ["between", "within"]
    coords |= {"recipe": list(population.recipes.names)} if population.recipes.names else {}
    coords |= {"group": list(population.groups)} if population.groups else {}
    values = {}
    for name, value in quantities.items():
        dims = _DIMS.get(name, ())
        # ArviZ 1.3's summary mislabels variables whose dims come in another order than elsewhere
        values[name] = ((*lead, *dims), np.swapaxes(value, -1, -2) if len(dims) == 2 else value)
    return xr.Dataset(values, coords=coords).assign_attrs(inference_library="nutpie")


def _chains(values):
    return xr.Dataset({name: (("chain", "draw"), value) for name, value in values.items()})
