"""A fit -> the sections of its report: figures, tables, and the checklist of how to redo it."""

import pandas as pd

from scalebayes.errors import InputError
from scalebayes.fit_facts import checklist, priors_table
from scalebayes.fit_findings import (
    INTERVALS,
    answers_of,
    headline,
    literature_table,
    optimum_table,
    quantity_table,
    report_rows,
    warnings_of,
)
from scalebayes.formatting import diagnostics_text, law_legend
from scalebayes.hypotheses import LATENT, hypothesis_from_json
from scalebayes.literature_report import with_its_own
from scalebayes.model_pages import latex_text
from scalebayes.omega_plots import plot_exponent_by_omega, plot_omega_weight
from scalebayes.page import Section, svg_text
from scalebayes.posterior_plots import plot_prior_posterior
from scalebayes.predictive_checks import CAPTION as CHECKS_CAPTION
from scalebayes.predictive_checks import checks_text, predictive_checks
from scalebayes.ratio_plots import plot_optimal_ratio
from scalebayes.report import share
from scalebayes.report_parts import Table, put_together
from scalebayes.residual_plots import plot_residuals
from scalebayes.surface_plots import plot_isoflop_slices, plot_loss_surface

_OPTIMA_CAPTION = (
    f"Compute-optimal models, {INTERVALS}. law exact: if the law holds exactly; with discrepancy: "
    "allowing for how far laws have missed beyond their data in the bundled studies. decades "
    "outside: of C, above (+) or below (-) the runs. N* in parameters, D* in tokens, loss in nats "
    "per token."
)
_RATIO_CAPTION = (
    "Compute-optimal D*/N* against training compute. Blue: if the law holds exactly, median with "
    "50% and 90% equal-tailed bands, dashed beyond the runs. Orange: median and ends of the 50% "
    "and 90% equal-tailed intervals with how far laws have missed beyond their data."
)
_SURFACE_CAPTION = (
    "The law's loss over parameters and tokens (posterior median), the runs coloured by their own "
    "loss, and the compute-optimal model with its 90% equal-tailed interval along lines of equal "
    "compute, if the law holds exactly."
)
_SLICES_CAPTION = (
    "Losses against parameters at equal compute: the law's median and 90% equal-tailed band, and "
    "the runs, moved along D to the compute of their line by the law's median."
)
_PRIOR_CAPTION = (
    "What the runs add to the prior. Densities are scaled to one height; sd ratio: standard "
    "deviation of the posterior over the prior's (of the log, but for a, q, kappa and omega). "
    "Near 1 the answer is the prior's."
)
_RESIDUAL_CAPTION = (
    "Residuals: log loss less the log of the law's, over the scale of the noise, posterior "
    "medians. Line and band: median of bins of equally many runs and its 90% equal-tailed "
    "interval over the posterior. Last panel: their quantiles against the noise's; shaded: 90% of "
    "samples of as many independent runs, point by point."
)
_OMEGA_CAPTION = (
    "Posterior weight on omega, the weight of a vocabulary matrix in N, under the wide priors and "
    "under the default ones; area is weight."
)
_BY_OMEGA_CAPTION = (
    "Exponent a at each omega: 50% and 90% equal-tailed intervals, as dark as the weight of omega."
)
_PRIORS_CAPTION = (
    "Priors of the quantities that are sampled: median and 90% equal-tailed interval of each."
)
_LITERATURE_CAPTION = (
    "Ratios of posterior standard deviations (of logs, but for a) to those alone and to those that "
    "the published studies alone lead one to expect, near 1 where the answer is theirs; and how "
    "far the answer moves when the literature, or these runs, count a little more or less."
)
_CHECKLIST_CAPTION = "What a reader needs to redo this fit."


def fit_report(fit, *, counting=None, architecture=None, random_seed=1):
    """Return the report of one fit.

    Parameters
    ----------
    fit : DataTree
    counting, architecture, random_seed
        As in `fit_findings.answers_of`.

    Returns
    -------
    Report
    """
    where = {"counting": counting, "architecture": architecture}
    answers = answers_of(fit, **where, random_seed=random_seed)
    attrs = fit.attrs
    with_literature = " with literature" if attrs.get("literature") else ""
    checks = predictive_checks({attrs["study"]: fit})
    tables = fit_tables(fit, answers, checks=checks)
    return put_together(
        title=f"{attrs['study']} under {attrs['hypothesis_name']}{with_literature}",
        lead=headline(fit, answers),
        warnings=[*warnings_of(fit, answers), *_failures(checks)],
        figures=fit_figures(fit, answers, **where, random_seed=random_seed),
        tables=tables,
        rows=report_rows(fit, answers),
        converged=bool(attrs["converged"]) and not attrs.get("problems_alone"),
        texts={"The model as LaTeX": latex_text(hypothesis_from_json(attrs["hypothesis"]))},
    )


def fit_figures(fit, answers, *, counting=None, architecture=None, random_seed=1):
    """Return the sections with figures of one fit; arguments as `fit_report`, and its answers."""
    drawn = []
    if answers:
        where = {"counting": counting, "architecture": architecture}
        figure = plot_optimal_ratio(fit, **where, random_seed=random_seed)
        drawn.append(("Tokens per parameter", "ratio", figure, _RATIO_CAPTION))
    drawn += [
        ("The law over its runs", "surface", plot_loss_surface(fit), _SURFACE_CAPTION),
        ("At equal compute", "slices", plot_isoflop_slices(fit), _SLICES_CAPTION),
        ("Prior and posterior", "prior-posterior", plot_prior_posterior(fit), _PRIOR_CAPTION),
        ("Residuals", "residuals", plot_residuals(fit), _RESIDUAL_CAPTION),
    ]
    if fit.attrs["counting"] == LATENT and "evidence" in fit:
        drawn.append(("What the losses count", "omega", plot_omega_weight(fit), _OMEGA_CAPTION))
    if "grid" in fit:
        by_omega = plot_exponent_by_omega(fit)
        drawn.append(("The exponent by counting", "by-omega", by_omega, _BY_OMEGA_CAPTION))
    return [
        Section(heading=heading, anchor=anchor, caption=caption,
                figure=svg_text(figure, outlined=False))
        for heading, anchor, figure, caption in drawn
    ]  # fmt: skip


def fit_tables(fit, answers, *, checks=None, prefix="", anchor=""):
    """Return the tables of one fit: optima, quantities, priors, checks, checklist.

    Parameters
    ----------
    fit : DataTree
    answers : list of Answer
    checks : DataFrame, optional
        From `predictive_checks` of this fit, where it is known.
    prefix, anchor : str
        Before headings and anchors, where a page is about several fits.

    Returns
    -------
    list of Table
    """
    tables = [Table("Compute-optimal models", "optima", optimum_table(answers), _OPTIMA_CAPTION)]
    tables = tables if answers else []
    for label, one in with_its_own(fit).items():
        heading = f"The law's quantities{f': {label.lower()}' if label else ''}"
        caption = f"{law_legend(one)[0]}".replace("\n", " ")
        link = f"quantities{f'-{label.split()[0].lower()}' if label else ''}"
        tables.append(Table(heading, link, quantity_table(one), caption))
    if fit.attrs.get("literature"):
        shares = literature_table(fit)
        tables.append(Table("What is the literature's", "literature", shares, _LITERATURE_CAPTION))
    if "evidence" in fit:
        caption = "Log evidence in nats with its standard error, and posterior weight, by omega."
        tables.append(Table("Weight on omega", "weights", _omega_table(fit), caption))
    checks = predictive_checks({fit.attrs["study"]: fit}) if checks is None else checks
    tables += [
        Table("Where the law fails its own runs", "checks", checks_text(checks), CHECKS_CAPTION),
        Table("Priors", "priors", priors_table(fit), _PRIORS_CAPTION),
        Table(
            "How to redo this fit",
            "checklist",
            checklist(fit, diagnostics=diagnostics_text(fit)),
            _CHECKLIST_CAPTION,
        ),
    ]
    return [one.named(prefix, anchor) for one in tables]


def check_fit(fit, label):
    """Refuse what is no fit of a study.

    Raises
    ------
    InputError
        Naming what it is instead.
    """
    if "posterior" not in fit.children or "study_record" not in fit.attrs:
        kind = fit.attrs.get("kind", "something else")
        msg = f"{label}: a report is about fits of a study, or one population; this is a {kind}."
        raise InputError(msg)


def _failures(checks):
    """Return a warning where the law fails its own runs."""
    failing = checks["flagged"].iloc[0]
    if failing == "none":
        return []
    return [f"The law fails its own runs in these checks (see there): {failing}"]


def _omega_table(fit):
    evidence = fit["evidence"].to_dataset()
    table = pd.DataFrame(
        {
            "omega": [f"{one:g}" for one in evidence["omega"].to_numpy()],
            "log evidence": [
                f"{float(height):.2f} ± {float(se):.2f}"
                for height, se in zip(
                    evidence["log_evidence"], evidence["log_evidence_se"], strict=True
                )
            ],
            "weight": [share(float(one)) for one in evidence["weight"]],
        }
    )
    if "weight_default" in evidence:
        weights = [share(float(one)) for one in evidence["weight_default"]]
        table["weight, default priors"] = weights
    return table.assign(status=[str(one) for one in evidence["status"].to_numpy()])
