import numpy as np
from test_discrepant_optimum import saved_fit

from scalebayes.decision_report import (
    curve_text,
    recommendation_rows,
    recommendation_text,
    regret_rows,
    regret_text,
    served_text,
)
from scalebayes.inference_optimum import inference_optimal
from scalebayes.optimum import extrapolation_decades, optimal
from scalebayes.recommend import recommend
from scalebayes.regret import regret

BUDGETS = [1e20, 1e24]


def test_every_table_says_how_far_its_budgets_are_from_the_runs():
    fit = saved_fit()
    found, best = recommend(fit, BUDGETS), optimal(fit, BUDGETS)
    decades = extrapolation_decades(fit, BUDGETS)
    texts = [
        recommendation_text(found, decades, fit),
        regret_text(regret(fit, BUDGETS), decades, fit),
        served_text(inference_optimal(fit, BUDGETS, 1e12), decades, fit),
        curve_text(best, found, decades, fit),
    ]
    beyond = f"{float(decades[1]):+.1f}"
    assert float(decades[1]) > 2
    for text in texts:
        (line,) = [line for line in text.splitlines() if line.startswith("1e24")]
        assert line.split()[1] == beyond
    for text in texts:
        assert "decades outside: of C" in text
    assert "unknown" in regret_text(regret(fit, BUDGETS), None, fit)


def test_rows_of_expectations_are_one_number_and_rows_of_draws_have_an_interval():
    fit = saved_fit()
    decades = extrapolation_decades(fit, BUDGETS)
    for row in recommendation_rows(recommend(fit, BUDGETS), decades, fit):
        assert np.isfinite(row["value"])
        assert "median" not in row
    for row in regret_rows(regret(fit, BUDGETS, discrepancy="published"), decades, fit):
        assert row["lower"] <= row["median"] <= row["upper"]
        assert np.isclose(row["N"] * row["D"] * 6, row["compute"])


def test_a_rule_that_costs_next_to_nothing_does_not_show_a_false_precision():
    fit = saved_fit()
    ratio = float(optimal(fit, 1e22)["tokens_per_parameter"].mean())
    text = regret_text(regret(fit, 1e22, rule=1.01 * ratio), None, fit)
    assert "<.01% [<.01%, <.01%]" in text
