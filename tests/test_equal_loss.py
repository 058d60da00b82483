import numpy as np
import pytest
from test_optimum import EPOCH, FLAT, GAMMA, KAPLAN_VIEW, valleys

from scalebayes.counting import CountTerms
from scalebayes.equal_loss import cheapest, log_total
from scalebayes.laws import nested
from scalebayes.optimum import frontier

BODY = CountTerms()
"""A budget that charges for bodies, under a law that counts a vocabulary matrix."""


def terms(*, A, B, alpha, beta, q=1.0, **_):
    return np.log(A), np.log(B), alpha, beta, q, GAMMA


@pytest.mark.parametrize("q", [0.3, 1.0])
def test_the_cheapest_model_of_the_lowest_loss_of_a_budget_spends_that_budget(q):
    compute = np.geomspace(1e12, 1e26, 30)
    best = frontier(compute, **EPOCH, q=q, **KAPLAN_VIEW)
    log_R = np.log(best["loss"].values - EPOCH["E"])
    x, log_D = cheapest(log_R, *terms(**EPOCH, q=q), charged=BODY, one_count=False)
    np.testing.assert_allclose(np.exp(x), best["N"], rtol=1e-9)
    np.testing.assert_allclose(np.exp(log_D), best["D"], rtol=1e-9)
    np.testing.assert_allclose(log_total(x, log_D, charged=BODY), np.log(compute), atol=1e-12)


def test_of_two_valleys_the_cheaper_model_is_taken():
    levels = np.geomspace(1.0, 30.0, 60)
    several = np.array([B for B in levels if valleys(B)[0].size == 2])
    lowest = np.array([valleys(B)[1].min() for B in several])
    x, log_D = cheapest(np.log(lowest), *terms(B=several, **FLAT), charged=BODY, one_count=False)
    np.testing.assert_allclose(log_total(x, log_D, charged=BODY), np.log(1e20), atol=1e-4)
    bodies = [valleys(B)[0][valleys(B)[1].argmin()] for B in several]
    np.testing.assert_allclose(np.exp(x), bodies, rtol=2e-3)


@pytest.mark.parametrize("served", [0.0, 1e10, 1e15])
def test_the_cheapest_model_has_the_loss_that_was_asked_for(served):
    log_R = np.log(np.geomspace(0.01, 3.0, 20))
    x, log_D = cheapest(log_R, *terms(**EPOCH), charged=BODY, one_count=False, served=served)
    law = {name: EPOCH[name] for name in ("A", "B", "alpha", "beta")}
    N = np.exp(x) + GAMMA * np.exp(x / 3)
    np.testing.assert_allclose(nested(N, np.exp(log_D), **law), np.exp(log_R), rtol=1e-10)


def test_serving_costs_two_flop_per_parameter_and_token_beside_six_of_training():
    total = log_total(np.log(1e9), np.log(2e10), charged=BODY, served=5e12)
    assert np.exp(total) == pytest.approx(6 * 1e9 * 2e10 + 2 * 1e9 * 5e12)
