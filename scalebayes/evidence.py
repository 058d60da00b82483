"""Log marginal likelihood by bridge sampling that starts from the posterior draws.

The proposal is a multivariate normal fitted to one half of each chain; the bridge is computed on
the other half, then the halves change places and the two estimates are averaged.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import expit, logsumexp

from scalebayes.diagnostics import effective_draws

MIN_REWEIGHTING_ESS = 400
"""Effective draws that reweighting must leave for its evidence to be taken."""

_ITERATIONS = 1000
_TOLERANCE = 1e-8


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A log marginal likelihood and its standard error, both in nats."""

    log_evidence: float
    se: float


def bridge_evidence(density, draws, *, seed):
    """Return the evidence of a log density from its posterior draws.

    Parameters
    ----------
    density : LogDensity
        Unnormalised posterior over the unconstrained latents, prior included.
    draws : Draws
        Posterior draws of the same density.
    seed : int
        For the proposal's draws.

    Returns
    -------
    Evidence
        `se` holds the Monte Carlo error of proposal and (autocorrelated) posterior draws.

    References
    ----------
    Meng & Wong (1996), Statistica Sinica 6; Gronau et al. (2017), arXiv:1703.05984, eqs. 14-16;
    Fruehwirth-Schnatter (2004), Econometrics Journal 7 (the error).
    """
    half = draws.unconstrained.shape[1] // 2
    first, second = slice(0, half), slice(half, 2 * half)
    rng = np.random.default_rng(seed)
    parts = [
        _bridge(density, draws, fitted=fitted, bridged=bridged, rng=rng)
        for fitted, bridged in ((first, second), (second, first))
    ]
    log_evidence = float(np.mean([part.log_evidence for part in parts]))
    # bridged on different draws, the two estimates err independently (tested by repetition)
    return Evidence(log_evidence=log_evidence, se=float(np.hypot(*[part.se for part in parts])) / 2)


def reweighted_evidence(evidence, log_ratio, *, max_se):
    """Return the evidence under other priors, from draws made under the first ones.

    Parameters
    ----------
    evidence : Evidence
        Under the first priors.
    log_ratio : ndarray
        Log of the other prior density over the first one at each posterior draw [chain, draw].
    max_se : float
        Largest standard error (nats) that reweighting may add.

    Returns
    -------
    Evidence or None
        None where too few effective draws are left, or the error is too large.
    """
    ratio = np.exp(log_ratio - log_ratio.max())
    ess = ratio.sum() ** 2 / (ratio**2).sum()
    relative_se = ratio.std() / ratio.mean() / np.sqrt(float(effective_draws(ratio)))
    if not (ess >= MIN_REWEIGHTING_ESS and relative_se <= max_se):
        return None
    log_evidence = evidence.log_evidence + log_ratio.max() + np.log(ratio.mean())
    se = float(np.hypot(evidence.se, relative_se))
    return Evidence(log_evidence=float(log_evidence), se=se)


def normalised_weights(log_weights):
    """Return weights proportional to exp(log_weights) that sum to 1."""
    return np.exp(log_weights - logsumexp(log_weights))


def _bridge(density, draws, *, fitted, bridged, rng):
    n_latents = draws.unconstrained.shape[-1]
    known = draws.unconstrained[:, fitted].reshape(-1, n_latents)
    # a Cholesky factor minds no difference of scale between latents; SciPy's eigenvalues do
    root = np.linalg.cholesky(np.atleast_2d(np.cov(known.T)))
    proposal = stats.multivariate_normal(known.mean(0), stats.Covariance.from_cholesky(root))
    kept = draws.unconstrained[:, bridged]
    points = known.mean(0) + rng.standard_normal((kept[..., 0].size, n_latents)) @ root.T
    at_posterior = draws.log_density[:, bridged] - proposal.logpdf(kept)
    at_proposal = density.values(points) - proposal.logpdf(points)
    # that of the log density alone: it sets a share in the bridge, whose error is estimated below
    ess = min(float(effective_draws(draws.log_density[:, bridged])), at_posterior.size)
    return _solve(at_posterior, at_proposal, ess=ess)


def _solve(at_posterior, at_proposal, *, ess):
    """Iterate the optimal bridge; arguments are log (unnormalised posterior / proposal)."""
    n_proposal = at_proposal.size
    share = np.log(ess / n_proposal)  # log s1/s2 of the optimal bridge function
    log_z = float(np.median(at_posterior))
    for _ in range(_ITERATIONS):
        # s1 p/Z / (s1 p/Z + s2 q) at proposals, and s2 q / (...) at posterior draws
        from_proposal = expit(at_proposal - log_z + share)
        from_posterior = expit(-(at_posterior - log_z + share))
        step = np.log(from_proposal.mean()) - np.log(from_posterior.mean()) - share
        log_z = log_z + step
        if abs(step) < _TOLERANCE:
            break
    else:
        return Evidence(log_evidence=log_z, se=np.inf)
    variance = (
        _relative_variance(from_proposal) / n_proposal
        + _relative_variance(from_posterior) * _inefficiency(from_posterior) / from_posterior.size
    )
    return Evidence(log_evidence=log_z, se=float(np.sqrt(variance)))


def _relative_variance(values):
    return values.var() / values.mean() ** 2


def _inefficiency(values):
    return max(1.0, values.size / float(effective_draws(values)))
