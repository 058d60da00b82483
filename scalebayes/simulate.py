"""A study whose losses were drawn from a hypothesis, and the values they were drawn with."""

import dataclasses

import numpy as np

from scalebayes import laws
from scalebayes.build import (
    TRAJECTORY_INDEX,
    WARMUP_SHARE,
    budget_of_reference,
    natural_quantities,
    run_data,
    run_shift,
)
from scalebayes.errors import InputError, StudyError
from scalebayes.gate import prior_latents, prior_medians
from scalebayes.hypotheses import LATENT, RUN_EFFECT, load_hypothesis, without_run_effect
from scalebayes.noise import noise_scale, sigma_of_run
from scalebayes.studies import load_study

_DERIVED = {"kaplan": ("a", "q"), "symmetric": ("a", "beta"), "isoflop": ()}
_DERIVED |= {"isoflop-surface": ("a", "gamma")}
_BELOW = {"kappa": 1.0}
_MAY_BE_ZERO = ("omega", "kappa", "eta", "tau")
_LEAST = {"nu": 1.0}  # the noise has a mean above this; all other values must be positive


def simulate(design, hypothesis="hoffmann-total", *, parameters=None, random_seed):
    """Return a study with a design's runs and losses that a hypothesis made, and the true values.

    Parameters
    ----------
    design : Study or str
        Whose used runs (N, D, shapes, loss_se over loss) are kept; its losses are not looked at.
    hypothesis : Hypothesis, str or path
        Law, counting, noise and priors.
    parameters : mapping, optional
        True natural values of any of E (nats), A, B, alpha, beta, q, sigma, nu (> 1), kappa (< 1),
        eta and tau (>= 0), as far as law and noise have them (tau: where the design's rows share
        trajectories); K, a, gamma and n0, the log of N0, of `laws.isoflop` at the design's C0; and
        omega (>= 0, in place of the hypothesis' counting). What is not given
        comes from the prior; an A or B that is not given goes with the given exponent.
    random_seed : int or Generator
        Same seed, same study.

    Returns
    -------
    study : Study
        The design's used runs with the new losses (nats per token), in the same order. Its
        published exponents are gone, for they are of other losses.
    truth : dict of str to float
        All of these that law and noise have, a = beta/(alpha + beta) with other laws than isoflop,
        and omega where it was drawn or given.

    Raises
    ------
    InputError
        When a parameter is unknown or out of range.
    StudyError, HypothesisError, CountingError
        When the design, the hypothesis or the count of parameters cannot be had; StudyError also
        when a loss drawn from a very wide prior is no floating-point number.
    """
    design, hypothesis = load_study(design), load_hypothesis(hypothesis)
    if not design.shared_trajectories:
        hypothesis = without_run_effect(hypothesis)
    given = _checked(parameters or {}, hypothesis)
    rng = np.random.default_rng(random_seed)
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        truth = _truth(hypothesis, given, rng)
        data = run_data(design, hypothesis, omega=truth.get("omega"))
        truth = _at_budget(hypothesis.law, truth, data)
        loss = _law(data, truth) * np.exp(_noise(hypothesis, truth, data, rng))
    if not (np.isfinite(loss) & (loss > 0)).all():
        msg = f"{design.name}: the parameters {truth} give a loss beyond floating-point numbers."
        raise StudyError(msg)
    return _with_losses(design, hypothesis, loss), truth


def _checked(parameters, hypothesis):
    natural = natural_quantities(prior_medians(hypothesis), law=hypothesis.law)
    derived = _DERIVED.get(hypothesis.law, ("a",))
    at_budget = ("n0",) * (hypothesis.law in laws.ISOFLOP)
    allowed = [*(name for name in natural if name not in derived), *at_budget, "omega"]
    for name, value in parameters.items():
        if name not in allowed:
            msg = f"parameters: {hypothesis.name} has no {name!r}; known are {allowed}."
            raise InputError(msg)
        least, most = _LEAST.get(name, 0.0), _BELOW.get(name, np.inf)
        number = isinstance(value, int | float | np.number) and np.isfinite(value) and value < most
        if not (number and (value > least or (value == 0 and name in _MAY_BE_ZERO))):
            below = "" if most == np.inf else f" and below {most:g}"
            msg = f"parameters: {name} must be finite and above {least:g}{below}, got {value!r}."
            raise InputError(msg)
    return {name: float(value) for name, value in parameters.items()}


def _truth(hypothesis, given, rng):
    """Return natural values, those given or from the prior, and log_ratio where there is one."""
    latents = {name: draw.item() for name, draw in prior_latents(hypothesis, 1, rng).items()}
    latents |= {f"log_{name}": np.log(given[name]) for name in ("alpha", "beta") if name in given}
    latents |= {name: given[name] for name in ("q",) if name in given}
    truth = {**natural_quantities(latents, law=hypothesis.law), **given}
    truth |= {name: latents[name] for name in ("log_ratio",) if name in latents}
    if hypothesis.counting == LATENT and "omega" not in truth:
        truth["omega"] = _omega(hypothesis.omega, rng)
    return {name: float(value) for name, value in truth.items()}


def _omega(prior, rng):
    if rng.uniform() < prior.atom_mass:
        return rng.choice(prior.atoms)
    return rng.uniform(prior.lower, prior.upper)


def _at_budget(law, truth, data):
    """Return the truth of a law stated at the budget C0 of its runs, which are known by now."""
    if law not in laws.ISOFLOP:
        return truth
    known = {name: value for name, value in truth.items() if name != "log_ratio"}
    C0 = budget_of_reference(data)
    spent = np.log(C0 / laws.FLOP_PER_PARAMETER_AND_TOKEN)
    known = {"C0": C0, "n0": float(spent - truth["log_ratio"]) / 2} | known
    if law == "isoflop":
        return known
    given = {name: known[name] for name in ("K", "C0", "alpha", "beta")}
    return known | laws.chinchilla_terms(**given, N0=np.exp(known["n0"]))


def _law(data, truth):
    D = data["D"] * (1 - truth["kappa"] * data[WARMUP_SHARE]) if "kappa" in truth else data["D"]
    N0 = {"N0": np.exp(truth["n0"])} if "n0" in truth else {}
    return laws.expected_loss(data["N"], D, {**truth, **N0})


def _noise(hypothesis, truth, data, rng):
    """Return the noise of log loss, one value per row: its own, and that of its trajectory."""
    size = data["D"].size
    if hypothesis.likelihood == "normal":
        standard = rng.standard_normal(size)
    else:
        standard = rng.standard_t(truth["nu"], size)
    logs = {"log_N": np.log(data["N"]), "log_D": np.log(data["D"])}
    sigma = sigma_of_run(truth["sigma"], truth.get("eta"), **logs)
    noise = noise_scale(sigma, data["relative_loss_se"]) * standard
    if RUN_EFFECT not in truth:
        return noise
    index = data[TRAJECTORY_INDEX]
    return noise + run_shift(truth[RUN_EFFECT], rng.standard_normal(index.max() + 1), index)


def _with_losses(design, hypothesis, loss):
    runs = design.runs
    table = runs.assign(loss=loss, left_out="")
    if "loss_se" in runs:  # known relative to the loss
        table["loss_se"] = runs["loss_se"] / runs["loss"] * loss
    return dataclasses.replace(
        design,
        name=f"{design.name}-simulated",
        table=table,
        published={},
        known_problems=(),
        citation="",
        licence="",
        source=f"simulated under {hypothesis.name} at the runs of {design.name}",
    )
