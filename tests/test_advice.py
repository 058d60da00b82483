import json

import numpy as np
import pytest
import xarray as xr
from fits import EPOCH, hoffmann_fit

from scalebayes.advice import LEAST_BUDGET, compute_cost, observed_cost, ratio_by_budget
from scalebayes.errors import InputError
from scalebayes.optimum import optimal


def fit_of(law, *, tokenizer="t", n=40):
    """A tree as `fit` makes it, of one law in every draw, with N counted as reported."""
    values = {name: (("chain", "draw"), np.full((2, n), value)) for name, value in law.items()}
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(values),
            "constant_data": xr.Dataset({"N": ("run", [1e8]), "D": ("run", [1e9])}),
        }
    )
    record = {"name": "sweep", "tokenizer": tokenizer, "corpus": "c", "loss_kind": "train"}
    tree.attrs = {"study_record": json.dumps(record), "law": "chinchilla", "counting": "total"}
    return tree


def test_ratios_are_those_of_the_optimum():
    fit = hoffmann_fit()
    table = ratio_by_budget(fit, [1e18, 1e21])
    assert len(table) == 10
    best = optimal(fit, [1e21], counting="total", architecture="study")["tokens_per_parameter"]
    row = table.query("compute == 1e21 and counting == 'total' and quantity != 'exponent'").iloc[0]
    assert row["median"] == pytest.approx(float(best.median()))


def test_small_models_want_more_tokens_per_body_parameter():
    table = ratio_by_budget(hoffmann_fit(), [1e17, 1e21, 1e25])
    against = table[table["quantity"] == LEAST_BUDGET].set_index("counting")
    assert against.loc["body", "lower"] > 5
    assert (against["compute"] == 1e21).all()  # 1e25 FLOP are beyond the runs
    one = table[(table["quantity"] == "tokens_per_parameter") & (table["counting"] == "body")]
    small, large = one.set_index("compute").loc[[1e17, 1e21], "median"]
    assert against.loc["body", "median"] == pytest.approx(small / large, rel=0.05)


def test_a_recipe_wastes_nothing_against_itself():
    fit = fit_of(EPOCH)
    wasted = compute_cost(fit, fit, [1e18, 1e20], counting="total")
    np.testing.assert_allclose(wasted, 0.0, atol=1e-4)


def test_terms_that_are_larger_cost_the_compute_that_makes_up_for_them():
    """Terms k times larger equal terms at N and D smaller by k^(1/alpha) and k^(1/beta)."""
    alpha = 0.35
    law = EPOCH | {"alpha": alpha, "beta": alpha}
    k = 1.1
    worse = fit_of(law | {"A": k * law["A"], "B": k * law["B"]})
    wasted = compute_cost(worse, fit_of(law), [1e18, 1e20], counting="total")
    np.testing.assert_allclose(wasted, 1 - k ** (-2 / alpha), atol=1e-3)


def test_a_loss_that_is_never_reached_is_not_a_number():
    better = fit_of(EPOCH | {"E": EPOCH["E"] + 3.0})
    wasted = compute_cost(fit_of(EPOCH), better, [1e20], counting="total")
    assert np.isnan(wasted).all()


def test_losses_of_other_tokenizers_are_not_compared():
    with pytest.raises(InputError, match="tokenizer is 'a' in sweep and 'b'"):
        compute_cost(fit_of(EPOCH, tokenizer="a"), fit_of(EPOCH, tokenizer="b"), counting="total")


def test_published_optima_tell_what_a_warm_up_costs_at_small_budgets():
    stages = "porian2024-rw-2-lastlayer", "porian2024-rw-3-warmup"
    cost = observed_cost(*stages, [1e15, 1e17, 1e19])
    assert np.isnan(cost[0])  # below the published budgets
    assert cost[1] > 0.3 > cost[2]
    np.testing.assert_allclose(observed_cost(stages[0], stages[0], [1e17, 1e18]), 0.0, atol=1e-9)
