import numpy as np
import pytest

from scalebayes.population import redraw_of
from scalebayes.population_checks import population_checks
from tests.fits import TRUTHS, population_of_three


@pytest.fixture(scope="module")
def checks():
    population = population_of_three()
    return population_checks(population, redraw_of(population))


@pytest.mark.slow
def test_each_study_is_left_out_and_each_prior_changed_both_ways(checks):
    names = list(checks["check"].to_numpy())
    assert names[0] == "as it is"
    assert [f"without {name}" for name in TRUTHS] == names[1:4]
    assert sum("half as wide" in name for name in names) == 3  # no recipe effect is identified
    assert sum("twice as wide" in name for name in names) == 3


@pytest.mark.slow
def test_the_first_check_is_the_population_itself(checks):
    population = population_of_three()
    mu = population.cells[0].draws.unconstrained[..., :2].reshape(-1, 2)
    a = np.exp(mu[:, 1]) / np.exp(mu).sum(1)
    one = checks.sel(check="as it is", quantity="a")
    found = [float(one[name]) for name in ("lower", "median", "upper")]
    np.testing.assert_allclose(found, np.quantile(a, (0.05, 0.5, 0.95)), atol=2e-3)
    assert str(one["flips"].item()) == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "left_out", "prior"),
    [
        ("without second", 1, None),
        ("prior of the mean half as wide", None, {"mu_sd": 0.25}),
        ("prior of the spread between groups twice as wide", None, {"between": 0.6}),
    ],
)
def test_weighted_draws_say_what_draws_made_anew_say(checks, check, left_out, prior):
    """The mean's median, against its posterior's width; the evidence is not among what is shown."""
    population = population_of_three()
    changed = None if prior is None else population.hyperprior | prior
    drawn = redraw_of(population)(None, left_out, changed)
    mu = drawn.draws.unconstrained[..., :2].reshape(-1, 2)
    a = np.exp(mu[:, 1]) / np.exp(mu).sum(1)
    one = checks.sel(check=check, quantity="a")
    assert float(one["median"]) == pytest.approx(np.median(a), abs=0.15 * a.std())
    width = float(one["upper"] - one["lower"])
    assert width == pytest.approx(np.ptp(np.quantile(a, (0.05, 0.95))), rel=0.2)


@pytest.mark.slow
def test_a_conclusion_that_changes_is_named():
    """Three studies with a well below one half, and the prior of the mean at one half."""
    population = population_of_three()
    rows = population_checks(population, redraw_of(population))
    for check in rows["check"].to_numpy():
        one = rows.sel(check=check)
        first = str(rows["conclusion"].sel(check="as it is", quantity="a").item())
        now = str(one["conclusion"].sel(quantity="a").item())
        assert (f"a: {first} becomes {now}" in str(one["flips"].item())) == (first != now)
