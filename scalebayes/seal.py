"""A file's SHA-256 at its own end, so that what was changed is found before anything parses it.

HDF5 loops for ever on some damaged files, and crashes on others, before a digest of what it read
could be looked at. It passes over what follows the end that its superblock names.
"""

import hashlib
from pathlib import Path

from scalebayes.errors import ResultError

MARK = b"\nscalebayes sha256 "
"""What stands before the digest."""

_DIGEST = 64  # hexadecimal digits
_LENGTH = len(MARK) + _DIGEST
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ENDS = {0: 40, 2: 28, 3: 28}  # version of a superblock -> where its end-of-file address is


def seal(path):
    """Append the SHA-256 of a file's bytes to it.

    Parameters
    ----------
    path : Path
    """
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    with Path(path).open("ab") as file:
        file.write(MARK + digest.encode())


def check_seal(path):
    """Raise unless a file is as it was sealed, or is an HDF5 file that never was.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ResultError
        When it was changed or cut off, or is no HDF5 file.
    OSError
        When it cannot be read.
    """
    content = Path(path).read_bytes()
    if content[-_LENGTH:].startswith(MARK):
        if content[-_DIGEST:] == hashlib.sha256(content[:-_LENGTH]).hexdigest().encode():
            return
        msg = f"{path}: the file is damaged: its content does not match its SHA-256."
        raise ResultError(msg)
    if len(content) != _end_of(content):  # one without a seal ends where HDF5 says
        msg = f"{path}: the file is damaged or not a result of scalebayes (cut off, or no HDF5)."
        raise ResultError(msg)


def _end_of(content):
    """Return the length in bytes that an HDF5 file says it has, None where it says none."""
    start = _ENDS.get(content[8]) if len(content) > 48 else None
    if start is None or not content.startswith(_SIGNATURE):
        return None
    return int.from_bytes(content[start : start + 8], "little")
