"""Published exponents as data about one law: a plain `pm.Model`, and literatures drawn from it.

The consensus law has alpha, beta and tokens per parameter at 1e21 FLOP, N counted with one
vocabulary matrix. Row i of run set s reports

    y_i = slope(law, gamma_s, w_i, range_i) + u_s + v_i + error_i,

with u_s ~ Normal(0, tau_between), v_i ~ Normal(0, tau_within) for replicates alone and error_i ~
Normal(0, se_i). u and v are integrated out exactly, and so is an unknown counting, one per run set.
Errors are Normal: run-set effects of free size already take up what lies far out, and with Normal
errors that integral has a closed form.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import logsumexp

from scalebayes.architecture import GAMMA_LOG_SD, GAMMA_MEDIAN
from scalebayes.synthesis_data import CATEGORIES, weights_of
from scalebayes.synthesis_slope import frontier_slope

PRIOR = {
    "log_exponent_location": float(np.log(0.35)),  # of alpha and of beta
    "log_exponent_sd": 0.5,
    "log_ratio_location": float(np.log(20.0)),  # tokens per parameter at 1e21 FLOP
    "log_ratio_sd": 1.0,
    "log_gamma_location": float(np.log(GAMMA_MEDIAN)),
    "log_gamma_sd": GAMMA_LOG_SD,
    "log_gamma_own_sd": 0.3,  # vocabularies and aspect ratios differ between run sets
    "tau_between": 0.1,
    "tau_within": 0.05,
    "log_se_location": float(np.log(0.03)),  # of an error that was not published
    "log_se_sd": 0.7,
}
"""Parameters of the priors; scales of half-normals for tau_between and tau_within."""

LATENTS = (
    *("log_alpha", "log_beta", "log_tokens_per_parameter", "log_gamma", "gamma_offset"),
    *("tau_between", "tau_within", "log_se"),
)
"""Free variables of the model, in its order."""


@dataclass(frozen=True, kw_only=True)
class SynthesisData:
    """Rows of a literature as arrays; those of two literatures of one shape share a compilation.

    Parameters
    ----------
    value : ndarray
        [row], published exponents.
    se : ndarray
        [row], their standard errors; 0 where `missing`.
    missing : ndarray of int
        Positions of rows without one.
    replicate : ndarray
        [row], 1 for a replicate, else 0.
    member : ndarray
        [run set, row], 1 where the row belongs to the run set.
    cell : ndarray of int
        [row, category], which cell holds a row's slope under a category of its counting; the same
        in all of them where the counting is stated.
    row_of_cell : ndarray of int
        [cell], the row of a cell.
    weight : ndarray
        [cell], weight of a vocabulary matrix in N and C.
    log_c_min, log_c_max : ndarray
        [cell], log FLOP.
    """

    value: np.ndarray
    se: np.ndarray = field(repr=False)
    missing: np.ndarray = field(repr=False)
    replicate: np.ndarray = field(repr=False)
    member: np.ndarray = field(repr=False)
    cell: np.ndarray = field(repr=False)
    row_of_cell: np.ndarray = field(repr=False)
    weight: np.ndarray = field(repr=False)
    log_c_min: np.ndarray = field(repr=False)
    log_c_max: np.ndarray = field(repr=False)

    @property
    def run_set(self):
        """Return the position of each row's run set [row]."""
        return self.member.argmax(axis=0)


def synthesis_data(rows):
    """Return the arrays of rows that are data.

    Parameters
    ----------
    rows : DataFrame
        value, se, run_set, counting, study, role ("primary" or "replicate"), c_min, c_max.
    """
    weights = weights_of(rows)
    cells, index = [], np.empty(weights.shape, dtype=int)
    for i, row in enumerate(weights):
        for k, weight in enumerate(row):
            if (i, weight) not in cells:
                cells.append((i, weight))
            index[i, k] = cells.index((i, weight))
    row, weight = (np.array(column) for column in zip(*cells, strict=True))
    run_sets = list(dict.fromkeys(rows["run_set"]))
    missing = rows["se"].isna().to_numpy()
    return SynthesisData(
        value=rows["value"].to_numpy(float),
        se=rows["se"].fillna(0.0).to_numpy(float),
        missing=np.flatnonzero(missing),
        replicate=(rows["role"] == "replicate").to_numpy(float),
        member=np.array([(rows["run_set"] == one).to_numpy(float) for one in run_sets]),
        cell=index,
        row_of_cell=row,
        weight=weight,
        log_c_min=np.log(rows["c_min"].to_numpy(float))[row],
        log_c_max=np.log(rows["c_max"].to_numpy(float))[row],
    )


def synthesis_model(data, *, prior=None, coords=None):
    """Return the PyMC model of a literature.

    Parameters
    ----------
    data : SynthesisData
    prior : mapping, optional
        Values that replace those of `PRIOR`.
    coords : dict, optional
        Labels of run_set and imputed (rows without a published error).

    Returns
    -------
    pm.Model
        Free variables `LATENTS`, of which gamma_offset [run_set] and log_se [imputed] are vectors;
        the data as `pm.Data`; the likelihood of run sets as a Potential (nats).
    """
    import pymc as pm
    import pytensor.tensor as pt

    # a plain 0.5 would have PyTensor take its logarithm in single precision
    given = {name: np.float64(value) for name, value in (PRIOR | (prior or {})).items()}
    sizes = {"run_set": len(data.member), "imputed": data.missing.size}
    labels = {dim: np.arange(size) for dim, size in sizes.items()} | (coords or {})
    with pm.Model(coords=labels) as model:
        held = SynthesisData(  # of known shape, which compiles faster
            **{name: pm.Data(name, x, shape=x.shape) for name, x in vars(data).items()}
        )
        location, sd = given["log_exponent_location"], given["log_exponent_sd"]
        latents = {
            "log_alpha": pm.Normal("log_alpha", location, sd),
            "log_beta": pm.Normal("log_beta", location, sd),
            "log_tokens_per_parameter": pm.Normal(
                "log_tokens_per_parameter", given["log_ratio_location"], given["log_ratio_sd"]
            ),
            "log_gamma": pm.Normal("log_gamma", given["log_gamma_location"], given["log_gamma_sd"]),
            "gamma_offset": pm.Normal("gamma_offset", 0, 1, shape=len(data.member), dims="run_set"),
            "tau_between": pm.HalfNormal("tau_between", given["tau_between"]),
            "tau_within": pm.HalfNormal("tau_within", given["tau_within"]),
            "log_se": pm.Normal(
                "log_se",
                given["log_se_location"],
                given["log_se_sd"],
                shape=data.missing.size,
                dims="imputed",
            ),
        }
        se = pt.set_subtensor(held.se[held.missing], pt.exp(latents["log_se"]))
        run_set = pt.argmax(held.member, axis=0)[held.row_of_cell]
        slope = cell_slopes(
            latents, held, run_set, own_sd=given["log_gamma_own_sd"], xp=pt, solve=_opaque
        )
        likelihood = log_likelihoods(slope, se, held, latents, xp=pt)
        pm.Potential("run_sets", pt.logsumexp(likelihood, axis=-1).sum())
    return model


def cell_slopes(latents, data, run_set, *, own_sd=None, xp=np, **more):
    """Return the slope that each cell's study would report without effects and errors [..., cell].

    Parameters
    ----------
    latents : mapping
        Free variables; in NumPy scalars as [draw] and gamma_offset as [draw, run set].
    data : SynthesisData
    run_set : array of int
        [cell].
    own_sd : float, optional
        Spread of log gamma over run sets; that of `PRIOR` by default.
    xp, **more
        As in `synthesis_slope.frontier_slope`.
    """
    own_sd = PRIOR["log_gamma_own_sd"] if own_sd is None else own_sd
    offset = own_sd * latents["gamma_offset"][..., run_set]
    return frontier_slope(
        *(value[..., None] for value in law_of(latents, xp=xp).values()),
        latents["log_gamma"][..., None] + offset,
        weight=data.weight,
        log_c_min=data.log_c_min,
        log_c_max=data.log_c_max,
        xp=xp,
        **more,
    )


def law_of(latents, *, xp=np):
    """Return alpha, beta and log_ratio of draws of the free variables."""
    exponents = {name: xp.exp(latents[f"log_{name}"]) for name in ("alpha", "beta")}
    return exponents | {"log_ratio": latents["log_tokens_per_parameter"]}


def log_likelihoods(slope, se, data, latents, *, xp=np):
    """Return log(prior x likelihood) of each run set's rows by category [..., run set, category].

    With sigma_i^2 = se_i^2 + tau_within^2 of a replicate, d_i = y_i - slope_i, P = sum 1/sigma^2
    and h = sum d/sigma^2 over a run set's rows, the integral over u ~ Normal(0, tau^2) is
    -1/2 [sum log(2 pi sigma^2) + sum d^2/sigma^2 + log(1 + tau^2 P) - tau^2 h^2/(1 + tau^2 P)].

    Parameters
    ----------
    slope : array
        [..., cell], from `cell_slopes`.
    se : array
        [..., row], standard errors, imputed ones among them.
    data : SynthesisData
    latents : mapping
        With tau_between and tau_within.
    xp : module
        numpy or pytensor.tensor.
    """
    variance = se**2 + latents["tau_within"][..., None] ** 2 * data.replicate
    deviation = data.value[:, None] - slope[..., data.cell]
    weighted = deviation / variance[..., None]
    between = latents["tau_between"][..., None, None] ** 2
    member = data.member
    own = xp.matmul(member, (xp.log(2 * np.pi * variance))[..., None])
    precision = xp.matmul(member, (1 / variance)[..., None])
    pull, squared = xp.matmul(member, weighted), xp.matmul(member, weighted * deviation)
    spread = 1 + between * precision
    found = own + squared + xp.log(spread) - between * pull**2 / spread
    return -found / 2 - np.log(len(CATEGORIES))


def responsibilities(likelihoods):
    """Return the probability of each category of a run set's counting [..., run set, category]."""
    return np.exp(likelihoods - logsumexp(likelihoods, axis=-1, keepdims=True))


def prior_latents(data, n, *, random_seed=None, prior=None):
    """Return n draws of the free variables from their prior, each [draw, ...].

    Parameters
    ----------
    data : SynthesisData
        Its shape alone counts.
    n : int
    random_seed : int or Generator, optional
    prior : mapping, optional
        As in `synthesis_model`.
    """
    given, rng = PRIOR | (prior or {}), np.random.default_rng(random_seed)

    def normal(name, size=()):
        return given[f"{name}_location"] + given[f"{name}_sd"] * rng.standard_normal((n, *size))

    return {
        "log_alpha": normal("log_exponent"),
        "log_beta": normal("log_exponent"),
        "log_tokens_per_parameter": normal("log_ratio"),
        "log_gamma": normal("log_gamma"),
        "gamma_offset": rng.standard_normal((n, len(data.member))),
        "tau_between": given["tau_between"] * abs(rng.standard_normal(n)),
        "tau_within": given["tau_within"] * abs(rng.standard_normal(n)),
        "log_se": normal("log_se", (data.missing.size,)),
    }


def simulated_values(data, latents, *, random_seed=None):
    """Return literatures of the same shape that the model expects: exponents [draw, row].

    Parameters
    ----------
    data : SynthesisData
        Countings, ranges, run sets and known errors; its values do not count.
    latents : mapping
        Draws of the free variables, as from `prior_latents`.
    random_seed : int or Generator, optional
    """
    rng = np.random.default_rng(random_seed)
    slope = cell_slopes(latents, data, data.run_set[data.row_of_cell])
    n = len(slope)
    category = rng.integers(data.cell.shape[1], size=(n, len(data.member)))[:, data.run_set]
    cell = data.cell[np.arange(data.value.size), category]
    se = filled_errors(data, latents["log_se"])
    between = latents["tau_between"][:, None] * rng.standard_normal((n, len(data.member)))
    within = latents["tau_within"][:, None] * data.replicate * rng.standard_normal(se.shape)
    noise = se * rng.standard_normal(se.shape)
    return np.take_along_axis(slope, cell, axis=1) + between[:, data.run_set] + within + noise


def filled_errors(data, log_se):
    """Return standard errors [..., row], the imputed ones among the published."""
    log_se = np.asarray(log_se)
    found = np.broadcast_to(data.se, (*log_se.shape[:-1], data.se.size)).copy()
    found[..., data.missing] = np.exp(log_se)
    return found


def _opaque(function, *arguments):
    """Return a function of tensors as one node without derivatives: it is compiled apart."""
    from pytensor.compile.builders import OpFromGraph
    from pytensor.gradient import disconnected_grad

    inputs = [one.type() for one in arguments]
    return disconnected_grad(OpFromGraph(inputs, [function(*inputs)])(*arguments))
