import dataclasses

import numpy as np
import pandas as pd
import pymc as pm
import pytest
from fits import EPOCH
from hypothesis import given
from hypothesis import strategies as st

import scalebayes as sb
from scalebayes.build import natural_quantities, run_data
from scalebayes.errors import CountingError, HypothesisError, StudyError
from scalebayes.formatting import fit_text
from scalebayes.gate import prior_latents
from scalebayes.hypotheses import load_hypothesis, models_folder
from scalebayes.isoflop import FAR, OFF_LINE, ONE_SIDED, middle_budget, windowed
from scalebayes.laws import (
    chinchilla,
    chinchilla_terms,
    expected_loss,
    isoflop,
    isoflop_exponents,
    log_isoflop,
)
from scalebayes.optimum import optimal_allocation
from scalebayes.predict import predict

PORIAN = "porian2024-rw-4-cosine"
LAW = {"E": 2.0, "K": 0.8, "N0": 1e9, "C0": 1.2e20, "a": 0.6, "gamma": 0.12}
LAW |= {"alpha": 0.7, "beta": 0.3}
EXPONENT = st.floats(0.05, 2.0)


def lines(law=LAW, *, budgets=5, reach=6.0, sizes=9, shift=1.0, noise=0.0, seed=0, **facts):
    """A user's sweep on isoFLOP lines about a law's optimum (times shift), with its losses."""
    C = law["C0"] * np.geomspace(0.01, 100, budgets)[:, None]
    N = law["N0"] * (C / law["C0"]) ** law["a"] * shift * np.geomspace(1 / reach, reach, sizes)
    runs = pd.DataFrame({"N": N.ravel(), "D": (C / (6 * N)).ravel()})
    error = noise * np.random.default_rng(seed).standard_normal(len(runs))
    runs["loss"] = isoflop(runs["N"], runs["D"], **law) * np.exp(error)
    return sb.read_runs(runs, counting="total", name="lines", **facts)


def window(study):
    return windowed(study, load_hypothesis("isoflop"))


@given(alpha=EXPONENT, beta=EXPONENT, log_N=st.floats(10, 30), log_D=st.floats(15, 35))
def test_with_two_restrictions_it_is_the_chinchilla_law(alpha, beta, log_N, log_D):
    N, D = np.exp(log_N), np.exp(log_D)
    level = {"K": 0.7, "N0": 3e8, "C0": 1e20, "alpha": alpha, "beta": beta}
    restricted = {"a": beta / (alpha + beta), "gamma": alpha * beta / (alpha + beta)}
    terms = chinchilla_terms(**level)
    expected = chinchilla(N, D, E=1.7, **terms, alpha=alpha, beta=beta)
    assert isoflop(N, D, E=1.7, **level, **restricted) == pytest.approx(expected, rel=1e-9)


@given(alpha=EXPONENT, beta=EXPONENT, a=st.floats(0.1, 0.9), log_C=st.floats(38, 58))
def test_at_any_budget_the_loss_is_least_at_its_own_optimum(alpha, beta, a, log_C):
    law = LAW | {"alpha": alpha, "beta": beta, "a": a}
    C = np.exp(log_C)
    best = law["N0"] * (C / law["C0"]) ** a

    def loss(u):
        N = best * np.exp(u)
        return isoflop(N, C / (6 * N), **law)

    assert loss(0.0) == pytest.approx(2.0 + 0.8 * (C / law["C0"]) ** -0.12)
    assert loss(-1e-3) > loss(0.0) < loss(1e-3)
    assert loss(-2.0) > loss(-1.0) and loss(2.0) > loss(1.0)


@given(alpha=EXPONENT, beta=EXPONENT, log_N=st.floats(0, 34), log_D=st.floats(0, 34))
def test_the_log_of_the_law_is_the_log_of_its_loss(alpha, beta, log_N, log_D):
    law = LAW | {"alpha": alpha, "beta": beta}
    ratio = law["C0"] / 6 / law["N0"] ** 2
    latents = {name: np.log(law[name]) for name in ("E", "K", "alpha", "beta", "gamma")}
    latents = {f"log_{name}": value for name, value in latents.items()} | {"a": law["a"]}
    level = {"log_E": latents["log_E"], "log_K": latents["log_K"], "log_ratio": np.log(ratio)}
    exponents = isoflop_exponents("isoflop", latents)
    log_budget = np.log(6 / law["C0"]) + log_N + log_D
    found = log_isoflop(log_N, log_D, log_budget=log_budget, **level, **exponents)
    expected = np.log(isoflop(np.exp(log_N), np.exp(log_D), **law))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_law_that_has_A_is_taken_by_its_terms_and_another_by_its_optimum():
    N, D = np.array([1e8, 1e10]), np.array([1e10, 1e9])
    np.testing.assert_allclose(expected_loss(N, D, LAW), isoflop(N, D, **LAW))
    np.testing.assert_allclose(expected_loss(N, D, EPOCH), chinchilla(N, D, **EPOCH))


def test_all_rows_of_lines_about_the_optimum_are_used():
    study = lines()
    kept = window(study)
    assert kept.n_used == study.n_used == 45
    assert middle_budget(study, "total") == pytest.approx(1.2e20)


def test_rows_far_from_the_optimum_and_budgets_with_one_side_are_left_out_and_counted():
    study = lines(reach=12.0, noise=0.002)
    kept = window(study)
    far = np.abs(np.log(study.runs["N"] / optimum(study.runs))) > np.log(8)
    assert far.sum() == 10
    assert kept.left_out == {FAR: 10}
    assert (kept.table["left_out"][far] == FAR).all()
    largest = np.isclose(6 * study.runs["N"] * study.runs["D"], 1.2e22)
    above = largest & (study.runs["N"] < 1.2 * optimum(study.runs))
    one_sided = dataclasses.replace(study, table=study.table[~above])
    assert window(one_sided).left_out == {FAR: 9, ONE_SIDED: 3}
    assert "3 because its budget has no runs on both sides" in window(one_sided).rows_note


def optimum(runs):
    return LAW["N0"] * (6 * runs["N"] * runs["D"] / LAW["C0"]) ** LAW["a"]


def test_rows_off_lines_are_left_out():
    study = lines()
    extra = study.table.iloc[:2].assign(run=["x", "y"], D=[3.3e10, 1.7e10])
    more = dataclasses.replace(study, table=pd.concat([study.table, extra], ignore_index=True))
    assert window(more).left_out == {OFF_LINE: 2}
    assert middle_budget(more, "total") == middle_budget(study, "total")


def test_the_window_twice_is_the_window_once():
    once = window(sb.load_study("porian2024-rw-5-tuned"))
    twice = window(once)
    assert twice.data_hash == once.data_hash
    assert (twice.rows_note, twice.window) == (once.rows_note, once.window)
    assert once.n_used < sb.load_study("porian2024-rw-5-tuned").n_used


def test_the_middle_budget_depends_neither_on_losses_nor_on_the_window():
    study = sb.load_study("porian2024-rw-5-tuned")
    table = study.table.assign(loss=study.table["loss"].sample(frac=1, random_state=1).to_numpy())
    expected = middle_budget(study, "total")
    assert middle_budget(window(study), "total") == expected
    assert middle_budget(dataclasses.replace(study, table=table), "total") == expected


def test_a_stated_compute_puts_runs_on_lines_that_6ND_would_not():
    """Marin's budgets count attention; 6 N D of a line differs by a third."""
    study = sb.load_study("marin2026-comma")
    kept = window(study)
    assert kept.n_used > 70
    spread = np.log(6 * kept.runs["N"] * kept.runs["D"] / kept.runs["flops"])
    assert np.ptp(spread) > 0.2


def test_other_hypotheses_keep_their_rows():
    study = sb.load_study(PORIAN)
    assert windowed(study, load_hypothesis("hoffmann-total")) is study


def test_the_surface_has_the_rows_and_the_priors_of_the_law_that_it_restricts():
    free, surface = load_hypothesis("isoflop"), load_hypothesis("isoflop-surface")
    study = sb.load_study(PORIAN)
    assert windowed(study, free).data_hash == windowed(study, surface).data_hash
    assert set(free.priors) - set(surface.priors) == {"a", "log_gamma"}
    assert all(free.priors[name] == prior for name, prior in surface.priors.items())


def test_any_law_can_be_put_on_those_rows(tmp_path):
    text = (models_folder() / "hoffmann-total.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    text = text.replace('window = "default"', 'window = "isoflop"')
    path.write_text(text, encoding="utf-8")
    model = sb.build(PORIAN, path)
    assert list(model.coords["run"]) == list(window(sb.load_study(PORIAN)).runs["run"])


def test_a_study_off_lines_is_told_what_is_missing():
    with pytest.raises(StudyError, match="3 budgets, each spent on 3 sizes.*Found 1 among"):
        sb.fit("li2025-misfitting", "isoflop", cache=False)
    with pytest.raises(StudyError, match="their compute taken as 6 N D"):
        sb.build(lines(budgets=2), "isoflop")


def test_a_grid_on_one_side_of_the_optimum_is_refused():
    steep = LAW | {"alpha": 0.6, "beta": 0.6}
    with pytest.raises(StudyError, match="of 5 isoFLOP lines have runs on both sides.*Add smaller"):
        sb.build(lines(steep, reach=2.0, shift=5.0), "isoflop")


def test_the_model_states_what_the_law_says_of_its_middle_budget():
    model = sb.build(PORIAN, "isoflop-surface")
    with model:
        kwargs = {"mode": "FAST_COMPILE"}
        tree = pm.sample_prior_predictive(draws=50, random_seed=1, compile_kwargs=kwargs)
    prior = tree["prior"].to_dataset()
    C0 = middle_budget(sb.load_study(PORIAN), "total")
    law = {name: prior[name] for name in ("A", "B", "alpha", "beta")}
    N, D = optimal_allocation(C0, **law)
    np.testing.assert_allclose(np.log(N), prior["n0"])
    np.testing.assert_allclose(D / N, np.exp(prior["log_ratio"]))
    loss = chinchilla(N, D, E=0.0, **law)
    np.testing.assert_allclose(loss, prior["K"])
    np.testing.assert_allclose(prior["gamma"], prior["a"] * prior["alpha"])


def test_a_simulated_study_has_the_given_law_or_the_priors():
    given = {name: LAW[name] for name in ("E", "K", "a", "gamma", "alpha", "beta")}
    given |= {"n0": np.log(1e9), "sigma": 1e-6}
    study, truth = sb.simulate(lines(), "isoflop", parameters=given, random_seed=1)
    np.testing.assert_allclose(study.runs["loss"], lines().runs["loss"], rtol=1e-3)
    assert truth["C0"] == pytest.approx(1.2e20)
    _, drawn = sb.simulate(lines(), "isoflop-surface", random_seed=2)
    N, _ = optimal_allocation(drawn["C0"], **{k: drawn[k] for k in ("A", "B", "alpha", "beta")})
    assert np.log(N) == pytest.approx(drawn["n0"])
    with pytest.raises(sb.InputError, match="has no 'A'"):
        sb.simulate(lines(), "isoflop", parameters={"A": 1.0}, random_seed=1)


@pytest.fixture(scope="module")
def fitted():
    study = lines(noise=0.002, budgets=7, seed=4)
    return sb.fit(study, "isoflop", draws=500, tune=500, cores=1, cache=False)


@pytest.mark.slow
def test_the_law_is_recovered_from_its_own_losses(fitted):
    truth = {name: LAW[name] for name in ("E", "K", "a", "gamma", "alpha", "beta")}
    for name, value in (truth | {"n0": np.log(LAW["N0"])}).items():
        low, high = fitted["posterior"][name].quantile([0.001, 0.999]).values
        assert low < value < high, name
    assert fitted.attrs["converged"]
    assert float(fitted["posterior"]["a"].std()) < 0.02
    assert fitted.attrs["C0"] == pytest.approx(1.2e20)


@pytest.mark.slow
def test_a_surface_is_refuted_by_curves_that_it_cannot_have(fitted):
    """LAW has a = .6 with alpha = .7 and beta = .3, where a surface has a = .3."""
    study = lines(noise=0.002, budgets=7, seed=4)
    surface = sb.fit(study, "isoflop-surface", draws=500, tune=500, cores=1, cache=False)
    assert fitted.attrs["n_used"] == surface.attrs["n_used"]
    assert fitted.attrs["data_hash"] == surface.attrs["data_hash"]
    assert fitted.attrs["log_evidence"] - surface.attrs["log_evidence"] > 10


@pytest.mark.slow
def test_the_optimum_of_a_fit_is_in_closed_form_and_in_the_laws_count_alone(fitted):
    best = sb.optimal(fitted, [1e19, 1e22])
    posterior = fitted["posterior"]
    N = np.exp(posterior["n0"]) * (best["compute"] / fitted.attrs["C0"]) ** posterior["a"]
    np.testing.assert_allclose(best["N"], N.transpose("compute", "chain", "draw"))
    np.testing.assert_allclose(6 * best["N"] * best["D"] / best["compute"], 1.0)
    assert (best["exponent"] == posterior["a"]).all()
    one = {name: float(posterior[name][0, 0]) for name in ("E", "K", "gamma")}
    expected = one["E"] + one["K"] * (1e22 / fitted.attrs["C0"]) ** -one["gamma"]
    assert float(best["loss"].sel(compute=1e22)[0, 0]) == pytest.approx(expected)
    with pytest.raises(CountingError, match="both counted as total"):
        sb.optimal(fitted, 1e22, counting="body")
    with pytest.raises(CountingError, match="isoflop-surface"):
        sb.optimal(fitted, 1e22, flops="6ND:body")


@pytest.mark.slow
def test_predicted_losses_are_the_laws(fitted):
    draws = predict(fitted, {"N": [1e9, 2e9], "D": [2e10, 1e10]}, random_seed=1)
    truth = isoflop(np.array([1e9, 2e9]), np.array([2e10, 1e10]), **LAW)
    np.testing.assert_allclose(draws["loss"].median(("chain", "draw")), truth, rtol=2e-3)
    assert list(draws["domain"].values) == ["interpolation", "interpolation"]


@pytest.mark.slow
def test_its_exponents_do_not_pool_and_its_words_say_where_they_hold(fitted):
    text = fit_text(fitted)
    assert "C0 = 1.20e20 FLOP" in text
    assert "gamma" in text and "C^-gamma" in text
    with pytest.raises(HypothesisError, match="steepness of isoFLOP curves"):
        sb.pool([fitted, _of_another_study(fitted)])


def _of_another_study(fit):
    other = fit.copy()
    other.attrs |= {"study": "other", "data_hash": "other"}
    return other


def test_natural_quantities_follow_from_the_latents():
    hypothesis = load_hypothesis("isoflop-surface")
    latents = prior_latents(hypothesis, 20, np.random.default_rng(1))
    known = natural_quantities(latents, law="isoflop-surface")
    alpha, beta = known["alpha"], known["beta"]
    np.testing.assert_allclose(known["a"], beta / (alpha + beta))
    np.testing.assert_allclose(1 / known["gamma"], 1 / alpha + 1 / beta)


def test_C_is_6ND_in_the_hypothesis_own_count():
    study = sb.load_study(PORIAN)
    total = load_hypothesis("isoflop")
    body = dataclasses.replace(total, counting="body")
    ratio = np.exp(run_data(study, total)["log_budget"] - run_data(study, body)["log_budget"])
    counts = run_data(study, total)["N"] / run_data(study, body)["N"]
    middle = middle_budget(study, "total") / middle_budget(study, "body")
    np.testing.assert_allclose(ratio, counts / middle)
