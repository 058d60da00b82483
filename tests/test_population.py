import json

import arviz as az
import numpy as np
import pymc as pm
import pytest

import scalebayes as sb
from scalebayes.errors import InputError
from scalebayes.mixtures import Mixture, padded
from scalebayes.optimum import exponent_at_size, frontier
from scalebayes.population import checked_prior, pool_settings
from scalebayes.population_model import population_model
from scalebayes.population_report import population_rows, population_text
from scalebayes.population_trees import REFERENCE_FAMILY, study_place
from tests.fits import TRUTHS, fits_of_three, sweep


@pytest.fixture(scope="module")
def fits():
    return list(fits_of_three())


@pytest.fixture(scope="module")
def pooled(fits):
    return sb.pool(fits, draws=500, cores=1, cache=False)


@pytest.mark.slow
def test_a_population_converges_and_says_so(pooled):
    assert pooled.attrs["converged"] == 1
    assert pooled.attrs["problems"] == ""
    assert json.loads(pooled.attrs["studies"]) == list(TRUTHS)


@pytest.mark.slow
def test_the_mean_exponents_are_near_those_of_the_studies(pooled):
    mu = pooled["posterior"]["mu"]
    truth = np.log(list(TRUTHS.values())).mean(0)
    apart = abs(mu.mean(("chain", "draw")).to_numpy() - truth)
    assert (apart < 2 * mu.std(("chain", "draw")).to_numpy()).all()


@pytest.mark.slow
def test_a_study_in_a_population_knows_its_exponents_no_worse_than_alone(pooled):
    studies = pooled["studies"]
    for name in ("log_alpha", "log_beta"):
        sd = studies[name].std(("chain", "draw"))
        alone = studies[f"own_{name}"].std(("chain", "draw"))
        assert (sd < 1.1 * alone).all()


@pytest.mark.slow
def test_every_arviz_summary_works_on_a_population(pooled):
    table = az.summary(pooled, ci_prob=0.9, ci_kind="eti", round_to="none")
    mu = pooled["posterior"]["mu"].mean(("chain", "draw"))
    for one in ("alpha", "beta"):
        assert table.loc[f"mu[{one}]", "mean"] == pytest.approx(float(mu.sel(exponent=one)))
    assert (table["r_hat"] < 1.01).all()


@pytest.mark.slow
def test_without_contrasts_within_groups_no_recipe_effect_is_reported(pooled):
    assert "recipe_effect" not in pooled["posterior"]
    assert all(
        "not identified" in text for text in json.loads(pooled.attrs["recipes_not_identified"])
    )


@pytest.mark.slow
def test_the_same_seed_gives_the_same_population(fits, pooled):
    again = sb.pool(fits, draws=500, cores=2, cache=False)
    np.testing.assert_array_equal(again["posterior"]["mu"], pooled["posterior"]["mu"])
    np.testing.assert_array_equal(again["studies"]["a"], pooled["studies"]["a"])


@pytest.mark.slow
def test_the_report_names_every_study_and_what_is_still_the_prior(pooled):
    rows = population_rows(pooled)
    assert {row["study"] for row in rows} == {"population", *TRUTHS}
    spreads = [row for row in rows if "spread" in row["name"]]
    assert len(spreads) == 4
    assert any(row["mark"] == "mostly prior" for row in spreads)  # three studies tell no spread
    text = population_text(pooled)
    assert "3 studies under hoffmann-total, N counted as total." in text
    assert all(name in text for name in TRUTHS)


@pytest.mark.slow
def test_a_population_that_failed_says_so_at_every_number(pooled):
    failed = pooled.copy()
    failed.attrs = {**pooled.attrs, "converged": 0, "problems": "R-hat 1.2 of mu[0]"}
    assert all("not converged" in row["mark"] for row in population_rows(failed))


@pytest.mark.slow
def test_a_population_that_is_saved_reads_back_the_same(pooled, tmp_path):
    path = sb.save_fit(pooled, tmp_path / "population.nc")
    assert sb.load_fit(path).identical(pooled)


@pytest.mark.slow
def test_the_population_over_mixtures_is_that_over_the_studies_own_parameters():
    """Sampled with every study's theta as a variable, the hyperparameters come out the same."""
    rng = np.random.default_rng(8)
    n, own_sd = 6, np.array([0.08, 0.12])
    theta = np.array([-1.05, -0.95]) + 0.2 * rng.standard_normal((n, 2))
    seen = theta + own_sd * rng.standard_normal((n, 2))
    likelihood = [
        Mixture(log_weight=np.zeros(1), mean=x[None], covariance=np.diag(own_sd**2)[None])
        for x in seen
    ]
    mixtures = np.array([padded(one) for one in likelihood])
    x, in_group = np.zeros((n, 0)), np.zeros((n, 0))
    with population_model(mixtures, x, in_group):
        marginal = pm.sample(1000, tune=1000, chains=4, random_seed=1, progressbar=False)
    with pm.Model():
        mu = pm.Normal("mu", -1.0498, 0.5, shape=2)
        between = pm.HalfNormal("sd_between", 0.3, shape=2)
        within = pm.HalfNormal("sd_within", 0.1, shape=2)
        rho = 2 * pm.Beta("half", 2, 2, shape=2) - 1
        variance = [between[i] ** 2 + within[i] ** 2 for i in range(2)]
        cross = rho[0] * between[0] * between[1] + rho[1] * within[0] * within[1]
        z = pm.Normal("z", shape=(n, 2))
        slope = cross / variance[0]
        first = mu[0] + pm.math.sqrt(variance[0]) * z[:, 0]
        rest = pm.math.sqrt(variance[1] - cross**2 / variance[0])
        second = mu[1] + slope * (first - mu[0]) + rest * z[:, 1]
        pm.Normal("seen_alpha", first, own_sd[0], observed=seen[:, 0])
        pm.Normal("seen_beta", second, own_sd[1], observed=seen[:, 1])
        joint = pm.sample(
            1500, tune=1000, chains=4, random_seed=2, progressbar=False, target_accept=0.95
        )
    for name in ("mu", "sd_between"):
        means = [
            tree["posterior"][name].mean(("chain", "draw")).to_numpy() for tree in (marginal, joint)
        ]
        errors = [az.mcse(tree["posterior"][name]).to_numpy() for tree in (marginal, joint)]
        assert (abs(means[0] - means[1]) < 4 * np.hypot(*errors)).all()


def test_an_unknown_prior_of_a_population_is_refused():
    with pytest.raises(InputError, match="prior: unknown 'bewteen'"):
        checked_prior({"bewteen": 0.2})


def test_a_scale_of_zero_is_no_prior():
    with pytest.raises(InputError, match="within must be finite and, as a scale, positive"):
        checked_prior({"within": 0.0})


def test_the_exponent_at_a_large_size_is_that_of_the_law():
    exponent = exponent_at_size(1e15, alpha=0.3, beta=0.4, omega=0.2, architecture=REFERENCE_FAMILY)
    assert exponent == pytest.approx(0.4 / 0.7, abs=1e-4)


def test_the_exponent_at_a_size_is_the_slope_of_the_frontier_there():
    family = REFERENCE_FAMILY
    law = dict(A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)
    compute = np.array([1e19, 1.0001e19])
    best = frontier(compute, omega=0.25, architecture=family, counting="total", **law)
    slope = float(np.log(best["N"]).diff("compute").item() / np.log(1.0001))
    given = exponent_at_size(
        float(best["N"][0]), alpha=0.3478, beta=0.3658, omega=0.25, architecture=family
    )
    assert given == pytest.approx(slope, abs=1e-5)


def test_a_study_in_the_middle_of_a_population_is_no_surprise_and_one_far_off_is():
    own = Mixture(log_weight=np.zeros(1), mean=np.zeros((1, 2)), covariance=0.01 * np.eye(2)[None])
    rng = np.random.default_rng(9)
    mean = 0.1 * rng.standard_normal((1000, 2))
    spread = np.tile(0.04 * np.eye(2), (1000, 1, 1))
    assert study_place(own, mean, spread) > 0.9
    assert study_place(own, mean + 2.0, spread) < 1e-6


def test_no_core_is_refused_before_anything_waits_for_it():
    with pytest.raises(InputError, match="cores must be a whole number of at least 1"):
        pool_settings(500, 500, 4, 0, 1)


@pytest.mark.slow
def test_alone_is_alone_for_a_study_that_was_fitted_again():
    """A study far from the others is fitted again near them; its own exponent stays its own."""
    far = sb.fit(sweep("far", 0.8, 0.15, seed=5), "hoffmann-total", draws=500, cores=1, cache=False)
    pooled = sb.pool([*fits_of_three(), far], draws=500, cores=1, cache=False)
    shown = pooled["studies"]["own_a"].sel(study="far").mean()
    assert float(shown) == pytest.approx(float(far["posterior"]["a"].mean()), abs=0.005)
