"""A population whose groups may each have an omega of their own: a plain `pm.Model`.

Group g has omega_g, one of a few values, with P(omega_g = k) = frequency_k. Given omega_g = k its
studies' theta = (log alpha, log beta) = mu_k + g + x Gamma + e, with one mean mu_k per omega, and
spreads of g and e and recipe effects Gamma common to all. Which omega a group has, its effect g and
its studies' theta are summed and integrated out exactly.
"""

from dataclasses import dataclass, field
from itertools import product

import numpy as np

from scalebayes.population_density import EXPONENTS, PRIOR

_NOTHING = -1e6  # log weight of what is not there
# (1 + correlation) / 2 ~ Beta(2, 2), as in `population_model`
_CORRELATION = np.float64(2)


@dataclass(frozen=True, kw_only=True)
class GroupTables:
    """Every way to take one Gaussian component of each study of a group, at every omega.

    The product of the chosen components is Gaussian in theta of the group's studies, so that its
    integral over them and over the group's effect has a closed form.

    Parameters
    ----------
    log_weight : ndarray
        [choice], sum of the components' log weights and of the studies' log evidences (nats), less
        `offset`.
    mean, covariance : ndarray
        [choice, member, exponent] and [choice, member, 3]: var alpha, covariance, var beta.
    present : ndarray
        [choice, member], 1, or 0 where a group has fewer studies than the largest one.
    x : ndarray
        [choice, member, recipe], recipe columns.
    omega : ndarray of int
        [choice], position of the omega.
    position : ndarray of int
        [group, omega, at most], choices of a group at an omega; their number stands for none.
    offset : float
        Largest log evidences, summed over groups (nats).
    """

    log_weight: np.ndarray = field(repr=False)
    mean: np.ndarray = field(repr=False)
    covariance: np.ndarray = field(repr=False)
    present: np.ndarray = field(repr=False)
    x: np.ndarray = field(repr=False)
    omega: np.ndarray = field(repr=False)
    position: np.ndarray = field(repr=False)
    offset: float = 0.0


def group_tables(likelihoods, log_evidence, x, members):
    """Return the `GroupTables` of studies at several omegas.

    Parameters
    ----------
    likelihoods : sequence of sequence of Mixture
        [omega][study], each over the study's evidence.
    log_evidence : ndarray
        [omega, study], nats.
    x : ndarray
        [study, recipe].
    members : sequence of sequence of int
        Positions of each group's studies.
    """
    largest = max(map(len, members))
    height = np.array([log_evidence[:, list(group)].sum(axis=1) for group in members])
    best = height.max(axis=1, keepdims=True)
    rows, places = [], []
    for g, group in enumerate(members):
        at_omega = []
        for k, row in enumerate(likelihoods):
            start = len(rows)
            rows += _choices([row[i] for i in group], x[list(group)], k, largest)
            for one in rows[start:]:
                one["log_weight"] += height[g, k] - best[g, 0]
            at_omega.append(range(start, len(rows)))
        places.append(at_omega)
    most = max(len(one) for at_omega in places for one in at_omega)
    position = np.full((len(members), len(likelihoods), most), len(rows))
    for g, at_omega in enumerate(places):
        for k, one in enumerate(at_omega):
            position[g, k, : len(one)] = one
    columns = {name: np.array([one[name] for one in rows]) for name in rows[0]}
    return GroupTables(**columns, position=position, offset=float(best.sum()))


def omega_by_group_model(tables, concentration, *, prior=None, coords=None):
    """Return the PyMC model of groups that may differ in omega.

    Parameters
    ----------
    tables : GroupTables
    concentration : ndarray
        [omega], of the Dirichlet prior of the omegas' frequencies among groups.
    prior : mapping, optional
        Values that replace those of `population_density.PRIOR`.
    coords : dict, optional
        Labels of group, omega and recipe.

    Returns
    -------
    pm.Model
        Free variables frequency [omega], mu [omega, exponent], sd_between, sd_within [exponent],
        half_one_plus_correlation [level] and recipe_effect [recipe, exponent]; Deterministics
        correlation [level] and omega_weight [group, omega], the posterior weight of each group's
        omega given the others. The likelihood, less its `offset`, is a Potential.
    """
    import pymc as pm
    import pytensor.tensor as pt

    n_groups, n_omega, _ = tables.position.shape
    sizes = {"group": n_groups, "omega": n_omega, "recipe": tables.x.shape[-1]}
    named = {dim: np.arange(size) for dim, size in sizes.items() if size} | (coords or {})
    # a plain 0.5 would have PyTensor take its logarithm in single precision
    given = {name: np.float64(value) for name, value in (PRIOR | (prior or {})).items()}
    with pm.Model(coords=named | {"exponent": EXPONENTS, "level": ("between", "within")}) as model:
        frequency = pm.Dirichlet("frequency", concentration, dims="omega")
        mu = pm.Normal("mu", given["mu_location"], given["mu_sd"], dims=("omega", "exponent"))
        sd_between = pm.HalfNormal("sd_between", given["between"], dims="exponent")
        sd_within = pm.HalfNormal("sd_within", given["within"], dims="exponent")
        half = pm.Beta("half_one_plus_correlation", _CORRELATION, _CORRELATION, dims="level")
        correlation = pm.Deterministic("correlation", 2 * half - 1, dims="level")
        expected = mu[tables.omega][:, None, :]
        if sizes["recipe"]:
            scale = given["recipe_sd"]
            expected = expected + tables.x @ pm.Normal(
                "recipe_effect", 0, scale, dims=("recipe", "exponent")
            )
        choices = tables.log_weight + log_integral(
            tables,
            tables.mean - expected,
            within=_spread(sd_within, correlation[1]),
            between=_spread(sd_between, correlation[0]),
            log=pt.log,
        )
        choices = pt.concatenate([choices, [_NOTHING]])[tables.position]
        weighted = pt.log(frequency) + pt.logsumexp(choices, axis=-1)
        total = pt.logsumexp(weighted, axis=-1, keepdims=True)
        pm.Deterministic("omega_weight", pt.exp(weighted - total), dims=("group", "omega"))
        pm.Potential("groups", total.sum())
    return model


def log_integral(tables, deviation, *, within, between, log=np.log):
    """Return the log integral of each choice of components against its population [choice], nats.

    With V_s the sum of component s' covariance and `within`, P = sum of V_s^-1, h = sum of
    V_s^-1 d_s and T = `between`: the product of Normal(d_s; g, V_s) and Normal(g; 0, T), integrated
    over g, has log - n log(2 pi) - 1/2 sum (log |V_s| + d_s' V_s^-1 d_s) - 1/2 log |I + T P| +
    1/2 h' (I + T P)^-1 T h, which needs no inverse of T.

    Parameters
    ----------
    tables : GroupTables
    deviation : array
        [choice, member, exponent], a component's mean less what is expected without the group's
        effect.
    within, between : tuple
        var alpha, covariance and var beta within and between groups.
    log : callable
        PyTensor's inside a PyMC model.
    """
    first, second = deviation[..., 0], deviation[..., 1]
    v11, v12, v22 = (tables.covariance[..., i] + within[i] for i in range(3))
    determinant = v11 * v22 - v12**2
    share = tables.present / determinant
    p11, p12, p22 = v22 * share, -v12 * share, v11 * share
    squared = p11 * first**2 + 2 * p12 * first * second + p22 * second**2
    own = (tables.present * (np.log(2 * np.pi) + 0.5 * log(determinant)) + 0.5 * squared).sum(-1)
    h1, h2 = (p11 * first + p12 * second).sum(-1), (p12 * first + p22 * second).sum(-1)
    p11, p12, p22 = p11.sum(-1), p12.sum(-1), p22.sum(-1)
    t11, t12, t22 = between
    m11, m12 = 1 + t11 * p11 + t12 * p12, t11 * p12 + t12 * p22  # of I + T P
    m21, m22 = t12 * p11 + t22 * p12, 1 + t12 * p12 + t22 * p22
    r1, r2 = t11 * h1 + t12 * h2, t12 * h1 + t22 * h2
    joined = m11 * m22 - m12 * m21
    gain = (h1 * (m22 * r1 - m12 * r2) + h2 * (m11 * r2 - m21 * r1)) / joined
    return -own - 0.5 * log(joined) + 0.5 * gain


def _choices(mixtures, x, k, largest):
    """Return one row per choice of a component of each study."""
    missing = largest - len(mixtures)
    found = []
    for picked in product(*(range(one.log_weight.size) for one in mixtures)):
        pairs = list(zip(mixtures, picked, strict=True))
        covariance = [one.covariance[c][[0, 0, 1], [0, 1, 1]] for one, c in pairs]
        found.append(
            {
                "log_weight": sum(one.log_weight[c] for one, c in pairs),
                "mean": np.array([one.mean[c] for one, c in pairs] + [np.zeros(2)] * missing),
                "covariance": np.array(covariance + [np.array([1.0, 0.0, 1.0])] * missing),
                "present": np.array([1.0] * len(pairs) + [0.0] * missing),
                "x": np.concatenate([x, np.zeros((missing, x.shape[1]))]),
                "omega": k,
            }
        )
    return found


def _spread(sd, correlation):
    return sd[0] ** 2, correlation * sd[0] * sd[1], sd[1] ** 2
