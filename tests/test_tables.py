"""What a run table must not get away with: each fault is refused, and the message points at it."""

import re

import numpy as np
import pandas as pd
import pytest
from fits import EPOCH

from scalebayes.errors import StudyError
from scalebayes.laws import chinchilla
from scalebayes.studies import load_study, read_runs, studies
from scalebayes.sweeps import _size_note
from scalebayes.tables import nearest_name, read_table

SIZES = (1e8, 2e8, 4e8, 8e8)
TOKENS = (1e9, 4e9, 16e9)


def sweep_frame():
    """Return 12 runs on a grid, with the losses of a Chinchilla law."""
    grid = [(n, d) for n in SIZES for d in TOKENS]
    frame = pd.DataFrame(grid, columns=["N", "D"])
    return frame.assign(loss=1.8 + 480 / frame["N"] ** 0.35 + 2000 / frame["D"] ** 0.36)


def written(folder, text, *, encoding="utf-8"):
    path = folder / "sweep.csv"
    path.write_bytes(text.encode(encoding))
    return path


def with_cell(folder, *, line, column, text):
    """Write the sweep with one cell replaced; the header is line 1."""
    frame = sweep_frame().astype(object)
    frame.loc[line - 2, column] = text
    return written(folder, frame.to_csv(index=False))


@pytest.mark.parametrize("text", ["", "NaN", "n/a", "NULL", " "])
def test_a_missing_loss_is_refused_with_its_row_and_column(tmp_path, text):
    path = with_cell(tmp_path, line=7, column="loss", text=text)
    with pytest.raises(StudyError, match=r"sweep\.csv, row 7 .*column 'loss': .*missing value"):
        read_runs(path)


def test_a_missing_value_points_to_drop_missing(tmp_path):
    path = with_cell(tmp_path, line=7, column="D", text="")
    with pytest.raises(StudyError, match="drop_missing=True"):
        read_runs(path)


@pytest.mark.parametrize("column", ["N", "D", "loss"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("inf", "'inf', which is not finite"),
        ("-inf", "not finite"),
        ("0", "'0', which is not above zero"),
        ("-2.5", "'-2.5', which is not above zero"),
        ("1,000", "'1,000', which is not a number.* without thousands separators"),
        ("2.1 nats", "'2.1 nats', which is not a number"),
        ("1_000", "'1_000', which is not a number"),
        ("٢", "'٢', which is not a number"),
        ("True", "not a number"),
    ],
)
def test_an_impossible_number_is_refused_with_row_column_and_value(tmp_path, column, text, said):
    path = with_cell(tmp_path, line=5, column=column, text=text)
    with pytest.raises(
        StudyError, match=rf"row 5 \(line 5 of the file\), column '{column}': .*{said}"
    ):
        read_runs(path)


def test_half_of_a_character_in_a_name_is_refused_with_its_row():
    frame = sweep_frame().assign(run=pd.Series([f"run {i}" for i in range(12)], dtype=object))
    frame.loc[4, "run"] = "run \ud800"
    with pytest.raises(StudyError, match=r"row 4, column 'run'.*holds half of a character"):
        read_runs(frame)


def test_the_number_of_further_bad_rows_is_said():
    frame = sweep_frame().assign(loss=-1.0)
    with pytest.raises(StudyError, match=r"row 0, column 'loss'.*and 11 more rows"):
        read_runs(frame)


def test_the_line_number_counts_blank_lines_and_quoted_line_breaks(tmp_path):
    text = sweep_frame().iloc[:2].assign(note="two\nlines").to_csv(index=False)
    path = written(tmp_path, text + "\n1e8,1e9,bad,x\n")  # header, 2 rows of 2 lines, a blank one
    with pytest.raises(StudyError, match="row 7 .*'bad', which is not a number"):
        read_runs(path)


def test_a_missing_column_is_named_with_what_was_found_and_the_nearest_name():
    frame = sweep_frame().rename(columns={"N": "params"})
    with pytest.raises(StudyError, match=r"no column 'N'.*\['params', 'D', 'loss'\].*'params'"):
        read_runs(frame)


def test_a_mapped_column_that_is_not_there_is_named_with_the_nearest_name():
    frame = sweep_frame().rename(columns={"N": "n_params"})
    with pytest.raises(StudyError, match=r"no column 'nparams'.*nearest name is 'n_params'"):
        read_runs(frame, columns={"N": "nparams"})


@pytest.mark.parametrize("mark", [";", "\t", "|"])
@pytest.mark.parametrize("decimal", [".", ","])
def test_following_the_advice_on_other_separators_gives_the_same_runs(tmp_path, mark, decimal):
    text = sweep_frame().to_csv(index=False, sep=mark, decimal=decimal)
    with pytest.raises(StudyError, match="Separate columns by commas") as refused:
        read_runs(written(tmp_path, text))
    exec(str(refused.value).partition("in Python: ")[2], {"pandas": pd})
    (copy,) = tmp_path.glob("*-commas.csv")
    numbers = ["N", "D", "loss"]
    pd.testing.assert_frame_equal(read_runs(copy).runs[numbers], sweep_frame()[numbers])


def test_a_separator_inside_a_name_is_no_separator(tmp_path):
    frame = sweep_frame().assign(**{"a;b;c;d;e;f": 1})
    assert len(read_runs(written(tmp_path, frame.to_csv(index=False))).runs) == len(frame)


@pytest.mark.parametrize("name", ["ppl", "eval/perplexity", "val_bpb", "bits_per_byte"])
def test_a_loss_with_the_name_of_another_kind_is_read_and_noted(name):
    frame = sweep_frame().rename(columns={"loss": name})
    (note,) = [text for text in read_runs(frame, columns={"loss": name}).assumed if "SB118" in text]
    assert repr(name) in note


@pytest.mark.parametrize(("factor", "noted"), [(1.0, False), (10.0, True)])
def test_a_loss_worse_than_guessing_is_noted(factor, noted):
    frame = sweep_frame().assign(loss=factor * sweep_frame()["loss"])
    assert any("above 12.5" in text for text in read_runs(frame).assumed) == noted


def test_nothing_is_suggested_when_no_name_is_near():
    assert nearest_name("loss", ["abc"]) is None


def test_a_header_name_twice_is_refused(tmp_path):
    text = sweep_frame().to_csv(index=False).replace("N,D,loss", "N,N,loss", 1)
    with pytest.raises(StudyError, match="has 'N' more than once"):
        read_runs(written(tmp_path, text))


def test_a_frame_with_a_name_twice_is_refused():
    frame = sweep_frame()[["N", "N", "D", "loss"]]
    with pytest.raises(StudyError, match="has 'N' more than once"):
        read_runs(frame)


@pytest.mark.parametrize(("extra", "fields"), [(",7", 4), ("", 2)])
def test_a_ragged_row_is_refused_with_its_line(tmp_path, extra, fields):
    lines = sweep_frame().to_csv(index=False).splitlines()
    lines[4] = lines[4] + extra if extra else lines[4].rpartition(",")[0]
    said = rf"row 5 \(line 5 of the file\): the row has {fields} fields, but the header has 3"
    with pytest.raises(StudyError, match=said):
        read_runs(written(tmp_path, "\n".join(lines)))


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(StudyError, match="the file is empty"):
        read_runs(written(tmp_path, ""))


def test_a_header_without_rows_is_refused(tmp_path):
    with pytest.raises(StudyError, match="a header and no rows"):
        read_runs(written(tmp_path, "N,D,loss\n"))


def test_a_frame_without_rows_is_refused():
    with pytest.raises(StudyError, match="DataFrame: it has no rows"):
        read_runs(sweep_frame().iloc[:0])


def test_a_file_that_is_not_utf8_is_refused_with_advice(tmp_path):
    text = sweep_frame().assign(note="größe").to_csv(index=False)
    with pytest.raises(StudyError, match=r"row 2 .*byte 0xf6 is not UTF-8.*iconv"):
        read_runs(written(tmp_path, text, encoding="latin-1"))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"nothing\.csv: cannot be read"):
        read_runs(tmp_path / "nothing.csv")


def test_an_open_quote_is_refused(tmp_path):
    with pytest.raises(StudyError, match="not a CSV row"):
        read_runs(written(tmp_path, 'N,D,loss\n1e8,1e9,"3\n'))


def test_a_list_is_not_a_table():
    with pytest.raises(
        StudyError, match="expected the path of a CSV file or a DataFrame, got list"
    ):
        read_runs([1, 2])


def test_byte_order_mark_and_crlf_are_read_like_plain_text(tmp_path):
    plain = sweep_frame().to_csv(index=False)
    expected = read_runs(written(tmp_path, plain)).runs
    marked = "\ufeff" + plain.replace("\n", "\r\n")
    pd.testing.assert_frame_equal(read_runs(written(tmp_path, marked)).runs, expected)


def test_numbers_of_a_file_are_read_exactly(tmp_path):
    path = written(tmp_path, sweep_frame().to_csv(index=False))
    assert (read_runs(path).runs["loss"] == sweep_frame()["loss"]).all()


def test_a_frame_gives_the_same_runs_as_its_file(tmp_path):
    path = written(tmp_path, sweep_frame().to_csv(index=False))
    numbers = ["N", "D", "loss"]
    from_file, from_frame = read_runs(path).runs[numbers], read_runs(sweep_frame()).runs[numbers]
    pd.testing.assert_frame_equal(from_file, from_frame)


def test_a_frame_names_the_bad_row_by_its_index_label():
    frame = sweep_frame().set_index(pd.Index([f"run-{i}" for i in range(12)]))
    frame.loc["run-3", "loss"] = np.nan
    with pytest.raises(StudyError, match=r"DataFrame, row run-3, column 'loss': found nan"):
        read_runs(frame)


def test_pandas_missing_values_are_missing():
    frame = sweep_frame().astype({"loss": "Float64"})
    frame.loc[2, "loss"] = pd.NA
    with pytest.raises(StudyError, match=r"row 2, column 'loss'"):
        read_runs(frame)


@pytest.mark.parametrize(
    ("column", "said"), [("N", "median N is 0.3"), ("D", "median D is 4, too small for tokens")]
)
def test_billions_without_a_unit_are_refused(column, said):
    frame = sweep_frame()
    frame[column] /= 1e9
    with pytest.raises(StudyError, match=rf'{said}.*units={{"{column}": "B"}}'):
        read_runs(frame)


def test_an_unlikely_number_of_tokens_per_parameter_is_refused():
    frame = sweep_frame()
    frame.loc[4, "D"] = 1e6
    with pytest.raises(StudyError, match=r"row 4: tokens per parameter D/N is 0.005"):
        read_runs(frame)


def test_an_explicit_unit_wins_over_suspicion():
    frame = sweep_frame()
    frame.loc[4, "D"] = 1e6
    assert read_runs(frame, units={"N": 1, "D": 1}).n_used == 12


def test_billions_with_a_unit_are_parameters():
    frame = sweep_frame().assign(N=sweep_frame()["N"] / 1e9)
    runs = read_runs(frame, units={"N": "B"}).runs
    assert runs["N"].to_numpy() == pytest.approx(sweep_frame()["N"].to_numpy())


@pytest.mark.parametrize(("unit", "nats"), [("bits", np.log(2)), ("log10", np.log(10))])
def test_a_loss_and_its_error_come_out_in_nats(unit, nats):
    frame = sweep_frame().assign(loss_se=0.01)
    runs = read_runs(frame.assign(loss=frame["loss"] / nats), units={"loss": unit}).runs
    assert runs["loss"].to_numpy() == pytest.approx(frame["loss"].to_numpy())
    assert runs["loss_se"].to_numpy() == pytest.approx(0.01 * nats)


def doubts(loss, **sizes):
    grid = {"N": np.repeat([1e8, 1e9, 1e10], 3), "D": np.tile([2e9, 2e10, 2e11], 3)} | sizes
    nats = chinchilla(grid["N"], grid["D"], **EPOCH)
    study = read_runs(pd.DataFrame({**grid, "loss": loss(nats)}), units={"N": 1, "D": 1})
    return [text for text in study.assumed if text.startswith("SB119: ")]


@pytest.mark.parametrize("factor", [2.3, 1 / np.log(2), 1 / np.log(10)])
def test_a_loss_in_another_unit_than_said_is_doubted_and_not_converted(factor):
    (said,) = doubts(lambda nats: factor * nats)
    assert f"{factor:.2f} times" in said
    assert "Nothing was converted" in said


@pytest.mark.parametrize("factor", [0.75, 1.0, 1.3])
def test_a_loss_that_other_tokenizers_and_corpora_could_have_is_not_doubted(factor):
    assert not doubts(lambda nats: factor * nats)


def test_the_loss_of_models_too_small_for_any_law_is_not_judged():
    assert not doubts(lambda nats: 3 * nats, N=np.repeat([1e5, 2e5, 4e5], 3))


@pytest.mark.parametrize("name", studies().index)
def test_no_published_study_would_be_doubted(name):
    runs = load_study(name).runs
    assert not _size_note(runs)
    lowest = runs.loc[runs["loss"].idxmin()]
    ratio = lowest["loss"] / chinchilla(lowest["N"], lowest["D"], **EPOCH)
    assert 0.74 < ratio < 1.29  # as `LOSS_RATIOS` says


def test_units_that_were_not_given_are_recorded():
    study = read_runs(sweep_frame(), units={"N": 1})
    assert study.assumed == (
        "SB101: D assumed to be in tokens",
        "SB101: loss assumed to be in nats per token",
    )


def test_an_unknown_unit_lists_the_allowed():
    with pytest.raises(StudyError, match=r"'N' is in 'G'; allowed: \['1', 'K', 'M', 'B', 'T'\]"):
        read_runs(sweep_frame(), units={"N": "G"})


def test_a_unit_for_an_unknown_column_lists_the_allowed():
    with pytest.raises(StudyError, match=r"units has the unknown key 'tokens'; allowed: \['D'"):
        read_runs(sweep_frame(), units={"tokens": "B"})


def test_an_unknown_name_in_columns_lists_the_allowed():
    with pytest.raises(StudyError, match=r"columns has the unknown key 'params'; allowed: \['D'"):
        read_runs(sweep_frame(), columns={"params": "N"})


def test_one_column_cannot_be_two_things():
    with pytest.raises(StudyError, match=r"column 'D' is read as \['N', 'D'\]"):
        read_runs(sweep_frame(), columns={"N": "D"})


def test_an_exact_duplicate_is_refused_with_both_rows(tmp_path):
    frame = pd.concat([sweep_frame(), sweep_frame().iloc[[3]]])
    path = written(tmp_path, frame.to_csv(index=False))
    with pytest.raises(StudyError, match=r"row 14 .*the same values as in row 5 .*dedupe=True"):
        read_runs(path)


def test_dedupe_keeps_one_of_each_and_counts_the_rest():
    frame = pd.concat([sweep_frame(), sweep_frame()], ignore_index=True)
    study = read_runs(frame, dedupe=True)
    assert study.rows_note == (
        "12 of 24 rows used; left out: 12 because exact duplicate of an earlier row"
    )


def test_runs_with_names_of_their_own_are_not_duplicates():
    frame = pd.concat([sweep_frame(), sweep_frame()], ignore_index=True)
    frame["seed_run"] = [f"s{i}" for i in range(24)]
    assert read_runs(frame, columns={"run": "seed_run"}).n_used == 24


def test_the_same_size_and_tokens_with_another_loss_is_a_replicate():
    frame = pd.concat([sweep_frame(), sweep_frame().iloc[:2] * [1, 1, 1.01]], ignore_index=True)
    study = read_runs(frame)
    assert (study.n_used, study.n_replicates) == (14, 2)
    assert any("2 rows repeat the N and D" in note for note in study.assumed)


def test_drop_missing_keeps_the_row_with_its_reason():
    frame = sweep_frame()
    frame.loc[[1, 5], "loss"] = np.nan
    study = read_runs(frame, drop_missing=True)
    assert study.rows_note == "10 of 12 rows used; left out: 2 because loss is missing"
    assert list(study.table["left_out"][[0, 1]]) == ["", "loss is missing"]


def test_a_constant_loss_is_refused():
    with pytest.raises(StudyError, match="the loss is 3 nats in every row"):
        read_runs(sweep_frame().assign(loss=3.0))


def test_fewer_runs_than_the_law_has_parameters_are_refused():
    with pytest.raises(StudyError, match="3 usable rows.*prior_dominated_ok=True"):
        read_runs(sweep_frame().iloc[:3])


def test_few_runs_are_accepted_when_that_is_said():
    assert read_runs(sweep_frame().iloc[:3], prior_dominated_ok=True).n_used == 3


def test_no_run_left_is_refused_even_so():
    frame = sweep_frame().assign(loss=np.nan)
    with pytest.raises(StudyError, match="0 usable rows"):
        read_runs(frame, drop_missing=True, prior_dominated_ok=True)


def test_embeddings_larger_than_the_total_are_refused_with_both_numbers():
    frame = sweep_frame().assign(embedding=2e8)
    with pytest.raises(StudyError, match=r"row 0: embedding has 2e\+08 parameters.*only 1e\+08"):
        read_runs(frame, counting="total")


def test_a_body_larger_than_the_total_is_refused():
    frame = sweep_frame().assign(body=sweep_frame()["N"] * 1.1)
    with pytest.raises(StudyError, match=r"row 0: body has 1.1e\+08 parameters"):
        read_runs(frame, counting="total")


def test_runs_of_two_tokenizers_are_refused():
    frame = sweep_frame().assign(tokenizer=["gpt2"] * 6 + ["llama-3"] * 6)
    with pytest.raises(StudyError, match=r"several tokenizers \['gpt2', 'llama-3'\]"):
        read_runs(frame)


def test_the_one_tokenizer_of_a_table_is_the_studys():
    assert read_runs(sweep_frame().assign(tokenizer="gpt2")).tokenizer == "gpt2"


def test_checkpoints_that_share_a_run_name_are_told_to_use_trajectory():
    with pytest.raises(StudyError, match=r"the run 'a' is named in an earlier row.*trajectory"):
        read_runs(sweep_frame().assign(run="a"))


def test_runs_without_names_are_named_by_their_line(tmp_path):
    runs = read_runs(written(tmp_path, sweep_frame().to_csv(index=False))).runs
    assert runs["run"].iloc[0] == "row 2"
    assert (runs["trajectory"] == runs["run"]).all()


@pytest.mark.parametrize("counting", ["embedding", "Total", ""])
def test_an_unknown_counting_lists_the_allowed(counting):
    with pytest.raises(StudyError, match=rf"counting is {counting!r}; allowed: \['body'"):
        read_runs(sweep_frame(), counting=counting)


def test_a_vocabulary_below_one_row_is_refused():
    with pytest.raises(StudyError, match="vocab_size is -3"):
        read_runs(sweep_frame(), vocab_size=-3)


def test_learned_positions_need_a_context_length():
    with pytest.raises(StudyError, match="learned_positions needs context_length"):
        read_runs(sweep_frame(), learned_positions=True)


def test_a_blank_in_an_optional_column_is_not_known():
    frame = sweep_frame().assign(loss_se=[np.nan] * 3 + [0.01] * 9)
    assert read_runs(frame).runs["loss_se"].isna().sum() == 3


def test_a_negative_error_of_the_loss_is_refused():
    with pytest.raises(StudyError, match=r"column 'loss_se': found -0.1, which is negative"):
        read_runs(sweep_frame().assign(loss_se=-0.1))


def test_a_long_table_is_read_whole(tmp_path):
    n = 50_000
    rows = "".join(f"{1e8 + i},{1e9 + 7 * i},{3 + 1e-6 * i}\n" for i in range(n))
    assert len(read_table(written(tmp_path, "N,D,loss\n" + rows)).rows) == n


def test_every_message_that_names_a_row_of_a_file_names_the_file(tmp_path):
    path = with_cell(tmp_path, line=3, column="N", text="x")
    with pytest.raises(StudyError, match=re.escape(str(path))):
        read_runs(path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"columns": ["N"]}, "columns is .*must be a mapping"),
        ({"columns": {"N": 3}}, "names of columns are texts"),
        ({"units": "B"}, "units is 'B'; it must be a mapping"),
        ({"vocab_size": "32k"}, "vocab_size is '32k'"),
    ],
)
def test_options_of_the_wrong_kind_are_refused_with_what_was_given(options, said):
    with pytest.raises(StudyError, match=said):
        read_runs(sweep_frame(), **options)
