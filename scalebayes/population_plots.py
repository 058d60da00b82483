"""A population -> figures: what each study says alone and in the population of all of them."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scalebayes.small_multiples import BLUE, GREY, INK, ORANGE, PALE, add_legend, styled

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SHIFT = 0.17  # of a row, between the two posteriors of a study
_RATIO_LIMITS = (1e-3, 1e5)


@styled
def plot_shrinkage(population):
    """Return each study's exponent and optimal ratio, alone and in the population.

    Medians with 50% and 90% equal-tailed intervals, at 5.76e23 FLOP in total counting; the band is
    the 90% interval of a new study's exponent, at 1e9 total parameters.

    Parameters
    ----------
    population : DataTree
        From `population.pool`.

    Returns
    -------
    Figure
    """
    studies = population["studies"].to_dataset()
    names = [str(name) for name in studies["study"].to_numpy()]
    figure = Figure(figsize=(9.6, 1.6 + 0.36 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _panel(left, studies, names, "exponent")
    _panel(right, studies, names, "tokens_per_parameter")
    expected = population["new_study"]["a"].to_numpy()
    low, middle, high = np.quantile(expected, (0.05, 0.5, 0.95))
    left.axvspan(low, high, color=PALE, zorder=0)
    left.axvline(middle, color=GREY, linewidth=0.8, zorder=0)
    left.set_xlim(0, 1)
    left.set_xlabel("exponent a of N* in C")
    right.set_xscale("log")
    right.set_xlim(*_ratio_limits(studies))
    right.set_xlabel("tokens per parameter D*/N*")
    right.axvline(20.0, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    if not population.attrs["converged"]:
        figure.suptitle("NOT CONVERGED", color="#B00020")
    add_legend(figure, _legend())
    return figure


@styled
def plot_recipe_effects(population):
    """Return the effects of training recipes on the exponent a, as contrasts within groups.

    Parameters
    ----------
    population : DataTree
        From `population.pool`, with recipe effects.

    Returns
    -------
    Figure
    """
    checks = population["checks"].to_dataset()
    names = [str(name) for name in checks["quantity"].to_numpy() if name != "a"]
    figure = Figure(figsize=(7.4, 1.3 + 0.5 * len(names)), layout="constrained")
    ax = figure.subplots()
    ax.axvline(0.0, color=GREY, linewidth=0.8)
    first = checks.isel(check=0)
    others = checks.isel(check=slice(1, None))
    for row, name in enumerate(names):
        one = first.sel(quantity=name)
        ax.plot([one["lower"], one["upper"]], [row, row], color=BLUE, linewidth=3, alpha=0.5)
        ax.plot(one["median"], row, "o", color=BLUE, markersize=6)
        medians = others["median"].sel(quantity=name).to_numpy()
        ax.plot(medians, np.full(medians.size, row + 0.25), "|", color=ORANGE, markersize=8)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlabel("change of the exponent a")
    add_legend(
        figure,
        [
            Line2D(
                [], [], color=BLUE, marker="o", linewidth=3, alpha=0.7, label="all studies, 90%"
            ),
            Line2D([], [], color=ORANGE, marker="|", linewidth=0, label="medians of the checks"),
        ],
    )
    return figure


def _panel(ax, studies, names, quantity):
    for row, name in enumerate(names):
        chosen = studies.sel(study=name)
        pairs = ((f"own_{quantity}", ORANGE, -_SHIFT), (quantity, BLUE, _SHIFT))
        for variable, colour, shift in pairs:
            values = chosen[variable].to_numpy().ravel()
            if np.isnan(values).any():
                continue
            low, lower, middle, upper, high = np.quantile(values, _QUANTILES)
            ax.plot([low, high], [row + shift] * 2, color=colour, linewidth=1.2)
            ax.plot([lower, upper], [row + shift] * 2, color=colour, linewidth=3.2)
            ax.plot(middle, row + shift, "o", color=INK, markersize=3.2)
    ax.grid(axis="x", color=PALE, linewidth=0.6)


def _ratio_limits(studies):
    known = studies["tokens_per_parameter"].dropna("study")
    if not known.sizes["study"]:
        return _RATIO_LIMITS
    low, high = known.quantile((0.03, 0.97), ("chain", "draw")).to_numpy()
    return max(low.min() / 3, _RATIO_LIMITS[0]), min(high.max() * 3, _RATIO_LIMITS[1])


def _legend():
    return [
        Line2D([], [], color=ORANGE, linewidth=3, label="alone"),
        Line2D([], [], color=BLUE, linewidth=3, label="in the population"),
        Line2D([], [], color=PALE, linewidth=8, label="a new study, 90%"),
        Line2D([], [], color=GREY, linestyle=":", label="20 tokens per parameter"),
    ]
