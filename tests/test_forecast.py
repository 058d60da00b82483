import json

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

from scalebayes import cli
from scalebayes.classical import classical_fit
from scalebayes.errors import InputError
from scalebayes.forecast import (
    BOOTSTRAP,
    DISCREPANCY,
    LAW,
    LITERATURE,
    METHODS,
    POPULATION,
    TWENTY,
    bootstrap,
    forecast,
    interval_row,
    summary,
    weighted_ends,
)
from scalebayes.forecast_report import few_runs_summary, forecast_table, plot_forecast
from scalebayes.forecast_subsamples import few_runs
from scalebayes.held_out import counted_runs
from scalebayes.studies import load_study
from scalebayes.surface import huber

STUDIES = ["hoffmann2022-epoch", "marin2026-comma", "porian2024-rw-4-cosine"]


@pytest.fixture(scope="module")
def result():
    return forecast(STUDIES, cores=1)


@pytest.mark.slow
def test_every_method_is_scored_at_the_same_budgets(result):
    assert set(result.optima["method"]) == set(METHODS)
    budgets = result.optima.groupby("method")["compute"].apply(lambda x: tuple(sorted(x)))
    assert budgets.nunique() == 1
    assert set(result.losses["method"]) == {LAW, DISCREPANCY, BOOTSTRAP}
    assert set(result.optima["study"]) == set(STUDIES)


@pytest.mark.slow
def test_a_study_is_judged_by_what_other_groups_say(result):
    for name, known in result.known.items():
        assert known.literature.studies == tuple(one for one in STUDIES if one != name)


@pytest.mark.slow
def test_the_discrepancy_widens_every_interval_and_the_literature_narrows_it_again(result):
    width = result.optima["upper"] - result.optima["lower"]
    width = width.groupby(result.optima["method"]).mean()
    assert width[DISCREPANCY] > 1.3 * width[LAW]
    assert width[LITERATURE] < width[DISCREPANCY]
    twenty = result.optima[result.optima["method"] == TWENTY]
    assert np.allclose(twenty["upper"] - twenty["lower"], np.log(2))


@pytest.mark.slow
def test_with_discrepancy_more_of_the_larger_runs_are_held(result):
    table = summary(result)
    assert table.loc[DISCREPANCY, "coverage_90"] > table.loc[LAW, "coverage_90"] + 0.2
    assert table.loc[DISCREPANCY, "log_score"] > table.loc[LAW, "log_score"]
    assert np.isnan(table.loc[POPULATION, "log_score"])
    shown = forecast_table(result)
    assert list(shown["forecast"]) == list(METHODS)
    assert not shown.isin(["nan"]).any().any()


@pytest.mark.slow
def test_the_figure_has_a_panel_per_study(result):
    figure = plot_forecast(result)
    titles = [ax.get_title() for ax in figure.axes if ax.get_visible()]
    assert titles == STUDIES


def test_the_bootstrap_scatters_about_the_huber_fit():
    study = load_study("hoffmann2022-epoch")
    law, residual = bootstrap(study, resamples=60)
    point = classical_fit(study)
    assert len(residual) == study.n_used
    for name in ("alpha", "beta", "E"):
        draws = law[name]
        assert abs(np.median(draws) - getattr(point, name)) < 2 * draws.std()
    a = law["beta"] / (law["alpha"] + law["beta"])
    assert 0.005 < a.std() < 0.05


def huber_objective(x, log_N, log_D, log_loss):
    """Objective and gradient of the law in log E, log A, log B, alpha, beta, written out anew."""
    terms = np.array([x[0] + 0 * log_N, x[1] - x[3] * log_N, x[2] - x[4] * log_D])
    log_law = logsumexp(terms, axis=0)
    residual = log_loss - log_law
    weight = -np.exp(terms - log_law) * np.clip(residual, -1e-3, 1e-3)
    slopes = [*weight.sum(axis=1), -weight[1] @ log_N, -weight[2] @ log_D]
    return huber(residual).sum(), np.array(slopes)


def test_a_resampled_fit_is_the_one_that_a_quasi_newton_method_finds():
    study, n = load_study("hoffmann2022-epoch"), 10
    law, _ = bootstrap(study, resamples=n, random_seed=4)
    runs, plain = counted_runs(study, "total"), classical_fit(study)
    start = [np.log(plain.E), np.log(plain.A), np.log(plain.B), plain.alpha, plain.beta]
    exact = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000, "maxfun": 20_000}
    picked = np.random.default_rng(4).integers(len(runs), size=(n, len(runs)))
    for i, rows in enumerate(picked):
        data = tuple(np.log(runs.to_numpy()[rows]).T)
        found = minimize(
            huber_objective, start, args=data, jac=True, method="L-BFGS-B", options=exact
        )
        logs = [np.log(law[name][i]) for name in ("E", "A", "B")]
        ours, _ = huber_objective([*logs, law["alpha"][i], law["beta"][i]], *data)
        assert ours == pytest.approx(found.fun, rel=1e-6)


def test_the_score_of_an_interval_is_averaged_over_the_truths_error():
    sharp, blurred = interval_row(0.0, 1.0, 1.0, 1e-9), interval_row(0.0, 1.0, 1.0, 0.2)
    assert sharp["score"] == pytest.approx(1.0)
    assert blurred["covered"] == pytest.approx(11 / 21)
    assert blurred["score"] == pytest.approx(1 + 20 * 0.2 / np.sqrt(2 * np.pi), rel=0.05)


def test_equal_weights_give_plain_quantiles():
    values = np.random.default_rng(1).standard_normal((4, 500))
    found = weighted_ends(values, np.full(values.shape, 1 / values.size))
    assert found == pytest.approx(np.quantile(values, [0.05, 0.5, 0.95]), abs=0.02)


def test_few_runs_are_drawn_from_the_used_ones_without_replacement():
    study = load_study("marin2026-comma")
    few = few_runs(study, 10, np.random.default_rng(1))
    assert few.n_used == 10 == few.runs["run"].nunique()
    assert set(few.runs["run"]) <= set(study.runs["run"])


def test_few_runs_are_summed_up_over_studies():
    rows = pd.DataFrame(
        {
            "study": ["a", "a", "b"],
            "n": [10, 10, 10],
            "method": [LAW] * 3,
            "score": [1.0, 3.0, 4.0],
            "covered": [1.0, 0.0, 1.0],
            "lower": 0.0,
            "upper": [1.0, 1.0, 2.0],
        }
    )
    table = few_runs_summary(rows)
    assert table.loc[(10, LAW), "score"] == pytest.approx(3.0)
    assert table.loc[(10, LAW), "covered"] == pytest.approx(0.75)
    assert table.loc[(10, LAW), "studies"] == 2


def test_calibrate_without_saying_what_is_bad_input(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["calibrate"])
    assert end.value.code == 2
    assert "--forecast" in capsys.readouterr().err


@pytest.mark.slow
def test_calibrate_prints_the_summary_as_json(result, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["calibrate", "--forecast", *[f"--study={one}" for one in STUDIES], "--json"])
    found = json.loads(capsys.readouterr().out)
    assert not end.value.code
    assert {row["method"] for row in found["rows"]} == set(METHODS)


@pytest.mark.parametrize("name", ["latent-counting", "isoflop", "normal-noise", "ratio-noise"])
def test_hypotheses_that_cannot_be_forecast_with_are_refused(name):
    with pytest.raises(InputError, match=name):
        forecast(STUDIES, hypothesis=name)
