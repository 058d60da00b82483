import json
import re

import numpy as np
import pytest
from fits import HOFFMANN

import scalebayes as sb
from scalebayes.hypotheses import hypothesis_names, load_hypothesis
from scalebayes.model_graph import graph_text
from scalebayes.model_pages import STUDY, expectations_text, latex_text, prior_predictive

NAMES = hypothesis_names()


@pytest.mark.parametrize("name", NAMES)
def test_the_latex_of_a_file_has_its_law_its_noise_and_each_prior_once(name):
    text, hypothesis = latex_text(name), load_hypothesis(name)
    rows = text.split(r"\begin{align}")[1].split(r"\\")
    assert "L(N, D) &=" in rows[0]
    assert text.count(r"&\sim") == len(hypothesis.priors) + 2 + (hypothesis.omega is not None)
    for prior in hypothesis.priors.values():
        numbers = ", ".join(f"{value:.5g}" for value in prior.parameters)
        assert rf"\mathrm{{{prior.dist}}}({numbers})" in text
    assert text.count("{") == text.count("}")
    assert len(re.findall(r"\\left", text)) == len(re.findall(r"\\right", text))


def test_the_latex_of_the_isoflop_law_is_its_formula():
    text = latex_text("isoflop")
    assert r"\frac{\beta\,e^{-\alpha u} + \alpha\,e^{\beta u}}{\alpha + \beta}" in text
    assert r"a &\sim \mathrm{Normal}(0.5, 0.2)" in text
    assert "C_0: middle budget" in text


def test_the_graph_has_every_variable_and_the_parents_of_the_loss():
    text = graph_text(sb.build(HOFFMANN, "hoffmann-total"))
    assert text.startswith("digraph model {") and text.rstrip().endswith("}")
    assert '"log_E" [shape=ellipse, label="log_E\\n~ Normal"];' in text
    assert '"log_loss" [shape=doublecircle, label="log_loss\\n~ StudentT\\n[run]"];' in text
    assert {'  "log_alpha" -> "log_loss";', '  "N" -> "log_loss";'} <= set(text.splitlines())
    assert "prior_" not in text


def test_every_bundled_hypothesis_has_expectations_of_one_study():
    for name in NAMES:
        rows = prior_predictive(name, draws=200)
        assert [row["name"] for row in rows[:2]] == ["loss", "loss_new"]
        assert len(rows) == 15
        for row in rows:
            assert np.isfinite([row["lower"], row["median"], row["upper"]]).all(), (name, row)
            assert row["lower"] < row["median"] < row["upper"]


def test_expectations_are_those_of_the_prior():
    rows = prior_predictive("isoflop", draws=4000)
    ratios = [row for row in rows if row["name"] == "tokens_per_parameter"]
    middle = ratios[1]
    # log D*/N* ~ Normal(log 20, 2) at the middle budget; a is off 1/2 by .2, a third away from it
    assert middle["median"] == pytest.approx(20, rel=0.25)
    assert np.log(middle["upper"] / middle["lower"]) == pytest.approx(2 * 1.645 * 2, rel=0.1)
    losses = [row for row in rows if row["name"] == "loss"]
    observed = sb.load_study(STUDY).runs["loss"].to_numpy()
    assert all(row["observed"] in observed for row in losses)
    assert all(row["lower"] < row["observed"] < row["upper"] for row in losses)


def test_the_same_seed_gives_the_same_expectations_and_text_names_the_study():
    hypothesis = load_hypothesis("kaplan")
    rows = prior_predictive(hypothesis, HOFFMANN, draws=200, random_seed=3)
    assert rows == prior_predictive(hypothesis, HOFFMANN, draws=200, random_seed=3)
    text = expectations_text(rows, hypothesis)
    assert "hoffmann2022-epoch under the prior of kaplan; N counted as total" in text
    assert "Draws of the prior, no posterior" in text
    assert json.dumps(rows)
