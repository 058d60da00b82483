import pytest
from scipy.special import digamma

from scalebayes.noise_density import _digamma


@pytest.mark.parametrize("x", [0.5, 0.51, 1.0, 2.0, 7.9, 8.0, 300.0])
def test_the_derivative_of_log_gamma_is_scipys(x):
    assert _digamma.py_func(x) == pytest.approx(digamma(x), rel=1e-13, abs=1e-13)
