"""exp and log of every element of an array, compiled, several at a time where that is to be had.

A processor computes several exponentials at once, but LLVM has no code for that and Numba's wheels
come without Intel's. The GNU C library has (libmvec; errors of at most 4 units in the last place):
on x86-64 Linux it is asked for four elements at a time, or for two where there is no AVX2. Anywhere
else the elements are taken one by one.
"""

import math
import platform
import sys

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from scalebayes.machine_code import inner, versioned

_SYMBOLS = {4: "_ZGVdN4v_{}", 2: "_ZGVbN2v_{}"}
"""Names of libmvec's functions by how many doubles they take (x86-64 vector ABI, classes d, b)."""


def _width():
    """Return how many elements the C library takes at a time: 1 without vector functions."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or config.DISABLE_JIT:
        return 1
    try:
        llvm.load_library_permanently("libmvec.so.1")
    except RuntimeError:  # another C library
        return 1
    # where Numba is told what to compile for, the host's own features say nothing
    told = config.CPU_NAME or config.CPU_FEATURES is not None or not config.ENABLE_AVX
    return 4 if not told and llvm.get_host_cpu_features().get("avx2") else 2


WIDTH = _width()
"""Elements at a time; compiled code that calls what is here differs by it."""

_VERSIONED = versioned("machine_code", by=WIDTH)


@intrinsic
def _address(context, array, place):
    """Return the address of an element of a contiguous array of doubles."""
    if not isinstance(array, types.Array) or array != types.Array(types.float64, 1, "C"):
        msg = f"exp_each and log_each take contiguous doubles, not {array}"
        raise TypingError(msg)

    def code(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.gep(data, [arguments[1]])

    return types.CPointer(types.float64)(array, place), code


def _on_vector(name):
    """Return a function for compiled code that replaces `WIDTH` doubles at an address."""

    @intrinsic
    def applied(context, address):
        def code(context, builder, signature, arguments):
            vector = ir.VectorType(ir.DoubleType(), WIDTH)
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector]), _SYMBOLS[WIDTH].format(name)
            )
            place = builder.bitcast(arguments[0], vector.as_pointer())
            before = builder.load(place, align=8)
            builder.store(builder.call(function, [before]), place, align=8)
            return context.get_dummy_value()

        return types.void(address), code

    return applied


if WIDTH > 1:
    _exp, _log = _on_vector("exp"), _on_vector("log")

    @inner
    @_VERSIONED
    def exp_each(x):
        """Replace each element of a contiguous array by its exponential."""
        whole = len(x) - len(x) % WIDTH
        for i in range(0, whole, WIDTH):
            _exp(_address(x, i))
        if whole < len(x):
            rest = np.zeros(WIDTH)
            rest[: len(x) - whole] = x[whole:]
            _exp(_address(rest, 0))
            x[whole:] = rest[: len(x) - whole]

    @inner
    @_VERSIONED
    def log_each(x):
        """Replace each element of a contiguous array by its natural logarithm."""
        whole = len(x) - len(x) % WIDTH
        for i in range(0, whole, WIDTH):
            _log(_address(x, i))
        if whole < len(x):
            rest = np.ones(WIDTH)
            rest[: len(x) - whole] = x[whole:]
            _log(_address(rest, 0))
            x[whole:] = rest[: len(x) - whole]

else:

    @inner
    @_VERSIONED
    def exp_each(x):
        """Replace each element of an array by its exponential."""
        for i in range(len(x)):
            x[i] = math.exp(x[i])

    @inner
    @_VERSIONED
    def log_each(x):
        """Replace each element of an array by its natural logarithm."""
        for i in range(len(x)):
            x[i] = math.log(x[i])
