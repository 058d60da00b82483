"""Examples in docstrings run and give what they say; public functions have docstrings."""

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import scalebayes as sb

FOLDER = Path(sb.__file__).parent
WITH_EXAMPLES = sorted(
    path.stem for path in FOLDER.glob("*.py") if ">>> " in path.read_text(encoding="utf-8")
)


def test_there_are_examples():
    assert {"studies", "optimum"} <= set(WITH_EXAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_module_give_what_they_say(name):
    module = importlib.import_module(f"scalebayes.{name}")
    found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("name", [one for one in sb.__all__ if callable(getattr(sb, one))])
def test_every_public_name_says_what_it_is(name):
    text = inspect.getdoc(getattr(sb, name))
    assert text
    assert text.splitlines()[0].endswith((".", ":"))


def test_every_module_says_what_it_is_for():
    for one in pkgutil.iter_modules([str(FOLDER)]):
        source = (FOLDER / f"{one.name}.py").read_text(encoding="utf-8")
        assert source.startswith('"""'), one.name
