"""The point fit that papers report: Huber loss on log loss, the best of many starts."""

from dataclasses import asdict, dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from scalebayes.counting import count_parameters, counting_label, counting_matches
from scalebayes.errors import StudyError
from scalebayes.laws import ANCHOR_D, ANCHOR_N, natural_coefficients
from scalebayes.studies import load_study
from scalebayes.study import Study
from scalebayes.surface import DELTA, HIGHEST, LEAST_RUNS, LOWEST, fit_surfaces

_FLOORS = (0.05, 0.4, 0.7, 0.95)  # E as a share of the lowest loss
_SPLITS = (0.1, 0.5, 0.9)  # the term of N as a share of what is left at the runs' centre
_EXPONENTS = (0.1, 0.3, 0.6, 1.2)
_SCOUT_STEPS = 25
_FINALISTS = 8
_COORDINATES = ("log_E", "log_term_N", "log_term_D", "log_alpha", "log_beta")


@dataclass(frozen=True, kw_only=True)
class ClassicalFit:
    """The Chinchilla law that minimises the Huber loss of log-loss residuals.

    Parameters
    ----------
    E, A, B, alpha, beta : float
        Coefficients of `laws.chinchilla`, losses in nats per token.
    a : float
        Compute-optimal exponent beta / (alpha + beta) in the law's own count.
    objective : float
        Sum over runs of the Huber loss.
    delta : float
        Residual of log loss at which squared turns into absolute.
    n : int
        Runs fitted.
    counting : str
        What N counts.
    at_limit : tuple of str
        Coordinates that ended at the limit of the search: the law has no optimum there.
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    a: float
    objective: float
    delta: float
    n: int
    counting: str = "unknown"
    at_limit: tuple[str, ...] = ()

    def record(self) -> dict:
        """Return the fit as a flat dict of str, int, float and list, for JSON."""
        return asdict(self) | {"at_limit": list(self.at_limit)}


def classical_fit(
    study: Study | str, *, counting: str | float = "total", delta: float = DELTA
) -> ClassicalFit:
    """Return the point fit of a study's used runs.

    Parameters
    ----------
    study : Study or str
        A study, or the name of a bundled one.
    counting : str or float
        What N counts in the law: "body", "body+head", "total", or omega. Where the study's own N
        counts that, it is used as reported, so that published fits come out to the last digit.
    delta : float
        Huber's delta, > 0.

    Returns
    -------
    ClassicalFit

    Raises
    ------
    CountingError
        When some run's parameters are not known in that counting.
    StudyError
        When there are too few runs.
    """
    study = load_study(study)
    runs = study.runs
    own = counting_matches(counting, study.counting)
    N = runs["N"] if own else count_parameters(runs, counting, reported=study.counting)
    label = counting_label(counting)
    return huber_fit(N, runs["D"], runs["loss"], delta=delta, counting=label, name=study.name)


def huber_fit(
    N: ArrayLike,
    D: ArrayLike,
    loss: ArrayLike,
    *,
    delta: float = DELTA,
    counting: str = "unknown",
    name: str = "runs",
) -> ClassicalFit:
    """Return the Chinchilla law of least Huber loss, by many starts; the same every time.

    Parameters
    ----------
    N, D, loss : array
        Parameters, tokens and loss (nats per token) of each run, positive.
    delta : float
        Huber's delta, > 0; smaller is closer to absolute residuals.
    counting : str
        What N counts, for the record.
    name : str
        What to call the runs in an error.

    Returns
    -------
    ClassicalFit

    Raises
    ------
    StudyError
        When the arrays differ in length, there are fewer than `surface.LEAST_RUNS` runs, a value is
        not positive and finite, or delta is not positive.

    References
    ----------
    Hoffmann et al. (2022), arXiv:2203.15556, appendix D.2; Besiroglu et al. (2024),
    arXiv:2404.10102.
    """
    _refuse_other_lengths(name, N=N, D=D, loss=loss)
    data = np.array([N, D, loss], dtype=float)
    _check(data, delta, name)
    log_N, log_D, log_loss = np.log(data)
    logs = (log_N, log_D, log_loss)
    theta, objective, _ = fit_surfaces(*logs, _starts(*logs), delta=delta, iterations=_SCOUT_STEPS)
    best = theta[np.argsort(objective, kind="stable")[:_FINALISTS]]
    theta, objective, _ = fit_surfaces(*logs, best, delta=delta)
    winner = int(objective.argmin())
    return _result(theta[winner], objective[winner], delta, data.shape[1], counting)


def _refuse_other_lengths(name, **columns):
    lengths = {column: np.size(values) for column, values in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{column} {n}" for column, n in lengths.items())
        raise StudyError(f"{name}: one value of each per run is needed, found {found}.")


def _check(data, delta, name):
    if data.shape[1] < LEAST_RUNS:
        msg = f"{name}: a surface of 5 coefficients needs {LEAST_RUNS} runs, found {data.shape[1]}."
        raise StudyError(msg)
    wrong = np.flatnonzero(~(np.isfinite(data) & (data > 0)).all(axis=0))
    if wrong.size:
        found = data[:, wrong[0]].tolist()
        msg = (
            f"{name}: N, D and loss must be positive and finite; run {wrong[0]} has {found} "
            f"({wrong.size} such runs). Take them out or give their values."
        )
        raise StudyError(msg)
    if not delta > 0:
        raise StudyError(f"{name}: delta must be positive, found {delta!r}.")


def _starts(log_N, log_D, log_loss):
    """Return starting coordinates: E, exponents and the terms' shares over a grid.

    Each start has the mean loss at the runs' centre.
    """
    level, lowest = np.exp(log_loss.mean()), np.exp(log_loss.min())
    size, data = log_N.mean() - np.log(ANCHOR_N), log_D.mean() - np.log(ANCHOR_D)
    grid = product(_FLOORS, _SPLITS, _EXPONENTS, _EXPONENTS)
    share, split, alpha, beta = np.array(list(grid)).T
    E = share * lowest
    log_term_N = np.log(split * (level - E)) + alpha * size
    log_term_D = np.log((1 - split) * (level - E)) + beta * data
    return np.stack([np.log(E), log_term_N, log_term_D, np.log(alpha), np.log(beta)], axis=1)


def _result(theta, objective, delta, n, counting):
    alpha, beta = np.exp(theta[3:])
    logs = dict(zip(_COORDINATES[:3], theta[:3], strict=True))
    natural = natural_coefficients(**logs, alpha=alpha, beta=beta)
    limited = np.isclose(theta, LOWEST) | np.isclose(theta, HIGHEST)
    return ClassicalFit(
        **{key: float(value) for key, value in natural.items()},
        alpha=float(alpha),
        beta=float(beta),
        a=float(beta / (alpha + beta)),
        objective=float(objective),
        delta=float(delta),
        n=int(n),
        counting=counting,
        at_limit=tuple(np.array(_COORDINATES)[limited].tolist()),
    )
