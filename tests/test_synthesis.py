"""A synthesis from rows to result, its sentences, tables and figure."""

import dataclasses
import json

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import scalebayes as sb
from scalebayes.errors import InputError
from scalebayes.gate import Settings
from scalebayes.optimum import allocation_exponent
from scalebayes.storage import load_fit, save_fit
from scalebayes.synthesis import row_labels
from scalebayes.synthesis_data import synthesis_rows
from scalebayes.synthesis_draws import compiled_synthesis, draw_synthesis
from scalebayes.synthesis_model import prior_latents, simulated_values, synthesis_data
from scalebayes.synthesis_report import NOT_LEARNED, synthesis_checks_table, unknown_countings

CATEGORIES = ["body", "body+head", "total"]


def made_tree(*, a=0.45, effect=0.2, weights=(0.3, 0.36, 0.34), converged=1, prior_sd=0.15):
    """Return a result by hand: two rows, one of them of unknown counting, and one check."""
    rng = np.random.default_rng(1)
    shape = (2, 500)

    def draws(middle, sd, *size):
        values = middle + sd * rng.standard_normal((*shape, *size))
        return (
            ("chain", "draw", *(["range"] if size == (2,) else ["row"] if size else [])),
            values,
        )

    posterior = {
        "a": draws(a, 0.02),
        "new_a": draws(a, 0.07),
        "tau_between": draws(0.07, 0.01),
        "tau_within": draws(0.04, 0.03),
        "counting_effect": (("chain", "draw", "range"), draws([effect, 0.02], 0.03, 2)[1]),
    }
    prior = {name: draws(0.5, prior_sd) for name in ("a", "tau_between", "tau_within")}
    prior["counting_effect"] = draws(0.2, prior_sd, 2)
    texts = {
        "counting": ["body", "unknown"],
        "role": ["primary", "primary"],
        "run_set": ["one x", "two y"],
        "obtained": ["a", "1 - b"],
        "se_from": ["interval", ""],
        "range_from": ["published", "default"],
    }
    rows = {
        "value": ("row", [0.6, 0.46]),
        "se_published": ("row", [0.01, np.nan]),
        "fitted": draws(0.5, 0.02, 2)[1],
        "se": np.tile([0.01, 0.03], (*shape, 1)),
        "responsibility": (("row", "category"), [[1 / 3] * 3, list(weights)]),
    } | {name: ("row", np.array(text)) for name, text in texts.items()}
    for name in ("fitted", "se"):
        rows[name] = (("chain", "draw", "row"), rows[name])
    rows["residual"] = (("chain", "draw", "row"), np.array([0.6, 0.46]) - rows["fitted"][1])
    checks = {
        "value": ("check", [0.71, 0.5]),
        "lower": ("check", [0.35, 0.35]),
        "median": ("check", [0.5, 0.5]),
        "upper": ("check", [0.62, 0.62]),
        "p": ("check", [0.012, 0.9]),
        "se_published": ("check", [0.01, np.nan]),
        "counting": ("check", np.array(["body+head", "total"])),
        "origin": ("check", np.array(["published", "recomputed_here"])),
    }
    ranges = {"range": ["kaplan", "hoffmann"]}
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(posterior, ranges),
            "prior": xr.Dataset(prior, ranges),
            "rows": xr.Dataset(rows, {"row": ["one", "two"], "category": CATEGORIES}),
            "checks": xr.Dataset(checks, {"check": ["third", "fourth"]}),
        }
    )
    tree.attrs = {
        "converged": converged,
        "problems": "" if converged else "R-hat 1.2 of a",
        "n_primary": 2,
        "n_replicate": 0,
        "n_check": 2,
        "n_run_sets": 2,
        "n_imputed": 1,
        "left_out": json.dumps({"another architecture": 3}),
    }
    return tree


def test_the_sentences_claim_what_the_intervals_support():
    said = " ".join(sb.synthesis_sentences(made_tree()))
    assert "1 of 2 were published without a usable error" in said
    assert "Left out: another architecture (3)" in said
    assert "consensus exponent a is 0.449 [0.417, 0.482]" in said
    assert "the interval lies below .50" in said
    assert "The first interval holds Kaplan's .73 less Hoffmann's .50, .23" in said
    assert "1 lie outside the 90% interval" in said
    assert "third (0.71, p .01)" in said


def test_an_interval_around_one_half_says_no_more():
    said = " ".join(sb.synthesis_sentences(made_tree(a=0.5)))
    assert "the interval holds .50" in said
    assert "below .50" not in said


def test_a_counting_that_stays_near_its_prior_is_not_learned():
    assert unknown_countings(made_tree()) == {"two y": NOT_LEARNED}
    assert "two y not learned" in " ".join(sb.synthesis_sentences(made_tree()))
    learned = made_tree(weights=(0.8, 0.15, 0.05))
    assert "two y .80 body, .15 body+head, .05 total" in " ".join(sb.synthesis_sentences(learned))
    assert sb.synthesis_table(made_tree())["note"].str.contains(NOT_LEARNED).tolist() == [
        False,
        True,
    ]


def test_an_effect_whose_interval_holds_zero_has_no_sign():
    said = " ".join(sb.synthesis_sentences(made_tree(effect=0.01)))
    assert "the sign of the first is not learned" in said
    assert "Kaplan's .73" not in said


def test_what_the_data_hardly_narrow_is_marked_as_prior():
    assert "mostly prior" not in sb.synthesis_sentences(made_tree())[1]
    assert "(mostly prior)" in sb.synthesis_sentences(made_tree(prior_sd=0.03))[1]


def test_a_synthesis_that_failed_claims_nothing():
    said = sb.synthesis_sentences(made_tree(converged=0))
    assert said[0].startswith("NOT CONVERGED: synthesis: R-hat 1.2 of a")
    assert len(said) == 2
    assert "consensus" not in " ".join(said)
    assert sb.plot_synthesis(made_tree(converged=0)).get_suptitle() == "NOT CONVERGED"


def test_the_table_says_which_errors_are_imputed_and_how_rows_were_obtained():
    table = sb.synthesis_table(made_tree()).set_index("study")
    assert table.loc["one", "error"] == "0.010 (interval)"
    assert table.loc["two", "error"] == "0.030 (imputed)"
    assert "a = 1 - b" in table.loc["two", "note"]
    assert "range assumed" in table.loc["two", "note"]
    assert table.loc["one", "residual"].startswith("0.1")


def test_the_table_of_checks_gives_each_its_p():
    table = synthesis_checks_table(made_tree()).set_index("study")
    assert table.loc["third", "predicted"] == "0.50 [0.35, 0.62]"
    assert table.loc["third", "p"] == ".01"
    assert table.loc["fourth", "origin"] == "recomputed here"


def test_the_figure_tells_imputed_intervals_from_published_ones():
    data, checks = sb.plot_synthesis(made_tree()).axes
    names = [text.get_text() for text in data.get_yticklabels()]
    assert names == ["without vocabulary matrices", "one", "counting unknown", "two"]
    dots = [line for line in data.lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() for line in dots] == ["#222222", "white"]
    assert [float(line.get_xdata()[0]) for line in dots] == [0.6, 0.46]
    dashed = [line for line in data.lines if line.is_dashed()]
    assert len(dashed) == 1
    np.testing.assert_allclose(np.ptp(dashed[0].get_xdata()), 2 * 1.645 * 0.03)
    assert len([line for line in checks.lines if line.get_marker() == "o"]) == 2
    assert data.patches[0].get_width() == pytest.approx(2 * 1.645 * 0.02, rel=0.1)  # the consensus


def test_rows_have_names_that_tell_them_apart():
    rows = synthesis_rows()
    for role in ("primary", "check"):
        names = row_labels(rows[rows["role"] == role])
        assert len(set(names)) == len(names)


def test_without_a_primary_row_there_is_no_synthesis():
    rows = synthesis_rows().assign(role="check")
    with pytest.raises(InputError, match="no row is primary"):
        sb.synthesis(rows, cache=False)


@pytest.fixture(scope="module")
def tree():
    return sb.synthesis(cores=1)


@pytest.mark.slow
def test_the_published_exponents_have_a_consensus_that_arviz_reads(tree, tmp_path):
    assert tree.attrs["converged"] == 1
    summary = az.summary(tree, var_names=["a", "tau_between"], round_to="none")
    assert (summary["r_hat"] < 1.01).all()
    low, high = np.quantile(tree["posterior"]["a"], [0.05, 0.95])
    assert 0.35 < low < 0.5 < high < 0.6
    assert az.loo(tree).n_data_points == tree.attrs["n_run_sets"]
    assert (tree["posterior"]["counting_effect"].sel(range="kaplan").quantile(0.05)) > 0
    back = load_fit(save_fit(tree, tmp_path / "synthesis.nc"))
    np.testing.assert_array_equal(back["posterior"]["a"], tree["posterior"]["a"])


@pytest.mark.slow
def test_the_result_holds_every_row_and_check_once(tree):
    rows = synthesis_rows()
    roles = rows["role"].value_counts()
    assert tree["rows"].sizes["row"] == roles["primary"] + roles["replicate"]
    assert tree["checks"].sizes["check"] == roles["check"]
    assert ((tree["checks"]["p"] >= 0) & (tree["checks"]["p"] <= 1)).all()
    total = tree["rows"]["fitted"].sel(row="pearce_song2024 total")
    np.testing.assert_allclose(total, tree["posterior"]["a"], atol=1e-8)


@pytest.mark.slow
def test_a_consensus_is_recovered_from_simulated_literatures():
    columns = [
        {
            "study": f"s{i}",
            "run_set": f"s{i}",
            "counting": counting,
            "role": "primary",
            "value": 0.5,
            "se": 0.02 if i % 3 else np.nan,
            "c_min": 1e17,
            "c_max": 1e21,
        }
        for i, counting in enumerate(["body", "total", "body+head", "unknown"] * 6)
    ]
    data = synthesis_data(pd.DataFrame(columns))
    latents = prior_latents(data, 1, random_seed=3)
    latents |= {
        "log_alpha": np.log([0.36]),
        "log_beta": np.log([0.33]),
        "tau_between": np.full(1, 0.04),
    }
    [value] = simulated_values(data, latents, random_seed=4)
    data = dataclasses.replace(data, value=value)
    drawn = draw_synthesis(compiled_synthesis(data), Settings(cores=1, random_seed=5))
    assert not drawn.problems
    a = allocation_exponent(*(np.exp(drawn.latents[f"log_{name}"]) for name in ("alpha", "beta")))
    assert abs(a.mean() - 0.33 / 0.69) < 3 * a.std()
    assert a.std() < 0.03  # against .15 in the prior
