"""Figures of what separates published exponents: waterfalls of causes, and replays."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scalebayes.attribution import PUBLISHED_GAP
from scalebayes.draw_texts import CORPUS_NAMES
from scalebayes.recipe_chain import ISOFLOP_CURVES, ISOFLOP_LAW, SURFACE
from scalebayes.small_multiples import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    add_legend,
    styled,
)

_TAILS = (0.05, 0.5, 0.95)
_TITLES = {
    "frontier": "Read off the frontier of Kaplan's sizes",
    "fitted": "Read off a law fitted to Kaplan's sizes and tokens",
}
_READINGS = {ISOFLOP_CURVES: (BLUE, "o"), ISOFLOP_LAW: (ORANGE, "s"), SURFACE: (GREEN, "^")}
_UP, _DOWN = ORANGE, BLUE
_SHOWN_STEPS = {
    "count of N alone": "a vocabulary matrix\ncounted in N alone",
    "count of C alone": "in C alone",
    "counts of N and C": "in both",
    "warm-up": "warm-up fits\nthe size",
    "schedule": "schedule fits\nthe budget",
    "tuning": "tuned,\nconstant rate",
}


@styled
def plot_attribution(counts):
    """Return waterfalls from Hoffmann's exponent to Kaplan's in the world of Hoffmann's points.

    Parameters
    ----------
    counts : DataTree
        From `attribution.attribute_exponent`.

    Returns
    -------
    Figure
        A panel per instrument: bars are medians of each factor's Shapley value, whiskers 90%
        equal-tailed intervals; diamonds the published exponents.
    """
    games = {key: counts[key].to_dataset() for key in _TITLES}
    rows = [len(game["factor"]) + 2 for game in games.values()]
    figure = Figure(figsize=(7.4, 1.2 + 0.42 * sum(rows)), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True, height_ratios=rows)
    for ax, (key, game) in zip(axes, games.items(), strict=True):
        if not np.isfinite(game["total"]).any():
            ax.set_yticks([])
            ax.text(0.0, 0.5, "not told: fits did not end", transform=ax.transAxes)
        else:
            _waterfall(ax, game)
        ax.set_title(_TITLES[key], loc="left")
    low, high = axes[0].get_xlim()
    axes[0].set_xlim(low, high + 0.35 * (high - low))  # room for the numbers; axes are shared
    axes[-1].set_xlabel("exponent of N* in C that the procedure reports")
    add_legend(
        figure,
        [
            Line2D([], [], color=INK, marker="|", linewidth=1.2, label="90% interval"),
            Line2D([], [], color=INK, marker="D", linewidth=0, label="published"),
        ],
    )
    return figure


@styled
def plot_chains(chains):
    """Return what each step of Porian's chain does to the exponent, by corpus and reading.

    Parameters
    ----------
    chains : dict of str to Dataset
        From `recipe_chain.chain_effects`, by corpus; at least one.

    Returns
    -------
    Figure
        A panel per corpus: medians and 90% equal-tailed intervals; diamonds: as published.
    """
    figure = Figure(figsize=(7.4, 1.1 + 3.3 * len(chains)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(chains), 1, sharex=True))
    for ax, (corpus, chain) in zip(axes, chains.items(), strict=True):
        _chain_panel(ax, chain)
        ax.set_title(CORPUS_NAMES[corpus], loc="left")
    axes[-1].set_xlabel("change of the exponent of N* in C")
    readings = [str(one) for one in next(iter(chains.values()))["reading"].values]
    handles = [
        Line2D([], [], color=_READINGS[one][0], marker=_READINGS[one][1], linewidth=1.6, label=one)
        for one in readings
    ]
    published = Line2D([], [], color=INK, marker="D", linewidth=0, label="as published")
    add_legend(figure, [*handles, published], columns=4)
    return figure


@styled
def plot_replays(replays):
    """Return what procedures would have reported in the world of each study, and what was.

    Parameters
    ----------
    replays : DataFrame
        From `replays.replay_table`.

    Returns
    -------
    Figure
        Medians and 90% equal-tailed predictive intervals; diamonds: published exponents, filled
        where they lie inside.
    """
    groups = list(replays.groupby(["instrument", "world", "counting"], sort=False))
    order = sorted(range(len(groups)), key=lambda i: _instrument_rank(groups[i][0][0]))
    figure = Figure(figsize=(7.4, 1.2 + 0.27 * len(groups)), layout="constrained")
    ax = figure.subplots()
    labels, shown = [], ""
    for row, position in enumerate(order):
        (instrument, world, counting), part = groups[position]
        first = part.iloc[0]
        ax.plot([first["lower"], first["upper"]], [row, row], color=BLUE, linewidth=2.4, alpha=0.6)
        ax.plot(first["median"], row, "o", color=BLUE, markersize=4)
        for one in part.dropna(subset="published").itertuples():
            face = INK if one.lower <= one.published <= one.upper else "white"
            ax.plot(one.published, row, "D", color=INK, markerfacecolor=face, markersize=5)
        labels.append(f"{instrument}: {world}, {counting}" if instrument != shown else
                      f"{world}, {counting}")  # fmt: skip
        shown = instrument
    ax.set_yticks(range(len(order)), labels, fontsize=8.5)
    ax.set_ylim(len(order) - 0.4, -0.6)
    ax.grid(axis="x", color=PALE, linewidth=0.6)
    ax.set_xlabel("exponent of N* in C")
    diamond = {"color": INK, "marker": "D", "linewidth": 0}
    add_legend(
        figure,
        [
            Line2D([], [], color=BLUE, marker="o", linewidth=2.4, label="replayed, 90%"),
            Line2D([], [], **diamond, label="published, inside"),
            Line2D([], [], **diamond, markerfacecolor="white", label="published, outside"),
        ],
        columns=3,
    )
    return figure


def _waterfall(ax, game):
    first, last = game["value"].sel(subset="none"), game["value"].isel(subset=-1)
    factors = [str(one) for one in game["factor"].values]
    position = float(first.median())
    _level(ax, 0, first)
    for row, factor in enumerate(factors, start=1):
        effect = game["effect"].sel(factor=factor)
        low, middle, high = np.nanquantile(effect, _TAILS)
        colour = _UP if middle > 0 else _DOWN
        ax.barh(row, middle, left=position, height=0.5, color=colour, alpha=0.65)
        ax.plot([position, position], [row - 1 + 0.25, row + 0.25], color=GREY, linewidth=0.8)
        ends = position + np.array([low, high])
        ax.plot(ends, [row, row], color=INK, linewidth=1.2, marker="|")
        _beside(ax, row, max(ends[1], position), f"{middle:+.2f} [{low:+.2f}, {high:+.2f}]")
        position += middle
    _level(ax, len(factors) + 1, last)
    for row, published in ((0, PUBLISHED_GAP[1]), (len(factors) + 1, PUBLISHED_GAP[0])):
        ax.plot(published, row - 0.34, "D", color=INK, markersize=5)
    labels = ["counted as Hoffmann et al.", *factors, "counted as Kaplan et al."]
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(axis="x", color=PALE, linewidth=0.6)


def _level(ax, row, values):
    low, middle, high = np.nanquantile(values, _TAILS)
    ax.plot([low, high], [row, row], color=INK, linewidth=1.2, marker="|")
    ax.plot(middle, row, "o", color=INK, markersize=5)
    _beside(ax, row, high, f"{middle:.2f} [{low:.2f}, {high:.2f}]")


def _beside(ax, row, at, text):
    ax.annotate(text, (at, row), xytext=(6, 0), textcoords="offset points", va="center",
                fontsize=9)  # fmt: skip


def _chain_panel(ax, chain):
    readings = [str(one) for one in chain["reading"].values]
    for row, step in enumerate(_SHOWN_STEPS):
        for k, reading in enumerate(readings):
            colour, marker = _READINGS[reading]
            values = chain["effect"].sel(step=step, reading=reading)
            low, middle, high = np.nanquantile(values, _TAILS)
            at = row + 0.22 * (k - (len(readings) - 1) / 2)
            ax.plot([low, high], [at, at], color=colour, linewidth=1.6)
            ax.plot(middle, at, marker, color=colour, markersize=5)
        ax.plot(float(chain["published"].sel(step=step)), row, "D", color=INK, markersize=5)
    ax.axvline(0.0, color=GREY, linewidth=0.8)
    ax.set_yticks(range(len(_SHOWN_STEPS)), list(_SHOWN_STEPS.values()))
    ax.set_ylim(len(_SHOWN_STEPS) - 0.4, -0.6)
    ax.grid(axis="x", color=PALE, linewidth=0.6)


def _instrument_rank(name):
    ranks = ("Kaplan's", "approach", "Porian's")
    return next((k for k, start in enumerate(ranks) if name.startswith(start)), len(ranks))
