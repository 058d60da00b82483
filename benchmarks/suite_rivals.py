"""What the suite measures of other ways to the same posterior or interval.

    python benchmarks/suite_rivals.py PROGRAM '{"argument": 1}'

prints what the program returns as JSON. All take the same 240 points. Seconds are CPU seconds of
all threads. The hand-written model is what the law says as it stands: E, A, B, alpha and beta
with weak priors, Student's t on the log loss, and whatever the sampler does by default.
"""

from processes import ROOT, run
from suite_programs import HYPOTHESIS, STUDY, least, timed, watched_nutpie

NATURAL = ("E", "A", "B", "alpha", "beta", "sigma", "nu_minus_one")
PRIORS = {
    "E": (0.5, 0.5),
    "A": (6.0, 2.0),
    "B": (7.0, 2.0),
    "alpha": (-1.05, 0.5),
    "beta": (-1.05, 0.5),
    "sigma": (-4.6, 1.0),
    "nu_minus_one": (1.39, 0.7),
}
"""Mean and standard deviation of the logarithm."""


def the_240_points():
    """Return log N, log D and log loss of the points, N as the package counts it."""
    import numpy as np

    import scalebayes as sb
    from scalebayes.build import run_data
    from scalebayes.hypotheses import load_hypothesis

    data = run_data(sb.load_study(STUDY), load_hypothesis(HYPOTHESIS))
    return np.log(data["N"]), np.log(data["D"]), data["observed_log_loss"]


def hand_written(sampler=None):
    """Sample the hand-written PyMC model, with what `pm.sample` picks or a sampler by name.

    Seconds of sampling are CPU seconds under nutpie, else seconds of the clock that PyMC reports.
    """
    import pymc as pm
    import pytensor.tensor as pt

    log_N, log_D, observed = the_240_points()
    taken = watched_nutpie()
    chosen = {} if sampler is None else {"nuts_sampler": sampler, "cores": 1}
    with pm.Model():
        free = {name: pm.LogNormal(name, mu, sigma) for name, (mu, sigma) in PRIORS.items()}
        pm.Deterministic("a", free["beta"] / (free["alpha"] + free["beta"]))
        expected = free["E"] + free["A"] * pt.exp(-free["alpha"] * log_N)
        expected += free["B"] * pt.exp(-free["beta"] * log_D)
        noise = {"sigma": free["sigma"], "nu": 1 + free["nu_minus_one"]}
        pm.StudentT("log_loss", mu=pt.log(expected), observed=observed, **noise)
        seconds, tree = timed(pm.sample, random_seed=1, progressbar=False, quiet=True, **chosen)
    posterior = tree["posterior"]
    attributes = posterior.attrs
    return {
        **least(posterior.to_dataset()[[*NATURAL, "a"]]),
        "diverging": int(tree["sample_stats"]["diverging"].sum()),
        "seconds": taken[0]["seconds"] if taken else attributes["sampling_time"],
        "with_compiling": seconds,
        "sampler": attributes["inference_library"],
        "tune": int(attributes.get("tuning_steps", 0)),
        **dict(posterior.sizes),
    }


def numpyro():
    """Sample the same model with NumPyro's NUTS: once with compiling, once without."""
    import jax
    import numpyro as npy
    import xarray as xr
    from numpyro import distributions as dist
    from numpyro.infer import MCMC, NUTS

    jax.config.update("jax_enable_x64", True)
    log_N, log_D, observed = the_240_points()

    def model():
        free = {name: npy.sample(name, dist.LogNormal(*one)) for name, one in PRIORS.items()}
        expected = free["E"] + free["A"] * jax.numpy.exp(-free["alpha"] * log_N)
        expected += free["B"] * jax.numpy.exp(-free["beta"] * log_D)
        scale = free["sigma"]
        noise = dist.StudentT(1 + free["nu_minus_one"], jax.numpy.log(expected), scale)
        npy.sample("log_loss", noise, obs=observed)

    sampler = MCMC(
        NUTS(model),
        num_warmup=1000,
        num_samples=1000,
        num_chains=2,
        chain_method="sequential",
        progress_bar=False,
    )
    compiling, _ = timed(_run_numpyro, sampler, jax.random.PRNGKey(1))
    seconds, draws = timed(_run_numpyro, sampler, jax.random.PRNGKey(2))
    draws["a"] = draws["beta"] / (draws["alpha"] + draws["beta"])
    found = xr.Dataset({name: (("chain", "draw"), draws[name]) for name in (*NATURAL, "a")})
    return {
        **least(found),
        "diverging": int(sampler.get_extra_fields()["diverging"].sum()),
        "seconds": seconds,
        "with_compiling": compiling,
        "tune": 1000,
        **dict(found.sizes),
    }


def pair_bootstrap(resamples):
    """Return seconds and 90% interval of a, of Huber fits by SciPy to resampled points.

    Each resample starts from the fit of all points, the cheapest that Besiroglu et al. (2024),
    arXiv:2404.10102, could have done, with an exact gradient.
    """
    import numpy as np
    from scipy.optimize import minimize

    from scalebayes.classical import huber_fit
    from scalebayes.surface import DELTA

    logs = the_240_points()
    best = huber_fit(*np.exp(logs))
    start = np.log([best.E, best.A, best.B, best.alpha, best.beta])
    rng = np.random.default_rng(1)

    def fitted():
        chosen = rng.integers(0, logs[0].size, logs[0].size)
        data = tuple(one[chosen] for one in logs)
        return minimize(objective, start, args=(*data, DELTA), jac=True, method="BFGS").x

    seconds, found = timed(lambda: np.array([fitted() for _ in range(resamples)]))
    a = np.exp(found[:, 4]) / np.exp(found[:, 3:]).sum(axis=1)
    low, high = np.quantile(a, [0.05, 0.95])
    return {"seconds": seconds, "resamples": resamples, "low": float(low), "high": float(high)}


def objective(point, log_N, log_D, log_loss, delta):
    """Return the mean Huber loss of log losses over delta squared, and its gradient.

    Parameters
    ----------
    point : ndarray
        log E, log A, log B, log alpha, log beta.
    log_N, log_D, log_loss : ndarray
        One value per run.
    delta : float
    """
    import numpy as np

    from scalebayes.surface import huber

    alpha, beta = np.exp(point[3:])
    nothing = np.zeros_like(log_N)
    terms = np.array([point[0] + nothing, point[1] - alpha * log_N, point[2] - beta * log_D])
    highest = terms.max(axis=0)
    shares = np.exp(terms - highest)
    total = shares.sum(axis=0)
    shares /= total
    residual = highest + np.log(total) - log_loss
    pulls = np.array([*shares, -shares[1] * alpha * log_N, -shares[2] * beta * log_D])
    scale = delta**2 * log_N.size  # BFGS stops where the gradient is small
    value = huber(residual, delta).sum() / scale
    return value, pulls @ np.clip(residual, -delta, delta) / scale


def simple_scaling_laws(draws):
    """Fit with the package simple-scaling-laws, and ask for an interval at Chinchilla's run."""
    import polars as pl
    from simple_scaling_laws import fit

    table = pl.read_csv(ROOT / "scalebayes" / "data" / f"{STUDY}.csv")
    table = table.filter(pl.col("flag").is_null())  # the five points that no fit here uses
    if table.height != 240:
        raise ValueError(f"240 points are to be compared, found {table.height}.")
    roles = {
        "run": "training_run_id",
        "N": "model_size__n_params",
        "D": "dataset_size__n_tokens",
        "loss": "test_loss__cross_entropy",
    }
    frame = table.select(list(roles)).rename(roles)
    seconds, model = timed(fit, frame, law="separable-power", n_draws=draws, seed=1)
    model.predict(
        pl.DataFrame({roles["N"]: [70e9], roles["D"]: [1.4e12]}), quantiles=[0.05, 0.5, 0.95]
    )
    found = model.params(roles["loss"])
    return {"seconds": seconds, "a": found["beta"] / (found["alpha"] + found["beta"])}


def _run_numpyro(sampler, key):
    sampler.run(key)
    return {name: one.__array__() for name, one in sampler.get_samples(True).items()}


PROGRAMS = {
    one.__name__: one for one in (hand_written, numpyro, pair_bootstrap, simple_scaling_laws)
}

if __name__ == "__main__":
    run(PROGRAMS)
