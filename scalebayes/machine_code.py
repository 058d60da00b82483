"""Functions over numbers and arrays, compiled."""

import numba


def compiled(function):
    """Return a function compiled, and kept on disk where there is a place for it."""
    try:
        return numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written
        return numba.njit(error_model="numpy")(function)
