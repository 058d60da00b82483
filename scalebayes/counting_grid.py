"""Latent counting: one posterior with its evidence per value of omega, and their weights.

Along omega a posterior can have two humps that a gradient sampler does not cross. On a grid each
hump is a cell of its own, and the weight of a counting is its prior times its evidence.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from scalebayes.build import run_data
from scalebayes.compiled import log_density
from scalebayes.evidence import Evidence, normalised_weights, reweighted_evidence
from scalebayes.gate import (
    MAX_EVIDENCE_SE,
    Posterior,
    checked_posterior,
    draw_posterior,
    log_prior,
)

STARTING_GRID = (0.0, 1 / 16, 1 / 4, 1 / 2, 1.0, 2.0, 3.0)
"""Values of omega that are always looked at: close together near 0, where a vocabulary matrix is
the larger part of a small model and little of it changes the law."""

NEGLIGIBLE = 0.01
"""Weight below which a cell is neither refined nor bound by the gate."""

_MOVED = 0.02  # mass that a halving may move without a further look; a third of it is left to move
_REFINED_WEIGHT, _REFINED_STEP, _SMALLEST_GAP = 0.05, 3.0, 1 / 32
_MAX_REFERENCE_SE = 1.5 * MAX_EVIDENCE_SE  # that of the cell and of the reweighting


@dataclass(frozen=True, kw_only=True)
class CountingGrid:
    """Posteriors along omega.

    Parameters
    ----------
    omega : ndarray
        Increasing values [omega].
    posteriors : tuple of Posterior
        One per omega; those of weight <= `NEGLIGIBLE` were not looked at by the gate.
    prior : ndarray
        Prior weight of each omega.
    reference : tuple of Evidence or None
        Evidence of each omega under the reference priors.
    """

    omega: np.ndarray
    posteriors: tuple[Posterior, ...]
    prior: np.ndarray
    reference: tuple[Evidence, ...] | None = None

    @property
    def weight(self):
        """Return the posterior weight of each omega."""
        return _weights(self.prior, [one.evidence for one in self.posteriors])

    @property
    def reference_weight(self):
        """Return the posterior weight of each omega under the reference priors."""
        return _weights(self.prior, self.reference)

    @property
    def evidence(self):
        """Return the evidence of the whole grid, omega summed out."""
        log_evidence = np.array([one.evidence.log_evidence for one in self.posteriors])
        total = float(np.logaddexp.reduce(np.log(self.prior) + log_evidence))
        ses = np.array([one.evidence.se for one in self.posteriors])
        return Evidence(log_evidence=total, se=float(np.sqrt(np.sum((self.weight * ses) ** 2))))


def sample_grid(study, hypothesis, settings, *, reference=None, advance=None, gated=True):
    """Return the `CountingGrid` of a study under a hypothesis with latent counting.

    Starts at `STARTING_GRID` (and the ends and atoms of the prior) and halves the intervals that
    carry weight: at first all of them, then those whose mass the last halving moved by more than
    0.02, or between whose ends the evidence differs by more than 3 nats next to a point of weight
    above 0.05; down to gaps of 1/32. Without a look inside, a hump between two points of like
    evidence would be missed. Weights under either set of priors count.

    Parameters
    ----------
    study : Study
    hypothesis : Hypothesis
        With `omega` set.
    settings : Settings
    reference : Hypothesis, optional
        Its priors give a second evidence per omega.
    advance : callable, optional
        Called with a text after each cell.
    gated : bool
        Whether the gate looks at the cells that carry weight, and draws again what fails.

    Returns
    -------
    CountingGrid
    """
    prior = hypothesis.omega
    wanted = {prior.lower, prior.upper, *prior.atoms}
    wanted |= {omega for omega in STARTING_GRID if prior.lower <= omega <= prior.upper}
    cells, pending = {}, set(pairwise(sorted(wanted)))
    while wanted:
        for omega in sorted(wanted):
            cells[omega] = _cell(study, hypothesis, settings, omega, reference)
            if advance is not None:
                advance(f"omega {omega:g}")
        grid = _grid_of(cells, prior)
        pending = _unsettled(grid, prior, pending)
        wanted = {(left + right) / 2 for left, right in pending}
    if not gated:
        return grid
    return _gated(cells, prior, settings, study=study, reference=reference)


def resample(grid, draws, *, seed):
    """Return, per chain, `draws` draws stratified over omega by weight.

    Parameters
    ----------
    grid : CountingGrid
    draws : int
        At most the number of draws of a cell.
    seed : int

    Returns
    -------
    quantities : dict of ndarray
        Free and natural quantities and `omega`, each [chain, draw], in random order.
    cell, draw : ndarray
        Index of the cell and of the draw in it, each [chain, draw].
    """
    rng = np.random.default_rng(seed)
    chains = grid.posteriors[0].draws.unconstrained.shape[0]
    picks = [_stratified(grid.weight, draws, rng) for _ in range(chains)]
    cell, draw = (np.stack(parts) for parts in zip(*picks, strict=True))
    chain = np.arange(chains)[:, None]
    every = [one.quantities for one in grid.posteriors]
    quantities = {
        name: np.stack([one[name] for one in every])[cell, chain, draw] for name in every[0]
    }
    return {**quantities, "omega": grid.omega[cell]}, cell, draw


def _cell(study, hypothesis, settings, omega, reference):
    density = log_density(run_data(study, hypothesis, omega=omega), hypothesis)
    posterior = draw_posterior(density, hypothesis, settings, path=(omega,))
    return posterior, _reference_evidence(posterior, study, reference, settings, omega)


def _reference_evidence(posterior, study, reference, settings, omega):
    """Return the evidence under other priors: by reweighting the draws, or by drawing anew."""
    if reference is None:
        return None
    latents = posterior.latents
    log_ratio = log_prior(latents, reference) - log_prior(latents, posterior.hypothesis)
    known = reweighted_evidence(posterior.evidence, log_ratio, max_se=MAX_EVIDENCE_SE / 2)
    if known is not None:
        return known
    density = log_density(run_data(study, reference, omega=omega), reference)
    drawn = checked_posterior(density, reference, settings, path=(omega, 1))
    if drawn.problems:  # an error that no threshold passes: `weak_references` says so
        return replace(drawn.evidence, se=np.inf)
    return drawn.evidence


def weak_references(grid):
    """Return what keeps the evidence under the reference priors from being trusted, in words.

    Parameters
    ----------
    grid : CountingGrid

    Returns
    -------
    list of str
        One per omega that carries weight under the reference priors and whose evidence there is not
        known well enough.
    """
    if grid.reference is None:
        return []
    cells = zip(grid.omega, grid.reference_weight, grid.reference, strict=True)
    return [
        f"omega {omega:g}: log evidence under the reference priors known to {one.se:.3f} nats only"
        for omega, weight, one in cells
        if weight > NEGLIGIBLE and not one.se <= _MAX_REFERENCE_SE
    ]


def _grid_of(cells, prior):
    omega = np.array(sorted(cells))
    posteriors, reference = zip(*(cells[value] for value in omega), strict=True)
    return CountingGrid(
        omega=omega,
        posteriors=posteriors,
        prior=prior.weights(omega),
        reference=None if None in reference else reference,
    )


def _unsettled(grid, prior, halved):
    """Return the intervals to halve next.

    `halved` are the intervals that were halved last (on the first call, the starting ones, which
    are whole): their halves are looked at again where the halving moved mass.
    """
    weights = [(grid.weight, [one.evidence for one in grid.posteriors])]
    if grid.reference is not None:
        weights.append((grid.reference_weight, grid.reference))
    unsettled = set()
    for weight, evidence in weights:
        heights = np.array([one.log_evidence for one in evidence])
        unsettled |= intervals_to_halve(grid.omega, weight, heights, prior, halved)
    return unsettled


def intervals_to_halve(omega, weight, heights, prior, halved):
    """Return the intervals that one set of weights asks to halve.

    Parameters
    ----------
    omega, weight, heights : ndarray
        Grid, its posterior weights, and log evidence (nats) of each point.
    prior : OmegaPrior
    halved : set of (float, float)
        The intervals that were halved last, or the starting ones, which are whole.
    """
    share = dict(zip(omega, weight, strict=True))
    height = dict(zip(omega, heights, strict=True))
    total = np.logaddexp.reduce(np.log(prior.weights(omega)) + heights)
    density = (1 - prior.atom_mass) / (prior.upper - prior.lower)

    def mass(left, right):
        ends = np.exp([height[left] - total, height[right] - total])
        return density * (right - left) * ends.mean()

    def matters(left, right):
        heavy = max(share[left], share[right])
        return right - left > _SMALLEST_GAP and (
            heavy > NEGLIGIBLE or mass(left, right) > NEGLIGIBLE
        )

    def steep(left, right):
        heavy = max(share[left], share[right])
        return heavy > _REFINED_WEIGHT and abs(height[left] - height[right]) > _REFINED_STEP

    found = set()
    for left, right in halved:
        middle = (left + right) / 2
        if middle not in height:
            found |= {(left, right)} if matters(left, right) else set()
            continue
        halves = [(left, middle), (middle, right)]
        moved = abs(sum(mass(*half) for half in halves) - mass(left, right))
        found |= {half for half in halves if matters(*half) and (moved > _MOVED or steep(*half))}
    return found


def _gated(cells, prior, settings, *, study, reference):
    """Return the grid after the gate looked at every cell that carries weight."""
    looked = set()
    while True:
        grid = _grid_of(cells, prior)
        due = weighty(grid) - looked
        if not due:
            return grid
        for omega in sorted(due):
            first, evidence = cells[omega]
            checked = checked_posterior(
                first.density, first.hypothesis, settings, path=(omega,), first=first
            )
            if checked.draws is not first.draws:
                evidence = _reference_evidence(checked, study, reference, settings, omega)
            cells[omega] = (checked, evidence)
        looked |= due


def weighty(grid):
    """Return the set of omegas that carry weight under the own or under the reference priors."""
    weight = grid.weight
    if grid.reference is not None:
        weight = np.maximum(weight, grid.reference_weight)
    return {omega for omega, share in zip(grid.omega, weight, strict=True) if share > NEGLIGIBLE}


def _weights(prior, evidence):
    with np.errstate(divide="ignore"):
        log_prior = np.log(prior)
    return normalised_weights(log_prior + np.array([one.log_evidence for one in evidence]))


def _stratified(weight, draws, rng):
    """Return indices (cell, draw): cells by systematic resampling, draws without repetition."""
    marks = (np.arange(draws) + rng.uniform()) / draws
    cell = np.minimum(np.searchsorted(np.cumsum(weight), marks), weight.size - 1)
    counts = np.bincount(cell, minlength=weight.size)
    draw = np.concatenate([rng.permutation(draws)[:count] for count in counts])
    order = rng.permutation(draws)
    return cell[order], draw[order]
