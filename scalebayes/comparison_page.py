"""Fits of the same runs under several hypotheses -> their report."""

import pandas as pd

from scalebayes.compare import compare
from scalebayes.compare_report import LEGEND, comparison_rows, comparison_table
from scalebayes.errors import InputError
from scalebayes.fit_findings import answers_of, headline, optimum_table, warnings_of
from scalebayes.fit_page import fit_tables
from scalebayes.hypotheses import LATENT
from scalebayes.law_views import common_counting
from scalebayes.page import Section, svg_text
from scalebayes.report_parts import Table, put_together
from scalebayes.study_plots import plot_predicted_loss, plot_tokens_per_parameter
from scalebayes.surface_plots import plot_loss_surface

_RATIO_CAPTION = (
    "Compute-optimal D*/N* of each hypothesis: median with 50% and 90% equal-tailed bands, if its "
    "law holds exactly; shaded: compute of the runs."
)
_LOSS_CAPTION = (
    "Posterior median of each law's loss against the observed loss of every run, with the root "
    "mean square of the residuals."
)


def comparison_report(
    fits, *, table=None, counting=None, architecture=None, random_seed=1, **options
):
    """Return the report of several fits of the same runs.

    Parameters
    ----------
    fits : dict of str to DataTree
        Label of a hypothesis -> its fit.
    table : DataFrame, optional
        From `compare.compare` of these fits, where it is known.
    counting, architecture, random_seed
        As in `fit_findings.answers_of`.
    **options
        Of `compare.compare`.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        When the fits are not of the same runs, or the table is not of these fits.
    """
    table = compare(fits, random_seed=random_seed, **options) if table is None else table
    if set(table.index) != set(fits):
        msg = f"the comparison is of {list(table.index)}, the fits are {list(fits)}."
        raise InputError(msg)
    where = {"counting": counting, "architecture": architecture, "random_seed": random_seed}
    answers = {label: answers_of(fit, **where) for label, fit in fits.items()}
    study = next(iter(fits.values())).attrs["study"]
    tables = [
        Table("The comparison", "comparison", _shown(table), LEGEND.replace("\n", " ")),
        *_optima(answers),
    ]
    for number, (label, fit) in enumerate(fits.items(), start=1):
        tables += fit_tables(fit, answers[label], prefix=f"{label}: ", anchor=f"fit{number}-")[1:]
    return put_together(
        title=f"{study}: {len(fits)} hypotheses",
        lead=_lead(fits, table, answers),
        warnings=_warnings(fits, answers),
        figures=_figures(fits),
        tables=tables,
        rows=comparison_rows(table),
        converged=bool(table.attrs["converged"]),
    )


def _shown(table):
    shown = comparison_table(table)
    return shown.loc[:, (shown != "").any()]


def _lead(fits, table, answers):
    notes = [f"Note: {note}" for note in table.attrs["notes"]]
    said = [f"Verdict: {table.attrs['verdict']}.", *notes]
    each = {label: headline(fit, answers[label], last=True) for label, fit in fits.items()}
    first, *others = each.values()
    shared = first[:1] if all(one[0] == first[0] for one in others) else []
    for label, sentences in each.items():
        said += [f"{label}: {one}" for one in sentences if one not in shared]
    return shared + said


def _warnings(fits, answers):
    """Return the warnings of all fits; what is true of every one of them is said once."""
    each = {label: warnings_of(fit, answers[label]) for label, fit in fits.items()}
    shared = [
        one for one in next(iter(each.values())) if all(one in some for some in each.values())
    ]
    own = [f"{label}: {one}" for label, some in each.items() for one in some if one not in shared]
    return [*own, *shared]


def _optima(answers):
    """Return the table of all optima, one row per hypothesis and budget."""
    parts = [
        optimum_table(some).assign(hypothesis=label) for label, some in answers.items() if some
    ]
    if not parts:
        return []
    joined = pd.concat(parts, ignore_index=True).fillna("")
    joined.insert(0, "hypothesis", joined.pop("hypothesis"))
    caption = "Compute-optimal models, medians with 90% equal-tailed intervals."
    return [Table("Compute-optimal models", "optima", joined, caption)]


def _figures(fits):
    known = {
        label: fit
        for label, fit in fits.items()
        if fit.attrs["counting"] != LATENT or common_counting(fit)
    }
    sections = []
    if known:
        figure = plot_tokens_per_parameter(known, columns=2)
        sections.append(("Tokens per parameter", "ratio", figure, _RATIO_CAPTION))
    figure = plot_predicted_loss(fits, columns=2)
    sections.append(("Predicted against observed loss", "loss", figure, _LOSS_CAPTION))
    surfaces = {
        f"The law over its runs: {label}": svg_text(plot_loss_surface(fit), outlined=False)
        for label, fit in fits.items()
    }
    drawn = [
        Section(heading=heading, anchor=anchor, caption=caption,
                figure=svg_text(figure, outlined=False))
        for heading, anchor, figure, caption in sections
    ]  # fmt: skip
    return [*drawn, Section(heading="Each law", anchor="surfaces", folded=surfaces)]
