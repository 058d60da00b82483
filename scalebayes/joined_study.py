"""One study of a population: its draws within it, and what the others expect of it."""

from dataclasses import dataclass

import numpy as np

from scalebayes.diagnostics import effective_draws
from scalebayes.evidence import Evidence, normalised_weights
from scalebayes.mixtures import log_normal
from scalebayes.pooled_draws import (
    hyperparameters,
    log_mean_exp,
    log_predictive,
    study_moments,
)
from scalebayes.pooled_studies import stratified, study_draws
from scalebayes.population import population_without
from scalebayes.population_draws import Population, PopulationCell
from scalebayes.population_trees import study_place

_SEED = 40
_AT_ONCE = 500  # draws of theta against all draws of the population


@dataclass(frozen=True, kw_only=True)
class JoinedStudy:
    """A study in a population, and the population without it at each omega.

    Parameters
    ----------
    population : Population
    i : int
        Position of the study.
    without : tuple of PopulationCell
        By omega.
    """

    population: Population
    i: int
    without: tuple[PopulationCell, ...]

    @property
    def expected_weight(self):
        """Return the weight of each omega given the other studies alone."""
        with np.errstate(divide="ignore"):
            log_prior = np.log(self.population.prior)
        return normalised_weights(log_prior + [x.evidence.log_evidence for x in self.without])

    @property
    def cells(self):
        """Return the population with the study, by omega."""
        return self.population.cells

    def draws(self):
        """Return the study's draws within the population, omega summed out.

        Returns
        -------
        quantities, stats : dict of ndarray
            As `pooled_studies.study_draws`.
        log_prior : ndarray
            [chain, draw], log density of the exponents (and weight of omega) that the other studies
            lead one to expect.
        """
        quantities, stats, position = study_draws(self.population, self.i)
        theta = np.log(np.stack([quantities["alpha"], quantities["beta"]], axis=-1))
        log_prior = np.empty(position.shape)
        for one in np.unique(position):
            there = position == one
            with np.errstate(divide="ignore"):
                log_weight = np.log(self.expected_weight[one])
            log_prior[there] = log_weight + self._log_expected(self.without[one], theta[there])
        return quantities, stats, log_prior

    def expected(self, n):
        """Return n draws of log_alpha, log_beta (and omega) given the other studies alone."""
        rng, parts = self._rng(2), []
        counts = stratified(self.expected_weight, n, rng)
        for without, some in zip(self.without, counts, strict=True):
            mean, spread = self._expectation(without)
            which = rng.integers(len(mean), size=some)
            noise = rng.standard_normal((some, 2))
            theta = mean[which] + np.einsum("nij,nj->ni", np.linalg.cholesky(spread[which]), noise)
            omega = np.nan if without.omega is None else without.omega
            parts.append(np.column_stack([theta, np.full(some, omega)]))
        drawn = rng.permutation(np.concatenate(parts))
        found = {"log_alpha": drawn[:, 0], "log_beta": drawn[:, 1]}
        return found if self.without[0].omega is None else found | {"omega": drawn[:, 2]}

    def evidence(self):
        """Return the `Evidence` of the study's runs given those of the other studies."""
        found = [self._predictive(*pair) for pair in zip(self.cells, self.without, strict=True)]
        with np.errstate(divide="ignore"):
            joint = np.log(self.expected_weight) + [one.log_evidence for one in found]
        own = np.array([one.se for one in found])
        of_weights = np.array([one.bridge_se for one in self.without]) * (len(found) > 1)
        errors = normalised_weights(joint) * np.hypot(own, of_weights)
        return Evidence(
            log_evidence=float(np.logaddexp.reduce(joint)), se=float(np.sqrt(np.sum(errors**2)))
        )

    def place(self):
        """Return the probability of a study as far from the others, at the heaviest omega."""
        best = int(np.argmax(self.population.weight))
        likelihood = self.cells[best].likelihoods[self.i]
        return study_place(likelihood, *self._expectation(self.without[best]))

    def _log_expected(self, without, theta):
        """Return the log density of theta [draw, exponent] that the other studies expect."""
        mean, spread = self._expectation(without)
        parts = np.array_split(theta, max(1, len(theta) // _AT_ONCE))
        densities = [log_normal(some - mean[:, None], spread[:, None]) for some in parts]
        return np.concatenate([log_mean_exp(one, axis=0) for one in densities])

    def _expectation(self, without):
        """Return mean [draw, exponent] and covariance of theta given hyperparameters."""
        return study_moments(_hyperparameters(without), *self._where)

    def _predictive(self, cell, without):
        """Return the evidence of the study's runs at one omega given the other studies."""
        found, own = _hyperparameters(without), cell.cells[self.i].evidence
        log_likelihood = log_predictive(cell.likelihoods[self.i], found, *self._where)
        relative = np.exp(log_likelihood - log_likelihood.max())
        chains = relative.reshape(without.draws.unconstrained.shape[:2])
        error = relative.std() / relative.mean() / np.sqrt(float(effective_draws(chains)))
        return Evidence(
            log_evidence=own.log_evidence + log_mean_exp(log_likelihood),
            se=float(np.hypot(own.se, error)),
        )

    @property
    def _where(self):
        return self.population.recipes.x[self.i], self.population.in_group[self.i]

    def _rng(self, part):
        return np.random.default_rng(self.population.settings.seed(_SEED, part))


def joined_study(population, i):
    """Return the `JoinedStudy` of the study at position i of a population."""
    without = tuple(population_without(population, i, cell.omega) for cell in population.cells)
    return JoinedStudy(population=population, i=i, without=without)


def _hyperparameters(cell):
    z = cell.draws.unconstrained.reshape(-1, len(cell.density.form.latents))
    return hyperparameters(cell.density.form, z)
