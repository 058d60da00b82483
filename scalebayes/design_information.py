"""What a choice of N and D can tell about a law, before any loss is looked at and without sampling.

A Gaussian approximation at the law of the priors' medians: the information of runs with the usual
noise, added to that of the priors. It judges the design; the posterior judges the losses.
"""

import math
from dataclasses import dataclass

import numpy as np

from scalebayes.hypotheses import load_hypothesis
from scalebayes.laws import ANCHOR_D, ANCHOR_N, log_chinchilla, natural_coefficients
from scalebayes.optimum import optimal_allocation

LATENTS = ("log_E", "log_term_N", "log_term_D", "log_alpha", "log_beta")
OMEGA_SD = 3 / math.sqrt(12)
"""Standard deviation of an omega spread evenly over 0 to 3, as in models/latent-counting.toml."""

_STEP = 1e-4


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Standard deviation of a quantity, expected with the runs and from the priors alone.

    Parameters
    ----------
    with_runs, prior : float
        In the unit of the quantity.
    """

    with_runs: float
    prior: float

    @property
    def ratio(self) -> float:
        """Share of the prior's standard deviation that is left; above .5 it is mostly prior."""
        return self.with_runs / self.prior


def expected_errors(N, D, *, head_share=None, compute=None) -> dict[str, Expected]:
    """Return what runs of these sizes and tokens can be expected to say.

    Parameters
    ----------
    N, D : array
        Parameters and tokens of the runs, > 0.
    head_share : array, optional
        Head over N of each run; with it omega is unknown too, and its own entry is there.
    compute : float, optional
        Budget in FLOP, 6 N D, for `log_ratio`.

    Returns
    -------
    dict
        `a` (N* grows as C^a) and, with a budget, `log_ratio` (log of D*/N* there); at a known
        omega. With `head_share` also `omega`.

    Notes
    -----
    The priors, and the law and the noise at their medians, are those of models/hoffmann-total.toml.
    The Fisher information of a location of Student-t noise is (nu + 1) / ((nu + 3) sigma^2)
    (Lange, Little & Taylor 1989, J. Am. Stat. Assoc. 84, 881). Rows count as independent.
    """
    priors = load_hypothesis("hoffmann-total").priors
    medians = {name: float(prior.frozen().median()) for name, prior in priors.items()}
    spread = np.array([priors[name].frozen().std() for name in LATENTS])
    slopes = _slopes(np.log(N), np.log(D), medians)
    nu, sigma = 1 + medians["nu"], math.exp(medians["log_sigma"])
    weight = (nu + 1) / ((nu + 3) * sigma**2)
    prior = np.diag(spread**2)
    posterior = np.linalg.inv(weight * slopes.T @ slopes + np.diag(spread**-2.0))
    gradients = {"a": _gradient(_exponent, medians)}
    if compute is not None:
        gradients["log_ratio"] = _gradient(lambda at: _log_ratio(at, compute), medians)
    found = {name: _expected(g, posterior, prior) for name, g in gradients.items()}
    if head_share is not None:
        found["omega"] = _omega(slopes, head_share, medians, weight, spread)
    return found


def _slopes(log_N, log_D, at):
    """Return the derivatives of log loss by `LATENTS`, one row per run."""
    alpha, beta = math.exp(at["log_alpha"]), math.exp(at["log_beta"])
    terms = {name: at[name] for name in LATENTS[:3]}
    log_loss = log_chinchilla(log_N, log_D, **terms, alpha=alpha, beta=beta)
    size, data = log_N - math.log(ANCHOR_N), log_D - math.log(ANCHOR_D)
    share_N = np.exp(at["log_term_N"] - alpha * size - log_loss)
    share_D = np.exp(at["log_term_D"] - beta * data - log_loss)
    share_E = np.exp(at["log_E"] - log_loss)
    rows = (share_E, share_N, share_D, -alpha * size * share_N, -beta * data * share_D)
    return np.column_stack(rows)


def _omega(slopes, head_share, at, weight, spread):
    """Return what is expected of omega beside the other latents, at omega = 1."""
    by_omega = -math.exp(at["log_alpha"]) * slopes[:, 1] * np.asarray(head_share)
    all_slopes = np.column_stack([slopes, by_omega])
    prior = np.diag([*spread**2.0, OMEGA_SD**2])
    posterior = np.linalg.inv(weight * all_slopes.T @ all_slopes + np.linalg.inv(prior))
    return _expected(np.eye(len(prior))[-1], posterior, prior)


def _expected(gradient, posterior, prior):
    deviations = [math.sqrt(gradient @ covariance @ gradient) for covariance in (posterior, prior)]
    return Expected(with_runs=deviations[0], prior=deviations[1])


def _gradient(quantity, at):
    """Return the derivatives of a quantity by `LATENTS`, by central differences."""
    ends = [
        [quantity(at | {name: at[name] + step}) for step in (_STEP, -_STEP)] for name in LATENTS
    ]
    return np.array([(up - down) / (2 * _STEP) for up, down in ends])


def _exponent(at):
    alpha, beta = math.exp(at["log_alpha"]), math.exp(at["log_beta"])
    return beta / (alpha + beta)


def _log_ratio(at, compute):
    exponents = {"alpha": math.exp(at["log_alpha"]), "beta": math.exp(at["log_beta"])}
    terms = {name: at[name] for name in ("log_term_N", "log_term_D")}
    law = natural_coefficients(**terms, **exponents, exp=math.exp)
    N, D = optimal_allocation(compute, **law, **exponents)
    return math.log(D / N)
