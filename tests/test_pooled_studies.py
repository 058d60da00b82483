import sys
from types import SimpleNamespace

import numpy as np
import pytest

import scalebayes as sb
from scalebayes.gate import Settings
from scalebayes.pooled_studies import stratified, study_draws, study_optima
from tests.fits import fits_of_three, population_of_three


def test_draws_are_shared_out_by_weight_to_within_one():
    weight = np.array([0.5, 0.3, 0.2, 0.0])
    counts = stratified(weight, 1000, np.random.default_rng(1))
    assert counts.sum() == 1000
    assert np.abs(counts - 1000 * weight).max() <= 1
    assert counts[3] == 0


def test_shares_that_do_not_come_out_even_are_right_on_average():
    weight, rng = np.array([0.25, 0.75]), np.random.default_rng(2)
    counts = np.array([stratified(weight, 3, rng) for _ in range(4000)])
    np.testing.assert_allclose(counts.mean(0), [0.75, 2.25], atol=0.03)


@pytest.mark.slow
def test_a_studys_draws_in_the_population_keep_quantities_of_one_draw_together():
    quantities, stats, position = study_draws(population_of_three(), 1)
    a = quantities["beta"] / (quantities["alpha"] + quantities["beta"])
    np.testing.assert_allclose(a, quantities["a"])
    own = fits_of_three()[1]["posterior"]
    assert np.isin(quantities["E"], own["E"].to_numpy()).all()
    assert stats["lp"].shape == a.shape == (4, 500)
    assert (position == 0).all()


@pytest.mark.slow
def test_the_optimum_in_the_population_is_that_of_its_draws_and_alone_that_of_the_fit():
    optima = study_optima(population_of_three())
    best = sb.optimal(fits_of_three()[2], 5.76e23, counting="total").isel(compute=0)
    np.testing.assert_allclose(
        optima["own_tokens_per_parameter"].sel(study="third"), best["tokens_per_parameter"]
    )
    medians = optima.median(("chain", "draw"))
    apart = [float(medians[name].std()) for name in ("exponent", "own_exponent")]
    assert apart[0] < apart[1]  # the population draws its studies together


def test_a_quantity_that_only_some_cells_hold_is_left_out(monkeypatch):
    """Cells taken out of a grid have no run effects; cells drawn anew do."""
    module = sys.modules["scalebayes.pooled_studies"]

    def picked(population, i, position, n):
        found = {"alpha": np.full(n, 0.3), "lp": np.zeros(n), "position": np.full(n, position)}
        return found | ({"run_effect": np.zeros((n, 3))} if position == 0 else {})

    monkeypatch.setattr(module, "_picked", picked)
    cell = SimpleNamespace(cells=[SimpleNamespace(stats={"lp": None})])
    population = SimpleNamespace(
        weight=np.array([0.5, 0.5]),
        settings=Settings(draws=50, chains=2),
        cells=[cell, cell],
    )
    quantities, stats, position = study_draws(population, 0)
    assert set(quantities) == {"alpha"}
    assert stats["lp"].shape == (2, 50)
    assert set(np.unique(position)) == {0, 1}
