"""Draws of a synthesis: its density sampled, and the draws looked at by the gate."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from scalebayes.diagnostics import diagnose
from scalebayes.optimum import allocation_exponent
from scalebayes.sampling import sample
from scalebayes.synthesis_density import synthesis_density

_STATS = ("diverging", "energy", "n_steps")
_DIMS = {"gamma_offset": ("run_set",), "log_se": ("imputed",)}
_ATTEMPTS = 2  # the second with twice the draws and a smaller step


@dataclass(frozen=True, kw_only=True)
class SynthesisDraws:
    """Draws of the free variables of a synthesis, and what the gate says of them.

    Parameters
    ----------
    posterior : Dataset
        `synthesis_model.LATENTS` over (chain, draw, ...).
    stats : Dataset
        diverging, energy and n_steps over (chain, draw).
    problems : tuple of str
        Why the draws are not to be trusted; empty when they are.
    """

    posterior: xr.Dataset
    stats: xr.Dataset
    problems: tuple[str, ...]

    @property
    def latents(self):
        """Return the free variables as arrays, [draw] or [draw, element], chains in a row."""
        return {
            name: value.to_numpy().reshape(-1, *value.shape[2:])
            for name, value in self.posterior.data_vars.items()
        }


def compiled_synthesis(data, *, prior=None, coords=None):
    """Return the density of a literature; `with_data` swaps in another of its shape.

    Parameters
    ----------
    data, prior, coords
        As in `synthesis_model.synthesis_model`.
    """
    return synthesis_density(data, prior=prior, coords=coords)


def draw_synthesis(compiled, settings, *, attempts=_ATTEMPTS):
    """Return draws that pass the gate, or the last ones made with what it finds.

    Parameters
    ----------
    compiled : SynthesisDensity
        From `compiled_synthesis`.
    settings : gate.Settings
    attempts : int
    """
    for attempt in range(attempts):
        draws = sample(
            compiled,
            compiled.start,
            draws=settings.draws * 2**attempt,
            tune=settings.tune * 2**attempt,
            chains=settings.chains,
            cores=settings.cores,
            seed=settings.seed(50, attempt),
            target_accept=max(settings.target_accept, 0.99 if attempt else 0.0),
        )
        posterior = _posterior(compiled, draws)
        problems = diagnose(_checked(posterior), draws.stats).problems
        if not problems:
            break
    stats = {name: (("chain", "draw"), draws.stats[name]) for name in _STATS}
    stats = xr.Dataset(stats, {dim: posterior[dim] for dim in ("chain", "draw")})
    return SynthesisDraws(posterior=posterior, stats=stats, problems=problems)


def _posterior(compiled, draws):
    """Return the free variables at the draws, over (chain, draw)."""
    values = compiled.variables(draws.unconstrained)
    found = {name: (("chain", "draw", *_DIMS.get(name, ())), x) for name, x in values.items()}
    chains, n_draws = draws.log_density.shape
    coords = {"chain": np.arange(chains), "draw": np.arange(n_draws)}
    return xr.Dataset(found, compiled.coords | coords)


def _checked(posterior):
    """Return every free variable and the consensus exponent, [chain, draw] or more."""
    alpha, beta = np.exp(posterior["log_alpha"]), np.exp(posterior["log_beta"])
    values = {name: value.to_numpy() for name, value in posterior.data_vars.items() if value.size}
    return values | {"a": allocation_exponent(alpha, beta).to_numpy()}
