"""What a published procedure would have reported in a given law's world.

Each instrument simulates the losses of a `Design` under a law's coefficients and reads exponents
off them as the paper did. Coefficients are numbers or DataArrays over draws; results keep the
draws' dims, and no loop runs over draws. The procedures themselves are in `regressions` and
`surface`; `frontiers` applies them to measured losses.
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from scalebayes.counting import Architecture
from scalebayes.designs import Design, grid_design, losses
from scalebayes.errors import InputError
from scalebayes.laws import anchored_logs, natural_coefficients
from scalebayes.regressions import (
    envelope,
    isoflop_power_law,
    parabola_minima,
    power_law,
    refuse_without_curves,
)
from scalebayes.surface import DELTA, LEAST_RUNS, fit_surfaces

Law = Mapping | xr.Dataset
"""Coefficients A, B, alpha, beta and omega by name, and E and q where the law has them."""

PEARCE_SONG = Architecture.from_gamma(47491.0, vocab_size=32000.0)
"""The family of Pearce & Song (2024), arXiv:2406.12907: gamma = 47491, embeddings counted once."""

KAPLAN = grid_design(
    np.logspace(2.9, 9.2, 20), np.logspace(12.95, 20.7, 100), counting="body", flops="6ND:body"
)
"""Kaplan et al. (2020) as replayed by Pearce & Song (2024), arXiv:2406.12907, published code."""

KAPLAN_TOTAL = grid_design(
    np.logspace(2.9, 9.2, 20), np.logspace(14.0, 20.7, 100), counting="total", flops="6ND"
)
"""The same sizes counted with their embeddings, over that code's budgets.

An earlier version of it starts at 10^13.4, which changes the slope of log loss only.
"""

HOFFMANN_1 = grid_design(
    np.geomspace(4e7, 1e10, 50), np.geomspace(6e18, 3e21, 100), counting="total", flops="6ND"
)
"""Hoffmann et al. (2022), arXiv:2203.15556, approach 1: 70 million to over 10 billion parameters.

Sizes here are 50 bodies of 40 million to 10 billion, 56 million to 10.1 billion in total in the
family of `PEARCE_SONG`. The paper reads its envelope at 1500 budgets whose range it does not print;
here 100 over the range of approach 2.
"""

_LEAST_OFFSET = 0.01  # a fit starts from this E, in nats, where its law has less

HOFFMANN_BUDGETS = (6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21)
"""The nine budgets of approach 2, ibid., figure 3."""


def kaplan_frontier(
    law: Law,
    *,
    design: Design = KAPLAN,
    architecture: Architecture | None = PEARCE_SONG,
    noise: xr.DataArray | None = None,
) -> xr.Dataset:
    """Return the power laws of Kaplan's frontier: sizes and losses of the best run per budget.

    Each size is trained at each budget; the size of lowest loss, one of those trained, is regressed
    on the budget, all in logs. The regression is over budgets, evenly spaced in log C: that is what
    gives Pearce & Song's .78 and .74. Over sizes, evenly spaced in log n along the frontier, the
    same laws give .79 and .76.

    Parameters
    ----------
    law : mapping or Dataset
        A, B, alpha, beta, omega, and E and q where the law has them; see `designs`.
    design : Design
        `KAPLAN` counts N and C without embeddings, `KAPLAN_TOTAL` with them.
    architecture : Architecture or None
        Family of the models; None where the design has heads.
    noise : DataArray, optional
        Added to log loss; see `designs.draw_noise`.

    Returns
    -------
    Dataset
        exponent and log_coefficient of N, data_exponent and log_data_coefficient of D,
        loss_exponent of L ("Kaplan form") and offset_exponent of L - E ("offset form"); n_budgets
        regressed; n_at_ends, those of them whose best size is the smallest or largest trained, so
        that the optimum may lie beyond; and N, D and loss of the frontier over compute. NaN in
        draws that give some run no finite loss, here and in the other instruments.

    Raises
    ------
    InputError, CountingError
        As `designs.losses`.

    References
    ----------
    Kaplan et al. (2020), arXiv:2001.08361, figure 14; Pearce & Song (2024), arXiv:2406.12907,
    sections 4 and 5.
    """
    table = losses(law, design, architecture=architecture, noise=noise)
    best, known = envelope(table["loss"])
    at = {name: table[name].isel(size=best).where(known) for name in ("N", "D", "loss")}
    size, data = power_law(design.compute, at["N"]), power_law(design.compute, at["D"])
    E = law.get("E", 0.0)
    reducible = (at["loss"] - E).where(at["loss"] > E)
    return xr.Dataset(
        {
            "exponent": size["exponent"],
            "log_coefficient": size["log_coefficient"],
            "data_exponent": data["exponent"],
            "log_data_coefficient": data["log_coefficient"],
            "loss_exponent": power_law(design.compute, at["loss"])["exponent"],
            "offset_exponent": power_law(design.compute, reducible)["exponent"],
            "n_budgets": size["n_points"],
            "n_at_ends": _at_ends(table, at["N"]).sum("compute"),
            **at,
        }
    )


def approach_1(
    law: Law,
    *,
    design: Design = HOFFMANN_1,
    architecture: Architecture | None = PEARCE_SONG,
    noise: xr.DataArray | None = None,
) -> xr.Dataset:
    """Return the power laws of the envelope of training curves; as `kaplan_frontier`.

    The same reading as Kaplan's over many budgets, with Hoffmann's counting, sizes and range. Each
    point of the envelope is a run whose schedule ends there, as in the paper.

    References
    ----------
    Hoffmann et al. (2022), arXiv:2203.15556, section 3.1.
    """
    return kaplan_frontier(law, design=design, architecture=architecture, noise=noise)


def approach_2(
    law: Law,
    *,
    design: Design,
    architecture: Architecture | None = PEARCE_SONG,
    noise: xr.DataArray | None = None,
) -> xr.Dataset:
    """Return the power laws through the lowest points of isoFLOP parabolas.

    Loss against log N, and against log D, is fitted by a parabola at each budget. One whose lowest
    point lies beyond the sizes trained has found no optimum.

    Parameters
    ----------
    law, architecture, noise
        As in `kaplan_frontier`.
    design : Design
        Such as `designs.isoflop_design`.

    Returns
    -------
    Dataset
        exponent and log_coefficient of N, data_exponent and log_data_coefficient of D, n_budgets
        with a convex parabola that has its lowest point among the sizes, n_outside that have it
        beyond them, and N and D over compute.

    Raises
    ------
    InputError, CountingError
        As `designs.losses`, and where no budget has three sizes.

    References
    ----------
    Hoffmann et al. (2022), arXiv:2203.15556, section 3.2; Czech et al. (2026), arXiv:2603.22339,
    for its bias where alpha and beta differ.
    """
    refuse_without_curves(_present(design), name=design.name)
    table = losses(law, design, architecture=architecture, noise=noise)
    lowest = {name: parabola_minima(np.log(table[name]), table["loss"]) for name in ("N", "D")}
    minima = {name: np.exp(found["log_size"]) for name, found in lowest.items()}
    n_outside = lowest["N"]["outside"].sum("compute")
    return _two_power_laws(design.compute, minima).assign(n_outside=n_outside)


def approach_3(
    law: Law,
    *,
    design: Design,
    architecture: Architecture | None = PEARCE_SONG,
    noise: xr.DataArray | None = None,
    offset: bool = True,
    delta: float = DELTA,
) -> xr.Dataset:
    """Return the Chinchilla law that a Huber fit to a design's losses would have found.

    The fit starts from the law itself. It is made in the design's own count of N, so that it shows
    what a law looks like to one who counts otherwise.

    Parameters
    ----------
    law, architecture, noise
        As in `kaplan_frontier`.
    design : Design
    offset : bool
        False fits without E, as Kaplan et al. did.
    delta : float
        Huber's delta, > 0.

    Returns
    -------
    Dataset
        E, A, B, alpha, beta, exponent = beta / (alpha + beta), the objective, and whether the fit
        `converged`: no step lowers the objective further. NaN where some loss is not finite.

    Raises
    ------
    InputError, CountingError
        As `designs.losses`, and where there are fewer than `surface.LEAST_RUNS` runs.

    References
    ----------
    Hoffmann et al. (2022), arXiv:2203.15556, section 3.3 and appendix D.2.
    """
    trained = _present(design)
    if int(trained.sum()) < LEAST_RUNS:
        msg = f"{design.name}: a surface needs {LEAST_RUNS} runs, found {int(trained.sum())}."
        raise InputError(msg)
    table = losses(law, design, architecture=architecture, noise=noise).assign(trained=trained)
    runs = xr.broadcast(table)[0].stack(run=("size", "compute"), create_index=False)
    draws = [dim for dim in runs["trained"].dims if dim != "run"]
    runs = np.log(runs.isel(run=runs["trained"].all(draws).values))
    found, objective, converged = xr.apply_ufunc(
        _best_surface,
        *(runs[name] for name in ("N", "D", "loss")),
        _starts(law),
        input_core_dims=[*[["run"]] * 3, ["start", "coordinate"]],
        output_core_dims=[["coordinate"], [], []],
        kwargs={"offset": offset, "delta": delta},
    )
    return _surface(found).assign(objective=objective, converged=converged)


def interpolated_isoflop(
    law: Law,
    *,
    design: Design,
    architecture: Architecture | None = None,
    noise: xr.DataArray | None = None,
    weights: xr.DataArray | None = None,
) -> xr.Dataset:
    """Return the power law through the lowest points of interpolated isoFLOP curves.

    Parameters
    ----------
    law, noise
        As in `kaplan_frontier`.
    design : Design
        Such as `designs.study_design`; sizes must not differ between draws.
    architecture : Architecture, optional
        Needed where the design has no heads.
    weights : DataArray, optional
        Of the budgets in the regression; see `frontiers.porian_frontier`.

    Returns
    -------
    Dataset
        exponent, log_coefficient, n_budgets whose lowest loss is not at an end, N over compute.

    Raises
    ------
    InputError, CountingError
        As `designs.losses`, and where no budget has three sizes or sizes differ between draws.

    References
    ----------
    Porian et al. (2024), arXiv:2406.19146, section 3.
    """
    refuse_without_curves(_present(design), name=design.name)
    table = losses(law, design, architecture=architecture, noise=noise)
    return isoflop_power_law(design.compute, table["N"], table["loss"], weights=weights)


def _present(design):
    """Return which pairs of size and budget a design has, over size and compute."""
    if design.present is not None:
        return design.present
    shape = design.body.sizes["size"], design.compute.sizes["compute"]
    return xr.DataArray(np.ones(shape, dtype=bool), dims=("size", "compute"))


def _at_ends(table, N):
    """Return where N is the smallest or largest size whose loss is known at a budget."""
    sizes = table["N"].where(table["loss"].notnull())
    return (N == sizes.min("size")) | (N == sizes.max("size"))


def _two_power_laws(compute, minima):
    size, data = power_law(compute, minima["N"]), power_law(compute, minima["D"])
    return xr.Dataset(
        {
            "exponent": size["exponent"],
            "log_coefficient": size["log_coefficient"],
            "data_exponent": data["exponent"],
            "log_data_coefficient": data["log_coefficient"],
            "n_budgets": size["n_points"],
            **minima,
        }
    )


def _starts(law):
    """Return coordinates to start Huber fits from: the law, and how it looks without embeddings.

    Counted by its body, a Chinchilla law has about a third of its alpha and little offset.
    """
    parts = [law.get("E", 0.0), *(law[name] for name in ("A", "B", "alpha", "beta"))]
    E, A, B, alpha, beta = xr.broadcast(*(xr.DataArray(part) for part in parts))
    E = E.clip(min=_LEAST_OFFSET)
    logs = anchored_logs(E=E, A=A, B=B, alpha=alpha, beta=beta)
    own = [*logs.values(), np.log(alpha), np.log(beta)]
    flat = [logs["log_E"] - 1.0, np.log(E), logs["log_term_D"], np.log(alpha / 3), np.log(beta)]
    columns = [xr.concat(start, dim="coordinate") for start in (own, flat)]
    return xr.concat(columns, dim="start")


def _best_surface(log_N, log_D, log_loss, start, *, offset, delta):
    """Return the better of the fits from each start; (..., run) and (..., start, coordinate)."""
    draws, n_runs = np.broadcast_shapes(log_loss.shape[:-1], start.shape[:-2]), log_loss.shape[-1]
    n_starts = start.shape[-2]
    start = np.broadcast_to(start, (*draws, n_starts, 5)).reshape(-1, n_starts, 5)
    data = [
        np.broadcast_to(values, (*draws, n_runs)).reshape(-1, n_runs)
        for values in (log_N, log_D, log_loss)
    ]
    whole = np.isfinite(start).all(axis=(1, 2)) & np.isfinite(data).all(axis=(0, 2))
    theta, objective = np.full((len(start), 5), np.nan), np.full(len(start), np.nan)
    converged = np.zeros(len(start), dtype=bool)
    if whole.any():
        rows = [np.repeat(values[whole], n_starts, axis=0) for values in data]
        fits = fit_surfaces(*rows, start[whole].reshape(-1, 5), delta=delta, offset=offset)
        fits = [values.reshape(-1, n_starts, *values.shape[1:]) for values in fits]
        best = np.arange(whole.sum()), fits[1].argmin(axis=1)
        theta[whole], objective[whole], converged[whole] = (values[best] for values in fits)
    return theta.reshape(*draws, 5), objective.reshape(draws), converged.reshape(draws)


def _surface(theta):
    """Return the natural coefficients of fitted coordinates."""
    log_E, log_term_N, log_term_D, log_alpha, log_beta = (
        theta.isel(coordinate=i, drop=True) for i in range(5)
    )
    alpha, beta = np.exp(log_alpha), np.exp(log_beta)
    logs = {"log_E": log_E, "log_term_N": log_term_N, "log_term_D": log_term_D}
    natural = natural_coefficients(**logs, alpha=alpha, beta=beta)
    exponent = beta / (alpha + beta)
    return xr.Dataset(natural | {"alpha": alpha, "beta": beta, "exponent": exponent})
