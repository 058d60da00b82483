"""How well a hypothesis predicts rows that its fit did not see: budgets, trajectories, single rows.

The score of a group is its joint log predictive density given all other rows. It is the difference
of two log evidences,

    log p(group | rest) = log p(all rows) - log p(rest),

the second one of a fit to the rest by the same compiled model. A joint density asks whether a whole
budget was foreseen, not whether each of its rows was, the others being known; what rows share (the
coefficients, the effect of one training run) is integrated over in it, for a run of which nothing
is left as for one of which other checkpoints are. An average of products over draws would estimate
the same number with a far larger error.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr

from scalebayes.build import TRAJECTORY_INDEX
from scalebayes.compiled import log_density
from scalebayes.errors import InputError
from scalebayes.evidence import Evidence
from scalebayes.executors import mapped
from scalebayes.fit import code_digest
from scalebayes.gate import Settings, checked_posterior
from scalebayes.hypotheses import hypothesis_from_json
from scalebayes.storage import cached, content_key, file_digest
from scalebayes.study_cells import fitted_run_data
from scalebayes.trees import versions

REFIT_DRAWS = 500
"""Draws and tuning steps per chain of a refit."""

LIGHTEST_CELL = 1e-3
"""Cells of a latent counting below this weight are left out, of the evidence of all rows too."""

_ONE_BUDGET = 0.1  # largest gap and width of a budget's rows, in log compute
_ROWS_PER_BUDGET = 3  # at least, on average, for rows to be a grid of budgets
_BIN = np.log(2.0)
_FIXED = 1000.0  # stands for a fixed counting in the path of a seed


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Joint log predictive densities of left-out groups, nats.

    Parameters
    ----------
    groups : tuple of str
    rows : ndarray
        Number of rows of each group.
    score, se : ndarray
        [group]; the error is that of the two log evidences.
    problems : tuple of str
        What keeps single refits from being trusted.
    """

    groups: tuple[str, ...]
    rows: np.ndarray
    score: np.ndarray
    se: np.ndarray
    problems: tuple[str, ...] = ()

    @property
    def total(self):
        """Return the sum over groups."""
        return float(self.score.sum())

    def only(self, groups):
        """Return the scores of some of the groups; problems stay with the whole."""
        places = [self.groups.index(group) for group in groups]
        values = {name: getattr(self, name)[places] for name in ("rows", "score", "se")}
        return LeftOut(groups=tuple(groups), **values)


def budget_labels(fit):
    """Return which compute budget each row belongs to, in words, [run].

    Compute is the study's own FLOP where every row has one, else 6 N D with N as the law counts it
    (omega 1 where that is latent). Rows within a tenth of one another (in log C) are one budget
    where that gives compact groups of three rows or more on average; other designs are cut into
    bins of a factor 2, counted from the smallest budget.

    Parameters
    ----------
    fit : DataTree
    """
    log_compute = np.log(stated_compute(fit))
    order = np.argsort(log_compute, kind="stable")
    gaps = np.diff(log_compute[order])
    cluster = np.empty(order.size, dtype=int)
    cluster[order] = np.concatenate([[0], np.cumsum(gaps > _ONE_BUDGET)])
    widths = [np.ptp(log_compute[cluster == one]) for one in np.unique(cluster)]
    if max(widths) > _ONE_BUDGET or order.size < _ROWS_PER_BUDGET * len(widths):
        cluster = np.floor((log_compute - log_compute.min()) / _BIN).astype(int)
    middle = {one: np.exp(np.median(log_compute[cluster == one])) for one in np.unique(cluster)}
    return np.array([f"C {middle[one]:.3g}" for one in cluster])


def trajectory_labels(fit):
    """Return the training run each row is a checkpoint of, [run]; a row of its own run is alone.

    Parameters
    ----------
    fit : DataTree
        Whose hypothesis knows run effects.

    Raises
    ------
    InputError
        When no rows share a trajectory, or the hypothesis does not know it.
    """
    constant = fit["constant_data"].to_dataset()
    if TRAJECTORY_INDEX not in constant:
        msg = (
            f"{fit.attrs['study']}: no rows are known to share a trajectory, so leaving one out is "
            "leave-one-out by row (elpd)."
        )
        raise InputError(msg)
    names = [str(one) for one in fit["posterior"]["trajectory"].to_numpy()]
    runs = constant["run"].to_numpy().astype(str)
    index = constant[TRAJECTORY_INDEX].to_numpy().astype(int)
    return np.array(
        [names[i] if i >= 0 else f"run {run}" for i, run in zip(index, runs, strict=True)]
    )


def groups_of(labels):
    """Return label -> which rows it has (bool [run]), in order of first appearance."""
    return {str(label): labels == label for label in dict.fromkeys(labels)}


def largest_budget(fit, labels):
    """Return the label of the budget with the largest compute."""
    return str(labels[np.argmax(stated_compute(fit))])


def left_out_scores(
    fit, groups, *, random_seed=1, cores=None, executor=None, cache=True, advance=None
):
    """Return the joint log predictive density of each group given all other rows.

    Parameters
    ----------
    fit : DataTree
        Of any hypothesis. Under a latent counting each cell of the grid is refitted, and the cells
        are summed by prior weight and evidence, as in the fit.
    groups : mapping of str to ndarray
        Which rows each group has, bool [run]; none may have all of them.
    random_seed : int
    cores : int, optional
    executor : concurrent.futures.Executor, optional
        Whose processes refit (`executors.mapped`), with one core each; changes no number.
    cache : bool
        Whether scores made before are taken from the cache on disk.
    advance : callable, optional
        Called with a text after each group.

    Returns
    -------
    LeftOut
    """
    stored = cached(
        _key(fit, groups, random_seed),
        lambda: _scored(fit, groups, random_seed, cores, executor, advance),
        cache=cache,
    )
    scores = stored["left_out"].to_dataset()
    return LeftOut(
        groups=tuple(groups),
        rows=scores["rows"].to_numpy(),
        score=scores["score"].to_numpy(),
        se=scores["se"].to_numpy(),
        problems=tuple(json.loads(stored.attrs["problems"])),
    )


def cells_of(fit):
    """Return the cells of a fit that carry weight: omega, log prior weight and `Evidence`.

    Parameters
    ----------
    fit : DataTree

    Returns
    -------
    list of (float or None, float, Evidence)
        One of omega None where the counting is fixed.
    """
    if "evidence" not in fit.children:
        attrs = fit.attrs
        known = Evidence(log_evidence=attrs["log_evidence"], se=attrs["log_evidence_se"])
        return [(None, 0.0, known)]
    table = fit["evidence"].to_dataset()
    table = table.sel(omega=table["weight"] > LIGHTEST_CELL)
    columns = (table[name].to_numpy() for name in ("prior", "log_evidence", "log_evidence_se"))
    return [
        (float(omega), float(np.log(prior)), Evidence(log_evidence=float(height), se=float(se)))
        for omega, prior, height, se in zip(table["omega"].to_numpy(), *columns, strict=True)
    ]


def summed_evidence(cells):
    """Return the evidence of cells (omega, log prior weight, evidence) with omega summed out."""
    heights = np.array([log_prior + one.log_evidence for _, log_prior, one in cells])
    total = float(np.logaddexp.reduce(heights))
    weighted = np.exp(heights - total) * [one.se for _, _, one in cells]
    return Evidence(log_evidence=total, se=float(np.sqrt(np.sum(weighted**2))))


def without_rows(data, kept):
    """Return run data of the kept rows; run effects that have none left are gone.

    A row that is left alone keeps its run effect, so that its distribution stays the same.

    Parameters
    ----------
    data : dict of ndarray
        As from `build.run_data`.
    kept : ndarray of bool
    """
    rest = {name: values[kept] for name, values in data.items()}
    if TRAJECTORY_INDEX not in rest:
        return rest
    index = rest.pop(TRAJECTORY_INDEX).astype(int)
    known = np.unique(index[index >= 0])
    if known.size:
        rest[TRAJECTORY_INDEX] = np.where(index >= 0, np.searchsorted(known, index), -1)
    return rest


def stated_compute(fit):
    """Return each row's training compute in FLOP."""
    constant = fit["constant_data"].to_dataset()
    if "flops" in constant and not constant["flops"].isnull().any():
        return constant["flops"].to_numpy()
    N = constant["N"] if "N" in constant else constant["body"] + constant["head"]
    return 6 * (N * constant["D"]).to_numpy()


def _scored(fit, groups, random_seed, cores, executor, advance):
    sizes = dict(draws=REFIT_DRAWS, tune=REFIT_DRAWS, chains=fit["posterior"].sizes["chain"])
    settings = Settings(**sizes, cores=cores if executor is None else 1, random_seed=random_seed)
    cells, whole = cells_of(fit), summed_evidence(cells_of(fit))
    tasks = [
        _without(fit, omega, label, rows, position)
        for position, (label, rows) in enumerate(groups.items())
        for omega, _, _ in cells
    ]
    refit = partial(_refit, hypothesis_from_json(fit.attrs["hypothesis"]), settings)
    refits = mapped(refit, tasks, executor=executor, named=_name)
    problems, values = [], []
    for label, rows in groups.items():
        rest = []
        own = zip(cells, refits, strict=False)  # as many refits as cells; the others wait
        for (omega, log_prior, _), (evidence, found) in own:
            rest.append((omega, log_prior, evidence))
            where = label if omega is None else f"{label}, omega {omega:g}"
            problems += [f"without {where}: {problem}" for problem in found]
        known = summed_evidence(rest)
        values.append(
            (rows.sum(), whole.log_evidence - known.log_evidence, np.hypot(whole.se, known.se))
        )
        if advance is not None:
            advance(f"without {label}")
    columns = dict(zip(("rows", "score", "se"), np.array(values, dtype=float).T, strict=True))
    dataset = xr.Dataset({name: ("group", x) for name, x in columns.items()})
    tree = xr.DataTree.from_dict({"left_out": dataset})
    tree.attrs = {"problems": json.dumps(problems)}
    return tree


def _without(fit, omega, label, rows, position):
    """Return the name, the run data and the path of the seed of a refit."""
    if rows.all():
        msg = f"{fit.attrs['study']}: a group to be left out has every row; nothing is left to fit."
        raise InputError(msg)
    path = (_FIXED if omega is None else omega, 21, position)
    name = f"{fit.attrs['study']} without {label}"
    return name, without_rows(fitted_run_data(fit, omega), ~rows), path


def _refit(hypothesis, settings, task):
    """Return the evidence of a refit and what keeps it from being trusted."""
    _, data, path = task
    density = log_density(data, hypothesis)
    posterior = checked_posterior(density, hypothesis, settings, path=path)
    return posterior.evidence, posterior.problems


def _name(task):
    return task[0]


def _key(fit, groups, random_seed):
    data = fitted_run_data(fit, None if "N" in fit["constant_data"] else 1.0)
    digest = hashlib.sha256()
    for values in (*data.values(), *groups.values()):
        digest.update(np.ascontiguousarray(values).tobytes())
    return content_key(
        kind="left out",
        data=digest.hexdigest(),
        labels=list(groups),
        hypothesis=fit.attrs["hypothesis"],
        evidence=[(omega, log_prior, one.log_evidence) for omega, log_prior, one in cells_of(fit)],
        settings=[REFIT_DRAWS, fit["posterior"].sizes["chain"], random_seed],
        versions=versions(),
        code=[code_digest(), file_digest(__file__)],
    )
