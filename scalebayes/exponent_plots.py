"""The local exponent dlog N*/dlog C of fits, counted in two ways, beside published exponents."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MultipleLocator, NullLocator

from scalebayes.errors import InputError
from scalebayes.fitted_law import thinned_fit
from scalebayes.instruments import HOFFMANN_BUDGETS, KAPLAN
from scalebayes.optimum import optimal
from scalebayes.published import published_estimates
from scalebayes.small_multiples import (
    BLUE,
    GREEN,
    GREY,
    INK,
    INTERVALS,
    NOTE_SIZE,
    ORANGE,
    PALE,
    add_legend,
    add_note,
    checked_fits,
    empty_figure,
    mark_not_converged,
    panel_grid,
    plain_text,
    prior_note,
    quantiles,
    styled,
)

BUDGETS = 10.0 ** np.arange(13.0, 25.01, 0.25)
"""Training compute at which the exponent is drawn, FLOP."""

KAPLAN_RANGE = float(KAPLAN.compute.min()), float(KAPLAN.compute.max())
"""FLOP; Kaplan et al. (2020) print none: as in Pearce & Song (2024), arXiv:2406.12907."""

HOFFMANN_RANGE = min(HOFFMANN_BUDGETS), max(HOFFMANN_BUDGETS)
"""FLOP, approach 2 of Hoffmann et al. (2022), arXiv:2203.15556."""

_FLOPS = {"body": "6ND:body", "total": "6ND"}
_PURPLE = "#A0527E"
_TITLES = {
    "body": "N and C counted without vocabulary matrices (as Kaplan et al.)",
    "total": "N and C counted in total (as Hoffmann et al.; Porian's with one matrix)",
}
_NORMAL_90 = 1.645  # standard errors on either side of a 90% interval
_GUESSED_RANGES = {"kaplan2020": KAPLAN_RANGE, "hoffmann2022": HOFFMANN_RANGE}
_LEAST_AXIS = {"body": (0.43, 0.95), "total": (0.4, 0.75)}  # all published points, at one scale
_WIDEST_AXIS = (0.15, 1.2)
_LABEL = "local exponent dlog N*/dlog C"


@dataclass(frozen=True, kw_only=True)
class _Point:
    """A published exponent, and where its label stands: its centre, or left or right end."""

    study: str
    method: str
    corpus: str
    counting: str = ""
    text: str = ""
    at: tuple[float, float] = (0.0, 0.0)
    side: str = "left"
    color: str = INK
    marker: str = "o"


_LAW, _ISOFLOP = "synthetic", "isoflop"
_HOFFMANN: dict[str, Any] = {"study": "hoffmann2022", "corpus": "MassiveText", "color": GREEN}
_PEARCE_SONG: dict[str, Any] = {
    "study": "pearce_song2024",
    "corpus": _LAW,
    "color": GREY,
    "marker": "D",
}
_RW: dict[str, Any] = {"method": _ISOFLOP, "corpus": "RefinedWeb", "color": _PURPLE}
_OWT: dict[str, Any] = {
    "method": _ISOFLOP,
    "corpus": "OpenWebText2",
    "color": _PURPLE,
    "marker": "s",
}

_POINTS = (
    _Point(study="kaplan2020", method="envelope, adjusted", corpus="WebText2",
           text="Kaplan", at=(1e21, 0.71)),
    _Point(**_PEARCE_SONG, method="simulated frontier, Epoch", counting="body",
           text="Pearce & Song, Epoch's law", at=(1e21, 0.785)),
    _Point(**_PEARCE_SONG, method="simulated frontier, Chinchilla", counting="body",
           text="Pearce & Song, Chinchilla's law", at=(1e21, 0.745)),
    _Point(**_PEARCE_SONG, method="simulated frontier, Epoch", counting="total",
           text="Pearce & Song, Epoch's law", at=(1e21, 0.625)),
    _Point(**_PEARCE_SONG, method="simulated frontier, Chinchilla", counting="total",
           text="Pearce & Song, Chinchilla's law", at=(1e21, 0.415)),
    _Point(**_RW, study="porian2024_step1", text="Porian 1: Kaplan's setup", at=(1e21, 0.845)),
    _Point(**_OWT, study="porian2024_step1"),
    _Point(**_RW, study="porian2024_step2", text="Porian 2: head", at=(6e15, 0.71), side="right"),
    _Point(**_OWT, study="porian2024_step2"),
    _Point(**_RW, study="porian2024_step3", text="3: warm-up", at=(6e15, 0.615), side="right"),
    _Point(**_OWT, study="porian2024_step3"),
    _Point(**_RW, study="porian2024_step4", text="4: cosine", at=(6e15, 0.58), side="right"),
    _Point(**_OWT, study="porian2024_step4"),
    _Point(**_RW, study="porian2024_step5", text="5: tuned", at=(6e15, 0.535), side="right"),
    _Point(**_OWT, study="porian2024_step5"),
    _Point(**_HOFFMANN, method="approach 1", text="Hoffmann, approach 1", at=(2e22, 0.56)),
    _Point(**_HOFFMANN, method="approach 2", text="approach 2", at=(2e22, 0.465)),
    _Point(**_HOFFMANN, method="approach 3 (parametric)", text="approach 3", at=(2e22, 0.44)),
    _Point(study="besiroglu2024", method="parametric, Huber", corpus="MassiveText", color=GREEN,
           text="Besiroglu", at=(2e22, 0.59)),
)  # fmt: skip


def exponent_curves(fit, compute=BUDGETS, *, draws=1000):
    """Return the local exponent of a fit in body and in total counting, as quantiles.

    Parameters
    ----------
    fit : DataTree
        A fit of a study whose shapes are known; models are of its own family.
    compute : sequence of float
        Training budgets in FLOP, > 0; of each counting in its own FLOP (6 body D, 6 total D).
    draws : int
        Draws used, about; evenly spaced.

    Returns
    -------
    Dataset
        `body` and `total` over (quantile, compute): dlog N*/dlog C, with the attr
        compute_range_data, the least and greatest budget of the fit's runs.

    Raises
    ------
    CountingError
        When the shapes of the fit's runs are not known.
    """
    thinned = thinned_fit(fit, draws)
    curves = {}
    for counting, flops in _FLOPS.items():
        best = optimal(thinned, compute, counting=counting, flops=flops, architecture="study")
        known = {"compute_range_data": best.attrs.get("compute_range_data")}
        curves[counting] = quantiles(best["exponent"]).assign_attrs(known)
    return xr.Dataset(curves)


def published_points():
    """Return the published exponents that `plot_local_exponent` draws.

    Returns
    -------
    DataFrame
        study, corpus, counting (as reported), panel ("body", or "total" for every counting with a
        vocabulary matrix), value, low and high (its interval as published; 90% where only a
        standard error was; NaN where neither), c_min and c_max (FLOP: its range, or that of the
        same study where its own is not printed) and compute (their geometric mean).
    """
    table = published_estimates()
    table = table[table["quantity"] == "a_N_opt_exponent"]
    rows = pd.DataFrame([_published(table, point) for point in _POINTS]).reset_index(drop=True)
    for study, ends in _GUESSED_RANGES.items():
        unknown = (rows["study"] == study) & rows["c_min"].isna()
        rows.loc[unknown, ["c_min", "c_max"]] = ends
    spread = _NORMAL_90 * rows["se"]
    rows["low"] = rows["low"].fillna(rows["value"] - spread)
    rows["high"] = rows["high"].fillna(rows["value"] + spread)
    rows["panel"] = np.where(rows["counting"] == "body", "body", "total")
    rows["compute"] = np.sqrt(rows["c_min"] * rows["c_max"])
    columns = ["study", "corpus", "counting", "panel", "value", "low", "high"]
    return rows[[*columns, "c_min", "c_max", "compute"]]


@styled
def plot_local_exponent(fits, *, study=None, curves=None):
    """Return the local exponent of one study in body and in total counting, beside published ones.

    Median with 50% and 90% bands, dashed outside the compute of the study's own runs. Each
    published exponent stands in the middle of its range of compute, in the panel of the counting in
    which it was reported.

    Parameters
    ----------
    fits : mapping of str to DataTree
        Study name -> fit.
    study : str, optional
        Which to draw; the first by default.
    curves : mapping of str to Dataset, optional
        Study name -> `exponent_curves(fit)`, where they were made before.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        When there is no fit, or none of that study.
    CountingError
        When the shapes of the study's models are not known.
    """
    fits = checked_fits(fits)
    study = next(iter(fits)) if study is None else study
    if study not in fits:
        raise InputError(f"study: there is no fit of {study!r}, only of {list(fits)}.")
    bands = _curves_of(fits, [study], curves)[study]
    axes = {counting: _axis_of(bands[counting], *_LEAST_AXIS[counting]) for counting in _TITLES}
    figure = empty_figure((7.4, 8.0))
    ratios = {"height_ratios": [high - low for low, high in axes.values()]}
    grid = figure.subplots(2, 1, sharex=True, gridspec_kw=ratios)
    panels = dict(zip(_TITLES, grid, strict=True))
    rows = published_points()
    for counting, ax in panels.items():
        ax.set_title(_TITLES[counting], loc="left", fontweight="bold")
        mark_not_converged(ax, fits[study])
        _draw_ranges(ax, named=counting == "body")
        _draw_curve(ax, bands[counting], BLUE)
        _draw_points(ax, rows[rows["panel"] == counting])
        ax.set_ylim(axes[counting])
        ax.yaxis.set_major_locator(MultipleLocator(0.1))
    add_note(panels["total"], prior_note(fits[study]))
    _exponent_axes(panels["total"], panels.values(), bands["compute"])
    figure.supxlabel(f"training compute (FLOP), counted with the same N; {plain_text(study)}")
    figure.supylabel(_LABEL)
    add_legend(figure, _legend())
    return figure


@styled
def plot_local_exponents(fits, *, curves=None, columns=3):
    """Return the local exponent of every study in body and in total counting, one panel each.

    Parameters
    ----------
    fits : mapping of str to DataTree
        Study name -> fit.
    curves : mapping of str to Dataset, optional
        Study name -> `exponent_curves(fit)`, where they were made before.
    columns : int
        Panels side by side.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        When there is no fit.
    CountingError
        When the shapes of some study's models are not known.
    """
    fits = checked_fits(fits)
    curves = _curves_of(fits, fits, curves)
    figure, panels = panel_grid(fits, columns=columns)
    for name, ax in panels.items():
        _shade(ax, curves[name]["total"].attrs["compute_range_data"])
        for counting, color in (("total", BLUE), ("body", ORANGE)):
            _draw_curve(ax, curves[name][counting], color)
        add_note(ax, prior_note(fits[name]))
    compute = next(iter(curves.values()))["compute"]
    _exponent_axes(next(iter(panels.values())), panels.values(), compute, ticks=4)
    next(iter(panels.values())).set_ylim(_WIDEST_AXIS)
    figure.supxlabel("training compute (FLOP), counted with the same N as the exponent")
    figure.supylabel(_LABEL)
    add_legend(figure, _small_legend())
    return figure


def _published(table, point):
    """Return the one row of the table that a point names."""
    told = table["study"] == point.study
    for column in ("method", "corpus", "counting"):
        told &= table[column].str.startswith(getattr(point, column))
    found = table[told]
    (index,) = found.index  # one row, or the table has changed
    return found.loc[index]


def _curves_of(fits, names, curves):
    """Return the curves of the named studies, making those that are not given."""
    given = curves or {}
    return {name: given.get(name) or exponent_curves(fits[name]) for name in names}


def _axis_of(bands, low, high):
    """Return an axis that covers low to high and the 90% bands, but no more than the widest."""
    least, greatest = _WIDEST_AXIS
    ends = float(bands.sel(quantile=0.05).min()), float(bands.sel(quantile=0.95).max())
    return max(min(low, ends[0] - 0.02), least), min(max(high, ends[1] + 0.05), greatest)


def _draw_ranges(ax, *, named):
    """Shade the compute of the two papers; both labels stand at the top of one panel."""
    for ends, color, name in (
        (KAPLAN_RANGE, PALE, "Kaplan's range"),
        (HOFFMANN_RANGE, GREEN, "Hoffmann's"),
    ):
        ax.axvspan(*ends, color=color, alpha=0.6 if color == PALE else 0.12, linewidth=0, zorder=0)
        if named:
            style = {"va": "top", "fontsize": NOTE_SIZE, "transform": ax.get_xaxis_transform()}
            ax.text(ends[0] * 1.3, 0.985, name, color=INK, **style)


def _shade(ax, ends):
    if ends is not None:
        ax.axvspan(*ends, color=PALE, linewidth=0, zorder=0)


def _draw_curve(ax, bands, color):
    compute = bands["compute"]
    for lower, upper, opacity in INTERVALS:
        ends = bands.sel(quantile=lower), bands.sel(quantile=upper)
        ax.fill_between(compute, *ends, color=color, alpha=opacity, linewidth=0)
    median = bands.sel(quantile=0.5)
    ax.plot(compute, median, color=color, linewidth=1.2, linestyle="--")
    low, high = bands.attrs["compute_range_data"] or (math.inf, -math.inf)
    inside = median.where((compute >= low) & (compute <= high))
    ax.plot(compute, inside, color=color, linewidth=2.2)


def _draw_points(ax, rows):
    for (_, row), point in zip(rows.iterrows(), _points_of(rows), strict=True):
        style = {"color": point.color, "linewidth": 1.2, "zorder": 4}
        ax.hlines(row["value"], row["c_min"], row["c_max"], **style, alpha=0.55)
        ax.vlines(row["compute"], row["low"], row["high"], **style)
        face = "white" if point.marker == "D" else point.color
        dot = {"markersize": 4.5, "markerfacecolor": face, "zorder": 5}
        ax.plot(row["compute"], row["value"], point.marker, color=point.color, **dot)
        if point.text:
            _label(ax, row, point)


def _points_of(rows):
    return [_POINTS[index] for index in rows.index]


def _label(ax, row, point):
    """Write a point's name and value, with a thin line to its bar where it stands apart."""
    x, y = point.at
    end = row["c_max"] if point.side == "left" else row["c_min"]
    where = {"ha": point.side, "va": "center", "fontsize": NOTE_SIZE, "zorder": 6}
    line = {"arrowstyle": "-", "color": point.color, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 0}
    line["relpos"] = (0.0 if point.side == "left" else 1.0, 0.5)
    anchor = min(end, x) if point.side == "left" else max(end, x)
    text = f"{point.text} {row['value']:.2f}"
    to = {"xy": (anchor, row["value"]), "xytext": (x, y)}
    ax.annotate(text, **to, color=point.color, arrowprops=line, **where)


def _exponent_axes(ax, panels, compute, *, ticks=7):
    """Set the axis that panels share, and draw the exponent 1/2 into each."""
    limits = float(compute.min()), float(compute.max())
    for panel in panels:
        panel.set(xscale="log", xlim=limits)
        panel.axhline(0.5, color=INK, linewidth=0.9, linestyle=":", zorder=1)
    ax.xaxis.set_major_locator(LogLocator(numticks=ticks))
    ax.xaxis.set_minor_locator(NullLocator())


def _legend():
    dot = {"linestyle": "none", "markersize": 5, "color": INK}
    return [
        Line2D([], [], color=BLUE, linewidth=2.2, label="fitted law (dashed: beyond its runs)"),
        Patch(color=BLUE, alpha=0.5, label="50% and 90% equal-tailed interval"),
        Line2D([], [], marker="o", **dot, label="published, with range and interval"),
        Line2D([], [], marker="s", **dot, label="the same on OpenWebText2"),
        Line2D(
            [],
            [],
            marker="D",
            **dot,
            markerfacecolor="white",
            label="computed from a published law",
        ),
        Line2D([], [], color=INK, linestyle=":", label="1/2"),
    ]


def _small_legend():
    return [
        Line2D([], [], color=BLUE, linewidth=2.2, label="N and C in total"),
        Line2D([], [], color=ORANGE, linewidth=2.2, label="N and C without vocabulary matrices"),
        Patch(color=GREY, alpha=0.5, label="50% and 90% equal-tailed interval"),
        Patch(color=PALE, label="total compute of the study's runs"),
    ]
