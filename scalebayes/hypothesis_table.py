"""Hypotheses against studies: log evidence of each, over that of counting every parameter."""

import json
import warnings
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes.counting import study_omega
from scalebayes.errors import NotConvergedWarning
from scalebayes.executors import mapped
from scalebayes.fit import fit
from scalebayes.storage import cached, content_key, package_digest
from scalebayes.trees import versions
from scalebayes.verdicts import log_prior_probabilities, verdict

TOTAL = "total"
"""The hypothesis that all others are compared with: hoffmann-total."""

COUNTINGS = {"body": 0.0, "one matrix": 1.0}
"""Countings that are compared with it, with their omega."""

FIXED = ("symmetric", "normal-noise", "ratio-noise")
"""Hypotheses of `models/` that count every parameter and differ from it in one thing."""

ALL_STUDIES = "all studies"
"""Label of the sums over studies."""

CAPTION = (
    "Log evidence of each hypothesis less that of hoffmann-total (total, Student-t noise, two "
    "exponents), nats, with the standard error of its computation: above 0 the runs prefer it, 3 "
    "nats are odds of 20 to 1. body and one matrix count no and one vocabulary matrix, under the "
    "priors of hoffmann-total, which were made for total counts; where a model stores one matrix "
    "the total counts one. symmetric: one exponent; normal-noise: Normal noise; ratio-noise: "
    "noise that grows as tokens per parameter fall. The sums leave out what did not converge and "
    "say how many studies they are over; one large study can decide them. Verdicts are on the "
    "sums, that hypothesis against total at equal prior odds."
)

CONVERGED, NEGLIGIBLE = "converged", "negligible"  # of a cell of the counting grid, see `trees`


def hypothesis_rows(studies, fits, *, executor=None, advance=None, **settings):
    """Return the log evidence of every hypothesis on every study, and the sums over studies.

    Parameters
    ----------
    studies : sequence of Study
        Independent ones, with the shapes of their models.
    fits : mapping of str to DataTree
        Study name -> its fit under latent-counting, whose evidence under the priors of
        hoffmann-total is that of the countings.
    executor : concurrent.futures.Executor, optional
        Whose processes fit (`executors.mapped`), with one core each; changes no number.
    advance : callable, optional
        As in `executors.mapped`, once per study.
    **settings
        Of `fit`: draws, tune, chains, cores, random_seed, cache.

    Returns
    -------
    DataFrame
        study, hypothesis, log_evidence and se, relative and relative_se (over `TOTAL`; nats),
        status ("converged", or why a number is not to be relied on), studies (how many a sum is
        over), verdict (of the sums, in words; "" elsewhere).
    """
    settings |= {} if executor is None else {"cores": 1}
    told = {"advance": advance, "named": lambda study: f"hypotheses: {study.name}"}
    fixed = mapped(partial(_fixed_evidences, settings), studies, executor=executor, **told)
    rows = []
    for study, others in zip(studies, fixed, strict=True):
        found = counting_evidence(fits[study.name], study_omega(study.runs, TOTAL))
        rows += _relative_rows(study.name, found | others)
    table = pd.DataFrame(rows)
    return pd.concat([table, summed_rows(table)], ignore_index=True)


def counting_evidence(fit, omega_of_total):
    """Return the log evidence of named countings from a fit that leaves omega open.

    Parameters
    ----------
    fit : DataTree
        Under latent-counting, with the group evidence.
    omega_of_total : float
        omega at which every parameter counts: the vocabulary matrices that the models store.

    Returns
    -------
    dict of str to (float, float, str)
        Log evidence and standard error (nats) under the reference priors, and the status of that
        omega; NaN for an omega that the grid does not hold.
    """
    evidence = fit["evidence"].to_dataset()
    return {
        name: _of_omega(evidence, omega)
        for name, omega in {TOTAL: omega_of_total, **COUNTINGS}.items()
    }


def summed_rows(table):
    """Return the sum over studies of each hypothesis' log evidence over total, with its verdict.

    Parameters
    ----------
    table : DataFrame
        study, hypothesis, relative, relative_se, status; studies independent.

    Returns
    -------
    DataFrame
        As in `hypothesis_rows`, the study being `ALL_STUDIES`; only converged ones are summed.
    """
    rows = []
    for name, every in table.groupby("hypothesis", sort=False):
        good = every[(every["status"] == CONVERGED) & every["relative"].notna()]
        relative = float(good["relative"].sum()) if len(good) else np.nan
        se = float(np.hypot.reduce(good["relative_se"])) if len(good) else np.nan
        rows.append(
            {
                "study": ALL_STUDIES,
                "hypothesis": name,
                "relative": relative,
                "relative_se": se,
                "status": CONVERGED if len(good) == len(every) else f"{len(good)} of {len(every)}",
                "studies": len(good),
                "verdict": "" if name == TOTAL or not len(good) else _said(name, relative, se),
            }
        )
    return pd.DataFrame(rows)


def shown_table(table):
    """Return `hypothesis_rows` as texts, a row per study, a column per hypothesis.

    Parameters
    ----------
    table : DataFrame

    Returns
    -------
    DataFrame
        With a last row of verdicts.
    """
    names = [name for name in dict.fromkeys(table["hypothesis"]) if name != TOTAL]
    rows = []
    for study, part in table.groupby("study", sort=False):
        cells = part.set_index("hypothesis")
        rows.append({"study": study, **{name: _cell(cells.loc[name]) for name in names}})
    sums = table[table["study"] == ALL_STUDIES].set_index("hypothesis")["verdict"]
    return pd.DataFrame([*rows, {"study": "verdict", **sums[names].to_dict()}])


def _of_omega(evidence, omega):
    if omega not in evidence["omega"].values:
        return np.nan, np.nan, f"omega {omega:g} is not on the grid"
    cell = evidence.sel(omega=omega)
    status = str(cell["status"].item())
    known = CONVERGED if status == NEGLIGIBLE else status  # so little weight that no draw is needed
    return float(cell["log_evidence_default"]), float(cell["log_evidence_default_se"]), known


def _fixed_evidences(settings, study):
    """Return name -> (log evidence, se, status); the few numbers are kept apart from the fits."""

    def found():
        evidences = {name: _fixed_evidence(study, name, settings) for name in FIXED}
        return xr.DataTree(xr.Dataset(attrs={"evidences": json.dumps(evidences)}))

    kept = cached(_key(study, settings), found, cache=settings.get("cache", True))
    return {name: tuple(one) for name, one in json.loads(kept.attrs["evidences"]).items()}


def _key(study, settings):
    """Return the name of a study's evidences in the cache: what the numbers depend on."""
    return content_key(
        kind="fixed evidences",
        data=study.data_hash,
        record=study.record(),
        settings=[settings.get(name) for name in ("draws", "tune", "chains", "random_seed")],
        versions=versions(),
        code=package_digest(),
    )


def _fixed_evidence(study, name, settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConvergedWarning)  # said by the status
        attrs = fit(study, name, progressbar=False, **settings).attrs
    status = CONVERGED if attrs["converged"] else f"not converged: {attrs['problems']}"
    return attrs["log_evidence"], attrs["log_evidence_se"], status


def _relative_rows(study, found):
    base, base_se, base_status = found[TOTAL]
    rows = []
    for name, (value, se, status) in found.items():
        same = value == base  # the same cell: no error between them
        whole = status if base_status in (CONVERGED, status) else f"total: {base_status}"
        row = {"study": study, "hypothesis": name, "log_evidence": value, "se": se}
        row |= {"relative": value - base, "relative_se": 0.0 if same else np.hypot(se, base_se)}
        rows.append(row | {"status": whole, "studies": 1, "verdict": ""})
    return rows


def _said(name, relative, se):
    labels = (TOTAL, name)
    evidences, errors = np.array([0.0, relative]), np.array([0.0, se])
    return verdict(labels, evidences, errors, log_prior_probabilities(labels)).text


def _cell(row):
    if np.isnan(row["relative"]):
        return "–"
    text = f"{row['relative']:+.1f} ± {row['relative_se']:.1f}"
    if row["study"] == ALL_STUDIES:
        return f"{text} ({row['studies']:.0f} studies)"
    return text if row["status"] == CONVERGED else f"{text} (not converged)"
