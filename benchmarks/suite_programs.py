"""What the suite measures of scalebayes. Each program runs in a process of its own.

    python benchmarks/suite_programs.py PROGRAM '{"argument": 1}'

prints what the program returns as JSON. Seconds are CPU seconds of all threads.
"""

import hashlib
import math
import os
import platform
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

from processes import ROOT, run

STUDY, HYPOTHESIS = "hoffmann2022-epoch", "hoffmann-total"
LAW = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
"""Besiroglu et al. (2024), arXiv:2404.10102."""

LIBRARIES = (
    *("numpy", "scipy", "numba", "pytensor", "pymc", "nutpie", "arviz"),
    *("jax", "numpyro", "simple-scaling-laws"),
)


def description():
    """Return the machine, the versions of libraries, and a digest of all code that is measured."""
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": {"Python": platform.python_version(), **_versions()},
        "digest": _digest(),
    }


def first_fit():
    """Fit the 240 points."""
    import scalebayes as sb

    fit = sb.fit(STUDY, HYPOTHESIS, cache=False)
    return health(fit)


def further_fit():
    """Fit other losses at the same runs, after a first fit; and the first data again."""
    import scalebayes as sb

    study = sb.load_study(STUDY)
    other, _ = sb.simulate(
        study, HYPOTHESIS, parameters=LAW | {"sigma": 0.004, "nu": 4.0}, random_seed=1
    )
    sb.fit(study, HYPOTHESIS, cache=False)
    seconds, fit = timed(sb.fit, other, HYPOTHESIS, cache=False)
    again, _ = timed(sb.fit, study, HYPOTHESIS, random_seed=2, cache=False)
    return {"seconds": seconds, "refit": again, **health(fit)}


def efficiency():
    """Return effective draws, gradients and seconds of the sampler alone, of a further fit."""
    import scalebayes as sb

    study = sb.load_study(STUDY)
    sb.fit(study, HYPOTHESIS, cache=False)
    taken = watched_nutpie()
    fit = sb.fit(study, HYPOTHESIS, random_seed=2, cache=False)
    [sampling] = taken  # one attempt
    after = int(fit["sample_stats"]["n_steps"].sum())
    return {
        **health(fit),
        "seconds": sampling["seconds"],
        "gradients": after,
        "gradients_with_tuning": sampling["steps"],
        "draws": fit["posterior"].sizes["chain"] * fit["posterior"].sizes["draw"],
    }


def omega_grid(study):
    """Fit with the counting unknown, after a first fit of the same study."""
    import scalebayes as sb

    sb.fit(study, HYPOTHESIS, cache=False)
    seconds, fit = timed(sb.fit, study, "latent-counting", cache=False)
    return {"seconds": seconds, "cells": fit["grid"].sizes["omega"], **health(fit)}


def default_fits():
    """Put the fits of the default studies into the cache."""
    import scalebayes as sb
    from scalebayes.literature import STUDY_SETTINGS

    for name in sb.DEFAULT_STUDIES:
        sb.fit(name, "latent-counting", **STUDY_SETTINGS)
    return {}


def default_pool():
    """Pool the default studies, whose fits are cached."""
    import scalebayes as sb
    from scalebayes.literature import STUDY_SETTINGS

    fits = [sb.fit(name, "latent-counting", **STUDY_SETTINGS) for name in sb.DEFAULT_STUDIES]
    seconds, population = timed(sb.pool, fits)
    return {"seconds": seconds, "studies": len(fits), **verdict(population)}


def reconcile():
    """Do the main job, from what the cache holds."""
    import scalebayes as sb

    with tempfile.TemporaryDirectory() as folder:
        sb.reconcile(out=Path(folder) / "reconciliation", random_seed=1)
    return {}


def calibration(simulations):
    """Make simulations for a calibration."""
    import scalebayes as sb

    result = sb.calibrate(HYPOTHESIS, STUDY, simulations=simulations)
    failed = sum(problem != "" for problem in result.problems)
    return {"seconds": result.cpu_seconds, "failed": failed}


def rows(rows, **settings):
    """Fit a made-up study of many runs."""
    import scalebayes as sb

    seconds, fit = timed(sb.fit, made_up_study(rows), HYPOTHESIS, cache=False, **settings)
    return {"seconds": seconds, **health(fit)}


def gradient(rows, repeats):
    """Return seconds of the density with its gradient, and of its value in bare NumPy."""
    import numpy as np

    from scalebayes.build import run_data
    from scalebayes.compiled import log_density
    from scalebayes.gate import prior_medians
    from scalebayes.hypotheses import load_hypothesis

    hypothesis = load_hypothesis(HYPOTHESIS)
    data = run_data(made_up_study(rows), hypothesis)
    density = log_density(data, hypothesis)
    point = density.unconstrain(prior_medians(hypothesis))
    value = numpy_density(data, hypothesis, density)
    compiled = density.value_and_gradient(point)[0]
    np.testing.assert_allclose(value(point), compiled, rtol=1e-9)
    return {
        "compiled": _seconds_of_one(density.value_and_gradient, point, repeats),
        "numpy": _seconds_of_one(value, point, repeats),
    }


def simulated_pool(size):
    """Pool simulated studies whose fits are cached, after a pool of four that compiles."""
    from pool_cost import simulated_fit

    import scalebayes as sb

    fits = [simulated_fit(number, cache=True) for number in range(size)]
    if not fits:
        return {}
    sb.pool(fits[:4], cores=1, cache=False)
    seconds, population = timed(sb.pool, fits, cores=1, cache=False)
    return {"seconds": seconds, **verdict(population)}


def simulated_fits(size):
    """Put fits of simulated studies into the cache."""
    from pool_cost import simulated_fit

    for number in range(size):
        simulated_fit(number, cache=True)
    return {}


def timed(function, *arguments, **keywords):
    """Return CPU seconds of a call, and its result."""
    start = time.process_time()
    result = function(*arguments, **keywords)
    return time.process_time() - start, result


def health(fit):
    """Return the least bulk ESS over free variables and a, R-hat, divergences and the verdict."""
    free = [name for name in fit["posterior"].data_vars if name.startswith("log_")]
    free += [name for name in ("nu_minus_one", "tau") if name in fit["posterior"]]
    free += ["omega"] * ("grid" in fit)  # elsewhere it is fixed
    found = least(fit["posterior"].to_dataset()[[*free, "a"]])
    diverging = int(fit["sample_stats"]["diverging"].sum())
    return {**found, "diverging": diverging, **verdict(fit)}


def verdict(tree):
    """Return whether a result converged, as the package says."""
    return {"converged": int(tree.attrs["converged"]), "problems": str(tree.attrs["problems"])}


def least(draws):
    """Return the least bulk ESS and the largest R-hat of the variables of a Dataset."""
    from arviz_stats import ess as effective
    from arviz_stats import rhat

    ess = effective(draws, method="bulk")
    r_hat = rhat(draws)
    return {
        "ess": min(float(one.min()) for one in ess.data_vars.values()),
        "least": min(ess.data_vars, key=lambda name: float(ess[name].min())),
        "r_hat": max(float(one.max()) for one in r_hat.data_vars.values()),
    }


def watched_nutpie():
    """Return a list that gets, for each sampling by nutpie, its CPU seconds and leapfrog steps.

    Steps are gradients: of every chain, with those of tuning, which are kept for this. They are
    counted where the draws are asked for as nutpie stores them.
    """
    import nutpie

    sample, taken = nutpie.sample, []

    def watched(*arguments, **keywords):
        if keywords.get("blocking", True):
            seconds, trace = timed(sample, *arguments, **keywords)
            taken.append({"seconds": seconds})
            return trace
        keywords |= {"save_warmup": True}
        seconds, trace = timed(lambda: sample(*arguments, **keywords).wait())
        points, stats = trace.get_arrow_trace()  # it can be taken only once
        steps = sum(sum(one.column("n_steps").to_pylist()) for one in stats)
        taken.append({"seconds": seconds, "steps": steps})
        trace = SimpleNamespace(get_arrow_trace=lambda: (points, stats))
        return SimpleNamespace(wait=lambda: trace)

    nutpie.sample = watched
    return taken


def made_up_study(rows):
    """Return a study of log-uniform N and D under the law of `LAW`; the same every time."""
    import numpy as np
    import pandas as pd

    import scalebayes as sb

    rng = np.random.default_rng(rows)
    N, D = 10 ** rng.uniform(7.5, 10.5, rows), 10 ** rng.uniform(9, 12, rows)
    frame = pd.DataFrame({"N": N, "D": D, "loss": 2 + rng.uniform(size=rows)})
    design = sb.read_runs(frame, counting="total", name=f"{rows} runs")
    truth = LAW | {"sigma": 0.01, "nu": 5.0}
    study, _ = sb.simulate(design, HYPOTHESIS, parameters=truth, random_seed=1)
    return study


def numpy_density(data, hypothesis, density):
    """Return a function of a point: the log density's value (nats), vectorised over runs.

    What any density of this law must do for each run: two powers, a logarithm, and Student's t.
    """
    import numpy as np

    from scalebayes.coordinates import to_latents
    from scalebayes.laws import ANCHOR_D, ANCHOR_N

    log_N, log_D, observed = np.log(data["N"]), np.log(data["D"]), data["observed_log_loss"]
    size, tokens = log_N - math.log(ANCHOR_N), log_D - math.log(ANCHOR_D)
    centre = {"centre_N": log_N.mean(), "centre_D": log_D.mean()}
    names, n = density.form.latents, density.form.n_law
    priors = [prior.parameters for prior in hypothesis.priors.values()][: len(names)]

    def value(point):
        z = [*to_latents(density.form.law, list(point[:n]), **centre), *point[n:]]
        latents = dict(zip(names, z, strict=True))
        terms = latents["log_term_N"] - math.exp(latents["log_alpha"]) * size
        others = latents["log_term_D"] - math.exp(latents["log_beta"]) * tokens
        expected = np.log(math.exp(latents["log_E"]) + np.exp(terms) + np.exp(others))
        nu, sigma = 1 + math.exp(latents["nu_minus_one"]), math.exp(latents["log_sigma"])
        kernel = np.log1p((observed - expected) ** 2 / (nu * sigma**2)).sum()
        constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)
        constant -= math.log(nu * math.pi) / 2 + math.log(sigma)
        # a LogNormal prior, with the Jacobian of its logarithm, is a Normal one of the logarithm
        prior = sum(_log_normal(x, *one) for x, one in zip(z, priors, strict=True))
        return observed.size * constant - (nu + 1) / 2 * kernel + prior

    return value


def _log_normal(x, mu, sigma):
    return -(((x - mu) / sigma) ** 2) / 2 - math.log(sigma) - math.log(2 * math.pi) / 2


def _seconds_of_one(function, point, repeats):
    """Return CPU seconds of one call: the least of five means, which other work disturbs least."""
    function(point)
    means = [timed(_repeated, function, point, repeats)[0] / repeats for _ in range(5)]
    return min(means)


def _repeated(function, point, repeats):
    for _ in range(repeats):
        function(point)


def _processor():
    """Return the model of the processor, and the architecture."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = named[0] if named else platform.processor() or "processor of unknown model"
    return f"{model} ({platform.machine()})"


def _versions():
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _digest():
    """Return the SHA-256, in hex, of package, hypotheses, data and the measured programs."""
    folders = [(ROOT / "scalebayes", "**/*.py"), (ROOT / "models", "*.toml")]
    files = [path for folder, pattern in folders for path in sorted(folder.glob(pattern))]
    here = Path(__file__).parent
    files += [here / name for name in ("suite_programs.py", "suite_rivals.py", "pool_cost.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


PROGRAMS = {
    one.__name__: one
    for one in (
        *(description, first_fit, further_fit, efficiency, omega_grid, default_fits, default_pool),
        *(reconcile, calibration, rows, gradient, simulated_fits, simulated_pool),
    )
}

if __name__ == "__main__":
    run(PROGRAMS)
