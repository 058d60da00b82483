"""Results on disk: saved whole or not at all, checked when read, cached by content.

A result carries the SHA-256 of its own content, so that a damaged number does not pass for one.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import platformdirs

from scalebayes.errors import ResultError
from scalebayes.stored_trees import read_tree, write_tree

DIGEST = "content_sha256"
"""Attribute that holds the digest of everything else in a saved result."""


def save_fit(fit, path):
    """Save a fit as netCDF; an older file of that name is replaced only by a complete new one.

    Parameters
    ----------
    fit : DataTree
    path : path
        File to write; its folder must exist.

    Returns
    -------
    Path

    Raises
    ------
    ResultError
        When it cannot be written, or does not read back as written. The old file is then as it was.
    """
    path = Path(path)
    stored = fit.copy()
    stored.attrs = {**fit.attrs, DIGEST: content_digest(fit)}
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
    except OSError as error:
        msg = f"{path}: cannot be saved there ({error.strerror})."
        raise ResultError(msg) from error
    part = Path(name)
    try:
        write_tree(stored, part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        load_fit(part)
        part.chmod(0o644)
        part.replace(path)
    except (OSError, RuntimeError) as error:
        msg = f"{path}: could not be saved ({error}); what was there before is untouched."
        raise ResultError(msg) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def load_fit(path):
    """Return a saved fit, read into memory and checked against its digest.

    Parameters
    ----------
    path : path

    Returns
    -------
    DataTree

    Raises
    ------
    ResultError
        When the file is missing, not a saved result, truncated, or was changed since.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file."
        raise ResultError(msg)
    try:
        fit = read_tree(path)
        stored = fit.attrs.pop(DIGEST, None)
        found = content_digest(fit)
    except Exception as error:  # h5py and xarray raise many kinds on a damaged file
        msg = f"{path}: the file is damaged or not a result of scalebayes ({error})."
        raise ResultError(msg) from error
    if stored is None:
        msg = f"{path}: not a result saved by scalebayes (no {DIGEST})."
        raise ResultError(msg)
    if stored != found:
        msg = f"{path}: the file is damaged: its content does not match its SHA-256."
        raise ResultError(msg)
    for node in fit.subtree:
        node.attrs = {name: _plain(value) for name, value in node.attrs.items()}
    return fit


def content_digest(tree):
    """Return the SHA-256, in hex, of every name, number and attribute of a DataTree."""
    digest = hashlib.sha256()
    for node in sorted(tree.subtree, key=lambda node: node.path):
        digest.update(f"{node.path}\n{_attrs_text(node.attrs)}".encode())
        for name, variable in sorted(node.variables.items(), key=lambda item: str(item[0])):
            _digest_variable(digest, name, variable)
    return digest.hexdigest()


def file_digest(path):
    """Return the SHA-256, in hex, of a file's bytes."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@lru_cache(maxsize=1)
def package_digest():
    """Return the SHA-256, in hex, of every module of the package."""
    modules = sorted(Path(__file__).parent.glob("*.py"))
    return content_key(**{path.stem: file_digest(path) for path in modules})


def cache_folder():
    """Return the folder of cached fits: $SCALEBAYES_CACHE, else the user's cache folder."""
    chosen = os.environ.get("SCALEBAYES_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("scalebayes")) / "fits"


def cached_fit(key):
    """Return the cached fit of a key, or None; a damaged entry is removed and counts as none."""
    path = cache_folder() / f"{key}.nc"
    if not path.is_file():
        return None
    try:
        return load_fit(path)
    except ResultError as error:
        warnings.warn(f"cache entry left out: {error}", stacklevel=2)
        with contextlib.suppress(OSError):
            path.unlink()
        return None


def store_in_cache(key, fit):
    """Put a fit into the cache; where that cannot be done, warn and go on without."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_fit(fit, folder / f"{key}.nc")
    except OSError as error:
        warnings.warn(f"fits are not cached: {error}", stacklevel=2)


def content_key(**parts):
    """Return a name for a fit, from everything that its numbers depend on (JSON values)."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _attrs_text(attrs):
    plain = {name: _plain(value) for name, value in attrs.items()}
    return json.dumps(plain, sort_keys=True)


def _plain(value):
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value.tolist()]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _digest_variable(digest, name, variable):
    values = np.asarray(variable.values)
    if values.dtype.kind in "OUST":
        content = "\x00".join(str(value) for value in values.ravel()).encode()
    else:
        kind = "i8" if values.dtype.kind in "iub" else "f8"
        content = np.ascontiguousarray(values, dtype=kind).tobytes()
    digest.update(f"{name}|{variable.dims}|{values.shape}|".encode())
    digest.update(_attrs_text(variable.attrs).encode())
    digest.update(content)
