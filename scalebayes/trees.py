"""Posterior draws -> the `DataTree` that every ArviZ function and every later step reads."""

import importlib.metadata
import json
import math
import platform
from functools import cache

import numpy as np
import xarray as xr

from scalebayes.build import (
    LAW_DATA,
    TRAJECTORY_INDEX,
    applied,
    budget_of_reference,
    latent_names,
    located,
    log_law,
    natural_quantities,
    run_data,
    run_shift,
)
from scalebayes.counting import study_omega
from scalebayes.counting_grid import resample, weak_references
from scalebayes.gate import prior_latents
from scalebayes.hypotheses import LATENT, RUN_EFFECT, hypothesis_from_json, load_hypothesis
from scalebayes.laws import ISOFLOP
from scalebayes.likelihoods import log_likelihood
from scalebayes.noise import sigma_of_run

PRIOR_DRAWS = 4000
MOSTLY_PRIOR = 0.5
"""Ratio of posterior to prior sd above which a quantity is still the prior's."""

DECIDED = 0.95
"""Weight that one omega needs, under both sets of priors, to be called decided."""

MAX_STORED_LOG_LIKELIHOOD = 4e7
"""Values of a stored log likelihood; above, it is left out and the fit says so."""

_BLOCK = 50_000  # entries of a log likelihood computed at once; its ten arrays fit a cache

_FAR_OUT = 0.99  # quantile of its prior above which the size of run effects is said to be far out

_NOT_SEPARABLE = "; not separable from the N curve, its size is set by its prior"

UNITS = {"E": "nats", "A": "nats", "B": "nats", "K": "nats", "n0": "log parameters"}
UNITS |= dict.fromkeys(("sigma", "omega", "a", "gamma", "kappa", "eta", "tau"), "1")
_PACKAGES = ("scalebayes", "pymc", "pytensor", "nutpie", "arviz", "numpy", "scipy", "xarray")


def tree_of_posterior(posterior, study, hypothesis, settings):
    """Return the fit of one counting as a DataTree with posterior, sample_stats and data groups.

    Parameters
    ----------
    posterior : Posterior
    study : Study
    hypothesis : Hypothesis
    settings : Settings

    Returns
    -------
    DataTree
    """
    data = run_data(study, hypothesis)
    quantities = dict(posterior.quantities)
    quantities |= located(hypothesis.law, quantities, data)
    omega = study_omega(study.runs, hypothesis.counting)
    if omega is not None:
        quantities["omega"] = np.full(posterior.draws.log_density.shape, omega)
    groups = {
        "posterior": _chains(quantities, study),
        "sample_stats": _chains(_sample_stats(posterior.draws)),
        **_data_groups(study, data, quantities, hypothesis),
        "prior": _prior(hypothesis, data, settings, omega=omega),
    }
    tree = _tree(groups, study, hypothesis, settings, data)
    return with_verdict(tree, posterior.evidence, posterior.problems)


def tree_of_grid(grid, study, hypothesis, settings):
    """Return the fit of a latent counting as a DataTree, `posterior` resampled over omega.

    Parameters
    ----------
    grid : CountingGrid
    study, hypothesis, settings
        As in `tree_of_posterior`.

    Returns
    -------
    DataTree
    """
    quantities, cell, draw = resample(grid, settings.draws, seed=settings.seed(4))
    chain = np.arange(settings.chains)[:, None]
    stats = [_sample_stats(one.draws) for one in grid.posteriors]
    picked = {
        name: np.stack([one[name] for one in stats])[cell, chain, draw]
        for name in ("diverging", "lp", "n_steps")
    }
    data = run_data(study, hypothesis)
    groups = {
        "posterior": _chains(quantities, study).assign_attrs(resampled=1),
        "sample_stats": _chains(picked).assign_attrs(resampled=1),
        **_data_groups(study, data, quantities, hypothesis),
        "prior": _prior(hypothesis, data, settings, grid=grid),
        "grid": _cells(grid, [one.quantities for one in grid.posteriors]),
        "grid_sample_stats": _cells(grid, stats),
        "evidence": _evidence(grid),
    }
    problems = [
        f"omega {omega:g}: {problem}"
        for omega, one in zip(grid.omega, grid.posteriors, strict=True)
        for problem in one.problems
    ]
    tree = _tree(groups, study, hypothesis, settings, data)
    return with_verdict(tree, grid.evidence, [*problems, *weak_references(grid)])


def tree_of_draws(quantities, stats, study, hypothesis, settings, *, prior):
    """Return resampled draws of a study as a DataTree, without a verdict.

    Parameters
    ----------
    quantities : dict of ndarray
        Free and natural quantities, each [chain, draw], `run_effect` with [trajectory] besides, and
        omega where the counting is latent.
    stats : dict of ndarray
        Sampler statistics [chain, draw].
    study : Study
    hypothesis : Hypothesis
    settings : Settings
    prior : dict of ndarray
        Prior draws that replace those of the hypothesis, each [draw].

    Returns
    -------
    DataTree
    """
    data = run_data(study, hypothesis)
    groups = {
        "posterior": _chains(quantities, study).assign_attrs(resampled=1),
        "sample_stats": _chains(stats).assign_attrs(resampled=1),
        **_data_groups(study, data, quantities, hypothesis),
        "prior": _prior(hypothesis, data, settings, replaced=prior),
    }
    return _tree(groups, study, hypothesis, settings, data)


def still_prior(fit, *, reference=True):
    """Return the quantities whose posterior is still mostly the prior, with their sd ratio.

    Where a hypothesis has reference priors, the narrower of the two priors is the measure: a vague
    prior makes every posterior look like a finding.

    Parameters
    ----------
    fit : DataTree
        With groups posterior and prior and the attribute hypothesis.
    reference : bool
        Whether to look at the hypothesis' reference priors too.

    Returns
    -------
    dict of str to float
        Posterior over prior standard deviation (of the logarithm, except for `a`), where above 0.5,
        for E, alpha, beta, gamma, a and tau.
    """
    posterior, ratios = fit["posterior"].to_dataset(), {}
    before = [fit["prior"].to_dataset(), *(_reference_prior(fit) if reference else [])]
    for name in ("E", "alpha", "beta", "gamma", "a", "tau"):
        if name not in posterior or float(posterior[name].std()) == 0.0:
            continue  # no such quantity in the law, or fixed by it
        scale = (lambda x: x) if name == "a" else np.log
        narrower = min(float(scale(one[name]).std()) for one in before if name in one)
        ratios[name] = float(scale(posterior[name]).std()) / narrower
    return {name: ratio for name, ratio in ratios.items() if ratio > MOSTLY_PRIOR}


def _reference_prior(fit):
    name = hypothesis_from_json(fit.attrs["hypothesis"]).reference_priors
    if not name:
        return []
    reference = load_hypothesis(name)
    latents = prior_latents(reference, PRIOR_DRAWS, np.random.default_rng(0))
    return [
        _chains({k: v[None] for k, v in natural_quantities(latents, law=reference.law).items()})
    ]


def versions():
    """Return the versions that a fit's numbers depend on."""
    return {"python": platform.python_version(), **_installed()}


@cache
def _installed():
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def _chains(quantities, study=None):
    shape = next(iter(quantities.values())).shape
    coords = {"chain": np.arange(shape[0]), "draw": np.arange(shape[1])}
    if "run_effect" in quantities:
        coords["trajectory"] = np.array(study.shared_trajectories, dtype=str)
    dims = ("chain", "draw", "trajectory")
    values = {name: (dims[: value.ndim], value) for name, value in quantities.items()}
    dataset = xr.Dataset(values, coords=coords)
    for name in dataset.data_vars:
        if name in UNITS:
            dataset[name].attrs["units"] = UNITS[name]
    return dataset.assign_attrs(inference_library="nutpie")


def _cells(grid, every):
    dims = ("omega", "chain", "draw")
    names = [name for name in every[0] if name != "run_effect"]  # many; `posterior` has them
    values = {name: (dims, np.stack([one[name] for one in every])) for name in names}
    shape = grid.posteriors[0].draws.log_density.shape
    coords = {"omega": grid.omega, "chain": np.arange(shape[0]), "draw": np.arange(shape[1])}
    return xr.Dataset(values, coords=coords)


def _sample_stats(draws):
    return {**draws.stats, "lp": draws.log_density}


def _evidence(grid):
    looked = [one.diagnostics for one in grid.posteriors]
    columns = {
        "log_evidence": [one.evidence.log_evidence for one in grid.posteriors],
        "log_evidence_se": [one.evidence.se for one in grid.posteriors],
        "prior": grid.prior,
        "weight": grid.weight,
        **{
            name: [np.nan if one is None else float(getattr(one, name)) for one in looked]
            for name in ("r_hat", "ess_bulk", "ess_tail", "bfmi", "divergences")
        },
        "status": [_status(one) for one in grid.posteriors],
    }
    if grid.reference is not None:
        columns["log_evidence_default"] = [one.log_evidence for one in grid.reference]
        columns["log_evidence_default_se"] = [one.se for one in grid.reference]
        columns["weight_default"] = grid.reference_weight
    values = {name: ("omega", np.asarray(value)) for name, value in columns.items()}
    return xr.Dataset(values, coords={"omega": grid.omega})


def _status(posterior):
    if posterior.diagnostics is None:
        return "negligible"
    return "; ".join(posterior.problems) or "converged"


def _data_groups(study, data, quantities, hypothesis):
    coords = {"run": study.runs["run"].to_numpy(dtype=str)}
    observed = xr.Dataset({"log_loss": ("run", data["observed_log_loss"])}, coords=coords)
    own = ("N", "D", "body", "head", *LAW_DATA.get(hypothesis.law, ()), TRAJECTORY_INDEX)
    kept = {name: ("run", data[name]) for name in own if name in data}
    kept |= _known_columns(study, kept)
    constant = xr.Dataset(kept, coords=coords)
    groups = {"observed_data": observed, "constant_data": constant}
    if quantities["alpha"].size * observed.sizes["run"] <= MAX_STORED_LOG_LIKELIHOOD:
        pointwise = _pointwise(data, quantities, hypothesis)
        values = {"log_loss": (("chain", "draw", "run"), pointwise)}
        chains = dict(
            zip(("chain", "draw"), map(np.arange, quantities["alpha"].shape), strict=True)
        )
        groups["log_likelihood"] = xr.Dataset(values, coords={**coords, **chains})
    return groups


def _known_columns(study, kept):
    runs = study.runs
    wanted = ("body", "embedding", "head", "loss", "loss_se", "d_model", "n_layers", "flops")
    names = [name for name in wanted if name in runs and name not in kept]
    return {name: ("run", runs[name].to_numpy(dtype=float)) for name in names}


def _pointwise(data, quantities, hypothesis):
    """Return the log likelihood [chain, draw, run], made a block of draws at a time."""
    shape = quantities["alpha"].shape
    flat = {name: x.reshape(-1, *x.shape[2:]) for name, x in quantities.items()}
    n_runs = len(data["observed_log_loss"])
    pointwise = np.empty((math.prod(shape), n_runs))
    step = max(1, _BLOCK // n_runs)
    for first in range(0, len(pointwise), step):
        block = slice(first, first + step)
        some = {name: x[block] for name, x in flat.items()}
        pointwise[block] = _pointwise_of(data, some, hypothesis)
    return pointwise.reshape(*shape, n_runs)


def _pointwise_of(data, quantities, hypothesis):
    per_draw = {name: x[..., None] for name, x in quantities.items() if name != "run_effect"}
    N = data["N"] if "N" in data else data["body"] + per_draw["omega"] * data["head"]
    log_N, log_D = np.log(N), np.log(data["D"])
    mu = log_law(hypothesis.law, per_draw, log_N, log_D, more=data)
    if TRAJECTORY_INDEX in data:
        index = data[TRAJECTORY_INDEX]
        mu = mu + run_shift(per_draw[RUN_EFFECT], quantities["run_effect"], index)
    return log_likelihood(
        hypothesis.likelihood,
        data["observed_log_loss"],
        mu=mu,
        sigma=sigma_of_run(per_draw["sigma"], per_draw.get("eta"), log_N=log_N, log_D=log_D),
        nu=per_draw.get("nu"),
        relative_loss_se=data["relative_loss_se"],
    )


def _prior(hypothesis, data, settings, *, omega=None, grid=None, replaced=None):
    hypothesis = applied(hypothesis, data)
    rng = np.random.default_rng(settings.seed(5))
    latents = {**prior_latents(hypothesis, PRIOR_DRAWS, rng), **(replaced or {})}
    quantities = {**latents, **natural_quantities(latents, law=hypothesis.law)}
    quantities |= located(hypothesis.law, latents, data)
    if grid is not None:
        quantities["omega"] = rng.choice(grid.omega, p=grid.prior, size=PRIOR_DRAWS)
    elif omega is not None:
        quantities["omega"] = np.full(PRIOR_DRAWS, omega)
    return _chains({name: value[None] for name, value in quantities.items()})


def _tree(groups, study, hypothesis, settings, data):
    tree = xr.DataTree.from_dict(groups)
    architecture = study.architecture
    tree.attrs = {
        "study": study.name,
        "study_record": json.dumps(study.record()),
        "hypothesis": hypothesis.to_json(),
        "hypothesis_name": hypothesis.name,
        "law": hypothesis.law,
        "counting": hypothesis.counting,
        "latents": json.dumps(latent_names(applied(hypothesis, data))),
        "reported_counting": study.counting,
        "architecture": "" if architecture is None else architecture.to_json(),
        "random_seed": settings.random_seed,
        "versions": json.dumps(versions()),
        "data_hash": study.data_hash,
        "n_rows": study.n_rows,
        "n_used": study.n_used,
        "rows_note": study.rows_note,
        "design_warnings": "; ".join(study.design_warnings),
        "run_effect": _run_effect(study, data),
    }
    if hypothesis.law in ISOFLOP:
        tree.attrs["C0"] = budget_of_reference(data)
    return tree


def _run_effect(study, data):
    """Return in words how checkpoints of one training run were treated; "" where there are none."""
    shared = study.shared_trajectories
    if not shared:
        return ""
    if TRAJECTORY_INDEX not in data:
        return "checkpoints treated as independent"
    runs = study.runs[study.runs["trajectory"].isin(shared)]
    said = f"run effect on {len(shared)} trajectories"
    if (runs.groupby("N")["trajectory"].nunique() > 1).any():
        return said
    return said + _NOT_SEPARABLE


def _with_size_of_run_effect(tree, problems):
    """Say in the attributes where run effects are far larger than their prior has them.

    Return the problems, with one more where nothing but that prior separates them from the curve of
    N: large effects then have room for other modes, in which they and the law share out the loss
    differently, and no search for modes is sure to find those.
    """
    if RUN_EFFECT not in tree["posterior"]:
        return list(problems)
    size = float(tree["posterior"][RUN_EFFECT].median())
    if size < float(tree["prior"][RUN_EFFECT].quantile(_FAR_OUT)):
        return list(problems)
    separable = not tree.attrs["run_effect"].endswith(_NOT_SEPARABLE)
    tree.attrs["run_effect"] += f"; at {size:.1%} of the loss it is far above its prior"
    swallowed = f"run effects of {size:.1%} of the loss, far above their prior, hide the curve of N"
    return [*problems, *([] if separable else [swallowed])]


def with_verdict(tree, evidence, problems, *, reference=True):
    """Return a tree with its evidence, whether it converged, and what is still the prior's.

    Parameters
    ----------
    tree : DataTree
    evidence : Evidence
    problems : sequence of str
    reference : bool
        As in `still_prior`.
    """
    problems = _with_size_of_run_effect(tree, problems)
    tree.attrs |= {
        "log_evidence": evidence.log_evidence,
        "log_evidence_se": evidence.se,
        "converged": int(not problems),
        "problems": "; ".join(problems),
        "still_prior": json.dumps(still_prior(tree, reference=reference)),
    }
    if tree.attrs["counting"] == LATENT:
        tree.attrs["omega_decided"] = _decided(tree["evidence"])
    return tree


def _decided(evidence):
    """Return the omega that carries `DECIDED` under both sets of priors, as text, or ""."""
    names = [name for name in ("weight", "weight_default") if name in evidence]
    best = {float(evidence[name].idxmax("omega")) for name in names}
    if len(best) > 1 or any(float(evidence[name].max()) <= DECIDED for name in names):
        return ""
    return f"{best.pop():g}"
