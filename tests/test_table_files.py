"""Parquet, JSON lines and tab-separated files are read as strictly as CSV, with the same words."""

import json

import numpy as np
import pandas as pd
import pytest

from scalebayes.arguments import TABLE_ENDINGS
from scalebayes.errors import StudyError
from scalebayes.studies import read_runs
from scalebayes.table_files import ENDINGS, read_table

SIZES = (1e8, 2e8, 4e8, 8e8)
TOKENS = (1e9, 4e9, 16e9)


def sweep_frame():
    grid = [(n, d) for n in SIZES for d in TOKENS]
    frame = pd.DataFrame(grid, columns=["N", "D"])
    return frame.assign(loss=1.8 + 480 / frame["N"] ** 0.35 + 2000 / frame["D"] ** 0.36)


def written(frame, folder, ending):
    path = folder / f"sweep{ending}"
    if ending == ".parquet":
        frame.to_parquet(path, index=False)
    elif ending == ".jsonl":
        lines = [json.dumps(row) for row in frame.astype(object).to_dict("records")]
        path.write_text("\n".join(lines))
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == ".tsv" else ",")
    return path


FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")


@pytest.mark.parametrize("ending", FORMATS)
def test_every_kind_of_file_gives_the_same_runs_exactly(tmp_path, ending):
    runs = read_runs(written(sweep_frame(), tmp_path, ending)).runs
    pd.testing.assert_frame_equal(runs[["N", "D", "loss"]], sweep_frame(), check_exact=True)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("2.1 nats", "found '2.1 nats', which is not a number"),
        ("1,000", "found '1,000', which is not a number.* without thousands separators"),
        ("inf", "found '?inf'?, which is not finite"),
        ("-2.5", "found '-2.5', which is not above zero"),
        ("", "found '', a missing value"),
        ("n/a", "found 'n/a', a missing value"),
    ],
)
def test_a_bad_text_is_refused_in_every_kind_of_file(tmp_path, ending, cell, said):
    frame = sweep_frame().astype({"loss": str})
    frame.loc[3, "loss"] = cell
    row = {".jsonl": 4, ".parquet": 4}.get(ending, 5)
    with pytest.raises(StudyError, match=rf"row {row}\b.*column 'loss': {said}"):
        read_runs(written(frame, tmp_path, ending))


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (np.inf, "found inf, which is not finite"),
        (0.0, "found 0.0, which is not above zero"),
        (None, "found (None|nan), a missing value"),
    ],
)
def test_a_bad_number_is_refused_in_every_typed_file(tmp_path, ending, cell, said):
    frame = sweep_frame()
    frame.loc[3, "loss"] = cell
    with pytest.raises(StudyError, match=rf"row 4\b.*column 'loss': {said}"):
        read_runs(written(frame, tmp_path, ending))


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_true_and_false_are_no_numbers(tmp_path, ending):
    frame = sweep_frame().assign(loss=[True, False] * 6)
    with pytest.raises(StudyError, match="found True, which is not a number"):
        read_runs(written(frame, tmp_path, ending))


def test_whole_numbers_beyond_a_float_are_refused(tmp_path):
    path = tmp_path / "sweep.jsonl"
    path.write_text('{"N": 1%s, "D": 1e9, "loss": 3}\n' % ("0" * 400))
    with pytest.raises(StudyError, match="row 1.*column 'N'.*not a number"):
        read_runs(path)


def test_objects_inside_a_line_become_names_with_a_slash(tmp_path):
    path = tmp_path / "sweep.jsonl"
    path.write_text('{"config": {"model": {"d_model": 64}}, "loss": 3}\n\n{"loss": 2}\n')
    table = read_table(path)
    assert table.cells == {"config/model/d_model": [64, None], "loss": [3, 2]}
    assert table.rows == (1, 3)


def test_a_list_in_a_cell_is_no_number(tmp_path):
    path = tmp_path / "sweep.jsonl"
    path.write_text('{"N": [1, 2], "D": 1e9, "loss": 3}\n')
    with pytest.raises(StudyError, match=r"column 'N': found \[1, 2\], which is not a number"):
        read_runs(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"N": 1}\n[1, 2]\n', r"row 2 \(line 2 of the file\): found '\[1, 2\]', not a JSON obj"),
        ('{"N": 1}\n{"N": \n', "row 2 .*not a JSON object"),
        ('{"N": 1, "N": 2}\n', "the name 'N' comes twice"),
        ('{"a": {"N": 1}, "a/N": 2}\n', "the name 'a/N' comes twice"),
        ("\n", "the file is empty"),
    ],
)
def test_lines_that_are_no_objects_are_refused_with_their_line(tmp_path, text, said):
    path = tmp_path / "sweep.jsonl"
    path.write_text(text)
    with pytest.raises(StudyError, match=said):
        read_runs(path)


def test_a_file_that_is_not_parquet_is_refused(tmp_path):
    path = tmp_path / "sweep.parquet"
    path.write_text("N,D,loss\n1e8,1e9,3\n")
    with pytest.raises(StudyError, match=r"sweep\.parquet: not a Parquet file"):
        read_runs(path)


def test_a_parquet_file_without_rows_is_refused(tmp_path):
    with pytest.raises(StudyError, match="no rows"):
        read_runs(written(sweep_frame()[:0], tmp_path, ".parquet"))


def test_a_line_separator_inside_a_text_does_not_end_a_line_of_json(tmp_path):
    path = tmp_path / "sweep.jsonl"
    path.write_text('{"note": "a\u2028b", "loss": 3}\n', encoding="utf-8")
    assert read_table(path).cells["note"] == ["a\u2028b"]


def test_the_command_line_knows_every_ending_that_is_read():
    assert set(TABLE_ENDINGS) == set(ENDINGS)


@pytest.mark.parametrize("depth", [400, 100_000])
def test_json_that_is_too_deep_is_refused_or_read(tmp_path, depth):
    path = tmp_path / "runs.jsonl"
    path.write_text('{"a":' * depth + "1" + "}" * depth)
    with pytest.raises(StudyError, match="too deep|no column 'N'"):
        read_runs(path)


def test_half_of_a_character_in_a_line_of_json_is_refused(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text('{"run": "\\ud83d\\ude00"}\n{"run": "\\ud83d"}\n')
    with pytest.raises(StudyError, match=r"row 2 .*\\ud83d is half of a character"):
        read_table(path)


@pytest.mark.parametrize("ending", [".xlsx", ".json", ".csv.gz"])
def test_files_of_other_kinds_are_refused_by_their_ending(tmp_path, ending):
    path = tmp_path / f"runs{ending}"
    path.write_bytes(b"PK")
    with pytest.raises(StudyError, match="is not read; save it as CSV, Parquet or JSON lines"):
        read_runs(path)


def test_a_parquet_file_with_text_that_is_not_utf_8_is_refused(tmp_path):
    path = tmp_path / "sweep.parquet"
    frame = sweep_frame().assign(tokenizer="abcdefgh")
    frame.to_parquet(path, index=False, compression=None)
    content = path.read_bytes()
    assert b"abcdefgh" in content
    path.write_bytes(content.replace(b"abcdefgh", b"ab\xffdefgh"))
    with pytest.raises(StudyError, match=r"sweep\.parquet: it holds text that is not UTF-8"):
        read_table(path)
