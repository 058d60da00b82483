import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis.strategies import floats

from scalebayes.architecture import draw_gamma
from scalebayes.classical import huber_fit
from scalebayes.designs import (
    Design,
    draw_noise,
    grid_design,
    isoflop_design,
    losses,
    study_design,
    study_losses,
)
from scalebayes.errors import CountingError, InputError
from scalebayes.instruments import (
    HOFFMANN_1,
    HOFFMANN_BUDGETS,
    KAPLAN,
    KAPLAN_TOTAL,
    PEARCE_SONG,
    approach_1,
    approach_2,
    approach_3,
    interpolated_isoflop,
    kaplan_frontier,
)
from scalebayes.optimum import allocation_exponent, frontier, optimal_allocation
from scalebayes.studies import load_study
from scalebayes.surface import fit_surfaces

# Besiroglu et al. (2024), arXiv:2404.10102; Hoffmann et al. (2022), unrounded
EPOCH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658, "omega": 1.0}
CHINCHILLA = {"E": 1.6934, "A": 406.4, "B": 410.7, "alpha": 0.3392, "beta": 0.2849, "omega": 1.0}
HOFFMANN_2 = grid_design(
    np.geomspace(4e7, 1.6e10, 15), HOFFMANN_BUDGETS, counting="total", flops="6ND"
)


def draws(law=EPOCH, n=6, spread=0.02):
    rng = np.random.default_rng(7)
    wobble = {name: np.exp(spread * rng.standard_normal((2, n))) for name in law}
    values = {name: (("chain", "draw"), law[name] * wobble[name]) for name in law}
    return xr.Dataset(values).assign(omega=law["omega"])


def optimum_of(law, compute):
    return optimal_allocation(compute, **{name: law[name] for name in ("A", "B", "alpha", "beta")})


# Kaplan's frontier, replayed by Pearce & Song (2024), arXiv:2406.12907


@pytest.mark.parametrize(
    ("law", "design", "published"),
    [
        (EPOCH, KAPLAN, 0.78),
        (CHINCHILLA, KAPLAN, 0.74),
        (EPOCH, KAPLAN_TOTAL, 0.515),
        (CHINCHILLA, KAPLAN_TOTAL, 0.458),
    ],
)
def test_kaplan_s_regression_has_pearce_and_song_s_slopes(law, design, published):
    assert float(kaplan_frontier(law, design=design)["exponent"]) == pytest.approx(
        published, abs=0.015
    )


@pytest.mark.parametrize(
    ("design", "kaplan_form", "offset_form"),
    [(KAPLAN, -0.069, -0.133), (KAPLAN_TOTAL, -0.097, -0.178)],
)
def test_the_frontier_s_losses_have_pearce_and_song_s_slopes(design, kaplan_form, offset_form):
    result = kaplan_frontier(EPOCH, design=design)
    assert float(result["loss_exponent"]) == pytest.approx(kaplan_form, abs=0.002)
    assert float(result["offset_exponent"]) == pytest.approx(offset_form, abs=0.002)


@pytest.mark.parametrize(("law", "slope"), [(EPOCH, 0.793), (CHINCHILLA, 0.757)])
def test_a_regression_over_sizes_is_steeper_than_the_published_one_over_budgets(law, slope):
    # the frontier at sizes evenly spaced in log n has more of the steep part than at even budgets
    compute = np.geomspace(1e8, 1e22, 4000)
    family = {"architecture": PEARCE_SONG, "counting": "body", "flops": "6ND:body"}
    best = frontier(compute, **law, **family)
    sizes = np.logspace(2.9, 9.2, 500)
    budgets = np.interp(np.log(sizes), np.log(best["N"]), np.log(compute))
    assert np.polyfit(budgets, np.log(sizes), 1)[0] == pytest.approx(slope, abs=2e-3)


def test_counting_alone_moves_the_slope_as_much_as_the_published_disagreement():
    body, total = (kaplan_frontier(EPOCH, design=design) for design in (KAPLAN, KAPLAN_TOTAL))
    assert 0.2 < float(body["exponent"] - total["exponent"]) < 0.3


def test_exponents_of_n_and_d_add_up_to_one_in_one_counting():
    for design in (KAPLAN, KAPLAN_TOTAL):
        result = kaplan_frontier(EPOCH, design=design)
        assert float(result["exponent"] + result["data_exponent"]) == pytest.approx(1, abs=1e-9)


def test_draws_give_what_each_gives_alone():
    law = draws()
    together = kaplan_frontier(law)["exponent"]
    assert together.dims == ("chain", "draw")
    for chain, draw in ((0, 0), (1, 5)):
        one = {name: float(value) for name, value in law.isel(chain=chain, draw=draw).items()}
        alone = kaplan_frontier(one)["exponent"]
        assert float(together.isel(chain=chain, draw=draw)) == pytest.approx(float(alone))


def test_draws_of_gamma_are_heads_of_the_design():
    gamma = xr.DataArray(draw_gamma(50, random_seed=2), dims="draw")
    head = gamma * KAPLAN.body ** (1 / 3)
    design = Design(
        body=KAPLAN.body, compute=KAPLAN.compute, counting="body", flops="6ND:body", head=head
    )
    slopes = kaplan_frontier(EPOCH, design=design, architecture=None)["exponent"]
    assert slopes.dims == ("draw",)
    assert 0.76 < float(slopes.min()) < float(slopes.max()) < 0.80


# Hoffmann's three approaches


@pytest.mark.parametrize("law", [EPOCH, CHINCHILLA])
def test_the_envelope_of_training_curves_finds_the_law_s_exponent(law):
    true = allocation_exponent(law["alpha"], law["beta"])
    assert float(approach_1(law)["exponent"]) == pytest.approx(true, abs=0.003)


@pytest.mark.parametrize(("factor", "bias"), [(8, -2.9), (16, -5.1)])
def test_parabolas_misplace_the_tokens_where_exponents_differ(factor, bias):
    # Czech et al. (2026), arXiv:2603.22339: 15 sizes about the true optimum of five budgets,
    # extrapolated to 1e24; the exponent itself is right
    law = CHINCHILLA | {"E": 1.69, "alpha": 0.34, "beta": 0.28, "omega": 0.0}
    budgets = np.geomspace(1e17, 1e21, 5)
    design = isoflop_design(optimum_of(law, budgets)[0], budgets, factor=factor, n_sizes=15)
    result = approach_2(law, design=design)
    D = np.exp(result["log_data_coefficient"] + result["data_exponent"] * np.log(1e24))
    assert 100 * (float(D) / optimum_of(law, 1e24)[1] - 1) == pytest.approx(bias, abs=0.1)
    true = allocation_exponent(law["alpha"], law["beta"])
    assert float(result["exponent"]) == pytest.approx(true, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(alpha=floats(0.2, 0.6), factor=floats(2, 30))
def test_parabolas_are_unbiased_where_exponents_are_equal(alpha, factor):
    law = CHINCHILLA | {"alpha": alpha, "beta": alpha, "omega": 0.0}
    budgets = np.geomspace(1e18, 1e21, 4)
    N, _ = optimum_of(law, budgets)
    result = approach_2(law, design=isoflop_design(N, budgets, factor=factor, n_sizes=9))
    np.testing.assert_allclose(result["N"], N, rtol=1e-6)


def test_sizes_may_follow_each_draw_s_own_optimum():
    law = draws(CHINCHILLA | {"omega": 0.0})
    budgets = xr.DataArray(np.geomspace(1e18, 1e21, 4), dims="compute")
    design = isoflop_design(optimum_of(law, budgets)[0], budgets.values, factor=4, n_sizes=7)
    found = approach_2(law, design=design)["exponent"]
    np.testing.assert_allclose(found, allocation_exponent(law["alpha"], law["beta"]), atol=1e-9)


def test_a_huber_fit_without_noise_gives_back_every_draw():
    law = draws()
    found = approach_3(law, design=HOFFMANN_2)
    for name in ("E", "A", "B", "alpha", "beta"):
        xr.testing.assert_allclose(found[name], law[name], rtol=1e-4)


def test_a_noisy_huber_fit_is_as_good_as_one_from_many_starts():
    # noise of Hoffmann's points; 200 steps ended up to a third above the optimum here
    law = draws(spread=0.0).isel(chain=0, draw=slice(2))
    noise = draw_noise(KAPLAN, sigma=0.0041 + 0 * law["E"], nu=2.83, random_seed=5)
    found = approach_3(law, design=KAPLAN, noise=noise)
    table = xr.broadcast(losses(law, KAPLAN, architecture=PEARCE_SONG, noise=noise))[0]
    assert found["converged"].all()
    for draw in (0, 1):
        runs = table.isel(draw=draw)
        best = huber_fit(*(runs[name].values.ravel() for name in ("N", "D", "loss")))
        one = found.isel(draw=draw)
        assert float(one["objective"]) == pytest.approx(best.objective, rel=1e-6)
        assert float(one["exponent"]) == pytest.approx(best.a, abs=1e-4)


def test_a_fit_that_ran_out_of_steps_says_so():
    table = xr.broadcast(losses(EPOCH, HOFFMANN_2, architecture=PEARCE_SONG))[0]
    logs = [np.log(table[name].values.ravel()) for name in ("N", "D", "loss")]
    start = np.array([[0.3, -0.7, -1.5, -1.5, -0.9]])
    few, many = (fit_surfaces(*logs, start, iterations=n) for n in (3, 1000))
    assert (few[2].tolist(), many[2].tolist()) == ([False], [True])
    assert many[1][0] < few[1][0]


def test_a_chinchilla_world_counted_by_its_body_looks_like_kaplan():
    # fitted to Kaplan's sizes and budgets: no offset, a small alpha, and a near .8
    found = approach_3(EPOCH, design=KAPLAN)
    assert float(found["E"]) < 0.01
    assert float(found["alpha"]) == pytest.approx(0.085, abs=0.01)
    assert float(found["exponent"]) == pytest.approx(0.8, abs=0.03)


def test_leaving_the_offset_out_raises_the_exponent():
    without = approach_3(EPOCH, design=KAPLAN_TOTAL, offset=False)
    assert float(without["E"]) == 0
    assert float(without["exponent"]) > allocation_exponent(0.3478, 0.3658) + 0.1


def test_noise_spreads_what_is_reported():
    law = draws(n=50, spread=0.0)
    sigma = 0.005 * xr.ones_like(law["E"])
    noise = draw_noise(HOFFMANN_2, sigma=sigma, nu=4.0, tau=0.003, random_seed=1)
    for instrument in (approach_2, approach_3):
        exponent = instrument(law, design=HOFFMANN_2, noise=noise)["exponent"]
        assert 0.002 < float(exponent.std()) < 0.05


# Porian's interpolated isoFLOP curves


def test_a_law_replayed_on_a_study_s_own_sizes_and_budgets():
    study = load_study("porian2024-rw-5-tuned", window="none")
    design = study_design(study)
    assert int(design.present.sum()) == study_losses(study)["loss"].notnull().sum() == 121
    result = interpolated_isoflop(EPOCH, design=design)
    true = allocation_exponent(
        EPOCH["alpha"], EPOCH["beta"]
    )  # omega 1: Porian's count is the law's
    assert float(result["exponent"]) == pytest.approx(true, abs=0.015)


def test_interpolation_refuses_sizes_that_differ_between_draws():
    law = draws()
    design = isoflop_design(
        law["A"] * 1e6 + 0 * HOFFMANN_2.compute, HOFFMANN_BUDGETS, factor=4, n_sizes=5
    )
    with pytest.raises(InputError, match="sizes must not differ along"):
        interpolated_isoflop(law, design=design, architecture=PEARCE_SONG)


# what is refused, and what is kept apart


def test_a_law_without_omega_is_refused():
    law = {name: value for name, value in EPOCH.items() if name != "omega"}
    with pytest.raises(InputError, match=r"law: no \['omega'\]"):
        kaplan_frontier(law)


def test_a_design_without_heads_needs_an_architecture():
    with pytest.raises(CountingError, match="pass architecture="):
        kaplan_frontier(EPOCH, architecture=None)


INSTRUMENTS = (kaplan_frontier, approach_1, approach_2, approach_3, interpolated_isoflop)


@pytest.mark.parametrize("instrument", INSTRUMENTS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_draw_has_no_exponent_and_leaves_the_others_theirs(instrument, bad):
    law = draws(n=3).isel(chain=0)
    spoilt = law.assign(A=law["A"].where(law["draw"] != 1, bad))
    asked = {"design": HOFFMANN_2, "architecture": PEARCE_SONG}
    found, whole = (instrument(one, **asked)["exponent"] for one in (spoilt, law))
    assert np.isnan(found[1])
    np.testing.assert_allclose(found[[0, 2]], whole[[0, 2]], rtol=1e-9)


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_a_law_without_an_offset_can_be_replayed(instrument):
    law = {name: value for name, value in EPOCH.items() if name != "E"}
    asked = {"design": HOFFMANN_2, "architecture": PEARCE_SONG}
    found, with_offset = (float(instrument(one, **asked)["exponent"]) for one in (law, EPOCH))
    assert found == pytest.approx(with_offset, abs=0.003)  # E moves no optimum


def test_a_nested_law_bends_the_frontier_otherwise_than_a_chinchilla_law():
    # q = .5 doubles both exponents in the bracket: at the optimum the shares of the terms change,
    # the exponent of N does not
    family = {"architecture": PEARCE_SONG, "counting": "total", "flops": "6ND"}
    compute = HOFFMANN_1.compute.values
    for q in (0.5, 1.0):
        true = frontier(compute, **EPOCH, q=q, **family)
        found = approach_1(EPOCH | {"q": q})
        np.testing.assert_allclose(found["loss"], true["loss"], rtol=1e-3)
    assert float(abs(found["loss"] - approach_1(EPOCH | {"q": 0.5})["loss"]).min()) > 0.05


def test_a_frontier_at_the_ends_of_its_sizes_says_at_how_many_budgets():
    budgets = np.geomspace(6e18, 3e21, 10)
    wide, narrow = (
        grid_design(np.geomspace(least, most, 40), budgets, counting="total")
        for least, most in ((1e7, 1e11), (1e8, 2e9))
    )
    assert int(kaplan_frontier(EPOCH, design=wide)["n_at_ends"]) == 0
    result = kaplan_frontier(EPOCH, design=narrow)
    N = result["N"]
    trained = losses(EPOCH, narrow, architecture=PEARCE_SONG)["N"]
    at_ends = int(((N == trained.min()) | (N == trained.max())).sum())
    assert int(result["n_at_ends"]) == at_ends > 1
    assert int(result["n_budgets"]) == 10


def test_parabolas_whose_lowest_point_is_beyond_the_sizes_are_counted_not_used():
    law = EPOCH | {"omega": 0.0}
    budgets = np.geomspace(1e18, 1e21, 4)
    centres = optimum_of(law, budgets)[0] * [1, 1, 1, 100]
    design = isoflop_design(centres, budgets, factor=4, n_sizes=7)
    result = approach_2(law, design=design)
    assert (int(result["n_budgets"]), int(result["n_outside"])) == (3, 1)
    assert np.isnan(result["N"][3])
    assert float(result["exponent"]) == pytest.approx(
        allocation_exponent(law["alpha"], law["beta"]), abs=1e-6
    )


@pytest.mark.parametrize("instrument", [approach_2, interpolated_isoflop])
def test_scattered_budgets_have_no_isoflop_curves(instrument):
    design = study_design(load_study("hoffmann2022-epoch"))
    with pytest.raises(InputError, match="hoffmann2022-epoch: isoFLOP curves need budgets"):
        instrument(EPOCH, design=design)


def test_a_surface_needs_six_runs():
    design = grid_design([1e7, 1e8, 1e9], [1e19], counting="total")
    with pytest.raises(InputError, match="design: a surface needs 6 runs, found 3"):
        approach_3(EPOCH, design=design)
