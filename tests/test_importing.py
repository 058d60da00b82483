"""The first import of large libraries is quick, and leaves Python and BLAS as they were."""

import gc
import os
import subprocess
import sys
import weakref

import pytest

from scalebayes.importing import frugal_imports

IDLE = "OPENBLAS_THREAD_TIMEOUT"


class Knot:
    """An object in a cycle with itself."""

    def __init__(self):
        self.itself = self


@pytest.fixture
def said(monkeypatch):
    """What BLAS is told, before, while and after something is imported."""
    monkeypatch.delenv(IDLE, raising=False)

    def during():
        with frugal_imports():
            told = os.environ.get(IDLE)
        return told, os.environ.get(IDLE)

    return during


def test_idle_threads_of_blas_are_told_to_sleep_only_while_it_is_imported(said):
    told, after = said()
    assert int(told) <= 22  # a millisecond or so, where OpenBLAS would take 2^26 cycles
    assert after is None


def test_what_the_user_told_blas_stands(said, monkeypatch):
    monkeypatch.setenv(IDLE, "28")
    assert said() == ("28", "28")


def test_nothing_stays_changed_where_an_import_fails(monkeypatch):
    monkeypatch.delenv(IDLE, raising=False)
    with pytest.raises(ImportError), frugal_imports():
        raise ImportError
    assert gc.isenabled()
    assert IDLE not in os.environ


def test_nothing_is_looked_through_meanwhile_and_later_only_with_what_is_old():
    gc.collect()
    seen = []
    gc.callbacks.append(lambda phase, info: seen.append(phase))
    try:
        with frugal_imports():
            made = [[] for _ in range(100_000)]
        young = {id(one) for one in gc.get_objects(generation=0)}
    finally:
        gc.callbacks.pop()
    assert seen == []
    assert not young & {id(one) for one in made}
    assert gc.isenabled()


def test_a_cycle_made_meanwhile_is_found_later():
    with frugal_imports():
        knot = weakref.ref(Knot())
    assert knot() is not None
    gc.collect()
    assert knot() is None


def test_what_the_user_sets_meanwhile_stands(said, monkeypatch):
    with frugal_imports():
        os.environ[IDLE] = "28"
    assert os.environ.pop(IDLE) == "28"


def test_it_may_be_entered_again_meanwhile(said):
    with frugal_imports():
        with frugal_imports():
            pass
        assert not gc.isenabled()
        assert IDLE in os.environ
    assert gc.isenabled()
    assert IDLE not in os.environ


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with frugal_imports():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def lines(program, **environment):
    """What a new process prints."""
    known = {name: value for name, value in os.environ.items() if name != IDLE}
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=known | environment,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_what_somebody_froze_stays_frozen():
    program = """
import gc
import scalebayes as sb
gc.freeze()
frozen = gc.get_freeze_count()
sb.load_study
print(frozen > 1000, gc.get_freeze_count() > frozen / 2, gc.isenabled())
"""
    assert lines(program) == ["True True True"]


def test_the_packages_first_import_is_such_a_one():
    program = """
import gc, os, sys
import scalebayes as sb

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "scipy":
            print(gc.isenabled(), "OPENBLAS_THREAD_TIMEOUT" in os.environ)

sys.meta_path.insert(0, Watch())
sb.fit
print(gc.isenabled(), "OPENBLAS_THREAD_TIMEOUT" in os.environ)
"""
    assert lines(program) == ["False True", "True False"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_is_forked_meanwhile_has_a_collector():
    program = """
import gc, os, sys, threading
from scalebayes.importing import frugal_imports
inside, done = threading.Event(), threading.Event()

def importing():
    with frugal_imports():
        inside.set()
        done.wait()

thread = threading.Thread(target=importing)
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    print(gc.isenabled(), "OPENBLAS_THREAD_TIMEOUT" in os.environ, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(gc.isenabled(), "OPENBLAS_THREAD_TIMEOUT" in os.environ, flush=True)
done.set()
thread.join()
"""
    assert lines(program) == ["True False", "False True"]
