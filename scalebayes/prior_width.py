"""The evidence of a fit again, with every prior of its hypothesis narrower or wider."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from scalebayes.compiled import log_density
from scalebayes.evidence import Evidence, reweighted_evidence
from scalebayes.executors import mapped
from scalebayes.gate import MAX_EVIDENCE_SE, Settings, checked_posterior, log_prior
from scalebayes.hypotheses import hypothesis_from_json
from scalebayes.leave_out import REFIT_DRAWS, cells_of, summed_evidence
from scalebayes.priors import PARAMETERS
from scalebayes.study_cells import fitted_run_data

WIDTHS = {0.5: "with priors half as wide", 2.0: "with priors twice as wide"}
"""Factors on the width of every prior, in words."""

_SCALES = ("sigma", "b", "s")
_FIXED = 1000.0  # stands for a fixed counting in the path of a seed


@dataclass(frozen=True, kw_only=True)
class WidthEvidence:
    """A log evidence under changed widths, and what keeps it from being trusted."""

    evidence: Evidence
    problems: tuple[str, ...] = ()


def widened(prior, factor):
    """Return a prior with its width multiplied by a factor.

    A scale parameter is multiplied (a rate divided) by it. A Gamma keeps its mean and has factor
    times the standard deviation. A Beta keeps its mean and has its effective sample size,
    alpha + beta, divided by factor squared.

    Parameters
    ----------
    prior : Prior
    factor : float
        > 0.
    """
    if prior.dist in ("Gamma", "Beta"):
        return replace(prior, parameters=tuple(x / factor**2 for x in prior.parameters))
    changed = {**{name: factor for name in _SCALES}, "lam": 1 / factor}
    named = zip(PARAMETERS[prior.dist], prior.parameters, strict=True)
    return replace(prior, parameters=tuple(x * changed.get(name, 1.0) for name, x in named))


def with_wider_priors(hypothesis, factor):
    """Return a hypothesis with every prior widened; that of a latent omega stays as it is."""
    priors = {name: widened(prior, factor) for name, prior in hypothesis.priors.items()}
    return replace(hypothesis, priors=priors)


def evidence_at_width(fit, factor, *, random_seed=1, cores=None, executor=None):
    """Return the log evidence of a fit's data under its hypothesis with widened priors.

    By reweighting the draws of the fit where enough effective draws are left, else by drawing anew;
    under a latent counting for each cell of its grid.

    Parameters
    ----------
    fit : DataTree
    factor : float
    random_seed : int
    cores : int, optional
    executor : concurrent.futures.Executor, optional
        Whose processes draw anew (`executors.mapped`), with one core each; changes no number.

    Returns
    -------
    WidthEvidence
    """
    hypothesis = hypothesis_from_json(fit.attrs["hypothesis"])
    other = with_wider_priors(hypothesis, factor)
    cells = [
        (omega, weight, _reweighted(fit, omega, known, hypothesis, other))
        for omega, weight, known in cells_of(fit)
    ]
    due = [(omega, fitted_run_data(fit, omega)) for omega, _, known in cells if known is None]
    sizes = dict(draws=REFIT_DRAWS, tune=REFIT_DRAWS, chains=fit["posterior"].sizes["chain"])
    cores = cores if executor is None else 1
    settings = Settings(**sizes, cores=cores, random_seed=random_seed)
    where = WIDTHS.get(factor, f"priors {factor:g} times as wide")
    draw = partial(_drawn, other, settings, factor)
    found = mapped(draw, due, executor=executor, named=lambda task: where)
    drawn = dict(zip([omega for omega, _ in due], found, strict=True))
    cells = [(omega, weight, known or drawn[omega][0]) for omega, weight, known in cells]
    problems = [
        f"{where if omega is None else f'{where}, omega {omega:g}'}: {problem}"
        for omega, (_, every) in drawn.items()
        for problem in every
    ]
    return WidthEvidence(evidence=summed_evidence(cells), problems=tuple(problems))


def _reweighted(fit, omega, known, hypothesis, other):
    """Return the evidence under other priors from the draws of a fit; None where they are few."""
    group = fit["posterior"] if omega is None else fit["grid"].sel(omega=omega)
    draws = {name: values.to_numpy() for name, values in group.data_vars.items()}
    log_ratio = log_prior(draws, other) - log_prior(draws, hypothesis)
    return reweighted_evidence(known, log_ratio, max_se=MAX_EVIDENCE_SE / 2)


def _drawn(hypothesis, settings, factor, task):
    """Return the evidence of run data drawn anew, and what keeps it from being trusted."""
    omega, data = task
    path = (_FIXED if omega is None else omega, 31, factor)
    density = log_density(data, hypothesis)
    posterior = checked_posterior(density, hypothesis, settings, path=path)
    return posterior.evidence, posterior.problems


def widths_of(fit, **settings):
    """Return factor -> `WidthEvidence` for every one of `WIDTHS`."""
    return {factor: evidence_at_width(fit, factor, **settings) for factor in WIDTHS}


def log_evidences(widths):
    """Return factor -> log evidence, NaN where it is not to be trusted."""
    return {
        factor: np.nan if one.problems else one.evidence.log_evidence
        for factor, one in widths.items()
    }
