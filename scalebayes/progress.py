"""One line of progress on stderr, where that is a terminal."""

import contextlib
import sys


@contextlib.contextmanager
def status_line(shown, title, doing="compiling and sampling"):
    """Show what was done last beside a title; yields a function of a text, or None when silent.

    Parameters
    ----------
    shown : bool or None
        None: only when stderr is a terminal.
    title, doing : str
        What is being made, and how, until the first text.
    """
    if not (sys.stderr.isatty() if shown is None else shown):
        yield None
        return
    from rich.console import Console  # only where something is shown

    with Console(stderr=True).status(f"{title}: {doing}") as status:
        yield lambda text: status.update(f"{title}: {text} done")
