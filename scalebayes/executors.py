"""Many tasks on several processes of this machine, or on a Dask cluster: the same bits as in one.

Everything here speaks the protocol of `concurrent.futures.Executor`, so that any other one serves
as well. Each task runs with one thread of BLAS; what it warns of, and what it took from the cache,
is said where the tasks come from.
"""

import contextlib
import logging
import multiprocessing
import os
import platform
import queue
import signal
import sys
import threading
import warnings
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

from threadpoolctl import threadpool_limits

from scalebayes.errors import InputError, WorkerLost

ATTEMPTS = 3
"""How often a task is begun whose process dies, before that counts as the task's own doing."""

AHEAD = 1000
"""Tasks that an executor holds at once; a cluster of more threads than that would wait."""

CONNECT_SECONDS = 10
"""How long the scheduler of a cluster may take to answer."""

_LOG = logging.getLogger("scalebayes.cache")
_PACKAGES = ("numpy", "scipy", "numba", "nutpie", "pymc", "pytensor", "xarray")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextlib.contextmanager
def executor(workers=None, *, scheduler=None):
    """Give an executor for tasks and fits, and stop its processes at the end.

    Where an exception leaves the block (Ctrl-C, too), processes of this machine are killed with
    what they are at. In a script the block must be under `if __name__ == "__main__":`, since a new
    process imports the script.

    Parameters
    ----------
    workers : int, optional
        Processes of this machine, one task at a time each; by default as many as it has cores.
        A fitting process takes about half a gigabyte, and some seconds to start.
    scheduler : str, optional
        Address of a Dask scheduler, such as tcp://10.0.0.1:8786, whose workers take the tasks.
        Needs the extra `dask`.

    Returns
    -------
    concurrent.futures.Executor
        `Workers`, or Dask's own.

    Raises
    ------
    InputError
        When both are given, workers is no whole number of at least 1, Dask is not installed, or no
        scheduler answers.

    Examples
    --------
    >>> from scalebayes.executors import executor, mapped
    >>> with executor(workers=2) as two:
    ...     list(mapped(abs, [-1, 2, -3], executor=two))
    [1, 2, 3]
    """
    if workers is not None and scheduler is not None:
        raise InputError("workers are processes of this machine; with a scheduler give none.")
    if scheduler is not None:
        with _client(scheduler) as client:
            yield client.get_executor(pure=False)
        return
    found = Workers(_cores() if workers is None else workers)
    try:
        yield found
    except BaseException:
        found.kill()
        raise
    finally:
        found.shutdown()


def mapped(function, items, *, executor=None, advance=None, named=str):
    """Yield function(item) of each item, in the order of the items.

    Parameters
    ----------
    function : callable
        Of one argument. With an executor function, items and values travel between processes: the
        function must be one of a module, or a `functools.partial` of such a one.
    items : iterable
    executor : Executor, optional
        Any of `concurrent.futures`, Dask's (`client.get_executor()`), or `executor()`; by default
        the tasks run here, one after the other.
    advance : callable, optional
        Called once per item with a text: here when it begins, else when another one is done, then
        with the name of the first that is not.
    named : callable, optional
        Item -> its name in errors and for `advance`.

    Raises
    ------
    WorkerLost
        When a task has no value because processes died under it. Processes of `executor()` are
        replaced, and a task is begun up to `ATTEMPTS` times; a Dask scheduler has its own number
        (`distributed.scheduler.allowed-failures`); other pools end with their first process.
    InputError
        When a worker has another version of this package, or of what it computes with.

    Notes
    -----
    What a task raises is passed on as it is; tasks that have not begun are then cancelled.
    """
    items = list(items)
    advance = advance or (lambda text: None)
    if executor is not None:
        yield from _gathered(function, items, executor, advance, named)
        return
    for item in items:
        advance(named(item))
        with threadpool_limits(1):
            value = function(item)
        yield value


def _gathered(function, items, executor, advance, named):
    finished, running, waiting = queue.SimpleQueue(), {}, iter(enumerate(items))
    values, position = {}, 0

    def begin_next():
        for i, item in islice(waiting, 1):
            with _loss_named(named(item)):
                future = executor.submit(_task, function, item, made_of())
            running[future] = i
            future.add_done_callback(finished.put)

    try:
        for _ in range(AHEAD):
            begin_next()
        while running:
            advance(named(items[min(running.values())]))
            future = finished.get()
            done = running.pop(future)
            with _loss_named(named(items[done])):
                values[done] = _said_again(*future.result())
            begin_next()
            while position in values:
                yield values.pop(position)
                position += 1
    finally:
        for future in running:
            future.cancel()


class Workers(Executor):
    """Processes of this machine with one task at a time each.

    A process that dies is replaced, and its task begun again; the other processes go on. (A
    `ProcessPoolExecutor` ends with the first process that dies.)

    Parameters
    ----------
    workers : int
    """

    def __init__(self, workers):
        if not isinstance(workers, int) or workers < 1:
            msg = f"workers must be a whole number of at least 1, got {workers!r}."
            raise InputError(msg)
        self._threads = ThreadPoolExecutor(workers, initializer=_block_interrupts)
        self._idle, self._pids, self._killed = queue.SimpleQueue(), set(), False
        for _ in range(workers):
            self._idle.put(None)  # started when it is needed

    def submit(self, fn, /, *args, **kwargs):
        """Return a future of fn(*args, **kwargs)."""
        return self._threads.submit(self._run, fn, args, kwargs)

    def shutdown(self, wait=True, *, cancel_futures=False):
        """End the processes, when they have done what they were given."""
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        with contextlib.suppress(queue.Empty):
            while wait:
                process = self._idle.get_nowait()
                if process is not None:
                    process.shutdown()

    def kill(self):
        """End the processes at once, with what they are at."""
        self._killed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for pid in list(self._pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _run(self, fn, args, kwargs):
        for _ in range(ATTEMPTS):
            process = self._idle.get()
            try:
                process = process or self._started()
                return process.submit(fn, *args, **kwargs).result()
            except BrokenExecutor:
                process = None
                if self._killed:
                    raise
            finally:
                self._idle.put(process)
        msg = (
            f"its process died, {ATTEMPTS} times. Was it killed for want of memory? In a script, "
            'is the call under if __name__ == "__main__":?'
        )
        raise BrokenExecutor(msg)

    def _started(self):
        """Return a new process, as a pool of one."""
        method = multiprocessing.get_context("spawn")  # threads and compiled code do not fork well
        process = ProcessPoolExecutor(1, mp_context=method, initializer=_prepare)
        pid = process.submit(os.getpid).result()
        self._pids.add(pid)
        if self._killed:
            os.kill(pid, signal.SIGKILL)
        return process


@lru_cache(maxsize=1)
def made_of():
    """Return what the numbers of a task depend on besides its arguments: code and versions."""
    digest = sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    found = {name: version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found, "scalebayes": digest.hexdigest()}


def _task(function, item, expected):
    """Return function(item), what it warned of, and what it said of the cache."""
    _refuse_other_versions(expected)
    with threadpool_limits(1), warnings.catch_warnings(record=True) as caught, _heard() as said:
        warnings.simplefilter("always", UserWarning)
        value = function(item)
    return value, [(one.category, str(one.message)) for one in caught], said


def _refuse_other_versions(expected):
    found = made_of()
    other = [name for name in expected if found.get(name) != expected[name]]
    if other:
        listed = ", ".join(f"{one} {found.get(one)} for {expected[one]}" for one in other)
        msg = f"process {os.getpid()} of {platform.node()} has other versions: {listed}."
        raise InputError(msg)


@contextlib.contextmanager
def _heard():
    """Give a list of what this thread says of the cache."""
    said, thread = [], threading.get_ident()

    class Listener(logging.Handler):
        def emit(self, record):
            if record.thread == thread:
                said.append(record.getMessage())

    listener, level = Listener(), _LOG.level
    _LOG.addHandler(listener)
    _LOG.setLevel(logging.INFO)
    try:
        yield said
    finally:
        _LOG.removeHandler(listener)
        _LOG.setLevel(level)


def _said_again(value, caught, said):
    for category, text in caught:
        warnings.warn(text, category, stacklevel=4)
    for text in said:
        _LOG.info(text)
    return value


@contextlib.contextmanager
def _loss_named(name):
    """Say whose value is lost where workers died."""
    distributed = sys.modules.get("distributed")
    killed = () if distributed is None else (distributed.KilledWorker,)
    try:
        yield
    except (BrokenExecutor, CancelledError, *killed) as error:
        reason = str(error) or "the scheduler is gone, or cancelled it."
        raise WorkerLost(f"{name}: no result: {reason}") from error


@contextlib.contextmanager
def _client(scheduler):
    """Give a client of a Dask scheduler."""
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        msg = f"{scheduler}: Dask is not installed here; pip install 'scalebayes[dask]'."
        raise InputError(msg) from error
    _refuse_no_address(scheduler)
    try:
        client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        msg = f"{scheduler}: no Dask scheduler answers there ({error})."
        raise InputError(msg) from error
    with client:
        if not client.scheduler_info()["workers"]:
            warnings.warn(f"{scheduler} has no workers yet; fits wait for them", stacklevel=4)
        yield client


def _refuse_no_address(scheduler):
    try:
        parts = urlsplit(scheduler)
        whole = parts.scheme and parts.hostname and parts.port
    except ValueError:
        whole = False
    if not whole:
        raise InputError(f"scheduler {scheduler!r}: write it as tcp://HOST:PORT.")


def _cores():
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _block_interrupts():
    """Keep Ctrl-C from this thread and from processes that it starts: they are killed instead."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _prepare():
    """Make a new process one of a single thread that ends with the process that started it."""
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)
