"""The benchmark of optima from isoFLOP grids: what it knows without a fit, and that it runs."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

PATH = Path(__file__).parent.parent / "benchmarks" / "isoflop_recovery.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location(PATH.stem, PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def errors(benchmark, surface, grid):
    """Errors of approach 2 on losses without noise: of a, and of log N* at the middle budget."""
    law = benchmark.SURFACES[surface]
    found = benchmark.without_noise(law, benchmark.DRIFTS[grid])
    return {name: value - benchmark.truth(law)[name] for name, value in found.items()}


@pytest.mark.parametrize("surface", ["Chinchilla", "lopsided"])
def test_on_a_centred_grid_parabolas_give_a_but_not_the_size(benchmark, surface):
    """Czech et al. (2026), arXiv:2603.22339: the vertex is off by one factor at every budget."""
    found = errors(benchmark, surface, "centred")
    assert found["a"] == pytest.approx(0, abs=1e-9)
    assert found["log_N"] > 0.01


def test_the_more_lopsided_the_law_the_farther_off_its_parabolas_are(benchmark):
    for grid, name in (("centred", "log_N"), ("drifting", "a")):
        lopsided = errors(benchmark, "lopsided", grid)[name]
        assert abs(lopsided) > 4 * abs(errors(benchmark, "Chinchilla", grid)[name])


def test_where_the_centre_drifts_a_lopsided_law_looks_flatter_than_it_is(benchmark):
    assert errors(benchmark, "lopsided", "drifting")["a"] < -0.01


def test_losses_on_parabolas_give_their_vertices_and_an_interval_of_no_width(benchmark):
    N = np.outer(1e8 * (benchmark.BUDGETS / benchmark.MIDDLE) ** 0.4, benchmark.SIZES)
    loss = np.broadcast_to(2 + 0.1 * np.log(benchmark.SIZES) ** 2, N.shape)
    found = benchmark.approach_2(pd.Series(N.ravel()), pd.Series(loss.ravel()))
    np.testing.assert_allclose(found["a"], 0.4, atol=1e-9)
    np.testing.assert_allclose(found["log_N"], np.log(1e8), atol=1e-9)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_was(benchmark, tmp_path):
    asked = {"draws": 200, "surfaces": ["lopsided"], "results": tmp_path / "results.csv"}
    first = benchmark.simulated(SimpleNamespace(repeats=1, **asked))
    options = SimpleNamespace(repeats=2, **asked)
    both = benchmark.simulated(options)
    assert (len(first), len(both)) == (2, 4)
    again = both[both["seed"] == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, first.reset_index(drop=True))
    text = benchmark.report(both, options)
    assert "2 studies a row" in text
    assert text.count("| lopsided | drifting |") == 2
