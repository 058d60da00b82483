import numpy as np
import pytest
from scipy.stats import halfnorm, multivariate_normal, norm

from scalebayes import nuts
from scalebayes.discrepancy import AMPLITUDES
from scalebayes.discrepancy_model import PRIOR, Learner, Record, discrepancy_model
from scalebayes.errors import InputError, SamplingInterrupted

TRUTH = np.array([0.01, 0.05, 0.1, 0.3, 0.3])


def made_records(truth, n_studies, seed, *, n=40, noise=0.004):
    """Records of simulated residuals, and their parts: features, law's root, residuals, noise."""
    rng = np.random.default_rng(seed)
    records, parts = [], []
    for i in range(n_studies):
        h, u = rng.uniform(0, 1.5, n), rng.uniform(-1.5, 1.5, n)
        F = np.column_stack([np.ones(n), h, 0.03 * u, 0.03 * h * u, 0.015 * u**2])
        Q = 0.003 * rng.standard_normal((n, 5))
        r = F @ (truth * rng.standard_normal(5)) + Q @ rng.standard_normal(5)
        r += noise * rng.standard_normal(n)
        M = np.hstack([F, Q]) / noise
        record = Record(
            study=f"s{i}",
            gram=M.T @ M,
            projection=M.T @ r / noise,
            square=float(r @ r) / noise**2,
            n=n,
        )
        records.append(record)
        parts.append((F, Q, r, noise))
    return records, parts


def test_the_density_is_that_of_dense_normals():
    records, parts = made_records(TRUTH, 3, 1)
    weights = np.array([1.0, 0.5, 0.0])
    model = discrepancy_model(records, weights)
    logp = model.compile_logp()
    initial = model.initial_point()

    def both(amplitudes, log_factor):
        point = dict(initial)
        for name, value in zip(AMPLITUDES, amplitudes, strict=True):
            point[f"{name}_log__"] = np.log(value)
        point["log_noise_factor"] = np.array(log_factor)
        expected = norm.logpdf(log_factor, 0, PRIOR["log_noise_factor"])
        for name, value in zip(AMPLITUDES, amplitudes, strict=True):
            expected += halfnorm.logpdf(value, scale=PRIOR[name]) + np.log(value)
        for weight, (F, Q, r, noise) in zip(weights, parts, strict=True):
            cov = F @ np.diag(amplitudes**2) @ F.T + Q @ Q.T
            cov += np.exp(2 * log_factor) * noise**2 * np.eye(len(r))
            constant = len(r) * (np.log(2 * np.pi) / 2 + np.log(noise))
            expected += weight * (multivariate_normal.logpdf(r, np.zeros(len(r)), cov) + constant)
        return float(logp(point)), expected

    for amplitudes, log_factor in ((TRUTH, 0.0), (2 * TRUTH, 0.3), (TRUTH[::-1] / 5, -0.4)):
        found, expected = both(amplitudes, log_factor)
        assert found == pytest.approx(expected, rel=1e-8)


@pytest.mark.slow
def test_amplitudes_of_many_studies_are_found():
    records, _ = made_records(TRUTH, 60, 2)
    found, problems = Learner(records).learn()
    assert not problems
    for name, truth in zip(AMPLITUDES, TRUTH, strict=True):
        lower, upper = np.quantile(found.amplitudes[name], [0.005, 0.995])
        assert lower < truth < upper, name


@pytest.mark.slow
def test_laws_that_hold_exactly_teach_small_amplitudes_and_a_study_left_out_does_not_count():
    exact, _ = made_records(0 * TRUTH, 14, 3)
    missed, _ = made_records(TRUTH, 1, 4)
    renamed = [Record(**(vars(one) | {"study": "odd"})) for one in missed]
    learner = Learner([*exact, *renamed])
    without, _ = learner.learn(without=["odd"])
    everything, _ = learner.learn()
    for name, real in zip(AMPLITUDES[:4], TRUTH, strict=False):
        assert without.amplitudes[name].mean() < 0.3 * real, name
    assert everything.amplitudes["level_growth"].mean() > 1.5 * (
        without.amplitudes["level_growth"].mean()
    )


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(InputError, match="no held-out runs"):
        Learner([])


def test_an_interrupted_sampling_is_no_discrepancy(monkeypatch):
    class Compiled:
        def with_data(self, **_):
            return self

    records, _ = made_records(TRUTH, 2, 5)
    monkeypatch.setattr(nuts.nutpie, "compile_pymc_model", lambda model: Compiled())
    monkeypatch.setattr(nuts, "sampled", lambda model, **_: (None, True))
    with pytest.raises(SamplingInterrupted):
        Learner(records).learn()
