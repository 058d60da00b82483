"""Forecasts judged by runs that fits did not see: losses, and where the optimum lay.

Every study is cut in compute, fitted below the cut, and scored above it. What is learned over
studies (discrepancy, literature) is learned without the study that is judged, the literature
without its whole group.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import logsumexp
from scipy.stats import norm
from scipy.stats import t as student_t

from scalebayes.classical import huber_fit
from scalebayes.discrepancy import (
    Discrepancy,
    decades_outside,
    discrepant_log_loss,
    shift_of,
)
from scalebayes.discrepancy_model import Learner, record_of
from scalebayes.errors import InputError
from scalebayes.fitted_law import law_values
from scalebayes.held_out import counted_runs, optima_above, splits_of
from scalebayes.hypotheses import LATENT, load_hypothesis
from scalebayes.laws import ISOFLOP, anchored_logs, expected_loss, natural_coefficients
from scalebayes.many_fits import quiet_fits
from scalebayes.optimum import compute_range, optimal, optimal_allocation
from scalebayes.predict import law_parameters
from scalebayes.ratio_literature import (
    RatioLiterature,
    optimum_weights,
    ratio_literature,
    study_ratio,
)
from scalebayes.scores import LEVELS, covered, crps, interval_score
from scalebayes.studies import DEFAULT_STUDIES, load_study
from scalebayes.surface import fit_surfaces

SHARES = (0.5, 0.65)
"""Shares of a study's log range of compute that are fitted."""

LAW = "law held exactly"
DISCREPANCY = "with discrepancy"
LITERATURE = "with discrepancy and literature"
BOOTSTRAP = "Huber fit, pair bootstrap"
TWENTY = "20 tokens per parameter, within a factor of two"
POPULATION = "literature alone"
METHODS = (LAW, DISCREPANCY, LITERATURE, BOOTSTRAP, TWENTY, POPULATION)

RESAMPLES = 400
"""Of the pair bootstrap."""

PROB = 0.9
_SETTINGS = {"draws": 500, "tune": 500, "chains": 4}
_TRUTHS = norm.ppf((np.arange(21) + 0.5) / 21)  # the measured optimum within its error
_TAIL = (1 - PROB) / 2


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the other studies say, for one that is judged.

    Parameters
    ----------
    discrepancy : Discrepancy
        Learned without the study.
    literature : RatioLiterature
        Without its group.
    """

    discrepancy: Discrepancy
    literature: RatioLiterature


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """How well forecasts did.

    Parameters
    ----------
    losses : DataFrame
        study, share, method, n (held-out runs), log_score (nats per run, of log loss), crps (of log
        loss), coverage_50, coverage_90.
    optima : DataFrame
        study, share, compute (FLOP), decades (above the cut), method, measured and se (log N*),
        lower, median, upper (90% equal-tailed interval of log N*), score (interval score), covered;
        the last two averaged over the measured optimum's error.
    left_out : dict of str to str
        Cuts that were not made, with the reason.
    problems : tuple of str
        Fits and discrepancies that did not pass the gate.
    discrepancy : Discrepancy
        Learned from all studies.
    known : dict of str to Known
        What each study was judged with.
    densities : dict of (str, float, str) to ndarray
        Study, share and method -> log predictive density of each held-out run, nats, of log loss.
    """

    losses: pd.DataFrame
    optima: pd.DataFrame
    left_out: dict[str, str]
    problems: tuple[str, ...]
    discrepancy: Discrepancy
    known: dict[str, Known]
    densities: dict[tuple[str, float, str], np.ndarray] = field(default_factory=dict, repr=False)


def forecast(
    studies=None,
    *,
    hypothesis="hoffmann-total",
    shares=SHARES,
    random_seed=1,
    cores=None,
    executor=None,
    cache=True,
    advance=None,
):
    """Return how well losses and optima above a cut in compute are forecast from runs below it.

    Parameters
    ----------
    studies : sequence of Study or str, optional
        By default `DEFAULT_STUDIES`; three or more.
    hypothesis : Hypothesis, str or path
        A law of a whole surface with a fixed counting, under which all is learned and judged; the
        bootstrap stays one of the Chinchilla law.
    shares : sequence of float
        Where each is cut, as shares of its log range of compute.
    random_seed, cores, cache
        As in `fit`.
    executor : concurrent.futures.Executor, optional
        Whose processes fit (`executors.mapped`), with one core each; changes no number.
    advance : callable, optional
        Called with a text: for each fit (of a study and of each cut of it) as in
        `executors.mapped`, then before the scores of each study.

    Returns
    -------
    Forecast

    Raises
    ------
    InputError
        For a latent counting, an isoFLOP law, or noise that is not Student-t of one scale.
    """
    hypothesis = load_hypothesis(hypothesis)
    plain_noise = "nu" in hypothesis.priors and "eta" not in hypothesis.priors
    if hypothesis.counting == LATENT or hypothesis.law in ISOFLOP or not plain_noise:
        msg = (
            f"forecasts need a surface with a fixed counting under Student-t noise of one scale; "
            f"{hypothesis.name} is none."
        )
        raise InputError(msg)
    chosen = [load_study(one) for one in (DEFAULT_STUDIES if studies is None else studies)]
    settings = dict(cores=cores, random_seed=random_seed, cache=cache, executor=executor)
    splits, left_out = splits_of(chosen, shares, counting=hypothesis.counting)
    pairs = [(one, hypothesis) for one in (*chosen, *(split.below for split in splits.values()))]
    found = quiet_fits(pairs, advance=advance, **_SETTINGS, **settings)
    wholes = {study.name: one for study, one in zip(chosen, found, strict=False)}
    fits = dict(zip(splits, found[len(chosen) :], strict=True))
    problems = []
    for one in (*wholes.values(), *fits.values()):
        if not one.attrs["converged"]:
            problems.append(f"{one.attrs['study']}: {one.attrs['problems']}")
    groups = {study.name: study.group or study.name for study in chosen}
    learner = Learner([record_of(fits[key], splits[key], study=key[0]) for key in splits])
    losses, optima, every, densities = [], [], {}, {}
    for name in dict.fromkeys(key[0] for key in splits):
        if advance is not None:
            advance(f"scores: {name}")
        known, found = learner.learn(without=[name], random_seed=random_seed)
        problems += [f"discrepancy without {name}: {one}" for one in found]
        others = [
            study_ratio(one, group=groups[other], discrepancy=known)
            for other, one in wholes.items()
            if groups[other] != groups[name]
        ]
        every[name] = Known(discrepancy=known, literature=ratio_literature(others))
        for key in [one for one in splits if one[0] == name]:
            place = {"study": name, "share": key[1]}
            rows, found_optima = _scored(fits[key], splits[key], every[name], random_seed)
            densities |= {(*key, row["method"]): row.pop("log_density") for row in rows}
            losses += [place | row for row in rows]
            optima += [place | row for row in found_optima]
    whole, found = learner.learn(random_seed=random_seed)
    problems += [f"discrepancy: {one}" for one in found]
    return Forecast(
        losses=pd.DataFrame(losses),
        optima=pd.DataFrame(optima),
        left_out={f"{name} at {share:.0%}": why for (name, share), why in left_out.items()},
        problems=tuple(problems),
        discrepancy=whole,
        known=every,
        densities=densities,
    )


def summary(result):
    """Return each method's scores, averaged over cuts and budgets of a study, then over studies.

    Parameters
    ----------
    result : Forecast

    Returns
    -------
    DataFrame
        Over method: log_score, crps, coverage_50, coverage_90, lowest_coverage_90 (of any study),
        optimum_score, optimum_coverage, optimum_width; NaN where a method says nothing.
    """
    by_study = result.losses.groupby(["method", "study"]).mean(numeric_only=True)
    names = ["log_score", "crps", "coverage_50", "coverage_90"]
    table = by_study.groupby("method")[names].mean()
    table["lowest_coverage_90"] = by_study.groupby("method")["coverage_90"].min()
    optima = result.optima.assign(width=result.optima["upper"] - result.optima["lower"])
    of_study = optima.groupby(["method", "study"])[["score", "covered", "width"]].mean()
    mean = of_study.groupby("method").mean()
    mean.columns = ["optimum_score", "optimum_coverage", "optimum_width"]
    return mean.join(table, how="outer").reindex(METHODS)[[*table.columns, *mean.columns]]


def _scored(fitted, split, known, seed):
    rng = np.random.default_rng([seed, 7])
    posterior = fitted["posterior"].to_dataset()
    values = law_values(posterior, fitted.attrs)
    coefficients = known.discrepancy.coefficients(posterior["alpha"], rng)
    boot = bootstrap(split.below, resamples=RESAMPLES, random_seed=seed)
    losses = _loss_rows(fitted, split, posterior, values, coefficients, boot, rng)
    optima = []
    for one in optima_above(split):
        intervals = _optimum_intervals(
            fitted, one.compute, coefficients, known.literature, boot, rng
        )
        for method, (lower, median, upper) in intervals.items():
            row = {"compute": one.compute, "decades": np.log10(one.compute / split.cut)}
            row |= {"method": method, "measured": one.log_N, "se": one.se}
            row |= {"lower": lower, "median": median, "upper": upper}
            optima.append(row | interval_row(lower, upper, one.log_N, one.se))
    return losses, optima


def interval_row(lower, upper, measured, se):
    """Return the score of a 90% interval and how far it covers, averaged over the truth's error.

    Parameters
    ----------
    lower, upper : float
    measured, se : float
        What was measured, with a Normal error.

    Returns
    -------
    dict
        score (`scores.interval_score`) and covered (a probability).
    """
    truths = measured + se * _TRUTHS
    score = interval_score(lower, upper, truths, prob=PROB)
    inside = (lower <= truths) & (truths <= upper)
    return {"score": float(score.mean()), "covered": float(inside.mean())}


def _loss_rows(fitted, split, posterior, values, coefficients, boot, rng):
    points = split.above[["N", "D"]]
    truth = np.log(split.above["loss"].to_numpy())
    N = law_parameters(fitted, points)
    D = N.copy(data=points["D"].to_numpy())
    decades = decades_outside(6 * N * D, compute_range(fitted))
    expected = {
        LAW: np.log(expected_loss(N, D, values)),
        DISCREPANCY: discrepant_log_loss(N, D, values, coefficients, decades=decades),
    }
    noise = [posterior[name].to_numpy().ravel() for name in ("sigma", "nu")]
    rows = []
    for method, mean in expected.items():
        flat = mean.stack(sample=("chain", "draw")).transpose("point", "sample").to_numpy()
        if "tau" in posterior:  # a new run has an effect of its own
            flat = flat + posterior["tau"].to_numpy().ravel() * rng.standard_normal(flat.shape)
        new = flat + noise[0] * rng.standard_t(noise[1], size=flat.shape)
        terms = student_t.logpdf((truth[:, None] - flat) / noise[0], noise[1]) - np.log(noise[0])
        rows.append(_loss_row(method, new, truth, terms))
    law, residual = boot
    flat = np.log(expected_loss(points["N"].to_numpy()[:, None], D.to_numpy()[:, None], law))
    sd = 1.4826 * np.median(abs(residual))
    new = flat + rng.choice(residual, size=flat.shape)
    rows.append(_loss_row(BOOTSTRAP, new, truth, norm.logpdf(truth[:, None], flat, sd)))
    return rows


def _loss_row(method, new, truth, terms):
    row = {"method": method, "n": len(truth)}
    row["log_density"] = logsumexp(terms, axis=1) - np.log(terms.shape[1])
    row["log_score"] = float(row["log_density"].mean())
    row["crps"] = float(crps(new, truth).mean())
    for level in LEVELS:
        row[f"coverage_{level * 100:.0f}"] = float(covered(new, truth, prob=level).mean())
    return row


def _optimum_intervals(fitted, compute, coefficients, literature, boot, rng):
    """Return lower, median and upper of log N* by every method."""
    best = np.log(optimal(fitted, compute)["N"].isel(compute=0))
    decades = decades_outside(compute, compute_range(fitted))
    weight, log_N = optimum_weights(fitted, compute, literature, coefficients)
    budget = np.log(compute / 6)
    alone = (budget - literature.draws(compute, 4000, rng)) / 2
    terms = {name: boot[0][name] for name in ("A", "B", "alpha", "beta")}
    twenty, off = (budget - np.log(20.0)) / 2, np.log(2.0) / 2
    return {
        LAW: ends(best.to_numpy()),
        DISCREPANCY: ends((best + shift_of(coefficients, decades)).to_numpy()),
        LITERATURE: weighted_ends(log_N.to_numpy(), weight.to_numpy()),
        BOOTSTRAP: ends(np.log(optimal_allocation(compute, **terms)[0])),
        TWENTY: (twenty - off, twenty, twenty + off),
        POPULATION: ends(alone),
    }


def bootstrap(study, *, resamples=RESAMPLES, random_seed=1):
    """Return Huber fits to rows drawn with replacement, and the residuals of the plain fit.

    Parameters
    ----------
    study : Study
        Whose counts of all parameters are known.
    resamples : int
    random_seed : int

    Returns
    -------
    law : dict of str to ndarray
        E, A, B, alpha and beta, [resample]; fits that did not come to an end are left out.
    residual : ndarray
        [run], of log loss.

    References
    ----------
    Besiroglu et al. (2024), arXiv:2404.10102, for the bootstrap of pairs.
    """
    N, D, loss = (column.to_numpy() for _, column in counted_runs(study, "total").items())
    plain = huber_fit(N, D, loss)
    natural = {name: getattr(plain, name) for name in ("E", "A", "B", "alpha", "beta")}
    logs = anchored_logs(**natural)
    start = [logs["log_E"], logs["log_term_N"], logs["log_term_D"]]
    start += [np.log(plain.alpha), np.log(plain.beta)]
    picked = np.random.default_rng(random_seed).integers(len(N), size=(resamples, len(N)))
    data = [np.log(column)[picked] for column in (N, D, loss)]
    theta, _, good = fit_surfaces(*data, np.tile(start, (resamples, 1)))
    log_E, log_term_N, log_term_D, log_alpha, log_beta = theta[good].T
    exponents = {"alpha": np.exp(log_alpha), "beta": np.exp(log_beta)}
    terms = {"log_E": log_E, "log_term_N": log_term_N, "log_term_D": log_term_D}
    law = natural_coefficients(**terms, **exponents) | exponents
    residual = np.log(loss) - np.log(expected_loss(N, D, natural))
    return law, residual


def ends(values):
    """Return lower, median and upper of draws: the ends of a 90% equal-tailed interval."""
    return tuple(float(one) for one in np.quantile(values, [_TAIL, 0.5, 1 - _TAIL]))


def weighted_ends(values, weights):
    """Return lower, median and upper of weighted draws: the ends of a 90% equal-tailed interval."""
    order = np.argsort(values, axis=None)
    cumulative = np.cumsum(weights.ravel()[order])
    places = np.searchsorted(cumulative / cumulative[-1], [_TAIL, 0.5, 1 - _TAIL])
    return tuple(float(one) for one in values.ravel()[order][np.minimum(places, order.size - 1)])
