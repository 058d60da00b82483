"""Scale of the noise on log loss, run by run; arithmetic operators only."""

import math

import numpy as np

RATIO = 20.0
"""Tokens per parameter at which sigma is the scale of the noise under "student-t-ratio"."""


def sigma_of_run(sigma, eta, *, log_N, log_D, exp=np.exp):
    """Return the scale of a run's noise, sigma (20 / (D/N))^eta.

    Parameters
    ----------
    sigma : float or array
        Scale at 20 tokens per parameter, > 0.
    eta : float, array or None
        How fast it grows as D/N falls, >= 0; None where the scale is the same for every run.
    log_N, log_D : float or array
        Natural logarithms of parameters (as the law counts them) and tokens.
    exp : callable
        Exponential function; `pytensor.tensor.exp` inside a PyMC model.
    """
    return sigma if eta is None else sigma * exp(eta * (math.log(RATIO) + log_N - log_D))


def noise_scale(sigma, relative_loss_se, *, sqrt=np.sqrt):
    """Return the scale of log loss: sigma and the standard error of the evaluation in quadrature.

    Parameters
    ----------
    sigma : float or array
        Scale of the noise on log loss, > 0, dimensionless.
    relative_loss_se : float or array
        Standard error of the evaluated loss over the loss, >= 0 (delta method for log loss).
    sqrt : callable
        Square root; `pytensor.tensor.sqrt` inside a PyMC model.
    """
    return sqrt(sigma**2 + relative_loss_se**2)
