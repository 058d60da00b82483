"""How often the 90% interval of a synthesis holds the exponent its literature was made with.

    python benchmarks/synthesis_coverage.py [-o docs/synthesis_coverage.md]
        [--simulations 100] [--results synthesis_coverage.jsonl]

Each simulation draws a law, a spread of run sets and of replicates, and 40 published exponents seen
through mixed countings and ranges, a fifth of the countings unknown and a third of the errors not
published. The model is compiled once. One line of JSON per simulation goes to the file of results,
so that an interrupted run goes on where it was.
"""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from scalebayes.gate import Settings
from scalebayes.optimum import allocation_exponent
from scalebayes.synthesis_draws import compiled_synthesis, draw_synthesis
from scalebayes.synthesis_model import (
    prior_latents,
    simulated_values,
    synthesis_data,
)

RUN_SETS, REPLICATED = 28, 6
"""Run sets of one row, and of these how many have two replicates besides: 40 rows."""

COUNTINGS = (*["body"] * 10, *["body+head"] * 4, *["total"] * 8, *["unknown"] * 6)
MISSING = 13  # rows of 40 without an error
RANGES = ((8.9e12, 5e20), (1e17, 3e20), (1e18, 1e21), (6e18, 3e21), (1.3e16, 2.6e19))  # FLOP
TRUTH = {"log_exponent_sd": 0.3, "log_ratio_sd": 0.5}
"""Laws about .35 and 20 tokens per parameter, narrower than the prior; the rest is as in it."""

TAUS = {"tau_between": 0.06, "tau_within": 0.03}
CI_PROB = 0.9
CLAIM = (0.84, 0.96)
SAMPLING = {"draws": 450, "tune": 250, "chains": 4, "cores": 1, "target_accept": 0.85}
LABELS = {
    "a": "consensus exponent a",
    "tau_between": "spread between run sets",
    "tau_within": "spread of replicates",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="also write the table to this file")
    parser.add_argument("--simulations", type=int, default=100)
    parser.add_argument("--results", type=Path, default=Path("synthesis_coverage.jsonl"))
    parser.add_argument("--table-only", action="store_true", help="of the results that are there")
    options = parser.parse_args()
    every = read_results(options.results)
    done = {one["seed"] for one in every}
    asked = [seed for seed in range(options.simulations) if seed not in done]
    if asked and not options.table_only:
        compiled = compiled_synthesis(literature(0)[0])
        for seed in asked:
            every.append(simulation(compiled, seed))
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(every[-1]) + "\n")
            print(f"simulation {seed}", file=sys.stderr)
    text = table(every)
    print(text)
    if options.out:
        command = f"python benchmarks/synthesis_coverage.py -o {options.out.as_posix()}"
        title = "# Does the interval of a synthesis hold the consensus exponent?"
        options.out.write_text(f"{title}\n\nMade by `{command}`.\n\n{text}\n", encoding="utf-8")


def read_results(path):
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def literature(seed):
    """Return the data of one simulated literature, its true values, and a generator."""
    rng = np.random.default_rng([seed, 40])
    data = synthesis_data(design(rng))
    latents = prior_latents(data, 1, random_seed=rng, prior=TRUTH)
    latents |= {name: np.full(1, value) for name, value in TAUS.items()}
    alpha, beta = (float(np.exp(latents[f"log_{name}"][0])) for name in ("alpha", "beta"))
    [value] = simulated_values(data, latents, random_seed=rng)
    truth = {"a": allocation_exponent(alpha, beta), **TAUS}
    return dataclasses.replace(data, value=value), truth, rng


def design(rng):
    """Return 40 rows of mixed countings and ranges, of which `MISSING` have no error."""
    sizes = [3 if i % 5 == 0 else 1 for i in range(RUN_SETS)]  # in every counting
    rows = []
    for i, size in enumerate(sizes):
        ends = RANGES[rng.integers(len(RANGES))]
        for position in range(size):
            rows.append(
                {
                    "study": f"study-{i}",
                    "run_set": f"study-{i}",
                    "counting": COUNTINGS[i],
                    "c_min": ends[0],
                    "c_max": ends[1],
                    "role": "replicate" if position else "primary",
                    "value": 0.5,
                    "se": 0.03 * np.exp(0.7 * rng.standard_normal()),
                }
            )
    rows = pd.DataFrame(rows)
    rows.loc[rows.index[rng.permutation(len(rows))[:MISSING]], "se"] = np.nan
    return rows


def simulation(compiled, seed):
    """Return truth and posterior of one simulated literature."""
    start = time.process_time()
    data, truth, _ = literature(seed)
    settings = Settings(**SAMPLING, random_seed=seed + 1)
    drawn = draw_synthesis(compiled.with_data(**vars(data)), settings, attempts=1)
    latents = drawn.latents
    exponents = (np.exp(latents[f"log_{name}"]) for name in ("alpha", "beta"))
    found = {"a": allocation_exponent(*exponents), **{name: latents[name] for name in TAUS}}
    margin = (1 - CI_PROB) / 2
    return {
        "seed": seed,
        "problems": list(drawn.problems),
        "cpu_seconds": round(time.process_time() - start, 2),
        "truth": truth,
        "quantiles": {
            name: np.quantile(draws, [margin, 0.5, 1 - margin]).round(5).tolist()
            for name, draws in found.items()
        },
    }


def table(every):
    """Return coverage per quantity as Markdown, with what it means."""
    head = ["quantity", "within the 90% interval", "below, above", "median width"]
    rows = [line(head), line(["---"] * len(head))]
    rows += [line([label, *cells(every, name)]) for name, label in LABELS.items()]
    return "\n\n".join(["\n".join(rows), LEGEND, note(every)])


def cells(every, name):
    ends = np.array([one["quantiles"][name] for one in every])
    truth = np.array([one["truth"][name] for one in every])
    below, above = (truth < ends[:, 0]).sum(), (truth > ends[:, 2]).sum()
    share = 1 - (below + above) / len(every)
    error = np.sqrt(max(share * (1 - share), 1 / len(every) ** 2) / len(every))
    mark = "" if name != "a" or CLAIM[0] <= share <= CLAIM[1] else " *"
    width = np.median(ends[:, 2] - ends[:, 0])
    return f"{share:.1%} ± {error:.1%}{mark}", f"{below}, {above}", f"{width:.3f}"


LEGEND = f"""\
Share of simulated literatures whose 90% equal-tailed interval holds the truth, with its binomial
standard error; how often the truth lies below and above it. Claim for a: {CLAIM[0]:.0%} to
{CLAIM[1]:.0%}; `*` marks what lies outside. The two spreads are the same in every literature
({TAUS["tau_between"]:g} and {TAUS["tau_within"]:g}), so that no Bayesian interval of theirs has
exactly 90%.

A literature has 40 exponents of {RUN_SETS} run sets, {REPLICATED} of which have two replicates;
{COUNTINGS.count("unknown")} run sets of unknown counting, {MISSING} rows without an error; ranges
of compute of published studies. Laws: log alpha and log beta ~ Normal(log .35,
{TRUTH["log_exponent_sd"]}), log tokens per parameter ~ Normal(log 20, {TRUTH["log_ratio_sd"]})."""


def note(every):
    faults = sum(bool(one["problems"]) for one in every)
    seconds = np.median([one["cpu_seconds"] for one in every])
    return (
        f"{len(every)} simulations of {seconds:.0f} CPU seconds each, {SAMPLING['chains']} chains "
        f"of {SAMPLING['draws']} draws, drawn once. The gate finds fault with {faults} (some R-hat "
        f"above 1.01 or effective size below 400; `synthesis` would draw again); all count."
    )


def line(cells):
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
