"""Probabilities, weights and a verdict in words, from log evidences and leave-out scores.

The scale: *decided* when one hypothesis has a posterior probability above .95, even with its lead
lowered by two standard errors; *leaning* above .75; *undecided* otherwise. Where a leave-out score
prefers another hypothesis by more than a standard error of the difference, the verdict is one step
lower: evidence that rests on the prior, or on rows that look alike, is not to decide alone.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from scalebayes.errors import InputError
from scalebayes.evidence import normalised_weights

DECIDED, LEANING = 0.95, 0.75
"""Posterior probabilities above which a hypothesis is decided for, or leaned towards."""

KINDS = ("undecided", "leaning", "decided")

_EXACT = 1e-6  # of the optimality condition of stacking weights
_MAX_ITERATIONS = 100_000


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What data say about hypotheses: one of `KINDS`, the best hypothesis, and a sentence."""

    kind: str
    best: str
    text: str

    @property
    def short(self):
        """Return the verdict in a few words."""
        if self.kind == "undecided":
            return "undecided"
        return f"{self.kind} {'for' if self.kind == 'decided' else 'towards'} {self.best}"


def log_prior_probabilities(labels, prior_odds=None):
    """Return the log prior probability of each hypothesis.

    Parameters
    ----------
    labels : sequence of str
    prior_odds : mapping of str to float, optional
        A positive number per label; only their ratios count. Equal unless given.

    Returns
    -------
    ndarray
        [label], nats.

    Raises
    ------
    InputError
        When a label is missing or unknown, or odds are not positive and finite.
    """
    odds = dict.fromkeys(labels, 1.0) if prior_odds is None else dict(prior_odds)
    if set(odds) != set(labels):
        msg = f"prior_odds must name {sorted(labels)}, got {sorted(odds)}."
        raise InputError(msg)
    for label, value in odds.items():
        if not isinstance(value, int | float | np.number) or not 0 < value < np.inf:
            msg = f"prior_odds of {label} must be a positive number, got {value!r}."
            raise InputError(msg)
    logs = np.log([float(odds[label]) for label in labels])
    return logs - logsumexp(logs)


def posterior_probabilities(log_evidence, log_prior):
    """Return the posterior probability of each hypothesis, summing to 1.

    Parameters
    ----------
    log_evidence, log_prior : array
        [label], nats.
    """
    return normalised_weights(np.asarray(log_evidence) + np.asarray(log_prior))


def stacking_weights(scores):
    """Return the weights of hypotheses whose mixture predicts left-out groups best.

    Maximises the mean over groups of log(sum of weight x predictive density), by the
    expectation-maximisation steps of a mixture with known components; hypotheses that predict alike
    share their weight equally.

    Parameters
    ----------
    scores : ndarray
        Log predictive density of each left-out group under each hypothesis [group, label], nats.

    Returns
    -------
    ndarray
        [label], non-negative, summing to 1.

    References
    ----------
    Yao, Vehtari, Simpson & Gelman (2018), arXiv:1704.02030, eq. 3.
    """
    density = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = np.full(scores.shape[1], 1 / scores.shape[1])
    for _ in range(_MAX_ITERATIONS):
        gain = (density / (density @ weights)[:, None]).mean(axis=0)
        if gain.max() < 1 + _EXACT:  # no hypothesis that more weight would help
            break
        weights = weights * gain
    return weights / weights.sum()


def difference(first, second):
    """Return the summed difference of two scores [group], and its standard error.

    The error is that of a sum over groups which vary as these do; infinite for a single group.
    """
    gaps = np.asarray(first) - np.asarray(second)
    se = np.sqrt(gaps.size) * gaps.std(ddof=1) if gaps.size > 1 else np.inf
    return float(gaps.sum()), float(se)


def verdict(labels, log_evidence, se, log_prior, *, left_out=None):
    """Return the `Verdict` on hypotheses.

    Parameters
    ----------
    labels : sequence of str
    log_evidence, se, log_prior : ndarray
        [label], nats.
    left_out : ndarray, optional
        Log predictive density of left-out groups [group, label], nats.
    """
    order = np.argsort(-(log_evidence + log_prior), kind="stable")
    first, second = order[0], order[1]
    best = labels[first]
    probability = posterior_probabilities(log_evidence, log_prior)[first]
    lowered = np.array(log_evidence, dtype=float)
    lowered[first] -= 2 * np.hypot(se[first], se[second])
    sure = posterior_probabilities(lowered, log_prior)[first]
    step = int(probability > LEANING) + int(sure > DECIDED)
    objection = None if left_out is None else _objection(labels, left_out, first)
    if objection:
        step = max(step - 1, 0)
    said = f"P({best}) = {_share(probability)}"
    said = f"{said}, but {objection}" if objection else said
    text = {
        0: f"undecided: these data cannot tell ({said})",
        1: f"leaning towards {best} ({said})",
        2: f"decided for {best} ({said})",
    }[step]
    return Verdict(kind=KINDS[step], best=best, text=text)


def flips(base, others):
    """Return sentences that name every change of a verdict.

    Parameters
    ----------
    base : Verdict
    others : mapping of str to Verdict
        Under a condition said in words, such as "with priors twice as wide".
    """
    return [
        f"{condition} the verdict flips: {other.short} instead of {base.short}"
        for condition, other in others.items()
        if other.short != base.short
    ]


def _objection(labels, left_out, first):
    """Return which hypothesis predicts left-out groups better than the best one, or ""."""
    rival = int(np.argmax(left_out.sum(axis=0)))
    if rival == first:
        return ""
    gap, se = difference(left_out[:, rival], left_out[:, first])
    if not gap > se:
        return ""
    return f"{labels[rival]} predicts what is left out better, by {gap:.1f} ± {se:.1f} nats"


def _share(probability):
    if probability > 0.999:
        return "more than .999"
    return f"{probability:.3f}".lstrip("0")
