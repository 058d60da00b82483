"""Which published exponents are data of a synthesis, which checks, and why the others are not."""

import numpy as np
import pytest

from scalebayes.published import published_estimates
from scalebayes.synthesis_data import (
    FITTED_HERE,
    KAPLAN_RANGE,
    ROLES,
    WEIGHTS,
    reason_counts,
    synthesis_rows,
    weights_of,
)


@pytest.fixture(scope="module")
def rows():
    return synthesis_rows()


def one(rows, study, **more):
    told = rows["study"] == study
    for column, text in more.items():
        told &= rows[column].str.contains(text, regex=False)
    [index] = rows.index[told]
    return rows.loc[index]


def test_every_exponent_of_the_table_has_exactly_one_role(rows):
    table = published_estimates()
    a = table[table["quantity"] == "a_N_opt_exponent"]
    derived = a[a["origin"] == "derived"]
    surfaces = rows[rows["obtained"] == "alpha, beta"]
    again = derived.merge(surfaces, on=["study", "corpus", "method", "counting", "recipe"])
    assert len(again) == len(derived)  # each derived exponent is computed anew, with its surface
    np.testing.assert_allclose(again["value_x"], again["value_y"], atol=6e-4)
    assert (rows["obtained"] == "a").sum() == len(a) - len(derived)
    assert rows["role"].isin(ROLES).all()
    assert ((rows["role"] == "left out") == (rows["reason"] != "")).all()


def test_a_run_set_has_one_primary_row_in_each_counting_it_reports(rows):
    used = rows[rows["role"].isin(["primary", "replicate"])]
    primary = used[used["role"] == "primary"].groupby(["run_set", "counting"]).size()
    assert (primary == 1).all()
    assert len(primary) == len(used.groupby(["run_set", "counting"]))
    assert (used["origin"] == "published").all()


def test_trained_models_of_pearce_and_song_are_one_run_set_in_two_countings(rows):
    own = rows[(rows["study"] == "pearce_song2024") & (rows["role"] == "primary")]
    assert own["run_set"].nunique() == 1
    assert dict(zip(own["counting"], own["value"], strict=True)) == {"total": 0.49, "body": 0.74}


def test_runs_fitted_in_this_package_are_compared_and_never_data(rows):
    fitted_here = rows[rows["study"].str.startswith(FITTED_HERE)]
    data = fitted_here[fitted_here["role"].isin(["primary", "replicate"])]
    assert set(data["corpus"]) == {"C4", "GitHub"}  # of Hoffmann et al., whose runs are not here
    assert (
        not rows.loc[rows["role"] == "check", "study"]
        .map(lambda study: not study.startswith(FITTED_HERE))
        .any()
    )
    assert one(rows, "hoffmann2022", method="approach 2", corpus="MassiveText")["role"] == "check"


@pytest.mark.parametrize(
    ("study", "reason"),
    [
        ("tao2024", "by construction"),
        ("muennighoff2023", "by construction"),
        ("diffusion_lm2025", "another architecture"),
        ("xlstm2025", "another architecture"),
        ("palm2_2023", "from memory"),
        ("pearce_song2024_surface_recomputed", "simulated"),
    ],
)
def test_a_row_is_left_out_for_a_stated_reason(rows, study, reason):
    row = one(rows, study)
    assert row["role"] == "left out"
    assert reason in row["reason"]


def test_the_reasons_count_every_row_that_is_left_out(rows):
    assert sum(reason_counts(rows).values()) == (rows["role"] == "left out").sum()


def test_an_exponent_of_tokens_becomes_that_of_parameters(rows):
    row = one(rows, "llama3_2024", obtained="1 - b", role="primary")
    assert row["value"] == pytest.approx(1 - 0.537)
    assert row["counting"] == "unknown"


def test_alpha_and_beta_give_the_exponent_and_its_error(rows):
    row = one(rows, "schaeffer2025_bestfit")
    alpha, beta, se_alpha, se_beta = 0.341862, 0.358689, 0.01432, 0.01886
    rng = np.random.default_rng(1)
    draws = rng.normal([alpha, beta], [se_alpha, se_beta], size=(400_000, 2))
    simulated = draws[:, 1] / draws.sum(axis=1)
    assert row["value"] == pytest.approx(beta / (alpha + beta))
    assert row["se"] == pytest.approx(simulated.std(), rel=0.02)


def test_an_interval_gives_the_error_at_its_level(rows):
    row = one(rows, "hoffmann2022", method="approach 2", corpus="MassiveText")
    assert row["se"] == pytest.approx((0.534 - 0.462) / (2 * 1.28155), rel=1e-4)
    assert row["se_from"] == "interval"


def test_kaplans_range_is_that_of_pearce_and_song(rows):
    row = one(rows, "kaplan2020", role="primary")
    assert (row["c_min"], row["c_max"]) == KAPLAN_RANGE
    assert row["range_from"] == "Pearce & Song"


def test_a_range_of_sizes_becomes_one_of_compute_at_twenty_tokens_per_parameter(rows):
    row = one(rows, "pearce_song2024", counting="total", role="primary")
    assert row["c_min"] == pytest.approx(6 * 20 * 8e5**2)
    body = one(rows, "pearce_song2024", counting="body", role="primary")
    assert body["c_min"] < row["c_min"] / 100  # nearly all of 800 000 parameters are vocabulary
    assert body["range_from"] == "sizes"


def test_an_unknown_counting_may_mean_none_one_or_two_matrices(rows):
    weights = weights_of(rows)
    unknown = (rows["counting"] == "unknown").to_numpy()
    stated = rows["counting"].isin(WEIGHTS).to_numpy()
    assert (weights[unknown] == [0.0, 1.0, 2.0]).all()
    assert (np.ptp(weights[stated], axis=1) == 0).all()
    marin = rows["study"].str.startswith("marin2026").to_numpy()
    assert (weights[marin] == 2.0).all()
