"""What separates published exponents, in words and tables that claim what their intervals support.

All intervals are 90% equal-tailed.
"""

import numpy as np
import pandas as pd

from scalebayes.attribution import COUNT_OF_C, COUNT_OF_N, NO_OFFSET, PUBLISHED_GAP
from scalebayes.recipe_chain import CHAIN, ISOFLOP_CURVES, SURFACE, chain_table
from scalebayes.report import CI_PROB, number

CORPUS_NAMES = {"rw": "RefinedWeb", "owt2": "OpenWebText2"}

_TAILS = ((1 - CI_PROB) / 2, 0.5, (1 + CI_PROB) / 2)
_GAP = PUBLISHED_GAP[0] - PUBLISHED_GAP[1]
_LEAST_CONVERGED = 0.9
_SMALL_P = 0.05
_INSTRUMENTS = {"frontier": "frontier regression", "fitted": "a fitted law"}


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
        *cost_sentences(gap.costs),
        *ratio_sentences(gap.ratios),
    ]


def gap_lead(gap):
    """Return the sentences of `gap_sentences` that stand on top of a page, without warnings."""
    return [*count_sentences(gap.counts), *chain_sentences(gap.chains), *route_sentences(gap)]


def attribution_table(counts):
    """Return the attribution: one row per instrument and factor, and their sum.

    Parameters
    ----------
    counts : DataTree
        From `attribution.attribute_exponent`.

    Returns
    -------
    DataFrame
        instrument, factor, change of the exponent as text.
    """
    rows = []
    for key, label in _INSTRUMENTS.items():
        game = counts[key].to_dataset()
        rows.append((label, "all as Hoffmann et al.", _text(game["value"].sel(subset="none"))))
        rows += [
            (label, str(one), _signed(game["effect"].sel(factor=one)))
            for one in game["factor"].values
        ]
        last = game["value"].isel(subset=-1)
        rows.append((label, "all as Kaplan et al.", _text(last)))
        rows.append((label, "left of the published 0.23", _signed(_GAP - game["total"])))
    return pd.DataFrame(rows, columns=["read off", "factor", "exponent or its change"])


def ranges_table(counts):
    """Return the exponent over three ranges of compute, in both counts, and their difference."""
    exponent = counts["ranges"]["exponent"]
    rows = []
    for name in exponent["range"].values:
        one = exponent.sel(range=name)
        body, total = one.sel(counting="body"), one.sel(counting="total")
        row = {"range": name, "without vocabulary": _text(body), "total": _text(total)}
        rows.append(row | {"difference": _signed(body - total)})
    return pd.DataFrame(rows)


def chains_table(chains):
    """Return the steps of Porian's chain on each corpus, as texts, one column per reading."""
    rows = []
    for corpus, chain in chains.items():
        table = chain_table(chain)
        for step, part in table.groupby("step", sort=False):
            row = {"corpus": CORPUS_NAMES[corpus], "step": step}
            published = part["published"].iloc[0]
            row["published"] = "" if np.isnan(published) else f"{published:+.3f}"
            for one in part.itertuples():
                row[one.reading] = f"{one.median:+.3f} [{one.lower:+.3f}, {one.upper:+.3f}]"
            rows.append(row)
    return pd.DataFrame(rows)


def replays_table(replays):
    """Return replays as texts: one row per published value."""
    rows = []
    for one in replays.itertuples():
        published = "" if np.isnan(one.published) else f"{one.published:.2f} ({one.source})"
        rows.append(
            {
                "procedure": one.instrument,
                "in the world of": one.world,
                "count": one.counting,
                "would have reported": f"{one.median:.2f} [{one.lower:.2f}, {one.upper:.2f}]",
                "published": published,
                "p": "" if np.isnan(one.p) else _p(one.p),
                "same runs": "yes" if one.same_runs and published else "",
            }
        )
    return pd.DataFrame(rows)


def costs_table(costs):
    """Return the share of compute that recipes waste, as texts: one column per budget."""
    rows = []
    for (corpus, recipe), wasted in costs.items():
        row = {"corpus": CORPUS_NAMES[corpus], "recipe": recipe}
        for compute in wasted["compute"].values:
            row[f"at {number(compute, 1)} FLOP"] = _percent(wasted.sel(compute=compute))
        rows.append(row)
    return pd.DataFrame(rows)


def ratios_table(ratios):
    """Return D*/N* and the exponent by budget in both counts, as texts."""
    names = {"tokens_per_parameter": "D*/N*", "exponent": "exponent"}
    ratios = ratios.assign(
        text=[
            f"{number(one.median, 2)} [{number(one.lower, 2)}, {number(one.upper, 2)}]"
            for one in ratios.itertuples()
        ],
        column=[
            f"{names[one.quantity]}, {'no vocabulary' if one.counting == 'body' else 'total'}"
            for one in ratios.itertuples()
        ],
    )
    table = ratios.pivot(index="compute", columns="column", values="text")
    order = list(dict.fromkeys(ratios["column"]))
    table = table[order].reset_index()
    table["compute"] = [f"{number(one, 1)} FLOP" for one in table["compute"]]
    return table.rename_axis(columns=None)


def gap_frames(gap):
    """Return what a gap's numbers are, tidy, by name of a table; medians and 90% intervals.

    Parameters
    ----------
    gap : Gap

    Returns
    -------
    dict of str to DataFrame
        "replays"; and, as far as there are any, "attribution" (instrument, factor, median, lower,
        upper), "chain" (corpus, step, reading, ...), "recipe_costs" (corpus, recipe, compute, ...)
        and "ratio_by_budget".
    """
    frames = {"replays": gap.replays}
    if gap.counts is not None:
        frames["attribution"] = _attribution_frame(gap.counts)
    if gap.chains:
        parts = [chain_table(one).assign(corpus=name) for name, one in gap.chains.items()]
        frames["chain"] = pd.concat(parts, ignore_index=True)
    if gap.costs:
        frames["recipe_costs"] = pd.DataFrame(
            [
                {"corpus": corpus, "recipe": recipe, "compute": compute}
                | _summary(wasted.sel(compute=compute))
                for (corpus, recipe), wasted in gap.costs.items()
                for compute in wasted["compute"].values.tolist()
            ]
        )
    if gap.ratios is not None:
        frames["ratio_by_budget"] = gap.ratios
    return frames


def _attribution_frame(counts):
    rows = []
    for key, label in _INSTRUMENTS.items():
        game = counts[key].to_dataset()
        for factor in game["factor"].values.tolist():
            effect = _summary(game["effect"].sel(factor=factor))
            rows.append({"instrument": label, "factor": factor} | effect)
        rows.append({"instrument": label, "factor": "all"} | _summary(game["total"]))
    return pd.DataFrame(rows)


def _summary(draws):
    lower, median, upper = (float(end) for end in _ends(draws))
    return {"median": median, "lower": lower, "upper": upper, "ci_prob": CI_PROB}


def count_sentences(counts):
    """Return what counts and the law's form do to the exponent, and over which range."""
    if counts is None:
        return []
    frontier, fitted = (counts[key].to_dataset() for key in _INSTRUMENTS)
    total, left = frontier["total"], _GAP - frontier["total"]
    effects = {one: frontier["effect"].sel(factor=one) for one in (COUNT_OF_N, COUNT_OF_C)}
    found = [
        f"Of the gap of {_GAP:.2f} between the published exponents {PUBLISHED_GAP[0]} and "
        f"{PUBLISHED_GAP[1]:.2f}, the counts alone make {_text(total)} when Kaplan's frontier "
        "regression is replayed in the world of Hoffmann's points: counting N without vocabulary "
        f"matrices {_signed(effects[COUNT_OF_N])}, counting C without them "
        f"{_signed(effects[COUNT_OF_C])}. {_left(left)}"
    ]
    converged = float(fitted["converged"])
    if converged >= _LEAST_CONVERGED:
        effect = fitted["effect"].sel(factor=NO_OFFSET)
        found.append(
            "Read off a law fitted to Kaplan's sizes instead, leaving out E changes the exponent "
            f"by {_signed(effect)} and the counts by {_signed(fitted['total'] - effect)}: "
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
        f"{_signed(by_range["Kaplan's"])} over Kaplan's budgets, by "
        f"{_signed(by_range["Hoffmann's"])} over Hoffmann's, and not at all for large models."
    )
    return found


def _left(left):
    lower, _, upper = _ends(left)
    if lower > 0:
        return f"{_text(left)} of the gap is left unexplained."
    if upper < 0:
        return f"That is {_text(-left)} more than the gap."
    return f"What is left of the gap, {_signed(left)}, is not told from nothing."


def _offset_verdict(effect):
    lower, _, upper = _ends(effect)
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
    off = known[known["p"] < _SMALL_P]
    said = f"Of {len(known)} comparisons with published exponents, {len(off)} have a two-sided "
    said += f"predictive p below {_SMALL_P}"
    ours = known[(known["world"] == "hoffmann2022-epoch")]
    if not len(ours):
        return [said + "."]
    parts = [
        f"{one.instrument} {one.median:.2f} [{one.lower:.2f}, {one.upper:.2f}], published "
        f"{one.published:.2f} by {one.source} (p {_p(one.p)})"
        for one in ours.itertuples()
    ]
    return [f"{said}. In the world of Hoffmann's points: {'; '.join(parts)}."]


def chain_sentences(chains):
    """Return what each step of Porian's chain does, and where readings disagree."""
    sentences = []
    for corpus, chain in chains.items():
        curves = chain["effect"].sel(reading=ISOFLOP_CURVES)
        steps = ", ".join(f"{step} {_signed(curves.sel(step=step))}" for step in CHAIN)
        inside = {
            name: _signed(curves.sel(step=step))
            for name, step in (("N", "count of N alone"), ("C", "count of C alone"))
        }
        sentences.append(
            f"Along Porian's chain on {CORPUS_NAMES[corpus]}, read off isoFLOP curves: {steps}; in "
            f"all {_signed(curves.sel(step='whole chain'))}. On the same runs, counting a "
            f"vocabulary matrix in N alone gives {inside['N']}, in C alone {inside['C']}: the two "
            "work against each other."
        )
        apart = [step for step in CHAIN if _disagree(chain["effect"].sel(step=step))]
        if apart:
            sentences.append(
                f"The ways of reading these runs disagree (90% intervals without overlap) on: "
                f"{', '.join(apart)}."
            )
    return sentences


def _disagree(effect):
    ends = np.array([_ends(effect.sel(reading=one)) for one in effect["reading"].values])
    return ends[:, 0].max() > ends[:, 2].min()


def route_sentences(gap):
    """Return whether the two routes agree on what counting does."""
    if gap.counts is None or not gap.chains:
        return []
    simulated = gap.counts["frontier"]["total"]
    lower, _, upper = _ends(simulated)
    said = []
    for corpus, chain in gap.chains.items():
        if SURFACE not in chain["reading"].values:
            continue
        real = -chain["effect"].sel(reading=SURFACE, step="counts of N and C")
        low, _, high = _ends(real)
        verdict = "agree" if low <= upper and lower <= high else "disagree"
        said.append(f"{CORPUS_NAMES[corpus]} {_text(real)} ({verdict})")
    if not said:
        return []
    return [
        f"The two routes on what counting does: {_text(simulated)} in the world of Hoffmann's "
        f"points over Kaplan's budgets; on Porian's runs, off the loss surface over their own "
        f"budgets: {'; '.join(said)}."
    ]


def cost_sentences(costs):
    """Return the compute that recipes waste, a sentence per recipe."""
    sentences = []
    for recipe in dict.fromkeys(recipe for _, recipe in costs):
        parts = []
        for (corpus, name), wasted in costs.items():
            if name != recipe:
                continue
            shares = [
                f"{_percent(wasted.sel(compute=one))} at {number(one, 1)} FLOP"
                for one in wasted["compute"].values
            ]
            parts.append(f"on {CORPUS_NAMES[corpus]} {', '.join(shares)}")
        sentences.append(f"Compute wasted by {recipe}: {'; '.join(parts)}.")
    return sentences


def ratio_sentences(ratios):
    """Return whether small budgets want more tokens per parameter, in both counts."""
    if ratios is None:
        return []
    ratio = ratios[ratios["quantity"] == "tokens_per_parameter"]
    ends = ratio.set_index(["counting", "compute"])
    low, high = ratio["compute"].min(), 1e21
    parts = []
    for counting, label in (("total", "total"), ("body", "without vocabulary matrices")):
        small, large = (ends.loc[(counting, one)] for one in (low, high))
        parts.append(
            f"{label}, {_ratio(small)} at {number(low, 1)} FLOP and {_ratio(large)} at "
            f"{number(high, 1)} ({_compared(small, large)})"
        )
    return [f"Tokens per parameter at the optimum, by Hoffmann's points: {'; '.join(parts)}."]


def _ratio(row):
    ends = (number(row[name], 2) for name in ("median", "lower", "upper"))
    return "{} [{}, {}]".format(*ends)


def _compared(small, large):
    if small["lower"] > large["upper"]:
        return "small budgets want more"
    if small["upper"] < large["lower"]:
        return "small budgets want fewer"
    return "not clearly different"


def _ends(draws):
    values = np.asarray(draws, dtype=float).ravel()
    return np.nanquantile(values, _TAILS)


def _text(draws):
    lower, median, upper = _ends(draws)
    return f"{median:.3f} [{lower:.3f}, {upper:.3f}]"


def _signed(draws):
    lower, median, upper = _ends(draws)
    return f"{median:+.3f} [{lower:+.3f}, {upper:+.3f}]"


def _percent(draws):
    values = np.asarray(draws, dtype=float)
    known = np.isfinite(values)
    if known.mean() < 1 - (1 - CI_PROB) / 2:
        return "not told"
    lower, median, upper = _ends(values[known])
    return f"{median:.0%} [{lower:.0%}, {upper:.0%}]"


def _p(p):
    return "<.002" if p < 0.002 else f"{p:.3f}".lstrip("0")
