"""Hypotheses averaged by how they forecast: stacking on runs above a cut in compute.

Weights are those of the mixture of predictive densities that foresees the held-out runs best (Yao
et al. 2018, arXiv:1704.02030). Each study weighs the same, however many runs it has above its cuts.
A study is judged with weights learned from the others.
"""

import numpy as np
import pandas as pd

from scalebayes.errors import InputError
from scalebayes.forecast import DISCREPANCY
from scalebayes.verdicts import stacking_weights

STACKED = "stacked"
"""Name of the mixture."""


def stacked_scores(forecasts, *, method=DISCREPANCY):
    """Return log scores of hypotheses and of their stacked mixture, study by study.

    Parameters
    ----------
    forecasts : mapping of str to Forecast
        Hypothesis -> `forecast` under it, of the same studies and cuts; two at least.
    method : str
        Whose predictive densities: one of `forecast.METHODS` that foretells losses.

    Returns
    -------
    DataFrame
        Over study: the mean log density of a held-out run (nats) under each hypothesis and under
        the mixture `STACKED` whose weights the other studies give; and weight of NAME, those
        weights.

    Raises
    ------
    InputError
        When fewer than two hypotheses or studies are given, or they foretold other runs.
    """
    names = [str(name) for name in forecasts]
    scores = _scores(forecasts, method)
    if len(names) < 2 or len(scores) < 2:
        raise InputError("stacking: two hypotheses and two studies are needed at least.")
    rows = []
    for study, own in scores.items():
        weights = _weights([one for other, one in scores.items() if other != study])
        mixed = _log_mixture(own, weights)
        row = {"study": study, **dict(zip(names, own.mean(axis=0), strict=True))}
        row[STACKED] = float(mixed.mean())
        rows.append(row | {f"weight of {name}": w for name, w in zip(names, weights, strict=True)})
    return pd.DataFrame(rows).set_index("study")


def stacked_weights(forecasts, *, method=DISCREPANCY):
    """Return the weights of hypotheses whose mixture foresees held-out runs of all studies best.

    Parameters
    ----------
    forecasts, method
        As in `stacked_scores`.

    Returns
    -------
    Series
        Hypothesis -> weight, summing to 1.
    """
    weights = _weights(list(_scores(forecasts, method).values()))
    return pd.Series(weights, index=[str(name) for name in forecasts], name="weight")


def _scores(forecasts, method):
    """Return the log densities of each study's held-out runs [run, hypothesis]."""
    every = [one.densities for one in forecasts.values()]
    wanted = [{key: len(x) for key, x in one.items() if key[2] == method} for one in every]
    if not wanted or not wanted[0] or any(one != wanted[0] for one in wanted):
        msg = f"stacking: the forecasts by {method!r} are not of the same held-out runs."
        raise InputError(msg)
    scores = {}
    for key in wanted[0]:
        scores.setdefault(key[0], []).append(np.column_stack([one[key] for one in every]))
    return {study: np.concatenate(parts) for study, parts in scores.items()}


def _weights(scores):
    """Return stacking weights from scores [run, hypothesis] of studies that weigh the same."""
    rows = max(map(len, scores))
    return stacking_weights(np.concatenate([_repeated(one, rows) for one in scores]))


def _repeated(scores, rows):
    """Return rows of a study, evenly repeated to as many as the largest study has."""
    return scores[np.arange(rows) * len(scores) // rows]


def _log_mixture(scores, weights):
    top = scores.max(axis=1, keepdims=True)
    return top[:, 0] + np.log(np.exp(scores - top) @ weights)
