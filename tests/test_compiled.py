import dataclasses

import numpy as np
import pytest
from fits import EPOCH, HOFFMANN, study_of, user_study
from scipy import stats
from scipy.optimize import approx_fprime

import scalebayes as sb
from scalebayes.build import build, run_data
from scalebayes.compiled import compiled_log_density, log_density
from scalebayes.coordinates import from_latents, to_latents
from scalebayes.gate import prior_latents, prior_medians
from scalebayes.hypotheses import LATENT, hypothesis_names, load_hypothesis, without_run_effect
from scalebayes.isoflop import windowed
from scalebayes.laws import LATENTS, anchored_logs
from scalebayes.priors import Prior


def changed(**priors):
    """The default hypothesis with other kinds of prior, in the default's order."""
    base = load_hypothesis("hoffmann-total")
    made = {key: Prior(dist=dist, parameters=values) for key, (dist, *values) in priors.items()}
    replaced = {}
    for key, prior in base.priors.items():
        name = "sigma" if key == "log_sigma" and "sigma" in made else key
        replaced[name] = made.get(name, prior)
    return dataclasses.replace(base, name="changed", priors=replaced)


FORMS = {name: load_hypothesis(name) for name in hypothesis_names()} | {
    "other kinds of prior": changed(
        log_E=("Logistic", 0.4, 0.3),
        log_term_N=("StudentT", 4.0, -0.7, 1.0),
        log_alpha=("Laplace", -1.0, 0.5),
        sigma=("HalfNormal", 0.1),
        nu=("Exponential", 0.3),
    ),
}


CHECKPOINTS = sb.load_study("porian2024-rw-1-kaplan")  # 14 trajectories with several rows
CASES = (
    {name: (hypothesis, study_of(hypothesis)) for name, hypothesis in FORMS.items()}
    | {
        f"{name}, run effect": (load_hypothesis(name), CHECKPOINTS)
        for name in ("hoffmann-total", "latent-counting", "kaplan", "warmup", "ratio-noise")
    }
    | {
        f"{name}, run effect": (hypothesis, windowed(CHECKPOINTS, hypothesis))
        for name, hypothesis in FORMS.items()
        if name in ("isoflop", "isoflop-surface")
    }
)


def made_density(hypothesis, study):
    omega = 0.7 if hypothesis.counting == LATENT else None
    return log_density(run_data(study, hypothesis, omega=omega), hypothesis)


def prior_draws(hypothesis, n, study, seed=0):
    """Free variables drawn from the prior: dict of name to [draw], run effects [draw, trajectory].

    Only those that the study has a use for.
    """
    rng = np.random.default_rng(seed)
    draws = prior_latents(hypothesis, n, rng)
    if not study.shared_trajectories:
        return {name: values for name, values in draws.items() if name != "tau"}
    return draws | {"run_effect": rng.standard_normal((n, len(study.shared_trajectories)))}


def each(draws):
    """One dict of floats per draw."""
    return [dict(zip(draws, values, strict=True)) for values in zip(*draws.values(), strict=True)]


def count(runs, counting):
    if counting == LATENT:
        return runs["body"] + 0.7 * runs["head"]
    matrices = {"body": 0.0, "body+head": runs["head"], "total": runs["embedding"]}
    return runs["body"] + matrices[counting]


SCIPY = {
    "Normal": lambda x, mu, sigma: stats.norm.logpdf(x, mu, sigma),
    "StudentT": lambda x, nu, mu, sigma: stats.t.logpdf(x, nu, mu, sigma),
    "Laplace": lambda x, mu, b: stats.laplace.logpdf(x, mu, b),
    "Logistic": lambda x, mu, s: stats.logistic.logpdf(x, mu, s),
    "LogNormal": lambda x, mu, sigma: stats.norm.logpdf(np.log(x), mu, sigma) - np.log(x),
    "HalfNormal": lambda x, sigma: np.log(2) + stats.norm.logpdf(x, 0, sigma),
    "Exponential": lambda x, lam: np.log(lam) - lam * x,
    "Beta": lambda x, alpha, beta: stats.beta.logpdf(x, alpha, beta),
}


def law_loss(law, x, N, D):
    """The loss of the nested family: L = E + [(A/N^alpha)^(1/q) + (B/D^beta)^(1/q)]^q.

    A = term_N (1e9)^alpha and B = term_D (2e10)^beta. Chinchilla has q = 1; Kaplan E = 0, q = beta.
    """
    alpha = np.exp(x["log_alpha"])
    beta = alpha if law == "symmetric" else np.exp(x["log_beta"])
    q = {"kaplan": beta, "nested": x.get("q")}.get(law, 1.0)
    if law in ("chinchilla", "symmetric", "warmup"):
        E, size, data = (np.exp(x[name]) for name in ("log_E", "log_term_N", "log_term_D"))
    else:
        loss, offset = np.exp(x["log_loss_anchor"]), x.get("offset_share", 0.0)
        E, rest = offset * loss, (1 - offset) * loss
        size, data = rest * x["size_share"] ** q, rest * (1 - x["size_share"]) ** q
    size, data = size * (N / 1e9) ** -alpha, data * (D / 2e10) ** -beta
    return E + (size ** (1 / q) + data ** (1 / q)) ** q


def isoflop_loss(law, x, N, D, C0):
    """E + K (C/C0)^-gamma [beta e^(-alpha u) + alpha e^(beta u)]/(alpha + beta), C = 6 N D.

    u = log N - n0 - a log(C/C0), and e^n0 tokens per parameter of e^log_ratio spend C0.
    """
    alpha, beta = np.exp(x["log_alpha"]), np.exp(x["log_beta"])
    a, gamma = beta / (alpha + beta), alpha * beta / (alpha + beta)
    if law == "isoflop":
        a, gamma = x["a"], np.exp(x["log_gamma"])
    budget = 6 * N * D / C0
    n0 = 0.5 * np.log(C0 / 6 / np.exp(x["log_ratio"]))
    u = np.log(N) - n0 - a * np.log(budget)
    curve = (beta * np.exp(-alpha * u) + alpha * np.exp(beta * u)) / (alpha + beta)
    return np.exp(x["log_E"]) + np.exp(x["log_K"]) * budget**-gamma * curve


def middle_of_budgets(study, hypothesis):
    """Median over the stated budgets with three sizes of their mean 6 N D, before the window."""
    rows = study.table[~study.table["left_out"].str.contains("D is below|D/N is below")]
    compute = np.log(6 * count(rows, hypothesis.counting) * rows["D"])
    by_budget = compute.groupby(rows["flops"].map("{:.3g}".format))
    return np.exp(by_budget.mean()[by_budget.size() >= 3].median())


def independent_log_density(latents, study, hypothesis):
    """The log posterior from the formulas alone.

    Log loss is Student-t(nu) or Normal about the law's; positive latents carry the Jacobian of the
    log, shares that of the logit.
    """
    x = {"nu" if name == "nu_minus_one" else name: value for name, value in latents.items()}
    priors = {key: prior for key, prior in hypothesis.priors.items() if key in x}
    prior = sum(SCIPY[prior.dist](x[key], *prior.parameters) for key, prior in priors.items())
    jacobian = sum(np.log(x[key]) for key in ("sigma", "nu", "eta", "tau") if key in x)
    shares = [x[key] for key in ("offset_share", "size_share", "q", "kappa") if key in x]
    jacobian += sum(np.log(share) + np.log(1 - share) for share in shares)
    N, D, expected = count(study.runs, hypothesis.counting), study.runs["D"], 0.0
    sigma = x["sigma"] if "sigma" in x else np.exp(x["log_sigma"])
    sigma = sigma * (20 / (D / N)) ** x.get("eta", 0.0)
    if "kappa" in x:
        D = D - x["kappa"] * np.minimum(study.runs["warmup_tokens"], D)
    if "tau" in x:
        prior += stats.norm.logpdf(x["run_effect"]).sum()
        effect = dict(zip(study.shared_trajectories, x["run_effect"], strict=True))
        expected = x["tau"] * study.runs["trajectory"].map(effect).fillna(0.0)
    if "log_K" in x:
        loss = isoflop_loss(hypothesis.law, x, N, D, middle_of_budgets(study, hypothesis))
    else:
        loss = law_loss(hypothesis.law, x, N, D)
    expected = expected + np.log(loss)
    residual = (np.log(study.runs["loss"]) - expected) / sigma
    if hypothesis.likelihood == "normal":
        noise = stats.norm.logpdf(residual) - np.log(sigma)
    else:
        noise = stats.t.logpdf(residual, 1 + x["nu"]) - np.log(sigma)
    return prior + jacobian + noise.sum()


def log_volume(study, latents):
    """Log Jacobian of run effects by their sampling coordinates, one value per draw.

    Effect j is multiplied by sqrt(1 + n_j tau^2 / sigma^2), n_j rows sharing it.
    """
    if "tau" not in latents:
        return 0.0
    rows = study.runs["trajectory"].value_counts()[list(study.shared_trajectories)].to_numpy()
    ratio = latents["tau"] / np.exp(latents["log_sigma"])
    return -0.5 * np.log1p(rows * ratio[..., None] ** 2).sum(axis=-1)


@pytest.mark.parametrize(("hypothesis", "study"), CASES.values(), ids=CASES)
def test_the_log_density_is_the_one_in_the_formulas(hypothesis, study):
    density, draws = made_density(hypothesis, study), prior_draws(hypothesis, 100, study)
    expected = [independent_log_density(one, study, hypothesis) for one in each(draws)]
    found = density.values(density.unconstrain(draws)) - log_volume(study, draws)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("hypothesis", "study"),
    [case for case in CASES.values() if case[0].counting != LATENT],
    ids=[name for name, case in CASES.items() if case[0].counting != LATENT],
)
def test_the_log_density_is_the_plain_models(hypothesis, study):
    model, density = build(study, hypothesis), made_density(hypothesis, study)
    plain = model.compile_logp(mode="FAST_COMPILE")
    draws = prior_draws(hypothesis, 100, study, seed=1)
    expected = [plain(as_pymc(one)) for one in each(draws)]
    found = density.values(density.unconstrain(draws)) - log_volume(study, draws)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def as_pymc(latents):
    """Free variables by the names and values that PyMC gives to their transforms."""
    point = {}
    for name, value in latents.items():
        if name in ("sigma", "nu_minus_one", "eta", "tau"):
            point[f"{name}_log__"] = np.log(value)
        elif name in ("q", "kappa") or name.endswith("_share"):
            point[f"{name}_logodds__"] = np.log(value / (1 - value))
        else:
            point[name] = value
    return point


@pytest.mark.parametrize(("hypothesis", "study"), CASES.values(), ids=CASES)
def test_the_gradient_is_the_slope_of_the_log_density(hypothesis, study):
    density = made_density(hypothesis, study)

    def formula(point):
        latents = density.constrain(point)
        return independent_log_density(latents, study, hypothesis) + log_volume(study, latents)

    for point in density.unconstrain(prior_draws(hypothesis, 5, study, seed=2)):
        _, gradient = density.value_and_gradient(point)
        slope = richardson(formula, point)
        np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-6 * abs(slope).max())


def richardson(function, point, step=1e-4):
    """Central differences, extrapolated once to step 0."""

    def central(h):
        return (approx_fprime(point, function, h) + approx_fprime(point, function, -h)) / 2

    return (4 * central(step / 2) - central(step)) / 3


def test_one_compiled_form_serves_other_studies_priors_and_numbers_of_rows():
    first = load_hypothesis("hoffmann-total")
    wider = changed(log_E=("Normal", 0.0, 1.5), nu=("LogNormal", 1.0, 0.5))
    densities = []
    sweep = user_study()
    counted = sweep.table.assign(head=0.0, body=sweep.table["N"], embedding=0.0)
    sweep = dataclasses.replace(sweep, table=counted)
    for hypothesis, study in ((first, sb.load_study(HOFFMANN)), (wider, sweep)):
        density = log_density(run_data(study, hypothesis), hypothesis)
        draws = prior_draws(hypothesis, 20, study, seed=3)
        expected = [independent_log_density(one, study, hypothesis) for one in each(draws)]
        np.testing.assert_allclose(density.values(density.unconstrain(draws)), expected, rtol=1e-9)
        densities.append(density)
    assert densities[0].data.size != densities[1].data.size
    compiled = [compiled_log_density(density.form) for density in densities]
    assert compiled[0] is compiled[1]


def test_a_known_error_of_the_evaluation_adds_to_the_noise_in_quadrature():
    hypothesis = load_hypothesis("normal-noise")
    study = user_study(columns={"loss_se": 0.03})
    density = log_density(run_data(study, hypothesis), hypothesis)
    draws = prior_draws(hypothesis, 1, study, seed=4)
    latents = [values[0] for values in draws.values()]
    log_E, log_term_N, log_term_D, log_alpha, log_beta, log_sigma = latents
    runs, priors = study.runs, without_run_effect(hypothesis).priors.values()
    loss = (
        np.exp(log_E)
        + np.exp(log_term_N) * (runs["N"] / 1e9) ** -np.exp(log_alpha)
        + np.exp(log_term_D) * (runs["D"] / 2e10) ** -np.exp(log_beta)
    )
    scale = np.sqrt(np.exp(2 * log_sigma) + (0.03 / runs["loss"]) ** 2)
    noise = stats.norm.logpdf(np.log(runs["loss"]), np.log(loss), scale)
    expected = noise.sum() + sum(
        stats.norm.logpdf(x, *prior.parameters) for x, prior in zip(latents, priors, strict=True)
    )
    assert density.values(density.unconstrain(draws)) == pytest.approx([expected], rel=1e-9)


def test_an_overflow_has_no_density_and_no_gradient():
    density = made_density(load_hypothesis("hoffmann-total"), sb.load_study(HOFFMANN))
    for spoilt in (
        np.full(7, 800.0),
        np.full(7, np.nan),
        np.array([0, 0, 0, 900.0, 0, 0, 0]),
        np.array([0, 0, 0, 0, 0, -900.0, 0]),
    ):
        value, gradient = density.value_and_gradient(spoilt)
        assert value == -np.inf
        assert (gradient == 0).all()


def test_sizes_from_one_to_ten_to_the_fifteen_do_not_overflow():
    hypothesis = load_hypothesis("hoffmann-total")
    runs = {"N": np.geomspace(1, 1e15, 9), "D": np.geomspace(1e15, 1, 9)}
    data = runs | {"observed_log_loss": np.full(9, 1.0), "relative_loss_se": np.zeros(9)}
    density = log_density(data, hypothesis)
    draws = prior_draws(hypothesis, 200, sb.load_study(HOFFMANN), seed=5)
    points = density.unconstrain(draws)
    assert np.isfinite(density.values(points)).all()


@pytest.mark.parametrize(("hypothesis", "study"), CASES.values(), ids=CASES)
def test_free_variables_survive_the_sampling_coordinates(hypothesis, study):
    density, draws = made_density(hypothesis, study), prior_draws(hypothesis, 50, study, seed=6)
    points = density.unconstrain(draws)
    n_latents = sum(values[0].size for values in draws.values())
    assert points.shape == (50, n_latents)
    for name, values in density.constrain(points).items():
        np.testing.assert_allclose(values, draws[name], rtol=1e-9, atol=1e-9)
    median = density.unconstrain(prior_medians(hypothesis))
    assert np.isfinite(density.value_and_gradient(median)[0])


def test_run_effects_that_are_not_given_are_the_likely_ones():
    """Under normal noise of 1%, rows 3% above the law and tau 2%: about 3% / tau, shrunk."""
    hypothesis = load_hypothesis("hoffmann-total")
    law = {**anchored_logs(**EPOCH), **{f"log_{k}": np.log(EPOCH[k]) for k in ("alpha", "beta")}}
    latents = law | {"log_sigma": np.log(0.01), "nu_minus_one": 30.0, "tau": 0.02}
    N = count(CHECKPOINTS.runs, "total")
    loss = law_loss("chinchilla", latents, N, CHECKPOINTS.runs["D"]) * np.exp(0.03)
    moved = dataclasses.replace(CHECKPOINTS, table=CHECKPOINTS.runs.assign(loss=loss, left_out=""))
    density = made_density(hypothesis, moved)
    point = density.unconstrain(latents)
    assert (point[8:] == 0).all()
    rows = moved.runs["trajectory"].value_counts()[list(moved.shared_trajectories)]
    bounded = 0.03 / (1 + 0.03**2 / (36 * (0.01**2 + 0.02**2)))
    expected = bounded / 0.02 * rows * 0.02**2 / (0.01**2 + rows * 0.02**2)
    np.testing.assert_allclose(density.constrain(point)["run_effect"], expected, rtol=1e-9)


def test_one_compiled_form_serves_any_number_of_run_effects():
    hypothesis = load_hypothesis("hoffmann-total")
    other = sb.load_study("porian2024-rw-3-warmup")
    densities = [made_density(hypothesis, study) for study in (CHECKPOINTS, other)]
    assert densities[0].form == densities[1].form
    draws = prior_draws(hypothesis, 10, other, seed=8)
    assert draws["run_effect"].shape == (10, 16)
    found = densities[1].values(densities[1].unconstrain(draws)) - log_volume(other, draws)
    expected = [independent_log_density(one, other, hypothesis) for one in each(draws)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_study_without_shared_trajectories_has_the_form_it_would_have_without_tau():
    hypothesis, study = load_hypothesis("hoffmann-total"), sb.load_study(HOFFMANN)
    plain = without_run_effect(hypothesis)
    assert made_density(hypothesis, study).form == made_density(plain, study).form
    np.testing.assert_array_equal(
        made_density(hypothesis, study).data, made_density(plain, study).data
    )


@pytest.mark.parametrize("law", LATENTS)
def test_sampling_coordinates_keep_volumes(law):
    """Between sampling coordinates and unconstrained latents; shares and q as logits."""
    n, centre = len(LATENTS[law]), {"centre_N": 19.0, "centre_D": 23.5}

    def latents(z):
        return np.array(to_latents(law, z, **centre))

    for point in np.random.default_rng(7).normal(size=(20, n)):
        columns = [richardson(lambda z, i=i: latents(z)[i], point) for i in range(n)]
        assert abs(np.linalg.det(np.array(columns))) == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(from_latents(law, latents(point), **centre), point, atol=1e-9)


def test_the_first_sampling_coordinate_is_the_log_loss_at_the_centre_of_the_runs():
    hypothesis, study = load_hypothesis("hoffmann-total"), sb.load_study(HOFFMANN)
    data = run_data(study, hypothesis)
    N, D = (np.exp(np.log(data[name]).mean()) for name in ("N", "D"))
    density = made_density(hypothesis, study)
    known = anchored_logs(**EPOCH) | {f"log_{k}": np.log(EPOCH[k]) for k in ("alpha", "beta")}
    point = density.unconstrain({**known, "log_sigma": -5.0, "nu_minus_one": 2.0})
    E, size = EPOCH["E"], EPOCH["A"] / N ** EPOCH["alpha"]
    data = EPOCH["B"] / D ** EPOCH["beta"]
    loss = E + size + data
    slopes = [np.log(EPOCH["alpha"] * size / loss), np.log(EPOCH["beta"] * data / loss)]
    expected = [np.log(loss), np.log(E / (size + data)), np.log(size / data), *slopes]
    np.testing.assert_allclose(point, [*expected, -5.0, np.log(2)], rtol=1e-10)


def test_the_compiled_codes_data_cannot_be_changed_by_accident():
    density = made_density(load_hypothesis("hoffmann-total"), sb.load_study(HOFFMANN))
    with pytest.raises(ValueError, match="read-only"):
        density.data[0] = 3
