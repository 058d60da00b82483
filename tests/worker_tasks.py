"""Tasks that worker processes import, each leaving a file per run that names its process."""

import os
import signal
import time
import warnings
from pathlib import Path

from scalebayes.errors import CacheWarning, StudyError


def squared(item, folder, seconds=0.0):
    """Note the run, take some time, return the square."""
    Path(folder, f"{item}-{os.getpid()}-{time.monotonic_ns()}").touch()
    time.sleep(seconds)
    return item * item


def deadly(item, folder, victim):
    """Kill the process at one item, every time."""
    if item == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    return squared(item, folder)


def refused(item, folder, victim):
    """Raise at one item."""
    if item == victim:
        raise StudyError(f"{item} is no study")
    return squared(item, folder, seconds=0.05)


def warned(item):
    warnings.warn("the cache is full", CacheWarning, stacklevel=1)
    return item


def threads(item):
    """Return how many threads the process' linear algebra uses, and what it was told to use."""
    import numpy as np
    from threadpoolctl import threadpool_info

    np.linalg.inv(np.eye(2))
    return {one["num_threads"] for one in threadpool_info()}, os.environ.get("OMP_NUM_THREADS")


def versions_changed(item):
    """Make the process one of other code."""
    from scalebayes import executors

    executors.made_of.cache_clear()
    executors.version = lambda name: "0.0"
    return item


def runs(folder):
    """Return item -> how often it was begun."""
    found = [int(path.name.split("-")[0]) for path in Path(folder).iterdir()]
    return {item: found.count(item) for item in sorted(set(found))}


def process_of(folder, item, patience=60.0):
    """Return the process that has begun an item."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        for path in Path(folder).glob(f"{item}-*"):
            return int(path.name.split("-")[1])
        time.sleep(0.01)
    raise TimeoutError(f"nobody began item {item}")


def alive(process):
    """Whether a process of that id runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
    except OSError:
        return False
