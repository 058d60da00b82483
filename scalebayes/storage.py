"""Results on disk: saved whole or not at all, checked when read, cached by content.

A result carries the SHA-256 of its own content, so that a damaged number does not pass for one, and
that of its bytes (`seal`), so that a damaged file is not parsed.
"""

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import time
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import platformdirs

from scalebayes.errors import CacheWarning, InputError, ResultError
from scalebayes.seal import check_seal, seal

_LOG = logging.getLogger("scalebayes.cache")

DEFAULT_CACHE_GB = 5
"""Gigabytes (10^9 bytes) that cached fits may take, unless $SCALEBAYES_CACHE_GB says otherwise."""

_DAY = 86_400.0  # seconds

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
    from scalebayes.stored_trees import write_tree  # HDF5 is not needed until something is kept

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
        seal(part)
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
    from scalebayes.stored_trees import read_tree

    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file."
        raise ResultError(msg)
    try:
        check_seal(path)  # before HDF5 parses what may make it loop or crash
        fit = read_tree(path)
        stored = fit.attrs.pop(DIGEST, None)
        found = content_digest(fit)
    except ResultError:
        raise
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
    """Return the SHA-256, in hex, of every module, bundled table and hypothesis of the package."""
    from scalebayes.hypotheses import models_folder  # `cache` and `verify` need none

    here = Path(__file__).parent
    files = [*here.glob("*.py"), *(here / "data").glob("*.*"), *models_folder().glob("*.toml")]
    return content_key(**{path.name: file_digest(path) for path in sorted(files)})


def cache_folder():
    """Return the folder of cached fits: $SCALEBAYES_CACHE, else the user's cache folder."""
    chosen = os.environ.get("SCALEBAYES_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("scalebayes")) / "fits"


def cache_limit():
    """Return how many bytes cached fits may take: $SCALEBAYES_CACHE_GB (10^9 bytes), 5 by default.

    Raises
    ------
    InputError
        When the variable is no number, or negative.
    """
    given = os.environ.get("SCALEBAYES_CACHE_GB", "")
    try:
        limit = 1e9 * float(given or DEFAULT_CACHE_GB)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        msg = f"SCALEBAYES_CACHE_GB is {given!r}; it must be a number of gigabytes, 0 or more."
        raise InputError(msg)
    return int(limit)


def cache_entries():
    """Return the cached fits: (path, bytes, time last used), the one used longest ago first.

    Returns
    -------
    list of (Path, int, float)
        Time in seconds since the epoch.
    """
    found = []
    for path in cache_folder().glob("*.nc"):
        with contextlib.suppress(FileNotFoundError):  # another process may clear it
            status = path.stat()
            found.append((path, status.st_size, status.st_mtime))
    return sorted(found, key=lambda entry: entry[2])


def clear_cache(limit=0):
    """Remove the cached fits used longest ago until the rest take at most `limit` bytes.

    Parameters
    ----------
    limit : int
        Bytes to leave; 0 removes every fit.

    Returns
    -------
    removed, freed : int
        Number of fits, and bytes.
    """
    _remove_leftovers()
    entries = cache_entries()
    excess = sum(size for _, size, _ in entries) - limit
    removed = freed = 0
    for path, size, _ in entries:
        if freed >= excess:
            break
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            removed, freed = removed + 1, freed + size
    return removed, freed


def _remove_leftovers():
    """Remove what processes left that were killed while they saved, after a day."""
    for part in cache_folder().glob(".*.nc.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _DAY:
                part.unlink()


def cached_fit(key):
    """Return the cached fit of a key, or None; a damaged entry is removed and counts as none."""
    path = cache_folder() / f"{key}.nc"
    if not os.path.isfile(path):  # False of a folder that may not be read, too
        _LOG.info("miss %s", key)
        return None
    try:
        fit = load_fit(path)
    except ResultError as error:
        if path.is_file():  # else another process removed it in between
            warnings.warn(f"cache entry left out: {error}", CacheWarning, stacklevel=2)
        with contextlib.suppress(OSError):
            path.unlink()
        _LOG.info("miss %s", key)
        return None
    with contextlib.suppress(OSError):  # a read-only folder keeps the old time
        os.utime(path)
    _LOG.info("hit %s", key)
    return fit


def cached(key, make, *, cache=True):
    """Return what the cache has under a key; else what `make` returns, and the cache has it then.

    Parameters
    ----------
    key : str
        What `content_key` returns of everything that the result depends on.
    make : callable
        Without arguments; returns a DataTree.
    cache : bool
        Whether there is a cache; without, the result is made.
    """
    found = cached_fit(key) if cache else None
    if found is None:
        found = make()
        if cache:
            store_in_cache(key, found)
    return found


def store_in_cache(key, fit):
    """Put a fit into the cache, and keep that within its limit; where it fails, warn and go on.

    The warning is the same for every fit, so that it can be shown once.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_fit(fit, folder / f"{key}.nc")
        clear_cache(cache_limit())
    except OSError as error:
        reason = _first_cause(error).strerror or "the file could not be written"
        warnings.warn(f"fits are not cached in {folder}: {reason}", CacheWarning, stacklevel=2)


def _first_cause(error):
    while error.__cause__ is not None and isinstance(error.__cause__, OSError):
        error = error.__cause__
    return error


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
