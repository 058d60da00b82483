"""Many fits, of studies under hypotheses: one after the other, or on an executor's processes."""

import warnings
from functools import partial

from scalebayes.errors import NotConvergedWarning
from scalebayes.executors import mapped
from scalebayes.fitting import fit
from scalebayes.hypotheses import load_hypothesis
from scalebayes.studies import load_study


def fit_each(pairs, *, executor=None, advance=None, cores=None, summary=None, **settings):
    """Yield the fit of each study under its hypothesis, in the order given.

    Parameters
    ----------
    pairs : iterable of (study, hypothesis)
        As in `fit`.
    executor : Executor, optional
        Whose processes fit, as in `executors.mapped`. The cache is then that of each process.
    advance : callable, optional
        As in `executors.mapped`; the text is the study's name.
    cores : int, optional
        Chains run at once, one with an executor; changes no number.
    summary : callable, optional
        DataTree -> what is yielded in place of it, worked out where the fit is made. With an
        executor a function of a module.
    **settings
        Of `fit`: draws, tune, chains, random_seed, target_accept, cache.

    Yields
    ------
    DataTree, or what summary returns

    Raises
    ------
    InputError
        As `fit`.
    WorkerLost
        As `executors.mapped`.

    Warns
    -----
    NotConvergedWarning
        As `fit`.
    """
    loaded = [(load_study(study), load_hypothesis(hypothesis)) for study, hypothesis in pairs]
    settings |= {"cores": cores if executor is None else 1, "progressbar": False}
    task = partial(_fit, summary=summary, settings=settings)
    yield from mapped(task, loaded, executor=executor, advance=advance, named=_name)


def quiet_fits(pairs, **settings):
    """Return a list of `fit_each` without its warnings: for those who say it in their result."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConvergedWarning)
        return list(fit_each(pairs, **settings))


def _fit(pair, *, summary, settings):
    found = fit(*pair, **settings)
    return found if summary is None else summary(found)


def _name(pair):
    return pair[0].name
