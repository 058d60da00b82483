"""Each study's law within the population, omega summed out, and its compute-optimal models."""

import numpy as np
import xarray as xr

from scalebayes.counting_grid import NEGLIGIBLE
from scalebayes.optimum import CHINCHILLA_COMPUTE, optimal
from scalebayes.pooled_draws import pooled_indices

_SEED = 40


def stratified(weight, n, rng):
    """Return how many of n draws each weight gets: its share, rounded up or down at random."""
    ends = np.floor(np.cumsum(weight) / np.sum(weight) * n + rng.uniform()).astype(int)
    ends[-1] = n
    return np.diff(np.minimum(ends, n), prepend=0)


def omega_weight(population):
    """Return the posterior weight of each omega; 0 where it is negligible."""
    weight = np.where(population.weight > NEGLIGIBLE, population.weight, 0.0)
    return weight / weight.sum()


def study_draws(population, i):
    """Return a study's draws within the population, omega summed out.

    Parameters
    ----------
    population : Population
    i : int
        Position of the study.

    Returns
    -------
    quantities, stats : dict of ndarray
        Each [chain, draw, ...], in random order; omega among the quantities where it varies.
    position : ndarray
        [chain, draw], which omega of the population each draw is of.
    """
    settings = population.settings
    shape, rng = (settings.chains, settings.draws), np.random.default_rng(settings.seed(_SEED, i))
    counts = stratified(omega_weight(population), shape[0] * shape[1], rng)
    parts = [_picked(population, i, position, n) for position, n in enumerate(counts) if n]
    order = rng.permutation(shape[0] * shape[1])
    names = set.intersection(*map(set, parts))  # some cells hold run effects, some do not
    whole = {
        name: np.concatenate([one[name] for one in parts])[order]
        for name in parts[0]
        if name in names
    }
    whole = {name: x.reshape(*shape, *x.shape[1:]) for name, x in whole.items()}
    position = whole.pop("position")
    stats = {name: whole.pop(name) for name in population.cells[0].cells[i].stats}
    return whole, stats, position


def _picked(population, i, position, n):
    cell = population.cells[position]
    picks = pooled_indices(cell, population, i, n, seed=population.settings.seed(_SEED))
    study = cell.cells[i]
    found = {
        name: x.reshape(-1, *x.shape[2:])[picks]
        for name, x in {**study.quantities, **study.stats}.items()
    }
    if cell.omega is not None:
        found["omega"] = np.full(n, cell.omega)
    return found | {"position": np.full(n, position)}


def study_optima(population):
    """Return the compute-optimal models of each study at Chinchilla's budget, in total counting.

    Parameters
    ----------
    population : Population

    Returns
    -------
    Dataset
        exponent and tokens_per_parameter [study, chain, draw] within the population, own_exponent
        and own_tokens_per_parameter of each study alone, omega summed out in both; C = 6ND, models
        of the study's own shape. NaN where that shape is needed and not known.
    """
    shape = (population.settings.chains, population.settings.draws)
    columns = {}
    for i, study in enumerate(population.studies):
        quantities, _, _ = study_draws(population, i)
        pooled = _with_posterior(study.fit, quantities)
        for prefix, one in (("", pooled), ("own_", study.fit)):
            for name, values in _optimum(one, shape).items():
                columns.setdefault(f"{prefix}{name}", []).append(values)
    coords = {
        "study": [one.name for one in population.studies],
        "chain": np.arange(shape[0]),
        "draw": np.arange(shape[1]),
    }
    dims = ("study", "chain", "draw")
    return xr.Dataset({name: (dims, np.stack(x)) for name, x in columns.items()}, coords=coords)


def _with_posterior(fit, quantities):
    """Return what `optimal` reads of a fit, with other draws."""
    flat = {name: (("chain", "draw"), x) for name, x in quantities.items() if x.ndim == 2}
    posterior = fit["posterior"].to_dataset()
    fixed = {"omega"} & (set(posterior) - set(flat))
    coords = {
        name: np.arange(size)
        for name, size in zip(("chain", "draw"), flat["alpha"][1].shape, strict=True)
    }
    dataset = xr.Dataset(flat, coords=coords)
    for name in fixed:  # the counting of the fit is fixed
        dataset[name] = xr.full_like(dataset["alpha"], float(posterior[name].mean()))
    tree = xr.DataTree.from_dict(
        {"posterior": dataset, "constant_data": fit["constant_data"].to_dataset()}
    )
    tree.attrs = dict(fit.attrs)
    return tree


def _optimum(fit, shape):
    names = ("exponent", "tokens_per_parameter")
    family = "study" if fit.attrs["architecture"] else None
    try:
        best = optimal(fit, CHINCHILLA_COMPUTE, counting="total", architecture=family)
    except ValueError:  # no total count without the shapes of the models
        return {name: np.full(shape, np.nan) for name in names}
    best = best.isel(compute=0)
    return {
        name: _resized(best[name].transpose("chain", "draw").to_numpy(), shape) for name in names
    }


def _resized(values, shape):
    """Return draws in another shape: repeated or thinned, evenly."""
    flat = values.ravel()
    if values.shape == shape:
        return values
    return flat[np.linspace(0, flat.size - 1, shape[0] * shape[1]).astype(int)].reshape(shape)
