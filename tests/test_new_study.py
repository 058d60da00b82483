import json

import numpy as np
import pytest
import xarray as xr

import scalebayes as sb
from scalebayes.errors import InputError
from scalebayes.optimum import exponent_at_size
from scalebayes.population_trees import REFERENCE_FAMILY, REFERENCE_SIZE

RECIPES = ["long warm-up", "tuned, constant rate"]


def made_population(*, spread=0.0, weight=(0.75, 0.25)):
    """A population at two omegas whose recipe effects are known exactly."""
    shape, dims = (2, 2, 500), ("omega", "chain", "draw")
    mu = np.log([[0.2, 0.45], [0.35, 0.37]])[:, None, None, :] * np.ones((*shape, 2))
    effect = np.zeros((*shape, 2, 2))
    effect[..., :, 0] = (-0.2, 0.1)  # of a long warm-up on log alpha and log beta
    grid = xr.Dataset(
        {
            "mu": ((*dims, "exponent"), mu),
            "sd_between": ((*dims, "exponent"), np.full((*shape, 2), spread)),
            "sd_within": ((*dims, "exponent"), np.full((*shape, 2), 1e-9)),
            "correlation": ((*dims, "level"), np.zeros((*shape, 2))),
            "recipe_effect": ((*dims, "exponent", "recipe"), effect),
        },
        coords={"omega": [0.25, 1.0], "exponent": ["alpha", "beta"], "recipe": RECIPES},
    )
    evidence = xr.Dataset({"weight": ("omega", list(weight))}, coords={"omega": [0.25, 1.0]})
    posterior = grid.isel(omega=0, drop=True)
    tree = xr.DataTree.from_dict({"posterior": posterior, "grid": grid, "evidence": evidence})
    tree.attrs = {"kind": "population", "converged": 1}
    return tree


def total(alpha, beta, omega):
    return exponent_at_size(
        REFERENCE_SIZE, alpha=alpha, beta=beta, omega=omega, architecture=REFERENCE_FAMILY
    )


def test_a_new_study_without_spread_is_the_mean_at_each_omega_by_weight():
    new = sb.new_study(made_population())
    near = new["omega"] == 0.25
    assert float(near.mean()) == pytest.approx(0.75, abs=0.002)
    assert float(new["a"].where(near).mean()) == pytest.approx(total(0.2, 0.45, 0.25), rel=1e-6)
    assert float(new["a"].where(~near).mean()) == pytest.approx(total(0.35, 0.37, 1.0), rel=1e-6)


def test_a_recipe_moves_it_by_its_effect():
    new = sb.new_study(made_population(), {"warmup": "long", "schedule": "matched"})
    near = new["omega"] == 0.25
    alpha = float(new["alpha"].where(near).mean())
    assert alpha == pytest.approx(0.2 * np.exp(-0.2), rel=1e-6)
    assert json.loads(new.attrs["recipe_columns"]) == ["long warm-up"]
    assert json.loads(new.attrs["not_identified"]) == []


def test_a_recipe_that_the_population_does_not_know_is_said():
    new = sb.new_study(made_population(), {"schedule": "not matched"})
    assert json.loads(new.attrs["not_identified"]) == ["schedule not matched"]


def test_the_spread_of_a_new_study_is_that_of_the_population():
    new = sb.new_study(made_population(spread=0.3, weight=(1.0, 0.0)), random_seed=2)
    assert float(np.log(new["alpha"]).std()) == pytest.approx(0.3, rel=0.1)
    same = sb.new_study(made_population(spread=0.3, weight=(1.0, 0.0)), random_seed=2)
    assert same.identical(new)


@pytest.mark.parametrize(
    "recipe", [{"warm-up": "long"}, {"warmup": "very long"}], ids=["unknown fact", "unknown value"]
)
def test_a_recipe_of_other_words_is_refused(recipe):
    with pytest.raises(InputError, match="recipe: .* is not among"):
        sb.new_study(made_population(), recipe)


def test_what_is_no_population_is_refused():
    with pytest.raises(InputError, match="takes a population"):
        sb.new_study(xr.DataTree())
