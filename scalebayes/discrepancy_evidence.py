"""How probable it is that laws hold exactly, given held-out runs: no discrepancy at all.

Two hypotheses, each with half of the prior: the five amplitudes of `discrepancy_model` with their
half-normal priors, and all of them 0 with the noise's factor alone. The evidence of the first is by
bridge sampling from its draws, that of the second an integral over one variable.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logsumexp
from scipy.stats import halfnorm, norm

from scalebayes.discrepancy import AMPLITUDES
from scalebayes.evidence import Evidence, bridge_evidence

_FACTORS = np.linspace(-4.0, 4.0, 2001)  # of the noise's log sd, in prior standard deviations


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Records of held-out runs as arrays, with how much each counts.

    Parameters
    ----------
    gram : ndarray
        [record, coefficient, coefficient], as in `discrepancy_model.Record`.
    projection : ndarray
        [record, coefficient].
    square, n, weight : ndarray
        [record].
    prior : mapping
        As `discrepancy_model.PRIOR`.
    """

    gram: np.ndarray
    projection: np.ndarray
    square: np.ndarray
    n: np.ndarray
    weight: np.ndarray
    prior: dict

    def log_likelihood(self, amplitudes, log_factor):
        """Return the log likelihood (nats) of amplitudes [point, 5] and log noise factors [point].

        Coefficients of the discrepancy and of the law's own uncertainty are integrated out.
        """
        others = self.gram.shape[1] - amplitudes.shape[1]
        scale = np.hstack([amplitudes, np.ones((len(amplitudes), others))])[:, None, :]
        variance = np.exp(2 * log_factor)[:, None]
        inner = self.gram * scale[..., None] * scale[..., None, :] / variance[..., None, None]
        inner = inner + np.eye(self.gram.shape[1])
        moved = (self.projection * scale)[..., None]
        solved = (np.linalg.solve(inner, moved) * moved).sum((-2, -1))
        log_det = np.linalg.slogdet(inner)[1]
        misfit = (self.square - solved / variance) / variance
        return -(self.weight * (self.n * np.log(variance) + log_det + misfit)).sum(-1) / 2

    def values(self, points):
        """Return the log posterior density (nats, not normalised) of points [point, 6].

        A point is the logs of the amplitudes and of the noise's factor.
        """
        log_amplitudes, log_factor = points[:, :-1], points[:, -1]
        amplitudes = np.exp(log_amplitudes)
        scales = np.array([self.prior[name] for name in AMPLITUDES])
        prior = (halfnorm.logpdf(amplitudes, scale=scales) + log_amplitudes).sum(-1)
        prior += norm.logpdf(log_factor, 0, self.prior["log_noise_factor"])
        return prior + self.log_likelihood(amplitudes, log_factor)


def exact_law_evidence(held_out):
    """Return the log evidence (nats) of no discrepancy: an integral over the noise's factor."""
    log_factor = _FACTORS * held_out.prior["log_noise_factor"]
    zeros = np.zeros((len(log_factor), len(AMPLITUDES)))
    log_density = norm.logpdf(log_factor, 0, held_out.prior["log_noise_factor"])
    log_density += held_out.log_likelihood(zeros, log_factor)
    return float(logsumexp(log_density) + np.log(log_factor[1] - log_factor[0]))


def discrepancy_evidence(held_out, unconstrained, *, seed):
    """Return the `Evidence` of the model with amplitudes from its draws.

    Parameters
    ----------
    held_out : HeldOut
    unconstrained : ndarray
        [chain, draw, 6], as in `HeldOut.values`.
    seed : int
    """
    points = unconstrained.reshape(-1, unconstrained.shape[-1])
    drawn = _Drawn(unconstrained, held_out.values(points).reshape(unconstrained.shape[:2]))
    return bridge_evidence(held_out, drawn, seed=seed)


def probability_exact(held_out, unconstrained, *, seed):
    """Return the posterior probability that every amplitude is 0, and the `Evidence` against it.

    Parameters
    ----------
    held_out, unconstrained, seed
        As in `discrepancy_evidence`.

    Returns
    -------
    probability : float
    log_odds : Evidence
        Of some discrepancy against none, nats, at equal prior probabilities.
    """
    some = discrepancy_evidence(held_out, unconstrained, seed=seed)
    log_odds = some.log_evidence - exact_law_evidence(held_out)
    return float(expit(-log_odds)), Evidence(log_evidence=log_odds, se=some.se)


class _Drawn(NamedTuple):
    unconstrained: np.ndarray
    log_density: np.ndarray
