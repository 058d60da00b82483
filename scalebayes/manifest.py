"""A folder of results with the SHA-256 of every file, and a new one in the place of an old one."""

import contextlib
import errno
import hashlib
import json
import shutil
import tempfile
from pathlib import Path, PurePosixPath

from scalebayes.errors import InputError, ResultError
from scalebayes.storage import file_digest

MANIFEST = "manifest.json"
OWN_DIGEST = "manifest_sha256"
"""Entry that holds the digest of all other entries."""

INTACT, CHANGED, MISSING, UNLISTED = "intact", "changed", "missing", "not in the manifest"
"""What a file can be found to be; each but the first means a damaged result."""

_MOST_BYTES = 10_000_000
_TAKEN_MEANWHILE = (errno.ENOTEMPTY, errno.EEXIST)


def write_manifest(folder, about):
    """Write the manifest of a folder: what is said about it, and every file with its SHA-256.

    Parameters
    ----------
    folder : Path
    about : dict
        JSON values.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = {path.relative_to(folder).as_posix(): file_digest(path) for path in files}
    entries = {**about, "files_sha256": digests}
    text = json.dumps({**entries, OWN_DIGEST: entries_digest(entries)}, indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder):
    """Return the entries of a folder's manifest, its own digest checked.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    ResultError
        When there is none, or it is not readable, or was changed.
    InputError
        When it names a file that does not lie in the folder.
    """
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror})."
        raise ResultError(msg) from error
    try:
        entries = json.loads(content[:_MOST_BYTES].decode("utf-8"))
        files = dict(entries["files_sha256"])
        stored = entries.pop(OWN_DIGEST)
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        msg = f"{path}: the file is damaged or not a manifest of scalebayes ({error!r})."
        raise ResultError(msg) from error
    for name in files:
        _refuse_outside(folder, name)
    if stored != entries_digest(entries):
        msg = f"{path}: the file is damaged: its entries do not match their SHA-256."
        raise ResultError(msg)
    return entries


def file_states(folder, digests):
    """Return name -> "intact", "changed", "missing" or "not in the manifest" of a folder's files.

    Parameters
    ----------
    folder : Path
    digests : dict of str to str
        File -> SHA-256, as in a manifest.

    Returns
    -------
    dict of str to str
        After "changed: " may follow what was wrong.
    """
    there = {one.relative_to(folder).as_posix() for one in folder.rglob("*") if not one.is_dir()}
    found = {name: _state(folder / name, digest) for name, digest in sorted(digests.items())}
    return found | {name: UNLISTED for name in sorted(there - {*digests, MANIFEST})}


def _state(path, digest):
    if not path.is_file():
        return MISSING
    try:
        return INTACT if file_digest(path) == digest else CHANGED
    except OSError as error:
        return f"{CHANGED}: cannot be read ({error.strerror})"


def entries_digest(entries):
    """Return the SHA-256, in hex, of JSON values."""
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def _refuse_outside(folder, name):
    """Raise when a name does not lead to a place inside a folder; a link may lead elsewhere."""
    if not isinstance(name, str) or not _is_writable(name):
        msg = f"{folder / MANIFEST}: names {name!r}, which is no name of a file."
        raise InputError(msg)
    parts = PurePosixPath(name).parts
    inside = name and "\x00" not in name and "\\" not in name and ".." not in parts
    inside = inside and not PurePosixPath(name).is_absolute()
    if not (inside and (folder / name).resolve().is_relative_to(folder.resolve())):
        msg = f"{folder / MANIFEST}: names {name!r}, which does not lie in its folder."
        raise InputError(msg)


def _is_writable(name):
    """Return whether a name can be that of a file: no half of a surrogate pair is in it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def swap_in(new, place):
    """Put a folder in the place of another, which is removed; both lie in one parent folder.

    Of several processes that do it at once, each puts its whole folder there; the last one stays.

    Parameters
    ----------
    new, place : Path

    Raises
    ------
    OSError
        When it cannot be done; what was there is put back.
    """
    while True:
        old = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".old", dir=place.parent))
        try:
            with contextlib.suppress(FileNotFoundError):
                place.replace(old)
            new.replace(place)
        except BaseException as error:  # an interruption, too, must not cost the earlier folder
            if isinstance(error, OSError) and error.errno in _TAKEN_MEANWHILE:
                shutil.rmtree(old)
                continue
            if not place.exists() and any(old.iterdir()):
                old.replace(place)
            shutil.rmtree(old, ignore_errors=True)
            raise
        shutil.rmtree(old, ignore_errors=True)
        return
