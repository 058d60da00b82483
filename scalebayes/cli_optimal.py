"""The command `optimal`: a fit and budgets -> what to train, and what other choices cost."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import scalebayes as sb
from scalebayes.arguments import load_study_fit, read_architecture, writable, write_csv
from scalebayes.console import end, print_json, print_text
from scalebayes.errors import InputError
from scalebayes.options import Counting, Discrepant, Family, FitFile, Json, Seed

_POINTS_PER_DECADE = 2


def optimal(
    path: FitFile,
    compute: Annotated[
        list[float] | None, typer.Option("-C", "--compute", help="Budget in FLOP.")
    ] = None,
    curve: Annotated[
        str | None,
        typer.Option(help="Budgets from:to, 1e20:1e25, two a decade; from:to:n for n of them."),
    ] = None,
    counting: Counting = None,
    flops: Annotated[
        str | None,
        typer.Option(
            help="What C counts: 6ND (with that N), 6ND:body, 6ND:body+head, 6ND:total, kaplan, "
            "porian-attention, deepseek or hoffmann-f."
        ),
    ] = None,
    architecture: Family = None,
    rule: Annotated[
        float, typer.Option(help="Tokens per parameter of a rule whose cost is shown.")
    ] = 20.0,
    parameters: Annotated[
        float | None, typer.Option("--N", help="Parameters of your own plan, instead of a rule.")
    ] = None,
    tokens: Annotated[
        float | None, typer.Option("--D", help="Tokens of your own plan; its budget follows.")
    ] = None,
    inference_tokens: Annotated[
        float | None,
        typer.Option(help="Tokens served later: least training and serving FLOP at C's loss."),
    ] = None,
    total_budget: Annotated[
        bool,
        typer.Option("--total-budget", help="C pays for serving too: least loss at that total."),
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="CSV to write, with all rows.")] = None,
    discrepancy: Discrepant = True,
    seed: Seed = 1,
    as_json: Json = False,
):
    """Give the compute-optimal parameters and tokens, the ratio to train at, and what rules cost.

    Without --counting and --flops: in three conventions side by side, wherever the shape of the
    models is known; it is the study's own unless --architecture gives one. First as if the law held
    exactly, then (in the first convention) with how far laws have missed beyond their data, the
    ratio of least expected loss, and what a rule or your own plan costs. The law isoflop knows its
    own count alone, no discrepancy and no serving.
    """
    from scalebayes.literature_report import with_its_own

    path_out = None if csv is None else writable(csv)
    result, family = load_study_fit(path), read_architecture(architecture)
    asked = {"counting": counting, "flops": flops}
    plan = _plan(parameters, tokens)
    if total_budget and inference_tokens is None:
        raise InputError("--total-budget: say how much is served, with --inference-tokens.")
    budgets = list(compute or []), read_curve(curve)
    if not budgets[0] and budgets[1] is None and plan is None:
        raise InputError("optimal: say a budget with -C, a range with --curve, or --N and --D.")
    miss = discrepancy and result.attrs["law"] != "isoflop"
    drawn = {"discrepancy": "published" if miss else None, "random_seed": seed}
    served = None if inference_tokens is None else (inference_tokens, total_budget)
    texts, rows = [], []
    for label, one in with_its_own(result).items():
        parts = []
        if budgets[0] or budgets[1] is None:
            at = budgets[0] or _budget_of(one, plan, asked, family)
            parts.append(_optima(one, at, asked, family, drawn))
            parts.append(_decisions(one, at, asked, family, drawn, rule=rule, plan=plan))
        elif plan is not None:
            parts.append(_cost(one, None, asked, family, drawn, rule=rule, plan=plan))
        if budgets[1] is not None:
            parts.append(_curve(one, budgets[1], asked, family, drawn))
        if served is not None:
            at = budgets[0] or (at if budgets[1] is None else budgets[1])
            parts.append(_served(one, at, asked, family, *served))
        text = "\n\n".join(text for text, _ in parts)
        texts.append(f"{label}: {text}" if label else text)
        some = [row for _, part in parts for row in part]
        rows += [row | {"posterior": label} if label else row for row in some]
    if as_json:
        print_json(rows, result)
    else:
        print_text("\n\n".join(texts), result)
    if path_out is not None:
        write_csv(rows, path_out)
    end(result.attrs["converged"])


def read_curve(text):
    """Return what --curve says: log-spaced budgets in FLOP, or None where it was not given.

    Parameters
    ----------
    text : str or None
        from:to or from:to:n, as 1e20:1e25 or 1e20:1e25:11.

    Raises
    ------
    InputError
        When it is anything else.
    """
    if text is None:
        return None
    ends = text.split(":")
    try:
        low, high = float(ends[0]), float(ends[1])
        count = int(ends[2]) if len(ends) > 2 else None
    except (IndexError, ValueError) as error:
        msg = f"--curve: {text!r} is not of the form from:to or from:to:n, as 1e20:1e25:11."
        raise InputError(msg) from error
    if len(ends) > 3 or not 0 < low < high < np.inf or (count is not None and count < 2):
        msg = f"--curve: {text!r}: two rising budgets are needed, and a number of 2 or more."
        raise InputError(msg)
    if count is None:
        count = int(np.ceil(_POINTS_PER_DECADE * np.log10(high / low) - 1e-9)) + 1
    return np.geomspace(low, high, count).tolist()


def _plan(N, D):
    """Return a plan as options of `regret`, or None where there is none."""
    if (N is None) != (D is None):
        raise InputError("--N and --D: a plan is both, parameters and tokens.")
    return None if N is None else {"N": N, "D": D}


def _conventions(result, asked, family):
    """Return whether no convention was asked for and three can be had, and the first one."""
    known = family or ("study" if result.attrs.get("architecture") else None)
    known = None if result.attrs["law"] == "isoflop" else known  # its own count alone
    if known is not None and set(asked.values()) == {None}:
        return known, {"counting": "total", "flops": "6ND", "architecture": known}
    return None, {**asked, "flops": asked["flops"] or "6ND", "architecture": family}


def _optima(result, compute, asked, family, drawn):
    """Return text and rows of the optima: in three conventions where none was asked for.

    With a discrepancy also those with it, in the first convention.
    """
    from scalebayes import discrepancy_report, formatting
    from scalebayes.discrepant_optimum import with_discrepancy, with_ratio_literature
    from scalebayes.optimum import extrapolation_decades
    from scalebayes.report import optimal_conventions

    known, where = _conventions(result, asked, family)
    if known is not None:
        answers = optimal_conventions(result, compute, architecture=known)
        text = formatting.conventions_text(answers, result)
    else:
        best = sb.optimal(result, compute=compute, **where)
        answers = [(best, extrapolation_decades(result, compute, **where))]
        text = formatting.optimal_text(*answers[0], result)
    rows = [formatting.optimal_rows(*answer, result) for answer in answers]
    if drawn["discrepancy"] is not None:
        best, seed = answers[0][0], drawn["random_seed"]
        both = with_discrepancy(result, best, random_seed=seed)
        parts = both, result, with_ratio_literature(result, best, random_seed=seed)
        text += "\n\n" + discrepancy_report.discrepant_text(*parts)
        rows.append(discrepancy_report.discrepant_rows(*parts))
    return text, [row for some in rows for row in some]


def _decisions(result, compute, asked, family, drawn, *, rule, plan):
    """Return text and rows of the recommended ratio and of what a rule or a plan costs."""
    from scalebayes import decision_report
    from scalebayes.optimum import extrapolation_decades

    _, where = _conventions(result, asked, family)
    decades = extrapolation_decades(result, compute, **where)
    said, some = _cost(result, compute, asked, family, drawn, rule=rule, plan=plan)
    found, lost = _recommended(result, compute, where, drawn, rule=rule)
    if lost:
        return f"{lost}\n\n{said}", some
    text = decision_report.recommendation_text(found, decades, result)
    rows = decision_report.recommendation_rows(found, decades, result)
    return f"{text}\n\n{said}", rows + some


def _recommended(result, compute, where, drawn, *, rule):
    """Return what `recommend` says, or None and why it says nothing."""
    missing = int(sb.optimal(result, compute=compute, **where)["loss"].isnull().sum())
    if not missing:
        return sb.recommend(result, compute, rule=rule, **where, **drawn), ""
    return None, f"No ratio is recommended: in {missing} draws the optimum is no number."


def _cost(result, compute, asked, family, drawn, *, rule, plan):
    """Return text and rows of what a plan costs, or a rule at budgets."""
    from scalebayes import decision_report
    from scalebayes.optimum import extrapolation_decades

    _, where = _conventions(result, asked, family)
    choice = {"compute": compute, "rule": rule} if plan is None else plan
    found = sb.regret(result, **choice, **where, **drawn)
    decades = extrapolation_decades(result, found["compute"], **where)
    made = found, decades, result
    return decision_report.regret_text(*made), decision_report.regret_rows(*made)


def _curve(result, compute, asked, family, drawn):
    """Return text and rows of a range of budgets, in the first convention."""
    from scalebayes import decision_report, discrepancy_report, formatting
    from scalebayes.discrepant_optimum import with_discrepancy
    from scalebayes.optimum import extrapolation_decades

    _, where = _conventions(result, asked, family)
    best = sb.optimal(result, compute=compute, **where)
    decades = extrapolation_decades(result, compute, **where)
    rows = formatting.optimal_rows(best, decades, result)
    found, lost = _recommended(result, compute, where, drawn, rule=20.0)
    if drawn["discrepancy"] is not None:
        best = with_discrepancy(result, best, random_seed=drawn["random_seed"])
        rows += discrepancy_report.discrepant_rows(best, result)
    if found is not None:
        rows += decision_report.recommendation_rows(found, decades, result)
    text = decision_report.curve_text(best, found, decades, result)
    return f"{text}\n{lost}".rstrip(), rows


def _served(result, compute, asked, family, tokens, total):
    """Return text and rows of models that are served too."""
    from scalebayes import decision_report
    from scalebayes.optimum import extrapolation_decades

    _, where = _conventions(result, asked, family)
    found = sb.inference_optimal(result, compute, tokens, total=total, **where)
    made = found, extrapolation_decades(result, compute, **where), result
    return decision_report.served_text(*made), decision_report.served_rows(*made)


def _budget_of(result, plan, asked, family):
    """Return the budget of a plan, in a list."""
    _, where = _conventions(result, asked, family)
    return sb.regret(result, **plan, **where)["compute"].to_numpy().tolist()
