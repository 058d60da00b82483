"""Draws of a synthesis: its model compiled once, sampled, and looked at by the gate."""

from dataclasses import dataclass

import numpy as np
import nutpie
import xarray as xr

from scalebayes.diagnostics import diagnose
from scalebayes.optimum import allocation_exponent
from scalebayes.synthesis_model import LATENTS, synthesis_model

_STATS = ("diverging", "energy", "n_steps")
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
    """Return nutpie's compiled model of a literature; `with_data` swaps in another of its shape.

    Parameters
    ----------
    data, prior, coords
        As in `synthesis_model.synthesis_model`.
    """
    return nutpie.compile_pymc_model(synthesis_model(data, prior=prior, coords=coords))


def draw_synthesis(compiled, settings, *, attempts=_ATTEMPTS):
    """Return draws that pass the gate, or the last ones made with what it finds.

    Parameters
    ----------
    compiled : CompiledPyMCModel
        From `compiled_synthesis`.
    settings : gate.Settings
    attempts : int
    """
    for attempt in range(attempts):
        tree = nutpie.sample(
            compiled,
            draws=settings.draws * 2**attempt,
            tune=settings.tune * 2**attempt,
            chains=settings.chains,
            cores=settings.cores,
            seed=settings.seed(50, attempt),
            adaptation="low_rank",
            target_accept=max(settings.target_accept, 0.99 if attempt else 0.0),
            progress_bar=False,
        )
        posterior = tree["posterior"].to_dataset()[[*LATENTS]]
        stats = tree["sample_stats"].to_dataset()[[*_STATS]]
        problems = diagnose(_checked(posterior), {one: stats[one].to_numpy() for one in _STATS})
        if not problems.problems:
            break
    return SynthesisDraws(posterior=posterior, stats=stats, problems=problems.problems)


def _checked(posterior):
    """Return every free variable and the consensus exponent, [chain, draw] or more."""
    alpha, beta = np.exp(posterior["log_alpha"]), np.exp(posterior["log_beta"])
    values = {name: value.to_numpy() for name, value in posterior.data_vars.items() if value.size}
    return values | {"a": allocation_exponent(alpha, beta).to_numpy()}
