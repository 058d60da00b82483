"""Sampling coordinates of a law: a change of variables of unit Jacobian.

Runs fix the loss at their centre to a fraction of a percent, so that in a law's anchored latents a
posterior lies on a thin, strongly curved sheet (E + term_N + term_D = loss, for the Chinchilla
law), on which a sampler creeps. In the coordinates here that sheet is flat:

    log_loss     log of the law's loss at the centre of the runs
    offset_odds  logit of the share of E in it (laws with an offset)
    size_odds    logit of the share of N in the bracket, (log term_N - log term_D) / q
    log_slope_N  log of the relative fall of the loss per e-fold of N at the centre
    log_slope_D  the same for D (one slope for both where alpha = beta)
    logit of q or of kappa, as it is (laws that have one)

The first three are softmax coordinates with determinant 1 (q, where it is not 1, enters twice and
cancels); the slopes, and the change from centre to anchor, are shears. Densities over either set of
variables are therefore equal.

The laws `laws.ISOFLOP` are stated at the middle of their runs as they are. Theirs are

    log_loss       log of the loss of the compute-optimal model at C0
    offset_odds    logit of the share of E in it
    log_ratio      log D*/N* at C0
    a              exponent of N* in C ("isoflop" only)
    log_slope      log of the relative fall of the optimal loss per e-fold of C ("isoflop" only)
    log_curvature  log of the relative second derivative of the loss in log N at the optimum
    skew           half of log alpha/beta
"""

import math

import numpy as np

from scalebayes.laws import ANCHOR_D, ANCHOR_N, ISOFLOP, LATENTS

_AS_THEY_ARE = ("q", "kappa")  # logits that no coordinate replaces; a law has one of them at most


def to_latents(law, z, *, centre_N, centre_D, exp=np.exp, log1p=np.log1p):
    """Return the unconstrained latents of a law from its sampling coordinates.

    Parameters
    ----------
    law : str
        One of `laws.LAWS`.
    z : sequence
        Sampling coordinates, as many as the law has latents.
    centre_N, centre_D : float
        Mean log N (parameters) and log D (tokens) of the runs.
    exp, log1p : callable
        Elementary functions; PyTensor's inside a graph.

    Returns
    -------
    list
        In the order of `laws.LATENTS`; shares, q and kappa as logits.
    """
    names = LATENTS[law]
    if law in ISOFLOP:
        return _isoflop_latents(z, exp=exp, log1p=log1p)

    def log_sigmoid(x):
        return -log1p(exp(-x))

    def logaddexp(x, y):
        return y + log1p(exp(x - y))

    rest = list(z)
    log_loss = rest.pop(0)
    offset_odds = rest.pop(0) if _has_offset(names) else None
    reducible = log_loss if offset_odds is None else log_loss + log_sigmoid(-offset_odds)
    size_odds, log_slope_N = rest.pop(0), rest.pop(0)
    if "log_beta" in names:
        log_alpha = log_slope_N + log_loss - reducible - log_sigmoid(size_odds)
        log_beta = rest.pop(0) + log_loss - reducible - log_sigmoid(-size_odds)
    else:
        log_alpha = log_beta = log_slope_N + log_loss - reducible
    alpha, beta = exp(log_alpha), exp(log_beta)
    q = _q(law, beta, rest, exp)
    size = reducible + q * log_sigmoid(size_odds) + alpha * (centre_N - math.log(ANCHOR_N))
    data = reducible + q * log_sigmoid(-size_odds) + beta * (centre_D - math.log(ANCHOR_D))
    log_E = None if offset_odds is None else log_loss + log_sigmoid(offset_odds)
    if "log_E" in names:
        latents = {"log_E": log_E, "log_term_N": size, "log_term_D": data}
    else:
        at_anchor = data + q * log1p(exp((size - data) / q))
        latents = {"log_loss_anchor": at_anchor, "size_share": (size - data) / q}
        if log_E is not None:
            latents["log_loss_anchor"] = logaddexp(log_E, at_anchor)
            latents["offset_share"] = log_E - at_anchor
    latents |= {"log_alpha": log_alpha, "log_beta": log_beta}
    latents |= {name: rest[0] for name in _AS_THEY_ARE if name in names}
    return [latents[name] for name in names]


def from_latents(law, latents, *, centre_N, centre_D):
    """Return sampling coordinates from a law's unconstrained latents, the inverse of `to_latents`.

    Parameters
    ----------
    law : str
    latents : sequence of array
        In the order of `laws.LATENTS`; shares, q and kappa as logits.
    centre_N, centre_D : float
        Mean log N and log D of the runs.
    """
    if law in ISOFLOP:
        return _isoflop_coordinates(latents)
    given = dict(zip(LATENTS[law], latents, strict=True))
    log_alpha = given["log_alpha"]
    log_beta = given.get("log_beta", log_alpha)
    rest = [given[name] for name in _AS_THEY_ARE if name in given]
    q = _q(law, np.exp(log_beta), rest, np.exp)
    log_E, size, data = _anchored(given, q)
    size = size - np.exp(log_alpha) * (centre_N - math.log(ANCHOR_N))
    data = data - np.exp(log_beta) * (centre_D - math.log(ANCHOR_D))
    size_odds = (size - data) / q
    reducible = q * np.logaddexp(size / q, data / q)
    log_loss = reducible if log_E is None else np.logaddexp(log_E, reducible)
    offset = [] if log_E is None else [log_E - reducible]
    share = reducible - log_loss
    if "log_beta" in given:
        slopes = [
            log_alpha + share - np.logaddexp(0, -size_odds),
            log_beta + share - np.logaddexp(0, size_odds),
        ]
    else:
        slopes = [log_alpha + share]
    return [log_loss, *offset, size_odds, *slopes, *rest]


def _isoflop_latents(z, *, exp, log1p):
    log_loss, offset_odds, log_ratio, *free, log_curvature, skew = z
    log_share = -log1p(exp(offset_odds))  # of K
    log_K, log_E = log_loss + log_share, log_loss + log_share + offset_odds
    free = [free[0], free[1] - log_share] if free else []
    middle = (log_curvature - log_share) / 2
    return [log_E, log_K, log_ratio, *free, middle + skew, middle - skew]


def _isoflop_coordinates(latents):
    log_E, log_K, log_ratio, *free, log_alpha, log_beta = latents
    log_loss = np.logaddexp(log_E, log_K)
    log_share = log_K - log_loss
    free = [free[0], free[1] + log_share] if free else []
    shape = [log_alpha + log_beta + log_share, (log_alpha - log_beta) / 2]
    return [log_loss, log_E - log_K, log_ratio, *free, *shape]


def bounded_residual(residual, *, tau, sigma):
    """Return a residual as it is where it is small, and less and less of it where it is not.

    So that a row far from the rest, which heavy-tailed noise allows, does not move the mean of its
    run's effect. At most 3 sqrt(sigma^2 + tau^2), reached at twice that.
    """
    return residual / (1 + residual**2 / (36 * (sigma**2 + tau**2)))


def conditional_effects(rows, residual, *, tau, sigma):
    """Return mean and width (1 / sd) of each standardised run effect, all else being known.

    As they are for b_j ~ Normal(0, 1) and log losses ~ Normal(law + tau b_j, sigma). The data fix
    law + tau b_j, so that effects and law are tied to one another, the closer the larger tau is:
    a thin sheet and a funnel. In the coordinates (b_j - mean) width the effects are nearly standard
    normal whatever law and tau are. The noise need not be normal for that: any mean and width that
    depend on the other variables alone make a change of variables of Jacobian prod(1 / width).

    Parameters
    ----------
    rows : array
        Rows that share the effect [..., trajectory].
    residual : array
        Sum of their log losses less the law's, each bounded [..., trajectory].
    tau, sigma : float or array
        Scales of run effects and noise on log loss, > 0.
    """
    width = (1 + rows * (tau / sigma) ** 2) ** 0.5
    return residual * tau / (sigma * width) ** 2, width


def _anchored(given, q):
    """Return log E (None without an offset) and the logs of both terms at the anchors."""
    if "log_E" in given:
        return given["log_E"], given["log_term_N"], given["log_term_D"]
    reducible, log_E = given["log_loss_anchor"], None
    if "offset_share" in given:
        log_E = reducible - np.logaddexp(0, -given["offset_share"])
        reducible = reducible - np.logaddexp(0, given["offset_share"])
    share = given["size_share"]
    return (
        log_E,
        reducible - q * np.logaddexp(0, -share),
        reducible - q * np.logaddexp(0, share),
    )


def _has_offset(names):
    return "log_E" in names or "offset_share" in names


def _q(law, beta, rest, exp):
    if law == "kaplan":
        return beta
    return 1 / (1 + exp(-rest[0])) if law == "nested" else 1.0
