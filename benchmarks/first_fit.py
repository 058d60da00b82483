"""What a first fit costs: CPU seconds and peak memory of new processes, cold and warm.

    python benchmarks/first_fit.py [--runs 3] [--reconcile]

Every number is measured in a process of its own. "Cold" has empty PyTensor and Numba caches, "warm"
those that an earlier process left. Prints a Markdown table of medians. The first part of
`benchmarks/suite.py`, alone.
"""

import argparse
import tempfile
from pathlib import Path

from processes import measured, median

PROGRAMS = Path(__file__).parent / "suite_programs.py"


def cold_and_warm(program, runs):
    """Return measurements with empty caches, and with the caches that the same program left."""
    cold, warm = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(measured(PROGRAMS, program, {}, folder))
            warm.append(measured(PROGRAMS, program, {}, folder))
    return cold, warm


def row(label, measurements, seconds="cpu", note=""):
    """Return a row of the table."""
    cpu, memory = median(measurements, seconds), median(measurements, "memory")
    return f"| {label} | {cpu:.1f} | {memory:.0f} | {note} |"


def main():
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="repetitions of each measurement")
    parser.add_argument("--reconcile", action="store_true", help="measure the main job too")
    options = parser.parse_args()
    cold, warm = cold_and_warm("first_fit", options.runs)
    with tempfile.TemporaryDirectory() as folder:
        measured(PROGRAMS, "first_fit", {}, folder)
        further = [measured(PROGRAMS, "further_fit", {}, folder) for _ in range(options.runs)]
    health = f"least bulk ESS {median(further, 'ess'):.0f}, R-hat {median(further, 'r_hat'):.4f}"
    print("| what | CPU s | peak MiB | |\n| --- | ---: | ---: | --- |")
    print(row("first fit, 240 points, cold caches", cold))
    print(row("first fit, 240 points, warm caches", warm))
    print(row("a further study of the same form", further, "seconds", health))
    if options.reconcile:
        cold, again = cold_and_warm("reconcile", 1)
        print(row("reconcile, cold", cold))
        print(row("reconcile, fits cached", again))


if __name__ == "__main__":
    main()
