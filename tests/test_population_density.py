import numpy as np
import pytest
from scipy import stats

from scalebayes.mixtures import Mixture, padded
from scalebayes.pooled_draws import hyperparameters, study_moments
from scalebayes.population_density import population_density
from scalebayes.population_model import population_model

N_STUDIES = 7
PLAIN = "FAST_COMPILE"  # one graph for a few points is not worth compiling


def mixtures():
    """Studies of one, two and three components."""
    rng = np.random.default_rng(4)
    return [
        Mixture(
            log_weight=np.log(rng.dirichlet(np.ones(n))) + rng.normal(),
            mean=rng.normal(-1, 0.3, (n, 2)),
            covariance=rng.uniform(0.5, 2, (n, 1, 1)) * np.array([[0.01, 0.002], [0.002, 0.02]]),
        )
        for n in (1, 2, 3, 2, 1, 2, 3)
    ]


def studies(n_groups=2, n_recipes=2):
    """Packed mixtures, recipe columns and groups; the last study is alone in its group."""
    x = np.random.default_rng(7).integers(0, 2, (N_STUDIES, n_recipes)).astype(float)
    in_group = np.zeros((N_STUDIES, n_groups))
    for group in range(n_groups):
        in_group[2 * group : 2 * group + 2, group] = 1
    return np.array([padded(one) for one in mixtures()]), x, in_group


def density(n_groups=2, n_recipes=2):
    return population_density(*studies(n_groups, n_recipes))


def points(n, of=None):
    n_latents = len((of or density()).form.latents)
    return 0.5 * np.random.default_rng(5).standard_normal((n, n_latents))


def as_points(model, many):
    """The model's own variables at packed points."""
    sizes = {name: value.shape for name, value in model.initial_point().items()}
    ends = np.cumsum([int(np.prod(shape)) for shape in sizes.values()])
    parts = [np.split(z, ends[:-1]) for z in many]
    return [
        {name: part.reshape(sizes[name]) for name, part in zip(sizes, one, strict=True)}
        for one in parts
    ]


def independent_log_density(z):
    """The population's log density written anew, over the same coordinates."""
    form = density().form
    _, x, in_group = studies()
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
    for i, mixture in enumerate(mixtures()):
        mean, covariance = study_moments(found, x[i], in_group[i])
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
        assert value == pytest.approx(independent_log_density(z), rel=1e-11)


FORMS = [(2, 2), (0, 2), (2, 0), (0, 0), (1, 1), (3, 1)]


@pytest.mark.parametrize(("n_groups", "n_recipes"), FORMS)
def test_value_and_gradient_are_those_of_the_plain_model(n_groups, n_recipes):
    model = population_model(*studies(n_groups, n_recipes))
    logp, dlogp = model.compile_logp(mode=PLAIN), model.compile_dlogp(mode=PLAIN)
    by_hand = density(n_groups, n_recipes)
    many = points(20, by_hand)
    for z, given in zip(many, as_points(model, many), strict=True):
        value, gradient = by_hand.value_and_gradient(z)
        assert value == pytest.approx(float(logp(given)), rel=1e-11)
        np.testing.assert_allclose(gradient, dlogp(given), rtol=1e-9, atol=1e-11)


def test_other_priors_are_those_of_the_plain_model():
    prior = {"mu_location": -0.7, "mu_sd": 0.2, "between": 0.5, "within": 0.2, "recipe_sd": 0.1}
    model = population_model(*studies(), prior=prior)
    [z] = points(1)
    [given] = as_points(model, [z])
    value, gradient = population_density(*studies(), prior).value_and_gradient(z)
    assert value == pytest.approx(float(model.compile_logp(mode=PLAIN)(given)), rel=1e-11)
    np.testing.assert_allclose(gradient, model.compile_dlogp(mode=PLAIN)(given), rtol=1e-9)


@pytest.mark.parametrize("n_groups", [0, 3])
def test_the_gradient_is_that_of_finite_differences(n_groups):
    of = density(n_groups)
    [z] = points(1, of)
    _, gradient = of.value_and_gradient(z)
    step = 1e-6 * np.eye(z.size)
    up, down = of.values(z + step), of.values(z - step)
    np.testing.assert_allclose(gradient, (up - down) / 2e-6, rtol=1e-5, atol=1e-5)


def test_the_values_of_many_points_are_those_of_each():
    many = points(10)
    each = [density().value_and_gradient(z)[0] for z in many]
    np.testing.assert_array_equal(density().values(many), each)


def test_a_point_where_the_density_overflows_has_none():
    beyond = points(2)
    beyond[1, 4] = 800.0  # exp(800) is not a number
    value, gradient = density().value_and_gradient(beyond[1])
    assert value == -np.inf
    assert not gradient.any()
    assert np.isfinite(density().values(beyond)).tolist() == [True, False]


def test_a_correlation_next_to_one_keeps_a_finite_gradient():
    [z] = points(1)
    z[6] = 45.0  # 1 - correlation^2 is 0 in double precision
    value, gradient = density().value_and_gradient(z)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_a_population_without_spread_has_the_product_of_the_likelihoods():
    z = np.zeros(len(density().form.latents))
    z[:2], z[2:6] = -1.0, -30.0
    _, _, in_group = studies()
    found = hyperparameters(density().form, z)
    for i, mixture in enumerate(mixtures()):
        mean, covariance = study_moments(found, np.zeros(2), in_group[i])
        assert mixture.log_integral(mean, covariance) == pytest.approx(
            mixture.log_density(np.array([-1.0, -1.0])), abs=1e-9
        )


def test_the_order_of_the_studies_changes_nothing():
    order = np.random.default_rng(6).permutation(N_STUDIES)
    shuffled = population_density(*(part[order] for part in studies()))
    for z in points(5):
        value, gradient = density().value_and_gradient(z)
        other, other_gradient = shuffled.value_and_gradient(z)
        assert other == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(other_gradient, gradient, rtol=1e-10, atol=1e-10)
