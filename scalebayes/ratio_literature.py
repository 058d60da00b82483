"""What the published studies say of the compute-optimal ratio itself, D*/N*, at a budget.

Study s of group g says y_s = log D*/N* at a budget C_s inside its data, with variance v_s:

    y_s = m + k (log C_s - log C_0) + u_g + e_s + error_s,

m ~ Normal(log 20, 1), k ~ Normal(0, 0.1) (the ratio may drift by a quarter per decade), u ~
Normal(0, tau_group), e ~ Normal(0, tau_study), scales half-normal(0.7) and half-normal(0.3); the
error has the posterior's variance and that of the shift that the law may be off by inside its data
(`discrepancy`). Given the two scales everything is Gaussian, and the scales are summed over a grid.

Exponents are pooled elsewhere (`population`); A and B never are. This is about their quotient where
it is measured, which tokenizers move by far less than studies differ.
"""

from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from scalebayes.discrepancy import shift_of
from scalebayes.errors import InputError
from scalebayes.optimum import compute_range, extrapolation_decades, optimal

REFERENCE_COMPUTE = 1e20
"""C_0, FLOP: in the middle of the bundled studies' budgets."""

PRIOR = {
    "location": float(np.log(20.0)),
    "location_sd": 1.0,
    "slope_sd": 0.1,
    "tau_group": 0.7,
    "tau_study": 0.3,
}
"""Priors of the model; of the two spreads, scales of half-normals."""

_UPPER = 0.75  # share of a study's log range of compute at which its ratio is read
_POINTS = 32  # of the grid of each spread
_WIDEST = 3.0  # of that grid, in scales of the prior
_TO_RATIO = -2.0  # log D*/N* falls by two when log N* rises by one at a fixed budget


@dataclass(frozen=True, kw_only=True)
class StudyRatio:
    """What one study says of the ratio inside its data.

    Parameters
    ----------
    study, group : str
    log_compute : float
        Log of the budget, FLOP (6 N D).
    log_ratio, variance : float
        Mean and variance of log D*/N*.
    """

    study: str
    group: str
    log_compute: float
    log_ratio: float
    variance: float


@dataclass(frozen=True, kw_only=True)
class RatioLiterature:
    """The ratio that studies lead one to expect of a study of another group.

    Parameters
    ----------
    weight : ndarray
        [point], of the pairs of spreads.
    mean : ndarray
        [point, 2], of location and slope.
    covariance : ndarray
        [point, 2, 2].
    spread : ndarray
        [point], variance of a new study about them.
    studies : tuple of str
    """

    weight: np.ndarray = field(repr=False)
    mean: np.ndarray = field(repr=False)
    covariance: np.ndarray = field(repr=False)
    spread: np.ndarray = field(repr=False)
    studies: tuple[str, ...]

    def moments(self, compute):
        """Return mean and variance [point] of log D*/N* at a budget (FLOP), given the spreads."""
        at = np.array([1.0, np.log(compute / REFERENCE_COMPUTE)])
        return self.mean @ at, np.einsum("i,pij,j->p", at, self.covariance, at) + self.spread

    def log_density(self, log_ratio, compute):
        """Return the log density of log D*/N* at a budget (FLOP), the shape of `log_ratio`."""
        mean, variance = self.moments(compute)
        values = np.asarray(log_ratio)[..., None]
        terms = -((values - mean) ** 2) / (2 * variance) - np.log(2 * np.pi * variance) / 2
        return logsumexp(terms, b=self.weight, axis=-1)

    def draws(self, compute, n, rng):
        """Return n draws of log D*/N* of a new study at a budget (FLOP)."""
        mean, variance = self.moments(compute)
        picked = rng.choice(len(self.weight), size=n, p=self.weight)
        return mean[picked] + np.sqrt(variance[picked]) * rng.standard_normal(n)


def study_ratio(fit, *, group, discrepancy, counting=None, architecture=None):
    """Return what a fit says of D*/N* inside its data, at three quarters of its range of compute.

    Parameters
    ----------
    fit : DataTree
    group : str
        Studies of one group (code base and corpus) are alike.
    discrepancy : Discrepancy
        Whose shift inside the data is part of the error.
    counting, architecture
        As in `optimal`, C being 6 N D with that N.
    """
    asked = {"counting": counting, "architecture": architecture}
    low, high = compute_range(fit, **asked)
    compute = low ** (1 - _UPPER) * high**_UPPER
    log_ratio = np.log(optimal(fit, compute, **asked)["tokens_per_parameter"].to_numpy())
    off = _TO_RATIO**2 * float(np.mean(discrepancy.amplitudes["shift"] ** 2))
    return StudyRatio(
        study=fit.attrs["study"],
        group=group,
        log_compute=float(np.log(compute)),
        log_ratio=float(log_ratio.mean()),
        variance=float(log_ratio.var()) + off,
    )


def ratio_literature(ratios, *, prior=None):
    """Return what studies lead one to expect of the ratio of a study of a new group.

    Parameters
    ----------
    ratios : sequence of StudyRatio
    prior : mapping, optional
        Values that replace those of `PRIOR`.

    Returns
    -------
    RatioLiterature

    Raises
    ------
    InputError
        Without any.
    """
    if not ratios:
        msg = "no published study says anything of the ratio."
        raise InputError(msg)
    given = PRIOR | (prior or {})
    y = np.array([one.log_ratio for one in ratios])
    variance = np.array([one.variance for one in ratios])
    at = np.array([one.log_compute for one in ratios]) - np.log(REFERENCE_COMPUTE)
    X = np.column_stack([np.ones_like(at), at])
    groups = np.array([one.group for one in ratios])
    same = groups[:, None] == groups
    centre = np.array([given["location"], 0.0])
    before = np.diag([given["location_sd"] ** 2, given["slope_sd"] ** 2])
    points = [
        (one, other) for one in _grid(given["tau_group"]) for other in _grid(given["tau_study"])
    ]
    log_weight, means, covariances, spreads = [], [], [], []
    for tau_group, tau_study in points:
        S = X @ before @ X.T + tau_group**2 * same + np.diag(tau_study**2 + variance)
        gain = np.linalg.solve(S, X @ before).T
        residual = y - X @ centre
        means.append(centre + gain @ residual)
        covariances.append(before - gain @ X @ before)
        spreads.append(tau_group**2 + tau_study**2)
        log_weight.append(
            -(residual @ np.linalg.solve(S, residual) + np.linalg.slogdet(S)[1]) / 2
            - (tau_group / given["tau_group"]) ** 2 / 2
            - (tau_study / given["tau_study"]) ** 2 / 2
        )
    weight = np.exp(np.array(log_weight) - logsumexp(log_weight))
    return RatioLiterature(
        weight=weight / weight.sum(),
        mean=np.array(means),
        covariance=np.array(covariances),
        spread=np.array(spreads),
        studies=tuple(one.study for one in ratios),
    )


def optimum_weights(fit, compute, literature, coefficients, *, counting=None, architecture=None):
    """Return how much each draw of a fit counts once the literature on the ratio is believed.

    The ratio of a draw is that of its law and its discrepancy: the further a budget lies outside
    the data, the wider the discrepancy, and the more the literature decides. The density that the
    fit's own prior gave the ratio is divided out.

    Parameters
    ----------
    fit : DataTree
    compute : float
        FLOP (6 N D).
    literature : RatioLiterature
    coefficients : mapping
        As `Discrepancy.coefficients` returns them, over (chain, draw).
    counting, architecture
        As in `optimal`; that of the literature, C being 6 N D with that N.

    Returns
    -------
    weights : DataArray
        (chain, draw), summing to 1.
    log_N : DataArray
        (chain, draw), log N* with the discrepancy.
    """
    asked = {"counting": counting, "architecture": architecture}
    decades = abs(float(extrapolation_decades(fit, compute, **asked)))
    best = optimal(fit, compute, **asked).isel(compute=0)
    shift = shift_of(coefficients, decades)
    log_ratio = np.log(best["tokens_per_parameter"]) + _TO_RATIO * shift
    log_weight = literature.log_density(log_ratio, compute) - _log_prior(
        fit, compute, log_ratio, asked
    )
    weight = np.exp(log_weight - log_weight.max())
    return log_ratio.copy(data=weight / weight.sum()), np.log(best["N"]) + shift


def _log_prior(fit, compute, log_ratio, asked):
    """Return the Normal log density that a fit's prior gives a ratio; flat without its draws."""
    if "prior" not in fit.children:
        return np.zeros(log_ratio.shape)
    prior = xr.DataTree.from_dict(
        {"posterior": fit["prior"].to_dataset(), "constant_data": fit["constant_data"].to_dataset()}
    )
    prior.attrs = fit.attrs
    values = np.log(optimal(prior, compute, **asked)["tokens_per_parameter"].to_numpy())
    values = values[np.isfinite(values)]
    middle, sd = np.median(values), 1.4826 * np.median(abs(values - np.median(values)))
    return -(((log_ratio.to_numpy() - middle) / sd) ** 2) / 2


def _grid(scale):
    """Return positive values of a spread, as dense where the spread is small."""
    return _WIDEST * scale * (np.arange(_POINTS) + 0.5) / _POINTS
