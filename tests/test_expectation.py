"""Gaussian mixtures of points in a plane: the same as scikit-learn's."""

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from scalebayes.expectation import gaussian_mixture, mean_log_density


def bent_points():
    rng = np.random.default_rng(3)
    x = rng.standard_normal(1500)
    return np.column_stack([x, 0.5 * x**2 + 0.3 * rng.standard_normal(1500)])


@pytest.mark.parametrize("n_components", [1, 2, 3, 4])
def test_a_mixture_is_the_one_that_scikit_learn_finds(n_components):
    points = bent_points()
    weight, mean, covariance = gaussian_mixture(points, n_components, regular=1e-5, seed=0)
    start = "k-means++" if n_components > 1 else "random"
    known = GaussianMixture(n_components, reg_covar=1e-5, init_params=start, random_state=0)
    known.fit(points)
    np.testing.assert_allclose(weight, known.weights_, rtol=1e-9)
    np.testing.assert_allclose(mean, known.means_, atol=1e-9)
    np.testing.assert_allclose(covariance, known.covariances_, atol=1e-9)
    score = mean_log_density(points, weight, mean, covariance)
    assert score == pytest.approx(known.score(points), rel=1e-12)


def test_one_component_has_the_moments_of_the_points():
    points = bent_points()
    weight, mean, covariance = gaussian_mixture(points, 1, regular=0.0, seed=0)
    assert weight == pytest.approx(1.0)
    np.testing.assert_allclose(mean[0], points.mean(0), rtol=1e-10)
    np.testing.assert_allclose(covariance[0], np.cov(points.T, bias=True), rtol=1e-10)
