"""What the published studies add to a sweep of 30 runs: interval scores with and without them.

Each sweep has 30 random runs of a published study's design. Its exponents are drawn from what the
population of the published studies expects of a new study, its D*/N* at 5.76e23 FLOP from what
their ratios lead one to expect there; its loss at the anchors and its noise are those of a draw of
a published study's posterior. Both fits answer for log D*/N* at that budget (6ND, the law's own
total count), as if the law held exactly and with the discrepancy. From an installed checkout:

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
from scalebayes.discrepancy import AMPLITUDES
from scalebayes.fit import fit as fit_alone
from scalebayes.laws import ANCHOR_D, ANCHOR_N
from scalebayes.literature import literature_fits, with_literature
from scalebayes.optimum import CHINCHILLA_COMPUTE, optimal_allocation
from scalebayes.pooled_draws import hyperparameters, new_study
from scalebayes.population import pool_settings, population_of
from scalebayes.ratio_literature import ratio_literature, study_ratio
from scalebayes.scores import interval_score
from scalebayes.study_cells import pooled_studies

HYPOTHESIS = "hoffmann-total"
N_RUNS, SWEEPS, PROB = 30, 100, 0.9
SETTINGS = {"draws": 500, "tune": 500, "chains": 4, "cores": 1}


EXACT = sb.Discrepancy(amplitudes={name: np.zeros(1) for name in AMPLITUDES})


def simulated_sweep(seed, expected, ratios, fits):
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
    wanted = float(ratios.draws(CHINCHILLA_COMPUTE, 1, rng)[0])
    N, D = optimal_allocation(
        CHINCHILLA_COMPUTE, **{x: law[x] for x in ("A", "B", "alpha", "beta")}
    )
    tilt = -(wanted - np.log(D / N)) * (alpha + beta) / 4  # of log A, and back of log B
    law |= {"A": law["A"] * float(np.exp(tilt)), "B": law["B"] * float(np.exp(-tilt))}
    noise = {name: float(one[name]) for name in ("sigma", "nu")}
    study, _ = sb.simulate(design, HYPOTHESIS, parameters=law | noise, random_seed=seed)
    slopes = {name: law[name] for name in ("A", "B", "alpha", "beta")}
    N, D = optimal_allocation(CHINCHILLA_COMPUTE, **slopes)
    return study, float(np.log(D / N))


def answers(fit):
    """Return lower, median and upper of log D*/N* by what is allowed for."""
    best = sb.optimal(fit, CHINCHILLA_COMPUTE)
    ends = ((1 - PROB) / 2, 0.5, (1 + PROB) / 2)
    found = {}
    for label, discrepancy in (("exact", EXACT), ("discrepancy", "published")):
        both = sb.with_discrepancy(fit, best, discrepancy=discrepancy)
        ratio = both["tokens_per_parameter_with_discrepancy"]
        published = sb.with_ratio_literature(fit, best, discrepancy=discrepancy)
        if published is not None:
            ratio = published["tokens_per_parameter_with_literature"]
        found[label] = [float(x) for x in np.quantile(np.log(ratio.to_numpy()), ends)]
    return found


def one_sweep(seed, expected, ratios, others):
    """Return what both fits say of one simulated sweep."""
    study, truth = simulated_sweep(seed, expected, ratios, others)
    record = {"seed": seed, "truth": truth, "runs": study.n_used}
    alone = fit_alone(study, HYPOTHESIS, cache=False, progressbar=False, **SETTINGS)
    record["alone"], record["alone_converged"] = answers(alone), int(alone.attrs["converged"])
    joined = with_literature(alone, study, others, pool_settings(500, 500, 4, 1, 1))
    record["with"], record["with_converged"] = answers(joined), int(joined.attrs["converged"])
    record["place"] = joined.attrs["literature_place"]
    return record


def table(records):
    """Return the records as a Markdown table, with what they come to in words."""
    head = "| interval | fit | sweeps | coverage | mean interval score | median width |"
    lines = [head, "| --- " * 6 + "|"]
    truths = np.array([one["truth"] for one in records])
    ratios = []
    for allowed, said in (("exact", "if the law holds"), ("discrepancy", "with discrepancy")):
        scores = {}
        for label, name in (("alone", "alone"), ("with literature", "with")):
            lower, _, upper = np.array([one[name][allowed] for one in records]).T
            inside = (lower <= truths) & (truths <= upper)
            scores[name] = np.array(
                [interval_score(*ends) for ends in zip(lower, upper, truths, strict=True)]
            )
            error = np.sqrt(inside.mean() * (1 - inside.mean()) / inside.size)
            spread = scores[name].std() / np.sqrt(len(records))
            lines.append(
                f"| {said} | {label} | {len(records)} | {inside.mean():.1%} ± {error:.1%} | "
                f"{scores[name].mean():.2f} ± {spread:.2f} | {np.median(upper - lower):.2f} |"
            )
        ratios.append(f"{scores['with'].mean() / scores['alone'].mean():.2f} ({said})")
    outside = np.mean([one["place"] < 0.01 for one in records])
    failed = {
        name: sum(1 - one[f"{name}_converged"] for one in records) for name in ("alone", "with")
    }
    lines += [
        "",
        f"log D\\*/N\\* at 5.76e23 FLOP, {N_RUNS} runs a sweep; 90% equal-tailed intervals. With "
        f"the literature the mean interval score is that without times {' and '.join(ratios)}; "
        f"{outside:.1%} of sweeps drawn from the population are called outside it. Not converged: "
        f"{failed['alone']} alone, {failed['with']} with literature. ±: standard errors.",
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
    said = [
        study_ratio(
            one,
            group=sb.load_study(one.attrs["study"]).group or one.attrs["study"],
            discrepancy=sb.published_discrepancy(),
        )
        for one in others
    ]
    ratios = ratio_literature(said)
    done = arguments.records.read_text().splitlines() if arguments.records.exists() else []
    records = {one["seed"]: one for one in map(json.loads, done)}
    start = time.process_time()
    for seed in range(arguments.sweeps):
        if seed not in records:
            records[seed] = one_sweep(seed, expected, ratios, others)
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
