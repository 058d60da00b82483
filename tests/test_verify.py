"""Whether a saved result is as it was written: found for every byte, file and link."""

import json
import os
import shutil
from functools import cache

import numpy as np
import pytest
from fits import tree_without_sampling, user_study
from test_cli import run  # noqa: F401

import scalebayes as sb
from scalebayes.errors import InputError, ResultError
from scalebayes.manifest import (
    CHANGED,
    INTACT,
    MANIFEST,
    MISSING,
    OWN_DIGEST,
    UNLISTED,
    entries_digest,
    file_states,
    read_manifest,
    write_manifest,
)
from scalebayes.storage import file_digest, save_fit
from scalebayes.trees import versions
from scalebayes.verify import NOT_BUNDLED, OTHER, SAME

STUDY = "hoffmann2022-epoch"


@cache
def fit():
    return tree_without_sampling("hoffmann-total", draws=20)


@pytest.fixture
def folder(tmp_path):
    """A folder as `reconcile` writes it, with two posteriors, a table, a page and a figure."""
    out = tmp_path / "out"
    (out / "posteriors").mkdir(parents=True)
    (out / "figures").mkdir()
    save_fit(fit(), out / "posteriors" / f"{STUDY}.nc")
    save_fit(tree_without_sampling("hoffmann-total", user_study()), out / "posteriors" / "sweep.nc")
    (out / "summary.csv").write_text("study,median\nx,0.5\n")
    (out / "index.html").write_text("<!doctype html><p>0.5</p>\n")
    (out / "figures" / "ratio.svg").write_text("<svg></svg>\n")
    write_manifest(
        out,
        {
            "settings": {"random_seed": 7},
            "versions": versions(),
            "data_sha256": {STUDY: fit().attrs["data_hash"]},
        },
    )
    return out


def flip(path, position, bit=0):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def test_a_folder_as_it_was_written_is_intact_and_says_what_it_was_made_with(folder):
    found = sb.verify(folder)
    assert set(found.files) == {
        *("posteriors/hoffmann2022-epoch.nc", "posteriors/sweep.nc"),
        *("summary.csv", "index.html", "figures/ratio.svg"),
    }
    assert set(found.files.values()) == {INTACT}
    assert found.intact and found.same_versions
    assert found.seeds == (7,)
    assert found.data == {STUDY: SAME}


def test_each_of_200_flipped_bits_is_found_in_the_file_that_has_it(folder):
    rng = np.random.default_rng(28)
    digests = read_manifest(folder)["files_sha256"]
    names = sorted(digests)
    for i in range(200):
        name = names[i % len(names)]
        path = folder / name
        before = path.read_bytes()
        flip(path, rng.integers(len(before)), rng.integers(8))
        states = file_states(folder, digests)
        assert {one for one, state in states.items() if state != INTACT} == {name}
        path.write_bytes(before)
    assert sb.verify(folder).intact


def test_no_flipped_bit_of_the_manifest_itself_changes_what_it_says(folder):
    """Every fifth of them all; some only change white space."""
    path, entries = folder / MANIFEST, read_manifest(folder)
    before = path.read_bytes()
    found = 0
    for position in range(0, len(before), 5):
        flip(path, position, position % 7)
        try:
            assert read_manifest(folder) == entries
        except (ResultError, InputError):
            found += 1
        path.write_bytes(before)
    assert found > 0.5 * len(before) / 5


def test_each_of_200_flipped_bits_of_a_saved_fit_is_found_or_changes_no_number(tmp_path):
    path = save_fit(fit(), tmp_path / "fit.nc")
    before, rng = path.read_bytes(), np.random.default_rng(28)
    found = 0
    for _ in range(200):
        flip(path, rng.integers(len(before)), rng.integers(8))
        try:
            assert sb.load_fit(path).identical(fit())
        except ResultError:
            found += 1
        path.write_bytes(before)
    assert found > 100  # the rest lies in what HDF5 leaves unused


def test_a_file_that_is_gone_or_was_added_is_said(folder):
    (folder / "summary.csv").unlink()
    (folder / "figures" / "notes.txt").write_text("mine")
    found = sb.verify(folder)
    assert found.files["summary.csv"] == MISSING
    assert found.files["figures/notes.txt"] == UNLISTED
    assert not found.intact


def test_a_saved_fit_says_versions_seed_and_whether_the_bundled_rows_are_its_own(tmp_path):
    found = sb.verify(save_fit(fit(), tmp_path / "fit.nc"))
    assert found.intact and found.same_versions
    assert found.versions["pymc"] == (versions()["pymc"],) * 2
    assert found.seeds == (fit().attrs["random_seed"],)
    assert found.data == {STUDY: SAME}


@pytest.mark.parametrize(
    ("changed", "state"),
    [({"data_hash": "0" * 64}, OTHER), ({"study": "another"}, NOT_BUNDLED)],
    ids=["other rows", "no such study"],
)
def test_other_rows_than_those_bundled_now_are_said_and_are_no_damage(tmp_path, changed, state):
    other = fit().copy()
    other.attrs = {**fit().attrs, **changed}
    found = sb.verify(save_fit(other, tmp_path / "fit.nc"))
    assert list(found.data.values()) == [state]
    assert found.intact


def test_the_rows_of_ones_own_file_are_not_compared_with_a_bundled_study_of_that_name(tmp_path):
    own = tree_without_sampling("hoffmann-total", user_study())
    own.attrs["study"] = STUDY
    assert sb.verify(save_fit(own, tmp_path / "fit.nc")).data == {STUDY: NOT_BUNDLED}


def test_rows_near_the_optimum_are_known_as_the_bundled_ones(tmp_path):
    tree = tree_without_sampling("isoflop")
    assert sb.verify(save_fit(tree, tmp_path / "fit.nc")).data == {tree.attrs["study"]: SAME}


def test_another_version_is_said_and_is_no_damage(tmp_path):
    old = fit().copy()
    old.attrs = {**fit().attrs, "versions": json.dumps(versions() | {"pymc": "5.0", "gone": "1"})}
    found = sb.verify(save_fit(old, tmp_path / "fit.nc"))
    assert found.versions["pymc"] == ("5.0", versions()["pymc"])
    assert found.versions["gone"] == ("1", "")
    assert found.intact and not found.same_versions
    assert "pymc: 5.0 recorded" in found.text()


def rewritten(folder, names):
    """Write a manifest that is right in itself and names these files."""
    entries = read_manifest(folder) | {"files_sha256": dict.fromkeys(names, "0" * 64)}
    text = json.dumps({**entries, OWN_DIGEST: entries_digest(entries)})
    (folder / MANIFEST).write_text(text)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "posteriors/../../secret", "link", "inside/secret", ""]
)
def test_a_manifest_that_names_a_file_elsewhere_is_refused(folder, name):
    secret = folder.parent / "elsewhere" / "secret"
    secret.parent.mkdir()
    secret.write_text("not to be read")
    os.symlink(secret, folder / "link")
    os.symlink(secret.parent, folder / "inside")
    rewritten(folder, [name])
    with pytest.raises(InputError, match="does not lie in its folder"):
        sb.verify(folder)


@pytest.mark.parametrize("files", ['{"a\\ud800": "x"}', '[[1, "x"]]'])
def test_a_manifest_that_names_what_is_no_name_is_refused(folder, files):
    text = f'{{"files_sha256": {files}, "manifest_sha256": "x"}}'
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="is no name of a file"):
        sb.verify(folder)


def test_what_is_no_manifest_is_called_damaged(folder):
    for text in ("", "[]", "{}", '{"files_sha256": 3}', "[" * 100_000, "\xff"):
        (folder / MANIFEST).write_text(text, encoding="latin-1")
        with pytest.raises(ResultError, match="manifest.json: the file is damaged"):
            sb.verify(folder)


def test_the_command_says_each_file_and_ends_with_4_where_one_is_damaged(run, folder):  # noqa: F811
    good = run("verify", folder)
    assert good.code == 0
    assert "intact (5 files)" in good.out.splitlines()[0]
    assert "the bundled rows, unchanged" in good.out
    flip(folder / "index.html", 3)
    bad = run("verify", folder)
    assert bad.code == 4
    assert "DAMAGED: 1 of 5 files" in bad.out.splitlines()[0]
    assert bad.out.splitlines()[1] == f"  index.html: {CHANGED}"


def test_the_command_gives_json_of_a_damaged_fit_too(run, tmp_path):  # noqa: F811
    path = save_fit(fit(), tmp_path / "fit.nc")
    path.write_bytes(path.read_bytes()[:-100])
    done = run("verify", path, "--json")
    told = json.loads(done.out)
    assert done.code == 4
    assert told["intact"] is False
    assert told["rows"][0]["kind"] == "file"
    assert told["rows"][0]["state"].startswith(CHANGED)


def test_a_path_with_nothing_or_no_manifest_ends_with_4_and_a_file_elsewhere_with_2(
    run,  # noqa: F811
    folder,
    tmp_path,
):
    assert run("verify", tmp_path / "none").code == 4
    shutil.copytree(folder / "figures", tmp_path / "figures")
    assert run("verify", tmp_path / "figures").code == 4
    rewritten(folder, ["../x"])
    done = run("verify", folder)
    assert done.code == 2
    assert "does not lie in its folder" in done.err


def test_a_posterior_in_a_folder_has_the_digest_of_its_bytes(folder):
    name = "posteriors/sweep.nc"
    assert read_manifest(folder)["files_sha256"][name] == file_digest(folder / name)
