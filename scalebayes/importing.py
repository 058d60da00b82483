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

_NOBODYS = 1_000
"""Python 3.12 begins with some hundred objects frozen; as many as these somebody has frozen."""

_IMPORTING: list[bool] = []  # an entry for each `frugal_imports` that is open


@contextmanager
def frugal_imports():
    """In here modules are imported without searches for cycles and without BLAS threads that spin.

    Both are settings of the whole process, put back at the end: its other threads and the processes
    that they start meanwhile have them too. Objects that are there at the end join the oldest
    generation, which is seldom looked through. OpenBLAS reads its setting when NumPy and SciPy load
    it; where the user made that setting, it stands.
    """
    collects, told = gc.isenabled(), _IDLE in os.environ
    _IMPORTING.append(collects)
    try:
        gc.disable()
        if not told:
            os.environ[_IDLE] = _CYCLES
        yield
    finally:
        try:
            if not told:
                _forget_idle_time()
            if collects:
                _call_old()
        finally:
            if collects:
                gc.enable()
            _IMPORTING.pop()


def _call_old():
    """Have what there is in the oldest generation, but what somebody has frozen."""
    if gc.get_freeze_count() < _NOBODYS:
        gc.freeze()
        gc.unfreeze()


def _forget_idle_time():
    if os.environ.get(_IDLE) == _CYCLES:  # and not what the user set meanwhile
        del os.environ[_IDLE]


def _after_fork():
    """Put back, in a child process, what a thread that it does not have would have put back."""
    if any(_IMPORTING):
        gc.enable()
        _forget_idle_time()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
