from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from scalebayes.errors import InputError
from scalebayes.forecast import DISCREPANCY, LAW
from scalebayes.forecast_stacking import STACKED, stacked_scores, stacked_weights


def foretold(means, sizes=(10, 40, 25), seed=1):
    """A forecast of studies whose runs are standard normal, foretold about other means."""
    rng = np.random.default_rng(seed)
    runs = [rng.standard_normal(n) for n in sizes]
    return SimpleNamespace(
        densities={
            (f"study {i}", 0.5, method): norm.logpdf(x, mean)
            for i, (x, mean) in enumerate(zip(runs, means, strict=True))
            for method in (DISCREPANCY, LAW)
        }
    )


def test_a_hypothesis_that_foresees_every_study_best_gets_all_the_weight():
    forecasts = {"right": foretold([0, 0, 0]), "wrong": foretold([3, 3, 3])}
    assert stacked_weights(forecasts)["right"] == pytest.approx(1.0, abs=1e-3)
    scores = stacked_scores(forecasts)
    np.testing.assert_allclose(scores[STACKED], scores["right"], atol=1e-2)


def test_a_study_is_judged_with_weights_that_the_others_give():
    """The one study for which the second hypothesis is right does not count for itself."""
    forecasts = {"first": foretold([3, 0, 0]), "second": foretold([0, 3, 3])}
    scores = stacked_scores(forecasts)
    assert scores.loc["study 0", "weight of first"] > 0.99
    assert scores.loc["study 0", STACKED] == pytest.approx(scores.loc["study 0", "first"], abs=0.3)
    assert 0.2 < scores.loc["study 1", "weight of first"] < 0.8


def test_studies_weigh_the_same_however_many_runs_they_have():
    """Of two studies, each foreseen by one hypothesis, the one with a hundred times the runs."""
    few, many = (5, 500), (5, 500)
    forecasts = {"a": foretold([0, 4], few), "b": foretold([4, 0], many)}
    assert stacked_weights(forecasts)["a"] == pytest.approx(0.5, abs=0.1)


def test_the_score_of_the_mixture_is_that_of_the_mixed_densities():
    forecasts = {"a": foretold([0, 1, 0]), "b": foretold([1, 0, 1])}
    scores = stacked_scores(forecasts)
    row = scores.loc["study 1"]
    densities = [np.exp(one.densities["study 1", 0.5, DISCREPANCY]) for one in forecasts.values()]
    mixed = row["weight of a"] * densities[0] + row["weight of b"] * densities[1]
    assert row[STACKED] == pytest.approx(np.log(mixed).mean(), rel=1e-12)


def test_forecasts_of_other_runs_and_a_single_hypothesis_are_refused():
    with pytest.raises(InputError, match="not of the same held-out runs"):
        stacked_scores({"a": foretold([0, 0, 0]), "b": foretold([0, 0], (10, 40))})
    with pytest.raises(InputError, match="two hypotheses"):
        stacked_scores({"a": foretold([0, 0, 0])})
