"""Expected loss as a function of parameters and tokens.

The laws use arithmetic operators alone, so that one function serves NumPy arrays, xarray draws and
PyTensor graphs. A law exists twice: in its natural coefficients, as papers print it, and in
*anchored* logarithms, in which the model is sampled. The anchored term of N is the part of the loss
that a model of `ANCHOR_N` parameters owes to its size, and likewise for D and `ANCHOR_D`.
"""

import math

import numpy as np

ANCHOR_N = 1e9
"""Parameters at which `log_term_N` is defined."""

ANCHOR_D = 2e10
"""Tokens at which `log_term_D` is defined."""

FLOP_PER_PARAMETER_AND_TOKEN = 6.0
"""C = 6 N D: training FLOP as laws count them, N in the law's own counting."""

_ADDITIVE = ("log_E", "log_term_N", "log_term_D")
_AT_MIDDLE = ("log_E", "log_K", "log_ratio")
LATENTS = {
    "chinchilla": (*_ADDITIVE, "log_alpha", "log_beta"),
    "symmetric": (*_ADDITIVE, "log_alpha"),
    "offset-share": ("log_loss_anchor", "offset_share", "size_share", "log_alpha", "log_beta"),
    "no-offset": ("log_loss_anchor", "size_share", "log_alpha", "log_beta"),
    "kaplan": ("log_loss_anchor", "size_share", "log_alpha", "log_beta"),
    "nested": ("log_loss_anchor", "offset_share", "size_share", "log_alpha", "log_beta", "q"),
    "warmup": (*_ADDITIVE, "log_alpha", "log_beta", "kappa"),
    "isoflop": (*_AT_MIDDLE, "a", "log_gamma", "log_alpha", "log_beta"),
    "isoflop-surface": (*_AT_MIDDLE, "log_alpha", "log_beta"),
}
"""Latent quantities of each law, in the order of the sampled vector.

All but "isoflop" are L = E + [(A N^-alpha)^(1/q) + (B D^-beta)^(1/q)]^q: "chinchilla" has q = 1,
"symmetric" alpha = beta besides; "offset-share" is the Chinchilla law with priors on the loss at
the anchors and on its shares; "no-offset" has E = 0 and q = 1; "kaplan" has E = 0 and q = beta;
"nested" leaves all free; "warmup" is the Chinchilla law in D less kappa times the tokens seen while
the learning rate rose (`effective_tokens`). log_loss_anchor is the log of the loss at the anchors,
offset_share is E over that loss, and size_share the part of N in the bracket there. "isoflop" is
`isoflop`, and "isoflop-surface" its restriction to the Chinchilla law: log_K and log_ratio are the
logs of the reducible loss and of D*/N* of the compute-optimal model at a budget C0, which the runs
give.
"""

ISOFLOP = ("isoflop", "isoflop-surface")
"""Laws whose quantities are stated at a budget C0 of the runs."""

LAWS = tuple(LATENTS)
"""Names of the laws that a hypothesis can choose."""

COEFFICIENTS = ("E", "A", "B", "alpha", "beta", "q")
"""Natural coefficients that a law may have; E is 0 and q is 1 where it has none."""


def chinchilla(N, D, *, E, A, B, alpha, beta):
    """Return the loss E + A N^-alpha + B D^-beta.

    Parameters
    ----------
    N : float or array
        Parameters, > 0, in the counting that the coefficients belong to.
    D : float or array
        Training tokens, > 0.
    E : float or array
        Irreducible loss in nats per token, >= 0.
    A, B, alpha, beta : float or array
        Coefficients, > 0; A in nats x parameters^alpha, B in nats x tokens^beta.

    Returns
    -------
    float or array
        Loss in nats per token, of the inputs' broadcast shape.

    References
    ----------
    Hoffmann et al. (2022), arXiv:2203.15556, approach 3.
    """
    return E + A / N**alpha + B / D**beta


def nested(N, D, *, A, B, alpha, beta, E=0.0, q=1.0):
    """Return the loss E + [(A N^-alpha)^(1/q) + (B D^-beta)^(1/q)]^q.

    Nests the Chinchilla law (q = 1) and Kaplan's (E = 0, q = beta).

    Parameters
    ----------
    N, D, E, A, B, alpha, beta : float or array
        As in `chinchilla`.
    q : float or array
        How the two terms add, > 0.

    Returns
    -------
    float or array
        Loss in nats per token, of the inputs' broadcast shape.

    References
    ----------
    Kaplan et al. (2020), arXiv:2001.08361, eq. 1.5; Hoffmann et al. (2022), arXiv:2203.15556,
    eq. 2.
    """
    return E + ((A / N**alpha) ** (1 / q) + (B / D**beta) ** (1 / q)) ** q


def isoflop(N, D, *, E, K, N0, C0, a, gamma, alpha, beta):
    """Return the loss E + K (C/C0)^-gamma [beta (N/N*)^-alpha + alpha (N/N*)^beta]/(alpha + beta).

    C = 6 N D, and N* = N0 (C/C0)^a is the compute-optimal model: at any C the loss is least there.
    With a = beta/(alpha + beta) and gamma = alpha beta/(alpha + beta) this is the Chinchilla law.

    Parameters
    ----------
    N, D : float or array
        Parameters and tokens, > 0.
    E, K : float or array
        Irreducible loss, and the rest of the loss of the optimal model at C0, nats per token.
    N0 : float or array
        Parameters of the optimal model at C0.
    C0 : float
        Budget at which K and N0 are stated, FLOP (6 N D).
    a, gamma : float or array
        Exponents of N* and of the reducible loss in C.
    alpha, beta : float or array
        How steeply the loss rises below and above N*, > 0.

    Returns
    -------
    float or array
        Loss in nats per token.

    References
    ----------
    Hoffmann et al. (2022), arXiv:2203.15556, approach 2, fits each budget's bottom by a parabola,
    which is biased where alpha and beta differ (Czech et al. 2026, arXiv:2603.22339).
    """
    budget = FLOP_PER_PARAMETER_AND_TOKEN * N * D / C0
    away = N / (N0 * budget**a)
    rise = (beta * away**-alpha + alpha * away**beta) / (alpha + beta)
    return E + K * budget**-gamma * rise


def log_isoflop(
    log_N,
    log_D,
    *,
    log_budget,
    log_E,
    log_K,
    log_ratio,
    a,
    gamma,
    alpha,
    beta,
    exp=np.exp,
    log=np.log,
    log1p=np.log1p,
):
    """Return the log of the loss of `isoflop`.

    Parameters
    ----------
    log_N, log_D : float or array
        Natural logarithms of parameters and tokens.
    log_budget : float or array
        log (6 N D / C0).
    log_E, log_K : float or array
        Logs of E and K, log nats per token.
    log_ratio : float or array
        Log of the tokens per parameter of the optimal model at C0; N0 = sqrt(C0 / (6 ratio)).
    a, gamma, alpha, beta : float or array
        As in `isoflop`.
    exp, log, log1p : callable
        Elementary functions; PyTensor's inside a PyMC model.

    Returns
    -------
    float or array
        Log of the loss in nats per token.
    """
    u = (log_ratio + log_N - log_D) / 2 + (0.5 - a) * log_budget  # log N/N*
    below = log(beta / (alpha + beta)) - alpha * u
    above = log(alpha / (alpha + beta)) + beta * u
    reducible = log_K - gamma * log_budget + above + log1p(exp(below - above))
    return reducible + log1p(exp(log_E - reducible))


def isoflop_exponents(law, latents, *, exp=np.exp):
    """Return a, gamma, alpha and beta of a law of `ISOFLOP` from its latents."""
    alpha, beta = exp(latents["log_alpha"]), exp(latents["log_beta"])
    if law == "isoflop":
        free = {"a": latents["a"], "gamma": exp(latents["log_gamma"])}
    else:
        free = {"a": beta / (alpha + beta), "gamma": alpha * beta / (alpha + beta)}
    return {**free, "alpha": alpha, "beta": beta}


def chinchilla_terms(*, K, N0, C0, alpha, beta):
    """Return A and B of the Chinchilla law with these quantities of its compute-optimal models.

    Parameters
    ----------
    K, N0, C0, alpha, beta : float or array
        As in `isoflop`.

    Returns
    -------
    dict
        A and B, of the inputs' broadcast shape.
    """
    D0 = C0 / (FLOP_PER_PARAMETER_AND_TOKEN * N0)
    share = beta / (alpha + beta)
    return {"A": K * share * N0**alpha, "B": K * (1 - share) * D0**beta}


def expected_loss(N, D, values):
    """Return the loss of a law from its natural coefficients, whichever it has.

    Parameters
    ----------
    N, D : float or array
        Parameters and tokens, > 0.
    values : mapping
        The arguments of `isoflop` where it has a K and no A, else those of `nested`; others are
        passed over.

    Returns
    -------
    float or array
        Loss in nats per token.
    """
    if "A" in values:
        return nested(N, D, **coefficients(values))
    names = ("E", "K", "N0", "C0", "a", "gamma", "alpha", "beta")
    return isoflop(N, D, **{name: values[name] for name in names})


def effective_tokens(D, warmup_tokens, *, kappa, minimum=np.minimum):
    """Return the tokens that count when a part of those seen in warm-up is wasted.

    Parameters
    ----------
    D : float or array
        Training tokens, > 0.
    warmup_tokens : float or array
        Tokens W of the learning rate's warm-up, >= 0.
    kappa : float or array
        Part of the warm-up's tokens that is wasted, in [0, 1).
    minimum : callable
        Elementwise minimum for the type of the values.

    Returns
    -------
    float or array
        D - kappa min(W, D), > 0.

    References
    ----------
    Porian et al. (2024), arXiv:2406.19146, find that too long a warm-up moves the exponent.
    """
    return D - kappa * minimum(warmup_tokens, D)


def kaplan(N, D, *, N_c, D_c, alpha_N, alpha_D):
    """Return the loss [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D.

    Parameters
    ----------
    N, D : float or array
        Parameters and tokens, > 0.
    N_c, D_c : float or array
        Scales in parameters and tokens, > 0.
    alpha_N, alpha_D : float or array
        Exponents, > 0.

    Returns
    -------
    float or array
        Loss in nats per token.

    References
    ----------
    Kaplan et al. (2020), arXiv:2001.08361, eq. 1.5.
    """
    return ((N_c / N) ** (alpha_N / alpha_D) + D_c / D) ** alpha_D


def coefficients(values):
    """Return the natural coefficients that a mapping (or Dataset) of quantities holds."""
    return {name: values[name] for name in COEFFICIENTS if name in values}


def log_nested(
    log_N,
    log_D,
    *,
    log_term_N,
    log_term_D,
    alpha,
    beta,
    log_E=None,
    q=1.0,
    exp=np.exp,
    log1p=np.log1p,
):
    """Return the log of the loss of `nested`, from anchored logarithms.

    Parameters
    ----------
    log_N, log_D, log_term_N, log_term_D, alpha, beta, exp, log1p
        As in `log_chinchilla`.
    log_E : float or array, optional
        Log irreducible loss; without it E = 0.
    q : float or array
        As in `nested`.

    Returns
    -------
    float or array
        Log of the loss in nats per token.
    """
    size = log_term_N - alpha * (log_N - math.log(ANCHOR_N))
    data = log_term_D - beta * (log_D - math.log(ANCHOR_D))
    reducible = data + q * log1p(exp((size - data) / q))
    return reducible if log_E is None else reducible + log1p(exp(log_E - reducible))


def anchored_terms(law, latents, *, exp=np.exp, log=np.log, log1p=np.log1p):
    """Return what `log_nested` takes, from the latents of a law.

    Parameters
    ----------
    law : str
        One of `LAWS`.
    latents : mapping
        The quantities that `LATENTS` names; others are passed over.
    exp, log, log1p : callable
        Elementary functions; PyTensor's inside a PyMC model.

    Returns
    -------
    dict
        log_term_N, log_term_D, alpha, beta and, where the law has them, log_E and q.
    """
    alpha = exp(latents["log_alpha"])
    beta = exp(latents["log_beta"]) if "log_beta" in LATENTS[law] else alpha
    known = {"alpha": alpha, "beta": beta}
    if law in ("chinchilla", "symmetric", "warmup"):
        return {**{name: latents[name] for name in _ADDITIVE}, **known}
    log_loss, size_share = latents["log_loss_anchor"], latents["size_share"]
    if law == "kaplan":
        known["q"] = beta
    elif law == "nested":
        known["q"] = latents["q"]
    q, reducible = known.get("q", 1.0), log_loss
    if "offset_share" in LATENTS[law]:
        known["log_E"] = log_loss + log(latents["offset_share"])
        reducible = log_loss + log1p(-latents["offset_share"])
    return {
        "log_term_N": reducible + q * log(size_share),
        "log_term_D": reducible + q * log1p(-size_share),
        **known,
    }


def log_chinchilla(
    log_N, log_D, *, log_E, log_term_N, log_term_D, alpha, beta, exp=np.exp, log1p=np.log1p
):
    """Return the log of the Chinchilla loss, from anchored logarithms.

    The term of D is taken out of the sum, so that nothing overflows for N and D from 1 to 1e15
    while exponents stay below 20, and E = 0 is allowed.

    Parameters
    ----------
    log_N, log_D : float or array
        Natural logarithms of parameters and tokens.
    log_E : float or array
        Log irreducible loss; minus infinity is E = 0.
    log_term_N, log_term_D : float or array
        Logs of A ANCHOR_N^-alpha and B ANCHOR_D^-beta, in log nats per token.
    alpha, beta : float or array
        Exponents, > 0.
    exp, log1p : callable
        Elementary functions; PyTensor's inside a PyMC model. The defaults serve NumPy and xarray.

    Returns
    -------
    float or array
        Log of the loss in nats per token.

    References
    ----------
    Hoffmann et al. (2022), arXiv:2203.15556, approach 3.
    """
    size = log_term_N - alpha * (log_N - math.log(ANCHOR_N))
    data = log_term_D - beta * (log_D - math.log(ANCHOR_D))
    return data + log1p(exp(size - data) + exp(log_E - data))


def natural_coefficients(*, log_term_N, log_term_D, alpha, beta, log_E=None, exp=np.exp):
    """Return A, B and, where there is one, E of `nested` from anchored logarithms.

    Parameters
    ----------
    log_term_N, log_term_D, alpha, beta, log_E : float or array
        As in `log_nested`.
    exp : callable
        Exponential function; `pytensor.tensor.exp` inside a PyMC model.

    Returns
    -------
    dict
        E, A and B, of the inputs' broadcast shapes. A and B overflow where an exponent exceeds
        about 30; `log_nested` does not.
    """
    log_A = log_term_N + alpha * math.log(ANCHOR_N)
    log_B = log_term_D + beta * math.log(ANCHOR_D)
    offset = {} if log_E is None else {"E": exp(log_E)}
    return {**offset, "A": exp(log_A), "B": exp(log_B)}


def anchored_logs(*, E, A, B, alpha, beta, log=np.log):
    """Return log_E, log_term_N and log_term_D from natural coefficients.

    The inverse of `natural_coefficients`.

    Parameters
    ----------
    E, A, B, alpha, beta : float or array
        As in `chinchilla`.
    log : callable
        Natural logarithm.

    Returns
    -------
    dict
        log_E, log_term_N and log_term_D, of the inputs' broadcast shapes.
    """
    log_term_N = log(A) - alpha * math.log(ANCHOR_N)
    log_term_D = log(B) - beta * math.log(ANCHOR_D)
    return {"log_E": log(E), "log_term_N": log_term_N, "log_term_D": log_term_D}
