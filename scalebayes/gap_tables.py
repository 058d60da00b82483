"""What separates published exponents, in tables: texts for a page, and tidy numbers.

All intervals are 90% equal-tailed.
"""

import numpy as np
import pandas as pd

from scalebayes.attribution import gap_left
from scalebayes.draw_texts import CORPUS_NAMES, ends_of, p_text, percent, plain, signed
from scalebayes.recipe_chain import chain_table
from scalebayes.report import CI_PROB, number

_INSTRUMENTS = {"frontier": "frontier regression", "fitted": "a fitted law"}


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
        rows.append((label, "all as Hoffmann et al.", plain(game["value"].sel(subset="none"))))
        rows += [
            (label, str(one), signed(game["effect"].sel(factor=one)))
            for one in game["factor"].values
        ]
        last = game["value"].isel(subset=-1)
        rows.append((label, "all as Kaplan et al.", plain(last)))
        rows.append((label, "left of the published 0.23", signed(gap_left(game["total"]))))
    return pd.DataFrame(rows, columns=["read off", "factor", "exponent or its change"])


def ranges_table(counts):
    """Return the exponent over three ranges of compute, in both counts, and their difference."""
    exponent = counts["ranges"]["exponent"]
    rows = []
    for name in exponent["range"].values:
        one = exponent.sel(range=name)
        body, total = one.sel(counting="body"), one.sel(counting="total")
        row = {"range": name, "without vocabulary": plain(body), "total": plain(total)}
        rows.append(row | {"difference": signed(body - total)})
    return pd.DataFrame(rows)


def chains_table(chains):
    """Return the steps of Porian's chain on each corpus, as texts, one column per reading."""
    rows = []
    for corpus, chain in chains.items():
        table = chain_table(chain)
        for step, part in table.groupby("step", sort=False):
            row = {"corpus": CORPUS_NAMES[corpus], "step": step}
            published = part["published"].iloc[0]
            error = part["published_se"].iloc[0]
            row["published"] = "" if np.isnan(published) else f"{published:+.3f} ± {error:.3f}"
            residual = part["residual"].iloc[0]
            row["published less curves"] = "" if np.isnan(residual) else f"{residual:+.3f}"
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
                "p": "" if np.isnan(one.p) else p_text(one.p),
                "same runs": "yes" if one.same_runs and published else "",
            }
        )
    return pd.DataFrame(rows)


def costs_table(costs, observed):
    """Return the share of compute that recipes waste, as texts: one column per budget.

    Parameters
    ----------
    costs, observed : dict
        As `Gap.costs` and `Gap.observed_costs`.
    """
    rows = []
    for (corpus, recipe), wasted in costs.items():
        row = {"corpus": CORPUS_NAMES[corpus], "recipe": recipe}
        seen = observed.get((corpus, recipe), np.full(wasted.sizes["compute"], np.nan))
        for compute, one in zip(wasted["compute"].values, seen, strict=True):
            text = percent(wasted.sel(compute=compute))
            published = "" if np.isnan(one) else f"; optima {one:.0%}"
            row[f"at {number(compute, 1)} FLOP"] = text + published
        rows.append(row)
    return pd.DataFrame(rows)


def ratios_table(ratios):
    """Return D*/N* and the exponent by budget in both counts, as texts."""
    names = {"tokens_per_parameter": "D*/N*", "exponent": "exponent"}
    ratios = ratios[ratios["quantity"].isin(names)]
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
                | {"published_optima": seen}
                for (corpus, recipe), wasted in gap.costs.items()
                for compute, seen in zip(
                    wasted["compute"].values.tolist(),
                    gap.observed_costs.get((corpus, recipe), [np.nan] * wasted.sizes["compute"]),
                    strict=True,
                )
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
    lower, median, upper = (float(end) for end in ends_of(draws))
    return {"median": median, "lower": lower, "upper": upper, "ci_prob": CI_PROB}
