"""The additive law's density by hand: the same as the compiled graph of the plain model."""

import ctypes

import numpy as np
import pytest
from scipy.special import digamma

import scalebayes as sb
from scalebayes.additive_density import _digamma
from scalebayes.build import run_data
from scalebayes.compiled import applied, graph_log_density, log_density
from scalebayes.gate import prior_latents
from scalebayes.hypotheses import load_hypothesis


def of_graph(density, point):
    """Value and gradient of the same density as PyTensor compiles it."""
    kinds = (ctypes.c_uint64, *[ctypes.c_void_p] * 4)
    function = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(graph_log_density(density.form).address)
    gradient, value = np.zeros(point.size), np.zeros(1)
    data = density.data
    places = [one.ctypes.data for one in (point, gradient, value, data)]
    assert function(point.size, *places) == 0
    return value[0], gradient


@pytest.mark.parametrize("study", ["porian2024-rw-1-kaplan", "hoffmann2022-epoch"])
def test_the_written_density_is_the_compiled_graph(study):
    hypothesis = load_hypothesis("latent-counting")
    data = run_data(sb.load_study(study), hypothesis, omega=0.7)
    density = log_density(data, hypothesis)
    assert density.form.is_written
    rng = np.random.default_rng(5)
    points = density.unconstrain(prior_latents(applied(hypothesis, data), 20, rng))
    points = points + 0.5 * rng.standard_normal(points.shape)
    for point, several in zip(points, density.values(points), strict=True):
        value, gradient = density.value_and_gradient(point)
        known, slope = of_graph(density, point)
        assert value == pytest.approx(known, rel=1e-10)
        assert several == value
        np.testing.assert_allclose(gradient, slope, rtol=1e-8, atol=1e-9 * abs(slope).max())


def test_a_law_or_noise_that_is_not_written_is_compiled_from_its_graph():
    for name in ("kaplan", "normal-noise", "ratio-noise"):
        hypothesis = load_hypothesis(name)
        data = run_data(sb.load_study("hoffmann2022-epoch"), hypothesis)
        assert not log_density(data, hypothesis).form.is_written


@pytest.mark.parametrize("x", [0.5, 0.51, 1.0, 2.0, 7.9, 8.0, 300.0])
def test_the_derivative_of_log_gamma_is_scipys(x):
    assert _digamma(x) == pytest.approx(digamma(x), rel=1e-13, abs=1e-13)
