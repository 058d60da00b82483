"""Names that look like ours are proposed, with units as guesses, and never applied."""

import pandas as pd
import pytest

from scalebayes.column_hints import suggest
from scalebayes.errors import StudyError
from scalebayes.studies import read_runs
from scalebayes.table_files import read_table


def suggestion(columns=None, units=None, **cells):
    frame = pd.DataFrame({name.replace("__", "/"): values for name, values in cells.items()})
    return suggest(read_table(frame), columns, units)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("N", "params"),
        ("N", "Num_Parameters"),
        ("N", "model size"),
        ("N", "config/n_params"),
        ("N", "model_params"),
        ("D", "train_tokens"),
        ("D", "tokens-seen"),
        ("loss", "val_loss"),
        ("loss", "eval/loss"),
        ("loss", "CE"),
        ("d_model", "hidden_size"),
        ("d_model", "config.n_embd"),
        ("n_layers", "num_hidden_layers"),
        ("d_ff", "intermediate_size"),
        ("flops", "compute"),
    ],
)
def test_names_of_other_tools_are_recognised(ours, theirs):
    table = read_table(pd.DataFrame({theirs: [1e9, 2e9], "unrelated": [1, 2]}))
    assert suggest(table).columns == {ours: theirs}


def test_the_mapping_is_ready_to_paste_in_both_languages():
    found = suggestion(params=[1e9], tokens=[2e10], val_loss=[3.0])
    assert found.options == "--columns N=params,D=tokens,loss=val_loss"
    assert found.python == "columns={'N': 'params', 'D': 'tokens', 'loss': 'val_loss'}"


def test_a_loss_of_held_out_text_comes_before_the_training_loss():
    found = suggestion(train__loss=[3.0], eval__loss=[3.1])
    assert found.columns == {"loss": "eval/loss"}


def test_what_was_said_is_kept_and_no_column_is_proposed_twice():
    found = suggestion({"N": "size"}, size=[1e9], params=[2e9], tokens=[2e10], loss=[3.0])
    assert found.columns == {"N": "size", "D": "tokens"}


@pytest.mark.parametrize(
    ("N", "D", "units"),
    [
        (0.4, 8.0, {"N": "B", "D": "B"}),
        (125.0, 2e5, {"N": "M", "D": "M"}),
        (4e8, 8e9, {}),
    ],
)
def test_units_are_guessed_from_medians_and_called_a_guess(N, D, units):
    found = suggestion(N=[N] * 3, D=[D] * 3, loss=[3.0] * 3)
    assert found.units == units
    assert ("A guess, to be checked" in found.text) == bool(units)


@pytest.mark.parametrize(
    ("N", "D", "units"),
    [
        ("params_k", "tokens_m", {"N": "K", "D": "M"}),
        ("Parameters (M)", "tokens in billions", {"N": "M", "D": "B"}),
        ("model/size_bn", "tokens_t", {"N": "B", "D": "T"}),
    ],
)
def test_a_unit_in_a_name_is_guessed_before_one_from_the_median(N, D, units):
    found = suggest(read_table(pd.DataFrame({N: [30.0], D: [50.0], "loss": [3.0]})))
    assert found.columns == {"N": N, "D": D}
    assert found.units == units
    assert repr(N) in found.text


def test_a_unit_in_a_name_is_not_guessed_for_numbers_too_large_for_it():
    assert suggestion(params_b=[1e9], tokens_b=[2e10], loss=[3.0]).units == {}


def test_rows_that_lack_a_value_are_counted_in_all_columns_at_once():
    found = suggestion(params=[1e9, None, 2e9], tokens=[1e9, 1e9, None], loss=[3.0, 3.1, 3.2])
    assert "2 of 3 rows lack one of them; --drop-missing" in found.text


def test_every_column_that_no_name_looks_like_is_asked_for_at_once():
    assert (
        "No name looks like D or loss: add --columns D=NAME,loss=NAME"
        in suggestion(params=[1e9], x=[1.0]).text
    )


def test_a_unit_that_was_said_is_not_guessed_again():
    assert suggestion(None, {"N": "B"}, N=[0.4], D=[8.0], loss=[3.0]).units == {"D": "B"}


def test_a_table_with_many_steps_of_a_run_is_recognised():
    cells = {"run_id": ["a", "a"], "_step": [1, 2], "params": [1e9, 1e9], "tokens": [1e9, 2e9]}
    found = suggestion(**cells, eval__loss=[3.0, 2.9])
    assert found.rows == "last"
    assert found.options.endswith("--rows last")
    assert {"run": "run_id", "step": "_step"}.items() <= found.columns.items()


def test_a_table_with_one_row_per_run_is_not_taken_for_steps():
    found = suggestion(run_id=["a", "b"], _step=[9, 9], params=[1e9, 2e9])
    assert (found.rows, found.columns) == ("", {"N": "params"})


@pytest.mark.parametrize(
    ("name", "said"),
    [("bpb", "bits per byte"), ("eval_ppl", "a perplexity"), ("ppl", "a perplexity")],
)
def test_a_loss_that_is_not_per_token_is_named_and_not_proposed(name, said):
    found = suggestion(params=[1e9], tokens=[1e10], **{name: [1.0]})
    assert "loss" not in found.columns
    assert said in found.text


def test_parameters_without_embeddings_suggest_their_counting():
    assert "--counting body" in suggestion(non_embedding_params=[1e9]).text


def test_names_with_spaces_are_quoted_for_the_shell():
    found = suggestion(**{"model size": [1e9]})
    assert found.options == "--columns 'N=model size'"


def test_an_error_about_a_missing_column_proposes_all_of_them_and_applies_none():
    frame = pd.DataFrame({"params": [1.0], "tokens": [20.0], "val_loss": [3.0]})
    with pytest.raises(StudyError, match=r"--columns N=params,D=tokens,loss=val_loss --units N=B"):
        read_runs(frame)
    partly = {"N": "params"}
    with pytest.raises(StudyError, match=r"no column 'D'.*N=params,D=tokens,loss=val_loss"):
        read_runs(frame, columns=partly)
