"""The log likelihood of draws is the density that SciPy has."""

import numpy as np
import pytest
from scipy import stats

from scalebayes.likelihoods import log_likelihood

RNG = np.random.default_rng(1)
SCALE = 10 ** RNG.uniform(-6, 1, size=(500, 1))
AWAY = SCALE * RNG.standard_cauchy(size=(500, 4))
NU = 10 ** RNG.uniform(-1, 4, size=(500, 1))


@pytest.mark.parametrize("likelihood", ["student-t", "student-t-ratio"])
def test_students_t_is_scipys(likelihood):
    found = log_likelihood(likelihood, 1 + AWAY, mu=1.0, sigma=SCALE, nu=NU)
    expected = stats.t.logpdf(1 + AWAY, NU, 1.0, SCALE)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_the_normal_is_scipys_and_standard_errors_add_in_quadrature():
    found = log_likelihood("normal", AWAY, mu=0.0, sigma=SCALE, relative_loss_se=0.1)
    expected = stats.norm.logpdf(AWAY, 0.0, np.hypot(SCALE, 0.1))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("nu", [1e7, 1e9, 1e12])
def test_of_many_degrees_of_freedom_students_t_is_normal(nu):
    residual = np.linspace(-3, 3, 7)
    found = log_likelihood("student-t", residual, mu=0.0, sigma=1.0, nu=nu)
    np.testing.assert_allclose(found, stats.norm.logpdf(residual), atol=30 / nu + 1e-15)


def test_a_law_that_overflows_has_no_likelihood():
    assert log_likelihood("student-t", 1.0, mu=np.inf, sigma=0.1, nu=3.0) == -np.inf
