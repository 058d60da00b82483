"""The additive law E + A N^-alpha + B D^-beta in its sampling coordinates, with its derivatives.

For the log density that `written_density` has by hand. Coordinates (see `coordinates`): log loss at
the centre of the runs, log odds of the offset, log odds of the size's share, log slopes by N and by
D; under the law "symmetric", alpha = beta, one log slope for both.
"""

import math

from scalebayes.laws import ANCHOR_D, ANCHOR_N
from scalebayes.machine_code import inner, sigmoid, softplus, versioned

_LOG_ANCHOR_N, _LOG_ANCHOR_D = math.log(ANCHOR_N), math.log(ANCHOR_D)
_VERSIONED = versioned("machine_code", "laws")


@inner
@_VERSIONED
def additive_terms(z, one_exponent, centre_N, centre_D, runs, terms, latents):
    """Write the logs of the law's three terms [3, run] and the latents that have priors.

    Parameters
    ----------
    z : ndarray
        Point [coordinate]; those of the law come first.
    one_exponent : bool
        Whether alpha = beta.
    centre_N, centre_D : float
        Mean log N and log D of the runs.
    runs : ndarray
        Begins with log N and log D [column, run].
    terms, latents : ndarray
        latents are log E, the logs of the terms at the anchors, log alpha and log beta.
    """
    log_E, size, rest, alpha, beta = _at_centre(z, one_exponent)
    for i in range(terms.shape[1]):
        terms[0, i] = log_E
        terms[1, i] = size - alpha * (runs[0, i] - centre_N)
        terms[2, i] = rest - beta * (runs[1, i] - centre_D)
    latents[0] = log_E
    latents[1] = size + alpha * (centre_N - _LOG_ANCHOR_N)
    latents[2] = rest + beta * (centre_D - _LOG_ANCHOR_D)
    latents[3] = math.log(alpha)
    if not one_exponent:
        latents[4] = math.log(beta)


@inner
@_VERSIONED
def additive_gradient(z, one_exponent, centre_N, centre_D, runs, by_term, by_latent, gradient):
    """Write the derivatives by the law's coordinates, from those by terms and by latents.

    The arguments are those of `additive_terms`.
    """
    _, _, _, alpha, beta = _at_centre(z, one_exponent)
    of_E = of_size = of_data = of_alpha = of_beta = 0.0
    for i in range(by_term.shape[1]):
        of_E += by_term[0, i]
        of_size += by_term[1, i]
        of_data += by_term[2, i]
        of_alpha -= by_term[1, i] * (runs[0, i] - centre_N)
        of_beta -= by_term[2, i] * (runs[1, i] - centre_D)
    # from here on by log alpha and log beta
    of_alpha = alpha * (of_alpha + by_latent[1] * (centre_N - _LOG_ANCHOR_N)) + by_latent[3]
    of_beta = beta * (of_beta + by_latent[2] * (centre_D - _LOG_ANCHOR_D))
    if not one_exponent:
        of_beta += by_latent[4]
    of_E += by_latent[0]
    of_size += by_latent[1]
    of_data += by_latent[2]
    offset, share = sigmoid(z[1]), sigmoid(z[2])
    gradient[0] = of_E + of_size + of_data
    gradient[1] = offset * (of_alpha + of_beta - of_size - of_data) + (1 - offset) * of_E
    if one_exponent:
        gradient[2] = (1 - share) * of_size - share * of_data
        gradient[3] = of_alpha + of_beta
    else:
        gradient[2] = (1 - share) * (of_size - of_alpha) + share * (of_beta - of_data)
        gradient[3] = of_alpha
        gradient[4] = of_beta


@inner
@_VERSIONED
def _at_centre(z, one_exponent):
    """Return log E, the logs of both terms at the centre of the runs, alpha and beta."""
    reducible = z[0] - softplus(z[1])
    log_E = z[0] - softplus(-z[1])
    size, rest = reducible - softplus(-z[2]), reducible - softplus(z[2])
    if one_exponent:
        alpha = beta = math.exp(z[3] + softplus(z[1]))
    else:
        alpha = math.exp(z[3] + softplus(z[1]) + softplus(-z[2]))
        beta = math.exp(z[4] + softplus(z[1]) + softplus(z[2]))
    return log_E, size, rest, alpha, beta
