"""The SHA-256 at a file's end: what was changed is refused before HDF5 parses it."""

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalebayes.errors import ResultError
from scalebayes.seal import MARK, check_seal, seal
from scalebayes.storage import load_fit, save_fit


def tree():
    dims = ("chain", "draw")
    posterior = xr.Dataset({"E": (dims, np.arange(10.0).reshape(2, 5))})
    made = xr.DataTree.from_dict({"posterior": posterior})
    made.attrs = {"study": "x", "converged": 1}
    return made


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_fit(tree(), tmp_path_factory.mktemp("saved") / "fit.nc")


def without_seal(path):
    content = path.read_bytes()
    return content[: content.rindex(MARK)]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_sealed_file_with_any_changed_byte_is_refused_before_it_is_parsed(saved, tmp_path, data):
    content = bytearray(saved.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = tmp_path / "damaged.nc"
    damaged.write_bytes(content)
    with pytest.raises(ResultError, match=r"damaged\.nc: the file is damaged"):
        check_seal(damaged)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_sealed_file_that_was_cut_is_refused_or_whole_without_its_seal(saved, tmp_path, data):
    content = saved.read_bytes()
    cut = tmp_path / "cut.nc"
    cut.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    try:
        check_seal(cut)
    except ResultError as error:
        assert "cut off, or no HDF5" in str(error)
    else:
        assert cut.read_bytes() == without_seal(saved)


def test_a_file_saved_before_there_were_seals_is_still_read(saved, tmp_path):
    old = tmp_path / "old.nc"
    old.write_bytes(without_seal(saved))
    assert load_fit(old).identical(tree())


def test_what_comes_after_a_seal_is_noticed(saved, tmp_path):
    longer = tmp_path / "longer.nc"
    longer.write_bytes(saved.read_bytes() + b"\n")
    with pytest.raises(ResultError, match="damaged"):
        load_fit(longer)


def test_other_programs_read_a_sealed_file(saved):
    with h5py.File(saved, "r") as file:
        np.testing.assert_array_equal(file["posterior/E"][()].ravel(), np.arange(10.0))
    read = xr.load_datatree(saved, engine="h5netcdf")
    np.testing.assert_array_equal(read["posterior"]["E"], tree()["posterior"]["E"])


@pytest.mark.parametrize("version", [0, 2, 3])
def test_the_end_is_found_in_every_kind_of_superblock(tmp_path, version):
    """HDF5 file format specification, section II.A."""
    bounds = {0: ("earliest", "v108"), 2: ("v108", "v108"), 3: ("v110", "v110")}
    path = tmp_path / "any.h5"
    with h5py.File(path, "w", libver=bounds[version]) as file:
        file["x"] = np.arange(100.0)
    assert path.read_bytes()[8] == version
    check_seal(path)
    seal(path)
    check_seal(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ResultError, match="cut off"):
        check_seal(path)
