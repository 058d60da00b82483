"""Write tests/reference_posterior.json: posteriors of the 240 points by importance sampling.

    python tools/reference_posterior.py [-o tests/reference_posterior.json] [--points 600000]

Means, standard deviations and 5% and 95% quantiles of the law's quantities, each with its standard
error, and the log evidence, for three hypotheses on Hoffmann et al.'s 240 digitised points: two
ways of counting N, and the law with one exponent. All in NumPy and SciPy from the bundled table and
the numbers of the hypothesis' file: the law, priors, likelihood, change of variables and method are
written here a second time and import nothing of the package, so that a test can hold
`scalebayes.fit` against them. These posteriors are compact: one mode, no tail where E is not known,
so that one Student-t distribution, fitted to weighted points of the rounds before, covers each.
"""

import argparse
import csv
import hashlib
import json
import sys
import tomllib
from pathlib import Path

import numpy as np
from scipy import optimize, stats
from scipy.special import gammaln, logsumexp

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "scalebayes" / "data" / "hoffmann2022-epoch.csv"
OUT = ROOT / "tests" / "reference_posterior.json"
HEADS = {"hoffmann-total": 1.0, "hoffmann-nonembedding": 0.0, "symmetric": 1.0}
"""How many vocabulary matrices each hypothesis adds to the body in its N."""

N0, D0 = 1e9, 2e10  # anchors of the priors on the law's two terms
BUDGET = 5.76e23  # Chinchilla's training compute, FLOP
POINTS, PILOT, ROUNDS, BLOCK = 600_000, 40_000, 6, 4_000
DEGREES = 8
PROPOSAL = ((0.9, 1.1), (0.1, 4.0))  # shares, each with its covariance over the posterior's
BATCHES = 100
LEAST_EFFECTIVE, LARGEST_K = 1e5, 0.5


def main():
    """Compute every reference posterior and write the file; refuse one that is not good enough."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=OUT)
    parser.add_argument("--points", type=int, default=POINTS, help="drawn for each hypothesis")
    options = parser.parse_args()
    if options.points % BATCHES or options.points <= 0:
        parser.error(f"--points must be a multiple of {BATCHES}, got {options.points}.")
    found = {}
    for name in HEADS:
        found[name] = reference(name, options.points)
        said = {key: found[name][key] for key in ("effective_points", "pareto_k", "log_evidence")}
        print(name, said, file=sys.stderr)
    bad = [
        name
        for name, one in found.items()
        if one["effective_points"] < LEAST_EFFECTIVE or one["pareto_k"] > LARGEST_K
    ]
    if bad:
        raise SystemExit(f"{bad}: too few effective points, or weights with too heavy a tail.")
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def reference(name, points):
    """Return the record of one hypothesis: what it was computed from, and the results.

    Parameters
    ----------
    name : str
        One of `HEADS`.
    points : int
        How many are drawn, a multiple of `BATCHES`.
    """
    rng = np.random.default_rng(1)
    model = read_model(name)
    mode = found_mode(model)
    centre, spread = mode, covariance_at(model, mode)
    for _ in range(ROUNDS):
        z, log_weight = drawn(model, centre, spread, PILOT, rng)
        weight = np.exp(log_weight - logsumexp(log_weight))
        centre, spread = weight @ z, np.cov(z.T, aweights=weight)
    z, log_weight = drawn(model, centre, spread, points, rng)
    weight = np.exp(log_weight - log_weight.max())
    return {
        "fingerprint": fingerprint(name),
        "points": points,
        "effective_points": round(weight.sum() ** 2 / (weight**2).sum()),
        "pareto_k": round(pareto_k(log_weight), 3),
        "log_evidence": estimate(log_mean, log_weight, log_weight),
        "quantities": {
            key: {statistic: estimate(take, log_weight, x) for statistic, take in TAKEN.items()}
            for key, x in quantities(model, z).items()
        },
    }


def fingerprint(name):
    """Return the SHA-256, in hex, of the rows used and of what the file says of law and priors."""
    file = read_hypothesis(name)
    said = {key: file[key] for key in ("law", "counting", "likelihood", "window", "priors")}
    text = json.dumps([read_rows(HEADS[name]), said], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_hypothesis(name):
    return tomllib.loads((ROOT / "models" / f"{name}.toml").read_text(encoding="utf-8"))


def read_rows(heads):
    """Return [N, D, loss] of the rows that are not flagged, N = body + heads x head."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["flag"]]
    N = [float(row["body"]) + heads * float(row["head"]) for row in rows]
    return [[n, float(row["D"]), float(row["loss"])] for n, row in zip(N, rows, strict=True)]


def read_model(name):
    """Return what the density needs: the runs, the prior's numbers, and whether alpha = beta.

    A point z has the coordinates: log loss at the runs' centre; logs of both terms there; logs of
    the falls of the loss per e-fold of N and of D there, alpha and beta times the terms (one where
    alpha = beta, that of N); log sigma; log(nu - 1).
    """
    file = read_hypothesis(name)
    if file["likelihood"] != "student-t":
        raise ValueError(f"{name}: the likelihood written here is Student-t's.")
    priors = {
        key: (prior["mu"], prior["sigma"]) for key, prior in file["priors"].items() if key != "tau"
    }
    return {
        "runs": np.log(read_rows(HEADS[name])).T,
        "priors": priors,
        "one_exponent": "log_beta" not in priors,
    }


def named(model, z):
    """Return logs of E, of both terms at the centre, alpha, beta, sigma, and log(nu - 1) of points.

    E is not a number where the terms are more than the loss.
    """
    log_loss, log_size, log_data, log_fall = z.T[:4]
    log_alpha = log_fall - log_size
    log_beta = log_alpha if model["one_exponent"] else z.T[4] - log_data
    with np.errstate(invalid="ignore"):
        log_E = log_loss + np.log1p(-np.exp(log_size - log_loss) - np.exp(log_data - log_loss))
    return {
        "log_E": log_E,
        "log_size": log_size,
        "log_data": log_data,
        "log_alpha": log_alpha,
        "log_beta": log_beta,
        "log_sigma": z.T[-2],
        "log_excess": z.T[-1],
    }


def log_density(model, z):
    """Return log likelihood plus log prior of points [point, coordinate], Jacobian included."""
    return np.concatenate([_of_block(model, z[i : i + BLOCK]) for i in range(0, len(z), BLOCK)])


def _of_block(model, z):
    log_N, log_D, observed = model["runs"]
    known = named(model, z)
    alpha, beta = np.exp(known["log_alpha"]), np.exp(known["log_beta"])
    of_prior = {
        "log_E": known["log_E"],
        "log_term_N": known["log_size"] + alpha * (log_N.mean() - np.log(N0)),
        "log_term_D": known["log_data"] + beta * (log_D.mean() - np.log(D0)),
        "log_alpha": known["log_alpha"],
        "log_beta": known["log_beta"],
        "log_sigma": known["log_sigma"],
        "nu": known["log_excess"],
    }
    total = z[:, 0] - known["log_E"]  # d log E / d log loss = loss / E; the rest are shears
    for key, (mu, sigma) in model["priors"].items():
        total = total - ((of_prior[key] - mu) / sigma) ** 2 / 2 - np.log(sigma * np.sqrt(2 * np.pi))
    size = np.exp(known["log_size"][:, None] - alpha[:, None] * (log_N - log_N.mean()))
    data = np.exp(known["log_data"][:, None] - beta[:, None] * (log_D - log_D.mean()))
    residual = observed - np.log(np.exp(known["log_E"])[:, None] + size + data)
    nu = 1 + np.exp(known["log_excess"])
    constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - np.log(np.pi * nu) / 2
    away = (residual / np.exp(known["log_sigma"])[:, None]) ** 2 / nu[:, None]
    total = total + observed.size * (constant - known["log_sigma"])
    total = total - (nu + 1) / 2 * np.log1p(away).sum(axis=1)
    return np.where(np.isnan(total), -np.inf, total)


def quantities(model, z):
    """Return the quantities compared: E, logs of A and B, exponents, a, log D*/N* at the budget.

    Those that the law fixes, and beta where it is alpha, are left out. D*/N* is the lowest loss at
    6 N D = budget, N as the law counts it (Hoffmann et al. 2022, eq. 4).
    """
    log_N, log_D, _ = model["runs"]
    known = named(model, z)
    alpha, beta = np.exp(known["log_alpha"]), np.exp(known["log_beta"])
    log_A = known["log_size"] + alpha * log_N.mean()
    log_B = known["log_data"] + beta * log_D.mean()
    a = beta / (alpha + beta)
    log_G = (known["log_alpha"] + log_A - known["log_beta"] - log_B) / (alpha + beta)
    log_ratio = (1 - 2 * a) * np.log(BUDGET / 6) - 2 * log_G
    found = {"E": np.exp(known["log_E"]), "log_A": log_A, "log_B": log_B, "alpha": alpha}
    if not model["one_exponent"]:
        found |= {"beta": beta, "a": a}
    return found | {"log_ratio": log_ratio}


def found_mode(model):
    """Return the point of highest density, from the prior's medians."""
    start = [1.0, -1.0, -1.0, np.log(0.35) - 1, np.log(0.35) - 1, np.log(0.01), np.log(4.0)]
    if model["one_exponent"]:
        start.pop(4)

    def lost(z):
        return -max(log_density(model, np.asarray(z)[None])[0], -1e9)

    much = {"maxiter": 50_000, "maxfev": 50_000, "adaptive": True}
    rough = optimize.minimize(lost, start, method="Nelder-Mead", options=much)
    return optimize.minimize(lost, rough.x, method="Nelder-Mead", options=much).x


def covariance_at(model, mode, step=1e-3):
    """Return the inverse of the negative second derivatives at the mode, by differences."""
    moves = np.eye(mode.size) * step
    signs = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))

    def second(one, other):
        ends = np.array([mode + i * one + j * other for i, j, _ in signs])
        return log_density(model, ends) @ [sign for *_, sign in signs] / (4 * step**2)

    curvature = -np.array([[second(one, other) for other in moves] for one in moves])
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
    return vectors @ np.diag(1 / np.maximum(values, 1e-1)) @ vectors.T


def drawn(model, centre, spread, size, rng):
    """Return points of a mixture of a narrow and a wide multivariate t, and log weights."""
    shares, scales = zip(*PROPOSAL, strict=True)
    scale = np.array(scales)[rng.choice(len(shares), size=size, p=shares)]
    root = np.linalg.cholesky(spread)
    normal = rng.standard_normal((size, centre.size)) @ root.T
    z = centre + normal * np.sqrt(scale * DEGREES / rng.chisquare(DEGREES, size))[:, None]
    parts = [
        np.log(share) + stats.multivariate_t(centre, scale * spread, df=DEGREES).logpdf(z)
        for share, scale in PROPOSAL
    ]
    return z, log_density(model, z) - logsumexp(parts, axis=0)


def pareto_k(log_weight):
    """Return the shape of a generalised Pareto distribution fitted to the largest weights.

    Below 0.5 the weights have a finite variance (Vehtari et al. 2024, JMLR 25).
    """
    n = min(log_weight.size // 5, int(3 * np.sqrt(log_weight.size)))
    ordered = np.sort(np.exp(log_weight - log_weight.max()))
    excess = ordered[-n:] - ordered[-n - 1]
    k, _, _ = stats.genpareto.fit(excess / excess.mean(), floc=0)
    return float(k)


def estimate(take, log_weight, x):
    """Return a statistic of weighted points, and its standard error from batches of them."""
    value = take(x, np.exp(log_weight - log_weight.max()))
    parts = zip(np.split(x, BATCHES), np.split(log_weight, BATCHES), strict=True)
    scatter = np.std([take(one, np.exp(w - w.max())) for one, w in parts], ddof=1)
    return {"value": float(f"{value:.8g}"), "se": float(f"{scatter / np.sqrt(BATCHES):.3g}")}


def log_mean(log_weight, _):
    """Return the log of the mean weight: the log evidence."""
    return logsumexp(log_weight) - np.log(log_weight.size)


def mean(x, weight):
    return np.average(x, weights=weight)


def sd(x, weight):
    return np.sqrt(np.average((x - mean(x, weight)) ** 2, weights=weight))


def quantile(x, weight, prob):
    """Return the value below which a part `prob` of the weight lies."""
    order = np.argsort(x)
    reached = np.cumsum(weight[order]) - weight[order] / 2
    return np.interp(prob * weight.sum(), reached, x[order])


TAKEN = {
    "mean": mean,
    "sd": sd,
    "q05": lambda x, weight: quantile(x, weight, 0.05),
    "q95": lambda x, weight: quantile(x, weight, 0.95),
}

if __name__ == "__main__":
    main()
