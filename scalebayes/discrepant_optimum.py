"""Compute-optimal models with the discrepancy that laws have shown, and with published ratios.

The law's own answer stays beside the one with the discrepancy: the first is what the runs say if
the law holds exactly.
"""

import json

import numpy as np
import xarray as xr

from scalebayes.architecture import Architecture
from scalebayes.counting import CountTerms, body_of, flops_terms, parse_counting
from scalebayes.discrepancy import (
    PUBLISHED,
    decades_outside,
    find_discrepancy,
    level_of,
    refuse_isoflop,
    shift_of,
)
from scalebayes.first_order import log_count
from scalebayes.fitted_law import law_omega
from scalebayes.laws import FLOP_PER_PARAMETER_AND_TOKEN
from scalebayes.optimum import UNITS
from scalebayes.pooled_studies import stratified
from scalebayes.predict import compute_limits
from scalebayes.ratio_literature import StudyRatio, optimum_weights, ratio_literature


def with_discrepancy(fit, best, *, discrepancy=PUBLISHED, random_seed=1):
    """Return compute-optimal models with, beside the law's, those with the discrepancy.

    Parameters
    ----------
    fit : DataTree
        Of a law of a whole surface.
    best : Dataset
        What `optimum.optimal` returned for it.
    discrepancy : Discrepancy or "published"
    random_seed : int or Generator

    Returns
    -------
    Dataset
        `best` and, over (compute, chain, draw), N_with_discrepancy, D_with_discrepancy,
        tokens_per_parameter_with_discrepancy and loss_with_discrepancy; decades_outside [compute],
        of the law's own 6 N D beyond the fit's runs, median over draws. The budget is kept in its
        own counting. Every draw has one discrepancy at all budgets.

    Raises
    ------
    InputError
        For the law isoflop.
    """
    coefficients, decades = discrepancy_draws(fit, best, discrepancy, random_seed)
    family, counting = _family(best), parse_counting(best.attrs["counting"])
    asked = {"counting": counting, "flops": best.attrs["flops"], "architecture": family}
    N = best["N"] * np.exp(shift_of(coefficients, decades))
    D = best["D"] * _charged(best["N"], **asked) / _charged(N, **asked)
    values = {"N": N, "D": D, "tokens_per_parameter": D / N}
    values["loss"] = best["loss"] * np.exp(level_of(coefficients, decades))
    named = {
        f"{name}_with_discrepancy": value.transpose(*best["N"].dims).assign_attrs(units=UNITS[name])
        for name, value in values.items()
    }
    return best.assign(named).assign_coords(decades_outside=decades.median(("chain", "draw")))


def discrepancy_draws(fit, best, discrepancy, random_seed):
    """Return one study's discrepancy for every draw, and the decades that it grows with.

    Parameters
    ----------
    fit, best, discrepancy, random_seed
        As in `with_discrepancy`.

    Returns
    -------
    coefficients : dict of str to DataArray
        As `Discrepancy.coefficients`, over (chain, draw).
    decades : DataArray
        Over (compute, chain, draw): of the optimum's 6 N D in the law's own count.

    Raises
    ------
    InputError
        For the law isoflop.
    """
    found = find_discrepancy(discrepancy)
    refuse_isoflop(fit["posterior"], fit.attrs["law"])
    N = _law_parameters(fit, best["N"], parse_counting(best.attrs["counting"]), _family(best))
    decades = decades_outside(FLOP_PER_PARAMETER_AND_TOKEN * N * best["D"], compute_limits(fit))
    like = best["N"].isel(compute=0, drop=True)
    return found.coefficients(like, np.random.default_rng(random_seed)), decades


def with_ratio_literature(fit, best, *, discrepancy=PUBLISHED, random_seed=1):
    """Return D*/N* of a fit with literature once the published ratios are believed, or None.

    The exponents of such a fit are pooled already; here the published ratio D*/N* itself is a prior
    for this study's, at each budget (`ratio_literature.optimum_weights`).

    Parameters
    ----------
    fit : DataTree
        From `fit` with literature.
    best : Dataset
        What `optimum.optimal` returned for it.
    discrepancy : Discrepancy or "published"
    random_seed : int

    Returns
    -------
    Dataset or None
        Over (compute, chain, draw), resampled: N_with_literature, D_with_literature,
        tokens_per_parameter_with_literature; over compute: effective_draws, of the weights. None
        where the fit has no literature on the ratio, or not in the counting of `best`.
    """
    said = json.loads(fit.attrs.get("ratio_literature") or "{}")
    if not said or not said["studies"]:
        return None
    own = fit.attrs["counting"] if not said["counting"] else said["counting"]
    if best.attrs["counting"] != own or best.attrs["flops"] != "6ND":
        return None
    literature = ratio_literature([StudyRatio(**one) for one in said["studies"]])
    asked = {"counting": said["counting"] or None}
    asked["architecture"] = "study" if said["counting"] else None
    like = best["N"].isel(compute=0)
    rng = np.random.default_rng([random_seed, 1])
    coefficients = find_discrepancy(discrepancy).coefficients(like, rng)
    parts, effective = [], []
    for compute in best["compute"].to_numpy():
        weight, log_N = optimum_weights(fit, compute, literature, coefficients, **asked)
        flat = weight.to_numpy().ravel()
        counts = stratified(flat, flat.size, rng)
        picked = rng.permutation(np.repeat(np.arange(flat.size), counts))
        N = like.copy(data=np.exp(log_N.to_numpy().ravel()[picked]).reshape(like.shape))
        parts.append(N.assign_coords(compute=compute))
        effective.append(1 / (flat**2).sum())
    N = xr.concat(parts, dim="compute")
    D = best["compute"] / (FLOP_PER_PARAMETER_AND_TOKEN * N)
    values = {"N": N, "D": D, "tokens_per_parameter": D / N}
    named = {
        f"{name}_with_literature": value.transpose(*best["N"].dims).assign_attrs(units=UNITS[name])
        for name, value in values.items()
    }
    return xr.Dataset(named).assign(effective_draws=("compute", effective))


def _family(best):
    shapes = best.attrs["architecture"]
    return Architecture.from_json(shapes) if shapes else None


def _law_parameters(fit, N, counting, architecture):
    """Return models of a family, N of them in a counting, as the law counts them."""
    if architecture is None:
        return N
    linear = law_omega(fit, architecture) * architecture.gamma
    log_body = np.log(body_of(N, counting, architecture))
    return np.exp(log_count(log_body, CountTerms(linear=linear))[0])


def _charged(N, *, counting, flops, architecture):
    """Return the parameters that a budget is charged for, to a constant factor."""
    if architecture is None:
        return N
    log_body = np.log(body_of(N, counting, architecture))
    return np.exp(log_count(log_body, flops_terms(flops, counting, architecture))[0])
