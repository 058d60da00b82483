"""Whether fits may be compared, and what is known of each: the same rows, scores, their sums."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from scalebayes.errors import InputError
from scalebayes.evidence import Evidence
from scalebayes.leave_out import LeftOut
from scalebayes.study_cells import check_independent

_SHOWN = 3
_ALIKE = 1e-9  # relative difference of two losses that are the same number


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What is known of one hypothesis on one study, or summed over independent studies.

    Parameters
    ----------
    evidence : Evidence
    pointwise : ndarray or None
        Leave-one-out log predictive density of each row, nats; None where it cannot be had.
    pareto_k : float
        Largest shape of the importance weights that smoothing was used for.
    refitted : int
        Rows whose leave-one-out density comes from a refit.
    left_out : dict of str to LeftOut
        By what was left out.
    widths : dict of float to Evidence
        By the factor on the width of every prior.
    problems : tuple of str
        Why the fit did not converge; empty when it did.
    """

    evidence: Evidence
    pointwise: np.ndarray | None = None
    pareto_k: float = np.nan
    refitted: int = 0
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    widths: dict[float, Evidence] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def elpd(self):
        """Return the sum of the pointwise densities and its standard error; NaN without them."""
        if self.pointwise is None:
            return np.nan, np.nan
        n = self.pointwise.size
        return float(self.pointwise.sum()), float(np.sqrt(n) * self.pointwise.std())


def summed_scores(every):
    """Return the `Scores` of one hypothesis over independent studies.

    Log evidences and log predictive densities add; rows and groups are put side by side.
    """
    first, *_ = every
    known = all(one.pointwise is not None for one in every)
    return Scores(
        evidence=_summed([one.evidence for one in every]),
        pointwise=np.concatenate([one.pointwise for one in every]) if known else None,
        pareto_k=float(np.max([one.pareto_k for one in every])),
        refitted=sum(one.refitted for one in every),
        left_out={
            kind: _joined([one.left_out[kind] for one in every])
            for kind in first.left_out
            if all(kind in one.left_out for one in every)
        },
        widths={
            factor: _summed([one.widths[factor] for one in every])
            for factor in first.widths
            if all(factor in one.widths for one in every)
        },
        problems=tuple(problem for one in every for problem in one.problems),
    )


def by_study(fits):
    """Return study -> label -> fit, after checking that they may be compared.

    Parameters
    ----------
    fits : mapping of str to DataTree, or to a sequence of DataTree
        Label of a hypothesis -> its fit, or its fits of several independent studies.

    Returns
    -------
    dict of str to dict of str to DataTree

    Raises
    ------
    InputError
        When there are fewer than two hypotheses, one is no fit, a label does not have the studies
        that another one has, or two fits of a study are of different rows or losses; the message
        names the rows.
    StudyError
        When two of the studies look at the same runs.
    """
    if not isinstance(fits, Mapping) or isinstance(fits, xr.DataTree):
        msg = 'compare takes a mapping from labels to fits, {"total": fit1, "non-embedding": fit2}.'
        raise InputError(msg)
    if len(fits) < 2:
        msg = f"compare needs two hypotheses at least, got {len(fits)}."
        raise InputError(msg)
    labelled = {str(label): _listed(label, given) for label, given in fits.items()}
    (first_label, first), *others = labelled.items()
    studies = [one.attrs["study"] for one in first]
    for label, given in others:
        _check_studies(studies, [one.attrs["study"] for one in given], first_label, label)
    check_independent(first)
    found = {}
    for study in studies:
        alike = {
            label: next(one for one in given if one.attrs["study"] == study)
            for label, given in labelled.items()
        }
        _check_rows(alike)
        found[study] = alike
    return found


def _listed(label, given):
    fits = [given] if isinstance(given, xr.DataTree) else list(given)
    if not fits or any(
        not isinstance(one, xr.DataTree) or "study_record" not in one.attrs for one in fits
    ):
        msg = f"compare, {label}: takes fits, as scalebayes.fit returns them."
        raise InputError(msg)
    joined = [one.attrs["study"] for one in fits if one.attrs.get("literature")]
    if joined:
        msg = (
            f"compare, {label}: {', '.join(joined)} was fitted with the literature, whose evidence "
            "is that of its runs given the others. Compare fits of the study alone."
        )
        raise InputError(msg)
    return fits


def _check_studies(first, other, first_label, label):
    if sorted(first) != sorted(other):
        only = sorted(set(first) ^ set(other)) or sorted(other)
        msg = (
            f"{first_label} and {label} are not of the same studies: {', '.join(only)}. Fit every "
            "hypothesis to each study once."
        )
        raise InputError(msg)


def _check_rows(fits):
    (first_label, first), *others = fits.items()
    for label, other in others:
        where = f"{first.attrs['study']}: {label} and {first_label}"
        _check_same_runs(where, first, other, label, first_label)
        _check_same_losses(where, first, other)
        _check_same_kind(where, first, other)


def _check_same_runs(where, first, other, label, first_label):
    runs = [one["observed_data"]["run"].to_numpy().astype(str).tolist() for one in (other, first)]
    if runs[0] == runs[1]:
        return
    only = [
        f"{_named([run for run in mine if run not in set(theirs)])} only under {name}"
        for name, mine, theirs in ((label, *runs), (first_label, *runs[::-1]))
        if set(mine) - set(theirs)
    ]
    found = "; ".join(only) or "the same rows in another order"
    msg = f"{where} are fits of different rows, so their evidence cannot be compared: {found}."
    raise InputError(msg)


def _check_same_losses(where, first, other):
    runs = first["observed_data"]["run"].to_numpy().astype(str)
    gap = (other["observed_data"]["log_loss"] - first["observed_data"]["log_loss"]).to_numpy()
    changed = np.abs(gap) > _ALIKE
    if changed.any():
        if np.ptp(gap) < _ALIKE:
            found = f"every loss differs by the factor {np.exp(gap[0]):.4f}: other units"
        else:
            found = f"losses differ in {_named(runs[changed].tolist())}"
        msg = f"{where} are fits of different losses and cannot be compared: {found}."
        raise InputError(msg)
    tokens = (other["constant_data"]["D"] / first["constant_data"]["D"] - 1).to_numpy()
    changed = np.abs(tokens) > _ALIKE
    if changed.any():
        msg = f"{where} are fits of different runs: tokens differ in {_named(runs[changed])}."
        raise InputError(msg)


def _check_same_kind(where, first, other):
    records = [json.loads(one.attrs["study_record"]) for one in (other, first)]
    for name in ("loss_unit", "loss_kind"):
        mine, theirs = (record.get(name) for record in records)
        if mine != theirs:
            msg = f"{where} cannot be compared: {name} is {mine!r} and {theirs!r}."
            raise InputError(msg)


def _named(runs):
    shown = ", ".join(repr(str(run)) for run in runs[:_SHOWN])
    more = f" and {len(runs) - _SHOWN} more" if len(runs) > _SHOWN else ""
    return f"{'rows' if len(runs) > 1 else 'row'} {shown}{more}"


def _summed(every):
    return Evidence(
        log_evidence=float(sum(one.log_evidence for one in every)),
        se=float(np.sqrt(sum(one.se**2 for one in every))),
    )


def _joined(every):
    return LeftOut(
        groups=tuple(group for one in every for group in one.groups),
        rows=np.concatenate([one.rows for one in every]),
        score=np.concatenate([one.score for one in every]),
        se=np.concatenate([one.se for one in every]),
        problems=tuple(problem for one in every for problem in one.problems),
    )
