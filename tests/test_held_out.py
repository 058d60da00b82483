import numpy as np
import pandas as pd
import pytest

from scalebayes.errors import StudyError
from scalebayes.held_out import (
    ABOVE,
    compute_of,
    largest_optimum,
    local_optimum,
    optima_above,
    split_by_compute,
    splits_of,
)
from scalebayes.laws import chinchilla
from scalebayes.optimum import optimal_allocation
from scalebayes.studies import load_study

LAW = {"A": 482.0, "B": 2085.0, "alpha": 0.348, "beta": 0.366}


def exact_runs(noise=0.0):
    """Nine sizes around the optimum of nine budgets, losses from the law."""
    compute = np.repeat(np.geomspace(1e18, 1e21, 9), 9)
    N = optimal_allocation(compute, **LAW)[0] * np.tile(np.geomspace(1 / 3, 3, 9), 9)
    D = compute / (6 * N)
    log_loss = np.log(chinchilla(N, D, E=1.82, **LAW))
    log_loss += noise * np.random.default_rng(1).standard_normal(N.size)
    return pd.DataFrame({"N": N, "D": D, "loss": np.exp(log_loss)})


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_the_local_optimum_of_an_exact_law_is_the_laws(noise):
    found = local_optimum(exact_runs(noise), 3e19)
    expected = np.log(optimal_allocation(3e19, **LAW)[0])
    assert abs(found.log_N - expected) < 0.03 + 3 * found.se


def test_its_error_grows_with_the_noise():
    assert local_optimum(exact_runs(2e-3), 3e19).se > 3 * local_optimum(exact_runs(2e-4), 3e19).se


def test_sizes_on_one_side_alone_say_nothing_of_the_optimum():
    runs = exact_runs()
    best = optimal_allocation(compute_of(runs), **LAW)[0]
    assert local_optimum(runs[runs["N"] > 1.2 * best], 3e19) is None


def test_few_runs_at_a_budget_say_nothing_of_it():
    assert local_optimum(exact_runs(), 1e25) is None


def test_a_cut_keeps_every_used_run_once():
    study = load_study("marin2026-comma")
    split = split_by_compute(study, 0.5)
    assert split.below.n_used + len(split.above) == study.n_used == len(split.runs)
    assert (split.below.table["left_out"] == ABOVE).sum() == len(split.above)
    assert compute_of(split.above).min() > split.cut


def test_the_cut_is_the_largest_compute_that_is_fitted():
    split = split_by_compute(load_study("hoffmann2022-epoch"), 0.5)
    inside = compute_of(split.runs) <= split.cut * (1 + 1e-12)
    assert inside.sum() == split.below.n_used


def test_too_few_runs_below_a_cut_are_refused_with_both_numbers():
    study = load_study("muennighoff2023-oneepoch")
    with pytest.raises(StudyError, match="6 runs below and 31 above"):
        split_by_compute(study, 0.5)
    splits, left_out = splits_of([study], [0.5, 0.65])
    assert list(splits) == [(study.name, 0.65)]
    assert "6 runs below" in left_out[study.name, 0.5]


def test_optima_are_read_above_the_cut_only():
    split = split_by_compute(load_study("marin2026-dclm"), 0.5)
    found = optima_above(split)
    assert found
    assert all(one.compute > split.cut for one in found)


def test_the_largest_measured_optimum_is_the_last_that_can_be_measured():
    study = load_study("marin2026-dclm")
    found = largest_optimum(study)
    split = split_by_compute(study, 0.5)
    assert found.compute >= max(one.compute for one in optima_above(split)) / 2
