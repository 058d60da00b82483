"""Gaussian mixtures of study posteriors of (log alpha, log beta), and what they make of a prior.

A posterior divided by its prior is the study's likelihood. As a mixture of Gaussians its integral
against any Gaussian population has a closed form, smooth down to a population without spread, where
an average over the draws themselves would be all noise.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from scalebayes.expectation import gaussian_mixture, mean_log_density

MAX_COMPONENTS = 4
"""Most components of a mixture."""

_GAIN = 0.005  # nats per held-out draw that one component more must bring
_WIDEST = 0.98  # variance of a component over the interim prior's, in the widest direction
_FITTED_DRAWS = 2000
_REGULAR = 1e-5  # added to variances of draws that were standardised


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """A sum of Gaussian components over (log alpha, log beta), not necessarily of mass 1.

    Parameters
    ----------
    log_weight : ndarray
        [component], log of each component's mass.
    mean : ndarray
        [component, exponent].
    covariance : ndarray
        [component, exponent, exponent].
    """

    log_weight: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray

    def log_density(self, theta):
        """Return the log of the sum at theta [..., exponent]."""
        return self.log_integral(theta, np.zeros((2, 2)))

    def log_integral(self, mean, covariance):
        """Return the log integral of the mixture against a Gaussian.

        Parameters
        ----------
        mean : ndarray
            [..., exponent].
        covariance : ndarray
            [..., exponent, exponent].

        Returns
        -------
        ndarray
            [...], nats.
        """
        mean, covariance = np.asarray(mean)[..., None, :], np.asarray(covariance)[..., None, :, :]
        log_density = log_normal(self.mean - mean, self.covariance + covariance)
        return logsumexp(self.log_weight + log_density, axis=-1)

    def moments(self):
        """Return mean [exponent] and covariance [exponent, exponent] of the mixture."""
        weight = np.exp(self.log_weight - logsumexp(self.log_weight))
        mean = weight @ self.mean
        spread = self.mean - mean
        covariance = np.einsum("k,kij->ij", weight, self.covariance)
        return mean, covariance + np.einsum("k,ki,kj->ij", weight, spread, spread)

    def draws(self, n, rng):
        """Return n draws [draw, exponent] of the normalised mixture."""
        weight = np.exp(self.log_weight - logsumexp(self.log_weight))
        component = rng.choice(weight.size, size=n, p=weight)
        roots = np.linalg.cholesky(self.covariance)
        noise = rng.standard_normal((n, 2))
        return self.mean[component] + np.einsum("nij,nj->ni", roots[component], noise)


def log_normal(deviation, covariance):
    """Return the log density of a centred bivariate Gaussian.

    Parameters
    ----------
    deviation : ndarray
        [..., 2].
    covariance : ndarray
        [..., 2, 2], positive definite.

    Returns
    -------
    ndarray
        [...], nats.
    """
    first, second = deviation[..., 0], deviation[..., 1]
    v11, v12, v22 = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
    determinant = v11 * v22 - v12**2
    squared = (v22 * first**2 - 2 * v12 * first * second + v11 * second**2) / determinant
    return -np.log(2 * np.pi) - 0.5 * np.log(determinant) - 0.5 * squared


def fitted_mixture(draws, *, seed):
    """Return the mixture of 1 to 4 Gaussians that describes posterior draws.

    The number of components is the smallest to which one more adds less than 0.005 nats per draw on
    draws that it was not fitted to (the other half of the chains).

    Parameters
    ----------
    draws : ndarray
        [chain, draw, exponent].
    seed : int
        Of the starts.

    Returns
    -------
    Mixture
        Of mass 1.
    """
    flat = draws.reshape(-1, 2)
    centre, root = flat.mean(0), np.linalg.cholesky(np.cov(flat.T))
    standard = np.linalg.solve(root, (draws - centre).reshape(-1, 2).T).T.reshape(draws.shape)
    half = len(draws) // 2
    fitted, held_out = (_thinned(part) for part in (standard[:half], standard[half:]))
    best, n = -np.inf, 0
    while n < MAX_COMPONENTS:
        candidate = gaussian_mixture(fitted, n + 1, regular=_REGULAR, seed=seed)
        score = mean_log_density(held_out, *candidate)
        if score < best + _GAIN:
            break
        best, n = score, n + 1
    weight, mean, covariance = gaussian_mixture(_thinned(standard), n, regular=_REGULAR, seed=seed)
    return Mixture(
        log_weight=np.log(weight),
        mean=centre + mean @ root.T,
        covariance=root @ covariance @ root.T,
    )


def as_likelihood(posterior, prior_mean, prior_sd):
    """Return a posterior divided by its Gaussian prior: the likelihood over the evidence.

    A component wider than the prior in some direction (which a posterior is not, but a fitted
    component can be) is first narrowed to 0.98 of the prior's variance there.

    Parameters
    ----------
    posterior : Mixture
        Of mass 1.
    prior_mean, prior_sd : ndarray
        [exponent]; of independent Normals.

    Returns
    -------
    Mixture
        Its integral against the prior is 1.
    """
    mean = (posterior.mean - prior_mean) / prior_sd  # in units of the prior
    covariance = _narrowed(posterior.covariance / np.outer(prior_sd, prior_sd))
    precision = np.linalg.inv(covariance)
    left = precision - np.eye(2)
    divided = np.linalg.inv(left)
    centre = np.einsum("kij,kj->ki", divided @ precision, mean)
    # N(t; m, S) / N(t; 0, 1) = c N(t; m', S'), read off at t = 0, in units of the prior
    log_c = (
        log_normal(mean, covariance)
        - log_normal(np.zeros(2), np.eye(2))
        - log_normal(centre, divided)
    )
    return Mixture(
        log_weight=posterior.log_weight + log_c + np.log(prior_sd).sum(),
        mean=prior_mean + centre * prior_sd,
        covariance=divided * np.outer(prior_sd, prior_sd),
    )


def padded(mixture):
    """Return the weights, means and covariances of a mixture with `MAX_COMPONENTS` components.

    Returns
    -------
    ndarray
        [component, 6]: log weight, two means, var alpha, covariance, var beta; components that
        are not there have a weight of exp(-1e6).
    """
    empty = np.array([-1e6, 0.0, 0.0, 1.0, 0.0, 1.0])
    table = np.tile(empty, (MAX_COMPONENTS, 1))
    n = mixture.log_weight.size
    table[:n, 0] = mixture.log_weight
    table[:n, 1:3] = mixture.mean
    table[:n, 3:] = mixture.covariance[:, [0, 0, 1], [0, 1, 1]]
    return table


def _narrowed(covariance):
    values, vectors = np.linalg.eigh(covariance)
    values = np.minimum(values, _WIDEST)
    return np.einsum("kij,kj,klj->kil", vectors, values, vectors)


def _thinned(draws):
    flat = draws.reshape(-1, 2)
    return flat[:: -(-len(flat) // _FITTED_DRAWS)]
