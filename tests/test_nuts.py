"""nutpie is there without ArviZ's plots, and ArviZ is itself for whoever asks for it."""

import subprocess
import sys
import time
from types import ModuleType

import numpy as np
import pytest
from fits import user_study

from scalebayes import nuts, sampling
from scalebayes.build import run_data
from scalebayes.compiled import log_density
from scalebayes.errors import SamplingInterrupted
from scalebayes.gate import prior_medians
from scalebayes.hypotheses import load_hypothesis
from scalebayes.nuts import Later, imported
from scalebayes.sampling import sample


def said(program):
    """What a new process prints."""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_a_fit_imports_neither_plots_nor_pymc():
    program = """
import sys
import scalebayes as sb
sb.fit("hoffmann2022-epoch", "hoffmann-total", draws=100, tune=100, cache=False)
print(*sorted({"arviz", "arviz_plots", "matplotlib.pyplot", "pymc", "sklearn"} & set(sys.modules)))
"""
    assert said(program) == []


def test_afterwards_arviz_is_itself_and_so_is_nutpies():
    program = """
from scalebayes.nuts import nutpie
import arviz
print(type(arviz).__name__, nutpie.sample.__globals__["arviz"].from_dict is arviz.from_dict)
"""
    assert said(program) == ["module", "True"]


def test_where_arviz_is_there_already_nutpie_takes_it():
    program = """
import arviz
from scalebayes.nuts import nutpie
print(nutpie.sample.__globals__["arviz"] is arviz)
"""
    assert said(program) == ["True"]


def test_what_stands_for_a_module_has_what_the_module_has():
    assert Later("json").loads("[1]") == [1]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = Later("json").nothing
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        _ = Later("no_such_module").loads


def test_a_module_that_is_asked_at_once_makes_way(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "asked_for.py").write_text("x = 1\n", encoding="utf-8")
    for statement in ("from asked_for import x", "import asked_for; x = asked_for.x"):
        (tmp_path / "asks.py").write_text(statement + "\n", encoding="utf-8")
        assert imported("asks", without="asked_for").x == 1
        assert type(sys.modules["asked_for"]) is ModuleType
        for name in ("asks", "asked_for"):
            del sys.modules[name]


def test_nothing_stands_in_the_way_where_the_import_fails():
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        imported("no_such_module", without="no_such_module_either")
    assert "no_such_module_either" not in sys.modules


def test_a_module_that_is_there_is_returned_as_it_is():
    assert imported("json", without="no_such_module") is sys.modules["json"]
    assert isinstance(sys.modules["json"], ModuleType)
    assert "no_such_module" not in sys.modules


class Told:
    """nutpie's running sampler, whose `wait` ends as told."""

    def __init__(self, running, end):
        self.running, self.end, self.cancelled = running, end, False

    def wait(self):
        self.end(self.running)

    def abort(self):
        return self.running.abort()

    def cancel(self):
        self.cancelled = True
        self.running.cancel()


@pytest.fixture
def told(monkeypatch):
    """Of a way to end: have nutpie's samplers end so; returns the list of them."""
    start, made = nuts.nutpie.sample, []

    def by(end):
        def started(*arguments, **keywords):
            made.append(Told(start(*arguments, **keywords), end))
            return made[-1]

        monkeypatch.setattr(nuts.nutpie, "sample", started)
        return made

    return by


def drawn(draws=50, tune=50):
    """Draws under a hypothesis; two chains."""
    hypothesis = load_hypothesis("normal-noise")
    density = log_density(run_data(user_study(), hypothesis), hypothesis)
    start = density.unconstrain(prior_medians(hypothesis))
    return sample(density, start, draws=draws, tune=tune, chains=2, cores=1, seed=1)


def finished(running):
    try:
        return running.is_finished
    except TimeoutError:
        return False


def test_an_interruption_of_the_last_moment_is_told_with_all_the_draws(told):
    whole = drawn()

    def end(running):
        while not finished(running):
            time.sleep(0.01)
        raise KeyboardInterrupt

    told(end)
    with pytest.raises(SamplingInterrupted) as stop:
        drawn()
    assert len(stop.value.chains) == 2
    for chain, expected in zip(stop.value.chains, whole.by_chain, strict=True):
        np.testing.assert_array_equal(chain["unconstrained"], expected["unconstrained"])


def test_an_interruption_in_between_is_told_with_what_there_is(told):
    def end(running):
        time.sleep(0.2)
        raise KeyboardInterrupt

    told(end)
    with pytest.raises(SamplingInterrupted) as stop:
        drawn(draws=10**6, tune=20)
    assert 0 < sum(len(one["log_density"]) for one in stop.value.chains) < 2 * 10**6


def test_an_interruption_after_nutpie_gave_the_trace_away_is_passed_on(told):
    def end(running):
        running.wait()
        raise KeyboardInterrupt

    told(end)
    with pytest.raises(KeyboardInterrupt) as stop:
        drawn()
    assert not isinstance(stop.value, SamplingInterrupted)


def test_a_second_interruption_leaves_no_sampler_at_work(told, monkeypatch):
    def end(running):
        raise KeyboardInterrupt

    made = told(end)
    monkeypatch.setattr(Told, "abort", end)
    with pytest.raises(KeyboardInterrupt):
        drawn(draws=10**6)
    assert [one.cancelled for one in made] == [True]


class Coordinates:
    """Coordinates that are interrupted when nutpie asks for their values."""

    def __len__(self):
        return 6

    def __getattr__(self, name):
        raise KeyboardInterrupt


def test_an_interruption_while_nutpie_starts_is_one(monkeypatch):
    """Its error only names what the Python code raised that it called."""
    monkeypatch.setattr(sampling.pd, "RangeIndex", lambda n: Coordinates())
    with pytest.raises(KeyboardInterrupt) as stop:
        drawn()
    assert type(stop.value.__cause__) is RuntimeError


@pytest.mark.parametrize("error", [RuntimeError, ValueError])
def test_any_other_end_leaves_no_sampler_at_work(told, error):
    def end(running):
        raise error("no more memory")

    made = told(end)
    with pytest.raises(error, match="no more memory"):
        drawn(draws=10**6)
    assert [one.cancelled for one in made] == [True]


def test_any_other_error_at_the_start_is_passed_on(monkeypatch):
    def started(*arguments, **keywords):
        raise RuntimeError("no threads left")

    monkeypatch.setattr(nuts.nutpie, "sample", started)
    with pytest.raises(RuntimeError, match="no threads left"):
        drawn()
