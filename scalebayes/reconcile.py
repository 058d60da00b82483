"""The main job: every default study's posterior of its law and of the compute-optimal ratio."""

import json
import shutil
import tempfile
import warnings
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import xarray as xr
from threadpoolctl import threadpool_limits

from scalebayes.errors import NotConvergedWarning, ResultError, StudyError
from scalebayes.findings import headline, study_table
from scalebayes.gap import Gap, explain_gap
from scalebayes.gap_findings import gap_sentences
from scalebayes.gap_tables import gap_frames
from scalebayes.hypothesis_table import hypothesis_rows
from scalebayes.manifest import MANIFEST, swap_in, write_manifest
from scalebayes.many_fits import quiet_fits
from scalebayes.page import svg_text
from scalebayes.population import pool
from scalebayes.population_report import population_rows
from scalebayes.progress import step_bar
from scalebayes.reconcile_page import checks_section, figure_sections, reconciliation_page
from scalebayes.report import study_summary
from scalebayes.spreadsheet import without_formulas
from scalebayes.storage import save_fit
from scalebayes.studies import DEFAULT_STUDIES, load_study
from scalebayes.synthesis import synthesis
from scalebayes.synthesis_report import synthesis_sentences
from scalebayes.trees import versions

HYPOTHESIS = "latent-counting"
FURTHER_DRAWS = 500
"""Draws per chain, at most, of fits that serve an evidence or one exponent."""

_FURTHER_STEPS = 7  # population, attribution, replays, chain on two corpora, synthesis, figures
_TAKEN = ("population", "synthesis")  # files beside those of the studies


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """What `reconcile` found.

    Parameters
    ----------
    fits : dict of str to DataTree
        Posterior of each study.
    summary : DataFrame
        Tidy rows: study, name, unit, median, lower, upper, ci_prob, ci_kind, mark.
    table : DataFrame
        One row per study, as printed.
    headline : str
        The findings in words and the table, as printed.
    converged : bool
        Whether every posterior passed the gate: each study's, the population, further fits.
    folder : Path
        Where page, tables, posteriors and manifest were written.
    hypotheses : DataFrame
        Log evidence of other hypotheses on each study (`hypothesis_table.hypothesis_rows`).
    gap : Gap
        What separates published exponents (`gap.explain_gap`).
    synthesis : DataTree
        Published exponents as data about one law (`synthesis.synthesis`).
    population : DataTree or None
        The studies pooled, as `population.pool` returns it; None for a single study.
    """

    fits: dict[str, xr.DataTree]
    summary: pd.DataFrame
    table: pd.DataFrame
    headline: str
    converged: bool
    folder: Path
    hypotheses: pd.DataFrame
    gap: Gap
    synthesis: xr.DataTree
    population: xr.DataTree | None = None


def reconcile(
    out="reconciliation",
    studies=None,
    *,
    draws=1000,
    tune=300,
    chains=4,
    cores=None,
    random_seed=1,
    cache=True,
    executor=None,
    progressbar=None,
):
    """Fit the published studies with their counting unknown, and write what they say.

    Parameters
    ----------
    out : path
        Folder to write; an older result there is replaced when the new one is complete.
    studies : sequence of str or Study, optional
        By default `DEFAULT_STUDIES`. Each needs the shapes of its models.
    draws, tune, chains, cores, random_seed, cache
        As in `fit`.
    executor : concurrent.futures.Executor, optional
        Whose processes fit the studies (`executor`), with one core each; changes no number.
    progressbar : bool, optional
        By default only when stderr is a terminal.

    Returns
    -------
    Reconciliation

    Raises
    ------
    StudyError
        When a study is unknown, named twice, without shapes, or shares its runs with another.
    ResultError
        When the folder cannot be written or holds something else.
    """
    chosen = _chosen_studies(DEFAULT_STUDIES if studies is None else studies)
    out = _checked_folder(Path(out))
    settings = dict(draws=draws, tune=tune, chains=chains, cores=cores, random_seed=random_seed)
    with (
        step_bar(progressbar, 2 * len(chosen) + _FURTHER_STEPS) as advance,
        warnings.catch_warnings(),
        threadpool_limits(1),  # small matrices: threads of BLAS would only wait for each other
    ):
        warnings.simplefilter("ignore", NotConvergedWarning)  # said in every output instead
        pairs = [(study, HYPOTHESIS) for study in chosen]
        many = {"executor": executor, "advance": advance}
        found = quiet_fits(pairs, cache=cache, **many, **settings)
        fits = {study.name: one for study, one in zip(chosen, found, strict=True)}
        advance("population")
        pooled = _pooled(fits, cores=cores, random_seed=random_seed, cache=cache)
        further = settings | {"draws": min(draws, FURTHER_DRAWS)}
        table = hypothesis_rows(chosen, fits, cache=cache, **many, **further)
        gap = explain_gap(fits, advance=advance, cache=cache, **further)
        advance("synthesis")
        published = synthesis(cores=cores, random_seed=random_seed, cache=cache)
        advance("figures and tables")
        result = _result(fits, pooled, table, gap, published, out)
        _write(result, settings)
    return result


def _pooled(fits, *, cores, random_seed, cache):
    """Return the population of the fits that converged; None of fewer than two."""
    good = [one for one in fits.values() if one.attrs["converged"]]
    if len(good) < 2:
        return None
    settings = {"cores": cores, "random_seed": random_seed, "cache": cache}
    return pool(good, omega_by_group=True, progressbar=False, **settings)


def _result(fits, population, hypotheses, gap, published, out):
    table = study_table(fits)
    every = [*fits.values(), published, *([] if population is None else [population])]
    converged = all(one.attrs["converged"] for one in every) and not gap.problems
    summary = [study_summary(one) for one in fits.values()]
    summary += [] if population is None else [pd.DataFrame(population_rows(population))]
    why = [*gap_sentences(gap), *synthesis_sentences(published)]
    return Reconciliation(
        fits=fits,
        summary=pd.concat(summary, ignore_index=True),
        table=table,
        headline=headline(fits, table, population, why=why),
        converged=converged,
        folder=out,
        hypotheses=hypotheses,
        gap=gap,
        synthesis=published,
        population=population,
    )


def _write(result, settings):
    """Write the folder beside its final place, then swap it in."""
    out = result.folder
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        posteriors = part / "posteriors"
        posteriors.mkdir()
        for name, one in result.fits.items():
            save_fit(one, posteriors / f"{name}.nc")
        if result.population is not None:
            save_fit(result.population, posteriors / "population.nc")
        save_fit(result.synthesis, posteriors / "synthesis.nc")
        tables = {"summary": result.summary, "omega_weights": _weights(result.fits)}
        tables |= {"hypotheses": result.hypotheses, **gap_frames(result.gap)}
        for name, one in tables.items():
            without_formulas(one).to_csv(part / f"{name}.csv", index=False)
        why = {"gap": result.gap, "synthesis": result.synthesis}
        figures = [
            replace(section, figure=svg_text(section.figure))
            for section in figure_sections(result.fits, result.population, **why)
        ]
        checks = checks_section(result.fits)
        known = {"hypotheses": result.hypotheses, "checks": checks, **why}
        text = reconciliation_page(result.fits, result.table, figures, result.population, **known)
        (part / "index.html").write_text(text, encoding="utf-8")
        _save_texts({one.link: one.figure for one in figures}, part / "figures")
        _save_texts(checks.folded, part / "figures" / "checks")
        write_manifest(part, _about(result, settings))
        part.chmod(0o755)
        swap_in(part, out)
    except OSError as error:
        msg = f"{out}: the result could not be saved ({error}); what was there is untouched."
        raise ResultError(msg) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _save_texts(svgs, folder):
    folder.mkdir()
    for name, text in svgs.items():
        (folder / f"{name}.svg").write_text(text, encoding="utf-8")


def _weights(fits):
    tables = []
    for name, one in fits.items():
        table = one["evidence"].to_dataset().to_dataframe().reset_index()
        tables.append(table.assign(study=name))
    table = pd.concat(tables, ignore_index=True)
    return table[["study", *[column for column in table if column != "study"]]]


def _about(result, settings):
    """Return what the manifest says besides its files."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "converged": int(result.converged),
        "hypothesis": json.loads(next(iter(result.fits.values())).attrs["hypothesis"]),
        "settings": {name: value for name, value in settings.items() if name != "cores"},
        "versions": versions(),
        "data_sha256": {name: one.attrs["data_hash"] for name, one in result.fits.items()},
    }


def _chosen_studies(studies):
    if not len(studies):
        msg = "no studies to reconcile; leave them out for the default set."
        raise StudyError(msg)
    chosen = [load_study(study) for study in studies]
    names = [study.name for study in chosen]
    for name in names:
        _refuse_as_file_name(name)
    sets = [study.shared_runs for study in chosen if study.shared_runs]
    for label, values in (("study", names), ("set of shared runs", sets)):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            msg = f"each {label} can be used once only; found twice: {twice}."
            raise StudyError(msg)
    without = [study.name for study in chosen if not study.has_shapes]
    if without:
        msg = (
            f"{', '.join(without)}: the shapes of the models are not known (body, head), so that "
            "their counting cannot be left open. Fit them with a fixed counting instead."
        )
        raise StudyError(msg)
    return chosen


def _refuse_as_file_name(name):
    plain = name.isprintable() and not set(name) & set("/\\:") and not name.startswith(".")
    if not (name and plain and len(name.encode()) <= 200) or name in _TAKEN:
        msg = (
            f"the study's name {name!r} cannot be that of a file in the result's folder; read it "
            "with another name=, without slashes."
        )
        raise StudyError(msg)


def _checked_folder(out):
    if not out.resolve().parent.is_dir():
        msg = f"{out}: its parent folder does not exist."
        raise ResultError(msg)
    if out.exists() and not (
        out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))
    ):
        msg = f"{out}: holds something that is not a result of reconcile; choose another --out."
        raise ResultError(msg)
    return out.resolve()
