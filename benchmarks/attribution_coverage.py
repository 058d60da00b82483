"""Does the chain of causes stay quiet about causes that a simulated world does not have?

    python benchmarks/attribution_coverage.py [-o docs/attribution_coverage.md] [--repeats 50]

Chains with the sizes and budgets of Porian's stages on RefinedWeb, in two worlds:

- no counting effect: vocabulary matrices are 0.3 of every body, so that all counts are proportional
  and every exponent is the same in all of them; each stage has an exponent of its own.
- counting alone: the models' own shapes, and one law at all stages.

Losses have Student-t noise. Prints a Markdown table of how often 90% intervals of a cause that is
not there hold 0, for each way of reading exponents. The surface is read in the second world alone:
models of the first are of no family that a fit's `architecture="study"` describes.
"""

import argparse
import dataclasses
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

import scalebayes as sb
from scalebayes.errors import NotConvergedWarning
from scalebayes.hypotheses import load_hypothesis, without_run_effect
from scalebayes.laws import chinchilla_terms
from scalebayes.recipe_chain import (
    ISOFLOP_CURVES,
    ISOFLOP_LAW,
    SURFACE,
    Stages,
    chain_effects,
    fit_isoflop_states,
    porian_stages,
)

NO_COUNTING, COUNTING = "no counting effect", "counting alone"
ABSENT = {
    NO_COUNTING: ("count of N alone", "count of C alone", "counts of N and C"),
    COUNTING: ("warm-up", "schedule", "tuning"),
}
READINGS = {
    NO_COUNTING: (ISOFLOP_CURVES, ISOFLOP_LAW),
    COUNTING: (ISOFLOP_CURVES, ISOFLOP_LAW, SURFACE),
}
EXPONENTS = {"1": 0.60, "2": 0.60, "3": 0.56, "4": 0.53, "5": 0.50}
"""a of each stage where recipes matter."""

ALPHA, HEAD_SHARE, LEVEL = 0.35, 0.3, {"K": 1.2, "N0": 1.1e8, "C0": 1e18}
NOISE = {"sigma": 0.003, "nu": 5.0}
MEAN_LOSS = 3.3  # nats, about; makes nats of a share of the loss
WANTED = 40 / 50
LAW = "one-matrix"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="also write the table to this file")
    parser.add_argument("--records", type=Path, help="keep each repeat as a line; resumes from it")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--draws", type=int, default=300)
    options = parser.parse_args()
    warnings.simplefilter("ignore", NotConvergedWarning)  # counted in the table
    records = kept(options.records)
    done = {(one["world"], one["seed"]) for one in records}
    for seed in range(options.repeats):
        for world in ABSENT:
            if (world, seed) in done:
                continue
            one = repeat(world, seed, options.draws)
            records.append(one)
            if options.records:
                with options.records.open("a") as file:
                    file.write(json.dumps(one) + "\n")
            print(f"{world} {seed}", file=sys.stderr)
    text = report(pd.DataFrame(records))
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def kept(path):
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def repeat(world, seed, draws):
    """Return whether each interval of an absent cause holds 0, for one simulated chain."""
    stages = simulated_stages(world, seed)
    settings = {"draws": draws, "tune": 300, "cores": 1, "random_seed": seed, "cache": False}
    isoflop = without_run_effect(load_hypothesis("isoflop"))
    isoflops = fit_isoflop_states(stages, hypothesis=isoflop, **settings)
    surfaces = None
    if SURFACE in READINGS[world]:
        law = without_run_effect(load_hypothesis(LAW))
        surfaces = {
            key: sb.fit(stages.studies[key], law, progressbar=False, **settings)
            for key in ("1", "3", "4", "5")
        }
    chain = chain_effects(stages, surfaces=surfaces, isoflops=isoflops, random_seed=seed)
    every = [*isoflops.values(), *(surfaces or {}).values()]
    record = {
        "world": world,
        "seed": seed,
        "not_converged": sum(not one.attrs["converged"] for one in every),
    }
    for reading in READINGS[world]:
        for step in ABSENT[world]:
            effect = chain["effect"].sel(reading=reading, step=step)
            lower, upper = np.quantile(effect, [0.05, 0.95])
            slack = 1e-9  # counts that are proportional differ by rounding alone
            record[f"{reading}: {step}"] = bool(lower <= slack and upper >= -slack)
    return record


def simulated_stages(world, seed):
    """Return a chain whose losses come from known laws, counted with one vocabulary matrix."""
    real = porian_stages("rw")
    studies = {}
    for key, study in real.studies.items():
        design = proportional(study) if world == NO_COUNTING else study
        a = EXPONENTS[key] if world == NO_COUNTING else 0.52
        beta = ALPHA * a / (1 - a)
        terms = chinchilla_terms(**LEVEL, alpha=ALPHA, beta=beta)
        parameters = {"E": 1.8, **terms, "alpha": ALPHA, "beta": beta, **NOISE}
        law = without_run_effect(load_hypothesis(LAW))
        made, _ = sb.simulate(
            design, law, parameters=parameters, random_seed=1000 * seed + int(key)
        )
        studies[key] = made
    noise_sd = NOISE["sigma"] * MEAN_LOSS * np.sqrt(NOISE["nu"] / (NOISE["nu"] - 2))
    return Stages(studies=studies, noise_sd=noise_sd, ranges=real.ranges, published={})


def proportional(study):
    """Return a study whose vocabulary matrices are a fixed share of every body, at its budgets."""
    table = study.table
    head = HEAD_SHARE * table["body"]
    N = table["body"] if study.counting == "body" else table["body"] + head
    table = table.assign(head=head, embedding=2 * head, N=N, D=table["flops"] / (6 * N))
    return dataclasses.replace(study, table=table)


def report(records):
    lines = [
        "# Causes that are not there",
        "",
        "How often 90% equal-tailed intervals of a cause that the simulated world does not have",
        "hold 0 (at least 40 of 50 wanted). `python benchmarks/attribution_coverage.py`.",
        "",
        "| world | cause | read off | repeats | holds 0 | as wanted |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for world, steps in ABSENT.items():
        part = records[records["world"] == world]
        for step in steps:
            for reading in READINGS[world]:
                held = part[f"{reading}: {step}"].astype(bool)
                wanted = "yes" if held.mean() >= WANTED else "**no**"
                row = (world, step, reading, len(held), int(held.sum()), wanted)
                lines.append("| " + " | ".join(map(str, row)) + " |")
    failed = int(records["not_converged"].sum())
    lines += ["", f"{failed} of the fits behind it did not converge."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
