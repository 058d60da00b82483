"""A study under a hypothesis -> its posterior: sampled, checked, cached, with its evidence."""

import warnings
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from scalebayes.build import run_data
from scalebayes.compiled import log_density
from scalebayes.counting_grid import sample_grid
from scalebayes.errors import (
    HypothesisError,
    InputError,
    NotConvergedWarning,
    SamplingInterrupted,
)
from scalebayes.gate import Settings, checked_posterior
from scalebayes.hypotheses import LATENT, RUN_EFFECT, load_hypothesis, without_run_effect
from scalebayes.isoflop import windowed
from scalebayes.partial_fits import n_draws, partial_fit
from scalebayes.progress import status_line
from scalebayes.sampling import one_blas_thread
from scalebayes.storage import cached, content_key, file_digest
from scalebayes.studies import load_study
from scalebayes.trees import tree_of_grid, tree_of_posterior, versions

_MAX_DRAWS = 10_000_000  # about 2 GB of quantities
_CODE = (
    *("laws", "noise", "counting", "study", "priors", "hypotheses", "isoflop", "likelihoods"),
    *("build", "coordinates", "machine_code", "vector_math", "noise_density"),
    *("additive_density", "isoflop_density", "written_density", "compiled", "nuts", "sampling"),
    *("diagnostics", "evidence", "gate", "counting_grid", "trees", "fit"),
)


def fit(
    study,
    hypothesis="hoffmann-total",
    *,
    draws=1000,
    tune=500,
    chains=4,
    cores=None,
    random_seed=1,
    target_accept=0.9,
    cache=True,
    progressbar=None,
):
    """Return the posterior of one study under one hypothesis, with its log evidence.

    A latent counting is summed out on a grid of omega, each value a posterior of its own.

    Parameters
    ----------
    study : Study or str
        A study, or the name of a bundled one.
    hypothesis : Hypothesis, str or path
        A name in `models/`, a TOML file, or a ready value.
    draws, tune, chains : int
        Kept and discarded draws per chain (draws >= 100), and number of chains (>= 2).
    cores : int, optional
        Chains run at once; the result does not depend on it.
    random_seed : int
        Same seed, same result.
    target_accept : float
        Of the first attempt. A fit that fails the gate is drawn again with more draws and a higher
        target (`gate.draw_posterior`).
    cache : bool
        Whether to take the result from, and put it into, the cache on disk.
    progressbar : bool, optional
        By default only when stderr is a terminal.

    Returns
    -------
    DataTree
        Groups posterior, sample_stats, log_likelihood, observed_data, constant_data, prior; with a
        latent counting also grid, grid_sample_stats and evidence, and `posterior` is resampled over
        omega by weight. Units: nats, parameters, tokens. `attrs` say whether it converged and why
        not, the log evidence (nats) with its standard error, hypothesis, study, versions and seed.

    Raises
    ------
    InputError
        When study, hypothesis, counting or settings cannot be used.
    SamplingInterrupted
        When it was stopped (a `KeyboardInterrupt`); `partial` holds what was sampled until then.

    Warns
    -----
    NotConvergedWarning
        When the posterior fails the gate after the last attempt; `attrs["converged"]` is then 0.
    """
    hypothesis = load_hypothesis(hypothesis)
    study = windowed(load_study(study), hypothesis)
    settings = _settings(draws, tune, chains, cores, random_seed, target_accept)
    reference = _reference(hypothesis)
    key = _key(study, hypothesis, reference, settings) if cache else ""

    def sampled():
        with status_line(progressbar, f"{study.name} under {hypothesis.name}") as advance:
            return _sampled_or_kept(study, hypothesis, reference, settings, advance)

    result = cached(key, sampled, cache=cache)
    if not result.attrs["converged"]:
        message = f"{study.name} under {hypothesis.name}: {result.attrs['problems']}"
        warnings.warn(message, NotConvergedWarning, stacklevel=2)
    return result


def _sampled_or_kept(study, hypothesis, reference, settings, advance):
    """Return the fit; where it is interrupted, pass that on with what was sampled."""
    kept = {}

    def record(path, density, chains):
        if n_draws(chains) >= n_draws(kept.get(path, (None, ()))[1]):
            kept[path] = (density, chains)  # a later attempt takes the place of an earlier one

    settings = replace(settings, record=record)
    try:
        with one_blas_thread():
            return _sampled(study, hypothesis, reference, settings, advance)
    except KeyboardInterrupt as stop:
        partial = partial_fit(kept, study, hypothesis, settings)
        raise SamplingInterrupted(partial=partial) from stop


def _sampled(study, hypothesis, reference, settings, advance):
    if hypothesis.counting == LATENT:
        grid = sample_grid(study, hypothesis, settings, reference=reference, advance=advance)
        return tree_of_grid(grid, study, hypothesis, settings)
    density = log_density(run_data(study, hypothesis), hypothesis)
    posterior = checked_posterior(density, hypothesis, settings)
    return tree_of_posterior(posterior, study, hypothesis, settings)


def _reference(hypothesis):
    name = hypothesis.reference_priors
    if not name:
        return None
    reference = load_hypothesis(name)
    if RUN_EFFECT not in hypothesis.priors:
        reference = without_run_effect(reference)
    alike = [(one.law, one.likelihood, tuple(one.priors)) for one in (hypothesis, reference)]
    if alike[0] != alike[1]:
        msg = (
            f"{hypothesis.name}, reference_priors: {name!r} must have the same law, likelihood and "
            f"names of priors; got {alike[1]} against {alike[0]}."
        )
        raise HypothesisError(msg)
    return reference


def _settings(draws, tune, chains, cores, random_seed, target_accept):
    for name, value, least in (("draws", draws, 100), ("tune", tune, 100), ("chains", chains, 2)):
        if not isinstance(value, int | np.integer) or value < least:
            msg = f"{name} must be a whole number of at least {least}, got {value!r}."
            raise InputError(msg)
    # nutpie waits for ever on no core
    if cores is not None and (not isinstance(cores, int | np.integer) or cores < 1):
        msg = f"cores must be a whole number of at least 1, or None, got {cores!r}."
        raise InputError(msg)
    if draws * chains > _MAX_DRAWS:
        msg = f"draws x chains must not exceed {_MAX_DRAWS:.0e}, got {draws * chains:.3g}."
        raise InputError(msg)
    if not isinstance(random_seed, int | np.integer) or not 0 <= random_seed < 2**63:
        msg = f"random_seed must be a whole number >= 0 and below 2^63, got {random_seed!r}."
        raise InputError(msg)
    if not 0.5 <= target_accept < 1:
        msg = f"target_accept must lie in [0.5, 1), got {target_accept!r}."
        raise InputError(msg)
    return Settings(
        draws=int(draws),
        tune=int(tune),
        chains=int(chains),
        cores=cores,
        target_accept=float(target_accept),
        random_seed=int(random_seed),
    )


@lru_cache(maxsize=1)
def code_digest():
    """Return the SHA-256, in hex, of the modules that a fit's numbers depend on."""
    folder = Path(__file__).parent
    return content_key(**{name: file_digest(folder / f"{name}.py") for name in _CODE})


def _key(study, hypothesis, reference, settings):
    return content_key(
        data=study.data_hash,
        record=study.record(),
        rows=study.rows_note,
        hypothesis=hypothesis.to_json(),
        reference=reference.to_json() if reference else "",
        versions=versions(),
        code=code_digest(),
        settings=[settings.draws, settings.tune, settings.chains, settings.target_accept],
        seed=settings.random_seed,
    )
