"""One fit -> figures of its law over the runs: the surface, and slices of equal compute."""

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, ScalarFormatter

from scalebayes.law_views import budgets_of, view_of
from scalebayes.laws import FLOP_PER_PARAMETER_AND_TOKEN
from scalebayes.small_multiples import (
    BLUE,
    GREY,
    INK,
    NOTE_SIZE,
    add_legend,
    add_note,
    empty_figure,
    fit_title,
    powers_of_ten,
    prior_note,
    styled,
)

_GRID = 44  # points along each axis of the surface
_ROOM = 1.8  # factor around the runs
_MOST_LINES = 12
_FEW_RUNS = 300
_ENDS = (0.05, 0.5, 0.95)
_MAP = ListedColormap(colormaps["viridis"](np.linspace(0.0, 0.9, 256)))  # yellow is too pale
_OF_MAP = "#21918C"  # the middle of viridis, which legends show


@styled
def plot_loss_surface(fit):
    """Return the law's loss over parameters and tokens, with the runs and the optimal models.

    Parameters
    ----------
    fit : DataTree
        Of any law.

    Returns
    -------
    Figure
        Contours: posterior median of the law's loss, in nats per token. Dots: the runs, coloured by
        their own loss. Line and band: median and 90% equal-tailed interval of the compute-optimal
        model, along lines of equal compute, if the law holds exactly. Dotted: budgets of the runs,
        or powers of ten where they are on no lines. N in total where shapes are known, else as the
        law counts it.
    """
    view = view_of(fit)
    figure = empty_figure((5.6, 5.4))
    ax = figure.subplots()
    limits = [(x.min() / _ROOM, x.max() * _ROOM) for x in (view.N, view.D)]
    colours = _contours(ax, view, limits)
    _budget_lines(ax, fit, view, limits)
    _frontier(ax, view, limits)
    _runs(ax, view.N, view.D, view.loss, colours)
    ax.set(xscale="log", yscale="log", xlim=limits[0], ylim=limits[1])
    _log_axes(ax)
    ax.set_xlabel(f"parameters N, counted as {view.counted}")
    ax.set_ylabel("training tokens D")
    fit_title(ax, fit)
    _bar(figure, ax, colours, "loss of the run (nats/token)")
    add_note(ax, _count_note(view), prior_note(fit), loc="lower right", backed=True)
    add_legend(figure, _surface_legend())
    return figure


@styled
def plot_isoflop_slices(fit):
    """Return losses against parameters at budgets of the study, with the law's.

    Parameters
    ----------
    fit : DataTree
        Of any law.

    Returns
    -------
    Figure
        A line per budget: median and 90% equal-tailed band of the law's loss at that compute, and
        its lowest point. Dots: the runs of that budget, moved along D to the line's compute by the
        law's median (how far, the figure says). Runs that are not on isoFLOP lines are put into
        bins of equal width in log compute.
    """
    view = view_of(fit)
    budget, on_lines = budgets_of(fit, view)
    figure = empty_figure((5.6, 5.0))
    ax = figure.subplots()
    norm = LogNorm(budget.min() / 1.01, budget.max() * 1.01)
    colours = ScalarMappable(norm, _MAP)
    moved = _moved_losses(view, budget)
    for one in np.unique(budget):
        chosen = budget == one
        _slice(ax, view, one, view.N[chosen], colours.to_rgba(one))
    _runs(ax, view.N, moved, budget, colours)
    notes = [
        "" if on_lines else "runs are on no isoFLOP lines: bins",
        f"runs moved to their line: by {_farthest(moved, view.loss):.1%} of the loss at most",
        prior_note(fit),
    ]
    ax.set(xscale="log", ylim=_loss_limits(moved, sum(map(bool, notes))))
    ax.xaxis.set_major_locator(LogLocator(numticks=6))
    ax.xaxis.set_minor_locator(NullLocator())
    powers_of_ten(ax.xaxis)
    ax.set_xlabel(f"parameters N, counted as {view.counted}")
    ax.set_ylabel("loss (nats/token)")
    fit_title(ax, fit)
    _bar(figure, ax, colours, "compute of the line 6 N D (FLOP)")
    add_note(ax, *notes)
    add_legend(figure, _slice_legend())
    return figure


def _contours(ax, view, limits):
    axes = [np.geomspace(*ends, _GRID) for ends in limits]
    N, D = np.meshgrid(*axes)
    median = np.median(view.losses(N.ravel(), D.ravel()), axis=1).reshape(N.shape)
    norm = LogNorm(view.loss.min(), view.loss.max() * (1 + 1e-9))
    top = max(view.loss.max(), np.quantile(median, 0.97))
    levels = MaxNLocator(11).tick_values(median.min(), top)
    levels = levels[(levels > median.min()) & (levels < median.max())]
    lines = ax.contour(N, D, median, levels=levels, cmap=_MAP, norm=norm, linewidths=1.1)
    label = {"fmt": lambda level: f"{level:.3g}", "inline_spacing": 3}
    ax.clabel(lines, fontsize=NOTE_SIZE, colors=INK, **label)
    return ScalarMappable(norm, _MAP)


def _budget_lines(ax, fit, view, limits):
    """Draw lines of equal 6 N D: the budgets of the runs, or else powers of ten."""
    budgets, on_lines = budgets_of(fit, view)
    drawn = np.unique(budgets)
    if not on_lines or drawn.size > _MOST_LINES:
        ends = np.log10([view.compute.min(), view.compute.max()])
        drawn = 10.0 ** np.arange(np.floor(ends[0]), np.ceil(ends[1]) + 1)
    for compute in drawn:
        N = np.array(limits[0])
        D = compute / (FLOP_PER_PARAMETER_AND_TOKEN * N)
        ax.plot(N, D, ":", color=GREY, linewidth=0.9, zorder=1, label="_budget")


def _frontier(ax, view, limits):
    """Draw the compute-optimal models over all budgets that the axes hold."""
    low, high = (FLOP_PER_PARAMETER_AND_TOKEN * limits[0][i] * limits[1][i] for i in (0, 1))
    compute = np.geomspace(low, high, 60)
    N = view.optima(compute)["N"].quantile(_ENDS, ("chain", "draw"), skipna=True).to_numpy()
    D = compute / (FLOP_PER_PARAMETER_AND_TOKEN * N)
    band = np.r_[N[0], N[2][::-1]], np.r_[D[0], D[2][::-1]]
    ax.fill(*band, color=BLUE, alpha=0.2, linewidth=0, zorder=2, label="_frontier band")
    ax.plot(N[1], D[1], color=BLUE, linewidth=2.0, zorder=3, label="_frontier")


def _runs(ax, x, y, values, colours):
    """Draw runs as dots, the smaller the more there are."""
    size = float(np.clip(26 * np.sqrt(60 / x.size), 4, 26))
    edge = {"edgecolor": INK, "linewidth": 0.4} if x.size <= _FEW_RUNS else {"linewidth": 0}
    alpha = 0.95 if x.size <= _FEW_RUNS else 0.6
    style = {"cmap": colours.cmap, "norm": colours.norm, "alpha": alpha, "zorder": 4}
    ax.scatter(x, y, s=size, c=values, label="_runs", **style, **edge)


def _moved_losses(view, budget):
    """Return the losses that runs would have at their line's compute, by the law's median."""
    D = budget / (FLOP_PER_PARAMETER_AND_TOKEN * view.N)
    there = np.median(view.losses(view.N, D), axis=1)
    return view.loss * there / view.own_losses()


def _slice(ax, view, compute, sizes, colour):
    """Draw the law at one budget, over the sizes of its runs and their optimum's surroundings."""
    best = float(view.optima([compute])["N"].median())
    ends = [min(sizes.min(), best) / 1.5, max(sizes.max(), best) * 1.5]
    if not np.isfinite(best):
        ends = [sizes.min() / 1.5, sizes.max() * 1.5]
    ends = np.clip(ends, view.N.min() / 4, view.N.max() * 4)
    N = np.geomspace(*ends, 50)
    losses = view.losses(N, compute / (FLOP_PER_PARAMETER_AND_TOKEN * N))
    low, median, high = np.quantile(losses, _ENDS, axis=1)
    ax.fill_between(N, low, high, color=colour, alpha=0.3, linewidth=0, label="_band")
    ax.plot(N, median, color=colour, linewidth=1.4, label="_law")
    lowest = int(median.argmin())
    if 0 < lowest < N.size - 1:
        ax.plot(N[lowest], median[lowest], "D", color=INK, markersize=3.5, zorder=6)


def _farthest(moved, losses):
    return float(np.abs(np.log(moved / losses)).max())


def _loss_limits(losses, lines):
    """Return the axis of the slices, with room for lines of notes below; curves are cut above."""
    span = np.ptp(losses)
    return losses.min() - (0.05 + 0.09 * lines) * span, losses.max() + 0.12 * span


def _log_axes(ax):
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(numticks=7))
        axis.set_minor_locator(NullLocator())
        powers_of_ten(axis)


def _bar(figure, ax, colours, label):
    bar = figure.colorbar(colours, ax=ax, location="bottom", aspect=45, pad=0.02, shrink=0.9)
    bar.set_label(label)
    bar.outline.set_visible(False)
    low, high = colours.norm.vmin, colours.norm.vmax
    if high / low < 50:  # too few powers of ten to label
        bar.ax.xaxis.set_major_locator(MaxNLocator(6))
        bar.ax.xaxis.set_major_formatter(ScalarFormatter(useMathText=False))
    else:
        bar.ax.xaxis.set_major_locator(LogLocator(numticks=7))
        powers_of_ten(bar.ax.xaxis)
    bar.ax.xaxis.set_minor_locator(NullLocator())


def _count_note(view):
    return f"{view.N.size:,} runs" + (", drawn small" if view.N.size > _FEW_RUNS else "")


def _surface_legend():
    dot = {"marker": "o", "linestyle": "none", "markersize": 6}
    return [
        Line2D([], [], color=BLUE, linewidth=2.0, label="compute-optimal, median"),
        Patch(color=BLUE, alpha=0.25, label="its 90% equal-tailed interval"),
        Line2D([], [], color=_OF_MAP, linewidth=1.2, label="loss of the law, median"),
        Line2D([], [], color=_OF_MAP, **dot, label="run, coloured by its loss"),
        Line2D([], [], color=GREY, linestyle=":", label="equal compute 6 N D"),
    ]


def _slice_legend():
    dot = {"marker": "o", "linestyle": "none", "markersize": 6}
    return [
        Line2D([], [], color=_OF_MAP, linewidth=1.6, label="law at a budget, median"),
        Patch(color=_OF_MAP, alpha=0.3, label="its 90% equal-tailed interval"),
        Line2D([], [], color=_OF_MAP, **dot, label="run"),
        Line2D([], [], color=INK, marker="D", linestyle="none", markersize=4, label="lowest loss"),
    ]
