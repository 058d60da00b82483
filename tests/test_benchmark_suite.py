"""The benchmark suite: what it measures, its store, and its table, without a costly run."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import approx_fprime

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def beside_the_scripts():
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def suite():
    names = ("suite", "suite_parts", "suite_programs", "suite_rivals", "suite_rows", "suite_table")
    modules = {name: importlib.import_module(name) for name in (*names, "processes")}
    return SimpleNamespace(**modules)


def echo(tmp_path):
    """A script whose program says what it was asked."""
    path = tmp_path / "echo.py"
    path.write_text(
        "import sys\nprint('noise')\nprint(sys.argv[2], file=sys.stdout)\n", encoding="utf-8"
    )
    return path


def test_every_measurement_names_a_program_that_there_is(suite):
    ours, rivals = suite.suite_programs.PROGRAMS, suite.suite_rivals.PROGRAMS
    for one in suite.suite_parts.measurements(full=False):
        programs = ours if one.file == suite.suite_parts.OURS else rivals
        assert one.program in programs
        assert not one.before or one.before[0] in programs | ours


def test_names_of_measurements_are_unique_and_every_row_has_its_own(suite):
    names = [one.name for one in suite.suite_parts.measurements(full=False)]
    assert len(set(names)) == len(names)
    rows = [row for _, _, rows in suite.suite_rows.SECTIONS for row in rows]
    assert {name for row in rows for name in row.of} == set(names)


def test_a_process_costs_some_time_and_memory_and_says_what_it_found(suite, tmp_path):
    found = suite.processes.measured(echo(tmp_path), "any", {"rows": 3}, tmp_path)
    assert found["rows"] == 3
    assert found["cpu"] > 0
    assert found["memory"] > 1


def test_a_process_that_fails_ends_the_run_and_says_why(suite, tmp_path):
    path = tmp_path / "fails.py"
    path.write_text("raise ValueError('no such data')\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="no such data"):
        suite.processes.measured(path, "any", {}, tmp_path)


def echoes(suite, tmp_path, name, **more):
    asked = {"part": "any", "program": "any", "before": (), "folder": ""}
    return suite.suite_parts.Measurement(name=name, file=echo(tmp_path), **asked, **more)


def test_only_the_runs_that_a_store_lacks_are_made(suite, tmp_path):
    one = echoes(suite, tmp_path, "echo")
    known = [{"name": "echo", "arguments": {}}] * 2 + [{"name": "echo", "arguments": {"n": 1}}]
    found = [
        suite.suite.measured_run(each, tmp_path, set())
        for each in suite.suite.in_turn([one], known, 3)
    ]
    assert [line["name"] for line in found] == ["echo"]
    assert list(suite.suite.in_turn([one], known * 2, 3)) == []


def test_those_that_take_turns_are_run_one_after_the_other(suite, tmp_path):
    a, b = (echoes(suite, tmp_path, name) for name in "ab")
    c, d = (echoes(suite, tmp_path, name, turns="both") for name in "cd")
    once = echoes(suite, tmp_path, "e", most_runs=1)
    names = [one.name for one in suite.suite.in_turn([a, b, c, d, once], [], 2)]
    assert "".join(names) == "aabbcdcde"
    known = [{"name": "c", "arguments": {}}]
    assert [one.name for one in suite.suite.in_turn([c, d], known, 2)] == ["c", "d", "d"]


def test_lines_of_other_code_are_not_taken(suite, capsys):
    here = {"digest": "new"}
    lines = [{"name": "a", "about": {"digest": "old"}}, {"name": "b", "about": here}]
    assert suite.suite.matching(lines, here) == lines[1:]
    assert "1 stored lines are of other code" in capsys.readouterr().err


def test_a_row_says_median_range_and_whether_it_is_what_was_wanted(suite):
    row = suite.suite_rows.Row(what="fit", of=("f",), value=lambda one: one["cpu"], wanted=4)
    runs = [{"cpu": cpu, "memory": 100.0} for cpu in (3.0, 5.0, 3.5)]
    assert "3.50 CPU s (3.00 to 5.00) | ≤ 4 | met | 100 | 3 |" in suite.suite_table.table(
        [row], {"f": runs}, {}
    )
    slower = [{"cpu": 4.5, "memory": 100.0}]
    assert "| **missed** |" in suite.suite_table.table([row], {"f": slower}, {})


def test_a_row_without_runs_says_why(suite):
    row = suite.suite_rows.Row(what="fit", of=("f",), value=lambda one: one["cpu"])
    assert "not measured" in suite.suite_table.table([row], {"f": []}, {})
    absent = {"f": "numpyro is not installed"}
    assert "numpyro is not installed" in suite.suite_table.table([row], {"f": []}, absent)


def test_the_gradient_of_the_bootstraps_objective_is_that_of_its_value(suite):
    rng = np.random.default_rng(1)
    log_N, log_D = rng.uniform(17, 24, 30), rng.uniform(20, 27, 30)
    point = np.array([0.6, 6.2, 7.6, -1.05, -1.0])
    data = (log_N, log_D, 0.9 + 0.1 * rng.standard_normal(30), 0.05)
    slopes = approx_fprime(point, lambda x: suite.suite_rivals.objective(x, *data)[0], 1e-7)
    np.testing.assert_allclose(suite.suite_rivals.objective(point, *data)[1], slopes, rtol=1e-3)


def test_a_description_names_no_host_and_no_path(suite):
    import socket

    text = json.dumps(suite.suite_programs.description())
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text
