"""A design report: what it counts, what it says, what it costs, and what it proposes to type."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from scalebayes.check import check, isoflop_lines
from scalebayes.isoflop import windowed

SIZES = np.geomspace(1e8, 4e9, 6)


def grid(**more):
    N, D = (x.ravel() for x in np.meshgrid(SIZES, [2e9, 8e9, 3e10, 1e11]))
    frame = pd.DataFrame({"N": N, "D": D, "loss": 1.8 + 480 / N**0.35 + 2000 / D**0.36})
    return frame.assign(**more)


def study_of(frame=None, **options):
    units = {"N": 1, "D": 1, "loss": "nats"}
    frame = grid() if frame is None else frame
    return sb.read_runs(frame, **{"counting": "total", "units": units, "name": "mine", **options})


def row(found, name):
    (one,) = found.table[found.table["name"] == name].to_dict("records")
    return one


def isoflop_frame(budgets):
    rows = [(C, N, C / (6 * N)) for C in budgets for N in np.sqrt(C / 120) * np.array([0.3, 1, 3])]
    frame = pd.DataFrame(rows, columns=["C", "N", "D"])
    loss = 1.8 + 480 / frame["N"] ** 0.35 + 2000 / frame["D"] ** 0.36
    return frame.assign(loss=loss)


def test_ranges_are_those_of_the_used_rows():
    frame = grid()
    frame.loc[0, "loss"] = np.nan
    found = check(study_of(frame, drop_missing=True))
    runs = frame[1:]
    for name, values in (("N", runs["N"]), ("D/N", runs["D"] / runs["N"]), ("loss", runs["loss"])):
        one = row(found, name)
        assert (one["lower"], one["upper"]) == (values.min(), values.max())
        assert one["value"] == values.median()
    assert row(found, "rows used")["value"] == 23
    assert row(found, "rows left out")["note"] == "loss is missing"


def test_budgets_are_those_stated_else_six_n_d():
    assert row(check(study_of()), "C")["upper"] == pytest.approx(6 * 4e9 * 1e11)
    stated = study_of(grid(flops=1e20 * np.arange(1, 25)), flops="exact")
    assert row(check(stated), "C")["upper"] == 2.4e21


@pytest.mark.parametrize("n", [1, 4])
def test_isoflop_lines_and_those_with_an_optimum_inside_are_counted(n):
    frame = isoflop_frame(np.geomspace(1e19, 1e22, n))
    assert isoflop_lines(frame["N"], frame["loss"], frame["C"]) == {"lines": n, "inside": n}
    falling = frame.assign(loss=-frame["N"])
    assert isoflop_lines(falling["N"], falling["loss"], falling["C"])["inside"] == 0


def test_a_cloud_of_budgets_is_no_line():
    N = np.geomspace(1e8, 1e9, 500)
    spent = pd.Series(np.geomspace(1e19, 1e21, 500))
    assert isoflop_lines(pd.Series(N), pd.Series(N), spent)["lines"] == 0


@pytest.mark.parametrize("name", ["hoffmann2022-epoch", "porian2024-rw-4-cosine"])
def test_a_study_with_enough_lines_is_one_that_the_isoflop_law_takes(name):
    found = check(name)
    assert any(text.startswith("The optimum read off isoFLOP lines") for text in found.can)
    windowed(sb.load_study(name), sb.load_hypothesis("isoflop"))


def test_a_ray_can_say_nothing_of_the_optimum_and_is_sent_to_the_literature():
    found = check("dey2023-cerebras-sp")
    assert {"SB103", "SB117"} <= set(found.codes)
    assert found.with_literature
    assert any(text.startswith("D*/N* at") for text in found.cannot)
    assert not any(text.startswith("D*/N* at") for text in found.can)


def test_a_grid_can_say_the_optimum_and_its_growth():
    found = check(study_of(), compute=1e21)
    assert not found.with_literature
    assert [text.split(":")[0] for text in found.can[:2]] == [
        "D*/N* at 1e+21 FLOP, N counted as total",
        "How N* grows with compute",
    ]


def test_every_sentence_is_said_once():
    found = check(study_of(), compute=1e24)
    assert len(set(found.can + found.cannot)) == len(found.can + found.cannot) == 6


def test_decades_to_the_target_are_those_above_the_largest_run():
    largest = 6 * 4e9 * 1e11
    at = check(study_of(), compute=100 * largest)
    assert row(at, "decades above the largest run")["value"] == pytest.approx(2)
    assert "SB114" in at.codes
    assert "SB114" not in check(study_of()).codes


@pytest.mark.parametrize("compute", [0, -1.0, np.inf, np.nan, "1e21", [1e20, 1e21], True])
def test_a_budget_that_is_none_is_refused(compute):
    with pytest.raises(sb.InputError, match="a budget must be a positive finite number"):
        check(study_of(), compute=compute)


@pytest.mark.parametrize(
    ("counting", "model"),
    [
        ("total", "hoffmann-total"),
        ("body", "hoffmann-nonembedding"),
        ("body+head", "one-matrix"),
        ("unknown", ""),
    ],
)
def test_the_model_to_begin_with_takes_n_as_it_is_counted(counting, model):
    found = check(study_of(counting=counting))
    assert found.model == model
    if model:
        hypothesis = sb.load_hypothesis(model)
        assert hypothesis.counting == counting


def test_a_study_of_known_shapes_begins_with_every_parameter_whatever_n_counts():
    assert check("porian2024-rw-1-kaplan").model == "hoffmann-total"


def test_a_study_is_not_changed_by_being_checked():
    study = study_of()
    before = study.table.copy()
    check(study)
    pd.testing.assert_frame_equal(study.table, before)


# the command


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    from scalebayes import cli

    monkeypatch.chdir(tmp_path)

    def _run(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return _run


@pytest.fixture
def sweep(tmp_path):
    table = grid().rename(columns={"N": "params", "D": "tokens", "loss": "val loss"})
    table[["params", "tokens"]] /= 1e9
    table.to_csv(tmp_path / "my sweep.csv", index=False)
    return "my sweep.csv"


READ = ("--columns", "N=params,D=tokens,loss=val loss", "--units", "N=B,D=B", "--loss-unit", "nats")


def test_a_bare_table_is_refused_with_the_options_to_paste(run, sweep):
    code, out, err = run("check", sweep)
    assert (code, out) == (2, "")
    assert err.startswith("scalebayes: SB218: my sweep.csv: say the unit of its losses")
    assert "--columns 'N=params,D=tokens,loss=val loss' --units N=B,D=B" in err
    assert err.count("\n") == 1


def test_a_usable_table_ends_with_0_and_the_next_command(run, sweep):
    code, out, err = run("check", sweep, *READ, "--counting", "total", "-C", "1e22")
    assert (code, err) == (0, "")
    assert "24 (of 24)" in out
    assert (
        "  scalebayes fit 'my sweep.csv' --columns 'N=params,D=tokens,loss=val loss' "
        "--units N=B,D=B --counting total --loss-unit nats -m hoffmann-total\n"
        "  scalebayes optimal 'my sweep-hoffmann-total.nc' -C 1e+22"
    ) in out


def test_the_count_of_n_is_asked_for_where_it_was_not_said(run, sweep):
    code, out, _ = run("check", sweep, *READ)
    assert code == 0
    assert "--loss-unit nats --counting COUNT" in out
    assert "in place of COUNT what N counts: body, body+head or total" in out


def test_json_has_version_verdict_and_rows(run, sweep):
    code, out, _ = run("check", sweep, *READ, "--counting", "total", "--json")
    found = json.loads(out)
    assert code == 0
    assert {"version", "converged", "rows", "warnings", "can", "cannot", "next"} <= set(found)
    assert found["converged"] is None
    assert {"name", "unit", "value", "lower", "upper", "note"} <= set(found["rows"][0])


def test_a_bundled_study_needs_no_options(run):
    code, out, _ = run("check", "hoffmann2022-epoch")
    assert code == 0
    assert "scalebayes fit hoffmann2022-epoch -m hoffmann-total" in out


def test_switches_are_repeated_in_the_next_command(run, sweep, tmp_path):
    table = pd.read_csv(tmp_path / sweep)
    pd.concat([table, table]).to_csv(tmp_path / sweep, index=False)
    more = ("--counting", "total", "--untied", "--vocab-size", "32000", "--dedupe")
    code, out, err = run("check", sweep, *READ, *more)
    assert code == 0, err
    assert "--counting total --vocab-size 32000 --untied --dedupe --loss-unit nats" in out


def test_checking_imports_no_sampler(tmp_path):
    grid().to_csv(tmp_path / "sweep.csv", index=False)
    code = (
        "import sys\nfrom scalebayes.cli import main\n"
        "try:\n    main(['check', 'sweep.csv', '--loss-unit', 'nats'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'pymc', 'pytensor', 'nutpie', 'matplotlib', 'arviz'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(Path(sb.__file__).parents[1])}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
