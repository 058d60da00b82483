"""Figure of the predictive checks of one fit: residuals along three axes, and uniformity of PIT."""

import numpy as np
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator

from scalebayes.predictive_checks import AXES, checks_of, uniformity_band
from scalebayes.small_multiples import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALE,
    add_note,
    fixed_figure,
    mark_not_converged,
    panel_title,
    powers_of_ten,
    styled,
)

_BIN_RUNS, _MOST_BINS = 8, 8
SHOWN = 6.0
"""Standardised residuals beyond are drawn at the edge."""

_PLACES = {
    "left": 0.08,
    "right": 0.985,
    "bottom": 0.085,
    "top": 0.89,
    "wspace": 0.23,
    "hspace": 0.3,
}


@styled
def plot_predictive_checks(fit, *, checks=None):
    """Return residuals against D/N, N and 6 N D, and the ECDF of the LOO-PIT less uniform.

    Parameters
    ----------
    fit : DataTree
        One study's fit. Without a stored log likelihood the last panel says so.
    checks : Checks, optional
        Its `predictive_checks.checks_of`, where that is known already.

    Returns
    -------
    Figure
        Lines: median of the residuals in bins of equally many runs; bands: its 90% interval over
        the posterior. Triangles at the edge lie beyond 6 scales. Shaded in the last panel: 95%
        simultaneous band of uniform values.
    """
    figure = fixed_figure((9.4, 6.2), **_PLACES)
    panels = figure.subplots(2, 2)
    checks = checks_of(fit) if checks is None else checks
    for ax, (name, label) in zip(panels.flat, AXES.items(), strict=False):
        _residual_panel(ax, checks.residuals, checks.axes[name].to_numpy())
        ax.set_xlabel(label)
    for ax in panels[:, 0]:
        ax.set_ylabel("residual / scale of noise")
    _pit_panel(panels[1, 1], checks.pit)
    first = panels[0, 0]
    first.set_title(panel_title(fit.attrs["study"]), loc="left", fontweight="bold")
    mark_not_converged(first, fit)
    return figure


def binned_medians(residuals, axis):
    """Return the middle of each bin of runs along an axis, and the median of its residuals.

    Parameters
    ----------
    residuals : DataArray
        Over (run, chain, draw).
    axis : ndarray
        [run], > 0.

    Returns
    -------
    middle : ndarray
        [bin].
    quantiles : ndarray
        5, 50 and 95% over the posterior of the bin's median residual [quantile, bin].
    """
    n_bins = int(np.clip(axis.size // _BIN_RUNS, 1, _MOST_BINS))
    bins = np.array_split(np.argsort(axis, kind="stable"), n_bins)
    values = residuals.stack(sample=("chain", "draw")).to_numpy()
    medians = np.array([np.median(values[rows], axis=0) for rows in bins])
    middle = np.array([np.exp(np.median(np.log(axis[rows]))) for rows in bins])
    return middle, np.quantile(medians, [0.05, 0.5, 0.95], axis=1)


def _residual_panel(ax, residuals, axis):
    z = residuals.median(("chain", "draw")).to_numpy()
    far = np.abs(z) > SHOWN
    ax.scatter(axis[~far], z[~far], s=12, color=GREY, alpha=0.6, linewidth=0)
    edge = np.sign(z[far]) * SHOWN
    ax.scatter(axis[far], edge, s=24, marker="^", color=ORANGE, linewidth=0)
    middle, (low, median, high) = binned_medians(residuals, axis)
    ax.fill_between(middle, low, high, color=BLUE, alpha=0.3, linewidth=0)
    ax.plot(middle, median, color=BLUE, linewidth=2.0)
    ax.axhline(0.0, color=INK, linewidth=0.9, zorder=0)
    ax.set(xscale="log", ylim=(-SHOWN - 0.5, SHOWN + 0.5))
    ax.xaxis.set_major_locator(LogLocator(numticks=6))
    powers_of_ten(ax.xaxis)
    ax.yaxis.set_major_locator(FixedLocator(np.linspace(-SHOWN, SHOWN, 5)))
    ax.xaxis.set_minor_locator(NullLocator())


def _pit_panel(ax, pit):
    ax.set(xlabel="leave-one-out PIT", ylabel="ECDF − uniform")
    ax.yaxis.set_major_locator(MaxNLocator(5, symmetric=True))
    if pit is None:
        add_note(ax, "no log likelihood is stored")
        return
    place = np.linspace(0.0, 1.0, 201)
    ecdf = np.searchsorted(np.sort(pit), place, side="right") / pit.size
    band = uniformity_band(pit.size)
    ax.fill_between(place, -band, band, color=PALE, linewidth=0)
    ax.plot(place, ecdf - place, color=BLUE, linewidth=1.6, drawstyle="steps-post")
    ax.axhline(0.0, color=INK, linewidth=0.9, zorder=0)
