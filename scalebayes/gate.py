"""One posterior that passed the convergence gate, or says why not."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.stats import chi2

from scalebayes.build import natural_quantities
from scalebayes.compiled import LogDensity
from scalebayes.diagnostics import Diagnostics, diagnose
from scalebayes.errors import SamplingInterrupted
from scalebayes.evidence import Evidence, bridge_evidence
from scalebayes.hypotheses import Hypothesis
from scalebayes.sampling import Draws, ascended, sample

MAX_EVIDENCE_SE = 0.03
"""Largest standard error of a log evidence, nats."""

MAX_GAP = 3.0
"""How far (nats) an optimiser may end above the highest draw before a mode counts as missed,
besides what the number of dimensions makes usual: 0.2 for 7 of them, 3.3 for 24."""

_FAR, _COMPARABLE = 2.0, 4.0  # distance over the farthest draw's; nats below the highest draw

_LONGER = 4  # times the draws of a further attempt

N_STARTS = 20
"""Optimiser starts drawn from the prior."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to sample: draws and tune per chain, chains, cores, and the random seed.

    `record` is called with (path, density, chains) after each sampling, complete or interrupted, so
    that an interruption loses nothing; chains as in `errors.SamplingInterrupted`.
    """

    draws: int = 1000
    tune: int = 500
    chains: int = 4
    cores: int | None = None
    target_accept: float = 0.9
    random_seed: int = 1
    record: Callable | None = field(default=None, compare=False, repr=False)

    def seed(self, *path):
        """Return a seed that depends on the random seed and on what the draws are for."""
        words = [int(word * 2**20) if isinstance(word, float) else int(word) for word in path]
        return int(np.random.SeedSequence([self.random_seed, *words]).generate_state(1)[0])


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Draws of one log density, its evidence, and the gate's findings.

    Parameters
    ----------
    density : LogDensity
    hypothesis : Hypothesis
    draws : Draws
    evidence : Evidence
    sampler_stats : dict of ndarray
        `diverging` and `energy` of every draw made, [chain, draw], before any was thinned away.
    diagnostics : Diagnostics or None
        None as long as the gate has not looked.
    problems : tuple of str
        Why the posterior is not to be trusted; empty when it is, or when nobody looked.
    """

    density: LogDensity
    hypothesis: Hypothesis
    draws: Draws
    evidence: Evidence
    sampler_stats: dict
    diagnostics: Diagnostics | None = None
    problems: tuple[str, ...] = ()

    @cached_property
    def latents(self):
        """Return the free variables, each [chain, draw]."""
        return self.density.constrain(self.draws.unconstrained)

    @cached_property
    def quantities(self):
        """Return free and natural quantities, each [chain, draw]."""
        latents = self.latents
        return {**latents, **natural_quantities(latents, law=self.hypothesis.law)}


def draw_posterior(density, hypothesis, settings, *, path=(), attempt=0):
    """Return an unchecked `Posterior`: draws and evidence.

    Parameters
    ----------
    density : LogDensity
    hypothesis : Hypothesis
    settings : Settings
    path : tuple of number
        What the draws are for; part of the seed.
    attempt : int
        0 as asked; 1 four times the draws, with a target of 0.95; 2 of 0.99, and with the diagonal
        metric. Of more draws than asked every fourth is kept.
    """
    draws = sampled(density, hypothesis, settings, path=path, attempt=attempt)
    evidence = bridge_evidence(density, draws, seed=settings.seed(attempt, 7, *path))
    return Posterior(
        density=density,
        hypothesis=hypothesis,
        draws=_thinned(draws, step=_LONGER if attempt else 1),
        evidence=evidence,
        sampler_stats={name: draws.stats[name] for name in ("diverging", "energy")},
    )


def sampled(density, hypothesis, settings, *, path=(), attempt=0):
    """Return `Draws`; those of an interrupted sampling are recorded before it is passed on.

    The arguments are those of `draw_posterior`; of more draws than asked all are returned.
    """
    record = settings.record or (lambda path, density, chains: None)
    try:
        draws = sample(
            density,
            density.unconstrain(prior_medians(hypothesis)),
            draws=settings.draws * (_LONGER if attempt else 1),
            tune=settings.tune * (2 if attempt else 1),
            chains=settings.chains,
            cores=settings.cores,
            seed=settings.seed(attempt, *path),
            adaptation="diag" if attempt == 2 else "low_rank",
            target_accept=max(settings.target_accept, (0.0, 0.95, 0.99)[attempt]),
        )
    except SamplingInterrupted as stop:
        record(path, density, stop.chains)
        raise
    record(path, density, draws.by_chain)
    return draws


def checked_posterior(density, hypothesis, settings, *, path=(), first=None):
    """Return a `Posterior` that passed the gate, or the last of three attempts with its problems.

    Parameters
    ----------
    density, hypothesis, settings, path
        As in `draw_posterior`.
    first : Posterior, optional
        Draws already made, to be looked at before others are made.
    """
    for attempt in range(3):
        posterior = (first if attempt == 0 else None) or draw_posterior(
            density, hypothesis, settings, path=path, attempt=attempt
        )
        posterior = _checked(posterior, settings, path)
        if not posterior.problems:
            break
    return posterior


def prior_medians(hypothesis):
    """Return the prior median of each free variable."""
    names = _latents(hypothesis)
    return {name: prior.frozen().median() for name, prior in names.items()}


def prior_latents(hypothesis, n, rng):
    """Return n draws of each free variable from its prior."""
    names = _latents(hypothesis)
    return {name: prior.frozen().rvs(n, random_state=rng) for name, prior in names.items()}


def log_prior(latents, hypothesis):
    """Return the log prior density (nats) of draws of the free variables.

    Parameters
    ----------
    latents : mapping
        Draws of equal shape by name. Run effects, whose prior is the same under every hypothesis,
        and other quantities than free variables are passed over.
    hypothesis : Hypothesis
    """
    priors = {name: prior for name, prior in _latents(hypothesis).items() if name in latents}
    return np.sum([prior.frozen().logpdf(latents[name]) for name, prior in priors.items()], axis=0)


def _latents(hypothesis):
    priors = hypothesis.priors.items()
    return {"nu_minus_one" if name == "nu" else name: prior for name, prior in priors}


def _thinned(draws, *, step):
    """Return every step-th draw; every divergence stays counted."""
    if step == 1:
        return draws
    stats = {name: values[:, ::step] for name, values in draws.stats.items()}
    blocks = draws.stats["diverging"].reshape(len(stats["energy"]), -1, step)
    stats["diverging"] = blocks.any(axis=-1)
    return replace(
        draws,
        unconstrained=draws.unconstrained[:, ::step],
        log_density=draws.log_density[:, ::step],
        stats=stats,
    )


def _checked(posterior, settings, path):
    latents = posterior.latents
    varying = {  # a latent that stands still is a fault; another quantity can be fixed by the law
        name: values
        for name, values in posterior.quantities.items()
        if name in latents or np.ptp(values) != 0
    }
    diagnostics = diagnose(varying, posterior.sampler_stats)
    problems = list(diagnostics.problems)
    se = posterior.evidence.se
    if not se <= MAX_EVIDENCE_SE:
        problems.append(f"log evidence known to {se:.3f} nats only")
    problems += _missed_modes(posterior, settings.seed(99, *path))
    return replace(posterior, diagnostics=diagnostics, problems=tuple(problems))


def _missed_modes(posterior, seed):
    """Return what optimiser ends say against the draws: a higher mode, or one far from them all."""
    rng = np.random.default_rng(seed)
    starts = prior_latents(posterior.hypothesis, N_STARTS, rng)
    distance = _distance_to(posterior.draws.unconstrained)
    typical = np.median(posterior.draws.log_density)
    values, points = ascended(
        posterior.density,
        posterior.density.unconstrain(starts),
        arrived=lambda value, point: value > typical and distance(point[None])[0] < 1,
    )
    gaps = values - posterior.draws.log_density.max()
    usual = _usual_gap(points.shape[1], posterior.draws.log_density.size)
    if gaps.max() > MAX_GAP + usual:
        return [f"an optimiser ended {gaps.max():.1f} nats above the highest draw: a mode missed"]
    far = distance(points) > _FAR
    if (far & (gaps > usual - _COMPARABLE)).any():
        gap = gaps[far].max()
        return [f"an optimiser ended far from all draws, {gap:+.1f} nats from the highest of them"]
    return []


def _usual_gap(n_latents, n_draws):
    """Return how far (nats) the best of n draws of a normal density lies below its mode."""
    return chi2.ppf(1 / n_draws, n_latents) / 2


def _distance_to(draws):
    """Return a function of points: squared Mahalanobis distance over that of the farthest draw."""
    draws = draws.reshape(-1, draws.shape[-1])
    centre, precision = draws.mean(0), np.linalg.pinv(np.cov(draws.T))

    def squared(points):
        return np.einsum("ij,jk,ik->i", points - centre, precision, points - centre)

    farthest = squared(draws).max()
    return lambda points: squared(points) / farthest
