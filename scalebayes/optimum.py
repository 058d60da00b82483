"""Compute-optimal parameters and tokens, from law coefficients or from a fit's draws.

Three counts can differ: the one in the law, the one in which N is reported, and the one that a FLOP
convention charges for. Where they agree the optimum has a closed form; otherwise it is a root that
`first_order` finds.
"""

import math

import numpy as np
import xarray as xr

from scalebayes.counting import (
    CountTerms,
    body_of,
    counting_label,
    counting_matches,
    flops_counting,
    flops_terms,
    omega_of,
    parameter_terms,
    parse_counting,
)
from scalebayes.errors import CountingError, InputError
from scalebayes.first_order import log_body, log_count
from scalebayes.fitted_law import family_of, law_omega, law_values, run_parameters
from scalebayes.laws import FLOP_PER_PARAMETER_AND_TOKEN, LAWS, isoflop, nested

BUDGETS = (1.0, 1e40)
"""Least and most budget in FLOP asked of a fit; root searches overflow far beyond them."""
_FLOATS = (float(np.nextafter(0.0, 1.0)), float(np.finfo(float).max))

CHINCHILLA_COMPUTE = 5.76e23
"""Training FLOP of Chinchilla (Hoffmann et al. 2022, arXiv:2203.15556, section 4)."""

UNITS = {
    "N": "parameters",
    "D": "tokens",
    "tokens_per_parameter": "tokens/parameter",
    "loss": "nats/token",
    "exponent": "1",
}

_NESTED = ("E", "A", "B", "alpha", "beta", "q")  # what `laws.nested` is called with


def allocation_exponent(alpha, beta):
    """Return a = dlog N*/dlog C of the Chinchilla law in its own count.

    Parameters
    ----------
    alpha, beta : float or array
        Exponents of `laws.chinchilla`, > 0.

    Returns
    -------
    float or array
        beta / (alpha + beta), between 0 and 1.

    References
    ----------
    Hoffmann et al. (2022), arXiv:2203.15556, eq. 4.
    """
    return beta / (alpha + beta)


def optimal_allocation(compute, *, A, B, alpha, beta, q=1.0):
    """Return the N and D that minimise the Chinchilla loss (or `laws.nested`) at 6 N D = compute.

    Parameters
    ----------
    compute : float or array
        Training budget in FLOP, > 0; 6 FLOP per parameter (in the law's count) and token.
    A, B, alpha, beta : float or array
        Coefficients of `laws.chinchilla`, > 0; DataArrays broadcast by dim name.
    q : float or DataArray
        How the terms add in `laws.nested`, > 0; 1 is the Chinchilla law.

    Returns
    -------
    N, D : float or array
        Parameters and tokens, of the inputs' broadcast shape.

    References
    ----------
    Hoffmann et al. (2022), arXiv:2203.15556, eq. 4.

    Examples
    --------
    >>> from scalebayes.optimum import optimal_allocation
    >>> epoch = {"A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
    >>> N, D = optimal_allocation(5.76e23, **epoch)
    >>> round(D / N, 1)
    18.4
    """
    budget = compute / FLOP_PER_PARAMETER_AND_TOKEN
    G = ((alpha / beta) ** q * A / B) ** (1 / (alpha + beta))
    N = G * budget ** allocation_exponent(alpha, beta)
    return N, budget / N


def frontier(
    compute, *, A, B, alpha, beta, omega, architecture, counting, flops="6ND", E=0.0, q=1.0
):
    """Return the compute-optimal models of a Chinchilla law, in any counting.

    Parameters
    ----------
    compute : float, sequence or DataArray
        Training budget in FLOP, > 0; a sequence gets the dim `compute`.
    E, A, B, alpha, beta, q : float or DataArray
        Coefficients of `laws.nested` (q = 1: of `laws.chinchilla`) in the law's count, body +
        omega head.
    omega : float or DataArray
        Weight of a vocabulary matrix in the law's count, >= 0.
    architecture : Architecture or None
        Family along which N varies; None is enough where all counts agree.
    counting : str or float
        Counting of the N that is returned.
    flops : str
        FLOP convention of `compute`, one of `counting.FLOPS`.

    Returns
    -------
    Dataset
        N (parameters), D (tokens), tokens_per_parameter, loss (nats per token) and exponent
        (dlog N / dlog compute), of the inputs' broadcast dims. A value is NaN where the optimum is
        no floating-point number.

    Raises
    ------
    InputError
        When a budget is not a positive finite number.
    CountingError
        When the counting or convention is unknown, or needs an architecture that is not given.

    References
    ----------
    Pearce & Song (2024), arXiv:2406.12907, for omega = 1 and N and C counted in body.
    """
    compute = _checked_compute(compute)
    law = {"E": E, "A": A, "B": B, "alpha": alpha, "beta": beta, "q": q}
    if _counts_agree(omega, counting, flops, architecture):
        return _closed_form(compute, law)
    if architecture is None:
        raise CountingError(_needs_architecture(f"omega = {omega}", counting, flops))
    with np.errstate(over="ignore", invalid="ignore"):  # such draws become NaN
        return _general_form(compute, law, omega, architecture, counting, flops)


def exponent_at_size(N, *, alpha, beta, omega, architecture, counting="total"):
    """Return dlog N*/dlog C where the compute-optimal model has N parameters.

    Of the law's coefficients only the exponents matter once the size is given. N and C = 6 N D are
    in one counting, the law in its own.

    Parameters
    ----------
    N : float
        Parameters in `counting`, > 0.
    alpha, beta : float or array
        Exponents of `laws.chinchilla`, > 0.
    omega : float or array
        Weight of a vocabulary matrix in the law's count, >= 0.
    architecture : Architecture
        Family along which N varies.
    counting : str or float
        Counting of N and C.

    Returns
    -------
    float or array
        Of the broadcast shape of alpha, beta and omega.

    References
    ----------
    Pearce & Song (2024), arXiv:2406.12907, for omega = 1 and body; here for any two counts.
    """
    x = np.log(body_of(N, counting, architecture))
    _, law_slope, law_bend = log_count(x, CountTerms(linear=omega * architecture.gamma))
    _, slope, bend = log_count(x, parameter_terms(counting, architecture))
    return beta * slope / (alpha * law_slope + beta * slope - law_bend + bend)


def optimal(fit, compute, *, counting=None, flops="6ND", architecture=None):
    """Return the compute-optimal models of every posterior draw of a fit.

    Parameters
    ----------
    fit : DataTree
        A fit with the group `posterior` (E, A, B, alpha, beta and, where known, omega).
    compute : float, sequence or DataArray
        Training budgets in FLOP, > 0.
    counting : str or float, optional
        Counting of the N that is returned; by default the law's own.
    flops : str
        FLOP convention of `compute`, one of `counting.FLOPS`.
    architecture : Architecture or "study", optional
        Family of the models asked about; "study" is the family of the fit's own runs. Needed
        wherever N or C is counted otherwise than in the law.

    Returns
    -------
    Dataset
        N, D, tokens_per_parameter, loss and exponent over (compute, chain, draw), as in `frontier`,
        with the attrs counting, flops, architecture (JSON or ""), converged, and, where known,
        compute_range_data: the smallest and largest budget of the fit's runs in the same terms.

    Raises
    ------
    InputError
        When a budget is not a positive finite number, or the fit's law has no frontier here.
    CountingError
        When the counting or convention is unknown, or needs an architecture that is not given.

    Examples
    --------
    >>> import scalebayes as sb
    >>> fit = sb.fit("hoffmann2022-epoch", progressbar=False)
    >>> best = sb.optimal(fit, compute=[1e21, 1e24])
    >>> ratio = best["tokens_per_parameter"].median(("chain", "draw"))
    >>> [int(round(float(one), -1)) for one in ratio]
    [20, 20]
    """
    compute = np.atleast_1d(compute) if np.ndim(compute) == 0 else compute
    compute = _checked_compute(compute, limits=BUDGETS)
    counting = asked_counting(fit, counting)
    family = family_of(fit, architecture)
    law = _law_coefficients(fit)
    if fit.attrs.get("law") == "isoflop":
        result = _isoflop_optimum(fit, compute, law, counting=counting, flops=flops)
    elif family is None and _own_counting(fit, counting, flops):
        result = _closed_form(compute, law)
    elif family is None:
        raise CountingError(_needs_architecture(fit.attrs["counting"], counting, flops))
    else:
        omega = law_omega(fit, family)
        result = frontier(
            compute, omega=omega, architecture=family, counting=counting, flops=flops, **law
        )
    result = result.transpose("compute", "chain", "draw", ..., missing_dims="ignore")
    return result.assign_attrs(_result_attrs(fit, counting, flops, family))


def compute_range(fit, *, counting=None, flops="6ND", architecture=None):
    """Return the smallest and largest training budget of a fit's own runs, or None.

    Parameters
    ----------
    fit : DataTree
        A fit with the group `constant_data`.
    counting, flops, architecture
        As in `optimal`; an architecture is used only for conventions that count attention.

    Returns
    -------
    tuple of float, or None
        Least and greatest C in FLOP; None when the runs' counts are not known in these terms.
    """
    counting = asked_counting(fit, counting)
    family = family_of(fit, architecture)
    try:
        count = _charged_parameters(fit, counting, flops, family)
    except CountingError:
        return None
    budgets = FLOP_PER_PARAMETER_AND_TOKEN * count * fit["constant_data"]["D"].values
    return float(budgets.min()), float(budgets.max())


def extrapolation_decades(fit, compute, *, counting=None, flops="6ND", architecture=None):
    """Return how many decades of compute each budget lies outside a fit's own runs.

    Parameters
    ----------
    fit, compute, counting, flops, architecture
        As in `optimal`.

    Returns
    -------
    DataArray or None
        log10 of the budget over the nearest budget with runs: positive above the data, negative
        below, 0 inside; None when the runs' budgets are not known in these terms.
    """
    compute = _checked_compute(compute)
    limits = compute_range(fit, counting=counting, flops=flops, architecture=architecture)
    if limits is None:
        return None
    above = np.maximum(np.log10(compute / limits[1]), 0.0)
    return above + np.minimum(np.log10(compute / limits[0]), 0.0)


def _checked_compute(compute, *, limits=_FLOATS):
    """Return budgets as a float, or as a DataArray with its coord; refuse all out of range."""
    values = _long_as_floats(np.asarray(compute))
    numeric = values.dtype.kind in "iuf" and values.size
    least, most = limits
    wrong = ~((values >= least) & (values <= most)) if numeric else np.ones(values.shape, bool)
    if not numeric or wrong.any():
        found = values[wrong].ravel()[:3].tolist() or "no budget"
        msg = (
            f"compute: budgets must be positive finite numbers of FLOP, from {least:g} to "
            f"{most:g}, found {found}."
        )
        raise InputError(msg)
    if isinstance(compute, xr.DataArray):
        return compute.astype(float)
    if values.ndim == 0:
        return float(values)
    budgets = values.astype(float).ravel()
    return xr.DataArray(budgets, dims="compute", coords={"compute": budgets})


def _long_as_floats(values):
    """Return integers too long for NumPy's own, such as 10**21, as floats where they can be."""
    if values.dtype != object or not all(type(value) is int for value in values.flat):
        return values
    try:
        return values.astype(float)
    except OverflowError:
        return values


def asked_counting(fit, counting):
    """Return the counting asked of a fit, checked; None means the law's own.

    Raises
    ------
    CountingError
        When it is unknown, or the law has none of its own (omega is latent).
    """
    own = fit.attrs["counting"]
    if counting is None and own == "latent":
        msg = (
            "counting: this fit's law has no counting of its own (omega is latent); say counting "
            "(body, body+head, total or a number) and architecture; --counting and --architecture "
            "on the command line."
        )
        raise CountingError(msg)
    return parse_counting(own if counting is None else counting)


def _law_coefficients(fit):
    law = fit.attrs.get("law", "chinchilla")
    if law not in LAWS:
        msg = f"law {law!r} has no compute-optimal frontier here; it is known for {list(LAWS)}."
        raise InputError(msg)
    return law_values(fit["posterior"].to_dataset(), fit.attrs)


def _isoflop_optimum(fit, compute, law, *, counting, flops):
    """Return the optimum of the isoFLOP law, which is known in its own count alone."""
    if not _own_counting(fit, counting, flops):
        msg = (
            f"the law isoflop says nothing but N* at C = 6ND, both counted as "
            f"{fit.attrs['counting']}; N was asked for as {counting!r} with C as {flops!r}. Fit it "
            "with that counting in its file, or fit a surface, such as isoflop-surface."
        )
        raise CountingError(msg)
    N = law["N0"] * (compute / law["C0"]) ** law["a"]
    D = compute / (FLOP_PER_PARAMETER_AND_TOKEN * N)
    return _dataset(N=N, D=D, loss=isoflop(N, D, **law), exponent=law["a"] + 0.0 * N)


def _own_counting(fit, counting, flops):
    own, charged = fit.attrs["counting"], flops_counting(flops, counting)
    return counting_matches(own, counting) and counting_matches(own, charged)


def _charged_parameters(fit, counting, flops, family):
    """Return C / (6 D) of a fit's runs."""
    charged = flops_counting(flops, counting)
    if charged is not None:
        return run_parameters(fit, charged)
    if family is None:
        raise CountingError(_needs_architecture(fit.attrs["counting"], counting, flops))
    body = run_parameters(fit, "body")
    return np.exp(log_count(np.log(body), flops_terms(flops, counting, family))[0])


def _counts_agree(omega, counting, flops, architecture):
    charged = flops_counting(flops, counting)
    if charged is None:
        return False
    weights = omega_of(counting, architecture), omega_of(charged, architecture)
    return all(np.all(omega == weight) for weight in weights)


def _needs_architecture(own, counting, flops):
    return (
        f"the law counts N as {own}, and N is asked for as {counting!r} with C as {flops!r}: the "
        "conversion needs shapes. Say architecture=Architecture(aspect_ratio=..., vocab_size=..., "
        'tied=...), or architecture="study" for the family of the fit\'s own runs; on the command '
        "line --architecture aspect_ratio=...,vocab_size=...,tied=..., or --architecture study."
    )


def _result_attrs(fit, counting, flops, family):
    attrs = {
        "counting": counting_label(counting),
        "flops": flops,
        "architecture": family.to_json() if family else "",
        "converged": fit.attrs.get("converged", 0),
    }
    limits = compute_range(fit, counting=counting, flops=flops, architecture=family)
    return attrs if limits is None else attrs | {"compute_range_data": list(limits)}


def _closed_form(compute, law):
    alpha, beta = law["alpha"], law["beta"]
    terms = {name: value for name, value in law.items() if name != "E"}
    N, D = optimal_allocation(compute, **terms)
    exponent = allocation_exponent(alpha, beta) + 0.0 * N  # takes the budgets' dims
    return _dataset(N=N, D=D, loss=nested(N, D, **law), exponent=exponent)


def _general_form(compute, law, omega, architecture, counting, flops):
    terms = {
        "charged": flops_terms(flops, counting, architecture),
        "reported": parameter_terms(counting, architecture),
    }
    given = (np.log(compute), omega * architecture.gamma, *(law[name] for name in _NESTED))
    names = ("N", "D", "loss", "exponent")
    # of plain arrays: xarray would align its labels at each step
    found = xr.apply_ufunc(_solved, *given, kwargs=terms, output_core_dims=[()] * len(names))
    return _dataset(**dict(zip(names, found, strict=True)))


def _solved(log_compute, linear, E, A, B, alpha, beta, q, *, charged, reported):
    """Return N, D, loss and exponent of arrays; `linear` as in `first_order.log_body`."""
    log_budget = log_compute - math.log(FLOP_PER_PARAMETER_AND_TOKEN)
    arguments = (log_budget, np.log(A), np.log(B), alpha, beta, linear, q)
    x = log_body(*arguments, charged=charged)
    log_law, law_slope, law_bend = log_count(x, CountTerms(linear=linear))
    log_charged, charged_slope, charged_bend = log_count(x, charged)
    log_reported, reported_slope, _ = log_count(x, reported)
    fall = alpha * law_slope + beta * charged_slope - q * (law_bend - charged_bend)  # -df/dx
    D = np.exp(log_budget - log_charged)
    loss = nested(np.exp(log_law), D, E=E, A=A, B=B, alpha=alpha, beta=beta, q=q)
    return np.exp(log_reported), D, loss, reported_slope * beta / fall


def _dataset(*, N, D, loss, exponent):
    values = {"N": N, "D": D, "tokens_per_parameter": D / N, "loss": loss, "exponent": exponent}
    arrays = {name: xr.DataArray(value, name=name) for name, value in values.items()}
    return xr.Dataset(
        {name: array.assign_attrs(units=UNITS[name]) for name, array in arrays.items()}
    )
