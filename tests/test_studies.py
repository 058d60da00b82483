"""The bundled studies: what is used, what is known and what was published of them."""

import dataclasses
import itertools
import json
from importlib import resources

import numpy as np
import pandas as pd
import pytest

from scalebayes.errors import StudyError
from scalebayes.listing import LISTED, listed_studies
from scalebayes.studies import DEFAULT_STUDIES, RUN_COLUMNS, load_study, read_runs, studies

ROWS_USED = {  # used, in all; under the default windows
    "hoffmann2022-epoch": (240, 245),
    "porian2024-rw-1-kaplan": (69, 107),
    "porian2024-rw-3-warmup": (83, 132),
    "porian2024-rw-4-cosine": (65, 88),
    "porian2024-rw-5-tuned": (81, 121),
    "porian2024-owt2-1-kaplan": (75, 113),
    "porian2024-owt2-3-warmup": (91, 132),
    "porian2024-owt2-4-cosine": (65, 88),
    "porian2024-owt2-5-tuned": (76, 116),
    "li2025-misfitting": (51, 261),
    "marin2026-comma": (85, 92),
    "marin2026-dclm": (84, 85),
    "muennighoff2023-oneepoch": (37, 41),
    "mcleish2025-gemstones-cooldown": (199, 199),
    "porian2024-rw-1t-kaplan-tuned": (68, 104),
    "porian2024-rw-2-lastlayer": (83, 131),
    "porian2024-rw-2a-lastlayer-attention": (83, 126),
    "porian2024-rw-3a-warmup-attention": (83, 126),
    "porian2024-rw-4a-cosine-attention": (63, 106),
    "porian2024-rw-5a-tuned-attention": (80, 123),
    "porian2024-owt2-2-lastlayer": (91, 132),
    "muennighoff2023-repeated": (239, 252),
    "mcleish2025-gemstones-stable": (769, 770),
    "mcleish2025-gemstones-halflr": (200, 200),
    "dey2023-cerebras-sp": (7, 7),
    "dey2023-cerebras-mup": (5, 5),
    "li2025-steplaw": (17, 1911),
}
BUNDLED = tuple(ROWS_USED)
SHAPED = tuple(name for name in BUNDLED if name != "li2025-steplaw")
ATTENTION = tuple(name for name in BUNDLED if name.endswith("-attention"))

# Of the source tables: physical runs, flagged rows, and rows that are neither flagged nor beaten by
# another learning rate or batch size; before any range of D or D/N.
PHYSICAL_FLAGGED_USABLE = {
    "dey2023-cerebras-mup": (5, 0, 5),
    "dey2023-cerebras-sp": (7, 0, 7),
    "hoffmann2022-epoch": (245, 5, 240),
    "li2025-misfitting": (240, 21, 81),
    "li2025-steplaw": (1911, 441, 17),
    "marin2026-comma": (92, 7, 85),
    "marin2026-dclm": (85, 1, 84),
    "mcleish2025-gemstones-cooldown": (199, 0, 199),
    "mcleish2025-gemstones-halflr": (20, 0, 200),
    "mcleish2025-gemstones-stable": (22, 1, 769),
    "muennighoff2023-oneepoch": (41, 3, 38),
    "muennighoff2023-repeated": (252, 0, 252),
    "porian2024-owt2-1-kaplan": (16, 0, 113),
    "porian2024-owt2-2-lastlayer": (16, 0, 132),
    "porian2024-owt2-3-warmup": (16, 0, 132),
    "porian2024-owt2-4-cosine": (88, 0, 88),
    "porian2024-owt2-5-tuned": (16, 0, 116),
    "porian2024-rw-1-kaplan": (16, 0, 107),
    "porian2024-rw-1t-kaplan-tuned": (15, 0, 104),
    "porian2024-rw-2-lastlayer": (16, 0, 131),
    "porian2024-rw-2a-lastlayer-attention": (16, 0, 126),
    "porian2024-rw-3-warmup": (16, 0, 132),
    "porian2024-rw-3a-warmup-attention": (16, 0, 126),
    "porian2024-rw-4-cosine": (88, 0, 88),
    "porian2024-rw-4a-cosine-attention": (93, 20, 86),
    "porian2024-rw-5-tuned": (16, 0, 121),
    "porian2024-rw-5a-tuned-attention": (16, 0, 123),
}

SHARED_RUNS = {
    "porian-rw-1": {
        *("porian2024-rw-1-kaplan", "porian2024-rw-2-lastlayer"),
        "porian2024-rw-2a-lastlayer-attention",
    },
    "porian-rw-3": {"porian2024-rw-3-warmup", "porian2024-rw-3a-warmup-attention"},
    "porian-rw-4": {"porian2024-rw-4-cosine", "porian2024-rw-4a-cosine-attention"},
    "porian-rw-5": {"porian2024-rw-5-tuned", "porian2024-rw-5a-tuned-attention"},
    "porian-owt2-1": {"porian2024-owt2-1-kaplan", "porian2024-owt2-2-lastlayer"},
    "porian-owt2-3": {"porian2024-owt2-3-warmup"},
    "porian-owt2-4": {"porian2024-owt2-4-cosine"},
    "porian-owt2-5": {"porian2024-owt2-5-tuned"},
    "gemstones": {"mcleish2025-gemstones-cooldown", "mcleish2025-gemstones-stable"},
}

NO_RANGES = {"min_tokens": None, "min_tokens_per_parameter": None, "known_shapes_only": False}


@pytest.fixture(scope="module")
def bundled():
    return {name: load_study(name) for name in BUNDLED}


@pytest.fixture(scope="module")
def listed():
    return studies()


@pytest.fixture(scope="module")
def default(bundled):
    return {name: bundled[name] for name in DEFAULT_STUDIES}


def test_fourteen_studies_are_reconciled_by_default(listed):
    assert len(set(DEFAULT_STUDIES)) == 14
    assert set(listed.index[listed["default"]]) == set(DEFAULT_STUDIES)
    assert listed["default"].dtype == bool


def test_every_bundled_study_is_listed_with_its_rows(listed):
    assert set(listed.index) == set(BUNDLED)
    assert {name: (row.n_used, row.n_rows) for name, row in listed.iterrows()} == ROWS_USED


@pytest.mark.parametrize("name", BUNDLED)
def test_the_default_window_uses_these_rows(bundled, name):
    assert (bundled[name].n_used, bundled[name].n_rows) == ROWS_USED[name]


@pytest.mark.parametrize("name", BUNDLED)
def test_physical_runs_flagged_and_usable_rows_are_those_of_the_source(name):
    usable = load_study(name, window=NO_RANGES)
    unflagged = load_study(name, window=NO_RANGES | {"best_hparams_only": False})
    flagged = unflagged.n_rows - unflagged.n_used
    found = (usable.table["trajectory"].nunique(), flagged, usable.n_used)
    assert found == PHYSICAL_FLAGGED_USABLE[name]


@pytest.mark.parametrize("name", BUNDLED)
def test_the_window_none_uses_every_row(name):
    study = load_study(name, window="none")
    assert study.n_used == study.n_rows == ROWS_USED[name][1]


@pytest.mark.parametrize("name", BUNDLED)
def test_every_row_left_out_has_its_reason(bundled, name):
    study = bundled[name]
    assert sum(study.left_out.values()) == study.n_rows - study.n_used
    assert study.table.columns[-1] == "left_out"


@pytest.mark.parametrize("name", BUNDLED)
def test_runs_have_the_documented_columns_and_nothing_impossible(bundled, name):
    runs = bundled[name].runs
    assert tuple(runs.columns) == RUN_COLUMNS
    assert runs["run"].is_unique
    assert np.isfinite(runs[["N", "D", "loss"]]).all(axis=None)
    assert (runs[["N", "D", "loss"]] > 0).all(axis=None)


@pytest.mark.parametrize("name", SHAPED)
def test_the_reported_count_is_what_the_study_says_it_is(bundled, name):
    study = bundled[name]
    runs = study.runs
    count = {
        "body": runs["body"],
        "body+head": runs["body"] + runs["head"],
        "total": runs["body"] + runs["embedding"],
    }[study.counting]
    # sizes of models' names are rounded (Muennighoff, .3%; Cerebras, 2%), others read off a figure
    tolerance = 0.02 if "cerebras" in name else 4e-3
    assert runs["N"].to_numpy() == pytest.approx(count.to_numpy(), rel=tolerance)


@pytest.mark.parametrize("name", SHAPED)
def test_stored_matrices_are_one_if_tied_else_two_and_learned_positions(bundled, name):
    study = bundled[name]
    positions = study.context_length / study.vocab_size if study.learned_positions else 0
    weight = (study.runs["embedding"] / study.runs["head"]).to_numpy()
    assert weight == pytest.approx((1 if study.tied else 2) + positions)


@pytest.mark.parametrize("name", SHAPED)
def test_the_head_is_vocabulary_times_width(bundled, name):
    runs = bundled[name].runs
    assert runs["head"].to_numpy() == pytest.approx(
        (runs["vocab_size"] * runs["d_model"]).to_numpy()
    )


@pytest.mark.parametrize("name", DEFAULT_STUDIES)
def test_every_default_study_has_shapes_and_a_family(bundled, name):
    assert bundled[name].has_shapes
    assert 20 < bundled[name].architecture.aspect_ratio < 200
    assert 11 < bundled[name].architecture.body_coefficient < 17


@pytest.mark.parametrize("name", DEFAULT_STUDIES)
def test_no_default_study_has_a_fixed_ratio_of_tokens_to_parameters(bundled, name):
    assert bundled[name].design_warnings == ()


def test_no_two_default_studies_share_runs(default):
    shared = [study.shared_runs for study in default.values() if study.shared_runs]
    assert len(shared) == len(set(shared)) == 9


def test_studies_made_from_the_same_runs_name_one_set(listed):
    sets = listed.groupby("shared_runs").groups
    assert {name: set(sets[name]) for name in sets if name} == SHARED_RUNS


@pytest.mark.parametrize("source", ["porian2024-rw", "porian2024-owt2", "mcleish2025"])
def test_no_study_has_a_physical_run_of_one_outside_its_set(bundled, source):
    runs = {
        study: set(study.table["trajectory"])
        for name, study in bundled.items()
        if name.startswith(source)
    }
    for one, other in itertools.combinations(runs, 2):
        same_set = one.shared_runs != "" and one.shared_runs == other.shared_runs
        assert same_set or not runs[one] & runs[other]


def test_studies_of_one_code_base_and_corpus_form_a_group(default):
    groups = pd.Series({name: study.group for name, study in default.items()}).value_counts()
    assert groups[["porian-rw", "porian-owt2", "marin"]].tolist() == [4, 4, 2]
    assert len(groups) == 7


def test_a_study_outside_the_default_set_has_the_group_of_its_code_base(listed):
    groups = {"porian-rw", "porian-owt2", "gemstones", "muennighoff", "cerebras", "li2025-steplaw"}
    assert set(listed["group"][~listed["default"]]) == groups


@pytest.mark.parametrize("name", ATTENTION)
def test_porians_count_with_attention_is_body_and_head_here(bundled, name):
    study = bundled[name]
    runs = study.runs
    assert study.counting == "body+head"
    assert (runs["N"] == runs["body"] + runs["head"]).all()
    own = runs["N"] + study.context_length * runs["d_model"] * runs["n_layers"]
    assert (6 * own * runs["D"]).to_numpy() == pytest.approx(runs["flops"].to_numpy(), rel=1e-8)
    assert study.flops == "porian-attention"
    assert "N is body+head, reported: body+head+attention" in study.window
    assert any("attention" in problem for problem in study.known_problems)
    assert "frontier_exponent" not in study.published  # it would be one of another N
    assert study.published["attention_frontier_counting"] == "body+head+attention"


@pytest.mark.parametrize("name", ["dey2023-cerebras-sp", "dey2023-cerebras-mup"])
def test_one_ray_of_runs_is_warned_of(bundled, name):
    (warning,) = bundled[name].design_warnings
    assert "exponents not identified: D/N is (nearly) fixed" in warning


def test_repeated_data_are_counted_once_and_warned_of(bundled):
    study = bundled["muennighoff2023-repeated"]
    assert (study.runs["unique_tokens"] < study.runs["D"]).all()
    assert any("saw their data more than 4 times" in text for text in study.design_warnings)
    assert any("Not a surface in (N, D)" in text for text in study.known_problems)


def test_step_law_is_one_run_a_setting_and_only_its_body_is_known(bundled):
    study = bundled["li2025-steplaw"]
    runs = study.runs
    assert not runs.duplicated(["N", "D"]).any()
    assert (runs["N"] == runs["body"]).all()
    assert runs[["head", "embedding", "vocab_size"]].isna().all(axis=None)
    assert (study.vocab_size, study.tied, study.architecture) == (None, None, None)
    assert study.counting == "body"


def test_the_checkpoint_in_a_spike_is_left_out(bundled):
    study = bundled["mcleish2025-gemstones-stable"]
    assert study.table["run"][study.table["left_out"] != ""].tolist() == ["1024x28-step28620"]


def test_the_packages_tables_stay_small():
    folder = resources.files("scalebayes") / "data"
    assert sum(len(file.read_bytes()) for file in folder.iterdir()) < 1.3e6


def test_chinchillas_five_highest_losses_are_left_out():
    study = load_study("hoffmann2022-epoch")
    assert study.rows_note == (
        "240 of 245 rows used; left out: 5 because one of the five highest losses, dropped by "
        "Besiroglu et al. 2024"
    )
    left_out = study.table["left_out"] != ""
    assert study.table["loss"][left_out].min() > study.runs["loss"].max()


def test_a_study_with_every_row_used_says_only_that():
    assert load_study("mcleish2025-gemstones-cooldown").rows_note == "199 of 199 rows used"


def test_porians_window_holds_in_the_count_of_each_step(bundled):
    runs = bundled["porian2024-rw-1-kaplan"].runs
    assert (runs["D"] / runs["body"]).min() >= 2
    assert runs["D"].min() >= 1.5e8
    assert "N is body, as reported" in bundled["porian2024-rw-1-kaplan"].window


def test_muennighoffs_run_of_unknown_shape_is_left_out():
    assert "the shape is unknown, so only the total is known" in (
        load_study("muennighoff2023-oneepoch").left_out
    )


def test_a_limit_of_the_window_can_be_changed_alone():
    study = load_study("li2025-misfitting", window={"min_tokens": 2e9})
    assert study.runs["D"].min() >= 2e9
    assert study.n_used < 51
    assert "D at least 2e+09" in study.window
    assert study.window.endswith("(changed by the user)")


def test_outliers_and_other_learning_rates_can_be_taken_in():
    keep_all = {"min_tokens": None, "outliers": True, "best_hparams_only": False}
    assert load_study("li2025-misfitting", window=keep_all).n_used == 261
    assert load_study("hoffmann2022-epoch", window={"outliers": True}).n_used == 245


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ("all", "allowed: 'default', 'none', or a mapping"),
        ({"tokens": 1e9}, r"window has the unknown key 'tokens'; allowed: \['best_hparams_only'"),
        ({"min_tokens": -1}, "window 'min_tokens' is -1; it must be a positive number or None"),
        ({"outliers": 1}, "window 'outliers' is 1; it must be True or False"),
        ({"min_tokens": 1e20}, "leaves none of 245 rows"),
    ],
)
def test_a_window_that_means_nothing_is_refused(window, said):
    with pytest.raises(StudyError, match=said):
        load_study("hoffmann2022-epoch", window=window)


def test_an_unknown_study_is_named_with_the_nearest():
    with pytest.raises(StudyError, match=r"'hoffmann2022'.*Did you mean 'hoffmann2022-epoch'"):
        load_study("hoffmann2022")


def test_a_study_loads_as_itself(bundled):
    study = bundled["marin2026-dclm"]
    assert load_study(study) is study
    with pytest.raises(StudyError, match="a window needs the name of a bundled study"):
        load_study(study, window="none")


@pytest.mark.parametrize(
    ("name", "exponent", "low", "high"),
    [  # Porian et al. (2024), Table 1 and released summaries
        ("porian2024-rw-1-kaplan", 0.8353, 0.8235, 0.846),
        ("porian2024-rw-3-warmup", 0.602, 0.5914, 0.6173),
        ("porian2024-rw-4-cosine", 0.5715, 0.5598, 0.5885),
        ("porian2024-rw-5-tuned", 0.4969, 0.4907, 0.5045),
        ("porian2024-owt2-1-kaplan", 0.8635, 0.8186, 0.8974),
        ("porian2024-owt2-3-warmup", 0.6032, 0.5702, 0.6287),
        ("porian2024-owt2-4-cosine", 0.5743, 0.5423, 0.6056),
        ("porian2024-owt2-5-tuned", 0.5185, 0.4931, 0.5414),
    ],
)
def test_porians_published_frontier_exponents_are_with_their_runs(
    bundled, name, exponent, low, high
):
    published = bundled[name].published
    assert published["frontier_exponent"] == exponent
    assert (published["frontier_exponent_low"], published["frontier_exponent_high"]) == (low, high)
    assert published["frontier_level"] == 0.95
    assert published["frontier_counting"] == bundled[name].counting
    assert published["frontier_flops"] == bundled[name].flops
    assert published["frontier_c_min"] == 1.25e16


@pytest.mark.parametrize(
    ("name", "exponent"),
    [  # Porian et al. (2024), Table 1 and Appendix H; McLeish et al. (2025), released fits
        ("porian2024-rw-1t-kaplan-tuned", 0.7115),
        ("porian2024-rw-2-lastlayer", 0.7065),
        ("porian2024-owt2-2-lastlayer", 0.6985),
        ("mcleish2025-gemstones-stable", 0.4579),
        ("mcleish2025-gemstones-halflr", 0.5131),
    ],
)
def test_other_published_frontiers_are_with_their_runs_too(bundled, name, exponent):
    published = bundled[name].published
    assert published["frontier_exponent"] == exponent
    assert published["frontier_counting"] == bundled[name].counting


def test_gemstones_have_a_published_frontier_in_two_countings(bundled):
    published = bundled["mcleish2025-gemstones-cooldown"].published
    assert published["frontier_exponent"] == 0.597  # cooldowns, total
    assert published["frontier_body_exponent"] == 0.7242
    assert published["stable_frontier_exponent"] == 0.4994  # constant rate, up to 1e11 tokens
    assert published["stable_frontier_body_exponent"] == 0.6269


def test_the_parametric_exponents_of_chinchilla_are_not_called_a_frontier(bundled):
    published = bundled["hoffmann2022-epoch"].published
    assert published["parametric_exponent"] == 0.5126  # Besiroglu et al. (2024)
    assert published["original_parametric_exponent"] == 0.46
    assert "frontier_exponent" not in published


@pytest.mark.parametrize("name", BUNDLED)
def test_what_is_true_of_a_study_is_stated(bundled, name):
    study = bundled[name]
    assert study.loss_unit == "nats"
    for text in ("tokenizer", "corpus", "loss_kind", "group", "citation", "licence", "window"):
        assert getattr(study, text)
    assert study.known_problems
    assert set(study.recipe) == {"warmup", "schedule", "tuning"}
    assert study.recipe["warmup"] in ("long", "short", "unknown")
    assert study.recipe["schedule"] in ("matched", "not matched", "constant")
    assert study.recipe["tuning"] in ("tuned", "rule", "not tuned")


@pytest.mark.parametrize("name", BUNDLED)
def test_a_record_is_plain_json_without_nan(bundled, name):
    record = bundled[name].record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["n_used"] == ROWS_USED[name][0]


@pytest.mark.parametrize("name", BUNDLED)
def test_the_sources_file_names_every_study_with_its_licence(bundled, name):
    text = (resources.files("scalebayes") / "data" / "SOURCES.md").read_text("utf-8")
    (section,) = [part for part in text.split("\n## ") if name in part]
    licence = section.partition("- Licence:")[2].partition("\n- ")[0]
    assert bundled[name].licence.split(",")[0].split(" ")[0] in licence


def test_bundled_tables_need_nothing_outside_the_package(bundled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = resources.files("scalebayes") / "data"
    for name in BUNDLED:
        assert (folder / f"{name}.csv").is_file()
        assert load_study(name).data_hash == bundled[name].data_hash


def test_the_hash_changes_with_any_number_and_with_the_counting(bundled):
    study = bundled["marin2026-dclm"]
    table = study.table.copy()
    table.loc[0, "loss"] *= 1 + 1e-15
    assert dataclasses.replace(study, table=table).data_hash != study.data_hash
    assert dataclasses.replace(study, counting="body").data_hash != study.data_hash
    assert dataclasses.replace(study, citation="").data_hash == study.data_hash


def test_runs_are_a_copy(bundled):
    study = bundled["marin2026-dclm"]
    runs = study.runs
    runs["loss"] *= 2
    assert study.runs["loss"].max() < 5


def test_a_study_is_frozen(bundled):
    with pytest.raises(dataclasses.FrozenInstanceError):
        bundled["marin2026-dclm"].counting = "body"


def shaped(counting):
    """Return runs with widths and layers, N in a counting, tied and untied vocabulary of 1000."""
    width = np.repeat([512.0, 1024.0, 2048.0], 4)
    layers = width / 64
    body, head = 12 * layers * width**2, 1000 * width
    tokens = np.tile([1e9, 2e9, 5e9, 2e10], 3)
    loss = 2 + 400 / body**0.35 + 2000 / tokens**0.36
    count = {"body": body, "body+head": body + head, "total": body + 2 * head}[counting]
    frame = pd.DataFrame({"N": count, "D": tokens, "loss": loss, "d_model": width})
    return frame.assign(n_layers=layers), body, head


@pytest.mark.parametrize("counting", ["body", "body+head", "total"])
def test_shapes_and_counting_give_the_body(counting):
    frame, body, head = shaped(counting)
    runs = read_runs(frame, counting=counting, vocab_size=1000, tied=False).runs
    assert runs["body"].to_numpy() == pytest.approx(body)
    assert runs["head"].to_numpy() == pytest.approx(head)
    assert runs["embedding"].to_numpy() == pytest.approx(2 * head)


def test_a_users_study_has_the_architecture_of_its_shapes():
    frame, _, _ = shaped("total")
    study = read_runs(frame, counting="total", vocab_size=1000, tied=False)
    assert study.architecture.aspect_ratio == pytest.approx(64)
    assert study.architecture.body_coefficient == pytest.approx(12)


def test_learned_positions_are_part_of_the_embedding():
    frame, _, head = shaped("body")
    positions = {"context_length": 500, "learned_positions": True}
    runs = read_runs(frame, counting="body", vocab_size=1000, tied=True, **positions).runs
    assert runs["embedding"].to_numpy() == pytest.approx(1.5 * head)


def test_a_total_of_unknown_tying_gives_no_body():
    frame, _, _ = shaped("total")
    study = read_runs(frame, counting="total", vocab_size=1000)
    assert "body" not in study.runs
    assert not study.has_shapes
    assert study.architecture is None


def test_an_unknown_counting_gives_no_body():
    frame, _, _ = shaped("total")
    assert "body" not in read_runs(frame, vocab_size=1000, tied=False).runs


def test_a_vocabulary_too_large_for_the_total_is_refused():
    frame, _, _ = shaped("total")
    with pytest.raises(StudyError, match="row 0: embedding has .* vocab_size, tied"):
        read_runs(frame, counting="total", vocab_size=1e6, tied=False)


def test_a_vocabulary_column_wins_over_the_argument():
    frame, _, head = shaped("body")
    study = read_runs(frame.assign(vocab_size=1000), counting="body", vocab_size=7)
    assert study.vocab_size == 1000
    assert study.runs["head"].to_numpy() == pytest.approx(head)


def test_tokens_proportional_to_parameters_leave_the_exponents_unidentified():
    size = np.geomspace(1e8, 1e10, 10)
    frame = pd.DataFrame({"N": size, "D": 20 * size, "loss": 2 + 300 / size**0.3})
    assert "exponents not identified: D/N is" in read_runs(frame).design_warnings[0]


def test_one_model_size_leaves_the_exponents_unidentified():
    tokens = np.geomspace(1e9, 1e11, 10)
    frame = pd.DataFrame({"N": 1e9, "D": tokens, "loss": 2 + 300 / tokens**0.3})
    assert "only one model size" in read_runs(frame).design_warnings[0]


def test_many_epochs_and_unusual_sizes_are_warned_of():
    frame, _, _ = shaped("body")
    frame = frame.assign(unique_tokens=frame["D"] / 5)
    frame.loc[0, "N"] = 5e4
    warnings = read_runs(frame, counting="unknown").design_warnings
    assert any("12 runs saw their data more than 4 times" in text for text in warnings)
    assert any("1 runs have N outside" in text for text in warnings)


def test_a_users_study_is_named_after_its_file_and_is_its_own_group(tmp_path):
    path = tmp_path / "ladder.csv"
    shaped("body")[0].to_csv(path, index=False)
    study = read_runs(path)
    assert (study.name, study.group, study.source) == ("ladder", "", str(path))
    assert study.counting == "unknown"


def test_a_users_record_is_plain_json():
    study = read_runs(shaped("total")[0], counting="total", vocab_size=1000, tied=False)
    assert json.loads(json.dumps(study.record(), allow_nan=False))["n_used"] == 12


def test_the_short_list_of_studies_is_what_the_tables_say():
    listed = pd.DataFrame(listed_studies())
    table = studies().reset_index()[list(LISTED)].astype(str)
    assert listed.to_dict("records") == table.to_dict("records")
