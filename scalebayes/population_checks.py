"""What a population's conclusions rest on: each study left out, each prior half and twice as wide.

Neither is sampled anew: draws of the population are weighted by what the change does to their
density, smoothed, at each omega, and the omegas by what it does to their evidence. Where the
weights are too uneven for that, the population at that omega is drawn again.
"""

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats
from scipy import stats

from scalebayes.counting_grid import NEGLIGIBLE
from scalebayes.evidence import normalised_weights
from scalebayes.optimum import allocation_exponent, exponent_at_size
from scalebayes.pooled_draws import hyperparameters, log_mean_exp, log_predictive
from scalebayes.population_trees import REFERENCE_FAMILY, REFERENCE_SIZE

MAX_PARETO_K = 0.7
"""Pareto k of weighted draws above which the population is drawn again."""

DECIDED = 0.95
"""Probability from which on a conclusion is called decided."""

WIDTHS = (0.5, 2.0)
"""Factors of the scales of the priors."""

_SCALES = {
    "mu_sd": "prior of the mean",
    "between": "prior of the spread between groups",
    "within": "prior of the spread within groups",
    "recipe_sd": "prior of recipe effects",
}


@dataclass(frozen=True, kw_only=True)
class _Draws:
    """Hyperparameters at one omega, and the log density that a change adds to each draw."""

    omega: float | None
    found: dict
    log_evidence: float


def population_checks(population, redraw):
    """Return each conclusion as the population stands, and under each change.

    Conclusions, averaged over omega: whether the mean study's exponent a in total counting (in the
    law's own count where that is fixed) lies above or below one half; near which count omega lies
    (up to 1/2, to 3/2, above); the sign of each recipe effect on a.

    Parameters
    ----------
    population : Population
    redraw : callable
        (omega, position of a study left out or None, prior) -> PopulationCell.

    Returns
    -------
    Dataset
        Over (check, quantity): median, lower, upper (90% equal-tailed) of the exponent a and of
        each recipe effect on it; over check: heaviest omega (NaN where it is fixed) and its weight,
        Pareto k, whether something was drawn again, and `flips`: the conclusions that differ from
        the first check's, in words, or "". The first check is "as it is".
    """
    cells = [_draws_of(cell) for cell in population.cells]
    rows = [_row("as it is", population, cells, [np.zeros(len(c.found["mu"])) for c in cells])]
    for i, study in enumerate(population.studies):
        rows.append(_changed(f"without {study.name}", population, cells, redraw, left_out=i))
    for name, label in _SCALES.items():
        if name == "recipe_sd" and not population.recipes.names:
            continue
        for factor in WIDTHS:
            wide = "half as wide" if factor < 1 else "twice as wide"
            prior = population.hyperprior | {name: factor * population.hyperprior[name]}
            rows.append(_changed(f"{label} {wide}", population, cells, redraw, prior=prior))
    return _dataset(rows)


def _changed(label, population, cells, redraw, *, left_out=None, prior=None):
    """Return the row of a check: draws weighted where that will do, else drawn again."""
    ratios = [
        _log_ratio(population, position, cell, left_out, prior)
        for position, cell in enumerate(cells)
    ]
    heights = [x.log_evidence + log_mean_exp(r) for x, r in zip(cells, ratios, strict=True)]
    with np.errstate(divide="ignore"):
        matters = normalised_weights(np.log(population.prior) + heights) > NEGLIGIBLE
    changed, weights, worst, again = [], [], -np.inf, False
    for cell, ratio, height, needed in zip(cells, ratios, heights, matters, strict=True):
        smooth, k = _smoothed(ratio)
        if needed and k > MAX_PARETO_K:
            fresh, again = _draws_of(redraw(cell.omega, left_out, prior)), True
            changed.append(fresh)
            weights.append(np.zeros(len(fresh.found["mu"])))
        else:
            changed.append(replace(cell, log_evidence=height))
            weights.append(smooth)
            worst = max(worst, k) if needed else worst
    return _row(label, population, changed, weights, pareto_k=worst, drawn_again=again)


def _log_ratio(population, position, cell, left_out, prior):
    """Return the log density that a change adds to each draw of a cell, evidence included."""
    if left_out is not None:
        held = population.cells[position]
        where = (population.recipes.x[left_out], population.in_group[left_out])
        log_likelihood = log_predictive(held.likelihoods[left_out], cell.found, *where)
        return -log_likelihood - held.cells[left_out].evidence.log_evidence
    return _log_prior(cell.found, prior) - _log_prior(cell.found, population.hyperprior)


def _log_prior(found, prior):
    """Return the log prior density of hyperparameters, as far as the scales of it change it."""
    total = stats.norm(prior["mu_location"], prior["mu_sd"]).logpdf(found["mu"]).sum(-1)
    total += stats.halfnorm(scale=prior["between"]).logpdf(found["sd_between"]).sum(-1)
    total += stats.halfnorm(scale=prior["within"]).logpdf(found["sd_within"]).sum(-1)
    if "recipe_effect" in found:
        total += stats.norm(0, prior["recipe_sd"]).logpdf(found["recipe_effect"]).sum((-2, -1))
    return total


def _smoothed(log_ratio):
    """Return smoothed log weights and their Pareto k."""
    if np.ptp(log_ratio) < 1e-9:
        return np.zeros_like(log_ratio), -np.inf
    smooth, k = array_stats.psislw(-log_ratio)
    return np.asarray(smooth), float(k)


def _row(label, population, cells, log_weights, *, pareto_k=-np.inf, drawn_again=False):
    """Return a check's conclusions from draws of every omega and their log weights."""
    with np.errstate(divide="ignore"):
        heights = np.log(population.prior) + [cell.log_evidence for cell in cells]
    by_omega = normalised_weights(heights)
    weights = [w * normalised_weights(x) for w, x in zip(by_omega, log_weights, strict=True)]
    every = [_quantities(cell, population.recipes.names) for cell in cells]
    weight, heaviest = np.concatenate(weights), int(np.argmax(by_omega))
    quantities = {name: np.concatenate([one[name] for one in every]) for name in every[0]}
    summaries = {name: _weighted_quantiles(x, weight) for name, x in quantities.items()}
    omega = cells[heaviest].omega
    conclusions = {
        name: _side(x, weight, 0.5 if name == "a" else 0.0) for name, x in quantities.items()
    }
    if omega is not None:
        conclusions["omega"] = _where(np.array([cell.omega for cell in cells]), by_omega)
    return {
        "check": label,
        "summaries": summaries,
        "conclusions": conclusions,
        "omega": np.nan if omega is None else omega,
        "omega_weight": float(by_omega[heaviest]),
        "pareto_k": pareto_k,
        "drawn_again": drawn_again,
    }


def _where(omegas, weight):
    """Return in words near which count most weight on omega lies, and whether that is decided."""
    borders = {
        "near the body alone": omegas <= 0.5,
        "near one matrix": (omegas > 0.5) & (omegas <= 1.5),
        "near two matrices or more": omegas > 1.5,
    }
    mass = {name: float(weight[inside].sum()) for name, inside in borders.items()}
    best = max(mass, key=mass.get)
    return f"{best} ({'decided' if mass[best] > DECIDED else 'not decided'})"


def _quantities(cell, recipes):
    """Return a of the mean study and each recipe's effect on it, each [draw]."""
    mu = cell.found["mu"]
    mean = _exponent(mu, cell.omega)
    found = {"a": mean}
    for position, name in enumerate(recipes):
        shifted = mu + cell.found["recipe_effect"][..., position, :]
        found[name] = _exponent(shifted, cell.omega) - mean
    return found


def _exponent(theta, omega):
    """Return a in total counting at the reference size; in the law's own count if it is fixed."""
    alpha, beta = np.moveaxis(np.exp(theta), -1, 0)
    if omega is None:
        return allocation_exponent(alpha, beta)
    return exponent_at_size(
        REFERENCE_SIZE, alpha=alpha, beta=beta, omega=omega, architecture=REFERENCE_FAMILY
    )


def _side(values, weight, middle):
    above = float(np.sum(weight[values > middle]))
    if above > DECIDED:
        return f"above {middle:g}"
    return f"below {middle:g}" if above < 1 - DECIDED else "undecided"


def _weighted_quantiles(values, weight):
    order = np.argsort(values)
    mass = np.cumsum(weight[order])
    places = np.searchsorted(mass, np.array([0.05, 0.5, 0.95]) * mass[-1])
    return values[order][np.minimum(places, values.size - 1)]


def _draws_of(cell):
    z = cell.draws.unconstrained.reshape(-1, len(cell.density.form.latents))
    return _Draws(
        omega=cell.omega,
        found=hyperparameters(cell.density.form, z),
        log_evidence=cell.evidence.log_evidence,
    )


def _dataset(rows):
    names = list(rows[0]["summaries"])
    quantiles = np.array([[row["summaries"][name] for name in names] for row in rows])
    first = rows[0]["conclusions"]
    flips = [
        "; ".join(
            f"{name}: {first[name]} becomes {row['conclusions'][name]}"
            for name in first
            if row["conclusions"][name] != first[name]
        )
        for row in rows
    ]
    values = {
        name: (("check", "quantity"), quantiles[..., position])
        for position, name in enumerate(("lower", "median", "upper"))
    }
    values["conclusion"] = (
        ("check", "quantity"),
        np.array([[row["conclusions"][name] for name in names] for row in rows], dtype=str),
    )
    for name in ("omega", "omega_weight", "pareto_k"):
        values[name] = ("check", [float(row[name]) for row in rows])
    values["drawn_again"] = ("check", [int(row["drawn_again"]) for row in rows])
    values["flips"] = ("check", np.array(flips, dtype=str))
    return xr.Dataset(values, coords={"check": [row["check"] for row in rows], "quantity": names})
