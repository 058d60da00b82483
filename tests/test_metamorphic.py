"""What must not change, or must change in a known way, when the data are written otherwise."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fits import BODY, TOKENS, epoch_latents, made_fit, user_study
from hypothesis import given, settings
from hypothesis import strategies as st

import scalebayes as sb
from scalebayes.build import run_data
from scalebayes.compiled import log_density
from scalebayes.gate import log_prior, prior_medians
from scalebayes.hypotheses import load_hypothesis

EXACT = 1e-12
"""Largest relative change of a log density that sums in another order may make."""

HYPOTHESES = ("hoffmann-total", "hoffmann-nonembedding", "kaplan", "nested", "normal-noise")
STUDIES = ("hoffmann2022-epoch", "porian2024-owt2-1-kaplan", "marin2026-dclm")
FACTORS = st.floats(1e-3, 1e3)


def value(study, hypothesis, latents=None):
    """Log density (nats) of a study at latents, by default a point near the prior's medians."""
    hypothesis = load_hypothesis(hypothesis)
    density = log_density(run_data(study, hypothesis), hypothesis)
    given_latents = _near_medians(hypothesis) if latents is None else latents
    return float(density.values(density.unconstrain(given_latents)[None])[0])


def _near_medians(hypothesis):
    """A point at which no latent has the value of another, so that none can stand in for one."""
    medians = prior_medians(hypothesis)
    return {name: x * (1 + 0.01 * i) for i, (name, x) in enumerate(medians.items(), start=1)}


def log_likelihood(study, latents, hypothesis="hoffmann-total"):
    """Log density less that of the prior; the Jacobian of nu stays, which is the same for all."""
    hypothesis = load_hypothesis(hypothesis)
    return value(study, hypothesis, latents) - float(log_prior(latents, hypothesis))


def with_columns(study, **factors):
    """A study with some columns multiplied."""
    scaled = {name: study.table[name] * factor for name, factor in factors.items()}
    return replace(study, table=study.table.assign(**scaled))


@settings(max_examples=30, deadline=None)
@given(k=FACTORS)
def test_n_counted_k_times_moves_a_by_k_to_the_alpha(k):
    study, latents = user_study(), epoch_latents()
    alpha = np.exp(latents["log_alpha"])
    moved = latents | {"log_term_N": latents["log_term_N"] + alpha * np.log(k)}
    before, after = log_likelihood(study, latents), log_likelihood(with_columns(study, N=k), moved)
    assert after == pytest.approx(before, rel=1e-10)


@settings(max_examples=30, deadline=None)
@given(k=FACTORS)
def test_d_counted_k_times_moves_b_by_k_to_the_beta(k):
    study, latents = user_study(), epoch_latents()
    beta = np.exp(latents["log_beta"])
    moved = latents | {"log_term_D": latents["log_term_D"] + beta * np.log(k)}
    before, after = log_likelihood(study, latents), log_likelihood(with_columns(study, D=k), moved)
    assert after == pytest.approx(before, rel=1e-10)


@settings(max_examples=30, deadline=None)
@given(k=FACTORS)
def test_a_loss_in_another_unit_moves_e_and_both_terms_alike(k):
    study, latents = user_study(), epoch_latents()
    terms = ("log_E", "log_term_N", "log_term_D")
    moved = latents | {name: latents[name] + np.log(k) for name in terms}
    before = log_likelihood(study, latents)
    after = log_likelihood(with_columns(study, loss=k), moved)
    assert after == pytest.approx(before, rel=1e-10)


@settings(max_examples=30, deadline=None)
@given(k=FACTORS, compute=st.floats(1e19, 1e25))
def test_d_star_is_the_same_when_n_and_the_budget_are_counted_k_times(k, compute):
    fit = made_fit()
    scaled = made_fit(runs=(k * BODY, TOKENS))
    alpha = fit["posterior"]["alpha"]
    scaled["posterior"]["A"] = fit["posterior"]["A"] * k**alpha
    one, other = sb.optimal(fit, compute), sb.optimal(scaled, k * compute)
    np.testing.assert_allclose(other["D"], one["D"], rtol=1e-9)
    np.testing.assert_allclose(other["N"], k * one["N"], rtol=1e-9)
    np.testing.assert_allclose(other["loss"], one["loss"], rtol=1e-9)
    np.testing.assert_allclose(other["exponent"], one["exponent"], rtol=1e-9)


@pytest.mark.parametrize("hypothesis", HYPOTHESES)
@pytest.mark.parametrize("name", STUDIES)
def test_the_order_of_the_rows_changes_nothing(name, hypothesis):
    study = sb.load_study(name)
    shuffled = replace(study, table=study.table.sample(frac=1, random_state=3))
    assert not shuffled.table["run"].equals(study.table["run"])
    expected = value(study, hypothesis)
    assert value(shuffled, hypothesis) == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize("hypothesis", HYPOTHESES)
@pytest.mark.parametrize("name", STUDIES)
def test_the_names_of_study_and_runs_change_nothing(name, hypothesis):
    study = sb.load_study(name)
    table = study.table.assign(run=[f"other {i}" for i in range(len(study.table))])
    trajectories = {one: f"t{i}" for i, one in enumerate(dict.fromkeys(table["trajectory"]))}
    table = table.assign(trajectory=table["trajectory"].map(trajectories))
    renamed = replace(study, name="another", table=table)
    assert value(renamed, hypothesis) == pytest.approx(value(study, hypothesis), rel=EXACT)


UNITS = {
    "billions and bits": ({"N": "B", "D": "B", "loss": "bits"}, (1e9, 1e9, np.log(2))),
    "millions and trillions": ({"N": "M", "D": "T", "loss": "nats"}, (1e6, 1e12, 1.0)),
    "thousands and log10": ({"N": "K", "D": "M", "loss": "log10"}, (1e3, 1e6, np.log(10))),
}


@pytest.mark.parametrize("hypothesis", ["hoffmann-total", "kaplan", "normal-noise"])
@pytest.mark.parametrize(("units", "factors"), UNITS.values(), ids=UNITS)
def test_a_table_in_other_units_and_names_is_the_same_table(tmp_path, units, factors, hypothesis):
    study = user_study()
    runs = study.runs[["N", "D", "loss"]] / list(factors)
    columns = {"N": "params", "D": "seen", "loss": "ce"}
    runs.rename(columns=columns).to_csv(tmp_path / "t.csv", index=False)
    read = sb.read_runs(tmp_path / "t.csv", columns=columns, units=units, counting="total")
    assert value(read, hypothesis) == pytest.approx(value(study, hypothesis), rel=EXACT)


@pytest.mark.parametrize("there", ["body", "body+head", 0.5])
def test_a_count_there_and_back_is_the_same_data(there):
    study = sb.load_study("marin2026-dclm")
    back = sb.recount(sb.recount(study, there), study.counting)
    for hypothesis in ("hoffmann-total", "hoffmann-nonembedding"):
        expected = value(study, hypothesis)
        assert value(back, hypothesis) == pytest.approx(expected, rel=EXACT)


def test_runs_that_are_there_twice_count_twice():
    study, latents = user_study(), epoch_latents()
    again = study.table.assign(run=study.table["run"] + "b", trajectory=study.table["run"] + "b")
    twice = replace(study, table=pd.concat([study.table, again], ignore_index=True))
    of_nu = log_likelihood(study, latents) * 2 - log_likelihood(twice, latents)
    assert of_nu == pytest.approx(np.log(latents["nu_minus_one"]), rel=1e-9)  # its Jacobian, once


@pytest.mark.slow
def test_a_shuffled_study_has_the_posterior_of_the_study():
    """The draws differ in rounding, which the sampler amplifies; medians agree to Monte Carlo."""
    study = user_study()
    shuffled = replace(study, table=study.table.sample(frac=1, random_state=3))
    one, other = (sb.fit(s, draws=1000, cores=1, cache=False) for s in (study, shuffled))
    for name in ("E", "alpha", "beta", "a"):
        sd = float(one["posterior"][name].std())
        gap = float(abs(one["posterior"][name].median() - other["posterior"][name].median()))
        assert gap < 0.2 * sd
    errors = np.hypot(one.attrs["log_evidence_se"], other.attrs["log_evidence_se"])
    assert abs(one.attrs["log_evidence"] - other.attrs["log_evidence"]) < 4 * errors
