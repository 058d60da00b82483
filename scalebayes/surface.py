"""Huber fits of the Chinchilla surface, many at once.

The objective is near to a sum of absolute values (delta is a fifth of a typical residual), so that
Newton steps see only the few runs within delta. They are damped by the curvature of reweighted
least squares, which sees all: small steps far from the optimum, quadratic convergence near it.
"""

import math

import numpy as np

from scalebayes.laws import ANCHOR_D, ANCHOR_N, log_chinchilla

DELTA = 1e-3
"""Residual of log loss at which squared turns into absolute.

Hoffmann et al. (2022), arXiv:2203.15556, appendix D.2.
"""

LOWEST = np.log([1e-4, 1e-10, 1e-10, 1e-3, 1e-3])
HIGHEST = np.log([100.0, 100.0, 100.0, 5.0, 5.0])
"""Limits of E, of the two terms at the anchors, alpha and beta, in logs.

They are far from any language model's; a fit that ends at one has no optimum inside.
"""

LEAST_RUNS = 6
"""One more than E, A, B, alpha and beta."""

_LARGEST_STEP = 1.0
_PORTION = 200_000  # runs times fits held in memory at once, of which some 20 arrays are needed


def huber(residual, delta=DELTA):
    """Return the Huber loss of residuals: r^2 / 2 within delta, delta (|r| - delta / 2) beyond."""
    size = np.abs(residual)
    return np.where(size <= delta, size**2 / 2, delta * (size - delta / 2))


def fit_surfaces(log_N, log_D, log_loss, start, *, delta=DELTA, offset=True, iterations=1000):
    """Return the coordinates of the best Chinchilla surface near each start, and its objective.

    Parameters
    ----------
    log_N, log_D, log_loss : array, (run,) or (fit, run)
        Logs of parameters, tokens and loss.
    start : array, (fit, 5)
        log_E, log_term_N, log_term_D (as in `laws.log_chinchilla`), log alpha and log beta.
    delta : float
        Huber's delta, > 0.
    offset : bool
        False fixes E at 0.
    iterations : int
        Most steps taken; a fit stops earlier when steps no longer help, which 200 are too few for
        on thousands of noisy losses.

    Returns
    -------
    theta : ndarray, (fit, 5)
        log_E is minus infinity where E is fixed at 0.
    objective : ndarray, (fit,)
        Sum of Huber losses of the residuals of log loss.
    converged : ndarray of bool, (fit,)
        Whether the fit stopped because steps no longer helped.
    """
    start = np.clip(np.asarray(start, dtype=float), LOWEST, HIGHEST)
    if not offset:
        start[:, 0] = -np.inf
    shape = (len(start), np.shape(log_loss)[-1])
    data = [np.broadcast_to(values, shape) for values in (log_N, log_D, log_loss)]
    rows = max(1, _PORTION // shape[1])
    parts = [
        _fit_portion(
            [values[i : i + rows] for values in data], start[i : i + rows], delta, iterations
        )
        for i in range(0, len(start), rows)
    ]
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _fit_portion(data, theta, delta, iterations):
    objective = huber(_residual(theta, data), delta).sum(axis=-1)
    damping = np.ones(len(theta))
    active = np.arange(len(theta))
    for _ in range(iterations):
        part = [values[active] for values in data]
        proposal = theta[active] + _step(theta[active], part, delta, damping[active])
        proposal = np.clip(proposal, LOWEST, HIGHEST, where=np.isfinite(proposal), out=proposal)
        value = huber(_residual(proposal, part), delta).sum(axis=-1)
        gain = objective[active] - value
        better = active[gain > 0]
        theta[better], objective[better] = proposal[gain > 0], value[gain > 0]
        damping[active] = np.where(gain > 0, damping[active] / 3, damping[active] * 4)
        tiny = (gain > 0) & (gain < 1e-13 * value) & (damping[active] < 0.1)
        settled = (damping[active] > 1e8) | tiny
        active = active[~settled]
        if not active.size:
            break
    converged = np.isfinite(objective)
    converged[active] = False
    return theta, objective, converged


def _residual(theta, data):
    log_N, log_D, log_loss = data
    return log_loss - log_chinchilla(log_N, log_D, **_law(theta))


def _law(theta):
    log_E, log_term_N, log_term_D, log_alpha, log_beta = np.moveaxis(theta[..., None], -2, 0)
    exponents = {"alpha": np.exp(log_alpha), "beta": np.exp(log_beta)}
    return {"log_E": log_E, "log_term_N": log_term_N, "log_term_D": log_term_D} | exponents


def _step(theta, data, delta, damping):
    """Return the damped Newton step of every fit; coordinates stay that may not or cannot move."""
    residual = _residual(theta, data)
    slopes = _slopes(theta, data)
    weight = np.minimum(1.0, delta / np.maximum(np.abs(residual), 1e-300))
    near = np.abs(residual) <= delta
    gradient = np.einsum("fri,fr->fi", slopes, weight * residual)
    blocked = ((theta <= LOWEST) & (gradient < 0)) | ((theta >= HIGHEST) & (gradient > 0))
    slopes, gradient = slopes * ~blocked[:, None], gradient * ~blocked
    mixed = near + damping[:, None] * weight
    hessian = np.einsum("fri,frj,fr->fij", slopes, slopes, mixed, optimize=True)
    diagonal = np.einsum("fii->fi", hessian)
    hessian = hessian + np.eye(5) * (1e-10 * diagonal + 1e-12)[:, None, :]
    step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
    step *= np.minimum(1.0, _LARGEST_STEP / np.maximum(np.abs(step).max(axis=1), 1e-300))[:, None]
    return np.where(np.isfinite(theta) & ~blocked, step, 0.0)


def _slopes(theta, data):
    """Return the derivatives of the log law in the coordinates, (fit, run, 5)."""
    log_N, log_D, _ = data
    law = _law(theta)
    log_law = log_chinchilla(log_N, log_D, **law)
    size_decay = law["alpha"] * (log_N - math.log(ANCHOR_N))
    data_decay = law["beta"] * (log_D - math.log(ANCHOR_D))
    floor = np.exp(law["log_E"] - log_law)
    size = np.exp(law["log_term_N"] - size_decay - log_law)
    data_term = np.exp(law["log_term_D"] - data_decay - log_law)
    slopes = [floor, size, data_term, -size_decay * size, -data_decay * data_term]
    return np.stack(slopes, axis=-1)
