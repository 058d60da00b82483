"""What scalebayes costs, in CPU seconds and memory of new processes, beside what others cost.

    python benchmarks/suite.py [-o docs/benchmarks.md] [--runs 5] [--only PART ...]
        [--store suite.jsonl] [--full]

Each figure is a median over runs, each in a process of its own. Every measured run is added to the
store at once, so that a broken run goes on where it was; lines of another machine, other libraries
or other code are not taken. --only measures some parts; the table shows everything in the store.
The libraries to compare with: pip install 'scalebayes[benchmarks]'; those missing are skipped.
"""

import argparse
import json
import shutil
import sys
import tempfile
from itertools import groupby, zip_longest
from pathlib import Path

from processes import measured
from suite_parts import OURS, measurements
from suite_table import document


def main():
    """Measure what the store lacks, and write the table."""
    options = arguments()
    all_measurements = measurements(full=options.full)
    with tempfile.TemporaryDirectory() as root:
        here = about(root)
        every = matching(read(options.store), here)
        ready = set()
        chosen = [one for one in all_measurements if _is_asked(one, options.only, here)]
        for one in in_turn(chosen, every, options.runs):
            every.append(measured_run(one, Path(root), ready) | {"about": here})
            with options.store.open("a", encoding="utf-8") as file:
                file.write(json.dumps(every[-1]) + "\n")
    text = document(every, all_measurements, here, full=options.full)
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


def arguments():
    """Return what the command line asks for."""
    parts = list(dict.fromkeys(one.part for one in measurements(full=False)))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="also write the table to this file")
    parser.add_argument("--runs", type=int, default=5, help="of each measurement")
    parser.add_argument("--only", nargs="+", choices=parts, metavar="PART", help=", ".join(parts))
    parser.add_argument("--store", type=Path, default=Path("suite.jsonl"))
    parser.add_argument("--full", action="store_true", help="all resamples of the bootstrap")
    return parser.parse_args()


def _is_asked(one, parts, here):
    if parts and one.part not in parts:
        return False
    if one.needs and one.needs not in here["versions"]:
        print(f"{one.name}: {one.needs} is not installed", file=sys.stderr)
        return False
    return True


def about(root):
    """Return machine, versions and the digest of the code, as a measured process sees them."""
    found = measured(OURS, "description", {}, root)
    return {name: found[name] for name in ("machine", "versions", "digest")}


def read(path):
    """Return the lines of a store."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def matching(lines, here):
    """Return the lines that this machine measured of this code."""
    found = [line for line in lines if line["about"] == here]
    if len(found) < len(lines):
        others = len(lines) - len(found)
        print(f"{others} stored lines are of other code or another machine", file=sys.stderr)
    return found


def in_turn(measurements, every, runs):
    """Yield each measurement as often as runs of it are missing.

    Those that take turns come one after the other, so that a machine that is slower for a while is
    so for all of them.

    Parameters
    ----------
    measurements : sequence of Measurement
    every : list of dict
        Lines that there are.
    runs : int
    """

    def lacking(one):
        wanted = min(runs, one.most_runs) if one.most_runs else runs
        return max(0, wanted - sum(is_of(line, one) for line in every))

    for _, group in groupby(measurements, key=lambda one: one.turns or one.name):
        turns = [[one] * lacking(one) for one in group]
        for turn in zip_longest(*turns):
            yield from (one for one in turn if one)


def measured_run(one, root, ready):
    """Return the line of a run of a measurement.

    Parameters
    ----------
    one : Measurement
    root : Path
        Where the folders of caches are.
    ready : set
        What has filled which folder so far; added to.
    """
    print(one.name, file=sys.stderr)
    prepared(one, root, ready)
    with tempfile.TemporaryDirectory(dir=root) as fresh:
        folder = root / one.folder if one.folder else Path(fresh)
        if one.copied:
            folder = Path(shutil.copytree(folder, Path(fresh) / "copy"))
        found = measured(one.file, one.program, one.arguments, folder)
    ready.add(_filling(one, one.program, one.arguments))
    return {"name": one.name, "arguments": one.arguments, **found}


def is_of(line, one):
    """Return whether a stored line is a run of a measurement."""
    return (line["name"], line["arguments"]) == (one.name, one.arguments)


def prepared(one, root, ready):
    """Fill the folder of a measurement, unless that was done."""
    if one.before and _filling(one, *one.before) not in ready:
        (root / one.folder).mkdir(exist_ok=True)
        measured(one.file if one.before[0] == one.program else OURS, *one.before, root / one.folder)
        ready.add(_filling(one, *one.before))


def _filling(one, program, arguments):
    return one.folder, program, json.dumps(arguments)


if __name__ == "__main__":
    main()
