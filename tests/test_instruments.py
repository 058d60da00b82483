import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis.strategies import floats

from scalebayes.architecture import Architecture, draw_gamma
from scalebayes.counting import body_of
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
from scalebayes.frontiers import porian_frontier
from scalebayes.instruments import (
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
from scalebayes.regressions import interpolated_minima, parabola_minima, power_law
from scalebayes.studies import load_study, read_runs

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


def test_a_budget_whose_lowest_loss_is_at_an_end_has_no_optimum():
    log_N = xr.DataArray(np.log([1e6, 1e7, 1e8, 1e9]), dims="size")
    falling = xr.DataArray([4.0, 3.0, 2.0, 1.0], dims="size").expand_dims(compute=[1.0], axis=1)
    assert np.isnan(interpolated_minima(log_N, falling)["log_size"]).all()


# regressions, designs and noise


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
    assert float(parabola_minima(x, loss)) == pytest.approx(vertex, abs=1e-6)


def test_a_parabola_that_opens_downwards_has_no_minimum():
    x = xr.DataArray(np.linspace(-1, 1, 5), dims="size")
    assert np.isnan(float(parabola_minima(x, -(x**2))))


def test_losses_are_the_law_at_the_design_s_sizes():
    table = losses(EPOCH, KAPLAN, architecture=PEARCE_SONG)
    body, compute = KAPLAN.body[3], KAPLAN.compute[50]
    cell = table.isel(size=3, compute=50)
    assert float(cell["D"]) == pytest.approx(float(compute / (6 * body)))
    total = float(body + 47491 * body ** (1 / 3))
    expected = 1.8172 + 482.01 / total**0.3478 + 2085.43 / float(cell["D"]) ** 0.3658
    assert float(cell["loss"]) == pytest.approx(expected)


@pytest.mark.parametrize("flops", ["porian-attention", "deepseek", "hoffmann-f"])
def test_designs_may_charge_attention(flops):
    family = Architecture.from_gamma(47491, vocab_size=32000, context_length=2048)
    design = grid_design(
        np.geomspace(1e7, 1e10, 12), HOFFMANN_BUDGETS, counting="body", flops=flops
    )
    exponent = float(approach_1(EPOCH, design=design, architecture=family)["exponent"])
    assert 0.4 < exponent < 0.8


def test_sizes_in_total_parameters_become_bodies():
    total = np.geomspace(4.4e7, 1.6e10, 5)
    design = grid_design(body_of(total, "total", PEARCE_SONG), [1e20], counting="total")
    np.testing.assert_allclose(losses(EPOCH, design, architecture=PEARCE_SONG)["N"], total)


def test_noise_has_its_scale_within_and_between_sizes():
    design = grid_design(np.geomspace(1e7, 1e9, 400), np.geomspace(1e18, 1e20, 50), counting="body")
    noise = draw_noise(design, sigma=0.01, tau=0.02, random_seed=1)
    assert float(noise.std("compute").mean()) == pytest.approx(0.01, rel=0.03)
    assert float(noise.mean("compute").std()) == pytest.approx(0.02, rel=0.1)


def test_student_noise_has_heavier_tails_than_normal_noise():
    kwargs = {"sigma": xr.DataArray(np.full(200, 0.01), dims="draw"), "random_seed": 3}
    student, normal = draw_noise(KAPLAN, nu=3.0, **kwargs), draw_noise(KAPLAN, **kwargs)
    assert student.sizes["draw"] == 200
    assert float((abs(student) > 0.05).mean()) > 10 * float((abs(normal) > 0.05).mean())


def test_a_law_without_omega_is_refused():
    law = {name: value for name, value in EPOCH.items() if name != "omega"}
    with pytest.raises(InputError, match=r"law: no \['omega'\]"):
        kaplan_frontier(law)


def test_a_design_without_heads_needs_an_architecture():
    with pytest.raises(CountingError, match="pass architecture="):
        kaplan_frontier(EPOCH, architecture=None)


def test_a_design_needs_positive_sizes():
    with pytest.raises(InputError, match="sizes: must be positive finite numbers"):
        grid_design([1e6, -1e7], [1e18], counting="body")


def test_an_isoflop_design_needs_three_sizes():
    with pytest.raises(InputError, match="3 sizes or more"):
        isoflop_design([1e8], [1e18], factor=4, n_sizes=2)


def test_a_study_without_budgets_has_no_isoflop_curves():
    table = pd.DataFrame({"N": np.geomspace(1e7, 1e9, 9), "D": 1e10, "loss": np.linspace(4, 3, 9)})
    study = read_runs(table, counting="body", name="mine")
    with pytest.raises(CountingError, match="mine: isoFLOP curves need the column flops"):
        porian_frontier(study)
    with pytest.raises(CountingError, match="mine: a design needs head of every run"):
        study_design(study)
