"""Fits -> figures, one panel or row per study.

Every figure takes a mapping of study name to fit, or one fit, and returns a matplotlib `Figure`.
Intervals are equal-tailed; a fit that did not converge, and a quantity that is still the prior's,
say so.
"""

import math

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from scalebayes.errors import InputError
from scalebayes.law_views import common_counting
from scalebayes.optimum import CHINCHILLA_COMPUTE, compute_range, optimal
from scalebayes.predictive_checks import law_losses, thinned
from scalebayes.small_multiples import (
    BACKED,
    BLUE,
    GREEN,
    GREY,
    INK,
    INTERVALS,
    NOTE_SIZE,
    PALE,
    add_legend,
    add_note,
    checked_fits,
    panel_grid,
    prior_note,
    quantiles,
    styled,
)

RULE_OF_THUMB = 20.0
"""Tokens per parameter (Hoffmann et al. 2022, arXiv:2203.15556, table 3)."""

_RATIO_LIMITS = (1e-2, 1e5)
_FEW_POWERS = 150.0  # of the ratio's axis, highest over lowest
_BUDGETS = 10.0 ** np.arange(17.0, 25.01, 0.25)


@styled
def plot_tokens_per_parameter(fits, *, curves=None, columns=3):
    """Return the compute-optimal tokens per parameter against compute, one panel per study.

    Median with 50% and 90% bands; the study's own compute is shaded, and the median is dashed
    outside it. The ratio's axis covers the 50% bands, but no more than 0.01 to 100,000.

    Parameters
    ----------
    fits : mapping of str to DataTree, or DataTree
        Study name -> fit, or one fit.
    curves : mapping of str to Dataset, optional
        Study name -> `optimal(fit, budgets, ...)` over (compute, chain, draw). Without it from
        1e17 to 1e25 FLOP, 6 N D with N in total, or as the law counts it where the shapes of the
        models are not known.
    columns : int
        Panels side by side.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        When there is no fit, or a fit has no curve.
    """
    fits = checked_fits(fits)
    if curves is None:
        curves = {
            name: optimal(one, _BUDGETS, **common_counting(one)) for name, one in fits.items()
        }
    missing = [name for name in fits if name not in curves]
    if missing:
        msg = f"curves: none for {missing}; pass optimal(fit, budgets, ...) of every fit."
        raise InputError(msg)
    figure, panels = panel_grid(fits, columns=columns)
    bands = {name: quantiles(curves[name]["tokens_per_parameter"]) for name in fits}
    for name, ax in panels.items():
        _ratio_panel(ax, fits[name], curves[name], bands[name])
    ratio_axes(next(iter(panels.values())), bands)
    figure.supxlabel(compute_label([curves[name].attrs for name in fits]))
    figure.supylabel("tokens per parameter D*/N*")
    add_legend(figure, _ratio_legend())
    return figure


@styled
def plot_predicted_loss(fits, *, columns=3):
    """Return observed against predicted loss of every run, one panel per study.

    Parameters
    ----------
    fits : mapping of str to DataTree, or DataTree
        Study name -> fit, or one fit.
    columns : int
        Panels side by side.

    Returns
    -------
    Figure
        Each panel with the identity, and `residual_rms` in per cent; smaller models are darker.

    Raises
    ------
    InputError
        When there is no fit.
    """
    fits = checked_fits(fits)
    figure, panels = panel_grid(fits, columns=columns, sharex=False, sharey=False)
    sizes = {name: _model_size(fit) for name, fit in fits.items()}
    norm = LogNorm(min(map(np.min, sizes.values())), max(map(np.max, sizes.values())))
    for name, ax in panels.items():
        dots = _loss_panel(ax, fits[name], sizes[name], norm)
    figure.supxlabel("posterior median of the law's loss (nats/token)")
    figure.supylabel("observed loss (nats/token)")
    _size_bar(figure, dots, [*panels.values()])
    return figure


def predicted_loss(fit, *, draws=200):
    """Return the posterior median of the law's loss at a fit's own runs.

    Parameters
    ----------
    fit : DataTree
        With groups posterior and constant_data; with a latent counting N is body + omega head of
        each draw.
    draws : int
        Draws used, about; evenly spaced.

    Returns
    -------
    DataArray
        Nats per token over (run,).
    """
    return law_losses(fit, thinned(fit, draws)).median(("chain", "draw"))


def residual_rms(observed, predicted):
    """Return the root mean square of log observed - log predicted loss, in per cent."""
    return float(100 * np.sqrt(((np.log(observed) - np.log(predicted)) ** 2).mean()))


def _ratio_panel(ax, fit, curve, bands):
    compute = bands["compute"]
    low, high = _data_range(fit, curve)
    ax.axvspan(low, high, color=PALE, linewidth=0, zorder=0, label="_data")
    ax.axhline(RULE_OF_THUMB, color=INK, linewidth=0.9, linestyle=":")
    ax.axvline(CHINCHILLA_COMPUTE, color=GREEN, linewidth=1.2)
    fill_bands(ax, compute, bands)
    median = bands.sel(quantile=0.5)
    ax.plot(compute, median, color=BLUE, linewidth=1.2, linestyle="--")
    ax.plot(compute, median.where((compute >= low) & (compute <= high)), color=BLUE, linewidth=2.2)
    draw_extrapolation(ax, high)
    add_note(ax, prior_note(fit), unsolved_note(curve))


def draw_extrapolation(ax, high):
    """Measure the decades from the largest run to Chinchilla's compute, on top of a panel."""
    decades = math.log10(CHINCHILLA_COMPUTE / high)
    if decades < 0.5:
        return
    across = ax.get_xaxis_transform()
    arrow = {"arrowstyle": "<->", "color": GREY, "shrinkA": 0, "shrinkB": 0, "linewidth": 0.8}
    ends = {"xy": (high, 0.9), "xytext": (CHINCHILLA_COMPUTE, 0.9)}
    ax.annotate("", **ends, xycoords=across, textcoords=across, arrowprops=arrow)
    style = {"fontsize": NOTE_SIZE, "ha": "right", "va": "bottom", "transform": across}
    style |= {"bbox": BACKED, "zorder": 8}
    ax.text(CHINCHILLA_COMPUTE / 1.4, 0.925, f"{decades:.1f} decades", **style)


def _data_range(fit, curve):
    """Return least and greatest compute of the runs, in the curve's own terms."""
    terms = {"counting": curve.attrs.get("counting"), "flops": curve.attrs.get("flops", "6ND")}
    family = "study" if fit.attrs.get("architecture") else None
    limits = compute_range(fit, architecture=family, **terms)
    if limits is None:
        msg = (
            f"{fit.attrs.get('study', 'the fit')}: the compute of its runs is not known when N "
            f"counts {terms['counting']!r} and C is {terms['flops']!r}."
        )
        raise InputError(msg)
    return limits


def unsolved_note(curve):
    """Return in words what share of an optimum's draws has none that is finite, or ""."""
    share = float(curve["tokens_per_parameter"].isnull().mean())
    return f"no finite optimum: {share:.1%} of draws" if share else ""


def fill_bands(ax, x, bands, *, color=BLUE):
    """Fill the 50% and 90% bands of `small_multiples.quantiles` along an axis."""
    for lower, upper, alpha in INTERVALS:
        ends = bands.sel(quantile=lower), bands.sel(quantile=upper)
        ax.fill_between(x, *ends, color=color, alpha=alpha, linewidth=0)


def ratio_axes(ax, bands):
    """Set the axes that all panels share: budgets drawn, and ratios of the 50% bands."""
    central = np.concatenate(
        [one.sel(quantile=[0.25, 0.75]).values.ravel() for one in bands.values()]
    )
    compute = np.concatenate([one["compute"].values for one in bands.values()])
    low, high = np.clip([np.nanmin(central) / 2, np.nanmax(central) * 2], *_RATIO_LIMITS)
    ax.set(xscale="log", yscale="log", xlim=(compute.min(), compute.max()))
    ax.set_ylim(min(low, RULE_OF_THUMB / 4), max(high, RULE_OF_THUMB * 4))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(numticks=6))
        axis.set_minor_locator(NullLocator())
    low, high = ax.get_ylim()
    if high / low < _FEW_POWERS:  # too few powers of ten to read a value off
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=9))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def compute_label(attrs):
    """Return the axis label of budgets: C, and how curves count it and the N of the ratio."""
    flops, countings = (
        sorted({str(one.get(key, default)) for one in attrs})
        for key, default in (("flops", "6ND"), ("counting", "unknown"))
    )
    compute = "C = 6 N D" if flops == ["6ND"] else f"C counted as {', '.join(flops)}"
    return f"training compute {compute} (FLOP), N counted as {', '.join(countings)}"


def _ratio_legend():
    return [
        Line2D([], [], color=BLUE, linewidth=2.2, label="median (dashed: beyond the runs)"),
        Patch(color=BLUE, alpha=0.5, label="50% and 90% equal-tailed interval"),
        Patch(color=PALE, label="compute of the study's runs"),
        Line2D([], [], color=INK, linestyle=":", label="20 tokens per parameter"),
        Line2D([], [], color=GREEN, label="5.76e23 FLOP (Chinchilla)"),
    ]


def _loss_panel(ax, fit, size, norm):
    observed = np.exp(fit["observed_data"]["log_loss"])
    predicted = predicted_loss(fit)
    style = {"cmap": "viridis", "norm": norm, "linewidth": 0, "alpha": 0.85, "label": "_runs"}
    dots = ax.scatter(predicted, observed, s=16, c=size, **style)
    ends = min(observed.min(), predicted.min()), max(observed.max(), predicted.max())
    margin = 0.04 * float(ends[1] - ends[0])
    window = float(ends[0]) - margin, float(ends[1]) + margin
    ax.axline((window[0], window[0]), slope=1, color=INK, linewidth=0.9, zorder=0)
    ax.set(xlim=window, ylim=window)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4))
    rms = f"rms {residual_rms(observed, predicted):.2f}%, {observed.size} runs"
    add_note(ax, rms, loc="upper left")
    add_note(ax, prior_note(fit), loc="lower right")
    return dots


def _model_size(fit):
    """Return the runs' parameters: the body where it is known, else the law's N."""
    data = fit["constant_data"].to_dataset()
    return data["body" if "body" in data else "N"].values


def _size_bar(figure, dots, panels):
    bar = figure.colorbar(dots, ax=panels, location="top", aspect=60, shrink=0.75, pad=0.012)
    bar.set_label("parameters of the model's body")
    bar.outline.set_visible(False)
