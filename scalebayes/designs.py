"""Sizes and budgets of published experiments, and the losses that a law gives them.

A law's coefficients are a mapping (or a fit's `posterior`) of A, B, alpha, beta and omega, the
weight of a vocabulary matrix in the law's count, and where the law has them E and q (else 0 and 1);
numbers, or DataArrays over any dims of draws.
"""

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from scalebayes.counting import (
    FLOPS,
    count_parameters,
    flops_counting,
    flops_terms,
    omega_of,
    parse_counting,
    study_omega,
)
from scalebayes.errors import CountingError, InputError
from scalebayes.flops import charged_parameters
from scalebayes.laws import FLOP_PER_PARAMETER_AND_TOKEN, coefficients, nested
from scalebayes.regressions import refuse_other_coordinates

NEEDED = ("A", "B", "alpha", "beta", "omega")
"""What a law must have; E is 0 and q is 1 where it has none."""

_SAME_BUDGET = 1e-9  # relative difference of budgets that are one, but for rounding


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """What was trained, and how it was counted when it was reported.

    Parameters
    ----------
    body : DataArray
        Body parameters over `size`; over `compute` too where each budget has its own sizes, and
        over draws where they follow the law.
    compute : DataArray
        Budgets in FLOP over `compute`.
    counting : str or float
        Counting of the N that was reported.
    flops : str
        FLOP convention of the budgets, one of `counting.FLOPS`.
    head : DataArray, optional
        Parameters of a vocabulary matrix, like `body`; by default those of the architecture. Gives
        the shapes of real runs, or draws of gamma: gamma body^(1/3).
    charged : DataArray, optional
        C / (6 D) of each model, like `body`: the parameters that the budgets are charged for. By
        default they follow from body, head and, for attention, the architecture.
    present : DataArray, optional
        Which pairs of size and budget were trained; all by default.
    name : str
        What to call the design in an error.
    """

    body: xr.DataArray
    compute: xr.DataArray
    counting: str | float
    flops: str
    head: xr.DataArray | None = None
    charged: xr.DataArray | None = None
    present: xr.DataArray | None = None
    name: str = "design"


def grid_design(sizes, budgets, *, counting, flops="6ND", gamma=None):
    """Return the design that trains every size at every budget.

    Parameters
    ----------
    sizes : sequence of float
        Body parameters, > 0.
    budgets : sequence of float
        FLOP, > 0.
    counting, flops
        As in `Design`.
    gamma : float or DataArray, optional
        head / body^(1/3) of the models, in parameters^(2/3); may have the draws' dims. Then no
        architecture is needed.

    Raises
    ------
    InputError
        When a size or budget is not a positive finite number.
    CountingError
        When the counting or the convention is unknown.
    """
    flops_counting(flops, counting)
    sizes, budgets = _positive("sizes", sizes), _positive("budgets", budgets)
    body = xr.DataArray(sizes, dims="size")
    compute = xr.DataArray(budgets, dims="compute", coords={"compute": budgets})
    counting = parse_counting(counting)
    head = None if gamma is None else gamma * body ** (1 / 3)
    return Design(body=body, compute=compute, counting=counting, flops=flops, head=head)


def tokens_design(sizes, tokens, *, gamma, counting):
    """Return the design that trains every size on every number of tokens.

    Its `compute` holds tokens instead of FLOP: no model is charged for its parameters.

    Parameters
    ----------
    sizes : sequence of float
        Body parameters, > 0.
    tokens : sequence of float
        Training tokens, > 0.
    gamma : float or DataArray
        head / body^(1/3) of the models, in parameters^(2/3); may have the draws' dims.
    counting : str or float
        As in `Design`.

    Raises
    ------
    InputError
        When a size or a number of tokens is not positive and finite.
    CountingError
        When the counting is unknown.
    """
    body = xr.DataArray(_positive("sizes", sizes), dims="size")
    tokens = _positive("tokens", tokens)
    return Design(
        body=body,
        compute=xr.DataArray(tokens, dims="compute", coords={"compute": tokens}),
        counting=parse_counting(counting),
        flops="6ND",
        head=gamma * body ** (1 / 3),
        charged=xr.full_like(body, 1 / FLOP_PER_PARAMETER_AND_TOKEN),
        name="grid of sizes and tokens",
    )


def isoflop_design(centres, budgets, *, factor, n_sizes, counting="body", flops="6ND"):
    """Return the design that trains sizes log-spaced about a centre at each budget.

    Parameters
    ----------
    centres : sequence of float or DataArray
        Body parameters in the middle of each budget's sizes; a DataArray over compute may have
        further dims, so that sizes follow each draw's optimum.
    budgets : sequence of float
        FLOP, > 0.
    factor : float
        Largest size over the centre, > 1.
    n_sizes : int
        Sizes per budget, at least 3.
    counting, flops
        As in `Design`.

    Raises
    ------
    InputError
        When the factor or the number of sizes is too small, a budget or centre is not positive, or
        centres are not one per budget.
    """
    if not factor > 1 or n_sizes < 3:
        msg = f"isoFLOP: needs factor > 1 and 3 sizes or more, found {factor!r} and {n_sizes!r}."
        raise InputError(msg)
    design = grid_design([1.0], budgets, counting=counting, flops=flops)
    steps = xr.DataArray(np.geomspace(1 / factor, factor, n_sizes), dims="size")
    body = _centres(centres, design.compute) * steps
    return Design(body=body, compute=design.compute, counting=design.counting, flops=design.flops)


def _centres(centres, compute):
    """Return the centres over the budgets' own coordinates."""
    if not isinstance(centres, xr.DataArray):
        centres = xr.DataArray(_positive("centres", centres), dims="compute")
    if bool((centres <= 0).any()):
        raise InputError("centres: must be positive, found a number of 0 or less.")
    if "compute" not in centres.dims:
        return centres
    found, asked = centres.sizes["compute"], compute.sizes["compute"]
    if found != asked:
        raise InputError(f"centres: there must be one per budget, found {found} for {asked}.")
    if "compute" in centres.coords and not np.allclose(
        centres["compute"], compute, rtol=_SAME_BUDGET, atol=0
    ):
        msg = (
            f"centres: they are those of the budgets {centres['compute'].values}, and the design's "
            f"are {compute.values}."
        )
        raise InputError(msg)
    return centres.assign_coords(compute=compute)


def study_design(study):
    """Return the design of a study's used runs: its own sizes, heads and budgets.

    Parameters
    ----------
    study : Study
        With the columns body, head and flops (as reported) for every run, and a convention of
        these that is known; d_model and n_layers where it counts attention.

    Returns
    -------
    Design
        In the counting and FLOP convention in which the study reports; a size is a shape, and
        `present` says which pairs of size and budget it has. Budgets within 1e-9 are one.

    Raises
    ------
    CountingError
        When shapes or budgets are not known for every run, or what the budgets count is not.
    """
    runs = study.runs
    for name in ("body", "head", "flops"):
        if name not in runs or runs[name].isna().any():
            hint = 'Compute them: reflop(study, "6ND").' if name == "flops" else "Choose another."
            msg = f"{study.name}: a design needs {name} of every run. {hint}"
            raise CountingError(msg)
    counting = study_omega(runs, study.counting)
    if counting is None:
        msg = f"{study.name}: its runs store different numbers of vocabulary matrices in the total."
        raise CountingError(msg)
    _refuse_unknown_convention(study)
    runs = runs.assign(
        charged=charged_parameters(
            runs, study.flops, counting=study.counting, context_length=study.context_length
        ),
        flops=_same_budgets(runs["flops"]),
    )
    table = runs.groupby(["body", "head", "charged", "flops"]).size().unstack(fill_value=0) > 0
    models = {
        name: xr.DataArray(table.index.get_level_values(name), dims="size")
        for name in ("body", "head", "charged")
    }
    budgets = table.columns.to_numpy(dtype=float)
    return Design(
        **{name: values.drop_vars(values.coords) for name, values in models.items()},
        compute=xr.DataArray(budgets, dims="compute", coords={"compute": budgets}),
        counting=counting,
        flops=study.flops,
        present=xr.DataArray(table.to_numpy(), dims=("size", "compute")),
        name=study.name,
    )


def _refuse_unknown_convention(study):
    if study.flops in ("", "exact"):
        said = "not said" if study.flops == "" else "the trainer's own count, of no known formula"
        msg = (
            f"{study.name}: what its budgets count is {said}; a design needs one of {list(FLOPS)}. "
            'Say which it is (read_runs(..., flops="6ND")), or count anew: reflop(study, "6ND").'
        )
        raise CountingError(msg)


def _same_budgets(flops):
    """Return budgets with those made equal that differ by rounding alone."""
    values, place = np.unique(flops.to_numpy(dtype=float), return_inverse=True)
    first = np.diff(values, prepend=0.0) > _SAME_BUDGET * values
    return values[first][np.cumsum(first) - 1][place]


def study_losses(study):
    """Return the measured losses of a study on its sizes and budgets, as `losses` returns a law's.

    Where several runs share size and budget the lowest loss counts, as in Porian et al. (2024).
    Budgets within 1e-9 are one.

    Parameters
    ----------
    study : Study
        With the column flops for every run; sizes are N as reported.

    Returns
    -------
    Dataset
        N and compute, and loss over (size, compute), NaN where there is no run.

    Raises
    ------
    CountingError
        When a run's budget is not known.
    """
    runs = study.runs
    if "flops" not in runs or runs["flops"].isna().any():
        msg = f"{study.name}: isoFLOP curves need the column flops of every run."
        raise CountingError(msg)
    N = count_parameters(runs, study.counting, reported=study.counting)
    runs = runs.assign(N=N, flops=_same_budgets(runs["flops"]))
    table = runs.groupby(["N", "flops"])["loss"].min().unstack()
    budgets = table.columns.to_numpy(dtype=float)
    return xr.Dataset(
        {
            "N": ("size", table.index.to_numpy(dtype=float)),
            "loss": (("size", "compute"), table.to_numpy(dtype=float)),
        },
        coords={"compute": budgets},
    )


def losses(law, design, *, architecture=None, noise=None):
    """Return what a law's world would have measured on a design.

    Parameters
    ----------
    law : mapping or Dataset
        Coefficients of `laws.nested` in the count body + omega head, and omega. The kappa of a
        warm-up law is not used: runs of a design waste no tokens in warm-up.
    design : Design
    architecture : Architecture, optional
        Family of the models; needed unless the design has heads and charges no attention.
    noise : DataArray, optional
        Added to log loss; see `draw_noise`.

    Returns
    -------
    Dataset
        N (parameters in the design's counting), D (tokens) and loss (nats per token), over size,
        compute and the draws' dims; loss is NaN where the design has no run, and throughout a draw
        that gives some run no finite loss.

    Raises
    ------
    InputError
        When a coefficient is missing, or draws, sizes or budgets have other coordinates.
    CountingError
        When shapes or the context length are missing.
    """
    law = _checked_law(law)
    _refuse_other_coordinates(law, design, noise)
    head = _head(design, architecture)
    N = design.body + omega_of(design.counting, architecture) * head
    D = design.compute / (6 * _charged(design, architecture, head))
    loss = nested(design.body + law["omega"] * head, D, **coefficients(law))
    if noise is not None:
        loss = loss * np.exp(noise)
    loss = xr.broadcast(loss, N, D)[0]
    present = True if design.present is None else design.present
    broken = (~np.isfinite(loss) & present).any(("size", "compute"))
    return xr.Dataset({"N": N, "D": D, "loss": loss.where(present & ~broken)})


def draw_noise(design, *, sigma, nu=None, tau=0.0, random_seed=None):
    """Return draws of a run's noise on log loss, over size, compute and the draws' dims.

    The draws are those of sigma, nu, tau and the design's sizes together; each has its own noise,
    whichever of them it is that varies.

    Parameters
    ----------
    design : Design
    sigma : float or DataArray
        Scale of each row's noise, >= 0; DataArrays give draws.
    nu : float or DataArray, optional
        Degrees of freedom of its Student-t, > 0; Normal by default.
    tau : float or DataArray
        Standard deviation of the effect that all budgets of one model share, >= 0. Where sizes
        differ by budget each cell is another model, with an effect of its own.
    random_seed : int or Generator, optional

    Returns
    -------
    DataArray
        NaN in draws whose sigma, nu or tau is NaN.

    Raises
    ------
    InputError
        When sigma or tau is negative or nu not positive somewhere, or draws have other coordinates.
    """
    parts = [xr.DataArray(value) for value in (sigma, np.inf if nu is None else nu, tau)]
    for name, value, good in zip(
        ("sigma", "nu", "tau"), parts, (">= 0", "> 0", ">= 0"), strict=True
    ):
        if bool((value <= 0).any() if name == "nu" else (value < 0).any()):
            raise InputError(f"noise: {name} must be {good}.")
    sizes = xr.zeros_like(design.body.isel(size=0, drop=True), dtype=float)
    of_sizes = sizes.isel(compute=0, drop=True) if "compute" in sizes.dims else sizes
    refuse_other_coordinates("noise and sizes", *parts, of_sizes)
    scale, freedom, spread, _ = xr.broadcast(*parts, of_sizes)
    rng = np.random.default_rng(random_seed)
    shape = {"size": design.body.sizes["size"], "compute": design.compute.sizes["compute"]}
    cell = xr.DataArray(np.zeros(tuple(shape.values())), dims=tuple(shape))
    row = cell + scale
    row = row * _standard_noise(rng, row.shape, None if nu is None else freedom)
    model = cell if "compute" in design.body.dims else cell.isel(compute=0)
    effect = model + spread
    return row + effect * rng.standard_normal(effect.shape)


def _standard_noise(rng, shape, freedom):
    """Return Normal or Student-t noise of scale 1; `freedom` is over the last of the axes."""
    if freedom is None:
        return rng.standard_normal(shape)
    freedom = np.broadcast_to(freedom.values, shape)
    return np.where(np.isnan(freedom), np.nan, rng.standard_t(np.nan_to_num(freedom, nan=1.0)))


def _refuse_other_coordinates(law, design, noise):
    parts = [law[name] for name in (*coefficients(law), "omega")]
    parts += [design.body, design.compute, design.head, design.charged, design.present, noise]
    arrays = [xr.DataArray(part) for part in parts if part is not None]
    refuse_other_coordinates("law, design and noise", *arrays)


def _checked_law(law):
    missing = [name for name in NEEDED if name not in law]
    if missing:
        found = list(law)
        msg = (
            f"law: no {missing}; found {found}. A fit's posterior has all five where its law's N "
            "is body + omega head; else add omega (0 body, 1 one vocabulary matrix, 2 two)."
        )
        raise InputError(msg)
    return law


def _head(design, architecture):
    if design.head is not None:
        return design.head
    if architecture is None:
        msg = (
            "design: heads of the models are not known; pass architecture=Architecture(...) or "
            "give the design heads."
        )
        raise CountingError(msg)
    return architecture.head(design.body)


def _charged(design, architecture, head):
    """Return C / (6 D) of every model, vocabulary matrices as the design has them."""
    if design.charged is not None:
        return design.charged
    counted = flops_counting(design.flops, design.counting)
    if counted is not None:
        return design.body + omega_of(counted, architecture) * head
    if architecture is None:
        msg = f"flops {design.flops!r} charges attention: pass architecture=Architecture(...)."
        raise CountingError(msg)
    terms = flops_terms(design.flops, design.counting, architecture)
    matrices = terms.linear / architecture.gamma
    return replace(terms, linear=0.0).at(design.body) + matrices * head


def _positive(what, values):
    values = np.asarray(values, dtype=float).ravel()
    wrong = ~(np.isfinite(values) & (values > 0))
    if not values.size or wrong.any():
        found = values[wrong][:3].tolist() or "none"
        raise InputError(f"{what}: must be positive finite numbers, found {found}.")
    return values
