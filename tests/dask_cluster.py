"""A Dask scheduler and its workers, each a process of its own."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


@contextlib.contextmanager
def dask_cluster(folder, workers=2, **environment):
    """Give the scheduler's address and the worker processes; all are ended at the end."""
    paths = os.pathsep.join([str(HERE.parent), str(HERE)])
    settings = {"PYTHONPATH": paths, "DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE": "False"}
    environment = os.environ | settings | environment
    where = Path(folder, "scheduler.json")

    def started(module, *options):
        command = [sys.executable, "-m", f"distributed.cli.dask_{module}", "--no-dashboard"]
        with Path(folder, f"{module}.log").open("a") as log:
            return subprocess.Popen(
                [*command, *options, "--scheduler-file", str(where)],
                env=environment,
                cwd=folder,
                stdout=log,
                stderr=log,
            )

    processes = [started("scheduler", "--host", "127.0.0.1", "--port", "0")]
    try:
        patience = time.monotonic() + 60
        while not where.exists() and time.monotonic() < patience:
            time.sleep(0.05)
        one = ("--nthreads", "1", "--no-nanny")
        processes += [started("worker", *one) for _ in range(workers)]
        yield json.loads(where.read_text())["address"], processes[1:]
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()
