import numpy as np
import pytest
from scipy import integrate, stats

from scalebayes.mixtures import Mixture, as_likelihood, fitted_mixture, padded

PRIOR_MEAN, PRIOR_SD = np.array([-1.05, -0.9]), np.array([0.5, 0.3])


def posterior():
    """Two components, one of which is as wide as the prior in one direction."""
    return Mixture(
        log_weight=np.log([0.3, 0.7]),
        mean=np.array([[-1.3, -0.8], [-1.1, -1.0]]),
        covariance=np.array([[[0.01, 0.004], [0.004, 0.02]], [[0.03, 0.0], [0.0, 0.06]]]),
    )


def normal_prior(theta):
    return stats.norm.logpdf(theta, PRIOR_MEAN, PRIOR_SD).sum(-1)


def test_a_likelihood_times_the_prior_is_the_posterior():
    likelihood = as_likelihood(posterior(), PRIOR_MEAN, PRIOR_SD)
    theta = PRIOR_MEAN + PRIOR_SD * np.random.default_rng(0).standard_normal((50, 2))
    product = likelihood.log_density(theta) + normal_prior(theta)
    np.testing.assert_allclose(product, posterior().log_density(theta), atol=1e-9)


def test_a_likelihood_integrates_to_one_against_its_prior():
    likelihood = as_likelihood(posterior(), PRIOR_MEAN, PRIOR_SD)
    log_mass = likelihood.log_integral(PRIOR_MEAN, np.diag(PRIOR_SD**2))
    assert log_mass == pytest.approx(0, abs=1e-10)


def test_the_integral_against_a_gaussian_is_that_of_quadrature():
    mixture = as_likelihood(posterior(), PRIOR_MEAN, PRIOR_SD)
    mean, covariance = np.array([-1.2, -0.7]), np.array([[0.04, -0.01], [-0.01, 0.02]])

    def integrand(y, x):
        theta = np.array([x, y])
        gaussian = stats.multivariate_normal.pdf(theta, mean, covariance)
        return np.exp(mixture.log_density(theta)) * gaussian

    mass, _ = integrate.dblquad(integrand, -2.6, 0.2, -1.7, 0.3, epsrel=1e-8)
    assert mixture.log_integral(mean, covariance) == pytest.approx(np.log(mass), abs=1e-6)


def test_a_component_wider_than_the_prior_still_gives_a_finite_likelihood():
    wide = Mixture(
        log_weight=np.zeros(1), mean=PRIOR_MEAN[None], covariance=np.diag([0.3, 0.01])[None]
    )
    likelihood = as_likelihood(wide, PRIOR_MEAN, PRIOR_SD)
    assert np.isfinite(likelihood.log_density(PRIOR_MEAN))
    assert (np.linalg.eigvalsh(likelihood.covariance) > 0).all()


def test_draws_of_a_gaussian_are_described_by_one_component():
    draws = np.random.default_rng(1).multivariate_normal(
        [-1, -1], [[0.04, 0.03], [0.03, 0.04]], size=(4, 1000)
    )
    fitted = fitted_mixture(draws, seed=1)
    assert fitted.log_weight.size == 1
    mean, covariance = fitted.moments()
    np.testing.assert_allclose(mean, draws.mean((0, 1)), atol=0.01)
    np.testing.assert_allclose(covariance, np.cov(draws.reshape(-1, 2).T), rtol=0.1)


def test_draws_with_two_humps_are_described_by_both():
    rng = np.random.default_rng(2)
    centres = np.where(rng.uniform(size=(4, 1000, 1)) < 0.3, -2.0, -1.0)
    draws = centres + 0.1 * rng.standard_normal((4, 1000, 2))
    fitted = fitted_mixture(draws, seed=1)
    heavy = fitted.mean[np.exp(fitted.log_weight) > 0.2]
    assert sorted(np.round(heavy[:, 0])) == [-2, -1]


def test_the_same_draws_and_seed_give_the_same_mixture():
    draws = np.random.default_rng(3).standard_t(4, size=(4, 500, 2))
    first, second = fitted_mixture(draws, seed=5), fitted_mixture(draws, seed=5)
    np.testing.assert_array_equal(padded(first), padded(second))


def test_padding_adds_components_without_mass():
    table = padded(posterior())
    assert np.exp(table[:, 0]).sum() == pytest.approx(1)
    assert table.shape == (4, 6)
