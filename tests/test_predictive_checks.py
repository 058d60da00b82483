import dataclasses
from functools import cache

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from scalebayes.check_plots import binned_medians, plot_predictive_checks
from scalebayes.laws import chinchilla
from scalebayes.likelihoods import log_likelihood
from scalebayes.page import svg_text
from scalebayes.plots import predicted_loss
from scalebayes.predictive_checks import (
    FLAGGED,
    axis_values,
    checks_of,
    checks_text,
    loo_pit,
    predictive_checks,
    standardised_residuals,
    trend,
    uniformity_band,
)

LAW = {"E": 1.8, "A": 480.0, "B": 2080.0, "alpha": 0.35, "beta": 0.37}
SIGMA = 0.01


@cache
def known_fit(*, slope=0.0, effects=False, latent=False, spread=1.0):
    """A fit whose draws are all near the truth; residuals grow by `slope` scales per e-fold of D/N.

    With `effects` pairs of runs share shifts of the loss that the posterior knows; with `spread`
    the true noise is that many times the posterior's.
    """
    rng = np.random.default_rng(4)
    N, D = (
        x.ravel() for x in np.meshgrid(np.geomspace(1e8, 1e10, 12), np.geomspace(2e9, 2e11, 10))
    )
    run = [f"run {i}" for i in range(N.size)]
    ratio = np.log(D / N)
    z = spread * rng.standard_normal(N.size) + slope * (ratio - ratio.mean())
    index = np.arange(N.size) // 2
    b = rng.standard_normal(index.max() + 1)
    shift = 0.02 * b[index] if effects else 0.0
    log_loss = np.log(chinchilla(N, D, **LAW)) + shift + SIGMA * z
    shape = (2, 150)
    draws = {name: np.full(shape, value) for name, value in LAW.items()}
    draws["sigma"] = SIGMA * np.exp(0.03 * rng.standard_normal(shape))
    values = {name: (("chain", "draw"), value) for name, value in draws.items()}
    data = {"D": ("run", D)}
    if latent:
        values["omega"] = (("chain", "draw"), np.ones(shape))
        data |= {"body": ("run", 0.8 * N), "head": ("run", 0.2 * N)}
    else:
        data["N"] = ("run", N)
    if effects:
        values["tau"] = (("chain", "draw"), np.full(shape, 0.02))
        values["run_effect"] = (
            ("chain", "draw", "trajectory"),
            np.broadcast_to(b, (*shape, b.size)),
        )
        data["trajectory_index"] = ("run", index)
    coords = {"chain": np.arange(2), "draw": np.arange(150)}
    mu = (np.log(chinchilla(N, D, **LAW)) + shift)[None, None]
    pointwise = log_likelihood("normal", log_loss, mu=mu, sigma=draws["sigma"][..., None])
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(values, coords=coords),
            "constant_data": xr.Dataset(data, coords={"run": run}),
            "observed_data": xr.Dataset({"log_loss": ("run", log_loss)}, coords={"run": run}),
            "log_likelihood": xr.Dataset(
                {"log_loss": (("chain", "draw", "run"), pointwise)}, coords={**coords, "run": run}
            ),
        }
    )
    tree.attrs = {"study": "made-grid", "law": "chinchilla", "converged": 1}
    return tree


SPECIFIED = {
    "fixed": {},
    "latent": {"latent": True},
    "run effects": {"effects": True},
    "latent with run effects": {"latent": True, "effects": True},
}


@pytest.mark.parametrize("kind", SPECIFIED.values(), ids=SPECIFIED)
def test_a_law_that_made_its_runs_is_not_flagged(kind):
    table = predictive_checks({"made": known_fit(**kind)})
    assert table["flagged"].item() == "none"
    assert table["k > 0.7"].item() == 0


@pytest.mark.parametrize("kind", SPECIFIED.values(), ids=SPECIFIED)
def test_a_trend_of_residuals_with_tokens_per_parameter_is_flagged_as_that(kind):
    row = predictive_checks({"made": known_fit(slope=0.3, **kind)}).iloc[0]
    assert "trend in D/N" in row["flagged"]
    assert row["rho D/N"] > 0.4
    assert "trend in C" not in row["flagged"]  # the grid's D/N and compute are unrelated


def test_noise_three_times_the_models_is_flagged_by_the_pit_and_by_no_trend():
    assert predictive_checks({"made": known_fit(spread=3.0)})["flagged"].item() == "PIT"


def test_residuals_leave_out_the_run_effect():
    z = standardised_residuals(known_fit(effects=True)).median(("chain", "draw"))
    plain = standardised_residuals(known_fit()).median(("chain", "draw"))
    np.testing.assert_allclose(z, plain, rtol=0.1, atol=0.01)


def test_a_latent_count_gives_the_parameters_that_a_stated_one_gives():
    xr.testing.assert_allclose(axis_values(known_fit()), axis_values(known_fit(latent=True)))


def test_the_predicted_loss_of_a_known_law_is_that_law():
    data = known_fit()["constant_data"]
    expected = chinchilla(data["N"], data["D"], **LAW)
    xr.testing.assert_allclose(predicted_loss(known_fit()), expected)


def test_the_pit_of_noise_is_uniform_and_its_values_rise_with_the_residuals():
    pit, _ = loo_pit(known_fit())
    z = standardised_residuals(known_fit()).median(("chain", "draw")).to_numpy()
    assert (np.diff(pit[np.argsort(z)]) > -1e-3).all()
    place = (np.arange(pit.size) + 0.5) / pit.size
    assert np.abs(np.sort(pit) - place).max() < uniformity_band(pit.size)


def test_uniform_values_leave_their_band_as_often_as_stated():
    rng, n = np.random.default_rng(1), 40
    values = np.sort(rng.random((4000, n)), axis=1)
    above = (np.arange(1, n + 1) / n - values).max(axis=1)
    below = (values - np.arange(n) / n).max(axis=1)
    left = np.mean(np.maximum(above, below) > uniformity_band(n, prob=0.9))
    assert left == pytest.approx(0.1, abs=4 * np.sqrt(0.1 * 0.9 / 4000))


def test_the_probability_of_a_trend_is_about_uniform_under_noise_alone():
    rng = np.random.default_rng(2)
    axis = xr.DataArray(np.geomspace(1, 100, 30), dims="run")
    noise = rng.standard_normal((300, 30))
    made = [
        xr.DataArray(z[:, None, None] + np.zeros((30, 2, 50)), dims=("run", "chain", "draw"))
        for z in noise
    ]
    p = np.array([trend(one, axis)[1] for one in made])
    assert np.mean(p < 0.2) == pytest.approx(0.2, abs=4 * np.sqrt(0.2 * 0.8 / 300))


def test_without_a_log_likelihood_there_is_no_pit_and_the_rest_stands():
    fit = known_fit().copy()
    del fit["log_likelihood"]
    table = predictive_checks({"made": fit})
    assert table["PIT p"].item() is None
    assert checks_text(table)["PIT p"].item() == "–"
    assert table["p N"].item() > FLAGGED


def test_the_binned_median_of_constant_residuals_is_that_constant():
    residuals = xr.DataArray(np.full((40, 2, 5), 1.5), dims=("run", "chain", "draw"))
    middle, quantiles = binned_medians(residuals, np.geomspace(1, 1e4, 40))
    assert (np.diff(middle) > 0).all()
    np.testing.assert_allclose(quantiles, 1.5)


def test_the_figure_has_a_panel_per_axis_and_one_of_the_pit():
    figure = plot_predictive_checks(known_fit())
    labels = [ax.get_xlabel() for ax in figure.axes]
    assert len(labels) == 4
    assert labels[-1] == "leave-one-out PIT"
    assert "made" in figure.axes[0].get_title(loc="left")


def test_checks_made_once_give_the_table_and_the_figure_that_the_fit_gives():
    fit, checks = known_fit(slope=2.0), checks_of(known_fit(slope=2.0))
    pd.testing.assert_frame_equal(predictive_checks({"a": checks}), predictive_checks({"a": fit}))
    assert svg_text(plot_predictive_checks(fit, checks=checks)) == svg_text(
        plot_predictive_checks(fit)
    )


def test_every_residual_beyond_six_scales_is_a_triangle_at_the_edge():
    checks = checks_of(known_fit())
    far = checks.residuals.copy()
    far[0], far[1] = 9.0, -8.0
    figure = plot_predictive_checks(known_fit(), checks=dataclasses.replace(checks, residuals=far))
    dots, edge = figure.axes[0].collections[:2]
    assert len(dots.get_offsets()) == far.sizes["run"] - 2
    assert sorted(edge.get_offsets()[:, 1]) == [-6.0, 6.0]


def test_powers_of_ten_on_an_axis_are_read_as_such():
    figure = plot_predictive_checks(known_fit())
    axis = figure.axes[1].xaxis
    figure.draw_without_rendering()
    read = [label.get_text() for label in axis.get_majorticklabels()]
    digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    powers = [float(f"1e{text.removeprefix('10').translate(digits)}") for text in read]
    np.testing.assert_allclose(powers, axis.get_majorticklocs())
