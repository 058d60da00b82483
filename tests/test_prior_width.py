import numpy as np
import pytest

import scalebayes as sb
from scalebayes.hypotheses import hypothesis_names, load_hypothesis
from scalebayes.prior_width import evidence_at_width, widened, with_wider_priors
from scalebayes.priors import Prior
from tests.fits import user_study

SPREADS = {
    "Normal": (0.3, 0.5),
    "StudentT": (5.0, 0.3, 0.5),
    "Laplace": (0.3, 0.5),
    "Logistic": (0.3, 0.5),
    "HalfNormal": (0.5,),
    "Exponential": (2.0,),
    "Gamma": (3.0, 2.0),
}


@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize(("dist", "parameters"), SPREADS.items())
def test_a_widened_prior_has_as_many_times_the_standard_deviation(dist, parameters, factor):
    prior = Prior(dist=dist, parameters=parameters)
    spreads = [one.frozen().std() for one in (prior, widened(prior, factor))]
    assert spreads[1] == pytest.approx(factor * spreads[0])


def test_a_widened_log_normal_keeps_its_median_and_widens_on_the_log_scale():
    prior = Prior(dist="LogNormal", parameters=(1.0, 0.7))
    wide = widened(prior, 2.0)
    assert wide.frozen().median() == pytest.approx(prior.frozen().median())
    assert wide.parameters == (1.0, 1.4)


def test_a_widened_beta_keeps_its_mean_and_loses_effective_size():
    wide = widened(Prior(dist="Beta", parameters=(2.0, 4.0)), 2.0)
    assert wide.parameters == (0.5, 1.0)
    assert wide.frozen().mean() == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", hypothesis_names())
def test_every_prior_of_every_hypothesis_can_be_widened(name):
    hypothesis = load_hypothesis(name)
    wide = with_wider_priors(hypothesis, 2.0)
    assert all(wide.priors[key] != prior for key, prior in hypothesis.priors.items())
    assert (wide.law, wide.counting, wide.omega) == (
        hypothesis.law,
        hypothesis.counting,
        hypothesis.omega,
    )


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_evidence_at_another_width_is_that_of_a_fit_with_those_priors(factor):
    study, hypothesis = user_study(), load_hypothesis("hoffmann-total")
    options = {"draws": 500, "tune": 500, "cores": 1, "cache": False}
    found = evidence_at_width(sb.fit(study, hypothesis, **options), factor, cores=1)
    fitted = sb.fit(study, with_wider_priors(hypothesis, factor), **options).attrs
    error = np.hypot(found.evidence.se, fitted["log_evidence_se"])
    assert not found.problems
    assert found.evidence.log_evidence == pytest.approx(fitted["log_evidence"], abs=4 * error)
