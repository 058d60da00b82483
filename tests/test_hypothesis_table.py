from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from fits import HOFFMANN, thinned_design

from scalebayes import hypothesis_table
from scalebayes.hypothesis_table import (
    ALL_STUDIES,
    FIXED,
    TOTAL,
    counting_evidence,
    hypothesis_rows,
    shown_table,
    summed_rows,
)


def grid_fit(values, status="converged"):
    """A fit that holds nothing but the evidence of its counting grid."""
    omega = np.arange(len(values), dtype=float)
    columns = {
        "log_evidence_default": ("omega", np.asarray(values, dtype=float)),
        "log_evidence_default_se": ("omega", np.full(len(values), 0.1)),
        "status": ("omega", np.full(len(values), status)),
    }
    return xr.DataTree.from_dict({"evidence": xr.Dataset(columns, coords={"omega": omega})})


def rows_of(relative, *, se=0.1, status="converged"):
    base = {"hypothesis": TOTAL, "relative": 0.0, "relative_se": 0.0, "status": "converged"}
    other = {"hypothesis": "symmetric", "relative": relative, "relative_se": se, "status": status}
    return pd.DataFrame([base, other])


def three_studies(*, last="converged"):
    parts = {"one": rows_of(-2.0), "two": rows_of(-3.0), "three": rows_of(40.0, status=last)}
    return pd.concat([part.assign(study=name) for name, part in parts.items()], ignore_index=True)


def test_a_counting_has_the_evidence_of_its_omega_and_total_that_of_the_stored_matrices():
    tied = counting_evidence(grid_fit([5.0, 6.0, 7.0]), 1.0)
    untied = counting_evidence(grid_fit([5.0, 6.0, 7.0]), 2.0)
    assert {name: value for name, (value, *_) in tied.items()} == {
        TOTAL: 6.0,
        "body": 5.0,
        "one matrix": 6.0,
    }
    assert untied[TOTAL][0] == 7.0


def test_an_omega_off_the_grid_has_no_evidence_and_says_so():
    value, _, status = counting_evidence(grid_fit([5.0, 6.0, 7.0]), 1.3)[TOTAL]
    assert np.isnan(value)
    assert "1.3" in status


def test_an_omega_of_negligible_weight_is_known_well_enough_and_a_failed_one_is_not():
    fine = counting_evidence(grid_fit([5.0, 6.0, 7.0], "negligible"), 1.0)
    failed = counting_evidence(grid_fit([5.0, 6.0, 7.0], "R-hat 1.2"), 1.0)
    assert fine["body"][2] == "converged"
    assert failed["body"][2] == "R-hat 1.2"


def test_evidences_add_and_their_errors_add_in_quadrature():
    total, symmetric = summed_rows(three_studies()).to_dict("records")
    assert symmetric["relative"] == pytest.approx(35.0)
    assert symmetric["relative_se"] == pytest.approx(0.1 * np.sqrt(3))
    assert symmetric["verdict"].startswith("decided for symmetric")
    assert total["verdict"] == ""


def test_a_study_that_did_not_converge_counts_for_nothing_in_the_sum_and_is_marked():
    table = three_studies(last="not converged: R-hat 1.2")
    sums = summed_rows(table)
    row = sums[sums["hypothesis"] == "symmetric"].iloc[0]
    assert row["relative"] == pytest.approx(-5.0)
    assert row["studies"] == 2
    assert row["verdict"].startswith("decided for total")
    shown = shown_table(pd.concat([table, sums], ignore_index=True)).set_index("study")["symmetric"]
    assert shown["three"] == "+40.0 ± 0.1 (not converged)"
    assert shown[ALL_STUDIES] == "-5.0 ± 0.1 (2 studies)"
    assert shown["verdict"] == row["verdict"]


def test_a_lead_within_its_error_decides_nothing():
    table = rows_of(1.5, se=2.0).assign(study="one")
    assert summed_rows(table)["verdict"].iloc[1].startswith("leaning towards symmetric")


def test_evidences_are_fitted_once_for_the_same_runs_and_settings(tmp_path, monkeypatch):
    fitted = []

    def fit(study, name, **settings):
        fitted.append(name)
        good = name != "ratio-noise"
        attrs = {"log_evidence": 100 + 0.1 * len(fitted), "log_evidence_se": 1 / 3}
        attrs |= {"converged": int(good), "problems": "" if good else "R-hat 1.2"}
        return SimpleNamespace(attrs=attrs)

    monkeypatch.setenv("SCALEBAYES_CACHE", str(tmp_path))
    monkeypatch.setattr(hypothesis_table, "fit", fit)
    study = thinned_design(HOFFMANN, every=8)
    fits = {study.name: grid_fit([100.0, 99.0])}

    def rows(study=study, **settings):
        return hypothesis_rows([study], fits, **{"random_seed": 1, "draws": 50} | settings)

    first, again = rows(), rows()
    assert fitted == list(FIXED)
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    assert "not converged: R-hat 1.2" in set(again["status"])
    rows(draws=60)
    rows(thinned_design(HOFFMANN, every=9))
    assert fitted == 3 * list(FIXED)
    rows(cache=False)
    assert fitted == 4 * list(FIXED)
