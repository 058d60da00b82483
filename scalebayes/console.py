"""What commands share: errors as one sentence and an exit code, text and JSON on the terminal."""

import contextlib
import logging
import signal
import threading
import warnings

import typer
from typer.core import TyperGroup

import scalebayes as sb
from scalebayes.errors import (
    CacheWarning,
    InputError,
    NotConvergedWarning,
    SamplingInterrupted,
    WorkerLost,
)

BAD_INPUT, NOT_TRUSTWORTHY, NOT_READ_OR_SAVED, INTERRUPTED = 2, 3, 4, 130
"""Exit codes, beside 0 for a good end."""


class Commands(TyperGroup):
    """Turns the errors that a user can meet into one sentence and an exit code."""

    def invoke(self, ctx):
        """Run the command that was asked for."""
        with warnings.catch_warnings(), reported_cache(), stopped_by_the_second_interrupt():
            warnings.showwarning = show_warning
            warnings.simplefilter("once", CacheWarning)
            warnings.simplefilter("ignore", NotConvergedWarning)  # the first line printed says it
            try:
                return super().invoke(ctx)
            except InputError as error:
                fail(error, BAD_INPUT)
            except WorkerLost as error:
                fail(error, NOT_TRUSTWORTHY)
            except BrokenPipeError:
                raise
            except OSError as error:
                fail(error, NOT_READ_OR_SAVED)
            except KeyboardInterrupt:
                fail("interrupted", INTERRUPTED)


@contextlib.contextmanager
def stopped_by_the_second_interrupt():
    """Let the first SIGINT raise KeyboardInterrupt, and the second end the process at once.

    Python acts on a signal only between its own instructions: without this, a second one would wait
    for what is being compiled or saved, too.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def first(_number, _frame):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def reported_cache():
    """Say at the end on stderr how many fits came from the cache, if any was looked for."""
    asked = []

    class Counter(logging.Handler):
        def emit(self, record):
            asked.append(record.getMessage().split()[0])

    log, counter = logging.getLogger("scalebayes.cache"), Counter()
    log.addHandler(counter)
    level = log.level
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(counter)
        log.setLevel(level)
        if asked:
            typer.echo(f"cache: {asked.count('hit')} of {len(asked)} results re-used", err=True)


@contextlib.contextmanager
def kept_when_interrupted(study, path):
    """Save what was sampled of a study's fit that is interrupted, and leave with exit code 130.

    Parameters
    ----------
    study : str
        Its name; an interrupted fit of another study (of the literature) is not saved.
    path : Path
        Of the fit; ".partial" is added.
    """
    try:
        yield
    except SamplingInterrupted as stop:
        partial = stop.partial
        if partial is None:
            fail("interrupted before there was a draw to keep", INTERRUPTED)
        if partial.attrs["study"] != study:
            where = f"in the fit of {partial.attrs['study']}"
            fail(f"interrupted {where}; the fits before it are in the cache", INTERRUPTED)
        saved = sb.save_fit(partial, path.with_name(f"{path.name}.partial"))
        fail(f"interrupted: {_draws_words(partial.attrs)} kept in {saved}", INTERRUPTED)


@contextlib.contextmanager
def resumed_from_the_cache(*, cache):
    """Say, where a command of many fits is interrupted, what is kept; exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        kept = "fits that were done are in the cache, and the same command goes on from there"
        fail(f"interrupted; {kept if cache else 'nothing is kept without the cache'}", INTERRUPTED)


def asked_executor(workers, scheduler):
    """Return a context with the executor that --workers or --scheduler asks for, else None."""
    if workers is None and scheduler is None:
        return contextlib.nullcontext()
    return sb.executor(workers, scheduler=scheduler)


def _draws_words(attrs):
    """Return how many draws a partial fit has, of how many."""
    n = attrs["n_draws"]
    if attrs["n_omega"]:
        return f"{n} draws at {attrs['n_omega']} values of omega"
    return f"{n} of {attrs['draws_asked']} draws"


def fail(error, code):
    """Say an error on stderr and leave with an exit code."""
    typer.secho(f"scalebayes: {sentence(error)}", fg="red", err=True)
    raise typer.Exit(code)


def sentence(error):
    """Return an error on one line; the operating system's own are said without their number."""
    named = isinstance(error, OSError) and error.strerror and error.filename
    return f"{error.filename}: {error.strerror}" if named else " ".join(str(error).split())


def show_warning(message, *_args, **_kwargs):
    """Say a warning on one line of stderr."""
    typer.echo(f"warning: {message}", err=True)


def end(converged):
    """Leave with the exit code of results that are not to be trusted, where they are not."""
    if not converged:
        raise typer.Exit(NOT_TRUSTWORTHY)


def given(**options):
    """Return the options that were given, so that the functions' own defaults hold for the rest."""
    return {name: value for name, value in options.items() if value is not None}


def print_text(text, result):
    """Print a result as text, its verdict first."""
    from scalebayes.formatting import verdict

    typer.secho(verdict(result), fg=None if result.attrs["converged"] else "red", bold=True)
    typer.echo(text)


def print_json(rows, result=None, *, converged=None, **more):
    """Print rows as JSON, with version, verdict and what the result is of."""
    from scalebayes.json_rows import rows_json

    if result is not None:
        converged = bool(result.attrs["converged"])
        names = ("study", "hypothesis_name", "counting", "problems", "random_seed")
        more |= {name: result.attrs[name] for name in names}
    typer.echo(rows_json(rows, version=sb.__version__, converged=converged, **more))
