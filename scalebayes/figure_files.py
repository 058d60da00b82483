"""Figures as files: the format is that of the name, and a file is whole or not there."""

import contextlib
import io
import os
import tempfile

from matplotlib import rc_context

from scalebayes.errors import InputError
from scalebayes.page import svg_text

FORMATS = ("svg", "png", "pdf")
_NO_DATE = {"png": {}, "pdf": {"CreationDate": None}}
_DOTS_PER_INCH = 200


def figure_format(path):
    """Return the format that a file name asks for: one of `FORMATS`.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        When its suffix is none of theirs.
    """
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in FORMATS:
        found = f"suffix {path.suffix!r}" if path.suffix else "no suffix"
        msg = f"{path}: {found}; a figure's file ends in .{', .'.join(FORMATS)}."
        raise InputError(msg)
    return suffix


def save_figure(figure, path):
    """Write a figure; the same figure gives the same bytes.

    Parameters
    ----------
    figure : Figure
    path : Path
        Its suffix is the format. An older file is replaced only by a complete new one.

    Raises
    ------
    InputError
        When the suffix is none of `FORMATS`.
    OSError
        When it cannot be written; an older file is then as it was.
    """
    content = _content(figure, figure_format(path))
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(part, 0o644)
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def _content(figure, kind):
    if kind == "svg":
        return svg_text(figure).encode()
    buffer = io.BytesIO()
    with rc_context({"pdf.fonttype": 42}):
        figure.savefig(buffer, format=kind, dpi=_DOTS_PER_INCH, metadata=_NO_DATE[kind])
    return buffer.getvalue()
