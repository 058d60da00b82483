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
    assert int(told) < 26  # what OpenBLAS would take
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


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with frugal_imports():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_somebody_froze_stays_frozen():
    program = """
import gc
gc.freeze()
frozen = gc.get_freeze_count()
import scalebayes as sb
sb.load_study
print(frozen > 0, gc.get_freeze_count() > frozen / 2, gc.isenabled())
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.split() == ["True", "True", "True"], run.stderr
