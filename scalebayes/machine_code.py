"""Functions over numbers and arrays, compiled."""

import math

import numba


def compiled(function):
    """Return a function compiled, and kept on disk where there is a place for it."""
    try:
        return numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written
        return numba.njit(error_model="numpy")(function)


@compiled
def softplus(x):
    """Return log(1 + e^x)."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@compiled
def sigmoid(x):
    """Return 1 / (1 + e^-x), the derivative of `softplus`."""
    return 1.0 / (1.0 + math.exp(-x))
