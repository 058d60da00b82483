"""A synthesis of published exponents -> its figure: published beside what one law gives."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scalebayes.small_multiples import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALE,
    RED,
    add_legend,
    empty_figure,
    plain_text,
    styled,
)

_COUNTINGS = ("body", "body+head", "total", "unknown")
_TITLES = {
    "body": "without vocabulary matrices",
    "body+head": "with the output head",
    "total": "total",
    "unknown": "counting unknown",
}
_NORMAL_90 = 1.645  # standard errors on either side of a 90% interval
_WIDTH, _ROW, _REST = 5.6, 0.2, 2.1  # inches
_LIMITS = (0.2, 1.0)
_SHIFT = 0.2  # of a row, between what was published and what is fitted


@styled
def plot_synthesis(tree):
    """Return published exponents and what the consensus law gives for each, grouped by counting.

    Above, the rows that are data: the published value with its 90% interval (dashed where its error
    is imputed), and the law's slope in that counting and range, median and 90%; the band is the
    consensus exponent. Below, run sets that are fitted from their runs: what was published, and
    what a new run set would report. All intervals are equal-tailed.

    Parameters
    ----------
    tree : DataTree
        From `synthesis.synthesis`.

    Returns
    -------
    Figure
    """
    rows, checks = tree["rows"].to_dataset(), tree["checks"].to_dataset()
    places = [_places(rows, "row"), _places(checks, "check")]
    heights = [max(len(one), 1) for one in places]
    figure = empty_figure((_WIDTH, _REST + _ROW * sum(heights)))
    panels = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": heights})
    low, middle, high = np.quantile(tree["posterior"]["a"], (0.05, 0.5, 0.95))
    for ax, lines in zip(panels, places, strict=True):
        ax.axvspan(low, high, color=PALE, linewidth=0, zorder=0)
        ax.axvline(middle, color=GREY, linewidth=0.8, zorder=0)
        _name_rows(ax, lines)
    for place, (name, _) in enumerate(places[0]):
        if name:
            _draw_row(panels[0], place, rows.sel(row=name))
    for place, (name, _) in enumerate(places[1]):
        if name:
            _draw_check(panels[1], place, checks.sel(check=name))
    panels[0].set_title("data of the synthesis", loc="right", fontweight="bold")
    panels[1].set_title("fitted from their runs: compared only", loc="right", fontweight="bold")
    panels[1].set_xlim(_LIMITS)
    panels[1].set_xlabel("exponent of N* in C, as reported")
    if not tree.attrs["converged"]:
        figure.suptitle("NOT CONVERGED", color=RED, fontweight="bold")
    add_legend(figure, _legend(), columns=1)
    return figure


def _places(dataset, dim):
    """Return (name or "", text) of each line of a panel: a heading per counting, then its rows."""
    if dim not in dataset.coords:
        return []
    counting = dataset["counting"].to_numpy()
    found = []
    for kind in _COUNTINGS:
        names = dataset[dim].to_numpy()[counting == kind]
        if names.size:
            found.append(("", _TITLES[kind]))
            found += [(str(name), str(name)) for name in names]
    return found


def _name_rows(ax, lines):
    ax.set_yticks(range(len(lines)), [plain_text(text) for _, text in lines])
    for label, (name, _) in zip(ax.get_yticklabels(), lines, strict=True):
        label.set_fontsize(8.5)
        if not name:
            label.set(fontweight="bold", color=BLUE)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(max(len(lines), 1) - 0.4, -0.6)


def _draw_row(ax, place, one):
    imputed = not np.isfinite(float(one["se_published"]))
    error = float(one["se"].median())
    _draw_published(ax, place, float(one["value"]), error, imputed=imputed)
    ends = np.quantile(one["fitted"], (0.05, 0.5, 0.95))
    _draw_expected(ax, place, *ends)


def _draw_check(ax, place, one):
    error = float(one["se_published"])
    _draw_published(ax, place, float(one["value"]), error, imputed=False)
    _draw_expected(ax, place, *(float(one[name]) for name in ("lower", "median", "upper")))


def _draw_published(ax, place, value, error, *, imputed):
    """Draw a published value; its interval only where an error is known or imputed."""
    y = place - _SHIFT
    if np.isfinite(error):
        half = _NORMAL_90 * error
        style = {"linestyle": (0, (2, 1.5)), "alpha": 0.7} if imputed else {}
        ax.plot([value - half, value + half], [y, y], color=INK, linewidth=1.1, **style)
    face = "white" if imputed else INK
    ax.plot(value, y, "o", color=INK, markerfacecolor=face, markersize=4, zorder=5)


def _draw_expected(ax, place, low, middle, high):
    y = place + _SHIFT
    ax.plot([low, high], [y, y], color=ORANGE, linewidth=3, alpha=0.55, solid_capstyle="butt")
    ax.plot(middle, y, "|", color=ORANGE, markersize=7, markeredgewidth=2, zorder=4)


def _legend():
    dot = {"color": INK, "marker": "o", "markersize": 4}
    dashed = {"linestyle": (0, (2, 1.5)), "markerfacecolor": "white"}
    return [
        Line2D([], [], **dot, label="published, with its 90% interval if known"),
        Line2D([], [], **dot, **dashed, label="published, interval imputed"),
        Line2D(
            [],
            [],
            color=ORANGE,
            linewidth=3,
            label="one law in that counting and range; below, a new run set",
        ),
        Patch(color=PALE, label="consensus exponent in total counting, 90%"),
    ]
