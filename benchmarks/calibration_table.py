"""Do 90% intervals hold the truth, and are they short? Against a bootstrap and a model by hand.

    python benchmarks/calibration_table.py [-o docs/calibration.md] [--store calibration]

Losses are drawn at Hoffmann et al.'s 240 digitised points, or at 30 of them, from a known law with 1%
noise and 5% outliers of five times that, one hundred times over with fixed seeds. The same data sets
are given to `scalebayes.fit`, to the pair bootstrap of Huber fits of Besiroglu et al. (2024), and to
a Student-t model as one would write it by hand in PyMC. Judged are the exponent a and log D*/N* at
Chinchilla's budget: how often central intervals hold the truth, and the interval score. Each result
is a line of JSON in the folder `--store`, so that an interrupted run goes on where it was;
`--table-only` writes the tables of what is there.
"""

import argparse
import json
import sys
import time
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import nutpie
import pandas as pd
import pymc as pm

import scalebayes as sb
from scalebayes.diagnostics import diagnose
from scalebayes.errors import NotConvergedWarning
from scalebayes.forecast import bootstrap
from scalebayes.laws import ANCHOR_D, ANCHOR_N, chinchilla
from scalebayes.optimum import optimal_allocation
from scalebayes.scores import interval_score

DESIGN = "hoffmann2022-epoch"
BUDGET = 5.76e23
"""Chinchilla's training compute, FLOP (Hoffmann et al. 2022)."""

# Besiroglu et al. (2024), arXiv:2404.10102
EPOCH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}


def with_exponents(law, *, alpha, beta):
    """Return the law with other exponents and the same terms at the anchors of the priors."""
    moved = {"alpha": alpha, "beta": beta}
    moved["A"] = law["A"] * ANCHOR_N ** (alpha - law["alpha"])
    moved["B"] = law["B"] * ANCHOR_D ** (beta - law["beta"])
    return law | moved


LAWS = {"Epoch": EPOCH, "off-centre": with_exponents(EPOCH, alpha=0.2, beta=0.5)}
NOISE, OUTLIERS, OUTLIER_NOISE = 0.01, 0.05, 0.05
"""Standard deviation of log loss, the share of outliers, and theirs."""

RESAMPLES = 1000
SAMPLING = {"draws": 1000, "tune": 1000, "chains": 4, "cores": 1}
PROBABILITIES = (0.5, 0.8, 0.9, 0.95)
PROB = 0.9
LEVELS = sorted({round((1 + sign * p) / 2, 4) for p in PROBABILITIES for sign in (-1, 1)})
QUANTITIES = {"a": "a", "log_ratio": "log D\\*/N\\*"}
COVERED = (0.82, 0.97)
COMPARED = {
    "Epoch": ("scalebayes", "bootstrap", "by hand"),
    "off-centre": ("scalebayes", "bootstrap"),
}
MOST = {
    (240, "bootstrap"): 0.92,
    (240, "by hand"): 1.03,
    (30, "bootstrap"): 0.75,
    (30, "by hand"): 1.05,
}
"""Largest mean interval score wanted, over the other method's, where the law is Epoch's."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="also write the tables to this file")
    parser.add_argument("--store", type=Path, default=Path("calibration"), help="folder of results")
    parser.add_argument("--sets", type=int, default=100, help="data sets of each law and size")
    parser.add_argument("--laws", nargs="*", default=list(LAWS), choices=LAWS)
    parser.add_argument("--points", nargs="*", type=int, default=[240, 30])
    parser.add_argument("--table-only", action="store_true", help="of the results that are there")
    options = parser.parse_args()
    warnings.simplefilter("ignore", NotConvergedWarning)  # counted in the table
    if not options.table_only:
        make_results(options)
    text = report(read_results(options.store))
    print(text)
    if options.out:
        title = "# Calibration, beside a bootstrap and a model by hand"
        command = f"python benchmarks/calibration_table.py -o {options.out.as_posix()}"
        options.out.write_text(f"{title}\n\nMade by `{command}`.\n\n{text}\n", encoding="utf-8")


def make_results(options):
    """Make the results asked for that are not in the store yet, one data set after another."""
    options.store.mkdir(parents=True, exist_ok=True)
    found = read_results(options.store)
    keys = ["law", "points", "seed", "method"]
    done = set(found[keys].itertuples(index=False, name=None)) if len(found) else set()
    for law in options.laws:
        for points in options.points:
            path = options.store / f"{law}-{points}.jsonl"
            for seed in range(options.sets):
                runs = simulated_runs(law, points, seed)
                for method in COMPARED[law]:
                    key = (law, points, seed, method)
                    if key in done:
                        continue
                    line = dict(zip(keys, key, strict=True)) | judged(method, runs, seed)
                    with path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
            print(f"{law}, {points} points: {options.sets} sets", file=sys.stderr, flush=True)


def read_results(store):
    """Return every result in the store, a row per data set and method."""
    lines = [
        json.loads(line)
        for path in sorted(store.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return pd.DataFrame(lines)


def simulated_runs(law, points, seed):
    """Return N, D and loss of a data set: all points of the design or some at random, with noise.

    Parameters
    ----------
    law : str
        One of `LAWS`.
    points : int
        How many, at most those of the design.
    seed : int
        Which data set; the same seed has the same points and noise under every law.
    """
    design = sb.load_study(DESIGN).runs[["N", "D"]].reset_index(drop=True)
    rng = np.random.default_rng([seed, points])
    if points < len(design):
        design = design.iloc[np.sort(rng.permutation(len(design))[:points])]
    sd = np.where(rng.uniform(size=points) < OUTLIERS, OUTLIER_NOISE, NOISE)
    loss = chinchilla(design["N"], design["D"], **LAWS[law]) * np.exp(sd * rng.normal(size=points))
    return design.assign(loss=loss).reset_index(drop=True)


def judged(method, runs, seed):
    """Return quantiles of both quantities by one method, what it cost, and whether it passed."""
    started = time.process_time()
    draws, facts = METHODS[method](runs, seed)
    result = {name: quantiles(values) for name, values in quantities(draws).items()}
    return result | facts | {"cpu_seconds": round(time.process_time() - started, 3)}


def quantities(law):
    """Return a and log D*/N* at the budget from A, B, alpha and beta."""
    terms = {name: np.asarray(law[name]) for name in ("A", "B", "alpha", "beta")}
    N, D = optimal_allocation(BUDGET, **terms)
    share = terms["beta"] / (terms["alpha"] + terms["beta"])
    return {"a": share, "log_ratio": np.log(D) - np.log(N)}


def quantiles(values):
    return [float(one) for one in np.quantile(values, LEVELS)]


def as_study(runs):
    return sb.read_runs(runs, counting="total", name="simulated")


def by_scalebayes(runs, seed):
    """Return posterior draws of the package's model with its priors, and what its gate said."""
    fit = sb.fit(as_study(runs), "hoffmann-total", **SAMPLING, random_seed=seed, cache=False)
    return fit["posterior"], {"problems": str(fit.attrs["problems"])}


def by_bootstrap(runs, seed):
    """Return Huber fits to rows drawn with replacement, and how many did not come to an end."""
    law, _ = bootstrap(as_study(runs), resamples=RESAMPLES, random_seed=seed)
    lost = RESAMPLES - law["A"].size
    return law, {"problems": f"{lost} resamples without an end" if lost else ""}


def by_hand(runs, seed):
    """Return posterior draws of the model written by hand, and what the same gate says of them."""
    data = {"N": runs["N"], "D": runs["D"], "log_loss": np.log(runs["loss"])}
    data = {name: column.to_numpy(float) for name, column in data.items()}
    model = compiled_by_hand(len(runs)).with_data(**data)
    settings = SAMPLING | {"adaptation": "low_rank", "target_accept": 0.95, "seed": seed}
    tree = nutpie.sample(model, **settings, progress_bar=False)
    posterior = tree["posterior"]
    draws = {name: posterior[name].to_numpy() for name in posterior.data_vars}
    stats = {name: tree["sample_stats"][name].to_numpy() for name in ("diverging", "energy")}
    found = diagnose(draws | quantities(draws), stats)
    return posterior, {"problems": "; ".join(found.problems), "divergences": found.divergences}


@cache
def compiled_by_hand(points):
    """Return the model written by hand, compiled once for each number of points."""
    nothing = np.ones(points)
    with pm.Model() as model:
        N, D = pm.Data("N", nothing), pm.Data("D", nothing)
        log_loss = pm.Data("log_loss", nothing)
        E = pm.LogNormal("E", np.log(1.7), 0.5)
        A = pm.LogNormal("A", np.log(400), 2.0)
        B = pm.LogNormal("B", np.log(400), 2.0)
        alpha = pm.LogNormal("alpha", np.log(0.35), 0.5)
        beta = pm.LogNormal("beta", np.log(0.35), 0.5)
        sigma = pm.HalfNormal("sigma", 0.05)
        nu = pm.Gamma("nu", 2.0, 0.1)
        expected = E + A / N**alpha + B / D**beta
        pm.StudentT("y", nu=nu, mu=pm.math.log(expected), sigma=sigma, observed=log_loss)
    return nutpie.compile_pymc_model(model)


METHODS = {"scalebayes": by_scalebayes, "bootstrap": by_bootstrap, "by hand": by_hand}


if __name__ == "__main__":
    main()
