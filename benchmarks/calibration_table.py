"""Do 90% intervals hold the truth, and are they short? Against a bootstrap and a model by hand.

    python benchmarks/calibration_table.py [-o docs/calibration.md] [--store calibration]

Losses are drawn at Hoffmann et al.'s 240 digitised points, or at 30 of them, from a known law with
1% noise and 5% outliers of five times that, one hundred times over with fixed seeds. The same data
sets are given to `scalebayes.fit`, to the pair bootstrap of Huber fits of Besiroglu et al. (2024),
and to a Student-t model as one would write it by hand in PyMC. Judged are the exponent a and
log D*/N* at Chinchilla's budget: how often central intervals hold the truth, and the interval
score. Each result is a line of JSON in the folder `--store`, so that an interrupted run goes on
where it was; `--table-only` writes the tables of what is there.
"""

import argparse
import json
import sys
import textwrap
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

RESAMPLES = 4000
DRAWS = {"Epoch": 1000, "off-centre": 500}
"""Of each chain, after as many of tuning."""

SAMPLING = {"chains": 4, "cores": 1}
PROBABILITIES = (0.5, 0.8, 0.9, 0.95)
PROB = 0.9
LEVELS = sorted({round((1 + sign * p) / 2, 4) for p in PROBABILITIES for sign in (-1, 1)})
QUANTITIES = {"a": "a", "log_ratio": "log D\\*/N\\*"}
COVERED = (0.82, 0.97)
COMPARED = {
    "Epoch": ("scalebayes", "bootstrap", "by hand", "by hand, wide"),
    "off-centre": ("scalebayes",),
}
"""Methods given the data sets of each law."""

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
    text = report(read_results(options.store), options.sets)
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
                    line = dict(zip(keys, key, strict=True)) | judged(
                        method, runs, seed, DRAWS[law]
                    )
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


def judged(method, runs, seed, draws):
    """Return quantiles of both quantities by one method, its CPU seconds and its faults."""
    started = time.process_time()
    law, facts = METHODS[method](runs, seed, draws)
    result = {name: quantiles(values) for name, values in quantities(law).items()}
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


def by_scalebayes(runs, seed, draws):
    """Return posterior draws of the package's model with its priors, and what its gate said."""
    settings = SAMPLING | {"draws": draws, "tune": draws, "random_seed": seed}
    fit = sb.fit(as_study(runs), "hoffmann-total", **settings, cache=False)
    return fit["posterior"], {"problems": str(fit.attrs["problems"])}


def by_bootstrap(runs, seed, _):
    """Return Huber fits to rows drawn with replacement, and how many did not come to an end."""
    law, _ = bootstrap(as_study(runs), resamples=RESAMPLES, random_seed=seed)
    lost = RESAMPLES - law["A"].size
    return law, {"problems": f"{lost} resamples without an end" if lost else ""}


def by_hand(runs, seed, draws, *, spread=2.0):
    """Return posterior draws of the model written by hand, and what the same gate says of them.

    `spread` is the log standard deviation of the priors of A and B.
    """
    data = {"N": runs["N"], "D": runs["D"], "log_loss": np.log(runs["loss"])}
    data = {name: column.to_numpy(float) for name, column in data.items()}
    model = compiled_by_hand(len(runs), spread).with_data(**data)
    settings = SAMPLING | {"draws": draws, "tune": draws, "seed": seed}
    settings |= {"adaptation": "low_rank", "target_accept": 0.95}
    tree = nutpie.sample(model, **settings, progress_bar=False)
    posterior = tree["posterior"]
    values = {name: posterior[name].to_numpy() for name in posterior.data_vars}
    stats = {name: tree["sample_stats"][name].to_numpy() for name in ("diverging", "energy")}
    found = diagnose(values | quantities(values), stats)
    return posterior, {"problems": "; ".join(found.problems), "divergences": found.divergences}


TERM = 400.0
"""Median of A and B by hand; Hoffmann et al. (2022) have 406 and 411."""

WIDE = 5.0


def by_hand_wide(runs, seed, draws):
    """Return what `by_hand` does, with wide priors of A and B."""
    return by_hand(runs, seed, draws, spread=WIDE)


def exponent_from_term(coefficient, exponent, anchor, spread=2.0):
    """Return mean and standard deviation of an exponent that the prior by hand of A or B implies.

    Where the runs tell how large the term is at the anchor, log A = log term + alpha log anchor, so
    that a Normal prior of log A is one of alpha.

    Parameters
    ----------
    coefficient, exponent : float
        The true ones, of which only the term at the anchor matters.
    anchor : float
        N or D at which the term is known.
    spread : float
        Log standard deviation of the coefficient's prior.
    """
    log_term = np.log(coefficient) - exponent * np.log(anchor)
    return (np.log(TERM) - log_term) / np.log(anchor), spread / np.log(anchor)


@cache
def compiled_by_hand(points, spread):
    """Return the model written by hand, compiled once for each number of points and each prior."""
    nothing = np.ones(points)
    with pm.Model() as model:
        N, D = pm.Data("N", nothing), pm.Data("D", nothing)
        log_loss = pm.Data("log_loss", nothing)
        E = pm.LogNormal("E", np.log(1.7), 0.5)
        A = pm.LogNormal("A", np.log(TERM), spread)
        B = pm.LogNormal("B", np.log(TERM), spread)
        alpha = pm.LogNormal("alpha", np.log(0.35), 0.5)
        beta = pm.LogNormal("beta", np.log(0.35), 0.5)
        sigma = pm.HalfNormal("sigma", 0.05)
        nu = pm.Gamma("nu", 2.0, 0.1)
        expected = E + A / N**alpha + B / D**beta
        pm.StudentT("y", nu=nu, mu=pm.math.log(expected), sigma=sigma, observed=log_loss)
    return nutpie.compile_pymc_model(model)


METHODS = {"scalebayes": by_scalebayes, "bootstrap": by_bootstrap, "by hand": by_hand}
METHODS |= {"by hand, wide": by_hand_wide}


def report(found, sets):
    """Return the tables and what they are about, in Markdown."""
    found = found.sort_values(["points", "seed"], ascending=[False, True], kind="stable")
    cases = {
        (law, points): one
        for law in LAWS
        for points, one in found[found["law"] == law].groupby("points", sort=False)
    }
    blocks = ["## How often intervals hold the truth", coverage_table(cases)]
    blocks += ["## The 90% interval of log D\\*/N\\*", score_table(cases)]
    blocks += ["## Costs and faults", cost_table(cases), legend()]
    return "\n\n".join(blocks + unfinished(cases, sets))


def unfinished(cases, sets):
    """Return a paragraph that names the cases with fewer data sets than asked for, if any."""
    short = [
        f"{law}, {points} points, {method}: {len(one)}"
        for (law, points), found in cases.items()
        for method, one in by_method(found)
        if len(one) < sets
    ]
    if not short:
        return []
    return [f"Not all {sets} data sets are made yet; the command goes on. {'; '.join(short)}."]


def coverage_table(cases):
    """Return how often each interval held the truth; a mark where that of 90% is not as wanted."""
    shares = [f"{name}: {p:.0%}" for name in QUANTITIES.values() for p in PROBABILITIES]
    rows = []
    for (law, points), found in cases.items():
        true = {name: float(one) for name, one in quantities(LAWS[law]).items()}
        for method, one in by_method(found):
            cells = [law, points, method, len(one)]
            for name in QUANTITIES:
                for p in PROBABILITIES:
                    share = float(held(one, name, true[name], p).mean())
                    wrong = p == PROB and not COVERED[0] <= share <= COVERED[1]
                    cells.append(f"{share:.0%}" + " \\*" * wrong)
            rows.append(cells)
    said = (
        "Share of data sets whose central interval holds the truth. Wanted of 90% intervals: "
        f"{COVERED[0]:.0%} to {COVERED[1]:.0%}; \\* marks what lies outside. Where the true share "
        "is 90%, that of 100 data sets has a standard error of 3%."
    )
    return markdown(["law", "points", "method", "sets", *shares], rows) + f"\n\n{said}"


def score_table(cases):
    """Return mean interval scores, their two parts, and how scalebayes' compares."""
    rows = []
    for (law, points), found in cases.items():
        true = float(quantities(LAWS[law])["log_ratio"])
        scores = {method: score_parts(one, true) for method, one in by_method(found)}
        for method, parts in scores.items():
            width, missed = parts["width"].mean(), parts["missed"].mean()
            cells = [law, points, method, f"{width + missed:.3f}", f"{width:.3f}", f"{missed:.3f}"]
            rows.append(cells + compared(scores["scalebayes"], parts, law, points, method))
    said = (
        "Mean interval score (Gneiting & Raftery 2007): the width, and 20 times what the truth "
        "lies outside; lower is better. Ratio: scalebayes' mean score over this method's on the "
        "same data sets, with its standard error."
    )
    head = ["law", "points", "method", "mean score", "width", "missed", "ratio", "wanted", ""]
    return markdown(head, rows) + f"\n\n{said}"


def compared(ours, other, law, points, method):
    """Return the cells of a ratio of mean scores, what is wanted of it, and whether it is so."""
    if method == "scalebayes":
        return ["", "", ""]
    both = ours.sum(axis=1).to_frame("ours").join(other.sum(axis=1).rename("other"), how="inner")
    ratio = both["ours"].mean() / both["other"].mean()
    rest = both["ours"] - ratio * both["other"]
    se = rest.std() / both["other"].mean() / np.sqrt(len(both))
    cells = [f"{ratio:.3f} ± {se:.3f}"]
    if law != "Epoch" or (points, method) not in MOST:
        return [*cells, "", ""]
    most = MOST[points, method]
    return [*cells, f"at most {most:.2f}", "good" if ratio <= most else "NOT GOOD"]


def cost_table(cases):
    """Return CPU seconds per data set, and with how many the diagnostics found fault."""
    rows = []
    for (law, points), found in cases.items():
        for method, one in by_method(found):
            faults = int((one["problems"] != "").sum())
            cells = [
                law,
                points,
                method,
                f"{one['cpu_seconds'].median():.1f}",
                f"{faults} of {len(one)}",
            ]
            rows.append(cells)
    return markdown(["law", "points", "method", "CPU s, median", "sets with a fault"], rows)


def by_method(found):
    """Return (method, its rows by seed) in the order of `METHODS`."""
    parts = dict(list(found.set_index("seed").groupby("method")))
    return [(method, parts[method]) for method in METHODS if method in parts]


def ends(found, name, prob):
    """Return the ends of the central intervals of a quantity, each by seed."""
    places = [LEVELS.index(round((1 + sign * prob) / 2, 4)) for sign in (-1, 1)]
    return (found[name].str[place].astype(float) for place in places)


def held(found, name, true, prob):
    lower, upper = ends(found, name, prob)
    return (lower <= true) & (true <= upper)


def score_parts(found, true):
    """Return width and penalty of the 90% interval of log D*/N*, by seed: the score's parts."""
    lower, upper = ends(found, "log_ratio", PROB)
    score = interval_score(lower, upper, true, prob=PROB)
    return pd.DataFrame({"width": upper - lower, "missed": score - (upper - lower)})


def legend():
    """Return what the tables are about."""
    a, log_ratio = (float(one) for one in quantities(EPOCH).values())
    off = LAWS["off-centre"]
    sampling = f"{SAMPLING['chains']} chains of {DRAWS['Epoch']} draws"
    alpha = exponent_from_term(EPOCH["A"], EPOCH["alpha"], ANCHOR_N)
    beta = exponent_from_term(EPOCH["B"], EPOCH["beta"], ANCHOR_D)
    wide_alpha = exponent_from_term(EPOCH["A"], EPOCH["alpha"], ANCHOR_N, WIDE)
    wide_beta = exponent_from_term(EPOCH["B"], EPOCH["beta"], ANCHOR_D, WIDE)
    data = (
        "Epoch: the law of Besiroglu et al. (2024), arXiv:2404.10102, with",
        f"a = {a:.3f} and D\\*/N\\* = {np.exp(log_ratio):.1f} at {BUDGET:g} FLOP.",
        "Off-centre: the same terms at the priors' anchors, alpha =",
        f"{off['alpha']:g} and beta = {off['beta']:g}, where the priors have a median of .35 for",
        f"both; a = {float(quantities(off)['a']):.3f}. Runs have N and D of {DESIGN}: all 240 used",
        "points, or for each data set 30 of them at random. Noise of log loss is Normal with",
        f"standard deviation {NOISE:g}, and {OUTLIER_NOISE:g} for {OUTLIERS:.0%} of the runs.",
    )
    methods = (
        f"scalebayes: `hoffmann-total` as it stands, {sampling}",
        f"(off-centre of {DRAWS['off-centre']}). Bootstrap: Huber fits of log loss",
        "(delta 1e-3) to rows drawn with replacement, each begun at the fit to all rows, and",
        f"percentiles; {RESAMPLES} resamples, as Besiroglu et al. By hand: E, A, B, alpha",
        "and beta as they stand, log-normal about 1.7, 400, 400, .35, .35 with log standard",
        "deviations .5, 2, 2, .5, .5; Student-t noise of log loss, scale `HalfNormal(.05)`,",
        "degrees of freedom `Gamma(2, .1)`; nutpie with `target_accept=0.95` and its low-rank",
        f"metric, which suits such a ridge, {sampling}, compiled once. By hand, wide: the same",
        f"with a log standard deviation of {WIDE:g} for A and B.",
    )
    faults = (
        "A fault of scalebayes: its gate, after the last attempt. Of the models by hand: the same",
        "limits (R-hat 1.01, effective sizes 400, no divergence, E-BFMI .3), drawn once. Of the",
        "bootstrap: resamples whose fit did not come to an end and are left out. All data sets",
        "count.",
    )
    hidden = (
        "What the model by hand knows more: where runs tell the size of the terms at the anchors",
        f"({ANCHOR_N:g} parameters, {ANCHOR_D:g} tokens) well, its priors of A and B, wide as they",
        f"look, say that alpha is {alpha[0]:.2f} ± {alpha[1]:.2f} and beta {beta[0]:.2f} ±",
        f"{beta[1]:.2f}, beside the priors of the exponents themselves. Near Epoch's law that is",
        "right and shortens intervals, the more the fewer the runs. With the wide priors they say",
        f"{wide_alpha[0]:.2f} ± {wide_alpha[1]:.2f} and {wide_beta[0]:.2f} ± {wide_beta[1]:.2f},",
        "which leaves the exponents to their own priors: the like of which scalebayes has.",
    )
    texts = (" ".join(one) for one in (data, methods, hidden, faults))
    return "\n\n".join(textwrap.fill(one, 105, break_on_hyphens=False) for one in texts)


def markdown(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


if __name__ == "__main__":
    main()
