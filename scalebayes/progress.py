"""Progress on stderr, where that is a terminal: what is being done, how long, how much is left."""

import contextlib
import sys


@contextlib.contextmanager
def status_line(shown, title, doing="compiling and sampling"):
    """Show what was done last beside a title; yields a function of a text, or None when silent.

    For work whose number of steps is not known before; else `step_bar`.

    Parameters
    ----------
    shown : bool or None
        None: only when stderr is a terminal.
    title, doing : str
        What is being made, and how, until the first text.
    """
    if not _is_shown(shown):
        yield None
        return
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with _progress(shown, *columns) as progress:
        task = progress.add_task(f"{title}: {doing}", total=None)
        yield lambda text: progress.update(task, description=f"{title}: {text} done")


@contextlib.contextmanager
def step_bar(shown, steps):
    """Show a bar of steps with the time that is left; yields a function of a text.

    The function is called at the beginning of each step, with what begins. The time left supposes
    that steps take as long as those before, and is shown from the second on.

    Parameters
    ----------
    shown : bool or None
        None: only when stderr is a terminal.
    steps : int
        How many there will be; one more than that stays at the end of the bar.
    """
    if not _is_shown(shown):
        yield lambda text: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.description}"),
    )
    with _progress(shown, *columns) as progress:
        task = progress.add_task("", total=steps, left="")
        begun = 0

        def advance(text):
            nonlocal begun
            done, begun = min(begun, steps), begun + 1
            elapsed = progress.tasks[task].elapsed or 0.0
            left = time_left(elapsed, done, steps)
            progress.update(task, completed=done, description=text, left=left)

        yield advance


def time_left(elapsed, done, steps):
    """Return in words how long the steps to come take if they are as long as those done.

    Parameters
    ----------
    elapsed : float
        Seconds since the first began.
    done, steps : int

    Returns
    -------
    str
        "" as long as none is done.
    """
    if not done:
        return ""
    seconds = elapsed / done * (steps - done)
    if seconds < 60:
        return f"about {seconds:.0f} s left"
    return f"about {seconds / 60:.0f} min left"


def _is_shown(shown):
    return sys.stderr.isatty() if shown is None else shown


def _progress(shown, *columns):
    from rich.console import Console  # only where something is shown
    from rich.progress import Progress

    console = Console(stderr=True, force_terminal=shown)  # asked for: also where it is no terminal
    return Progress(*columns, console=console, transient=True)
