"""A model form compiled once; its log density at any study's data.

The plain `pm.Model` of `build` is the definition. Its log density is compiled, with its gradient,
over the sampling coordinates of `coordinates` and with every `pm.Data` turned into an input: the
compiled code is cached on disk by PyTensor and serves any number of rows, any study and any
parameters of priors of the same kind.
"""

import ctypes
from dataclasses import dataclass
from functools import lru_cache

import numba
import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import ancestors

from scalebayes.build import RUN_DATA, latent_names, model_of
from scalebayes.coordinates import from_latents, to_latents
from scalebayes.hypotheses import Hypothesis
from scalebayes.laws import LATENTS
from scalebayes.priors import PARAMETERS, Prior, constrained, support_of, unconstrained

_LOGS = {"N": "log_N", "D": "log_D"}  # data -> its logarithm, named in the model's graph
_DOUBLES = numba.types.CPointer(numba.types.double)
_LOG_DENSITY_SIGNATURE = numba.types.int64(numba.types.uint64, *[_DOUBLES] * 4)
_NON_FINITE, _FAILED = 4, 1  # codes that nutpie takes as a divergence
_HEAD = 3  # packed data begin with the number of runs and the centres of log N and log D


@dataclass(frozen=True)
class ModelForm:
    """What decides the compiled code: law, likelihood and the kind of each latent's prior."""

    law: str
    likelihood: str
    latents: tuple[str, ...]
    dists: tuple[str, ...]

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
        return np.array([self.value_and_gradient(point)[0] for point in points])

    def constrain(self, unconstrained):
        """Return a dict of latents [...] from unconstrained values [..., coordinate]."""
        z = list(np.moveaxis(np.asarray(unconstrained, dtype=float), -1, 0))
        n = self.form.n_law
        z[:n] = to_latents(self.form.law, z[:n], **self._centre)
        kinds = zip(self.form.latents, self.form.dists, z, strict=True)
        return {name: constrained(support_of(dist), x) for name, dist, x in kinds}

    def unconstrain(self, latents):
        """Return unconstrained values [..., coordinate] from a dict of latents [...]."""
        kinds = zip(self.form.latents, self.form.dists, strict=True)
        z = [unconstrained(support_of(dist), latents[name]) for name, dist in kinds]
        n = self.form.n_law
        z[:n] = from_latents(self.form.law, z[:n], **self._centre)
        return np.stack(z, axis=-1)

    @property
    def _centre(self):
        return {"centre_N": self.data[1], "centre_D": self.data[2]}


def log_density(data, hypothesis):
    """Return the `LogDensity` of run data under a hypothesis whose omega, if any, is fixed.

    Parameters
    ----------
    data : dict of ndarray
        From `build.run_data`: N, D, observed_log_loss, relative_loss_se, one value per run.
    hypothesis : Hypothesis
    """
    runs = {name: np.log(data[name]) if name in _LOGS else data[name] for name in RUN_DATA}
    priors = [prior.parameters for prior in hypothesis.priors.values()]
    head = [len(data["N"]), runs["N"].mean(), runs["D"].mean()]
    packed = np.concatenate([head, *priors, *runs.values()]).astype(float)
    packed.flags.writeable = False
    dists = tuple(prior.dist for prior in hypothesis.priors.values())
    form = ModelForm(hypothesis.law, hypothesis.likelihood, latent_names(hypothesis), dists)
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
    graph = _compiled_graph(form)
    n_latents = len(form.latents)
    start = _HEAD + sum(len(PARAMETERS[dist]) for dist in form.dists)
    n_columns = len(RUN_DATA)

    def callback(n, point_, gradient_, value_, data_):
        if n != n_latents:
            return -1
        try:
            rows = int(numba.carray(data_, (1,))[0])
            data = numba.carray(data_, (start + n_columns * rows,))
            value, gradient = graph(
                numba.carray(point_, (n_latents,)),
                data[1:_HEAD],
                data[_HEAD:start],
                data[start : start + rows],
                data[start + rows : start + 2 * rows],
                data[start + 2 * rows : start + 3 * rows],
                data[start + 3 * rows : start + 4 * rows],
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

    return numba.cfunc(_LOG_DENSITY_SIGNATURE)(callback)


@lru_cache(maxsize=32)
def _callable(form):
    """Return the callback of a form as a Python function of a size and four addresses."""
    address = compiled_log_density(form).address
    kinds = (ctypes.c_uint64, *[ctypes.c_void_p] * 4)
    return ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(address)


def _compiled_graph(form):
    """Return the numba function (point, centre, priors, four run columns) -> value, gradient."""
    model = _placeholder_model(form)
    values = [model.rvs_to_values[variable] for variable in model.free_RVs]
    point, centre = pt.vector("point", shape=(len(values),)), pt.vector("centre", shape=(2,))
    priors = pt.vector("priors", shape=(sum(len(PARAMETERS[dist]) for dist in form.dists),))
    runs = [pt.vector(_LOGS.get(name, name)) for name in RUN_DATA]
    z = [point[position] for position in range(len(values))]
    z[: form.n_law] = to_latents(
        form.law,
        z[: form.n_law],
        centre_N=centre[0],
        centre_D=centre[1],
        exp=pt.exp,
        log1p=pt.log1p,
    )
    joint = model.logp()
    swaps = dict(zip(values, z, strict=True)) | _data_swaps(model, form, priors, runs, joint)
    [value] = clone_replace([joint], swaps)
    inputs = [point, centre, priors, *runs]
    outputs = [value, pt.grad(value, point)]
    function = pytensor.function(inputs, outputs, mode="NUMBA", on_unused_input="ignore")
    if function.get_shared():  # a new pm.Data that this module does not know would be baked in
        msg = f"data left inside the compiled model: {function.get_shared()}"
        raise RuntimeError(msg)
    return function.vm.jit_fn


def _data_swaps(model, form, priors, runs, value):
    """Return model variable -> compiled input, for run data, prior parameters and row count."""
    swaps = {model.dim_lengths["run"]: runs[0].shape[0]}
    position = 0
    for latent, dist in zip(form.latents, form.dists, strict=True):
        width = len(PARAMETERS[dist])
        swaps[model[f"prior_{latent}"]] = priors[position : position + width]
        position += width
    named = {node.name: node for node in ancestors([value]) if node.name in _LOGS.values()}
    for name, column in zip(RUN_DATA, runs, strict=True):
        swaps[named[_LOGS[name]] if name in _LOGS else model[name]] = column
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
    ones = {name: np.ones(2) for name in RUN_DATA}
    return model_of(ones, hypothesis, coords={"run": ["0", "1"]})
