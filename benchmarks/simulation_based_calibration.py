"""Simulation-based calibration of single fits, of the grid over omega and of populations.

    python benchmarks/simulation_based_calibration.py [-o docs/simulation_based_calibration.md]
        [--fits 1000] [--grids 300] [--populations 300] [--results simulation_based_calibration]

Each kind's places of true values go to a file in the folder of results as soon as they are made, a
portion of 50 simulations at a time with a seed of its own, so that an interrupted run goes on where
it was. The figures are written beside the table.
"""

import argparse
import json
import sys
from pathlib import Path

import pandas as pd

import scalebayes as sb
from scalebayes import calibration_report as report
from scalebayes.calibrate import Calibration, calibrate, calibration_table
from scalebayes.calibrate_population import calibrate_population
from scalebayes.figure_files import save_figure

PORTION = 50
LEAST_P = 0.01
WANTED = {"fits": 1000, "grids": 300, "populations": 300}
KINDS = {
    "fits": ("Fits of one counting", calibrate, {"hypothesis": "hoffmann-total"}),
    "grids": (
        "The grid over omega",
        calibrate,
        {"hypothesis": "latent-counting", "design": "porian2024-rw-4-cosine"},
    ),
    "populations": ("Populations at one omega", calibrate_population, {}),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="also write the page to this file")
    for kind, wanted in WANTED.items():
        parser.add_argument(f"--{kind}", type=int, default=wanted)
    parser.add_argument("--results", type=Path, default=Path("simulation_based_calibration"))
    options = parser.parse_args()
    options.results.mkdir(exist_ok=True)
    found = {}
    for kind in KINDS:
        wanted = getattr(options, kind)
        if wanted:
            found[kind] = results(kind, wanted, options.results)
    text = page(found)
    print(text)
    if options.out:
        program = f"python benchmarks/simulation_based_calibration.py{counts(options)}"
        command = f"{program} -o {options.out.as_posix()}"
        head = f"# Do posteriors hold what they were simulated with?\n\nMade by `{command}`.\n"
        options.out.write_text(f"{head}\n{text}\n", encoding="utf-8")
        for kind, one in found.items():
            path = options.out.with_name(f"{options.out.stem}_{kind}.svg")
            save_figure(report.plot_calibration(one), path)


def counts(options):
    """Return the options that ask for other numbers of simulations than usual."""
    asked = {kind: getattr(options, kind) for kind in WANTED}
    return "".join(f" --{kind} {n}" for kind, n in asked.items() if n != WANTED[kind])


def results(kind, wanted, folder):
    """Return the `Calibration` of as many simulations, those there are and those still to make."""
    _, function, settings = KINDS[kind]
    portions = []
    for seed in range(1, -(-wanted // PORTION) + 1):
        path = folder / f"{kind}-{seed}.json"
        if not path.exists():
            print(f"{kind}, portion {seed}", file=sys.stderr)
            write(function(simulations=PORTION, random_seed=seed, **settings), path)
        portions.append(json.loads(path.read_text(encoding="utf-8")))
    return Calibration(
        places=pd.concat([pd.DataFrame(one["places"]) for one in portions], ignore_index=True),
        problems=tuple(problem for one in portions for problem in one["problems"]),
        redrawn=sum(one["redrawn"] for one in portions),
        hypothesis=portions[0]["hypothesis"],
        design=portions[0]["design"],
        cpu_seconds=sum(one["cpu_seconds"] for one in portions),
    )


def write(result, path):
    kept = {
        "places": result.places.to_dict("list"),
        "problems": list(result.problems),
        "redrawn": result.redrawn,
        "hypothesis": result.hypothesis,
        "design": result.design,
        "cpu_seconds": result.cpu_seconds,
    }
    part = path.with_suffix(".part")
    part.write_text(json.dumps(kept), encoding="utf-8")
    part.rename(path)


def page(found):
    """Return tables, sentences and links to figures as Markdown."""
    parts = [report.LEGEND]
    for kind, one in found.items():
        table = calibration_table(one)
        least = table["p_holm"].min()
        verdict = (
            f"No quantity deviates: the least adjusted p is {least:.2f}."
            if least >= LEAST_P
            else f"Some quantity deviates: the least adjusted p is {least:.4f}."
        )
        parts += [
            f"## {KINDS[kind][0]}",
            f"{report.calibration_sentence(one)} {verdict}",
            markdown(report.calibration_texts(one)),
            f"![ECDF of places less uniform](simulation_based_calibration_{kind}.svg)",
        ]
    seconds = sum(one.cpu_seconds for one in found.values())
    parts.append(f"In all {seconds / 60:.0f} CPU minutes; scalebayes {sb.__version__}.")
    return "\n\n".join(parts)


def markdown(table):
    rows = [list(table.columns), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
