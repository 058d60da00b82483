"""Figure of what one fit's runs have added to its prior, parameter by parameter."""

import json
import math

import numpy as np
from arviz_stats.base import array_stats
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from scalebayes.small_multiples import (
    BLUE,
    GREY,
    NOTE_SIZE,
    RED,
    add_legend,
    empty_figure,
    plain_text,
    styled,
)

_SHOWN = (
    *("E", "K", "A", "B", "alpha", "beta", "a", "gamma", "q", "kappa"),
    *("sigma", "nu", "eta", "tau", "omega"),
)
_UNITS = {"E": "nats/token", "K": "nats/token", "A": "nats at N = 1", "B": "nats at D = 1"}
_UNITS |= {"omega": "vocabulary matrices"}
_STRAIGHT = ("a", "q", "kappa", "omega")  # on a plain axis; all others are positive: logarithmic
_ENDS = (0.01, 0.99)
_MOST_DECADES = 6.0
_COLUMNS = 3


@styled
def plot_prior_posterior(fit, *, names=None):
    """Return the prior and the posterior of each parameter of a fit.

    Parameters
    ----------
    fit : DataTree
        With groups prior and posterior. With literature, the prior of the exponents is what the
        published studies lead one to expect.
    names : sequence of str, optional
        Quantities to show; by default the law's, the noise's and what follows from them.

    Returns
    -------
    Figure
        A panel per quantity: densities, each scaled to the same height, over the middle 98% of both
        (of the posterior alone where they are more than six powers of ten apart). Title: posterior
        over prior standard deviation (of the log, but for a, q, kappa and omega); marked where the
        runs say little ("mostly prior").
    """
    prior, posterior = fit["prior"].to_dataset(), fit["posterior"].to_dataset()
    asked = _SHOWN if names is None else names
    shown = [name for name in asked if name in prior and _varies(posterior.get(name))]
    still = json.loads(fit.attrs.get("still_prior", "{}"))
    rows = math.ceil(len(shown) / _COLUMNS)
    figure = empty_figure((5.6, 1.55 * rows + 1.1))
    grid = figure.subplots(rows, _COLUMNS, squeeze=False)
    for ax in grid.flat[len(shown) :]:
        ax.remove()
    for ax, name in zip(grid.flat, shown, strict=False):
        _panel(ax, name, prior[name].values.ravel(), posterior[name].values.ravel())
        if name in still:
            source = "literature" if _pooled(fit, name) else "prior"
            ax.set_title(f"{ax.get_title(loc='left')}\nmostly {source}", loc="left", color=RED)
    _head(figure, fit)
    return figure


def sd_ratio(name, prior, posterior):
    """Return posterior over prior standard deviation: of the log of what is positive.

    Parameters
    ----------
    name : str
    prior, posterior : array
        Draws.
    """
    scale = (lambda x: x) if name in _STRAIGHT else np.log
    return float(np.std(scale(np.asarray(posterior))) / np.std(scale(np.asarray(prior))))


def _panel(ax, name, prior, posterior):
    straight = name in _STRAIGHT
    scale = (lambda x: x) if straight else np.log10
    before, after = scale(prior), scale(posterior)
    limits = _limits(before, after, straight)
    if name == "omega":  # points of a grid, no density
        _weights(ax, before, after)
    else:
        _density(ax, before, limits, straight, color=GREY, linewidth=1.4, label="_prior")
        filled = _density(ax, after, limits, straight, color=BLUE, linewidth=1.6, label="_post")
        ax.fill_between(*filled, color=BLUE, alpha=0.3, linewidth=0)
    if not straight:
        ax.set_xscale("log")
        limits = 10.0 ** np.asarray(limits)
    ax.set(xlim=limits, ylim=(0, 1.12), yticks=[])
    ax.spines["left"].set_visible(False)
    _ticks(ax, straight)
    ax.set_xlabel(_UNITS.get(name, ""), fontsize=NOTE_SIZE, labelpad=1)
    ratio = sd_ratio(name, prior, posterior)
    ax.set_title(f"{name}: sd ratio {ratio:.2g}", loc="left", fontsize=NOTE_SIZE)


def _limits(before, after, straight):
    ends = np.quantile(before, _ENDS), np.quantile(after, _ENDS)
    low, high = min(ends[0][0], ends[1][0]), max(ends[0][1], ends[1][1])
    if not straight and high - low > _MOST_DECADES:
        middle = np.median(after)
        low, high = max(low, middle - _MOST_DECADES / 2), min(high, middle + _MOST_DECADES / 2)
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _density(ax, values, limits, straight, **style):
    """Draw a density scaled to height 1; return its points."""
    grid, density, _ = array_stats.kde(values, circular=False)
    inside = (grid >= limits[0]) & (grid <= limits[1])
    grid, height = grid[inside], density[inside] / density.max()
    x = grid if straight else 10.0**grid
    ax.plot(x, height, **style)
    return x, height


def _weights(ax, before, after):
    for values, shift, color in ((before, -0.05, GREY), (after, 0.05, BLUE)):
        place, counts = np.unique(values, return_counts=True)
        ax.vlines(place + shift, 0, counts / counts.max(), color=color, linewidth=2.6)


def _ticks(ax, straight):
    low, high = ax.get_xlim()
    ax.tick_params(axis="x", labelsize=8.5)
    if straight or high / low < 5:
        ax.xaxis.set_major_locator(MaxNLocator(3))
    elif high / low < 60:
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=4))
    else:
        ax.xaxis.set_major_locator(LogLocator(numticks=4))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(_short))


def _short(value, _position=None):
    return f"{value:.3g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def _varies(draws):
    return draws is not None and float(draws.max()) > float(draws.min())


def _pooled(fit, name):
    return bool(fit.attrs.get("literature")) and name in ("alpha", "beta", "a")


def _head(figure, fit):
    """Put the legend over all panels, headed by study and hypothesis."""
    names = [str(fit.attrs.get(name, "")) for name in ("study", "hypothesis_name")]
    text = " under ".join(plain_text(name) for name in names if name)
    legend = add_legend(figure, _legend(fit))
    legend.set_title(text, prop={"weight": "bold", "size": 10})
    legend.set_alignment("left")
    if not fit.attrs["converged"]:
        legend.set_title(f"{text}: NOT CONVERGED", prop={"weight": "bold", "size": 10})
        legend.get_title().set_color(RED)


def _legend(fit):
    known = bool(fit.attrs.get("literature"))
    before = "expected: prior, and literature of exponents" if known else "prior"
    return [
        Line2D([], [], color=GREY, linewidth=1.4, label=before),
        Patch(facecolor=BLUE, alpha=0.5, label="posterior"),
    ]
