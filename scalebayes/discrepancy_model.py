"""The amplitudes of the discrepancy, learned from runs that fits did not see: a plain `pm.Model`.

Record j is a study cut in compute. Its held-out residuals r = log loss - mean log law are

    r = F c + Q z + noise,   c ~ Normal(0, amplitudes^2),  z ~ Normal(0, 1),

F from `discrepancy.log_loss_features`, Q Q' the covariance of the law over the fit's draws, noise
Normal with the fit's scale. c and z are integrated out exactly; what is sampled are the five
amplitudes and a factor of the noise. Noise is Gaussian here: its scale is the standard deviation of
the fit's Student-t, with at least 2.5 degrees of freedom. Cuts of one study see the same runs: each
counts by one over their number.
"""

from dataclasses import dataclass, field

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from scalebayes import nuts
from scalebayes.diagnostics import diagnose
from scalebayes.discrepancy import (
    AMPLITUDES,
    Discrepancy,
    decades_outside,
    law_log_losses,
    log_loss_features,
)
from scalebayes.discrepancy_evidence import HeldOut, probability_exact
from scalebayes.errors import InputError, SamplingInterrupted
from scalebayes.fitted_law import law_values
from scalebayes.optimum import compute_range
from scalebayes.predict import law_parameters

PRIOR = {
    "level": 0.02,
    "level_growth": 0.05,
    "shift": 0.3,
    "shift_growth": 0.3,
    "valley": 0.5,
    "log_noise_factor": 0.5,
}
"""Scales of half-normals for the amplitudes, and sd of the log of the noise's factor."""

_LEAST_NU = 2.5
_RANK = 5  # of the law's covariance over draws: it has five coefficients
_STATS = ("diverging", "energy", "n_steps")
_LATENTS = (*AMPLITUDES, "log_noise_factor")
_ATTEMPTS = 3
_RECORDED = ("gram", "projection", "square", "n")
_MAX_ERROR = 0.5  # nats, of log odds between -5 and 5


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one cut of one study says, in units of its noise.

    Parameters
    ----------
    study : str
    gram : ndarray
        [10, 10], M'M of M = [F, Q] over noise.
    projection : ndarray
        [10], M'r.
    square : float
        r'r.
    n : int
        Held-out runs.
    """

    study: str
    gram: np.ndarray = field(repr=False)
    projection: np.ndarray = field(repr=False)
    square: float
    n: int


def record_of(fit, split, *, study):
    """Return what the runs above a cut say of a fit to those below.

    Parameters
    ----------
    fit : DataTree
        Of `split.below`, under a law of a whole surface with a fixed counting.
    split : held_out.Split
    study : str
        Label; cuts of the same runs share it.
    """
    points = split.above
    table = points[["N", "D"]]
    N, D = law_parameters(fit, table), law_parameters(fit, table).copy(data=table["D"].to_numpy())
    posterior = fit["posterior"].to_dataset()
    values = law_values(posterior, fit.attrs)
    decades = decades_outside(6 * N * D, compute_range(fit))
    features = log_loss_features(N, D, values, decades=decades).to_numpy()
    log_law, _ = law_log_losses(N, D, values, fit.attrs["law"])
    log_law = log_law.stack(sample=("chain", "draw")).transpose("point", "sample").to_numpy()
    mean = log_law.mean(axis=1, keepdims=True)
    left, size, _ = np.linalg.svd((log_law - mean) / np.sqrt(log_law.shape[1]), full_matrices=False)
    covariance_root = np.zeros((len(points), _RANK))
    rank = min(_RANK, size.size)
    covariance_root[:, :rank] = left[:, :rank] * size[:rank]
    scale = _noise_sd(posterior)
    M = np.hstack([features, covariance_root]) / scale
    r = (np.log(points["loss"].to_numpy()) - mean[:, 0]) / scale
    return Record(study=study, gram=M.T @ M, projection=M.T @ r, square=float(r @ r), n=len(r))


def discrepancy_model(records, weights, *, prior=None):
    """Return the PyMC model of the amplitudes given held-out runs of several studies.

    Parameters
    ----------
    records : sequence of Record
    weights : ndarray
        [record], how much each counts; `pm.Data`.
    prior : mapping, optional
        Values that replace those of `PRIOR`.

    Returns
    -------
    pm.Model
        Free variables `AMPLITUDES` and log_noise_factor; the likelihood as a Potential (nats).
    """
    given = PRIOR | (prior or {})
    gram, projection, square, n = (
        np.array([getattr(one, name) for one in records]) for name in _RECORDED
    )
    with pm.Model() as model:
        counts = pm.Data("weight", np.asarray(weights, dtype=float))
        held = pm.Data("gram", gram, shape=gram.shape)
        amplitudes = [pm.HalfNormal(name, given[name]) for name in AMPLITUDES]
        log_factor = pm.Normal("log_noise_factor", 0, given["log_noise_factor"])
        variance = pt.exp(2 * log_factor)
        scale = pt.concatenate([pt.stack(amplitudes), pt.ones(_RANK)])
        inner = held * scale[:, None] * scale / variance + np.eye(gram.shape[1])
        root = pt.linalg.cholesky(inner)
        moved = pt.linalg.solve_triangular(root, (projection * scale)[..., None], lower=True)[
            ..., 0
        ]
        log_det = 2 * pt.log(pt.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
        misfit = (square - (moved**2).sum(axis=1) / variance) / variance
        likelihood = -(n * pt.log(variance) + log_det + misfit) / 2
        pm.Potential("held_out", (counts * likelihood).sum())
    return model


class Learner:
    """Amplitudes from records, compiled once: for all studies, or for all but some.

    Parameters
    ----------
    records : sequence of Record
    prior : mapping, optional
        As in `discrepancy_model`.

    Raises
    ------
    InputError
        Without records.
    """

    def __init__(self, records, *, prior=None):
        if not records:
            msg = "no held-out runs to learn a discrepancy from."
            raise InputError(msg)
        self._studies = np.array([one.study for one in records])
        self._weights = np.array([1 / (self._studies == one).sum() for one in self._studies])
        self._records, self._prior = records, PRIOR | (prior or {})
        model = discrepancy_model(records, self._weights, prior=prior)
        self._compiled = nuts.nutpie.compile_pymc_model(model)

    def learn(self, *, without=(), draws=400, tune=300, chains=4, random_seed=1):
        """Return the discrepancy that studies show, and why it is not to be trusted, if so.

        Parameters
        ----------
        without : sequence of str
            Studies that do not count.
        draws, tune, chains, random_seed : int
            Of the first attempt; one that fails the gate is drawn again, longer.

        Returns
        -------
        discrepancy : Discrepancy
        problems : tuple of str
        """
        latents, weights, problems = self.draw(without, draws, tune, chains, random_seed)
        held_out = held_out_of(self._records, weights, self._prior)
        exact, log_odds = probability_exact(held_out, latents, seed=random_seed)
        if log_odds.se > _MAX_ERROR and abs(log_odds.log_evidence) < 10 * _MAX_ERROR:
            problems = (*problems, f"odds of an exact law known to {log_odds.se:.1f} nats only")
        flat = np.exp(latents[..., :-1]).reshape(-1, len(AMPLITUDES))
        amplitudes = {name: _with_zeros(flat[:, i], exact) for i, name in enumerate(AMPLITUDES)}
        return Discrepancy(amplitudes=amplitudes, exact=exact), problems

    def draw(self, without, draws, tune, chains, random_seed):
        """Return draws given that there is a discrepancy, the records' weights, and problems.

        Parameters
        ----------
        without, draws, tune, chains, random_seed
            As in `learn`.

        Returns
        -------
        latents : ndarray
            [chain, draw, 6], logs of the amplitudes and of the noise's factor.
        weights : ndarray
            [record].
        problems : tuple of str
        """
        weights = np.where(np.isin(self._studies, list(without)), 0.0, self._weights)
        if not weights.any():
            msg = "no held-out runs to learn a discrepancy from."
            raise InputError(msg)
        compiled = self._compiled.with_data(weight=weights)
        for attempt in range(_ATTEMPTS):
            tree, interrupted = nuts.sampled(
                compiled,
                draws=draws * 3**attempt,
                tune=tune * 2**attempt,
                chains=chains,
                cores=1,
                seed=random_seed,
                target_accept=(0.9, 0.95, 0.99)[attempt],
            )
            if interrupted:
                raise SamplingInterrupted
            posterior, stats = tree["posterior"].to_dataset(), tree["sample_stats"].to_dataset()
            checked = {name: posterior[name].to_numpy() for name in _LATENTS}
            problems = diagnose(checked, {one: stats[one].to_numpy() for one in _STATS}).problems
            if not problems:
                break
        logs = [*(np.log(checked[name]) for name in AMPLITUDES), checked["log_noise_factor"]]
        return np.stack(logs, axis=-1), weights, problems


def held_out_of(records, weights, prior):
    """Return records as `HeldOut` arrays.

    Parameters
    ----------
    records : sequence of Record
    weights : ndarray
        [record].
    prior : mapping
        As `PRIOR`.
    """
    parts = {name: np.array([getattr(one, name) for one in records]) for name in _RECORDED}
    return HeldOut(**parts, weight=np.asarray(weights, dtype=float), prior=dict(prior))


def _with_zeros(draws, share):
    """Return draws of which a share, spread evenly, is 0."""
    n = len(draws)
    zero = np.floor((np.arange(n) + 1) * share + 0.5) > np.floor(np.arange(n) * share + 0.5)
    return np.where(zero, 0.0, draws)


def _noise_sd(posterior):
    """Return the standard deviation of a fit's row noise in log loss."""
    sigma = float(posterior["sigma"].median())
    if "nu" not in posterior:
        return sigma
    nu = max(float(posterior["nu"].median()), _LEAST_NU)
    return sigma * np.sqrt(nu / (nu - 2))
