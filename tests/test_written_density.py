"""The densities written by hand: the same as the compiled graph of the plain model."""

import ast
import ctypes
import dataclasses
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

import scalebayes as sb
from scalebayes import written_density
from scalebayes.build import applied, run_data
from scalebayes.compiled import graph_log_density, log_density
from scalebayes.fit import _CODE
from scalebayes.gate import prior_latents
from scalebayes.hypotheses import LATENT, LIKELIHOODS, load_hypothesis, without_run_effect
from scalebayes.isoflop import windowed
from scalebayes.laws import LATENTS
from scalebayes.noise_density import NOISES
from scalebayes.priors import Prior
from scalebayes.written_density import LAWS, PARTS

FORMS = {
    "latent-counting": "run effects",
    "symmetric": "no run effects",
    "normal-noise": "no run effects",
    "ratio-noise": "run effects",
    "isoflop": "run effects",
    "isoflop-surface": "no run effects",
}
STUDIES = {"run effects": "porian2024-rw-1-kaplan", "no run effects": "porian2024-rw-4-cosine"}
ETA = Prior(dist="HalfNormal", parameters=(0.25,))


@lru_cache(maxsize=32)
def graph(form):
    """The density of a form as PyTensor compiles it, a function of a size and four addresses."""
    kinds = (ctypes.c_uint64, *[ctypes.c_void_p] * 4)
    return ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(graph_log_density(form).address)


def of_graph(density, point):
    """Value and gradient of the same density by its graph."""
    gradient, value = np.zeros(point.size), np.zeros(1)
    places = [one.ctypes.data for one in (point, gradient, value, density.data)]
    assert graph(density.form)(point.size, *places) == 0
    return value[0], gradient


def under(hypothesis, likelihood):
    """The same hypothesis with another noise."""
    priors = dict(hypothesis.priors)
    tau = priors.pop("tau")
    usual = {"nu": load_hypothesis("hoffmann-total").priors["nu"], "eta": ETA}
    kept = {name: prior for name, prior in priors.items() if name not in usual}
    noise = {name: usual[name] for name in LIKELIHOODS[likelihood] if name in usual}
    priors = kept | noise | {"tau": tau}
    return dataclasses.replace(hypothesis, likelihood=likelihood, priors=priors)


def made(hypothesis, study):
    """The density of a bundled study and 40 points: draws of the prior, half of them moved."""
    omega = 0.7 if hypothesis.counting == LATENT else None
    data = run_data(windowed(sb.load_study(study), hypothesis), hypothesis, omega=omega)
    density = log_density(data, hypothesis)
    rng = np.random.default_rng(5)
    points = density.unconstrain(prior_latents(applied(hypothesis, data), 40, rng))
    points[20:] += 0.5 * rng.standard_normal(points[20:].shape)
    return density, points


def assert_same(density, points):
    assert density.form.is_written
    for point, several in zip(points, density.values(points), strict=True):
        value, gradient = density.value_and_gradient(point)
        known, slope = of_graph(density, point)
        assert value == pytest.approx(known, rel=1e-9)
        assert several == value
        np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-9 * abs(slope).max())


@pytest.mark.parametrize(("name", "study"), FORMS.items())
def test_the_written_density_is_the_compiled_graph(name, study):
    assert_same(*made(load_hypothesis(name), STUDIES[study]))


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", NOISES)
@pytest.mark.parametrize("law", LAWS)
def test_so_it_is_for_every_law_under_every_noise(law, likelihood):
    # run effects in every other pair: each graph takes long to compile
    odd = (list(LAWS).index(law) + list(NOISES).index(likelihood)) % 2
    name = {"chinchilla": "hoffmann-total"}.get(law, law)
    assert_same(*made(under(load_hypothesis(name), likelihood), list(STUDIES.values())[odd]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sigma", "nu"), [("HalfNormal", "LogNormal"), ("LogNormal", "HalfNormal")]
)
def test_priors_of_scales_may_be_of_other_kinds(sigma, nu):
    kinds = {
        "HalfNormal": Prior(dist="HalfNormal", parameters=(0.05,)),
        "LogNormal": Prior(dist="LogNormal", parameters=(0.3, 0.8)),
    }
    base = load_hypothesis("ratio-noise")
    priors = {"sigma" if key == "log_sigma" else key: one for key, one in base.priors.items()}
    priors |= {"sigma": kinds[sigma], "nu": kinds[nu]}
    hypothesis = dataclasses.replace(base, priors=priors)
    assert_same(*made(hypothesis, STUDIES["run effects"]))


def test_a_known_error_of_the_evaluation_is_the_graphs_too():
    for name in ("normal-noise", "ratio-noise"):
        hypothesis = without_run_effect(load_hypothesis(name))
        data = run_data(sb.load_study(STUDIES["no run effects"]), hypothesis)
        known = np.geomspace(1e-4, 0.1, data["N"].size)
        density = log_density(data | {"relative_loss_se": known}, hypothesis)
        rng = np.random.default_rng(6)
        assert_same(density, density.unconstrain(prior_latents(hypothesis, 20, rng)))


@pytest.mark.parametrize("name", ["kaplan", "nested", "no-offset", "offset-share", "warmup"])
def test_another_law_is_compiled_from_its_graph(name):
    hypothesis = load_hypothesis(name)
    data = run_data(sb.load_study(STUDIES["run effects"]), hypothesis)
    assert not log_density(data, hypothesis).form.is_written


def test_a_prior_of_another_kind_is_compiled_from_its_graph():
    base = load_hypothesis("normal-noise")
    laplace = Prior(dist="Laplace", parameters=(-1.0, 0.5))
    hypothesis = dataclasses.replace(base, priors=base.priors | {"log_beta": laplace})
    data = run_data(sb.load_study(STUDIES["run effects"]), hypothesis)
    assert not log_density(data, hypothesis).form.is_written


@pytest.mark.parametrize("name", FORMS)
def test_a_point_of_another_size_than_the_forms_has_no_density(name):
    density, points = made(load_hypothesis(name), STUDIES["no run effects"])
    for size in (-1, 1):
        point = np.zeros(points.shape[1] + size)
        assert density.value_and_gradient(point)[0] == -np.inf


@pytest.mark.parametrize("name", FORMS)
def test_an_overflow_has_no_density_and_no_gradient(name):
    density, points = made(load_hypothesis(name), STUDIES["run effects"])
    n = points.shape[1]
    # sigma of 0, and an exponent beyond all numbers
    spoilt = [np.full(n, 800.0), np.full(n, np.nan), np.zeros(n), np.zeros(n)]
    n_law = len(LATENTS[density.form.law])
    spoilt[2][n_law], spoilt[3][n_law - 1] = -900.0, 2000.0
    for point in spoilt:
        value, gradient = density.value_and_gradient(point)
        assert value == -np.inf
        assert (gradient == 0).all()


def test_kept_machine_code_is_named_by_every_module_that_it_is_made_from():
    tree = ast.parse(Path(written_density.__file__).read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = {
        node.module.removeprefix("scalebayes.") for node in nodes if "scalebayes" in node.module
    }
    assert len(ours) > 3
    assert ours <= set(PARTS)


def test_machine_code_that_calls_other_modules_is_named_by_them():
    """Else what was kept would go on with another module's old code inside."""
    for name in ("vector_math", "noise_density", "additive_density", "isoflop_density"):
        path = Path(written_density.__file__).with_name(f"{name}.py")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        compiled = [
            {ast.unparse(one) for one in node.decorator_list}
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef)
        ]
        compiled = [names for names in compiled if "inner" in names]
        assert len(compiled) > 2
        assert all("_VERSIONED" in names for names in compiled)


def test_kept_fits_are_made_anew_when_the_compiled_code_changes():
    assert {*PARTS, "written_density", "sampling", "nuts"} <= set(_CODE)
