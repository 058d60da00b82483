"""Trees read by h5py: the same as xarray's own reader gives, which also reads what is unusual."""

import numpy as np
import pytest
import xarray as xr

from scalebayes import stored_trees
from scalebayes.stored_trees import read_tree, write_tree


@pytest.fixture
def tree():
    """A tree with all that the package stores: numbers, truth values, text, bare dimensions."""
    posterior = xr.Dataset(
        {
            "alpha": (("chain", "draw"), np.arange(6.0).reshape(2, 3), {"units": "1"}),
            "diverging": (("chain", "draw"), np.array([[True, False, False]] * 2)),
            "n_steps": (("chain", "draw"), np.full((2, 3), 7, dtype=np.uint64)),
            "run_effect": (("chain", "draw", "trajectory"), np.full((2, 3, 2), np.nan)),
            "status": ("omega", ["converged", ""]),
        },
        coords={"chain": [0, 1], "draw": [0, 1, 2], "omega": [0.0, 0.5]},
        attrs={"resampled": 1},
    )
    inner = xr.Dataset({"frequency": ("omega", [0.25, 0.75])}, coords={"omega": [0.0, 0.5]})
    found = xr.DataTree.from_dict(
        {"posterior": posterior, "per_group": inner, "per_group/x": inner}
    )
    found.attrs = {"study": "größe", "problems": "", "log_evidence": 1.5, "converged": 1}
    return found


def stored(tree, path):
    tree.to_netcdf(path, engine="h5netcdf")
    return path


def test_a_stored_tree_is_read_as_xarray_reads_it(tree, tmp_path, monkeypatch):
    path = stored(tree, tmp_path / "tree.nc")
    expected = xr.load_datatree(path, engine="h5netcdf")
    monkeypatch.setattr(stored_trees.xr, "load_datatree", None)  # not asked
    found = read_tree(path)
    xr.testing.assert_identical(found, expected)
    for one, other in zip(found.subtree, expected.subtree, strict=True):
        assert one.path == other.path
        assert {name: x.dtype for name, x in one.variables.items()} == {
            name: x.dtype for name, x in other.variables.items()
        }


@pytest.mark.parametrize(
    "encoding",
    [
        {"scale_factor": 0.5, "add_offset": 1.0, "dtype": "int16", "_FillValue": -9},
        {"_FillValue": -1.0},
    ],
)
def test_numbers_that_stand_for_others_are_left_to_xarray(tree, tmp_path, encoding):
    tree["posterior"]["alpha"].encoding = encoding
    path = stored(tree, tmp_path / "tree.nc")
    expected = xr.load_datatree(path, engine="h5netcdf")
    xr.testing.assert_identical(read_tree(path), expected)


def test_times_are_left_to_xarray(tree, tmp_path):
    when = np.array(["2024-01-01", "2024-01-02"], dtype="M8[ns]")
    tree["posterior"]["when"] = xr.DataArray(when, dims="omega")
    path = stored(tree, tmp_path / "tree.nc")
    found = read_tree(path)["posterior"]["when"]
    assert found.dtype.kind == "M"
    assert found.to_numpy()[0] == np.datetime64("2024-01-01")


def test_a_written_tree_is_read_by_xarray_as_if_xarray_had_written_it(tree, tmp_path, monkeypatch):
    expected = xr.load_datatree(stored(tree, tmp_path / "xarray.nc"), engine="h5netcdf")
    monkeypatch.setattr(xr.DataTree, "to_netcdf", None)  # not asked
    write_tree(tree, tmp_path / "tree.nc")
    found = xr.load_datatree(tmp_path / "tree.nc", engine="h5netcdf")
    xr.testing.assert_identical(found, expected)
    xr.testing.assert_identical(read_tree(tmp_path / "tree.nc"), expected)


def test_what_the_package_does_not_store_is_written_by_xarray(tree, tmp_path):
    when = np.array(["2024-01-01", "2024-01-02"], dtype="M8[ns]")
    tree["posterior"]["when"] = xr.DataArray(when, dims="omega")
    tree["posterior"]["alpha"].encoding = {"_FillValue": -1.0}
    write_tree(tree, tmp_path / "tree.nc")
    found = xr.load_datatree(tmp_path / "tree.nc", engine="h5netcdf")
    xr.testing.assert_identical(found, xr.load_datatree(stored(tree, tmp_path / "xarray.nc")))
