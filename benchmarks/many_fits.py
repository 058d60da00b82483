"""How much sooner two workers are done with many fits than one, and what a fit costs.

    pip install '.[dask]'
    python benchmarks/many_fits.py [--fits 16] [--repeats 3] [--waiting]

Each fit is one of a simulated study of 240 runs, nothing cached. One and two processes, and one and
two workers of a local Dask cluster (a scheduler and two workers, each a process of its own), take
the same fits by turns, after each worker has compiled. Prints Markdown tables.

Wall time on a machine that others use too says how busy they were. The cores that the fits were
given (CPU time over wall time) are therefore shown beside it, and the same with tasks that wait for
a second, which nobody can slow down: what the way to the workers and back costs.
"""

import argparse
import contextlib
import json
import os
import pickle
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import scalebayes as sb

HYPOTHESIS = "hoffmann-total"
DESIGN = "hoffmann2022-epoch"
COEFFICIENTS = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
"""Besiroglu et al. (2024), arXiv:2404.10102."""
SETTINGS = {"draws": 1000, "tune": 1000, "chains": 4, "cores": 1}
MANY = 100_000
TASKS = 300  # of nothing


def fitted(design, number):
    """Return the CPU seconds of a simulated study's fit and the bytes of its exponent's draws."""
    law = COEFFICIENTS | {"sigma": 0.01, "nu": 5.0}
    study, _ = sb.simulate(design, HYPOTHESIS, parameters=law, random_seed=number)
    start = time.process_time()
    fit = sb.fit(study, HYPOTHESIS, cache=False, progressbar=False, **SETTINGS)
    return time.process_time() - start, fit["posterior"]["a"].to_numpy().tobytes()


def waited(number):
    """Return no CPU seconds and the number, after a second."""
    time.sleep(1)
    return 0.0, number


def nothing(number):
    """Return no CPU seconds and the number."""
    return 0.0, number


@contextlib.contextmanager
def local_cluster(folder):
    """Give the address of a scheduler with two workers, each a process of its own."""
    where = Path(folder, "scheduler.json")

    def started(module, *options):
        command = [sys.executable, "-m", f"distributed.cli.dask_{module}", "--no-dashboard"]
        root = str(Path(__file__).parent.parent)
        with Path(folder, f"{module}.log").open("a") as log:
            return subprocess.Popen(
                [*command, *options, "--scheduler-file", str(where)],
                env=os.environ | {"PYTHONPATH": root},
                stdout=log,
                stderr=log,
            )

    processes = [started("scheduler", "--host", "127.0.0.1", "--port", "0")]
    try:
        while not where.exists():
            time.sleep(0.1)
        processes += [started("worker", "--nthreads", "1", "--no-nanny") for _ in range(2)]
        yield json.loads(where.read_text())["address"]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def dask_executors(address):
    """Give a client of a cluster, and executors of one and of two of its workers."""
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2)
        first = next(iter(client.scheduler_info()["workers"]))
        one = client.get_executor(pure=False, workers=[first])
        yield client, [one, client.get_executor(pure=False)]


@contextlib.contextmanager
def process_executors():
    """Give executors of one process and of two."""
    with sb.executor(workers=1) as one, sb.executor(workers=2) as two:
        yield [one, two]


def timed(task, fits, executor):
    """Return wall seconds, CPU seconds and results of fits."""
    start = time.perf_counter()
    seconds, results = zip(*sb.mapped(task, range(fits), executor=executor), strict=True)
    return time.perf_counter() - start, sum(seconds), results


def overhead(client, executor):
    """Return the CPU seconds that scheduler and client spend on a task of nothing."""
    before = client.run_on_scheduler(time.process_time), time.process_time()
    timed(nothing, TASKS, executor)
    after = client.run_on_scheduler(time.process_time), time.process_time()
    return [(late - early) / TASKS for early, late in zip(before, after, strict=True)]


def measured(kind, executors, task, options):
    """Return the ratio and CPU seconds per fit of each pair of turns, and what the tasks gave."""
    for executor in executors:  # compiles
        timed(task, 4, executor)
    rows, every = [], set()
    for _ in range(options.repeats):
        (wall, cpu, first), (wall_two, cpu_two, second) = (
            timed(task, options.fits, executor) for executor in executors
        )
        every |= {first, second}
        per_fit = (cpu + cpu_two) / (2 * options.fits)
        rows.append((wall / wall_two, per_fit))
        print(
            f"| {kind} | {wall:.1f} | {wall_two:.1f} | {wall / wall_two:.2f} | {cpu / wall:.2f} | "
            f"{cpu_two / wall_two:.2f} | {per_fit:.2f} |",
            flush=True,
        )
    return rows, every


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--waiting", action="store_true", help="no fits, only tasks that wait")
    options = parser.parse_args()
    task = partial(fitted, sb.load_study(DESIGN))
    print(f"{options.fits} fits each, {os.cpu_count()} cores ({platform.machine()}).\n")
    print("| workers | one, s | two, s | ratio | cores had by one | by two | CPU s per fit |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    with (
        tempfile.TemporaryDirectory() as folder,
        local_cluster(folder) as address,
        dask_executors(address) as (client, executors),
    ):
        measured("Dask, waiting", executors, waited, options)
        scheduling, asking = (1e3 * seconds for seconds in overhead(client, executors[1]))
        said = f"A task costs Dask's scheduler {scheduling:.1f} ms of CPU, its client {asking:.1f}."
        if options.waiting:
            print(f"\n{said}")
            return
        dask, bits = measured("Dask", executors, task, options)
    with process_executors() as executors:
        processes, others = measured("processes", executors, task, options)
    here = tuple(result for _, result in map(task, range(2)))
    same = len(bits | others) == 1 and next(iter(bits))[:2] == here
    print(f"\nThe same bits everywhere, in this process too: {'yes' if same else 'NO'}.\n")
    seconds = statistics.median(per_fit for _, per_fit in dask + processes)
    print(f"| cores | {MANY:,} fits |\n| ---: | ---: |")
    for cores in (2, 16, 100, 1000):
        print(f"| {cores} | {MANY * seconds / cores / 3600:.1f} h |")
    ratios = [statistics.median(ratio for ratio, _ in rows) for rows in (dask, processes)]
    print(f"\nMedian ratio: Dask {ratios[0]:.2f}, processes {ratios[1]:.2f}; ", end="")
    print(f"{seconds:.2f} CPU s per fit.")
    study = len(pickle.dumps(sb.load_study(DESIGN))) / 1e3
    fit = len(pickle.dumps(sb.fit(DESIGN, HYPOTHESIS, progressbar=False, **SETTINGS))) / 1e6
    print(f"\n{said} A study is {study:.0f} kB, a fit {fit:.1f} MB.")


if __name__ == "__main__":
    main()
