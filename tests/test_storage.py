import os
import sys
import warnings

import numpy as np
import pytest
import xarray as xr
from fits import hoffmann_fit, small_latent_fit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalebayes import storage
from scalebayes.errors import InputError, ResultError
from scalebayes.hypotheses import load_hypothesis
from scalebayes.storage import (
    cache_entries,
    cache_limit,
    cached,
    cached_fit,
    clear_cache,
    content_digest,
    content_key,
    file_digest,
    load_fit,
    package_digest,
    save_fit,
    store_in_cache,
)
from scalebayes.stored_trees import write_tree


def small_tree(seed=0):
    rng = np.random.default_rng(seed)
    dims, coords = ("chain", "draw"), {"chain": [0, 1], "draw": np.arange(5)}
    posterior = xr.Dataset({"E": (dims, rng.normal(size=(2, 5)))}, coords=coords)
    stats = xr.Dataset({"diverging": (dims, rng.random((2, 5)) < 0.5)}, coords=coords)
    data = xr.Dataset({"log_loss": ("run", rng.normal(size=3))}, coords={"run": ["a", "é", ""]})
    tree = xr.DataTree.from_dict(
        {"posterior": posterior, "sample_stats": stats, "observed_data": data}
    )
    tree.attrs = {"study": "x", "problems": "", "n": 3, "log_evidence": -1.25, "converged": 1}
    tree["posterior"].attrs = {"resampled": 1}
    return tree


def same(one, two):
    return one.identical(two) and content_digest(one) == content_digest(two)


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("SCALEBAYES_CACHE", str(folder))
    return folder


def test_a_saved_tree_reads_back_as_it_was(tmp_path):
    tree = small_tree()
    path = save_fit(tree, tmp_path / "fit.nc")
    loaded = load_fit(path)
    assert same(loaded, tree)
    assert {name: type(value) for name, value in loaded.attrs.items()} == {
        name: type(value) for name, value in tree.attrs.items()
    }


@pytest.mark.parametrize("made", [hoffmann_fit, small_latent_fit], ids=["fixed", "latent"])
def test_a_saved_fit_reads_back_as_it_was(tmp_path, made):
    fit = made()
    loaded = load_fit(save_fit(fit, tmp_path / "fit.nc"))
    assert same(loaded, fit)
    assert loaded.attrs == fit.attrs
    assert loaded["sample_stats"]["diverging"].dtype == bool
    for node in loaded.subtree:
        assert all(isinstance(value, str | int | float) for value in node.attrs.values())


def test_saving_does_not_change_what_is_saved(tmp_path):
    tree = small_tree()
    before = tree.copy(deep=True)
    save_fit(tree, tmp_path / "fit.nc")
    assert same(tree, before)


def test_a_path_may_be_text_and_nothing_else_is_left_in_the_folder(tmp_path):
    save_fit(small_tree(), str(tmp_path / "fit.nc"))
    assert [path.name for path in tmp_path.iterdir()] == ["fit.nc"]


def test_the_digest_knows_every_number_name_and_attribute():
    base = content_digest(small_tree())
    assert content_digest(small_tree()) == base
    changed = [small_tree() for _ in range(5)]
    changed[0]["posterior"]["E"].values[0, 0] += 1e-15
    changed[1].attrs["study"] = "y"
    changed[2]["posterior"] = changed[2]["posterior"].to_dataset().rename(E="F")
    changed[3]["posterior"].attrs["resampled"] = 0
    changed[4]["sample_stats"]["diverging"].values[0, 0] ^= True
    assert len({base, *map(content_digest, changed)}) == 6


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_flipped_byte_changes_a_number_unnoticed(tmp_path, data):
    tree, path = small_tree(), tmp_path / "fit.nc"
    if not path.exists():
        save_fit(tree, path)
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    damaged = tmp_path / "damaged.nc"
    damaged.write_bytes(content)
    try:
        loaded = load_fit(damaged)
    except ResultError as error:
        assert "damaged" in str(error) or "not a result" in str(error)
    else:
        assert same(loaded, tree)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95, 0.999])
def test_a_truncated_file_is_called_damaged(tmp_path, share):
    path = save_fit(small_tree(), tmp_path / "fit.nc")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ResultError, match=r"fit.nc: .*damaged"):
        load_fit(path)


def test_a_number_that_was_edited_is_noticed(tmp_path):
    path = save_fit(small_tree(), tmp_path / "fit.nc")
    tree = xr.load_datatree(path, engine="h5netcdf")
    tree["posterior"]["E"].values[0, 0] += 1
    tree.to_netcdf(tmp_path / "edited.nc", engine="h5netcdf")
    with pytest.raises(ResultError, match="does not match its SHA-256"):
        load_fit(tmp_path / "edited.nc")


def test_what_is_not_a_result_is_refused(tmp_path):
    with pytest.raises(ResultError, match="none.nc: no such file"):
        load_fit(tmp_path / "none.nc")
    with pytest.raises(ResultError, match="no such file"):
        load_fit(tmp_path)
    small_tree().to_netcdf(tmp_path / "foreign.nc", engine="h5netcdf")
    with pytest.raises(ResultError, match="not a result saved by scalebayes"):
        load_fit(tmp_path / "foreign.nc")
    (tmp_path / "text.nc").write_text("N,D,loss\n", encoding="utf-8")
    with pytest.raises(ResultError, match="damaged or not a result"):
        load_fit(tmp_path / "text.nc")


def full_disk(*args, **kwargs):
    raise OSError(28, "No space left on device")


def half_written(tree, path, **kwargs):
    path.write_bytes(b"half")
    full_disk()


def unlike(tree, path, **kwargs):
    """A disk that stores something else."""
    other = small_tree(seed=9)
    other.attrs = dict(tree.attrs)
    ORIGINAL(other, path, **kwargs)


ORIGINAL = write_tree

FAULTS = {
    "a full disk": ("scalebayes.stored_trees.write_tree", half_written, "No space left"),
    "no rename": ("pathlib.Path.replace", full_disk, "No space left"),
    "no flush": ("os.fsync", full_disk, "No space left"),
    "a disk that lies": ("scalebayes.stored_trees.write_tree", unlike, "damaged"),
}


@pytest.mark.parametrize(("place", "fault", "reason"), FAULTS.values(), ids=FAULTS)
def test_the_old_file_survives_a_failed_save(tmp_path, monkeypatch, place, fault, reason):
    path = save_fit(small_tree(1), tmp_path / "fit.nc")
    before = path.read_bytes()
    monkeypatch.setattr(place, fault)
    with pytest.raises(ResultError, match=f"{reason}.*untouched"):
        save_fit(small_tree(2), path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert same(load_fit(path), small_tree(1))
    assert [one.name for one in tmp_path.iterdir()] == ["fit.nc"]


def test_an_interrupt_while_saving_leaves_no_half_file(tmp_path, monkeypatch):
    path = save_fit(small_tree(1), tmp_path / "fit.nc")

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("scalebayes.stored_trees.write_tree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_fit(small_tree(2), path)
    assert [one.name for one in tmp_path.iterdir()] == ["fit.nc"]


def test_a_folder_that_is_not_there_or_a_name_that_is_one_is_refused(tmp_path):
    with pytest.raises(ResultError, match="cannot be saved there"):
        save_fit(small_tree(), tmp_path / "none" / "fit.nc")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ResultError, match="could not be saved"):
        save_fit(small_tree(), tmp_path / "folder")
    assert [one.name for one in tmp_path.iterdir()] == ["folder"]


def test_two_writers_of_one_name_leave_one_whole_file(tmp_path, monkeypatch):
    """The second save runs while the first has written its part but not yet renamed it."""
    path = tmp_path / "fit.nc"
    load = storage.load_fit

    def load_while_another_saves(part):
        monkeypatch.setattr(storage, "load_fit", load)
        save_fit(small_tree(2), path)
        return load(part)

    monkeypatch.setattr(storage, "load_fit", load_while_another_saves)
    save_fit(small_tree(1), path)
    assert same(load_fit(path), small_tree(1))
    assert [one.name for one in tmp_path.iterdir()] == ["fit.nc"]


def test_a_fit_in_the_cache_is_found_by_its_key_alone(cache_folder):
    assert cached_fit("key") is None
    store_in_cache("key", small_tree(1))
    assert same(cached_fit("key"), small_tree(1))
    assert cached_fit("other") is None


def test_a_damaged_cache_entry_is_left_out_with_a_warning(cache_folder):
    store_in_cache("key", small_tree(1))
    entry = cache_folder / "key.nc"
    entry.write_bytes(entry.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="cache entry left out.*damaged"):
        assert cached_fit("key") is None
    assert not entry.exists()


def used_at(path, seconds):
    os.utime(path, (seconds, seconds))


def test_the_cache_drops_what_was_used_longest_ago_when_it_outgrows_its_limit(
    cache_folder, monkeypatch
):
    for i, key in enumerate("abc"):
        store_in_cache(key, small_tree(i))
        used_at(cache_folder / f"{key}.nc", 1000 + i)
    cached_fit("a")  # used just now
    size = (cache_folder / "a.nc").stat().st_size
    monkeypatch.setenv("SCALEBAYES_CACHE_GB", str(3.5 * size / 1e9))
    store_in_cache("d", small_tree(4))
    assert {path.stem for path, *_ in cache_entries()} == {"a", "c", "d"}
    assert clear_cache() == (3, pytest.approx(3 * size, rel=0.01))
    assert cache_entries() == []


def test_a_limit_that_is_no_number_is_refused(monkeypatch):
    for text in ("much", "-1", "inf"):
        monkeypatch.setenv("SCALEBAYES_CACHE_GB", text)
        with pytest.raises(InputError, match="SCALEBAYES_CACHE_GB is"):
            cache_limit()


def test_an_entry_that_another_process_removes_is_a_miss_without_a_warning(
    cache_folder, monkeypatch, recwarn
):
    store_in_cache("key", small_tree(1))

    def gone(path):
        path.unlink()
        raise ResultError(f"{path}: no such file.")

    monkeypatch.setattr(storage, "load_fit", gone)
    assert cached_fit("key") is None
    assert not recwarn.list


def test_an_unwritable_cache_is_one_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("SCALEBAYES_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="fits are not cached") as caught:
        store_in_cache("key", small_tree())
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cached_fit("key") is None


def test_a_full_disk_under_the_cache_is_one_warning(cache_folder, monkeypatch):
    monkeypatch.setattr("scalebayes.stored_trees.write_tree", half_written)
    with pytest.warns(UserWarning, match="fits are not cached.*No space left") as caught:
        store_in_cache("key", small_tree())
    assert len(caught) == 1
    assert list(cache_folder.iterdir()) == []


PARTS = st.dictionaries(st.sampled_from("ab"), st.sampled_from(["", "x", "1", 1, 2, "x\n1"]))


@given(PARTS, PARTS)
def test_keys_differ_exactly_where_parts_do(one, two):
    assert (content_key(**one) == content_key(**two)) == (one == two)


def test_a_files_digest_is_that_of_its_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_digest(tmp_path / "x").startswith("ba7816bf8f01cfea")  # FIPS 180-2, B.1


def test_the_digest_of_the_package_is_of_its_hypotheses_too(tmp_path, monkeypatch):
    hypotheses = sys.modules[load_hypothesis.__module__]
    for path in hypotheses.models_folder().glob("*.toml"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = package_digest.__wrapped__()
    monkeypatch.setattr(hypotheses, "models_folder", lambda: tmp_path)
    assert package_digest.__wrapped__() == before
    with (tmp_path / "symmetric.toml").open("a") as file:
        file.write("# another prior\n")
    assert package_digest.__wrapped__() != before


def test_a_result_is_made_once_for_a_key(cache_folder):
    made = []

    def make():
        made.append(small_tree(len(made)))
        return made[-1]

    assert same(cached("key", make), small_tree(0))
    assert same(cached("key", make), small_tree(0))
    assert same(cached("other", make), small_tree(1))
    assert same(cached("key", make, cache=False), small_tree(2))
    assert same(cached("key", make), small_tree(0))
    assert len(made) == 3
