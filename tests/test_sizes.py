"""Counts made from width and layers: asked for, recorded, and compared with N."""

import numpy as np
import pandas as pd
import pytest

from scalebayes.architecture import Shape
from scalebayes.errors import StudyError
from scalebayes.sizes import Shapes, shape_counts
from scalebayes.studies import read_runs

WIDTH = np.repeat([256.0, 512.0, 1024.0, 2048.0], 3)
LAYERS = np.repeat([6.0, 8.0, 16.0, 24.0], 3)
VOCABULARY = 8000


def frame(**more):
    tokens = np.tile([1e10, 2e10, 4e10], 4)
    table = pd.DataFrame({"D": tokens, "d_model": WIDTH, "n_layers": LAYERS})
    return table.assign(loss=2 + 100 / WIDTH + 2000 / tokens**0.36, **more)


def body(gated=False, d_ff=4 * WIDTH):
    return Shape(
        **{"d_model": WIDTH, "n_layers": LAYERS, "d_ff": d_ff, "n_heads": 8.0, "gated": gated},
        **{"vocab_size": VOCABULARY, "tied": True},
    ).body


@pytest.mark.parametrize("counting", ["body", "body+head", "total"])
@pytest.mark.parametrize("tied", [True, False])
def test_n_is_counted_from_shapes_in_the_counting_asked_for(counting, tied):
    study = read_runs(frame(), counting=counting, vocab_size=VOCABULARY, tied=tied)
    head = VOCABULARY * WIDTH
    matrices = {"body": 0, "body+head": 1, "total": 1 if tied else 2}[counting]
    runs = study.runs
    assert runs["N"].to_numpy() == pytest.approx(body() + matrices * head)
    assert runs["body"].to_numpy() == pytest.approx(body())
    assert runs["embedding"].to_numpy() == pytest.approx((1 if tied else 2) * head)
    assert study.has_shapes
    assert any(text.startswith("SB109: N computed from the shapes") for text in study.assumed)


@pytest.mark.parametrize(
    ("gated", "words"),
    [
        (True, "three feed-forward matrices"),
        (False, "two feed-forward matrices"),
        (None, "two feed-forward matrices, assumed"),
    ],
)
def test_a_feed_forward_width_counts_two_matrices_or_three_and_says_so(gated, words):
    table = frame(d_ff=3 * WIDTH)
    study = read_runs(table, counting="body", gated=gated)
    expected = body(gated=bool(gated), d_ff=3 * WIDTH)
    assert study.runs["N"].to_numpy() == pytest.approx(expected)
    assert any(text.endswith(words) for text in study.assumed)


def test_n_is_never_counted_where_no_counting_was_asked_for():
    with pytest.raises(StudyError, match=r"no column 'N'.*--counting total"):
        read_runs(frame())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"counting": "total", "vocab_size": VOCABULARY}, "tied or untied must be known"),
        ({"counting": "body+head"}, "vocab_size .a column or an option. must be known"),
    ],
)
def test_what_a_count_lacks_is_named(options, said):
    with pytest.raises(StudyError, match=said):
        read_runs(frame(), **options)


def test_a_row_without_a_width_is_named():
    table = frame()
    table.loc[4, "d_model"] = np.nan
    with pytest.raises(StudyError, match=r"row 4: there is no column N.*\(1 rows\)"):
        read_runs(table, counting="body")


@pytest.mark.parametrize("true", ["body", "body+head", "total"])
@pytest.mark.parametrize("said", ["body", "body+head", "total", "unknown"])
def test_where_n_and_shapes_disagree_the_counting_that_fits_is_named_and_n_is_kept(true, said):
    matrices = {"body": 0, "body+head": 1, "total": 2}
    N = body() + matrices[true] * VOCABULARY * WIDTH
    options = {"counting": said, "vocab_size": VOCABULARY, "tied": False}
    study = read_runs(frame(N=N), **options)
    notes = [text for text in study.assumed if text.startswith("SB110")]
    assert study.runs["N"].to_numpy() == pytest.approx(N)
    assert bool(notes) == (said != true)
    if notes:
        assert f"it agrees best with {true!r} (0.0% off)" in notes[0]


def test_n_that_agrees_with_no_count_is_called_so():
    study = read_runs(frame(N=10 * body()), vocab_size=VOCABULARY, tied=True)
    assert any("it agrees with no count of the shapes" in text for text in study.assumed)


def test_rounded_sizes_agree():
    study = read_runs(frame(N=body() * 1.04), counting="body")
    assert not any(text.startswith("SB110") for text in study.assumed)


def test_counts_of_rows_without_shapes_are_not_known():
    counts = shape_counts(frame(), Shapes())
    assert counts["body"].notna().all()
    assert counts["body+head"].isna().all()
    assert counts["total"].isna().all()


@pytest.mark.parametrize(("cell", "tied"), [("True", True), (False, False), ("0", False)])
def test_a_column_says_whether_embeddings_are_tied(cell, tied):
    study = read_runs(frame(tied=cell), counting="total", vocab_size=VOCABULARY)
    assert study.tied is tied
    assert "tied" not in study.runs
    expected = body() + (1 if tied else 2) * VOCABULARY * WIDTH
    assert study.runs["N"].to_numpy() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("cells", "tied", "said"),
    [
        ("maybe", None, "row 0, column 'tied': found 'maybe', which is not true or false"),
        (["true", "false"] * 6, None, "some runs have tied embeddings and others not"),
        ("true", False, "some runs have tied embeddings and others not"),
    ],
)
def test_tied_columns_that_say_nothing_or_two_things_are_refused(cells, tied, said):
    with pytest.raises(StudyError, match=said):
        read_runs(frame(tied=cells), counting="total", vocab_size=VOCABULARY, tied=tied)


def test_steps_that_are_not_used_need_no_shapes():
    last = frame(step=2, run=[f"r{i}" for i in range(12)])
    first = last.assign(step=1, loss=np.nan, D=last["D"] / 2, d_model=np.nan)
    study = read_runs(pd.concat([first, last]), counting="body", rows="last")
    assert study.runs["N"].to_numpy() == pytest.approx(body())
