from dataclasses import dataclass, replace

import numpy as np
import pytest
from fits import HOFFMANN, hoffmann_posterior, user_study
from scipy import stats

import scalebayes as sb
from scalebayes import gate
from scalebayes.build import run_data
from scalebayes.compiled import log_density
from scalebayes.errors import SamplingInterrupted
from scalebayes.evidence import Evidence
from scalebayes.gate import (
    MAX_EVIDENCE_SE,
    MAX_GAP,
    Posterior,
    Settings,
    checked_posterior,
    draw_posterior,
    log_prior,
    prior_latents,
    prior_medians,
    sampled,
)
from scalebayes.hypotheses import load_hypothesis
from scalebayes.sampling import Draws, highest_density

HYPOTHESIS = load_hypothesis("normal-noise")
NAMES = ("log_E", "log_term_N", "log_term_D", "log_alpha", "log_beta", "log_sigma")


@dataclass(frozen=True)
class Modes:
    """Standard normal in six latents, and a second mode at `at` that is `higher` nats higher."""

    at: float = 0.0
    higher: float = -np.inf

    def value_and_gradient(self, x):
        low, high = -x @ x / 2, self.higher - (x - self.at) @ (x - self.at) / 2
        value = np.logaddexp(low, high)
        share = np.exp(high - value)
        return value, -(1 - share) * x - share * (x - self.at)

    def values(self, points):
        return np.array([self.value_and_gradient(x)[0] for x in np.atleast_2d(points)])

    def constrain(self, points):
        return dict(zip(NAMES, 0.3 * np.moveaxis(points, -1, 0), strict=True))

    def unconstrain(self, latents):
        return np.stack([latents[name] for name in NAMES], axis=-1) / 0.3


def posterior_of(density, *, shape=(4, 1000), shift=0.0, se=0.01, divergences=0, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((*shape, 6))
    log_density = density.values(points.reshape(-1, 6)).reshape(shape)
    points = points + shift * (np.arange(shape[0]) >= shape[0] / 2)[:, None, None]
    diverging = np.zeros(shape, dtype=bool)
    diverging.flat[:divergences] = True
    sampled = {"diverging": diverging, "energy": rng.standard_normal(shape)}
    draws = Draws(unconstrained=points, log_density=log_density, stats=sampled, settings={})
    evidence = Evidence(log_evidence=0.0, se=se)
    return Posterior(
        density=density,
        hypothesis=HYPOTHESIS,
        draws=draws,
        evidence=evidence,
        sampler_stats=draws.stats,
    )


@pytest.fixture
def gate_without_retries(monkeypatch):
    """The gate, with each attempt after the first as bad as the first."""

    def check(posterior):
        monkeypatch.setattr(gate, "draw_posterior", lambda *args, **kwargs: posterior)
        return checked_posterior(posterior.density, HYPOTHESIS, Settings(), first=posterior)

    return check


def test_good_draws_pass(gate_without_retries):
    checked = gate_without_retries(posterior_of(Modes()))
    assert checked.problems == ()
    assert checked.diagnostics.r_hat < 1.01


def test_every_free_and_natural_quantity_is_checked(gate_without_retries):
    checked = gate_without_retries(posterior_of(Modes()))
    natural = {"E", "A", "B", "alpha", "beta", "a", "sigma"}
    assert set(checked.diagnostics.checked) == {*NAMES} | natural


BAD = {
    "separated chains": (dict(shift=3.0), "R-hat"),
    "short chains": (dict(shape=(4, 60)), "ESS"),
    "divergences": (dict(divergences=2), "2 divergent transitions"),
    "an uncertain evidence": (dict(se=0.2), "log evidence known to 0.200 nats only"),
    "an evidence without error": (dict(se=np.nan), "log evidence known to nan nats only"),
    "an endless bridge": (dict(se=np.inf), "log evidence known to inf nats only"),
}


@pytest.mark.parametrize(("fault", "sentence"), BAD.values(), ids=BAD)
def test_bad_draws_fail_and_say_why(gate_without_retries, fault, sentence):
    checked = gate_without_retries(posterior_of(Modes(), **fault))
    assert any(sentence in problem for problem in checked.problems)


def test_draws_that_missed_a_higher_mode_fail(gate_without_retries):
    checked = gate_without_retries(posterior_of(Modes(at=-5.0, higher=12.0)))
    assert any("a mode missed" in problem for problem in checked.problems)


def test_a_lower_mode_somewhere_else_does_not_fail_good_draws(gate_without_retries):
    assert gate_without_retries(posterior_of(Modes(at=-5.0, higher=-12.0))).problems == ()


def test_a_failure_is_drawn_again_at_most_twice(monkeypatch):
    attempts = []

    def draw(*args, attempt, **kwargs):
        attempts.append(attempt)
        return posterior_of(Modes(), divergences=1 if attempt < 2 else 0)

    monkeypatch.setattr(gate, "draw_posterior", draw)
    assert checked_posterior(Modes(), HYPOTHESIS, Settings()).problems == ()
    assert attempts == [0, 1, 2]


def test_draws_at_hand_are_looked_at_before_others_are_made(monkeypatch):
    def draw(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(gate, "draw_posterior", draw)
    first = posterior_of(Modes())
    assert checked_posterior(Modes(), HYPOTHESIS, Settings(), first=first).draws is first.draws


@pytest.fixture
def asked(monkeypatch):
    """What the sampler was asked for, one mapping per sampling; it gives good draws."""
    calls = []

    def sample(density, start, **settings):
        calls.append(settings)
        return posterior_of(Modes(), shape=(settings["chains"], settings["draws"])).draws

    monkeypatch.setattr(gate, "sample", sample)
    return calls


def test_later_attempts_draw_more_with_smaller_steps_and_another_seed(asked):
    posteriors = [
        draw_posterior(Modes(), HYPOTHESIS, Settings(draws=200, tune=300), attempt=attempt)
        for attempt in range(3)
    ]
    assert [one["draws"] for one in asked] == [200, 800, 800]
    assert [one["adaptation"] for one in asked] == ["low_rank", "low_rank", "diag"]
    assert [one["target_accept"] for one in asked] == [0.9, 0.95, 0.99]
    assert len({one["seed"] for one in asked}) == 3
    assert {one.draws.log_density.shape for one in posteriors} == {(4, 200)}


@pytest.mark.parametrize("divergences", [1, 2, 5])
def test_a_longer_chain_that_is_thinned_keeps_its_divergences(monkeypatch, divergences):
    long = posterior_of(Modes(), shape=(4, 800), divergences=divergences).draws
    monkeypatch.setattr(gate, "sample", lambda *args, **kwargs: long)
    kept = draw_posterior(Modes(), HYPOTHESIS, Settings(draws=200), attempt=1)
    assert 1 <= kept.draws.stats["diverging"].sum() <= divergences
    np.testing.assert_array_equal(kept.draws.unconstrained, long.unconstrained[:, ::4])
    np.testing.assert_array_equal(kept.draws.log_density, long.log_density[:, ::4])


def test_seeds_differ_between_the_purposes_of_one_fit_and_between_random_seeds():
    paths = [(0, 0.0), (0, 0.25), (1, 0.25), (2, 0.25), (0, 0.25, 1), (0, 0.0, 1), (0, 7, 0.25)]
    paths += [(0, 7, 0.0), (4,), (5,), (99, 0.25), (99, 0.0)]
    seeds = [Settings(random_seed=s).seed(*path) for s in range(3) for path in paths]
    assert len(set(seeds)) == len(seeds)
    assert seeds[1] == Settings(random_seed=0).seed(0, np.float64(0.25))
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_the_optimiser_finds_the_mode_of_hoffmanns_points_from_prior_draws():
    posterior = hoffmann_posterior()
    starts = prior_latents(posterior.hypothesis, 20, np.random.default_rng(0))
    value, point = highest_density(posterior.density, posterior.density.unconstrain(starts))
    best = posterior.draws.log_density.max()
    assert best <= value < best + MAX_GAP
    assert posterior.density.value_and_gradient(point)[0] == pytest.approx(value)
    latents = posterior.density.constrain(point)
    assert np.exp(latents["log_E"]) == pytest.approx(1.81, abs=0.03)


def test_a_density_that_was_lowered_by_a_second_world_is_caught():
    """Draws of the posterior with one beta; the density has the data of the other."""
    hypothesis = load_hypothesis("hoffmann-total")
    right = hoffmann_posterior()
    study = sb.load_study(HOFFMANN)
    shifted = replace(study, table=study.table.assign(D=study.table["D"] ** 1.02))
    wrong = log_density(run_data(shifted, hypothesis), hypothesis)
    latents = right.density.constrain(right.draws.unconstrained)
    there = wrong.unconstrain(latents)
    heights = wrong.values(there.reshape(-1, 7)).reshape(there.shape[:2])
    draws = replace(right.draws, unconstrained=there, log_density=heights)
    starts = wrong.unconstrain(prior_latents(hypothesis, 20, np.random.default_rng(0)))
    assert highest_density(wrong, starts)[0] - draws.log_density.max() > MAX_GAP


def test_prior_draws_and_medians_are_of_the_files_priors():
    hypothesis = load_hypothesis("hoffmann-total")
    draws = prior_latents(hypothesis, 4000, np.random.default_rng(1))
    assert list(draws) == [*NAMES, "nu_minus_one", "tau"]
    for name, prior in zip(draws, hypothesis.priors.values(), strict=True):
        assert stats.kstest(draws[name], prior.frozen().cdf).pvalue > 1e-3
        assert prior_medians(hypothesis)[name] == pytest.approx(prior.frozen().ppf(0.5))


def test_a_small_sweep_of_known_law_is_recovered():
    study = user_study(noise=0.003)
    density = log_density(run_data(study, HYPOTHESIS), HYPOTHESIS)
    posterior = checked_posterior(density, HYPOTHESIS, Settings(draws=500, tune=500, cores=1))
    assert posterior.problems == ()
    a = posterior.quantities["a"]
    assert abs(a.mean() - 0.5126) < 4 * a.std()
    assert posterior.quantities["sigma"].mean() == pytest.approx(0.003, rel=0.5)


def test_a_mode_of_like_height_far_from_every_draw_fails_the_fit():
    """Of two equal modes the chains found one: half the mass is missed, at no gain in height."""
    density = Modes(at=-5.0, higher=0.0)  # nearer to most starts than 0 is
    found = gate._checked(posterior_of(density), Settings(), ())
    assert any("far from all draws" in problem for problem in found.problems)


@pytest.mark.parametrize("n", [8, 24])
def test_the_usual_gap_is_that_of_normal_draws(n):
    """The best of 4000 draws of a normal density lies about 0.3 (3.4) nats below its mode."""
    rng = np.random.default_rng(0)
    gaps = [(rng.standard_normal((4000, n)) ** 2).sum(axis=1).min() / 2 for _ in range(40)]
    assert gate._usual_gap(n, 4000) == pytest.approx(np.median(gaps), rel=0.2)


def test_a_lone_mode_is_not_taken_for_a_missed_one():
    assert not gate._checked(posterior_of(Modes()), Settings(), ()).problems


def test_a_seed_is_numpys_seed_sequence_of_the_path():
    """The same in every version, so that a random seed that was printed gives the same draws."""
    sequence = np.random.SeedSequence([5, 0, 7, 262144])  # 1/4 of 2^20
    assert Settings(random_seed=5).seed(0, 7, 0.25) == sequence.generate_state(1)[0]


def test_a_first_attempt_is_as_asked_and_further_ones_tune_twice_as_long(asked):
    settings = Settings(draws=200, tune=300, chains=3, cores=2, target_accept=0.97)
    sampled(Modes(), HYPOTHESIS, settings)
    draw_posterior(Modes(), HYPOTHESIS, settings)
    sampled(Modes(), HYPOTHESIS, settings, attempt=1)
    sampled(Modes(), HYPOTHESIS, settings, attempt=2)
    assert [one["draws"] for one in asked] == [200, 200, 800, 800]
    assert [one["tune"] for one in asked] == [300, 300, 600, 600]
    assert [one["target_accept"] for one in asked] == [0.97, 0.97, 0.97, 0.99]
    assert {(one["chains"], one["cores"]) for one in asked} == {(3, 2)}


def test_the_draws_of_one_fit_have_seeds_of_their_own(asked):
    for path in [(), (0.25,), (0.5,)]:
        draw_posterior(Modes(), HYPOTHESIS, Settings(draws=200), path=path)
    assert len({one["seed"] for one in asked}) == 3


def test_the_evidence_is_reproducible_and_its_seed_is_not_that_of_the_draws(asked, monkeypatch):
    seeds = []

    def bridge(density, draws, *, seed):
        seeds.append(seed)
        return Evidence(log_evidence=0.0, se=0.01)

    monkeypatch.setattr(gate, "bridge_evidence", bridge)
    for path, attempt in [((), 0), ((), 0), ((0.25,), 0), ((0.5,), 0), ((0.5,), 1)]:
        draw_posterior(Modes(), HYPOTHESIS, Settings(draws=200), path=path, attempt=attempt)
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) == 4
    assert not set(seeds) & {one["seed"] for one in asked}


def test_every_sampling_is_recorded_with_what_it_is_for(asked):
    records = []
    settings = Settings(draws=200, chains=2, record=lambda *one: records.append(one))
    density = Modes()
    draws = sampled(density, HYPOTHESIS, settings, path=(0.25,))
    ((path, recorded, chains),) = records
    assert (path, recorded) == ((0.25,), density)
    np.testing.assert_array_equal([one["log_density"] for one in chains], draws.log_density)


def test_an_interrupted_sampling_is_recorded_before_it_is_passed_on(monkeypatch):
    chains = ({"log_density": np.zeros(3)},)

    def sample(*args, **kwargs):
        raise SamplingInterrupted(chains=chains)

    monkeypatch.setattr(gate, "sample", sample)
    records = []
    settings = Settings(record=lambda *one: records.append(one))
    density = Modes()
    with pytest.raises(SamplingInterrupted):
        sampled(density, HYPOTHESIS, settings, path=(1, 0.5))
    assert records == [((1, 0.5), density, chains)]


def test_three_bad_attempts_are_given_back_with_the_problems_of_the_last(monkeypatch):
    attempts = []

    def draw(*args, path, attempt):
        attempts.append((path, attempt))
        return posterior_of(Modes(), divergences=7 - attempt)

    monkeypatch.setattr(gate, "draw_posterior", draw)
    checked = checked_posterior(Modes(), HYPOTHESIS, Settings(), path=(0.25,))
    assert attempts == [((0.25,), 0), ((0.25,), 1), ((0.25,), 2)]
    assert checked.problems == ("5 divergent transitions",)


def test_bad_draws_at_hand_are_replaced_by_a_second_attempt(monkeypatch):
    good = posterior_of(Modes())
    monkeypatch.setattr(gate, "draw_posterior", lambda *args, attempt, **kwargs: good)
    first = posterior_of(Modes(), divergences=3)
    checked = checked_posterior(Modes(), HYPOTHESIS, Settings(), first=first)
    assert checked.problems == ()
    assert checked.draws is good.draws


def test_a_thinned_chain_keeps_a_divergence_at_the_draw_that_stands_for_it(monkeypatch):
    """Of 800 draws every fourth is kept; draw 6 of chain 2 lies between the kept 4 and 8."""
    long = posterior_of(Modes(), shape=(4, 800)).draws
    long.stats["diverging"][2, 6] = True
    monkeypatch.setattr(gate, "sample", lambda *args, **kwargs: long)
    kept = draw_posterior(Modes(), HYPOTHESIS, Settings(draws=200), attempt=1)
    assert np.argwhere(kept.draws.stats["diverging"]).tolist() == [[2, 1]]
    assert kept.draws.stats["diverging"].shape == (4, 200)
    np.testing.assert_array_equal(kept.draws.stats["energy"], long.stats["energy"][:, ::4])
    assert kept.sampler_stats["diverging"].shape == (4, 800)


def test_prior_draws_are_those_of_the_generator_that_is_given():
    one, again = (prior_latents(HYPOTHESIS, 5, np.random.default_rng(3)) for _ in range(2))
    for name in NAMES:
        np.testing.assert_array_equal(one[name], again[name])


def test_the_log_prior_is_the_sum_over_the_free_variables_that_are_given():
    # models/normal-noise.toml: log_E ~ Normal(0.5, 0.5), log_sigma ~ Normal(-4.6052, 1)
    points = {"log_E": np.array([0.5, 1.0]), "log_sigma": np.array([-4.6052, -2.6052])}
    others = {"E": np.ones(2), "run_effect": np.ones((2, 4))}
    expected = -np.log(2 * np.pi * 0.5) - np.array([0.0, 1 / 2 + 4 / 2])
    np.testing.assert_allclose(log_prior(points | others, HYPOTHESIS), expected)


def test_the_log_prior_of_the_noise_is_that_of_nu_minus_one():
    hypothesis = load_hypothesis("hoffmann-total")
    prior = hypothesis.priors["nu"].frozen()
    found = log_prior({"nu_minus_one": np.array([0.5, 4.0]), "nu": np.ones(2)}, hypothesis)
    np.testing.assert_allclose(found, prior.logpdf([0.5, 4.0]))


class Symmetric(Modes):
    """The same latents under a law that has alpha = beta."""

    def unconstrain(self, latents):
        return super().unconstrain({"log_beta": latents["log_alpha"]} | latents)


def test_a_quantity_that_the_law_fixes_is_no_fault_but_a_latent_that_stands_still_is():
    """Under alpha = beta the exponent of N* is 1/2 in every draw."""
    posterior = replace(posterior_of(Symmetric()), hypothesis=load_hypothesis("symmetric"))
    checked = gate._checked(posterior, Settings(), ())
    assert checked.problems == ()
    assert "a" not in checked.diagnostics.checked
    still = posterior.draws.unconstrained.copy()
    still[..., 0] = 0.3
    stuck = replace(posterior, draws=replace(posterior.draws, unconstrained=still))
    assert any("log_E" in one for one in gate._checked(stuck, Settings(), ()).problems)


def test_an_evidence_known_just_well_enough_passes():
    assert gate._checked(posterior_of(Modes(), se=MAX_EVIDENCE_SE), Settings(), ()).problems == ()


@pytest.fixture
def searched(monkeypatch):
    """Starts of each search for missed modes, and the rule by which one ends early."""
    calls = []

    def ascended(density, starts, *, arrived):
        calls.append((starts, arrived))
        return np.array([0.0]), np.zeros((1, starts.shape[1]))

    monkeypatch.setattr(gate, "ascended", ascended)
    return calls


def test_a_search_for_missed_modes_starts_at_twenty_prior_draws_that_a_path_settles(searched):
    posterior = posterior_of(Modes())
    for path in [(), (), (0.25,)]:
        gate._checked(posterior, Settings(), path)
    (one, _), (again, _), (other, _) = searched
    assert one.shape == (20, 6)
    np.testing.assert_array_equal(one, again)
    assert (one != other).all()


def test_a_search_ends_early_only_high_up_and_among_the_draws(searched):
    posterior = posterior_of(Modes())
    gate._checked(posterior, Settings(), ())
    ((_, arrived),) = searched
    typical = np.median(posterior.draws.log_density)
    points = posterior.draws.unconstrained.reshape(-1, 6)
    farthest = points[np.argmax((points**2).sum(axis=1))]
    assert arrived(typical + 0.1, np.zeros(6))
    assert not arrived(typical - 0.1, np.zeros(6))
    assert not arrived(typical + 0.1, 1.2 * farthest)  # 1.44 of its squared distance


@pytest.mark.parametrize(("usual_gaps", "missed"), [(0.0, False), (2.0, True)])
def test_a_missed_mode_is_three_nats_above_the_draws_besides_what_is_usual(usual_gaps, missed):
    posterior = posterior_of(Modes(), shape=(4, 500))
    gap = MAX_GAP + usual_gaps * gate._usual_gap(6, 2000)
    heights = posterior.draws.log_density  # the mode is at 0 nats
    lowered = replace(posterior.draws, log_density=heights - heights.max() - gap)
    problems = gate._missed_modes(replace(posterior, draws=lowered), 1)
    assert any("a mode missed" in one for one in problems) == missed


def test_distance_is_measured_in_standard_deviations_from_the_draws_own_centre():
    # variances 6 and 2/3: each of the four draws is at a squared distance of 3/2 from the centre
    draws = np.add([10.0, -5.0], [[[3, 0], [-3, 0]], [[0, 1], [0, -1]]])
    distance = gate._distance_to(draws)
    points = np.array([[13.0, -5.0], [10.0, -6.0], [10.0, -5.0], [16.0, -5.0], [10.0, -8.0]])
    np.testing.assert_allclose(distance(points), [1.0, 1.0, 0.0, 4.0, 9.0], atol=1e-12)
