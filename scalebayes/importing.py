"""What the first import of large libraries need not cost.

A fit in a new process imports some two thousand modules. Python would look for cycles among what
they leave, again and again, and the threads of BLAS would wait for work with the processor at full
speed.
"""

import gc
import os
from contextlib import contextmanager

_IDLE = "OPENBLAS_THREAD_TIMEOUT"
_CYCLES = "20"
"""Of the processor, as a power of two, after which idle threads of BLAS sleep: a third of a
millisecond in place of OpenBLAS's 2^26."""


@contextmanager
def frugal_imports():
    """In here modules are imported without searches for cycles and without BLAS threads that spin.

    Objects that are there at the end are taken for ones that stay, as if they had been looked
    through. OpenBLAS reads its setting when NumPy and SciPy load it; one that the user made stands.
    """
    with _no_collector(), _sleeping_blas():
        yield


@contextmanager
def _no_collector():
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # what somebody has frozen stays so
            gc.freeze()
            gc.unfreeze()  # to the oldest generation
        gc.enable()


@contextmanager
def _sleeping_blas():
    if _IDLE in os.environ:
        yield
        return
    os.environ[_IDLE] = _CYCLES
    try:
        yield
    finally:
        os.environ.pop(_IDLE, None)
