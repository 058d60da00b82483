from functools import cache

import numpy as np
import pytest
import xarray as xr

import scalebayes as sb
from scalebayes.errors import InputError
from scalebayes.frontiers import porian_exponents, porian_frontier
from scalebayes.recipe_chain import (
    CHAIN,
    ISOFLOP_CURVES,
    ISOFLOP_LAW,
    STEPS,
    chain_effects,
    chain_table,
    counted,
    fit_isoflop_states,
    porian_stages,
)


@cache
def curves(corpus="rw"):
    return chain_effects(porian_stages(corpus))


def test_steps_add_up_to_the_whole_chain():
    effect = curves()["effect"]
    whole = effect.sel(step="whole chain")
    np.testing.assert_allclose(effect.sel(step=list(CHAIN)).sum("step"), whole, atol=1e-12)


@pytest.mark.parametrize("corpus", ["rw", "owt2"])
def test_curves_give_the_published_exponents_and_steps(corpus):
    chain = curves(corpus)
    stages = {"Kaplan": "1", "N and C": "2", "3": "3", "4": "4", "5": "5"}
    published = porian_stages(corpus).published
    for state, stage in stages.items():
        found = float(chain["value"].sel(reading=ISOFLOP_CURVES, state=state).median())
        assert found == pytest.approx(published[stage][0], abs=0.012), state
    steps = chain_table(chain).dropna(subset="published")
    assert set(steps["step"]) == {*CHAIN, "whole chain"}
    assert steps["residual"].abs().max() < 0.02


def test_counting_a_matrix_in_N_and_in_C_work_against_each_other():
    effect = curves()["effect"].sel(reading=ISOFLOP_CURVES)
    assert float(effect.sel(step="count of N alone").quantile(0.95)) < -0.2
    assert float(effect.sel(step="count of C alone").quantile(0.05)) > 0.1


def test_counts_are_switched_on_the_same_noise():
    chain = curves()
    alone = chain["effect"].sel(reading=ISOFLOP_CURVES, step="count of N alone")
    value = chain["value"].sel(reading=ISOFLOP_CURVES)
    apart = np.hypot(value.sel(state="N").std(), value.sel(state="Kaplan").std())
    assert float(alone.std()) < 0.5 * float(apart)


def test_resampled_exponents_lie_about_the_published_procedure():
    study = sb.load_study("porian2024-rw-3-warmup")
    draws = porian_exponents(study, noise_sd=0.002, resamples=300)
    point = float(porian_frontier(study, noise_sd=0.002, resamples=300)["exponent"])
    assert float(draws.mean()) == pytest.approx(point, abs=0.01)
    assert 0.001 < float(draws.std()) < 0.02


def test_a_study_counted_two_ways_keeps_the_compute_of_one_and_the_sizes_of_the_other():
    study = sb.load_study("porian2024-rw-1-kaplan")
    mixed = counted(study, "body", "body+head").runs
    runs = study.runs
    np.testing.assert_allclose(mixed["N"], runs["body"])
    charged = 6 * (runs["body"] + runs["head"]) * runs["D"]
    np.testing.assert_allclose(6 * mixed["N"] * mixed["D"], charged)


def test_a_missing_stage_is_named():
    stages = porian_stages("rw")
    with pytest.raises(InputError, match="surfaces: .*'4'"):
        chain_effects(stages, surfaces={"1": None, "3": None, "5": None})


def test_an_unknown_corpus_is_refused():
    with pytest.raises(InputError, match="corpus"):
        porian_stages("c4")


def test_posteriors_of_states_are_read_as_they_are():
    a = {"Kaplan": 0.8, "N": 0.6, "C": 1.0, "N and C": 0.7, "3": 0.6, "4": 0.55, "5": 0.5}
    posteriors = {
        key: {"posterior": xr.Dataset({"a": (("chain", "draw"), np.full((4, 300), value))})}
        for key, value in a.items()
    }
    chain = chain_effects(porian_stages("rw"), isoflops=posteriors)
    effect = chain["effect"].sel(reading=ISOFLOP_LAW).mean("draw")
    for step, (after, before) in STEPS.items():
        assert float(effect.sel(step=step)) == pytest.approx(a[after] - a[before]), step


@pytest.mark.slow
def test_the_isoflop_law_tells_counts_apart_on_the_same_runs():
    fits = fit_isoflop_states(porian_stages("rw"), draws=300, tune=300, cores=1, cache=False)
    a = {key: float(one["posterior"]["a"].median()) for key, one in fits.items()}
    assert a["N"] < a["N and C"] < a["Kaplan"] < a["C"]
    assert a["5"] < a["4"] < a["3"] < a["N and C"]
