"""What separates two published exponents, by one law: counts and the law's form, one by one.

Kaplan's frontier regression is replayed with some factors as Kaplan et al. had them and the rest as
Hoffmann et al. had them, for every draw of a posterior. The share of each factor is its Shapley
value: its effect, averaged over the orders in which factors can be switched.
"""

import itertools
import math
from collections.abc import Mapping

import numpy as np
import xarray as xr

from scalebayes.architecture import draw_gamma
from scalebayes.designs import grid_design, tokens_design
from scalebayes.errors import InputError
from scalebayes.instruments import approach_3, kaplan_frontier
from scalebayes.laws import coefficients
from scalebayes.optimum import allocation_exponent

COUNT_OF_N, COUNT_OF_C, NO_OFFSET = "count of N", "count of C", "law without E"
"""The factors: N counted without vocabulary matrices, C too, and a law fitted with E = 0."""

FRONTIER_PLAYERS = (COUNT_OF_N, COUNT_OF_C)
FITTED_PLAYERS = (COUNT_OF_N, COUNT_OF_C, NO_OFFSET)

SIZES = np.logspace(2.9, 9.2, 20)
"""Body parameters of Kaplan's models as replayed by Pearce & Song (2024), arXiv:2406.12907."""

BUDGETS = np.logspace(14.0, 20.7, 61)
"""FLOP. Pearce & Song read N without embeddings from 10^12.95 on and N with them from 10^14; here
one range serves both counts of C. Below it the smallest model is the best in total counting."""

TOKENS = np.geomspace(2.2e7, 2.3e10, 10)
"""Tokens of Kaplan's runs: 22 million to 23 billion, Kaplan et al. (2020), arXiv:2001.08361, §3."""

HOFFMANN_SIZES = np.geomspace(4e6, 2e11, 60)
HOFFMANN_BUDGETS = np.geomspace(6e18, 3e21, 60)
"""Approach 2 of Hoffmann et al. (2022), arXiv:2203.15556; sizes wide enough for every optimum."""

PUBLISHED_GAP = 0.73, 0.50
"""Exponents of N* in C: Kaplan et al. (2020), eq. 6.1; Hoffmann et al. (2022), approach 1."""

PUBLISHED_ERRORS = 0.03, 0.0055
"""Their standard errors: Kaplan et al. print none, so that it is the usual one of a published
exponent (the median of the synthesis' prior); Hoffmann et al.'s 80% interval is .488 to .502."""

_COUNTS = {True: "body", False: "body+head"}  # models of Kaplan's kind store one matrix
PORIAN_BUDGETS = np.geomspace(1.25e16, 2.56e19, 60)
"""Porian et al. (2024), arXiv:2406.19146, table 1: the budgets of their stages together."""

LEAST_CONVERGED = 0.9
"""Share of draws whose surfaces must be found; below it what fitted laws say is NaN."""

_NAMES = {True: "body", False: "total"}
_JOINER = " + "
_LEAST_DRAWS = 100
_FITTED_DRAWS = 300  # about; each takes four fits of a surface


def shapley(value: Mapping, players):
    """Return the Shapley value of each player.

    Parameters
    ----------
    value : mapping of frozenset to number or DataArray
        What each set of players brings, the empty set too.
    players : sequence of str

    Returns
    -------
    dict of str to number or DataArray
        Sums to the value of all players less that of none.

    Raises
    ------
    InputError
        When some set of players has no value.

    References
    ----------
    Shapley (1953), A value for n-person games.
    """
    players = tuple(players)
    missing = [set(one) for one in _subsets(players) if one not in value]
    if missing:
        raise InputError(f"shapley: no value of the sets {missing}.")
    return {one: _share(value, players, one) for one in players}


def _share(value, players, one):
    others = [other for other in players if other != one]
    n, total = len(players), 0.0
    for subset in _subsets(others):
        size = len(subset)
        weight = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
        total = total + weight * (value[subset | {one}] - value[subset])
    return total


def _subsets(players):
    return [
        frozenset(chosen)
        for size in range(len(players) + 1)
        for chosen in itertools.combinations(players, size)
    ]


def attribute_exponent(fit, *, draws=1000, gamma=None, random_seed=0):
    """Return what each factor does to the exponent that Kaplan's frontier regression reports.

    Two instruments: "frontier" reads the best of Kaplan's sizes at each budget; "fitted law" first
    fits a surface to runs of Kaplan's sizes and tokens, in the count of N, and reads that law's
    frontier. The law's form (no E) matters in the second alone.

    Parameters
    ----------
    fit : DataTree or Dataset
        A posterior of A, B, alpha, beta and omega (E, q), over chain and draw.
    draws : int
        Draws used, about; evenly spaced, at least 100. Of them about 300 for fitted laws.
    gamma : DataArray or float, optional
        head / body^(1/3) of the models; by default drawn from the prior of `draw_gamma`.
    random_seed : int

    Returns
    -------
    DataTree
        Groups "frontier" and "fitted": `value` over (subset, chain, draw), the exponent when the
        named factors are Kaplan's ("none" to all); `effect` over (factor, chain, draw), Shapley;
        `total` over (chain, draw), their sum; "fitted" has `converged` too, the share of draws
        whose surfaces were found, the others being NaN, and all where that share is below
        `LEAST_CONVERGED`. Group "ranges": `exponent` over (range, counting, chain, draw), N and C
        counted alike, over Kaplan's, Porian's and Hoffmann's budgets and in the limit of large
        models.

    Raises
    ------
    InputError
        When there are fewer draws than 100, or the law lacks a coefficient.
    """
    law = _law(fit, draws)
    heads = _heads(law, gamma, random_seed)
    frontier = _frontier_values(law, heads)
    fitted, converged = _fitted_values(*_thinned(law, heads))
    groups = {
        "frontier": _game(frontier, FRONTIER_PLAYERS),
        "fitted": _game(fitted, FITTED_PLAYERS).assign(converged=converged),
        "ranges": xr.Dataset({"exponent": _ranges(law, heads)}),
    }
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = dict(getattr(fit, "attrs", {}))
    return tree


def gap_left(total):
    """Return what a total leaves of the published gap, with the errors of the published numbers.

    Parameters
    ----------
    total : DataArray
        Draws of the part that is explained.

    Returns
    -------
    DataArray
        Draws of the gap of 0.23 less the total.
    """
    rng = np.random.default_rng(0)
    errors = np.hypot(*PUBLISHED_ERRORS) * rng.standard_normal(total.shape)
    return PUBLISHED_GAP[0] - PUBLISHED_GAP[1] + errors - total


def _law(fit, draws):
    posterior = fit["posterior"].to_dataset() if isinstance(fit, xr.DataTree) else fit
    n = posterior.sizes.get("chain", 1) * posterior.sizes.get("draw", 0)
    if draws < _LEAST_DRAWS or n < _LEAST_DRAWS:
        msg = f"attribution: needs {_LEAST_DRAWS} draws, asked for {draws} of {n}."
        raise InputError(msg)
    names = [*coefficients(posterior), "omega"]
    step = max(1, math.ceil(n / draws))
    return posterior[names].isel(draw=slice(None, None, step))


def _thinned(law, gamma):
    step = max(1, law.sizes.get("chain", 1) * law.sizes["draw"] // _FITTED_DRAWS)
    every = slice(None, None, step)
    return law.isel(draw=every), gamma.isel(draw=every) if "draw" in gamma.dims else gamma


def _heads(law, gamma, seed):
    """Return gamma of each draw: `Design` heads are gamma body^(1/3)."""
    if gamma is not None:
        return xr.DataArray(gamma)
    alpha = law["alpha"]
    return alpha.copy(data=draw_gamma(alpha.shape, random_seed=seed)).drop_attrs()


def _grid(sizes, budgets, gamma, *, body_N, body_C):
    flops = f"6ND:{_COUNTS[body_C]}"
    return grid_design(sizes, budgets, counting=_COUNTS[body_N], flops=flops, gamma=gamma)


def _exponent(law, design):
    return kaplan_frontier(law, design=design, architecture=None)["exponent"]


def _frontier_values(law, gamma):
    values = {}
    for chosen in _subsets(FRONTIER_PLAYERS):
        counts = {"body_N": COUNT_OF_N in chosen, "body_C": COUNT_OF_C in chosen}
        values[chosen] = _exponent(law, _grid(SIZES, BUDGETS, gamma, **counts))
    return values


def _fitted_values(law, gamma):
    """Return the exponents read off fitted surfaces, and the share of draws that all converged."""
    values, converged = {}, True
    for body_N, without in itertools.product((False, True), repeat=2):
        surface = approach_3(
            law,
            design=tokens_design(SIZES, TOKENS, gamma=gamma, counting=_COUNTS[body_N]),
            architecture=None,
            offset=not without,
        )
        converged = converged & surface["converged"]
        seen = surface[["E", "A", "B", "alpha", "beta"]].assign(omega=0.0 if body_N else 1.0)
        seen = seen.where(surface["converged"])
        for body_C in (False, True):
            design = _grid(SIZES, BUDGETS, gamma, body_N=body_N, body_C=body_C)
            chosen = [COUNT_OF_N] * body_N + [COUNT_OF_C] * body_C + [NO_OFFSET] * without
            values[frozenset(chosen)] = _exponent(seen, design)
    share = converged.mean()
    kept = converged & (share >= LEAST_CONVERGED)
    return {key: one.where(kept) for key, one in values.items()}, share


def _game(values, players):
    effects = shapley(values, players)
    order = _subsets(players)
    names = [_JOINER.join(one for one in players if one in chosen) or "none" for chosen in order]
    value = xr.concat([values[one] for one in order], dim=xr.Variable("subset", names))
    effect = xr.concat([effects[one] for one in players], dim=xr.Variable("factor", list(players)))
    total = values[frozenset(players)] - values[frozenset()]
    return xr.Dataset({"value": value, "effect": effect, "total": total})


def _ranges(law, gamma):
    designs = {
        "Kaplan's": (SIZES, BUDGETS),
        "Porian's": (SIZES, PORIAN_BUDGETS),
        "Hoffmann's": (HOFFMANN_SIZES, HOFFMANN_BUDGETS),
    }
    rows = {}
    for name, (sizes, budgets) in designs.items():
        rows[name] = {
            _NAMES[body]: _exponent(law, _grid(sizes, budgets, gamma, body_N=body, body_C=body))
            for body in (True, False)
        }
    limit = allocation_exponent(law["alpha"], law["beta"])
    rows["large models"] = {"body": limit, "total": limit}
    counting = xr.Variable("counting", list(_NAMES.values()))
    by_range = [
        xr.concat([row[name] for name in counting.values], dim=counting) for row in rows.values()
    ]
    return xr.concat(by_range, dim=xr.Variable("range", list(rows)))
