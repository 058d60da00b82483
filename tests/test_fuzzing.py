"""The fuzzers: they notice crashes, hangs and silent changes, and find none in a few inputs."""

import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from scalebayes.errors import ResultError

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import bad_and_good_fits  # noqa: E402
import fuzz_commands  # noqa: E402
import fuzz_parts  # noqa: E402
import fuzz_readers  # noqa: E402
import fuzzing_page  # noqa: E402
import kill_while_saving  # noqa: E402


def troubled(index):
    """Inputs of which some crash, hang or kill the process."""
    if index == 3:
        raise KeyError("x")
    if index == 5:
        os.kill(os.getpid(), signal.SIGSEGV)
    if index == 7:
        while True:
            time.process_time()
    if index == 8:
        os._exit(9)
    return "fine", ""


def test_inputs_that_crash_hang_or_kill_the_process_are_found_and_the_others_counted():
    tally = fuzz_parts.tried(troubled, 20, seconds=0.2, portion=6)
    assert tally.outcomes == {"fine": 16, fuzz_parts.CRASH: 3, fuzz_parts.HANG: 1}
    found = {one["index"]: one["detail"] for one in tally.findings}
    assert found == {3: "KeyError: 'x' ()", 5: "SIGSEGV", 7: "SIGPROF", 8: "exit 9"}


def test_changes_are_the_same_for_the_same_seed_and_usually_change_something():
    content = b"N,D,loss\n1e8,2e9,3.5\n"
    made = [fuzz_parts.mutated(content, random.Random(i), [b"xyz"]) for i in range(200)]
    assert made == [fuzz_parts.mutated(content, random.Random(i), [b"xyz"]) for i in range(200)]
    assert sum(one == content for one in made) < 60
    assert len(set(made)) > 100


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    return fuzz_readers.kinds(tmp_path_factory.mktemp("kinds"))


NAMES = ("CSV", "TSV", "JSON lines", "Parquet", "hypothesis (TOML)", "saved result", "manifest")


@pytest.mark.parametrize("name", NAMES)
def test_a_few_damaged_inputs_of_every_kind_end_well(kinds, name):
    assert set(kinds) == set(NAMES)
    _, seeds, path, read = kinds[name]
    attempt = partial(fuzz_readers.one_input, seeds=seeds, path=path, read=read, seed=2)
    tally = fuzz_parts.tried(attempt, 60)
    assert tally.n == 60
    assert tally.findings == []


def test_seeds_that_nobody_changed_are_read(kinds):
    for name in ("hypothesis (TOML)", "saved result", "manifest"):
        _, seeds, path, read = kinds[name]
        assert read(seeds[0], path, random.Random(1)) == (fuzz_readers.VALUE, "")


def test_a_result_that_reads_as_another_one_is_a_finding(kinds, tmp_path):
    _, seeds, path, _ = kinds["saved result"]
    other = fuzz_readers.tree()
    other.attrs["study"] = "y"
    found = fuzz_readers.of_result(seeds[0], path, None, saved=other)
    assert found == (fuzz_readers.SILENT, "another result than was saved")


def test_a_number_that_was_taken_for_another_is_a_finding(kinds):
    _, seeds, path, _ = kinds["CSV"]
    path.write_bytes(seeds[0])
    study = fuzz_readers.read_runs(path, counting="total")
    assert fuzz_readers.wrong_cell(seeds[0], path, study, {}) == ""
    changed = seeds[0].replace(b"3.6", b"3.7", 1)
    assert "'3.7' was taken for" in fuzz_readers.wrong_cell(changed, path, study, {})


@pytest.fixture
def command_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz_commands, "_FIT", "open('fit.nc', 'wb').write(b'no fit')")
    monkeypatch.chdir(tmp_path)
    fuzz_commands.fill(tmp_path)
    return tmp_path


def test_a_few_command_lines_end_well(command_folder, monkeypatch):
    monkeypatch.setattr(fuzz_commands, "SAMPLED", ("models", "hoffmann-total"))
    originals = fuzz_commands.contents(command_folder)
    attempt = partial(fuzz_commands.one_line, seed=3, originals=originals, folder=command_folder)
    tally = fuzz_parts.tried(attempt, 40, seconds=60)
    assert fuzz_commands.bad(tally) == 0
    assert tally.n == 40


def test_lines_that_would_take_long_end_in_what_cannot_be():
    slow = {line[0] for line in fuzz_commands.SLOW_LINES} - {"fit"}
    lines = [fuzz_commands.line_of(i, 1) for i in range(1, 500)]
    long = [line for line in lines if line and line[0] in slow]
    assert len(long) > 50
    assert all(line[-1] in {one[-1] for one in fuzz_commands.IMPOSSIBLE} for line in long)


def test_an_exit_code_that_is_none_of_ours_is_a_finding(command_folder, monkeypatch):
    def one(words):
        raise SystemExit(1)

    monkeypatch.setattr(fuzz_commands.cli, "main", one)
    originals = fuzz_commands.contents(command_folder)
    outcome, detail = fuzz_commands.one_line(1, seed=1, originals=originals, folder=command_folder)
    assert outcome == fuzz_commands.WRONG_CODE
    assert "exit 1" in detail


def test_processes_killed_while_they_save_leave_whole_results(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEBAYES_CACHE", str(tmp_path))
    made = [kill_while_saving.result(seed, draws=500) for seed in range(3)]
    for work in (kill_while_saving.overwritten, kill_while_saving.cached):
        folder = tmp_path / work.__name__
        folder.mkdir()
        counts = work(5, made, folder, random.Random(1))
        assert counts["intact"] == 5


def test_a_file_that_is_not_whole_is_counted(tmp_path):
    path = tmp_path / "fit.nc"
    path.write_bytes(b"half")
    assert kill_while_saving.read(path) is None
    assert not kill_while_saving.is_whole(None, [])
    with pytest.raises(ResultError):
        kill_while_saving.load_fit(path)


def test_each_script_writes_its_own_part_of_the_page(tmp_path):
    page = tmp_path / "fuzzing.md"
    fuzzing_page.write_page(page, readers="| a |\n\nmany")
    fuzzing_page.write_page(page, kills="none")
    fuzzing_page.write_page(page, readers="others")
    assert fuzzing_page.parts_of(page.read_text()) == {"readers": "others", "kills": "none"}


def test_there_are_forty_tables_of_which_a_fit_would_mislead():
    assert sum(map(len, bad_and_good_fits.cases().values())) == 40


def test_a_table_that_is_refused_is_flagged_and_so_is_a_design_that_says_nothing():
    (table, options), *_ = bad_and_good_fits.cases()["other units than said"]
    flag, words = bad_and_good_fits.flag_of(table, options, "hoffmann-total")
    assert flag == bad_and_good_fits.REFUSED
    assert "SB209" in words


def test_the_page_names_what_was_missed_and_what_was_a_false_alarm():
    one = {"number": 1, "words": "R-hat", "seconds": 1.0}
    found = [
        {**one, "kind": "few runs", "flag": ""},
        {**one, "kind": "good: grid, x", "flag": bad_and_good_fits.NOT_CONVERGED},
    ]
    page = bad_and_good_fits.page(found)
    assert "0 of 1 tables of which a fit would mislead are flagged; 1 of 1 good" in page
    assert "- few runs, number 1" in page
    assert "- good: grid, x, number 1: not converged (R-hat)" in page
