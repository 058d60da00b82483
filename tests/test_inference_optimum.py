import numpy as np
import pytest
import xarray as xr
from fits import EPOCH, FAMILY, made_fit
from scipy.optimize import brentq, minimize_scalar
from test_regret import CONVENTIONS, every_convention, isoflop_fit, spread_fit

from scalebayes.counting import flops_terms, parameter_terms
from scalebayes.errors import InputError
from scalebayes.inference_optimum import inference_optimal
from scalebayes.laws import chinchilla
from scalebayes.optimum import optimal
from scalebayes.regret import Counts

BUDGETS = [1e20, 1e23]
SERVED = 2e12
both_questions = pytest.mark.parametrize("total", [False, True], ids=["at a loss", "in total"])


@every_convention
@both_questions
def test_serving_nothing_leaves_the_training_optimum(asked, total):
    fit = spread_fit(omega=1.0)
    found = inference_optimal(fit, BUDGETS, 0, total=total, **asked)
    best = optimal(fit, BUDGETS, **asked)
    for name in ("N", "D", "tokens_per_parameter", "loss"):
        np.testing.assert_allclose(found[name], best[name], rtol=1e-9)
    np.testing.assert_allclose(found["saved"], 0, atol=1e-12)
    spent = best["compute"].broadcast_like(best["N"]).transpose(*best["N"].dims)
    np.testing.assert_allclose(found["training_compute"], spent, rtol=1e-9)


def test_serving_little_is_a_small_step_from_the_training_optimum():
    fit = spread_fit()
    best = optimal(fit, 1e23)
    found = inference_optimal(fit, 1e23, 1e6)
    np.testing.assert_allclose(found["N"], best["N"], rtol=1e-5)
    assert (found["N"] < best["N"]).all()


@every_convention
def test_at_a_loss_the_loss_is_kept_and_no_other_model_of_it_is_cheaper(asked):
    fit = made_fit(omega=1.0)
    found = inference_optimal(fit, 1e22, SERVED, **asked).isel(compute=0, chain=0, draw=0)
    loss = float(optimal(fit, 1e22, **asked)["loss"][0, 0, 0])
    assert float(found["loss"]) == pytest.approx(loss, rel=1e-14)

    law_terms, paid, said = terms_of(asked)

    def total(x):
        N = law_terms.at(np.exp(x))
        rest = loss - EPOCH["E"] - EPOCH["A"] / N ** EPOCH["alpha"]
        D = (EPOCH["B"] / rest) ** (1 / EPOCH["beta"])
        return paid.at(np.exp(x)) * (6 * D + 2 * SERVED)

    x = brentq(lambda x: said.at(np.exp(x)) - float(found["N"]), 5, 40, xtol=1e-13)
    assert total(x) == pytest.approx(float(found["total_compute"]), rel=1e-10)
    lowest = minimize_scalar(total, bounds=(x - 0.5, x + 0.5), options={"xatol": 1e-11})
    assert total(x) == pytest.approx(lowest.fun, rel=1e-12)
    assert lowest.x == pytest.approx(x, abs=1e-6)
    others = [total(x + step) for step in np.linspace(-0.8, 6, 35)]
    assert total(x) <= min(others) * (1 + 1e-12)


@every_convention
def test_in_total_the_budget_is_spent_and_no_other_model_of_it_is_better(asked):
    fit = made_fit(omega=1.0)
    found = inference_optimal(fit, 1e22, SERVED, total=True, **asked)
    found = found.isel(compute=0, chain=0, draw=0)
    assert float(found["total_compute"]) == pytest.approx(1e22, rel=1e-10)

    law_terms, paid, said = terms_of(asked)

    def loss(x):
        D = (1e22 / paid.at(np.exp(x)) - 2 * SERVED) / 6
        return chinchilla(law_terms.at(np.exp(x)), D, **EPOCH)

    x = brentq(lambda x: said.at(np.exp(x)) - float(found["N"]), 5, 40, xtol=1e-13)
    assert loss(x) == pytest.approx(float(found["loss"]), rel=1e-11)
    lowest = minimize_scalar(loss, bounds=(x - 0.3, x + 0.3), options={"xatol": 1e-11})
    assert loss(x) == pytest.approx(lowest.fun, rel=1e-13)
    assert lowest.x == pytest.approx(x, abs=1e-5)


def terms_of(asked):
    """Counts of the law (one vocabulary matrix), of the budget and of the answer."""
    family = asked.get("architecture")
    if family is None:
        plain = parameter_terms("body", FAMILY)
        return plain, plain, plain
    paid = flops_terms(asked.get("flops", "6ND"), asked["counting"], family)
    return parameter_terms(1.0, family), paid, parameter_terms(asked["counting"], family)


@pytest.mark.parametrize("served", [1e9, 1e12, 1e16])
@pytest.mark.parametrize("q", [0.4, 1.0])
def test_the_first_order_condition_holds_to_ten_digits(served, q):
    """alpha t_N = beta t_D (1 + T / 3D), t being the terms in the bracket of the nested law."""
    fit = spread_fit()
    values = fit["posterior"].to_dataset()
    values["q"] = xr.full_like(values["E"], q)
    fit["posterior"] = values
    found = inference_optimal(fit, BUDGETS, served)
    size = (values["A"] / found["N"] ** values["alpha"]) ** (1 / q)
    data = (values["B"] / found["D"] ** values["beta"]) ** (1 / q)
    left = values["alpha"] * size
    right = values["beta"] * data * (1 + served / (3 * found["D"]))
    np.testing.assert_allclose((left / right), 1, rtol=1e-10)
    np.testing.assert_allclose(
        (values["E"] + (size + data) ** q).transpose(*found["loss"].dims), found["loss"], rtol=1e-12
    )


@every_convention
def test_the_two_questions_have_the_same_answer(asked):
    fit = made_fit(omega=1.0)
    at_loss = inference_optimal(fit, 1e22, SERVED, **asked)
    spent = float(at_loss["total_compute"][0, 0, 0])
    in_total = inference_optimal(fit, spent, SERVED, total=True, **asked)
    for name in ("N", "D", "loss", "saved"):
        np.testing.assert_allclose(in_total[name], at_loss[name], rtol=1e-9)


def test_what_is_saved_is_the_cost_of_the_training_optimal_model_of_the_same_loss():
    fit = spread_fit()
    found = inference_optimal(fit, 1e22, SERVED)
    best = optimal(fit, 1e22)
    plain = best["N"] * (6 * best["D"] + 2 * SERVED)
    saved = 1 - found["total_compute"] / plain
    np.testing.assert_allclose(found["saved"], saved.transpose(*found["saved"].dims), rtol=1e-8)


def test_the_scan_finds_what_the_certain_bracket_finds(monkeypatch):
    fit = spread_fit()
    exact = inference_optimal(fit, BUDGETS, SERVED)
    monkeypatch.setattr(Counts, "law_is_charged", False)
    scanned = inference_optimal(fit, BUDGETS, SERVED)
    np.testing.assert_allclose(scanned["N"], exact["N"], rtol=1e-9)


def test_omega_may_differ_between_draws():
    asked = CONVENTIONS["a body"]
    together = inference_optimal(
        made_fit("latent", omega=[0.0, 1.0, 2.0]), BUDGETS, SERVED, **asked
    )
    for index, omega in enumerate([0.0, 1.0, 2.0]):
        alone = inference_optimal(made_fit("latent", omega=omega), BUDGETS, SERVED, **asked)
        np.testing.assert_allclose(together["N"].isel(draw=index), alone["N"].isel(draw=index))


def test_the_more_is_served_the_smaller_and_longer_trained_is_the_model():
    sizes, ratios = [], []
    for served in (0, 1e10, 1e12, 1e14):
        found = inference_optimal(made_fit(), 1e22, served).isel(compute=0, chain=0, draw=0)
        sizes.append(float(found["N"]))
        ratios.append(float(found["tokens_per_parameter"]))
    assert sizes == sorted(sizes, reverse=True)
    assert ratios == sorted(ratios)


def test_units_and_the_question_are_recorded():
    fit = spread_fit()
    found = inference_optimal(fit, 1e22, SERVED, total=True)
    assert found.attrs["held"] == "total"
    assert found.attrs["inference_tokens"] == SERVED
    assert found.attrs["converged"] == 1
    assert found["total_compute"].attrs["units"] == "FLOP"
    assert found["saved"].dims == ("compute", "chain", "draw")


@pytest.mark.parametrize("served", [-1, np.inf, "many", None])
def test_what_is_no_number_of_tokens_is_refused(served):
    with pytest.raises(InputError, match="inference_tokens"):
        inference_optimal(made_fit(), 1e21, served)


def test_the_law_isoflop_has_no_curves_of_equal_loss_to_go_along():
    with pytest.raises(InputError, match="equal loss .* not for 'isoflop'"):
        inference_optimal(isoflop_fit(), 1e21, 1e12)
