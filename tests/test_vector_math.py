"""exp and log of many numbers at once: those of NumPy, wherever they come from."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

from scalebayes import vector_math
from scalebayes.vector_math import exp_each, log_each

ULP = np.finfo(float).eps


@numba.njit
def exponentials(x):
    exp_each(x)


@numba.njit
def logarithms(x):
    log_each(x)


def replaced(function, values):
    """What a compiled function leaves of values."""
    x = np.array(values, dtype=float)
    function(x)
    return x


@pytest.mark.parametrize("size", range(10))
def test_every_element_is_replaced_whatever_the_size(size):
    x = np.linspace(-2, 3, size)
    np.testing.assert_allclose(replaced(exponentials, x), np.exp(x), rtol=4 * ULP)
    np.testing.assert_allclose(replaced(logarithms, np.exp(x)), x, rtol=8 * ULP, atol=8 * ULP)


def test_exponentials_are_numpys_over_the_whole_range():
    x = np.random.default_rng(1).uniform(-708, 709, size=100_000)
    np.testing.assert_allclose(replaced(exponentials, x), np.exp(x), rtol=4 * ULP)


def test_logarithms_are_numpys_over_the_whole_range():
    x = np.exp(np.random.default_rng(2).uniform(-708, 709, size=100_000))
    np.testing.assert_allclose(replaced(logarithms, x), np.log(x), rtol=4 * ULP, atol=4 * ULP)
    near = 1 + np.random.default_rng(3).uniform(-1e-3, 1e-3, size=1000)
    np.testing.assert_allclose(replaced(logarithms, near), np.log(near), rtol=4 * ULP)


def test_what_is_not_finite_stays_so():
    x = [np.nan, np.inf, -np.inf, 1e4, -1e4, 0.0]
    with np.errstate(over="ignore"):
        expected = np.exp(x)
    np.testing.assert_array_equal(replaced(exponentials, x), expected)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.log(x)
    np.testing.assert_allclose(replaced(logarithms, x), expected, rtol=4 * ULP)
    assert np.isnan(replaced(logarithms, [-1.0])[0])


OTHERS = {
    "another processor": ({}, "import platform; platform.machine = lambda: 'other'", 1),
    "another system": ({}, "import sys; sys.platform = 'other'", 1),
    "told what to compile for": ({"NUMBA_CPU_NAME": "generic"}, "", 2),
    "without AVX": ({"NUMBA_ENABLE_AVX": "0"}, "", 2),
}


@pytest.fixture(scope="module")
def kept_code(tmp_path_factory):
    """A folder with the machine code of this machine, for others to find."""
    folder = tmp_path_factory.mktemp("numba")
    width, numbers = of_a_process(folder)
    assert width == vector_math.WIDTH
    np.testing.assert_array_equal(numbers, value_and_gradient())
    return folder


@pytest.mark.parametrize("case", OTHERS)
def test_other_machines_get_the_same_density(case, kept_code):
    variables, patch, width = OTHERS[case]
    if vector_math.WIDTH == 1 and width > 1:
        pytest.skip("this C library has no vector functions")
    found, numbers = of_a_process(kept_code, variables, patch)
    assert found == width
    np.testing.assert_allclose(numbers, value_and_gradient(), rtol=1e-11)


@pytest.mark.parametrize(
    "x", [np.ones(8)[::2], np.ones((4, 3))[:, 1], np.ones(8, np.float32), np.ones(8, int)]
)
@pytest.mark.skipif(vector_math.WIDTH == 1, reason="elements are taken one by one")
def test_arrays_that_are_not_contiguous_doubles_are_refused(x):
    for function in (exponentials, logarithms):
        with pytest.raises(TypingError, match="contiguous doubles"):
            function(x)


def of_a_process(folder, variables=None, patch=""):
    """Width, and log density with its gradient, of a new process with a folder for its code."""
    # the libraries come first, for they ask for the system too
    program = f"""
import numba, numpy, pandas, scipy.optimize, scipy.stats, xarray, arviz_stats, nutpie
{patch}
from scalebayes import vector_math
from tests.test_vector_math import value_and_gradient
print(vector_math.WIDTH, *value_and_gradient())
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder)} | (variables or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found, *numbers = run.stdout.split()
    return int(found), np.array(numbers, dtype=float)


def value_and_gradient():
    """The log density of a fit and its gradient at the prior medians."""
    from scalebayes.build import run_data
    from scalebayes.compiled import log_density
    from scalebayes.gate import prior_medians
    from scalebayes.hypotheses import load_hypothesis
    from scalebayes.studies import load_study

    hypothesis = load_hypothesis("ratio-noise")
    density = log_density(run_data(load_study("hoffmann2022-epoch"), hypothesis), hypothesis)
    value, gradient = density.value_and_gradient(density.unconstrain(prior_medians(hypothesis)))
    return np.array([value, *gradient])
