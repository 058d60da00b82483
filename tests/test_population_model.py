import numpy as np
import pytest
from scipy import stats

from scalebayes.mixtures import Mixture, padded
from scalebayes.pooled_draws import hyperparameters, study_moments
from scalebayes.population_density import population_density
from scalebayes.population_model import population_model

RNG = np.random.default_rng(4)
N_STUDIES = 7
MIXTURES = [
    Mixture(
        log_weight=np.log([0.4, 0.6]) + RNG.normal(),
        mean=RNG.normal(-1, 0.3, (2, 2)),
        covariance=np.array([[[0.01, 0.002], [0.002, 0.02]], [[0.03, 0.0], [0.0, 0.01]]]),
    )
    for _ in range(N_STUDIES)
]
X = RNG.integers(0, 2, (N_STUDIES, 2)).astype(float)
IN_GROUP = np.zeros((N_STUDIES, 2))
IN_GROUP[:3, 0] = IN_GROUP[3:5, 1] = 1
PADDED = np.array([padded(one) for one in MIXTURES])


def density():
    return population_density(PADDED, X, IN_GROUP)


def points(n):
    return 0.5 * np.random.default_rng(5).standard_normal((n, len(density().form.latents)))


def independent_log_density(z):
    """The population's log density written anew, over the same coordinates."""
    form = density().form
    found = hyperparameters(form, z)
    total = stats.norm.logpdf(found["mu"], -1.0498, 0.5).sum()
    for name, scale in (("sd_between", 0.3), ("sd_within", 0.1)):
        total += stats.halfnorm.logpdf(found[name], scale=scale).sum() + np.log(found[name]).sum()
    share = (1 + found["correlation"]) / 2
    total += stats.beta.logpdf(share, 2, 2).sum() + np.log(share * (1 - share)).sum()
    total += stats.norm.logpdf(found["recipe_effect"], 0, 0.3).sum()
    sd, rho = found["sd_between"], found["correlation"][0]
    spread = np.outer(sd, sd) * np.array([[1, rho], [rho, 1]])
    for effect in found["group_effect"]:
        total += stats.multivariate_normal.logpdf(effect, np.zeros(2), spread)
    total += 2 * np.log(sd / np.sqrt(1 + (sd / form.known) ** 2)).sum()  # two groups, two exponents
    for i, mixture in enumerate(MIXTURES):
        mean, covariance = study_moments(found, X[i], IN_GROUP[i])
        parts = [
            weight + stats.multivariate_normal.logpdf(centre, mean, own + covariance)
            for weight, centre, own in zip(
                mixture.log_weight, mixture.mean, mixture.covariance, strict=True
            )
        ]
        total += np.logaddexp.reduce(parts)
    return total


def test_the_compiled_density_is_the_one_written_anew():
    for z in points(30):
        value, _ = density().value_and_gradient(z)
        assert value == pytest.approx(independent_log_density(z), rel=1e-9, abs=1e-8)


def test_the_compiled_density_is_that_of_the_plain_model():
    model = population_model(PADDED, X, IN_GROUP)
    logp = model.compile_logp()
    for z in points(5):
        given, position = {}, 0
        for variable in model.free_RVs:
            value = model.rvs_to_values[variable]
            shape = tuple(variable.shape.eval())
            size = int(np.prod(shape))
            given[value.name] = z[position : position + size].reshape(shape)
            position += size
        assert density().value_and_gradient(z)[0] == pytest.approx(float(logp(given)), rel=1e-10)


def test_the_gradient_is_that_of_finite_differences():
    [z] = points(1)
    _, gradient = density().value_and_gradient(z)
    step = 1e-6 * np.eye(z.size)
    up, down = density().values(z + step), density().values(z - step)
    np.testing.assert_allclose(gradient, (up - down) / 2e-6, rtol=1e-5, atol=1e-5)


def test_a_population_without_spread_has_the_product_of_the_likelihoods():
    z = np.zeros(len(density().form.latents))
    z[:2], z[2:6] = -1.0, -30.0
    found = hyperparameters(density().form, z)
    for i, mixture in enumerate(MIXTURES):
        mean, covariance = study_moments(found, np.zeros(2), IN_GROUP[i])
        assert mixture.log_integral(mean, covariance) == pytest.approx(
            mixture.log_density(np.array([-1.0, -1.0])), abs=1e-9
        )


def test_the_order_of_the_studies_changes_nothing():
    order = np.random.default_rng(6).permutation(N_STUDIES)
    shuffled = population_density(PADDED[order], X[order], IN_GROUP[order])
    for z in points(5):
        assert shuffled.value_and_gradient(z)[0] == pytest.approx(
            density().value_and_gradient(z)[0], rel=1e-12
        )
