import dataclasses

import numpy as np
import pytest
from fits import EPOCH, HOFFMANN, thinned_design, user_study
from scipy import stats

import scalebayes as sb
from scalebayes import gate
from scalebayes.build import run_data
from scalebayes.compiled import log_density
from scalebayes.diagnostics import effective_draws
from scalebayes.errors import CountingError, HypothesisError, InputError, StudyError
from scalebayes.gate import Settings
from scalebayes.hypotheses import load_hypothesis
from scalebayes.laws import ANCHOR_D, ANCHOR_N, chinchilla, coefficients, nested
from scalebayes.likelihoods import log_likelihood
from scalebayes.optimum import optimal_allocation
from scalebayes.simulate import simulate

CHINCHILLA_COMPUTE = 5.76e23  # Hoffmann et al. (2022), arXiv:2203.15556
TRUTH = EPOCH | {"sigma": 0.01, "nu": 4.0}


def test_a_simulated_study_has_the_designs_runs_and_other_losses():
    design = sb.load_study(HOFFMANN)
    study, truth = sb.simulate(design, "hoffmann-total", random_seed=1)
    kept = [name for name in design.runs if name not in ("loss", "loss_se")]
    assert study.runs[kept].equals(design.runs[kept])
    assert (study.runs["loss"] != design.runs["loss"]).all()
    assert (study.n_rows, study.n_used) == (240, 240)
    assert study.data_hash != design.data_hash
    assert (study.counting, study.loss_unit) == (design.counting, "nats")
    assert study.published == {}
    assert "hoffmann-total" in study.source
    assert set(truth) == {"E", "A", "B", "alpha", "beta", "a", "sigma", "nu"}
    assert all(type(value) is float for value in truth.values())


def test_the_same_seed_makes_the_same_study():
    one, two, other = (simulate(HOFFMANN, random_seed=seed) for seed in (1, 1, 2))
    assert one[0].data_hash == two[0].data_hash != other[0].data_hash
    assert one[1] == two[1] != other[1]
    assert simulate(HOFFMANN, random_seed=np.random.default_rng(1))[1] == one[1]


def test_the_noise_is_student_t_on_the_log_of_the_given_law():
    study, truth = simulate(HOFFMANN, parameters=TRUTH, random_seed=2)
    assert {name: truth[name] for name in TRUTH} == TRUTH
    assert truth["a"] == pytest.approx(0.3658 / (0.3478 + 0.3658))
    N = run_data(study, load_hypothesis("hoffmann-total"))["N"]
    law = chinchilla(N, study.runs["D"], **EPOCH)
    z = np.log(study.runs["loss"] / law) / 0.01
    assert stats.kstest(z, stats.t(4.0).cdf).pvalue > 0.01


def test_normal_noise_has_no_tails():
    parameters = EPOCH | {"sigma": 0.02}
    study, truth = simulate(HOFFMANN, "normal-noise", parameters=parameters, random_seed=3)
    assert "nu" not in truth
    N = run_data(study, load_hypothesis("normal-noise"))["N"]
    z = np.log(study.runs["loss"] / chinchilla(N, study.runs["D"], **EPOCH)) / 0.02
    assert stats.kstest(z, "norm").pvalue > 0.01


def test_an_evaluations_error_adds_noise_and_stays_the_same_share_of_the_loss():
    design = user_study(columns={"loss_se": 0.3})
    study, _ = simulate(design, parameters=TRUTH | {"sigma": 1e-6}, random_seed=4)
    np.testing.assert_allclose(
        study.runs["loss_se"] / study.runs["loss"], design.runs["loss_se"] / design.runs["loss"]
    )
    z = np.log(study.runs["loss"] / chinchilla(design.runs["N"], design.runs["D"], **EPOCH))
    scale = design.runs["loss_se"] / design.runs["loss"]
    assert stats.kstest(z / scale, stats.t(4.0).cdf).pvalue > 0.01


def test_values_that_are_not_given_come_from_the_prior():
    hypothesis = load_hypothesis("hoffmann-total")
    truths = [simulate(user_study(), hypothesis, random_seed=seed)[1] for seed in range(100)]
    for name in ("E", "alpha", "beta", "sigma"):
        prior = hypothesis.priors[f"log_{name}"].frozen()
        assert stats.kstest(np.log([one[name] for one in truths]), prior.cdf).pvalue > 1e-3


def test_a_coefficient_that_is_not_given_goes_with_the_given_exponent():
    """A comes from its anchored term's prior: 90% of terms of 1e9 parameters in 0.1 to 2.6 nats."""
    truths = [
        simulate(user_study(), parameters={"alpha": 0.8}, random_seed=seed)[1] for seed in range(60)
    ]
    terms = np.array([one["A"] / 1e9 ** one["alpha"] for one in truths])
    assert ((terms > 0.05) & (terms < 6)).mean() > 0.9


def test_rows_of_one_trajectory_are_moved_together():
    design = sb.load_study("porian2024-rw-1-kaplan")
    parameters = TRUTH | {"sigma": 1e-9, "tau": 0.02}
    study, truth = simulate(design, parameters=parameters, random_seed=1)
    assert truth["tau"] == 0.02
    N = run_data(study, load_hypothesis("hoffmann-total"))["N"]
    shift = np.log(study.runs["loss"] / chinchilla(N, study.runs["D"], **EPOCH))
    by_run = shift.groupby(study.runs["trajectory"]).agg(["mean", "std", "size"])
    shared = by_run[by_run["size"] > 1]
    assert shared["std"].max() < 1e-6
    assert stats.kstest(shared["mean"] / 0.02, "norm").pvalue > 0.01
    assert by_run.loc[by_run["size"] == 1, "mean"].abs().max() < 1e-6
    assert "tau" not in simulate(HOFFMANN, random_seed=1)[1]
    with pytest.raises(InputError, match="has no 'tau'"):
        simulate(HOFFMANN, parameters={"tau": 0.01}, random_seed=1)


def test_warm_up_wastes_tokens_and_noise_grows_as_they_get_few():
    design = user_study(columns={"warmup_tokens": 3e9})
    study, truth = simulate(
        design, "warmup", parameters=TRUTH | {"sigma": 1e-9, "kappa": 0.4}, random_seed=1
    )
    D = study.runs["D"]
    law = chinchilla(study.runs["N"], D - 0.4 * np.minimum(3e9, D), **EPOCH)
    np.testing.assert_allclose(study.runs["loss"], law, rtol=1e-6)
    assert truth["kappa"] == 0.4
    with pytest.raises(InputError, match="kappa must be finite and above 0 and below 1"):
        simulate(design, "warmup", parameters={"kappa": 1.0}, random_seed=1)
    parameters = TRUTH | {"eta": 0.5, "sigma": 0.001}
    study, _ = simulate(HOFFMANN, "ratio-noise", parameters=parameters, random_seed=2)
    N = run_data(study, load_hypothesis("hoffmann-total"))["N"]
    z = np.log(study.runs["loss"] / chinchilla(N, study.runs["D"], **EPOCH))
    z = z / (0.001 * (20 * N / study.runs["D"]) ** 0.5)
    assert stats.kstest(z, stats.t(4.0).cdf).pvalue > 0.01


def test_a_latent_counting_is_drawn_or_given():
    omegas = [simulate(HOFFMANN, "latent-counting", random_seed=s)[1]["omega"] for s in range(60)]
    atoms = np.isin(omegas, [0.0, 1.0, 2.0]).mean()
    assert 0.3 < atoms < 0.7
    assert max(omegas) <= 3
    given = TRUTH | {"omega": 0.0}
    study, truth = simulate(HOFFMANN, "latent-counting", parameters=given, random_seed=1)
    assert truth["omega"] == 0
    law = chinchilla(study.runs["body"], study.runs["D"], **EPOCH)
    assert np.median(np.abs(np.log(study.runs["loss"] / law))) < 0.012


def test_only_used_rows_are_simulated():
    study, _ = simulate("porian2024-rw-3-warmup", random_seed=1)
    assert study.n_rows == study.n_used == sb.load_study("porian2024-rw-3-warmup").n_used


def test_a_law_without_offset_has_none():
    truth = simulate(HOFFMANN, "kaplan", parameters={"beta": 0.1}, random_seed=1)[1]
    assert "E" not in truth
    assert truth["q"] == pytest.approx(truth["beta"]) == pytest.approx(0.1)
    truth = simulate(HOFFMANN, "symmetric", parameters={"alpha": 0.4}, random_seed=1)[1]
    assert truth["beta"] == truth["alpha"] == pytest.approx(0.4)
    with pytest.raises(InputError, match="has no 'E'"):
        simulate(HOFFMANN, "kaplan", parameters={"E": 1.0}, random_seed=1)
    with pytest.raises(InputError, match="has no 'beta'"):
        simulate(HOFFMANN, "symmetric", parameters={"beta": 0.3}, random_seed=1)


def test_a_given_q_goes_into_the_law():
    parameters = TRUTH | {"q": 0.4, "sigma": 1e-9}
    study, _ = simulate(HOFFMANN, "nested", parameters=parameters, random_seed=1)
    N = run_data(study, load_hypothesis("nested"))["N"]
    size, data = 482.01 / N**0.3478, 2085.43 / study.runs["D"] ** 0.3658
    expected = 1.8172 + (size**2.5 + data**2.5) ** 0.4
    np.testing.assert_allclose(study.runs["loss"], expected, rtol=1e-6)


WRONG = {
    "an unknown name": ({"gamma": 1.0}, "has no 'gamma'; known are"),
    "a derived value": ({"a": 0.5}, "has no 'a'"),
    "a negative exponent": ({"alpha": -0.1}, "alpha must be finite and above 0, got -0.1"),
    "no irreducible loss": ({"E": 0.0}, "E must be finite and above 0"),
    "tails without a mean": ({"nu": 1.0}, "nu must be finite and above 1"),
    "a negative omega": ({"omega": -1.0}, "omega must be finite"),
    "an infinity": ({"A": np.inf}, "A must be finite"),
    "text": ({"A": "400"}, "A must be finite and above 0, got '400'"),
}


@pytest.mark.parametrize(("parameters", "message"), WRONG.values(), ids=WRONG)
def test_wrong_parameters_are_refused(parameters, message):
    with pytest.raises(InputError, match=message):
        simulate(HOFFMANN, parameters=parameters, random_seed=1)


def test_what_cannot_be_had_is_refused():
    with pytest.raises(CountingError):
        simulate(user_study(), "hoffmann-nonembedding", random_seed=1)
    with pytest.raises(HypothesisError):
        simulate(HOFFMANN, "hofmann", random_seed=1)
    with pytest.raises(InputError, match="has no 'nu'"):
        simulate(HOFFMANN, "normal-noise", parameters={"nu": 3.0}, random_seed=1)
    with pytest.raises(StudyError, match="beyond floating-point"):
        simulate(HOFFMANN, parameters={"alpha": 900.0}, random_seed=1)


N_SIMULATED, N_RANKS, N_BINS, MIN_ESS = 50, 100, 5, 50


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hoffmann-total", "kaplan"])
def test_ranks_of_truths_among_posterior_draws_are_uniform(name):
    """Simulation-based calibration (Talts et al. 2018, arXiv:1804.06788).

    The log likelihood is among the quantities: it notices posteriors that ignore the data (Modrak
    et al. 2023, arXiv:2211.02383).
    """
    design, hypothesis = thinned_design(HOFFMANN, every=3), load_hypothesis(name)
    ranks = [calibration_ranks(design, hypothesis, seed) for seed in range(N_SIMULATED)]
    for quantity in ranks[0]:
        binned = np.array([rank[quantity] for rank in ranks]) * N_BINS // N_RANKS
        counts = np.bincount(binned, minlength=N_BINS)
        assert stats.chisquare(counts).pvalue > 0.002, (quantity, counts)


@pytest.mark.slow
def test_ranks_of_truths_under_a_run_effect_are_uniform():
    """Ranks of 40 truths from the prior; the design is Porian's first stage, 14 runs with rows."""
    design = sb.load_study("porian2024-rw-1-kaplan")
    ranks = [run_effect_ranks(design, seed) for seed in range(40)]
    for quantity in ranks[0]:
        binned = np.array([rank[quantity] for rank in ranks]) * N_BINS // N_RANKS
        counts = np.bincount(binned, minlength=N_BINS)
        assert stats.chisquare(counts).pvalue > 0.002, (quantity, counts)


def run_effect_ranks(design, seed):
    """Rank, 0 to 99, of each quantity's truth among 99 nearly independent draws."""
    hypothesis = load_hypothesis("hoffmann-total")
    study, truth = simulate(design, hypothesis, random_seed=seed)
    density = log_density(run_data(study, hypothesis), hypothesis)
    names = ("E", "alpha", "beta", "a", "sigma", "nu", "tau")
    settings = Settings(cores=1, random_seed=seed)
    drawn = gate.draw_posterior(density, hypothesis, settings).quantities
    return {name: int((thinned_by_ess(drawn[name]) < truth[name]).sum()) for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_effect_of_known_size_is_recovered(seed):
    parameters = EPOCH | {"sigma": 0.004, "nu": 4.0, "tau": 0.004}
    study, truth = simulate("porian2024-rw-1-kaplan", parameters=parameters, random_seed=seed)
    fit = sb.fit(study, "hoffmann-total", cores=1, cache=False)
    assert fit.attrs["converged"] == 1, fit.attrs["problems"]
    assert fit.attrs["log_evidence_se"] < gate.MAX_EVIDENCE_SE
    for name in ("E", "alpha", "beta", "a", "sigma", "tau"):
        assert 0.001 < float((fit.posterior[name] < truth[name]).mean()) < 0.999, name


def calibration_ranks(design, hypothesis, seed):
    """Rank, 0 to 99, of each quantity's truth among 99 nearly independent draws."""
    study, truth = simulate(design, hypothesis, random_seed=seed)
    data = run_data(study, hypothesis)
    settings = Settings(draws=1000, tune=500, cores=1, random_seed=seed)
    posterior = gate.draw_posterior(log_density(data, hypothesis), hypothesis, settings)
    drawn = with_derived(posterior.quantities, data)
    thinned = {name: thinned_by_ess(values) for name, values in drawn.items()}
    known = with_derived({name: np.array(value) for name, value in truth.items()}, data)
    return {name: int((thinned[name] < known[name]).sum()) for name in known}


def with_derived(quantities, data):
    """Coefficients, terms at the anchors, a, D*/N* and the log likelihood, of the inputs' shape."""
    law = coefficients(quantities)
    each = {name: value[..., None] for name, value in law.items()}
    pointwise = log_likelihood(
        "student-t",
        data["observed_log_loss"],
        mu=np.log(nested(data["N"], data["D"], **each)),
        sigma=quantities["sigma"][..., None],
        nu=quantities["nu"][..., None],
    )
    terms = {
        "term_N": law["A"] / ANCHOR_N ** law["alpha"],
        "term_D": law["B"] / ANCHOR_D ** law["beta"],
    }
    if "q" not in law:
        slopes = {name: law[name] for name in ("A", "B", "alpha", "beta")}
        N, D = optimal_allocation(CHINCHILLA_COMPUTE, **slopes)
        terms["ratio"] = D / N
    named = {name: quantities[name] for name in (*law, "a", "sigma", "nu")}
    return named | terms | {"log_likelihood": pointwise.sum(axis=-1)}


def thinned_by_ess(draws):
    """99 draws as far apart as the chains are long; chains are long enough for their ESS."""
    flat = draws.ravel()
    assert effective_draws(draws) > MIN_ESS
    return flat[np.linspace(0, flat.size - 1, N_RANKS - 1).astype(int)]


@pytest.mark.slow
def test_a_simulated_sweep_gives_back_its_law():
    study, truth = simulate(HOFFMANN, parameters=TRUTH, random_seed=5)
    fit = sb.fit(study, "hoffmann-total", cores=1, cache=False)
    assert fit.attrs["converged"] == 1
    for name in ("E", "alpha", "beta", "a", "sigma", "nu"):
        draws = fit.posterior[name]
        assert float((draws < truth[name]).mean()) == pytest.approx(0.5, abs=0.499)
    assert dataclasses.asdict(study)["name"] == f"{HOFFMANN}-simulated"
