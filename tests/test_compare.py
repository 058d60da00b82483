import copy
import dataclasses
import json
import math
import sys
from functools import cache

import numpy as np
import pytest
import xarray as xr

import scalebayes as sb
from scalebayes.compare import ALL_STUDIES, compare
from scalebayes.comparison import Scores, by_study, summed_scores
from scalebayes.errors import InputError, StudyError
from scalebayes.evidence import Evidence
from tests.fits import HOFFMANN, hoffmann_fit, user_study

QUICK = {"leave_out": (), "sensitivity": False}


def renamed(fit, name, **record):
    """The same fit, as if of another study's runs."""
    other = changed(fit, study=name, data_hash=name)
    known = json.loads(fit.attrs["study_record"]) | {"shared_runs": "", **record}
    other.attrs["study_record"] = json.dumps(known)
    return other


def changed(fit, **attrs):
    other = copy.copy(fit)
    other.attrs = dict(fit.attrs) | attrs
    return other


def with_observed(fit, **values):
    """The same fit with other observed data."""
    groups = {name: node.to_dataset() for name, node in fit.children.items()}
    groups["observed_data"] = groups["observed_data"].assign(**values)
    other = xr.DataTree.from_dict(groups)
    other.attrs = dict(fit.attrs)
    return other


def failed(fit):
    return changed(fit, converged=0, problems="R-hat 1.200 of alpha")


@cache
def clear_pair():
    """Two hypotheses on losses that one of them made, and that the other cannot make."""
    design = sb.load_study(HOFFMANN)
    used = design.table[design.table["left_out"] == ""]
    design = dataclasses.replace(design, table=used.iloc[::3])
    truth = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
    truth |= {"sigma": 0.005, "nu": 5.0}
    study, _ = sb.simulate(design, "hoffmann-total", parameters=truth, random_seed=3)
    options = {"draws": 500, "tune": 500, "cores": 1, "cache": False}
    names = {"total": "hoffmann-total", "kaplan": "kaplan"}
    return {label: sb.fit(study, name, **options) for label, name in names.items()}


def test_compare_has_the_columns_that_others_build_on():
    table = compare({"first": hoffmann_fit(), "second": hoffmann_fit()}, **QUICK)
    assert list(table)[:5] == ["log_evidence", "se", "probability", "elpd", "weight"]
    assert table.index.name == "hypothesis"
    assert table["log_evidence"].tolist() == [hoffmann_fit().attrs["log_evidence"]] * 2


def test_identical_hypotheses_tie_and_are_undecided():
    table = compare({"first": hoffmann_fit(), "second": hoffmann_fit()}, **QUICK)
    assert table["probability"].tolist() == pytest.approx([0.5, 0.5])
    np.testing.assert_allclose(table["weight"], 0.5)
    assert table.attrs["verdict"].startswith("undecided: these data cannot tell")


def test_the_best_hypothesis_comes_first_and_probabilities_sum_to_one():
    worse = changed(hoffmann_fit(), log_evidence=hoffmann_fit().attrs["log_evidence"] - 2)
    table = compare({"worse": worse, "better": hoffmann_fit()}, **QUICK)
    assert table.index.tolist() == ["better", "worse"]
    assert table["probability"].sum() == pytest.approx(1)
    assert table.loc["better", "probability"] == pytest.approx(1 / (1 + np.exp(-2)))


def test_prior_odds_move_the_probability():
    pair = {"first": hoffmann_fit(), "second": hoffmann_fit()}
    table = compare(pair, prior_odds={"first": 1, "second": 3}, **QUICK)
    assert table.loc["second", "probability"] == pytest.approx(0.75)
    assert table.attrs["prior_probability"] == pytest.approx({"first": 0.25, "second": 0.75})


def test_no_weight_and_no_probability_without_convergence():
    table = compare({"good": hoffmann_fit(), "bad": failed(hoffmann_fit())}, **QUICK)
    assert table[["probability", "weight"]].isna().all(axis=None)
    assert not table.attrs["converged"]
    assert "bad (R-hat 1.200 of alpha)" in table.attrs["verdict"]


def test_force_gives_probabilities_of_a_fit_that_did_not_converge():
    pair = {"good": hoffmann_fit(), "bad": failed(hoffmann_fit())}
    table = compare(pair, force=True, **QUICK)
    assert table["probability"].tolist() == pytest.approx([0.5, 0.5])
    assert not table.attrs["converged"]


def test_rows_that_only_one_fit_has_are_named():
    fit = hoffmann_fit()
    runs = fit["observed_data"]["run"].to_numpy().astype(str)
    other = with_observed(fit, run=("run", np.array(["elsewhere", *runs[1:]])))
    with pytest.raises(InputError, match="different rows.*row 'elsewhere' only under other"):
        by_study({"own": fit, "other": other})


def test_a_fit_of_fewer_rows_names_those_it_lacks():
    fit = hoffmann_fit()
    fewer = changed(fit)
    groups = {name: node.to_dataset() for name, node in fit.children.items()}
    groups["observed_data"] = groups["observed_data"].isel(run=slice(5, None))
    fewer = xr.DataTree.from_dict(groups)
    fewer.attrs = dict(fit.attrs)
    with pytest.raises(InputError, match="rows .* and 2 more only under all"):
        by_study({"all": fit, "fewer": fewer})


def test_losses_in_other_units_are_recognised():
    fit = hoffmann_fit()
    in_bits = with_observed(fit, log_loss=fit["observed_data"]["log_loss"] - np.log(np.log(2)))
    with pytest.raises(InputError, match=r"factor 1\.4427: other units"):
        by_study({"nats": fit, "bits": in_bits})


def test_a_changed_loss_is_named_by_its_row():
    fit = hoffmann_fit()
    losses = fit["observed_data"]["log_loss"].copy()
    losses[7] += 0.01
    run = str(fit["observed_data"]["run"].to_numpy()[7])
    with pytest.raises(InputError, match=f"losses differ in row '{run}'"):
        by_study({"own": fit, "other": with_observed(fit, log_loss=losses)})


def test_another_kind_of_loss_is_refused():
    fit = hoffmann_fit()
    other = renamed(fit, fit.attrs["study"], loss_kind="validation")
    with pytest.raises(InputError, match="loss_kind is 'validation'"):
        by_study({"own": fit, "other": other})


def test_fits_of_different_studies_are_refused():
    with pytest.raises(InputError, match="not of the same studies"):
        by_study({"own": hoffmann_fit(), "other": renamed(hoffmann_fit(), "elsewhere")})


def test_one_hypothesis_is_no_comparison():
    with pytest.raises(InputError, match="two hypotheses at least"):
        compare({"only": hoffmann_fit()})


@pytest.mark.parametrize("fits", [hoffmann_fit, lambda: [hoffmann_fit()] * 2])
def test_fits_without_labels_are_refused(fits):
    with pytest.raises(InputError, match="takes a mapping"):
        compare(fits())


def test_what_is_no_fit_is_refused():
    with pytest.raises(InputError, match="second: takes fits"):
        compare({"first": hoffmann_fit(), "second": xr.DataTree()})


def test_a_fit_with_the_literature_is_refused():
    joined = changed(hoffmann_fit(), literature='["elsewhere"]')
    with pytest.raises(InputError, match="second: .* was fitted with the literature"):
        by_study({"first": hoffmann_fit(), "second": joined})


def test_what_cannot_be_left_out_is_refused():
    with pytest.raises(InputError, match="'row'.*choose among"):
        compare({"first": hoffmann_fit(), "second": hoffmann_fit()}, leave_out=["row"])


def test_two_studies_of_one_set_of_shared_runs_are_not_summed():
    pair = [renamed(hoffmann_fit(), name, shared_runs="one set") for name in ("a", "b")]
    with pytest.raises(StudyError, match="set of shared runs"):
        compare({"first": pair, "second": pair}, **QUICK)


def test_evidence_adds_up_over_independent_studies():
    ahead = changed(hoffmann_fit(), log_evidence=hoffmann_fit().attrs["log_evidence"] + 1)
    first = [renamed(ahead, "a"), renamed(ahead, "b")]
    second = [renamed(hoffmann_fit(), "b"), renamed(hoffmann_fit(), "a")]
    table = compare({"first": first, "second": second}, **QUICK)
    lead = table["log_evidence"].xs("first", level="hypothesis")
    lead = lead - table["log_evidence"].xs("second", level="hypothesis")
    assert lead.to_dict() == pytest.approx({"a": 1, "b": 1, ALL_STUDIES: 2})
    assert table.loc[(ALL_STUDIES, "first"), "probability"] == pytest.approx(1 / (1 + np.exp(-2)))
    assert list(table.attrs["verdicts"]) == ["a", "b", ALL_STUDIES]


def test_summed_scores_add_evidence_and_put_rows_side_by_side():
    one = Scores(evidence=Evidence(log_evidence=-1.0, se=0.3), pointwise=np.array([1.0, 2.0]))
    two = Scores(evidence=Evidence(log_evidence=-2.0, se=0.4), pointwise=np.array([3.0]))
    both = summed_scores([one, two])
    assert both.evidence.log_evidence == -3.0
    assert both.evidence.se == pytest.approx(0.5)
    assert both.pointwise.tolist() == [1.0, 2.0, 3.0]


def test_compare_is_of_the_package():
    assert sb.compare is compare


@pytest.mark.slow
def test_a_simulated_clear_case_is_decided_by_evidence_and_by_left_out_budgets():
    table = compare(clear_pair(), cores=1, cache=False)
    assert table.attrs["verdict"].startswith("decided for total")
    assert table.loc["total", "leave_budget"] > table.loc["kaplan", "leave_budget"]
    assert table.loc["total", "weight"] > 0.95
    assert table["probability"].sum() == pytest.approx(1)
    assert table["probability_twice"].sum() == pytest.approx(1)


@pytest.mark.slow
def test_rows_of_heavy_importance_weights_are_refitted(monkeypatch):
    monkeypatch.setattr(sys.modules["scalebayes.compare"], "MAX_PARETO_K", 0.15)
    fit = sb.fit(user_study(), "normal-noise", cores=1, cache=False)
    exact = compare({"a": fit, "b": fit}, cores=1, cache=False, **QUICK)
    # whether some row is above the usual .7 is chance here
    monkeypatch.setattr(sys.modules["scalebayes.compare"], "MAX_PARETO_K", math.inf)
    smoothed = compare({"a": fit, "b": fit}, cores=1, cache=False, **QUICK)
    assert exact.loc["a", "refitted"] > 0
    assert smoothed.loc["a", "refitted"] == 0
    assert exact.loc["a", "elpd"] == pytest.approx(smoothed.loc["a", "elpd"], abs=0.3)


@pytest.mark.slow
def test_a_verdict_that_rests_on_the_width_of_the_priors_is_said_to_flip():
    """Three runs say little: a prior on the exponents' equality is all that tells these apart."""
    fit = hoffmann_fit()
    symmetric = sb.fit(HOFFMANN, "symmetric", cores=1, cache=False)
    lead = fit.attrs["log_evidence"] - symmetric.attrs["log_evidence"]
    # odds under which the probability is just above the scale's .75 with the priors as they are
    odds = {"free": float(np.exp(np.log(0.77 / 0.23) - lead)), "equal": 1.0}
    table = compare({"free": fit, "equal": symmetric}, prior_odds=odds, leave_out=(), cores=1)
    assert table.loc["free", "probability"] == pytest.approx(0.77, abs=1e-6)
    assert (
        "with priors twice as wide the verdict flips: undecided instead of leaning"
        in (table.attrs["verdict"])
    )
