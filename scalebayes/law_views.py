"""A fit as figures show it: its law, runs and optima in one count of parameters."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes.fitted_law import run_parameters, thinned_fit
from scalebayes.hypotheses import LATENT
from scalebayes.laws import FLOP_PER_PARAMETER_AND_TOKEN
from scalebayes.leave_out import budget_labels, stated_compute
from scalebayes.optimum import optimal
from scalebayes.predict import predict
from scalebayes.predictive_checks import law_losses

_BINS = 6  # of log compute, where runs are not on isoFLOP lines
_ONE_LINE = 0.1  # of log compute, within which runs are on one line
_RUNS_PER_LINE = 3  # on average


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """A fit's law and runs in one count of parameters.

    Parameters
    ----------
    fit : DataTree
        With fewer draws; only of one omega where nothing else gives a common count.
    asked : dict
        counting and architecture, as `optimum.optimal` takes them.
    counted : str
        What N counts, in words.
    N, D, loss : ndarray
        Of the runs used: parameters, tokens, nats per token; each [run].
    """

    fit: xr.DataTree
    asked: dict
    counted: str
    N: np.ndarray
    D: np.ndarray
    loss: np.ndarray

    @property
    def compute(self):
        """Return 6 N D of the runs, FLOP."""
        return FLOP_PER_PARAMETER_AND_TOKEN * self.N * self.D

    def losses(self, N, D):
        """Return the law's loss without warm-up at points, nats per token over (point, draw).

        Parameters
        ----------
        N, D : ndarray
            Parameters in this count, and tokens, each [point].
        """
        points = pd.DataFrame({"N": N, "D": D, "warmup_tokens": 0.0})
        found = predict(self.fit, points, random_seed=0, **self.asked)["loss"]
        return found.stack(sample=("chain", "draw")).to_numpy()

    def own_losses(self):
        """Return the posterior median of the law's loss at the runs, warm-up included, [run]."""
        posterior = self.fit["posterior"].to_dataset()
        return law_losses(self.fit, posterior).median(("chain", "draw")).to_numpy()

    def optima(self, compute):
        """Return the compute-optimal models at budgets 6 N D in this count, as `optimal` does."""
        return optimal(self.fit, compute, **self.asked)


def common_counting(fit):
    """Return the counting and architecture in which a fit's optima are best compared.

    Parameters
    ----------
    fit : DataTree

    Returns
    -------
    dict
        counting and architecture, as `optimum.optimal` takes them: total with shapes as the runs'
        where those are known, else the law's own count. Empty for the law isoflop, whose own count
        is the only one, and where no shapes are known.
    """
    if fit.attrs.get("law") == "isoflop" or not fit.attrs.get("architecture"):
        return {}
    return {"counting": "total", "architecture": "study"}


def view_of(fit, *, draws=300):
    """Return a fit in one count of parameters: that of `common_counting` where there is one.

    Parameters
    ----------
    fit : DataTree
    draws : int
        At most so many are kept, evenly spaced.

    Returns
    -------
    View
        Where the count is latent and no shapes are known, the law at the omega of most draws.
    """
    asked, counted = common_counting(fit), ""
    if not asked and fit.attrs["counting"] == LATENT:
        fit, counted = _at_one_omega(fit)
    counting = asked.get("counting", fit.attrs["counting"])
    return View(
        fit=thinned_fit(fit, draws),
        asked=asked,
        counted=counted or counting,
        N=np.asarray(run_parameters(fit, counting), dtype=float),
        D=fit["constant_data"]["D"].to_numpy().astype(float),
        loss=np.exp(fit["observed_data"]["log_loss"].to_numpy()),
    )


def budgets_of(fit, view):
    """Return the budget of every run, as figures draw isoFLOP lines.

    Parameters
    ----------
    fit : DataTree
    view : View

    Returns
    -------
    budget : ndarray
        Median 6 N D of the runs of the same line, FLOP, [run].
    on_lines : bool
        Whether the runs lie on isoFLOP lines of the compute that the study states, else of 6 N D as
        the law counts it; otherwise they are cut into bins of equal width in log compute.
    """
    log_compute, log_stated = np.log(view.compute), np.log(stated_compute(fit))
    labels = budget_labels(fit)
    widths = [np.ptp(log_stated[labels == one]) for one in np.unique(labels)]
    on_lines = bool(np.max(widths) < _ONE_LINE and labels.size >= _RUNS_PER_LINE * len(widths))
    if not on_lines:
        edges = np.linspace(log_compute.min(), log_compute.max(), _BINS + 1)
        labels = np.clip(np.searchsorted(edges, log_compute, side="right"), 1, _BINS)
    middle = {one: np.exp(np.median(log_compute[labels == one])) for one in np.unique(labels)}
    return np.array([middle[one] for one in labels]), on_lines


def _at_one_omega(fit):
    """Return a fit with the draws of its most frequent omega alone, in that count, and words."""
    posterior = fit["posterior"].to_dataset().stack(sample=("chain", "draw"))
    values, counts = np.unique(posterior["omega"].to_numpy(), return_counts=True)
    omega, share = float(values[counts.argmax()]), counts.max() / counts.sum()
    kept = posterior.isel(sample=np.flatnonzero(posterior["omega"].to_numpy() == omega))
    kept = kept.drop_vars(["sample", "chain", "draw"]).rename(sample="draw").expand_dims("chain")
    data = fit["constant_data"].to_dataset()
    groups = {name: child.to_dataset() for name, child in fit.children.items()}
    groups = {name: groups[name] for name in ("observed_data",)}
    groups |= {"posterior": kept.transpose("chain", "draw", ...)}
    groups |= {"constant_data": data.assign(N=data["body"] + omega * data["head"])}
    one = xr.DataTree.from_dict(groups)
    one.attrs = {**fit.attrs, "counting": f"{omega:g}"}
    return one, f"body + {omega:g} head ({share:.0%} of the draws)"
