"""What was sampled of a fit before it was interrupted: draws by chain, nothing padded or cut."""

import json

import numpy as np
import xarray as xr

from scalebayes.build import natural_quantities
from scalebayes.hypotheses import LATENT
from scalebayes.trees import versions

PARTIAL = "partial fit"
"""The attribute `kind` of such a result; no command takes it for a fit."""


def partial_fit(kept, study, hypothesis, settings):
    """Return what was sampled of an interrupted fit, or None where nothing was.

    Chains are of different lengths, so that draws lie one after the other along `sample`, with
    their chain and their number in it. They were not looked at by the convergence gate.

    Parameters
    ----------
    kept : mapping
        Path of a sampling -> (LogDensity, chains), as `gate.Settings.record` is called. The path is
        (), or (omega,) of each value of a latent counting; others serve an evidence, and are not
        kept.
    study : Study
    hypothesis : Hypothesis
    settings : Settings

    Returns
    -------
    DataTree or None
        Group `partial` over `sample`: free and natural quantities in the units of `fit`, lp (nats),
        diverging, omega where it is latent; coords chain and draw.
    """
    length = 1 if hypothesis.counting == LATENT else 0
    parts = [
        _part(path, density, chain, number, hypothesis.law)
        for path, (density, chains) in kept.items()
        if len(path) == length
        for number, chain in enumerate(chains)
    ]
    if not parts:
        return None
    tree = xr.DataTree.from_dict({"partial": xr.concat(parts, dim="sample")})
    tree.attrs = {
        "kind": PARTIAL,
        "study": study.name,
        "study_record": json.dumps(study.record()),
        "hypothesis": hypothesis.to_json(),
        "hypothesis_name": hypothesis.name,
        "law": hypothesis.law,
        "counting": hypothesis.counting,
        "data_hash": study.data_hash,
        "random_seed": settings.random_seed,
        "versions": json.dumps(versions()),
        "n_draws": tree["partial"].sizes["sample"],
        "draws_asked": settings.draws * settings.chains,
        "n_omega": len([path for path in kept if len(path) == length]) if length else 0,
        "converged": 0,
        "problems": "interrupted while sampling; not looked at by the convergence gate",
    }
    return tree


def n_draws(chains):
    """Return how many draws chains have together."""
    return sum(len(chain["log_density"]) for chain in chains)


def _part(path, density, chain, number, law):
    """Return the draws of one chain as a Dataset over `sample`."""
    latents = density.constrain(chain["unconstrained"])
    values = {**latents, **natural_quantities(latents, law=law)}
    values |= {"lp": chain["log_density"], "diverging": chain["diverging"]}
    n = len(chain["log_density"])
    if path:
        values["omega"] = np.full(n, float(path[0]))
    dims = ("sample", "trajectory")
    return xr.Dataset(
        {name: (dims[: value.ndim], value) for name, value in values.items()},
        coords={"chain": ("sample", np.full(n, number)), "draw": ("sample", np.arange(n))},
    )
