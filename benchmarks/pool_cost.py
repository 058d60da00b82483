"""What pooling costs: the default studies over omega, and 10, 30 and 100 simulated studies.

CPU seconds of `sb.pool` once the studies are fitted and every cell is cached, compiling included
(the first pool of a process compiles). From an installed checkout:

    python benchmarks/pool_cost.py
"""

import argparse
import time
import warnings

import numpy as np
import pandas as pd

import scalebayes as sb
from scalebayes.literature import STUDY_SETTINGS
from scalebayes.population import pool_settings, population_of, redraw_of
from scalebayes.population_checks import population_checks
from scalebayes.population_trees import tree_of_population
from scalebayes.study_cells import pooled_studies

HYPOTHESIS = "hoffmann-total"
COEFFICIENTS = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
"""Besiroglu et al. (2024), arXiv:2404.10102."""


def simulated_fit(number, *, cache=False):
    """Return the fit of a simulated sweep of 36 runs, exponents log-normal with a spread of 0.2."""
    rng = np.random.default_rng(number)
    alpha, beta = np.exp(np.log([0.35, 0.35]) + 0.2 * rng.standard_normal(2))
    N, D = np.meshgrid(np.geomspace(1e8, 1e10, 6), np.geomspace(2e9, 2e11, 6))
    frame = pd.DataFrame({"N": N.ravel(), "D": D.ravel(), "loss": 2.0 + np.arange(36) / 100})
    design = sb.read_runs(frame, counting="total", name=f"sweep {number}")
    law = COEFFICIENTS | {"alpha": alpha, "beta": beta}
    law["A"] *= 1e9 ** (alpha - COEFFICIENTS["alpha"])
    law["B"] *= 2e10 ** (beta - COEFFICIENTS["beta"])
    study, _ = sb.simulate(
        design, HYPOTHESIS, parameters=law | {"sigma": 0.004, "nu": 5.0}, random_seed=number
    )
    named = sb.read_runs(study.runs[["N", "D", "loss"]], counting="total", name=f"sweep {number}")
    return sb.fit(named, HYPOTHESIS, draws=500, tune=500, cores=1, cache=cache)


def pooled_seconds(fits):
    """Return CPU seconds of drawing a population, and of the whole of `pool`, nothing cached."""
    start = time.process_time()
    population_of(pooled_studies(fits), pool_settings(1000, 1000, 4, 1, 1), cache=False)
    drawn = time.process_time() - start
    start = time.process_time()
    sb.pool(fits, cores=1, cache=False)
    return drawn, time.process_time() - start


def main():
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 30, 100])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| studies | counting | CPU s of the population | CPU s of pool in all |")
    print("| --- | --- | --- | --- |")
    fits = [sb.fit(name, "latent-counting", **STUDY_SETTINGS) for name in sb.DEFAULT_STUDIES]
    settings = pool_settings(1000, 1000, 4, None, 1)
    population_of(pooled_studies(fits), settings)  # what a fit does not hold is drawn and cached
    start = time.process_time()
    found = population_of(pooled_studies(fits), settings)
    drawn = time.process_time() - start
    tree_of_population(found)
    population_checks(found, redraw_of(found))
    total = time.process_time() - start
    counting = f"latent, {len(found.cells)} omegas"
    print(f"| {len(fits)} published | {counting} | {drawn:.1f} | {total:.1f} |")
    simulated = [simulated_fit(number) for number in range(max(arguments.sizes, default=0))]
    if simulated:
        pooled_seconds(simulated[:4])  # compiles
    for size in arguments.sizes:
        drawn, total = pooled_seconds(simulated[:size])
        print(f"| {size} simulated | total | {drawn:.1f} | {total:.1f} |")


if __name__ == "__main__":
    main()
