"""A logger's export: which rows are runs, why the others are not, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from scalebayes.errors import StudyError
from scalebayes.studies import read_runs

STEPS = (0, 100, 200, 300)
COLUMNS = {"run": "run_id", "step": "_step", "N": "config/params", "loss": "eval/loss"}


def export():
    """Ten runs, four steps each; the loss is logged at steps 0, 100 and 300."""
    sizes = np.repeat(np.geomspace(1e8, 2e9, 5), 2)
    tokens = np.tile([4e9, 4e10], 5)
    rows = [
        {"run_id": f"r{i}", "_step": step, "config/params": N, "tokens": D * step / 300}
        for i, (N, D) in enumerate(zip(sizes, tokens, strict=True))
        for step in STEPS
    ]
    frame = pd.DataFrame(rows)
    reached = frame["tokens"].clip(lower=1e6)
    loss = 1.8 + 480 / frame["config/params"] ** 0.35 + 2000 / reached**0.36
    return frame.assign(**{"eval/loss": loss.mask(frame["_step"] == 200)})


def read(frame, rows="last", **options):
    columns = {**COLUMNS, "D": "tokens"} if "tokens" in frame else COLUMNS
    return read_runs(frame, **{"columns": columns, "rows": rows, **options})


def test_the_last_step_with_a_loss_of_every_run_is_the_run():
    study = read(export())
    assert study.n_used == 10
    assert list(study.runs["run"]) == [f"r{i}" for i in range(10)]
    assert set(study.runs["D"].round()) == {4e9, 4e10}


def test_every_row_that_is_not_used_is_kept_and_counted_with_its_reason():
    study = read(export())
    assert study.n_rows == 40
    assert study.left_out == {
        "no tokens seen yet": 10,
        "not the last step of its run": 10,
        "no loss at this step": 10,
    }


def test_an_earlier_step_is_taken_where_the_last_has_no_loss():
    frame = export()
    frame.loc[(frame["run_id"] == "r3") & (frame["_step"] == 300), "eval/loss"] = np.nan
    runs = read(frame).runs.set_index("run")
    assert runs.loc["r3", "D"] == pytest.approx(4e10 / 3)


def test_the_order_of_the_rows_does_not_matter():
    shuffled = export().sample(frac=1, random_state=1)
    runs = read(shuffled).runs.sort_values("run").reset_index(drop=True)
    pd.testing.assert_frame_equal(runs, read(export()).runs)


def test_checkpoints_share_the_trajectory_of_their_run():
    study = read(export(), rows="checkpoints")
    assert study.n_used == 20
    assert study.shared_trajectories == tuple(f"r{i}" for i in range(10))
    assert study.runs["run"].iloc[0] == "r0 at step 100"
    assert study.left_out == {"no tokens seen yet": 10, "no loss at this step": 10}


def test_a_run_without_any_loss_is_left_out_as_a_whole():
    frame = export()
    frame.loc[frame["run_id"] == "r0", "eval/loss"] = np.nan
    study = read(frame)
    assert study.n_used == 9
    assert study.left_out["its run has no loss at any step"] == 4


def test_tokens_follow_from_steps_where_that_is_said():
    frame = export().drop(columns="tokens")
    study = read(frame, tokens_per_step=1e7)
    assert set(study.runs["D"]) == {3e9}
    assert any("D computed as step times 1e+07 tokens" in text for text in study.assumed)


def test_tokens_per_step_may_be_a_column():
    frame = export().drop(columns="tokens")
    frame["batch"] = np.where(frame["run_id"].str.endswith("1"), 1e7, 2e7)
    study = read(frame, columns={**COLUMNS, "tokens_per_step": "batch"})
    assert set(study.runs["D"]) == {3e9, 6e9}


def test_without_tokens_or_tokens_per_step_it_says_how_to_get_them():
    frame = export().drop(columns="tokens")
    with pytest.raises(StudyError, match=r"no column 'D'.*step times --tokens-per-step"):
        read(frame)


def test_tokens_given_twice_are_refused():
    with pytest.raises(StudyError, match="there is a column of tokens D too"):
        read(export(), tokens_per_step=1e7)


def test_without_a_step_the_tokens_order_a_run():
    columns = {ours: theirs for ours, theirs in COLUMNS.items() if ours != "step"}
    study = read(export(), columns={**columns, "D": "tokens"})
    pd.testing.assert_frame_equal(
        study.runs[["run", "N", "D", "loss"]], read(export()).runs[["run", "N", "D", "loss"]]
    )


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("_step", 100, "is a step of its run that has a loss"),
        ("_step", np.nan, "has a loss and no step"),
        ("tokens", 5.0, "has fewer tokens than before"),
        ("config/params", 3e8, "has another N than before"),
        ("run_id", "", "has no id of its run"),
    ],
)
def test_steps_that_do_not_make_runs_are_refused_with_their_row(column, value, said):
    frame = export()
    frame.loc[7, column] = value
    with pytest.raises(StudyError, match=rf"SB216: DataFrame, row 7: the row {said}"):
        read(frame)


@pytest.mark.parametrize("rows", ["last", "checkpoints"])
def test_the_cells_of_every_step_are_checked(rows):
    frame = export()
    frame.loc[5, "eval/loss"] = -1.0
    with pytest.raises(StudyError, match=r"row 5, column 'eval/loss': found -1.0"):
        read(frame, rows=rows)


def test_a_used_step_without_parameters_is_refused():
    frame = export()
    frame.loc[7, "config/params"] = np.nan
    with pytest.raises(StudyError, match=r"row 7, column 'config/params': .*missing value"):
        read(frame)
    assert read(frame, drop_missing=True).left_out["N is missing"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rows": "all"}, r"rows is 'all'; allowed: \['every', 'last', 'checkpoints'\]"),
        ({"rows": "every"}, 'step is read only .*rows="last"'),
        ({"tokens_per_step": -1.0}, "tokens_per_step is -1.0; it must be a positive number"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, said):
    with pytest.raises(StudyError, match=said):
        read(export(), **options)


def test_a_missing_loss_in_a_logger_s_export_points_to_the_rows_that_are_runs():
    columns = {"N": "config/params", "D": "tokens", "loss": "eval/loss"}
    frame = export()
    frame["tokens"] += 1
    with pytest.raises(StudyError, match=r"This looks like one row per step: .*--rows last"):
        read_runs(frame, columns=columns)


def test_a_column_named_step_means_nothing_where_every_row_is_a_run():
    frame = read(export()).runs[["N", "D", "loss"]].assign(step="end")
    study = read_runs(frame)
    assert "step" not in study.runs
    tokens_in_step = frame.assign(step=frame["D"]).drop(columns="D")
    assert read_runs(tokens_in_step, columns={"D": "step"}).n_used == 10
