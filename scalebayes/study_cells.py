"""What a population takes from each study: its posterior of the exponents at one omega.

Fits come with the omegas that their own evidence asked for. A population needs every study at every
omega it looks at: what is missing is drawn from the data that the fit carries, and cached.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import xarray as xr

from scalebayes.build import LAW_DATA, TRAJECTORY_INDEX, applied
from scalebayes.compiled import log_density
from scalebayes.diagnostics import diagnose
from scalebayes.errors import HypothesisError, InputError, StudyError
from scalebayes.evidence import Evidence
from scalebayes.fit import code_digest
from scalebayes.gate import MAX_EVIDENCE_SE, Settings, checked_posterior, draw_posterior
from scalebayes.hypotheses import LATENT, hypothesis_from_json
from scalebayes.mixtures import Mixture, as_likelihood, fitted_mixture
from scalebayes.priors import Prior
from scalebayes.storage import cached, content_key
from scalebayes.trees import versions

_LOG_EXPONENTS = ("log_alpha", "log_beta")
_STATS = ("diverging", "energy", "lp", "n_steps")
_RUN_EFFECT = "run_effect"
_NO_OMEGA = 1000.0  # stands for a fixed counting in the path of a seed


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One study's posterior at one omega.

    Parameters
    ----------
    quantities : dict of ndarray
        Free and natural quantities, each [chain, draw]; `run_effect` [chain, draw, trajectory]
        where rows share trajectories and the draws have been kept whole.
    stats : dict of ndarray
        Sampler statistics diverging, energy, lp and n_steps, each [chain, draw].
    evidence : Evidence
    prior_mean, prior_sd : ndarray
        [exponent], of the Normal priors of log alpha and log beta that the draws were made with.
    problems : tuple of str
        Why the draws are not to be trusted; None when nobody looked.
    """

    quantities: dict
    stats: dict
    evidence: Evidence
    prior_mean: np.ndarray
    prior_sd: np.ndarray
    problems: tuple[str, ...] | None = None

    @property
    def theta(self):
        """Return log alpha and log beta, [chain, draw, exponent]."""
        return np.stack([np.log(self.quantities[name]) for name in ("alpha", "beta")], axis=-1)

    @cached_property
    def likelihood(self):
        """Return the study's likelihood of theta over its evidence, as a `Mixture`."""
        posterior = fitted_mixture(self.theta, seed=0)
        return as_likelihood(posterior, self.prior_mean, self.prior_sd)

    def log_prior(self, theta):
        """Return the log density of the interim prior at theta [..., exponent]."""
        prior = Mixture(
            log_weight=np.zeros(1),
            mean=self.prior_mean[None],
            covariance=np.diag(self.prior_sd**2)[None],
        )
        return prior.log_density(theta)


@dataclass(frozen=True, kw_only=True)
class PooledStudy:
    """A study's fit, as far as a population looks at it.

    Parameters
    ----------
    name, group : str
    recipe : dict
        As in `Study.recipe`.
    fit : DataTree
    whole : bool
        Whether its cells must have the run effects too, so that a fit can be made of them.
    """

    name: str
    group: str
    recipe: dict = field(repr=False)
    fit: xr.DataTree = field(repr=False)
    whole: bool = False

    @property
    def hypothesis(self):
        """Return the hypothesis of the fit."""
        return hypothesis_from_json(self.fit.attrs["hypothesis"])

    @property
    def omegas(self):
        """Return the omegas at which the fit has draws; none where its counting is fixed."""
        return self.fit["grid"]["omega"].to_numpy() if "grid" in self.fit.children else np.array([])


def pooled_studies(fits):
    """Return a `PooledStudy` per fit, after checking that they may be pooled.

    Parameters
    ----------
    fits : iterable of DataTree, or mapping to DataTree

    Returns
    -------
    list of PooledStudy

    Raises
    ------
    InputError
        When there are fewer than two, or one is no fit.
    StudyError
        When a study comes twice, or two are made from the same runs.
    HypothesisError
        When the hypotheses differ in law, counting, noise or priors, or have no Normal priors of
        log_alpha and log_beta.
    """
    if isinstance(fits, xr.DataTree):  # a mapping itself, of groups
        fits = [fits]
    given = list(fits.values()) if isinstance(fits, Mapping) else list(fits)
    if any(not isinstance(one, xr.DataTree) or "study_record" not in one.attrs for one in given):
        msg = "pool takes fits, as scalebayes.fit returns them."
        raise InputError(msg)
    joined = [one.attrs["study"] for one in given if one.attrs.get("literature")]
    if joined:
        msg = (
            f"{', '.join(joined)} was fitted with the literature, which would count twice. Pool "
            "the fit alone: scalebayes.alone_of(fit)."
        )
        raise InputError(msg)
    if len(given) < 2:
        msg = f"pool needs fits of two studies at least, got {len(given)}."
        raise InputError(msg)
    check_independent(given)
    records = [json.loads(one.attrs["study_record"]) for one in given]
    _check_hypotheses(given)
    return [
        PooledStudy(
            name=one.attrs["study"],
            group=record["group"] or f"{one.attrs['study']} (its own)",
            recipe=dict(record["recipe"]),
            fit=one,
        )
        for one, record in zip(given, records, strict=True)
    ]


def study_cell(study, omega, *, checked=False, prior=None, first=None, random_seed=1, cache=True):
    """Return a study's `Cell` at an omega: out of its fit, or drawn anew.

    Parameters
    ----------
    study : PooledStudy
    omega : float or None
        None is the counting of a fit whose counting is fixed.
    checked : bool
        Whether the draws must have passed the gate; draws that fail it are made anew.
    prior : (ndarray, ndarray), optional
        Mean and standard deviation [exponent] of other Normal priors of log alpha and log beta.
    first : Cell, optional
        The unchecked cell, where it is known already.
    random_seed : int
    cache : bool
        Whether cells drawn anew are cached.
    """
    drawn = {"seed": random_seed, "cache": cache}
    if prior is not None:
        return _drawn(study, omega, checked=checked, prior=prior, **drawn)
    found = _held(study, omega) if first is None else first
    if found is None:
        found = _drawn(study, omega, checked=False, prior=None, **drawn)
    if not checked:
        return found
    looked = found if omega is None else _looked_at(found)
    return (
        looked if not looked.problems else _drawn(study, omega, checked=True, prior=None, **drawn)
    )


def replace_problems(cell, problems):
    """Return the same cell with other problems; its likelihood, where known, is kept."""
    changed = replace(cell, problems=tuple(problems))
    if "likelihood" in vars(cell):
        vars(changed)["likelihood"] = cell.likelihood
    return changed


def _held(study, omega):
    fit, (mean, sd) = study.fit, interim_prior(study.hypothesis)
    if omega is None:
        evidence = Evidence(log_evidence=fit.attrs["log_evidence"], se=fit.attrs["log_evidence_se"])
        problems = (fit.attrs["problems"],) if fit.attrs["problems"] else ()
        return Cell(
            quantities=_arrays(fit["posterior"].to_dataset()),
            stats=_arrays(fit["sample_stats"].to_dataset()[list(_STATS)]),
            evidence=evidence,
            prior_mean=mean,
            prior_sd=sd,
            problems=problems,
        )
    if omega not in study.omegas or (study.whole and _RUN_EFFECT in fit["posterior"]):
        return None
    row = fit["evidence"].to_dataset().sel(omega=omega)
    return Cell(
        quantities=_arrays(fit["grid"].to_dataset().sel(omega=omega, drop=True)),
        stats=_arrays(_grid_stats(fit, omega)[list(_STATS)]),
        evidence=Evidence(
            log_evidence=float(row["log_evidence"]), se=float(row["log_evidence_se"])
        ),
        prior_mean=mean,
        prior_sd=sd,
    )


def _looked_at(cell):
    """Return the cell with what the gate says of its draws."""
    varying = {name: x for name, x in cell.quantities.items() if np.ptp(x) != 0}
    diagnostics = diagnose(varying, cell.stats)
    return replace_problems(cell, (*diagnostics.problems, *_weak(cell.evidence)))


def _grid_stats(fit, omega):
    return fit["grid_sample_stats"].to_dataset().sel(omega=omega, drop=True)


def _weak(evidence):
    if evidence.se <= MAX_EVIDENCE_SE:
        return ()
    return (f"log evidence known to {evidence.se:.3f} nats only",)


def _drawn(study, omega, *, checked, prior, seed, cache):
    data = fitted_run_data(study.fit, omega)
    hypothesis = applied(_with_prior(study.hypothesis, prior), data)
    sizes = study.fit["posterior"].sizes
    settings = Settings(
        draws=sizes["draw"],
        tune=max(sizes["draw"] // 2, 500),
        chains=sizes["chain"],
        random_seed=seed,
    )

    def drawn():
        density = log_density(data, hypothesis)
        path = (_NO_OMEGA if omega is None else float(omega), 11)
        draw = checked_posterior if checked else draw_posterior
        return _tree_of(draw(density, hypothesis, settings, path=path))

    tree = cached(_key(data, hypothesis, settings, omega, checked), drawn, cache=cache)
    mean, sd = interim_prior(hypothesis)
    return Cell(
        quantities=_arrays(tree["posterior"].to_dataset()),
        stats=_arrays(tree["sample_stats"].to_dataset()),
        evidence=Evidence(log_evidence=tree.attrs["log_evidence"], se=tree.attrs["se"]),
        prior_mean=mean,
        prior_sd=sd,
        problems=tuple(json.loads(tree.attrs["problems"])) if checked else None,
    )


def _tree_of(posterior):
    dims = ("chain", "draw", "trajectory")
    values = {name: (dims[: x.ndim], x) for name, x in posterior.quantities.items()}
    stats = {**posterior.draws.stats, "lp": posterior.draws.log_density}
    stats = {name: (dims[:2], stats[name]) for name in _STATS}
    groups = {"posterior": xr.Dataset(values), "sample_stats": xr.Dataset(stats)}
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {
        "log_evidence": posterior.evidence.log_evidence,
        "se": posterior.evidence.se,
        "problems": json.dumps(list(posterior.problems)),
    }
    return tree


def fitted_run_data(fit, omega):
    """Return what `build.run_data` made of the study, from the data in its fit.

    Parameters
    ----------
    fit : DataTree
    omega : float or None
        None for a fit whose counting is fixed.
    """
    runs = {name: values.to_numpy() for name, values in fit["constant_data"].data_vars.items()}
    N = runs["N"] if omega is None else runs["body"] + omega * runs["head"]
    observed = fit["observed_data"]["log_loss"].to_numpy()
    se = runs.get("loss_se", np.zeros_like(N))
    wanted = (*LAW_DATA.get(fit.attrs["law"], ()), TRAJECTORY_INDEX)
    of_some_laws = {name: runs[name] for name in wanted if name in runs}
    return {
        "N": N,
        "D": runs["D"],
        "observed_log_loss": observed,
        "relative_loss_se": np.where(np.isnan(se), 0.0, se) / np.exp(observed),
        **of_some_laws,
    }


def _key(data, hypothesis, settings, omega, checked):
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(x).tobytes() for x in data.values()))
    return content_key(
        kind="cell",
        data=digest.hexdigest(),
        hypothesis=hypothesis.to_json(),
        omega=omega,
        settings=[settings.draws, settings.tune, settings.chains, settings.random_seed, checked],
        versions=versions(),
        code=code_digest(),
    )


def _with_prior(hypothesis, prior):
    if prior is None:
        return hypothesis
    normals = {
        name: Prior(dist="Normal", parameters=(float(mean), float(sd)))
        for name, mean, sd in zip(_LOG_EXPONENTS, *prior, strict=True)
    }
    return replace(hypothesis, priors={**hypothesis.priors, **normals})


def interim_prior(hypothesis):
    """Return mean and sd [exponent] of the Normal priors of log alpha and log beta."""
    parameters = np.array([hypothesis.priors[name].parameters for name in _LOG_EXPONENTS])
    return parameters[:, 0], parameters[:, 1]


def _arrays(dataset):
    return {name: values.to_numpy() for name, values in dataset.data_vars.items()}


def check_independent(fits):
    """Refuse fits of which two look at the same runs.

    Parameters
    ----------
    fits : sequence of DataTree

    Raises
    ------
    StudyError
        Names the studies that share their table or were made from one set of runs.
    """
    names = [one.attrs["study"] for one in fits]
    records = [json.loads(one.attrs["study_record"]) for one in fits]
    sets = [record["shared_runs"] for record in records if record["shared_runs"]]
    hashes = [one.attrs["data_hash"] for one in fits]
    for label, values in (("table", hashes), ("set of shared runs", sets)):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            shared = [
                name
                for name, record, digest in zip(names, records, hashes, strict=True)
                if record["shared_runs"] in twice or digest in twice
            ]
            msg = (
                f"each {label} can be pooled once only, for the same runs would count twice: "
                f"{', '.join(dict.fromkeys(shared))}. Keep one of them."
            )
            raise StudyError(msg)
    alike = sorted({name for name in names if names.count(name) > 1})
    if alike:
        msg = f"two studies are called {', '.join(alike)}: give one of them another name."
        raise StudyError(msg)


def _check_hypotheses(fits):
    first, *others = [hypothesis_from_json(one.attrs["hypothesis"]) for one in fits]
    check_poolable(first)
    for one, fit in zip(others, fits[1:], strict=True):
        _check_alike(first, one, fits[0].attrs["study"], fit.attrs["study"])


def check_poolable(hypothesis):
    """Refuse a hypothesis whose exponents cannot be pooled.

    Raises
    ------
    HypothesisError
        Where log_alpha and log_beta have no Normal priors, or are not exponents of N and D.
    """
    if hypothesis.law == "isoflop":
        msg = (
            f"{hypothesis.name}: alpha and beta of the law isoflop are the steepness of isoFLOP "
            "curves, not exponents of N and D. Pool fits of a surface, such as isoflop-surface."
        )
        raise HypothesisError(msg)
    priors = hypothesis.priors
    normal = [name in priors and priors[name].dist == "Normal" for name in _LOG_EXPONENTS]
    if not all(normal):
        msg = f"{hypothesis.name}: a population needs Normal priors of log_alpha and log_beta."
        raise HypothesisError(msg)


def _check_alike(first, other, first_study, study):
    where = f"{study} under {other.name} and {first_study} under {first.name}"
    for key in ("law", "counting", "likelihood", "window"):
        if getattr(first, key) != getattr(other, key):
            msg = (
                f"{where} do not pool: {key} is {getattr(other, key)!r} in one and "
                f"{getattr(first, key)!r} in the other. Fit all studies under one hypothesis."
            )
            raise HypothesisError(msg)
    names = dict.fromkeys([*first.priors, *other.priors])
    unequal = [key for key in names if first.priors.get(key) != other.priors.get(key)]
    if first.omega != other.omega:
        unequal.append("omega")
    if unequal:
        msg = f"{where} do not pool: their priors of {', '.join(unequal)} are not equal."
        raise HypothesisError(msg)


def is_latent(studies):
    """Return whether the studies' counting is latent."""
    return studies[0].hypothesis.counting == LATENT
