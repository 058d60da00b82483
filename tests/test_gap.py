import pytest
from fits import hoffmann_fit, small_latent_fit

from scalebayes.gap import explain_gap
from scalebayes.gap_findings import gap_sentences
from scalebayes.gap_sections import gap_figures, gap_tables
from scalebayes.gap_tables import gap_frames


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
