"""Figures of one fit: of a small sweep, of a large one, of every bundled hypothesis."""

from functools import cache

import matplotlib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from fits import EPOCH, epoch_latents, tree_without_sampling, user_study
from scipy import stats

import scalebayes as sb
from scalebayes.check_plots import SHOWN
from scalebayes.counting import Architecture
from scalebayes.errors import InputError
from scalebayes.figure_files import save_figure
from scalebayes.law_views import budgets_of, view_of
from scalebayes.laws import chinchilla
from scalebayes.optimum import optimal_allocation
from scalebayes.posterior_plots import sd_ratio
from scalebayes.residual_plots import noise_quantiles
from scalebayes.small_multiples import RED

ONE_FIT = ("loss_surface", "isoflop_slices", "residuals", "prior_posterior")
KINDS = ("latent-counting", "isoflop", "nested", "warmup", "normal-noise")
WIDTH = 5.6  # inches, which a phone shows at nearly its own size


@cache
def small_fit(**changes):
    return tree_without_sampling(
        "hoffmann-total", user_study(**changes), latents=epoch_latents(), spread=1e-5
    )


@cache
def large_fit():
    study = user_study(n_sizes=50, n_tokens=40)
    return tree_without_sampling("hoffmann-total", study, latents=epoch_latents(), spread=1e-4)


@cache
def isoflop_study():
    """Five lines of equal compute, seven sizes each."""
    compute = np.repeat(np.geomspace(1e19, 1e21, 5), 7)
    N = optimal_allocation(compute, **{k: v for k, v in EPOCH.items() if k != "E"})[0]
    N = N * np.tile(np.geomspace(0.3, 3.0, 7), 5)
    D = compute / (6 * N)
    runs = {"N": N, "D": D, "loss": chinchilla(N, D, **EPOCH)}
    return sb.read_runs(pd.DataFrame(runs), counting="total", name="lines")


def words(figure):
    texts = figure.findobj(matplotlib.text.Text)
    return "\n".join(text.get_text() for text in texts if text.get_text())


def drawn(figure, name):
    return [artist for artist in figure.findobj() if artist.get_label() == f"_{name}"]


def figure_of(name, fit):
    return getattr(sb.plots, f"plot_{name}")(fit)


def cut_off(figure):
    """Return how far, in inches, what is drawn reaches out of the figure on any side."""
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return max(-box.x0, -box.y0, box.x1 - width, box.y1 - height)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("figure", ONE_FIT)
def test_every_kind_of_hypothesis_has_every_figure_with_no_word_cut_off(figure, name):
    made = figure_of(figure, tree_without_sampling(name))
    assert cut_off(made) < 0.02
    assert made.get_figwidth() == WIDTH


@pytest.mark.parametrize("figure", [*ONE_FIT, "optimal_ratio"])
def test_figures_of_two_thousand_runs_say_how_they_show_them(figure):
    made = figure_of(figure, large_fit())
    assert cut_off(made) < 0.02
    if figure == "loss_surface":
        assert "2,000 runs, drawn small" in words(made)
    if figure == "residuals":
        assert "2,000 runs, counted in hexagons" in words(made)


def test_no_run_is_left_out_of_the_surface():
    (runs,) = drawn(figure_of("loss_surface", large_fit()), "runs")
    assert len(runs.get_offsets()) == 2000


def test_hexagons_and_triangles_hold_every_run():
    figure = figure_of("residuals", large_fit())
    ax = figure.axes[0]
    hexagons = next(one for one in ax.collections if one.get_array() is not None)
    triangles = drawn(figure, "far")[0]
    assert hexagons.get_array().sum() + len(triangles.get_offsets()) == 2000


@pytest.mark.parametrize("figure", [*ONE_FIT, "optimal_ratio"])
def test_a_fit_that_did_not_converge_says_so_in_red(figure):
    fit = small_fit().copy()
    fit.attrs |= {"converged": 0, "problems": "R-hat 1.2"}
    made = figure_of(figure, fit)
    texts = made.findobj(matplotlib.text.Text)
    said = [one for one in texts if "NOT CONVERGED" in one.get_text()]
    assert said
    assert all(one.get_color() == RED for one in said)


@pytest.mark.parametrize("figure", [*ONE_FIT, "optimal_ratio"])
def test_what_is_mostly_the_priors_is_named(figure):
    fit = small_fit().copy()
    fit.attrs["still_prior"] = '{"beta": 0.9}'
    assert "mostly prior" in words(figure_of(figure, fit))


@pytest.mark.parametrize("figure", ["loss_surface", "residuals", "optimal_ratio"])
def test_the_same_fit_gives_the_same_bytes(figure, tmp_path):
    for name in ("first.svg", "second.svg"):
        save_figure(figure_of(figure, small_fit()), tmp_path / name)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def test_the_line_of_optima_is_the_closed_form():
    (line,) = drawn(figure_of("loss_surface", small_fit()), "frontier")
    N, D = line.get_data()
    law = {name: EPOCH[name] for name in ("A", "B", "alpha", "beta")}
    expected, _ = optimal_allocation(6 * N * D, **law)
    np.testing.assert_allclose(N, expected, rtol=1e-3)


def test_runs_on_lines_of_equal_compute_stay_where_they_are():
    fit = tree_without_sampling(
        "hoffmann-total", isoflop_study(), latents=epoch_latents(), spread=1e-6
    )
    budget, on_lines = budgets_of(fit, view_of(fit))
    assert on_lines
    np.testing.assert_allclose(np.unique(budget), np.geomspace(1e19, 1e21, 5), rtol=1e-6)
    figure = figure_of("isoflop_slices", fit)
    (runs,) = drawn(figure, "runs")
    losses = isoflop_study().runs["loss"].to_numpy()
    np.testing.assert_allclose(runs.get_offsets()[:, 1], losses, rtol=1e-6)
    assert len(drawn(figure, "law")) == 5
    assert "on no isoFLOP lines" not in words(figure)


def test_runs_off_lines_lie_on_the_curve_of_their_bin_once_moved():
    study = user_study(noise=0.0, n_tokens=7)
    fit = tree_without_sampling("hoffmann-total", study, latents=epoch_latents(), spread=1e-6)
    view = view_of(fit)
    budget, on_lines = budgets_of(fit, view)
    assert not on_lines
    figure = figure_of("isoflop_slices", fit)
    (runs,) = drawn(figure, "runs")
    expected = chinchilla(view.N, budget / (6 * view.N), **EPOCH)
    np.testing.assert_allclose(runs.get_offsets()[:, 1], expected, rtol=1e-4)
    assert "runs moved to their line: by" in words(figure)


def test_quantiles_of_normal_noise_are_those_of_its_order_statistics():
    expected, low, high = noise_quantiles(3)
    assert expected[1] == pytest.approx(0.0, abs=1e-12)
    # the largest of three is below x with probability Phi(x)^3
    assert stats.norm.cdf(low[-1]) ** 3 == pytest.approx(0.05)
    assert stats.norm.cdf(high[-1]) ** 3 == pytest.approx(0.95)
    assert (low < expected).all() and (expected < high).all()


def test_residuals_of_the_right_noise_stay_in_the_band():
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(200):
        sample = np.sort(rng.standard_t(4.0, 50))
        _, low, high = noise_quantiles(50, 4.0)
        inside.append(((sample >= low) & (sample <= high)).mean())
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)


def test_residuals_beyond_six_scales_are_drawn_at_the_edge():
    fit = small_fit().copy()
    moved = fit["observed_data"]["log_loss"].copy()
    moved[0] += 1.0
    fit["observed_data"] = xr.Dataset({"log_loss": moved})
    far = drawn(figure_of("residuals", fit), "far")
    assert far[0].get_offsets()[0, 1] == SHOWN


def test_the_sd_ratio_of_a_positive_quantity_is_of_its_log():
    rng = np.random.default_rng(1)
    prior, posterior = np.exp(rng.normal(0, 1.0, 50_000)), np.exp(rng.normal(3, 0.25, 50_000))
    assert sd_ratio("E", prior, posterior) == pytest.approx(0.25, rel=0.03)
    assert sd_ratio("a", rng.normal(size=50_000), 2 * rng.normal(size=50_000)) == pytest.approx(
        2.0, rel=0.03
    )


def test_the_curve_with_discrepancy_is_wider_beyond_the_runs_and_named():
    figure = figure_of("optimal_ratio", small_fit())
    outer = [line.get_ydata() for line in drawn(figure, "discrepancy")]
    (exact,) = drawn(figure, "exact")
    compute = exact.get_xdata()
    widths = np.log(np.max(outer, axis=0) / np.min(outer, axis=0))
    assert widths[-1] > 3 * np.interp(1e20, compute, widths)
    assert "with discrepancy" in words(figure)


def test_where_the_runs_compute_is_not_known_nothing_is_shaded():
    family = Architecture(aspect_ratio=64.0, vocab_size=32000, tied=True)
    figure = sb.plot_optimal_ratio(small_fit(), counting="body", architecture=family)
    assert drawn(figure, "data") == []
    assert np.isnan(drawn(figure, "exact")[0].get_ydata()).all()


def test_the_isoflop_law_has_a_curve_without_discrepancy():
    figure = figure_of("optimal_ratio", tree_without_sampling("isoflop"))
    assert drawn(figure, "discrepancy") == []
    assert "with discrepancy" not in words(figure)


def test_a_latent_count_without_shapes_is_shown_at_its_most_frequent_omega():
    fit = tree_without_sampling("latent-counting")
    fit.attrs["architecture"] = ""
    figure = figure_of("loss_surface", fit)
    omega = fit["posterior"]["omega"].values
    likely = 1.0 if (omega == 1.0).mean() > 0.5 else 2.0
    share = (omega == likely).mean()
    assert f"body + {likely:g} head ({share:.0%} of the draws)" in words(figure)
    with pytest.raises(InputError, match="counting"):
        figure_of("optimal_ratio", fit)


def test_figures_of_many_studies_take_one_fit():
    fit = tree_without_sampling("latent-counting")
    one = sb.plot_tokens_per_parameter(fit)
    assert fit.attrs["study"].split("-")[0] in words(one)
    assert "undecided" in words(sb.plot_omega_weight(fit))


@pytest.mark.parametrize("name", sb.__all__)
def test_every_figure_of_the_package_is_in_plots_too(name):
    if name.startswith("plot_"):
        assert getattr(sb.plots, name) is getattr(sb, name)
