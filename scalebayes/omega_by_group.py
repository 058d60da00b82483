"""Sensitivity of a population to its common omega: what if every group has its own?

Each group of studies (one study alone is a group) has an omega of its own, out of a few; each omega
has a mean of its own, for the same runs have other exponents at another omega. Means are never
averaged over omega: what is averaged is the exponent a of a new study in one reported counting.
"""

import json

import numpy as np
import xarray as xr

from scalebayes.diagnostics import diagnose
from scalebayes.errors import InputError
from scalebayes.evidence import bridge_evidence, normalised_weights
from scalebayes.omega_by_group_density import omega_by_group_density
from scalebayes.omega_by_group_model import group_tables
from scalebayes.optimum import exponent_at_size
from scalebayes.pooled_draws import covariance, hyperparameters, new_study
from scalebayes.population_density import EXPONENTS, PRIOR
from scalebayes.population_trees import REFERENCE_FAMILY, REFERENCE_SIZE
from scalebayes.sampling import sample
from scalebayes.trees import versions

COARSE_GRID = (0.0, 1 / 16, 1 / 4, 1.0, 2.0)
"""Omegas that a group may have: what people count (body, one matrix, two) and, between the first
two, a sixteenth and a quarter, at which a vocabulary matrix counts in part. All are starting points
of the population's grid. Neighbours on a finer grid have nearly equal exponents: groups that agree
would be spread over several means, each known from fewer of them."""

SUBSTANTIAL = 3.0
"""Difference of log evidence, nats, from which on one assumption is said to be supported."""

_DIMS = {
    "frequency": ("omega",),
    "mu": ("omega", "exponent"),
    "sd_between": ("exponent",),
    "sd_within": ("exponent",),
    "correlation": ("level",),
    "recipe_effect": ("recipe", "exponent"),
    "omega_weight": ("group", "omega"),
}
_STATS = ("diverging", "energy", "n_steps")


def omega_per_group(population, *, omega=COARSE_GRID):
    """Return what the studies say when every group of them has an omega of its own.

    omega_g of group g is one of `omega`, with frequencies ~ Dirichlet(K p), p the prior weights and
    K their number; given omega_g its studies' log exponents have the mean mu of that omega, with
    the priors of the population, whose spreads and recipe effects hold for all omegas.

    Parameters
    ----------
    population : Population
        Under a latent counting, from `population.population_of`.
    omega : sequence of float
        Values on the population's grid, increasing.

    Returns
    -------
    DataTree
        `posterior`: omega_weight [group, omega], the weight of each group's omega (its mean over
        draws is the posterior weight); mu [omega, exponent], frequency [omega], spreads,
        correlation [level], recipe_effect; new_study_a_total, the exponent a of a new study at
        1e9 total parameters, all counted, and common_new_study_a_total, the same under an omega
        common to all. `evidence` over omega: prior, groups_behind (expected number of groups with
        that omega, on which its mu rests), log_evidence_common. `sample_stats`. `attrs`: log
        evidence of omega per group and of a common one on the same values, their difference (nats)
        with its standard error, and `common_omega`: "supported", "not supported" or "undecided".

    Raises
    ------
    InputError
        When the population's counting is not latent, or an omega is not on its grid.
    """
    cells = _cells_at(population, omega)
    prior = nearest_mass(population.studies[0].hypothesis.omega, omega)
    names, members = _groups(population)
    tables = group_tables(
        [one.likelihoods for one in cells],
        np.array([[cell.evidence.log_evidence for cell in one.cells] for one in cells]),
        population.recipes.x,
        members,
    )
    density = omega_by_group_density(
        tables,
        len(omega) * prior,
        dict(zip(PRIOR, cells[0].density.data[1 : 1 + len(PRIOR)], strict=True)),
    )
    coords = {"group": names, "omega": list(omega), **_recipe_coords(population)}
    coords |= {"exponent": list(EXPONENTS), "level": ["between", "within"]}
    draws, posterior, problems = _gated(density, coords, population.settings)
    own = bridge_evidence(density, draws, seed=population.settings.seed(41))
    rng = np.random.default_rng(population.settings.seed(42))
    posterior = posterior.assign(
        new_study_a_total=(("chain", "draw"), _new_study_a(posterior, rng)),
        common_new_study_a_total=(
            ("chain", "draw"),
            _common_new_study_a(population, cells, prior, posterior, rng),
        ),
    )
    groups = {
        "posterior": posterior,
        "sample_stats": _chains({name: draws.stats[name] for name in _STATS}),
        "evidence": _evidence(cells, prior, posterior),
    }
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = _attrs(population, cells, prior, own, tables.offset, problems)
    return tree


def nearest_mass(prior, omega):
    """Return the prior mass of all omegas nearest to each of a few [omega], summing to 1.

    Parameters
    ----------
    prior : OmegaPrior
    omega : sequence of float
        Increasing.
    """
    omega = np.asarray(omega, dtype=float)
    borders = np.clip((omega[1:] + omega[:-1]) / 2, prior.lower, prior.upper)
    width = np.diff([prior.lower, *borders, prior.upper]) / (prior.upper - prior.lower)
    mass = (1 - prior.atom_mass) * width
    for atom in prior.atoms:
        mass[np.argmin(abs(omega - atom))] += prior.atom_mass / len(prior.atoms)
    return mass / mass.sum()


def _gated(density, coords, settings):
    """Return draws and posterior that pass the gate, or the last of two attempts, and problems."""
    for attempt in range(2):
        draws = sample(
            density,
            density.start,
            draws=settings.draws * 2 ** (attempt + 1),  # several means: slower than one population
            tune=settings.tune * 2**attempt,
            chains=settings.chains,
            cores=settings.cores,
            seed=settings.seed(40, attempt),
            target_accept=(0.98, 0.99)[attempt],
        )
        posterior = _posterior(density, draws, coords)
        problems = diagnose(_flat(posterior.drop_vars("omega_weight")), draws.stats).problems
        if not problems:
            break
    return draws, posterior, problems


def _posterior(density, draws, coords):
    """Return the model's variables at the draws, over (chain, draw)."""
    values = density.variables(draws.unconstrained)
    found = {name: (("chain", "draw", *_DIMS[name]), value) for name, value in values.items()}
    chains, n_draws = draws.log_density.shape
    return xr.Dataset(found, coords | {"chain": np.arange(chains), "draw": np.arange(n_draws)})


def _cells_at(population, omega):
    held = {one.omega: one for one in population.cells}
    if None in held:
        msg = "omega per group needs fits under a latent counting; theirs is fixed."
        raise InputError(msg)
    missing = [value for value in omega if value not in held]
    if missing or len(omega) < 2 or (np.diff(omega) <= 0).any():
        msg = f"omega must be two or more increasing values of {sorted(held)}, got {list(omega)}."
        raise InputError(msg)
    return [held[value] for value in omega]


def _groups(population):
    labels = [one.group for one in population.studies]
    names = list(dict.fromkeys(labels))
    return names, [[i for i, one in enumerate(labels) if one == name] for name in names]


def _recipe_coords(population):
    return {"recipe": list(population.recipes.names)} if population.recipes.names else {}


def _new_study_a(posterior, rng):
    """Return a of a new study of a new group [chain, draw], in total counting."""
    frequency, mu = (posterior[name].to_numpy() for name in ("frequency", "mu"))
    marks = rng.uniform(size=frequency.shape[:2])[..., None] * frequency.sum(-1, keepdims=True)
    picked = np.minimum((np.cumsum(frequency, -1) < marks).sum(-1), frequency.shape[-1] - 1)
    rho, sd = posterior["correlation"].to_numpy(), ("sd_between", "sd_within")
    spread = sum(covariance(posterior[name].to_numpy(), rho[..., i]) for i, name in enumerate(sd))
    mean = np.take_along_axis(mu, picked[..., None, None], axis=2)[..., 0, :]
    noise = rng.standard_normal(mean.shape)
    theta = mean + np.einsum("...ij,...j->...i", np.linalg.cholesky(spread), noise)
    return _a_total(theta, posterior["omega"].to_numpy()[picked])


def _common_new_study_a(population, cells, prior, posterior, rng):
    """Return the same under one omega common to all groups, drawn by its weight."""
    weight = normalised_weights(np.log(prior) + _heights(cells))
    shape = tuple(posterior.sizes[dim] for dim in ("chain", "draw"))
    picked = rng.choice(len(cells), size=shape, p=weight)
    found = np.empty(shape)
    for k, cell in enumerate(cells):
        z = cell.draws.unconstrained.reshape(-1, cell.draws.unconstrained.shape[-1])
        some = z[rng.choice(len(z), size=int((picked == k).sum()))]
        theta = new_study(
            hyperparameters(cell.density.form, some), np.zeros(len(population.recipes.names)), rng
        )
        found[picked == k] = _a_total(theta, cell.omega)
    return found


def _a_total(theta, omega):
    alpha, beta = np.moveaxis(np.exp(theta), -1, 0)
    return exponent_at_size(
        REFERENCE_SIZE, alpha=alpha, beta=beta, omega=omega, architecture=REFERENCE_FAMILY
    )


def _heights(cells):
    return np.array([one.evidence.log_evidence for one in cells])


def _evidence(cells, prior, posterior):
    behind = posterior["omega_weight"].mean(("chain", "draw")).sum("group")
    columns = {
        "prior": ("omega", prior),
        "groups_behind": ("omega", behind.to_numpy()),
        "log_evidence_common": ("omega", _heights(cells)),
        "log_evidence_common_se": ("omega", [one.evidence.se for one in cells]),
        "weight_common": ("omega", normalised_weights(np.log(prior) + _heights(cells))),
    }
    return xr.Dataset(columns, coords={"omega": posterior["omega"].to_numpy()})


def _attrs(population, cells, prior, own, offset, problems):
    log_weight = np.log(prior) + _heights(cells)
    common = float(np.logaddexp.reduce(log_weight))
    # the studies' own evidences, and so their errors, are in both
    studies = [np.sqrt(sum(cell.evidence.se**2 for cell in one.cells)) for one in cells]
    bridges = [
        np.sqrt(max(one.evidence.se**2 - se**2, 0.0))
        for one, se in zip(cells, studies, strict=True)
    ]
    se = float(np.sqrt(own.se**2 + (normalised_weights(log_weight) @ bridges) ** 2))
    difference = own.log_evidence + offset - common
    if not np.isfinite(se):
        problems = (*problems, "log evidence not known")
    return {
        "kind": "omega per group",
        "studies": json.dumps([one.name for one in population.studies]),
        "hypothesis_name": population.studies[0].fit.attrs["hypothesis_name"],
        "log_evidence": own.log_evidence + offset,
        "log_evidence_common": common,
        "log_evidence_difference": difference,
        "log_evidence_difference_se": se,
        "common_omega": _verdict(difference, se),
        "converged": int(not problems),
        "problems": "; ".join(problems),
        "random_seed": population.settings.random_seed,
        "versions": json.dumps(versions()),
    }


def _verdict(difference, se):
    """Return what the log evidence of omega per group, less that of a common one, says."""
    if abs(difference) - 2 * se < SUBSTANTIAL:
        return "undecided"
    return "supported" if difference < 0 else "not supported"


def _chains(values):
    return xr.Dataset({name: (("chain", "draw"), value) for name, value in values.items()})


def _flat(dataset):
    """Return one entry [chain, draw] per element of every variable."""
    flat = {}
    for name, values in dataset.data_vars.items():
        columns = values.to_numpy().reshape(*values.shape[:2], -1)
        flat |= {f"{name}[{i}]": columns[..., i] for i in range(columns.shape[-1])}
    return flat
