import numpy as np
import pytest
import xarray as xr
from scipy.optimize import minimize_scalar

from scalebayes.discrepancy import (
    AMPLITUDES,
    Discrepancy,
    decades_outside,
    discrepant_log_loss,
    find_discrepancy,
    law_log_losses,
    log_loss_features,
    published_discrepancy,
)
from scalebayes.errors import InputError
from scalebayes.laws import chinchilla
from scalebayes.optimum import optimal_allocation

LAW = {"A": 482.0, "B": 2085.0, "alpha": 0.348, "beta": 0.366}
VALUES = {"E": 1.82} | LAW
NOTHING = dict.fromkeys(AMPLITUDES, 0.0)


def test_without_coefficients_the_law_is_left():
    N, D = np.array([1e8, 3e9]), np.array([2e9, 1e12])
    found = discrepant_log_loss(N, D, VALUES, NOTHING, decades=2.0)
    assert found == pytest.approx(np.log(chinchilla(N, D, **VALUES)), rel=1e-14)


@pytest.mark.parametrize("valley", [-0.8, 0.0, 0.8])
def test_the_optimum_moves_by_the_shift_at_every_steepness(valley):
    compute, decades = 1e22, 1.5
    coefficients = NOTHING | {"shift": 0.1, "shift_growth": -0.3, "valley": valley, "level": 0.02}

    def loss(log_N):
        N = np.exp(log_N)
        return discrepant_log_loss(N, compute / (6 * N), VALUES, coefficients, decades=decades)

    law = np.log(optimal_allocation(compute, **LAW)[0])
    found = minimize_scalar(
        loss, bounds=(law - 4, law + 4), method="bounded", options={"xatol": 1e-9}
    )
    assert found.x == pytest.approx(law + 0.1 - 0.3 * decades, abs=1e-5)


def test_the_lowest_loss_moves_by_the_level():
    coefficients = NOTHING | {"level": 0.01, "level_growth": 0.04}
    N, D = optimal_allocation(1e22, **LAW)
    found = discrepant_log_loss(N, D, VALUES, coefficients, decades=2.0)
    assert found - np.log(chinchilla(N, D, **VALUES)) == pytest.approx(0.01 + 2 * 0.04, rel=1e-9)


def test_the_features_are_the_derivatives_of_the_discrepant_loss():
    N = xr.DataArray([2e8, 1e9, 8e9], dims="point")
    D = xr.DataArray([4e10, 2e10, 1e10], dims="point")
    values = {
        name: xr.DataArray([[value]], dims=("chain", "draw")) for name, value in VALUES.items()
    }
    decades = xr.DataArray([0.2, 0.7, 1.4], dims="point")
    features = log_loss_features(N, D, values, decades=decades)
    here, _ = law_log_losses(N, D, values, "chinchilla")
    for name in AMPLITUDES:
        step = 1e-5
        moved = discrepant_log_loss(N, D, values, NOTHING | {name: step}, decades=decades)
        slope = ((moved - here) / step).squeeze().to_numpy()
        assert features.sel(amplitude=name).to_numpy() == pytest.approx(slope, rel=1e-3, abs=1e-7)


def test_budgets_inside_the_data_are_no_decades_outside():
    found = decades_outside(np.array([1e17, 1e18, 1e19, 1e20, 1e22]), (1e18, 1e20))
    assert found == pytest.approx([1, 0, 0, 0, 2])


def test_coefficients_have_the_spread_of_the_amplitudes():
    amplitudes = {name: np.full(3, 0.1 * (i + 1)) for i, name in enumerate(AMPLITUDES)}
    like = xr.DataArray(np.zeros((4, 5000)), dims=("chain", "draw"))
    found = Discrepancy(amplitudes=amplitudes).coefficients(like, np.random.default_rng(1))
    for i, name in enumerate(AMPLITUDES):
        assert float(found[name].mean()) == pytest.approx(0, abs=0.004 * (i + 1))
        assert float(found[name].std()) == pytest.approx(0.1 * (i + 1), rel=0.03)


def test_the_published_amplitudes_are_there():
    found = published_discrepancy()
    assert set(found.amplitudes) == set(AMPLITUDES)
    assert all((draws >= 0).all() and draws.size >= 100 for draws in found.amplitudes.values())


def test_another_word_than_published_is_refused():
    assert find_discrepancy(None) is None
    with pytest.raises(InputError, match='"published" or None'):
        find_discrepancy("guessed")


def test_the_law_isoflop_is_refused():
    with pytest.raises(InputError, match="not for 'isoflop'"):
        law_log_losses(1e9, 1e10, {"E": 1.8, "K": 0.3}, "isoflop")
