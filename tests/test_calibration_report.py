import importlib
import json

import numpy as np
import pandas as pd
import pytest
from test_calibrate import calibration
from test_cli import run  # noqa: F401

from scalebayes.calibration_report import (
    calibration_sentence,
    calibration_texts,
    plot_calibration,
)

module = importlib.import_module("scalebayes.calibrate")


def uniform(n=100, seed=1, **more):
    rng = np.random.default_rng(seed)
    return calibration(alpha=rng.uniform(size=n), beta=rng.uniform(size=n), **more)


def test_the_table_says_p_and_coverage_of_every_quantity():
    table = calibration_texts(uniform())
    assert list(table["quantity"]) == ["alpha", "beta"]
    assert list(table.columns[1:3]) == ["p", "p (Holm)"]
    assert [name for name in table if name.endswith("holds")] == [
        "50% holds",
        "80% holds",
        "90% holds",
        "95% holds",
    ]


def test_the_sentence_counts_simulations_and_those_the_gate_found_fault_with():
    assert "100 simulations" in calibration_sentence(uniform())
    assert "found fault with 0" in calibration_sentence(uniform())


def test_the_figure_has_a_panel_per_quantity_with_the_band_of_uniform_places():
    figure = plot_calibration(uniform())
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["alpha", "beta"]
    assert figure.axes[0].collections


@pytest.mark.parametrize("good", [True, False])
def test_the_command_says_whether_posteriors_are_calibrated_and_ends_accordingly(
    run,  # noqa: F811
    monkeypatch,
    tmp_path,
    good,
):
    bad = {} if good else {"gamma": np.full(100, 0.5)}
    monkeypatch.setattr(module, "calibrate", lambda *_, **__: uniform(**bad))
    shown = run("calibrate", "--sbc", "100", "--figure", "ranks.svg")
    assert shown.code == (0 if good else 3)
    assert ("NOT CALIBRATED" in shown.out) != good
    assert (tmp_path / "ranks.svg").is_file()
    rows = json.loads(run("calibrate", "--sbc", "100", "--json").out)["rows"]
    assert pd.DataFrame(rows)["quantity"].tolist() == ["alpha", "beta", *bad]


def test_the_command_asks_for_one_thing_to_judge_and_for_one_study(run):  # noqa: F811
    assert run("calibrate").code == 2
    assert run("calibrate", "--forecast", "--sbc", "20").code == 2
    two = ("--study", "marin2026-comma", "--study", "marin2026-dclm")
    assert run("calibrate", "--sbc", "20", *two).code == 2
