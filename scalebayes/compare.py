"""Hypotheses side by side: evidence, probability, leave-out scores, stacking weights, verdicts."""

import warnings

import numpy as np
import pandas as pd
from arviz_stats import loo

from scalebayes.comparison import Scores, by_study, summed_scores
from scalebayes.errors import InputError
from scalebayes.evidence import Evidence
from scalebayes.leave_out import (
    budget_labels,
    groups_of,
    largest_budget,
    left_out_scores,
    trajectory_labels,
)
from scalebayes.prior_width import WIDTHS, widths_of
from scalebayes.progress import status_line
from scalebayes.verdicts import (
    flips,
    log_prior_probabilities,
    posterior_probabilities,
    stacking_weights,
    verdict,
)

LEAVE_OUT = ("budget", "trajectory", "largest")
"""What can be left out: each compute budget, each training run, the largest budget alone."""

ALL_STUDIES = "all studies"
"""Label of the sums over independent studies."""

MAX_PARETO_K = 0.7
"""Shape of a row's importance weights above which it is left out exactly, by a refit."""

_WIDTH = {0.5: "half", 2.0: "twice"}  # of `WIDTHS`, in names of columns


def compare(
    fits,
    *,
    prior_odds=None,
    leave_out=("budget", "largest"),
    sensitivity=True,
    force=False,
    random_seed=1,
    cores=None,
    executor=None,
    cache=True,
    progressbar=None,
):
    """Return how hypotheses compare on the same rows, best first, with a verdict in words.

    Parameters
    ----------
    fits : mapping of str to DataTree, or to a sequence of DataTree
        Label -> fit from `scalebayes.fit`; all of the same rows of one study. With sequences, fits
        of several independent studies, the same ones under every label.
    prior_odds : mapping of str to float, optional
        Prior odds of the hypotheses, a positive number per label; equal unless given.
    leave_out : sequence of str
        Of `LEAVE_OUT`: what is left out and predicted by refits to the rest (`leave_out`). About
        a second of CPU per group and fit, ten times that where rows share run effects; cached.
    sensitivity : bool
        Whether evidence and verdict are also had with every prior half and twice as wide.
    force : bool
        Whether probabilities, weights and verdicts are given even where a fit did not converge.
    random_seed : int
        Of the refits.
    cores : int, optional
        Chains of a refit run at once; changes no number.
    executor : concurrent.futures.Executor, optional
        Whose processes refit (`executor`), with one core each; changes no number.
    cache : bool
        Whether leave-out scores are taken from, and put into, the cache on disk.
    progressbar : bool, optional
        By default only when stderr is a terminal.

    Returns
    -------
    DataFrame
        A row per hypothesis; with several studies a row per (study, hypothesis), the last study
        being `ALL_STUDIES`, the sums. Columns, in nats where they are logarithms:

        - log_evidence, se: log marginal likelihood and its standard error;
        - probability: posterior probability under the prior odds;
        - elpd, elpd_se, pareto_k, refitted: leave-one-out by row, by smoothed importance sampling,
          with the largest Pareto k; rows above .7 were refitted. Rows of one training run or
          budget foretell one another, so that it is optimistic;
        - weight: stacking weight, from left-out budgets (else trajectories, else rows);
        - leave_budget, leave_trajectory, leave_largest: sums of the joint log predictive densities
          of the left-out groups;
        - log_evidence_half, log_evidence_twice, probability_half, probability_twice: with every
          prior half and twice as wide (`prior_width`);
        - converged.

        `attrs["verdicts"]` says per study what is decided and which verdicts flip under other
        priors, `attrs["notes"]` what qualifies the table. `attrs["verdict"]` is the last verdict.

    Raises
    ------
    InputError
        When fits are not of the same rows, loss or studies (the rows are named), or an option is
        not one of those above.
    StudyError
        When two of several studies look at the same runs.
    """
    studies = by_study(fits)
    labels = [str(label) for label in fits]
    log_prior = log_prior_probabilities(labels, prior_odds)
    kinds = _checked_kinds(leave_out)
    options = {"random_seed": random_seed, "cores": cores, "executor": executor, "cache": cache}
    scores, notes = {}, []
    with status_line(progressbar, "compare", doing="leaving rows out") as advance:
        options |= {"sensitivity": sensitivity, "advance": advance or (lambda _: None)}
        for study, alike in studies.items():
            scores[study], found = _scores(alike, kinds, options, force=force)
            notes += [f"{study}: {note}" for note in found]
    if len(scores) > 1:
        every = {label: [one[label] for one in scores.values()] for label in labels}
        scores[ALL_STUDIES] = {label: summed_scores(some) for label, some in every.items()}
    tables, verdicts = {}, {}
    for study, found in scores.items():
        tables[study], verdicts[study] = _table(found, log_prior, force)
    table = pd.concat(tables, names=["study", "hypothesis"])
    if len(studies) == 1:
        table = table.droplevel("study")
    table.attrs = {
        "verdict": list(verdicts.values())[-1],
        "verdicts": verdicts,
        "notes": notes,
        "prior_probability": dict(zip(labels, np.exp(log_prior).tolist(), strict=True)),
        "converged": int(bool(table["converged"].all())),
    }
    return table


def scores_of(fit, *, groups=None, sensitivity=True, cache=True, advance=None, **settings):
    """Return the `Scores` of one fit, and notes on what could not be had.

    Parameters
    ----------
    fit : DataTree
    groups : mapping of str to (mapping of str to ndarray), optional
        What is left out -> group -> its rows, bool [run].
    sensitivity, cache, advance
        As in `compare` and `leave_out.left_out_scores`.
    **settings
        random_seed, cores and executor.

    Returns
    -------
    Scores
    list of str
    """
    options = {"cache": cache, "advance": advance, **settings}
    left_out = {}
    for kind, rows in (groups or {}).items():  # the largest budget is known where all of them are
        known = left_out.get("budget")
        among = known is not None and set(rows) <= set(known.groups)
        left_out[kind] = known.only(rows) if among else left_out_scores(fit, rows, **options)
    widths = widths_of(fit, **settings) if sensitivity else {}
    pointwise, pareto_k, refitted, notes = _leave_one_out(fit, options)
    notes += [note for one in (*left_out.values(), *widths.values()) for note in one.problems]
    scores = Scores(
        evidence=_evidence(fit),
        pointwise=pointwise,
        pareto_k=pareto_k,
        refitted=refitted,
        left_out=left_out,
        widths={factor: one.evidence for factor, one in widths.items()},
        problems=_problems(fit),
    )
    return scores, notes


def _evidence(fit):
    return Evidence(log_evidence=fit.attrs["log_evidence"], se=fit.attrs["log_evidence_se"])


def _problems(fit):
    return () if fit.attrs["converged"] else (fit.attrs["problems"] or "not converged",)


def _checked_kinds(leave_out):
    kinds = (leave_out,) if isinstance(leave_out, str) else tuple(leave_out)
    unknown = [kind for kind in kinds if kind not in LEAVE_OUT]
    if unknown:
        msg = f"leave_out: {unknown} cannot be left out; choose among {list(LEAVE_OUT)}."
        raise InputError(msg)
    return kinds


def _scores(fits, kinds, options, *, force):
    """Return label -> `Scores` of the fits of one study, and notes.

    Where one did not converge there is nothing to compare, and only evidences are returned.
    """
    if any(map(_problems, fits.values())) and not force:
        plain = {
            label: Scores(evidence=_evidence(fit), problems=_problems(fit))
            for label, fit in fits.items()
        }
        return plain, []
    groups, advance = _groups(fits, kinds), options["advance"]
    found, notes = {}, []
    for label, fit in fits.items():

        def said(text, label=label, study=fit.attrs["study"]):
            advance(f"{study}, {label}: {text}")

        found[label], own = scores_of(fit, groups=groups, **{**options, "advance": said})
        notes += [f"{label}: {note}" for note in own]
    return found, notes


def _groups(fits, kinds):
    """Return what is left out -> group -> rows, the same ones for every fit of a study."""
    first, groups = next(iter(fits.values())), {}
    if "budget" in kinds or "largest" in kinds:
        labels = budget_labels(first)
        budgets = groups_of(labels)
        if len(budgets) < 2:
            msg = f"{first.attrs['study']}: there is one compute budget only, none can be left out."
            raise InputError(msg)
        largest = largest_budget(first, labels)
        groups |= {"budget": budgets} if "budget" in kinds else {}
        groups |= {"largest": {largest: budgets[largest]}} if "largest" in kinds else {}
    if "trajectory" in kinds:
        knowing = [one for one in fits.values() if "trajectory" in one["posterior"].dims]
        groups["trajectory"] = groups_of(trajectory_labels([*knowing, first][0]))
    return groups


def _leave_one_out(fit, options):
    """Return pointwise densities, the largest Pareto k, how many rows were refitted, and notes."""
    if "log_likelihood" not in fit.children:
        return None, np.nan, 0, ["no log likelihood is stored, so there is no elpd"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a large Pareto k is dealt with here
        found = loo(fit, pointwise=True)
    pointwise, pareto_k = found.elpd_i.to_numpy().copy(), found.pareto_k.to_numpy()
    worst = np.flatnonzero(~(pareto_k <= MAX_PARETO_K))
    notes = []
    if worst.size:
        rows = {f"row {i}": np.arange(pareto_k.size) == i for i in worst}
        exact = left_out_scores(fit, rows, **options)
        pointwise[worst] = exact.score
        notes = list(exact.problems)
    return pointwise, float(np.max(pareto_k)), int(worst.size), notes


def _table(scores, log_prior, force):
    """Return a row per hypothesis, best first, and the verdict in words."""
    table = pd.DataFrame.from_dict({label: _row(one) for label, one in scores.items()}, "index")
    heights = table["log_evidence"].to_numpy()
    failed = {label: one.problems for label, one in scores.items() if one.problems}
    if failed and not force:
        said = "; ".join(f"{label} ({', '.join(why)})" for label, why in failed.items())
        text = f"no verdict, for a fit did not converge: {said}"
    else:
        table["probability"] = posterior_probabilities(heights, log_prior)
        for word in (word for word in _WIDTH.values() if f"log_evidence_{word}" in table):
            known = table[f"log_evidence_{word}"].to_numpy()
            table[f"probability_{word}"] = posterior_probabilities(known, log_prior)
        matrix = _stackable(scores)
        if matrix is not None:
            table["weight"] = stacking_weights(matrix)
        text = _verdict_text(scores, log_prior)
    order = np.argsort(-(heights + log_prior), kind="stable")
    last = table.pop("converged")
    return table.assign(converged=last).iloc[order].rename_axis("hypothesis"), text


def _row(scores):
    elpd, elpd_se = scores.elpd
    return {
        "log_evidence": scores.evidence.log_evidence,
        "se": scores.evidence.se,
        "probability": np.nan,
        "elpd": elpd,
        "weight": np.nan,
        "elpd_se": elpd_se,
        "pareto_k": scores.pareto_k,
        "refitted": scores.refitted,
        **{f"leave_{kind}": left.total for kind, left in scores.left_out.items()},
        **{
            f"log_evidence_{_WIDTH[factor]}": known.log_evidence
            for factor, known in scores.widths.items()
        },
        "converged": not scores.problems,
    }


def _left_out_groups(scores):
    """Return densities [group, label] of left-out budgets, else trajectories, else None."""
    for kind in ("budget", "trajectory"):
        if all(kind in one.left_out for one in scores.values()):
            return np.stack([one.left_out[kind].score for one in scores.values()], axis=1)
    return None


def _stackable(scores):
    """Return what stacking weights are made from: left-out groups, else rows, else None."""
    groups = _left_out_groups(scores)
    if groups is not None:
        return groups
    rows = [one.pointwise for one in scores.values()]
    return None if any(one is None for one in rows) else np.stack(rows, axis=1)


def _verdict_text(scores, log_prior):
    base = _verdict(
        {label: one.evidence for label, one in scores.items()},
        log_prior,
        left_out=_left_out_groups(scores),
    )
    others = {
        words: _verdict(
            {label: one.widths[factor] for label, one in scores.items()},
            log_prior,
            left_out=_left_out_groups(scores),
        )
        for factor, words in WIDTHS.items()
        if all(factor in one.widths for one in scores.values())
    }
    changes = flips(base, others)
    held = "; the same with priors half and twice as wide" if others and not changes else ""
    return "; ".join([base.text + held, *changes])


def _verdict(evidence, log_prior, *, left_out):
    heights = np.array([one.log_evidence for one in evidence.values()])
    errors = np.array([one.se for one in evidence.values()])
    return verdict(list(evidence), heights, errors, log_prior, left_out=left_out)
