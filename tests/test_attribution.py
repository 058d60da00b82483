import itertools

import numpy as np
import pytest
import xarray as xr
from fits import EPOCH
from hypothesis import given, settings
from hypothesis.strategies import floats, integers, lists

from scalebayes.attribution import (
    BUDGETS,
    COUNT_OF_C,
    COUNT_OF_N,
    FITTED_PLAYERS,
    FRONTIER_PLAYERS,
    NO_OFFSET,
    SIZES,
    attribute_exponent,
    shapley,
)
from scalebayes.designs import grid_design
from scalebayes.errors import InputError
from scalebayes.instruments import kaplan_frontier
from scalebayes.optimum import frontier


def law(n=60, spread=0.02, **changes):
    """Draws over two chains about Epoch's coefficients."""
    rng = np.random.default_rng(3)
    values = EPOCH | {"omega": 1.0} | changes
    drawn = {
        name: (("chain", "draw"), values[name] * np.exp(spread * rng.standard_normal((2, n))))
        for name in ("E", "A", "B", "alpha", "beta")
    }
    return xr.Dataset(drawn).assign(omega=values["omega"])


@pytest.fixture(scope="module")
def attributed():
    return attribute_exponent(law())


@given(integers(1, 4).flatmap(lambda n: lists(floats(-5, 5), min_size=2**n, max_size=2**n)))
@settings(max_examples=50)
def test_shapley_values_add_up_whatever_the_game(values):
    players = [f"p{i}" for i in range(int(np.log2(len(values))))]
    subsets = [
        frozenset(one)
        for k in range(len(players) + 1)
        for one in itertools.combinations(players, k)
    ]
    game = dict(zip(subsets, values, strict=True))
    total = sum(shapley(game, players).values())
    assert total == pytest.approx(game[frozenset(players)] - game[frozenset()], abs=1e-10)


def test_shapley_averages_over_the_orders_of_three_players():
    players = ("x", "y", "z")
    rng = np.random.default_rng(0)
    subsets = [frozenset(s) for k in range(4) for s in itertools.combinations(players, k)]
    game = {one: rng.normal() for one in subsets}
    by_order = {one: [] for one in players}
    for order in itertools.permutations(players):
        for position, one in enumerate(order):
            before = frozenset(order[:position])
            by_order[one].append(game[before | {one}] - game[before])
    found = shapley(game, players)
    assert found == pytest.approx({one: np.mean(steps) for one, steps in by_order.items()})


def test_a_game_without_a_value_is_refused():
    with pytest.raises(InputError, match="no value of the sets"):
        shapley({frozenset(): 0.0, frozenset("x"): 1.0, frozenset("y"): 1.0}, ("x", "y"))


def test_shapley_terms_add_up_per_draw(attributed):
    for group in ("frontier", "fitted"):
        game = attributed[group].to_dataset().dropna("draw", how="any")
        assert game.sizes["draw"] > 10
        np.testing.assert_allclose(game["effect"].sum("factor"), game["total"], atol=1e-10)
        ends = game["value"].sel(subset="none"), game["value"].isel(subset=-1)
        np.testing.assert_allclose(ends[1] - ends[0], game["total"], atol=1e-10)


def test_the_ends_of_the_game_are_the_published_replays(attributed):
    value = attributed["frontier"]["value"].mean(("chain", "draw"))
    assert float(value.sel(subset="none")) == pytest.approx(0.51, abs=0.02)
    assert float(value.isel(subset=-1)) == pytest.approx(0.76, abs=0.03)


def test_counts_differ_where_each_is_switched_alone(attributed):
    effect = attributed["frontier"]["effect"].mean(("chain", "draw"))
    assert float(effect.sel(factor=COUNT_OF_N)) > 0.2
    assert -0.1 < float(effect.sel(factor=COUNT_OF_C)) < 0


def test_a_value_is_that_of_the_instrument_in_those_counts():
    one = law(spread=0.0)
    gamma = 52000.0
    found = attribute_exponent(one, gamma=gamma)["frontier"]["value"].sel(subset=COUNT_OF_N)
    design = grid_design(SIZES, BUDGETS, counting="body", flops="6ND:body+head", gamma=gamma)
    expected = kaplan_frontier(one, design=design, architecture=None)["exponent"]
    np.testing.assert_allclose(found, expected.broadcast_like(found))


def test_without_vocabulary_counting_has_no_effect():
    found = attribute_exponent(law(), gamma=1e-6)
    for group, players in (("frontier", FRONTIER_PLAYERS), ("fitted", FITTED_PLAYERS)):
        effect = found[group]["effect"].sel(factor=[one for one in players if one != NO_OFFSET])
        assert float(np.abs(effect).max()) < 1e-3, group
    assert float(np.abs(found["fitted"]["effect"].sel(factor=NO_OFFSET)).median()) > 0.01


def test_the_law_fitted_in_the_laws_own_count_is_the_law():
    found = attribute_exponent(law(), gamma=52000.0)
    own = found["fitted"]["value"].sel(subset="none")
    n = own.sizes["draw"]
    read_off = found["frontier"]["value"].sel(subset="none").isel(draw=slice(0, n))
    known = np.isfinite(own.to_numpy())
    assert known.mean() > 0.9
    np.testing.assert_allclose(own.to_numpy()[known], read_off.to_numpy()[known], atol=2e-3)


def test_ranges_hold_the_laws_own_exponents():
    one = law(spread=0.0)
    exponent = attribute_exponent(one, gamma=52000.0)["ranges"]["exponent"]
    a = EPOCH["beta"] / (EPOCH["alpha"] + EPOCH["beta"])
    np.testing.assert_allclose(exponent.sel(range="large models"), a)
    np.testing.assert_allclose(exponent.sel(counting="total"), a, atol=0.02)
    ends = frontier([6e18, 3e21], **EPOCH, omega=1.0, counting="body", flops="6ND:body",
                    architecture=_family())  # fmt: skip
    slope = float(np.diff(np.log(ends["N"]))[0] / np.log(3e21 / 6e18))
    hoffmann = exponent.sel(range="Hoffmann's", counting="body")
    np.testing.assert_allclose(hoffmann, slope, atol=0.02)


def test_too_few_draws_are_refused():
    with pytest.raises(InputError, match="needs 100 draws"):
        attribute_exponent(law(n=10))


def _family():
    from scalebayes.counting import Architecture

    return Architecture.from_gamma(52000.0, vocab_size=32000.0)
