import json
import sys

import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from scalebayes.counting import Architecture
from scalebayes.errors import InputError
from scalebayes.laws import chinchilla
from scalebayes.omega_plots import MARKER_AREA, stored_matrices
from scalebayes.optimum import optimal
from scalebayes.plots import (
    CHINCHILLA_COMPUTE,
    plot_exponent_by_omega,
    plot_omega_weight,
    plot_predicted_loss,
    plot_tokens_per_parameter,
    predicted_loss,
    residual_rms,
)
from scalebayes.small_multiples import RED, quantiles

# Besiroglu et al. (2024), arXiv:2404.10102
EPOCH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
TIED = Architecture(aspect_ratio=64.0, vocab_size=32000, tied=True)
UNTIED = Architecture(aspect_ratio=64.0, vocab_size=32000, tied=False)
GRID = np.array([0.0, 0.25, 1.0, 2.0, 3.0])
WEIGHT = np.array([0.05, 0.1, 0.6, 0.2, 0.05])
BODY = np.array([1e7, 1e8, 1e9, 1e10])
TOKENS = np.array([1e9, 3e9, 1e10, 3e11])
BUDGETS = np.geomspace(1e17, 1e26, 7)


def made_fit(family=TIED, *, omega=1.0, converged=1, still_prior=None, draws=5):
    """A latent-counting fit around Epoch's law, whose runs lie on the law at one omega."""
    rng = np.random.default_rng(1)
    body, head = BODY, family.head(BODY)
    loss = chinchilla(body + omega * head, TOKENS, **EPOCH)
    coords = {"chain": range(2), "draw": range(draws)}
    law = {name: (("chain", "draw"), np.full((2, draws), value)) for name, value in EPOCH.items()}
    a = rng.uniform(0.4, 0.6, (GRID.size, 2, draws))
    law |= {
        "a": (("chain", "draw"), a[2]),
        "omega": (("chain", "draw"), np.full((2, draws), omega)),
    }
    data = {"D": TOKENS, "body": body, "head": head, "embedding": family.embedding(body)}
    groups = {
        "posterior": xr.Dataset(law, coords=coords),
        "grid": xr.Dataset({"a": (("omega", "chain", "draw"), a)}, {"omega": GRID, **coords}),
        "evidence": xr.Dataset(
            {"weight": ("omega", WEIGHT), "weight_default": ("omega", WEIGHT[::-1])},
            coords={"omega": GRID},
        ),
        "constant_data": xr.Dataset({name: ("run", value) for name, value in data.items()}),
        "observed_data": xr.Dataset({"log_loss": ("run", np.log(loss))}),
    }
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {
        "study": "made",
        "study_record": json.dumps({"tied": family.tied}),
        "law": "chinchilla",
        "counting": "latent",
        "architecture": family.to_json(),
        "converged": converged,
        "problems": "" if converged else "r_hat 1.1",
        "still_prior": json.dumps(still_prior or {}),
        "omega_decided": "",
    }
    return tree


def made_curves(fits):
    return {
        name: optimal(fit, BUDGETS, counting="total", architecture="study")
        for name, fit in fits.items()
    }


def every_figure(fits):
    return {
        "tokens": plot_tokens_per_parameter(fits, curves=made_curves(fits)),
        "omega": plot_omega_weight(fits),
        "exponent": plot_exponent_by_omega(fits),
        "loss": plot_predicted_loss(fits),
    }


def drawn(figure, name):
    return [artist for artist in figure.findobj() if artist.get_label() == f"_{name}"]


def words(figure):
    texts = figure.findobj(matplotlib.text.Text)
    return "\n".join(text.get_text() for text in texts if text.get_text())


def panel_of(figure, name):
    return next(ax for ax in figure.axes if ax.get_title(loc="left").startswith(name))


def test_the_shaded_range_is_that_of_six_n_d_of_the_runs():
    fits = {"made": made_fit(UNTIED)}
    figure = plot_tokens_per_parameter(fits, curves=made_curves(fits))
    (shade,) = drawn(figure, "data")
    total = BODY + UNTIED.embedding(BODY)
    compute = 6 * total * TOKENS
    box = shade.get_extents().transformed(figure.axes[0].transData.inverted())
    assert (box.x0, box.x1) == pytest.approx((compute.min(), compute.max()))


def test_the_median_is_solid_only_within_the_runs_compute():
    fits = {"made": made_fit()}
    curves = made_curves(fits)
    ax = plot_tokens_per_parameter(fits, curves=curves).axes[0]
    dashed, solid = (
        next(
            line for line in ax.lines if line.get_linestyle() == style and len(line.get_xdata()) > 2
        )
        for style in ("--", "-")
    )
    low, high = curves["made"].attrs["compute_range_data"]
    inside = (BUDGETS >= low) & (BUDGETS <= high)
    assert 0 < inside.sum() < BUDGETS.size
    np.testing.assert_array_equal(np.isfinite(solid.get_ydata()), inside)
    assert np.isfinite(dashed.get_ydata()).all()


def test_bands_are_equal_tailed():
    draws = xr.DataArray(np.arange(101.0).reshape(1, 101), dims=("chain", "draw"))
    np.testing.assert_allclose(quantiles(draws), [5, 25, 50, 75, 95])


def test_decades_beyond_the_largest_run_are_printed():
    fits = {"made": made_fit()}
    curves = made_curves(fits)
    decades = np.log10(CHINCHILLA_COMPUTE / curves["made"].attrs["compute_range_data"][1])
    assert f"{decades:.1f} decades" in words(plot_tokens_per_parameter(fits, curves=curves))


def test_the_axis_says_how_n_and_compute_are_counted():
    fits = {"made": made_fit()}
    total = plot_tokens_per_parameter(fits, curves=made_curves(fits))
    assert total.get_supxlabel() == "training compute C = 6 N D (FLOP), N counted as total"
    body = {
        "made": optimal(fits["made"], BUDGETS, counting="body", flops="kaplan", architecture=TIED)
    }
    figure = plot_tokens_per_parameter(fits, curves=body)
    assert "C counted as kaplan (FLOP), N counted as body" in figure.get_supxlabel()


def test_draws_without_a_finite_optimum_are_counted():
    fits = {"made": made_fit()}
    curves = made_curves(fits)
    curves["made"]["tokens_per_parameter"][:, 0, 0] = np.nan
    text = words(plot_tokens_per_parameter(fits, curves=curves))
    assert "no finite optimum: 10.0% of draws" in text


def test_marker_areas_are_proportional_to_weights():
    figure = plot_omega_weight({"made": made_fit()})
    for name, weight in (("weight", WEIGHT), ("weight_default", WEIGHT[::-1])):
        (dots,) = drawn(figure, name)
        np.testing.assert_allclose(dots.get_sizes(), MARKER_AREA * weight)
        np.testing.assert_allclose(dots.get_offsets()[:, 0], GRID)


def test_dots_of_weight_one_in_neighbouring_rows_do_not_touch():
    figure = plot_omega_weight({"one": made_fit(), "two": made_fit()})
    figure.draw_without_rendering()
    ax = figure.axes[0]
    (_, y), (_, below) = ax.transData.transform([(0, 0.24), (0, 0.76)]) * 72 / figure.dpi
    assert y - below >= 2 * np.sqrt(MARKER_AREA / np.pi)


@pytest.mark.parametrize(("family", "matrices"), [(TIED, 1.0), (UNTIED, 2.0)])
def test_omega_beyond_the_matrices_stored_is_shaded(family, matrices):
    fit = made_fit(family)
    assert stored_matrices(fit) == pytest.approx(matrices)
    figure = plot_omega_weight({"made": fit})
    (shade,) = drawn(figure, "beyond")
    assert shade.get_x() == pytest.approx(matrices)
    assert shade.get_x() + shade.get_width() == pytest.approx(figure.axes[0].get_xlim()[1])


def test_tying_tells_the_matrices_where_the_columns_do_not():
    fit = made_fit(UNTIED)
    fit["constant_data"] = fit["constant_data"].to_dataset().drop_vars("embedding")
    assert stored_matrices(fit) == 2.0


def test_an_omega_above_three_is_inside_the_axis():
    fit = made_fit()
    fit["evidence"] = fit["evidence"].to_dataset().assign_coords(omega=[0.0, 0.25, 1.0, 2.0, 4.0])
    assert plot_omega_weight({"made": fit}).axes[0].get_xlim()[1] > 4


def test_exponent_bars_are_as_dark_as_their_weight():
    ax = plot_exponent_by_omega({"made": made_fit()}).axes[0]
    medians = [line for line in ax.lines if line.get_marker() == "_"]
    opacity = np.array([line.get_alpha() for line in medians])
    assert [float(np.ravel(line.get_xdata())[0]) for line in medians] == list(GRID)
    np.testing.assert_allclose(np.diff(opacity) / np.diff(WEIGHT), 0.8)


def test_predicted_loss_counts_the_vocabulary_with_each_draws_omega():
    fit = made_fit(omega=2.0)
    np.testing.assert_allclose(predicted_loss(fit), np.exp(fit["observed_data"]["log_loss"]))


def test_predicted_loss_takes_the_laws_own_count_where_there_is_one():
    fit = made_fit()
    fit["constant_data"] = fit["constant_data"].to_dataset().assign(N=("run", 2 * BODY))
    np.testing.assert_allclose(predicted_loss(fit), chinchilla(2 * BODY, TOKENS, **EPOCH))


def test_predicted_loss_leaves_out_what_warm_up_wastes():
    fit = made_warmup_fit()
    law = {name: float(fit["posterior"][name][0, 0]) for name in ("E", "A", "B", "alpha", "beta")}
    N, D = fit["constant_data"]["N"], fit["constant_data"]["D"]
    expected = law["E"] + law["A"] / N ** law["alpha"] + law["B"] / (0.9 * D) ** law["beta"]
    np.testing.assert_allclose(predicted_loss(fit), expected)


def made_warmup_fit():
    """One draw of Epoch's law; half of the 20% of tokens in warm-up is wasted."""
    values = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
    draws = {name: (("chain", "draw"), [[x]]) for name, x in (values | {"kappa": 0.5}).items()}
    runs = {"N": [1e8, 1e9], "D": [2e9, 2e10], "warmup_share": [0.2, 0.2]}
    data = xr.Dataset({name: ("run", values) for name, values in runs.items()})
    return xr.DataTree.from_dict({"posterior": xr.Dataset(draws), "constant_data": data})


def test_residuals_of_one_per_cent_have_an_rms_of_one_per_cent():
    predicted = xr.DataArray([2.0, 3.0], dims="run")
    observed = predicted * np.exp([0.01, -0.01])
    assert residual_rms(observed, predicted) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["tokens", "omega", "exponent", "loss"])
def test_an_unhealthy_fit_is_marked_in_red_words_and_a_healthy_one_is_not(kind):
    fits = {"good-fit": made_fit(), "bad-fit": made_fit(converged=0)}
    figure = every_figure(fits)[kind]
    texts = figure.findobj(matplotlib.text.Text)
    marked = [text for text in texts if "NOT CONVERGED" in text.get_text()]
    assert len(marked) == 1
    assert to_rgba(marked[0].get_color()) == to_rgba(RED)
    if kind != "omega":
        frame = panel_of(figure, "bad").spines["top"]
        assert to_rgba(frame.get_edgecolor()) == to_rgba(RED)
        assert "NOT CONVERGED" not in panel_of(figure, "good").get_title(loc="left")


@pytest.mark.parametrize("kind", ["tokens", "omega", "exponent", "loss"])
def test_what_is_still_prior_is_said(kind):
    fits = {"made": made_fit(still_prior={"alpha": 0.8, "a": 0.7})}
    assert "mostly prior: a, alpha" in words(every_figure(fits)[kind])


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_every_study_has_a_panel_and_every_column_its_tick_labels(count):
    fits = {f"study{i}-runs": made_fit(draws=2) for i in range(count)}
    figure = plot_exponent_by_omega(fits)
    assert len(figure.axes) == count
    lowest = figure.axes[max(0, count - 3) :]
    assert all(ax.xaxis.get_tick_params()["labelbottom"] for ax in lowest)


def test_a_dollar_sign_in_a_name_is_shown_as_it_is():
    figure = plot_omega_weight({"a$b$_{": made_fit()})
    figure.draw_without_rendering()
    assert r"a\$b\$_{" in words(figure)


def test_figures_leave_no_state_behind():
    before = dict(matplotlib.rcParams)
    figures = every_figure({"made": made_fit()})
    assert all(isinstance(figure, Figure) for figure in figures.values())
    assert dict(matplotlib.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_a_users_settings_do_not_change_the_look():
    with matplotlib.rc_context({"font.size": 30.0, "axes.facecolor": "black"}):
        ax = plot_omega_weight({"made": made_fit()}).axes[0]
    assert to_rgba(ax.get_facecolor()) == to_rgba("white")
    assert ax.xaxis.label.get_fontsize() == pytest.approx(10.0)


def test_no_fit_is_an_error():
    with pytest.raises(InputError, match="at least one fit, got none"):
        plot_omega_weight({})


def test_a_list_of_fits_is_an_error_that_says_what_to_pass():
    with pytest.raises(InputError, match="mapping of study name to fit .* got list"):
        plot_predicted_loss([made_fit()])


def test_a_fit_without_a_curve_is_named():
    with pytest.raises(InputError, match=r"none for \['made'\]"):
        plot_tokens_per_parameter({"made": made_fit()}, curves={})


def test_a_fit_with_one_counting_has_no_weight_on_omega():
    fit = made_fit().drop_nodes(["grid", "evidence"])
    with pytest.raises(InputError, match="made: the fit has no group 'evidence'"):
        plot_omega_weight({"made": fit})
