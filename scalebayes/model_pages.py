"""A hypothesis for people: its formulas as LaTeX, and what it expects before it has seen a loss."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes.build import (
    applied,
    budget_of_reference,
    located,
    natural_quantities,
    run_data,
)
from scalebayes.counting import count_parameters
from scalebayes.gate import prior_latents
from scalebayes.hypotheses import LATENT, RUN_EFFECT, Hypothesis, load_hypothesis
from scalebayes.isoflop import windowed
from scalebayes.laws import ANCHOR_D, ANCHOR_N, FLOP_PER_PARAMETER_AND_TOKEN, ISOFLOP
from scalebayes.optimum import compute_range, optimal
from scalebayes.predict import predict
from scalebayes.report import number, summary_row
from scalebayes.studies import Study, load_study
from scalebayes.text_table import text_table

DRAWS = 4000
STUDY = "porian2024-rw-4-cosine"
"""A study that has what every hypothesis asks for: isoFLOP lines, shapes, tokens of warm-up."""

_ADDITIVE = r"L(N, D) &= E + A N^{-\alpha} + B D^{-\beta}"
_BRACKET = r"L(N, D) &= %s\left[(A N^{-\alpha})^{1/q} + (B D^{-\beta})^{1/q}\right]^q"
_ISOFLOP = (
    r"L(N, D) &= E + K \left(\frac{C}{C_0}\right)^{-\gamma} "
    r"\frac{\beta\,e^{-\alpha u} + \alpha\,e^{\beta u}}{\alpha + \beta}",
    r"u &= \log N - n_0 - a \log\frac{C}{C_0}, \qquad C = 6 N D",
)
_LAWS = {
    "chinchilla": (_ADDITIVE,),
    "symmetric": (_ADDITIVE + r", \qquad \beta = \alpha",),
    "offset-share": (_ADDITIVE,),
    "no-offset": (_ADDITIVE.replace("E + ", ""),),
    "kaplan": (_BRACKET % "" + r", \qquad q = \beta",),
    "nested": (_BRACKET % "E + ",),
    "warmup": (_ADDITIVE.replace("D^", r"(D - \kappa \min(W, D))^"),),
    "isoflop": _ISOFLOP,
    "isoflop-surface": (
        *_ISOFLOP,
        r"a &= \frac{\beta}{\alpha + \beta}, \qquad \gamma = \frac{\alpha\beta}{\alpha + \beta}",
    ),
}
_SYMBOLS = {
    "log_E": r"\log E",
    "log_term_N": r"\log (A N_0^{-\alpha})",
    "log_term_D": r"\log (B D_0^{-\beta})",
    "log_loss_anchor": r"\log L(N_0, D_0)",
    "offset_share": r"E / L(N_0, D_0)",
    "size_share": r"s",
    "log_K": r"\log K",
    "log_ratio": r"\log \frac{C_0}{6} - 2 n_0",
    "nu": r"\nu - 1",
}
_COUNTS = {"body": r"\text{body}", "body+head": r"\text{body} + \text{head}"}
_COUNTS |= {"total": r"\text{every stored parameter}"}

_WORDS = {"loss": "loss of the law", "loss_new": "loss of a new run", "N": "N*", "D": "D*"}
_WORDS |= {"tokens_per_parameter": "D*/N*"}
_EXPECTATIONS_LEGEND = (
    "Draws of the prior, no posterior: medians with 90% equal-tailed intervals. Losses are those\n"
    "of the study's runs of least, middle and largest compute, beside the loss that each had; N*,\n"
    "D* and D*/N* are of compute-optimal models at budgets over the same range. C = 6ND."
)


def latex_text(hypothesis):
    """Return a hypothesis as a LaTeX align environment: law, count, noise and priors.

    Parameters
    ----------
    hypothesis : Hypothesis, str or path

    Returns
    -------
    str
        For amsmath.
    """
    hypothesis = load_hypothesis(hypothesis)
    priors = hypothesis.priors.items()
    rows = [
        *_LAWS[hypothesis.law],
        rf"N &= {_count(hypothesis)}",
        *_noise(hypothesis),
        *(rf"{_symbol(name)} &\sim {_distribution(prior.to_table())}" for name, prior in priors),
    ]
    if hypothesis.omega is not None:
        rows.append(_omega(hypothesis.omega))
    lines = " \\\\\n".join(f"  {row}" for row in rows)
    comments = "\n".join(f"% {said}" for said in _comments(hypothesis))
    return f"{comments}\n\\begin{{align}}\n{lines}\n\\end{{align}}\n"


@dataclass(frozen=True, kw_only=True, eq=False)
class Expectations:
    """Draws of what a hypothesis expects of a study before it has seen its losses.

    Parameters
    ----------
    hypothesis : Hypothesis
    study : Study
        With the rows that the hypothesis' window leaves.
    losses : Dataset
        `loss` of the law and `loss_new`, with noise (nats/token), over (point, chain, draw), at the
        study's runs of least, middle and largest compute; coords compute (FLOP) and observed, the
        run's own loss.
    optima : Dataset
        `optimum.optimal` at three budgets from the runs' least compute to their largest.
    """

    hypothesis: Hypothesis
    study: Study
    losses: xr.Dataset
    optima: xr.Dataset


def expectations(hypothesis, study=STUDY, *, draws=DRAWS, random_seed=1):
    """Return draws from the prior of losses and optima; arguments as in `prior_predictive`."""
    hypothesis = load_hypothesis(hypothesis)
    study = windowed(load_study(study), hypothesis)
    fit = _prior_as_fit(study, hypothesis, draws, random_seed)
    asked = {}
    if hypothesis.counting == LATENT:
        asked = {"counting": "total", "architecture": "study"}
    counting = asked.get("counting", hypothesis.counting)
    return Expectations(
        hypothesis=hypothesis,
        study=study,
        losses=_expected_losses(fit, study, counting, random_seed),
        optima=optimal(fit, np.geomspace(*compute_range(fit, **asked), 3), **asked),
    )


def prior_predictive(hypothesis, study=STUDY, *, draws=DRAWS, random_seed=1):
    """Return what a hypothesis expects of a study before it has seen its losses, as tidy rows.

    Parameters
    ----------
    hypothesis : Hypothesis, str or path
    study : Study or str
        Gives the runs (and the budget C0 of the laws `laws.ISOFLOP`); its losses are not looked at,
        but for a hypothesis with the window "isoflop", which are used to choose rows.
    draws : int
    random_seed : int

    Returns
    -------
    list of dict
        As `report.summary_row`, and compute (FLOP). `loss` of the law and `loss_new`, with noise,
        are those of the runs of least, middle and largest compute, with `observed`, the run's own
        loss; N, D and tokens_per_parameter are those of the compute-optimal models at three budgets
        from the runs' least to their largest. N and C = 6 N D are in the hypothesis' own count,
        under a latent one in total with shapes as the study's.
    """
    expected = expectations(hypothesis, study, draws=draws, random_seed=random_seed)
    return [*_loss_rows(expected), *_optimum_rows(expected)]


def expectations_text(rows, hypothesis):
    """Return the rows of `prior_predictive` as text.

    Parameters
    ----------
    rows : list of dict
    hypothesis : Hypothesis

    Returns
    -------
    str
    """
    table = [
        {
            "C (FLOP)": number(row["compute"]),
            "quantity": _WORDS[row["name"]],
            "median": number(row["median"]),
            "90% interval": f"[{number(row['lower'])}, {number(row['upper'])}]",
            "unit": row["unit"],
            "observed": "" if row["observed"] is None else number(row["observed"]),
        }
        for row in rows
    ]
    counting = "total" if hypothesis.counting == LATENT else hypothesis.counting
    head = f"{rows[0]['study']} under the prior of {hypothesis.name}; N counted as {counting}"
    return "\n\n".join([head, text_table(pd.DataFrame(table)), _EXPECTATIONS_LEGEND])


def _expected_losses(fit, study, counting, random_seed):
    runs = study.runs
    N = np.asarray(count_parameters(runs, counting, reported=study.counting), dtype=float)
    compute = FLOP_PER_PARAMETER_AND_TOKEN * N * runs["D"].to_numpy(dtype=float)
    chosen = np.argsort(compute, kind="stable")[[0, len(runs) // 2, -1]]
    wanted = [name for name in ("D", "body", "head", "embedding", "warmup_tokens") if name in runs]
    points = runs.loc[chosen, wanted].reset_index(drop=True).dropna(axis="columns")
    if "body" not in points:
        points = points.assign(N=N[chosen])
    losses = predict(fit, points, random_seed=random_seed)[["loss", "loss_new"]]
    observed = runs["loss"].to_numpy(dtype=float)[chosen]
    return losses.assign_coords(compute=("point", compute[chosen]), observed=("point", observed))


def _loss_rows(expected):
    rows = []
    for point in range(expected.losses.sizes["point"]):
        one = expected.losses.isel(point=point)
        at = {name: float(one[name]) for name in ("compute", "observed")}
        rows += [
            summary_row(expected.study.name, name, "nats/token", one[name]) | at
            for name in ("loss", "loss_new")
        ]
    return rows


def _optimum_rows(expected):
    best = expected.optima
    units = {"N": "parameters", "D": "tokens", "tokens_per_parameter": "tokens/parameter"}
    return [
        summary_row(expected.study.name, name, unit, best[name].sel(compute=compute))
        | {"compute": float(compute), "observed": None}
        for compute in best["compute"].values
        for name, unit in units.items()
    ]


def _prior_as_fit(study, hypothesis, draws, random_seed):
    """Return draws from the prior in the form of a fit."""
    data = run_data(study, hypothesis)
    known = applied(hypothesis, data)
    rng = np.random.default_rng(random_seed)
    latents = prior_latents(known, draws, rng)
    values = {**latents, **natural_quantities(latents, law=known.law)}
    values |= located(known.law, latents, data)
    if hypothesis.omega is not None:
        prior = hypothesis.omega
        spread = rng.uniform(prior.lower, prior.upper, draws)
        atom = rng.choice(prior.atoms or (0.0,), draws)
        values["omega"] = np.where(rng.uniform(size=draws) < prior.atom_mass, atom, spread)
    dims = ("chain", "draw")
    posterior = xr.Dataset({name: (dims, value[None]) for name, value in values.items()})
    constant = {name: ("run", data[name]) for name in ("N", "D", "body", "head") if name in data}
    constant |= {
        name: ("run", study.runs[name].to_numpy(dtype=float))
        for name in ("embedding",)
        if name in study.runs
    }
    tree = xr.DataTree.from_dict({"posterior": posterior, "constant_data": xr.Dataset(constant)})
    family = study.architecture
    tree.attrs = {
        "study": study.name,
        "law": hypothesis.law,
        "counting": hypothesis.counting,
        "architecture": "" if family is None else family.to_json(),
    }
    if hypothesis.law in ISOFLOP:
        tree.attrs["C0"] = budget_of_reference(data)
    return tree


def _symbol(name):
    if name in _SYMBOLS:
        return _SYMBOLS[name]
    if name.startswith("log_"):
        return rf"\log {_symbol(name.removeprefix('log_'))}"
    return name if len(name) == 1 else rf"\{name}"


def _distribution(table):
    numbers = ", ".join(f"{value:.5g}" for key, value in table.items() if key != "dist")
    return rf"\mathrm{{{table['dist']}}}({numbers})"


def _count(hypothesis):
    counting = hypothesis.counting
    if counting in _COUNTS:
        return _COUNTS[counting]
    weight = r"\omega" if counting == LATENT else counting
    return rf"\text{{body}} + {weight}\,\text{{head}}"


def _noise(hypothesis):
    scale = r"\sigma"
    if "eta" in hypothesis.priors:
        scale = r"\sigma\left(\frac{20}{D_i/N_i}\right)^{\eta}"
    family = r"\mathrm{Normal}" if hypothesis.likelihood == "normal" else r"\mathrm{StudentT}_\nu"
    effect = r" + \tau b_{j(i)}" if RUN_EFFECT in hypothesis.priors else ""
    rows = [rf"\log L_i &\sim {family}\left(\log L(N_i, D_i){effect},\ {scale}\right)"]
    return [*rows, *([r"b_j &\sim \mathrm{Normal}(0, 1)"] if effect else [])]


def _omega(prior):
    even = rf"\mathrm{{Uniform}}({prior.lower:g}, {prior.upper:g})"
    if not prior.atoms:
        return rf"\omega &\sim {even}"
    atoms = ", ".join(f"{atom:g}" for atom in prior.atoms)
    on_atoms = rf"\mathrm{{Uniform}}\{{{atoms}\}}"
    return rf"\omega &\sim {prior.atom_mass:g}\,{on_atoms} + {1 - prior.atom_mass:g}\,{even}"


def _comments(hypothesis):
    """Return what the symbols mean that the formulas do not define."""
    said = [f"{hypothesis.name}: {hypothesis.title or hypothesis.law}", "losses in nats per token"]
    if hypothesis.law in ISOFLOP:
        said.append("C_0: middle budget of the study's isoFLOP lines")
    else:
        sizes = [f"10^{math.log10(ANCHOR_N):g}", f"{ANCHOR_D / 1e10:g} x 10^10"]
        said.append(f"N_0 = {sizes[0]} parameters, D_0 = {sizes[1]} tokens")
    if "size_share" in hypothesis.priors:
        said.append("s: part of the term of N in the bracket (in L - E) at N_0 and D_0")
    if hypothesis.law == "warmup":
        said.append("W: tokens of the run's warm-up")
    if RUN_EFFECT in hypothesis.priors:
        said.append("j(i): training run that row i is a checkpoint of, where rows share one")
    return said
