"""The density of a literature by hand: the same as the graph of the plain model."""

import dataclasses

import numpy as np
import pytest

from scalebayes.synthesis_data import synthesis_rows
from scalebayes.synthesis_density import synthesis_density
from scalebayes.synthesis_model import LATENTS, prior_latents, synthesis_data, synthesis_model

PLAIN = "FAST_COMPILE"  # one graph for a few points is not worth compiling
OTHER = {"log_ratio_sd": 0.7, "log_gamma_own_sd": 0.2, "tau_within": 0.1, "log_se_sd": 0.9}


def literature(*, known=slice(None, None, 2)):
    """The published exponents, some of them with an error."""
    rows = synthesis_rows()
    rows = rows[rows["role"].isin(["primary", "replicate"])].reset_index(drop=True)
    rows.loc[rows.index[known], "se"] = np.linspace(0.01, 0.05, len(rows.index[known]))
    return synthesis_data(rows)


def points(data, n, seed=4):
    """Draws from the prior as the sampler holds them."""
    latents = prior_latents(data, n, random_seed=seed)
    for name in ("tau_between", "tau_within"):
        latents[name] = np.log(latents[name])
    return np.column_stack([latents[name] for name in LATENTS])


def as_points(model, many):
    """The model's own variables at packed points."""
    initial = model.initial_point()
    sizes = {one.name: initial[one.name].shape for one in model.value_vars}
    ends = np.cumsum([int(np.prod(shape)) for shape in sizes.values()])
    parts = [np.split(z, ends[:-1]) for z in many]
    return [
        {name: part.reshape(sizes[name]) for name, part in zip(sizes, one, strict=True)}
        for one in parts
    ]


@pytest.mark.parametrize("prior", [None, OTHER])
def test_value_and_gradient_are_those_of_the_plain_model(prior):
    data = literature()
    assert 0 < data.missing.size < data.value.size
    assert data.replicate.any()
    model = synthesis_model(data, prior=prior)
    logp, dlogp = model.compile_logp(mode=PLAIN), model.compile_dlogp(mode=PLAIN)
    by_hand = synthesis_density(data, prior=prior)
    usual = points(data, 20)
    far = by_hand.start + 2.5 * (points(data, 20, seed=5) - by_hand.start)  # some not at the root
    for many, tolerance in ((usual, 1e-10), (far, 1e-9)):
        for z, given in zip(many, as_points(model, many), strict=True):
            value, gradient = by_hand.value_and_gradient(z)
            assert value == pytest.approx(float(logp(given)), rel=tolerance)
            known = dlogp(given)
            scale = abs(known).max()
            np.testing.assert_allclose(gradient, known, rtol=1e-9, atol=tolerance * scale)


def test_the_variables_are_those_of_the_points():
    data = literature()
    found = synthesis_density(data).variables(points(data, 3).reshape(3, 1, -1))
    assert tuple(found) == LATENTS
    for name, expected in prior_latents(data, 3, random_seed=4).items():
        np.testing.assert_allclose(found[name][:, 0], expected, rtol=1e-12)


def test_other_arrays_make_the_density_of_another_literature():
    data = literature()
    [z] = points(data, 1)
    other = dataclasses.replace(data, value=data.value + 0.1, se=1.5 * data.se)
    value, gradient = synthesis_density(other).value_and_gradient(z)
    swapped = synthesis_density(data).with_data(**vars(other))
    assert swapped.value_and_gradient(z)[0] == value
    assert synthesis_density(data).value_and_gradient(z)[0] != value
    np.testing.assert_array_equal(swapped.value_and_gradient(z)[1], gradient)


def test_a_point_where_the_density_overflows_has_none():
    data = literature()
    [z] = points(data, 1)
    z[0] = 800.0  # exp(800) is not a number
    assert np.isnan(synthesis_density(data).value_and_gradient(z)[0])
