"""What a population expects of a study that is not among its own, with a given training recipe."""

import json

import numpy as np
import xarray as xr

from scalebayes import pooled_draws
from scalebayes.errors import InputError
from scalebayes.optimum import allocation_exponent, exponent_at_size
from scalebayes.pooled_studies import stratified
from scalebayes.population_trees import REFERENCE_FAMILY, REFERENCE_SIZE
from scalebayes.recipes import COLUMNS, FACTS, recipe_row


def new_study(population, recipe=None, *, random_seed=1):
    """Return the exponents that a population expects of a new study, in a new group.

    Parameters
    ----------
    population : DataTree
        From `population.pool`.
    recipe : mapping of str to str, optional
        As in `Study.recipe`: warmup ("long"), schedule ("not matched", "constant"), tuning
        ("tuned"). By default none of the recipes whose effects the population knows.
    random_seed : int

    Returns
    -------
    Dataset
        Over (chain, draw), omega summed out where it is latent: `a`, the exponent of N* in C, in
        total counting at 1e9 parameters (in the law's own count where that is fixed); alpha and
        beta, those of the coordinate `omega` of each draw. `attrs["recipe_columns"]` are the
        columns that the recipe has, `attrs["not_identified"]` those whose effect the population
        does not know, both JSON lists.

    Raises
    ------
    InputError
        When `population` is none, or the recipe names something else.
    """
    columns, unknown = _columns(population, dict(recipe or {}))
    omegas, weight = _omegas(population)
    rng = np.random.default_rng(random_seed)
    grid = population["grid"].to_dataset()
    shape = tuple(grid.sizes[name] for name in ("chain", "draw"))
    parts = []
    for position, n in enumerate(stratified(weight, shape[0] * shape[1], rng)):
        found = _hyperparameters(grid.isel(omega=position))
        theta = pooled_draws.new_study(found, columns, rng).reshape(-1, 2)
        theta = theta[rng.permutation(len(theta))[:n]]
        omega = omegas[position]
        parts.append(np.column_stack([theta, _exponent(theta, omega), np.full(n, omega)]))
    drawn = rng.permutation(np.concatenate(parts)).reshape(*shape, 4)
    dims = ("chain", "draw")
    values = {
        "alpha": np.exp(drawn[..., 0]),
        "beta": np.exp(drawn[..., 1]),
        "a": drawn[..., 2],
        "omega": drawn[..., 3],
    }
    dataset = xr.Dataset(
        {name: (dims, x) for name, x in values.items()},
        coords={"chain": np.arange(shape[0]), "draw": np.arange(shape[1])},
    )
    names = _known_columns(population)
    return dataset.assign_attrs(
        recipe_columns=json.dumps([n for n, x in zip(names, columns, strict=True) if x]),
        not_identified=json.dumps(unknown),
        converged=population.attrs["converged"],
    )


def _columns(population, recipe):
    """Return the recipe's 0 or 1 in the population's columns, and its columns that are unknown."""
    if population.attrs.get("kind") != "population":
        msg = "new_study takes a population, as scalebayes.pool returns it."
        raise InputError(msg)
    for name, value in recipe.items():
        if value not in FACTS.get(name, ()):
            msg = f"recipe: {name}={value!r} is not among {FACTS}."
            raise InputError(msg)
    row = dict(zip(COLUMNS, recipe_row(recipe), strict=True))
    names = _known_columns(population)
    unknown = [name for name, value in row.items() if value and name not in names]
    return np.array([row[name] for name in names]), unknown


def _known_columns(population):
    posterior = population["posterior"]
    return [str(x) for x in posterior["recipe"].to_numpy()] if "recipe" in posterior.coords else []


def _omegas(population):
    omegas = population["grid"]["omega"].to_numpy()
    if omegas.size == 1:
        return omegas, np.ones(1)
    weight = population["evidence"]["weight"].sel(omega=omegas).to_numpy()
    return omegas, weight / weight.sum()


def _hyperparameters(posterior):
    found = {}
    names = {"mu": ["exponent"], "sd_between": ["exponent"], "sd_within": ["exponent"]}
    names |= {"correlation": ["level"], "recipe_effect": ["recipe", "exponent"]}
    for name, dims in names.items():
        if name in posterior:
            found[name] = posterior[name].transpose("chain", "draw", *dims).to_numpy()
    return found


def _exponent(theta, omega):
    alpha, beta = np.exp(theta).T
    if np.isnan(omega):
        return allocation_exponent(alpha, beta)
    return exponent_at_size(
        REFERENCE_SIZE, alpha=alpha, beta=beta, omega=omega, architecture=REFERENCE_FAMILY
    )
