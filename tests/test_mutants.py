"""The tool of mutants: what it tells mutmut, and the page of what it found (`make mutants`)."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "mutation.md"
SPEC = importlib.util.spec_from_file_location("mutants", ROOT / "tools" / "mutants.py")
mutants = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(mutants)


@pytest.mark.parametrize("module", mutants.MODULES)
def test_every_module_and_its_test_files_exist_and_the_settings_are_read(module, tmp_path):
    assert (ROOT / "scalebayes" / f"{module}.py").is_file()
    place = mutants.prepared(tmp_path, module)
    settings = tomllib.loads((place / "pyproject.toml").read_text(encoding="utf-8"))
    chosen = settings["tool"]["mutmut"]
    assert chosen["only_mutate"] == [f"scalebayes/{module}.py"]
    for path in chosen["pytest_add_cli_args_test_selection"]:
        assert (ROOT / path).is_file()


def test_a_change_is_what_was_taken_away_and_what_came_in_its_place():
    diff = "--- a\n+++ b\n@@ -1,2 +1,2 @@\n def f(x):\n-    return x + 1\n+    return x - 1\n"
    assert mutants.change_of(diff) == "return x + 1 → return x - 1"


def test_the_page_counts_by_module_and_names_survivors_and_what_was_not_run():
    found = {
        "laws": {
            "a__mutmut_1": {"state": "killed"},
            "a__mutmut_2": {"state": "survived", "change": "x + 1 → x - 1"},
            "a__mutmut_3": {"state": "no tests"},
            "a__mutmut_4": {"state": "timeout"},
        }
    }
    page = mutants.page(found).replace("\n", " ")
    assert "| laws | 4 | 2 | 1 | 1 | 50.0% |" in page
    assert "### laws  not looked at  - `x + 1 → x - 1` (a__mutmut_2)" in page
    assert "Not run so far: counting, optimum, studies, hypotheses, gate." in page


def test_a_reason_is_found_by_what_a_mutant_changes_and_stands_over_its_mutants(monkeypatch):
    monkeypatch.setattr(mutants, "read_reasons", lambda: {("laws", "x | y → x & y"): "equal here"})
    survivor = {"state": "survived", "change": "x | y → x & y"}
    laws = {f"scalebayes.laws.x_{name}__mutmut_7": survivor for name in "ab"}
    page = mutants.page({"laws": laws, "gate": {"scalebayes.gate.x_c__mutmut_7": survivor}})
    both = "- `x | y → x & y` (x_a__mutmut_7)\n- `x | y → x & y` (x_b__mutmut_7)"
    assert f"### laws\n\nequal here\n\n{both}\n\n### gate\n\nnot looked at\n\n- `x" in page
    assert "Survivors with a reason: 2 of 3." in page.replace("\n", " ")


def test_the_page_has_every_module_above_what_is_wanted_and_a_reason_for_every_survivor():
    page = PAGE.read_text(encoding="utf-8")
    scores = dict(re.findall(r"^\| (\w+) \|.*\| ([\d.]+)% \|$", page, re.MULTILINE))
    assert set(scores) == set(mutants.MODULES)
    assert min(map(float, scores.values())) >= 100 * mutants.WANTED
    assert mutants.UNEXPLAINED not in page


def test_every_reason_is_of_a_survivor_on_the_page():
    page = PAGE.read_text(encoding="utf-8")
    for _, change in mutants.read_reasons():
        assert f"`{change}`" in page
