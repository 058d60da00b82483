"""The commands, with the functions that they call replaced or fed from a made fit."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import scalebayes as sb
from scalebayes import cli
from scalebayes.arguments import read_architecture, read_pairs, read_points
from scalebayes.classical import ClassicalFit
from scalebayes.counting import Architecture
from scalebayes.errors import InputError, ResultError
from scalebayes.formatting import OPTIMUM_UNITS

COMMANDS = (
    "fit",
    "check",
    "optimal",
    "predict",
    "compare",
    "pool",
    "studies",
    "models",
    "reconcile",
)
# Besiroglu et al. (2024), arXiv:2404.10102
EPOCH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}


def made_fit(*, converged=1, still_prior=(), study="sweep"):
    """A fit around Epoch's coefficients."""
    rng = np.random.default_rng(1)
    shape, dims = (4, 500), ("chain", "draw")
    centre = EPOCH | {"a": 0.5126, "sigma": 0.01, "nu": 4.0}
    values = {
        name: (dims, value * np.exp(1e-3 * rng.standard_normal(shape)))
        for name, value in centre.items()
    }
    values["omega"] = (dims, np.ones(shape))
    stats = {"diverging": (dims, np.zeros(shape, bool)), "energy": (dims, rng.normal(size=shape))}
    sizes, tokens = np.array([1e8, 1e8, 1e10]), np.array([1e9, 1e11, 1e11])
    data = {"N": ("run", sizes), "D": ("run", tokens)}
    groups = {"posterior": values, "sample_stats": stats, "constant_data": data}
    tree = xr.DataTree.from_dict({name: xr.Dataset(group) for name, group in groups.items()})
    tree.attrs = {
        "study": study,
        "study_record": json.dumps({"assumed": ["N assumed to be in parameters"]}),
        "hypothesis_name": "hoffmann-total",
        "law": "chinchilla",
        "counting": "total",
        "architecture": "",
        "converged": converged,
        "problems": "" if converged else "R-hat 1.2 of alpha",
        "still_prior": json.dumps(dict.fromkeys(still_prior, 0.8)),
        "log_evidence": 860.36,
        "log_evidence_se": 0.01,
        "rows_note": "3 of 3 rows used",
        "random_seed": 1,
    }
    return tree


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run a command line in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.main(list(map(str, arguments)))
        return SimpleNamespace(code=end.value.code or 0, **capsys.readouterr()._asdict())

    return run


@pytest.fixture
def replaced(monkeypatch):
    """Replace a function of the package; return the list of its calls."""

    def replace(name, result=None, *, error=None):
        calls = []

        def function(*args, **kwargs):
            calls.append((args, kwargs))
            if error is not None:
                raise error
            return result

        monkeypatch.setitem(vars(sb), name, function)
        return calls

    return replace


@pytest.fixture
def fitted(replaced):
    """Replace what reads a fit, so that any file name gives one."""
    return lambda **options: replaced("load_fit", made_fit(**options))


@pytest.fixture
def sweep(tmp_path):
    """A user's table: parameters in billions, losses in bits."""
    path = tmp_path / "sweep.csv"
    sizes, tokens = np.meshgrid([0.1, 0.4, 1.6], [2, 8, 32, 128])
    table = pd.DataFrame({"params": sizes.ravel(), "tokens": tokens.ravel()})
    table["loss"] = 3 - 0.1 * np.log(table.params) - 0.1 * np.log(table.tokens)
    table.to_csv(path, index=False)
    return path


SWEEP = ("--columns", "N=params,D=tokens", "--units", "N=B,D=B", "--loss-unit", "bits")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_shows_how_it_is_used(run, command):
    done = run(command, "--help")
    assert done.code == 0
    assert f"Example: scalebayes {command}" in done.out


def test_a_fit_of_a_file_reads_names_units_and_counting(run, replaced, sweep):
    calls = replaced("fit", made_fit())
    done = run("fit", sweep, *SWEEP, "--counting", "total", "--draws", 500, "--seed", 7)
    assert done.code == 0, done.err
    (study, hypothesis), settings = calls[0]
    assert study.name == "sweep"
    assert study.counting == "total"
    assert study.runs["N"].max() == pytest.approx(1.6e9)
    assert study.runs["loss"].iloc[0] == pytest.approx(
        pd.read_csv(sweep)["loss"].iloc[0] * np.log(2)
    )
    assert hypothesis.name == "hoffmann-total"
    assert settings == {"draws": 500, "literature": False, "random_seed": 7, "cache": True}


def test_a_fit_with_literature_is_asked_for_and_saved_under_another_name(run, replaced, sweep):
    calls = replaced("fit", made_fit())
    done = run("fit", sweep, *SWEEP, "--counting", "total", "--with-literature")
    assert done.code == 0, done.err
    assert calls[0][1]["literature"] is True
    assert "sweep-hoffmann-total-with-literature.nc" in done.err


def test_a_fit_is_saved_under_study_and_model(run, replaced, sweep, tmp_path):
    replaced("fit", made_fit())
    done = run("fit", sweep, *SWEEP)
    saved = sb.load_fit(tmp_path / "sweep-hoffmann-total.nc")
    assert saved.attrs["log_evidence"] == pytest.approx(860.36)
    assert "Saved to sweep-hoffmann-total.nc" in done.err


def test_a_fit_prints_quantities_evidence_and_rows_used(run, replaced, sweep):
    replaced("fit", made_fit(still_prior=["beta"]))
    out = run("fit", sweep, *SWEEP).out
    assert out.startswith("Converged.")
    assert "3 of 3 rows used" in out
    assert "log evidence 860.36 ± 0.01" in out
    assert "N assumed to be in parameters" in out
    marked = [line.split()[0] for line in out.splitlines() if line.endswith("mostly prior")]
    assert marked == ["beta"]


def test_a_warning_about_the_design_is_printed_with_its_code(run, replaced, sweep):
    fit = made_fit()
    record = {"design_warnings": ["exponents not identified: there is only one model size N"]}
    fit.attrs["study_record"] = json.dumps(record)
    replaced("fit", fit)
    assert "Warning: SB103: exponents not identified" in run("fit", sweep, *SWEEP).out


def test_a_fit_reads_a_logger_s_export(run, replaced, tmp_path):
    sizes = [1e8, 2e8, 4e8, 8e8] * 2
    rows = [
        {"id": f"r{i}", "N": N, "step": step, "loss": 3 + 1e8 / N + 1 / step}
        for i, N in enumerate(sizes)
        for step in (100, 200)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "export.parquet")
    calls = replaced("fit", made_fit())
    options = ("--columns", "run=id", "--rows", "last", "--tokens-per-step", "1e8")
    done = run("fit", "export.parquet", *options, "--loss-unit", "nats")
    assert done.code == 0, done.err
    (study, _), _ = calls[0]
    assert study.left_out == {"not the last step of its run": 8}
    assert (study.runs["D"] == 2e10).all()


def test_a_fit_that_did_not_converge_says_so_first_and_ends_with_3(run, replaced, sweep, tmp_path):
    replaced("fit", made_fit(converged=0))
    done = run("fit", sweep, *SWEEP)
    assert done.code == 3
    assert done.out.startswith("NOT CONVERGED, do not use these numbers: R-hat 1.2 of alpha")
    assert (tmp_path / "sweep-hoffmann-total.nc").exists()


def test_a_file_of_runs_needs_the_unit_of_its_losses(run, replaced, sweep, tmp_path):
    calls = replaced("fit", made_fit())
    done = run("fit", sweep)
    assert (done.code, calls) == (2, [])
    assert "--loss-unit nats, bits or log10" in done.err
    assert list(tmp_path.iterdir()) == [sweep]


def test_bad_input_is_one_sentence_and_leaves_nothing(run, sweep, tmp_path):
    sweep.write_text("N,D,loss\n1e9,1e10,oops\n")
    done = run("fit", sweep, "--loss-unit", "nats")
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert "'oops', which is not a number" in done.err
    assert list(tmp_path.iterdir()) == [sweep]


def test_an_unknown_study_is_answered_with_the_nearest_name(run):
    done = run("fit", "hofmann2022-epoch")
    assert done.code == 2
    assert "Did you mean 'hoffmann2022-epoch'?" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.csv"], "nowhere.csv: no such file"),
        (["hoffmann2022-epoch", "--counting", "body"], "for which ['counting'] cannot be set"),
        (["hoffmann2022-epoch", "-m", "hofmann-total"], "Did you mean 'hoffmann-total'?"),
        (["hoffmann2022-epoch", "--columns", "N"], "--columns: 'N' is not of the form name=value"),
    ],
)
def test_a_wrong_argument_of_fit_is_explained(run, arguments, message):
    done = run("fit", *arguments)
    assert done.code == 2
    assert message in done.err


def test_a_place_that_cannot_be_written_is_refused_before_sampling(run, replaced):
    calls = replaced("fit", made_fit())
    done = run("fit", "hoffmann2022-epoch", "-o", "nowhere/fit.nc")
    assert (done.code, calls) == (4, [])
    assert "nowhere/fit.nc cannot be written" in done.err


def test_numbers_are_shown_even_where_they_cannot_be_saved(run, replaced):
    replaced("fit", made_fit())
    replaced("save_fit", error=ResultError("fit.nc: no space left"))
    done = run("fit", "hoffmann2022-epoch", "-o", "fit.nc")
    assert done.code == 4
    assert "log evidence" in done.out
    assert done.err == "scalebayes: fit.nc: no space left\n"


def test_a_fit_is_saved_before_it_is_shown(run, replaced, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    replaced("fit", made_fit())
    monkeypatch.setattr(cli, "_show_fit", interrupted)
    assert run("fit", "hoffmann2022-epoch", "-o", "kept.nc").code == 130
    assert sb.load_fit(tmp_path / "kept.nc")["posterior"].sizes == made_fit()["posterior"].sizes


def test_an_interruption_ends_with_130(run, replaced):
    replaced("fit", error=KeyboardInterrupt())
    done = run("fit", "hoffmann2022-epoch")
    assert done.code == 130
    assert done.err == "scalebayes: interrupted\n"


def test_a_fault_of_the_program_is_not_taken_for_bad_input(monkeypatch, replaced, tmp_path):
    monkeypatch.chdir(tmp_path)
    replaced("fit", error=ValueError("a fault"))
    with pytest.raises(ValueError, match="a fault"):
        cli.main(["fit", "hoffmann2022-epoch"])


def test_the_json_of_a_fit_has_the_posterior_quantiles(run, replaced, sweep):
    fit = made_fit()
    replaced("fit", fit)
    found = json.loads(run("fit", sweep, *SWEEP, "--json").out)
    assert found["version"] == sb.__version__
    assert found["converged"] is True
    assert found["log_evidence"] == pytest.approx(860.36)
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["E", "A", "B", "alpha", "beta", "a", "sigma", "nu"]
    lower, median, upper = np.quantile(fit["posterior"]["alpha"], [0.05, 0.5, 0.95])
    assert rows["alpha"]["median"] == pytest.approx(median)
    assert rows["alpha"]["lower"] == pytest.approx(lower)
    assert rows["alpha"]["upper"] == pytest.approx(upper)
    assert (rows["alpha"]["ci_prob"], rows["alpha"]["ci_kind"]) == (0.9, "eti")


def test_the_optimum_at_chinchillas_budget_is_about_twenty_tokens_per_parameter(run, fitted):
    fitted()
    done = run("optimal", "fit.nc", "-C", "5.76e23", "-C", "6e21", "--json")
    assert done.code == 0, done.err
    rows = json.loads(done.out)["rows"]
    ratio = [row["median"] for row in rows if row["name"] == "tokens_per_parameter"]
    assert ratio[0] == pytest.approx(20, rel=0.2)
    rows = [row for row in rows if row["name"] in OPTIMUM_UNITS]
    assert [row["compute"] for row in rows[::5]] == [5.76e23, 6e21]
    # the runs reach 6 * 1e10 * 1e11 = 6e21 FLOP
    beyond = [row["extrapolation_decades"] for row in rows[::5]]
    assert beyond == pytest.approx([np.log10(96), 0])


def test_an_optimum_says_its_counts_and_how_far_it_is_from_the_runs(run, fitted):
    fitted(still_prior=["a"])
    out = run("optimal", "fit.nc", "-C", "6e23").out
    assert "N counted as total, C as 6ND" in out
    assert "+2.0" in out
    assert "The exponent is mostly prior" in out


def test_another_counting_needs_an_architecture(run, fitted):
    fitted()
    done = run("optimal", "fit.nc", "-C", "1e21", "--counting", "body")
    assert done.code == 2
    assert "the conversion needs shapes" in done.err
    assert "--architecture study" in " ".join(done.err.split())
    family = "aspect_ratio=64,vocab_size=32000,tied=true"
    done = run("optimal", "fit.nc", "-C", "1e21", "--counting", "body", "--architecture", family)
    assert done.code == 0, done.err
    assert "N counted as body" in done.out


FAMILY = "aspect_ratio=64,vocab_size=32000,tied=false"


def test_one_budget_is_answered_in_three_conventions_side_by_side(run, fitted):
    fitted()
    out = run("optimal", "fit.nc", "-C", "1e21", "--architecture", FAMILY).out
    names = ("total ", "body (Kaplan)", "body+head (Porian)")
    lines = [line for line in out.splitlines() if "  1e21  " in line]
    assert [line.startswith(name) for line, name in zip(lines, names, strict=True)] == [True] * 3
    assert "Models of the shape given: aspect ratio 64, vocabulary 32000, untied." in out
    assert "three different questions" in out
    assert max(map(len, out.splitlines())) <= 120


def test_the_json_of_three_conventions_names_them_in_every_row(run, fitted):
    fitted()
    done = run("optimal", "fit.nc", "-C", "1e21", "-C", "1e22", "--architecture", FAMILY, "--json")
    rows = json.loads(done.out)["rows"]
    conventions = dict.fromkeys((row["counting"], row["flops"]) for row in rows)
    assert list(conventions) == [
        ("total", "6ND"),
        ("body", "6ND:body"),
        ("body+head", "6ND:body+head"),
    ]
    of_laws = [row for row in rows if row["name"] in OPTIMUM_UNITS]
    assert len(of_laws) == 3 * 2 * 5
    others = [row for row in rows if row["name"] not in OPTIMUM_UNITS]
    assert {row["counting"] for row in others} == {"total"}  # in the first of them


def test_a_fit_that_knows_its_shapes_needs_none_to_be_given(run, replaced):
    fit = made_fit()
    family = Architecture(aspect_ratio=64.0, vocab_size=32000.0, tied=True)
    fit.attrs["architecture"] = family.to_json()
    replaced("load_fit", fit)
    out = run("optimal", "fit.nc", "-C", "1e21").out
    assert "Models of the study's own shape" in out
    assert "so that total is body+head" in out
    assert (
        "N counted as total, C as 6ND"
        in run("optimal", "fit.nc", "-C", "1e21", "--flops", "6ND").out
    )


def test_a_fit_without_shapes_is_answered_in_its_own_count_and_says_what_is_missing(run, fitted):
    fitted()
    out = run("optimal", "fit.nc", "-C", "1e21").out
    assert "N counted as total, C as 6ND" in out
    assert "For other countings give the shape of the models: --architecture." in out


@pytest.mark.parametrize("flops", ["kaplan", "porian-attention", "deepseek", "hoffmann-f"])
def test_every_flop_convention_can_be_asked_for_a_family(run, fitted, flops):
    fitted()
    family = f"{FAMILY},context_length=2048"
    asked = ("--flops", flops, "--architecture", family)
    done = run("optimal", "fit.nc", "-C", "1e21", *asked)
    assert done.code == 0, done.err
    assert f"N counted as total, C as {flops}" in done.out


def test_the_classical_fit_stands_beside_the_posterior_and_is_not_called_one(run, replaced):
    replaced("fit", made_fit())
    out = run("fit", "hoffmann2022-epoch").out
    (alpha,) = [line.split() for line in out.splitlines() if line.startswith("alpha ")]
    assert alpha[-1] == "0.347"  # science: Huber fit of the 240 digitised points
    assert "classical: not a posterior, but the point fit" in out
    assert "same 240 runs, N counted as total" in " ".join(out.split())


def test_the_classical_fit_is_an_entry_of_its_own_in_json(run, replaced):
    replaced("fit", made_fit())
    found = json.loads(run("fit", "hoffmann2022-epoch", "--json").out)
    assert found["classical"]["a"] == pytest.approx(0.5139, abs=1e-4)
    assert "classical" not in {name for row in found["rows"] for name in row}


def test_another_law_has_no_classical_fit_beside_it(run, replaced):
    fit = made_fit()
    fit.attrs["law"] = "kaplan"
    replaced("fit", fit)
    calls = replaced("classical_fit")
    assert "classical" not in run("fit", "hoffmann2022-epoch").out
    assert calls == []


@pytest.mark.parametrize(("counting", "asked"), [("latent", "body"), ("0.5", "0.5")])
def test_the_classical_fit_counts_as_the_law_or_else_as_the_study(run, replaced, counting, asked):
    fit = made_fit()
    fit.attrs["counting"] = counting
    replaced("fit", fit)
    calls = replaced("classical_fit", error=InputError("too few runs"))
    done = run("fit", "porian2024-rw-1-kaplan")
    assert calls[0][1] == {"counting": asked}
    assert "no classical fit: too few runs" in done.err
    assert done.code == 0


def test_a_classical_fit_at_its_limit_says_so(run, replaced):
    numbers = dict.fromkeys(("E", "A", "B", "alpha", "beta", "a", "objective"), 1.0)
    point = ClassicalFit(**numbers, delta=1e-3, n=12, counting="total", at_limit=("log_beta",))
    replaced("fit", made_fit())
    replaced("classical_fit", point)
    assert "ended at the limit of its search in log_beta" in run("fit", "hoffmann2022-epoch").out


@pytest.mark.parametrize("budget", ["nan", "-1e21", "0", "much"])
def test_a_budget_that_is_none_is_refused(run, fitted, budget):
    fitted()
    assert run("optimal", "fit.nc", "-C", budget).code == 2


def test_numbers_of_a_fit_that_did_not_converge_end_with_3(run, fitted):
    fitted(converged=0)
    done = run("optimal", "fit.nc", "-C", "1e21")
    assert done.code == 3
    assert done.out.startswith("NOT CONVERGED")
    done = run("optimal", "fit.nc", "-C", "1e21", "--json")
    assert json.loads(done.out)["converged"] is False


def test_a_missing_result_ends_with_4(run):
    done = run("optimal", "nowhere.nc", "-C", "1e21")
    assert (done.code, done.err) == (4, "scalebayes: nowhere.nc: no such file.\n")


def test_a_damaged_result_ends_with_4(run, tmp_path):
    (tmp_path / "damaged.nc").write_bytes(b"\x89HDF\r\n\x1a\n damaged")
    done = run("optimal", "damaged.nc", "-C", "1e21")
    assert done.code == 4
    assert "damaged.nc: the file is damaged" in done.err


def test_predictions_carry_their_domain_and_are_written_as_csv(run, fitted, tmp_path):
    fitted()
    (tmp_path / "points.csv").write_text("params,D\n1,20e9\n100,2e12\n")
    columns = ("--columns", "N=params", "--units", "N=B")
    done = run("predict", "fit.nc", "points.csv", *columns, "-o", "out.csv", "--json")
    assert done.code == 0, done.err
    rows = json.loads(done.out)["rows"]
    written = pd.read_csv(tmp_path / "out.csv")
    assert [row["domain"] for row in rows[::2]] == ["interpolation", "extrapolation"] * 2
    with_discrepancy = ["loss_with_discrepancy", "loss_new_with_discrepancy"]
    assert list(written["name"]) == ["loss", "loss_new"] * 2 + with_discrepancy * 2
    assert written["median"].tolist() == pytest.approx([row["median"] for row in rows])
    law = EPOCH["E"] + EPOCH["A"] / 1e9 ** EPOCH["alpha"] + EPOCH["B"] / 2e10 ** EPOCH["beta"]
    assert rows[0]["median"] == pytest.approx(law, rel=0.01)
    assert {path.name for path in tmp_path.iterdir()} == {"points.csv", "out.csv"}


def test_a_bad_point_is_named(run, fitted, tmp_path):
    fitted()
    (tmp_path / "points.csv").write_text("N,D\n1e9,0\n")
    done = run("predict", "fit.nc", "points.csv")
    assert done.code == 2
    assert "points.csv, row 2" in done.err


def test_studies_and_models_are_listed(run):
    names = {row["study"] for row in json.loads(run("studies", "--json").out)["rows"]}
    assert set(sb.DEFAULT_STUDIES) <= names
    assert "hoffmann2022-epoch" in run("studies").out
    models = {row["name"] for row in json.loads(run("models", "--json").out)["rows"]}
    assert {"hoffmann-total", "latent-counting"} <= models
    assert "latent-counting" in run("models").out


def test_a_model_is_shown_as_its_file(run):
    assert 'law = "chinchilla"' in run("models", "hoffmann-total").out
    (row,) = json.loads(run("models", "hoffmann-total", "--json").out)["rows"]
    assert row["name"] == "hoffmann-total"
    assert run("models", "hofmann").code == 2


def test_a_model_is_shown_as_latex_graph_and_expectations(run, tmp_path):
    assert r"\begin{align}" in run("models", "isoflop", "--latex").out
    done = run("models", "hoffmann-total", "--graph", "law.gv", "--study", "hoffmann2022-epoch")
    assert (done.code, done.out) == (0, "")
    assert (tmp_path / "law.gv").read_text().startswith("digraph model {")
    rows = json.loads(run("models", "symmetric", "--prior-predictive", "--json").out)["rows"]
    assert {"loss", "loss_new", "N", "D", "tokens_per_parameter"} == {row["name"] for row in rows}
    assert "D*/N*" in run("models", "symmetric", "--prior-predictive").out


def test_what_a_prior_expects_is_drawn_into_the_file_that_is_named(run, tmp_path):
    asked = ("models", "kaplan", "--prior-predictive", "--figure", "prior.svg")
    done = run(*asked)
    assert done.code == 0
    assert "D*/N*" in done.out and "Wrote prior.svg" in done.err
    first = (tmp_path / "prior.svg").read_bytes()
    assert json.loads(run(*asked, "--json").out)["rows"]
    assert (tmp_path / "prior.svg").read_bytes() == first
    run(*asked, "--seed", 2)
    assert (tmp_path / "prior.svg").read_bytes() != first


UNDRAWN = {
    "an unknown suffix": (("--prior-predictive", "--figure", "a.jpg"), 2, "ends in .svg, .png"),
    "no suffix": (("--prior-predictive", "--figure", "a"), 2, "no suffix"),
    "nothing to draw": (("--figure", "a.svg"), 2, "give both"),
    "no such folder": (("--prior-predictive", "--figure", "b/a.svg"), 4, "cannot be written"),
}


@pytest.mark.parametrize(("arguments", "code", "said"), UNDRAWN.values(), ids=UNDRAWN)
def test_a_figure_that_cannot_be_is_refused_before_anything_is_done(
    run, tmp_path, arguments, code, said
):
    done = run("models", "kaplan", *arguments)
    assert (done.code, done.out) == (code, "")
    assert said in " ".join(done.err.split())
    assert not list(tmp_path.iterdir())


def test_a_figure_of_no_model_is_refused(run):
    done = run("models", "--figure", "prior.svg")
    assert done.code == 2
    assert "--figure: of which model?" in done.err


def test_latex_of_no_model_is_refused(run):
    done = run("models", "--latex")
    assert done.code == 2
    assert "--latex: of which model? Give its name" in done.err
    assert run("models", "isoflop", "--graph", "nowhere/law.gv").code == 4


@pytest.mark.parametrize(("converged", "code"), [(True, 0), (False, 3)])
def test_reconcile_prints_its_headline_and_says_where_it_wrote(run, replaced, converged, code):
    summary = pd.DataFrame({"name": ["alpha"], "median": [0.35], "mark": [np.nan]})
    result = SimpleNamespace(converged=converged, headline="Fourteen studies.", summary=summary)
    calls = replaced("reconcile", result)
    done = run("reconcile", "--out", "here", "--study", "marin2026-dclm", "--tune", "200")
    assert (done.code, done.out) == (code, "Fourteen studies.\n")
    assert "here/index.html" in done.err
    assert calls[0][1]["studies"] == ["marin2026-dclm"]
    assert calls[0][1]["tune"] == 200
    found = json.loads(run("reconcile", "--json").out)
    assert found["converged"] is converged
    assert found["rows"] == [{"name": "alpha", "median": 0.35, "mark": None}]


def test_the_version_is_printed(run):
    assert run("--version").out == f"{sb.__version__}\n"


def test_pairs_may_be_given_at_once_or_one_by_one():
    assert read_pairs(["N=params, D=tokens", "loss=ce"], "--columns") == {
        "N": "params",
        "D": "tokens",
        "loss": "ce",
    }
    with pytest.raises(InputError, match="given twice"):
        read_pairs(["N=a,N=b"], "--columns")


def test_an_architecture_is_read_from_text():
    family = read_architecture("aspect_ratio=64,vocab_size=32e3,tied=true")
    assert family == Architecture(aspect_ratio=64.0, vocab_size=32000.0, tied=True)
    assert read_architecture("study") == "study"
    assert read_architecture(None) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aspect_ratio=64,vocab_size=32000", r"lacks \['tied'\]"),
        ("aspect=64,vocab_size=32000,tied=true", r"does not know \['aspect'\]"),
        ("aspect_ratio=64,vocab_size=big,tied=true", "vocab_size: 'big' is not a number"),
        ("aspect_ratio=64,vocab_size=32000,tied=1", "tied: found '1'; it is true or false"),
    ],
)
def test_a_wrong_architecture_is_explained(text, message):
    with pytest.raises(InputError, match=message):
        read_architecture(text)


def test_points_take_names_and_units(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("params,tokens,note\n7,140,x\n")
    frame = read_points(path, {"N": "params", "D": "tokens"}, {"N": "B", "D": "B"})
    assert frame.to_dict("list") == {"N": [7e9], "D": [140e9]}


def test_a_latent_counting_is_shown_with_its_weights(run, replaced):
    fit = made_fit()
    fit["posterior"]["omega"] = fit["posterior"]["omega"].copy(data=np.tile([1.0, 2.0], (4, 250)))
    cells = {"log_evidence": [1.0, 2.0], "log_evidence_se": [0.01, 0.01], "weight": [0.27, 0.73]}
    cells |= {"r_hat": [1.001, 1.002], "ess_bulk": [900, 800], "weight_default": [0.3, 0.7]}
    values = {name: ("omega", value) for name, value in cells.items()}
    values["status"] = ("omega", ["converged", "converged"])
    fit["evidence"] = xr.DataTree(xr.Dataset(values, coords={"omega": [1.0, 2.0]}))
    replaced("fit", fit)
    out = run("fit", "hoffmann2022-epoch", "-m", "latent-counting").out
    assert "omega is not decided." in out
    assert "Worst R-hat 1.002, least bulk ESS 800 over the grid." in out
    lines = [line.split() for line in out.splitlines()]
    assert ["2", "2.00", "±", "0.01", ".73", ".70", "converged"] in lines


def test_pool_refuses_two_studies_made_from_the_same_runs(run, monkeypatch):
    def fit_each(pairs, **_):
        for study, _ in pairs:
            record = {"shared_runs": study.shared_runs, "group": "g", "recipe": {}}
            tree = made_fit(study=study.name)
            tree.attrs |= {"study_record": json.dumps(record), "data_hash": study.name}
            yield tree

    monkeypatch.setitem(vars(sb), "fit_each", fit_each)
    end = run("pool", "porian2024-rw-1-kaplan", "porian2024-rw-2-lastlayer")
    assert (end.code, end.out) == (2, "")
    assert "set of shared runs can be pooled once only" in end.err


def test_pool_of_a_file_that_is_no_fit_says_what_it_takes(run, tmp_path):
    tree = made_fit()
    del tree.attrs["study_record"]
    sb.save_fit(tree, tmp_path / "other.nc")
    end = run("pool", "other.nc", "other.nc")
    assert end.code == 2
    assert "pool takes fits" in end.err


@pytest.mark.parametrize("command", ["optimal", "predict"])
def test_a_population_is_not_taken_for_a_fit(run, replaced, tmp_path, command):
    population = xr.DataTree.from_dict({"posterior": xr.Dataset()})
    population.attrs = {"kind": "population", "converged": 1}
    replaced("load_fit", population)
    (tmp_path / "points.csv").write_text("N,D\n1e9,2e10\n")
    rest = ["-C", "1e21"] if command == "optimal" else ["points.csv"]
    done = run(command, "population.nc", *rest)
    assert done.code == 2
    assert "population.nc: a fit of a study is needed; this file holds a population" in done.err


def test_the_discrepancy_is_shown_beside_the_law_unless_it_is_not_wanted(run, fitted):
    fitted()
    both = run("optimal", "fit.nc", "-C", "1e24").out
    assert "if the law holds exactly" in both
    assert "With discrepancy; N counted as total, C as 6ND" in both
    alone = run("optimal", "fit.nc", "-C", "1e24", "--law-exact").out
    assert "With discrepancy" not in alone
    rows = json.loads(run("optimal", "fit.nc", "-C", "1e24", "--json").out)["rows"]
    width = {
        row["name"]: np.log(row["upper"] / row["lower"])
        for row in rows
        if row["name"].startswith("tokens_per_parameter")
    }
    assert width["tokens_per_parameter_with_discrepancy"] > 2 * width["tokens_per_parameter"]
