import numpy as np
import pytensor.tensor as pt
import pytest
import xarray as xr
from hypothesis import given
from hypothesis.strategies import floats

from scalebayes.laws import (
    ANCHOR_D,
    ANCHOR_N,
    LATENTS,
    LAWS,
    anchored_logs,
    anchored_terms,
    chinchilla,
    effective_tokens,
    kaplan,
    log_chinchilla,
    log_nested,
    natural_coefficients,
    nested,
)

# Besiroglu et al. (2024), arXiv:2404.10102
EPOCH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
EXPONENTS = {"alpha": 0.3478, "beta": 0.3658}


def test_chinchilla_tends_to_the_irreducible_loss():
    assert chinchilla(1e60, 1e60, **EPOCH) == pytest.approx(EPOCH["E"])


def test_chinchilla_at_the_anchors_is_the_sum_of_the_anchored_terms():
    terms = anchored_logs(**EPOCH)
    assert chinchilla(ANCHOR_N, ANCHOR_D, **EPOCH) == pytest.approx(
        np.exp(list(terms.values())).sum()
    )


@given(log_N=floats(0, 35), log_D=floats(0, 35), alpha=floats(0.01, 2), beta=floats(0.01, 2))
def test_anchored_and_natural_forms_are_the_same_law(log_N, log_D, alpha, beta):
    terms = {"log_E": 0.5, "log_term_N": -0.7, "log_term_D": -1.0, "alpha": alpha, "beta": beta}
    natural = natural_coefficients(**terms) | {"alpha": alpha, "beta": beta}
    expected = np.log(chinchilla(np.exp(log_N), np.exp(log_D), **natural))
    assert log_chinchilla(log_N, log_D, **terms) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(alpha=floats(0.01, 2), beta=floats(0.01, 2))
def test_anchored_logs_undo_natural_coefficients(alpha, beta):
    terms = {"log_E": -3.0, "log_term_N": 1.0, "log_term_D": -1.0}
    natural = natural_coefficients(**terms, alpha=alpha, beta=beta)
    assert anchored_logs(**natural, alpha=alpha, beta=beta) == pytest.approx(terms)


@pytest.mark.parametrize("exponent", [0.01, 1.0, 50.0])
def test_the_anchored_form_stays_finite_from_one_to_1e15_parameters(exponent):
    log_N = np.log([1.0, 1e15])
    terms = {"log_E": 0.5, "log_term_N": -0.7, "log_term_D": -0.7}
    losses = log_chinchilla(log_N, np.log(1e6), **terms, alpha=exponent, beta=exponent)
    assert np.isfinite(losses).all()


def test_no_irreducible_loss_is_a_log_of_minus_infinity():
    terms = {"log_term_N": 0.0, "log_term_D": 0.0, **EXPONENTS}
    loss = log_chinchilla(np.log(ANCHOR_N), np.log(ANCHOR_D), log_E=-np.inf, **terms)
    assert loss == pytest.approx(np.log(2))


def test_xarray_draws_and_runs_broadcast_by_name():
    draws = xr.DataArray([0.3, 0.4, 0.5], dims="draw")
    runs = xr.DataArray([1e8, 1e9], dims="run")
    terms = anchored_logs(**(EPOCH | {"alpha": draws}))
    loss = log_chinchilla(np.log(runs), np.log(runs), **terms, alpha=draws, beta=0.3658)
    assert dict(loss.sizes) == {"draw": 3, "run": 2}


def test_a_pytensor_graph_gives_the_numbers_that_numpy_gives():
    alpha, log_N = pt.dscalar(), np.log([1e7, 1e10])
    terms = anchored_logs(**EPOCH)
    graph = log_chinchilla(
        log_N, log_N, **terms, alpha=alpha, beta=0.3658, exp=pt.exp, log1p=pt.log1p
    )
    expected = log_chinchilla(log_N, log_N, **terms, **EXPONENTS)
    np.testing.assert_allclose(graph.eval({alpha: 0.3478}), expected, rtol=1e-12)


def test_pytensor_coefficients_are_the_numpy_coefficients():
    terms = anchored_logs(**EPOCH)
    graph = natural_coefficients(
        **terms, **{k: pt.constant(v) for k, v in EXPONENTS.items()}, exp=pt.exp
    )
    assert float(graph["A"].eval()) == pytest.approx(EPOCH["A"])


def test_a_hypothesis_can_choose_the_nine_laws():
    offsets = {"offset-share", "no-offset"}
    assert (
        set(LAWS)
        == {
            *("chinchilla", "symmetric", "kaplan", "nested", "warmup", "isoflop", "isoflop-surface")
        }
        | offsets
    )


@given(alpha=floats(0.05, 0.8), beta=floats(0.05, 0.8), N=floats(1e5, 1e12), D=floats(1e7, 1e14))
def test_the_nested_law_holds_chinchillas_at_q_1(alpha, beta, N, D):
    law = {"E": 1.8, "A": 400.0, "B": 2000.0, "alpha": alpha, "beta": beta}
    assert nested(N, D, **law, q=1.0) == pytest.approx(chinchilla(N, D, **law), rel=1e-12)


@given(alpha_N=floats(0.05, 0.5), alpha_D=floats(0.05, 0.5), N=floats(1e5, 1e12))
def test_the_nested_law_holds_kaplans_at_q_beta_without_offset(alpha_N, alpha_D, N):
    """Eq. 1.5 of Kaplan et al. (2020), arXiv:2001.08361."""
    N_c, D_c, D = 8.8e13, 5.4e13, 3e10
    law = {"A": N_c**alpha_N, "B": D_c**alpha_D, "alpha": alpha_N, "beta": alpha_D}
    expected = kaplan(N, D, N_c=N_c, D_c=D_c, alpha_N=alpha_N, alpha_D=alpha_D)
    assert nested(N, D, **law, q=alpha_D) == pytest.approx(expected, rel=1e-10)


SHARES = {"offset_share": 0.6, "size_share": 0.3, "q": 0.7}


@pytest.mark.parametrize("law", ["offset-share", "no-offset", "kaplan", "nested"])
def test_shares_are_those_of_the_loss_at_the_anchors(law):
    latents = {"log_loss_anchor": np.log(2.5), "log_alpha": np.log(0.3), "log_beta": np.log(0.4)}
    terms = anchored_terms(law, latents | SHARES)
    at_anchor = log_nested(np.log(ANCHOR_N), np.log(ANCHOR_D), **terms)
    assert np.exp(at_anchor) == pytest.approx(2.5)
    q = terms.get("q", 1.0)
    size, data = (np.exp(terms[name] / q) for name in ("log_term_N", "log_term_D"))
    assert size / (size + data) == pytest.approx(0.3)
    if "offset_share" in LATENTS[law]:
        assert np.exp(terms["log_E"]) == pytest.approx(0.6 * 2.5)
    else:
        assert "log_E" not in terms


def test_the_law_in_logs_is_the_law():
    terms = {"log_E": 0.5, "log_term_N": -1.0, "log_term_D": -0.6, "alpha": 0.3, "beta": 0.4}
    natural = natural_coefficients(**terms)
    expected = nested(3e8, 7e9, **natural, alpha=0.3, beta=0.4, q=0.8)
    assert np.exp(log_nested(np.log(3e8), np.log(7e9), **terms, q=0.8)) == pytest.approx(expected)


ADDITIVE = {"log_E": 0.5, "log_term_N": -1.0, "log_term_D": -0.6}
LOGS = {"log_alpha": np.log(0.3), "log_beta": np.log(0.4)}


@pytest.mark.parametrize("law", ["chinchilla", "warmup"])
def test_the_additive_laws_are_sampled_in_their_own_terms(law):
    terms = anchored_terms(law, ADDITIVE | LOGS | {"kappa": 0.2, "log_sigma": -4.0})
    assert terms == pytest.approx(ADDITIVE | {"alpha": 0.3, "beta": 0.4})


def test_the_symmetric_law_has_one_exponent():
    terms = anchored_terms("symmetric", ADDITIVE | {"log_alpha": np.log(0.3)})
    assert terms == pytest.approx(ADDITIVE | {"alpha": 0.3, "beta": 0.3})


@pytest.mark.parametrize(
    ("law", "how"),
    [("kaplan", {"q": 0.4}), ("nested", {"q": 0.7}), ("offset-share", {}), ("no-offset", {})],
)
def test_terms_add_by_q_which_is_beta_in_kaplans_law_and_one_in_chinchillas(law, how):
    terms = anchored_terms(law, {"log_loss_anchor": np.log(2.5)} | LOGS | SHARES)
    assert {name: terms[name] for name in ("alpha", "beta", "q") if name in terms} == (
        pytest.approx({"alpha": 0.3, "beta": 0.4} | how)
    )


def test_a_law_without_offset_has_no_irreducible_loss_among_its_coefficients():
    # the terms are 0.5 at 1e9 parameters and 0.25 at 2e10 tokens
    terms = {"log_term_N": np.log(0.5), "log_term_D": np.log(0.25), "alpha": 0.5, "beta": 1.0}
    expected = {"A": 0.5 * 1e9**0.5, "B": 0.25 * 2e10}
    assert natural_coefficients(**terms) == pytest.approx(expected)
    assert natural_coefficients(**terms, log_E=0.0) == pytest.approx({"E": 1.0} | expected)


def test_a_part_of_the_warm_up_is_wasted_and_never_more_than_that_part_of_all_tokens():
    tokens, warmup = np.array([1e10, 1e10, 1e9]), np.array([0.0, 4e9, 4e9])
    counted = effective_tokens(tokens, warmup, kappa=0.25)
    np.testing.assert_allclose(counted, [1e10, 9e9, 0.75e9])
    graph = effective_tokens(tokens, warmup, kappa=pt.constant(0.25), minimum=pt.minimum)
    np.testing.assert_allclose(graph.eval(), counted)
