"""Posteriors that several test files look at, each sampled once per test run."""

import dataclasses
from functools import cache

import numpy as np
import pandas as pd
import xarray as xr

import scalebayes as sb
from scalebayes.build import applied, located, natural_quantities, run_data
from scalebayes.compiled import log_density
from scalebayes.counting import Architecture, study_omega
from scalebayes.evidence import Evidence
from scalebayes.gate import Settings, draw_posterior, prior_medians
from scalebayes.hypotheses import LATENT, NEAR_OPTIMUM, load_hypothesis
from scalebayes.isoflop import windowed
from scalebayes.laws import ISOFLOP, anchored_logs, chinchilla
from scalebayes.population import population_of
from scalebayes.study_cells import pooled_studies
from scalebayes.trees import tree_of_draws, with_verdict

HOFFMANN = "hoffmann2022-epoch"
EPOCH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
"""Coefficients of Besiroglu et al. (2024), arXiv:2404.10102."""


FAMILY = Architecture(aspect_ratio=64.0, vocab_size=32000, tied=True)
BODY, TOKENS = np.array([1e8, 1e8, 1e10]), np.array([1e9, 1e11, 1e11])
"""Runs on a triangle of (log N, log D): few tokens for large models only."""


@cache
def checkpoints_fit():
    """A study of 16 training runs, 14 of them with several rows, under a common run effect."""
    return sb.fit("porian2024-owt2-1-kaplan", "hoffmann-total", cache=False, cores=1)


def study_of(hypothesis):
    """A bundled study that has what a hypothesis asks for, without shared trajectories."""
    hypothesis = load_hypothesis(hypothesis)
    porian = hypothesis.law == "warmup" or hypothesis.window == NEAR_OPTIMUM
    return windowed(sb.load_study("porian2024-rw-4-cosine" if porian else HOFFMANN), hypothesis)


@cache
def hoffmann_fit():
    """The 240 digitised points of Hoffmann et al. (2022) under Student-t noise."""
    return sb.fit(HOFFMANN, "hoffmann-total", cache=False, cores=1)


@cache
def hoffmann_posterior():
    """The same posterior before it becomes a tree: density, draws, evidence."""
    hypothesis = load_hypothesis("hoffmann-total")
    density = log_density(run_data(sb.load_study(HOFFMANN), hypothesis), hypothesis)
    return draw_posterior(density, hypothesis, Settings(random_seed=3, cores=1))


@cache
def small_latent_fit():
    """A short fit over the counting grid, of a study whose posterior is easy to sample."""
    study = thinned_design(HOFFMANN, every=4)
    return sb.fit(study, "latent-counting", draws=300, tune=400, cores=1, cache=False)


def thinned_design(name, *, every):
    """A bundled study with every `every`-th of its used rows."""
    study = sb.load_study(name)
    used = study.table[study.table["left_out"] == ""]
    return dataclasses.replace(study, table=used.iloc[::every])


def user_study(*, n_sizes=5, n_tokens=5, noise=0.01, seed=0, **changes):
    """A user's sweep on a grid of N and D with Epoch's coefficients, and what is changed in it."""
    rng = np.random.default_rng(seed)
    N, D = np.meshgrid(np.geomspace(1e8, 1e10, n_sizes), np.geomspace(2e9, 2e11, n_tokens))
    loss = chinchilla(N, D, **EPOCH) * np.exp(noise * rng.standard_normal(N.shape))
    runs = {"N": N.ravel(), "D": D.ravel(), "loss": loss.ravel()} | changes.pop("columns", {})
    return sb.read_runs(pd.DataFrame(runs), counting="total", name="sweep", **changes)


TRUTHS = {"first": (0.34, 0.37), "second": (0.36, 0.33), "third": (0.31, 0.39)}
"""alpha and beta of three sweeps of one population."""


def sweep(name, alpha, beta, seed):
    """A sweep whose law has other exponents and the same losses at the anchors."""
    study = user_study(noise=0.004, seed=seed)
    law = dict(EPOCH, alpha=alpha, beta=beta)
    law["A"] = EPOCH["A"] * 1e9 ** (alpha - EPOCH["alpha"])
    law["B"] = EPOCH["B"] * 2e10 ** (beta - EPOCH["beta"])
    parameters = law | {"sigma": 0.004, "nu": 5.0}
    made, _ = sb.simulate(study, "hoffmann-total", parameters=parameters, random_seed=seed)
    return sb.read_runs(made.runs[["N", "D", "loss"]], counting="total", name=name)


@cache
def fits_of_three():
    """Fits of the sweeps of `TRUTHS`, each by itself."""
    return tuple(
        sb.fit(sweep(name, *law, seed), "hoffmann-total", draws=500, cores=1, cache=False)
        for seed, (name, law) in enumerate(TRUTHS.items())
    )


@cache
def population_of_three():
    """The population of those sweeps, before it becomes a tree."""
    return population_of(pooled_studies(fits_of_three()), Settings(draws=500, cores=1), cache=False)


def made_fit(counting="total", *, omega=None, nu=4.0, draws=3, runs=(BODY, TOKENS)):
    """A fit whose draws all hold Epoch's coefficients and a noise of 1%."""
    values = EPOCH | {"sigma": 0.01} | ({"nu": nu} if nu else {})
    dims, shape = ("chain", "draw"), (2, draws)
    coords = {"chain": range(2), "draw": range(draws)}
    columns = {name: (dims, np.full(shape, value)) for name, value in values.items()}
    if omega is not None:
        columns["omega"] = (dims, np.broadcast_to(omega, shape).astype(float))
    size, tokens = runs
    data = {"D": ("run", tokens), "body": ("run", size), "head": ("run", FAMILY.head(size))}
    if counting != "latent":
        data["N"] = ("run", size)
    groups = {"posterior": xr.Dataset(columns, coords=coords), "constant_data": xr.Dataset(data)}
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {"counting": counting, "law": "chinchilla", "architecture": FAMILY.to_json()}
    return tree


def tree_without_sampling(
    hypothesis, study=None, *, latents=None, problems=(), draws=60, spread=0.02
):
    """A fit with every group and attribute, whose draws were not sampled: near given values.

    Those of the prior's medians where none are given; omega is 1 or 2 where it is latent.
    """
    hypothesis = load_hypothesis(hypothesis)
    study = study_of(hypothesis) if study is None else study
    data, rng = run_data(study, hypothesis), np.random.default_rng(5)
    known = applied(hypothesis, data)
    centre = prior_medians(known) | (latents or {})
    values = {
        name: value * np.exp(spread * rng.standard_normal((2, draws)))
        for name, value in centre.items()
    }
    if "run_effect" not in values and study.shared_trajectories and "tau" in values:
        shape = (2, draws, len(study.shared_trajectories))
        values["run_effect"] = rng.standard_normal(shape)
    values |= natural_quantities(values, law=known.law)
    if known.law in ISOFLOP:
        values |= located(known.law, values, data)
    if known.counting == LATENT:
        values["omega"] = rng.choice([1.0, 2.0], (2, draws))
    else:
        omega = study_omega(study.runs, known.counting)
        values |= {} if omega is None else {"omega": np.full((2, draws), omega)}
    stats = {"diverging": np.zeros((2, draws), bool), "energy": rng.normal(size=(2, draws))}
    stats["lp"] = rng.normal(size=(2, draws))
    tree = tree_of_draws(
        values, stats, study, hypothesis, Settings(draws=draws, chains=2), prior={}
    )
    if known.counting == LATENT:
        tree["evidence"] = xr.DataTree(made_evidence())
        spread = {"omega": rng.choice([0.0, 1.0, 2.0, 3.0], (1, tree["prior"].sizes["draw"]))}
        tree["prior"] = (
            tree["prior"]
            .to_dataset()
            .assign({name: (("chain", "draw"), value) for name, value in spread.items()})
        )
    tree["posterior"].attrs.pop("resampled", None)
    return with_verdict(tree, Evidence(log_evidence=12.3, se=0.01), problems)


def made_evidence():
    """What a grid of four values of omega says, two of them alike."""
    columns = {
        "log_evidence": [1.0, 12.0, 12.0, 2.0],
        "log_evidence_se": [0.01] * 4,
        "prior": [0.25] * 4,
        "weight": [0.0, 0.5, 0.5, 0.0],
        "r_hat": [1.0] * 4,
        "ess_bulk": [900.0] * 4,
        "ess_tail": [900.0] * 4,
        "bfmi": [0.9] * 4,
        "divergences": [0.0] * 4,
        "status": ["converged"] * 4,
    }
    values = {name: ("omega", np.asarray(column)) for name, column in columns.items()}
    return xr.Dataset(values, coords={"omega": [0.0, 1.0, 2.0, 3.0]})


def epoch_latents(*, sigma=0.01):
    """Epoch's coefficients in the coordinates in which the Chinchilla law is sampled."""
    logs = anchored_logs(**EPOCH)
    exponents = {f"log_{name}": np.log(EPOCH[name]) for name in ("alpha", "beta")}
    return logs | exponents | {"log_sigma": np.log(sigma), "nu_minus_one": 4.0}
