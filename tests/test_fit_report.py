"""The report of a fit: what it says, that it is whole, that it stands alone."""

import html
import json
import re
from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fits import (
    TRUTHS,
    epoch_latents,
    fits_of_three,
    study_of,
    sweep,
    tree_without_sampling,
    user_study,
)

import scalebayes as sb
from scalebayes import cli
from scalebayes.comparison_page import comparison_report
from scalebayes.counting import Architecture
from scalebayes.errors import InputError, ResultError
from scalebayes.fit_facts import FORMULAS, NOT_SAID, checklist, priors_table, redo_text
from scalebayes.fit_findings import answers_of, budget_names, headline, warnings_of
from scalebayes.hypotheses import hypothesis_names, load_hypothesis
from scalebayes.laws import LAWS
from scalebayes.literature import with_literature
from scalebayes.markdown import markdown_table
from scalebayes.optimum import CHINCHILLA_COMPUTE
from scalebayes.population import pool_settings

ITEMS = (
    *("study", "source of the runs", "citation of the data", "licence of the data"),
    *("data hash (SHA-256 of the runs used)", "rows", "window", "loss", "taken for granted"),
    *("hypothesis", "law", "N in the law", "N as reported", "FLOP as reported"),
    *("FLOP of optima here", "priors", "noise", "checkpoints of one run", "estimator"),
    *("evidence", "gate", "intervals", "random seed", "versions", "to redo"),
)


@cache
def sweep_fit(problems=()):
    return tree_without_sampling(
        "hoffmann-total", user_study(), latents=epoch_latents(), spread=0.01, problems=problems
    )


@cache
def sweep_report(problems=()):
    return sb.report(sweep_fit(problems))


@cache
def other_fit():
    study = user_study()
    return tree_without_sampling("normal-noise", study, latents=epoch_latents(), spread=0.01)


def comparison(labels=("student", "normal")):
    """What `compare` says of two hypotheses, the first the better one."""
    columns = {
        "log_evidence": [10.0, 4.0],
        "se": [0.01, 0.01],
        "probability": [0.997, 0.003],
        "elpd": [20.0, 15.0],
        "weight": [1.0, 0.0],
        "elpd_se": [1.0, 1.0],
        "pareto_k": [0.1, 0.2],
        "refitted": [0, 0],
        "converged": [True, True],
    }
    table = pd.DataFrame(columns, index=pd.Index(labels, name="hypothesis"))
    said = f"decided for {labels[0]}"
    table.attrs = {"verdict": said, "verdicts": {"sweep": said}, "notes": [], "converged": 1}
    table.attrs["prior_probability"] = dict.fromkeys(labels, 0.5)
    return table


@pytest.mark.parametrize("name", hypothesis_names())
def test_the_checklist_is_complete_for_every_bundled_hypothesis(name):
    fit = tree_without_sampling(name)
    table = checklist(fit).set_index("item")["what"]
    assert set(ITEMS) <= set(table.index)
    assert (table.str.len() > 0).all()
    assert table["law"] == FORMULAS[load_hypothesis(name).law]
    assert table["data hash (SHA-256 of the runs used)"] == study_of(name).data_hash
    assert study_of(name).citation == table["citation of the data"]
    assert "12.30 ± 0.01 nats" in table["evidence"]


@pytest.mark.parametrize("name", hypothesis_names())
def test_every_prior_is_written_out_with_its_interval(name):
    hypothesis = load_hypothesis(name)
    table = priors_table(tree_without_sampling(name)).set_index("quantity")
    latent = {"omega"} if hypothesis.omega is not None else set()
    assert set(table.index) == set(hypothesis.priors) | latent
    for quantity, prior in hypothesis.priors.items():
        written = table.loc[quantity, "prior"]
        assert written.startswith(f"{prior.dist}(")
        numbers = [float(one) for one in re.findall(r"= ([-\d.e]+)", written)]
        np.testing.assert_allclose(numbers, prior.parameters, rtol=1e-4)


def test_every_law_has_a_formula():
    assert set(FORMULAS) == set(LAWS)


def test_what_is_not_known_of_ones_own_runs_is_said_and_not_guessed():
    table = checklist(sweep_fit()).set_index("item")["what"]
    assert table["licence of the data"] == NOT_SAID
    assert table["citation of the data"].startswith(NOT_SAID)
    assert "assumed" in table["taken for granted"]
    assert f"adaptation {NOT_SAID}" in table["estimator"]


def test_sampler_settings_are_those_that_were_asked_for():
    fit = sweep_fit().copy()
    fit.attrs["settings"] = json.dumps(
        {"draws": 700, "tune": 900, "chains": 2, "target_accept": 0.9}
    )
    table = checklist(fit).set_index("item")["what"]
    assert "900 to adapt" in table["estimator"]
    assert "draws=700, tune=900, chains=2, target_accept=0.9, random_seed=1" in table["to redo"]


def test_a_bundled_study_is_redone_by_one_call():
    text = redo_text(tree_without_sampling("hoffmann-total"))
    assert text == "scalebayes.fit('hoffmann2022-epoch', 'hoffmann-total', random_seed=1)"


def test_budgets_are_the_largest_run_ten_and_a_hundred_times_it_and_chinchillas():
    fit = sweep_fit()
    runs = fit["constant_data"].to_dataset()
    largest = float((6 * runs["N"] * runs["D"]).max())
    expected = [largest, 10 * largest, 100 * largest, CHINCHILLA_COMPUTE]
    assert list(budget_names(fit, {})) == pytest.approx(sorted(expected), rel=0.01)


def test_chinchillas_budget_is_not_given_twice():
    study = user_study()
    scale = np.sqrt(CHINCHILLA_COMPUTE / (6 * study.runs["N"] * study.runs["D"]).max())
    runs = study.runs.assign(N=study.runs["N"] * scale, D=study.runs["D"] * scale)
    larger = sb.read_runs(runs[["N", "D", "loss"]], counting="total", name="large")
    fit = tree_without_sampling("hoffmann-total", larger, latents=epoch_latents())
    assert len(budget_names(fit, {})) == 3


def test_every_sentence_with_numbers_says_its_interval():
    said = headline(sweep_fit(), answers_of(sweep_fit()))
    assert "medians with 90% equal-tailed intervals" in said[0]
    assert len(said) == 6
    for sentence in said[1:]:
        assert re.search(r"\S+ \[\S+, \S+\]", sentence), sentence
    for sentence in said[1:5]:
        assert "if the law holds exactly" in sentence
        assert "with discrepancy" in sentence


def test_every_table_of_intervals_has_a_caption_that_says_which():
    page = sweep_report().html
    for heading in ("Compute-optimal models", "The law&#x27;s quantities", "Priors"):
        part = page.split(f">{heading}</h2>")[1].split("</section>")[0]
        caption = re.search(r"<figcaption>(.*?)</figcaption>", part, re.S)[1]
        assert "equal-tailed interval" in caption, heading


def test_the_headline_holds_what_optimal_says():
    best = sb.optimal(sweep_fit(), CHINCHILLA_COMPUTE)["tokens_per_parameter"]
    low, median, high = np.quantile(best, (0.05, 0.5, 0.95))
    (sentence,) = [one for one in sweep_report().sentences if "5.76e23" in one]
    found = re.search(r"D\*/N\* (\S+) \[(\S+), (\S+)\]", sentence).groups()
    np.testing.assert_allclose([float(one) for one in found], [median, low, high], rtol=0.06)


def test_a_fit_that_did_not_converge_says_so_first_and_everywhere():
    made = sweep_report(("R-hat 1.2 of alpha",))
    assert not made.converged
    assert made.warnings[0] == "NOT CONVERGED, do not use: R-hat 1.2 of alpha"
    body = made.html.split("<main>")[1]
    assert body.index("NOT CONVERGED") < body.index("FLOP")
    assert all("not converged" in one for one in made.sentences[1:])
    assert made.html.count("NOT CONVERGED") >= 5
    assert "**NOT CONVERGED, do not use: R-hat 1.2 of alpha**" in made.markdown


def test_what_is_mostly_prior_and_a_poor_design_are_warnings():
    fit = sweep_fit().copy()
    fit.attrs |= {"still_prior": '{"a": 0.8, "tau": 0.9}', "design_warnings": "one line only"}
    said = " ".join(warnings_of(fit))
    assert "Mostly prior, not a finding of these runs: a (sd ratio 0.80), tau" in said
    assert "Design of the runs: one line only" in said


def test_without_shapes_a_latent_count_has_no_optimum_and_says_how_to_get_one():
    fit = tree_without_sampling("latent-counting")
    fit.attrs["architecture"] = ""
    made = sb.report(fit)
    assert "shapes of the models are not known" in made.sentences[0]
    assert "Compute-optimal models" not in made.html
    family = Architecture(aspect_ratio=64.0, vocab_size=32000, tied=True)
    told = sb.report(fit, counting="total", architecture=family)
    assert "Compute-optimal models" in told.html


def test_the_page_needs_nothing_from_elsewhere():
    page = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=\s]+", "", sweep_report().html)
    assert "default-src 'none'" in page
    assert re.findall(r"https?://|//\w|<script|<link|@import|url\((?!#)", page) == []
    assert re.findall(r"(?:src|href)=\"(?!#)[^\"]", page) == []


def test_every_link_leads_somewhere():
    page = sweep_report().html
    anchors = re.findall(r'href="#([^"]+)"', page)
    ids = re.findall(r'id="([^"]+)"', page)
    assert set(anchors) <= set(ids)
    assert len(ids) == len(set(ids))


def test_the_same_fit_gives_the_same_bytes(tmp_path):
    first, second = tmp_path / "first.html", tmp_path / "second.html"
    sb.report(sweep_fit(), first, markdown=tmp_path / "first.md")
    sb.report(sweep_fit().copy(), second, markdown=tmp_path / "second.md")
    assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "first.md").read_bytes() == (tmp_path / "second.md").read_bytes()


def test_the_markdown_is_on_the_page_letter_by_letter():
    made = sweep_report()
    assert html.escape(made.markdown) in made.html
    assert made.markdown.startswith("# sweep under hoffmann-total")


def test_bars_and_lines_in_cells_do_not_break_a_markdown_table():
    table = pd.DataFrame({"item": ["a|b", "c\nd"], "number": [0.123456, 2]})
    lines = markdown_table(table).splitlines()
    assert lines[0] == "| item | number |"
    assert lines[2:] == [r"| a\|b | 0.1235 |", "| c d | 2 |"]


def test_names_are_escaped_in_the_page():
    fit = sweep_fit().copy()
    fit.attrs["study"] = "<script>alert(1)</script>"
    assert "<script" not in sb.report(fit).html


def test_a_comparison_has_its_verdict_and_a_checklist_per_hypothesis():
    fits = {"student": sweep_fit(), "normal": other_fit()}
    made = comparison_report(fits, table=comparison())
    assert made.sentences[1] == "Verdict: decided for student."
    assert made.sentences[0].startswith("All medians with 90% equal-tailed intervals")
    for label in fits:
        assert f"{label}: How to redo this fit" in made.html
        assert f"The law over its runs: {label}" in made.html
    assert made.converged
    ids = re.findall(r'id="([^"]+)"', made.html)
    assert len(ids) == len(set(ids))


def test_a_comparison_of_other_fits_is_refused():
    fits = {"student": sweep_fit(), "normal": other_fit()}
    with pytest.raises(InputError, match=r"comparison is of \['first', 'second'\]"):
        sb.report(fits, table=comparison(("first", "second")))


def test_what_is_no_result_is_refused():
    with pytest.raises(InputError, match="mapping of label to fit"):
        sb.report(3)
    with pytest.raises(InputError, match="single fits"):
        sb.report({"one": [sweep_fit()], "two": [other_fit()]})
    with pytest.raises(InputError, match="only fits that are compared"):
        sb.report(sweep_fit(), leave_out=())


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path):
    with pytest.raises(ResultError, match="cannot be written"):
        sb.report(sweep_fit(), tmp_path / "nowhere" / "report.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ResultError, match="cannot be written"):
        sb.report(sweep_fit(), tmp_path / "folder")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


@pytest.mark.slow
def test_a_population_has_a_report_with_its_studies_and_priors(tmp_path):
    population = sb.pool(fits_of_three(), draws=500, cores=1, cache=False)
    path = sb.save_fit(population, tmp_path / "pooled.nc")
    made = sb.report(sb.load_fit(path))
    assert made.converged == bool(population.attrs["converged"])
    for digest in json.loads(population.attrs["data_hashes"]):
        assert digest in made.html
    assert "spread between groups ~ HalfNormal(0.3)" in made.html
    assert "equal-tailed" in made.sentences[0]


@pytest.mark.slow
def test_a_fit_with_literature_is_reported_beside_the_study_alone():
    *others, alone = fits_of_three()
    study = sweep("third", *TRUTHS["third"], 2)
    joined = with_literature(alone, study, others, pool_settings(500, 500, 4, 1, 1))
    made = sb.report(joined)
    said = [one for one in made.sentences if "5.76e23" in one]
    assert [one.split(":")[0] for one in said] == ["With literature", "Alone"]
    assert "with the published ratios too" in said[0]
    assert "have probability" in made.sentences[-1] or "lies outside" in made.sentences[-1]
    assert "What is the literature&#x27;s" in made.html
    table = priors_table(joined).set_index("quantity")["meaning"]
    assert "replaced by what the published studies" in table["log_alpha"]
    items = checklist(joined).set_index("item")["what"]
    assert items["literature (prior of the exponents)"] == "first, second"


@pytest.mark.slow
def test_a_fit_says_how_it_was_asked_to_be_sampled():
    fit = sb.fit(user_study(), "hoffmann-total", draws=400, tune=300, chains=2, cores=1)
    asked = {"draws": 400, "tune": 300, "chains": 2, "target_accept": 0.9}
    assert json.loads(fit.attrs["settings"]) == asked


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run a command line in an empty folder: exit code, out, err."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.main(list(map(str, arguments)))
        return SimpleNamespace(code=end.value.code or 0, **capsys.readouterr()._asdict())

    return run


def test_the_command_writes_the_page_and_prints_what_it_comes_to(run, tmp_path):
    sb.save_fit(sweep_fit(), tmp_path / "fit.nc")
    done = run("report", "fit.nc", "--markdown", "report.md")
    assert done.code == 0, done.err
    assert (tmp_path / "report.html").read_text() == sweep_report().html
    assert (tmp_path / "report.md").read_text() == sweep_report().markdown
    assert sweep_report().sentences[1] in done.out
    assert "Wrote report.html" in done.err


def test_the_command_says_by_its_exit_code_that_a_fit_did_not_converge(run, tmp_path):
    sb.save_fit(sweep_fit(("R-hat 1.2 of alpha",)), tmp_path / "fit.nc")
    done = run("report", "fit.nc", "--json")
    assert done.code == 3
    told = json.loads(done.out)
    assert told["converged"] is False
    assert told["warnings"][0].startswith("NOT CONVERGED")
    assert {row["ci_kind"] for row in told["rows"]} == {"eti"}
    assert (tmp_path / "report.html").is_file()


def test_the_command_compares_several_fits(run, tmp_path, monkeypatch):
    sb.save_fit(sweep_fit(), tmp_path / "one.nc")
    sb.save_fit(other_fit(), tmp_path / "two.nc")
    asked = []

    def compare(fits, **options):
        asked.append((list(fits), options))
        return comparison(("hoffmann-total", "normal-noise"))

    monkeypatch.setattr("scalebayes.comparison_page.compare", compare)
    done = run("report", "one.nc", "two.nc", "--leave-out", "none", "--cores", 1)
    assert done.code == 0, done.err
    labels, options = asked[0]
    assert labels == ["hoffmann-total", "normal-noise"]
    assert options == {"random_seed": 1, "cache": True, "cores": 1, "leave_out": ()}
    assert "Verdict: decided for hoffmann-total." in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere.nc",), 4, "no such file"),
        (("fit.nc", "-o", "nowhere/report.html"), 4, "cannot be written"),
        (("fit.nc", "--markdown", "report.html"), 2, "choose another file"),
        (("fit.nc", "--leave-out", "none"), 2, "several fits"),
        (("fit.nc", "fit.nc"), 2, "rename"),
        (("fit.nc", "--counting", "wrong"), 2, "counting"),
        ((), 2, ""),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_an_exit_code(run, tmp_path, arguments, code, said):
    sb.save_fit(sweep_fit(), tmp_path / "fit.nc")
    done = run("report", *arguments)
    assert done.code == code
    assert said in " ".join(done.err.split())
    assert not (tmp_path / "report.html").exists()
