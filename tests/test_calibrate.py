import importlib

import numpy as np
import pandas as pd
import pytest

from scalebayes.calibrate import (
    LOG_LIKELIHOOD,
    LOG_RATIO,
    Calibration,
    calibrate,
    calibration_table,
    extreme,
    null_extremes,
    place,
    uniformity_p,
)
from scalebayes.calibrate_population import calibrate_population, prior_population
from scalebayes.errors import InputError
from scalebayes.population_density import PRIOR

module = importlib.import_module("scalebayes.calibrate")
population_module = importlib.import_module("scalebayes.calibrate_population")

N = 200


def calibration(**places):
    n = len(next(iter(places.values())))
    return Calibration(
        places=pd.DataFrame(places),
        problems=("",) * n,
        redrawn=0,
        hypothesis="h",
        design="d",
        cpu_seconds=0.0,
    )


def test_p_values_of_uniform_places_are_uniform():
    null, rng = null_extremes(N), np.random.default_rng(5)
    p = np.array([uniformity_p(rng.uniform(size=N), null) for _ in range(400)])
    assert abs((p < 0.1).mean() - 0.1) < 4 * np.sqrt(0.09 / 400)
    assert abs((p < 0.5).mean() - 0.5) < 4 * np.sqrt(0.25 / 400)


@pytest.mark.parametrize("a, b", [(1.5, 1.5), (0.7, 0.7), (1.35, 1.0), (1.0, 1.35)])
def test_posteriors_too_wide_too_narrow_or_shifted_are_found(a, b):
    """Places in the middle, at the ends, or to one side."""
    places = np.random.default_rng(3).beta(a, b, size=1000)
    assert uniformity_p(places, null_extremes(1000)) < 0.01


def test_the_extreme_of_an_even_sample_is_large_and_of_one_heap_is_zero():
    even = (np.arange(N) + 0.5) / N
    assert extreme(even) > 0.9
    assert extreme(np.full(N, 0.5)) < 1e-12


def test_adjusted_p_values_follow_holm():
    """Holm (1979): .01, .04, .03 become .03, .06, .06."""
    np.testing.assert_allclose(module._holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])


def test_coverage_counts_truths_inside_central_intervals():
    places = np.array([0.5] * 12 + [0.05] * 5 + [0.99] * 3)
    table = calibration_table(calibration(x=places))
    assert table.loc["x", "coverage_50"] == 0.6
    assert table.loc["x", "coverage_95"] == 0.85


def test_the_place_of_a_value_tied_with_draws_is_spread_over_them():
    rng = np.random.default_rng(1)
    places = [place(1.0, np.array([0.0, 1.0, 1.0, 2.0]), rng) for _ in range(500)]
    assert min(places) > 0.2
    assert max(places) < 0.8
    assert np.mean(places) == pytest.approx(0.5, abs=0.03)


@pytest.mark.slow
def test_posteriors_of_simulated_studies_hold_what_they_were_simulated_with():
    result = calibrate(simulations=40)
    assert {"E", "alpha", "beta", "a", LOG_RATIO, LOG_LIKELIHOOD} <= set(result.places)
    table = calibration_table(result)
    assert (table["p_holm"] > 0.01).all()
    assert (table["coverage_90"] > 0.75).all()


@pytest.mark.slow
def test_a_wrong_noise_is_found(monkeypatch):
    """Losses with three times the noise that the values say."""
    honest = module.simulate

    def noisier(design, hypothesis, *, random_seed):
        _, truth = honest(design, hypothesis, random_seed=random_seed)
        known = {name: truth[name] for name in ("E", "A", "B", "alpha", "beta", "nu")}
        wrong = known | {"sigma": 3 * truth["sigma"]}
        study, _ = honest(design, hypothesis, parameters=wrong, random_seed=random_seed)
        return study, truth

    monkeypatch.setattr(module, "simulate", noisier)
    table = calibration_table(calibrate(simulations=20))
    assert table.loc["sigma", "p_holm"] < 1e-2
    assert table.loc[LOG_LIKELIHOOD, "p_holm"] < 1e-2


def test_what_cannot_be_simulated_is_refused():
    with pytest.raises(InputError, match="20 simulations are the least"):
        calibrate(simulations=5)
    with pytest.raises(InputError, match="budget of its own runs"):
        calibrate("isoflop")


def simulated_population(**settings):
    return calibrate_population(design="hoffmann2022-epoch", groups=(2, 1), **settings)


@pytest.mark.slow
def test_populations_hold_what_they_were_simulated_with():
    result = simulated_population(simulations=20)
    assert result.places.shape == (20, 16)
    assert {"recipe effect, log beta", "new study, a", LOG_LIKELIHOOD} <= set(result.places)
    assert (calibration_table(result)["p_holm"] > 0.01).all()


@pytest.mark.slow
def test_a_population_that_is_not_the_prior_s_is_found(monkeypatch):
    """Means of log exponents that lie three standard deviations off."""
    honest = population_module.prior_population

    def shifted(*args):
        true = honest(*args)
        return true | {"mu": true["mu"] + 1.5}

    monkeypatch.setattr(population_module, "prior_population", shifted)
    table = calibration_table(simulated_population(simulations=20))
    assert table.loc["mu, log alpha", "p"] < 0.005


def test_hyperparameters_come_from_the_stated_prior():
    rng = np.random.default_rng(2)
    draws = [prior_population(1, rng) for _ in range(4000)]
    mu = np.array([one["mu"] for one in draws])
    assert mu.mean() == pytest.approx(PRIOR["mu_location"], abs=0.03)
    assert mu.std() == pytest.approx(PRIOR["mu_sd"], rel=0.05)
    for name, scale in (("sd_between", "between"), ("sd_within", "within")):
        values = np.array([one[name] for one in draws])
        assert np.sqrt((values**2).mean()) == pytest.approx(PRIOR[scale], rel=0.05)
    effects = np.array([one["recipe_effect"] for one in draws])
    assert effects.std() == pytest.approx(PRIOR["recipe_sd"], rel=0.05)
    correlation = np.array([one["correlation"] for one in draws])
    assert correlation.var() == pytest.approx(0.2, rel=0.1)  # of 2 Beta(2, 2) - 1


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"hypothesis": "latent-counting"}, "fixed counting"),
        ({"groups": (1,)}, "two studies"),
        ({"groups": (9, 9)}, "too few runs"),
        ({"simulations": 3}, "20 simulations"),
    ],
)
def test_populations_that_cannot_be_simulated_are_refused(settings, named):
    with pytest.raises(InputError, match=named):
        calibrate_population(**settings)
