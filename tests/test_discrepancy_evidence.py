import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import halfnorm, norm
from test_discrepancy_model import TRUTH, made_records

from scalebayes.discrepancy import AMPLITUDES
from scalebayes.discrepancy_evidence import (
    discrepancy_evidence,
    exact_law_evidence,
)
from scalebayes.discrepancy_model import PRIOR, Learner, discrepancy_model, held_out_of


def held_out(truth, n_studies, seed, **prior):
    records, _ = made_records(truth, n_studies, seed)
    return records, held_out_of(records, np.ones(n_studies), PRIOR | prior)


def prior_draws(n, seed, scale):
    """Points whose amplitudes come from half-normals of the prior, narrowed."""
    rng = np.random.default_rng(seed)
    scales = np.array([PRIOR[name] for name in AMPLITUDES]) * scale
    amplitudes = halfnorm.rvs(scale=scales, size=(n, len(AMPLITUDES)), random_state=rng)
    return amplitudes, PRIOR["log_noise_factor"] * rng.standard_normal(n)


def test_the_density_is_that_of_the_pymc_model():
    records, known = held_out(TRUTH, 3, 1)
    logp = discrepancy_model(records, np.ones(3)).compile_logp()
    for amplitudes, factor in ((TRUTH, 0.0), (2 * TRUTH, 0.3), (TRUTH[::-1] / 5, -0.4)):
        point = {f"{name}_log__": np.log(x) for name, x in zip(AMPLITUDES, amplitudes, strict=True)}
        expected = float(logp(point | {"log_noise_factor": np.array(factor)}))
        found = known.values(np.array([[*np.log(amplitudes), factor]]))[0]
        assert found == pytest.approx(expected, rel=1e-10)


def test_the_evidence_of_an_exact_law_is_the_average_likelihood_over_the_noise():
    _, known = held_out(0 * TRUTH, 2, 3)
    factor = norm.rvs(0, PRIOR["log_noise_factor"], size=200_000, random_state=1)
    values = known.log_likelihood(np.zeros((len(factor), 5)), factor)
    average = logsumexp(values) - np.log(len(factor))
    assert exact_law_evidence(known) == pytest.approx(average, abs=0.02)


@pytest.mark.slow
def test_the_evidence_of_a_discrepancy_is_the_average_likelihood_over_its_prior():
    narrow = {name: PRIOR[name] / 20 for name in AMPLITUDES}  # so that a plain average can tell
    records, known = held_out(0.05 * TRUTH, 3, 4, **narrow)
    amplitudes, factor = prior_draws(200_000, 5, 1 / 20)
    values = np.concatenate(
        [
            known.log_likelihood(*part)
            for part in zip(np.split(amplitudes, 20), np.split(factor, 20), strict=True)
        ]
    )
    average = logsumexp(values) - np.log(len(values))
    latents, _, problems = Learner(records, prior=narrow).draw((), 1000, 500, 4, 1)
    assert not problems
    found = discrepancy_evidence(known, latents, seed=1)
    assert found.log_evidence == pytest.approx(average, abs=0.1)
    assert found.se < 0.1


@pytest.mark.slow
def test_a_world_of_exact_laws_is_recognised_and_one_of_missed_laws_too():
    exact, _ = Learner(made_records(0 * TRUTH, 14, 3)[0]).learn()
    missed, _ = Learner(made_records(TRUTH, 14, 4)[0]).learn()
    assert exact.exact > 0.9
    assert missed.exact < 1e-6
    zero = {name: np.mean(exact.amplitudes[name] == 0) for name in AMPLITUDES}
    assert all(share == pytest.approx(exact.exact, abs=0.01) for share in zero.values())
    assert all((missed.amplitudes[name] > 0).all() for name in AMPLITUDES)
