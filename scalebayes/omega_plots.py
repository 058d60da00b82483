"""Fits with latent counting -> what the data say about omega, and what hangs on it."""

import json
import math

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from scalebayes.counting import total_omega
from scalebayes.small_multiples import (
    BLUE,
    GREY,
    INK,
    INTERVALS,
    NOTE_SIZE,
    ORANGE,
    PALE,
    RED,
    add_legend,
    add_note,
    checked_fits,
    empty_figure,
    group_of,
    panel_grid,
    plain_text,
    prior_note,
    quantiles,
    styled,
)

MARKER_AREA = 270.0
"""Area of a weight of 1, in points squared."""

BEYOND = "beyond the matrices stored: law misfit at small N"

_LARGEST_OMEGA, _BESIDE = 3.0, 0.2  # the axis shows at least 0 to 3, with room for half a dot
_OMEGA_LABEL = "omega: vocabulary matrices in N = body + omega V d"
_FAINTEST = 0.2


@styled
def plot_omega_weight(fits):
    """Return the weight on omega under wide and default priors, one row per study.

    The values of omega are points of an unequal grid, so a weight is a dot whose area it is, never
    a density. Small ticks show the grid.

    Parameters
    ----------
    fits : mapping of str to DataTree, or DataTree
        Study name -> fit with latent counting, or one such fit.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        When there is no fit, or a fit has no group `evidence`.
    """
    fits = checked_fits(fits)
    figure, ax = _omega_rows(fits)
    _omega_axis(ax, fits)
    for row, (name, fit) in enumerate(fits.items()):
        evidence = group_of(name, fit, "evidence")
        _omega_row(ax, row, evidence, stored=stored_matrices(fit))
        _row_note(ax, row, fit)
    add_legend(figure, _omega_legend())
    return figure


@styled
def plot_exponent_by_omega(fits, *, columns=3):
    """Return the exponent a at each omega and of the mixed posterior, one panel per study.

    N and C count omega vocabulary matrices. Bars are 90% and 50% intervals, as dark as the weight
    of their omega; bands those of the posterior over all omega.

    Parameters
    ----------
    fits : mapping of str to DataTree, or DataTree
        Study name -> fit with latent counting, or one such fit.
    columns : int
        Panels side by side.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        When there is no fit, or a fit has no groups `grid` and `evidence`.
    """
    fits = checked_fits(fits)
    figure, panels = panel_grid(fits, columns=columns)
    for name, ax in panels.items():
        each = quantiles(group_of(name, fits[name], "grid")["a"])
        mixed = quantiles(fits[name]["posterior"]["a"])
        weight = group_of(name, fits[name], "evidence")["weight"].sel(omega=each["omega"])
        _exponent_panel(ax, each, mixed, weight)
        add_note(ax, prior_note(fits[name]))
    _omega_axis(ax, fits)
    figure.supxlabel(_OMEGA_LABEL)
    figure.supylabel("exponent a of N* ∝ C^a")
    add_legend(figure, _exponent_legend())
    return figure


def stored_matrices(fit):
    """Return the largest omega that is a count: the vocabulary matrices that models store.

    Parameters
    ----------
    fit : DataTree
        With body, embedding and head in `constant_data`.

    Returns
    -------
    float
        1 when tied, 2 when not, and a little more where position matrices are stored too.
    """
    columns = fit["constant_data"].to_dataset().reset_coords(drop=True)
    known = {"embedding", "head"} <= set(columns)
    stored = total_omega(columns.to_dataframe()) if known else None
    return stored if stored is not None else _matrices_by_tying(fit)


def _matrices_by_tying(fit):
    tied = json.loads(fit.attrs["study_record"])["tied"]
    return 1.0 if tied else 2.0


def _omega_rows(fits):
    """Return a figure with one axis that has a named row per fit, the first on top."""
    figure = empty_figure((7.8, 0.54 * len(fits) + 1.5))
    ax = figure.subplots()
    ax.set_ylim(len(fits) - 0.5, -0.5)
    ax.set_yticks(range(len(fits)), [plain_text(name) for name in fits])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(_OMEGA_LABEL)
    return figure, ax


def _omega_axis(ax, fits):
    tried = [float(group_of(name, fit, "evidence")["omega"].max()) for name, fit in fits.items()]
    last = max(_LARGEST_OMEGA, *tried)
    ax.set(xlim=(-_BESIDE, last + _BESIDE), xticks=range(math.floor(last) + 1))


def _omega_row(ax, row, evidence, stored):
    beyond = (stored, row - 0.5), max(ax.get_xlim()[1] - stored, 0), 1
    ax.add_patch(Rectangle(*beyond, facecolor=PALE, linewidth=0, zorder=0, label="_beyond"))
    ax.axhline(row + 0.5, color="white", linewidth=2.0, zorder=1)
    omega = evidence["omega"].values
    ax.plot(omega, np.full(omega.size, row), "|", color=GREY, markersize=4, zorder=2)
    for name, shift, color in (("weight", -0.24, BLUE), ("weight_default", 0.24, ORANGE)):
        if name in evidence:
            area = MARKER_AREA * evidence[name].values
            style = {"color": color, "linewidth": 0, "zorder": 3, "label": f"_{name}"}
            ax.scatter(omega, np.full(omega.size, row + shift), s=area, **style)


def _row_note(ax, row, fit):
    """Write what the row comes to, right of it; in red where the fit did not converge."""
    decided = fit.attrs.get("omega_decided", "")
    words = [f"decided: omega = {decided}" if decided else "undecided", prior_note(fit)]
    color = INK
    if not fit.attrs["converged"]:
        words, color = ["NOT CONVERGED", *words[1:]], RED
        ax.get_yticklabels()[row].set_color(RED)
    text = "\n".join(word for word in words if word)
    where = {"xy": (1.01, row), "xycoords": ax.get_yaxis_transform(), "va": "center"}
    ax.annotate(text, fontsize=NOTE_SIZE, color=color, annotation_clip=False, **where)


def _omega_legend():
    dot = {"marker": "o", "linestyle": "none", "markersize": 9}
    return [
        Line2D([], [], color=BLUE, **dot, label="weight under the wide priors (area)"),
        Line2D([], [], color=ORANGE, **dot, label="weight under the default priors (area)"),
        Patch(color=PALE, label=BEYOND),
        Line2D([], [], color=GREY, marker="|", linestyle="none", label="values of omega tried"),
    ]


def _exponent_panel(ax, each, mixed, weight):
    for lower, upper, alpha in INTERVALS:
        ends = float(mixed.sel(quantile=lower)), float(mixed.sel(quantile=upper))
        ax.axhspan(*ends, color=ORANGE, alpha=alpha, linewidth=0)
    ax.axhline(float(mixed.sel(quantile=0.5)), color=INK, linewidth=1.0)
    for omega, share in zip(weight["omega"].values, weight.values, strict=True):
        _exponent_bar(ax, omega, each.sel(omega=omega), share)


def _exponent_bar(ax, omega, values, share):
    """Draw the 90% and 50% interval and the median at one omega, as dark as its weight."""
    opacity = min(_FAINTEST + (1 - _FAINTEST) * float(share), 1.0)
    style = {"color": BLUE, "alpha": opacity}
    for lower, upper, width in ((0.05, 0.95, 1.8), (0.25, 0.75, 5.0)):
        ends = values.sel(quantile=[lower, upper]).values
        ax.plot([omega, omega], ends, linewidth=width, solid_capstyle="butt", **style)
    median = float(values.sel(quantile=0.5))
    ax.plot(omega, median, "_", markersize=9, markeredgewidth=1.4, color=INK, alpha=opacity)


def _exponent_legend():
    return [
        Line2D([], [], color=BLUE, linewidth=5, label="at one omega: as dark as its weight"),
        Patch(color=ORANGE, alpha=0.5, label="over all omega"),
        Line2D([], [], color=INK, linewidth=1.0, label="medians; 50% and 90% intervals"),
    ]
