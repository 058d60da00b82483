"""Convergence of draws: what is measured, and which of it fails the gate."""

from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats

MAX_R_HAT = 1.01
MIN_ESS = 400
MIN_BFMI = 0.3
TAIL_PROB = (0.05, 0.95)
"""Quantiles whose effective sample size is the tail ESS: the ends of a 90% interval."""


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """Worst convergence measures over all checked quantities.

    Parameters
    ----------
    r_hat, ess_bulk, ess_tail, bfmi : float
        Largest rank-normalised split R-hat, smallest effective sample sizes, smallest E-BFMI.
    divergences : int
        Divergent transitions after tuning, over all chains.
    checked : tuple of str
        The quantities that were looked at.
    problems : tuple of str
        What fails the gate, in words; empty when the draws pass.
    """

    r_hat: float
    ess_bulk: float
    ess_tail: float
    bfmi: float
    divergences: int
    checked: tuple[str, ...]
    problems: tuple[str, ...]


def diagnose(quantities, stats):
    """Return the `Diagnostics` of draws and what in them fails the gate.

    The gate: R-hat < 1.01, bulk and tail ESS >= 400 for every quantity, no divergence,
    E-BFMI > 0.3, every draw finite (ranks do not notice infinity).

    Parameters
    ----------
    quantities : dict of ndarray
        Free and reported quantities, each [chain, draw] or [chain, draw, element]. The arrays are
        read themselves, so that no filter of an accessor can hide one.
    stats : dict of ndarray
        `diverging` and `energy`, each [chain, draw].

    Returns
    -------
    Diagnostics

    References
    ----------
    Vehtari et al. (2021), arXiv:1903.08008 (R-hat, ESS); Betancourt (2016), arXiv:1604.00695.
    """
    quantities = _one_by_one(quantities)
    names = tuple(quantities)
    draws = np.stack([quantities[name] for name in names])
    axes = {"chain_axis": 1, "draw_axis": 2}
    r_hat = array_stats.rhat(draws, **axes)
    ess_bulk = array_stats.ess(draws, method="bulk", **axes)
    ess_tail = array_stats.ess(draws, method="tail", prob=TAIL_PROB, **axes)
    bfmi = float(np.min(array_stats.bfmi(stats["energy"], chain_axis=0, draw_axis=1)))
    divergences = int(np.sum(stats["diverging"]))
    infinite = [name for name, x in zip(names, draws, strict=True) if not np.isfinite(x).all()]
    problems = (
        *_failing(names, r_hat, "R-hat", lambda value: value < MAX_R_HAT),
        *_failing(names, ess_bulk, "bulk ESS", lambda value: value >= MIN_ESS),
        *_failing(names, ess_tail, "tail ESS", lambda value: value >= MIN_ESS),
        *([f"draws of {', '.join(infinite)} are not finite"] if infinite else []),
        *([f"{divergences} divergent transitions"] if divergences else []),
        *([] if bfmi > MIN_BFMI else [f"E-BFMI {bfmi:.2f}"]),
    )
    return Diagnostics(
        r_hat=float(np.max(r_hat)),
        ess_bulk=float(np.min(ess_bulk)),
        ess_tail=float(np.min(ess_tail)),
        bfmi=bfmi,
        divergences=divergences,
        checked=names,
        problems=problems,
    )


def effective_draws(draws):
    """Return the effective sample size of the mean of draws [..., chain, draw]."""
    return array_stats.ess(draws, chain_axis=-2, draw_axis=-1, method="mean")


def _one_by_one(quantities):
    """Return quantities [chain, draw], those of a vector named by their position in it."""
    split = {}
    for name, values in quantities.items():
        if values.ndim == 2:
            split[name] = values
        else:
            split |= {f"{name}[{i}]": values[..., i] for i in range(values.shape[-1])}
    return split


def _failing(names, values, label, passes):
    """Return one sentence for the worst quantity that does not pass (NaN does not)."""
    pairs = zip(names, values, strict=True)
    failing = [(name, value) for name, value in pairs if not passes(value)]
    if not failing:
        return []
    target = MAX_R_HAT if label == "R-hat" else MIN_ESS
    name, value = max(failing, key=lambda pair: abs(np.nan_to_num(pair[1], nan=1e9) - target))
    others = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
    digits = ".3f" if label == "R-hat" else ".0f"
    return [f"{label} {value:{digits}} of {name}{others}"]
