"""Prior distributions by their PyMC names: checked, drawn from and evaluated without PyMC.

`build` puts the same distributions into a PyMC model by name. Only proper priors exist here.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats
from scipy.special import expit, logit

from scalebayes.errors import HypothesisError

_SCIPY = {
    "Normal": lambda mu, sigma: stats.norm(mu, sigma),
    "StudentT": lambda nu, mu, sigma: stats.t(nu, mu, sigma),
    "Laplace": lambda mu, b: stats.laplace(mu, b),
    "Logistic": lambda mu, s: stats.logistic(mu, s),
    "LogNormal": lambda mu, sigma: stats.lognorm(sigma, scale=np.exp(mu)),
    "HalfNormal": lambda sigma: stats.halfnorm(scale=sigma),
    "Exponential": lambda lam: stats.expon(scale=1 / lam),
    "Gamma": lambda alpha, beta: stats.gamma(alpha, scale=1 / beta),
    "Beta": lambda alpha, beta: stats.beta(alpha, beta),
}
PARAMETERS = {
    "Normal": ("mu", "sigma"),
    "StudentT": ("nu", "mu", "sigma"),
    "Laplace": ("mu", "b"),
    "Logistic": ("mu", "s"),
    "LogNormal": ("mu", "sigma"),
    "HalfNormal": ("sigma",),
    "Exponential": ("lam",),
    "Gamma": ("alpha", "beta"),
    "Beta": ("alpha", "beta"),
}
"""Parameters of each distribution, in PyMC's names and order."""

REAL = ("Normal", "StudentT", "Laplace", "Logistic")
"""Distributions on the whole line, for logarithms."""

POSITIVE = ("LogNormal", "HalfNormal", "Exponential", "Gamma")
"""Distributions on the positive half-line, for scales."""

UNIT = ("Beta",)
"""Distributions on the unit interval, for shares."""

_LOCATIONS = ("mu",)


@dataclass(frozen=True, kw_only=True)
class Prior:
    """A proper univariate prior.

    Parameters
    ----------
    dist : str
        PyMC's name of the distribution, one of `PARAMETERS`.
    parameters : tuple of float
        Its parameters in the order of `PARAMETERS`.

    Raises
    ------
    HypothesisError
        When the distribution is unknown or improper, or a parameter is not finite or, where it is a
        scale, not positive.
    """

    dist: str
    parameters: tuple[float, ...]

    def __post_init__(self):
        if self.dist not in PARAMETERS:
            msg = f"{self.dist!r} is not a proper prior known here; use one of {list(PARAMETERS)}."
            raise HypothesisError(msg)
        names = PARAMETERS[self.dist]
        for name, value in zip(names, self.parameters, strict=True):
            if not np.isfinite(value) or (value <= 0 and name not in _LOCATIONS):
                kind = "finite" if name in _LOCATIONS else "positive and finite"
                msg = f"{self.dist}: {name} must be {kind}, got {value!r}."
                raise HypothesisError(msg)

    @property
    def support(self):
        """Return "real", "positive" or "unit"."""
        return support_of(self.dist)

    def frozen(self):
        """Return the distribution as a frozen SciPy one."""
        return _frozen(self.dist, tuple(self.parameters))

    def to_table(self):
        """Return the prior as it stands in a hypothesis file: {"dist": ..., parameter: ...}."""
        return {"dist": self.dist, **dict(zip(PARAMETERS[self.dist], self.parameters, strict=True))}


def support_of(dist):
    """Return "real", "positive" or "unit": where a distribution of `PARAMETERS` lives."""
    if dist in UNIT:
        return "unit"
    return "real" if dist in REAL else "positive"


def constrained(support, x):
    """Return values on a support from unconstrained ones: by the exponential or the logistic."""
    return {"real": lambda x: x, "positive": np.exp, "unit": expit}[support](x)


def unconstrained(support, value):
    """Return unconstrained values from those on a support, the inverse of `constrained`."""
    return {"real": lambda x: x, "positive": np.log, "unit": logit}[support](value)


def prior_from_table(table):
    """Return the `Prior` of a table {"dist": PyMC name, parameter: number, ...}.

    Parameters
    ----------
    table : mapping
        All parameters of the distribution must be there, and nothing else.

    Returns
    -------
    Prior

    Raises
    ------
    HypothesisError
        When the distribution is unknown or improper, a parameter is missing, unknown, not a number,
        or out of range; the message names the allowed ones.
    """
    if not isinstance(table, dict) or "dist" not in table:
        msg = 'a prior is a table such as { dist = "Normal", mu = 0.0, sigma = 1.0 }, ' + (
            f"got {table!r}."
        )
        raise HypothesisError(msg)
    dist = table["dist"]
    if dist not in PARAMETERS:
        msg = f"{dist!r} is not a proper prior known here; use one of {list(PARAMETERS)}."
        raise HypothesisError(msg)
    given = {name: value for name, value in table.items() if name != "dist"}
    if set(given) != set(PARAMETERS[dist]):
        msg = f"{dist} takes {list(PARAMETERS[dist])}, got {sorted(given)}."
        raise HypothesisError(msg)
    return Prior(
        dist=dist, parameters=tuple(_number(name, given[name]) for name in PARAMETERS[dist])
    )


@cache
def _frozen(dist, parameters):
    return _SCIPY[dist](*parameters)


def _number(name, value):
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{name} must be a number, got {value!r}."
        raise HypothesisError(msg)
    try:
        return float(value)
    except OverflowError as error:  # a whole number of more than 308 digits
        msg = f"{name} must be finite, got a whole number too large for a float."
        raise HypothesisError(msg) from error
