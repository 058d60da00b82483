"""Where a law fails its own runs: residuals along D/N, N and compute, and leave-one-out PIT."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.base import array_stats
from scipy import stats

from scalebayes.build import TRAJECTORY_INDEX, run_shift
from scalebayes.fitted_law import law_values
from scalebayes.hypotheses import RUN_EFFECT
from scalebayes.laws import FLOP_PER_PARAMETER_AND_TOKEN, expected_loss
from scalebayes.noise import noise_scale, sigma_of_run

AXES = {"D/N": "tokens per parameter D/N", "N": "parameters N", "C": "compute 6 N D (FLOP)"}
"""Along what residuals are looked at, N in the law's count; labels of the axes."""

FLAGGED = 0.01
"""Probability below which a check is said to fail."""

CAPTION = (
    "Residuals are log losses less the law's, run effect included, over the scale of the noise. "
    "rho: Spearman's correlation of their posterior medians with D/N, N and 6 N D, N in the law's "
    "count. p: probability that noise of the model correlates at least as much, over posterior "
    "draws (a posterior predictive p-value: conservative, so that a small one counts). PIT: "
    "Kolmogorov's probability that uniform values are as uneven as the runs' leave-one-out PIT, "
    "by importance sampling; k: rows whose Pareto k exceeds 0.7, where it is not to be relied on. "
    f"Flagged below {FLAGGED:g}, with no correction for the number of checks: runs that share a "
    "corpus, a schedule or a checkpoint are not independent, and that alone can flag."
)

_MAX_PARETO_K = 0.7
_REPLICATES = 20  # of noise, per draw


@dataclass(frozen=True, kw_only=True, eq=False)
class Checks:
    """What the checks of one fit, and their figure, are made of.

    Parameters
    ----------
    residuals : DataArray
        From `standardised_residuals`.
    axes : Dataset
        From `axis_values`.
    pit, pareto_k : ndarray or None
        From `loo_pit`, each [run]; None without a stored log likelihood.
    """

    residuals: xr.DataArray
    axes: xr.Dataset
    pit: np.ndarray | None = None
    pareto_k: np.ndarray | None = None


def checks_of(fit):
    """Return the `Checks` of a fit, which its row of the table and its figure share."""
    known = {"residuals": standardised_residuals(fit), "axes": axis_values(fit)}
    if "log_likelihood" in fit.children:
        known["pit"], known["pareto_k"] = loo_pit(fit)
    return Checks(**known)


def thinned(fit, draws):
    """Return about so many posterior draws of a fit, evenly spaced, as a Dataset."""
    posterior = fit["posterior"].to_dataset()
    step = math.ceil(posterior.sizes["chain"] * posterior.sizes["draw"] / draws)
    return posterior.isel(draw=slice(None, None, step))


def counted_parameters(fit, posterior):
    """Return the runs' parameters in the law's count: (run,), with the dims of omega if latent."""
    data = fit["constant_data"].to_dataset()
    return data["N"] if "N" in data else data["body"] + posterior["omega"] * data["head"]


def law_losses(fit, posterior):
    """Return the law's loss at a fit's own runs, without run effects.

    Parameters
    ----------
    fit : DataTree
        With group constant_data; with a latent counting N is body + omega head of each draw.
    posterior : Dataset
        Draws of that fit.

    Returns
    -------
    DataArray
        Nats per token over (run, chain, draw).
    """
    data = fit["constant_data"].to_dataset()
    D = data["D"]
    if "kappa" in posterior:  # what warm-up wastes does not count
        D = D * (1 - posterior["kappa"] * data["warmup_share"])
    return expected_loss(counted_parameters(fit, posterior), D, law_values(posterior, fit.attrs))


def standardised_residuals(fit, *, draws=200):
    """Return (log loss - log of the law's loss - run effect) / scale of the run's noise, per draw.

    Parameters
    ----------
    fit : DataTree
    draws : int
        Draws used, about.

    Returns
    -------
    DataArray
        Dimensionless, over (run, chain, draw).
    """
    posterior, data = thinned(fit, draws), fit["constant_data"].to_dataset()
    expected = np.log(law_losses(fit, posterior)) + _shift(posterior, data)
    residual = fit["observed_data"]["log_loss"] - expected
    return (residual / _scale(fit, posterior, data)).transpose("run", "chain", "draw")


def axis_values(fit, *, draws=200):
    """Return D/N, N and 6 N D of a fit's runs, N the posterior median of the law's count.

    Returns
    -------
    Dataset
        D/N, N (parameters) and C (FLOP), each over (run,).
    """
    N, D = counted_parameters(fit, thinned(fit, draws)), fit["constant_data"]["D"]
    N = N.median([dim for dim in N.dims if dim != "run"])
    return xr.Dataset({"D/N": D / N, "N": N, "C": FLOP_PER_PARAMETER_AND_TOKEN * N * D})


def loo_pit(fit, *, draws=1000):
    """Return the leave-one-out PIT of each run, and its Pareto k.

    The distribution function of the noise at the observed loss, averaged over draws with smoothed
    importance weights that leave the run out; uniform where the model is right.

    Parameters
    ----------
    fit : DataTree
        With group log_likelihood.
    draws : int
        Draws used, about.

    Returns
    -------
    pit, pareto_k : ndarray
        Each [run].

    References
    ----------
    Gelfand, Dey & Chang (1992), sec. 3; Vehtari, Gelman & Gabry (2017), arXiv:1507.04544.
    """
    posterior = thinned(fit, draws)
    z = standardised_residuals(fit, draws=draws).stack(sample=("chain", "draw"))
    chosen = fit["log_likelihood"]["log_loss"].sel(draw=posterior["draw"])
    chosen = chosen.transpose("run", "chain", "draw").stack(sample=("chain", "draw"))
    log_weights, pareto_k = array_stats.psislw(-chosen.to_numpy(), axis=-1)
    weights = np.exp(log_weights - log_weights.max(axis=-1, keepdims=True))
    if "nu" in posterior:
        below = stats.t.cdf(z, posterior["nu"].stack(sample=("chain", "draw")).to_numpy())
    else:
        below = stats.norm.cdf(z)
    return (weights * below).sum(axis=-1) / weights.sum(axis=-1), np.asarray(pareto_k)


def uniformity_band(n, *, prob=0.95):
    """Return the half-width within which the ECDF of n uniform values stays with a probability."""
    return float(stats.kstwo.ppf(prob, n))


def trend(residuals, axis, *, random_seed=0):
    """Return the rank correlation of residuals with an axis, and its posterior predictive p-value.

    Parameters
    ----------
    residuals : DataArray
        From `standardised_residuals`.
    axis : DataArray
        Over (run,).
    random_seed : int
        Of the replicated noise: independent runs, whose ranks are a random order.

    Returns
    -------
    rho : float
        Of the posterior medians.
    p : float
        Share of pairs of a draw and a replicate in which the replicate correlates at least as much.
    """
    values = residuals.stack(sample=("chain", "draw")).transpose("sample", "run").to_numpy()
    rng = np.random.default_rng(random_seed)
    noise = rng.standard_normal((_REPLICATES * len(values), axis.size))
    place = axis.to_numpy()
    observed = np.abs(_rank_correlation(values, place))
    replicated = np.sort(np.abs(_rank_correlation(noise, place)))
    below = np.searchsorted(replicated, observed, side="left")
    rho = _rank_correlation(np.median(values, axis=0)[None], place)[0]
    return float(rho), float(1 - below.mean() / replicated.size)


def predictive_checks(fits):
    """Return the checks of each fit, one row each; see `CAPTION`.

    Parameters
    ----------
    fits : mapping of str to DataTree or Checks
        Study name -> fit, or its `checks_of`.

    Returns
    -------
    DataFrame
        study, runs, for each of `AXES` "rho ..." and "p ...", "PIT p" and "k > 0.7" (None without
        a stored log likelihood), flagged: names of the checks that fail, in words.
    """
    rows = [
        _row(name, one if isinstance(one, Checks) else checks_of(one)) for name, one in fits.items()
    ]
    return pd.DataFrame(rows)


def checks_text(table):
    """Return `predictive_checks` with numbers as short texts."""
    shown = table.copy()
    for name in shown.columns:
        if name.startswith("rho"):
            shown[name] = [f"{value:+.2f}" for value in table[name]]
        elif "p" in name.split():
            shown[name] = ["–" if pd.isna(p) else _probability(p) for p in table[name]]
    return shown


def _row(name, checks):
    row = {"study": name, "runs": checks.residuals.sizes["run"]}
    for axis in AXES:
        row[f"rho {axis}"], row[f"p {axis}"] = trend(checks.residuals, checks.axes[axis])
    row |= {"PIT p": None, "k > 0.7": None}
    if checks.pit is not None:
        row["PIT p"] = float(stats.kstest(checks.pit, "uniform").pvalue)
        row["k > 0.7"] = int((checks.pareto_k > _MAX_PARETO_K).sum())
    failing = [f"trend in {axis}" for axis in AXES if row[f"p {axis}"] < FLAGGED]
    failing += ["PIT"] if row["PIT p"] is not None and row["PIT p"] < FLAGGED else []
    return row | {"flagged": ", ".join(failing) or "none"}


def _probability(p):
    return "<.001" if p < 0.001 else f"{p:.3f}"


def _rank_correlation(values, axis):
    ranks = stats.rankdata(values, axis=-1)
    place = stats.rankdata(axis)
    ranks = ranks - ranks.mean(axis=-1, keepdims=True)
    place = place - place.mean()
    length = np.sqrt((ranks**2).sum(axis=-1) * (place**2).sum())
    return np.divide(ranks @ place, length, out=np.zeros(len(ranks)), where=length > 0)


def _shift(posterior, data):
    if TRAJECTORY_INDEX not in data or "run_effect" not in posterior:
        return 0.0
    effect = posterior["run_effect"].transpose("chain", "draw", "trajectory").to_numpy()
    tau = posterior[RUN_EFFECT].transpose("chain", "draw").to_numpy()[..., None]
    shift = run_shift(tau, effect, data[TRAJECTORY_INDEX].to_numpy())
    return xr.DataArray(shift, dims=("chain", "draw", "run"), coords={"run": data["run"]})


def _scale(fit, posterior, data):
    se = data["loss_se"].fillna(0.0) / data["loss"] if "loss_se" in data else 0.0
    log_N, log_D = np.log(counted_parameters(fit, posterior)), np.log(data["D"])
    sigma = sigma_of_run(posterior["sigma"], posterior.get("eta"), log_N=log_N, log_D=log_D)
    return noise_scale(sigma, se)
