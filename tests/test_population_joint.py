"""The population in two stages against one joint model of all studies' runs.

The joint model is written here anew, from the formulas: every study's E, terms, exponents, noise,
and the population they come from, in one density of all runs.
"""

import dataclasses
from functools import cache

import arviz as az
import numpy as np
import nutpie
import pymc as pm
import pytensor.tensor as pt
import pytest

import scalebayes as sb
from scalebayes.build import run_data
from scalebayes.hypotheses import load_hypothesis
from scalebayes.optimum import allocation_exponent
from scalebayes.pooled_draws import hyperparameters, log_predictive, pooled_log_weights
from scalebayes.population import pool_settings, population_of
from scalebayes.population_trees import tree_of_population
from scalebayes.study_cells import pooled_studies

HYPOTHESIS = "hoffmann-total"
PUBLISHED = (
    *("hoffmann2022-epoch", "marin2026-comma", "marin2026-dclm"),
    "muennighoff2023-oneepoch",
)
GROUPS = (0, 1, 1, 2)  # of both cases: the second and the third study share theirs
PAIR = 1  # the group of two
SEEDS = {"published": (1, 2, 3), "a spread of .08": (1,)}
JOINT = {"draws": 1100, "tune": 600}
LOG_35 = np.log(0.35)
KNOWN = {"between": 0.1, "within": 0.05}  # about what runs tell; only the coordinates depend on it
N_RESAMPLED = 20
BLOCK = 10  # draws of a chain that are resampled together


@cache
def published_studies():
    return tuple(sb.load_study(name) for name in PUBLISHED)


@cache
def simulated_studies():
    """Four sweeps of 48 to 60 runs whose log exponents differ by .08 between groups."""
    rng = np.random.default_rng(3)
    group = 0.08 * rng.standard_normal((3, 2))[list(GROUPS)]
    theta = np.log([0.35, 0.37]) + group + 0.025 * rng.standard_normal((4, 2))
    design = sb.load_study(PUBLISHED[0])
    return tuple(simulated_study(design, i, np.exp(theta[i])) for i in range(4))


def simulated_study(design, i, exponents):
    alpha, beta = exponents
    parameters = {
        "E": 1.8,
        "A": 0.36 * 1e9**alpha,
        "B": 0.36 * 2e10**beta,
        "alpha": alpha,
        "beta": beta,
        "sigma": 0.006,
        "nu": 5.0,
    }
    thinned = dataclasses.replace(design, table=design.table.iloc[i::4])
    study, _ = sb.simulate(thinned, HYPOTHESIS, parameters=parameters, random_seed=i)
    return dataclasses.replace(study, name=f"study-{i}", group=f"group-{GROUPS[i]}")


STUDIES = {"published": published_studies, "a spread of .08": simulated_studies}


def runs_of(studies):
    """All runs in one table, as the joint model reads them."""
    hypothesis = load_hypothesis(HYPOTHESIS)
    data = [run_data(study, hypothesis) for study in studies]
    columns = {
        "log_N": [np.log(one["N"] / 1e9) for one in data],
        "log_D": [np.log(one["D"] / 2e10) for one in data],
        "observed": [one["observed_log_loss"] for one in data],
        "relative_se": [one["relative_loss_se"] for one in data],
        "of_study": [np.full(one["D"].size, i) for i, one in enumerate(data)],
    }
    return {name: np.concatenate(values) for name, values in columns.items()}


def joint_model(runs, n):
    """All runs of n studies and their population as one PyMC model."""
    with pm.Model() as model:
        given = {name: pm.Data(name, values) for name, values in runs.items()}
        of_study = given["of_study"]
        theta = population(n)
        log_E = pm.Normal("log_E", 0.5, 0.5, shape=n)
        term_N = pm.Normal("log_term_N", -0.7, 1.0, shape=n)
        term_D = pm.Normal("log_term_D", -0.7, 1.0, shape=n)
        sigma = pt.exp(pm.Normal("log_sigma", np.log(0.01), 1.0, shape=n))
        nu = 1 + pm.LogNormal("nu_minus_one", np.log(4), 0.7, shape=n)
        exponents = pt.exp(theta)
        loss = (
            pt.exp(log_E)[of_study]
            + pt.exp(term_N[of_study] - exponents[of_study, 0] * given["log_N"])
            + pt.exp(term_D[of_study] - exponents[of_study, 1] * given["log_D"])
        )
        scale = pt.sqrt(sigma[of_study] ** 2 + given["relative_se"] ** 2)
        pm.StudentT(
            "log_loss", nu=nu[of_study], mu=pt.log(loss), sigma=scale, observed=given["observed"]
        )
    return model


def population(n):
    """theta [study, exponent]: a mean, effects of groups, and effects of studies within groups."""
    mu = pm.Normal("mu", LOG_35, 0.5, shape=2)
    between = pm.HalfNormal("sd_between", 0.3, shape=2)
    within = pm.HalfNormal("sd_within", 0.1, shape=2)
    rho = 2 * pm.Beta("half", 2, 2, shape=2) - 1
    cross_between, cross_within = (
        rho[i] * one[0] * one[1] for i, one in enumerate((between, within))
    )
    total = pt.sqrt(between**2 + within**2)  # a group of one study: both effects are one
    total_rho = (cross_between + cross_within) / (total[0] * total[1])
    alone = bivariate("alone", total, total_rho, n - 2, KNOWN["between"])
    group = bivariate("group", between, rho[0], 1, KNOWN["between"])
    own = bivariate("own", within, rho[1], 2, KNOWN["within"])
    effects = [alone[0], group[0] + own[0], group[0] + own[1], alone[1]]
    return pm.Deterministic("theta", mu + pt.stack(effects))


def bivariate(name, sd, rho, n, known):
    """Effects [n, 2] ~ Normal(0, sd, rho), in units of sd or, where that is less, of `known`."""
    wide = pt.sqrt(1 + (sd / known) ** 2)
    first = pm.Normal(f"{name}_alpha", 0, wide[0], shape=n)
    mean = rho * wide[1] * first / wide[0]
    second = pm.Normal(f"{name}_beta", mean, pt.sqrt(1 - rho**2) * wide[1], shape=n)
    return pt.stack([first * sd[0] / wide[0], second * sd[1] / wide[1]], axis=1)


@cache
def compiled_joint_model():
    return nutpie.compile_pymc_model(joint_model(runs_of(published_studies()), len(PUBLISHED)))


@cache
def joint_draws(case):
    """Draws of the joint model by name, each [chain, draw]."""
    tree = nutpie.sample(
        compiled_joint_model().with_data(**runs_of(STUDIES[case]())),
        draws=JOINT["draws"],
        tune=JOINT["tune"],
        chains=4,
        cores=1,
        seed=1,
        adaptation="low_rank",
        target_accept=0.95,
        progress_bar=False,
    )
    posterior = tree["posterior"].to_dataset()
    assert max(float(one) for one in az.rhat(posterior[["mu", "theta"]]).max().values()) < 1.02
    theta = posterior["theta"].to_numpy()
    found = {name: posterior[name].to_numpy() for name in ("mu", "sd_between", "sd_within")}
    return hyper_draws(found) | {
        f"study {i} log {one}": theta[..., i, k]
        for i in range(theta.shape[2])
        for k, one in enumerate(("alpha", "beta"))
    }


def hyper_draws(found):
    """What is compared, by name, from arrays [..., exponent]."""
    alpha, beta = np.moveaxis(np.exp(found["mu"]), -1, 0)
    values = {"a": allocation_exponent(alpha, beta)}
    for k, one in enumerate(("alpha", "beta")):
        values[f"mu log {one}"] = found["mu"][..., k]
        for level in ("between", "within"):
            values[f"log sd {level} log {one}"] = np.log(found[f"sd_{level}"][..., k])
    return values


@cache
def staged(case, seed):
    """The population of stage-1 fits with the usual settings.

    Muennighoff's runs leave a long tail towards small beta, of which 4000 draws see more or less,
    so that the sd of its log beta varies with the seed more than for the other studies.
    """
    fits = [
        sb.fit(one, HYPOTHESIS, random_seed=seed, cores=1, cache=False) for one in STUDIES[case]()
    ]
    settings = pool_settings(1500, 700, 4, 1, seed)
    return population_of(pooled_studies(fits), settings, cache=False)


def staged_draws(population):
    tree = tree_of_population(population)
    found = {name: tree["posterior"][name].to_numpy() for name in ("mu", "sd_between", "sd_within")}
    studies = tree["studies"]
    return hyper_draws(found) | {
        f"study {i} log {one}": studies[f"log_{one}"].to_numpy()[i]
        for i in range(studies.sizes["study"])
        for one in ("alpha", "beta")
    }


def summary(draws, weight=None):
    """Mean and standard deviation of every quantity, by (kind, name)."""
    found = {}
    for name, values in draws.items():
        mean = np.average(values.ravel(), weights=weight)
        variance = np.average((values.ravel() - mean) ** 2, weights=weight)
        found |= {("mean", name): mean, ("sd", name): np.sqrt(variance)}
    return found


def own_error(draws):
    """Monte Carlo standard error of `summary`."""
    return {
        (kind, name): float(az.mcse(values, method=kind))
        for name, values in draws.items()
        for kind in ("mean", "sd")
    }


@cache
def stage_1_error(case):
    """Standard error of `summary` that the finite draws of stage 1 and their mixtures make.

    Each study's draws are resampled in blocks and described by a mixture anew; the population's
    draws are weighted by what that changes, instead of made again.
    """
    design = staged(case, SEEDS[case][0])
    [cell] = design.cells
    flat = cell.draws.unconstrained.reshape(-1, len(cell.density.form.latents))
    found = hyperparameters(cell.density.form, flat)
    rng = np.random.default_rng(1)
    every = []
    for _ in range(N_RESAMPLED):
        cells = [resampled(one, rng) for one in cell.cells]
        places = list(zip(design.recipes.x, design.in_group, strict=True))
        log_ratio = sum(
            log_predictive(one.likelihood, found, *place) - log_predictive(old, found, *place)
            for one, old, place in zip(cells, cell.likelihoods, places, strict=True)
        )
        weight = np.exp(log_ratio - log_ratio.max())
        again = dataclasses.replace(
            cell, cells=tuple(cells), likelihoods=tuple(one.likelihood for one in cells)
        )
        changed = summary(hyper_draws(found), weight)
        for i, one in enumerate(cells):
            log_weight = pooled_log_weights(again, design, i, seed=1)
            theta = one.theta.reshape(-1, 2)
            named = {f"study {i} log {x}": theta[:, k] for k, x in enumerate(("alpha", "beta"))}
            changed |= summary(named, np.exp(log_weight - log_weight.max()))
        every.append(changed)
    return {name: np.std([one[name] for one in every], ddof=1) for name in every[0]}


def resampled(cell, rng):
    """The cell of as many draws, blocks of each chain drawn with replacement."""
    chains, draws = cell.quantities["alpha"].shape
    starts = rng.integers(0, draws - BLOCK + 1, size=(chains, draws // BLOCK))
    index = (starts[..., None] + np.arange(BLOCK)).reshape(chains, -1)
    quantities = {
        name: np.take_along_axis(cell.quantities[name], index, axis=1) for name in ("alpha", "beta")
    }
    return dataclasses.replace(cell, quantities=quantities)


def distances(case, seed):
    """Difference of the two answers over its Monte Carlo standard error, by (kind, name)."""
    joint, two_stage = joint_draws(case), staged_draws(staged(case, seed))
    answers = summary(joint), summary(two_stage)
    of_joint, of_population, of_stage_1 = (
        own_error(joint),
        own_error(two_stage),
        stage_1_error(case),
    )
    found = {}
    for one in answers[0]:
        errors = [of_joint[one], of_population[one], of_stage_1[one]]
        found[one] = (answers[1][one] - answers[0][one]) / np.linalg.norm(errors)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "seed"), [(case, seed) for case, seeds in SEEDS.items() for seed in seeds]
)
def test_two_stages_give_the_answer_of_one_joint_model(case, seed):
    """Means and sds of hyperparameters and of every study's exponents, within Monte Carlo error."""
    assert staged(case, seed).cells[0].problems == ()
    far = {one: value for one, value in distances(case, seed).items() if abs(value) > 3}
    assert len(far) <= 1, far  # of 30: chance makes two three times in 1000
    assert all(abs(value) < 4 for value in far.values()), far
