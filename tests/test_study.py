"""A study's parameters expressed in another counting, and its budgets in another convention."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest

from scalebayes.counting import COUNTINGS, FLOPS, count_parameters, study_omega
from scalebayes.designs import losses, study_design
from scalebayes.errors import CountingError, StudyError
from scalebayes.studies import load_study, read_runs, studies
from scalebayes.study import recount, reflop

BUNDLED = {name: load_study(name) for name in studies().index}
SHAPED = [name for name, study in BUNDLED.items() if study.has_shapes]
EXACT = ["porian2024-rw-1-kaplan", "li2025-misfitting", "marin2026-dclm"]
ROUND_TRIPS = list(itertools.permutations((*COUNTINGS, 0.5, "2"), 2))
BUDGET_TRIPS = list(itertools.permutations(FLOPS, 2))


@pytest.mark.parametrize("name", SHAPED)
@pytest.mark.parametrize("counting", COUNTINGS)
def test_counting_otherwise_and_back_changes_nothing(name, counting):
    study = BUNDLED[name]
    back = recount(recount(study, counting), study.counting)
    pd.testing.assert_frame_equal(back.runs, study.runs, rtol=1e-12, atol=0)
    assert back.table["left_out"].equals(study.table["left_out"])
    assert back.record() | {"data_hash": ""} == study.record() | {"data_hash": ""}


@pytest.mark.parametrize(("one", "other"), ROUND_TRIPS)
def test_every_pair_of_countings_leads_back(one, other):
    study = recount(load_study("muennighoff2023-oneepoch"), one)
    back = recount(recount(study, other), one)
    assert back.runs["N"].to_numpy() == pytest.approx(study.runs["N"].to_numpy(), rel=1e-12)


@pytest.mark.parametrize("omega", [0, 0.5, 1.0, "1", 3])
def test_n_may_be_counted_with_any_weight_of_a_vocabulary_matrix(omega):
    study = load_study("porian2024-rw-2-lastlayer")
    recounted = recount(study, omega)
    runs = study.runs
    assert recounted.counting == str(float(omega))
    assert study_omega(recounted.runs, recounted.counting) == float(omega)
    expected = runs["body"] + float(omega) * runs["head"]
    assert recounted.runs["N"].to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-12)


@pytest.mark.parametrize("name", SHAPED)
@pytest.mark.parametrize("counting", COUNTINGS)
def test_only_n_and_its_counting_change(name, counting):
    study = BUNDLED[name]
    recounted = recount(study, counting)
    assert recounted.counting == counting
    others = study.table.columns.drop("N")
    pd.testing.assert_frame_equal(recounted.table[others], study.table[others])
    for field in dataclasses.fields(study):
        if field.name not in ("table", "counting", "flops"):
            assert getattr(recounted, field.name) == getattr(study, field.name)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("counting", COUNTINGS)
def test_where_the_reported_count_is_exact_so_is_any_other(name, counting):
    runs = recount(BUNDLED[name], counting).runs
    assert runs["N"].to_numpy() == pytest.approx(count_parameters(runs, counting), rel=1e-12)


def test_a_rounded_size_keeps_its_distance_from_the_shape():
    study = load_study("dey2023-cerebras-sp")  # sizes of names: 1.3B, 2.7B, 13B
    reported, body = study.runs, recount(study, "body").runs
    distance = reported["N"] / count_parameters(reported, "total")
    assert (body["N"] / body["body"]).to_numpy() == pytest.approx(distance.to_numpy())


def test_the_law_reads_the_same_parameters_in_any_counting_of_n():
    study = load_study("hoffmann2022-epoch")
    recounted = recount(study, "body")
    for counting in COUNTINGS:
        before = count_parameters(study.runs, counting, reported=study.counting)
        after = count_parameters(recounted.runs, counting, reported=recounted.counting)
        assert np.array_equal(before, after)


def test_flops_stay_those_of_the_count_reported():
    study = load_study("hoffmann2022-epoch")
    body = recount(study, "body")
    assert (study.flops, body.flops) == ("6ND", "6ND:total")
    assert recount(body, "body+head").flops == "6ND:total"
    assert recount(body, "total").flops == "6ND"
    assert recount(load_study("porian2024-rw-1-kaplan"), "total").flops == "6ND:body"


def test_the_counting_it_has_gives_the_study_itself():
    study = load_study("li2025-steplaw")
    assert recount(study, "body") is study


def test_a_left_out_row_of_unknown_shape_has_no_other_count():
    table = recount(load_study("muennighoff2023-oneepoch"), "body").table
    assert table["N"].isna().equals(table["body"].isna())
    assert (table["left_out"][table["N"].isna()] != "").all()


def test_without_shapes_it_says_what_is_missing():
    said = r"li2025-steplaw: N is 'body'; .*'total', \['embedding'\] must be known.* 17 of 17 used"
    with pytest.raises(CountingError, match=said):
        recount(load_study("li2025-steplaw"), "total")
    with pytest.raises(CountingError, match=r"\['head'\] must be known"):
        recount(load_study("li2025-steplaw"), "body+head")


def test_a_used_row_of_unknown_shape_is_named():
    study = load_study("muennighoff2023-oneepoch", window="none")
    with pytest.raises(CountingError, match="for 1 of 41 used runs, such as '7m"):
        recount(study, "body")


@pytest.mark.parametrize("counting", ["unknown", "non_embedding", -0.5, None])
def test_a_counting_that_n_cannot_have_is_refused(counting):
    with pytest.raises(CountingError, match="the counting asked for is .* must be one of"):
        recount(load_study("hoffmann2022-epoch"), counting)


def test_an_unknown_counting_cannot_be_left():
    tokens = np.geomspace(1e9, 1e11, 12)
    size = np.tile([1e8, 3e8, 1e9], 4)
    frame = pd.DataFrame({"N": size, "D": tokens, "loss": 2 + 300 / size**0.3 + 9 / tokens**0.1})
    study = read_runs(frame, name="sweep")
    for counting in ("body", "unknown"):
        with pytest.raises(CountingError, match="sweep: the counting .* is 'unknown'"):
            recount(study, counting)


# budgets


@pytest.mark.parametrize(("one", "other"), BUDGET_TRIPS)
def test_every_pair_of_flop_conventions_leads_back(one, other):
    study = reflop(load_study("porian2024-rw-2-lastlayer"), one)
    back = reflop(reflop(study, other), one)
    assert back.flops == study.flops == one
    assert back.runs["flops"].to_numpy() == pytest.approx(study.runs["flops"].to_numpy(), rel=1e-12)
    others = study.table.columns.drop("flops")
    pd.testing.assert_frame_equal(back.table[others], study.table[others])


@pytest.mark.parametrize("counting", [*COUNTINGS, 0.5])
@pytest.mark.parametrize("flops", ["6ND", "6ND:0.5", "kaplan"])
def test_budgets_lead_back_in_any_counting_of_n(counting, flops):
    study = recount(load_study("hoffmann2022-epoch"), counting)
    back = reflop(reflop(study, flops), study.flops)
    assert back.runs["flops"].to_numpy() == pytest.approx(study.runs["flops"].to_numpy(), rel=1e-12)


def test_restated_budgets_are_those_of_the_shapes():
    # porian2024, step 2: C = 6 (body + V d) D; the others as published, per token over 6
    study = load_study("porian2024-rw-2-lastlayer")
    runs = study.runs
    context = 2048 * runs["d_model"] * runs["n_layers"]
    blocks = 12 * runs["n_layers"] * runs["d_model"] ** 2
    expected = {
        "kaplan": runs["body"],
        "6ND:total": runs["body"] + runs["embedding"],
        "porian-attention": runs["body"] + runs["head"] + context,
        "deepseek": blocks + 2 * context,
    }
    for flops, parameters in expected.items():
        C = reflop(study, flops).runs["flops"]
        assert C.to_numpy() == pytest.approx((6 * parameters * runs["D"]).to_numpy(), rel=1e-9)


def test_a_budget_of_n_is_that_of_the_count_it_was_reported_in():
    study = load_study("hoffmann2022-epoch")
    kept = recount(study, "body")
    moved = reflop(kept, "6ND").runs
    assert kept.runs["flops"].equals(study.runs["flops"])
    assert moved["flops"].to_numpy() == pytest.approx(
        (6 * moved["N"] * moved["D"]).to_numpy(), rel=1e-6
    )


def test_budgets_that_were_not_reported_follow_from_shapes_and_tokens():
    study = reflop(load_study("muennighoff2023-oneepoch"), "kaplan")
    runs = study.runs
    assert np.array_equal(runs["flops"], 6.0 * runs["body"] * runs["D"])
    assert study.table["flops"].isna().equals(study.table["body"].isna())


@pytest.mark.parametrize("counting", ["body", "body+head", "total", 0.5])
def test_a_recounted_study_is_replayed_with_its_own_tokens(counting):
    law = {"E": 1.8, "A": 482.0, "B": 2085.0, "alpha": 0.35, "beta": 0.37, "omega": 1.0}
    study = recount(load_study("hoffmann2022-epoch"), counting)
    design = study_design(study)
    table = losses(law, design)
    tokens = table["D"].transpose("size", "compute").values[design.present.values]
    assert np.sort(tokens) == pytest.approx(np.sort(study.runs["D"]), rel=1e-3)


def test_a_study_without_shapes_says_what_its_budgets_lack():
    study = load_study("li2025-steplaw")
    said = r"li2025-steplaw: C is .*; to express it as '6ND:total', \['embedding'\] must be known"
    with pytest.raises(CountingError, match=said):
        reflop(study, "6ND:total")
    with pytest.raises(CountingError, match="'7ND' is not a FLOP convention"):
        reflop(load_study("hoffmann2022-epoch"), "7ND")


def sweep_with_budgets(factor=1.0, **more):
    N, D = np.repeat([1e8, 3e8, 1e9], 4), np.tile([2e9, 4e9, 8e9, 16e9], 3)
    loss = 2 + 300 / N**0.3 + 900 / D**0.3
    table = pd.DataFrame({"N": N, "D": D, "loss": loss, "flops": factor * 6 * N * D})
    table = table.assign(body=0.9 * N, head=0.1 * N, embedding=0.1 * N)
    return read_runs(table, counting="total", name="mine", **more)


def test_attention_needs_a_context_length_and_widths():
    with pytest.raises(CountingError, match=r"mine: C is '6ND'.*\['d_model', 'n_layers'\] must"):
        reflop(sweep_with_budgets(), "deepseek")


def test_what_a_sweep_s_budgets_count_is_said_or_recognised():
    recognised = sweep_with_budgets()
    assert recognised.flops == "6ND"
    assert any("flops assumed to count 6 N D" in note for note in recognised.assumed)
    said = sweep_with_budgets(0.9, flops="6ND:body")
    assert said.flops == "6ND:body"
    assert not any("flops" in note for note in said.assumed)
    law = dict.fromkeys(("A", "B", "alpha", "beta", "omega"), 1.0)
    table = losses(law, study_design(said))
    tokens = np.unique(table["D"].where(table["loss"].notnull()).values.round())
    assert tokens[:4] == pytest.approx([2e9, 4e9, 8e9, 16e9])


def test_a_sweep_s_budgets_of_no_known_kind_are_refused_by_designs_and_may_be_counted_anew():
    study = sweep_with_budgets(1.2)
    assert study.flops == ""
    with pytest.raises(CountingError, match="mine: what its budgets count is not said; a design"):
        study_design(study)
    assert study_design(reflop(study, "6ND")).flops == "6ND"


def test_a_convention_that_is_unknown_or_of_no_budgets_is_refused():
    with pytest.raises(StudyError, match="'7ND' is not a FLOP convention"):
        sweep_with_budgets(flops="7ND")
    N = np.geomspace(1e8, 1e9, 9)
    table = pd.DataFrame({"N": N, "D": 2e10, "loss": 2 + 300 / N**0.3})
    with pytest.raises(StudyError, match="says what the column flops counts, and there is none"):
        read_runs(table, counting="total", flops="6ND")
