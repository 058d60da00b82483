"""Bayesian analysis of language-model scaling laws.

    import scalebayes as sb

    study = sb.load_study("hoffmann2022-epoch")
    fit = sb.fit(study, "hoffmann-total")
    best = sb.optimal(fit, compute=[1e21, 1e24])

The functions are imported on first use, so that importing the package costs nothing.
"""

import importlib
import sys
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import TYPE_CHECKING

from scalebayes.importing import frugal_imports

if TYPE_CHECKING:
    from scalebayes.architecture import Shape
    from scalebayes.attribution import attribute_exponent
    from scalebayes.build import build
    from scalebayes.calibrate import Calibration, calibrate, calibration_table
    from scalebayes.calibrate_population import calibrate_population
    from scalebayes.check import StudyCheck, check
    from scalebayes.classical import ClassicalFit, classical_fit, huber_fit
    from scalebayes.compare import compare
    from scalebayes.counting import Architecture
    from scalebayes.discrepancy import Discrepancy, published_discrepancy
    from scalebayes.discrepant_optimum import with_discrepancy, with_ratio_literature
    from scalebayes.errors import (
        CountingError,
        HypothesisError,
        InputError,
        NotConvergedWarning,
        OutsidePopulationWarning,
        ResultError,
        SamplingInterrupted,
        StudyError,
        WorkerLost,
    )
    from scalebayes.executors import executor, mapped
    from scalebayes.fitting import fit
    from scalebayes.forecast import forecast
    from scalebayes.forecast_subsamples import subsample_scores
    from scalebayes.gap import explain_gap
    from scalebayes.gap_plots import plot_attribution
    from scalebayes.hypotheses import Hypothesis, hypotheses, load_hypothesis
    from scalebayes.inference_optimum import inference_optimal
    from scalebayes.literature import alone_of
    from scalebayes.many_fits import fit_each
    from scalebayes.new_study import new_study
    from scalebayes.omega_plots import plot_omega_weight
    from scalebayes.optimum import optimal
    from scalebayes.population import pool
    from scalebayes.population_plots import plot_shrinkage
    from scalebayes.posterior_plots import plot_prior_posterior
    from scalebayes.predict import predict
    from scalebayes.prior_plots import plot_prior_predictive
    from scalebayes.published import chinchilla_shapes, published_estimates, published_optima
    from scalebayes.ratio_plots import plot_optimal_ratio
    from scalebayes.recommend import recommend
    from scalebayes.reconcile import reconcile
    from scalebayes.regret import regret
    from scalebayes.reporting import report
    from scalebayes.residual_plots import plot_residuals
    from scalebayes.simulate import simulate
    from scalebayes.storage import load_fit, save_fit
    from scalebayes.studies import DEFAULT_STUDIES, Study, load_study, read_runs, studies
    from scalebayes.study import recount, reflop
    from scalebayes.study_plots import plot_tokens_per_parameter
    from scalebayes.surface_plots import plot_isoflop_slices, plot_loss_surface
    from scalebayes.synthesis import synthesis
    from scalebayes.synthesis_data import synthesis_rows
    from scalebayes.synthesis_plots import plot_synthesis
    from scalebayes.synthesis_report import synthesis_sentences, synthesis_table
    from scalebayes.verify import Verification, verify

_HOME = {
    "Architecture": "counting",
    "ClassicalFit": "classical",
    "CountingError": "errors",
    "DEFAULT_STUDIES": "studies",
    "Discrepancy": "discrepancy",
    "Hypothesis": "hypotheses",
    "HypothesisError": "errors",
    "InputError": "errors",
    "NotConvergedWarning": "errors",
    "OutsidePopulationWarning": "errors",
    "ResultError": "errors",
    "SamplingInterrupted": "errors",
    "Shape": "architecture",
    "Study": "studies",
    "StudyCheck": "check",
    "StudyError": "errors",
    "Verification": "verify",
    "WorkerLost": "errors",
    "attribute_exponent": "attribution",
    "build": "build",
    "Calibration": "calibrate",
    "calibrate": "calibrate",
    "calibrate_population": "calibrate_population",
    "calibration_table": "calibrate",
    "check": "check",
    "chinchilla_shapes": "published",
    "classical_fit": "classical",
    "compare": "compare",
    "alone_of": "literature",
    "executor": "executors",
    "explain_gap": "gap",
    "fit": "fitting",
    "fit_each": "many_fits",
    "forecast": "forecast",
    "huber_fit": "classical",
    "hypotheses": "hypotheses",
    "inference_optimal": "inference_optimum",
    "load_fit": "storage",
    "load_hypothesis": "hypotheses",
    "load_study": "studies",
    "mapped": "executors",
    "new_study": "new_study",
    "optimal": "optimum",
    "plot_attribution": "gap_plots",
    "plot_isoflop_slices": "surface_plots",
    "plot_loss_surface": "surface_plots",
    "plot_omega_weight": "omega_plots",
    "plot_optimal_ratio": "ratio_plots",
    "plot_prior_posterior": "posterior_plots",
    "plot_prior_predictive": "prior_plots",
    "plot_residuals": "residual_plots",
    "plot_shrinkage": "population_plots",
    "plot_synthesis": "synthesis_plots",
    "plot_tokens_per_parameter": "study_plots",
    "pool": "population",
    "predict": "predict",
    "published_estimates": "published",
    "published_optima": "published",
    "published_discrepancy": "discrepancy",
    "read_runs": "studies",
    "reconcile": "reconcile",
    "recommend": "recommend",
    "recount": "study",
    "reflop": "study",
    "regret": "regret",
    "report": "reporting",
    "save_fit": "storage",
    "simulate": "simulate",
    "studies": "studies",
    "subsample_scores": "forecast_subsamples",
    "synthesis": "synthesis",
    "synthesis_rows": "synthesis_data",
    "synthesis_sentences": "synthesis_report",
    "synthesis_table": "synthesis_report",
    "verify": "verify",
    "with_discrepancy": "discrepant_optimum",
    "with_ratio_literature": "discrepant_optimum",
}

__all__ = [
    "DEFAULT_STUDIES",
    "Architecture",
    "Calibration",
    "ClassicalFit",
    "CountingError",
    "Discrepancy",
    "Hypothesis",
    "HypothesisError",
    "InputError",
    "NotConvergedWarning",
    "OutsidePopulationWarning",
    "ResultError",
    "SamplingInterrupted",
    "Shape",
    "Study",
    "StudyCheck",
    "StudyError",
    "Verification",
    "WorkerLost",
    "alone_of",
    "attribute_exponent",
    "build",
    "calibrate",
    "calibrate_population",
    "calibration_table",
    "check",
    "chinchilla_shapes",
    "classical_fit",
    "compare",
    "executor",
    "explain_gap",
    "fit",
    "fit_each",
    "forecast",
    "huber_fit",
    "hypotheses",
    "inference_optimal",
    "load_fit",
    "load_hypothesis",
    "load_study",
    "mapped",
    "new_study",
    "optimal",
    "plot_attribution",
    "plot_isoflop_slices",
    "plot_loss_surface",
    "plot_omega_weight",
    "plot_optimal_ratio",
    "plot_prior_posterior",
    "plot_prior_predictive",
    "plot_residuals",
    "plot_shrinkage",
    "plot_synthesis",
    "plot_tokens_per_parameter",
    "pool",
    "predict",
    "published_discrepancy",
    "published_estimates",
    "published_optima",
    "read_runs",
    "recommend",
    "reconcile",
    "recount",
    "reflop",
    "regret",
    "report",
    "save_fit",
    "simulate",
    "studies",
    "subsample_scores",
    "synthesis",
    "synthesis_rows",
    "synthesis_sentences",
    "synthesis_table",
    "verify",
    "with_discrepancy",
    "with_ratio_literature",
]

try:
    __version__ = version("scalebayes")
except PackageNotFoundError:  # imported from a source tree that was never installed
    __version__ = "0+unknown"


class _Package(ModuleType):
    """Keeps `scalebayes.fit` the function when the module of that name is imported."""

    def __reduce__(self):  # functions that name the package travel to other processes
        return importlib.import_module, (self.__name__,)

    def __setattr__(self, name, value):
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name):
    if name not in {*_HOME, "plots"}:
        msg = f"module 'scalebayes' has no attribute {name!r}"
        raise AttributeError(msg)
    with frugal_imports():
        if name == "plots":  # a module of functions, as users name it
            return importlib.import_module("scalebayes.plots")
        module = importlib.import_module(f"scalebayes.{_HOME[name]}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__():
    return sorted([*globals(), *__all__])
