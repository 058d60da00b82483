import numpy as np
import pytest
import xarray as xr
from fits import FAMILY, made_fit
from test_regret import ALL, fixed, isoflop_fit, spread_fit

from scalebayes.errors import InputError
from scalebayes.optimum import optimal
from scalebayes.recommend import COMPUTE_TOLERANCE, LOSS_TOLERANCE, recommend
from scalebayes.regret import regret

BODY = {"counting": "body", "flops": "6ND:body", "architecture": FAMILY}
DRAWS = ("chain", "draw")


def one(found, assumption="law", index=0):
    return found.sel(assumption=assumption).isel(compute=index)


@pytest.mark.parametrize("asked", [{}, BODY], ids=["own count", "body"])
def test_one_law_recommends_its_own_optimum(asked):
    fit = made_fit(omega=1.0)
    found = one(recommend(fit, 1e21, **asked))
    best = optimal(fit, 1e21, **asked).isel(compute=0, chain=0, draw=0)
    for name in ("tokens_per_parameter", "N", "D"):
        assert float(found[name]) == pytest.approx(float(best[name]), rel=1e-6)
    assert float(found["expected_regret"]) == pytest.approx(0, abs=1e-13)


@pytest.mark.parametrize("asked", [{}, BODY], ids=["own count", "body"])
@pytest.mark.parametrize("assumption", ["law", "discrepancy"])
def test_no_ratio_of_a_grid_has_a_lower_expected_regret(asked, assumption):
    fit = spread_fit(omega=1.0)
    found = one(recommend(fit, 1e23, discrepancy=fixed(**ALL), **asked), assumption)
    name = "regret" if assumption == "law" else "regret_with_discrepancy"
    centre = float(found["tokens_per_parameter"])

    def expected(ratio):
        made = regret(fit, 1e23, rule=ratio, discrepancy=fixed(**ALL), **asked)
        return float(made[name].mean())

    assert float(found["expected_regret"]) == pytest.approx(expected(centre), rel=1e-9)
    grid = centre * np.exp(np.r_[np.linspace(-4, 4, 9), -0.01, 0.01])
    assert expected(centre) <= min(map(expected, grid)) * (1 + 1e-12)
    left, right = (expected(centre * np.exp(step)) for step in (-1e-3, 1e-3))
    bend = (left + right - 2 * expected(centre)) / 1e-6
    assert abs(right - left) / 2e-3 < 2e-5 * bend  # the slope's root is within 2e-5 of the log


def test_a_narrow_posterior_recommends_the_mean_weighted_by_curvature():
    fit = spread_fit(size=0.002, draws=200)
    found = one(recommend(fit, 1e22))
    best, law = optimal(fit, 1e22).isel(compute=0), fit["posterior"]
    curvature = law["alpha"] * law["beta"] * (best["loss"] - law["E"]) / 4
    log_ratio = np.log(best["tokens_per_parameter"])
    mean = float((curvature * log_ratio).sum() / curvature.sum())
    assert np.log(float(found["tokens_per_parameter"])) == pytest.approx(mean, abs=5e-4)
    spread = float(abs(log_ratio - mean).max())
    assert spread > 0.05
    floor = float((curvature * (log_ratio - mean) ** 2).mean() / 2)
    assert float(found["expected_regret"]) == pytest.approx(floor, rel=0.02)


def test_the_median_ratio_is_not_the_one_of_least_expected_loss():
    """In a third of the draws data are worth more, and their optimum lies well above."""
    fit = made_fit(draws=30)
    posterior = fit["posterior"].to_dataset()
    posterior["B"] = posterior["B"] * xr.where(posterior["draw"] < 10, 1.3, 1.0)
    fit["posterior"] = posterior
    found = one(recommend(fit, 1e21))
    assert float(found["tokens_per_parameter"] / found["median_ratio"]) > 1.15
    assert float(found["expected_regret"]) < 0.8 * float(found["expected_regret_of_median"])


def test_the_rules_costs_are_those_of_regret():
    fit = spread_fit()
    found = recommend(fit, [1e21, 1e24], rule=50.0, discrepancy=fixed(**ALL))
    priced = regret(fit, [1e21, 1e24], rule=50.0, discrepancy=fixed(**ALL)).mean(DRAWS)
    for assumption, suffix in (("law", ""), ("discrepancy", "_with_discrepancy")):
        at = found.sel(assumption=assumption)
        np.testing.assert_allclose(at["expected_regret_of_rule"], priced[f"regret{suffix}"])
        np.testing.assert_allclose(at["expected_wasted_of_rule"], priced[f"compute_wasted{suffix}"])
    assert (found["rule"] == 50).all()


@pytest.mark.parametrize("asked", [{}, BODY], ids=["own count", "body"])
def test_the_ends_of_the_flat_bottom_cost_just_what_is_allowed(asked):
    fit = spread_fit(omega=1.0)
    found = one(recommend(fit, 1e23, **asked))
    lowest = float(optimal(fit, 1e23, **asked)["loss"].mean())
    at_best = lowest + float(found["expected_regret"])
    for end in ("lowest", "highest"):
        priced = regret(fit, 1e23, rule=float(found[f"{end}_within_loss"]), **asked)
        assert float(priced["loss"].mean()) == pytest.approx(
            at_best * (1 + LOSS_TOLERANCE), rel=1e-7
        )
        priced = regret(fit, 1e23, rule=float(found[f"{end}_within_compute"]), **asked)
        allowed = float(found["expected_wasted"]) + COMPUTE_TOLERANCE
        assert float(priced["compute_wasted"].mean()) == pytest.approx(allowed, rel=1e-3)
    assert found["lowest_within_compute"] < found["tokens_per_parameter"]
    assert found["tokens_per_parameter"] < found["highest_within_compute"]


def test_the_stated_error_is_that_of_other_draws():
    errors, ratios = [], []
    whole = spread_fit(draws=3000)
    for start in range(0, 3000, 100):
        fit = whole.isel(draw=slice(start, start + 100))
        fit.attrs = whole.attrs
        found = one(recommend(fit, 1e23))
        errors.append(float(found["log_ratio_error"]))
        ratios.append(np.log(float(found["tokens_per_parameter"])))
    assert np.std(ratios, ddof=1) == pytest.approx(np.mean(errors), rel=0.3)


def test_without_amplitudes_both_assumptions_recommend_the_same():
    found = recommend(spread_fit(), [1e21, 1e24], discrepancy=fixed())
    law, missed = (found.sel(assumption=name, drop=True) for name in ("law", "discrepancy"))
    for name in law.data_vars:
        np.testing.assert_allclose(missed[name], law[name], rtol=1e-5, err_msg=name)


def test_an_isoflop_law_is_recommended_its_own_optimum():
    fit = isoflop_fit()
    best = optimal(fit, 1e21)["tokens_per_parameter"][0, 0, 0]
    found = one(recommend(fit, 1e21))
    assert float(found["tokens_per_parameter"]) == pytest.approx(float(best), rel=1e-6)


def test_what_qualifies_a_fit_stays_with_its_recommendation():
    fit = spread_fit(draws=3)
    fit.attrs |= {"converged": 0, "still_prior": '{"a": 0.8}'}
    found = recommend(fit, 1e21)
    assert found.attrs["converged"] == 0
    assert found.attrs["still_prior"] == '{"a": 0.8}'


def test_a_draw_without_an_optimum_is_not_averaged_away():
    fit = made_fit(omega=1.0)
    alpha = fit["posterior"]["alpha"].copy(data=np.full((2, 3), 0.35))
    alpha[0, 0] = 1e-3
    values = {"alpha": alpha, "beta": xr_like(alpha, 1e-3, 0.36), "A": xr_like(alpha, 10.0, 482.0)}
    fit["posterior"] = (
        fit["posterior"].to_dataset().assign(values | {"B": xr_like(alpha, 0.01, 2085.0)})
    )
    with pytest.raises(InputError, match="1 of 6 draws have no optimum"):
        recommend(fit, 1e21, **BODY)


def xr_like(alpha, first, others):
    """Return an array with one value in the first draw and another in the rest."""
    made = alpha.copy(data=np.full(alpha.shape, others))
    made[0, 0] = first
    return made


@pytest.mark.parametrize("rule", [0, -1.0, np.nan])
def test_a_rule_that_is_no_ratio_is_refused(rule):
    with pytest.raises(InputError, match="tokens per parameter is needed"):
        recommend(made_fit(), 1e21, rule=rule)
