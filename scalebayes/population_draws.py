"""A population at one omega: what it is, and draws of its hyperparameters."""

from dataclasses import dataclass, field, replace

import numpy as np

from scalebayes.diagnostics import Diagnostics
from scalebayes.evidence import Evidence, bridge_evidence, normalised_weights
from scalebayes.gate import Settings
from scalebayes.mixtures import Mixture, padded
from scalebayes.population_density import PRIOR, PopulationDensity, population_density
from scalebayes.recipes import RecipeDesign
from scalebayes.sampling import Draws, sample
from scalebayes.study_cells import Cell, PooledStudy

NO_OMEGA = 1000.0
"""Stands for a fixed counting in the path of a seed."""


@dataclass(frozen=True, kw_only=True)
class PopulationCell:
    """The population at one omega.

    Parameters
    ----------
    omega : float or None
        None where the counting of the fits is fixed.
    cells : tuple of Cell
        One per study.
    alone : tuple of Cell
        One per study, none of them fitted again near the population.
    likelihoods : tuple of Mixture
        One per study, over the study's evidence.
    density : PopulationDensity
    draws : Draws
        Of the hyperparameters.
    evidence : Evidence
        Log marginal likelihood of all studies' runs at this omega.
    bridge_se : float
        Standard error of what the population adds to the studies' own evidences, nats.
    pareto_k : ndarray
        [study], of weights averaged over draws of the population; NaN when nobody looked.
    pooled_log_weights : tuple of ndarray or None
        Per study, as `pooled_draws.pooled_log_weights`; None when nobody looked.
    refitted : tuple of str
        Studies that were fitted again under a prior near the population.
    diagnostics : Diagnostics or None
    problems : tuple of str
    """

    omega: float | None
    cells: tuple[Cell, ...]
    likelihoods: tuple[Mixture, ...]
    density: PopulationDensity
    draws: Draws
    evidence: Evidence
    pareto_k: np.ndarray
    bridge_se: float = 0.0
    alone: tuple[Cell, ...] = ()
    pooled_log_weights: tuple[np.ndarray, ...] | None = None
    refitted: tuple[str, ...] = ()
    diagnostics: Diagnostics | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Population:
    """Studies, their recipes, and the population at each omega.

    Parameters
    ----------
    studies : tuple of PooledStudy
    recipes : RecipeDesign
    groups : tuple of str
        Groups of several studies.
    in_group : ndarray
        [study, group], 1 where a study is of that group.
    cells : tuple of PopulationCell
        By increasing omega.
    prior : ndarray
        Prior weight of each omega.
    settings : Settings
    hyperprior : dict
        Values of `population_density.PRIOR`, with those that were changed.
    """

    studies: tuple[PooledStudy, ...]
    recipes: RecipeDesign
    groups: tuple[str, ...]
    in_group: np.ndarray
    cells: tuple[PopulationCell, ...]
    prior: np.ndarray
    settings: Settings
    hyperprior: dict = field(default_factory=lambda: dict(PRIOR))

    @property
    def weight(self):
        """Return the posterior weight of each omega."""
        with np.errstate(divide="ignore"):
            log_prior = np.log(self.prior)
        return normalised_weights(log_prior + self.log_evidence)

    @property
    def log_evidence(self):
        """Return the log evidence of each omega, nats."""
        return np.array([one.evidence.log_evidence for one in self.cells])


def drawn_population(omega, cells, *, x, in_group, prior, settings, attempt):
    """Return the population at one omega from its studies' cells, unchecked.

    Parameters
    ----------
    omega : float or None
    cells : sequence of Cell
        One per study.
    x, in_group : ndarray
        [study, recipe] and [study, group], as in `population_density.population_density`.
    prior : dict
        As `population_density.PRIOR`.
    settings : Settings
    attempt : int
        0 as asked, 1 and 2 with more draws and a higher target; others are quick looks.

    Returns
    -------
    PopulationCell
    """
    seed = settings.seed(attempt, 20, NO_OMEGA if omega is None else float(omega))
    likelihoods = tuple(cell.likelihood for cell in cells)
    tables = np.array([padded(one) for one in likelihoods])
    density = population_density(tables, x, in_group, prior)
    several = 2**attempt if attempt < 3 else 1
    draws = sample(
        density,
        _start(density.form, prior),
        draws=settings.draws * several,
        tune=settings.tune * several,
        chains=settings.chains,
        cores=settings.cores,
        seed=seed,
        target_accept=(0.95, 0.99, 0.995)[attempt] if attempt < 3 else 0.9,
    )
    own = [cell.evidence for cell in cells]
    bridge = bridge_evidence(density, draws, seed=seed)
    return PopulationCell(
        omega=omega,
        cells=tuple(cells),
        alone=tuple(cells),
        likelihoods=likelihoods,
        density=density,
        draws=_thinned(draws, several),
        evidence=Evidence(
            log_evidence=bridge.log_evidence + sum(one.log_evidence for one in own),
            se=float(np.sqrt(bridge.se**2 + sum(one.se**2 for one in own))),
        ),
        bridge_se=bridge.se,
        pareto_k=np.full(len(cells), np.nan),
    )


def _start(form, prior):
    start = np.zeros(len(form.latents))
    start[:2] = prior["mu_location"]
    start[2:4], start[4:6] = np.log(prior["between"]), np.log(prior["within"])
    return start


def _thinned(draws, step):
    if step == 1:
        return draws
    return replace(
        draws,
        unconstrained=draws.unconstrained[:, ::step],
        log_density=draws.log_density[:, ::step],
        stats={name: values[:, ::step] for name, values in draws.stats.items()},
    )
