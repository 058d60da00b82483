import os

import numpy as np
import pytest
from fits import HOFFMANN, user_study
from matplotlib.figure import Figure

import scalebayes as sb
from scalebayes.errors import InputError
from scalebayes.figure_files import FORMATS, save_figure
from scalebayes.hypotheses import hypothesis_names
from scalebayes.model_pages import STUDY, prior_predictive
from scalebayes.page import svg_text
from scalebayes.prior_plots import even_guess

SMALL = {"draws": 300, "random_seed": 4}
START = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}


def drawn_rows(ax):
    """Medians, 50% and 90% intervals as drawn, from the lowest row up."""
    bars = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"]
    bars = [line for line in bars if np.ptp(line.get_xdata()) > 0]
    medians = [float(line.get_xdata()[0]) for line in ax.lines if line.get_marker() == "o"]
    wide, narrow = ([list(line.get_xdata()) for line in bars[start::2]] for start in (0, 1))
    return medians, narrow, wide


def words(figure):
    texts = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return "\n".join(texts)


@pytest.mark.parametrize("name", ["hoffmann-total", "latent-counting", "kaplan", "isoflop"])
def test_medians_and_bars_are_those_of_the_table(name):
    losses, ratios = sb.plot_prior_predictive(name, **SMALL).axes
    table = prior_predictive(name, **SMALL)
    for ax, quantity in ((losses, "loss_new"), (ratios, "tokens_per_parameter")):
        rows = [row for row in table if row["name"] == quantity]
        medians, narrow, wide = drawn_rows(ax)
        np.testing.assert_allclose(medians, [row["median"] for row in rows])
        np.testing.assert_allclose(wide, [[row["lower"], row["upper"]] for row in rows])
        assert all(low < a < b < high for (a, b), (low, high) in zip(narrow, wide, strict=True))


def test_every_bundled_hypothesis_can_be_drawn():
    for name in hypothesis_names():
        figure = sb.plot_prior_predictive(name, **SMALL)
        assert isinstance(figure, Figure)
        assert name in figure.axes[0].get_title(loc="left")


def test_axes_are_logarithmic_and_say_units_and_counting():
    losses, ratios = sb.plot_prior_predictive("hoffmann-nonembedding", **SMALL).axes
    assert losses.get_xlabel() == "loss of a new run (nats/token)"
    assert ratios.get_xlabel() == "tokens per parameter D*/N*, N counted as body"
    assert "(FLOP)" in losses.get_ylabel() and "(FLOP)" in ratios.get_ylabel()
    assert losses.get_xscale() == ratios.get_xscale() == "log"


def test_diamonds_are_the_losses_that_the_runs_had():
    losses = sb.plot_prior_predictive("symmetric", HOFFMANN, **SMALL).axes[0]
    (dots,) = [one for one in losses.collections if one.get_label() == "_observed"]
    observed = [row["observed"] for row in prior_predictive("symmetric", HOFFMANN, **SMALL)]
    np.testing.assert_allclose(dots.get_offsets()[:, 0], observed[:6:2])


def test_an_even_guess_costs_the_log_of_the_vocabulary():
    study = sb.load_study(STUDY)
    (size,) = study.runs["vocab_size"].unique()
    assert even_guess(study) == pytest.approx(np.log(size))
    assert "even guess" in words(sb.plot_prior_predictive("kaplan", study, **SMALL))


def test_without_a_known_vocabulary_there_is_no_even_guess():
    study = user_study()
    assert even_guess(study) is None
    figure = sb.plot_prior_predictive("hoffmann-total", study, **SMALL)
    assert "even guess" not in words(figure)


def test_draws_beyond_the_axis_are_counted_in_words():
    figure = sb.plot_prior_predictive("latent-counting", **SMALL)
    losses = figure.axes[0]
    assert losses.get_xlim()[1] == pytest.approx(1300)
    assert "above the axis" in words(losses)


def test_the_same_seed_gives_the_same_figure_and_another_seed_another():
    first, again, other = (
        svg_text(sb.plot_prior_predictive("kaplan", draws=300, random_seed=seed))
        for seed in (4, 4, 5)
    )
    assert first == again != other


@pytest.mark.parametrize("kind", FORMATS)
def test_the_suffix_is_the_format_and_the_same_figure_the_same_bytes(kind, tmp_path):
    paths = tmp_path / f"a.{kind}", tmp_path / f"b.{kind.upper()}"
    for path in paths:
        figure = Figure()
        figure.subplots().plot([1, 2], [1, 3])
        save_figure(figure, path)
    first, second = (path.read_bytes() for path in paths)
    assert first.startswith(START[kind])
    assert first == second
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}


@pytest.mark.parametrize("name", ["prior.jpg", "prior", "prior.svg.txt"])
def test_another_suffix_is_refused_and_nothing_is_written(name, tmp_path):
    with pytest.raises(InputError, match=r"ends in \.svg, \.png, \.pdf"):
        save_figure(Figure(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_older_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "prior.svg"
    path.write_text("older")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        save_figure(Figure(), path)
    assert path.read_text() == "older"
    assert [one.name for one in tmp_path.iterdir()] == ["prior.svg"]
