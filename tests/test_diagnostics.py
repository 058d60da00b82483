import arviz as az
import numpy as np
import pytest

from scalebayes.diagnostics import MIN_ESS, diagnose, effective_draws

GOOD = (4, 1000)


def stats_of(shape, *, divergences=0, rho=0.0, seed=0):
    """Sampler statistics whose energy has autocorrelation rho, so that E-BFMI is 2 (1 - rho)."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    energy = noise.copy()
    for i in range(1, shape[1]):
        energy[:, i] = rho * energy[:, i - 1] + np.sqrt(1 - rho**2) * noise[:, i]
    diverging = np.zeros(shape, dtype=bool)
    diverging.flat[:divergences] = True
    return {"energy": energy, "diverging": diverging}


def normals(shape=GOOD, seed=1):
    return np.random.default_rng(seed).standard_normal(shape)


def test_independent_draws_pass():
    found = diagnose({"alpha": normals(), "E": normals(seed=2)}, stats_of(GOOD))
    assert found.problems == ()
    assert found.checked == ("alpha", "E")
    assert found.r_hat < 1.01
    assert found.ess_bulk > 3000


def test_the_measures_are_arvizs():
    draws = {"x": normals() + 0.1 * np.arange(4)[:, None], "y": np.exp(normals(seed=3))}
    found = diagnose(draws, stats_of(GOOD))
    tree = az.from_dict({"posterior": draws})
    tree = tree["posterior"].to_dataset()
    assert found.r_hat == pytest.approx(float(az.rhat(tree).to_array().max()))
    assert found.ess_bulk == pytest.approx(float(az.ess(tree, method="bulk").to_array().min()))
    tail = az.ess(tree, method="tail", prob=(0.05, 0.95))
    assert found.ess_tail == pytest.approx(float(tail.to_array().min()))


@pytest.mark.parametrize("bad", ["first", "middle", "last"])
def test_one_quantity_that_has_not_mixed_is_found_wherever_it_stands(bad):
    draws = {name: normals(seed=seed) for seed, name in enumerate(("first", "middle", "last"))}
    draws[bad] = draws[bad] + np.array([0, 0, 5, 5])[:, None]
    found = diagnose(draws, stats_of(GOOD))
    assert any(problem.startswith("R-hat") and bad in problem for problem in found.problems)


def test_one_element_of_a_vector_that_has_not_mixed_is_found_by_its_place():
    effects = normals((*GOOD, 5))
    effects[..., 3] += np.array([0, 0, 5, 5])[:, None]
    found = diagnose({"tau": normals(seed=2), "run_effect": effects}, stats_of(GOOD))
    assert found.checked == ("tau", *(f"run_effect[{i}]" for i in range(5)))
    assert any("R-hat" in problem and "run_effect[3]" in problem for problem in found.problems)


def test_two_separated_chains_fail():
    found = diagnose({"a": normals() + np.array([0, 0, 0, 3])[:, None]}, stats_of(GOOD))
    assert any("R-hat" in problem for problem in found.problems)


def test_chains_of_different_spread_fail():
    found = diagnose({"a": normals() * np.array([1, 1, 1, 10])[:, None]}, stats_of(GOOD))
    assert any("R-hat" in problem for problem in found.problems)


def test_short_chains_fail_even_when_they_agree():
    shape = (4, 80)
    found = diagnose({"a": normals(shape)}, stats_of(shape))
    assert any("ESS" in problem for problem in found.problems)
    assert min(found.ess_bulk, found.ess_tail) < MIN_ESS


def test_slow_chains_fail():
    walk = np.cumsum(normals(), axis=1) / 30
    found = diagnose({"a": walk}, stats_of(GOOD))
    assert any("bulk ESS" in problem for problem in found.problems)


def test_a_divergence_fails_and_is_counted():
    found = diagnose({"a": normals()}, stats_of(GOOD, divergences=3))
    assert found.divergences == 3
    assert found.problems == ("3 divergent transitions",)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_draw_that_is_no_number_fails(value):
    draws = normals()
    draws[2, 17] = value
    with np.errstate(all="ignore"):
        found = diagnose({"fine": normals(seed=4), "broken": draws}, stats_of(GOOD))
    assert any("broken" in problem for problem in found.problems)


def test_a_chain_that_never_moved_fails():
    draws = normals()
    draws[1] = 0.3
    assert diagnose({"a": draws}, stats_of(GOOD)).problems


def test_energy_that_moves_too_slowly_fails():
    found = diagnose({"a": normals()}, stats_of(GOOD, rho=0.95))
    assert found.bfmi < 0.3
    assert found.problems == (f"E-BFMI {found.bfmi:.2f}",)
    assert diagnose({"a": normals()}, stats_of(GOOD, rho=0.5)).problems == ()


def test_the_worst_quantity_is_named_and_the_others_counted():
    shift = np.array([0, 0, 1, 1])[:, None]
    draws = {"mild": normals() + 0.6 * shift, "bad": normals() + 4 * shift, "fine": normals(seed=5)}
    [sentence] = [p for p in diagnose(draws, stats_of(GOOD)).problems if "R-hat" in p]
    assert "of bad and 1 more" in sentence


def test_effective_draws_are_fewer_where_draws_resemble_their_neighbours():
    independent = normals((4, 2000))
    assert effective_draws(independent) == pytest.approx(8000, rel=0.2)
    rho = 0.9
    slow = independent.copy()
    for i in range(1, 2000):
        slow[:, i] = rho * slow[:, i - 1] + np.sqrt(1 - rho**2) * independent[:, i]
    assert effective_draws(slow) == pytest.approx(8000 * (1 - rho) / (1 + rho), rel=0.25)
