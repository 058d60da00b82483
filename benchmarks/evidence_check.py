"""Are log evidence and leave-one-out scores right? Against independent computations.

    python benchmarks/evidence_check.py [-o docs/evidence_check.md] [--skip-leave-one-out]

Evidence of four hypotheses on Hoffmann et al.'s 240 digitised points: by bridge sampling from the
sampler's draws (`scalebayes.fit`), and by importance sampling in plain NumPy, from the TOML file
and the table alone: no PyMC model, no compiled density, no draws of the sampler. Leave-one-out by
row: smoothed importance sampling of one fit, against 240 refits without the row.
"""

import argparse
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
from arviz_stats import loo
from scipy import optimize, stats
from scipy.special import expit, gammaln, logsumexp
from sklearn.mixture import GaussianMixture

import scalebayes as sb
from scalebayes.build import run_data
from scalebayes.compiled import log_density
from scalebayes.gate import Settings, checked_posterior
from scalebayes.hypotheses import load_hypothesis, models_folder
from scalebayes.likelihoods import log_likelihood

STUDY = "hoffmann2022-epoch"
COUNTED = {
    "hoffmann-total": "N",
    "hoffmann-nonembedding": "body",
    "symmetric": "N",
    "normal-noise": "N",
}
WITHOUT_ONE = "hoffmann-total"
MOST_EVIDENCE, MOST_ELPD = 0.1, 0.2
N0, D0 = 1e9, 2e10  # anchors of the priors on the law's two terms
DRAWS, LEAST_ESS, CHUNK = 400_000, 1e5, 4_000
COMPONENTS, DEGREES, ROUNDS = 12, 8, 5


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="also write the tables to this file")
    parser.add_argument("--skip-leave-one-out", action="store_true", help="evidence only")
    options = parser.parse_args()
    study = sb.load_study(STUDY)
    blocks = [evidence_table(study)]
    if not options.skip_leave_one_out:
        blocks.append(leave_one_out(study))
    text = "\n\n".join(blocks)
    print(text)
    if options.out:
        title = "# Evidence and leave-one-out scores against other computations"
        command = f"python benchmarks/evidence_check.py -o {options.out.as_posix()}"
        options.out.write_text(f"{title}\n\nMade by `{command}`.\n\n{text}\n", encoding="utf-8")


def evidence_table(study):
    """Return a Markdown table of evidence by bridge sampling and by importance sampling."""
    lines = [
        f"## Log evidence, {study.n_used} points of {STUDY}",
        "",
        "| hypothesis | bridge sampling | importance sampling | difference | effective draws | |",
        "| --- | --- | --- | ---: | ---: | --- |",
    ]
    for name, column in COUNTED.items():
        print(name, file=sys.stderr)
        attrs = sb.fit(study, name, cores=1).attrs
        log_z, se, ess = importance_sampled(target(study.runs, name, column))
        gap = attrs["log_evidence"] - log_z
        good = abs(gap) <= MOST_EVIDENCE and ess >= LEAST_ESS
        lines.append(
            f"| {name} | {attrs['log_evidence']:.3f} ± {attrs['log_evidence_se']:.3f} | "
            f"{log_z:.3f} ± {se:.3f} | {gap:+.3f} | {ess:,.0f} | {'good' if good else 'NOT GOOD'} |"
        )
    said = (
        f"Nats. {DRAWS:,} draws of a mixture of multivariate Student-t distributions fitted to "
        f"weighted draws of the rounds before. Good: within {MOST_EVIDENCE} nats, by "
        f"{LEAST_ESS:.0e} effective draws or more."
    )
    return "\n".join([*lines, "", said])


def target(runs, name, column):
    """Return the log of likelihood times prior, as a function of points [point, coordinate].

    Coordinates: log loss at the centre of the runs, logit of the share of E in it, logit of the
    share of N in the rest, log alpha, log beta (unless alpha = beta), log sigma, and log(nu - 1)
    with Student-t noise. For fixed exponents the first three are the logarithms of E and of the two
    terms at the centre in softmax coordinates, whose Jacobian is 1 (`check_jacobian`).
    """
    text = (models_folder() / f"{name}.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    priors = table["priors"]
    n, d = np.log(runs[column].to_numpy(float)), np.log(runs["D"].to_numpy(float))
    observed = np.log(runs["loss"].to_numpy(float))
    student, symmetric = table["likelihood"] == "student-t", "log_beta" not in priors
    width = 6 + student - symmetric

    def density(points):
        log_alpha, log_beta = points[:, 3], points[:, 3 if symmetric else 4]
        log_e, log_n, log_d = centred_terms(points)
        log_sigma = points[:, 4 if symmetric else 5]
        alpha, beta = np.exp(log_alpha), np.exp(log_beta)
        given = {
            "log_E": log_e,
            "log_term_N": log_n + alpha * (n.mean() - np.log(N0)),
            "log_term_D": log_d + beta * (d.mean() - np.log(D0)),
            "log_alpha": log_alpha,
            "log_beta": log_beta,
            "log_sigma": log_sigma,
        }
        total = sum(
            stats.norm.logpdf(given[key], prior["mu"], prior["sigma"])
            for key, prior in priors.items()
            if key in given
        )
        size = np.exp(log_n[:, None] - alpha[:, None] * (n - n.mean()))
        data = np.exp(log_d[:, None] - beta[:, None] * (d - d.mean()))
        residual = observed - np.log(np.exp(log_e)[:, None] + size + data)
        standard = (residual * np.exp(-log_sigma)[:, None]) ** 2
        if not student:
            return total - (standard / 2 + np.log(2 * np.pi) / 2 + log_sigma[:, None]).sum(axis=1)
        total = total + stats.norm.logpdf(points[:, -1], priors["nu"]["mu"], priors["nu"]["sigma"])
        nu = 1 + np.exp(points[:, -1])
        constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - np.log(np.pi * nu) / 2 - log_sigma
        tail = np.log1p(standard / nu[:, None]).sum(axis=1)
        return total + observed.size * constant - (nu + 1) / 2 * tail

    start = np.zeros(width)
    start[0], start[3] = observed.mean(), np.log(0.35)
    start[4 : width - student] = np.log(0.35)
    start[4 if symmetric else 5] = np.log(0.01)
    start[-1] = start[-1] if not student else np.log(3)
    return density, start


def centred_terms(points):
    """Return the logs of E and of both terms at the centre, from log loss and two logits."""
    log_loss, offset, size = points[:, 0], points[:, 1], points[:, 2]
    rest = log_loss + np.log(expit(-offset))
    return (
        log_loss + np.log(expit(offset)),
        rest + np.log(expit(size)),
        rest + np.log(expit(-size)),
    )


def check_jacobian(point, step=1e-5):
    """Refuse coordinates whose Jacobian, by differences, is not 1."""
    moves = np.eye(3) * step
    columns = [
        np.array(centred_terms((point + move)[None]))
        - np.array(centred_terms((point - move)[None]))
        for move in moves
    ]
    jacobian = np.concatenate(columns, axis=1) / (2 * step)
    if abs(abs(np.linalg.det(jacobian)) - 1) > 1e-6:
        msg = f"the Jacobian at {point} is {np.linalg.det(jacobian):.6f}, not 1."
        raise RuntimeError(msg)


def importance_sampled(problem):
    """Return log evidence, its standard error, and the effective number of draws."""
    density, start = problem
    rng = np.random.default_rng(1)
    check_jacobian(start[:3] + rng.normal(size=3))
    found = optimize.minimize(
        lambda x: -density(x[None])[0],
        start,
        method="Nelder-Mead",
        options={"maxiter": 20_000, "maxfev": 20_000, "adaptive": True},
    )
    found = optimize.minimize(lambda x: -density(x[None])[0], found.x, method="BFGS")
    mixture = ([1.0], [found.x], [4 * curvature(density, found.x)])
    for _ in range(ROUNDS):
        points, log_weight = weighted(density, mixture, DRAWS // 8, rng)
        mixture = refitted(points, log_weight, rng)
    points, log_weight = weighted(density, mixture, DRAWS, rng)
    weight = np.exp(log_weight - log_weight.max())
    log_z = logsumexp(log_weight) - np.log(log_weight.size)
    ess = weight.sum() ** 2 / (weight**2).sum()
    return log_z, weight.std() / weight.mean() / np.sqrt(weight.size), ess


def curvature(density, mode, step=1e-3):
    """Return the inverse of the negative Hessian at a mode, by differences."""
    n = mode.size
    moves = np.eye(n) * step
    hessian = np.array(
        [
            [
                density(np.array([mode + a + b, mode + a - b, mode - a + b, mode - a - b]))
                @ [1, -1, -1, 1]
                for b in moves
            ]
            for a in moves
        ]
    ) / (4 * step**2)
    values, vectors = np.linalg.eigh(-(hessian + hessian.T) / 2)
    return vectors @ np.diag(1 / np.maximum(values, 1e-2)) @ vectors.T


def weighted(density, mixture, size, rng):
    """Return draws of a mixture of multivariate Student-t's, and their log importance weights."""
    shares, centres, spreads = mixture
    chosen = rng.choice(len(shares), size=size, p=shares)
    n = len(centres[0])
    normal = rng.standard_normal((size, n))
    scale = np.sqrt(DEGREES / rng.chisquare(DEGREES, size))
    roots = np.linalg.cholesky(np.array(spreads))
    points = np.array(centres)[chosen]
    points = points + scale[:, None] * np.einsum("ijk,ik->ij", roots[chosen], normal)
    parts = [
        np.log(share) + stats.multivariate_t(centre, spread, df=DEGREES).logpdf(points)
        for share, centre, spread in zip(shares, centres, spreads, strict=True)
    ]
    proposal = logsumexp(parts, axis=0)
    chunks = [density(points[i : i + CHUNK]) for i in range(0, size, CHUNK)]
    values = np.nan_to_num(np.concatenate(chunks), nan=-np.inf)
    return points, values - proposal


def refitted(points, log_weight, rng):
    """Return a mixture of Student-t's fitted to weighted draws, one component wide."""
    weight = np.exp(log_weight - logsumexp(log_weight))
    kept = points[rng.choice(weight.size, size=20_000, p=weight)]
    centre, spread = kept.mean(axis=0), np.cov(kept.T)
    root = np.linalg.cholesky(spread)
    white = np.linalg.solve(root, (kept - centre).T).T
    white = white + 1e-3 * rng.standard_normal(white.shape)  # draws that come twice
    found = GaussianMixture(COMPONENTS, random_state=0, reg_covar=1e-3).fit(white)
    shares = [*(0.9 * found.weights_), 0.1]
    centres = [*(centre + found.means_ @ root.T), centre]
    spreads = [*(root @ one @ root.T for one in found.covariances_), 3 * spread]
    return shares, centres, spreads


def leave_one_out(study):
    """Return elpd by smoothed importance sampling and by a refit without each row."""
    start = time.process_time()
    hypothesis = load_hypothesis(WITHOUT_ONE)
    data = run_data(study, hypothesis)
    smoothed = loo(sb.fit(study, hypothesis, cores=1), pointwise=True)
    exact, failed = [], 0
    for i in range(study.n_used):
        kept = np.arange(study.n_used) != i
        density = log_density({key: x[kept] for key, x in data.items()}, hypothesis)
        settings = Settings(draws=500, tune=500, cores=1, random_seed=i)
        posterior = checked_posterior(density, hypothesis, settings)
        failed += bool(posterior.problems)
        exact.append(predictive(posterior.quantities, {key: x[i] for key, x in data.items()}))
        if i % 20 == 19:
            print(f"{i + 1} of {study.n_used} refits", file=sys.stderr)
    gaps = smoothed.elpd_i.to_numpy() - exact
    gap = float(smoothed.elpd - np.sum(exact))
    verdict = "good" if abs(gap) <= MOST_ELPD and not failed else "NOT GOOD"
    return "\n".join(
        [
            f"## Leave-one-out by row, {WITHOUT_ONE}",
            "",
            "| smoothed importance sampling | 240 refits | difference | largest of a row | |",
            "| ---: | ---: | ---: | ---: | --- |",
            f"| {smoothed.elpd:.3f} | {np.sum(exact):.3f} | {gap:+.3f} | "
            f"{np.abs(gaps).max():.3f} | {verdict} |",
            "",
            f"Nats. Largest Pareto k {smoothed.pareto_k.max().item():.2f}. {failed} refits did not "
            f"pass the gate. Good: within {MOST_ELPD} nats. "
            f"{(time.process_time() - start) / study.n_used:.2f} CPU s per refit.",
        ]
    )


def predictive(quantities, row):
    """Return the log of the mean density of one row over draws."""
    law = quantities["E"] + quantities["A"] * row["N"] ** -quantities["alpha"]
    law = law + quantities["B"] * row["D"] ** -quantities["beta"]
    density = log_likelihood(
        "student-t",
        row["observed_log_loss"],
        mu=np.log(law),
        sigma=quantities["sigma"],
        nu=quantities["nu"],
    )
    return float(logsumexp(density) - np.log(density.size))


if __name__ == "__main__":
    main()
