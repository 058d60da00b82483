"""Every figure of the package, by name: `scalebayes.plots.plot_loss_surface(fit)`.

A figure of one fit takes what `fit` or `load_fit` returns; figures of several studies take a
mapping of study name to fit, or one fit. All return a matplotlib `Figure`, say which interval they
show, and say so where a fit did not converge or a quantity is still mostly the prior's.
"""

from scalebayes.check_plots import plot_predictive_checks
from scalebayes.exponent_plots import plot_local_exponent, plot_local_exponents
from scalebayes.gap_plots import plot_attribution, plot_chains, plot_replays
from scalebayes.omega_plots import plot_exponent_by_omega, plot_omega_weight
from scalebayes.optimum import CHINCHILLA_COMPUTE
from scalebayes.population_plots import plot_recipe_effects, plot_shrinkage
from scalebayes.posterior_plots import plot_prior_posterior
from scalebayes.prior_plots import plot_prior_predictive
from scalebayes.ratio_plots import plot_optimal_ratio
from scalebayes.residual_plots import plot_residuals
from scalebayes.study_plots import (
    RULE_OF_THUMB,
    plot_predicted_loss,
    plot_tokens_per_parameter,
    predicted_loss,
    residual_rms,
)
from scalebayes.surface_plots import plot_isoflop_slices, plot_loss_surface
from scalebayes.synthesis_plots import plot_synthesis

__all__ = [
    "CHINCHILLA_COMPUTE",
    "RULE_OF_THUMB",
    "plot_attribution",
    "plot_chains",
    "plot_exponent_by_omega",
    "plot_isoflop_slices",
    "plot_local_exponent",
    "plot_local_exponents",
    "plot_loss_surface",
    "plot_omega_weight",
    "plot_optimal_ratio",
    "plot_predicted_loss",
    "plot_predictive_checks",
    "plot_prior_posterior",
    "plot_prior_predictive",
    "plot_recipe_effects",
    "plot_replays",
    "plot_residuals",
    "plot_shrinkage",
    "plot_synthesis",
    "plot_tokens_per_parameter",
    "predicted_loss",
    "residual_rms",
]
