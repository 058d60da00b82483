import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import floats, lists

from scalebayes.errors import InputError
from scalebayes.verdicts import (
    flips,
    log_prior_probabilities,
    posterior_probabilities,
    stacking_weights,
    verdict,
)

PAIR = ("total", "body")
EQUAL = np.log([0.5, 0.5])
KNOWN = np.array([0.01, 0.01])


def judged(lead, *, se=KNOWN, left_out=None):
    """The verdict where the first of two hypotheses is some nats ahead."""
    return verdict(PAIR, np.array([lead, 0.0]), se, EQUAL, left_out=left_out)


@given(lists(floats(-1e4, 1e4), min_size=2, max_size=6))
def test_posterior_probabilities_sum_to_one(heights):
    log_prior = np.full(len(heights), -np.log(len(heights)))
    assert posterior_probabilities(heights, log_prior).sum() == pytest.approx(1)


def test_probabilities_are_prior_odds_times_bayes_factor():
    log_prior = log_prior_probabilities(PAIR, {"total": 3, "body": 1})
    probability = posterior_probabilities([1.0, 0.0], log_prior)
    assert probability[0] / probability[1] == pytest.approx(3 * np.e)


@pytest.mark.parametrize("odds", [{"total": 1}, {"total": 1, "body": 0}, {"total": 1, "body": "2"}])
def test_prior_odds_that_are_no_odds_are_refused(odds):
    with pytest.raises(InputError, match="prior_odds"):
        log_prior_probabilities(PAIR, odds)


def test_hypotheses_of_equal_evidence_are_undecided():
    assert judged(0.0).kind == "undecided"
    assert "cannot tell" in judged(0.0).text


def test_the_scale_is_that_of_posterior_probabilities():
    odds = {0.70: "undecided", 0.90: "leaning", 0.99: "decided"}
    said = {p: judged(np.log(p / (1 - p))).kind for p in odds}
    assert said == odds


def test_a_lead_within_the_error_of_the_evidence_decides_nothing():
    lead = np.log(0.96 / 0.04)
    assert judged(lead).kind == "decided"
    assert judged(lead, se=np.array([0.2, 0.2])).kind == "leaning"


def test_a_leave_out_score_that_prefers_another_lowers_the_verdict_by_one_step():
    scores = np.array([[0.0, 2.0], [0.0, 2.5], [0.0, 1.5]])
    assert judged(10.0, left_out=scores).kind == "leaning"
    assert "body predicts what is left out better, by 6.0" in judged(10.0, left_out=scores).text
    assert judged(10.0, left_out=-scores).kind == "decided"


def test_a_leave_out_difference_within_its_error_is_no_objection():
    scores = np.array([[0.0, 20.0], [0.0, -19.0], [0.0, 1.0]])
    assert judged(10.0, left_out=scores).kind == "decided"


def test_a_flip_under_other_priors_is_named():
    wide = "with priors twice as wide"
    said = flips(judged(10.0), {wide: judged(0.1), "with priors half as wide": judged(9.0)})
    assert said == [f"{wide} the verdict flips: undecided instead of decided for total"]


def test_a_flip_to_the_other_hypothesis_is_named():
    said = flips(judged(10.0), {"with other priors": judged(-10.0)})
    assert said == [
        "with other priors the verdict flips: decided for body instead of decided for total"
    ]


def test_identical_hypotheses_share_their_stacking_weight():
    scores = np.random.default_rng(1).normal(size=(12, 1)).repeat(2, axis=1)
    np.testing.assert_allclose(stacking_weights(scores), 0.5)


def test_stacking_weights_are_the_best_mixture_of_a_grid():
    scores = np.random.default_rng(2).normal([0.2, 0.0], size=(30, 2))
    grid = np.linspace(0, 1, 2001)
    mixtures = np.logaddexp(
        np.log(np.clip(grid, 1e-300, 1)) + scores[:, :1],
        np.log(np.clip(1 - grid, 1e-300, 1)) + scores[:, 1:],
    )
    best = grid[mixtures.sum(axis=0).argmax()]
    assert stacking_weights(scores)[0] == pytest.approx(best, abs=2e-3)


def test_a_hypothesis_that_predicts_every_group_worse_has_no_weight():
    scores = np.array([[0.0, -3.0], [1.0, -1.0], [2.0, 1.0]])
    assert stacking_weights(scores)[1] == pytest.approx(0, abs=1e-4)
