"""Figure of one fit's residuals: along N, D and compute, and against the noise of the model."""

import numpy as np
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator
from scipy import stats

from scalebayes.check_plots import SHOWN, binned_medians
from scalebayes.law_views import view_of
from scalebayes.predictive_checks import standardised_residuals
from scalebayes.small_multiples import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALE,
    add_note,
    empty_figure,
    fit_title,
    powers_of_ten,
    prior_note,
    styled,
)

_MANY_RUNS = 600  # above, runs are counted in hexagons


@styled
def plot_residuals(fit):
    """Return standardised residuals against N, D and compute, and their quantiles.

    Parameters
    ----------
    fit : DataTree
        Of any law.

    Returns
    -------
    Figure
        Residuals are log loss less the log of the law's, run effect included, over the scale of the
        noise; posterior medians. Line and band: median of bins of equally many runs, and its 90%
        equal-tailed interval over the posterior. Triangles at the edge lie beyond 6 scales; more
        than 600 runs are counted in hexagons. Last panel: quantiles of the residuals against those
        of the noise, Student-t at the posterior median of nu or Normal; shaded: 90% of samples of
        as many independent runs, point by point.
    """
    figure = empty_figure((5.6, 5.6))
    panels = figure.subplots(2, 2)
    view, residuals = view_of(fit), standardised_residuals(fit)
    axes = {
        f"parameters N ({view.counted})": view.N,
        "training tokens D": view.D,
        "compute 6 N D (FLOP)": view.compute,
    }
    for ax, (label, axis) in zip(panels.flat, axes.items(), strict=False):
        _residual_panel(ax, residuals, axis)
        ax.set_xlabel(label)
    for ax in panels[:, 0]:
        ax.set_ylabel("residual / scale of noise")
    z = residuals.median(("chain", "draw")).to_numpy()
    nu = float(fit["posterior"]["nu"].median()) if "nu" in fit["posterior"] else None
    _quantile_panel(panels[1, 1], z, nu)
    fit_title(panels[0, 0], fit)
    if z.size > _MANY_RUNS:
        add_note(panels[0, 1], f"{z.size:,} runs, counted in hexagons", loc="upper left")
    add_note(panels[1, 1], prior_note(fit).replace(": ", ":\n"), loc="lower right", backed=True)
    return figure


def noise_quantiles(n, nu=None, *, band=(0.05, 0.95)):
    """Return the quantiles of n independent residuals, and a band of them point by point.

    Parameters
    ----------
    n : int
    nu : float, optional
        Degrees of freedom of the Student-t; Normal noise without.
    band : tuple of float

    Returns
    -------
    expected, low, high : ndarray
        [order], of the k-th smallest residual: its quantile at the plotting position, and at the
        ends of the band, from the Beta(k, n + 1 - k) distribution of its probability.
    """
    noise = stats.norm() if nu is None else stats.t(nu)
    order = np.arange(1, n + 1)
    rank = stats.beta(order, n + 1 - order)
    expected = noise.ppf((order - 0.5) / n)
    low, high = (noise.ppf(rank.ppf(end)) for end in band)
    return expected, low, high


def _residual_panel(ax, residuals, axis):
    z = residuals.median(("chain", "draw")).to_numpy()
    far = np.abs(z) > SHOWN
    if z.size > _MANY_RUNS:
        extent = (*np.log10([axis.min() / 1.1, axis.max() * 1.1]), -SHOWN, SHOWN)
        style = {"bins": "log", "gridsize": (26, 16), "mincnt": 1, "linewidths": 0}
        ax.hexbin(axis[~far], z[~far], xscale="log", extent=extent, cmap="Greys", **style)
    else:
        size = float(np.clip(14 * np.sqrt(60 / z.size), 4, 14))
        ax.scatter(axis[~far], z[~far], s=size, color=GREY, alpha=0.65, linewidth=0, label="_runs")
    edge = np.sign(z[far]) * SHOWN
    ax.scatter(axis[far], edge, s=20, marker="^", color=ORANGE, linewidth=0, label="_far")
    middle, (low, median, high) = binned_medians(residuals, axis)
    ax.fill_between(middle, low, high, color=BLUE, alpha=0.3, linewidth=0)
    ax.plot(middle, median, color=BLUE, linewidth=2.0)
    ax.axhline(0.0, color=INK, linewidth=0.9, zorder=0)
    ax.set(xscale="log", ylim=(-SHOWN - 0.5, SHOWN + 0.5))
    ax.xaxis.set_major_locator(LogLocator(numticks=5))
    ax.xaxis.set_minor_locator(NullLocator())
    powers_of_ten(ax.xaxis)
    ax.yaxis.set_major_locator(FixedLocator(np.linspace(-SHOWN, SHOWN, 5)))


def _quantile_panel(ax, z, nu):
    expected, low, high = noise_quantiles(z.size, nu)
    observed = np.sort(z)
    shown = np.clip(np.abs([expected, observed]).max() * 1.05, 3.0, 25.0)
    ax.fill_between(expected, low, high, color=PALE, linewidth=0, label="_band")
    ax.axline((0, 0), slope=1, color=INK, linewidth=0.9, zorder=1)
    off = np.abs(observed) > shown
    size = float(np.clip(14 * np.sqrt(60 / z.size), 4, 14))
    ax.scatter(expected[~off], observed[~off], s=size, color=BLUE, linewidth=0, label="_quantiles")
    edge = np.sign(observed[off]) * shown
    at = np.clip(expected[off], -shown, shown)
    ax.scatter(at, edge, s=20, marker="^", color=ORANGE, linewidth=0, label="_far")
    ax.set(xlim=(-1.04 * shown, 1.04 * shown), ylim=(-1.04 * shown, 1.04 * shown))
    noise = "Normal noise" if nu is None else f"Student-t, nu = {nu:.2g}"
    ax.set(xlabel=f"quantile of {noise}", ylabel="of the residuals")
