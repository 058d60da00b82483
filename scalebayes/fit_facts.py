"""A fit -> the checklist of what a reader needs to redo it; what is not known is said."""

import json

import pandas as pd

from scalebayes.counting import Architecture
from scalebayes.hypotheses import LATENT, NEAR_OPTIMUM, RUN_EFFECT, hypothesis_from_json
from scalebayes.laws import ANCHOR_D, ANCHOR_N, ISOFLOP
from scalebayes.report import number

NOT_SAID = "not said"
"""What stands where a study or a saved fit does not tell."""

_ADDITIVE = "L(N, D) = E + A N^-alpha + B D^-beta"
_ISOFLOP = (
    "L = E + K (C/C0)^-gamma [beta e^(-alpha u) + alpha e^(beta u)] / (alpha + beta), "
    "u = log N - n0 - a log(C/C0), C = 6 N D"
)
FORMULAS = {
    "chinchilla": _ADDITIVE,
    "symmetric": f"{_ADDITIVE}, beta = alpha",
    "offset-share": _ADDITIVE,
    "no-offset": "L(N, D) = A N^-alpha + B D^-beta",
    "kaplan": "L(N, D) = [(A N^-alpha)^(1/q) + (B D^-beta)^(1/q)]^q, q = beta",
    "nested": "L(N, D) = E + [(A N^-alpha)^(1/q) + (B D^-beta)^(1/q)]^q",
    "warmup": "L(N, D) = E + A N^-alpha + B (D - kappa min(W, D))^-beta, W: tokens of the warm-up",
    "isoflop": _ISOFLOP,
    "isoflop-surface": f"{_ISOFLOP}, a = beta/(alpha + beta), gamma = alpha beta/(alpha + beta)",
}
"""Laws in plain letters, losses in nats per token."""

_NOISE = {
    "student-t": "log loss ~ Student-t(nu) around log L, scale sigma",
    "student-t-ratio": "log loss ~ Student-t(nu) around log L, scale sigma (20 N/D)^eta",
    "normal": "log loss ~ Normal around log L, scale sigma",
}
_COUNTS = {
    "body": "body: without vocabulary matrices",
    "body+head": "body + head: with one vocabulary matrix",
    "total": "total: every stored parameter",
    LATENT: "body + omega head, omega unknown",
}
_MEANINGS = {
    "log_E": "log of E in nats/token",
    "log_term_N": "log of A N0^-alpha",
    "log_term_D": "log of B D0^-beta",
    "log_loss_anchor": "log of L(N0, D0)",
    "offset_share": "E / L(N0, D0)",
    "size_share": "part of N in the reducible loss at N0, D0",
    "log_K": "log of K in nats/token",
    "log_ratio": "log of D*/N* at C0",
    "nu": "of nu - 1, degrees of freedom of the noise",
    "log_sigma": "log of sigma, scale of the noise on log loss",
    "sigma": "scale of the noise on log loss",
    "eta": "how fast the noise grows as D/N falls",
    "tau": "scale of run effects on log loss",
    "kappa": "share of the tokens of warm-up that is lost",
    "q": "how the terms of N and D add",
    "a": "exponent of N* in C",
}
_TAILS = (0.05, 0.5, 0.95)
_GATE = (
    "gate: R-hat < 1.01, bulk and tail ESS >= 400, no divergence, E-BFMI > 0.3, standard error of "
    "the evidence <= 0.03 nats, no optimiser far above the highest draw"
)


def checklist(fit, *, diagnostics=""):
    """Return what a reader needs to redo a fit, as a table of items.

    Parameters
    ----------
    fit : DataTree
    diagnostics : str
        What the gate measured, in words.

    Returns
    -------
    DataFrame
        item, what. Where the study or the saved fit does not tell, "not said" stands.
    """
    record = json.loads(fit.attrs["study_record"])
    hypothesis = hypothesis_from_json(fit.attrs["hypothesis"])
    items = {
        **_data_items(fit, record),
        **_law_items(fit, hypothesis, record),
        **_noise_items(fit, hypothesis),
        **_sampler_items(fit, diagnostics),
        "to redo": redo_text(fit),
    }
    rows = [{"item": item, "what": str(what) or NOT_SAID} for item, what in items.items()]
    return pd.DataFrame(rows)


def priors_table(fit):
    """Return every prior of a fit's hypothesis, written out.

    Parameters
    ----------
    fit : DataTree

    Returns
    -------
    DataFrame
        quantity, prior, median, 90% interval (equal-tailed) and meaning.
    """
    hypothesis, latents = hypothesis_from_json(fit.attrs["hypothesis"]), fit.attrs.get("latents")
    rows = []
    for name, prior in hypothesis.priors.items():
        low, median, high = prior.frozen().ppf(_TAILS)
        row = {"quantity": name, "prior": prior_text(prior), "median": number(float(median))}
        row["90% interval"] = f"[{number(float(low))}, {number(float(high))}]"
        said = [_meaning(name)]
        if name == RUN_EFFECT and latents and RUN_EFFECT not in json.loads(latents):
            said.append("not used: no rows share a training run")
        if fit.attrs.get("literature") and name in ("log_alpha", "log_beta"):
            said.append("replaced by what the published studies lead one to expect")
        rows.append(row | {"meaning": "; ".join(said)})
    if hypothesis.omega is not None:
        rows.append(_omega_row(hypothesis.omega))
    return pd.DataFrame(rows)


def prior_text(prior):
    """Return a prior as people write it: "Normal(mu = 0.5, sigma = 0.5)"."""
    table = prior.to_table()
    dist = table.pop("dist")
    return f"{dist}({', '.join(f'{name} = {value:g}' for name, value in table.items())})"


def redo_text(fit):
    """Return the calls that make a fit again from the same runs, as Python on one line."""
    attrs, record = fit.attrs, json.loads(fit.attrs["study_record"])
    if record.get("source") == "bundled":
        study = repr(attrs["study"])
    else:
        study = f"scalebayes.read_runs(..., counting={record.get('counting', '')!r})"
    settings = json.loads(attrs.get("settings", "{}"))
    asked = [f"{name}={value!r}" for name, value in settings.items() if value is not None]
    asked += ["literature=True"] if attrs.get("literature") else []
    asked.append(f"random_seed={attrs['random_seed']}")
    return f"scalebayes.fit({study}, {attrs['hypothesis_name']!r}, {', '.join(asked)})"


def _data_items(fit, record):
    attrs, said = fit.attrs, record.get
    published = said("source") == "bundled"
    recipe = ", ".join(f"{name} {value}" for name, value in (said("recipe") or {}).items())
    return {
        "study": attrs["study"],
        "source of the runs": "bundled with scalebayes" if published else said("source"),
        "citation of the data": said("citation") or f"{NOT_SAID} (runs of the reader's own)",
        "licence of the data": said("licence") or NOT_SAID,
        "data hash (SHA-256 of the runs used)": attrs["data_hash"],
        "rows": attrs["rows_note"],
        "window": _window(fit, said("window")),
        "tokenizer, corpus": f"{said('tokenizer') or NOT_SAID}, {said('corpus') or NOT_SAID}",
        "loss": f"{said('loss_kind') or f'kind {NOT_SAID}'}, nats per token",
        "recipe": recipe or NOT_SAID,
        "taken for granted": "; ".join(said("assumed") or []) or "nothing",
        "known problems": " ".join(said("known_problems") or []) or "none recorded",
        "design": attrs.get("design_warnings") or "no warning",
    }


def _window(fit, window):
    near = hypothesis_from_json(fit.attrs["hypothesis"]).window == NEAR_OPTIMUM
    return f"{window or NOT_SAID}{' (window of the hypothesis: isoflop)' if near else ''}"


def _law_items(fit, hypothesis, record):
    attrs = fit.attrs
    anchors = f"N0 = {number(ANCHOR_N)} parameters, D0 = {number(ANCHOR_D)} tokens"
    if hypothesis.law in ISOFLOP:
        anchors = f"C0 = {number(attrs['C0'])} FLOP, the middle budget"
    return {
        "hypothesis": f"{attrs['hypothesis_name']}: {hypothesis.title or hypothesis.law}",
        "law": FORMULAS[hypothesis.law],
        "anchors of the priors": anchors,
        "N in the law": _COUNTS.get(attrs["counting"], f"body + {attrs['counting']} head"),
        "N as reported": _COUNTS.get(attrs["reported_counting"], attrs["reported_counting"]),
        "FLOP as reported": record.get("flops") or f"{NOT_SAID}: not used by the law",
        "FLOP of optima here": "C = 6 N D, with N in the count stated beside them",
        "shape of the models": _shape(attrs.get("architecture")),
        "priors": "written out in the table of priors",
    }


def _shape(text):
    if not text:
        return f"{NOT_SAID}: no conversion between counts"
    family = Architecture.from_json(text)
    tied = "tied" if family.tied else "untied"
    return (
        f"aspect ratio {family.aspect_ratio:.3g} (median), vocabulary {family.vocab_size:.0f}, "
        f"{tied}"
    )


def _noise_items(fit, hypothesis):
    noise = _NOISE[hypothesis.likelihood]
    data = fit["constant_data"].to_dataset()
    known = int(data["loss_se"].notnull().sum()) if "loss_se" in data else 0
    if known:
        noise += f"; standard errors of {known} losses added in quadrature"
    shared = fit.attrs.get("run_effect") or "no rows share a training run"
    if RUN_EFFECT in hypothesis.priors and fit.attrs.get("run_effect"):
        shared += " (scale tau)"
    return {"noise": noise, "checkpoints of one run": shared}


def _sampler_items(fit, diagnostics):
    attrs, posterior = fit.attrs, fit["posterior"]
    settings = json.loads(attrs.get("settings", "{}"))
    kept = f"{posterior.sizes['chain']} chains of {posterior.sizes['draw']} draws kept"
    tune = f"{settings['tune']} to adapt" if "tune" in settings else f"adaptation {NOT_SAID}"
    target = settings.get("target_accept", NOT_SAID)
    method = f"NUTS (nutpie, low-rank metric), {kept}, {tune}, target_accept {target}"
    if "evidence" in fit:
        method += "; omega summed out on a grid, the posterior resampled by weight"
    if attrs.get("literature"):
        method += "; resampled within the population of the published studies"
    evidence = f"{attrs['log_evidence']:.2f} ± {attrs['log_evidence_se']:.2f} nats"
    given = ", given the published studies" if attrs.get("literature") else ""
    versions = json.loads(attrs["versions"])
    items = {
        "estimator": f"{method}; a fit that fails the gate is drawn again, four times as long",
        "evidence": f"{evidence}, by bridge sampling{given}",
        "gate": f"{_passed(attrs)} {diagnostics} ({_GATE})",
        "intervals": "90% equal-tailed, over the posterior",
        "random seed": attrs["random_seed"],
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    return items | _literature_items(attrs)


def _passed(attrs):
    return "passed." if attrs["converged"] else f"NOT CONVERGED: {attrs['problems']}."


def _literature_items(attrs):
    if not attrs.get("literature"):
        return {}
    left_out = json.loads(attrs.get("literature_left_out", "{}"))
    said = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
    return {
        "literature (prior of the exponents)": ", ".join(json.loads(attrs["literature"])),
        "literature left out": said or "none",
    }


def _meaning(name):
    if name in _MEANINGS:
        return _MEANINGS[name]
    return f"log of {name.removeprefix('log_')}" if name.startswith("log_") else ""


def _omega_row(prior):
    even = f"Uniform({prior.lower:g}, {prior.upper:g})"
    atoms = ", ".join(f"{atom:g}" for atom in prior.atoms)
    text = f"{prior.atom_mass:g} on {{{atoms}}} evenly, else {even}" if prior.atoms else even
    row = {"quantity": "omega", "prior": text, "median": "", "90% interval": ""}
    return row | {"meaning": "weight of a vocabulary matrix in N"}
