import numpy as np
import pytest
from scipy.stats import norm

from scalebayes.scores import covered, crps, interval_score


def test_the_interval_score_is_the_width_where_the_truth_is_inside():
    assert interval_score(1.0, 3.0, 2.0) == pytest.approx(2.0)


def test_what_lies_outside_costs_twenty_times_its_distance_at_90_percent():
    assert interval_score(1.0, 3.0, 3.5, prob=0.9) == pytest.approx(2.0 + 20 * 0.5)
    assert interval_score(1.0, 3.0, 0.9, prob=0.9) == pytest.approx(2.0 + 20 * 0.1)


def test_the_crps_of_many_draws_is_that_of_their_normal():
    draws = norm.ppf((np.arange(20000) + 0.5) / 20000)
    truth = np.array([-1.0, 0.0, 2.0])
    expected = truth * (2 * norm.cdf(truth) - 1) + 2 * norm.pdf(truth) - 1 / np.sqrt(np.pi)
    assert crps(np.tile(draws, (3, 1)), truth) == pytest.approx(expected, abs=1e-3)


def test_intervals_hold_a_truth_in_the_middle_and_not_one_at_the_end():
    draws = np.tile(np.linspace(0, 1, 1001), (3, 1))
    assert covered(draws, np.array([0.5, 0.97, 0.02]), prob=0.9).tolist() == [True, False, False]
