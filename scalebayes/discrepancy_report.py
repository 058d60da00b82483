"""What laws may miss, in numbers and words: optima and losses with the discrepancy."""

import textwrap

import numpy as np
import pandas as pd

from scalebayes.formatting import budget_text
from scalebayes.report import CI_PROB, interval_text, mark_of, number, summary_row
from scalebayes.text_table import text_table

_TAIL = (1 - CI_PROB) / 2
_LINE = 100  # letters
_DISAGREE = 100  # effective draws below which runs and literature are at odds
_OPTIMUM_LEGEND = (
    "Medians with 90% equal-tailed intervals, allowing for how far laws have missed beyond their\n"
    "data in the bundled studies. share of the law: of the width (variance of log D*/N*), what is\n"
    "left if the law holds exactly; the rest is discrepancy."
)
_RATIO_LEGEND = (
    "D*/N* with published ratios: the published studies' D*/N* at that budget as a prior for this\n"
    "one; it counts the more, the further the budget lies beyond the runs."
)
_LOSS_LEGEND = (
    "Medians with 90% equal-tailed intervals, allowing for how far laws have missed beyond their\n"
    "data in the bundled studies. Shares of the width of a new run's loss (variance of its log,\n"
    "from the 90% intervals): law, what the coefficients leave open; discrepancy; noise of a run."
)


def optimum_shares(best):
    """Return the share of the variance of log D*/N* that is the law's, over compute.

    Parameters
    ----------
    best : Dataset
        From `discrepant_optimum.with_discrepancy`.
    """
    law, whole = (
        np.log(best[name]).var(("chain", "draw")).to_numpy()
        for name in ("tokens_per_parameter", "tokens_per_parameter_with_discrepancy")
    )
    return np.minimum(law / whole, 1.0)


def optimum_sentence(best):
    """Return whose the width of log D*/N* is, in one sentence; argument as in `optimum_shares`."""
    words = (" posterior draws", " discrepancy")
    parts = []
    for compute, law in zip(best["compute"].to_numpy(), optimum_shares(best), strict=True):
        said = (f"{share:.0%}{word}" for share, word in zip((law, 1 - law), words, strict=True))
        parts.append(f"{' and '.join(said)} at {budget_text(compute)} FLOP")
        words = ("", "")
    text = (
        f"The width (variance) of log D*/N* is {'; '.join(parts)}. A run's noise is in it only by "
        "way of the draws."
    )
    return "\n".join(textwrap.wrap(text, _LINE))


def discrepant_rows(best, fit, published=None):
    """Return tidy rows of the optima with the discrepancy.

    Parameters
    ----------
    best : Dataset
        From `discrepant_optimum.with_discrepancy`.
    fit : DataTree
    published : Dataset, optional
        From `discrepant_optimum.with_ratio_literature`.

    Returns
    -------
    list of dict
        As `formatting.optimal_rows`; for D*/N* also share_law, share_discrepancy and
        share_noise of the variance of its log.
    """
    mark, shares = mark_of(fit), optimum_shares(best)
    tables = [best] if published is None else [best, published]
    rows = []
    for index, compute in enumerate(best["compute"].to_numpy()):
        at = {"compute": float(compute)}
        at["extrapolation_decades"] = float(best["decades_outside"][index])
        at |= {name: best.attrs[name] for name in ("counting", "flops")}
        for table in tables:
            for name in (one for one in table.data_vars if "_with_" in one):
                draws = table[name].isel(compute=index)
                marked = mark("loss" if name.startswith("loss") else "a")
                row = summary_row(
                    fit.attrs["study"], name, draws.attrs["units"], draws, mark=marked
                )
                rows.append(row | at)
                if name == "tokens_per_parameter_with_discrepancy":
                    law = float(shares[index])
                    rows[-1] |= {"share_law": law, "share_discrepancy": 1 - law}
                    rows[-1] |= {"share_noise": 0.0}
    return rows


def discrepant_text(best, fit, published=None):
    """Return the optima with the discrepancy as text; arguments as `discrepant_rows`."""
    shares, table = optimum_shares(best), []
    for index in range(best.sizes["compute"]):
        one = best.isel(compute=index)
        row = {
            "C (FLOP)": budget_text(one["compute"]),
            "N* (parameters)": interval_text(one["N_with_discrepancy"]),
            "D* (tokens)": interval_text(one["D_with_discrepancy"]),
            "D*/N*": interval_text(one["tokens_per_parameter_with_discrepancy"], digits=2),
            "loss (nats/token)": interval_text(one["loss_with_discrepancy"]),
            "share of the law": f"{shares[index]:.0%}",
        }
        if published is not None:
            ratio = published["tokens_per_parameter_with_literature"].isel(compute=index)
            row["D*/N* with published ratios"] = interval_text(ratio, digits=2)
        table.append(row)
    counted = f"N counted as {best.attrs['counting']}, C as {best.attrs['flops']}"
    notes = [_OPTIMUM_LEGEND, optimum_sentence(best)]
    if published is not None:
        notes.append(_RATIO_LEGEND)
        odd = published["effective_draws"].to_numpy() < _DISAGREE
        if odd.any():
            at = ", ".join(f"{one:.3g}" for one in best["compute"].to_numpy()[odd])
            notes.append(
                f"At {at} FLOP the runs and the published ratios are at odds; that column rests on "
                "few draws."
            )
    return "\n\n".join(
        [f"With discrepancy; {counted}", text_table(pd.DataFrame(table)), "\n".join(notes)]
    )


def loss_shares(draws):
    """Return the shares of law, discrepancy and noise in a new run's width, over point.

    Parameters
    ----------
    draws : Dataset
        From `predict.predict` with a discrepancy.

    Returns
    -------
    dict of str to ndarray
        "law", "discrepancy", "noise", [point], summing to 1: differences of the squared widths of
        90% intervals of log loss, none below 0.
    """
    widths = [
        np.diff(np.log(draws[name]).quantile([_TAIL, 1 - _TAIL], ("chain", "draw")), axis=0)[0] ** 2
        for name in ("loss", "loss_with_discrepancy", "loss_new_with_discrepancy")
    ]
    steps = np.maximum(np.diff(widths, axis=0, prepend=0.0), 0.0)
    shares = steps / steps.sum(axis=0)
    return dict(zip(("law", "discrepancy", "noise"), shares, strict=True))


def loss_sentence(draws):
    """Return whose the width of a new run's log loss is, in one sentence; as `loss_shares`."""
    words = {"law": "posterior draws", "discrepancy": "discrepancy", "noise": "its own noise"}
    parts = []
    for name, share in loss_shares(draws).items():
        least, most = f"{share.min():.0%}", f"{share.max():.0%}"
        parts.append(f"{least if least == most else f'{least} to {most}'} {words[name]}")
    rows = ", from row to row," if draws.sizes["point"] > 1 else ""
    text = f"The width of a new run's log loss is{rows} {parts[0]}, {parts[1]} and {parts[2]}."
    return "\n".join(textwrap.wrap(text, _LINE))


def predicted_rows(draws, fit):
    """Return tidy rows of losses with the discrepancy, as `formatting.prediction_rows` does.

    With the shares of the width of a new run: share_law, share_discrepancy, share_noise.
    """
    mark, shares = mark_of(fit)("loss"), loss_shares(draws)
    rows = []
    for index in range(draws.sizes["point"]):
        one = draws.isel(point=index)
        at = {"point": index, "D": float(one["D"]), "domain": str(one["domain"].values)}
        for name in ("loss_with_discrepancy", "loss_new_with_discrepancy"):
            row = summary_row(fit.attrs["study"], name, "nats/token", one[name], mark=mark)
            rows.append(row | at)
        rows[-1] |= {f"share_{name}": float(share[index]) for name, share in shares.items()}
    return rows


def predicted_text(draws, fit):
    """Return losses with the discrepancy as text, a row per point."""
    shares, table = loss_shares(draws), []
    for index in range(draws.sizes["point"]):
        one = draws.isel(point=index)
        row = {
            "row": str(index + 1),
            "D (tokens)": number(float(one["D"])),
            "loss": interval_text(one["loss_with_discrepancy"], digits=4),
            "loss of a new run": interval_text(one["loss_new_with_discrepancy"], digits=4),
        }
        row["law / discrepancy / noise"] = " / ".join(
            f"{share[index]:.0%}" for share in shares.values()
        )
        table.append(row)
    head = f"With discrepancy; {fit.attrs['study']}, nats per token"
    return "\n\n".join(
        [head, text_table(pd.DataFrame(table)), f"{_LOSS_LEGEND}\n{loss_sentence(draws)}"]
    )
