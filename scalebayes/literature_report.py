"""A fit with literature -> what people read: two posteriors side by side, whose answer it is."""

import json
import textwrap

import pandas as pd

from scalebayes.errors import InputError
from scalebayes.literature import alone_of, place_sentence
from scalebayes.optimum import CHINCHILLA_COMPUTE, optimal
from scalebayes.report import interval_text, mark_of, summary_row
from scalebayes.text_table import text_table

_LINE = 100  # letters
_LEGEND = (
    "Medians with 90% equal-tailed intervals. alone: these runs only. with literature: pooled\n"
    "with the published studies, which say what exponents to expect here. sd ratio: standard\n"
    "deviation (of the log; of a itself) over that alone. of literature's: over the one expected\n"
    "without these runs; near 1 the answer is the literature's. sensitivity: how far the answer\n"
    "moves when the literature, or these runs, count a little more or less; above .05 it matters."
)


def with_its_own(fit):
    """Return a fit by label: with the literature and alone where it has both, else by ""."""
    if not fit.attrs.get("literature"):
        return {"": fit}
    return {"With literature": fit, "Alone": alone_of(fit)}


def literature_rows(fit):
    """Return tidy rows of a fit with literature: each quantity alone and with the literature.

    Parameters
    ----------
    fit : DataTree
        From `fit` with literature.

    Returns
    -------
    list of dict
        As `report.summary_row`, with `posterior` "alone" or "with literature", and sd_ratio,
        prior_ratio, sensitivity_literature, sensitivity_runs of the quantity, where known.
    """
    shares, rows = json.loads(fit.attrs["literature_share"]), []
    for label, one in (("alone", alone_of(fit)), ("with literature", fit)):
        mark = mark_of(one)
        for name, (unit, draws) in _quantities(one).items():
            share = shares.get(name, {})
            row = summary_row(fit.attrs["study"], name, unit, draws, mark=mark(_measure(name)))
            rows.append(
                row
                | {
                    "posterior": label,
                    "sd_ratio": share.get("sd_ratio"),
                    "prior_ratio": share.get("prior_ratio"),
                    "sensitivity_literature": share.get("prior"),
                    "sensitivity_runs": share.get("likelihood"),
                }
            )
    return rows


def literature_text(fit):
    """Return a fit with literature as text: two posteriors, the study's place, who is left out."""
    alone, shares = _quantities(alone_of(fit)), json.loads(fit.attrs["literature_share"])
    table = [
        {
            "quantity": name,
            "alone": interval_text(alone[name][1]),
            "with literature": interval_text(draws),
            "sd ratio": _ratio(shares.get(name, {}).get("sd_ratio")),
            "of literature's": _ratio(shares.get(name, {}).get("prior_ratio")),
            "sensitivity: literature / runs": _sensitivity(shares.get(name, {})),
        }
        for name, (_, draws) in _quantities(fit).items()
    ]
    blocks = [text_table(pd.DataFrame(table)), _LEGEND, _wrapped(place_sentence(fit))]
    if not alone_of(fit).attrs["converged"]:
        blocks.append(f"ALONE NOT CONVERGED: {alone_of(fit).attrs['problems']}")
    names = ", ".join(json.loads(fit.attrs["literature"]))
    blocks.append(_wrapped(f"Literature: {names}."))
    for text in json.loads(fit.attrs["literature_assumed"]):
        blocks.append(_wrapped(f"Recipe of this study, where unknown, taken as no: {text}."))
    left_out = json.loads(fit.attrs["literature_left_out"])
    blocks += [_wrapped(f"Left out: {name}: {reason}") for name, reason in left_out.items()]
    return "\n\n".join(blocks)


def _quantities(fit):
    """Return unit and draws of each compared quantity, D*/N* at Chinchilla's budget last."""
    posterior = fit["posterior"]
    units = {"E": "nats/token", "alpha": "1", "beta": "1", "a": "1"}
    found = {name: (unit, posterior[name]) for name, unit in units.items() if name in posterior}
    return found | _ratio_at_chinchilla(fit)


def _ratio_at_chinchilla(fit):
    asked = {"counting": "total", "architecture": "study"} if fit.attrs["architecture"] else {}
    try:
        best = optimal(fit, CHINCHILLA_COMPUTE, **asked)
    except InputError:  # a latent count without shapes has no common N
        return {}
    counted = best.attrs["counting"]
    name = f"D*/N* at {CHINCHILLA_COMPUTE:.3g} FLOP ({counted})".replace("e+", "e")
    return {name: ("tokens/parameter", best["tokens_per_parameter"].isel(compute=0))}


def _measure(name):
    return "a" if name.startswith("D*") else name


def _ratio(value):
    return "" if value is None else f"{value:.2f}"


def _sensitivity(share):
    if "prior" not in share:
        return ""
    return f"{share['prior']:.2f} / {share['likelihood']:.2f}"


def _wrapped(text):
    return textwrap.fill(text, _LINE)
