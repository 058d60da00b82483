"""Published procedures replayed in the worlds of fitted laws, against what was published.

Every replay draws a law from a posterior, then noise of single runs (and of the checkpoints of one
run) at the sizes and budgets of the procedure. Where the published number was read off the very
runs that the law was fitted to, the two are not independent: a check, not a test.
"""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scalebayes import instruments
from scalebayes.architecture import draw_gamma
from scalebayes.attribution import BUDGETS, SIZES
from scalebayes.designs import NEEDED, draw_noise, grid_design, isoflop_design, study_design
from scalebayes.errors import CountingError, InputError, StudyError
from scalebayes.fitted_law import thinned_fit
from scalebayes.frontiers import gemstones_envelope
from scalebayes.laws import coefficients
from scalebayes.optimum import frontier
from scalebayes.predict import predict
from scalebayes.report import CI_PROB
from scalebayes.studies import load_study
from scalebayes.surface import fit_surfaces

HOFFMANN_WORLD = "hoffmann2022-epoch"
"""The study in whose world the instruments of Kaplan et al. and Hoffmann et al. are replayed."""

_LEAST_DRAWS = 100
_BUDGETS = BUDGETS[::2]
_COLUMNS = (
    *("instrument", "world", "counting", "median", "lower", "upper", "ci_prob", "published"),
    *("source", "p", "n_draws", "same_runs"),
)
_ISOFLOP_FACTOR, _ISOFLOP_SIZES = 5.0, 9
_KAPLAN = {"Kaplan et al.": 0.73}  # eq. 6.1
_HOFFMANN_3 = {"Hoffmann et al.": 0.46, "Besiroglu et al.": 0.5126}  # table 2; section 3


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Exponents that a procedure would have reported in one world.

    Parameters
    ----------
    instrument : str
        Which procedure.
    world : str
        Study whose posterior is the world.
    counting : str
        Count of N that the procedure reports.
    exponent : ndarray
        [draw]; NaN where a draw's procedure found nothing.
    published : dict of str to float
        Published values by what published them; empty where nothing was.
    same_runs : bool
        Whether the published values were read off the runs of the world's study.
    """

    instrument: str
    world: str
    counting: str
    exponent: np.ndarray
    published: dict[str, float]
    same_runs: bool = False


def replay_published(fits, *, draws=2000, random_seed=0):
    """Return replays of the published procedures in the worlds of fits.

    In each study's world: Kaplan's frontier regression, N and C without embeddings; and the
    procedure with which that study published an exponent (Porian's interpolated isoFLOP curves, the
    envelope of Gemstones), at its own sizes and budgets; not where these are not known, nor where
    the fit is of other rows than the bundled study's. In that of Hoffmann's points: Kaplan's
    regression with embeddings too, and approaches 1, 2 and 3.

    Parameters
    ----------
    fits : dict of str to DataTree
        By study, with an additive law.
    draws : int
        Of each posterior, at least 100; fewer where a posterior has fewer.
    random_seed : int

    Returns
    -------
    list of Replay

    Raises
    ------
    InputError
        When there are too few draws or a law's form is not the additive one.

    References
    ----------
    Kaplan et al. (2020), arXiv:2001.08361; Hoffmann et al. (2022), arXiv:2203.15556; Porian et al.
    (2024), arXiv:2406.19146; McLeish et al. (2025), arXiv:2502.06857.
    """
    if draws < _LEAST_DRAWS:
        raise InputError(f"replays: needs {_LEAST_DRAWS} draws or more, got {draws}.")
    found = []
    for position, (name, fit) in enumerate(fits.items()):
        rng = np.random.default_rng([random_seed, position])
        missing = [one for one in NEEDED if one not in fit["posterior"]]
        if missing:
            law = fit.attrs["law"]
            raise InputError(f"replays: the law {law!r} of {name} is not additive: no {missing}.")
        thinned = _thinned(fit, draws)
        found += _kaplan_replays(name, thinned, rng)
        if name == HOFFMANN_WORLD:
            found += _hoffmann_replays(thinned, rng)
        found += _own_replays(name, thinned, rng)
    return found


def replay_table(replays):
    """Return one row per published value: what was replayed and a two-sided predictive p.

    Parameters
    ----------
    replays : list of Replay
        From `replay_published`.

    Returns
    -------
    DataFrame
        instrument, world, counting, median, lower, upper (90% equal-tailed), ci_prob, published,
        source, p (two-sided; from (r + 1) / (n + 1) of n draws), n_draws, same_runs. p and the
        published value are NaN where nothing was published.
    """
    rows = []
    tails = [(1 - CI_PROB) / 2, 0.5, (1 + CI_PROB) / 2]
    for one in replays:
        known = one.exponent[np.isfinite(one.exponent)]
        ends = np.quantile(known, tails) if known.size else [np.nan] * 3
        lower, median, upper = (float(end) for end in ends)
        for source, value in (one.published or {"": np.nan}).items():
            rows.append(
                {
                    "instrument": one.instrument,
                    "world": one.world,
                    "counting": one.counting,
                    "median": median,
                    "lower": lower,
                    "upper": upper,
                    "ci_prob": CI_PROB,
                    "published": value,
                    "source": source,
                    "p": predictive_p(known, value),
                    "n_draws": known.size,
                    "same_runs": one.same_runs,
                }
            )
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def predictive_p(draws, value):
    """Return the two-sided predictive p of a value: twice the smaller tail of n draws, with + 1."""
    if not np.isfinite(value) or not draws.size:
        return float("nan")
    above = (np.sum(draws >= value) + 1) / (draws.size + 1)
    below = (np.sum(draws <= value) + 1) / (draws.size + 1)
    return float(min(1.0, 2 * min(above, below)))


def _thinned(fit, draws):
    posterior = fit["posterior"].to_dataset()
    n = posterior.sizes["chain"] * posterior.sizes["draw"]
    if n < _LEAST_DRAWS:
        raise InputError(f"replays: needs {_LEAST_DRAWS} draws, the posterior has {n}.")
    return thinned_fit(fit, draws)


def _law(fit):
    posterior = fit["posterior"].to_dataset()
    return posterior[[*coefficients(posterior), "omega"]]


def _noise(fit, design, rng):
    posterior = fit["posterior"]
    known = {name: posterior[name] for name in ("sigma", "nu", "tau") if name in posterior}
    return draw_noise(design, random_seed=rng, **known)


def _flat(exponent):
    return exponent.transpose("chain", "draw").to_numpy().ravel()


def _kaplan_replays(name, fit, rng):
    """Return Kaplan's regression, N and C in body; in Hoffmann's world in total counting too."""
    law = _law(fit)
    gamma = law["alpha"].copy(data=draw_gamma(law["alpha"].shape, random_seed=rng)).drop_attrs()
    counts = [("body", "body", _KAPLAN if name == HOFFMANN_WORLD else {})]
    if name == HOFFMANN_WORLD:
        counts.append(("total", "body+head", {}))
    made = []
    for counting, count, published in counts:
        design = grid_design(SIZES, _BUDGETS, counting=count, flops=f"6ND:{count}", gamma=gamma)
        noise = _noise(fit, design, rng)
        found = instruments.kaplan_frontier(law, design=design, architecture=None, noise=noise)
        about = {"instrument": "Kaplan's frontier regression", "world": name, "counting": counting}
        made.append(Replay(exponent=_flat(found["exponent"]), published=published, **about))
    return made


def _hoffmann_replays(fit, rng):
    law = _law(fit)
    about = {"world": HOFFMANN_WORLD, "counting": "total", "same_runs": True}
    design = instruments.HOFFMANN_1
    first = instruments.approach_1(law, design=design, noise=_noise(fit, design, rng))
    design = _isoflop_lines(law)
    second = instruments.approach_2(law, design=design, noise=_noise(fit, design, rng))
    exponents = {
        "approach 1": (_flat(first["exponent"]), {"Hoffmann et al.": 0.50}),
        "approach 2": (_flat(second["exponent"]), {"Hoffmann et al.": 0.49}),
        "approach 3": (_huber_refit(fit, rng), _HOFFMANN_3),
    }
    return [
        Replay(instrument=name, exponent=exponent, published=published, **about)
        for name, (exponent, published) in exponents.items()
    ]


def _isoflop_lines(law):
    """Return nine sizes about the median optimum at each of Hoffmann's nine budgets."""
    best = frontier(
        list(instruments.HOFFMANN_BUDGETS),
        **coefficients(law),
        omega=law["omega"],
        architecture=instruments.PEARCE_SONG,
        counting="body",
        flops="6ND:body+head",
    )
    centres = best["N"].median(("chain", "draw")).to_numpy()
    shape = {"factor": _ISOFLOP_FACTOR, "n_sizes": _ISOFLOP_SIZES}
    return isoflop_design(
        centres, instruments.HOFFMANN_BUDGETS, **shape, counting="total", flops="6ND"
    )


def _huber_refit(fit, rng):
    """Return a of Huber fits, total parameters, to losses that the law makes at the runs."""
    runs = fit["constant_data"].to_dataset()
    N = (runs["body"] + runs["embedding"]).to_numpy()
    loss = _losses_of_runs(fit, rng)
    log_loss = np.log(loss.transpose("chain", "draw", "point").to_numpy()).reshape(-1, N.size)
    posterior = fit["posterior"].to_dataset()
    names = ("log_E", "log_term_N", "log_term_D", "log_alpha", "log_beta")
    start = np.array([posterior[name].median() for name in names], dtype=float)
    theta, _, converged = fit_surfaces(
        np.log(N), np.log(runs["D"].to_numpy()), log_loss, np.tile(start, (len(log_loss), 1))
    )
    alpha, beta = np.exp(theta[:, 3]), np.exp(theta[:, 4])
    return np.where(converged, beta / (alpha + beta), np.nan)


def _losses_of_runs(fit, rng):
    runs = fit["constant_data"].to_dataset()
    table = runs[["D", "body", "head", "embedding"]].to_dataframe()
    return predict(fit, table, random_seed=rng)["loss_new"]


def _own_replays(name, fit, rng):
    published = json.loads(fit.attrs["study_record"])["published"]
    method = published.get("frontier_method")
    if method not in ("isoflop", "approach 1 (envelope)"):
        return []
    reported = {published["frontier_citation"].split(" arXiv")[0]: published["frontier_exponent"]}
    replay = _isoflop_replay if method == "isoflop" else _envelope_replay
    try:
        exponent = replay(name, fit, published["frontier_counting"], rng)
    except (CountingError, StudyError):  # budgets of no known convention; runs not at hand
        return []
    return [
        Replay(
            instrument={"isoflop": "Porian's isoFLOP curves"}.get(method, "envelope"),
            world=name,
            counting=published["frontier_counting"],
            exponent=exponent,
            published=reported,
            same_runs=True,
        )
    ]


def _isoflop_replay(name, fit, counting, rng):
    study = load_study(name)
    if study.data_hash != fit.attrs["data_hash"]:
        raise StudyError(f"{name}: the fit is of other runs than the bundled study uses.")
    design = study_design(study)
    noise = _noise(fit, design, rng)
    found = instruments.interpolated_isoflop(_law(fit), design=design, noise=noise)
    return _flat(found["exponent"])


def _envelope_replay(name, fit, counting, rng):
    """Return the exponents of the envelope, C = 6 N D in the count of N."""
    runs = fit["constant_data"].to_dataset()
    N = (runs["body"] + (0.0 if counting == "body" else runs["embedding"])).to_numpy()
    compute = 6 * N * runs["D"].to_numpy()
    loss = _losses_of_runs(fit, rng).transpose("chain", "draw", "point").to_numpy()
    return np.array([gemstones_envelope(N, compute, one)[0] for one in loss.reshape(-1, N.size)])
