"""The command `compare`, on saved fits and on studies whose fits are given."""

import copy
import json

import numpy as np
import pytest
import xarray as xr

import scalebayes as sb
from scalebayes import cli
from scalebayes.compare import compare
from scalebayes.compare_report import comparison_rows, comparison_text
from scalebayes.console import BAD_INPUT, NOT_TRUSTWORTHY
from tests.fits import HOFFMANN, hoffmann_fit

QUICK = ("--leave-out", "none", "--no-sensitivity")


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run a command line in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def end_of(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.main([str(one) for one in arguments])
        return end.value.code, *capsys.readouterr()

    return end_of


def variant(name, *, behind=0.0, converged=1):
    """Hoffmann's fit as if of another hypothesis, some nats lower."""
    other = copy.copy(hoffmann_fit())
    height = other.attrs["log_evidence"] - behind
    other.attrs = dict(other.attrs) | {"hypothesis_name": name, "log_evidence": height}
    other.attrs |= {"converged": converged, "problems": "" if converged else "R-hat 1.200 of E"}
    return other


@pytest.fixture
def saved(tmp_path):
    """Three saved fits: the best, one 4 nats lower, and one that did not converge."""
    fits = {
        "total": variant("total"),
        "body": variant("body", behind=4.0),
        "bad": variant("bad", converged=0),
    }
    return {name: sb.save_fit(fit, tmp_path / f"{name}.nc") for name, fit in fits.items()}


def test_saved_fits_are_compared_by_hypothesis(run, saved):
    code, out, _ = run("compare", saved["total"], saved["body"], *QUICK)
    assert code == 0
    assert out.startswith(f"{HOFFMANN}: decided for total")
    assert "4.00 ± 0.00" in out


def test_json_has_version_verdict_and_a_row_per_hypothesis(run, saved):
    code, out, _ = run("compare", saved["total"], saved["body"], "--json", *QUICK)
    answer = json.loads(out)
    assert code == 0
    assert answer["version"] == sb.__version__
    assert answer["converged"] is True
    assert answer["verdict"].startswith("decided for total")
    assert [row["hypothesis"] for row in answer["rows"]] == ["total", "body"]
    assert answer["rows"][1]["probability"] == pytest.approx(1 / (1 + np.exp(4)))
    assert answer["rows"][0]["prior_probability"] == 0.5


def test_a_fit_that_did_not_converge_ends_with_code_3_and_no_probability(run, saved):
    code, out, _ = run("compare", saved["total"], saved["bad"], "--json", *QUICK)
    answer = json.loads(out)
    assert code == NOT_TRUSTWORTHY
    assert [row["probability"] for row in answer["rows"]] == [None, None]
    assert "no verdict, for a fit did not converge: bad (R-hat 1.200 of E)" in answer["verdict"]


def test_force_shows_them_and_still_ends_with_code_3(run, saved):
    code, out, _ = run("compare", saved["body"], saved["bad"], "--force", *QUICK)
    assert code == NOT_TRUSTWORTHY
    assert "NOT CONVERGED" in out
    assert "decided for bad" in out


def test_prior_odds_are_read(run, saved):
    odds = ("--prior-odds", "total=1,body=60", "--json")
    _, out, _ = run("compare", saved["total"], saved["body"], *odds, *QUICK)
    row = next(row for row in json.loads(out)["rows"] if row["hypothesis"] == "body")
    assert row["probability"] == pytest.approx(60 / (60 + np.exp(4)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([HOFFMANN], "two hypotheses at least"),
        ([HOFFMANN, "-m", "symmetric"], "two hypotheses at least"),
        ([HOFFMANN, "total.nc", "-m", "symmetric"], "not both"),
        (["total.nc", "body.nc", "-m", "symmetric"], "-m is for bundled studies"),
        (["total.nc", "body.nc", "--leave-out", "rows"], "choose among"),
        (["total.nc", "body.nc", "--prior-odds", "total=x,body=1"], "write it as total=2"),
        (["total.nc", "body.nc", "--prior-odds", "total=2"], "prior_odds must name"),
    ],
)
def test_bad_input_ends_with_code_2_and_says_what_to_do(run, saved, arguments, said):
    code, _, err = run("compare", *arguments)
    assert code == BAD_INPUT
    assert said in err


def test_studies_are_fitted_under_every_model(run, monkeypatch):
    asked = []

    def fit_each(pairs, **_):
        for study, hypothesis in pairs:
            asked.append((study.name, hypothesis.name))
            yield variant(hypothesis.name, behind=len(asked))

    monkeypatch.setattr(sb, "fit_each", fit_each)
    code, out, _ = run("compare", HOFFMANN, "-m", "hoffmann-total", "-m", "symmetric", *QUICK)
    assert code == 0
    assert asked == [(HOFFMANN, "hoffmann-total"), (HOFFMANN, "symmetric")]
    assert "P(hoffmann-total)" in out


def test_one_hypothesis_saved_twice_is_labelled_by_its_files(run, saved, tmp_path):
    again = sb.save_fit(variant("total", behind=1.0), tmp_path / "again.nc")
    _, out, _ = run("compare", saved["total"], again, "--json", *QUICK)
    assert [row["hypothesis"] for row in json.loads(out)["rows"]] == ["total", "again"]


def test_the_text_shows_what_is_known_per_hypothesis_and_nothing_empty():
    pair = {"total": variant("total"), "body": variant("body", behind=4.0)}
    text = comparison_text(compare(pair, leave_out=(), sensitivity=False))
    assert "elpd" in text
    assert "budgets" not in text.split("log evidence:")[0]


def test_rows_of_several_studies_say_which():
    def study(name, fit):
        other = copy.copy(fit)
        other.attrs = dict(fit.attrs) | {"study": name, "data_hash": name}
        return other

    pair = {
        label: [study("a", variant(label)), study("b", variant(label))] for label in ("one", "two")
    }
    rows = comparison_rows(compare(pair, leave_out=(), sensitivity=False))
    assert [row["study"] for row in rows] == ["a", "a", "b", "b", "all studies", "all studies"]


def test_a_file_that_is_no_fit_is_refused(run, tmp_path, saved):
    sb.save_fit(xr.DataTree(xr.Dataset({"x": 1.0})), tmp_path / "other.nc")
    code, _, err = run("compare", saved["total"], "other.nc", *QUICK)
    assert code == BAD_INPUT
    assert "takes fits" in err
