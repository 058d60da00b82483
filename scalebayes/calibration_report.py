"""Simulation-based calibration as a table of texts, sentences and a figure."""

import math

import numpy as np
from matplotlib.ticker import MaxNLocator

from scalebayes.calibrate import LEVELS, calibration_table
from scalebayes.predictive_checks import uniformity_band
from scalebayes.small_multiples import BLUE, INK, PALE, empty_figure, styled

LEGEND = (
    "p: probability that places of true values among posterior draws deviate as much from uniform "
    "(Säilynoja et al. 2022), and the same adjusted for all quantities (Holm). Then the share of "
    "simulations in which the central interval of that probability holds the truth."
)

_COLUMNS = 4


def calibration_texts(result):
    """Return `calibrate.calibration_table` as texts, a row per quantity.

    Parameters
    ----------
    result : Calibration

    Returns
    -------
    DataFrame
    """
    table = calibration_table(result).reset_index()
    shown = table[["quantity"]].copy()
    for name, label in (("p", "p"), ("p_holm", "p (Holm)")):
        shown[label] = [f"{value:.3f}" for value in table[name]]
    for level in LEVELS:
        name = f"{level * 100:.0f}"
        shown[f"{name}% holds"] = [f"{value:.1%}" for value in table[f"coverage_{name}"]]
    return shown


def calibration_sentence(result):
    """Return what was simulated, and what the gate said, in one sentence or two."""
    flagged = sum(map(bool, result.problems))
    text = (
        f"{len(result.places)} simulations from the prior of {result.hypothesis} at the runs of "
        f"{result.design}, {result.cpu_seconds / len(result.places):.2f} CPU seconds each. The "
        f"gate found fault with {flagged} of their posteriors; all count."
    )
    if result.redrawn:
        text += f" {result.redrawn} draws of the prior gave no finite losses and were drawn again."
    return text


@styled
def plot_calibration(result):
    """Return the ECDF of places of true values less that of uniform ones, a panel per quantity.

    Parameters
    ----------
    result : Calibration

    Returns
    -------
    Figure
        With the band that uniform places stay in, as a whole, with probability 0.95 (per panel).
    """
    places = result.places
    rows = math.ceil(places.shape[1] / _COLUMNS)
    figure = empty_figure((7.4, 1.6 * rows + 0.5))
    grid = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
    at = np.linspace(0.0, 1.0, 201)
    band = uniformity_band(len(places))
    for ax, name in zip(grid.flat, places, strict=False):
        ecdf = np.searchsorted(np.sort(places[name]), at, side="right") / len(places)
        ax.fill_between(at, -band, band, color=PALE, linewidth=0)
        ax.axhline(0.0, color=INK, linewidth=0.8)
        ax.plot(at, ecdf - at, color=BLUE, linewidth=1.4)
        ax.set_title(name, loc="left", fontsize=8)
        ax.yaxis.set_major_locator(MaxNLocator(3, symmetric=True))
    for empty in grid.flat[places.shape[1] :]:
        empty.remove()
    figure.supxlabel("place of the true value among posterior draws")
    figure.supylabel("ECDF − uniform")
    return figure
