import dataclasses

import numpy as np
import pytest
import xarray as xr
from fits import hoffmann_fit, small_latent_fit

import scalebayes as sb
from scalebayes.errors import InputError
from scalebayes.replays import Replay, predictive_p, replay_published, replay_table


@pytest.fixture(scope="module")
def table():
    fit = hoffmann_fit()
    return replay_table(replay_published({"hoffmann2022-epoch": fit}, draws=400))


def test_hoffmanns_world_gives_back_what_was_published_of_it(table):
    rows = table.set_index(["instrument", "source"])
    for instrument in ("approach 1", "approach 2"):
        one = rows.loc[(instrument, "Hoffmann et al.")]
        assert one["lower"] < one["published"] < one["upper"], instrument
    assert rows.loc[("approach 3", "Besiroglu et al."), "p"] > 0.1
    assert rows.loc[("approach 3", "Hoffmann et al."), "p"] < 0.02


def test_kaplans_procedure_reports_far_more_without_embeddings(table):
    rows = table[table["instrument"].str.startswith("Kaplan")].set_index("counting")
    body, total = rows.loc[["body"]].iloc[0], rows.loc["total"]
    assert body["lower"] > total["upper"] + 0.1


def test_only_numbers_read_off_the_same_runs_say_so(table):
    same = table[table["same_runs"]]
    assert set(same["instrument"]) == {"approach 1", "approach 2", "approach 3"}


def test_predictive_p_is_two_sided_and_never_zero():
    draws = np.arange(1000.0)
    assert predictive_p(draws, 499.5) == pytest.approx(1.0, abs=0.01)
    assert predictive_p(draws, -5.0) == pytest.approx(2 / 1001)
    assert predictive_p(draws, 950.0) == pytest.approx(predictive_p(draws, 49.0), abs=0.01)
    assert np.isnan(predictive_p(draws, np.nan))


def test_draws_without_an_exponent_are_not_counted():
    values = np.r_[np.full(50, np.nan), np.linspace(0.4, 0.6, 150)]
    replay = Replay(
        instrument="x", world="y", counting="body", exponent=values, published={"z": 0.5}
    )
    [row] = replay_table([replay]).itertuples()
    assert row.n_draws == 150
    assert row.median == pytest.approx(0.5)


def test_a_posterior_of_few_draws_is_refused():
    fit = hoffmann_fit()
    with pytest.raises(InputError, match="100 draws or more"):
        replay_published({"hoffmann2022-epoch": fit}, draws=50)


def test_a_law_that_is_not_additive_is_refused():
    fit = hoffmann_fit().copy()
    fit["posterior"] = xr.DataTree(fit["posterior"].to_dataset().drop_vars("A"))
    with pytest.raises(InputError, match="not additive"):
        replay_published({"hoffmann2022-epoch": fit}, draws=400)


def test_a_world_of_another_study_gets_kaplans_procedure_alone():
    fit = small_latent_fit()
    found = replay_published({"elsewhere": fit}, draws=400)
    assert {one.instrument for one in found} == {"Kaplan's frontier regression"}
    assert {one.world for one in found} == {"elsewhere"}
    assert not any(one.published for one in found)


def test_no_replay_gives_a_table_without_rows_and_one_without_numbers_no_numbers():
    assert len(replay_table([])) == 0
    nothing = Replay(
        instrument="x",
        world="y",
        counting="body",
        exponent=np.full(200, np.nan),
        published={"z": 0.5},
    )
    [row] = replay_table([nothing]).itertuples()
    assert row.n_draws == 0
    assert np.isnan([row.median, row.p]).all()


@pytest.mark.slow
def test_porians_procedure_gives_back_porians_number():
    study = sb.load_study("porian2024-rw-4-cosine")
    fit = sb.fit(study, "one-matrix", draws=400, tune=400, cores=1, cache=False)
    table = replay_table(replay_published({study.name: fit}, draws=400))
    own = table[table["instrument"].str.startswith("Porian")].iloc[0]
    assert own["published"] == pytest.approx(0.5715)
    assert own["lower"] < own["published"] < own["upper"]
    assert dataclasses.asdict(study)["published"]["frontier_method"] == "isoflop"
