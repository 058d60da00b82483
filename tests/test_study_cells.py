import copy
import dataclasses
import json

import numpy as np
import pytest
import xarray as xr

import scalebayes as sb
from scalebayes.errors import HypothesisError, InputError, StudyError
from scalebayes.hypotheses import load_hypothesis
from scalebayes.study_cells import check_poolable, pooled_studies, study_cell
from tests.fits import hoffmann_fit, small_latent_fit, user_study


def renamed(fit, name, **record):
    """The same fit under another name, as if of other runs."""
    other = copy.copy(fit)
    other.attrs = dict(fit.attrs) | {"study": name, "data_hash": name}
    known = json.loads(fit.attrs["study_record"]) | {"shared_runs": "", **record}
    other.attrs["study_record"] = json.dumps(known)
    return other


def with_hypothesis(fit, **changes):
    hypothesis = dataclasses.replace(load_hypothesis("hoffmann-total"), **changes)
    other = renamed(fit, "other")
    other.attrs["hypothesis"] = hypothesis.to_json()
    return other


def test_one_study_makes_no_population():
    with pytest.raises(InputError, match="two studies at least, got 1"):
        pooled_studies(hoffmann_fit())


def test_what_is_no_fit_is_refused():
    with pytest.raises(InputError, match="pool takes fits"):
        pooled_studies([xr.DataTree(), hoffmann_fit()])


def test_the_same_runs_do_not_count_twice():
    with pytest.raises(StudyError, match="each table can be pooled once only"):
        pooled_studies([hoffmann_fit(), hoffmann_fit()])


def test_two_studies_of_one_set_of_shared_runs_are_refused():
    pair = [
        renamed(hoffmann_fit(), name, shared_runs="porian-rw-1") for name in ("first", "second")
    ]
    with pytest.raises(StudyError, match="set of shared runs .* first, second"):
        pooled_studies(pair)


def test_the_same_table_under_two_names_is_refused():
    other = renamed(hoffmann_fit(), "copy")
    other.attrs["data_hash"] = hoffmann_fit().attrs["data_hash"]
    with pytest.raises(StudyError, match="each table .* copy"):
        pooled_studies([hoffmann_fit(), other])


def test_posteriors_of_different_hypotheses_do_not_pool():
    with pytest.raises(HypothesisError, match="counting is 'latent'"):
        pooled_studies([hoffmann_fit(), renamed(small_latent_fit(), "latent")])


def test_unequal_interim_priors_do_not_pool():
    priors = load_hypothesis("hoffmann-total").priors
    changed = {**priors, "log_E": load_hypothesis("latent-counting").priors["log_E"]}
    with pytest.raises(HypothesisError, match="priors of log_E are not equal"):
        pooled_studies([hoffmann_fit(), with_hypothesis(hoffmann_fit(), priors=changed)])


def test_a_law_with_one_exponent_does_not_pool():
    fit = hoffmann_fit()
    symmetric = load_hypothesis("symmetric")
    pair = [with_hypothesis(fit), renamed(fit, "second")]
    for one in pair:
        one.attrs["hypothesis"] = symmetric.to_json()
    with pytest.raises(HypothesisError, match="Normal priors of log_alpha and log_beta"):
        pooled_studies(pair)


def test_studies_of_mixed_tokenizers_are_refused_before_they_are_fitted():
    with pytest.raises(StudyError, match="several tokenizers"):
        user_study(columns={"tokenizer": ["gpt2"] * 12 + ["llama"] * 13})


def test_an_omega_outside_the_grid_is_drawn_from_the_data_of_the_fit():
    study = pooled_studies([small_latent_fit(), renamed(small_latent_fit(), "twin")])[0]
    cell = study_cell(study, 1.0625, cache=False)
    near = study_cell(study, 1.0)
    assert cell.theta.shape == near.theta.shape
    assert cell.evidence.log_evidence == pytest.approx(near.evidence.log_evidence, abs=0.5)
    np.testing.assert_allclose(cell.theta.mean((0, 1)), near.theta.mean((0, 1)), atol=0.2)


def test_the_same_omega_drawn_anew_has_the_same_evidence():
    study = pooled_studies([small_latent_fit(), renamed(small_latent_fit(), "twin")])[0]
    held = study_cell(study, 1.0)
    mean, sd = held.prior_mean, held.prior_sd
    anew = study_cell(study, 1.0, prior=(mean, sd), cache=False)
    error = np.hypot(held.evidence.se, anew.evidence.se)
    assert abs(held.evidence.log_evidence - anew.evidence.log_evidence) < 5 * error


def test_a_refit_under_another_prior_is_the_same_likelihood():
    study = pooled_studies([hoffmann_fit(), renamed(hoffmann_fit(), "twin")])[0]
    held = study_cell(study, None)
    centre, sd = held.theta.mean((0, 1)), 3 * held.theta.std((0, 1))
    other = study_cell(study, None, prior=(centre, sd), cache=False)
    log_likelihoods = [
        cell.evidence.log_evidence + cell.likelihood.log_density(centre) for cell in (held, other)
    ]
    assert log_likelihoods[0] == pytest.approx(log_likelihoods[1], abs=0.15)


def test_pool_is_of_the_package():
    assert sb.pool.__module__ == "scalebayes.population"


def test_a_prior_that_only_one_of_two_fits_has_is_unequal_in_either_order():
    priors = load_hypothesis("hoffmann-total").priors
    without = {name: prior for name, prior in priors.items() if name != "tau"}
    pair = [hoffmann_fit(), with_hypothesis(hoffmann_fit(), priors=without)]
    for fits in (pair, pair[::-1]):
        with pytest.raises(HypothesisError, match="priors of tau are not equal"):
            pooled_studies(fits)


def test_a_fit_with_literature_is_not_pooled_again():
    joined = renamed(hoffmann_fit(), "joined")
    joined.attrs["literature"] = "[]"
    with pytest.raises(InputError, match="fitted with the literature, which would count twice"):
        pooled_studies([hoffmann_fit(), joined])


def test_two_studies_of_one_name_are_told_apart_from_two_readings_of_one_table():
    other = renamed(hoffmann_fit(), "other")
    other.attrs["study"] = hoffmann_fit().attrs["study"]
    with pytest.raises(StudyError, match="two studies are called hoffmann2022-epoch"):
        pooled_studies([hoffmann_fit(), other])


def test_a_study_without_a_group_is_a_group_of_its_own():
    own = renamed(hoffmann_fit(), "marin", group="")
    groups = [one.group for one in pooled_studies([hoffmann_fit(), own])]
    assert groups[1] == "marin (its own)"


def test_isoflop_curves_are_no_exponents_to_pool():
    with pytest.raises(HypothesisError, match="steepness"):
        check_poolable(load_hypothesis("isoflop"))
