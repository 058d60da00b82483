"""Observation models of the log loss: in a PyMC model, and of draws that were made.

The median of a run's loss is the law's loss; the noise is symmetric on the log scale. A known
standard error of an evaluation adds to the noise in quadrature.
"""

import math

import numpy as np
from scipy.special import betaln

from scalebayes.noise import noise_scale


def observe(likelihood, *, mu, sigma, nu, relative_loss_se, observed):
    """Add the observed log loss to the PyMC model on the context stack.

    Parameters
    ----------
    likelihood : str
        "student-t", "student-t-ratio" or "normal"; the first two differ in sigma alone.
    mu : TensorVariable
        Log of the law's loss, and the run effect where there is one, one per run.
    sigma, nu : TensorVariable
        Scale (one, or one per run: `noise.sigma_of_run`), and degrees of freedom of the Student-t
        (unused by "normal").
    relative_loss_se, observed : TensorVariable
        Relative standard errors and log losses, one per run.

    Returns
    -------
    TensorVariable
        The variable `log_loss`, with dim `run`.
    """
    import pymc as pm
    import pytensor.tensor as pt

    scale = noise_scale(sigma, relative_loss_se, sqrt=pt.sqrt)
    if likelihood == "normal":
        return pm.Normal("log_loss", mu=mu, sigma=scale, observed=observed, dims="run")
    return pm.StudentT("log_loss", nu=nu, mu=mu, sigma=scale, observed=observed, dims="run")


def log_likelihood(likelihood, log_loss, *, mu, sigma, nu=None, relative_loss_se=0.0):
    """Return the log density of each log loss under each draw.

    Parameters
    ----------
    likelihood : str
        As in `observe`.
    log_loss, mu, sigma, nu, relative_loss_se : float or array
        As in `observe`; arrays broadcast against one another.

    Returns
    -------
    ndarray
        Log densities in nats, of the broadcast shape.
    """
    scale = noise_scale(sigma, relative_loss_se)
    square = ((log_loss - mu) / scale) ** 2
    if likelihood == "normal":
        return -0.5 * (square + math.log(2 * math.pi)) - np.log(scale)
    of_nu = -betaln(nu / 2, 0.5) - 0.5 * np.log(nu)
    return of_nu - np.log(scale) - 0.5 * (nu + 1) * np.log1p(square / nu)
