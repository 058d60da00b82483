"""The laws "isoflop" and "isoflop-surface" in their sampling coordinates, with their derivatives.

For the log density that `written_density` has by hand. Coordinates (see `coordinates`): log loss at
the optimum of C0, log odds of the offset, log tokens per parameter there; a and the log slope of
the optimal loss in C ("isoflop" only); log curvature and skew. The loss is a sum of three terms:
E, R beta/(alpha + beta) e^(-alpha u) and R alpha/(alpha + beta) e^(beta u), where u = log N/N* and
R = K (C/C0)^-gamma.
"""

import math

from scalebayes.machine_code import inner, sigmoid, softplus, versioned

_VERSIONED = versioned("machine_code")


@inner
@_VERSIONED
def isoflop_terms(z, is_surface, runs, log_budget, terms, latents):
    """Write the logs of the law's three terms [3, run] and the latents that have priors.

    Parameters
    ----------
    z : ndarray
        Point [coordinate]; those of the law come first.
    is_surface : bool
        Whether a = beta/(alpha + beta) and gamma = alpha beta/(alpha + beta).
    runs : ndarray
        Begins with log N and log D [column, run].
    log_budget : ndarray
        log C/C0 [run].
    terms, latents : ndarray
        latents are those of `laws.LATENTS`.
    """
    log_E, log_K, a, log_gamma, log_alpha, log_beta = _quantities(z, is_surface)
    alpha, beta, gamma = math.exp(log_alpha), math.exp(log_beta), math.exp(log_gamma)
    below, above = -softplus(log_alpha - log_beta), -softplus(log_beta - log_alpha)
    for i in range(terms.shape[1]):
        u = (z[2] + runs[0, i] - runs[1, i]) / 2 + (0.5 - a) * log_budget[i]  # log N/N*
        reducible = log_K - gamma * log_budget[i]
        terms[0, i] = log_E
        terms[1, i] = reducible + below - alpha * u
        terms[2, i] = reducible + above + beta * u
    latents[0], latents[1], latents[2] = log_E, log_K, z[2]
    place = 3
    if not is_surface:
        latents[3], latents[4] = a, log_gamma
        place = 5
    latents[place], latents[place + 1] = log_alpha, log_beta


@inner
@_VERSIONED
def isoflop_gradient(z, is_surface, runs, log_budget, by_term, by_latent, gradient):
    """Write the derivatives by the law's coordinates, from those by terms and by latents.

    The arguments are those of `isoflop_terms`.
    """
    _, _, a, log_gamma, log_alpha, log_beta = _quantities(z, is_surface)
    alpha, beta, gamma = math.exp(log_alpha), math.exp(log_beta), math.exp(log_gamma)
    of_E, of_K, of_ratio = by_latent[0], by_latent[1], by_latent[2]
    of_a = of_gamma = of_below = of_above = of_alpha = of_beta = 0.0
    for i in range(by_term.shape[1]):
        u = (z[2] + runs[0, i] - runs[1, i]) / 2 + (0.5 - a) * log_budget[i]  # log N/N*
        by_below, by_above = by_term[1, i], by_term[2, i]
        by_u = beta * by_above - alpha * by_below
        of_E += by_term[0, i]
        of_below += by_below
        of_above += by_above
        of_gamma -= (by_below + by_above) * log_budget[i]
        of_ratio += 0.5 * by_u
        of_a -= by_u * log_budget[i]
        of_alpha -= by_below * u
        of_beta += by_above * u
    of_K += of_below + of_above
    share = sigmoid(log_beta - log_alpha)  # beta / (alpha + beta)
    weight = share * of_above - (1 - share) * of_below
    place = 3 if is_surface else 5
    # from here on by the logs of gamma, alpha and beta
    of_gamma *= gamma
    of_alpha = alpha * of_alpha + weight + by_latent[place]
    of_beta = beta * of_beta - weight + by_latent[place + 1]
    if is_surface:
        of_alpha += share * of_gamma - share * (1 - share) * of_a
        of_beta += (1 - share) * of_gamma + share * (1 - share) * of_a
    else:
        of_a += by_latent[3]
        of_gamma += by_latent[4]
    offset = sigmoid(z[1])
    shape = 0.5 * (of_alpha + of_beta)  # by the middle of log alpha and log beta, halved
    gradient[0] = of_E + of_K
    gradient[1] = (1 - offset) * of_E + offset * (shape - of_K)
    gradient[2] = of_ratio
    if not is_surface:
        gradient[1] += offset * of_gamma
        gradient[3], gradient[4] = of_a, of_gamma
    gradient[place] = shape
    gradient[place + 1] = of_alpha - of_beta


@inner
@_VERSIONED
def _quantities(z, is_surface):
    """Return log E, log K, a, log gamma, log alpha and log beta."""
    log_K, log_E = z[0] - softplus(z[1]), z[0] - softplus(-z[1])
    place = 3 if is_surface else 5
    middle, skew = (z[place] + softplus(z[1])) / 2, z[place + 1]
    log_alpha, log_beta = middle + skew, middle - skew
    if is_surface:
        return log_E, log_K, sigmoid(-2 * skew), log_alpha - softplus(2 * skew), log_alpha, log_beta
    return log_E, log_K, z[3], z[4] + softplus(z[1]), log_alpha, log_beta
