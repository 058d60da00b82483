"""Fits against posteriors computed a second time, by importance sampling (tools/)."""

import importlib.util
import json
from functools import cache
from pathlib import Path

import arviz as az
import numpy as np
import pytest
from fits import HOFFMANN

import scalebayes as sb
from scalebayes.counting import count_parameters
from scalebayes.hypotheses import load_hypothesis

ROOT = Path(__file__).parent.parent
REFERENCE = json.loads((ROOT / "tests" / "reference_posterior.json").read_text(encoding="utf-8"))
STATISTICS = {
    "mean": {"method": "mean"},
    "sd": {"method": "sd"},
    "q05": {"method": "quantile", "prob": 0.05},
    "q95": {"method": "quantile", "prob": 0.95},
}


def reference_tool():
    path = ROOT / "tools" / "reference_posterior.py"
    spec = importlib.util.spec_from_file_location("reference_posterior", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def sampled(name):
    """A fit with so many draws that every quantity has more than 4000 effective ones."""
    return sb.fit(HOFFMANN, name, draws=3000, chains=4, cores=1, cache=False)


def quantities(name):
    """What the reference has, as draws of the fit; D*/N* at Chinchilla's budget, the law's N."""
    fit, counting = sampled(name), load_hypothesis(name).counting
    posterior = fit["posterior"].to_dataset()
    best = sb.optimal(fit, 5.76e23, counting=counting)
    logs = {"log_A": np.log(posterior["A"]), "log_B": np.log(posterior["B"])}
    logs["log_ratio"] = np.log(best["tokens_per_parameter"].isel(compute=0, drop=True))
    return posterior.assign(logs)


@pytest.mark.parametrize("name", REFERENCE)
def test_the_stored_reference_is_of_the_bundled_points_and_priors(name):
    tool = reference_tool()
    assert REFERENCE[name]["fingerprint"] == tool.fingerprint(name)
    study = sb.load_study(HOFFMANN)
    counted = count_parameters(study.runs, load_hypothesis(name).counting, reported=study.counting)
    used = np.column_stack([counted, study.runs["D"], study.runs["loss"]])
    np.testing.assert_array_equal(tool.read_rows(tool.HEADS[name]), used)


@pytest.mark.parametrize("name", REFERENCE)
def test_the_reference_has_a_hundred_thousand_effective_points(name):
    assert REFERENCE[name]["effective_points"] > 1e5
    assert REFERENCE[name]["pareto_k"] < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", REFERENCE)
def test_a_fit_has_means_spreads_and_quantiles_of_the_reference(name):
    draws, gaps = quantities(name), {}
    for quantity, wanted in REFERENCE[name]["quantities"].items():
        values = draws[[quantity]]
        for kind in ("bulk", "tail"):
            assert float(az.ess(values, method=kind)[quantity]) >= 4000
        found = {
            "mean": values[quantity].mean(),
            "sd": values[quantity].std(ddof=1),
            "q05": values[quantity].quantile(0.05),
            "q95": values[quantity].quantile(0.95),
        }
        for statistic, how in STATISTICS.items():
            mcse = float(az.mcse(values, **how)[quantity])
            known = wanted[statistic]
            error = float(found[statistic]) - known["value"]
            gaps[quantity, statistic] = error / np.hypot(mcse, known["se"])
    assert max(map(abs, gaps.values())) < 4, gaps


@pytest.mark.slow
@pytest.mark.parametrize("name", REFERENCE)
def test_a_fit_has_the_evidence_of_the_reference(name):
    attrs, known = sampled(name).attrs, REFERENCE[name]["log_evidence"]
    error = np.hypot(attrs["log_evidence_se"], known["se"])
    assert attrs["log_evidence"] == pytest.approx(known["value"], abs=4 * error)
