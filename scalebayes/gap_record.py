"""What separates published exponents, as one record that can be kept in the cache."""

import json
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What separates Kaplan's exponent from Hoffmann's. None where its studies are not at hand.

    Parameters
    ----------
    counts : DataTree or None
        From `attribution.attribute_exponent`, in the world of Hoffmann's points.
    chains : dict of str to Dataset
        From `recipe_chain.chain_effects`, by corpus.
    costs : dict of (str, str) to DataArray
        Share of compute wasted by a recipe, by corpus and recipe, over (compute, draw).
    replays : DataFrame
        From `replays.replay_table`.
    ratios : DataFrame or None
        From `advice.ratio_by_budget`, for Hoffmann's points.
    problems : tuple of str
        What did not converge of the fits that are in the numbers.
    observed_costs : dict of (str, str) to ndarray
        The same shares read off published optima, [compute].
    """

    counts: xr.DataTree | None
    chains: dict[str, xr.Dataset]
    costs: dict[tuple[str, str], xr.DataArray]
    replays: pd.DataFrame
    ratios: pd.DataFrame | None
    problems: tuple[str, ...] = ()
    observed_costs: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)


def tree_of_gap(gap):
    """Return a DataTree of everything in a `Gap`; tables are JSON in its attributes."""
    groups = {f"chains/{corpus}": chain for corpus, chain in gap.chains.items()}
    for number, (key, cost) in enumerate(gap.costs.items()):
        one = cost.to_dataset(name="cost")
        one["observed"] = ("compute", gap.observed_costs[key])
        groups[f"costs/{number:02d}"] = one.assign_attrs(corpus=key[0], recipe=key[1])
    tree = xr.DataTree.from_dict(groups)
    if gap.counts is not None:
        tree["counts"] = gap.counts.copy()
    tree.attrs = {
        "replays": _text(gap.replays),
        "ratios": "" if gap.ratios is None else _text(gap.ratios),
        "problems": json.dumps(gap.problems),
    }
    return tree


def gap_of_tree(tree):
    """Return the `Gap` that `tree_of_gap` made a tree of."""
    chains = tree["chains"].children if "chains" in tree.children else {}
    costs = tree["costs"].children.values() if "costs" in tree.children else ()
    by_recipe = {(one.attrs["corpus"], one.attrs["recipe"]): one.to_dataset() for one in costs}
    return Gap(
        counts=tree["counts"].copy() if "counts" in tree.children else None,
        chains={corpus: one.to_dataset() for corpus, one in chains.items()},
        costs={key: one["cost"].rename(None) for key, one in by_recipe.items()},
        replays=_table(tree.attrs["replays"]),
        ratios=_table(tree.attrs["ratios"]) if tree.attrs["ratios"] else None,
        problems=tuple(json.loads(tree.attrs["problems"])),
        observed_costs={key: one["observed"].to_numpy() for key, one in by_recipe.items()},
    )


def _text(table):
    return json.dumps(table.to_dict("list"))


def _table(text):
    return pd.DataFrame(json.loads(text))
