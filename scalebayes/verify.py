"""A saved result against what it says of itself: files, versions, bundled data.

Nothing is recomputed: `fit` and `reconcile` with the recorded seed do that.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from scalebayes.errors import InputError, ResultError
from scalebayes.hypotheses import hypothesis_from_json
from scalebayes.isoflop import windowed
from scalebayes.manifest import CHANGED, INTACT, file_states, read_manifest
from scalebayes.storage import load_fit
from scalebayes.studies import load_study
from scalebayes.trees import versions

_BUNDLED = "bundled"  # source of a study that comes with the package

SAME, OTHER, NOT_BUNDLED = "same", "other", "not bundled"
"""What a study's data can be found to be: `OTHER` is said, and is no damage."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `verify` found.

    Parameters
    ----------
    path : str
    files : dict of str to str
        File, as named in the manifest -> "intact", "changed", "missing" or "not in the manifest";
        after "changed: " may follow what was wrong.
    versions : dict of str to (str, str)
        Package -> the version recorded and the one installed, "" where it is not.
    seeds : tuple of int
        Random seeds recorded.
    data : dict of str to str
        Study -> "same" or "other" rows than the bundled study of that name has now, or "not
        bundled".
    """

    path: str
    files: dict[str, str]
    versions: dict[str, tuple[str, str]]
    seeds: tuple[int, ...]
    data: dict[str, str]

    @property
    def intact(self) -> bool:
        """Return whether every file is there and as it was written, and no other is."""
        return all(state == INTACT for state in self.files.values())

    @property
    def same_versions(self) -> bool:
        """Return whether every package has the version that was recorded."""
        return all(recorded == installed for recorded, installed in self.versions.values())

    def rows(self) -> list[dict]:
        """Return one row per file, version, seed and study: name, kind, recorded, found, state."""
        found: list[dict] = [
            {"name": name, "kind": "file", "recorded": None, "found": None, "state": state}
            for name, state in self.files.items()
        ]
        found += [
            {
                "name": name,
                "kind": "version",
                "recorded": recorded,
                "found": installed,
                "state": SAME if recorded == installed else OTHER,
            }
            for name, (recorded, installed) in self.versions.items()
        ]
        found += [
            {"name": "seed", "kind": "seed", "recorded": seed, "found": None, "state": None}
            for seed in self.seeds
        ]
        return found + [
            {"name": name, "kind": "data", "recorded": None, "found": None, "state": state}
            for name, state in self.data.items()
        ]

    def text(self) -> str:
        """Return what was found in lines of text, the verdict first."""
        return "\n".join(_lines(self))


def verify(path: str | Path) -> Verification:
    """Return whether a saved result is as it was written, and what it was made with.

    Parameters
    ----------
    path : path
        A file that `save_fit` wrote, or a folder that `reconcile` wrote.

    Returns
    -------
    Verification

    Raises
    ------
    ResultError
        When there is nothing, or a folder has no readable manifest.
    InputError
        When the manifest names a file outside the folder.
    """
    path = Path(path)
    if not path.exists():
        msg = f"{path}: no such file or folder."
        raise ResultError(msg)
    return _folder(path) if path.is_dir() else _file(path)


def _file(path):
    try:
        fit = load_fit(path)
    except ResultError as error:
        state = f"{CHANGED}: {str(error).removeprefix(f'{path}: ')}"
        return Verification(
            path=str(path), files={path.name: state}, versions={}, seeds=(), data={}
        )
    return Verification(path=str(path), files={path.name: INTACT}, **_recorded(fit.attrs))


def _recorded(attrs):
    """Return versions, seed and data of a result's attributes."""
    hashes = {attrs["study"]: attrs["data_hash"]} if "data_hash" in attrs else {}
    if "data_hashes" in attrs:  # a population
        names, digests = (json.loads(attrs[name]) for name in ("studies", "data_hashes"))
        hashes = dict(zip(names, digests, strict=True))
    own = json.loads(attrs.get("study_record", "{}")).get("source", _BUNDLED) != _BUNDLED
    hypothesis = hypothesis_from_json(attrs["hypothesis"]) if "hypothesis" in attrs else None
    return {
        "versions": _versions(json.loads(attrs.get("versions", "{}"))),
        "seeds": (attrs["random_seed"],) if "random_seed" in attrs else (),
        "data": dict.fromkeys(hashes, NOT_BUNDLED) if own else _data(hashes, hypothesis),
    }


def _folder(path):
    manifest = read_manifest(path)
    seed = manifest.get("settings", {}).get("random_seed")
    return Verification(
        path=str(path),
        files=file_states(path, manifest["files_sha256"]),
        versions=_versions(manifest.get("versions", {})),
        seeds=() if seed is None else (seed,),
        data=_data(manifest.get("data_sha256", {}), None),
    )


def _versions(recorded):
    installed = versions()
    return {name: (version, installed.get(name, "")) for name, version in recorded.items()}


def _data(hashes, hypothesis):
    return {name: _data_state(name, digest, hypothesis) for name, digest in hashes.items()}


def _data_state(name, digest, hypothesis):
    try:
        usual, every = (load_study(name, window=window) for window in ("default", "none"))
    except InputError:
        return NOT_BUNDLED
    known = {usual.data_hash, every.data_hash}
    if digest in known:
        return SAME
    near = None if hypothesis is None else windowed(usual, hypothesis)  # rows near the optimum
    return SAME if near is not None and digest == near.data_hash else OTHER


def _lines(found):
    damaged = {name: state for name, state in found.files.items() if state != INTACT}
    n = len(found.files)
    yield (
        f"{found.path}: DAMAGED: {len(damaged)} of {n} files"
        if damaged
        else f"{found.path}: intact ({n} file{'s' if n > 1 else ''})"
    )
    for name, state in {**damaged, **found.files}.items():
        yield f"  {name}: {state}"
    other = {name: pair for name, pair in found.versions.items() if pair[0] != pair[1]}
    if found.versions:
        yield "versions: " + ("other than recorded" if other else "as recorded")
    for name, (recorded, installed) in other.items():
        yield f"  {name}: {recorded} recorded, {installed or 'none'} installed"
    for seed in found.seeds:
        yield f"random seed: {seed}"
    for name, state in found.data.items():
        yield f"data of {name}: {_DATA_WORDS[state]}"


_DATA_WORDS = {
    SAME: "the bundled rows, unchanged",
    OTHER: "not the rows that are bundled now, in the study's own window or in none",
    NOT_BUNDLED: "not bundled; compare with the file that they came from",
}
