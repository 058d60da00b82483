"""How often the 90% intervals of a population hold what it was simulated with.

    python benchmarks/population_coverage.py [-o docs/population_coverage.md]
        [--simulations 100] [--spreads 0.08 0.35] [--results population_coverage.jsonl]
        [--all-runs]

Each simulation makes 12 studies: their exponents from a population of known mean, spread and recipe
effect, their runs from those exponents at about 50 of Chinchilla's sizes and tokens each, or with
--all-runs at all of a study's range, 157 to 240. Every study is sampled from its runs, and the
studies are pooled, as `fit` and `pool` do. One line of JSON per simulation goes to the file of
results, so that an interrupted run goes on where it was.
"""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

import numpy as np
from scipy import stats

import scalebayes as sb
from scalebayes.build import run_data
from scalebayes.compiled import log_density
from scalebayes.gate import Settings, draw_posterior
from scalebayes.hypotheses import load_hypothesis
from scalebayes.laws import ANCHOR_D, ANCHOR_N
from scalebayes.optimum import allocation_exponent
from scalebayes.pooled_draws import covariance, hyperparameters, new_study, pooled_indices
from scalebayes.population import pool_settings, population_of
from scalebayes.population_density import EXPONENTS, PRIOR
from scalebayes.study_cells import pooled_studies
from scalebayes.trees import tree_of_posterior

HYPOTHESIS = "hoffmann-total"
DESIGN = "hoffmann2022-epoch"
WINDOWS = ((7.5, 9.2, 3), (8.0, 9.5, 4), (8.5, 10.3, 4), (7.5, 10.3, 5))
"""Ranges of log10 N that a study's runs come from, and which of them (every how many) it has."""

GROUPS = (*["first"] * 3, *["second"] * 3, *(f"alone-{i}" for i in range(6)))
LONG_WARMUP = (0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0)
RECIPE_EFFECT = np.array([-0.15, 0.10])  # of a long warm-up, on log alpha and log beta
BETWEEN = 0.9
"""Part of the variance of log exponents that lies between groups; the priors' is 0.9 too."""

EVIDENCE = "log evidence known to"
CI_PROB = 0.9
CLAIM = (0.84, 0.95)
STAGE_1 = {"draws": 600, "tune": 300, "chains": 2}
STAGE_2 = {"draws": 700, "tune": 400, "chains": 4}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="also write the table to this file")
    parser.add_argument("--simulations", type=int, default=100, help="of each spread")
    parser.add_argument("--spreads", type=float, nargs="+", default=[0.08, 0.35])
    parser.add_argument("--results", type=Path, default=Path("population_coverage.jsonl"))
    parser.add_argument("--all-runs", action="store_true", help="studies of 157 to 240 runs")
    parser.add_argument("--table-only", action="store_true", help="of the results that are there")
    options = parser.parse_args()
    every = read_results(options.results)
    done = {(one["spread"], one["seed"]) for one in every}
    for seed in range(0 if options.table_only else options.simulations):
        for spread in options.spreads:
            if (spread, seed) not in done:
                every.append(simulation(spread, seed, all_runs=options.all_runs))
                with options.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(every[-1]) + "\n")
                print(f"spread {spread:g}, simulation {seed}", file=sys.stderr)
    text = table([one for one in every if one["spread"] in options.spreads], options.spreads)
    print(text)
    if options.out:
        every = " --all-runs" if options.all_runs else ""
        command = f"python benchmarks/population_coverage.py -o {options.out.as_posix()}{every}"
        title = "# Do a population's intervals hold the truth?"
        title += " Studies of many runs" if options.all_runs else ""
        options.out.write_text(f"{title}\n\nMade by `{command}`.\n\n{text}\n", encoding="utf-8")


def read_results(path):
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def simulation(spread, seed, *, all_runs=False):
    """Return truth and posterior of every quantity of one simulated population."""
    start = time.process_time()
    rng = np.random.default_rng([seed, round(1000 * spread)])
    truth, theta = population_truth(spread, rng)
    fits = [
        study_fit(design(i, all_runs=all_runs), i, exponents, rng)
        for i, exponents in enumerate(theta)
    ]
    settings = pool_settings(**STAGE_2, cores=1, random_seed=seed + 1)
    population = population_of(pooled_studies(fits), settings, cache=False, attempts=1)
    [cell] = population.cells
    drawn = pooled_quantities(population, cell, rng)
    margin = (1 - CI_PROB) / 2
    return {
        "spread": spread,
        "seed": seed,
        "problems": list(cell.problems),
        "refitted": list(cell.refitted),
        "cpu_seconds": round(time.process_time() - start, 2),
        "truth": truth,
        "below": {name: float(np.mean(drawn[name] < truth[name])) for name in truth},
        "quantiles": {
            name: np.quantile(drawn[name], [margin, 0.5, 1 - margin]).round(5).tolist()
            for name in truth
        },
    }


def population_truth(spread, rng):
    """Return true values by name, and log exponents of every study [study, exponent]."""
    mu = np.log(0.35) + 0.2 * rng.standard_normal(2)
    sd = np.sqrt([BETWEEN, 1 - BETWEEN]) * spread
    correlation = 2 * rng.beta(2, 2, size=2) - 1
    between, within = (
        covariance(np.full(2, scale), rho) for scale, rho in zip(sd, correlation, strict=True)
    )
    names, position = np.unique(GROUPS, return_inverse=True)
    group = rng.multivariate_normal(np.zeros(2), between, size=len(names))[position]
    own = rng.multivariate_normal(np.zeros(2), within, size=len(GROUPS))
    theta = mu + group + np.outer(LONG_WARMUP, RECIPE_EFFECT) + own
    another = rng.multivariate_normal(mu, between + within)
    scales = {"sd_between": sd[0], "sd_within": sd[1], "sd_total": spread}
    given = {name: np.full(2, scale) for name, scale in scales.items()}
    given |= {"mu": mu, "recipe_effect": RECIPE_EFFECT, "new_study": another, "study": theta[0]}
    return {name: float(value) for name, value in named(given).items()}, theta


def named(given):
    """Return one entry per exponent of quantities [..., exponent], and a where it makes sense."""
    found = {}
    for name, value in given.items():
        found |= {f"{name}[{one}]": value[..., i] for i, one in enumerate(EXPONENTS)}
    for name in ("mu", "new_study", "study"):
        found[f"{name}[a]"] = exponent_a(given[name])
    shifted = given["mu"] + given["recipe_effect"]
    found["recipe_effect[a]"] = exponent_a(shifted) - found["mu[a]"]
    return found


def exponent_a(theta):
    alpha, beta = np.moveaxis(np.exp(theta), -1, 0)
    return allocation_exponent(alpha, beta)


def study_fit(planned, position, theta, rng):
    """Return the fit of one simulated study; every value but its exponents is its own affair."""
    alpha, beta = np.exp(theta)
    terms = 0.36 * np.exp(0.3 * rng.standard_normal(2))  # nats left at the anchors; Epoch's .36
    parameters = {
        "E": 1.8 * np.exp(0.15 * rng.standard_normal()),
        "A": terms[0] * ANCHOR_N**alpha,
        "B": terms[1] * ANCHOR_D**beta,
        "alpha": alpha,
        "beta": beta,
        "sigma": 0.006 * np.exp(0.3 * rng.standard_normal()),
        "nu": 1 + 4 * np.exp(0.5 * rng.standard_normal()),
    }
    hypothesis = load_hypothesis(HYPOTHESIS)
    study, _ = sb.simulate(planned, hypothesis, parameters=parameters, random_seed=rng)
    study = dataclasses.replace(
        study,
        name=f"study-{position}",
        group=GROUPS[position],
        recipe={"warmup": "long" if LONG_WARMUP[position] else "short"},
    )
    settings = Settings(**STAGE_1, cores=1, random_seed=int(rng.integers(2**31)))
    density = log_density(run_data(study, hypothesis), hypothesis)
    posterior = draw_posterior(density, hypothesis, settings)
    return tree_of_posterior(posterior, study, hypothesis, settings)


def design(position, *, all_runs):
    """Return the runs of one study: a range of sizes of Chinchilla's points, thinned or all."""
    lower, upper, every = WINDOWS[position % len(WINDOWS)]
    study = sb.load_study(DESIGN)
    log_N = np.log10(study.runs["N"])
    inside = study.runs.assign(left_out="")[(log_N > lower) & (log_N < upper)]
    rows = slice(None) if all_runs else slice(position // len(WINDOWS), None, every)
    return dataclasses.replace(study, table=inside.iloc[rows])


def pooled_quantities(population, cell, rng):
    """Return flat draws of every quantity that has a truth."""
    found = hyperparameters(cell.density.form, cell.draws.unconstrained)
    x = np.zeros(len(population.recipes.names))
    size = found["mu"][..., 0].size
    first = cell.cells[0].theta.reshape(-1, 2)
    kept = {name: found[name] for name in ("sd_between", "sd_within", "mu")}
    kept["sd_total"] = np.hypot(found["sd_between"], found["sd_within"])
    kept["recipe_effect"] = found["recipe_effect"][..., 0, :]
    kept["new_study"] = new_study(found, x, rng)
    kept["study"] = first[pooled_indices(cell, population, 0, size, seed=1)]
    return {name: np.ravel(value) for name, value in named(kept).items()}


LABELS = {
    "mu": "population mean",
    "sd_between": "spread between groups",
    "sd_within": "spread within groups",
    "sd_total": "spread, both",
    "recipe_effect": "effect of a recipe",
    "new_study": "a new study",
    "study": "a study pooled with the others",
}


def table(results, spreads):
    """Return coverage per quantity and spread as Markdown, with what it means."""
    head = ["quantity", *(f"spread {spread:g}" for spread in spreads)]
    rows = [line(head), line(["---"] * len(head))]
    names = [
        f"{name}[{one}]"
        for name in LABELS
        for one in (*EXPONENTS, "a")
        if f"{name}[{one}]" in results[0]["truth"]
    ]
    groups = [[one for one in results if one["spread"] == spread] for spread in spreads]
    for name in names:
        rows.append(line([label(name), *(cell_text(group, name) for group in groups)]))
    return "\n\n".join(["\n".join(rows), LEGEND, *map(note, groups), misses(groups, names)])


LEGEND = f"""\
Share of simulations in which the 90% interval (5% to 95% quantile) holds the truth, with its
binomial standard error; in brackets, in how many of them the truth lies below and above the
interval, and the median over simulations of its middle, against the truth where that is one number.
Claim: {CLAIM[0]:.0%} to {CLAIM[1]:.0%} each; `*` marks what lies outside.

Spread: standard deviation of log alpha and of log beta over studies of one recipe, nine tenths of
the variance between groups (two of three studies, six of one) and a tenth within. It is one number,
not drawn from its prior, so that no Bayesian interval of it has exactly 90%; nor has that of the
recipe effect ({RECIPE_EFFECT[0]:+.2f} and {RECIPE_EFFECT[1]:+.2f} on log alpha and log beta). The
means come from Normal(log .35, .2), correlations from their prior, each study's E, terms at the
anchors, sigma and nu from log-normals about those of published studies."""


def label(name):
    quantity, exponent = name.rstrip("]").split("[")
    return f"{LABELS[quantity]}, {exponent if exponent == 'a' else 'log ' + exponent}"


def coverage(group, name):
    """Return the share of simulations whose interval holds the truth, and its standard error."""
    below, above = missed(group, name)
    share = 1 - (below + above) / len(group)
    return share, np.sqrt(max(share * (1 - share), 1 / len(group) ** 2) / len(group))


def missed(group, name):
    """Return in how many simulations the truth lies below and above the interval."""
    margin = (1 - CI_PROB) / 2
    place = np.array([one["below"][name] for one in group])
    return int((place < margin).sum()), int((place > 1 - margin).sum())


def cell_text(group, name):
    share, se = coverage(group, name)
    below, above = missed(group, name)
    truths = {one["truth"][name] for one in group}
    middle = np.median([one["quantiles"][name][1] for one in group])
    against = f"; {middle:.3f} for {truths.pop():.3f}" if len(truths) == 1 else ""
    mark = "" if CLAIM[0] <= share <= CLAIM[1] else " *"
    return f"{share:.1%} ± {se:.1%} ({below}, {above}{against}){mark}"


def note(group):
    """Return how many simulations there are, and what the gate says of their draws."""
    faults = [[one for one in run["problems"] if EVIDENCE not in one] for run in group]
    only_evidence = sum(bool(run["problems"]) for run in group) - sum(map(bool, faults))
    refitted = sum(bool(run["refitted"]) for run in group)
    seconds = np.median([run["cpu_seconds"] for run in group])
    spread = group[0]["spread"]
    place = stats.halfnorm.cdf(spread * np.sqrt(BETWEEN), scale=PRIOR["between"])
    return (
        f"Spread {spread:g}: {len(group)} simulations of {seconds:.0f} CPU seconds each. In the "
        f"prior {place:.0%} of spreads between groups (and of those within) are smaller. Chains "
        f"are short and drawn once only: the gate finds fault with draws in "
        f"{sum(map(bool, faults))} (a divergence, an R-hat above 1.01, an effective size below "
        f"400), with the precision of the log evidence alone, which is not used here, in "
        f"{only_evidence}. All count. In {refitted} some study was fitted again under a prior near "
        f"the population."
    )


def misses(groups, names):
    outside = [
        f"{label(name)} at {group[0]['spread']:g} ({coverage(group, name)[0]:.0%})"
        for group in groups
        for name in names
        if not CLAIM[0] <= coverage(group, name)[0] <= CLAIM[1]
    ]
    if not outside:
        return "All lie within the claim."
    return f"Outside the claim: {'; '.join(outside)}."


def line(cells):
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
