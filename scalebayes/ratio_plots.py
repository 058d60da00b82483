"""Figure of one fit's compute-optimal ratio: if the law holds exactly, and with its discrepancy."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator

from scalebayes.discrepant_optimum import with_discrepancy
from scalebayes.law_views import common_counting
from scalebayes.optimum import CHINCHILLA_COMPUTE, compute_range, optimal
from scalebayes.small_multiples import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PALE,
    add_legend,
    add_note,
    empty_figure,
    fit_title,
    powers_of_ten,
    prior_note,
    quantiles,
    styled,
)
from scalebayes.study_plots import (
    RULE_OF_THUMB,
    compute_label,
    draw_extrapolation,
    fill_bands,
    ratio_axes,
    unsolved_note,
)

_WITH = "tokens_per_parameter_with_discrepancy"
_POINTS = 40
_WIDEST = (1e17, 1e25)  # FLOP, where the runs' compute is not known in these terms
_BELOW, _ABOVE = 3.0, 30.0  # how far the curve goes beyond the runs, in factors of compute


@styled
def plot_optimal_ratio(fit, *, counting=None, architecture=None, discrepancy=True, random_seed=1):
    """Return the compute-optimal tokens per parameter of one fit against compute.

    Parameters
    ----------
    fit : DataTree
    counting, architecture
        As in `optimum.optimal`; without them total with shapes as the runs', where those are known,
        else the law's own count.
    discrepancy : bool
        Whether to show also how far laws have missed beyond their data; the law isoflop has none.
    random_seed : int
        Of the discrepancy.

    Returns
    -------
    Figure
        Median (solid over the runs' compute, dashed beyond) with 50% and 90% equal-tailed bands if
        the law holds exactly; lines at the median and at both ends of the 50% and 90% interval with
        the discrepancy. Shaded: compute of the runs, where it is known in these terms.

    Raises
    ------
    InputError
        When the count is latent, no shapes are known and none are given.
    """
    asked = _asked(fit, counting, architecture)
    limits = compute_range(fit, **asked)
    ends = _WIDEST
    if limits is not None:
        ends = limits[0] / _BELOW, max(limits[1] * _ABOVE, CHINCHILLA_COMPUTE * 3)
    curve = optimal(fit, np.geomspace(*ends, _POINTS), **asked)
    bands = {"exact": quantiles(curve["tokens_per_parameter"])}
    if discrepancy and fit.attrs.get("law") != "isoflop":
        both = with_discrepancy(fit, curve, random_seed=random_seed)
        bands["discrepancy"] = quantiles(both[_WITH])
    figure = empty_figure((5.6, 4.8))
    ax = figure.subplots()
    _draw(ax, bands, limits)
    ratio_axes(ax, bands)
    _hold_bands(ax, bands)
    _ratio_ticks(ax)
    if limits is not None:
        draw_extrapolation(ax, limits[1])
    fit_title(ax, fit)
    add_note(ax, prior_note(fit), unsolved_note(curve))
    ax.set_xlabel(compute_label([curve.attrs]).replace("(FLOP), ", "(FLOP),\n"))
    ax.set_ylabel("tokens per parameter D*/N*")
    add_legend(figure, _legend("discrepancy" in bands))
    return figure


def _asked(fit, counting, architecture):
    if counting is None and architecture is None:
        return common_counting(fit)
    return {"counting": counting, "architecture": architecture}


def _draw(ax, bands, limits):
    exact = bands["exact"]
    compute, median = exact["compute"], exact.sel(quantile=0.5)
    low, high = limits or (np.inf, -np.inf)
    if limits is not None:
        ax.axvspan(low, high, color=PALE, linewidth=0, zorder=0, label="_data")
    ax.axhline(RULE_OF_THUMB, color=INK, linewidth=0.9, linestyle=":")
    ax.axvline(CHINCHILLA_COMPUTE, color=GREEN, linewidth=1.2)
    fill_bands(ax, compute, exact)
    ax.plot(compute, median, color=BLUE, linewidth=1.2, linestyle="--")
    inside = median.where((compute >= low) & (compute <= high))
    ax.plot(compute, inside, color=BLUE, linewidth=2.2, label="_exact")
    if "discrepancy" not in bands:
        return
    wide = bands["discrepancy"]
    for quantile, width, line in ((0.05, 1.6, "-"), (0.25, 0.9, "-"), (0.75, 0.9, "-"),
                                  (0.95, 1.6, "-"), (0.5, 1.6, "--")):  # fmt: skip
        style = {"color": ORANGE, "linewidth": width, "linestyle": line, "label": "_discrepancy"}
        ax.plot(compute, wide.sel(quantile=quantile), **style)


def _hold_bands(ax, bands):
    """Widen the ratio's axis to the 90% bands, where that is no more than two decades."""
    low, high = ax.get_ylim()
    every = np.concatenate([one.values.ravel() for one in bands.values()])
    least, greatest = np.nanmin(every), np.nanmax(every)
    ax.set_ylim(max(min(low, least / 1.3), low / 30), min(max(high, greatest * 1.3), high * 30))


def _ratio_ticks(ax):
    low, high = ax.get_ylim()
    steps = (1.0, 2.0, 5.0) if high / low < 1e3 else (1.0, 3.0) if high / low < 1e5 else (1.0,)
    ax.yaxis.set_major_locator(LogLocator(subs=steps, numticks=12))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    powers_of_ten(ax.xaxis)


def _legend(discrepant):
    handles = [
        Line2D([], [], color=BLUE, linewidth=2.2, label="law exact: median"),
        Patch(color=BLUE, alpha=0.5, label="its 50% and 90% interval"),
        Patch(color=PALE, label="compute of the runs"),
        Line2D([], [], color=INK, linestyle=":", label="20 tokens per parameter"),
        Line2D([], [], color=GREEN, label="5.76e23 FLOP (Chinchilla)"),
    ]
    if discrepant:
        line = {"color": ORANGE, "linewidth": 1.6}
        handles.append(Line2D([], [], **line, label="with discrepancy: 50%, 90%"))
    return handles
