"""The command `optimal`: what to train, what rules and plans cost, curves, serving."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_cli import made_fit

import scalebayes as sb
from scalebayes import cli
from scalebayes.cli_optimal import read_curve
from scalebayes.errors import InputError

FAMILY = "aspect_ratio=64,vocab_size=32000,tied=true"


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run `optimal` on a made fit in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(vars(sb), "load_fit", lambda path: made_fit())

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.main(["optimal", "fit.nc", *map(str, arguments)])
        return SimpleNamespace(code=end.value.code or 0, **capsys.readouterr()._asdict())

    return run


def rows_of(done):
    assert done.code == 0, done.err
    return json.loads(done.out)["rows"]


def test_the_ratio_of_least_expected_loss_and_the_cost_of_twenty_are_shown(run):
    out = run("-C", "6e23").out
    assert "What to train; N counted as total, C as 6ND" in out
    assert "What 20 tokens per parameter costs; N counted as total, C as 6ND" in out
    lines = [line.split() for line in out.splitlines() if line.startswith("6e23")]
    assert {line[1] for line in lines if "exact" in line or "discrepancy" in line} == {"+2.0"}
    assert max(map(len, out[out.index("What to train") :].splitlines())) <= 120


def test_rows_say_what_is_recommended_and_what_it_costs(run):
    rows = rows_of(run("-C", "1e21", "--rule", "40", "--json"))
    fit = made_fit()
    found = sb.recommend(fit, 1e21, rule=40, discrepancy="published")
    for assumption in ("law", "discrepancy"):
        (row,) = [
            row
            for row in rows
            if row["name"] == "recommended_tokens_per_parameter" and row["assumption"] == assumption
        ]
        at = found.sel(assumption=assumption).isel(compute=0)
        assert row["value"] == pytest.approx(float(at["tokens_per_parameter"]))
        assert row["unit"] == "tokens/parameter"
    (wasted,) = [row for row in rows if row["name"] == "compute_wasted"]
    priced = sb.regret(fit, 1e21, rule=40)["compute_wasted"]
    assert wasted["median"] == pytest.approx(float(priced.median()))
    assert (wasted["rule"], wasted["unit"]) == ("40 tokens per parameter", "1")


def test_the_law_alone_has_one_recommendation(run):
    rows = rows_of(run("-C", "1e21", "--law-exact", "--json"))
    assert {row["assumption"] for row in rows if "assumption" in row} == {"law"}
    assert not [row for row in rows if row["name"].endswith("_with_discrepancy")]


def test_a_plan_needs_no_budget_and_is_priced_at_its_own(run):
    out = run("--N", "7e9", "--D", "2e12").out
    assert "What the plan given costs" in out
    assert "8.4e22" in out
    rows = rows_of(run("--N", "7e9", "--D", "2e12", "--json"))
    (row,) = [row for row in rows if row["name"] == "regret"]
    assert row["compute"] == pytest.approx(8.4e22)
    assert (row["N"], row["D"]) == pytest.approx((7e9, 2e12))


def test_a_curve_is_a_table_of_log_spaced_budgets_and_a_file(run, tmp_path):
    done = run("--curve", "1e20:1e23", "--csv", "curve.csv")
    assert done.code == 0, done.err
    shown = [line.split()[0] for line in done.out.splitlines() if line.startswith(("1e", "3.16e"))]
    assert shown == ["1e20", "3.16e20", "1e21", "3.16e21", "1e22", "3.16e22", "1e23"]
    table = pd.read_csv(tmp_path / "curve.csv")
    ratio = table[table["name"] == "tokens_per_parameter"]
    assert ratio["compute"].tolist() == pytest.approx(np.geomspace(1e20, 1e23, 7))
    assert ratio["extrapolation_decades"].notna().all()
    assert (table["name"] == "recommended_tokens_per_parameter").sum() == 2 * 7
    assert "What to train" not in done.out


def test_serving_is_shown_at_a_loss_or_in_total(run):
    out = run("-C", "1e22", "--inference-tokens", "2e12").out
    assert "Serving 2.00e12 tokens" in out
    assert "least total FLOP at the loss of C spent on training alone" in out
    done = run("-C", "1e22", "--inference-tokens", "2e12", "--total-budget", "--json")
    (row,) = [row for row in rows_of(done) if row["name"] == "total_compute_with_inference"]
    assert row["median"] == pytest.approx(1e22)
    assert (row["held"], row["inference_tokens"]) == ("total", 2e12)


def test_a_fit_that_did_not_converge_or_is_mostly_prior_says_so_in_every_row(run, monkeypatch):
    fit = made_fit(converged=0, still_prior=["a"])
    monkeypatch.setitem(vars(sb), "load_fit", lambda path: fit)
    done = run("-C", "1e21", "--inference-tokens", "1e12")
    assert done.code == 3
    assert done.out.count("is not converged; mostly prior: no finding of the runs.") == 3
    rows = json.loads(run("-C", "1e21", "--inference-tokens", "1e12", "--json").out)["rows"]
    marked = {row["name"] for row in rows if row["mark"] == "not converged; mostly prior"}
    assert {"recommended_N", "regret", "compute_wasted", "N_with_inference"} <= marked


def test_draws_without_an_optimum_leave_the_other_tables(run, monkeypatch):
    fit = made_fit()
    values = fit["posterior"].to_dataset()
    for name, value in {"alpha": 1e-3, "beta": 1e-3, "A": 10.0, "B": 0.01}.items():
        values[name][0, 0] = value
    fit["posterior"] = values
    monkeypatch.setitem(vars(sb), "load_fit", lambda path: fit)
    done = run("-C", "1e21", "--counting", "body", "--architecture", FAMILY, "--law-exact")
    assert "No ratio is recommended: of 1 of 2000 draws the optimum is beyond any number." in (
        done.out
    )


def test_the_width_of_the_optimum_is_said_in_a_sentence(run):
    out = " ".join(run("-C", "1e21", "-C", "1e25").out.split())
    assert "The width (variance) of log D*/N* is" in out
    assert "posterior draws and" in out and "at 1e25 FLOP" in out
    rows = rows_of(run("-C", "1e21", "--json"))
    (row,) = [row for row in rows if "share_law" in row]
    assert row["name"] == "tokens_per_parameter_with_discrepancy"
    assert row["share_law"] + row["share_discrepancy"] + row["share_noise"] == pytest.approx(1)


REFUSED = {
    "no budget": ((), "say a budget with -C"),
    "half a plan": (("--N", "1e9"), "a plan is both"),
    "a total of nothing": (("-C", "1e21", "--total-budget"), "--inference-tokens"),
    "a budget beyond all": (("-C", "1e300"), "from 1 to 1e+40"),
    "a rule of nothing": (("-C", "1e21", "--rule", "0"), "tokens per parameter"),
    "a falling curve": (("--curve", "1e25:1e20"), "two rising budgets"),
    "a curve without end": (("--curve", "1e18:1e24:100000"), "2 to 200 are drawn"),
    "no curve": (("--curve", "much"), "not of the form"),
    "served backwards": (("-C", "1e21", "--inference-tokens", "-1"), "inference_tokens"),
}


@pytest.mark.parametrize(("arguments", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_asked_is_refused(run, arguments, said):
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert said in " ".join(done.err.split())


def test_a_file_that_cannot_be_written_is_refused_before_anything(run):
    assert run("-C", "1e21", "--csv", "nowhere/rows.csv").code == 4


def test_a_curve_has_two_budgets_a_decade_or_as_many_as_are_asked():
    assert read_curve("1e20:1e22") == pytest.approx(np.geomspace(1e20, 1e22, 5))
    assert read_curve("1e20:1e25:6") == pytest.approx(np.geomspace(1e20, 1e25, 6))
    assert read_curve("1e20:2e20") == pytest.approx([1e20, 2e20])
    assert read_curve(None) is None
    for wrong in ("1e20", "1e20:1e21:1", "1e20:1e21:2:3", "0:1e21", "1e20:inf", "1e20:1e21:2.5"):
        with pytest.raises(InputError, match="--curve"):
            read_curve(wrong)
