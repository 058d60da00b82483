"""The table of planted mistakes: it fits the package as it is (`make mistakes` plants them)."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location(
    "planted_mistakes", ROOT / "tools" / "planted_mistakes.py"
)
planted_mistakes = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(planted_mistakes)
MISTAKES = {one.name: one for one in planted_mistakes.MISTAKES}


def source_of(mistake):
    return (ROOT / "scalebayes" / f"{mistake.module}.py").read_text(encoding="utf-8")


def test_there_are_more_than_a_dozen_mistakes_of_different_names():
    assert len(MISTAKES) == len(planted_mistakes.MISTAKES) > 12


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_has_one_place_in_its_module_and_tests_that_exist(mistake):
    source = source_of(mistake)
    assert source.count(mistake.right) == 1
    changed = mistake.planted(source)
    assert changed != source
    compile(changed, mistake.module, "exec")
    for name in mistake.tests:
        assert (ROOT / "tests" / f"test_{name}.py").is_file()


def test_a_mistake_without_a_place_is_refused():
    mistake = next(iter(MISTAKES.values()))
    with pytest.raises(ValueError, match="occurs 0 times"):
        mistake.planted("")


def test_the_page_names_every_mistake_and_none_that_was_not_caught():
    page = (ROOT / "docs" / "planted_mistakes.md").read_text(encoding="utf-8")
    for name in MISTAKES:
        assert f"| {name} |" in page
    assert "**not caught**" not in page


def test_a_mistake_that_no_test_caught_is_said_on_the_page():
    one, other = list(MISTAKES.values())[:2]
    text = planted_mistakes.page({one: "test_a.py::test_b", other: ""})
    assert "1 of 2 mistakes planted so far are caught" in text
    assert f"| {other.name} | `{other.module}.py` | **not caught** |" in text
