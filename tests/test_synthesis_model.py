"""The model of a literature: its likelihood, its prior, and its derivative."""

import dataclasses

import numpy as np
import pandas as pd
import pymc as pm
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from scalebayes.synthesis_data import synthesis_rows
from scalebayes.synthesis_model import (
    LATENTS,
    cell_slopes,
    filled_errors,
    log_likelihoods,
    prior_latents,
    responsibilities,
    simulated_values,
    synthesis_data,
    synthesis_model,
)


@pytest.fixture(scope="module")
def data():
    rows = synthesis_rows()
    return synthesis_data(rows[rows["role"].isin(["primary", "replicate"])].reset_index(drop=True))


def small_literature(value):
    """Return one run set with a replicate, and one of unknown counting."""
    columns = {
        "study": ["one", "one", "two"],
        "run_set": ["one", "one", "two"],
        "counting": ["body", "body", "unknown"],
        "role": ["primary", "replicate", "primary"],
        "value": value,
        "se": [0.02, np.nan, 0.03],
        "c_min": [1e17, 1e17, 6e18],
        "c_max": [3e20, 3e20, 3e21],
    }
    return synthesis_data(pd.DataFrame(columns))


def likelihood_by_category(data, latents):
    slope = cell_slopes(latents, data, data.run_set[data.row_of_cell])
    return log_likelihoods(slope, filled_errors(data, latents["log_se"]), data, latents), slope


def test_effects_are_integrated_out_as_a_multivariate_normal():
    data = small_literature([0.6, 0.64, 0.5])
    latents = prior_latents(data, 5, random_seed=1)
    found, slope = likelihood_by_category(data, latents)
    se = filled_errors(data, latents["log_se"])
    for i in range(5):
        between, within = (latents[f"tau_{name}"][i] ** 2 for name in ("between", "within"))
        covariance = np.diag(se[i, :2] ** 2 + [0, within]) + between
        expected = multivariate_normal(slope[i, data.cell[:2, 0]], covariance).logpdf([0.6, 0.64])
        np.testing.assert_allclose(logsumexp(found[i, 0]), expected, rtol=1e-9)


def test_an_unknown_counting_goes_where_the_value_is_expected():
    latents = {name: value[:1] for name, value in prior_latents(small_literature([0.6] * 3), 1,
               random_seed=2).items()}  # fmt: skip
    latents |= {"log_alpha": np.log([0.35]), "log_beta": np.log([0.37]), "tau_between": np.zeros(1)}
    data = small_literature([0.6] * 3)
    slope = cell_slopes(latents, data, data.run_set[data.row_of_cell])[0, data.cell[2]]
    assert slope[0] > slope[1] > slope[2]  # none, one and two matrices counted
    probability = []
    for value in slope:
        at_value = dataclasses.replace(data, value=np.array([0.6, 0.6, value]))
        found, _ = likelihood_by_category(at_value, latents)
        probability.append(responsibilities(found)[0, 1])
    assert np.argmax(probability, axis=1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(np.sum(probability, axis=1), 1)


def test_a_stated_counting_is_the_same_in_every_category():
    data = small_literature([0.6, 0.64, 0.5])
    found, _ = likelihood_by_category(data, prior_latents(data, 3, random_seed=3))
    np.testing.assert_allclose(responsibilities(found)[:, 0], 1 / 3)


def sampled_point(latents):
    """Return one draw as PyMC's sampler holds it: scales by their logarithm."""
    logged = {f"{n}_log__": np.log(latents[n][0]) for n in latents if n.startswith("tau")}
    return logged | {n: value[0] for n, value in latents.items() if not n.startswith("tau")}


@pytest.mark.slow  # compiles
def test_the_model_is_a_plain_one_and_its_graph_agrees_with_numpy(data):
    model = synthesis_model(data)
    assert isinstance(model, pm.Model)
    assert tuple(variable.name for variable in model.free_RVs) == LATENTS
    latents = prior_latents(data, 1, random_seed=4)
    expected = logsumexp(likelihood_by_category(data, latents)[0], axis=-1).sum()
    point = sampled_point(latents)
    [potential] = model.potentials
    [value] = model.replace_rvs_by_values([potential])
    np.testing.assert_allclose(value.eval(point, mode="FAST_COMPILE", on_unused_input="ignore"),
                               expected, rtol=1e-9)  # fmt: skip


@pytest.mark.slow  # compiles
def test_the_last_step_has_the_derivative_of_the_whole_solution(data):
    latents = prior_latents(data, 1, random_seed=5)
    model = synthesis_model(data)
    [potential] = model.potentials
    [value] = model.replace_rvs_by_values([potential])
    by_name = {one.name: one for one in model.value_vars}
    asked = [by_name[name] for name in ("log_alpha", "log_beta", "log_gamma")]
    gradient = pm.pytensorf.compile(
        model.value_vars,
        pm.pytensorf.gradient(value, asked),
        mode="FAST_COMPILE",
        on_unused_input="ignore",
    )
    point = sampled_point(latents)
    found = np.ravel(gradient(**point))
    for i, name in enumerate(("log_alpha", "log_beta", "log_gamma")):
        moved = [
            logsumexp(
                likelihood_by_category(data, latents | {name: latents[name] + h})[0], axis=-1
            ).sum()
            for h in (-1e-5, 1e-5)
        ]
        assert found[i] == pytest.approx((moved[1] - moved[0]) / 2e-5, rel=1e-4, abs=1e-4)


def test_the_prior_expects_exponents_that_could_be_published(data):
    values = simulated_values(data, prior_latents(data, 4000, random_seed=6), random_seed=7)
    low, high = np.quantile(values, [0.05, 0.95], axis=0)
    assert (low > 0).all()
    assert (high < 1.25).all()
    assert ((data.value > low) & (data.value < high)).all()
    assert (high - low > 0.4).all()  # and says little about any of them


def test_simulated_replicates_share_the_effect_of_their_run_set(data):
    latents = prior_latents(data, 4000, random_seed=8)
    latents |= {"tau_between": np.full(4000, 0.3), "log_se": np.full_like(latents["log_se"], -5)}
    for name in ("log_alpha", "log_beta", "log_tokens_per_parameter", "log_gamma"):
        latents[name] = np.full(4000, latents[name][0])
    values = simulated_values(data, latents, random_seed=9)
    correlation = np.corrcoef(values[:, :4].T)  # three exponents of Kaplan's runs, another's
    assert correlation[0, 1] > 0.9
    assert abs(correlation[0, 3]) < 0.1
