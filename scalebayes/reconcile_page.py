"""The one page of `reconcile`: figures first, then the tables."""

import json

import numpy as np
import pandas as pd

from scalebayes import exponent_plots, omega_plots, study_plots
from scalebayes.check_plots import plot_predictive_checks
from scalebayes.findings import (
    ALONE,
    POOLED,
    WHY,
    caveats,
    exponent_legend,
    grouped_sentences,
    omega_legend,
    ratio_legend,
)
from scalebayes.gap_findings import gap_lead, gap_sentences
from scalebayes.gap_sections import gap_figures, gap_tables, synthesis_figure
from scalebayes.hypothesis_table import CAPTION as HYPOTHESES_CAPTION
from scalebayes.hypothesis_table import shown_table
from scalebayes.optimum import optimal
from scalebayes.page import Section, page, svg_text
from scalebayes.population_findings import checks_table, population_sentences, population_table
from scalebayes.population_plots import plot_recipe_effects, plot_shrinkage
from scalebayes.population_report import legend
from scalebayes.predictive_checks import CAPTION as CHECKS_CAPTION
from scalebayes.predictive_checks import checks_of, checks_text, predictive_checks
from scalebayes.synthesis_report import synthesis_lead, synthesis_sentences

_SHOWN = "hoffmann2022-epoch"  # the study whose exponent stands beside the published ones
_CURVE = 10.0 ** np.arange(17.0, 25.01, 0.25)

_RATIO_CAPTION = (
    "Compute-optimal D*/N* against training compute, for each study by itself. "
    "Line: median; bands: 50% and 90% equal-tailed intervals over the posterior, omega "
    "summed out. Total parameters, C = 6ND, models of the study's own shape. Shaded: the "
    "budgets of the study's runs; outside it the law is extrapolated and its error is not "
    "in the bands. Thin lines: 20 tokens per parameter and 5.76e23 FLOP. Where a "
    "curve leaves its panel the ratio lies outside the axis, which is cut."
)
_EXPONENT_CAPTION = (
    "Top: N and C counted without vocabulary matrices; bottom: with them; models of the study's "
    "own shape. Medians with 50% and 90% equal-tailed bands, omega summed out; dashed beyond the "
    "study's runs, where the law is extrapolated and its error is not in the bands. Without "
    "vocabulary matrices the exponent has a hump at small budgets, where they are most of a model "
    "and are left out. Points: published exponents in the middle of their range of compute, in "
    "the panel of their counting (Porian's 2 to 5 count one matrix; labels give RefinedWeb). Each "
    "comes from its own corpus, models and reading of the runs: a point off the curve is no "
    "contradiction by itself. Vertical bars: intervals as published (Hoffmann 80%, Porian 95%; "
    "Besiroglu 90% from the standard error); Hoffmann's approach 3 lies outside its own. Kaplan's "
    "compute is not printed and is taken from Pearce & Song, whose points are computed from "
    "published laws, not runs; the range of approach 1 is that of approach 2."
)
_EXPONENTS_CAPTION = (
    "The same for each study by itself: N and C with (blue) and without (orange) vocabulary "
    "matrices, models of the study's own shape. Medians with 50% and 90% equal-tailed bands, cut "
    "at the axis. Shaded: total compute of the study's runs; outside it the law is extrapolated. "
    "Where the blue line bends, the law's own count (omega) is not the total."
)


_CHECK_FIGURES_CAPTION = (
    "Under each study's name, its residuals: dots are posterior medians, triangles at the edge lie "
    "beyond 6 scales of the noise; line and band: median of bins of equally many runs, with its "
    "90% interval over the posterior. Fourth panel: distribution of the PIT less that of uniform "
    "values, which stays within the shaded band with probability 95%."
)
_SHRINKAGE_CAPTION = (
    "Exponent a and optimal tokens per parameter of each study at 5.76e23 FLOP, total parameters, "
    "C = 6ND, models of the study's own shape: alone (omega summed out by its own evidence) and in "
    "the population (omega common to all). Medians with 50% and 90% equal-tailed intervals, "
    "if the law holds exactly. Band: exponent expected of a new study without any of the recipes, "
    "at 1e9 total parameters, models of Pearce & Song's shape."
)
_RECIPE_CAPTION = (
    "What a training recipe does to the exponent a in total counting at 1e9 parameters, as a "
    "contrast between studies of one group (code base and corpus). Median with 90% equal-tailed "
    "interval; orange marks: medians when a study is left out or a prior is half or twice as wide."
)


def figure_sections(fits, population=None, *, gap=None, synthesis=None):
    """Return the page's sections with figures, those of a `Gap` and of a synthesis first."""
    curves = {
        name: optimal(one, _CURVE, counting="total", architecture="study")
        for name, one in fits.items()
    }
    return [
        *([] if gap is None else gap_figures(gap)),
        *([] if synthesis is None else [synthesis_figure(synthesis)]),
        *population_figures(population),
        Section(
            heading="Tokens per parameter",
            anchor="ratio",
            figure=study_plots.plot_tokens_per_parameter(fits, curves=curves),
            caption=_RATIO_CAPTION,
        ),
        Section(
            heading="What the losses count",
            anchor="omega",
            figure=omega_plots.plot_omega_weight(fits),
            caption="Posterior weight on omega, the weight of a vocabulary matrix in the N with "
            "which the additive law describes each study's losses, under the wide priors of "
            "latent-counting and under the default priors. Beyond the matrices that the models "
            "store omega means no count: there the law misfits at small N.",
        ),
        Section(
            heading="The exponent by counting",
            anchor="exponent",
            figure=omega_plots.plot_exponent_by_omega(fits),
            caption="Exponent a = beta/(alpha+beta) of each study at each omega, in the law's own "
            "counting: 50% and 90% equal-tailed intervals, the fainter the less weight omega has. "
            "Band: all omega together.",
        ),
        *_exponent_sections(fits),
        Section(
            heading="Predicted against observed loss",
            anchor="loss",
            figure=study_plots.plot_predicted_loss(fits),
            caption="Posterior median of the law's loss against the observed loss of every run "
            "used, nats per token, with the rms of the residuals.",
        ),
    ]


def population_figures(population):
    """Return the page's sections with figures of a population; none where there is none."""
    if population is None:
        return []
    shrinkage = Section(
        heading="Alone and pooled",
        anchor="shrinkage",
        figure=plot_shrinkage(population),
        caption=_SHRINKAGE_CAPTION,
    )
    if "recipe_effect" not in population["posterior"]:
        return [shrinkage]
    recipes = Section(
        heading="What recipes do to the exponent",
        anchor="recipes",
        figure=plot_recipe_effects(population),
        caption=_RECIPE_CAPTION,
    )
    return [shrinkage, recipes]


def population_tables(population):
    """Return the page's sections with tables of a population; none where there is none."""
    if population is None:
        return []
    said = [one for one in population_sentences(population) if not one.startswith("NOT CONVERGED")]
    return [
        Section(
            heading="The population",
            anchor="population",
            text=_items(said[1:]),
            table=population_table(population),
            caption=legend(population).replace("\n", " "),
        ),
        Section(
            heading="What the population's conclusions rest on",
            anchor="checks",
            table=checks_table(population),
            caption="Each study left out; each prior half and twice as wide. Medians with 90% "
            "equal-tailed intervals; a recipe's sign, or a above or below 0.5, is a conclusion "
            "where its probability exceeds .95. k: Pareto k of the draws' weights, good below 0.7; "
            "above it the population was drawn again.",
        ),
    ]


def _hypothesis_tables(hypotheses):
    if hypotheses is None:
        return []
    section = Section(
        heading="Which hypotheses the studies prefer",
        anchor="hypotheses",
        table=shown_table(hypotheses),
        caption=HYPOTHESES_CAPTION,
    )
    return [section]


def _exponent_sections(fits):
    """Return the sections on the local exponent: one study's, then every study's."""
    shown = _SHOWN if _SHOWN in fits else next(iter(fits))
    curves = {name: exponent_plots.exponent_curves(one) for name, one in fits.items()}
    return [
        Section(
            heading="The local exponent: one law, two counts",
            anchor="local-exponent",
            figure=exponent_plots.plot_local_exponent(fits, study=shown, curves=curves),
            caption=f"How fast N* grows with C in the law fitted to {shown}. {_EXPONENT_CAPTION}",
        ),
        Section(
            heading="The local exponent of every study",
            anchor="local-exponents",
            figure=exponent_plots.plot_local_exponents(fits, curves=curves),
            caption=_EXPONENTS_CAPTION,
        ),
    ]


def checks_section(fits):
    """Return the section of predictive checks: their table, and folded a figure per study.

    Figures are texts of SVG files, with letters as text: outlined ones would double the page.
    """
    checks = {name: checks_of(one) for name, one in fits.items()}
    figures = {name: plot_predictive_checks(one, checks=checks[name]) for name, one in fits.items()}
    return Section(
        heading="Where the law fails its own runs",
        anchor="predictive-checks",
        table=checks_text(predictive_checks(checks)),
        caption=f"{CHECKS_CAPTION} {_CHECK_FIGURES_CAPTION}",
        folded={name: svg_text(figure, outlined=False) for name, figure in figures.items()},
    )


def reconciliation_page(
    fits, table, figures, population=None, *, hypotheses=None, checks=None, gap=None, synthesis=None
):
    """Return the HTML page of a reconciliation.

    Parameters
    ----------
    fits : dict of str to DataTree
    table : DataFrame
        From `findings.study_table`.
    figures : sequence of Section
        From `figure_sections`.
    population : DataTree, optional
        From `population.pool`.
    hypotheses : DataFrame, optional
        From `hypothesis_table.hypothesis_rows`.
    checks : Section, optional
        From `checks_section`; made where it is not given.
    gap : Gap, optional
        From `gap.explain_gap`; adds its tables and what it says.
    synthesis : DataTree, optional
        From `synthesis.synthesis`; adds what it says.

    Returns
    -------
    str
    """
    rows = pd.DataFrame(
        [
            {"study": name, "rows": one.attrs["rows_note"], "source": _citation(one)}
            for name, one in fits.items()
        ]
    )
    weights = [column for column in table if column.startswith("omega")]
    tables = [
        *([] if gap is None else gap_tables(gap)),
        *population_tables(population),
        *_hypothesis_tables(hypotheses),
        checks_section(fits) if checks is None else checks,
        Section(
            heading="Studies",
            anchor="studies",
            table=table.drop(columns=weights),
            caption=" ".join([*exponent_legend(), *ratio_legend(), *caveats()]),
        ),
        Section(
            heading="Weight on omega",
            anchor="weights",
            table=table[["study", *weights]],
            caption=" ".join(omega_legend()),
        ),
        Section(
            heading="Rows and sources",
            anchor="rows",
            table=rows,
            caption="Which runs of each published table are used, and where it is from.",
        ),
    ]
    why = [] if gap is None else gap_sentences(gap)
    why += [] if synthesis is None else synthesis_sentences(synthesis)
    warnings, parts = grouped_sentences(fits, population, why=why)
    return page(
        title="scalebayes: reconciliation",
        lead=_lead(parts, gap, synthesis),
        sections=[*figures, *tables],
        warnings=warnings,
    )


def _lead(parts, gap, synthesis):
    """Return the top of the page: what matters most of each part, as lists under their titles."""
    shown = {title: said for title, said in parts.items() if title == ALONE}
    why = [] if gap is None else gap_lead(gap)
    why += [] if synthesis is None else synthesis_lead(synthesis)
    shown = {WHY: why} | shown
    if POOLED in parts:
        shown[POOLED] = parts[POOLED][:1]
    blocks = []
    for title, said in shown.items():
        if said:
            blocks += [f"{title}:", _items(said)]
    return "\n\n".join(blocks)


def _items(said):
    return "\n".join(f"- {one}" for one in said)


def _citation(one):
    return json.loads(one.attrs["study_record"])["citation"]
