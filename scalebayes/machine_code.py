"""Functions over numbers and arrays, compiled."""

import math
from hashlib import sha256
from pathlib import Path

import numba


def compiled(function):
    """Return a function compiled, and kept on disk where there is a place for it."""
    try:
        return numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written
        return numba.njit(error_model="numpy")(function)


def inner(function):
    """Return a function compiled for compiled functions to call; Python cannot call it."""
    options = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no place on disk
        return numba.njit(**options)(function)


def versioned(*modules, by=""):
    """Return a decorator for functions that call compiled ones of other modules.

    Code on disk is found again by a function's name, and made anew when its own file has changed,
    but not when another module's has: with this the name says what is in those.

    Parameters
    ----------
    modules : str
        Names of modules of the package.
    by : optional
        What else the compiled code differs by, as text or as a number.
    """
    digest = sha256(str(by).encode())
    for name in modules:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())

    def named(function):
        function.__qualname__ += f"_{digest.hexdigest()[:16]}"
        return function

    return named


@inner
def softplus(x):
    """Return log(1 + e^x)."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@inner
def sigmoid(x):
    """Return 1 / (1 + e^-x), the derivative of `softplus`."""
    return 1.0 / (1.0 + math.exp(-x))
