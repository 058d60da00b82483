"""The fit that users ask for: of a study alone, or together with the published ones."""

import json
import warnings

from scalebayes.errors import InputError, NotConvergedWarning
from scalebayes.fit import fit as fit_alone
from scalebayes.hypotheses import load_hypothesis
from scalebayes.isoflop import windowed
from scalebayes.progress import status_line
from scalebayes.storage import cached
from scalebayes.studies import load_study

MOST_RUNS = 100_000
"""Runs above which a study is sampled only with `force`."""


def fit(
    study,
    hypothesis="hoffmann-total",
    *,
    literature=False,
    draws=1000,
    tune=500,
    chains=4,
    cores=None,
    random_seed=1,
    target_accept=0.9,
    cache=True,
    force=False,
    progressbar=None,
):
    """Return the posterior of one study under one hypothesis, with its log evidence.

    A latent counting is summed out on a grid of omega, each value a posterior of its own. With
    `literature` the default published studies are fitted under the same hypothesis and pooled with
    this one: what they say of a new study's exponents takes the place of the exponents' prior.

    Parameters
    ----------
    study : Study or str
        A study, or the name of a bundled one.
    hypothesis : Hypothesis, str or path
        A name in `models/`, a TOML file, or a ready value.
    literature : bool
        Whether to pool with the published studies; those made from the same runs are left out.
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
        Whether to take results from, and put them into, the cache on disk.
    force : bool
        Whether to sample more than `MOST_RUNS` runs, which takes hours and gigabytes.
    progressbar : bool, optional
        By default only when stderr is a terminal.

    Returns
    -------
    DataTree
        Groups posterior, sample_stats, log_likelihood, observed_data, constant_data, prior; with a
        latent counting also evidence, grid and grid_sample_stats, and `posterior` is resampled over
        omega by weight. Units: nats, parameters, tokens. `attrs` say whether it converged and why
        not, the log evidence (nats) with its standard error, hypothesis, study, versions and seed.
        With literature, `posterior` (resampled) is the one in the population, `prior` and
        `log_prior` what the other studies expect of this one, `alone` the fit without them, and
        log_evidence that of these runs given the others. attrs then hold literature (names),
        literature_left_out (reasons), literature_place (probability of a study as far from the
        population as this one) and literature_share (per quantity: posterior sd over that alone and
        over that which the literature alone gives, and power-scaling sensitivities).

    Raises
    ------
    InputError
        When study, hypothesis, counting or settings cannot be used, or the runs are too many.
    SamplingInterrupted
        When it was stopped (a `KeyboardInterrupt`); its `partial` holds what was sampled until then
        of the fit that was under way.

    Warns
    -----
    NotConvergedWarning
        When the posterior fails the gate after the last attempt; `attrs["converged"]` is then 0.
    OutsidePopulationWarning
        With literature, when a study this far from the population has a probability below 0.01.
    """
    own = {"draws": draws, "tune": tune, "chains": chains, "target_accept": target_accept}
    shared = {"cores": cores, "random_seed": random_seed, "cache": cache}
    study = load_study(study)
    _refuse_many(study, force=force)
    if not literature:
        result = fit_alone(study, hypothesis, progressbar=progressbar, **own, **shared)
        return _with_settings(result, own)
    return _with_settings(_fit_with_literature(study, hypothesis, own, progressbar, **shared), own)


def _fit_with_literature(study, hypothesis, own, progressbar, *, cores, random_seed, cache):
    """Return the fit of a study among the published ones, from the cache or made."""
    # a second of imports that a fit alone has no use for
    from scalebayes.literature import (
        literature_fits,
        literature_key,
        literature_warnings,
        with_literature,
    )
    from scalebayes.population import pool_settings
    from scalebayes.study_cells import check_poolable

    shared = {"cores": cores, "random_seed": random_seed, "cache": cache}
    hypothesis = load_hypothesis(hypothesis)
    check_poolable(hypothesis)
    study = windowed(study, hypothesis)
    settings = pool_settings(own["draws"], own["tune"], own["chains"], cores, random_seed)
    key = literature_key(study, hypothesis, own, random_seed)

    def pooled():
        with (
            status_line(progressbar, f"{study.name} with literature") as advance,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", NotConvergedWarning)  # said of the whole below
            alone = fit_alone(study, hypothesis, progressbar=False, **own, **shared)
            others, left_out = literature_fits(study, hypothesis, advance=advance, **shared)
            return with_literature(
                alone, study, others, settings, left_out=left_out, cache=cache, advance=advance
            )

    result = cached(key, pooled, cache=cache)
    literature_warnings(result)
    return result


def _refuse_many(study, *, force):
    if study.n_used > MOST_RUNS and not force:
        msg = (
            f"{study.name}: {study.n_used} runs are to be sampled, more than {MOST_RUNS}; every "
            "draw takes tens of passes over them. Take the last step of each run (rows='last', "
            "--rows last) or fewer runs, or insist: force=True (--force)."
        )
        raise InputError(msg)


def _with_settings(result, settings):
    """Return a fit that says how it was asked to be sampled."""
    result.attrs["settings"] = json.dumps(settings)
    return result
