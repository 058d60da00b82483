"""Sizes, budgets and noise of experiments, and the losses that a law gives them."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from scalebayes.architecture import Architecture, Shape
from scalebayes.counting import body_of
from scalebayes.designs import draw_noise, grid_design, isoflop_design, losses, study_design
from scalebayes.errors import CountingError, InputError
from scalebayes.flops import flop_per_token
from scalebayes.frontiers import porian_frontier
from scalebayes.instruments import HOFFMANN_BUDGETS, KAPLAN, PEARCE_SONG
from scalebayes.laws import kaplan, nested
from scalebayes.optimum import frontier
from scalebayes.studies import load_study, read_runs

# Besiroglu et al. (2024), arXiv:2404.10102
EPOCH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658, "omega": 1.0}
SMALL = grid_design(np.geomspace(4e7, 1.6e10, 5), [1e19, 1e20, 1e21], counting="total")
PER_BUDGET = isoflop_design([1e8, 4e8], [1e19, 1e20], factor=4, n_sizes=5)


def over_draws(value, n=4000):
    return xr.DataArray(np.full(n, value), dims="draw")


def test_losses_are_the_law_at_the_design_s_sizes():
    table = losses(EPOCH, KAPLAN, architecture=PEARCE_SONG)
    body, compute = KAPLAN.body[3], KAPLAN.compute[50]
    cell = table.isel(size=3, compute=50)
    assert float(cell["D"]) == pytest.approx(float(compute / (6 * body)))
    total = float(body + 47491 * body ** (1 / 3))
    expected = 1.8172 + 482.01 / total**0.3478 + 2085.43 / float(cell["D"]) ** 0.3658
    assert float(cell["loss"]) == pytest.approx(expected)


@pytest.mark.parametrize("flops", ["porian-attention", "deepseek", "hoffmann-f"])
def test_attention_is_charged_as_for_a_model_of_that_shape(flops):
    family = Architecture.from_gamma(47491, vocab_size=32000, context_length=2048)
    body = np.geomspace(1e7, 1e10, 5)
    design = grid_design(body, HOFFMANN_BUDGETS, counting="body", flops=flops)
    width, layers = family.width(body), family.layers(body)
    sizes = {"d_model": width, "n_layers": layers, "d_ff": 4 * width, "n_heads": width / 128}
    shape = Shape(**sizes, vocab_size=32000, tied=True, context_length=2048)
    tokens = losses(EPOCH, design, architecture=family)["D"].transpose("size", "compute")
    spent = tokens * flop_per_token(shape, flops)[:, None]
    np.testing.assert_allclose(spent, np.tile(HOFFMANN_BUDGETS, (5, 1)), rtol=1e-12)


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


# laws of other forms


@pytest.mark.parametrize("q", [0.37, 0.7, 1.0])
def test_losses_of_a_nested_law_are_that_law_s(q):
    table = losses(EPOCH | {"q": q}, SMALL, architecture=PEARCE_SONG)
    own = {name: EPOCH[name] for name in ("E", "A", "B", "alpha", "beta")}
    xr.testing.assert_allclose(table["loss"], nested(table["N"], table["D"], **own, q=q))


def test_a_law_without_an_offset_has_none():
    # Kaplan et al. (2020), arXiv:2001.08361, eq. 1.5 and table 2
    scales = {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103}
    law = {"A": 6.4e13**0.076, "B": 1.8e13**0.103, "alpha": 0.076, "beta": 0.103, "q": 0.103}
    table = losses(law | {"omega": 0.0}, KAPLAN, architecture=PEARCE_SONG)
    xr.testing.assert_allclose(table["loss"], kaplan(KAPLAN.body, table["D"], **scales))


# noise of each replay


@pytest.mark.parametrize("drawn", ["sigma", "nu", "tau"])
@pytest.mark.parametrize("noise", ["row", "effect"])
def test_every_replay_has_noise_of_its_own_whichever_scale_is_drawn(drawn, noise):
    sizes = {"row": {"sigma": 0.02, "nu": 30.0, "tau": 0.0}}
    sizes["effect"] = {"sigma": 0.0, "nu": 30.0, "tau": 0.02}
    scales = sizes[noise] | {drawn: over_draws(sizes[noise][drawn])}
    spread = draw_noise(SMALL, **scales, random_seed=1).std("draw")
    np.testing.assert_allclose(spread, 0.02, rtol=0.1)


def test_scales_drawn_along_different_dims_are_combined():
    tau = xr.DataArray([0.0, 0.01], dims="chain")
    noise = draw_noise(SMALL, sigma=over_draws(0.01, n=3), tau=tau, random_seed=1)
    assert noise.sizes == {"size": 5, "compute": 3, "draw": 3, "chain": 2}


def test_an_effect_is_shared_by_the_budgets_of_one_model():
    noise = draw_noise(SMALL, sigma=0.0, tau=over_draws(0.02), random_seed=1)
    xr.testing.assert_allclose(noise.isel(compute=0), noise.isel(compute=2))


def test_where_each_budget_has_its_own_sizes_each_cell_is_a_model_of_its_own():
    noise = draw_noise(PER_BUDGET, sigma=0.0, tau=over_draws(0.02), random_seed=1)
    one, other = (noise.isel(compute=i, size=2) for i in (0, 1))
    assert abs(float(xr.corr(one, other))) < 0.06
    np.testing.assert_allclose(noise.std("draw"), 0.02, rtol=0.1)


def test_sizes_that_follow_draws_have_noise_for_each_draw():
    centres = xr.DataArray([[1e8, 1.1e8, 1.2e8]], dims=("compute", "draw"))
    design = isoflop_design(centres, [1e19], factor=4, n_sizes=5)
    noise = draw_noise(design, sigma=0.01, random_seed=1)
    assert noise.sizes["draw"] == 3
    assert float(noise.std("draw").min()) > 0


@pytest.mark.parametrize(
    "scales", [{"sigma": -1.0}, {"sigma": 1.0, "nu": 0.0}, {"sigma": 1.0, "tau": over_draws(-0.1)}]
)
def test_a_negative_scale_of_noise_is_refused(scales):
    with pytest.raises(InputError, match=f"noise: {list(scales)[-1]} must be >"):
        draw_noise(SMALL, **scales)


def test_noise_of_a_draw_without_a_scale_is_not_a_number():
    sigma = xr.DataArray([0.01, np.nan], dims="draw")
    noise = draw_noise(SMALL, sigma=sigma, nu=4.0, tau=0.01, random_seed=1)
    assert noise.isnull().all(("size", "compute")).values.tolist() == [False, True]


# coordinates


def test_centres_keep_every_budget_though_their_coordinates_differ_by_rounding():
    asked = [1e17, 1e18, 1e19, 1e20, 1e21, 1e22, 1e23]
    made = np.nextafter(asked, np.inf)
    family = {"architecture": PEARCE_SONG, "counting": "body", "flops": "6ND:body"}
    centres = frontier(made, **EPOCH, **family)["N"]
    design = isoflop_design(centres, asked, factor=4, n_sizes=7)
    table = losses(EPOCH, design, architecture=PEARCE_SONG)
    assert table["compute"].values.tolist() == asked
    assert not table["loss"].isnull().any()


def test_centres_of_other_budgets_are_refused():
    centres = xr.DataArray([1e8, 2e8], dims="compute", coords={"compute": [1e19, 1e20]})
    with pytest.raises(InputError, match="centres: they are those of the budgets"):
        isoflop_design(centres, [1e20, 1e21], factor=4, n_sizes=5)
    with pytest.raises(InputError, match="one per budget, found 2 for 3"):
        isoflop_design(centres, [1e19, 1e20, 1e21], factor=4, n_sizes=5)
    with pytest.raises(InputError, match="one per budget, found 1 for 2"):
        isoflop_design([1e8], [1e19, 1e20], factor=4, n_sizes=5)


def test_negative_centres_are_refused_in_an_array_too():
    centres = xr.DataArray([1e8, -1e8], dims="compute")
    with pytest.raises(InputError, match="centres: must be positive"):
        isoflop_design(centres, [1e19, 1e20], factor=4, n_sizes=5)


def test_draws_of_noise_and_of_the_law_must_be_the_same():
    four = over_draws(1.0, n=4).assign_coords(draw=range(4))
    law = {name: value * four for name, value in EPOCH.items()}
    sigma = over_draws(0.01, n=4).assign_coords(draw=range(1, 5))
    noise = draw_noise(SMALL, sigma=sigma, random_seed=1)
    for other in (noise, noise[..., :2].drop_vars("draw")):
        with pytest.raises(InputError, match="law, design and noise: .*draw"):
            losses(law, SMALL, architecture=PEARCE_SONG, noise=other)


# shapes of studies


@pytest.mark.parametrize(
    "stage", ["2a-lastlayer-attention", "3a-warmup-attention", "5a-tuned-attention"]
)
def test_a_replay_charges_the_attention_of_a_study_s_own_models(stage):
    study = load_study(f"porian2024-rw-{stage}", window="none")
    design = study_design(study)
    runs = study.runs.assign(flops=lambda table: table["flops"].astype(float))
    table = losses(EPOCH, design, architecture=study.architecture)
    tokens = table["D"].sel(compute=runs["flops"].to_xarray(), method="nearest")
    position = [int(np.flatnonzero(design.body.values == body)[0]) for body in runs["body"]]
    replayed = tokens.isel(size=xr.DataArray(position, dims="index"))
    np.testing.assert_allclose(replayed, runs["D"], rtol=1e-6)


def test_attention_of_a_family_leaves_a_design_its_own_heads():
    family = Architecture.from_gamma(47491, vocab_size=32000, context_length=2048)
    plain = grid_design([1e7, 1e8], [1e19], counting="body+head", flops="porian-attention")
    as_family = dataclasses.replace(plain, head=family.head(plain.body))
    without = dataclasses.replace(plain, head=0.0 * plain.body)
    D = {
        name: losses(EPOCH, design, architecture=family)["D"]
        for name, design in {"plain": plain, "family": as_family, "without": without}.items()
    }
    xr.testing.assert_allclose(D["plain"], D["family"])
    charged = plain.compute / (6 * D["without"])
    expected = plain.compute / (6 * D["plain"]) - family.head(plain.body)
    xr.testing.assert_allclose(charged, expected)


def test_models_of_one_body_and_different_heads_are_different_sizes():
    tokens = np.tile(np.geomspace(1e9, 1e11, 6), 2)
    head = np.repeat([1e7, 3e7], 6)
    table = pd.DataFrame({"N": 1e8 + head, "D": tokens, "loss": 2 + 9e4 / tokens**0.5 + 1e7 / head})
    table = table.assign(body=1e8, head=head, embedding=head, flops=6 * table["N"] * tokens)
    design = study_design(read_runs(table, counting="total", name="mine"))
    assert design.body.values.tolist() == [1e8, 1e8]
    assert design.head.values.tolist() == [1e7, 3e7]
    assert int(design.present.sum()) == 12


def test_budgets_that_differ_by_rounding_are_one():
    study = load_study("porian2024-rw-2-lastlayer", window="none")
    blurred = study.table.assign(
        flops=study.table["flops"] * (1 + 1e-15 * np.arange(len(study.table)))
    )
    other = dataclasses.replace(study, table=blurred)
    assert study_design(other).compute.size == study_design(study).compute.size
    assert float(porian_frontier(other)["exponent"]) == pytest.approx(
        float(porian_frontier(study)["exponent"]), abs=1e-9
    )
