import dataclasses

import numpy as np
import pymc as pm
import pytest
from fits import EPOCH, HOFFMANN, study_of, user_study
from scipy import stats

import scalebayes as sb
from scalebayes.build import OMEGA_GRID, build, latent_names, natural_quantities, run_data
from scalebayes.errors import CountingError, StudyError
from scalebayes.hypotheses import LATENT, hypothesis_names, load_hypothesis, without_run_effect
from scalebayes.laws import chinchilla
from scalebayes.noise import sigma_of_run

CHECKPOINTS = "porian2024-rw-1-kaplan"  # 14 of its 16 trajectories have several rows
FAST = {"mode": "FAST_COMPILE"}


@pytest.fixture(scope="module")
def latent_model():
    return build(HOFFMANN, "latent-counting")


def prior_predictive(model, draws):
    with model:
        return pm.sample_prior_predictive(draws=draws, random_seed=1, compile_kwargs=FAST)


@pytest.mark.parametrize("name", hypothesis_names())
def test_every_hypothesis_is_a_plain_model_with_named_runs(name):
    hypothesis, study = without_run_effect(load_hypothesis(name)), study_of(name)
    model = build(study, name)
    assert isinstance(model, pm.Model)
    assert list(model.coords["run"]) == list(study.runs["run"])
    free = {variable.name for variable in model.free_RVs}
    counting = ["counting"] if hypothesis.counting == LATENT else []
    assert free == {*latent_names(hypothesis), *counting}
    natural = {variable.name for variable in model.deterministics}
    assert natural | free >= {"alpha", "beta", "a"}
    assert natural >= ({"K", "n0", "gamma"} if hypothesis.law == "isoflop" else {"A", "B"})
    assert ("E" in natural) == (hypothesis.law not in ("kaplan", "no-offset"))
    assert ("q" in natural | free) == (hypothesis.law in ("kaplan", "nested"))
    assert ("nu" in natural) == (hypothesis.likelihood != "normal")
    [observed] = model.observed_RVs
    assert model.named_vars_to_dims[observed.name] == ("run",)


def test_rows_of_one_trajectory_share_an_effect_and_others_have_none():
    study = sb.load_study(CHECKPOINTS)
    model = build(study, "hoffmann-total")
    trajectories = study.runs["trajectory"].value_counts()
    shared = set(trajectories.index[trajectories > 1])
    assert set(model.coords["trajectory"]) == shared
    assert 0 < len(shared) < len(trajectories)
    assert model.named_vars_to_dims["run_effect"] == ("trajectory",)
    assert {"tau", "run_effect"} <= {variable.name for variable in model.free_RVs}
    with model:
        tree = pm.sample_prior_predictive(draws=300, random_seed=1, compile_kwargs=FAST)
    draws, index = tree["prior"].to_dataset(), tree["constant_data"]["trajectory_index"].to_numpy()
    ids = np.array([*model.coords["trajectory"], "none"])[index]
    assert (ids[index >= 0] == study.runs["trajectory"][index >= 0]).all()
    assert not study.runs["trajectory"][index < 0].isin(shared).any()
    N = run_data(study, load_hypothesis("hoffmann-total"))["N"]
    coefficients = {name: draws[name].to_numpy()[0, :, None] for name in EPOCH}
    mu = np.log(chinchilla(N, study.runs["D"].to_numpy(), **coefficients))
    effect = np.pad(draws["run_effect"].to_numpy()[0], ((0, 0), (0, 1)))[:, index]
    shift = draws["tau"].to_numpy()[0, :, None] * effect
    noise = tree["prior_predictive"]["log_loss"].to_numpy()[0] - mu - shift
    p = stats.t(draws["nu"].to_numpy()[0, :, None]).cdf(
        noise / draws["sigma"].to_numpy()[0, :, None]
    )
    assert stats.kstest(p.ravel()[::7], "uniform").pvalue > 1e-3


def test_without_shared_trajectories_or_without_tau_there_is_no_run_effect():
    alone = build(HOFFMANN, "hoffmann-total")
    independent = build(CHECKPOINTS, without_run_effect(load_hypothesis("hoffmann-total")))
    for model in (alone, independent):
        assert not {"tau", "run_effect", "trajectory_index"} & set(model.named_vars)
        assert "trajectory" not in model.coords


def test_rows_without_the_id_of_a_trajectory_have_no_effect():
    ids = ["a", "a", "b", "", "", *["c"] * 20]
    study = user_study(columns={"trajectory": ids})
    assert study.shared_trajectories == ("a", "c")
    index = run_data(study, load_hypothesis("hoffmann-total"))["trajectory_index"]
    assert index.tolist() == [0, 0, -1, -1, -1, *[1] * 20]


def test_warm_up_takes_its_part_of_the_tokens():
    """At kappa = 1/2 a run of D tokens, W of them in warm-up, is one of D - min(W, D)/2."""
    study = user_study(columns={"warmup_tokens": [0.0, 1e9, *[5e11] * 23]})
    share = run_data(study, load_hypothesis("warmup"))["warmup_share"]
    np.testing.assert_allclose(share, [0, 1e9 / study.runs["D"][1], *[1.0] * 23])


def test_a_law_of_warm_up_needs_to_know_it():
    with pytest.raises(StudyError, match="240 of 240 used rows have no warmup_tokens"):
        build(HOFFMANN, "warmup")
    some = user_study(columns={"warmup_tokens": [np.nan, *[1e9] * 24]})
    with pytest.raises(StudyError, match="1 of 25 used rows"):
        sb.fit(some, "warmup", cache=False)


def test_the_warm_up_column_of_a_users_table_can_be_mapped():
    table = user_study().runs.assign(warm=2.0)
    study = sb.read_runs(
        table.drop(columns="warmup_tokens", errors="ignore"),
        columns={"warmup_tokens": "warm"},
        units={"warmup_tokens": "B", "N": 1, "D": 1, "loss": "nats"},
        counting="total",
    )
    assert (study.runs["warmup_tokens"] == 2e9).all()


def test_the_noise_grows_as_tokens_per_parameter_fall():
    assert sigma_of_run(0.01, 0.5, log_N=0.0, log_D=np.log(20)) == pytest.approx(0.01)
    assert sigma_of_run(0.01, 0.5, log_N=0.0, log_D=np.log(5)) == pytest.approx(0.02)
    assert sigma_of_run(0.01, None, log_N=0.0, log_D=np.log(5)) == 0.01
    tree = prior_predictive(build(user_study(), "ratio-noise"), 400)
    draws, runs = tree["prior"].to_dataset(), user_study().runs
    N, D = runs["N"].to_numpy(), runs["D"].to_numpy()
    known = {name: draws[name].to_numpy()[0, :, None] for name in (*EPOCH, "sigma", "eta", "nu")}
    mu = np.log(chinchilla(N, D, **{name: known[name] for name in EPOCH}))
    scale = known["sigma"] * (20 * N / D) ** known["eta"]
    z = (tree["prior_predictive"]["log_loss"].to_numpy()[0] - mu) / scale
    assert stats.kstest(stats.t(known["nu"]).cdf(z).ravel(), "uniform").pvalue > 1e-3


def test_the_observed_values_are_log_losses_of_the_used_runs():
    study = sb.load_study(HOFFMANN)
    model = build(study, "hoffmann-total")
    observed = model.rvs_to_values[model["log_loss"]].eval()
    np.testing.assert_allclose(observed, np.log(study.runs["loss"]))
    assert observed.size == 240


def test_a_graph_can_be_drawn_of_the_parts_a_researcher_looks_for(latent_model):
    names = set(latent_model.named_vars)
    assert {"counting", "omega", "body", "head", "D", "log_loss"} <= names
    assert latent_model.coords["counting_choice"][0] == "omega=0"


def test_the_counting_has_its_priors_frequencies(latent_model):
    draws = prior_predictive(latent_model, 4000)["prior"]
    expected = load_hypothesis("latent-counting").omega.weights(OMEGA_GRID)
    counts = np.bincount(draws["counting"].to_numpy().ravel(), minlength=expected.size)
    assert stats.chisquare(counts, 4000 * expected).pvalue > 1e-3
    np.testing.assert_allclose(draws["omega"], np.array(OMEGA_GRID)[draws["counting"]])


def test_do_fixes_the_counting(latent_model):
    """At omega = 2 the prior predictive is that of body + 2 head."""
    fixed = pm.do(latent_model, {"counting": OMEGA_GRID.index(2.0)})
    tree = prior_predictive(fixed, 50)
    assert (tree["prior"]["omega"] == 2.0).all()
    draws = tree["prior"].to_dataset()
    runs = sb.load_study(HOFFMANN).runs
    N = runs["body"].to_numpy() + 2 * runs["head"].to_numpy()
    coefficients = {name: draws[name].to_numpy()[0, :, None] for name in EPOCH}
    mu = np.log(chinchilla(N, runs["D"].to_numpy(), **coefficients))
    noise = tree["prior_predictive"]["log_loss"].to_numpy()[0] - mu
    z = noise / draws["sigma"].to_numpy()[0, :, None]
    p = stats.t(draws["nu"].to_numpy()[0, :, None]).cdf(z)
    assert stats.kstest(p.ravel()[::7], "uniform").pvalue > 1e-3


@pytest.mark.slow
def test_the_latent_model_can_be_sampled_by_pymc_as_it_is():
    study = user_study(n_sizes=4, n_tokens=4)
    table = study.table.assign(body=0.9 * study.table["N"], head=0.1 * study.table["N"])
    study = dataclasses.replace(study, table=table.assign(embedding=table["head"]))
    with build(study, "latent-counting"):
        tree = pm.sample(100, tune=200, chains=2, cores=1, random_seed=1, progressbar=False)
    assert set(np.unique(tree.posterior["omega"])) <= set(OMEGA_GRID)


def test_prior_predictive_losses_are_the_laws_with_student_noise():
    tree = prior_predictive(build(user_study(), "hoffmann-total"), 400)
    draws, runs = tree["prior"].to_dataset(), user_study().runs
    coefficients = {name: draws[name].to_numpy()[0, :, None] for name in EPOCH}
    mu = np.log(chinchilla(runs["N"].to_numpy(), runs["D"].to_numpy(), **coefficients))
    z = (tree["prior_predictive"]["log_loss"].to_numpy()[0] - mu) / draws["sigma"].to_numpy()[0][
        :, None
    ]
    p = stats.t(draws["nu"].to_numpy()[0, :, None]).cdf(z)
    assert stats.kstest(p.ravel(), "uniform").pvalue > 1e-3


def test_natural_quantities_are_those_of_the_published_law():
    latents = {
        "log_E": np.log(1.8172),
        "log_term_N": np.log(482.01) - 0.3478 * np.log(1e9),
        "log_term_D": np.log(2085.43) - 0.3658 * np.log(2e10),
        "log_alpha": np.log(0.3478),
        "log_beta": np.log(0.3658),
        "sigma": 0.01,
        "nu_minus_one": 1.6,
    }
    known = natural_quantities(latents)
    expected = EPOCH | {"a": 0.3658 / (0.3478 + 0.3658), "sigma": 0.01, "nu": 2.6}
    assert known == pytest.approx(expected, rel=1e-12)


def test_omega_weighs_the_vocabulary_matrix():
    study = sb.load_study(HOFFMANN)
    hypothesis = load_hypothesis("latent-counting")
    runs = study.runs
    for omega in (0.0, 0.25, 1.0, 3.0):
        N = run_data(study, hypothesis, omega=omega)["N"]
        np.testing.assert_allclose(N, runs["body"] + omega * runs["head"], rtol=1e-12)
    parts = run_data(study, hypothesis)
    assert "N" not in parts
    np.testing.assert_allclose(parts["head"], runs["head"], rtol=1e-6)


def test_an_unknown_error_of_the_evaluation_counts_as_none():
    study = user_study(columns={"loss_se": [0.02, *[np.nan] * 24]})
    relative = run_data(study, load_hypothesis("hoffmann-total"))["relative_loss_se"]
    assert relative[0] == pytest.approx(0.02 / study.runs["loss"].iloc[0])
    assert (relative[1:] == 0).all()


def test_a_negative_error_of_the_evaluation_is_refused():
    with pytest.raises(StudyError, match="loss_se"):
        build(user_study(columns={"loss_se": -0.1}), "hoffmann-total")


def test_a_count_that_cannot_be_had_is_refused_with_what_is_missing():
    with pytest.raises(CountingError, match="body"):
        build(user_study(), "hoffmann-nonembedding")
    with pytest.raises(CountingError, match="body"):
        build(user_study(), "latent-counting")


def test_an_unknown_study_or_hypothesis_is_refused():
    with pytest.raises(StudyError, match="hoffman"):
        build("hoffman2022")
    with pytest.raises(sb.HypothesisError, match="no hypothesis 'total'"):
        build(HOFFMANN, "total")
