"""The slope that a study reports, against the frontier found by bracketed roots."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import floats, sampled_from

from scalebayes.architecture import Architecture
from scalebayes.optimum import frontier
from scalebayes.synthesis_slope import (
    PLACES,
    REFERENCE_COMPUTE,
    SLOPE_WEIGHTS,
    frontier_slope,
    log_balance,
    log_compute,
)

EPOCH = {"A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}  # arXiv:2404.10102
COUNTING = {0.0: "body", 1.0: "total", 2.0: 2.0}
RANGES = [(8.9e12, 5e20), (6e18, 3e21), (3e11, 2.7e14)]


def log_ratio_of(A, B, alpha, beta):
    """Return log D/N at the reference budget, all counted with one matrix."""
    log_n = (np.log(alpha * A / (beta * B)) + beta * np.log(REFERENCE_COMPUTE / 6)) / (alpha + beta)
    return np.log(REFERENCE_COMPUTE / 6) - 2 * log_n


def log_frontier(compute, law, weight, gamma):
    family = Architecture.from_gamma(gamma, vocab_size=32000)
    best = frontier(compute, omega=1.0, architecture=family, counting=COUNTING[weight], **law)
    return np.log(best["N"].to_numpy())


def slope_by_roots(law, weight, gamma, ends):
    start, end = np.log(ends)
    compute = np.exp(start + PLACES * (end - start))
    return SLOPE_WEIGHTS @ log_frontier(compute, law, weight, gamma) / (end - start)


def slope(law, weight, gamma, ends):
    return float(
        frontier_slope(
            np.array([law["alpha"]]),
            np.array([law["beta"]]),
            np.array([log_ratio_of(**law)]),
            np.array([np.log(gamma)]),
            weight=np.array([weight]),
            log_c_min=np.log([ends[0]]),
            log_c_max=np.log([ends[1]]),
        )[0]
    )


@pytest.mark.parametrize("ends", RANGES)
@pytest.mark.parametrize("weight", list(COUNTING))
def test_the_slope_of_epochs_law_is_that_of_its_frontier(weight, ends):
    expected = slope_by_roots(EPOCH, weight, 52000.0, ends)
    assert slope(EPOCH, weight, 52000.0, ends) == pytest.approx(expected, abs=1e-8)


@settings(max_examples=60, deadline=None)
@given(
    alpha=floats(0.2, 0.8),
    beta=floats(0.2, 0.8),
    ratio=floats(2.0, 200.0),
    gamma=floats(2e4, 2e5),
    weight=sampled_from(list(COUNTING)),
    ends=sampled_from(RANGES),
)
def test_five_steps_and_one_are_enough_for_any_usual_law(alpha, beta, ratio, gamma, weight, ends):
    log_n = (np.log(REFERENCE_COMPUTE / 6) - np.log(ratio)) / 2
    A = 400.0
    B = A * alpha / beta * np.exp(beta * (log_n + np.log(ratio)) - alpha * log_n)
    law = {"A": A, "B": B, "alpha": alpha, "beta": beta}
    expected = slope_by_roots(law, weight, gamma, ends)
    assert slope(law, weight, gamma, ends) == pytest.approx(expected, abs=1e-8)


def test_with_one_matrix_counted_the_slope_is_a_in_every_range():
    a = EPOCH["beta"] / (EPOCH["alpha"] + EPOCH["beta"])
    for ends in RANGES:
        assert slope(EPOCH, 1.0, 52000.0, ends) == pytest.approx(a, abs=1e-12)


@pytest.mark.parametrize("ends", RANGES)
def test_the_slope_is_that_of_a_regression_over_many_budgets(ends):
    compute = np.geomspace(*ends, 1000)
    log_n = log_frontier(compute, EPOCH, 0.0, 47491.0)
    expected = np.polyfit(np.log(compute), log_n, 1)[0]
    assert slope(EPOCH, 0.0, 47491.0, ends) == pytest.approx(expected, abs=0.003)


def test_the_law_counted_as_kaplan_did_looks_as_steep_as_pearce_and_song_say():
    # their .78 (arXiv:2406.12907) is a regression over 20 sizes
    assert slope(EPOCH, 0.0, 47491.0, RANGES[0]) == pytest.approx(0.78, abs=0.005)


def test_the_rise_of_the_budget_is_its_derivative():
    law = 0.35, 0.37, np.log(20.0), np.log(52000.0)
    for head in (-60.0, np.log(52000.0), np.log(104000.0)):
        x = np.linspace(5.0, 25.0, 9)
        value = [log_compute(x + h, *law, head)[0] for h in (-1e-4, 1e-4)]
        rise = log_compute(x, *law, head)[1]
        np.testing.assert_allclose((value[1] - value[0]) / 2e-4, rise, rtol=1e-6)


def test_the_balance_is_that_of_the_coefficients():
    expected = np.log(EPOCH["beta"] * EPOCH["B"] / (EPOCH["alpha"] * EPOCH["A"]))
    found = log_balance(EPOCH["alpha"], EPOCH["beta"], log_ratio_of(**EPOCH))
    assert found == pytest.approx(expected)
