"""What a rule for choosing N and D costs: loss above the lowest, and compute wasted.

Along a budget C = 6 N_C D, with N_C the count that the FLOP convention charges for, a rule picks
one model, and the law L its loss. With L*(C) the lowest loss of the budget, for every draw

    regret = L(rule) - L*(C) >= 0,     wasted = 1 - C'/C,  L*(C') = L(rule),

C' being the budget that would have reached the rule's loss had it been spent well. A rule is a
ratio D/N (20 unless said otherwise), N in the asked counting, or a plan (N, D), which has its own
budget.

C' is the least budget that reaches a loss, the training FLOP of the cheapest model of that loss
(`equal_loss`): a root, good to 1e-10, for any counts. Where the law's count is charged, and for the
law isoflop, with R = L* - E,

    log C/C' = k log [(L(rule) - E) / R(C)],   k = (alpha + beta) / (alpha beta)   or   1 / gamma.

With the discrepancy (`discrepancy`) the real curve of a budget is the law's at another level, moved
along log N by s and stretched by w. With V(N) = log L(N) - log L*(C) along the budget,

    regret = e^level L*(C) {exp[w V(N e^-s)] - 1},     log L*(C') = log L*(C) + w V(N e^-s).

N is that of the asked counting and D what the budget leaves, as in `discrepant_optimum`, so that
the regret is 0 at the optimum given there; in the law's own count the real loss is
`discrepancy.discrepant_log_loss`. The level is that of the asked budget on both sides of the second
equation: what the level's growth between C' and C would do is left out, since in some draws it
makes the frontier rise with compute, and then there is no C'. The decades outside the data that the
amplitudes grow with are those of the budget's optimum under the law.
"""

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from scipy.optimize import elementwise

from scalebayes.counting import (
    Architecture,
    CountTerms,
    body_of,
    flops_terms,
    parameter_terms,
    parse_counting,
)
from scalebayes.discrepancy import find_discrepancy, level_of, shift_of
from scalebayes.discrepant_optimum import discrepancy_draws
from scalebayes.equal_loss import cheapest, log_total
from scalebayes.errors import InputError
from scalebayes.first_order import log_count
from scalebayes.fitted_law import family_of, law_omega, law_values
from scalebayes.laws import FLOP_PER_PARAMETER_AND_TOKEN, expected_loss
from scalebayes.optimum import asked_counting, optimal

RULE = 20.0
"""Tokens per parameter of the rule of thumb drawn from Hoffmann et al. (2022), arXiv:2203.15556."""

_TOLERANCES = {"xatol": 1e-12, "xrtol": 0.0}
_LOG_SIX = np.log(FLOP_PER_PARAMETER_AND_TOKEN)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The counts of one model along a family, as functions of its log body.

    Without a family all counts are the law's own, and its log stands for log body.

    Parameters
    ----------
    law, charged, reported : CountTerms
        Of the law, of the FLOP convention, and of the counting asked for.
    counting : str or float
        The last of these.
    architecture : Architecture or None
    """

    law: CountTerms
    charged: CountTerms
    reported: CountTerms
    counting: str | float
    architecture: Architecture | None

    @property
    def law_is_charged(self):
        """Whether the budget charges for what the law counts, in every draw."""
        plain = self.charged.square == 0 and self.charged.body_weight == 1
        return plain and bool(np.all(self.law.linear == self.charged.linear))

    def log_body_of(self, log_N):
        """Return the log body of models with N parameters in the counting asked for."""
        if self.architecture is None:
            return log_N
        return np.log(body_of(np.exp(log_N), self.counting, self.architecture))

    def log_body_on(self, log_compute, log_ratio):
        """Return the log body of the models of budgets (log FLOP) that have a ratio (log D/N).

        Its equation log N_C + log N = log C/6 - log D/N rises with a slope between 2/3 and 2.
        """
        target = log_compute - _LOG_SIX - log_ratio
        if self.architecture is None:
            return target / 2

        def excess(x, target):
            return log_count(x, self.charged)[0] + log_count(x, self.reported)[0] - target

        def root(target):
            start = target / 2
            away = excess(start, target)
            ends = start - 1.5 * away, start - 0.5 * away
            bracket = np.minimum(*ends) - 1e-6, np.maximum(*ends) + 1e-6
            return elementwise.find_root(excess, bracket, args=(target,), tolerances=_TOLERANCES).x

        return xr.apply_ufunc(root, target)

    def log_tokens(self, x, log_compute):
        """Return the log tokens that budgets leave for models of log body x."""
        return log_compute - _LOG_SIX - log_count(x, self.charged)[0]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The loss along budgets, for every draw of a fit: DataArrays, or arrays over draws.

    Parameters
    ----------
    log_compute : DataArray or float
        Log FLOP of the budgets, over compute.
    log_N : DataArray or ndarray
        Log of the law's optimum, in the counting asked for, over compute, chain and draw.
    lowest : DataArray or ndarray
        Its loss L*, nats per token.
    values : dict
        Natural coefficients of the law (`fitted_law.law_values`).
    counts : Counts
    missed : dict or None
        Draws of the discrepancy (`Discrepancy.coefficients`).
    decades : DataArray, ndarray or None
        Decades of each budget's optimum outside the data, where there is a discrepancy.
    """

    log_compute: xr.DataArray | float
    log_N: xr.DataArray | np.ndarray
    lowest: xr.DataArray | np.ndarray
    values: dict
    counts: Counts
    missed: dict | None = None
    decades: xr.DataArray | np.ndarray | None = None

    def at(self, index):
        """Return the curve of one budget, in arrays over draws, which are quick to evaluate."""

        def flat(value):
            if not isinstance(value, xr.DataArray):
                return value
            one = value.isel(compute=index) if "compute" in value.dims else value
            return one.transpose("chain", "draw", missing_dims="ignore").to_numpy().ravel()

        law = CountTerms(linear=flat(self.counts.law.linear))
        exact = self.missed is None
        return Curves(
            log_compute=self.log_compute.isel(compute=index).item(),
            log_N=flat(self.log_N),
            lowest=flat(self.lowest),
            values={name: flat(value) for name, value in self.values.items()},
            counts=replace(self.counts, law=law),
            missed=None if exact else {name: flat(one) for name, one in self.missed.items()},
            decades=None if exact else flat(self.decades),
        )

    def regret(self, x):
        """Return loss above the lowest, nats per token, of models of log body x on the budgets."""
        return self._loss(x) - self.lowest

    def regret_with_discrepancy(self, x):
        """Return the same where the real curve is the moved and stretched one."""
        return self.level() * self.regret_at_the_laws_level(x)

    def regret_at_the_laws_level(self, x):
        """Return L*(C) {exp[w V(N e^-s)] - 1}, nats per token."""
        log_N = log_count(x, self.counts.reported)[0]
        moved = self.counts.log_body_of(log_N - shift_of(self.missed, self.decades))
        depth = np.log(self._loss(moved)) - np.log(self.lowest)
        return self.lowest * np.expm1(np.exp(self.missed["valley"]) * depth)

    def level(self):
        """Return by what factor the lowest loss differs from the law's."""
        return np.exp(level_of(self.missed, self.decades))

    def wasted(self, regret):
        """Return 1 - C'/C of losses above the lowest (nats per token, at the law's level)."""
        reducible = self.lowest - self.values.get("E", 0.0)
        rise = np.log1p(regret / reducible)
        if "A" not in self.values:
            return -np.expm1(-rise / self.values["gamma"])
        alpha, beta = self.values["alpha"], self.values["beta"]
        if self.counts.law_is_charged:
            return -np.expm1(-rise * (alpha + beta) / (alpha * beta))
        terms = np.log(self.values["A"]), np.log(self.values["B"]), alpha, beta
        others = self.values.get("q", 1.0), self.counts.law.linear
        log_R = np.log(reducible + regret)
        least = xr.apply_ufunc(
            _log_compute_of, log_R, *terms, *others, kwargs={"charged": self.counts.charged}
        )
        return -np.expm1(least - self.log_compute)

    def _loss(self, x):
        N = np.exp(log_count(x, self.counts.law)[0])
        return expected_loss(N, np.exp(self.counts.log_tokens(x, self.log_compute)), self.values)


def regret(
    fit,
    compute=None,
    *,
    rule=RULE,
    N=None,
    D=None,
    counting=None,
    flops="6ND",
    architecture=None,
    discrepancy=None,
    random_seed=1,
):
    """Return what a rule, or a plan, costs against the compute-optimal model, for every draw.

    Parameters
    ----------
    fit : DataTree
        A fit whose law has a frontier.
    compute : float, sequence or DataArray, optional
        Budgets at which a rule is followed, FLOP, > 0; not for a plan, which has its own.
    rule : float
        Tokens per parameter, N in `counting`, > 0.
    N, D : float or sequence, optional
        A plan: parameters in `counting`, and tokens. It takes the place of the rule.
    counting, flops, architecture
        As in `optimum.optimal`.
    discrepancy : Discrepancy or "published", optional
        How far the law may miss; "published" is what the bundled studies show.
    random_seed : int or Generator
        Of the discrepancy. With the same seed it is the one of `with_discrepancy`.

    Returns
    -------
    Dataset
        Over (compute, chain, draw): regret (nats per token) and compute_wasted (share of the
        budget, below 1); loss, of the law; over compute: N, D and tokens_per_parameter of the rule.
        With a discrepancy also regret_with_discrepancy and compute_wasted_with_discrepancy. Attrs
        as `optimal`'s, and rule: what was followed.

    Raises
    ------
    InputError
        When a budget, ratio or plan is not of positive finite numbers, when both or neither of
        budgets and plan are given, when the law has no frontier, or is isoflop and a discrepancy is
        asked for.
    CountingError
        As `optimal`.
    """
    asked = {"counting": counting, "flops": flops, "architecture": architecture}
    planned = (N is not None, D is not None)
    if not any(planned):
        if compute is None:
            raise InputError("regret: say the budgets of a rule (compute), or a plan (N and D).")
        best, found = curves(
            fit, compute, **asked, discrepancy=discrepancy, random_seed=random_seed
        )
        log_ratio = np.log(_positive(rule, "rule").item())
        x = found.counts.log_body_on(found.log_compute, log_ratio)
        followed = f"{float(rule):g} tokens per parameter"
    else:
        if not all(planned) or compute is not None:
            msg = "regret: a plan is N and D together, without compute: its budget follows."
            raise InputError(msg)
        N, D = np.broadcast_arrays(_positive(N, "N").ravel(), _positive(D, "D").ravel())
        counts = counts_of(fit, asked_counting(fit, counting), flops, family_of(fit, architecture))
        x = counts.log_body_of(np.log(N))
        budgets = FLOP_PER_PARAMETER_AND_TOKEN * np.exp(log_count(x, counts.charged)[0]) * D
        best, found = curves(
            fit, budgets, **asked, discrepancy=discrepancy, random_seed=random_seed
        )
        x = xr.DataArray(x, dims="compute", coords={"compute": best["compute"]})
        followed = "the plan given"
    return _priced(found, x).assign_attrs(best.attrs | {"rule": followed})


def curves(fit, compute, *, counting, flops, architecture, discrepancy=None, random_seed=1):
    """Return what `optimum.optimal` says of budgets, and their `Curves`; as `regret`."""
    asked = {"counting": counting, "flops": flops, "architecture": architecture}
    best = optimal(fit, compute, **asked)
    values = law_values(fit["posterior"].to_dataset(), fit.attrs)
    family = family_of(fit, architecture)
    counts = counts_of(fit, parse_counting(best.attrs["counting"]), flops, family)
    exact = Curves(
        log_compute=np.log(best["compute"]),
        log_N=np.log(best["N"]),
        lowest=best["loss"],
        values=values,
        counts=counts,
    )
    if find_discrepancy(discrepancy) is None:
        return best, exact
    missed, decades = discrepancy_draws(fit, best, discrepancy, random_seed)
    return best, replace(exact, missed=missed, decades=decades)


def counts_of(fit, counting, flops, family):
    """Return the `Counts` of a fit's law, a FLOP convention and a counting."""
    if family is None or fit.attrs.get("law") == "isoflop":  # which knows its own count alone
        own = CountTerms()
        return Counts(law=own, charged=own, reported=own, counting=counting, architecture=None)
    return Counts(
        law=CountTerms(linear=law_omega(fit, family) * family.gamma),
        charged=flops_terms(flops, counting, family),
        reported=parameter_terms(counting, family),
        counting=counting,
        architecture=family,
    )


def _priced(found, x):
    """Return the Dataset of `regret` for models of log body x, one per budget."""
    N = np.exp(log_count(x, found.counts.reported)[0])
    D = np.exp(found.counts.log_tokens(x, found.log_compute))
    above = found.regret(x)
    values = {"regret": above, "compute_wasted": found.wasted(above)}
    values["loss"] = found.lowest + above
    if found.missed is not None:
        values["regret_with_discrepancy"] = found.regret_with_discrepancy(x)
        values["compute_wasted_with_discrepancy"] = found.wasted(found.regret_at_the_laws_level(x))
    values = {name: one.transpose("compute", "chain", "draw") for name, one in values.items()}
    values |= {"N": N, "D": D, "tokens_per_parameter": D / N}
    units = {"N": "parameters", "D": "tokens", "tokens_per_parameter": "tokens/parameter"}
    named = {
        name: one.assign_attrs(
            units=units.get(name, "1" if name.startswith("compute_wasted") else "nats/token")
        )
        for name, one in values.items()
    }
    return xr.Dataset(named)


def _log_compute_of(*arguments, charged):
    """Return the log of the least budgets that reach losses; arguments as in `cheapest`."""
    return log_total(*cheapest(*arguments, charged=charged, one_count=False), charged=charged)


def _positive(value, name):
    values = np.asarray(value)
    fits = values.dtype.kind in "iuf" and values.size
    if not fits or not (np.isfinite(values) & (values > 0)).all():
        msg = f"{name}: positive finite numbers are needed, found {value!r}."
        raise InputError(msg)
    return values.astype(float)
