"""The evidence of a fit again, with every prior of its hypothesis narrower or wider."""

from dataclasses import dataclass, replace

import numpy as np

from scalebayes.compiled import log_density
from scalebayes.evidence import Evidence, reweighted_evidence
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


def evidence_at_width(fit, factor, *, random_seed=1, cores=None):
    """Return the log evidence of a fit's data under its hypothesis with widened priors.

    By reweighting the draws of the fit where enough effective draws are left, else by drawing anew;
    under a latent counting for each cell of its grid.

    Parameters
    ----------
    fit : DataTree
    factor : float
    random_seed : int
    cores : int, optional

    Returns
    -------
    WidthEvidence
    """
    cells, problems = [], []
    for omega, log_weight, known in cells_of(fit):
        evidence, found = _cell(fit, omega, known, factor, random_seed, cores)
        cells.append((omega, log_weight, evidence))
        problems += found
    return WidthEvidence(evidence=summed_evidence(cells), problems=tuple(problems))


def _cell(fit, omega, known, factor, random_seed, cores):
    hypothesis = hypothesis_from_json(fit.attrs["hypothesis"])
    other = with_wider_priors(hypothesis, factor)
    group = fit["posterior"] if omega is None else fit["grid"].sel(omega=omega)
    draws = {name: values.to_numpy() for name, values in group.data_vars.items()}
    log_ratio = log_prior(draws, other) - log_prior(draws, hypothesis)
    reweighted = reweighted_evidence(known, log_ratio, max_se=MAX_EVIDENCE_SE / 2)
    if reweighted is not None:
        return reweighted, []
    chains = fit["posterior"].sizes["chain"]
    settings = Settings(draws=REFIT_DRAWS, tune=REFIT_DRAWS, chains=chains, cores=cores)
    settings = replace(settings, random_seed=random_seed)
    density = log_density(fitted_run_data(fit, omega), other)
    path = (_FIXED if omega is None else omega, 31, factor)
    posterior = checked_posterior(density, other, settings, path=path)
    where = WIDTHS.get(factor, f"priors {factor:g} times as wide")
    where = where if omega is None else f"{where}, omega {omega:g}"
    return posterior.evidence, [f"{where}: {problem}" for problem in posterior.problems]


def widths_of(fit, **settings):
    """Return factor -> `WidthEvidence` for every one of `WIDTHS`."""
    return {factor: evidence_at_width(fit, factor, **settings) for factor in WIDTHS}


def log_evidences(widths):
    """Return factor -> log evidence, NaN where it is not to be trusted."""
    return {
        factor: np.nan if one.problems else one.evidence.log_evidence
        for factor, one in widths.items()
    }
