"""Windows at their limits, what a fresh study says of itself, and what a user's table is told."""

import numpy as np
import pandas as pd
import pytest

from scalebayes.errors import StudyError
from scalebayes.laws import chinchilla
from scalebayes.studies import RUN_COLUMNS, load_study, read_runs, studies

CEREBRAS = "dey2023-cerebras-sp"
# Seven models of 20 tokens per parameter: Dey et al. (2023), arXiv:2304.03208.
SIZES = {"111M": 111e6, "256M": 256e6, "590M": 590e6, "1.3B": 1.3e9, "2.7B": 2.7e9, "6.7B": 6.7e9}
SIZES |= {"13B": 13e9}
EPOCH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
TOTAL = "N is total, as reported"


def used(window):
    """Names of the sizes of Cerebras-GPT that a window uses, smallest first."""
    runs = load_study(CEREBRAS, window=window).runs.sort_values("N")
    return [name.removesuffix("-sp") for name in runs["run"]]


# Windows


@pytest.mark.parametrize(
    ("window", "kept"),
    [
        ({"min_parameters": 1.3e9}, ["1.3B", "2.7B", "6.7B", "13B"]),
        ({"max_parameters": 590e6}, ["111M", "256M", "590M"]),
        ({"min_tokens": 53e9}, ["2.7B", "6.7B", "13B"]),
        ({"max_tokens": 5.12e9}, ["111M", "256M"]),
        ({"min_tokens_per_parameter": 20.0}, ["111M", "256M", "590M", "1.3B"]),  # 1.3B: 20.2
        ({"max_tokens_per_parameter": 20.0}, [name for name in SIZES if name != "1.3B"]),
        ({"min_tokens_per_parameter": 0.5}, list(SIZES)),
        ({"min_tokens": np.float64(1e9), "max_tokens": 10**10}, ["111M", "256M"]),
    ],
)
def test_a_limit_keeps_the_runs_that_are_at_it(window, kept):
    assert used(window) == kept


@pytest.mark.parametrize(
    ("window", "reason"),
    [
        ({"min_parameters": 5e9}, "N is below 5e+09"),
        ({"max_parameters": 5e9}, "N is above 5e+09"),
        ({"min_tokens": 5e9}, "D is below 5e+09"),
        ({"max_tokens": 5e9}, "D is above 5e+09"),
        ({"min_tokens_per_parameter": 20}, "D/N is below 20"),
        ({"max_tokens_per_parameter": 20}, "D/N is above 20"),
    ],
)
def test_a_run_beyond_a_limit_is_left_out_with_the_side_it_is_on(window, reason):
    assert set(load_study(CEREBRAS, window=window).left_out) == {reason}


FLAGS = "flagged rows left out"
BEST = "best hyper-parameters only"


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ("none", "all rows"),
        ({}, f"{FLAGS}; {BEST}"),
        ({"outliers": True}, BEST),
        ({"best_hparams_only": False}, FLAGS),
        ({"outliers": True, "best_hparams_only": False}, "all rows"),
        ({"known_shapes_only": True}, f"{FLAGS}; {BEST}; known shapes only"),
        ({"min_tokens": 5e9}, f"D at least 5e+09; {FLAGS}; {BEST}"),
        ({"max_parameters": 5e9}, f"N at most 5e+09; {TOTAL}; {FLAGS}; {BEST}"),
        (
            {"max_tokens_per_parameter": 20, "min_tokens": 1e8},
            f"D at least 1e+08; D/N at most 20; {TOTAL}; {FLAGS}; {BEST}",
        ),
    ],
)
def test_a_changed_window_is_told_in_words(window, words):
    assert load_study(CEREBRAS, window=window).window == f"{words} (changed by the user)"


def test_a_studys_own_window_is_told_with_its_reason():
    assert load_study(CEREBRAS).window == f"{FLAGS}; {BEST}. No row is flagged."
    assert load_study("porian2024-rw-4a-cosine-attention").window == (
        "D at least 1.5e+08; D/N at least 2; N is body+head, reported: body+head+attention; "
        f"{FLAGS}; {BEST}. Earlier checkpoints are still in warm-up and lie on no additive "
        "surface; N leaves out the attention that the step counts."
    )


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ("all", "window is 'all'"),
        ({"tokens": 1e9}, "window has the unknown key 'tokens'"),
        ({"min_tokens": 0}, "window 'min_tokens' is 0; it must be a positive number or None"),
        ({"max_tokens": True}, "window 'max_tokens' is True; it must be a positive number"),
        ({"outliers": None}, "window 'outliers' is None; it must be True or False"),
    ],
)
def test_a_refused_window_names_the_study(window, said):
    with pytest.raises(StudyError, match=rf"^(SB\d+: )?{CEREBRAS}: {said}"):
        load_study(CEREBRAS, window=window)


# What a bundled study says of itself, read afresh


def test_the_published_exponents_of_a_study_are_one_flat_mapping():
    """Hoffmann et al. (2022), table 2; Besiroglu et al. (2024), text after table 1."""
    besiroglu = {
        **{"exponent": 0.5126, "exponent_low": None, "exponent_high": None, "exponent_se": 0.018},
        **{"level": None, "c_min": 1.4e18, "c_max": 1.3e22, "counting": "total", "flops": "6ND"},
        "method": "parametric, Huber 1e-3 on log loss, 240 pts, 4000 bootstraps",
        "citation": "Besiroglu et al. 2024 arXiv:2404.10102, text after Table 1",
    }
    hoffmann = {
        **{"exponent": 0.46, "exponent_low": 0.454, "exponent_high": 0.455, "exponent_se": None},
        **{"level": 0.8, "c_min": 6e18, "c_max": 3e21, "counting": "total", "flops": "6ND"},
        "method": "approach 3 (parametric)",
        "citation": "Hoffmann et al. 2022 arXiv:2203.15556, Table 2",
    }
    assert load_study("hoffmann2022-epoch").published == {
        **{f"parametric_{key}": value for key, value in besiroglu.items()},
        **{f"original_parametric_{key}": value for key, value in hoffmann.items()},
    }


def test_a_study_without_published_exponents_has_none():
    assert load_study(CEREBRAS).published == {}


def test_a_bundled_study_says_where_it_comes_from():
    study = load_study("dey2023-cerebras-mup")
    assert (study.name, study.source, study.assumed) == ("dey2023-cerebras-mup", "bundled", ())
    assert (study.group, study.shared_runs) == ("cerebras", "")
    own, of_source = study.known_problems[-1], study.known_problems[0]
    assert own == "FLOPs are those printed for the standard models of the same size."
    assert of_source.startswith("One ray in (N, D), 20 tokens per parameter")
    assert len(study.known_problems) == 4
    assert len(load_study(CEREBRAS).known_problems) == 3


def test_columns_that_no_table_stores_follow_from_the_study():
    runs = load_study(CEREBRAS).runs
    assert (runs["vocab_size"] == 50257).all()
    assert (runs["trajectory"] == runs["run"]).all()
    assert (runs["unique_tokens"] == runs["D"]).all()
    assert runs["loss_se"].isna().all()
    assert all(runs[name].dtype == float for name in RUN_COLUMNS[2:])


def test_unique_tokens_and_trajectories_that_are_stored_are_kept():
    repeated = load_study("muennighoff2023-repeated").runs
    assert (repeated["unique_tokens"] < repeated["D"]).all()
    checkpoints = load_study("porian2024-rw-1-kaplan").runs
    assert checkpoints["trajectory"].nunique() < checkpoints["run"].nunique()


def test_the_list_of_studies_begins_with_whether_a_study_is_a_default():
    listed = studies()
    assert list(listed.columns[:3]) == ["default", "group", "shared_runs"]
    assert listed.index.name == "study"


def test_a_name_like_no_other_is_refused_without_a_guess():
    with pytest.raises(StudyError, match=r"^no bundled study 'zzz'\. Bundled: \['hoffmann2022"):
        load_study("zzz")


# A user's table


def sweep(**columns):
    """Twelve runs on a grid, without noise."""
    N, D = (grid.ravel() for grid in np.meshgrid([1e8, 1e9, 1e10], [2e9, 8e9, 3e10, 1e11]))
    frame = pd.DataFrame({"N": N, "D": D, "loss": chinchilla(N, D, **EPOCH)})
    return frame.assign(**{key: value(frame) for key, value in columns.items()})


def test_what_is_not_said_of_a_users_runs_is_empty():
    study = read_runs(sweep())
    assert (study.name, study.source) == ("runs", "DataFrame")
    assert (study.tokenizer, study.corpus, study.flops, study.group) == ("", "", "", "")
    assert (study.vocab_size, study.tied, study.context_length) == (None, None, None)
    assert study.learned_positions is False
    assert study.counting == "unknown"
    assert study.window == "all rows of the table that have N, D and loss"
    assert study.published == {}


def test_what_is_said_of_a_users_runs_is_kept():
    said = {"tokenizer": "gpt2", "corpus": "pile", "counting": "body", "name": "ladder"}
    said |= {"vocab_size": 50257.0, "context_length": 2048.0, "tied": True}
    study = read_runs(sweep(), **said, learned_positions=True)
    assert {key: getattr(study, key) for key in said} == said
    assert study.learned_positions is True


def test_a_tokenizer_that_is_said_is_not_lost_beside_one_in_the_table():
    frame = sweep(tokenizer=lambda frame: ["gpt2"] * len(frame))
    assert read_runs(frame).tokenizer == "gpt2"
    assert read_runs(frame, tokenizer="gpt2").tokenizer == "gpt2"


def test_runs_of_several_vocabularies_have_no_common_one_whatever_is_said():
    several = sweep(vocab_size=lambda frame: np.where(frame["N"] > 1e9, 50257.0, 32000.0))
    assert read_runs(several, vocab_size=32000).vocab_size is None
    partly = several.assign(vocab_size=several["vocab_size"].mask(several["N"] > 1e9))
    assert read_runs(partly, vocab_size=32000).vocab_size is None
    assert read_runs(sweep(), vocab_size=32000).vocab_size == 32000


def test_budgets_are_six_nd_where_they_are_and_what_is_said_otherwise():
    frame = sweep(flops=lambda frame: 6 * frame["N"] * frame["D"])
    study = read_runs(frame)
    assert study.flops == "6ND"
    assert any("flops assumed to count 6 N D" in text for text in study.assumed)
    exact = read_runs(frame, flops="exact")
    assert exact.flops == "exact"
    assert not any("flops" in text for text in exact.assumed)


def test_everything_that_was_assumed_is_recorded():
    frame = sweep(flops=lambda frame: 7 * frame["N"] * frame["D"])
    *of_units, of_flops = read_runs(frame).assumed
    assert [text.partition(": ")[2] for text in of_units] == [
        "N assumed to be in parameters",
        "D assumed to be in tokens",
        "loss assumed to be in nats per token",
    ]
    assert "what flops count was not said" in of_flops
    said = read_runs(frame, units={"N": 1, "D": 1, "loss": "nats"}, flops="exact")
    assert said.assumed == ()


def test_an_unknown_flop_convention_is_refused_with_the_tables_name(tmp_path):
    path = tmp_path / "ladder.csv"
    sweep().to_csv(path, index=False)
    with pytest.raises(StudyError, match=r"ladder\.csv: flops: '7ND' is not a FLOP convention"):
        read_runs(path, flops="7ND")


def test_incomplete_and_repeated_rows_are_refused_unless_that_is_allowed():
    frame = sweep()
    missing = frame.assign(loss=frame["loss"].mask(frame.index == 3))
    with pytest.raises(StudyError, match="missing value"):
        read_runs(missing)
    assert read_runs(missing, drop_missing=True).n_used == 11
    twice = pd.concat([frame, frame.iloc[:1]], ignore_index=True)
    with pytest.raises(StudyError, match="row 12"):
        read_runs(twice)
    assert read_runs(twice, dedupe=True).n_used == 12


def test_seven_runs_are_too_few_unless_that_is_allowed():
    with pytest.raises(StudyError, match="7"):
        read_runs(sweep().iloc[:7])
    assert read_runs(sweep().iloc[:7], prior_dominated_ok=True).n_used == 7


def test_names_and_units_of_a_users_table_are_mapped():
    frame = sweep().rename(columns={"N": "params", "loss": "bits"})
    frame = frame.assign(params=frame["params"] / 1e6, bits=frame["bits"] / np.log(2))
    study = read_runs(
        frame, columns={"N": "params", "loss": "bits"}, units={"N": "M", "loss": "bits"}
    )
    np.testing.assert_allclose(study.runs["N"], sweep()["N"])
    np.testing.assert_allclose(study.runs["loss"], sweep()["loss"])


@pytest.mark.parametrize(
    ("rows", "n_used", "words"),
    [
        ("every", 24, "all rows of the table that have N, D and loss"),
        ("last", 12, "the last step with a loss of every run that has N and D"),
        ("checkpoints", 24, "every step that has N, D and loss"),
    ],
)
def test_the_rows_that_are_used_are_told_in_words(rows, n_used, words):
    frame = sweep(run=lambda frame: [f"r{i}" for i in range(len(frame))]).assign(step=2)
    earlier = frame.assign(step=1, D=frame["D"] / 2, loss=frame["loss"] + 0.1)
    frame = pd.concat([earlier, frame], ignore_index=True)
    if rows == "every":
        frame = frame.drop(columns=["run", "step"])
    study = read_runs(frame, rows=rows)
    assert (study.n_used, study.window) == (n_used, words)
