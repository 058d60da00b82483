"""The local exponent in two counts, against the limits known for it, and its figures."""

import json

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from scalebayes.counting import Architecture
from scalebayes.errors import InputError
from scalebayes.exponent_plots import (
    BUDGETS,
    exponent_curves,
    plot_local_exponent,
    plot_local_exponents,
    published_points,
)

# Besiroglu et al. (2024), arXiv:2404.10102
EPOCH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
FAMILY = Architecture.from_gamma(47491.0, vocab_size=32000.0)  # Pearce & Song (2024)
BODY, TOKENS = np.array([1e7, 1e9]), np.array([1e9, 1e11])
ASYMPTOTE = EPOCH["beta"] / (EPOCH["alpha"] + EPOCH["beta"])


def made_fit(*, omega=1.0, converged=1, still_prior=()):
    """A latent-counting fit whose draws are all Epoch's law at one omega."""
    values = {name: (("chain", "draw"), np.full((2, 3), value)) for name, value in EPOCH.items()}
    values["omega"] = (("chain", "draw"), np.full((2, 3), omega))
    head = FAMILY.head(BODY)
    data = {"D": TOKENS, "body": BODY, "head": head, "embedding": head}
    groups = {
        "posterior": xr.Dataset(values),
        "constant_data": xr.Dataset({name: ("run", value) for name, value in data.items()}),
    }
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {
        "study": "made",
        "counting": "latent",
        "architecture": FAMILY.to_json(),
        "converged": converged,
        "still_prior": json.dumps(dict.fromkeys(still_prior, 0.9)),
    }
    return tree


def labels(ax):
    return [text.get_text() for text in ax.texts]


def test_the_exponent_in_the_laws_own_count_is_the_same_at_every_budget():
    median = exponent_curves(made_fit())["total"].sel(quantile=0.5)
    assert median.values == pytest.approx(ASYMPTOTE)


def test_without_vocabulary_matrices_the_exponent_rises_to_a_hump_and_falls():
    median = exponent_curves(made_fit())["body"].sel(quantile=0.5).values
    peak = int(median.argmax())
    # science: 0.76 at n = 790, near 0.98 around 2 million, beta/(alpha + beta) as n grows
    assert median[0] == pytest.approx(0.76, abs=0.02)
    assert median[peak] == pytest.approx(0.98, abs=0.005)
    assert 0 < peak < median.size - 1
    assert median[-1] == pytest.approx(ASYMPTOTE, abs=0.005)
    assert (np.diff(median[: peak + 1]) > 0).all()
    assert (np.diff(median[peak:]) < 0).all()


@pytest.mark.parametrize("omega", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_no_budget_is_without_an_exponent(omega):
    curves = exponent_curves(made_fit(omega=omega))
    assert curves.sizes["compute"] == BUDGETS.size
    assert not any(curves[name].isnull().any() for name in ("body", "total"))


def test_a_law_that_counts_the_body_bends_in_total_counting_instead():
    curves = exponent_curves(made_fit(omega=0.0))
    assert curves["body"].values == pytest.approx(ASYMPTOTE)
    assert curves["total"].sel(quantile=0.5).min() < ASYMPTOTE - 0.05


def test_each_curve_knows_the_compute_of_the_runs_in_its_own_count():
    curves = exponent_curves(made_fit())
    assert curves["body"].attrs["compute_range_data"] == pytest.approx([6e16, 6e20])
    assert curves["total"].attrs["compute_range_data"][0] > 6e16


def test_published_exponents_stand_where_they_were_read():
    rows = published_points().set_index(["study", "corpus"])
    kaplan = rows.loc[("kaplan2020", "WebText2")]
    assert (kaplan["value"], kaplan["panel"]) == (0.73, "body")
    assert np.log10([kaplan["c_min"], kaplan["c_max"]]) == pytest.approx([12.95, 20.7])
    hoffmann = rows.loc["hoffmann2022"]
    assert sorted(hoffmann["value"]) == [0.46, 0.49, 0.50]
    assert (hoffmann["panel"] == "total").all()
    assert np.log10(hoffmann["compute"].to_numpy()) == pytest.approx(np.log10(6e18 * 3e21) / 2)
    tuned = rows.loc[("porian2024_step5", "RefinedWeb")]
    assert (tuned["counting"], tuned["panel"]) == ("body+head", "total")
    assert tuned["low"] < tuned["value"] < tuned["high"]
    assert not rows["compute"].isna().any()


def test_pearce_and_song_s_exponents_stand_in_both_counts():
    # arXiv:2406.12907: .78 and .74 without embeddings, .515 and .458 with them
    rows = published_points().query("study == 'pearce_song2024'").set_index("panel")["value"]
    assert rows["body"].tolist() == pytest.approx([0.78, 0.74], abs=0.005)
    assert rows["total"].tolist() == pytest.approx([0.515, 0.458], abs=0.001)


def test_a_published_standard_error_becomes_a_90_percent_interval():
    rows = published_points().set_index("study")
    low, high = rows.loc["besiroglu2024", ["low", "high"]]
    assert high - low == pytest.approx(2 * 1.645 * 0.018)


def test_the_figure_has_a_panel_per_count_with_its_published_points():
    figure = plot_local_exponent({"made": made_fit()})
    body, total = figure.axes
    assert isinstance(figure, Figure)
    assert "without vocabulary matrices" in body.get_title(loc="left")
    assert "Kaplan 0.73" in labels(body)
    assert "Kaplan's range" in labels(body)
    assert "Hoffmann, approach 1 0.50" in labels(total)
    assert "Pearce & Song, Epoch's law 0.78" in labels(body)
    assert "Pearce & Song, Epoch's law 0.52" in labels(total)
    assert not any("Kaplan 0" in text for text in labels(total))


def test_the_axis_holds_the_hump_and_every_published_point():
    body, total = plot_local_exponent({"made": made_fit()}).axes
    assert body.get_ylim()[1] > 0.98
    rows = published_points()
    for counting, ax in (("body", body), ("total", total)):
        shown = rows[rows["panel"] == counting]["value"]
        assert ax.get_ylim()[0] < shown.min()
        assert shown.max() < ax.get_ylim()[1]


def test_a_study_is_chosen_by_name_and_marked_where_it_failed():
    fits = {"good": made_fit(), "bad": made_fit(converged=0, still_prior=["a"])}
    figure = plot_local_exponent(fits, study="bad")
    assert all("NOT CONVERGED" in ax.get_title(loc="left") for ax in figure.axes)
    assert "mostly prior: a" in labels(figure.axes[1])
    with pytest.raises(InputError, match="no fit of 'other', only of"):
        plot_local_exponent(fits, study="other")


def test_curves_made_before_are_not_made_again():
    curve = exponent_curves(made_fit(), [1e18, 1e20, 1e22])
    figure = plot_local_exponent({"made": made_fit()}, curves={"made": curve})
    assert figure.axes[0].get_xlim() == (1e18, 1e22)


def test_small_multiples_have_a_panel_per_study_on_one_scale():
    fits = {"one": made_fit(), "two": made_fit(omega=2.0, still_prior=["a"])}
    figure = plot_local_exponents(fits, columns=2)
    assert [ax.get_title(loc="left").strip() for ax in figure.axes] == ["one", "two"]
    assert len({ax.get_ylim() for ax in figure.axes}) == 1
    assert "mostly prior: a" in labels(figure.axes[1])
    with pytest.raises(InputError, match="at least one fit"):
        plot_local_exponents({})
