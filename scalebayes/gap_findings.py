"""What separates published exponents, in words that claim what their intervals support.

All intervals are 90% equal-tailed.
"""

import numpy as np

from scalebayes.advice import LEAST_BUDGET
from scalebayes.attribution import (
    COUNT_OF_C,
    COUNT_OF_N,
    LEAST_CONVERGED,
    NO_OFFSET,
    PUBLISHED_GAP,
    gap_left,
)
from scalebayes.draw_texts import CORPUS_NAMES, ends_of, p_text, percent, plain, signed
from scalebayes.recipe_chain import CHAIN, ISOFLOP_CURVES
from scalebayes.replays import HOFFMANN_WORLD
from scalebayes.report import number

_GAP = PUBLISHED_GAP[0] - PUBLISHED_GAP[1]


def gap_sentences(gap):
    """Return the summary in plain words, with what qualifies it first.

    Parameters
    ----------
    gap : Gap

    Returns
    -------
    list of str
    """
    return [
        *(f"NOT CONVERGED: {problem}." for problem in gap.problems),
        *count_sentences(gap.counts),
        *chain_sentences(gap.chains),
        *route_sentences(gap),
        *replay_sentences(gap.replays),
        *cost_sentences(gap.costs, gap.observed_costs),
        *ratio_sentences(gap.ratios),
    ]


def gap_lead(gap):
    """Return the sentences of `gap_sentences` that stand on top of a page, without warnings."""
    return [*count_sentences(gap.counts), *chain_sentences(gap.chains), *route_sentences(gap)]


def count_sentences(counts):
    """Return what counts and the law's form do to the exponent, and over which range."""
    if counts is None:
        return []
    frontier, fitted = (counts[key].to_dataset() for key in ("frontier", "fitted"))
    total, left = frontier["total"], gap_left(frontier["total"])
    effects = {one: frontier["effect"].sel(factor=one) for one in (COUNT_OF_N, COUNT_OF_C)}
    found = [
        f"Of the gap of {_GAP:.2f} between the published exponents {PUBLISHED_GAP[0]} and "
        f"{PUBLISHED_GAP[1]:.2f}, the counts alone make {plain(total)} when Kaplan's frontier "
        "regression is replayed in the world of Hoffmann's points: counting N without vocabulary "
        f"matrices {signed(effects[COUNT_OF_N])}, counting C without them "
        f"{signed(effects[COUNT_OF_C])} (medians with 90% equal-tailed intervals). {_left(left)}"
    ]
    converged = float(fitted["converged"])
    if converged >= LEAST_CONVERGED:
        effect = fitted["effect"].sel(factor=NO_OFFSET)
        found.append(
            "Read off a law fitted to Kaplan's sizes instead, leaving out E changes the exponent "
            f"by {signed(effect)} and the counts by {signed(fitted['total'] - effect)}: "
            f"{_offset_verdict(effect)}."
        )
    else:
        found.append(
            f"Laws fitted to Kaplan's sizes: not told, only {converged:.0%} of the fits ended."
        )
    exponent = counts["ranges"]["exponent"]
    by_range = {
        str(name): exponent.sel(range=name, counting="body")
        - exponent.sel(range=name, counting="total")
        for name in exponent["range"].values
    }
    found.append(
        f"Counting acts at finite range only: it changes the exponent by "
        f"{signed(by_range["Kaplan's"])} over Kaplan's budgets, by "
        f"{signed(by_range["Hoffmann's"])} over Hoffmann's, and not at all for large models."
    )
    return found


def _left(left):
    lower, _, upper = ends_of(left)
    what = f"{signed(left)} with the errors of the two published exponents, Kaplan's assumed"
    if lower > 0:
        return f"A part of the gap is left unexplained: {what}."
    if upper < 0:
        return f"That is more than the gap: {what}, is left."
    return f"What is left of it, {what}, is not told from nothing."


def _offset_verdict(effect):
    lower, _, upper = ends_of(effect)
    if upper < 0:
        return "a missing offset narrows the gap, it does not explain it"
    if lower > 0:
        return "a missing offset is part of the gap"
    return "whether a missing offset is part of the gap is undecided"


def replay_sentences(replays):
    """Return how replays compare with what was published."""
    known = replays[replays["p"].notna()]
    if not len(known):
        return []
    inside = known["published"].between(known["lower"], known["upper"])
    parts = [
        f"{one.instrument} {one.median:.2f} [{one.lower:.2f}, {one.upper:.2f}], published "
        f"{one.published:.2f} by {one.source} (p {p_text(one.p)})"
        for one in known[known["world"] == HOFFMANN_WORLD].itertuples()
    ]
    world = f" In the world of Hoffmann's points: {'; '.join(parts)}." if parts else ""
    return [
        f"Of {len(known)} published exponents whose procedure is replayed, {int(inside.sum())} lie "
        f"inside the 90% predictive interval; {int(known['same_runs'].sum())} were read off the "
        f"very runs.{world}"
    ]


def chain_sentences(chains):
    """Return what each step of Porian's chain does, and where readings disagree."""
    sentences = []
    for corpus, chain in chains.items():
        curves = chain["effect"].sel(reading=ISOFLOP_CURVES)
        steps = ", ".join(f"{step} {signed(curves.sel(step=step))}" for step in CHAIN)
        inside = {
            name: signed(curves.sel(step=step))
            for name, step in (("N", "count of N alone"), ("C", "count of C alone"))
        }
        sentences.append(
            f"Along Porian's chain on {CORPUS_NAMES[corpus]}, read off isoFLOP curves: {steps}; in "
            f"all {signed(curves.sel(step='whole chain'))}. On the same runs, counting a "
            f"vocabulary matrix in N alone gives {inside['N']}, in C alone {inside['C']}"
            f"{_opposed(curves)}."
        )
        apart = [step for step in CHAIN if _disagree(chain["effect"].sel(step=step))]
        if apart:
            sentences.append(
                f"On {CORPUS_NAMES[corpus]} the ways of reading the runs disagree (90% intervals "
                f"without overlap) on: "
                f"{', '.join(apart)}."
            )
    return sentences


def _opposed(curves):
    ends = [ends_of(curves.sel(step=step)) for step in ("count of N alone", "count of C alone")]
    signs = {-1 if high < 0 else 1 if low > 0 else 0 for low, _, high in ends}
    return ": the two work against each other" if signs == {-1, 1} else ""


def _disagree(effect):
    ends = np.array([ends_of(effect.sel(reading=one)) for one in effect["reading"].values])
    return ends[:, 0].max() > ends[:, 2].min()


def route_sentences(gap):
    """Return whether the two routes agree on what counting does over Porian's budgets."""
    if gap.counts is None or not gap.chains:
        return []
    exponent = gap.counts["ranges"]["exponent"].sel(range="Porian's")
    simulated = exponent.sel(counting="body") - exponent.sel(counting="total")
    lower, _, upper = ends_of(simulated)
    said = []
    for corpus, chain in gap.chains.items():
        for reading in chain["reading"].values:
            real = -chain["effect"].sel(reading=reading, step="counts of N and C")
            low, _, high = ends_of(real)
            verdict = "overlaps" if low <= upper and lower <= high else "does not overlap"
            said.append(f"{CORPUS_NAMES[corpus]}, {reading} {plain(real)} ({verdict})")
    return [
        f"Over Porian's budgets, not counting vocabulary matrices raises the exponent by "
        f"{plain(simulated)} in the world of Hoffmann's points, by Kaplan's sizes; on Porian's "
        f"real runs by {'; '.join(said)}. Where intervals do not overlap the two routes disagree."
    ]


def cost_sentences(costs, observed):
    """Return the compute that recipes waste, a sentence per recipe.

    Parameters
    ----------
    costs, observed : dict
        As `Gap.costs` and `Gap.observed_costs`.
    """
    sentences = []
    for recipe in dict.fromkeys(recipe for _, recipe in costs):
        parts = []
        for corpus, name in costs:
            if name == recipe:
                wasted, seen = costs[corpus, name], observed.get((corpus, name))
                shares = [
                    f"{percent(wasted.isel(compute=k))} at {number(float(compute), 1)} FLOP"
                    f"{'' if seen is None else _contradicted(wasted.isel(compute=k), seen[k])}"
                    for k, compute in enumerate(wasted["compute"].values)
                ]
                parts.append(f"on {CORPUS_NAMES[corpus]} {', '.join(shares)}")
        sentences.append(
            f"Share of compute that {recipe} wastes (below 0: it needs less): {'; '.join(parts)}."
        )
    return sentences


def _contradicted(wasted, seen):
    """Return what the published optima give where, in whole percent, they lie outside a cost."""
    lower, _, upper = np.round(ends_of(wasted), 2)
    if np.isnan([lower, seen]).any() or lower <= np.round(seen, 2) <= upper:
        return ""
    return f" (published optima {seen:.0%}: the laws misfit)"


def ratio_sentences(ratios):
    """Return whether small budgets want more tokens per parameter, in both counts."""
    if ratios is None:
        return []
    ends = ratios.set_index(["quantity", "counting", "compute"]).sort_index()
    low = ratios["compute"].min()
    parts = []
    for counting, label in (("total", "total"), ("body", "without vocabulary matrices")):
        [(high, against)] = ends.loc[(LEAST_BUDGET, counting)].iterrows()
        small, large = (ends.loc[("tokens_per_parameter", counting, one)] for one in (low, high))
        parts.append(
            f"{label}, {_ratio(small)} at {number(low, 1)} FLOP and {_ratio(large)} at "
            f"{number(high, 1)}, {_ratio(against)} times as many ({_compared(against)})"
        )
    return [f"Tokens per parameter at the optimum, by Hoffmann's points: {'; '.join(parts)}."]


def _ratio(row):
    ends = (number(row[name], 2) for name in ("median", "lower", "upper"))
    return "{} [{}, {}]".format(*ends)


def _compared(against):
    if against["lower"] > 1:
        return "small budgets want more"
    if against["upper"] < 1:
        return "small budgets want fewer"
    return "not clearly different"
