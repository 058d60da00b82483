"""One panel per study: the grid, the look and the warnings that all figures share.

Figures are made with matplotlib's objects alone, so that no state of pyplot is read or left behind.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import xarray as xr
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from scalebayes.errors import InputError

# Okabe & Ito (2008): told apart with every common form of colour blindness.
BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"
INK, GREY, PALE = "#222222", "#6E6E6E", "#E4E4E4"
RED = "#B00020"  # of warnings, which are always in words too

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same look on every machine
    "font.size": 10.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.0,
    "axes.facecolor": "white",
    "figure.facecolor": "white",
    "figure.labelsize": 11.0,
    "legend.frameon": False,
    "legend.fontsize": 10.0,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
}
"""Whole look of a figure: a user's own matplotlibrc changes nothing that is set here."""

NOTE_SIZE = 9.0
INTERVALS = ((0.05, 0.95, 0.22), (0.25, 0.75, 0.35))
"""Ends of the 90% and of the 50% interval, and the opacity of each band."""

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_WIDTH, _MARGIN = 7.4, 1.0  # inches

styled = rc_context(STYLE)
"""Decorator of a function that makes a figure: it sees `STYLE` and leaves no trace."""


def checked_fits(fits):
    """Return fits by study name as a dict: of a mapping, or of one fit.

    Raises
    ------
    InputError
        When there is nothing to draw.
    """
    if isinstance(fits, xr.DataTree) and fits.children:  # a tree is a mapping too, of its groups
        return {fits.attrs.get("study", "fit"): fits}
    if not isinstance(fits, Mapping) or not fits:
        found = "none" if isinstance(fits, Mapping) else type(fits).__name__
        msg = (
            f"fits: expected a fit, or a mapping of study name to fit with at least one fit, got "
            f"{found}."
        )
        raise InputError(msg)
    return dict(fits)


def group_of(name, fit, group):
    """Return a group of a fit as a Dataset.

    Raises
    ------
    InputError
        When the fit has none: `grid` and `evidence` come with a latent counting only.
    """
    if group not in fit.children:
        msg = (
            f"{name}: the fit has no group {group!r}, only {list(fit.children)}. Groups grid and "
            'evidence come from a latent counting: fit(study, "latent-counting").'
        )
        raise InputError(msg)
    return fit[group].to_dataset()


def panel_grid(fits, *, columns=3, sharex=True, sharey=True):
    """Return a figure with one titled panel per fit, and the panels by name.

    Parameters
    ----------
    fits : dict of str to DataTree
    columns : int
        Panels side by side; fewer where there are fewer fits.
    sharex, sharey : bool
        Whether all panels have the same axis.

    Returns
    -------
    Figure, dict of str to Axes
    """
    columns = min(columns, len(fits))
    rows = math.ceil(len(fits) / columns)
    figure = empty_figure((_WIDTH, min(0.8 * _WIDTH / columns, 3.6) * rows + _MARGIN))
    grid = figure.subplots(rows, columns, sharex=sharex, sharey=sharey, squeeze=False)
    panels = dict(zip(fits, grid.flat, strict=False))
    for empty in grid.flat[len(fits) :]:
        empty.remove()
    for above in grid[-2, len(fits) - columns * rows :] if len(fits) < columns * rows else ():
        above.xaxis.set_tick_params(labelbottom=True)  # now the lowest of their columns
    for name, ax in panels.items():
        ax.set_title(panel_title(name), loc="left", fontweight="bold")
        mark_not_converged(ax, fits[name])
    return figure, panels


def empty_figure(size):
    """Return an empty figure of a width and height in inches, with a small margin all around."""
    figure = Figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    return figure


def fixed_figure(size, **places):
    """Return an empty figure whose panels stay where they are put: drawn in half the time.

    Parameters
    ----------
    size : (float, float)
        Width and height in inches.
    **places : float
        left, right, bottom, top, wspace, hspace, as `Figure.subplots_adjust` takes them.
    """
    figure = Figure(figsize=size, layout="none")
    figure.subplots_adjust(**places)
    return figure


def quantiles(draws):
    """Return the 5, 25, 50, 75 and 95% quantiles over chain and draw; draws of NaN are left out.

    Parameters
    ----------
    draws : DataArray
        With dims chain and draw.

    Returns
    -------
    DataArray
        With the dim `quantile` in place of those.
    """
    return draws.quantile(_QUANTILES, dim=("chain", "draw"), skipna=True)


def powers_of_ten(axis):
    """Label the powers of ten of a log axis by plain letters: formulas cost most of a drawing."""
    axis.set_major_formatter(FuncFormatter(_power_of_ten))


def _power_of_ten(value, _position=None):
    exponent = round(math.log10(value))
    if not math.isclose(value, 10.0**exponent):
        return f"{value:g}"
    return f"10{str(exponent).translate(_SUPERSCRIPTS)}"


def panel_title(name):
    """Return a study's name in two short lines: first its source, then which runs."""
    source, _, runs = name.partition("-")
    return f"{plain_text(source)}\n{plain_text(runs)}"


def fit_title(ax, fit):
    """Head a panel with its fit's study and hypothesis; mark it where that did not converge."""
    names = [str(fit.attrs.get(name, "")) for name in ("study", "hypothesis_name")]
    text = " under ".join(plain_text(name) for name in names if name)
    ax.set_title(text, loc="left", fontweight="bold")
    mark_not_converged(ax, fit)


def plain_text(text):
    """Return text that matplotlib shows as it is: no dollar sign starts a formula."""
    return text.replace("$", r"\$")


def mark_not_converged(ax, fit):
    """Mark a panel in red where its fit did not converge: frame, title and a third line of it."""
    if fit.attrs["converged"]:
        return
    for spine in ax.spines.values():
        spine.set(visible=True, color=RED, linewidth=2.0)
    title = f"{ax.get_title(loc='left')}\nNOT CONVERGED"
    ax.set_title(title, loc="left", color=RED, fontweight="bold")


def prior_note(fit):
    """Return "mostly prior: a, ..." of a fit, or "" where its data tell about all quantities."""
    names = json.loads(fit.attrs.get("still_prior", "{}"))
    return "mostly prior: " + ", ".join(sorted(names)) if names else ""


BACKED = {"facecolor": "white", "alpha": 0.95, "linewidth": 0, "pad": 1.5}
"""Box behind words that lie over lines."""


def add_note(ax, *lines, loc="lower left", backed=False):
    """Write short lines into a corner of a panel, named as in legends; empty ones are left out.

    Backed words have a white box, where lines may run below them.
    """
    vertical, side = loc.split()
    where = {"ha": side, "va": "bottom" if vertical == "lower" else "top"}
    where |= {"bbox": BACKED} if backed else {}
    x, y = 0.03 if side == "left" else 0.98, 0.03 if vertical == "lower" else 0.97
    text = "\n".join(line for line in lines if line)
    if text:
        ax.text(x, y, text, fontsize=NOTE_SIZE, zorder=9, transform=ax.transAxes, **where)


def add_legend(figure, handles, *, columns=2):
    """Put one legend for all panels above them, and return it; constrained layout keeps room."""
    place = {"loc": "outside upper left", "ncols": columns, "handlelength": 1.8}
    return figure.legend(handles=handles, **place)
