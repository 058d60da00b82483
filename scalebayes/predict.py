"""Losses of runs that were not made, from a fit's draws."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from scipy.optimize import elementwise
from scipy.spatial import ConvexHull, QhullError

from scalebayes.counting import (
    count_parameters,
    counting_matches,
    parameter_terms,
    parse_counting,
)
from scalebayes.discrepancy import decades_outside, discrepant_log_loss, find_discrepancy
from scalebayes.errors import CountingError, InputError
from scalebayes.first_order import log_count
from scalebayes.fitted_law import family_of, law_omega, law_values, run_parameters
from scalebayes.laws import (
    FLOP_PER_PARAMETER_AND_TOKEN,
    LAWS,
    effective_tokens,
    expected_loss,
)
from scalebayes.noise import sigma_of_run

_SIZES = ("N", "body", "head", "embedding")
_SLACK = 1e-9  # of the data's range: the runs themselves are inside


def predict(fit, points, *, random_seed=None, counting=None, architecture=None, discrepancy=None):
    """Return the losses that a fit expects of runs, without and with a run's noise.

    Parameters
    ----------
    fit : DataTree
        A fit with the groups `posterior` (E, A, B, alpha, beta, sigma; nu and omega where the model
        has them) and `constant_data`.
    points : DataFrame or mapping
        One row per run: D (tokens) with N (parameters), or with body and head (parameters), which a
        fit with latent counting needs. Columns of shapes win over N where both are given. The law
        "warmup" needs warmup_tokens besides (0 for a run without warm-up).
    random_seed : int or Generator, optional
        Makes `loss_new` reproducible.
    counting : str or float, optional
        Counting of the column N; by default the law's own.
    architecture : Architecture or "study", optional
        Family that converts N where `counting` is not the law's own.
    discrepancy : Discrepancy or "published", optional
        How far the law may miss; "published" is what the bundled studies show.

    Returns
    -------
    Dataset
        Over (point, chain, draw), in nats per token: `loss`, the law; `loss_new`, a new run: its
        log is the law's log plus Student-t(nu) noise of scale sigma (of sigma (20 N/D)^eta where
        there is an eta), or Normal without nu, plus tau Normal(0, 1) where there is a tau. With a
        discrepancy also `loss_with_discrepancy` and `loss_new_with_discrepancy`; every draw has one
        discrepancy for all points. The coord `domain` is "interpolation" where log N and log D lie
        in the bounding box and the convex hull of the fit's runs, else "extrapolation" (log body in
        place of log N where omega is latent).

    Raises
    ------
    InputError
        When a column is missing, or a value is not a positive finite number (row and column named).
    CountingError
        When the runs' parameters cannot be had in the law's counting.
    """
    if fit.attrs.get("law", "chinchilla") not in LAWS:
        msg = f"law {fit.attrs['law']!r} cannot be predicted here; known are {list(LAWS)}."
        raise InputError(msg)
    given = isinstance(random_seed, int | np.integer)
    if given and not 0 <= random_seed < 2**63:
        msg = f"random_seed must be a whole number >= 0 and below 2^63, got {random_seed!r}."
        raise InputError(msg)
    table = _checked_points(points)
    table = _with_shapes(fit, table, counting, family_of(fit, architecture))
    N, D = law_parameters(fit, table), _over_points(table["D"])
    posterior = fit["posterior"].to_dataset()
    law, seen = law_values(posterior, fit.attrs), _tokens_of_law(fit, table, D)
    result = {"loss": expected_loss(N, seen, law).transpose("point", "chain", "draw")}
    rng = np.random.default_rng(random_seed)
    noise = _noise(posterior, result["loss"], N, D, rng)
    if (found := find_discrepancy(discrepancy)) is not None:
        decades = decades_outside(FLOP_PER_PARAMETER_AND_TOKEN * N * D, compute_limits(fit))
        missed = found.coefficients(posterior["sigma"], rng)
        log_loss = discrepant_log_loss(N, seen, law, missed, decades=decades, law=fit.attrs["law"])
        result["loss_with_discrepancy"] = np.exp(log_loss).transpose("point", "chain", "draw")
    with np.errstate(over="ignore"):  # a Student-t with nu near 1 has draws beyond any float
        new = {
            name.replace("loss", "loss_new", 1): one * np.exp(noise) for name, one in result.items()
        }
    domain = _domain(fit, N, table)
    result = {name: one.assign_attrs(units="nats/token") for name, one in (result | new).items()}
    return xr.Dataset(result).assign_coords(domain=("point", domain), D=("point", D.values))


def compute_limits(fit):
    """Return least and largest compute of a fit's runs, 6 N D with N as the law counts it.

    Parameters
    ----------
    fit : DataTree

    Returns
    -------
    lowest, highest : DataArray
        FLOP; over (chain, draw) where omega is latent.
    """
    runs = fit["constant_data"].to_dataset()
    names = [name for name in ("N", *_SIZES[1:], "D") if name in runs]
    table = runs[names].reset_coords(drop=True).to_dataframe()
    compute = FLOP_PER_PARAMETER_AND_TOKEN * law_parameters(fit, table) * _over_points(table["D"])
    return compute.min("point"), compute.max("point")


def law_parameters(fit, table):
    """Return the parameters of runs in a law's count, per draw where omega is latent.

    Parameters
    ----------
    fit : DataTree
        A fit.
    table : DataFrame
        body and head (and embedding for a total that has no omega), or N in the law's counting.

    Returns
    -------
    DataArray
        Parameters over (point,), or (point, chain, draw) where omega is latent.

    Raises
    ------
    CountingError
        When a run's parameters cannot be had in the law's counting.
    """
    own = fit.attrs["counting"]
    if {"body", "head"} <= set(table) and "omega" in fit["posterior"]:
        return _over_points(table["body"]) + law_omega(fit) * _over_points(table["head"])
    if own == "latent":
        msg = (
            "points: the law's counting is latent (omega differs between draws), so that each run "
            "needs body and head in parameters, or N with counting= and architecture=; "
            f"found the columns {list(table)}."
        )
        raise CountingError(msg)
    return _over_points(count_parameters(table, own, reported=own))


def _tokens_of_law(fit, table, D):
    """Return the tokens that the law counts: without those that warm-up wastes."""
    if fit.attrs.get("law") != "warmup":
        return D
    if "warmup_tokens" not in table:
        msg = (
            "points: the law 'warmup' needs warmup_tokens, the tokens of each run's warm-up (0 for "
            f"none); found the columns {list(table)}."
        )
        raise InputError(msg)
    posterior, W = fit["posterior"].to_dataset(), _over_points(table["warmup_tokens"])
    return effective_tokens(D, W, kappa=posterior["kappa"])


def _checked_points(points):
    table = _as_table(points)
    missing = [] if "D" in table else ["D"]
    if not {"N", "body"} & set(table):
        missing.append("N (or body and head)")
    if missing or table.empty:
        found = f"columns {list(table)}, {len(table)} rows"
        msg = f"points: no column {' and no '.join(missing)}" if missing else "points: no row"
        raise InputError(f"{msg}; found {found}. D is in tokens, N in parameters.")
    checked = {name: _positive(table[name]) for name in ("D", *_SIZES) if name in table}
    if "warmup_tokens" in table:
        checked["warmup_tokens"] = _positive(table["warmup_tokens"], zero=True)
    return pd.DataFrame(checked)


def _as_table(points):
    if isinstance(points, pd.DataFrame):
        return points
    if not isinstance(points, Mapping):
        kind = type(points).__name__
        raise InputError(f"points: expected a DataFrame or a mapping of columns, got {kind}.")
    try:
        return pd.DataFrame({name: np.atleast_1d(column) for name, column in points.items()})
    except ValueError as error:
        raise InputError(f"points: the columns cannot be put side by side: {error}.") from error


def _positive(column, *, zero=False):
    """Return a column as floats; refuse its first value that is not positive (or 0) and finite."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    allowed = (numbers > 0) | (zero & (numbers == 0))
    wrong = np.flatnonzero(~(np.isfinite(numbers) & allowed))
    if wrong.size:
        row = wrong[0]
        msg = (
            f"points: row {column.index[row]}, column {column.name}: {column.iloc[row]!r} is not a "
            f"{'zero or ' * zero}positive finite number ({wrong.size} such values). Give counts, "
            "not logs or texts with units."
        )
        raise InputError(msg)
    return numbers


def _over_points(values):
    return xr.DataArray(np.asarray(values, dtype=float), dims="point").assign_coords(
        point=np.arange(len(values))
    )


def _with_shapes(fit, table, counting, family):
    """Return points whose N is in the law's counting, or that have shapes from the family."""
    if "body" in table:
        return table if family is None else _with_vocabulary(table, family)
    if counting is None:
        return table
    own, counting = fit.attrs["counting"], parse_counting(counting)
    if family is None and counting_matches(own, counting):
        return table
    if family is None:
        msg = (
            f"points: N counts {counting!r} and the law {own!r}: the conversion needs shapes. Pass "
            'architecture=Architecture(aspect_ratio=..., vocab_size=..., tied=...), "study" for '
            "the family of the fit's own runs, or the columns body and head."
        )
        raise CountingError(msg)
    body = _body(table["N"].to_numpy(), parameter_terms(counting, family))
    return _with_vocabulary(table.assign(body=body), family)


def _with_vocabulary(table, family):
    """Return points with the family's head and embedding where the table has none."""
    body = table["body"]
    made = {"head": family.head(body), "embedding": family.embedding(body)}
    return table.assign(**{name: made[name] for name in made if name not in table})


def _body(N, terms):
    """Return the body parameters at which a count of the family is N."""
    log_N = np.log(N)
    below = 3 * (log_N - np.log1p(terms.linear)) - 1.0  # count <= (1 + linear) body^(1/3)
    bracket = np.minimum(below, log_N - np.log1p(terms.linear) - 1.0), log_N + 1.0

    def excess(x, log_N):
        return log_count(x, terms)[0] - log_N

    return np.exp(elementwise.find_root(excess, bracket, args=(log_N,)).x)


def _noise(posterior, loss, N, D, rng):
    """Return the noise of a new run's log loss: a row's and, where runs have them, an effect."""
    eta = posterior.get("eta")
    sigma = sigma_of_run(posterior["sigma"], eta, log_N=np.log(N), log_D=np.log(D))
    if "nu" not in posterior:
        noise = sigma * loss.copy(data=rng.standard_normal(loss.shape))
    else:
        nu = posterior["nu"].broadcast_like(loss).transpose(*loss.dims)
        noise = sigma * loss.copy(data=rng.standard_t(nu.values))
    if "tau" not in posterior:
        return noise
    return noise + posterior["tau"] * loss.copy(data=rng.standard_normal(loss.shape))


def _domain(fit, N, table):
    """Return "interpolation" or "extrapolation" for each point."""
    runs = fit["constant_data"]
    latent = "N" not in runs
    size = table["body"].to_numpy() if latent else N.values
    data_size = run_parameters(fit, "body") if latent else runs["N"].values
    data = np.column_stack([data_size, runs["D"].values])
    asked = np.column_stack([size, table["D"]])
    return np.where(_inside(np.log(data), np.log(asked)), "interpolation", "extrapolation")


def _inside(data, asked):
    """Return which rows of `asked` lie in the bounding box and the convex hull of `data`."""
    low, span = data.min(axis=0), np.ptp(data, axis=0)
    scale = np.where(span > 0, span, 1.0)
    data, asked = (data - low) / scale, (asked - low) / scale
    high = data.max(axis=0)
    inside = ((asked >= -_SLACK) & (asked <= high + _SLACK)).all(axis=1)
    try:
        faces = ConvexHull(data).equations
    except (QhullError, ValueError):  # runs on one line, or fewer than three
        return inside
    return inside & (asked @ faces[:, :-1].T + faces[:, -1] <= _SLACK).all(axis=1)
