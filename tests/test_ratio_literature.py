import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from scalebayes.errors import InputError
from scalebayes.ratio_literature import PRIOR, REFERENCE_COMPUTE, StudyRatio, ratio_literature


def ratios(values, *, groups=None, variance=0.02, log_compute=None):
    groups = range(len(values)) if groups is None else groups
    at = np.log(REFERENCE_COMPUTE) if log_compute is None else log_compute
    return [
        StudyRatio(
            study=f"study {i}",
            group=f"group {group}",
            log_compute=float(at if np.ndim(at) == 0 else at[i]),
            log_ratio=value,
            variance=variance,
        )
        for i, (value, group) in enumerate(zip(values, groups, strict=True))
    ]


def test_the_predictive_is_that_of_importance_sampling():
    given = ratios(
        [2.4, 2.5, 3.4, 3.0], groups=[0, 0, 1, 2], log_compute=np.log([1e18, 1e19, 1e20, 1e21])
    )
    found = ratio_literature(given)
    mean, variance = found.moments(1e23)
    first = found.weight @ mean
    second = found.weight @ (variance + mean**2)

    rng = np.random.default_rng(1)
    n = 20_000
    tau_group = PRIOR["tau_group"] * abs(rng.standard_normal(n))
    tau_study = PRIOR["tau_study"] * abs(rng.standard_normal(n))
    at = np.array([one.log_compute for one in given]) - np.log(REFERENCE_COMPUTE)
    slope, place = PRIOR["slope_sd"] ** 2, PRIOR["location_sd"] ** 2
    same = np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    y = np.array([one.log_ratio for one in given]) - PRIOR["location"]
    log_weight, means, variances = np.empty(n), np.empty(n), np.empty(n)
    new = np.log(1e23 / REFERENCE_COMPUTE)
    for i in range(n):
        S = place + slope * np.outer(at, at) + tau_group[i] ** 2 * same
        S = S + (tau_study[i] ** 2 + 0.02) * np.eye(4)
        cross = place + slope * at * new
        gain = np.linalg.solve(S, cross)
        log_weight[i] = multivariate_normal.logpdf(y, np.zeros(4), S)
        means[i] = PRIOR["location"] + gain @ y
        variances[i] = place + slope * new**2 + tau_group[i] ** 2 + tau_study[i] ** 2 - gain @ cross
    weight = np.exp(log_weight - logsumexp(log_weight))
    assert first == pytest.approx(weight @ means, abs=0.01)
    assert second - first**2 == pytest.approx(
        weight @ (variances + means**2) - (weight @ means) ** 2, rel=0.03
    )


def test_studies_that_agree_say_more_than_studies_that_do_not():
    alike, apart = ratio_literature(ratios([3.0] * 8)), ratio_literature(ratios([2.0, 4.0] * 4))
    rng = np.random.default_rng(1)
    assert alike.draws(1e20, 4000, rng).std() < apart.draws(1e20, 4000, rng).std() / 2


def test_eight_studies_of_one_group_count_for_less_than_eight_groups():
    one = ratio_literature(ratios([3.5] * 8, groups=[0] * 8))
    many = ratio_literature(ratios([3.5] * 8))
    rng = np.random.default_rng(1)
    assert one.draws(1e20, 4000, rng).std() > 1.5 * many.draws(1e20, 4000, rng).std()


def test_draws_have_the_density_that_is_said():
    found = ratio_literature(ratios([2.0, 3.0, 4.0]))
    draws = found.draws(1e24, 200_000, np.random.default_rng(1))
    x = np.linspace(-4, 12, 4001)
    density = np.exp(found.log_density(x, 1e24))
    step = x[1] - x[0]
    assert density.sum() * step == pytest.approx(1, abs=1e-3)
    assert (x * density).sum() * step == pytest.approx(draws.mean(), abs=0.01)


def test_no_study_is_refused():
    with pytest.raises(InputError, match="no published study"):
        ratio_literature([])
