"""Posteriors -> tidy tables and sentences. Every interval says which one it is."""

import json
import math
from itertools import pairwise

import numpy as np
import pandas as pd

from scalebayes.classical import huber_fit
from scalebayes.discrepant_optimum import with_discrepancy
from scalebayes.hypotheses import hypothesis_from_json
from scalebayes.omega_plots import stored_matrices
from scalebayes.optimum import (
    CHINCHILLA_COMPUTE,
    compute_range,
    extrapolation_decades,
    optimal,
    run_parameters,
)

CI_PROB = 0.9
CI_KIND = "eti"
_QUANTILES = ((1 - CI_PROB) / 2, 0.5, (1 + CI_PROB) / 2)
CONVENTIONS = (("total", "6ND"), ("body", "6ND:body"), ("body+head", "6ND:body+head"))
"""Counting and FLOP convention of Hoffmann et al., of Kaplan et al. and of Porian et al."""

_LAW_UNITS = {
    "E": "nats/token",
    "K": "nats/token",
    "alpha": "1",
    "beta": "1",
    "gamma": "1",
    "sigma": "1 (log loss)",
    "eta": "1",
    "tau": "1 (log loss)",
    "kappa": "1",
    "nu": "1",
    "omega": "vocabulary matrices",
}


def interval(draws):
    """Return lower, median and upper of draws: the ends of a 90% equal-tailed interval.

    Parameters
    ----------
    draws : DataArray
        With dims chain and draw; no other.

    Returns
    -------
    tuple of float
    """
    lower, median, upper = np.quantile(draws.to_numpy(), _QUANTILES)
    return float(lower), float(median), float(upper)


def summary_row(study, name, unit, draws, *, mark=""):
    """Return one tidy row: a quantity's median and 90% equal-tailed interval.

    Parameters
    ----------
    study, name, unit : str
    draws : DataArray
        With dims chain and draw.
    mark : str
        What keeps the number from being a finding ("mostly prior", "mostly literature", "not
        converged"), or "".
    """
    lower, median, upper = interval(draws)
    row = {"study": study, "name": name, "unit": unit}
    row |= {"median": median, "lower": lower, "upper": upper}
    return row | {"ci_prob": CI_PROB, "ci_kind": CI_KIND, "mark": mark}


def study_summary(fit, *, compute=CHINCHILLA_COMPUTE):
    """Return the tidy rows of one study's fit: its law and its optimum in total counting.

    Parameters
    ----------
    fit : DataTree
        A fit of a study whose shapes are known.
    compute : float
        Budget of the optimum, FLOP (6 N D, N total).

    Returns
    -------
    DataFrame
        study, name, unit, median, lower, upper, ci_prob, ci_kind, mark.
    """
    study = fit.attrs["study"]
    posterior = fit["posterior"].to_dataset()
    mark = mark_of(fit)
    rows = [
        summary_row(study, name, unit, posterior[name], mark=mark(name))
        for name, unit in _LAW_UNITS.items()
        if name in posterior
    ]
    best = optimal(fit, compute, counting="total", architecture="study")
    best = with_discrepancy(fit, best).isel(compute=0)
    at = f"at {compute:.3g} FLOP, total counting"
    asked = {
        "exponent": (f"exponent a {at}", "1", "a"),
        "N": (f"N* {at}", "parameters", "a"),
        "D": (f"D* {at}", "tokens", "a"),
        "tokens_per_parameter": (f"D*/N* {at}", "tokens/parameter", "a"),
        "N_with_discrepancy": (f"N* with discrepancy {at}", "parameters", "a"),
        "D_with_discrepancy": (f"D* with discrepancy {at}", "tokens", "a"),
        "tokens_per_parameter_with_discrepancy": (
            f"D*/N* with discrepancy {at}",
            "tokens/parameter",
            "a",
        ),
    }
    rows += [
        summary_row(study, label, unit, best[name], mark=mark(key))
        for name, (label, unit, key) in asked.items()
    ]
    frontier = frontier_exponent(fit)
    if frontier is not None:
        label = "exponent a of the law over the study's own budgets, in its own counting"
        rows.append(summary_row(study, label, "1", frontier["law"], mark=mark("a")))
    return pd.DataFrame(rows)


def mark_of(fit):
    """Return a function from a quantity's name to what keeps it from being a finding."""
    still_prior = json.loads(fit.attrs["still_prior"])
    pooled = ("alpha", "beta", "a") if fit.attrs.get("literature") else ()

    def mark(name):
        marks = [] if fit.attrs["converged"] else ["not converged"]
        source = "literature" if name in pooled else "prior"
        return "; ".join(marks + [f"mostly {source}"] * (name in still_prior))

    return mark


def frontier_exponent(fit):
    """Return the law's mean exponent over the budgets and in the counts of a published frontier.

    The published exponent was read off the runs without a law: where it lies outside the law's
    interval, the law misses those runs.

    Parameters
    ----------
    fit : DataTree
        Of a study with `published` frontier exponent.

    Returns
    -------
    dict or None
        `law`, the slope of log N* on log C between the ends of the range, as draws over
        (chain, draw); `published`, `low`, `high`, `level`; `compute`, the range in FLOP;
        `counting`, `flops`. None where no exponent was published. Where no range was, or FLOPs were
        counted exactly, the range is that of the study's own runs and C is 6 N D.
    """
    published = json.loads(fit.attrs["study_record"])["published"]
    if "frontier_exponent" not in published:
        return None
    counting, flops = published["frontier_counting"], published["frontier_flops"]
    flops = flops if flops.startswith("6ND") else "6ND"
    where = {"counting": counting, "flops": flops, "architecture": "study"}
    ends = (published["frontier_c_min"], published["frontier_c_max"])
    if None in ends:
        ends = compute_range(fit, **where)
    N = np.log(optimal(fit, list(ends), **where)["N"])
    slope = (N.isel(compute=1) - N.isel(compute=0)) / math.log(ends[1] / ends[0])
    return {
        "law": slope,
        "published": published["frontier_exponent"],
        "low": published["frontier_exponent_low"],
        "high": published["frontier_exponent_high"],
        "level": published["frontier_level"],
        "compute": tuple(float(end) for end in ends),
        "counting": counting,
        "flops": flops,
    }


def optimal_conventions(fit, compute, *, architecture="study"):
    """Return the compute-optimal models at the same FLOP numbers in each of `CONVENTIONS`.

    Parameters
    ----------
    fit : DataTree
    compute : float or sequence
        Training budgets in FLOP, > 0; each convention counts them in its own way.
    architecture : Architecture or "study"
        Family of the models asked about.

    Returns
    -------
    list of (Dataset, DataArray or None)
        As `optimum.optimal` and `optimum.extrapolation_decades` return them, one pair each.

    Raises
    ------
    InputError
        When a budget is not a positive finite number, or the fit's law has no frontier.
    CountingError
        When "study" is asked of a fit whose runs' shapes are unknown.
    """
    asked = [
        {"counting": counting, "flops": flops, "architecture": architecture}
        for counting, flops in CONVENTIONS
    ]
    return [
        (optimal(fit, compute, **one), extrapolation_decades(fit, compute, **one)) for one in asked
    ]


def classical_of(fit, *, counting="total"):
    """Return the classical point fit of the runs that a posterior was fitted to.

    Parameters
    ----------
    fit : DataTree
        With loss and D in `constant_data`.
    counting : str or float
        What N counts in the point fit.

    Returns
    -------
    ClassicalFit
        As `classical.classical_fit` of the study, up to the rounding of a reported N.

    Raises
    ------
    CountingError
        When the runs' parameters are not known in that counting.
    StudyError
        When there are too few runs.
    """
    runs = fit["constant_data"].to_dataset()
    N = run_parameters(fit, counting)
    return huber_fit(N, runs["D"], runs["loss"], counting=counting, name=fit.attrs["study"])


def omega_bins(fit, *, weight="weight"):
    """Return the weight on omega in four bins, the last of which no count can mean.

    Parameters
    ----------
    fit : DataTree
        With the group `evidence`.
    weight : str
        "weight", or "weight_default" for the default priors.

    Returns
    -------
    dict of str to float
        "body": omega up to 1/2; "one matrix": 1/2 to 3/2; "two matrices": 3/2 to what is stored;
        "law misfit": omega beyond the matrices that the study's models store. A bin that lies
        wholly beyond them is NaN; the others sum to 1.
    """
    stored, prior = stored_matrices(fit), hypothesis_from_json(fit.attrs["hypothesis"]).omega
    ends = (prior.lower, 0.5, min(1.5, stored), stored, prior.upper)
    names = ("body", "one matrix", "two matrices", "law misfit")
    pieces = zip(names, pairwise(ends), strict=True)
    mass = {name: _omega_mass(fit, prior, weight, *piece) for name, piece in pieces}
    return mass if stored > 1.5 else mass | {"two matrices": math.nan}


def _omega_mass(fit, prior, weight, lower, upper):
    """Return the mass on (lower, upper], with 0 in the first piece: atoms and the even part.

    The evidence is linear between the points of the grid, as in the grid's prior weights.
    """
    evidence = fit["evidence"].to_dataset()
    omega = evidence["omega"].to_numpy()
    height = np.exp(np.log(evidence[weight]) - np.log(evidence["prior"])).to_numpy()
    atoms = [atom for atom in prior.atoms if lower < atom <= upper or atom == lower == prior.lower]
    on_atoms = sum(np.interp(atom, omega, height) for atom in atoms)
    points = np.unique([lower, upper, *omega[(omega > lower) & (omega < upper)]])
    between = np.trapezoid(np.interp(points, omega, height), points)
    density = (1 - prior.atom_mass) / (prior.upper - prior.lower)
    per_atom = prior.atom_mass / max(len(prior.atoms), 1)
    return float(per_atom * on_atoms + density * between)


def interval_text(draws, *, digits=3):
    """Return "median [lower, upper]" of draws, the 90% equal-tailed interval."""
    lower, median, upper = interval(draws)
    return f"{number(median, digits)} [{number(lower, digits)}, {number(upper, digits)}]"


def number(value, digits=3):
    """Return a number as people write it: plain between 1e-3 and 1e5, else as 2.67e9."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 1e-3 <= abs(value) < 1e5:
        places = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
        return f"{value:.{places}f}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def share(value):
    """Return a weight as text: two decimals, "<.01" and ">.99" at the ends, "-" for NaN."""
    if math.isnan(value):
        return "-"
    if 0 < value < 0.005:
        return "<.01"
    if 0.995 <= value < 1:
        return ">.99"
    return "0" if value == 0 else f"{value:.2f}".lstrip("0")
