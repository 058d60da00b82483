"""Figure of what a hypothesis expects before it has seen a loss: its prior is judged by it."""

import math

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from scalebayes.hypotheses import LATENT
from scalebayes.model_pages import DRAWS, STUDY, expectations
from scalebayes.report import number
from scalebayes.small_multiples import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PALE,
    add_legend,
    add_note,
    empty_figure,
    plain_text,
    powers_of_ten,
    quantiles,
    styled,
)
from scalebayes.study_plots import RULE_OF_THUMB

_BINS = 48
_FOOT, _HEIGHT = 0.12, 0.62  # where a histogram stands over its row, and how high, in rows
_TOLD = 0.0005  # a smaller share of draws off the axis is not worth a word
_LOSS_LIMITS, _RATIO_LIMITS = (0.1, 1e3), (1e-6, 1e8)
"""Axes reach no further, however wide a prior is."""

_DECADES = 2.5  # of losses beyond which the axis has powers of ten alone


@styled
def plot_prior_predictive(hypothesis, study=STUDY, *, draws=DRAWS, random_seed=1):
    """Return the losses and the optimal D*/N* that a hypothesis expects before it has seen a loss.

    Parameters
    ----------
    hypothesis : Hypothesis, str or path
    study : Study or str
        As in `model_pages.prior_predictive`, whose draws these are.
    draws : int
    random_seed : int

    Returns
    -------
    Figure
        Left: losses of new runs, noise included, at the study's runs of least, middle and largest
        compute, each with the loss that the run had; shaded: losses of all the study's runs;
        dotted, where the vocabulary is known: the loss of an even guess, its log. Right: D*/N* at
        three budgets from the runs' least compute to their largest; dotted: 20 tokens per
        parameter. Histograms of the prior's draws in log x, dots at medians, bars over 50% and 90%
        equal-tailed intervals. The axes hold the 90% intervals, but losses from 0.1 to 1000 and
        ratios from 1e-6 to 1e8 at most; the share of draws beyond is written into the panel.
    """
    expected = expectations(hypothesis, study, draws=draws, random_seed=random_seed)
    figure = empty_figure((9.4, 4.9))
    left, right = figure.subplots(1, 2)
    _loss_panel(left, expected)
    _ratio_panel(right, expected)
    names = f"prior of {expected.hypothesis.name}; runs of {expected.study.name}"
    left.set_title(plain_text(names), loc="left", fontweight="bold", fontsize=11, pad=10)
    add_legend(figure, _legend(even_guess(expected.study)), columns=3)
    return figure


def _loss_panel(ax, expected):
    losses, runs = expected.losses, expected.study.runs
    band = float(runs["loss"].min()), float(runs["loss"].max())
    guess = even_guess(expected.study)
    known = [*band, *([] if guess is None else [guess])]
    ax.axvspan(*band, color=PALE, linewidth=0, zorder=0)
    if guess is not None:
        ax.axvline(guess, color=INK, linestyle=":", linewidth=1.2, zorder=1)
    _rows(ax, losses["loss_new"], losses["compute"], known, _LOSS_LIMITS)
    observed = losses["observed"].values
    style = {"marker": "D", "s": 34, "color": ORANGE, "edgecolor": INK, "linewidth": 0.6}
    ax.scatter(observed, np.arange(observed.size), zorder=5, label="_observed", **style)
    _loss_ticks(ax)
    ax.set_xlabel("loss of a new run (nats/token)")
    ax.set_ylabel("compute of the run 6 N D (FLOP)")


def _ratio_panel(ax, expected):
    ratio = expected.optima["tokens_per_parameter"]
    ax.axvline(RULE_OF_THUMB, color=GREEN, linestyle=":", linewidth=1.4, zorder=1)
    known = [RULE_OF_THUMB / 4, RULE_OF_THUMB * 4]
    _rows(ax, ratio, ratio["compute"], known, _RATIO_LIMITS)
    ax.xaxis.set_major_locator(LogLocator(numticks=7))
    powers_of_ten(ax.xaxis)
    counting = expected.hypothesis.counting
    counted = "total" if counting == LATENT else counting
    ax.set_xlabel(f"tokens per parameter D*/N*, N counted as {counted}")
    ax.set_ylabel("training compute C = 6 N D (FLOP)")
    unsolved = float(ratio.isnull().mean())
    if unsolved:
        add_note(ax, f"no finite optimum: {unsolved:.1%} of draws", loc="lower left")


def even_guess(study):
    """Return the loss of a guess that gives every token of the vocabulary the same probability.

    Parameters
    ----------
    study : Study

    Returns
    -------
    float or None
        Nats per token; None where the vocabulary is not known or differs from run to run.
    """
    sizes = study.runs["vocab_size"].dropna().unique() if "vocab_size" in study.runs else ()
    size = sizes[0] if len(sizes) == 1 else study.vocab_size
    return float(np.log(size)) if size else None


def _rows(ax, draws, compute, known, limits):
    """Draw one row per budget, the least lowest, on an axis that holds what is known."""
    dim = next(dim for dim in draws.dims if dim not in ("chain", "draw"))
    bands = quantiles(draws)
    ends = np.clip([float(bands.min()), float(bands.max())], *limits)
    low, high = min(ends[0], *known) / 1.3, max(ends[1], *known) * 1.3
    edges = np.geomspace(low, high, _BINS + 1)
    for row in range(draws.sizes[dim]):
        values = draws.isel({dim: row}).values.ravel()
        _one_row(ax, row, values[np.isfinite(values)], bands.isel({dim: row}), edges)
    ax.set(xscale="log", xlim=(low, high), ylim=(-0.3, draws.sizes[dim]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_yticks(range(draws.sizes[dim]), [number(float(one)) for one in compute.values])
    below, above = float((draws < low).mean()), float((draws > high).mean())
    add_note(ax, f"below the axis: {below:.1%}" if below >= _TOLD else "", loc="upper left")
    add_note(ax, f"above the axis: {above:.1%}" if above >= _TOLD else "", loc="upper right")


def _one_row(ax, row, values, known, edges):
    counts, _ = np.histogram(values, edges)
    heights = row + _FOOT + _HEIGHT * counts / counts.max()
    style = {"fill": True, "color": BLUE, "alpha": 0.35, "linewidth": 0, "label": "_draws"}
    ax.stairs(heights, edges, baseline=row + _FOOT, **style)
    for lower, upper, width in ((0.05, 0.95, 1.6), (0.25, 0.75, 5.0)):
        ends = known.sel(quantile=[lower, upper]).values
        ax.plot(ends, [row, row], color=BLUE, linewidth=width, solid_capstyle="butt", zorder=3)
    median = float(known.sel(quantile=0.5))
    ax.plot(median, row, "o", color="white", markeredgecolor=BLUE, markersize=5, zorder=4)


def _loss_ticks(ax):
    low, high = ax.get_xlim()
    steps = (1.0,) if math.log10(high / low) > _DECADES else (1.0, 2.0, 5.0)
    ax.xaxis.set_major_locator(LogLocator(subs=steps, numticks=12))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _legend(guess):
    median = {"color": BLUE, "linewidth": 5, "marker": "o", "markerfacecolor": "white"}
    run = {"color": ORANGE, "marker": "D", "markeredgecolor": INK, "linestyle": ""}
    handles = [
        Patch(color=BLUE, alpha=0.35, label="draws of the prior"),
        Line2D([], [], label="median, 50% and (thin) 90% interval", **median),
        Line2D([], [], label="loss of that run", **run),
        Patch(color=PALE, label="losses of the study's runs"),
        Line2D([], [], color=GREEN, linestyle=":", label="20 tokens per parameter"),
    ]
    if guess is not None:
        handles.append(
            Line2D([], [], color=INK, linestyle=":", label="even guess over the vocabulary")
        )
    return handles
