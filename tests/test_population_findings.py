"""Sentences, tables and figures of a population, from a made one."""

import json

import numpy as np
import pytest
import xarray as xr

from scalebayes.population_findings import checks_table, population_sentences
from scalebayes.population_plots import plot_recipe_effects, plot_shrinkage

STUDIES = ["one", "two", "three"]
RECIPES = ["long warm-up", "tuned, constant rate"]


def made_population(*, converged=1, flips="", supported="undecided"):
    """A population of three studies with two recipe effects and an omega that is decided."""
    rng = np.random.default_rng(3)
    chains, shape = ("chain", "draw"), (2, 200)
    posterior = xr.Dataset(
        {
            "sd_between": ((*chains, "exponent"), np.full((*shape, 2), 0.2)),
            "sd_within": ((*chains, "exponent"), np.full((*shape, 2), 0.05)),
            "recipe_effect": ((*chains, "exponent", "recipe"), np.zeros((*shape, 2, 2))),
        },
        coords={"exponent": ["alpha", "beta"], "recipe": RECIPES},
    )
    width = 0.01 * rng.standard_normal((3, *shape))
    centre = np.array([0.4, 0.5, 0.6])[:, None, None]
    studies = xr.Dataset(
        {
            "exponent": (("study", *chains), centre + width),
            "own_exponent": (("study", *chains), centre + 3 * width),
            "tokens_per_parameter": (("study", *chains), 20 * np.exp(10 * width)),
            "own_tokens_per_parameter": (("study", *chains), 20 * np.exp(30 * width)),
        },
        coords={"study": STUDIES},
    )
    names = ["a", *RECIPES]
    middle = np.array([[0.5, 0.07, -0.02]] * 2)
    checks = xr.Dataset(
        {
            "lower": (("check", "quantity"), middle - 0.03),
            "median": (("check", "quantity"), middle),
            "upper": (("check", "quantity"), middle + 0.03),
            "conclusion": (("check", "quantity"), [["undecided", "above 0", "undecided"]] * 2),
            "omega": ("check", [0.25, 1.0]),
            "omega_weight": ("check", [0.97, 0.6]),
            "pareto_k": ("check", [-np.inf, 0.4]),
            "drawn_again": ("check", [0, 0]),
            "flips": ("check", ["", flips]),
        },
        coords={"check": ["as it is", "without two"], "quantity": names},
    )
    evidence = xr.Dataset({"weight": ("omega", [0.97, 0.03])}, coords={"omega": [0.25, 1.0]})
    weight = np.tile([[0.9, 0.1], [0.2, 0.8]], (*shape, 1, 1))
    by_group = xr.Dataset(
        {
            "omega_weight": ((*chains, "group", "omega"), weight),
            "new_study_a_total": (chains, np.full(shape, 0.45)),
            "common_new_study_a_total": (chains, np.full(shape, 0.55)),
        },
        coords={"group": ["first", "second"], "omega": [0.25, 1.0]},
    )
    new = xr.Dataset({"a": (chains, 0.5 + 0.1 * rng.standard_normal(shape))})
    groups = {
        "new_study": new,
        "posterior": posterior,
        "studies": studies,
        "checks": checks,
        "evidence": evidence,
    }
    tree = xr.DataTree.from_dict(groups | {"omega_by_group/posterior": by_group})
    tree["omega_by_group"].attrs = {
        "converged": 1,
        "problems": "",
        "log_evidence_difference": 6.2,
        "log_evidence_difference_se": 0.1,
        "common_omega": supported,
    }
    tree.attrs = {"converged": converged, "problems": "R-hat 1.2", "studies": json.dumps(STUDIES)}
    tree.attrs["recipes_not_identified"] = json.dumps(["schedule: not identified, since it varies"])
    return tree


def test_the_sentences_give_each_number_with_its_interval():
    said = " ".join(population_sentences(made_population()))
    assert "mean exponent a of 0.50 [0.47, 0.53] in total counting" in said
    assert "long warm-up +0.070 [+0.040, +0.100] (above 0)" in said
    assert "tuned, constant rate -0.020 [-0.050, +0.010] (undecided)" in said
    assert "schedule: not identified" in said
    assert ".97 on up to 1/2" in said
    assert "NOT CONVERGED" not in said


def test_an_omega_of_its_own_for_each_group_is_told_with_what_it_changes():
    said = " ".join(population_sentences(made_population(supported="not supported")))
    assert "changes by +6.2 ± 0.1 nats: one omega for all is not supported" in said
    assert "first 0.25 (.90), second 1 (.80)" in said
    assert "0.45 [0.45, 0.45], against 0.55" in said


def test_a_conclusion_that_flips_is_named():
    steady = population_sentences(made_population())[-1]
    assert steady.startswith("None of 1 checks")
    flipped = population_sentences(made_population(flips="a: undecided becomes above 0.5"))[-1]
    assert "1 of 1 checks" in flipped
    assert "without two: a: undecided becomes above 0.5" in flipped


def test_a_population_that_failed_says_so_first():
    assert population_sentences(made_population(converged=0))[0].startswith("NOT CONVERGED")
    figure = plot_shrinkage(made_population(converged=0))
    assert figure.get_suptitle() == "NOT CONVERGED"


def test_the_table_of_checks_has_a_row_a_check_and_says_how_good_its_weights_are():
    table = checks_table(made_population(flips="x")).set_index("check")
    assert table.loc["without two", "weights"] == "k 0.40"
    assert table.loc["without two", "heaviest omega"] == "1 (.60)"
    assert table.loc["without two", "flips"] == "x"
    assert table.loc["as it is", "exponent a"] == "0.50 [0.47, 0.53]"


@pytest.mark.parametrize("missing", [False, True])
def test_the_figure_of_shrinkage_shows_both_posteriors_of_every_study(missing):
    population = made_population()
    if missing:
        studies = population["studies"].to_dataset()
        studies["tokens_per_parameter"][1] = np.nan
        studies["own_tokens_per_parameter"][1] = np.nan
        population["studies"] = xr.DataTree(studies)
    left, right = plot_shrinkage(population).axes
    assert [text.get_text() for text in left.get_yticklabels()] == STUDIES
    dots = [sum(line.get_marker() == "o" for line in ax.lines) for ax in (left, right)]
    assert dots == [6, 4 if missing else 6]
    low, high = right.get_xlim()
    assert low < 20 < high


def test_the_figure_of_recipes_has_a_row_for_each_effect():
    [ax] = plot_recipe_effects(made_population()).axes
    assert [text.get_text() for text in ax.get_yticklabels()] == RECIPES
