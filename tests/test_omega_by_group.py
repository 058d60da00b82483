from types import SimpleNamespace

import arviz as az
import numpy as np
import pytest
from scipy import stats
from scipy.special import gammaln

from scalebayes.errors import InputError
from scalebayes.evidence import Evidence, bridge_evidence
from scalebayes.gate import Settings
from scalebayes.hypotheses import load_hypothesis
from scalebayes.mixtures import Mixture, padded
from scalebayes.omega_by_group import nearest_mass, omega_per_group
from scalebayes.omega_by_group_model import group_tables, log_integral, omega_by_group_model
from scalebayes.pooled_draws import covariance, hyperparameters
from scalebayes.population_density import population_density
from scalebayes.population_draws import Population, PopulationCell
from scalebayes.recipes import RecipeDesign
from scalebayes.sampling import sample

OMEGA = (0.0, 1.0)
MEAN = np.log([[0.15, 0.40], [0.35, 0.37]])  # of studies at either omega
GROUPS = ("pair", "pair", "first", "second", "third", "fourth")
MEMBERS = ((0, 1), (2,), (3,), (4,), (5,))
WITHIN, BETWEEN = (0.01, 0.002, 0.02), (0.06, -0.01, 0.04)
SETTINGS = Settings(draws=1500, tune=700, cores=1, random_seed=1)


def mixture(rng, mean, n=2):
    roots = 0.07 * rng.standard_normal((n, 2, 2))
    return Mixture(
        log_weight=np.log(rng.dirichlet(np.ones(n))),
        mean=mean + 0.2 * rng.standard_normal((n, 2)),
        covariance=roots @ np.swapaxes(roots, 1, 2) + 0.002 * np.eye(2),
    )


def likelihoods(n=2):
    rng = np.random.default_rng(1)
    return [[mixture(rng, mean, n) for _ in GROUPS] for mean in MEAN]


def population(gain):
    """Six studies in five groups, whose runs prefer omega 1 to omega 0 by some nats each."""
    every, none = likelihoods(n=1), np.zeros((len(GROUPS), 0))
    heights = np.array([np.zeros(len(GROUPS)), gain])
    in_group = np.array([[float(one == "pair")] for one in GROUPS])
    cells = []
    for omega, row, height in zip(OMEGA, every, heights, strict=True):
        density = population_density(np.array([padded(one) for one in row]), none, in_group)
        start = np.zeros(len(density.form.latents))
        start[:2], start[2:6] = -1.05, -1.5
        given = dict(draws=1000, tune=1000, chains=4, cores=1, seed=3)
        draws = sample(density, start, **given)
        bridge = bridge_evidence(density, draws, seed=1)
        cells.append(
            PopulationCell(
                omega=omega,
                cells=tuple(
                    SimpleNamespace(evidence=Evidence(log_evidence=one, se=0.0)) for one in height
                ),
                likelihoods=tuple(row),
                density=density,
                draws=draws,
                evidence=Evidence(log_evidence=bridge.log_evidence + height.sum(), se=bridge.se),
                pareto_k=np.full(len(GROUPS), np.nan),
            )
        )
    hypothesis = load_hypothesis("latent-counting")
    fit = SimpleNamespace(attrs={"hypothesis_name": hypothesis.name})
    return Population(
        studies=tuple(
            SimpleNamespace(name=f"study-{i}", group=one, hypothesis=hypothesis, fit=fit)
            for i, one in enumerate(GROUPS)
        ),
        recipes=RecipeDesign(names=(), x=none, not_identified=(), assumed=()),
        groups=("pair",),
        in_group=in_group,
        cells=tuple(cells),
        prior=np.array([0.5, 0.5]),
        settings=SETTINGS,
    )


def tables(x=None):
    x = np.zeros((len(GROUPS), 0)) if x is None else x
    heights = np.arange(12.0).reshape(2, 6) % 5
    return group_tables(likelihoods(), heights, x, MEMBERS)


def test_the_integral_of_a_study_alone_is_that_of_its_mixture():
    found, every = tables(), likelihoods()
    mean = np.array([-1.2, -0.9])
    value = log_integral(found, found.mean - mean, within=WITHIN, between=BETWEEN)
    spread = np.add(WITHIN, BETWEEN)[[[0, 1], [1, 2]]]
    heights = np.arange(12.0).reshape(2, 6) % 5
    for g, (study,) in list(enumerate(MEMBERS))[1:]:
        for k in range(2):
            chosen = found.position[g, k][found.position[g, k] < len(value)]
            total = np.logaddexp.reduce((found.log_weight + value)[chosen])
            expected = every[k][study].log_integral(mean, spread) + heights[k, study]
            assert total + heights[:, study].max() == pytest.approx(expected, abs=1e-10)


def test_the_integral_of_two_studies_of_a_group_is_that_of_one_normal_of_both():
    found = tables()
    chosen = found.position[0, 1]
    deviation = found.mean - np.array([-1.0, -1.1])
    value = log_integral(found, deviation, within=WITHIN, between=BETWEEN)
    within, between = (np.array(one)[[[0, 1], [1, 2]]] for one in (WITHIN, BETWEEN))
    assert len(chosen) == 4
    for c in chosen:
        joint = np.kron(np.ones((2, 2)), between)
        for i in range(2):
            own = found.covariance[c, i][[[0, 1], [1, 2]]]
            joint[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] += own + within
        expected = stats.multivariate_normal.logpdf(deviation[c].ravel(), np.zeros(4), joint)
        assert value[c] == pytest.approx(expected, abs=1e-10)


def test_without_spread_between_groups_the_studies_of_a_group_are_independent():
    found = tables()
    none = (0.0, 0.0, 0.0)
    value = log_integral(found, found.mean + 1.0, within=WITHIN, between=none)
    for c in found.position[0, 0]:
        parts = [
            stats.multivariate_normal.logpdf(
                found.mean[c, i] + 1.0,
                np.zeros(2),
                (found.covariance[c, i] + WITHIN)[[[0, 1], [1, 2]]],
            )
            for i in range(2)
        ]
        assert value[c] == pytest.approx(sum(parts), abs=1e-10)


def test_the_models_density_is_the_one_written_anew():
    x = np.random.default_rng(2).integers(0, 2, (len(GROUPS), 1)).astype(float)
    found = tables(x)
    model = omega_by_group_model(found, np.array([0.7, 1.3]))
    names = {"mu": MEAN + 0.1, "sd_between": [0.2, 0.3], "sd_within": [0.05, 0.1]}
    names |= {"half_one_plus_correlation": [0.4, 0.7], "recipe_effect": [[-0.1, 0.2]]}
    names |= {"frequency": [0.25, 0.75]}
    given = {name: np.array(value) for name, value in names.items()}
    spreads = [
        covariance(given[name], 2 * half - 1)
        for name, half in zip(("sd_between", "sd_within"), (0.4, 0.7), strict=True)
    ]
    between, within = (tuple(one[[0, 0, 1], [0, 1, 1]]) for one in spreads)
    expected = given["mu"][found.omega][:, None] + found.x @ given["recipe_effect"]
    value = found.log_weight + log_integral(
        found, found.mean - expected, within=within, between=between
    )
    value = np.append(value, -np.inf)[found.position]
    weighted = np.logaddexp.reduce(value, axis=-1) + np.log(given["frequency"])
    total = np.logaddexp.reduce(weighted, axis=-1)
    potential, weight = model.potentials[0], model["omega_weight"]
    known = {model[name]: x for name, x in given.items()}
    assert float(potential.eval(known)) == pytest.approx(total.sum(), abs=1e-9)
    np.testing.assert_allclose(weight.eval(known), np.exp(weighted - total[:, None]), atol=1e-12)


def test_the_prior_mass_of_a_few_omegas_is_that_of_all_omegas_nearest_to_them():
    prior = load_hypothesis("latent-counting").omega
    mass = nearest_mass(prior, (0.0, 0.25, 1.0, 2.0))
    uniform = np.array([0.125, 0.5, 0.875, 1.5]) / 3
    np.testing.assert_allclose(mass, 0.5 * uniform + np.array([1, 0, 1, 1]) / 6)
    assert mass.sum() == pytest.approx(1)


@pytest.mark.slow
def test_groups_of_two_omegas_are_told_apart():
    gain = np.array([4.0, 4.0, 8.0, 8.0, -8.0, -8.0])
    found = omega_per_group(population(gain), omega=OMEGA)
    assert found.attrs["converged"] == 1, found.attrs["problems"]
    weight = found["posterior"]["omega_weight"]
    np.testing.assert_allclose(weight.sum("omega"), 1, atol=1e-12)
    mean = weight.mean(("chain", "draw")).sel(omega=1.0)
    assert (mean.sel(group=["pair", "first", "second"]) > 0.95).all()
    assert (mean.sel(group=["third", "fourth"]) < 0.05).all()
    behind = found["evidence"]["groups_behind"]
    np.testing.assert_allclose(behind, [2, 3], atol=0.1)
    mu = found["posterior"]["mu"]
    apart = abs(mu.mean(("chain", "draw")) - MEAN) / mu.std(("chain", "draw"))
    assert (apart < 3).all()
    assert found.attrs["common_omega"] == "not supported"
    assert found.attrs["log_evidence_difference"] > 5


@pytest.mark.slow
def test_groups_that_agree_have_the_population_of_the_common_omega():
    """All at omega 1: the same mean and spreads, and evidence less by the prior of agreeing."""
    common = population(np.full(len(GROUPS), 25.0))
    found = omega_per_group(common, omega=OMEGA)
    assert found.attrs["converged"] == 1, found.attrs["problems"]
    assert float(found["posterior"]["omega_weight"].sel(omega=1.0).min()) > 0.999
    cell = common.cells[1]
    alone = hyperparameters(cell.density.form, cell.draws.unconstrained)
    pairs = {"mu": found["posterior"]["mu"].sel(omega=1.0).to_numpy()}
    pairs |= {name: found["posterior"][name].to_numpy() for name in ("sd_between", "sd_within")}
    for name, values in pairs.items():
        for i in range(2):
            one, two = values[..., i], alone[name][..., i]
            error = np.hypot(az.mcse(one), az.mcse(two))
            assert abs(one.mean() - two.mean()) < 4 * error, name
    unused = found["posterior"]["mu"].sel(omega=0.0)
    np.testing.assert_allclose(unused.std(("chain", "draw")), 0.5, rtol=0.1)
    prior = nearest_mass(load_hypothesis("latent-counting").omega, OMEGA)
    total, n = 2.0, len(MEMBERS)
    agreeing = gammaln(total) - gammaln(total + n)
    agreeing += gammaln(2 * prior[1] + n) - gammaln(2 * prior[1])
    expected = agreeing - np.log(prior[1])
    se = found.attrs["log_evidence_difference_se"]
    assert found.attrs["log_evidence_difference"] == pytest.approx(expected, abs=4 * se + 1e-6)


def test_an_omega_off_the_grid_is_refused():
    studies = tuple(SimpleNamespace(group=one) for one in GROUPS)
    cells = (SimpleNamespace(omega=0.0), SimpleNamespace(omega=1.0))
    with pytest.raises(InputError, match=r"increasing values of \[0.0, 1.0\], got \[0.0, 0.7\]"):
        omega_per_group(SimpleNamespace(studies=studies, cells=cells), omega=(0.0, 0.7))


def test_fits_of_a_fixed_counting_are_refused():
    fixed = SimpleNamespace(studies=(), cells=(SimpleNamespace(omega=None),))
    with pytest.raises(InputError, match="theirs is fixed"):
        omega_per_group(fixed)
