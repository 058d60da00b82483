"""nutpie is there without ArviZ's plots, and ArviZ is itself for whoever asks for it."""

import subprocess
import sys
from types import ModuleType

import pytest

from scalebayes.nuts import Later, imported


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
