"""What a design can tell: the linearised law, and limits that any information must obey."""

import math

import numpy as np
import pytest

from scalebayes.design_information import LATENTS, OMEGA_SD, _slopes, expected_errors
from scalebayes.laws import log_chinchilla

GRID_N, GRID_D = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e10, 6), [1e9, 1e10, 1e11]))
MEDIANS = {"log_E": 0.5, "log_term_N": -0.7, "log_term_D": -0.7}
MEDIANS |= {"log_alpha": math.log(0.35), "log_beta": math.log(0.35)}


def law(at):
    terms = {name: at[name] for name in LATENTS[:3]}
    exponents = {"alpha": math.exp(at["log_alpha"]), "beta": math.exp(at["log_beta"])}
    return log_chinchilla(np.log(GRID_N), np.log(GRID_D), **terms, **exponents)


@pytest.mark.parametrize("name", LATENTS)
def test_slopes_are_the_derivatives_of_the_log_loss(name):
    step = 1e-5
    up, down = (law(MEDIANS | {name: MEDIANS[name] + move}) for move in (step, -step))
    slopes = _slopes(np.log(GRID_N), np.log(GRID_D), MEDIANS)[:, LATENTS.index(name)]
    assert slopes == pytest.approx((up - down) / (2 * step), rel=1e-6, abs=1e-9)


def test_the_prior_of_a_is_that_of_two_independent_exponents():
    # a = beta / (alpha + beta) at alpha = beta: da = (dlog beta - dlog alpha) / 4, each sd 0.5
    a = expected_errors(GRID_N, GRID_D)["a"]
    assert a.prior == pytest.approx(math.sqrt(2) * 0.5 / 4, rel=1e-6)


def test_more_runs_never_tell_less():
    few = expected_errors(GRID_N[::2], GRID_D[::2], compute=1e22)
    many = expected_errors(GRID_N, GRID_D, compute=1e22)
    for name in ("a", "log_ratio"):
        assert many[name].with_runs < few[name].with_runs < few[name].prior


def test_a_hundred_copies_of_the_runs_tell_ten_times_as_much():
    many = expected_errors(np.repeat(GRID_N, 100), np.repeat(GRID_D, 100))["a"]
    more = expected_errors(np.repeat(GRID_N, 10000), np.repeat(GRID_D, 10000))["a"]
    assert many.with_runs / more.with_runs == pytest.approx(10, rel=0.05)


def test_runs_on_one_ray_leave_the_exponent_of_the_optimum_at_its_prior():
    N = np.geomspace(1e8, 1e10, 50)
    assert expected_errors(N, 20 * N)["a"].ratio > 0.95


def test_runs_near_the_anchors_tell_little_of_a_budget_far_away():
    near = expected_errors(GRID_N, GRID_D, compute=1e21)["log_ratio"]
    far = expected_errors(GRID_N, GRID_D, compute=1e27)["log_ratio"]
    assert far.with_runs > near.with_runs


def test_omega_is_learned_from_small_models_and_not_from_large_ones():
    small = expected_errors(GRID_N, GRID_D, head_share=(1e7 / GRID_N) ** 0.5 * 0.8)["omega"]
    large = expected_errors(GRID_N, GRID_D, head_share=np.full(GRID_N.shape, 1e-3))["omega"]
    assert large.ratio > 0.99
    assert small.ratio < 0.9
    assert large.prior == pytest.approx(OMEGA_SD)
