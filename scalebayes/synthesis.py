"""Published exponents as data about one law seen through each study's counting and range."""

import json
import warnings

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from scalebayes.errors import InputError, NotConvergedWarning
from scalebayes.gate import Settings
from scalebayes.optimum import allocation_exponent
from scalebayes.storage import cached, content_key, package_digest
from scalebayes.synthesis_data import (
    CATEGORIES,
    HOFFMANN_RANGE,
    KAPLAN_RANGE,
    reason_counts,
    synthesis_rows,
)
from scalebayes.synthesis_draws import compiled_synthesis, draw_synthesis
from scalebayes.synthesis_model import (
    PRIOR,
    cell_slopes,
    filled_errors,
    law_of,
    log_likelihoods,
    prior_latents,
    responsibilities,
    synthesis_data,
)
from scalebayes.synthesis_slope import frontier_slope
from scalebayes.trees import PRIOR_DRAWS, versions

RANGES = {"kaplan": KAPLAN_RANGE, "hoffmann": HOFFMANN_RANGE}
"""Budgets (FLOP) over which the effect of counting alone is given."""

CI_PROB = 0.9
_TEXTS = (
    *("study", "corpus", "method", "counting", "recipe", "role", "obtained", "se_from"),
    *("range_from", "origin", "confidence", "run_set"),
)
_SHORT = {  # of labels; nothing else depends on them
    "approach 1 (min over curves)": "approach 1",
    "approach 1 (envelope)": "approach 1",
    "approach 2 (IsoFLOP)": "approach 2",
    "approach 3 (parametric)": "approach 3",
    "approach 3 (VPNLS MSE)": "approach 3",
    "approach 3, Huber 1e-4": "approach 3",
    "envelope, adjusted to batch << B_crit (C_min)": "adjusted",
    "predicted from L(N,S_min)": "from L(N, S)",
    "envelope, fixed batch (naive C)": "fixed batch",
    "constant LR after warmup, up to 100B tokens": "to 100B tokens",
    "constant LR after warmup, all checkpoints from 2B to 350B tokens": "to 350B tokens",
    "cooldown checkpoints": "cooldown",
}


def synthesis(rows=None, *, draws=1000, tune=1000, chains=4, cores=None, random_seed=1, cache=True):
    """Return what published exponents say together of one law.

    A consensus law is seen through each study's counting and range of compute; run sets and
    replicates differ from it by effects of unknown size; a missing error is imputed and an unknown
    counting summed out. Run sets that this package fits from their runs are compared only.

    Parameters
    ----------
    rows : DataFrame, optional
        As `synthesis_data.synthesis_rows` returns, its default: roles can be changed in it.
    draws, tune, chains, cores, random_seed
        As in `fit`.
    cache : bool
        Whether to take the result from, and put it into, the cache on disk.

    Returns
    -------
    DataTree
        `posterior` over (chain, draw): a (total counting, one matrix), alpha, beta,
        tokens_per_parameter (at 1e21 FLOP), gamma, tau_between, tau_within, new_a (a of a new run
        set in total counting), counting_effect [range], the exponent in body counting less that in
        total counting for the family's gamma; `prior`, the same but new_a; `rows` over row: value,
        fitted, residual and se as draws, responsibility [row, category] of an unknown counting,
        and what each row is; `checks` over check: value, quantiles of what a new run set of that
        counting and range would report, and p, its two-sided predictive p; `log_likelihood` by
        run set; `observed_data`; `sample_stats`. `attrs`: converged, problems, prior (JSON),
        left_out (JSON: reason -> number).

    Raises
    ------
    InputError
        When no row is primary.

    Warns
    -----
    NotConvergedWarning
        When the draws fail the gate; `attrs["converged"]` is then 0.
    """
    rows = synthesis_rows() if rows is None else rows
    sizes = dict(draws=draws, tune=tune, chains=chains, cores=cores, random_seed=random_seed)
    settings = Settings(target_accept=0.95, **sizes)
    tree = cached(_key(rows, settings), lambda: _synthesis(rows, settings), cache=cache)
    if not tree.attrs["converged"]:
        warnings.warn(f"synthesis: {tree.attrs['problems']}", NotConvergedWarning, stacklevel=2)
    return tree


def _key(rows, settings):
    return content_key(
        kind="synthesis",
        rows=rows.to_json(),
        settings=[settings.draws, settings.tune, settings.chains, settings.random_seed],
        versions=versions(),
        code=package_digest(),
    )


def _synthesis(rows, settings):
    used = rows[rows["role"].isin(["primary", "replicate"])].reset_index(drop=True)
    if not (used["role"] == "primary").any():
        msg = "synthesis: no row is primary; see synthesis_data.synthesis_rows for roles."
        raise InputError(msg)
    data = synthesis_data(used)
    run_sets = list(dict.fromkeys(used["run_set"]))
    labels = row_labels(used)
    coords = {"run_set": run_sets, "imputed": [labels[i] for i in data.missing]}
    drawn = draw_synthesis(compiled_synthesis(data, coords=coords), settings)
    rng = np.random.default_rng(settings.seed(51))
    latents = drawn.latents
    shape = drawn.posterior.sizes["chain"], drawn.posterior.sizes["draw"]
    slope = cell_slopes(latents, data, data.run_set[data.row_of_cell])
    se = filled_errors(data, latents["log_se"])
    likelihoods = log_likelihoods(slope, se, data, latents)
    by_run_set = logsumexp(likelihoods, axis=-1).reshape(*shape, -1)
    new = rng.standard_normal(shape) * latents["tau_between"].reshape(shape)
    posterior = _quantities(latents, shape)
    posterior["new_a"] = posterior["a"] + new
    tree = xr.DataTree.from_dict(
        {
            "posterior": posterior,
            "sample_stats": drawn.stats,
            "prior": _quantities(prior_latents(data, PRIOR_DRAWS, random_seed=rng)),
            "rows": _rows(used, labels, data, slope, se, likelihoods, shape, rng),
            "checks": _checks(rows[rows["role"] == "check"].reset_index(drop=True), latents, rng),
            "log_likelihood": _over_chains({"run_sets": (by_run_set, "run_set")}).assign_coords(
                run_set=run_sets
            ),
            "observed_data": xr.Dataset({"exponent": ("row", data.value)}, {"row": labels}),
        }
    )
    tree.attrs = _attrs(rows, used, drawn, settings)
    return tree


def _quantities(latents, shape=None):
    """Return reported quantities of draws of the free variables, over (chain, draw)."""
    shape = (1, latents["log_alpha"].size) if shape is None else shape
    alpha, beta, log_ratio = law_of(latents).values()
    a = allocation_exponent(alpha, beta)
    ends = np.log(list(RANGES.values()))
    body = frontier_slope(
        *(value[:, None] for value in (alpha, beta, log_ratio, latents["log_gamma"])),
        weight=np.zeros(len(RANGES)),
        log_c_min=ends[:, 0],
        log_c_max=ends[:, 1],
    )
    found = {
        "a": a,
        "alpha": alpha,
        "beta": beta,
        "tokens_per_parameter": np.exp(log_ratio),
        "gamma": np.exp(latents["log_gamma"]),
        "tau_between": latents["tau_between"],
        "tau_within": latents["tau_within"],
    }
    values = {name: (value.reshape(shape), None) for name, value in found.items()}
    effect = (body - a[:, None]).reshape(*shape, len(RANGES))  # in total counting the slope is a
    values["counting_effect"] = (effect, "range")
    return _over_chains(values).assign_coords(range=list(RANGES))


def _rows(used, labels, data, slope, se, likelihoods, shape, rng):
    """Return fitted exponents, residuals, errors and countings of rows."""
    by_run_set = responsibilities(likelihoods)
    marks = rng.uniform(size=by_run_set.shape[:2])[..., None]
    category = (np.cumsum(by_run_set, axis=-1) < marks).sum(-1).clip(max=len(CATEGORIES) - 1)
    cell = data.cell[np.arange(data.value.size), category[:, data.run_set]]
    fitted = np.take_along_axis(slope, cell, axis=1).reshape(*shape, -1)
    values = _over_chains(
        {
            "fitted": (fitted, "row"),
            "residual": (data.value - fitted, "row"),
            "se": (se.reshape(*shape, -1), "row"),
        }
    )
    texts = {name: ("row", used[name].to_numpy(str)) for name in _TEXTS}
    told = {
        "value": ("row", data.value),
        "se_published": ("row", used["se"].to_numpy(float)),
        "c_min": ("row", used["c_min"].to_numpy(float)),
        "c_max": ("row", used["c_max"].to_numpy(float)),
        "responsibility": (("row", "category"), by_run_set.mean(axis=0)[data.run_set]),
    }
    return values.assign(texts | told).assign_coords(row=labels, category=list(CATEGORIES))


def _checks(checks, latents, rng):
    """Return published exponents beside what a new run set would report."""
    if not len(checks):
        return xr.Dataset()
    data = synthesis_data(checks)
    n, m = latents["log_alpha"].size, len(checks)
    fresh = {"gamma_offset": rng.standard_normal((n, m))}
    slope = cell_slopes(latents | fresh, data, data.row_of_cell)
    cell = data.cell[np.arange(m), rng.integers(len(CATEGORIES), size=(n, m))]
    log_se = rng.standard_normal((n, data.missing.size)) * PRIOR["log_se_sd"]
    se = filled_errors(data, PRIOR["log_se_location"] + log_se)
    spread = np.hypot(se, latents["tau_between"][:, None])
    told = np.take_along_axis(slope, cell, axis=1) + spread * rng.standard_normal((n, m))
    below = (told < data.value).mean(axis=0)
    ends = np.quantile(told, [(1 - CI_PROB) / 2, 0.5, (1 + CI_PROB) / 2], axis=0)
    columns = dict(zip(("lower", "median", "upper"), ends, strict=True))
    columns |= {"value": data.value, "p": 2 * np.minimum(below, 1 - below)}
    columns |= {name: checks[name].to_numpy(float) for name in ("c_min", "c_max")}
    columns["se_published"] = checks["se"].to_numpy(float)
    columns |= {name: checks[name].to_numpy(str) for name in _TEXTS}
    values = {name: ("check", value) for name, value in columns.items()}
    return xr.Dataset(values, coords={"check": row_labels(checks)})


def row_labels(rows):
    """Return a short name of each row: its study, and what tells it from the study's other rows."""
    names = rows["study"].copy()
    for _, group in rows.groupby("study"):
        for column in ("corpus", "counting", "method", "recipe"):
            if group[column].nunique() > 1:
                texts = group[column].map(_short)
                names[group.index] = names[group.index] + " " + texts
    repeats = names.groupby(names).cumcount()
    return [
        f"{name} ({count + 1})" if count else name
        for name, count in zip(names, repeats, strict=True)
    ]


def _short(text):
    found = _SHORT.get(text, text.rpartition("; ")[2])
    return found.partition(" (")[0] if text not in _SHORT else found


def _over_chains(values):
    """Return a Dataset of arrays [chain, draw, ...], each with the name of its last dim or None."""
    found = {
        name: (("chain", "draw", *([dim] if dim else [])), value)
        for name, (value, dim) in values.items()
    }
    dataset = xr.Dataset(found)
    return dataset.assign_coords({dim: np.arange(dataset.sizes[dim]) for dim in ("chain", "draw")})


def _attrs(rows, used, drawn, settings):
    counts = {role: int((rows["role"] == role).sum()) for role in ("primary", "replicate", "check")}
    return {
        "kind": "synthesis",
        "counting": "total",
        **{f"n_{role}": number for role, number in counts.items()},
        "n_run_sets": int(used["run_set"].nunique()),
        "n_imputed": int(used["se"].isna().sum()),
        "left_out": json.dumps(reason_counts(rows)),
        "prior": json.dumps(PRIOR),
        "converged": int(not drawn.problems),
        "problems": "; ".join(drawn.problems),
        "random_seed": settings.random_seed,
        "versions": json.dumps(versions()),
    }
