"""What the published studies add to a sweep of 30 runs: interval scores with and without them.

Each sweep has 30 random runs of a published study's design. Its exponents are drawn from what the
population of the published studies expects of a new study; its loss at the anchors and its noise
are those of a posterior draw of the study whose design it has. Both fits answer for log D*/N* at
5.76e23 FLOP (6ND, the law's own total count). From an installed checkout:

    python benchmarks/literature_gain.py -o docs/literature_gain.md
"""

import argparse
import dataclasses
import json
import time
import warnings
from pathlib import Path

import numpy as np

import scalebayes as sb
from scalebayes.fit import fit as fit_alone
from scalebayes.laws import ANCHOR_D, ANCHOR_N
from scalebayes.literature import literature_fits, with_literature
from scalebayes.optimum import CHINCHILLA_COMPUTE, optimal_allocation
from scalebayes.pooled_draws import hyperparameters, new_study
from scalebayes.population import pool_settings, population_of
from scalebayes.study_cells import pooled_studies

HYPOTHESIS = "hoffmann-total"
N_RUNS, SWEEPS, PROB = 30, 100, 0.9
SETTINGS = {"draws": 500, "tune": 500, "chains": 4, "cores": 1}


def interval_score(lower, upper, truth, prob=PROB):
    """Return an interval's width and what it misses by (Gneiting & Raftery 2007)."""
    missed = max(lower - truth, 0.0) + max(truth - upper, 0.0)
    return upper - lower + 2 / (1 - prob) * missed


def simulated_sweep(seed, expected, fits):
    """Return a sweep of 30 runs and its true log D*/N*."""
    rng = np.random.default_rng([seed, 1])
    design = sb.load_study(sb.DEFAULT_STUDIES[rng.integers(len(sb.DEFAULT_STUDIES))])
    used = design.table[design.table["left_out"] == ""]
    rows = used.iloc[np.sort(rng.choice(len(used), size=N_RUNS, replace=False))]
    design = dataclasses.replace(
        design, name=f"sweep {seed}", table=rows, shared_runs="", group="", recipe={}
    )
    theta = expected[rng.integers(len(expected))]
    alpha, beta = np.exp(theta)
    drawn = fits[rng.integers(len(fits))]["posterior"].to_dataset()
    one = drawn.isel(chain=rng.integers(4), draw=rng.integers(drawn.sizes["draw"]))
    law = {
        "E": float(one["E"]),
        "A": float(np.exp(one["log_term_N"])) * ANCHOR_N**alpha,
        "B": float(np.exp(one["log_term_D"])) * ANCHOR_D**beta,
        "alpha": float(alpha),
        "beta": float(beta),
    }
    noise = {name: float(one[name]) for name in ("sigma", "nu")}
    study, _ = sb.simulate(design, HYPOTHESIS, parameters=law | noise, random_seed=seed)
    slopes = {name: law[name] for name in ("A", "B", "alpha", "beta")}
    N, D = optimal_allocation(CHINCHILLA_COMPUTE, **slopes)
    return study, float(np.log(D / N))


def answer(fit):
    """Return lower, median and upper of log D*/N*, and whether the fit converged."""
    ratio = np.log(sb.optimal(fit, CHINCHILLA_COMPUTE)["tokens_per_parameter"].to_numpy())
    ends = ((1 - PROB) / 2, 0.5, (1 + PROB) / 2)
    return [float(x) for x in np.quantile(ratio, ends)], int(fit.attrs["converged"])


def one_sweep(seed, expected, others):
    """Return what both fits say of one simulated sweep."""
    study, truth = simulated_sweep(seed, expected, others)
    record = {"seed": seed, "truth": truth, "runs": study.n_used}
    alone = fit_alone(study, HYPOTHESIS, cache=False, progressbar=False, **SETTINGS)
    record["alone"], record["alone_converged"] = answer(alone)
    joined = with_literature(alone, study, others, pool_settings(500, 500, 4, 1, 1))
    record["with"], record["with_converged"] = answer(joined)
    record["place"] = joined.attrs["literature_place"]
    return record


def table(records):
    """Return the records as a Markdown table, with what they come to in words."""
    lines = ["| fit | sweeps | coverage | mean interval score | median width | not converged |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    scores = {}
    for label, name in (("alone", "alone"), ("with literature", "with")):
        truths = np.array([one["truth"] for one in records])
        lower, _, upper = np.array([one[name] for one in records]).T
        inside = (lower <= truths) & (truths <= upper)
        scores[name] = np.array(
            [interval_score(*ends) for ends in zip(lower, upper, truths, strict=True)]
        )
        failed = sum(1 - one[f"{name}_converged"] for one in records)
        error = np.sqrt(inside.mean() * (1 - inside.mean()) / inside.size)
        lines.append(
            f"| {label} | {len(records)} | {inside.mean():.1%} ± {error:.1%} | "
            f"{scores[name].mean():.2f} ± {scores[name].std() / np.sqrt(len(records)):.2f} | "
            f"{np.median(upper - lower):.2f} | {failed} |"
        )
    ratio = scores["with"].mean() / scores["alone"].mean()
    outside = np.mean([one["place"] < 0.01 for one in records])
    lines += [
        "",
        f"log D\\*/N\\* at 5.76e23 FLOP, {N_RUNS} runs a sweep; 90% equal-tailed intervals. With "
        f"the literature the mean interval score is {ratio:.2f} of that without; {outside:.1%} of "
        "sweeps drawn from the population are called outside it. ±: standard errors over sweeps.",
    ]
    return "\n".join(lines)


def main():
    """Run the sweeps that are not yet recorded, then print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=SWEEPS)
    parser.add_argument("--records", type=Path, default=Path("literature_gain.jsonl"))
    parser.add_argument("-o", "--out", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    others, _ = literature_fits(sb.load_study("dey2023-cerebras-sp"), HYPOTHESIS, cores=1)
    population = population_of(pooled_studies(others), pool_settings(1000, 1000, 4, 1, 1))
    [cell] = population.cells
    z = cell.draws.unconstrained.reshape(-1, len(cell.density.form.latents))
    found = hyperparameters(cell.density.form, z)
    expected = new_study(found, np.zeros(len(population.recipes.names)), np.random.default_rng(1))
    done = arguments.records.read_text().splitlines() if arguments.records.exists() else []
    records = {one["seed"]: one for one in map(json.loads, done)}
    start = time.process_time()
    for seed in range(arguments.sweeps):
        if seed not in records:
            records[seed] = one_sweep(seed, expected, others)
            with arguments.records.open("a", encoding="utf-8") as file:
                file.write(json.dumps(records[seed]) + "\n")
            print(seed, f"{time.process_time() - start:.0f} CPU s", flush=True)
    kept = [records[seed] for seed in range(arguments.sweeps)]
    head = "# What the published studies add to 30 runs\n\nMade by `python "
    head += "benchmarks/literature_gain.py -o docs/literature_gain.md`.\n\n"
    text = head + table(kept) + "\n"
    if arguments.out is None:
        print(text)
    else:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
