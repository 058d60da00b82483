"""Faults that belong to no module alone, each made to happen for real (docs/faults.md has all)."""

import importlib.util
import json
import re
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from disks import COMMAND, ROOT, ended, full_disk, read_only_folder, start
from fits import EPOCH, tree_without_sampling, user_study
from test_cli import run  # noqa: F401

import scalebayes as sb
from scalebayes.arguments import write_csv
from scalebayes.errors import CacheWarning, HypothesisError, InputError, ResultError, StudyError
from scalebayes.hypotheses import hypothesis_names, models_folder
from scalebayes.laws import chinchilla
from scalebayes.manifest import read_manifest, swap_in, write_manifest
from scalebayes.reconcile import _chosen_studies
from scalebayes.spreadsheet import without_formulas
from scalebayes.storage import cached_fit, save_fit, store_in_cache

EVIL = "<script>alert(1)</script>"
PROBLEM = "R-hat 1.2 of alpha"


@cache
def fit():
    return tree_without_sampling("hoffmann-total", draws=20)


@cache
def failed_fit(hypothesis="hoffmann-total"):
    return tree_without_sampling(hypothesis, problems=(PROBLEM,))


# 22: very many rows


def many_runs(n):
    rng = np.random.default_rng(22)
    N, D = 10 ** rng.uniform(7, 10, n), 10 ** rng.uniform(9, 12, n)
    loss = chinchilla(N, D, **EPOCH) * np.exp(0.01 * rng.standard_normal(n))
    return pd.DataFrame({"N": N, "D": D, "loss": loss})


@pytest.mark.slow
def test_a_table_of_very_many_rows_is_read_whole_and_not_sampled_without_force(tmp_path):
    many_runs(100_001).to_csv(tmp_path / "big.csv", index=False)
    assert sb.read_runs(tmp_path / "big.csv", counting="total").n_used == 100_001
    options = ("--loss-unit", "nats", "--counting", "total")
    code, _, err = ended(start(COMMAND, "fit", "big.csv", *options, folder=tmp_path))
    assert code == 2
    assert "100001 runs" in err and "--force" in err


def test_too_many_runs_are_sampled_only_when_that_is_insisted_on(monkeypatch):
    study = sb.read_runs(many_runs(100_001), counting="total")
    asked = []
    monkeypatch.setattr("scalebayes.fitting.fit_alone", lambda *one, **_: asked.append(one))
    monkeypatch.setattr("scalebayes.fitting._with_settings", lambda result, own: result)
    with pytest.raises(InputError, match="100001 runs .* more than 100000.*force=True"):
        sb.fit(study)
    assert not asked
    sb.fit(study, force=True)
    assert len(asked) == 1
    sb.fit(sb.read_runs(many_runs(100_000), counting="total"))
    assert len(asked) == 2


# 23: lengths that do not match


def test_columns_of_different_lengths_are_refused_with_their_lengths():
    N, D, loss = many_runs(12).to_numpy().T
    with pytest.raises(InputError, match="N 12, D 11, loss 12"):
        sb.huber_fit(N, D[:-1], loss)


# 26: a full disk


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_fit_that_the_disk_cannot_hold_leaves_the_earlier_one(tmp_path, share):
    path = save_fit(fit(), tmp_path / "fit.nc")
    before = path.read_bytes()
    with full_disk(int(share * len(before))), pytest.raises(ResultError, match=r"fit\.nc: "):
        save_fit(failed_fit(), path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["fit.nc"]


OUTPUTS = {
    "a table": (["optimal", "fit.nc", "-C", "1e22", "--law-exact", "--csv"], "o.csv"),
    "predictions": (["predict", "fit.nc", "points.csv", "--law-exact", "-o"], "p.csv"),
    "a page": (["report", "fit.nc", "-o"], "r.html"),
    "a figure": (["models", "hoffmann-total", "--prior-predictive", "--figure"], "m.png"),
}


@pytest.mark.parametrize(("command", "name"), OUTPUTS.values(), ids=OUTPUTS)
def test_a_file_that_the_disk_cannot_hold_is_not_half_written(run, tmp_path, command, name):  # noqa: F811
    save_fit(fit(), tmp_path / "fit.nc")
    (tmp_path / "points.csv").write_text("N,D\n1e9,1e10\n")
    (tmp_path / name).write_text("the earlier one")
    there = {one.name for one in tmp_path.iterdir()}
    with full_disk(100):
        done = run(*command, name)
    assert done.code == 4, done.err
    assert (tmp_path / name).read_text() == "the earlier one"
    assert {one.name for one in tmp_path.iterdir()} == there


# 30, 31: numbers and bombs in files of text


def test_numbers_with_exponents_are_numbers_in_tables_and_in_hypotheses(tmp_path):
    frame = many_runs(9).assign(N=["1e9", "1E9", "1.0e+09", "1000000000", *["5.76e9"] * 5])
    frame.to_csv(tmp_path / "runs.csv", index=False)
    runs = sb.read_runs(tmp_path / "runs.csv", counting="total").runs
    assert list(runs["N"]) == [1e9] * 4 + [5.76e9] * 5
    text = (models_folder() / "hoffmann-total.toml").read_text()
    (tmp_path / "mine.toml").write_text(re.sub(r"sigma = 0\.5\b", "sigma = 5e-1", text))
    assert "5e-1" in (tmp_path / "mine.toml").read_text()
    mine, ours = (sb.load_hypothesis(one) for one in (tmp_path / "mine.toml", "hoffmann-total"))
    assert mine.priors == ours.priors


BOMBS = {
    "deep lists": "a = " + "[" * 5000,
    "a number without end": "a = " + "9" * 5000,
    "a long file": "# " + "x" * 100_000,
    "an alias": "a: &a [x]\nb: [*a, *a]\n",
    "a tag of Python's": "a = !!python/object/apply:os.system ['true']\n",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_hypothesis_file_that_is_a_bomb_is_refused(tmp_path, text):
    (tmp_path / "bomb.toml").write_text(text)
    with pytest.raises(HypothesisError, match=r"bomb\.toml: "):
        sb.load_hypothesis(tmp_path / "bomb.toml")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000])
def test_a_line_of_json_that_is_a_bomb_is_refused_with_its_line(tmp_path, text):
    (tmp_path / "bomb.jsonl").write_text(f'{{"N": {text}\n')
    with pytest.raises(StudyError, match=r"bomb\.jsonl, row 1 "):
        sb.read_runs(tmp_path / "bomb.jsonl")


def test_no_yaml_is_read_anywhere():
    for path in (ROOT / "scalebayes").glob("*.py"):
        assert not re.search(r"^\s*(import|from) (yaml|ruamel)", path.read_text(), re.MULTILINE)


# 33: names and paths


@pytest.mark.parametrize("name", ["../default", "/etc/prior.toml", "mine.toml", "hoffmann-totl"])
def test_a_hypothesis_file_cannot_name_another_file(tmp_path, name):
    text = (models_folder() / "latent-counting.toml").read_text()
    (tmp_path / "mine.toml").write_text(
        re.sub(r'reference_priors = ".*"', f'reference_priors = "{name}"', text)
    )
    with pytest.raises(HypothesisError, match=f"reference_priors: '{name}' is not a name"):
        sb.load_hypothesis(tmp_path / "mine.toml")
    assert name not in hypothesis_names()


@pytest.mark.parametrize(
    "name", ["../up", "/tmp/x", "a/b", "a\\b", "", ".", ".hidden", "a\nb", "a" * 201, "population"]
)
def test_a_study_whose_name_would_be_a_path_is_not_reconciled(name):
    with pytest.raises(StudyError, match="cannot be that of a file"):
        _chosen_studies([named_study(name)])


def named_study(name):
    from dataclasses import replace

    return replace(user_study(), name=name)


def test_the_name_of_a_study_is_text_on_every_page():
    study = named_study(EVIL)
    one, other = (tree_without_sampling(name, study) for name in ("hoffmann-total", "normal-noise"))
    pages = [sb.report(one).html, sb.report({EVIL: one, "other": other}, leave_out=()).html]
    for page in pages:
        assert "<script" not in page
        assert "&lt;script&gt;" in page


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_that_a_spreadsheet_would_run_is_quoted_in_written_tables(tmp_path, start):
    cell = f"{start}HYPERLINK(1)"
    rows = [{"study": "x", "name": cell, cell: "a", "median": -0.5, "mark": ""}]
    write_csv(rows, tmp_path / "t.csv")
    table = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert list(table.columns) == ["name", f"'{cell}", "median", "mark"]
    assert table["name"].item() == f"'{cell}"
    assert table["median"].item() == "-0.5"


def test_a_table_without_formulas_is_written_as_it_is():
    table = pd.DataFrame({"a": ["x", "a-b", ""], "b": [-1.0, 2.0, np.nan], "c": [None, True, 3]})
    pd.testing.assert_frame_equal(without_formulas(table), table)


# 34: no convergence

COMMANDS = {
    "optimal": ["optimal", "fit.nc", "-C", "1e22", "--law-exact"],
    "predict": ["predict", "fit.nc", "points.csv", "--law-exact"],
    "report": ["report", "fit.nc"],
    "compare": ["compare", "fit.nc", "other.nc", "--leave-out", "none"],
}


@pytest.fixture
def failed(tmp_path):
    save_fit(failed_fit(), tmp_path / "fit.nc")
    save_fit(failed_fit("normal-noise"), tmp_path / "other.nc")
    (tmp_path / "points.csv").write_text("N,D\n1e9,1e10\n")


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_what_did_not_converge_is_said_first_is_false_in_json_and_ends_with_3(
    run,  # noqa: F811
    failed,
    command,
):
    text, told = run(*command), run(*command, "--json")
    first = text.out.splitlines()[0]
    assert "NOT CONVERGED" in first or "no verdict, for a fit did not converge" in first
    assert PROBLEM in first
    assert json.loads(told.out)["converged"] is False
    assert text.code == told.code == 3


def test_what_did_not_converge_is_marked_in_every_row_of_a_written_table(run, failed, tmp_path):  # noqa: F811
    everything = ["optimal", "fit.nc", "-C", "1e22", "--inference-tokens", "1e12", "--csv"]
    for command in (everything, ["predict", "fit.nc", "points.csv", "-o"]):
        assert run(*command, "t.csv").code == 3
        assert set(pd.read_csv(tmp_path / "t.csv")["mark"]) == {"not converged"}


def test_the_page_of_what_did_not_converge_says_so_before_any_number(run, failed, tmp_path):  # noqa: F811
    run("report", "fit.nc", "-o", "r.html")
    page = (tmp_path / "r.html").read_text()
    body = page[page.index("<body") :]
    assert body.index("NOT CONVERGED") < re.search(r"D\*/N\* \d", body).start()


@pytest.mark.slow
def test_chains_too_short_to_converge_end_with_3_and_are_saved_as_such(tmp_path):
    short = ("--draws", "100", "--tune", "100", "--chains", "2", "--cores", "1", "--no-cache")
    command = start(COMMAND, "fit", "marin2026-dclm", *short, "-o", "x.nc", folder=tmp_path)
    code, out, _ = ended(command)
    assert code == 3
    assert out.startswith("NOT CONVERGED")
    assert sb.load_fit(tmp_path / "x.nc").attrs["converged"] == 0


# 37: a cache that cannot be written


def test_a_cache_in_a_read_only_folder_is_warned_of_once_and_costs_no_result(tmp_path):
    folder = read_only_folder(tmp_path / "locked")
    code = (
        "import sys\nfrom scalebayes.console import Commands\n"
        "from scalebayes.storage import cached_fit, load_fit, store_in_cache\n"
        "import typer\n"
        "app = typer.Typer(cls=Commands)\n"
        "@app.callback()\ndef root(): pass\n"
        "@app.command()\ndef twice():\n"
        "    fit = load_fit('fit.nc')\n"
        "    for key in 'abc':\n"
        "        assert cached_fit(key) is None\n"
        "        store_in_cache(key, fit)\n"
        "    print('done')\n"
        "app()\n"
    )
    save_fit(fit(), tmp_path / "fit.nc")
    done = start(code, "twice", folder=tmp_path, cache=folder / "fits")
    code, out, err = ended(done)
    assert (code, out) == (0, "done\n"), err
    assert err.count("warning: ") == 1
    assert f"fits are not cached in {folder / 'fits'}: " in err


def test_a_cache_on_a_full_disk_is_one_warning_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEBAYES_CACHE", str(tmp_path / "cache"))
    with full_disk(1000), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("once", CacheWarning)
        for key in "abc":
            store_in_cache(key, fit())
    assert len(caught) == 1
    assert "File too large" in str(caught[0].message)
    assert list((tmp_path / "cache").iterdir()) == []
    assert cached_fit("a") is None


# 38: two processes at once

SWAPPING = """
import sys
from pathlib import Path
from scalebayes.manifest import swap_in, write_manifest
who, place = sys.argv[1], Path("out")
for i in range(100):
    new = Path(f"new-{who}-{i}")
    (new / "figures").mkdir(parents=True)
    for name in ("index.html", "summary.csv", "figures/ratio.svg"):
        (new / name).write_text(f"{who} {i} {name}")
    write_manifest(new, {"who": who, "i": i})
    swap_in(new, place)
"""


def test_two_processes_that_write_one_folder_leave_one_whole_result(tmp_path):
    both = [start(SWAPPING, who, folder=tmp_path) for who in ("one", "two")]
    for process in both:
        code, _, err = ended(process)
        assert code == 0, err
    manifest = read_manifest(tmp_path / "out")
    assert manifest["i"] == 99
    assert sb.verify(tmp_path / "out").intact
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


SAVING = """
import sys
from pathlib import Path
from scalebayes.storage import cached_fit, load_fit, save_fit, store_in_cache
fit = load_fit(f"{sys.argv[1]}.nc")
for i in range(30):
    save_fit(fit, Path("shared.nc"))
    assert load_fit("shared.nc").attrs["study"] in ("one", "two")
    store_in_cache("key", fit)
    found = cached_fit("key")
    assert found is None or found.attrs["study"] in ("one", "two")
"""


def test_two_processes_that_write_one_file_and_one_cache_entry_never_read_a_broken_one(tmp_path):
    for who in ("one", "two"):
        named = fit().copy()
        named.attrs = {**fit().attrs, "study": who}
        save_fit(named, tmp_path / f"{who}.nc")
    both = [start(SAVING, who, folder=tmp_path) for who in ("one", "two")]
    for process in both:
        code, _, err = ended(process)
        assert (code, err) == (0, "")
    there = {one.name for one in tmp_path.iterdir()}
    assert there == {"one.nc", "two.nc", "shared.nc", "cache"}


def test_an_interruption_between_two_renames_puts_the_earlier_folder_back(tmp_path, monkeypatch):
    place, new = tmp_path / "out", tmp_path / "new"
    for folder in (place, new):
        folder.mkdir()
        (folder / "index.html").write_text(folder.name)
        write_manifest(folder, {})
    replace, moved = Path.replace, []

    def interrupted(path, target):
        moved.append(path)
        if len(moved) == 2:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        swap_in(new, place)
    monkeypatch.undo()
    assert (place / "index.html").read_text() == "out"
    assert {one.name for one in tmp_path.iterdir()} == {"out", "new"}


# the page


def test_every_test_that_the_page_of_faults_names_exists():
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+)\.py::(test_\w+)`", page)
    assert len(named) >= 38
    for module, name in named:
        text = (ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8")
        assert f"\ndef {name}(" in text, f"{module}.py::{name}"


def test_the_page_of_faults_has_every_number_once():
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    assert [int(n) for n in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)] == list(range(1, 39))


def test_what_saving_needs_is_declared():
    text = (ROOT / "pyproject.toml").read_text()
    assert '"h5netcdf' in text and '"h5py' in text
    assert importlib.util.find_spec("h5py") and importlib.util.find_spec("h5netcdf")
