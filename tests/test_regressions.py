"""The regressions that published procedures use, on losses made for the purpose."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis.strategies import floats

from scalebayes.errors import InputError
from scalebayes.regressions import (
    hull,
    interpolated_minima,
    parabola_minima,
    power_law,
    refuse_other_coordinates,
)


def test_a_budget_whose_lowest_loss_is_at_an_end_has_no_optimum():
    log_N = xr.DataArray(np.log([1e6, 1e7, 1e8, 1e9]), dims="size")
    falling = xr.DataArray([4.0, 3.0, 2.0, 1.0], dims="size").expand_dims(compute=[1.0], axis=1)
    assert np.isnan(interpolated_minima(log_N, falling)["log_size"]).all()


@given(exponent=floats(-2, 2), coefficient=floats(1e-3, 1e3))
def test_a_power_law_is_recovered(exponent, coefficient):
    x = xr.DataArray(np.geomspace(1e18, 1e22, 5), dims="compute")
    found = power_law(x, coefficient * x**exponent)
    assert float(found["exponent"]) == pytest.approx(exponent, abs=1e-9)
    assert float(found["log_coefficient"]) == pytest.approx(np.log(coefficient), abs=1e-6)


def test_a_power_law_leaves_out_what_is_not_known():
    x = xr.DataArray([1e18, 1e19, 1e20, 1e21], dims="compute")
    y = (x**0.5).where(x != 1e20)
    found = power_law(x, y)
    assert int(found["n_points"]) == 3
    assert float(found["exponent"]) == pytest.approx(0.5)
    assert np.isnan(float(power_law(x, y.where(x < 1e19))["exponent"]))


def test_weights_decide_which_points_a_power_law_meets():
    x = xr.DataArray([1.0, 10.0, 100.0], dims="compute")
    y = xr.DataArray([1.0, 10.0, 1.0], dims="compute")
    found = power_law(x, y, weights=xr.DataArray([1.0, 1.0, 0.0], dims="compute"))
    assert float(found["exponent"]) == pytest.approx(1)


@given(vertex=floats(-3, 3), curvature=floats(0.01, 10))
def test_a_parabola_s_vertex_is_found(vertex, curvature):
    x = xr.DataArray(np.linspace(-4, 5, 7), dims="size")
    loss = 2 + curvature * (x - vertex) ** 2
    loss[2] = np.nan
    assert float(parabola_minima(x, loss)["log_size"]) == pytest.approx(vertex, abs=1e-6)


def test_a_parabola_that_opens_downwards_has_no_minimum():
    x = xr.DataArray(np.linspace(-1, 1, 5), dims="size")
    assert np.isnan(float(parabola_minima(x, -(x**2))["log_size"]))


@pytest.mark.parametrize("vertex", [-6.0, 8.0])
def test_a_vertex_beyond_the_sizes_trained_is_no_minimum_and_is_said(vertex):
    x = xr.DataArray(np.linspace(-4, 5, 7), dims="size")
    found = parabola_minima(x, 2 + (x - vertex) ** 2)
    assert np.isnan(float(found["log_size"]))
    assert bool(found["outside"])


def test_a_size_without_a_loss_is_not_among_those_trained():
    x = xr.DataArray(np.linspace(-4, 5, 7), dims="size")
    loss = (2 + (x - 4.5) ** 2).where(x < 4)
    assert bool(parabola_minima(x, loss)["outside"])


def test_one_draw_without_a_loss_leaves_the_others_their_minimum():
    log_N = xr.DataArray(np.linspace(0, 6, 7), dims="size")
    loss = 2 + (log_N - 3) ** 2 + xr.zeros_like(xr.DataArray([0.0, 0.0], dims="draw"))
    loss = loss.expand_dims(compute=[1.0]).copy()
    loss[{"size": 2, "draw": 1}] = np.nan
    found = interpolated_minima(log_N, loss)["log_size"].squeeze("compute")
    assert float(found[0]) == pytest.approx(3, abs=0.05)
    assert np.isnan(float(found[1]))


def test_points_of_no_weight_do_not_count():
    x = xr.DataArray([1.0, 10.0, 100.0], dims="compute")
    for nothing in (0.0, np.nan):
        weights = xr.DataArray([1.0, nothing, nothing], dims="compute")
        found = power_law(x, x**0.5, weights=weights)
        assert int(found["n_points"]) == 1
        assert np.isnan(float(found["exponent"]))


@pytest.mark.parametrize(("y", "weight"), [(0.0, 1.0), (-1.0, 1.0), (2.0, -1.0)])
def test_a_power_law_needs_positive_values_and_no_negative_weight(y, weight):
    x = xr.DataArray([1.0, 2.0, 3.0], dims="compute")
    values = xr.DataArray([y, 2.0, 3.0], dims="compute")
    weights = xr.DataArray([weight, 1.0, 1.0], dims="compute")
    with pytest.raises(InputError, match="power law: x and y must be positive"):
        power_law(x, values, weights=weights)


def test_a_power_law_refuses_weights_of_other_budgets():
    x = xr.DataArray([1e18, 1e19, 1e20], dims="compute", coords={"compute": [1e18, 1e19, 1e20]})
    weights = xr.ones_like(x).assign_coords(compute=[1e19, 1e20, 1e21])
    with pytest.raises(InputError, match="power law: lengths and coordinates"):
        power_law(x, x, weights=weights)


def test_arrays_of_equal_or_no_coordinates_go_together():
    named = xr.DataArray([1.0, 2.0], dims="draw", coords={"draw": [0, 1]})
    refuse_other_coordinates("here", named, named + 1, xr.DataArray([3.0, 4.0], dims="draw"))
    with pytest.raises(InputError, match="here: .*draw"):
        refuse_other_coordinates("here", named, xr.DataArray([3.0, 4.0, 5.0], dims="draw"))


@pytest.mark.parametrize(
    ("compute", "loss", "said"),
    [
        ([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], "the runs have no hull"),
        ([1.0, 2.0, 3.0], [2.0, np.nan, 1.0], "must be positive and finite"),
        ([1.0, 2.0, -3.0], [2.0, 1.5, 1.0], "must be positive and finite"),
    ],
)
def test_runs_without_a_hull_are_refused(compute, loss, said):
    with pytest.raises(InputError, match=said):
        hull(compute, loss)
