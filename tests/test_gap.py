import numpy as np
import pandas as pd
import pytest
import xarray as xr
from fits import hoffmann_fit, small_latent_fit

from scalebayes.gap import explain_gap
from scalebayes.gap_findings import gap_sentences
from scalebayes.gap_record import Gap, gap_of_tree, tree_of_gap
from scalebayes.gap_sections import gap_figures, gap_tables
from scalebayes.gap_tables import gap_frames
from scalebayes.storage import content_digest, load_fit, save_fit


@pytest.fixture(scope="module")
def gap():
    return explain_gap({"hoffmann2022-epoch": hoffmann_fit()})


def test_one_study_gives_the_attribution_in_its_world_and_no_chain(gap):
    assert gap.chains == {}
    assert gap.costs == {}
    assert gap.problems == ()
    total = gap.counts["frontier"]["total"]
    assert 0.2 < float(total.median()) < 0.3


def test_what_there_is_becomes_sections_with_captions(gap):
    figures, tables = gap_figures(gap), gap_tables(gap)
    assert [one.link for one in figures] == ["attribution", "replays"]
    assert [one.link for one in tables] == ["ranges", "advice", "replay-table"]
    assert all(len(one.caption) > 100 for one in [*figures, *tables])


def test_numbers_are_given_tidy(gap):
    frames = gap_frames(gap)
    assert set(frames) == {"replays", "attribution", "ratio_by_budget"}
    table = frames["attribution"].set_index(["instrument", "factor"])
    parts = table.drop("all", level="factor").groupby("instrument")["median"].sum()
    whole = table.xs("all", level="factor")["median"]
    assert (parts - whole).abs().max() < 0.02
    assert (table["lower"] <= table["upper"]).all()


def test_another_study_has_no_attribution():
    gap = explain_gap({"elsewhere": small_latent_fit()})
    assert gap.counts is None
    assert [one.link for one in gap_figures(gap)] == ["replays"]
    assert set(gap.replays["world"]) == {"elsewhere"}


def test_a_fit_that_did_not_converge_is_said():
    fit = small_latent_fit().copy()
    fit.attrs |= {"converged": 0, "problems": "R-hat 2.0"}
    assert explain_gap({"elsewhere": fit}).problems == ("elsewhere: R-hat 2.0",)


def test_no_study_gives_nothing_to_say():
    assert gap_sentences(explain_gap({})) == []


def test_the_same_question_is_answered_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEBAYES_CACHE", str(tmp_path))
    fits = {"hoffmann2022-epoch": hoffmann_fit()}
    first_steps, second_steps = [], []
    first = explain_gap(fits, advance=first_steps.append)
    [kept] = tmp_path.glob("*.nc")
    second = explain_gap(fits, advance=second_steps.append)
    assert first_steps == second_steps == ["attribution", "replays"]
    assert list(tmp_path.glob("*.nc")) == [kept]
    assert content_digest(first.counts) == content_digest(second.counts)
    pd.testing.assert_frame_equal(first.replays, second.replays, check_exact=True)
    pd.testing.assert_frame_equal(first.ratios, second.ratios, check_exact=True)
    changed = fits["hoffmann2022-epoch"].copy()
    changed["posterior"] = changed["posterior"].to_dataset() * 1.001
    explain_gap({"hoffmann2022-epoch": changed})
    assert len(list(tmp_path.glob("*.nc"))) == 2


def test_a_kept_record_is_the_record(tmp_path):
    draws = xr.DataArray(np.arange(6.0).reshape(2, 3), dims=("compute", "draw"))
    cost = draws.assign_coords(compute=[1e17, 1e18])
    chain = xr.Dataset({"value": (("state", "draw"), np.ones((2, 3)))}, {"state": ["Kaplan", "5"]})
    table = pd.DataFrame({"world": ["a", "b"], "p": [0.1 + 0.2, np.nan], "same": [True, False]})
    keys = [("rw", "a long warm-up"), ("owt2", "a long warm-up")]
    gap = Gap(
        counts=None,
        chains={"rw": chain, "owt2": 2 * chain},
        costs={keys[0]: cost, keys[1]: cost / 3},
        replays=table,
        ratios=None,
        problems=("stage 2: R-hat 1.2",),
        observed_costs={key: np.array([0.5, 1 / 3]) for key in keys},
    )
    save_fit(tree_of_gap(gap), tmp_path / "gap.nc")
    found = gap_of_tree(load_fit(tmp_path / "gap.nc"))
    assert (found.counts, found.ratios, found.problems) == (None, None, gap.problems)
    pd.testing.assert_frame_equal(found.replays, table, check_exact=True)
    assert list(found.chains) == ["rw", "owt2"]
    assert all(one.identical(gap.chains[name]) for name, one in found.chains.items())
    assert list(found.costs) == list(found.observed_costs) == keys
    assert all(one.identical(gap.costs[key]) for key, one in found.costs.items())
    assert all((one == gap.observed_costs[key]).all() for key, one in found.observed_costs.items())
