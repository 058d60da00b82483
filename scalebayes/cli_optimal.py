"""The command `optimal`: a fit and budgets -> what to train, and what other choices cost."""

import math
from pathlib import Path
from typing import Annotated

import typer

import scalebayes as sb
from scalebayes.arguments import load_study_fit, read_architecture, writable, write_csv
from scalebayes.console import end, print_json, print_text
from scalebayes.errors import InputError
from scalebayes.options import Counting, Discrepant, Family, FitFile, Json, Seed

_POINTS_PER_DECADE = 2
_MOST_POINTS = 200


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
    plan, over = _plan(parameters, tokens), read_curve(curve)
    if not compute and over is None and plan is None:
        raise InputError("optimal: say a budget with -C, a range with --curve, or --N and --D.")
    if total_budget and inference_tokens is None:
        raise InputError("--total-budget: say how much is served, with --inference-tokens.")
    result, family = load_study_fit(path), read_architecture(architecture)
    asked = {"counting": counting, "flops": flops}
    miss = discrepancy and result.attrs["law"] != "isoflop"
    drawn = {"discrepancy": "published" if miss else None, "random_seed": seed}
    texts, rows = [], []
    for label, one in with_its_own(result).items():
        known, where = _first_convention(one, asked, family)
        at = compute or ([] if over else _budget_of(one, plan, where))
        parts = [_optima(one, at, where, known, drawn)] if at else []
        parts += [_recommendation(one, at, where, drawn, rule)] if at else []
        if at or plan is not None:
            parts.append(_cost(one, at, where, drawn, rule, plan))
        if over is not None:
            parts.append(_curve(one, over, where, drawn, rule))
        if inference_tokens is not None:
            parts.append(_served(one, at or over, where, inference_tokens, total_budget))
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
    if len(ends) > 3 or not 0 < low < high < math.inf:
        msg = f"--curve: {text!r}: two rising budgets are needed, and perhaps their number."
        raise InputError(msg)
    if count is None:
        count = math.ceil(_POINTS_PER_DECADE * math.log10(high / low) - 1e-9) + 1
    if not 2 <= count <= _MOST_POINTS:
        msg = f"--curve: {text!r} has {count} budgets; 2 to {_MOST_POINTS} are drawn."
        raise InputError(msg)
    step = math.log(high / low) / (count - 1)
    return [low, *(low * math.exp(step * i) for i in range(1, count - 1)), high]


def _plan(N, D):
    """Return a plan as options of `regret`, or None where there is none."""
    if (N is None) != (D is None):
        raise InputError("--N and --D: a plan is both, parameters and tokens.")
    return None if N is None else {"N": N, "D": D}


def _first_convention(result, asked, family):
    """Return the family where three conventions are shown, else None, and the first of them.

    Three are shown where none was asked for and the models' shape is known.
    """
    known = family or ("study" if result.attrs.get("architecture") else None)
    known = None if result.attrs["law"] == "isoflop" else known  # its own count alone
    if known is not None and set(asked.values()) == {None}:
        return known, {"counting": "total", "flops": "6ND", "architecture": known}
    return None, {**asked, "flops": asked["flops"] or "6ND", "architecture": family}


def _budget_of(result, plan, where):
    """Return the budget of a plan, in a list."""
    return sb.regret(result, **plan, **where)["compute"].to_numpy().tolist()


def _optima(result, compute, where, known, drawn):
    """Return text and rows of the optima, in three conventions of a known family, or in one.

    With a discrepancy also those with it, in the first convention.
    """
    from scalebayes import discrepancy_report, formatting
    from scalebayes.discrepant_optimum import with_discrepancy, with_ratio_literature
    from scalebayes.report import optimal_conventions

    if known is not None:
        answers = optimal_conventions(result, compute, architecture=known)
        text = formatting.conventions_text(answers, result)
    else:
        best = sb.optimal(result, compute=compute, **where)
        answers = [(best, _decades(result, compute, where))]
        text = formatting.optimal_text(*answers[0], result)
    rows = [formatting.optimal_rows(*answer, result) for answer in answers]
    if drawn["discrepancy"] is not None:
        best, seed = answers[0][0], drawn["random_seed"]
        both = with_discrepancy(result, best, random_seed=seed)
        parts = both, result, with_ratio_literature(result, best, random_seed=seed)
        text += "\n\n" + discrepancy_report.discrepant_text(*parts)
        rows.append(discrepancy_report.discrepant_rows(*parts))
    return text, [row for some in rows for row in some]


def _recommendation(result, compute, where, drawn, rule):
    """Return text and rows of the recommended ratios."""
    from scalebayes import decision_report

    best = sb.optimal(result, compute=compute, **where)
    found, lost = _recommended(result, best, where, drawn, rule)
    if found is None:
        return lost, []
    made = found, _decades(result, compute, where), result
    return decision_report.recommendation_text(*made), decision_report.recommendation_rows(*made)


def _recommended(result, best, where, drawn, rule):
    """Return what `recommend` says, or None and why it says nothing."""
    missing = int(best["loss"].isnull().sum())
    if missing:
        text = "No ratio is recommended: of {} of {} draws the optimum is beyond any number."
        return None, text.format(missing, best["loss"].size)
    return sb.recommend(result, best["compute"].to_numpy(), rule=rule, **where, **drawn), ""


def _cost(result, compute, where, drawn, rule, plan):
    """Return text and rows of what a plan costs, or a rule at budgets."""
    from scalebayes import decision_report

    choice = {"compute": compute, "rule": rule} if plan is None else plan
    found = sb.regret(result, **choice, **where, **drawn)
    made = found, _decades(result, found["compute"].to_numpy(), where), result
    return decision_report.regret_text(*made), decision_report.regret_rows(*made)


def _curve(result, compute, where, drawn, rule):
    """Return text and rows of a range of budgets."""
    from scalebayes import decision_report, discrepancy_report, formatting
    from scalebayes.discrepant_optimum import with_discrepancy

    best = sb.optimal(result, compute=compute, **where)
    decades = _decades(result, compute, where)
    rows = formatting.optimal_rows(best, decades, result)
    found, lost = _recommended(result, best, where, drawn, rule)
    if drawn["discrepancy"] is not None:
        best = with_discrepancy(result, best, random_seed=drawn["random_seed"])
        rows += discrepancy_report.discrepant_rows(best, result)
    if found is not None:
        rows += decision_report.recommendation_rows(found, decades, result)
    text = decision_report.curve_text(best, found, decades, result)
    return f"{text}\n{lost}".rstrip(), rows


def _served(result, compute, where, tokens, total):
    """Return text and rows of models that are served too."""
    from scalebayes import decision_report

    found = sb.inference_optimal(result, compute, tokens, total=total, **where)
    made = found, _decades(result, compute, where), result
    return decision_report.served_text(*made), decision_report.served_rows(*made)


def _decades(result, compute, where):
    from scalebayes.optimum import extrapolation_decades

    return extrapolation_decades(result, compute, **where)
