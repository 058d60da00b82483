"""Study posteriors -> a population of scaling laws at one common omega.

Exponents are those of the coordinate omega: the mean is never averaged over omega, for the same
runs have an alpha of .13 at omega = 0 and of .35 at omega = 1. Only exponents and recipe effects
pool; E, A and B belong to a study's tokenizer and corpus.
"""

import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import xarray as xr

from scalebayes.counting_grid import NEGLIGIBLE, STARTING_GRID, intervals_to_halve
from scalebayes.diagnostics import diagnose
from scalebayes.errors import InputError, NotConvergedWarning
from scalebayes.evidence import normalised_weights
from scalebayes.gate import Settings
from scalebayes.new_study import new_study
from scalebayes.omega_by_group import omega_per_group
from scalebayes.pooled_draws import (
    hyperparameters,
    pareto_k,
    pooled_log_weights,
    study_predictive,
)
from scalebayes.population_checks import population_checks
from scalebayes.population_density import PRIOR
from scalebayes.population_draws import Population, drawn_population
from scalebayes.population_trees import tree_of_population
from scalebayes.progress import status_line
from scalebayes.recipes import recipe_design
from scalebayes.storage import cached, content_digest, content_key, package_digest
from scalebayes.study_cells import is_latent, pooled_studies, replace_problems, study_cell
from scalebayes.trees import versions

MAX_PARETO_K = 0.7
"""Pareto k of a study's draws, weighted to the population, above which it is fitted again."""

MAX_BRIDGE_SE = 0.1
"""Largest standard error (nats) of a population's own part of the log evidence: a weight on omega
is then known to a tenth of itself."""

_FIRST_LOOK = {"draws": 500, "tune": 500}
_REFITS, _WIDER = 4, 2.0  # rounds; sd of a refit's prior over the population's


def pool(
    fits,
    *,
    draws=1000,
    tune=1000,
    chains=4,
    cores=None,
    random_seed=1,
    prior=None,
    cache=True,
    omega_by_group=False,
    progressbar=None,
):
    """Return the population of scaling exponents that studies' fits come from.

    theta_s = (log alpha, log beta) of study s = mu + g_group + x_s Gamma + e_s at an omega common
    to all studies: g is the effect of the study's group (code base and corpus family), x_s its
    recipe, e_s what is left. mu ~ Normal(log .35, .5), g and e bivariate Normal with standard
    deviations HalfNormal(.3) and HalfNormal(.1), Gamma ~ Normal(0, .3).

    Parameters
    ----------
    fits : iterable of DataTree, or mapping to DataTree
        Fits of different runs under one hypothesis with Normal priors of log alpha and log beta.
        Under a latent counting the population has a grid of omega.
    draws, tune, chains, cores, random_seed
        As in `fit`, of the population's own draws.
    prior : mapping, optional
        Values that replace those of `population_density.PRIOR`.
    cache : bool
        Whether the result, and posteriors that a fit does not hold (at other omegas), are cached
        on disk.
    omega_by_group : bool
        Whether to ask, under a latent counting, what follows when each group has its own omega.
    progressbar : bool, optional
        By default only when stderr is a terminal.

    Returns
    -------
    DataTree
        `posterior`: hyperparameters at the heaviest omega; `studies`: log alpha and log beta of
        each study alone and in the population at that omega, and its exponent and tokens per
        parameter at 5.76e23 FLOP in total counting, omega summed out; `grid` and `evidence` over
        omega; `prior`; `sample_stats`; `checks`: conclusions without each study and under other
        priors, see `population_checks`; `new_study`, see
        there, without recipes; `omega_by_group` where asked for, see that module;
        `constant_data`: group, recipe and Pareto k of each study. `attrs` say whether it converged,
        which omega is shown, and what is not identified.

    Raises
    ------
    InputError
        When there are fewer than two fits, two are of the same runs, their hypotheses or priors
        are not equal, or a setting is out of range.

    Warns
    -----
    NotConvergedWarning
        When a study's or the population's draws fail the gate; `attrs["converged"]` is then 0.
    """
    settings = pool_settings(draws, tune, chains, cores, random_seed)
    studies = pooled_studies(fits)

    def pooled():
        with status_line(progressbar, "pool") as advance:
            return _pooled(studies, settings, prior, cache, omega_by_group, advance)

    key = _key(studies, settings, checked_prior(prior), omega_by_group)
    tree = cached(key, pooled, cache=cache)
    if not tree.attrs["converged"]:
        warnings.warn(f"pool: {tree.attrs['problems']}", NotConvergedWarning, stacklevel=2)
    return tree


def _pooled(studies, settings, prior, cache, omega_by_group, advance):
    found = population_of(studies, settings, prior=prior, cache=cache, advance=advance)
    tree = tree_of_population(found)
    tree["new_study"] = xr.DataTree(new_study(tree, random_seed=settings.random_seed))
    if advance is not None:
        advance("each omega")
    tree["checks"] = xr.DataTree(population_checks(found, redraw_of(found)))
    if omega_by_group and is_latent(studies):
        tree["omega_by_group"] = omega_per_group(found)
    return tree


def _key(studies, settings, prior, omega_by_group):
    """Return the name of a population in the cache: what its numbers depend on."""
    return content_key(
        kind="population",
        fits=[content_digest(one.fit) for one in studies],
        settings=[settings.draws, settings.tune, settings.chains, settings.random_seed],
        prior=prior,
        omega_by_group=omega_by_group,
        versions=versions(),
        code=package_digest(),
    )


def population_of(studies, settings, *, prior=None, cache=True, advance=None, attempts=3):
    """Return the `Population` of studies.

    Parameters
    ----------
    studies : sequence of PooledStudy
    settings : Settings
    prior, cache
        As in `pool`.
    advance : callable, optional
        Called with a text after each omega.
    attempts : int
        How often, 1 to 3, draws of the population are made until they pass the gate.
    """
    builder = _Builder(tuple(studies), settings, checked_prior(prior), cache, advance, attempts)
    if not is_latent(studies):
        return builder.population({None: builder.settled(None)})
    omega_prior = studies[0].hypothesis.omega
    wanted = {omega_prior.lower, omega_prior.upper, *omega_prior.atoms}
    wanted |= {omega for omega in STARTING_GRID if omega_prior.lower <= omega <= omega_prior.upper}
    cells, pending = {}, set(pairwise(sorted(wanted)))
    while wanted:
        cells |= {omega: builder.first_look(omega) for omega in sorted(wanted)}
        omega, weight, heights = _grid(cells, omega_prior)
        pending = intervals_to_halve(omega, weight, heights, omega_prior, pending)
        wanted = {(left + right) / 2 for left, right in pending}
    return builder.population(_all_settled(cells, builder, omega_prior))


def population_without(population, i, omega):
    """Return the population at one omega of all studies but one, from few draws, unchecked.

    Parameters
    ----------
    population : Population
    i : int
        Position of the study left out; the recipes and the groups stay as they are.
    omega : float or None

    Returns
    -------
    PopulationCell
    """
    cell = next(one for one in population.cells if one.omega == omega)
    kept = [j for j in range(len(population.studies)) if j != i]
    x, in_group = population.recipes.x[kept], population.in_group[kept]
    return drawn_population(
        omega,
        [cell.cells[j] for j in kept],
        x=x,
        in_group=in_group,
        prior=population.hyperprior,
        settings=replace(population.settings, **_FIRST_LOOK),
        attempt=9,
    )


def redraw_of(population):
    """Return a function that draws a population at one omega again, with a change.

    Parameters
    ----------
    population : Population

    Returns
    -------
    callable
        (omega, position of a study left out or None, prior or None) -> PopulationCell, from few
        draws, unchecked.
    """

    def redraw(omega, left_out, prior):
        if left_out is not None:
            return population_without(population, left_out, omega)
        cell = next(one for one in population.cells if one.omega == omega)
        return drawn_population(
            omega,
            cell.cells,
            x=population.recipes.x,
            in_group=population.in_group,
            prior=prior,
            settings=replace(population.settings, **_FIRST_LOOK),
            attempt=9,
        )

    return redraw


def checked_prior(prior):
    """Return the whole prior of a population, with given values in place of `PRIOR`.

    Raises
    ------
    InputError
        When a name is unknown or a scale not positive and finite.
    """
    given = dict(prior or {})
    for name, value in given.items():
        if name not in PRIOR:
            msg = f"prior: unknown {name!r}; allowed are {list(PRIOR)}."
            raise InputError(msg)
        if not np.isfinite(value) or (value <= 0 and name != "mu_location"):
            msg = f"prior: {name} must be finite and, as a scale, positive, got {value!r}."
            raise InputError(msg)
    return PRIOR | {name: float(value) for name, value in given.items()}


def pool_settings(draws, tune, chains, cores, random_seed):
    """Return checked `Settings` of a population's draws.

    Raises
    ------
    InputError
        When a number is out of range.
    """
    for name, value, least in (("draws", draws, 100), ("tune", tune, 100), ("chains", chains, 2)):
        if not isinstance(value, int | np.integer) or value < least:
            msg = f"{name} must be a whole number of at least {least}, got {value!r}."
            raise InputError(msg)
    # nutpie waits for ever on no core
    if cores is not None and (not isinstance(cores, int | np.integer) or cores < 1):
        msg = f"cores must be a whole number of at least 1, or None, got {cores!r}."
        raise InputError(msg)
    if not isinstance(random_seed, int | np.integer) or not 0 <= random_seed < 2**63:
        msg = f"random_seed must be a whole number >= 0 and below 2^63, got {random_seed!r}."
        raise InputError(msg)
    return Settings(
        draws=int(draws),
        tune=int(tune),
        chains=int(chains),
        cores=cores,
        random_seed=int(random_seed),
    )


class _Builder:
    """Draws the population at one omega after the other."""

    def __init__(self, studies, settings, prior, cache, advance, attempts):
        self.studies, self.settings, self.prior = studies, settings, prior
        self.cache, self.advance, self.attempts = cache, advance or (lambda text: None), attempts
        labels = [one.group for one in studies]
        self.groups = tuple(name for name in dict.fromkeys(labels) if labels.count(name) > 1)
        self.in_group = np.array([[float(one == name) for name in self.groups] for one in labels])
        self.in_group = self.in_group.reshape(len(labels), len(self.groups))
        self.recipes = recipe_design(
            [one.recipe for one in studies], labels, [one.name for one in studies]
        )

    def population(self, cells):
        """Return the whole, with the prior weights of the omegas."""
        omega = sorted(cells, key=lambda value: -1.0 if value is None else value)
        prior = np.ones(1)
        if None not in cells:
            prior = self.studies[0].hypothesis.omega.weights(np.array(omega))
        return Population(
            studies=self.studies,
            recipes=self.recipes,
            groups=self.groups,
            in_group=self.in_group,
            cells=tuple(cells[value] for value in omega),
            prior=prior,
            hyperprior=self.prior,
            settings=self.settings,
        )

    def cells(self, omega):
        """Return every study's cell at an omega, unchecked."""
        return [self._cell(study, omega) for study in self.studies]

    def first_look(self, omega):
        """Return the population at an omega from few draws, unchecked."""
        found = self._looked(omega, self.cells(omega))
        self.advance("" if omega is None else f"omega {omega:g}")
        return found

    def settled(self, omega, look=None):
        """Return the population at an omega that carries weight: checked, with refits.

        Which studies to fit again is first asked of few draws, those of a first look; the draws
        that are kept, made last, are asked again.
        """
        unchecked = self.cells(omega) if look is None else look.cells
        pairs = zip(self.studies, unchecked, strict=True)
        cells = [self._checked_cell(study, omega, held) for study, held in pairs]
        alone, refitted, refits_left = tuple(cells), [], _REFITS
        found, in_full = look, look is None
        if in_full:
            found = self._gated(omega, cells)
        elif not all(map(_is_alike, cells, unchecked)):
            found = self._looked(omega, cells)
        while True:
            weights = [
                pooled_log_weights(found, self, i, seed=self.settings.seed(21))
                for i in range(len(cells))
            ]
            k = pareto_k(weights)
            again = [i for i, value in enumerate(k) if value > MAX_PARETO_K]
            if again and refits_left:
                for i in again:
                    mean, sd = study_predictive(found, self, i)
                    near = (mean, _WIDER * sd)
                    cells[i] = self._cell(self.studies[i], omega, checked=True, prior=near)
                    refitted.append(self.studies[i].name)
                refits_left -= 1
                found, in_full = self._looked(omega, cells), False
            elif in_full:
                break
            else:
                found, in_full = self._gated(omega, cells), True
        self.advance("" if omega is None else f"omega {omega:g}")
        problems = [
            f"{study.name}: {problem}"
            for study, cell in zip(self.studies, cells, strict=True)
            for problem in cell.problems or ()
        ]
        problems += [
            f"{self.studies[i].name}: Pareto k {k[i]:.2f} after {_REFITS} rounds of refits"
            for i in again
        ]
        return replace(
            found,
            alone=alone,
            pareto_k=k,
            pooled_log_weights=tuple(weights),
            refitted=tuple(dict.fromkeys(refitted)),
            problems=(*found.problems, *problems),
        )

    def _checked_cell(self, study, omega, held):
        """Return a study's cell after the gate looked at it; the same draws where they pass."""
        checked = self._cell(study, omega, checked=True, first=held)
        same = np.array_equal(held.theta, checked.theta)
        return replace_problems(held, checked.problems or ()) if same else checked

    def _cell(self, study, omega, **options):
        seed = self.settings.random_seed
        return study_cell(study, omega, random_seed=seed, cache=self.cache, **options)

    def _looked(self, omega, cells):
        return self._drawn(omega, cells, replace(self.settings, **_FIRST_LOOK), attempt=9)

    def _gated(self, omega, cells):
        for attempt in range(self.attempts):
            found = self._drawn(omega, cells, self.settings, attempt=attempt)
            diagnostics = diagnose(
                _flat(hyperparameters(found.density.form, found.draws.unconstrained)),
                found.draws.stats,
            )
            problems = list(diagnostics.problems)
            if not found.bridge_se <= MAX_BRIDGE_SE:
                problems.append(f"log evidence known to {found.bridge_se:.3f} nats only")
            found = replace(found, diagnostics=diagnostics, problems=tuple(problems))
            if not problems:
                break
        return found

    def _drawn(self, omega, cells, settings, *, attempt):
        design = {"x": self.recipes.x, "in_group": self.in_group, "prior": self.prior}
        return drawn_population(omega, cells, settings=settings, attempt=attempt, **design)


def _is_alike(cell, other):
    return cell.likelihood is other.likelihood


def _all_settled(cells, builder, prior):
    """Return the cells after those that carry weight were drawn in full and checked."""
    settled = set()
    while True:
        omega, weight, _ = _grid(cells, prior)
        due = set(omega[weight > NEGLIGIBLE]) - settled
        if not due:
            return cells
        for value in sorted(due):
            cells[value] = builder.settled(value, cells[value])
        settled |= due


def _grid(cells, prior):
    omega = np.array(sorted(cells))
    heights = np.array([cells[value].evidence.log_evidence for value in omega])
    with np.errstate(divide="ignore"):
        return omega, normalised_weights(np.log(prior.weights(omega)) + heights), heights


def _flat(quantities):
    """Return one entry [chain, draw] per element of hyperparameters."""
    flat = {}
    for name, values in quantities.items():
        columns = values.reshape(*values.shape[:2], -1)
        flat |= {f"{name}[{i}]": columns[..., i] for i in range(columns.shape[-1])}
    return flat
