"""The density of groups with an omega each by hand: the same as the graph of the plain model."""

import numpy as np
import pytest

from scalebayes.mixtures import Mixture
from scalebayes.omega_by_group_density import omega_by_group_density
from scalebayes.omega_by_group_model import group_tables, omega_by_group_model

PLAIN = "FAST_COMPILE"  # one graph for a few points is not worth compiling
MEMBERS = ((0, 1, 2), (3,), (4, 5), (6,))
CONCENTRATION = np.array([0.7, 1.6, 0.4])
PRIOR = {"mu_location": -0.7, "mu_sd": 0.2, "between": 0.5, "within": 0.2, "recipe_sd": 0.1}


def mixture(rng, n):
    roots = 0.07 * rng.standard_normal((n, 2, 2))
    return Mixture(
        log_weight=np.log(rng.dirichlet(np.ones(n))),
        mean=rng.normal(-1, 0.3, (n, 2)),
        covariance=roots @ np.swapaxes(roots, 1, 2) + 0.002 * np.eye(2),
    )


def tables(n_recipes=2):
    """Seven studies of one to three components in groups of three, one, two and one."""
    rng = np.random.default_rng(4)
    likelihoods = [[mixture(rng, 1 + i % 3) for i in range(7)] for _ in CONCENTRATION]
    x = rng.integers(0, 2, (7, n_recipes)).astype(float)
    return group_tables(likelihoods, rng.normal(100, 3, (3, 7)), x, MEMBERS)


def density(n_recipes=2, prior=None):
    return omega_by_group_density(tables(n_recipes), CONCENTRATION, prior)


def points(n, of):
    return of.start + 0.5 * np.random.default_rng(5).standard_normal((n, of.start.size))


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


@pytest.mark.parametrize(("n_recipes", "prior"), [(2, None), (0, None), (1, PRIOR)])
def test_value_and_gradient_are_those_of_the_plain_model(n_recipes, prior):
    model = omega_by_group_model(tables(n_recipes), CONCENTRATION, prior=prior)
    logp, dlogp = model.compile_logp(mode=PLAIN), model.compile_dlogp(mode=PLAIN)
    by_hand = density(n_recipes, prior)
    many = points(10, by_hand)
    for z, given in zip(many, as_points(model, many), strict=True):
        value, gradient = by_hand.value_and_gradient(z)
        assert value == pytest.approx(float(logp(given)), rel=1e-11)
        np.testing.assert_allclose(gradient, dlogp(given), rtol=1e-9, atol=1e-10)


def test_the_variables_are_those_of_the_plain_model():
    model = omega_by_group_model(tables(), CONCENTRATION)
    by_hand = density()
    many = points(3, by_hand)
    found = by_hand.variables(many.reshape(3, 1, -1))
    wanted = [model[name] for name in found]
    values = model.compile_fn(
        model.replace_rvs_by_values(wanted),
        inputs=model.value_vars,
        mode=PLAIN,
        on_unused_input="ignore",
    )
    for i, given in enumerate(as_points(model, many)):
        for name, value in zip(found, values(given), strict=True):
            np.testing.assert_allclose(found[name][i, 0], value, rtol=1e-9, err_msg=name)


def test_the_values_of_many_points_are_those_of_each():
    by_hand = density()
    many = points(10, by_hand)
    each = [by_hand.value_and_gradient(z)[0] for z in many]
    np.testing.assert_array_equal(by_hand.values(many), each)


def test_a_point_where_the_density_overflows_has_none():
    by_hand = density()
    beyond = points(2, by_hand)
    beyond[1, 8] = 800.0  # exp(800) is not a number
    assert np.isnan(by_hand.value_and_gradient(beyond[1])[0])
    assert np.isfinite(by_hand.values(beyond)).tolist() == [True, False]


def test_groups_without_spread_keep_a_finite_gradient():
    by_hand = density()
    [z] = points(1, by_hand)
    z[8:12], z[12:14] = -40.0, 45.0  # 1 - correlation^2 is 0 in double precision
    value, gradient = by_hand.value_and_gradient(z)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
