"""What a fit says of its law: coefficients, count of parameters, family of models."""

import math

import numpy as np
import xarray as xr

from scalebayes.counting import Architecture, count_parameters, omega_of
from scalebayes.errors import CountingError
from scalebayes.laws import coefficients


def family_of(fit, architecture):
    """Return the `Architecture` meant by an argument: itself, the fit's own for "study", or None.

    Raises
    ------
    CountingError
        When "study" is asked of a fit whose runs' shapes are unknown, or it is anything else.
    """
    if architecture is None or isinstance(architecture, Architecture):
        return architecture
    if architecture != "study":
        msg = f'architecture: pass an Architecture, "study" or None, not {architecture!r}.'
        raise CountingError(msg)
    text = fit.attrs.get("architecture", "")
    if not text:
        msg = (
            f'architecture "study": the shapes of {fit.attrs.get("study", "the fit")!r} are not '
            "known; say aspect_ratio, vocab_size and tied of the models instead."
        )
        raise CountingError(msg)
    return Architecture.from_json(text)


def law_omega(fit, architecture=None):
    """Return the omega of a fit's law: one number, or draws (chain, draw) where it is latent.

    Parameters
    ----------
    fit : DataTree
        A fit; its posterior's omega is used when there.
    architecture : Architecture, optional
        Says what "total" is when the posterior has no omega.

    Returns
    -------
    float or DataArray
        Weight of a vocabulary matrix in the law's count.

    Raises
    ------
    CountingError
        When the law's count is "total" and nothing says what that is.
    """
    if "omega" not in fit["posterior"]:
        return omega_of(fit.attrs["counting"], architecture)
    omega = fit["posterior"]["omega"]
    return float(omega.min()) if float(omega.min()) == float(omega.max()) else omega


def run_parameters(fit, counting):
    """Return the parameters of a fit's runs in a counting, as an array over runs.

    Raises
    ------
    CountingError
        When they are not known in that counting.
    """
    runs = fit["constant_data"].to_dataset()
    names = [name for name in ("N", "body", "head", "embedding") if name in runs]
    table = runs[names].reset_coords(drop=True).to_dataframe()
    return count_parameters(table, counting, reported=fit.attrs["counting"])


def law_values(posterior, attrs):
    """Return the natural coefficients of a fit's law, draws over (chain, draw), by name.

    Parameters
    ----------
    posterior : Dataset
        Draws of a fit.
    attrs : mapping
        Attributes of that fit.

    Returns
    -------
    dict
        The arguments of `laws.isoflop` for that law, else those of `laws.nested`.
    """
    if attrs.get("law") != "isoflop":
        return coefficients(posterior)
    values = {name: posterior[name] for name in ("E", "K", "a", "gamma", "alpha", "beta")}
    return {**values, "N0": np.exp(posterior["n0"]), "C0": attrs["C0"]}


def thinned_fit(fit, draws):
    """Return a fit with at most `draws` draws, evenly spaced, and only what laws are read from.

    Parameters
    ----------
    fit : DataTree
    draws : int
        Of all chains together, >= 1.

    Returns
    -------
    DataTree
        The groups posterior and constant_data, with the fit's attrs.
    """
    posterior = fit["posterior"].to_dataset()
    step = math.ceil(posterior.sizes["chain"] * posterior.sizes["draw"] / draws)
    groups = {
        "posterior": posterior.isel(draw=slice(None, None, step)),
        "constant_data": fit["constant_data"].to_dataset(),
    }
    thinned = xr.DataTree.from_dict(groups)
    thinned.attrs = fit.attrs
    return thinned
