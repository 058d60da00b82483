"""A `Hypothesis` and a `Study` -> a plain `pm.Model` with named coords.

Every prior sits on a quantity that means something at the anchors (see `laws`); E, A, B and the
exponents are derived. Data and the parameters of the priors are `pm.Data`, so that one compiled
form serves every study and every prior of the same kind.

PyMC is imported by what makes a model: the data of one, and fits whose density is written out by
hand, come without it, a second or two sooner.
"""

import numpy as np
import pandas as pd

from scalebayes import laws
from scalebayes.counting import count_parameters
from scalebayes.errors import StudyError
from scalebayes.hypotheses import LATENT, RUN_EFFECT, load_hypothesis, without_run_effect
from scalebayes.isoflop import middle_budget, windowed
from scalebayes.likelihoods import observe
from scalebayes.noise import sigma_of_run
from scalebayes.studies import load_study

OMEGA_GRID = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Values of omega that `counting` chooses among in a plain model."""

RUN_DATA = ("N", "D", "observed_log_loss", "relative_loss_se")
"""Names of the data of every model whose counting is fixed, one value per run."""

WARMUP_SHARE = "warmup_share"
"""Part of a run's tokens seen during warm-up, min(W, D) / D: data of the law "warmup"."""

LOG_BUDGET = "log_budget"
"""log (C/C0) of a run, C = 6 N D in the hypothesis' counting: data of the laws `laws.ISOFLOP`."""

LAW_DATA = {"warmup": (WARMUP_SHARE,)} | dict.fromkeys(laws.ISOFLOP, (LOG_BUDGET,))
"""Data that some laws need of each run besides N and D."""

_NATURAL = ("kappa", "eta", "tau")  # free variables that are natural quantities

TRAJECTORY_INDEX = "trajectory_index"
"""Which run effect a row has, as a position among the shared trajectories; -1 for a row that shares
its trajectory with no other."""


def build(study, hypothesis="hoffmann-total"):
    """Return the PyMC model of one study under one hypothesis.

    Under a latent counting, `counting` is a Categorical over a grid of omega and `omega` its value,
    so that the graph, the prior predictive, `pm.do` and `pm.sample` know it. (`fit` sums that
    variable out exactly instead of sampling it.)

    Parameters
    ----------
    study : Study or str
        A study, or the name of a bundled one.
    hypothesis : Hypothesis, str or path
        A name in `models/`, a TOML file, or a ready value.

    Returns
    -------
    pm.Model
        Free variables are the keys of the hypothesis' priors; E, A, B, alpha, beta, a, sigma (and
        nu, omega) are Deterministics in nats, parameters and tokens; `log_loss` [run] is observed.
        Where rows share a trajectory and the hypothesis has a prior of `tau`, `run_effect`
        [trajectory] ~ Normal(0, 1) besides: the log loss of such a row is moved by
        tau run_effect. Otherwise there is no `tau`.

    Raises
    ------
    StudyError, HypothesisError, CountingError
        When the study, the hypothesis, or the count of parameters it asks for cannot be had.

    References
    ----------
    Hoffmann et al. (2022), arXiv:2203.15556, eq. 2; Besiroglu et al. (2024), arXiv:2404.10102.
    """
    hypothesis = load_hypothesis(hypothesis)
    study = windowed(load_study(study), hypothesis)
    data = run_data(study, hypothesis)
    coords = {"run": study.runs["run"].to_numpy(dtype=str)}
    if TRAJECTORY_INDEX in data:
        coords["trajectory"] = list(study.shared_trajectories)
    if hypothesis.counting == LATENT:
        grid = np.unique([*OMEGA_GRID, *_grid_ends(hypothesis.omega)])
        coords["counting_choice"] = [f"omega={omega:g}" for omega in grid]
        return model_of(data, hypothesis, coords=coords, omega_grid=grid)
    return model_of(data, hypothesis, coords=coords)


def run_data(study, hypothesis, *, omega=None):
    """Return the arrays that a model of this hypothesis reads from a study.

    Parameters
    ----------
    study : Study
    hypothesis : Hypothesis
    omega : float, optional
        Fixes a latent counting: N = body + omega head.

    Returns
    -------
    dict of ndarray
        D (tokens), observed_log_loss (log nats), relative_loss_se, and N (parameters) or, where the
        counting stays latent, body and head; one value per used run. `WARMUP_SHARE` or `LOG_BUDGET`
        for the laws that need them; `TRAJECTORY_INDEX` where there is a `tau` and rows share a
        trajectory.

    Raises
    ------
    StudyError
        When the law needs the tokens of warm-up and some used row has none stated.
    """
    runs = study.runs
    counting = hypothesis.counting if omega is None else omega
    if counting == LATENT:
        counts = {
            "body": count_parameters(runs, "body", reported=study.counting),
            "head": count_parameters(runs, 1.0, reported=study.counting)
            - count_parameters(runs, 0.0, reported=study.counting),
        }
    else:
        counts = {"N": count_parameters(runs, counting, reported=study.counting)}
    loss = runs["loss"].to_numpy(dtype=float)
    return {
        **counts,
        "D": runs["D"].to_numpy(dtype=float),
        "observed_log_loss": np.log(loss),
        "relative_loss_se": _relative_loss_se(runs, loss),
        **({WARMUP_SHARE: _warmup_share(study)} if hypothesis.law == "warmup" else {}),
        **(_log_budget(study, counting) if hypothesis.law in laws.ISOFLOP else {}),
        **(_trajectory_index(study) if RUN_EFFECT in hypothesis.priors else {}),
    }


def applied(hypothesis, data):
    """Return a hypothesis as far as data have a use for it: `tau` only with shared trajectories.

    Parameters
    ----------
    hypothesis : Hypothesis
    data : mapping
        From `run_data`.
    """
    return hypothesis if TRAJECTORY_INDEX in data else without_run_effect(hypothesis)


def run_shift(tau, run_effect, index, *, concatenate=np.concatenate):
    """Return what run effects add to the log loss of each row: tau b_j, 0 without a run effect.

    Parameters
    ----------
    tau : float or array
        Scale of the run effects on log loss, > 0; broadcasts against rows.
    run_effect : array
        Standardised effects [..., trajectory].
    index : array of int
        As `TRAJECTORY_INDEX` says, [run].
    concatenate : callable
        Joins arrays along an axis; PyTensor's inside a PyMC model.

    Returns
    -------
    array
        Shifts of log loss [..., run].
    """
    none = run_effect[..., :1] * 0.0  # the last place, that of index -1
    return tau * concatenate([run_effect, none], axis=-1)[..., index]


def model_of(data, hypothesis, *, coords, omega_grid=None):
    """Return the PyMC model of arrays as `run_data` makes them.

    Parameters
    ----------
    data : dict of ndarray
        From `run_data`.
    hypothesis : Hypothesis
    coords : dict
        Labels of `run` and, for a latent counting, of `counting_choice`.
    omega_grid : array, optional
        Values of omega; needed when the counting is latent.
    """
    import pymc as pm
    import pytensor.tensor as pt

    hypothesis = applied(hypothesis, data)
    with pm.Model(coords=coords) as model:
        given = {name: pm.Data(name, values, dims="run") for name, values in data.items()}
        named = zip(latent_names(hypothesis), hypothesis.priors.values(), strict=True)
        latents = {name: _prior(name, prior) for name, prior in named}
        known = natural_quantities(
            latents, law=hypothesis.law, exp=pt.exp, log=pt.log, log1p=pt.log1p
        )
        known |= located(hypothesis.law, latents, data, exp=pt.exp)
        for name, value in known.items():
            if name not in latents:
                pm.Deterministic(name, value)
        if omega_grid is not None:
            omega = _latent_omega(hypothesis.omega, omega_grid)
            given["N"] = given["body"] + omega * given["head"]
        log_N, log_D = pt.log(given["N"]), pt.log(given["D"])
        log_N.name, log_D.name = "log_N", "log_D"  # `compiled` computes these once
        mu = log_law(
            hypothesis.law,
            latents,
            log_N,
            log_D,
            more=given,
            exp=pt.exp,
            log=pt.log,
            log1p=pt.log1p,
        )
        if RUN_EFFECT in latents:
            mu = mu + _run_shift(latents[RUN_EFFECT], given[TRAJECTORY_INDEX])
        observe(
            hypothesis.likelihood,
            mu=mu,
            sigma=sigma_of_run(
                known["sigma"], known.get("eta"), log_N=log_N, log_D=log_D, exp=pt.exp
            ),
            nu=known.get("nu"),
            relative_loss_se=given["relative_loss_se"],
            observed=given["observed_log_loss"],
        )
    return model


def log_law(law, latents, log_N, log_D, *, more, exp=np.exp, log=np.log, log1p=np.log1p):
    """Return the log of the law's loss at each run, from the law's latents.

    Parameters
    ----------
    law : str
        One of `laws.LAWS`.
    latents : mapping
        Its latents (`laws.LATENTS`); they broadcast against the runs.
    log_N, log_D : array
        Natural logarithms of parameters, as the law counts them, and tokens [run].
    more : mapping
        What `LAW_DATA` names for the law, [run]; others are passed over.
    exp, log, log1p : callable
        Elementary functions; PyTensor's inside a PyMC model.
    """
    if law in laws.ISOFLOP:
        given = {name: latents[name] for name in ("log_E", "log_K", "log_ratio")}
        given |= laws.isoflop_exponents(law, latents, exp=exp)
        elementary = {"exp": exp, "log": log, "log1p": log1p}
        return laws.log_isoflop(log_N, log_D, log_budget=more[LOG_BUDGET], **given, **elementary)
    if law == "warmup":
        log_D = log_D + log1p(-latents["kappa"] * more[WARMUP_SHARE])
    terms = laws.anchored_terms(law, latents, exp=exp, log=log, log1p=log1p)
    if "q" in terms or "log_E" not in terms:
        return laws.log_nested(log_N, log_D, **terms, exp=exp, log1p=log1p)
    return laws.log_chinchilla(log_N, log_D, **terms, exp=exp, log1p=log1p)


def natural_quantities(latents, *, law="chinchilla", exp=np.exp, log=np.log, log1p=np.log1p):
    """Return E, A, B, alpha, beta, a, sigma, and q, nu, kappa, eta, tau where there are any.

    For the laws `laws.ISOFLOP` K and gamma in place of A and B; see `located` for the rest.

    Parameters
    ----------
    latents : mapping
        The latents of the law (`laws.LATENTS`), sigma or log_sigma, nu_minus_one, eta, tau.
    law : str
        One of `laws.LAWS`.
    exp, log, log1p : callable
        Elementary functions for the type of the values (NumPy's serve xarray).

    Returns
    -------
    dict
        Natural coefficients; a = beta / (alpha + beta) is the exponent of N* in C in the law's own
        counting (Hoffmann et al. 2022, eq. 4; the same for every q).
    """
    if law in laws.ISOFLOP:
        known = {"E": exp(latents["log_E"]), "K": exp(latents["log_K"])}
        known |= laws.isoflop_exponents(law, latents, exp=exp)
    else:
        known = _additive_quantities(law, latents, exp=exp, log=log, log1p=log1p)
    known["sigma"] = latents["sigma"] if "sigma" in latents else exp(latents["log_sigma"])
    if "nu_minus_one" in latents:
        known["nu"] = 1 + latents["nu_minus_one"]
    return known | {name: latents[name] for name in _NATURAL if name in latents}


def located(law, values, data, *, exp=np.exp):
    """Return what of a law depends on the budget C0 of the runs; nothing for most laws.

    Parameters
    ----------
    law : str
        One of `laws.LAWS`.
    values : mapping
        Latents of the law.
    data : mapping
        From `run_data`.
    exp : callable
        Exponential function; PyTensor's inside a PyMC model.

    Returns
    -------
    dict
        For the laws `laws.ISOFLOP` n0, the log parameters of the optimal model at C0; for
        "isoflop-surface" A and B besides.
    """
    if law not in laws.ISOFLOP:
        return {}
    C0 = budget_of_reference(data)
    log_spent = np.log(C0 / laws.FLOP_PER_PARAMETER_AND_TOKEN)
    n0 = (log_spent - values["log_ratio"]) / 2
    if law == "isoflop":
        return {"n0": n0}
    given = {"K": exp(values["log_K"]), "N0": exp(n0), "C0": C0}
    given |= {name: exp(values[f"log_{name}"]) for name in ("alpha", "beta")}
    return {"n0": n0, **laws.chinchilla_terms(**given)}


def budget_of_reference(data):
    """Return C0 in FLOP (6 N D) from the data of a law of `laws.ISOFLOP`."""
    log_compute = np.log(laws.FLOP_PER_PARAMETER_AND_TOKEN * data["N"] * data["D"])
    return float(np.exp(np.mean(log_compute - data[LOG_BUDGET])))


def latent_names(hypothesis):
    """Return the names of the free variables, in the order of the sampled vector.

    A prior of `nu` is a prior of `nu_minus_one`: nu > 1 keeps the noise's mean.
    """
    return tuple("nu_minus_one" if name == "nu" else name for name in hypothesis.priors)


def _prior(name, prior):
    import pymc as pm

    parameters = pm.Data(f"prior_{name}", np.array(prior.parameters))
    names = prior.to_table()
    names.pop("dist")
    arguments = {key: parameters[position] for position, key in enumerate(names)}
    return getattr(pm, prior.dist)(name, **arguments)


def _latent_omega(prior, omega_grid):
    import pymc as pm
    import pytensor.tensor as pt

    choice = pm.Categorical("counting", p=prior.weights(omega_grid))
    return pm.Deterministic("omega", pt.as_tensor(np.asarray(omega_grid))[choice])


def _run_shift(tau, index):
    import pymc as pm
    import pytensor.tensor as pt

    run_effect = pm.Normal("run_effect", 0.0, 1.0, dims="trajectory")
    return run_shift(tau, run_effect, index, concatenate=pt.concatenate)


def _additive_quantities(law, latents, **elementary):
    terms = laws.anchored_terms(law, latents, **elementary)
    anchored = {name: value for name, value in terms.items() if name != "q"}
    known = laws.natural_coefficients(**anchored, exp=elementary["exp"])
    alpha, beta = terms["alpha"], terms["beta"]
    known |= {"alpha": alpha, "beta": beta, "a": beta / (alpha + beta)}
    return known | {name: terms[name] for name in ("q",) if name in terms}


def _log_budget(study, counting):
    N = count_parameters(study.runs, counting, reported=study.counting)
    compute = laws.FLOP_PER_PARAMETER_AND_TOKEN * N * study.runs["D"].to_numpy(dtype=float)
    return {LOG_BUDGET: np.log(compute / middle_budget(study, counting))}


def _relative_loss_se(runs, loss):
    if "loss_se" not in runs:
        return np.zeros(len(runs))
    given = runs["loss_se"].to_numpy(dtype=float)
    if (given < 0).any():
        msg = f"loss_se must not be negative, found {given.min():g}."
        raise StudyError(msg)
    return np.where(np.isnan(given), 0.0, given) / loss


def _warmup_share(study):
    runs = study.runs
    known = runs.get("warmup_tokens", pd.Series(np.nan, index=runs.index)).astype(float)
    if known.isna().any():
        msg = (
            f"{study.name}: the law 'warmup' needs the tokens of each run's warm-up; "
            f"{int(known.isna().sum())} of {len(runs)} used rows have no warmup_tokens. Give the "
            'column (0 for a run without warm-up), for example columns={"warmup_tokens": "warmup"}.'
        )
        raise StudyError(msg)
    return (np.minimum(known, runs["D"]) / runs["D"]).to_numpy(dtype=float)


def _trajectory_index(study):
    ids = study.shared_trajectories
    if not ids:
        return {}
    return {TRAJECTORY_INDEX: pd.Index(ids).get_indexer(study.runs["trajectory"])}


def _grid_ends(prior):
    return (prior.lower, *prior.atoms, prior.upper)
