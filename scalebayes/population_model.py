"""The population of scaling exponents at one omega: a plain `pm.Model`, compiled once per form.

theta_s = (log alpha, log beta) of study s = mu + g_group + x_s Gamma + e_s, where a study enters
through its likelihood of theta, a Gaussian mixture, so that e_s is integrated out exactly. So is
the effect of a group that holds one study only; g is a variable for the others.
"""

import ctypes
from dataclasses import dataclass, field
from functools import lru_cache

import numba
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pytensor.graph.replace import clone_replace

from scalebayes.mixtures import MAX_COMPONENTS

EXPONENTS = ("alpha", "beta")
PRIOR = {
    "mu_location": -1.0498,  # log 0.35
    "mu_sd": 0.5,
    "between": 0.3,
    "within": 0.1,
    "recipe_sd": 0.3,
}
"""Priors: mu ~ Normal(mu_location, mu_sd) of a log exponent; standard deviations between and within
groups ~ HalfNormal(between), HalfNormal(within); recipe effects ~ Normal(0, recipe_sd)."""

_CORRELATION = 2.0  # (1 + correlation) / 2 ~ Beta(2, 2)
_KNOWN = 0.1  # about how well the runs of a group know its log exponents
_MIXTURE = 6  # columns of a component
_DOUBLES = numba.types.CPointer(numba.types.double)
_SIGNATURE = numba.types.int64(numba.types.uint64, *[_DOUBLES] * 4)
_NON_FINITE, _FAILED = 4, 1  # codes that nutpie takes as a divergence


@dataclass(frozen=True)
class PopulationForm:
    """What decides the compiled code: how many groups of several studies and recipe columns."""

    n_groups: int
    n_recipes: int

    @property
    def latents(self):
        """Return the names of the sampled coordinates, in order."""
        names = [f"mu[{one}]" for one in EXPONENTS]
        for scale in ("between", "within"):
            names += [f"log_sd_{scale}[{one}]" for one in EXPONENTS]
        names += ["logit_correlation_between", "logit_correlation_within"]
        names += [f"recipe_effect[{i},{one}]" for i in range(self.n_recipes) for one in EXPONENTS]
        names += [f"group_{one}[{i}]" for one in EXPONENTS for i in range(self.n_groups)]
        return tuple(names)

    @property
    def known(self):
        """Return the size beyond which a group effect is sampled on its own scale."""
        return _KNOWN

    @property
    def n_columns(self):
        """Return how many numbers describe a study."""
        return MAX_COMPONENTS * _MIXTURE + self.n_recipes + self.n_groups


@dataclass(frozen=True, kw_only=True)
class PopulationDensity:
    """Log density of a population's hyperparameters over unconstrained coordinates.

    Parameters
    ----------
    form : PopulationForm
    data : ndarray
        Number of studies, priors and one row per study, packed for the compiled code.
    """

    form: PopulationForm
    data: np.ndarray = field(repr=False)

    @property
    def callback(self):
        """Return the compiled density in nutpie's convention."""
        return compiled_population(self.form)

    def value_and_gradient(self, point):
        """Return the log density (nats) and its gradient at an unconstrained point [latent]."""
        point = np.ascontiguousarray(point, dtype=float)
        out = np.zeros(point.size + 1)
        address = out.ctypes.data
        places = (point.ctypes.data, address + out.itemsize, address, self.data.ctypes.data)
        code = _callable(self.form)(point.size, *places)
        return (out[0], out[1:]) if code == 0 else (-np.inf, np.zeros_like(point))

    def values(self, points):
        """Return the log density (nats) at each unconstrained point [point, latent]."""
        return np.array([self.value_and_gradient(point)[0] for point in points])


def population_density(mixtures, x, in_group, prior=None):
    """Return the `PopulationDensity` of studies.

    Parameters
    ----------
    mixtures : ndarray
        [study, component, 6], from `mixtures.padded`.
    x : ndarray
        [study, recipe], recipe columns.
    in_group : ndarray
        [study, group], 1 where the study is of that group of several studies.
    prior : mapping, optional
        Values that replace those of `PRIOR`.
    """
    n = len(mixtures)
    rows = np.concatenate([mixtures.reshape(n, -1), x.reshape(n, -1), in_group.reshape(n, -1)], 1)
    data = np.concatenate([[n], list((PRIOR | (prior or {})).values()), rows.ravel()]).astype(float)
    data.flags.writeable = False
    return PopulationDensity(form=PopulationForm(in_group.shape[1], x.shape[1]), data=data)


def population_model(mixtures, x, in_group, *, prior=None, coords=None):
    """Return the PyMC model of a population at one omega.

    Parameters
    ----------
    mixtures, x, in_group, prior
        As in `population_density`.
    coords : dict, optional
        Labels of study, recipe and group.

    Returns
    -------
    pm.Model
        Free variables mu, sd_between, sd_within [exponent], half_one_plus_correlation [level],
        recipe_effect [recipe, exponent], group_alpha and group_beta [group]; Deterministics
        correlation [level] and group_effect [group, exponent]. The studies' likelihoods are a
        Potential.
    """
    sizes = {"study": len(mixtures), "recipe": x.shape[1], "group": in_group.shape[1]}
    named = {dim: np.arange(size) for dim, size in sizes.items() if size} | (coords or {})
    fixed = {"exponent": EXPONENTS, "level": ("between", "within")}
    fixed["component"] = np.arange(MAX_COMPONENTS)
    with pm.Model(coords=named | fixed) as model:
        prior = pm.Data("prior", np.array(list((PRIOR | (prior or {})).values())))
        studies = pm.Data("mixtures", mixtures)
        mu = pm.Normal("mu", prior[0], prior[1], dims="exponent")
        sd_between = pm.HalfNormal("sd_between", prior[2], dims="exponent")
        sd_within = pm.HalfNormal("sd_within", prior[3], dims="exponent")
        half = pm.Beta("half_one_plus_correlation", _CORRELATION, _CORRELATION, dims="level")
        correlation = pm.Deterministic("correlation", 2 * half - 1, dims="level")
        mean = pt.tile(mu[None, :], (studies.shape[0], 1))
        if sizes["recipe"]:
            recipe = pm.Normal("recipe_effect", 0, prior[4], dims=("recipe", "exponent"))
            mean = mean + pm.Data("x", x) @ recipe
        alone = pt.ones(studies.shape[0])
        if sizes["group"]:
            effect = _group_effects(sd_between, correlation[0])
            membership = pm.Data("in_group", in_group)
            mean = mean + membership @ effect
            alone = 1 - membership.sum(axis=1)
        spread = _spread(sd_within, correlation[1], 1) + _spread(sd_between, correlation[0], alone)
        pm.Potential("studies", _log_integrals(studies, mean, spread).sum())
    return model


def _group_effects(sd, correlation):
    """Return the bivariate effects [group, exponent].

    The variables are effects over min(sd, `_KNOWN`), softly: what the runs tell of a group where it
    differs from the others, its prior where it does not, so that both are of unit size.
    """
    odds = pt.sqrt(1 + (sd / _KNOWN) ** 2)  # sd over the unit of the variable
    first = pm.Normal("group_alpha", 0, odds[0], dims="group")
    standard = first / odds[0]  # the effect on log alpha over its sd
    left = pt.sqrt(1 - correlation**2)
    second = pm.Normal("group_beta", correlation * odds[1] * standard, left * odds[1], dims="group")
    effect = pt.stack([first * sd[0] / odds[0], second * sd[1] / odds[1]], axis=1)
    return pm.Deterministic("group_effect", effect, dims=("group", "exponent"))


def _spread(sd, correlation, factor):
    """Return var alpha, covariance and var beta, times a factor, each [...]."""
    entries = (sd[0] ** 2, correlation * sd[0] * sd[1], sd[1] ** 2)
    return pt.stack([entry * factor * pt.ones(1) for entry in entries])


def _log_integrals(studies, mean, spread):
    """Return the log integral of every study's mixture against its Gaussian [study]."""
    log_weight, m1, m2, *covariance = (studies[:, :, i] for i in range(_MIXTURE))
    v11, v12, v22 = (entry + spread[i][:, None] for i, entry in enumerate(covariance))
    first, second = m1 - mean[:, 0][:, None], m2 - mean[:, 1][:, None]
    determinant = v11 * v22 - v12**2
    squared = (v22 * first**2 - 2 * v12 * first * second + v11 * second**2) / determinant
    log_normal = -np.log(2 * np.pi) - 0.5 * pt.log(determinant) - 0.5 * squared
    return pt.logsumexp(log_weight + log_normal, axis=1)


@lru_cache(maxsize=16)
def compiled_population(form):
    """Return a C callback (n, point*, gradient*, value*, data*) -> code, in nutpie's convention."""
    graph = _compiled_graph(form)
    n_latents, n_columns, n_prior = len(form.latents), form.n_columns, len(PRIOR)
    first, last = MAX_COMPONENTS * _MIXTURE, MAX_COMPONENTS * _MIXTURE + form.n_recipes

    def callback(n, point_, gradient_, value_, data_):
        if n != n_latents:
            return -1
        try:
            rows = int(numba.carray(data_, (1,))[0])
            start = 1 + n_prior
            data = numba.carray(data_, (start + n_columns * rows,))
            table = data[start:].reshape((rows, n_columns))
            value, gradient = graph(
                numba.carray(point_, (n_latents,)),
                data[1:start],
                np.ascontiguousarray(table[:, :first]),
                np.ascontiguousarray(table[:, first:last]),
                np.ascontiguousarray(table[:, last:]),
            )
            out, total = numba.carray(gradient_, (n_latents,)), numba.carray(value_, (1,))
            total[0] = value.item()
            finite = np.isfinite(total[0])
            for i in range(n_latents):
                out[i] = gradient[i]
                finite = finite and np.isfinite(gradient[i])
            return 0 if finite else _NON_FINITE
        except Exception:  # numba catches nothing narrower; nutpie reads the code
            return _FAILED

    return numba.cfunc(_SIGNATURE)(callback)


@lru_cache(maxsize=16)
def _callable(form):
    kinds = (ctypes.c_uint64, *[ctypes.c_void_p] * 4)
    return ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(compiled_population(form).address)


def _compiled_graph(form):
    """Return the numba function (point, priors, mixtures, x, in_group) -> value, gradient."""
    shape = (2, MAX_COMPONENTS, _MIXTURE)
    model = population_model(
        np.ones(shape), np.ones((2, form.n_recipes)), np.ones((2, form.n_groups))
    )
    point = pt.vector("point", shape=(len(form.latents),))
    prior, tables = pt.vector("prior", shape=(len(PRIOR),)), pt.matrix("mixtures")
    x = pt.matrix("x", shape=(None, form.n_recipes))
    in_group = pt.matrix("in_group", shape=(None, form.n_groups))
    swaps = {
        model["prior"]: prior,
        model["mixtures"]: tables.reshape((tables.shape[0], MAX_COMPONENTS, _MIXTURE)),
    }
    swaps |= {model["x"]: x} if form.n_recipes else {}
    swaps |= {model["in_group"]: in_group} if form.n_groups else {}
    swaps |= {
        length: pt.constant(length.get_value())
        for length in model.dim_lengths.values()
        if hasattr(length, "get_value")
    }
    position = 0
    for variable in model.free_RVs:
        shape = tuple(variable.shape.eval())
        swaps[model.rvs_to_values[variable]] = point[position : position + np.prod(shape)].reshape(
            shape
        )
        position += np.prod(shape)
    [value] = clone_replace([model.logp()], swaps)
    inputs = [point, prior, tables, x, in_group]
    outputs = [value, pt.grad(value, point)]
    function = pytensor.function(inputs, outputs, mode="NUMBA", on_unused_input="ignore")
    if function.get_shared():
        msg = f"data left inside the compiled model: {function.get_shared()}"
        raise RuntimeError(msg)
    return function.vm.jit_fn
