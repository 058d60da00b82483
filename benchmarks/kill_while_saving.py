"""Does a process killed while it saves leave the old result, or the new one, whole?

    python benchmarks/kill_while_saving.py [-o docs/fuzzing.md] [--kills 200]

A child process saves results of some megabytes over one file, and into the cache, again and again;
it is ended by SIGKILL at a random moment, 200 times in each case. After each kill the file must be
a result that was saved, read back number by number, and so must every entry of the cache; hidden
parts of files that were being written may lie beside them. Children are forked from one process.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import textwrap
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from fuzzing_page import write_page

from scalebayes.errors import ResultError
from scalebayes.storage import cached_fit, load_fit, save_fit, store_in_cache

N_RESULTS = 3
LONGEST = 4.0
"""Kills come up to so many times the time of one save after the child has begun."""

KEYS = ("a", "b")


def results():
    """Return results of some megabytes that differ in every number."""
    return [result(seed) for seed in range(N_RESULTS)]


def result(seed, *, draws=20_000):
    """Return a result whose every number is drawn with a seed, which it tells."""
    rng = np.random.default_rng(seed)
    dims, coords = ("chain", "draw"), {"chain": range(4), "draw": np.arange(draws)}
    values = {name: (dims, rng.normal(size=(4, draws))) for name in ("E", "alpha", "beta")}
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset(values, coords=coords)})
    tree.attrs = {"study": f"study {seed}", "seed": seed, "converged": 1}
    return tree


def overwrite(path, made):
    """Save one result after the other over a file, without end."""
    while True:
        for one in made:
            save_fit(one, path)


def fill_cache(made):
    """Put one result after the other into the cache under a few keys, without end."""
    while True:
        for one in made:
            for key in KEYS:
                store_in_cache(key, one)


def killed(work, after):
    """Fork a child that works, and end it by SIGKILL after some seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with idle threads about
        child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit("the child ended by itself")


def is_whole(tree, made):
    """Return whether a result is one of those that were saved, in every number."""
    return tree is not None and tree.identical(made[tree.attrs["seed"]])


def overwritten(kills, made, folder, rng):
    """Kill children that overwrite a file; return how often it was whole, new, and parts left."""
    path, counts = folder / "fit.nc", {"intact": 0, "another than before": 0, "part left": 0}
    began = time.monotonic()
    save_fit(made[0], path)
    each, before = time.monotonic() - began, made[0].attrs["seed"]
    for _ in range(kills):
        order = rng.sample(made, N_RESULTS)
        killed(partial(overwrite, path, order), rng.uniform(0, LONGEST * each))
        found = read(path)
        counts["intact"] += is_whole(found, made)
        seed = None if found is None else found.attrs["seed"]
        counts["another than before"] += seed not in (None, before)
        before = seed
        counts["part left"] += swept(folder)
    return counts


def cached(kills, made, folder, rng):
    """Kill children that fill the cache; return how often every entry of it was whole."""
    os.environ["SCALEBAYES_CACHE"] = str(folder)
    counts = {"intact": 0, "another than before": 0, "part left": 0}
    began = time.monotonic()
    store_in_cache(KEYS[0], made[0])
    each, before = time.monotonic() - began, {}
    for _ in range(kills):
        order = rng.sample(made, N_RESULTS)
        killed(partial(fill_cache, order), rng.uniform(0, LONGEST * each))
        entries = {path.stem: cached_fit(path.stem) for path in folder.glob("*.nc")}
        seeds = {key: one and one.attrs["seed"] for key, one in entries.items()}
        counts["intact"] += all(is_whole(one, made) for one in entries.values())
        counts["another than before"] += seeds != before
        before = seeds
        counts["part left"] += swept(folder)
    return counts


def read(path):
    try:
        return load_fit(path)
    except ResultError:
        return None


def swept(folder):
    """Remove the hidden parts that a kill left; return whether there were any."""
    parts = list(folder.glob(".*.part"))
    for part in parts:
        part.unlink()
    return bool(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="write the table to this page of fuzzing")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    made, rng, rows = results(), random.Random(options.seed), {}
    for label, work in (("a saved result", overwritten), ("the cache", cached)):
        with tempfile.TemporaryDirectory() as folder:
            rows[label] = work(options.kills, made, Path(folder), rng)
            size = sum(path.stat().st_size for path in Path(folder).glob("*.nc")) / 1e6
        print(f"{label}: {rows[label]}", file=sys.stderr, flush=True)
    text = report(rows, options.kills, size / len(KEYS))
    print(text)
    if options.out:
        write_page(options.out, kills=text)
    sys.exit(int(any(row["intact"] < options.kills for row in rows.values())))


def report(rows, kills, size):
    """Return the table and what it is about, in Markdown."""
    columns = ("written over and over", "SIGKILLs", "whole afterwards", "new result", "part left")
    lines = [columns, ["---"] + ["---:"] * 4]
    lines += [[label, str(kills), *map(str, counts.values())] for label, counts in rows.items()]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    text = (
        f"Whole: the file (every entry of the cache) was read back as one of the {N_RESULTS} "
        f"results of {size:.1f} MB that were being saved, in every number. New result: another "
        "one than before the process began, so that saves were under way. Part left: the kill hit "
        "between making the hidden file beside the place and renaming it; those in the cache are "
        f"removed after a day. Kills at random, within {LONGEST:g} times the time of one save."
    )
    return table + "\n\n" + textwrap.fill(text, 100)


if __name__ == "__main__":
    main()
