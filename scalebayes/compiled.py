"""A model form compiled once; its log density at any study's data.

The plain `pm.Model` of `build` is the definition. The forms that most fits have are written out by
hand in `written_density`; of every other one the log density is compiled, with its gradient, over
the sampling coordinates of `coordinates` and with every `pm.Data` turned into an input: the
compiled code is cached on disk by PyTensor and serves any number of rows, any study and any
parameters of priors of the same kind.
"""

import ctypes
from dataclasses import dataclass
from functools import lru_cache

import numba
import numpy as np

from scalebayes.build import (
    LAW_DATA,
    RUN_DATA,
    TRAJECTORY_INDEX,
    applied,
    latent_names,
    log_law,
    model_of,
)
from scalebayes.coordinates import bounded_residual, conditional_effects, from_latents, to_latents
from scalebayes.hypotheses import RUN_EFFECT, Hypothesis
from scalebayes.laws import LATENTS
from scalebayes.priors import PARAMETERS, Prior, constrained, support_of, unconstrained
from scalebayes.written_density import (
    HEAD,
    form_numbers,
    is_written,
    written_log_densities,
    written_log_density,
)

_LOGS = {"N": "log_N", "D": "log_D"}  # data -> its logarithm, named in the model's graph
_DOUBLES = numba.types.CPointer(numba.types.double)
_LOG_DENSITY_SIGNATURE = numba.types.int64(numba.types.uint64, *[_DOUBLES] * 4)
_NON_FINITE, _FAILED = 4, 1  # codes that nutpie takes as a divergence


@dataclass(frozen=True)
class ModelForm:
    """What decides the compiled code: law, likelihood and the kind of each latent's prior."""

    law: str
    likelihood: str
    latents: tuple[str, ...]
    dists: tuple[str, ...]

    @property
    def has_run_effect(self):
        """Return whether standardised run effects follow the latents in a point."""
        return RUN_EFFECT in self.latents

    @property
    def is_written(self):
        """Return whether the density is written out by hand in `written_density`."""
        return is_written(self.law, self.likelihood, self.latents, self.dists)

    @property
    def columns(self):
        """Return the names of the run data that the form reads."""
        of_law = LAW_DATA.get(self.law, ())
        return (*RUN_DATA, *of_law, *(TRAJECTORY_INDEX,) * self.has_run_effect)

    @property
    def n_law(self):
        """Return how many of the latents, the first ones, belong to the law."""
        return len(LATENTS[self.law])


@dataclass(frozen=True, kw_only=True)
class LogDensity:
    """Log density of one study under one hypothesis, over unconstrained sampling coordinates.

    The law's latents are sampled as `coordinates` says (unit Jacobian), the others as PyMC
    transforms them: those on the positive half-line by their logarithm, shares by their logit.

    Parameters
    ----------
    form : ModelForm
    data : ndarray
        Run data and prior parameters, packed for the compiled code.
    """

    form: ModelForm
    data: np.ndarray

    @property
    def callback(self):
        """Return the compiled density in nutpie's convention, a numba CFunc."""
        return compiled_log_density(self.form)

    def value_and_gradient(self, point):
        """Return the log density (nats) and its gradient at an unconstrained point [latent].

        Where it overflows the density is minus infinity and the gradient zero.
        """
        point = np.ascontiguousarray(point, dtype=float)
        out = np.zeros(point.size + 1)  # the value, then the gradient
        address = out.ctypes.data
        places = (point.ctypes.data, address + out.itemsize, address, self.data.ctypes.data)
        code = _callable(self.form)(point.size, *places)
        return (out[0], out[1:]) if code == 0 else (-np.inf, np.zeros_like(point))

    def values(self, points):
        """Return the log density (nats) at each unconstrained point [point, latent]."""
        if self.form.is_written:
            return written_log_densities(points, self.data)
        return np.array([self.value_and_gradient(point)[0] for point in points])

    def constrain(self, unconstrained):
        """Return a dict of latents [...] from unconstrained values [..., coordinate].

        With it `run_effect` [..., trajectory] where the form has one.
        """
        z = list(np.moveaxis(np.asarray(unconstrained, dtype=float), -1, 0))
        n = self.form.n_law
        z[:n] = to_latents(self.form.law, z[:n], **self._centre)
        named = list(zip(self.form.latents, self.form.dists, strict=True))
        scalars, effects = z[: len(named)], z[len(named) :]
        kinds = zip(named, scalars, strict=True)
        latents = {name: constrained(support_of(dist), x) for (name, dist), x in kinds}
        if self.form.has_run_effect:
            mean, width = self._conditional_effects(latents)
            latents["run_effect"] = mean + np.stack(effects, axis=-1) / width
        return latents

    def unconstrain(self, latents):
        """Return unconstrained values [..., coordinate] from a dict of latents [...].

        Latents that the form does not have are passed over. Run effects that are not given are what
        the others make likely (`coordinates.conditional_effects`).
        """
        kinds = zip(self.form.latents, self.form.dists, strict=True)
        z = [unconstrained(support_of(dist), latents[name]) for name, dist in kinds]
        n = self.form.n_law
        z[:n] = from_latents(self.form.law, z[:n], **self._centre)
        scalars = np.stack(z, axis=-1)
        if not self.form.has_run_effect:
            return scalars
        mean, width = self._conditional_effects(latents)
        effects = (latents.get("run_effect", mean) - mean) * width
        return np.concatenate([scalars, effects], axis=-1)

    def _conditional_effects(self, latents):
        runs = dict(zip(self.form.columns, self._columns, strict=True))
        index = runs[TRAJECTORY_INDEX].astype(int)
        member = (index[:, None] == np.arange(index.max() + 1)).astype(float)
        each = {name: np.asarray(latents[name])[..., None] for name in self.form.latents}
        scales = {"tau": each[RUN_EFFECT], "sigma": _sigma(each, np.exp)}
        residual = bounded_residual(_residual(self.form, each, runs), **scales)
        return conditional_effects(member.sum(axis=0), residual @ member, **scales)

    @property
    def _columns(self):
        rows, start, n = int(self.data[0]), _start(self.form), len(self.form.columns)
        return self.data[start : start + n * rows].reshape(n, rows)

    @property
    def _centre(self):
        return {"centre_N": self.data[2], "centre_D": self.data[3]}


def log_density(data, hypothesis):
    """Return the `LogDensity` of run data under a hypothesis whose omega, if any, is fixed.

    Parameters
    ----------
    data : dict of ndarray
        From `build.run_data`: N, D, observed_log_loss, relative_loss_se, one value per run.
    hypothesis : Hypothesis
    """
    hypothesis = applied(hypothesis, data)
    dists = tuple(prior.dist for prior in hypothesis.priors.values())
    form = ModelForm(hypothesis.law, hypothesis.likelihood, latent_names(hypothesis), dists)
    runs = {name: np.log(data[name]) if name in _LOGS else data[name] for name in form.columns}
    priors = [prior.parameters for prior in hypothesis.priors.values()]
    rows_of_effect = _rows_of_effect(data) if form.has_run_effect else []
    head = np.zeros(HEAD)
    head[:4] = len(data["N"]), len(rows_of_effect), runs["N"].mean(), runs["D"].mean()
    if form.is_written:
        head[4:] = form_numbers(form.law, form.likelihood, dists)
    packed = np.concatenate([head, *priors, *runs.values(), rows_of_effect]).astype(float)
    packed.flags.writeable = False
    return LogDensity(form=form, data=packed)


@lru_cache(maxsize=32)
def compiled_log_density(form):
    """Return a C callback (n, point*, gradient*, value*, data*) -> code, in nutpie's convention.

    Parameters
    ----------
    form : ModelForm

    Returns
    -------
    numba.core.ccallback.CFunc
        Writes value and gradient, and returns 0; another code when either is not finite.
    """
    return written_log_density() if form.is_written else graph_log_density(form)


@lru_cache(maxsize=32)
def graph_log_density(form):
    """Return the same callback of any form, from the graph of its PyMC model.

    The arguments are those of `compiled_log_density`.
    """
    graph = _compiled_graph(form)
    n_latents, n_columns, start = len(form.latents), len(form.columns), _start(form)
    has_run_effect = form.has_run_effect

    def callback(n, point_, gradient_, value_, data_):
        if n < n_latents or (n > n_latents and not has_run_effect):
            return -1
        try:
            rows = int(numba.carray(data_, (1,))[0])
            end = start + n_columns * rows
            data = numba.carray(data_, (end + n - n_latents,))
            value, gradient = graph(
                numba.carray(point_, (n,)),
                data[2:4],
                data[HEAD:start],
                data[start:end].reshape((n_columns, rows)),
                data[end:],
            )
            out, total = numba.carray(gradient_, (n,)), numba.carray(value_, (1,))
            total[0] = value.item()
            finite = np.isfinite(total[0])
            for i in range(n):
                out[i] = gradient[i]
                finite = finite and np.isfinite(gradient[i])
            return 0 if finite else _NON_FINITE
        except Exception:  # numba catches nothing narrower; nutpie reads the code
            return _FAILED

    return numba.cfunc(_LOG_DENSITY_SIGNATURE)(callback)


@lru_cache(maxsize=32)
def _callable(form):
    """Return the callback of a form as a Python function of a size and four addresses."""
    address = compiled_log_density(form).address
    kinds = (ctypes.c_uint64, *[ctypes.c_void_p] * 4)
    return ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(address)


def _start(form):
    """Return where the run data begin in the packed data."""
    return HEAD + sum(len(PARAMETERS[dist]) for dist in form.dists)


def _sigma(latents, exp):
    return latents["sigma"] if "sigma" in latents else exp(latents["log_sigma"])


def _rows_of_effect(data):
    """Return how many rows share each run effect [trajectory]."""
    index = data[TRAJECTORY_INDEX]
    return np.bincount(index[index >= 0])


def _residual(form, latents, runs, **elementary):
    """Return the log losses less the law's; latents broadcast against the form's columns."""
    known = log_law(form.law, latents, runs["N"], runs["D"], more=runs, **elementary)
    return runs["observed_log_loss"] - known  # N and D are packed as logarithms


def _compiled_graph(form):
    """Return the numba function (point, centre, priors, runs, effect rows) -> value, gradient."""
    import pytensor
    import pytensor.tensor as pt
    from pytensor.graph.replace import clone_replace

    model = _placeholder_model(form)
    n = len(form.latents)
    point, centre = pt.vector("point"), pt.vector("centre", shape=(2,))
    priors = pt.vector("priors", shape=(_start(form) - HEAD,))
    runs = pt.matrix("runs", shape=(len(form.columns), None))
    rows_of_effect = pt.vector("rows_of_effect")
    z = [point[position] for position in range(n)]
    z[: form.n_law] = to_latents(
        form.law,
        z[: form.n_law],
        centre_N=centre[0],
        centre_D=centre[1],
        exp=pt.exp,
        log1p=pt.log1p,
    )
    joint = model.logp()
    values = [model.rvs_to_values[model[name]] for name in form.latents]
    swaps = dict(zip(values, z, strict=True)) | _data_swaps(model, form, priors, runs, joint)
    if form.has_run_effect:
        mean, width = _conditional_effects(form, z, runs, rows_of_effect)
        swaps[model.rvs_to_values[model["run_effect"]]] = mean + point[n:] / width
        swaps[model.dim_lengths["trajectory"]] = rows_of_effect.shape[0]
        joint = joint - pt.log(width).sum()
    [value] = clone_replace([joint], swaps)
    inputs = [point, centre, priors, runs, rows_of_effect]
    outputs = [value, pt.grad(value, point)]
    function = pytensor.function(inputs, outputs, mode="NUMBA", on_unused_input="ignore")
    if function.get_shared():  # a new pm.Data that this module does not know would be baked in
        msg = f"data left inside the compiled model: {function.get_shared()}"
        raise RuntimeError(msg)
    return function.vm.jit_fn


def _conditional_effects(form, z, runs, rows):
    """Return mean and width of the run effects, of the coordinates of all other variables."""
    import pytensor.tensor as pt

    inverse = {"real": lambda x: x, "positive": pt.exp, "unit": pt.sigmoid}
    named = zip(form.latents, form.dists, z, strict=True)
    latents = {name: inverse[support_of(dist)](x) for name, dist, x in named}
    columns = {name: runs[position] for position, name in enumerate(form.columns)}
    index = columns[TRAJECTORY_INDEX].astype("int64")
    residual = _residual(form, latents, columns, exp=pt.exp, log=pt.log, log1p=pt.log1p)
    scales = {"tau": latents[RUN_EFFECT], "sigma": _sigma(latents, pt.exp)}
    # rows without an effect, of index -1, add to a last place that is left away
    places = pt.zeros(rows.shape[0] + 1)
    residual = bounded_residual(residual, **scales)
    by_trajectory = pt.inc_subtensor(places[index], residual)[:-1]
    return conditional_effects(rows, by_trajectory, **scales)


def _data_swaps(model, form, priors, runs, value):
    """Return model variable -> compiled input, for run data, prior parameters and row count."""
    from pytensor.graph.traversal import ancestors

    swaps = {model.dim_lengths["run"]: runs.shape[1]}
    position = 0
    for latent, dist in zip(form.latents, form.dists, strict=True):
        width = len(PARAMETERS[dist])
        swaps[model[f"prior_{latent}"]] = priors[position : position + width]
        position += width
    named = {node.name: node for node in ancestors([value]) if node.name in _LOGS.values()}
    for position, name in enumerate(form.columns):
        known = named[_LOGS[name]] if name in _LOGS else model[name]
        swaps[known] = runs[position].astype(known.dtype)
    return swaps


def _placeholder_model(form):
    keys = ("nu" if name == "nu_minus_one" else name for name in form.latents)
    kinds = zip(keys, form.dists, strict=True)
    hypothesis = Hypothesis(
        name="form",
        law=form.law,
        counting="total",
        likelihood=form.likelihood,
        priors={key: Prior(dist=d, parameters=(1.0,) * len(PARAMETERS[d])) for key, d in kinds},
    )
    data = {name: np.ones(2) for name in form.columns if name != TRAJECTORY_INDEX}
    if form.has_run_effect:
        data[TRAJECTORY_INDEX] = np.zeros(2, dtype=int)
    return model_of(data, hypothesis, coords={"run": ["0", "1"], "trajectory": ["0"]})
