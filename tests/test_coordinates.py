import numpy as np
import pytest

from scalebayes.coordinates import (
    bounded_residual,
    conditional_effects,
    from_latents,
    to_latents,
)
from scalebayes.laws import (
    ISOFLOP,
    LATENTS,
    anchored_terms,
    isoflop_exponents,
    log_isoflop,
    log_nested,
)

ADDITIVE = [law for law in LATENTS if law not in ISOFLOP]

CENTRE = {"centre_N": np.log(3e8), "centre_D": np.log(6e9)}
LOGITS = ("offset_share", "size_share", "q", "kappa")


def points(law, n=20):
    """Unconstrained latents of a law over the width of its priors."""
    rng = np.random.default_rng(3)
    means = {"log_loss_anchor": 0.9, "log_alpha": -1.0, "log_beta": -1.0}
    return [rng.normal(means.get(name, 0.0), 0.7, size=n) for name in LATENTS[law]]


def constrained(law, unconstrained):
    named = dict(zip(LATENTS[law], unconstrained, strict=True))
    return {name: 1 / (1 + np.exp(-x)) if name in LOGITS else x for name, x in named.items()}


@pytest.mark.parametrize("law", LATENTS)
def test_there_and_back_is_the_same_point(law):
    latents = points(law)
    back = to_latents(law, from_latents(law, latents, **CENTRE), **CENTRE)
    np.testing.assert_allclose(back, latents, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("law", LATENTS)
def test_the_change_of_variables_keeps_volumes(law):
    for latents in np.transpose(points(law, n=5)):
        z = np.array(from_latents(law, list(latents), **CENTRE))
        step = 1e-6
        columns = [
            (
                np.array(to_latents(law, list(z + step * unit), **CENTRE))
                - np.array(to_latents(law, list(z - step * unit), **CENTRE))
            )
            / (2 * step)
            for unit in np.eye(z.size)
        ]
        assert abs(np.linalg.det(np.stack(columns))) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("law", ADDITIVE)
def test_the_first_coordinate_is_the_loss_at_the_centre(law):
    latents = points(law)
    terms = anchored_terms(law, constrained(law, latents))
    expected = log_nested(CENTRE["centre_N"], CENTRE["centre_D"], **terms)
    np.testing.assert_allclose(from_latents(law, latents, **CENTRE)[0], expected, rtol=1e-10)


@pytest.mark.parametrize("law", [law for law in ADDITIVE if "log_beta" in LATENTS[law]])
def test_the_slopes_are_the_relative_falls_of_the_loss(law):
    latents = points(law)
    terms = anchored_terms(law, constrained(law, latents))
    at = CENTRE["centre_N"], CENTRE["centre_D"]
    step = 1e-5
    falls = [
        (log_nested(at[0] - dn, at[1] - dd, **terms) - log_nested(at[0] + dn, at[1] + dd, **terms))
        / (2 * step)
        for dn, dd in ((step, 0.0), (0.0, step))
    ]
    z = dict(enumerate(from_latents(law, latents, **CENTRE)))
    first = 3 if "log_E" in LATENTS[law] or "offset_share" in LATENTS[law] else 2
    np.testing.assert_allclose(np.exp([z[first], z[first + 1]]), falls, rtol=1e-6)


@pytest.mark.parametrize("law", ISOFLOP)
def test_coordinates_of_isoflop_laws_are_loss_fall_and_curvature_at_the_optimum(law):
    latents = points(law)
    given = dict(zip(LATENTS[law], latents, strict=True))
    terms = isoflop_exponents(law, given) | {k: given[k] for k in ("log_E", "log_K", "log_ratio")}

    def loss(u, log_budget):
        """At the middle budget log D - log N = log_ratio; N times e^u, D by the budget."""
        log_N = 20.0 + terms["a"] * log_budget + u
        log_D = 20.0 + given["log_ratio"] + log_budget - (log_N - 20.0)
        return np.exp(log_isoflop(log_N, log_D, log_budget=log_budget, **terms))

    z, h = from_latents(law, latents, **CENTRE), 1e-3
    np.testing.assert_allclose(np.exp(z[0]), loss(0.0, 0.0), rtol=1e-10)
    bend = (loss(h, 0.0) - 2 * loss(0.0, 0.0) + loss(-h, 0.0)) / h**2 / loss(0.0, 0.0)
    np.testing.assert_allclose(np.exp(z[-2]), bend, rtol=1e-4)
    np.testing.assert_allclose(2 * z[-1], given["log_alpha"] - given["log_beta"], rtol=1e-10)
    if law == "isoflop":
        fall = (loss(0.0, -h) - loss(0.0, h)) / (2 * h) / loss(0.0, 0.0)
        np.testing.assert_allclose(np.exp(z[4]), fall, rtol=1e-5)


def test_run_effects_have_the_mean_and_width_of_a_normal_model():
    """y_i ~ Normal(tau b, sigma), b ~ Normal(0, 1): the posterior of b by conjugacy."""
    y, tau, sigma = np.array([0.01, 0.03, 0.02]), 0.02, 0.015
    mean, width = conditional_effects(y.size, y.sum(), tau=tau, sigma=sigma)
    precision = 1 + y.size * (tau / sigma) ** 2
    assert width == pytest.approx(np.sqrt(precision))
    assert mean == pytest.approx(tau * y.sum() / sigma**2 / precision)


def test_a_row_far_from_the_rest_does_not_move_its_runs_effect():
    residual = np.array([0.001, 0.1, 10.0, -10.0])
    bounded = bounded_residual(residual, tau=0.003, sigma=0.004)
    assert bounded[0] == pytest.approx(0.001, rel=2e-3)
    assert np.abs(bounded).max() <= 3 * 0.005
    assert bounded[3] == -bounded[2]
    assert abs(bounded[2]) < 1e-4
