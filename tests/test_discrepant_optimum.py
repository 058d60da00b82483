import json
from dataclasses import asdict

import numpy as np
import pytest
import xarray as xr
from fits import FAMILY, made_fit

from scalebayes.counting import body_of, flops_terms
from scalebayes.discrepancy import AMPLITUDES, Discrepancy
from scalebayes.discrepancy_report import (
    discrepant_rows,
    discrepant_text,
    loss_shares,
    optimum_shares,
    predicted_text,
)
from scalebayes.discrepant_optimum import with_discrepancy, with_ratio_literature
from scalebayes.errors import InputError
from scalebayes.first_order import log_count
from scalebayes.optimum import optimal
from scalebayes.predict import predict
from scalebayes.ratio_literature import StudyRatio

BUDGETS = [1e20, 1e24]


def fixed(**amplitudes):
    """Amplitudes that are known; those not named are 0."""
    return Discrepancy(
        amplitudes={name: np.array([amplitudes.get(name, 0.0)]) for name in AMPLITUDES}
    )


def saved_fit(**more):
    """A fit with many draws and the attrs that reports read."""
    tree = made_fit(draws=2000)
    tree.attrs |= {"study": "made", "hypothesis_name": "hoffmann-total", "converged": 1}
    tree.attrs |= {"still_prior": "[]", **more}
    return tree


def test_no_amplitude_leaves_the_laws_optimum():
    fit = made_fit()
    best = optimal(fit, BUDGETS)
    found = with_discrepancy(fit, best, discrepancy=fixed())
    for name in ("N", "D", "tokens_per_parameter", "loss"):
        np.testing.assert_allclose(found[f"{name}_with_discrepancy"], best[name], rtol=1e-12)


def test_the_laws_own_answer_stays():
    fit = made_fit()
    best = optimal(fit, BUDGETS)
    found = with_discrepancy(fit, best, discrepancy=fixed(shift=0.5))
    xr.testing.assert_equal(found[list(best.data_vars)].drop_vars("decades_outside"), best)


def test_uncertainty_grows_with_the_decades_outside_the_data():
    fit = saved_fit()
    found = with_discrepancy(fit, optimal(fit, [1e23, 1e24]), discrepancy=fixed(shift_growth=0.3))
    sd = np.log(found["N_with_discrepancy"]).std(("chain", "draw")).to_numpy()
    decades = found["decades_outside"].to_numpy()
    assert decades[1] == pytest.approx(decades[0] + 1)
    assert sd == pytest.approx(0.3 * decades, rel=0.05)


@pytest.mark.parametrize(
    ("counting", "flops"), [("body", "6ND:body"), ("total", "6ND:body"), ("total", "kaplan")]
)
def test_the_budget_is_kept_in_its_own_counting(counting, flops):
    fit = made_fit()
    best = optimal(fit, BUDGETS, counting=counting, flops=flops, architecture=FAMILY)
    found = with_discrepancy(fit, best, discrepancy=fixed(shift=0.7))
    N, D = found["N_with_discrepancy"], found["D_with_discrepancy"]
    assert float(abs(np.log(N / best["N"])).max()) > 0.1
    charged = log_count(np.log(body_of(N, counting, FAMILY)), flops_terms(flops, counting, FAMILY))
    spent = 6 * np.exp(charged[0]) * D
    np.testing.assert_allclose(spent, best["compute"].broadcast_like(spent), rtol=1e-9)


def test_same_seed_gives_same_numbers():
    fit = made_fit()
    best = optimal(fit, BUDGETS)
    first, again = (with_discrepancy(fit, best, random_seed=3) for _ in range(2))
    xr.testing.assert_identical(first, again)


def test_a_law_without_a_surface_is_refused():
    fit = made_fit()
    best = optimal(fit, BUDGETS)
    fit["posterior"] = fit["posterior"].to_dataset().rename(A="K")
    fit.attrs["law"] = "isoflop"
    with pytest.raises(InputError, match="isoflop"):
        with_discrepancy(fit, best)


def test_the_share_of_the_law_is_what_its_draws_leave_open():
    fit = saved_fit()
    rng = np.random.default_rng(1)
    posterior = fit["posterior"].to_dataset()
    wide = posterior["A"] * np.exp(0.2 * rng.standard_normal(posterior["A"].shape))
    fit["posterior"] = posterior.assign(A=wide)
    best = with_discrepancy(fit, optimal(fit, [1e24]), discrepancy=fixed(shift_growth=0.1))
    law = np.log(best["tokens_per_parameter"]).var().item()
    added = (2 * 0.1 * best["decades_outside"].item()) ** 2
    assert optimum_shares(best)[0] == pytest.approx(law / (law + added), rel=0.1)


def test_rows_and_text_say_what_the_discrepancy_adds():
    fit = saved_fit()
    best = with_discrepancy(fit, optimal(fit, BUDGETS))
    rows = discrepant_rows(best, fit)
    assert {row["name"] for row in rows} == {
        f"{name}_with_discrepancy" for name in ("N", "D", "tokens_per_parameter", "loss")
    }
    shared = [row for row in rows if "share_law" in row]
    assert [row["name"] for row in shared] == ["tokens_per_parameter_with_discrepancy"] * 2
    assert all(row["share_law"] + row["share_discrepancy"] == 1 for row in shared)
    text = discrepant_text(best, fit)
    assert "With discrepancy; N counted as total, C as 6ND" in text
    assert "share of" in text


def test_predicted_losses_widen_outside_the_data_and_the_shares_say_by_what():
    fit = saved_fit()
    draws = predict(
        fit, {"N": [1e9, 1e12], "D": [5e10, 2e13]}, random_seed=1, discrepancy="published"
    )
    sd = np.log(draws["loss_with_discrepancy"]).std(("chain", "draw")).to_numpy()
    assert sd[1] > 3 * sd[0] > 0
    shares = loss_shares(draws)
    assert sum(shares.values()) == pytest.approx([1, 1])
    assert shares["law"] == pytest.approx([0, 0], abs=1e-9)
    assert shares["noise"][0] > shares["noise"][1]
    assert shares["discrepancy"][1] > 0.9
    text = " ".join(predicted_text(draws, fit).split())
    assert "law / discrepancy" in text
    assert "The width of a new run's log loss is, from row to row, 0% posterior draws," in text


def test_published_ratios_pull_the_optimum_the_more_the_further_out_it_is():
    ratios = [
        StudyRatio(study=f"s{i}", group=f"g{i}", log_compute=46.0, log_ratio=4.5, variance=0.01)
        for i in range(6)
    ]
    said = {"counting": "", "studies": [asdict(one) for one in ratios]}
    fit = saved_fit(ratio_literature=json.dumps(said))
    best = optimal(fit, [1e21, 1e25])
    found = with_ratio_literature(fit, best, discrepancy=fixed(shift=0.05, shift_growth=0.3))
    pulled = np.log(found["tokens_per_parameter_with_literature"]) - np.log(
        best["tokens_per_parameter"]
    )
    near, far = pulled.mean(("chain", "draw")).to_numpy()
    assert 0 < near < far
    assert (found["effective_draws"] > 100).all()


def test_without_published_ratios_or_in_another_counting_there_is_nothing():
    fit = saved_fit()
    assert with_ratio_literature(fit, optimal(fit, BUDGETS)) is None
    one = StudyRatio(study="s", group="g", log_compute=46.0, log_ratio=4.5, variance=0.01)
    said = {"counting": "", "studies": [asdict(one)]}
    fit.attrs["ratio_literature"] = json.dumps(said)
    body = optimal(fit, BUDGETS, counting="body", architecture=FAMILY)
    assert with_ratio_literature(fit, body) is None
