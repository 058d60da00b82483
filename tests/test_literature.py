import json
import sys

import arviz as az
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import scalebayes as sb
from scalebayes.errors import HypothesisError, InputError, OutsidePopulationWarning
from scalebayes.literature import literature_fits, literature_warnings, with_literature
from scalebayes.literature_report import literature_rows, literature_text, with_its_own
from scalebayes.population import pool_settings
from scalebayes.report import mark_of
from tests.fits import TRUTHS, fits_of_three, sweep

SETTINGS = pool_settings(500, 500, 4, 1, 1)


@pytest.fixture(scope="module")
def study():
    """Few runs of a sweep from the middle of the population of three."""
    runs = sweep("few", 0.34, 0.36, seed=11).runs
    return sb.read_runs(runs[["N", "D", "loss"]].iloc[::2], counting="total", name="few")


@pytest.fixture(scope="module")
def alone(study):
    return sb.fit(study, "hoffmann-total", draws=500, cores=1, cache=False)


@pytest.fixture(scope="module")
def joined(alone, study):
    return with_literature(alone, study, fits_of_three(), SETTINGS)


@pytest.mark.slow
def test_both_posteriors_are_kept_side_by_side(joined, alone):
    assert json.loads(joined.attrs["literature"]) == list(TRUTHS)
    own = sb.alone_of(joined)
    np.testing.assert_array_equal(own["posterior"]["a"], alone["posterior"]["a"])
    assert own.attrs == alone.attrs
    assert list(with_its_own(joined)) == ["With literature", "Alone"]
    assert list(with_its_own(alone)) == [""]


@pytest.mark.slow
def test_the_ratios_of_the_other_studies_go_with_the_fit(joined, alone):
    said = json.loads(joined.attrs["ratio_literature"])
    assert [one["study"] for one in said["studies"]] == list(TRUTHS)
    best = sb.optimal(joined, [1e22, 1e25])
    found = sb.with_ratio_literature(joined, best)
    both = sb.with_discrepancy(joined, best)
    narrow = np.log(found["tokens_per_parameter_with_literature"]).std(("chain", "draw"))
    wide = np.log(both["tokens_per_parameter_with_discrepancy"]).std(("chain", "draw"))
    assert (narrow < wide).all()
    assert sb.with_ratio_literature(alone, sb.optimal(alone, 1e22)) is None


@pytest.mark.slow
def test_like_studies_make_the_exponents_surer(joined, alone):
    for name in ("alpha", "beta"):
        ratio = json.loads(joined.attrs["literature_share"])[name]["sd_ratio"]
        assert ratio == pytest.approx(
            float(np.log(joined["posterior"][name]).std() / np.log(alone["posterior"][name]).std())
        )
        assert ratio < 0.95


@pytest.mark.slow
def test_the_posterior_is_the_likelihood_times_what_the_others_expect(joined, alone):
    """Importance weights on the draws made alone give the same means of the exponents."""
    theta = np.log([alone["posterior"][name].to_numpy().ravel() for name in ("alpha", "beta")])
    expected = np.log([joined["prior"][name].to_numpy().ravel() for name in ("alpha", "beta")])
    log_expected = stats.gaussian_kde(expected).logpdf(theta)
    interim = stats.norm(-1.0498, 0.5).logpdf(theta).sum(0)
    weight = np.exp(log_expected - interim - (log_expected - interim).max())
    for row, name in enumerate(("alpha", "beta")):
        mean = np.average(theta[row], weights=weight)
        found = np.log(joined["posterior"][name].to_numpy())
        assert found.mean() == pytest.approx(mean, abs=0.2 * found.std())


@pytest.mark.slow
def test_every_arviz_function_works_on_it(joined):
    table = az.summary(joined, var_names=["a", "E"], ci_prob=0.9, ci_kind="eti")
    assert set(table.index) == {"a", "E"}
    assert np.isfinite(az.loo(joined).elpd)
    sensitivity = json.loads(joined.attrs["literature_share"])["a"]
    assert sensitivity["prior"] > 0
    assert sensitivity["likelihood"] > 0


@pytest.mark.slow
def test_a_study_in_the_middle_is_not_called_outside(joined):
    assert joined.attrs["literature_place"] > 0.05
    assert "lies outside" not in literature_text(joined)
    assert joined.attrs["converged"] == 1, joined.attrs["problems"]


@pytest.mark.slow
def test_a_study_far_off_is_warned_of():
    far = sweep("far", 0.9, 0.12, seed=12)
    alone = sb.fit(far, "hoffmann-total", draws=500, cores=1, cache=False)
    joined = with_literature(alone, far, fits_of_three(), SETTINGS)
    assert joined.attrs["literature_place"] < 0.01
    assert "lies outside the population" in literature_text(joined)
    with pytest.warns(OutsidePopulationWarning, match="far lies outside the population"):
        literature_warnings(joined)


@pytest.mark.slow
def test_the_rows_and_the_text_say_both_and_whose_answer_it_is(joined):
    rows = literature_rows(joined)
    assert {row["posterior"] for row in rows} == {"alone", "with literature"}
    assert {row["name"] for row in rows} == {
        *("E", "alpha", "beta", "a"),
        "D*/N* at 5.76e23 FLOP (total)",
    }
    text = literature_text(joined)
    assert "sd ratio" in text
    assert all(name in text for name in TRUTHS)


@pytest.mark.slow
def test_a_fit_with_literature_is_saved_and_read_back_whole(joined, tmp_path):
    path = sb.save_fit(joined, tmp_path / "few.nc")
    assert sb.load_fit(path).identical(joined)
    best = sb.optimal(sb.load_fit(path), 1e22)
    assert np.isfinite(best["N"]).all()


@pytest.mark.slow
def test_evidence_given_like_studies_is_larger_than_alone(joined, alone):
    assert joined.attrs["log_evidence"] > alone.attrs["log_evidence"]
    assert joined.attrs["log_evidence_se"] < 0.2


@pytest.mark.slow
def test_without_another_study_there_is_nothing_to_pool_with(alone, study):
    with pytest.raises(InputError, match="no published study can be pooled"):
        with_literature(alone, study, [], SETTINGS, left_out={"one": "not converged"})


def test_a_study_is_not_pooled_with_its_own_runs(monkeypatch):
    module = sys.modules["scalebayes.literature"]
    seen = []

    def fit(study, *_args, **_settings):
        seen.append(study.name)
        if study.name == "marin2026-comma":
            raise InputError("no warmup_tokens")
        tree = xr.DataTree()
        tree.attrs = {"converged": int(study.name != "marin2026-dclm"), "problems": "R-hat 1.2"}
        return tree

    monkeypatch.setattr(module, "fit_alone", fit)
    reading = sb.load_study("porian2024-rw-4a-cosine-attention")  # of the runs of rw-4-cosine
    fits, left_out = literature_fits(reading, "hoffmann-total")
    assert "porian2024-rw-4-cosine" not in seen
    assert left_out == {
        "porian2024-rw-4-cosine": "made from the same runs",
        "marin2026-comma": "no warmup_tokens",
        "marin2026-dclm": "not converged: R-hat 1.2",
    }
    assert len(fits) == len(sb.DEFAULT_STUDIES) - 3


@pytest.mark.slow
def test_only_exponents_can_be_mostly_the_literatures(joined):
    marked = joined.copy()
    marked.attrs = dict(joined.attrs) | {"still_prior": json.dumps({"E": 0.9, "beta": 0.8})}
    mark = mark_of(marked)
    assert (mark("beta"), mark("E")) == ("mostly literature", "mostly prior")


@pytest.mark.slow
def test_the_fit_alone_and_the_study_must_be_of_the_same_rows(alone, study):
    other = sb.read_runs(study.runs[["N", "D", "loss"]].iloc[:-1], counting="total", name="few")
    with pytest.raises(InputError, match="the fit alone is of other rows"):
        with_literature(alone, other, fits_of_three(), SETTINGS)


def test_a_hypothesis_that_cannot_be_pooled_is_refused_before_any_fit(monkeypatch):
    monkeypatch.setattr(sys.modules["scalebayes.literature"], "fit_alone", None)
    for name in ("symmetric", "isoflop"):
        with pytest.raises(HypothesisError):
            sb.fit("hoffmann2022-epoch", name, literature=True)
