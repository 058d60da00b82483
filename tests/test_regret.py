import numpy as np
import pytest
import xarray as xr
from fits import EPOCH, FAMILY, made_fit
from scipy.optimize import brentq, minimize_scalar

from scalebayes.counting import Architecture, flops_terms, parameter_terms
from scalebayes.discrepancy import AMPLITUDES, Discrepancy, discrepant_log_loss
from scalebayes.discrepant_optimum import discrepancy_draws, with_discrepancy
from scalebayes.errors import CountingError, InputError
from scalebayes.laws import chinchilla, isoflop
from scalebayes.optimum import optimal
from scalebayes.regret import Counts, regret

BUDGETS = [1e18, 1e21, 1e25]
ATTENTIVE = Architecture(aspect_ratio=64.0, vocab_size=32000, tied=False, context_length=2048)
CONVENTIONS = {
    "the law's own count": {},
    "the law's own count of a family": {"counting": "total", "architecture": FAMILY},
    "a body": {"counting": "body", "flops": "6ND:body", "architecture": FAMILY},
    "a budget of bodies": {"counting": "total", "flops": "6ND:body", "architecture": FAMILY},
    "attention": {"counting": "body", "flops": "deepseek", "architecture": ATTENTIVE},
}
every_convention = pytest.mark.parametrize("asked", CONVENTIONS.values(), ids=CONVENTIONS)


def spread_fit(*, size=0.05, draws=40, **options):
    """A fit whose draws differ."""
    fit = made_fit(draws=draws, **options)
    rng = np.random.default_rng(5)
    posterior = fit["posterior"].to_dataset()
    for name in EPOCH:
        noise = np.exp(size * rng.standard_normal(posterior[name].shape))
        posterior[name] = posterior[name] * noise
    fit["posterior"] = posterior
    fit.attrs["converged"] = 1
    return fit


def isoflop_fit():
    """A fit of the law isoflop, whose exponents are no surface's."""
    fit = made_fit()
    like = fit["posterior"]["E"]
    values = {"E": 1.8, "K": 0.5, "a": 0.49, "gamma": 0.17, "alpha": 0.3, "beta": 0.4, "n0": 21.0}
    fit["posterior"] = xr.Dataset(
        {name: xr.full_like(like, value) for name, value in values.items()}
    )
    fit.attrs |= {"law": "isoflop", "C0": 1e20, "converged": 1}
    return fit


def fixed(**amplitudes):
    """Amplitudes that are known; those not named are 0."""
    return Discrepancy(
        amplitudes={name: np.array([amplitudes.get(name, 0.0)]) for name in AMPLITUDES}
    )


ALL = {"level": 0.01, "level_growth": 0.03, "shift": 0.1, "shift_growth": 0.3, "valley": 0.3}


@every_convention
def test_the_best_ratio_of_a_draw_costs_that_draw_nothing(asked):
    fit = made_fit(omega=1.0)
    ratio = optimal(fit, 1e21, **asked)["tokens_per_parameter"].values.ravel()[0]
    found = regret(fit, 1e21, rule=ratio, **asked)
    np.testing.assert_allclose(found["regret"], 0, atol=1e-14)
    np.testing.assert_allclose(found["compute_wasted"], 0, atol=1e-10)


@every_convention
def test_a_rule_has_its_ratio_and_spends_its_budget(asked):
    found = regret(made_fit(omega=1.0), BUDGETS, rule=37.0, **asked)
    np.testing.assert_allclose(found["tokens_per_parameter"], 37.0, rtol=1e-10)
    best = optimal(made_fit(omega=1.0), BUDGETS, **asked)
    assert (found["regret"] > 0).all()
    np.testing.assert_allclose(found["loss"] - found["regret"], best["loss"], rtol=1e-14)


@every_convention
@pytest.mark.parametrize("rule", [0.5, 20.0, 4000.0])
def test_what_is_left_after_the_waste_reaches_the_rules_loss(asked, rule):
    fit = spread_fit(omega=1.0, draws=5)
    found = regret(fit, BUDGETS, rule=rule, **asked)
    for one in found["compute"].values:
        at = found.sel(compute=one)
        spent = (one * (1 - at["compute_wasted"])).expand_dims(compute=[one])
        lowest = optimal(fit, spent, **asked)["loss"].sel(compute=one)
        np.testing.assert_allclose(lowest, at["loss"], rtol=1e-10)


@pytest.mark.parametrize(("counting", "flops"), [("total", "6ND"), ("body", "6ND:body")])
def test_an_independent_search_finds_the_same_loss_and_waste(counting, flops):
    """Nothing but the law, the counts and textbook minimisers."""
    head = parameter_terms("total", FAMILY)
    paid = flops_terms(flops, counting, FAMILY)
    said = parameter_terms(counting, FAMILY)

    def loss(x, compute):
        body = np.exp(x)
        return chinchilla(head.at(body), compute / (6 * paid.at(body)), **EPOCH)

    def lowest(compute):
        found = minimize_scalar(
            loss, args=(compute,), bounds=(10.0, 35.0), options={"xatol": 1e-11}
        )
        return found.fun

    def miss(x):
        body = np.exp(x)
        return 1e20 / (6 * paid.at(body) * said.at(body)) - 60.0

    at_rule = loss(brentq(miss, 10.0, 35.0, xtol=1e-13), 1e20)
    log_less = brentq(lambda y: lowest(1e20 * np.exp(-y)) - at_rule, 0.0, 3.0, xtol=1e-13)
    asked = {"counting": counting, "flops": flops, "architecture": FAMILY}
    found = regret(made_fit(omega=1.0), 1e20, rule=60.0, **asked).isel(compute=0, chain=0, draw=0)
    assert float(found["loss"]) == pytest.approx(at_rule, rel=1e-12)
    assert float(found["regret"]) == pytest.approx(at_rule - lowest(1e20), rel=1e-8)
    assert float(found["compute_wasted"]) == pytest.approx(-np.expm1(-log_less), rel=1e-9)


def test_the_root_is_the_closed_form_where_there_is_one(monkeypatch):
    fit = spread_fit(omega=1.0)
    asked = {"rule": 5.0, "counting": "total", "architecture": FAMILY}
    exact = regret(fit, BUDGETS, **asked)
    monkeypatch.setattr(Counts, "law_is_charged", False)
    root = regret(fit, BUDGETS, **asked)
    np.testing.assert_allclose(root["compute_wasted"], exact["compute_wasted"], atol=1e-11)


@pytest.mark.parametrize("q", [0.3, 0.7])
def test_the_nested_law_has_the_same_closed_form(q):
    fit = spread_fit(draws=3)
    fit["posterior"] = fit["posterior"].to_dataset().assign(q=xr.full_like(fit["posterior"].E, q))
    found = regret(fit, 1e22, rule=200.0)
    spent = 1e22 * (1 - found["compute_wasted"])
    np.testing.assert_allclose(optimal(fit, spent)["loss"], found["loss"], rtol=1e-12)


def test_the_isoflop_law_prices_a_rule_along_its_own_curve():
    fit = isoflop_fit()
    found = regret(fit, 1e21, rule=100.0).isel(compute=0, chain=0, draw=0)
    N = np.sqrt(1e21 / 600)
    law = {"E": 1.8, "K": 0.5, "a": 0.49, "gamma": 0.17, "alpha": 0.3, "beta": 0.4}
    assert float(found["loss"]) == pytest.approx(
        isoflop(N, 100 * N, N0=np.exp(21.0), C0=1e20, **law)
    )
    spent = 1e21 * (1 - float(found["compute_wasted"]))
    assert float(optimal(fit, spent)["loss"][0, 0, 0]) == pytest.approx(float(found["loss"]))


def test_omega_may_differ_between_draws():
    asked = {"counting": "body", "flops": "6ND:body", "architecture": FAMILY}
    fit = made_fit("latent", omega=[0.0, 1.0, 2.0])
    together = regret(fit, BUDGETS, **asked)
    for index, omega in enumerate([0.0, 1.0, 2.0]):
        alone = regret(made_fit("latent", omega=omega), BUDGETS, **asked)
        for name in ("regret", "compute_wasted"):
            one, other = (each[name].isel(draw=index) for each in (together, alone))
            np.testing.assert_allclose(one, other, rtol=1e-9)


@every_convention
def test_a_plan_costs_what_a_rule_of_its_ratio_costs_at_its_budget(asked):
    fit = spread_fit(omega=1.0)
    rule = regret(fit, BUDGETS, rule=7.0, **asked)
    plan = regret(fit, N=rule["N"].values, D=rule["D"].values, **asked)
    np.testing.assert_allclose(plan["compute"], BUDGETS, rtol=1e-9)
    np.testing.assert_allclose(plan["regret"], rule["regret"], rtol=1e-8)
    np.testing.assert_allclose(plan["compute_wasted"], rule["compute_wasted"], rtol=1e-8)
    assert plan.attrs["rule"] == "the plan given"


@every_convention
def test_the_optimum_with_the_discrepancy_costs_nothing_with_it(asked):
    fit = spread_fit(omega=1.0, draws=2)
    best = with_discrepancy(fit, optimal(fit, 1e24, **asked), discrepancy=fixed(**ALL))
    for chain in range(2):
        for draw in range(2):
            at = {"chain": chain, "draw": draw}
            ratio = best["tokens_per_parameter_with_discrepancy"].isel(compute=0, **at).item()
            found = regret(fit, 1e24, rule=ratio, discrepancy=fixed(**ALL), **asked).isel(**at)
            assert found["regret_with_discrepancy"].item() == pytest.approx(0, abs=1e-12)
            assert found["compute_wasted_with_discrepancy"].item() == pytest.approx(0, abs=1e-10)
            assert found["regret"].item() > 1e-6


def test_without_amplitudes_the_discrepancy_changes_nothing():
    found = regret(spread_fit(), BUDGETS, discrepancy=fixed())
    for name in ("regret", "compute_wasted"):
        np.testing.assert_allclose(found[f"{name}_with_discrepancy"], found[name], atol=1e-12)


def test_in_the_laws_own_count_it_is_the_loss_that_predictions_expect():
    fit = spread_fit()
    found = regret(fit, 1e24, rule=90.0, discrepancy=fixed(**ALL), random_seed=4)
    best = with_discrepancy(fit, optimal(fit, 1e24), discrepancy=fixed(**ALL), random_seed=4)
    missed, decades = discrepancy_draws(fit, best, fixed(**ALL), 4)
    values = fit["posterior"].to_dataset()
    log_loss = discrepant_log_loss(found["N"], found["D"], values, missed, decades=decades)
    above = np.exp(log_loss) - best["loss_with_discrepancy"]
    np.testing.assert_allclose(
        found["regret_with_discrepancy"], above.transpose("compute", "chain", "draw"), rtol=1e-9
    )


def test_the_level_costs_nothing_and_a_steeper_valley_costs_more():
    fit = made_fit(draws=400)
    level = regret(fit, 1e24, rule=90.0, discrepancy=fixed(level=0.1, level_growth=0.1))
    wasted = level["compute_wasted"]
    np.testing.assert_allclose(level["compute_wasted_with_discrepancy"], wasted, rtol=1e-9)
    steep = regret(fit, 1e24, rule=90.0, discrepancy=fixed(valley=0.5), random_seed=2)
    missed, _ = discrepancy_draws(fit, optimal(fit, 1e24), fixed(valley=0.5), 2)
    costs_more = steep["regret_with_discrepancy"] > steep["regret"]
    assert (costs_more.isel(compute=0) == (missed["valley"] > 0)).all()


def test_the_surface_law_s_discrepancy_is_not_asked_of_isoflop():
    with pytest.raises(InputError, match="isoflop"):
        regret(isoflop_fit(), 1e21, discrepancy="published")


def test_what_was_asked_and_whether_it_converged_is_recorded():
    found = regret(spread_fit(), 1e21, rule=10)
    said = {name: found.attrs[name] for name in ("rule", "counting", "flops", "converged")}
    asked = {"rule": "10 tokens per parameter", "counting": "total", "flops": "6ND"}
    assert said == asked | {"converged": 1}
    assert found["compute_wasted"].attrs["units"] == "1"
    assert found["regret"].dims == ("compute", "chain", "draw")


WRONG = {
    "nothing": ({}, "say the budgets"),
    "half a plan": ({"N": 1e9}, "N and D together"),
    "a plan with a budget": ({"compute": 1e21, "N": 1e9, "D": 1e10}, "without compute"),
    "no ratio": ({"compute": 1e21, "rule": 0}, "rule: positive"),
    "no size": ({"N": -1.0, "D": 1e10}, "N: positive"),
    "no budget": ({"compute": -1.0}, "budgets must be positive"),
}


@pytest.mark.parametrize(("asked", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_priced_is_refused(asked, message):
    with pytest.raises(InputError, match=message):
        regret(made_fit(), **asked)


def test_another_counting_needs_an_architecture():
    for choice in ({"compute": 1e21}, {"N": 1e9, "D": 2e10}):
        with pytest.raises(CountingError, match="needs shapes"):
            regret(made_fit(), **choice, counting="body")
