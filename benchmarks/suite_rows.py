"""The rows of the suite's tables: which figure of which runs, and what was wanted of it."""

from dataclasses import dataclass

from suite_parts import (
    ALL_RESAMPLES,
    BESIDE,
    BOOTSTRAP_DRAWS,
    GRID_STUDY,
    POOLED,
    RESAMPLES,
    ROWS,
    SIMULATIONS,
)

POSTERIOR_DRAWS = 4000  # of a fit with its defaults: 4 chains of 1,000
MIB_OF_2_GB = 2e9 / 2**20


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table.

    Parameters
    ----------
    what : str
    of : tuple of str
        Names of the measurements whose runs it needs; memory and runs are those of the first.
    value : callable
        From the medians of each (dicts) to a number.
    unit : str
    wanted : float, optional
        The limit; None where nothing was asked.
    at_least : bool
        Whether the limit is a lower one.
    digits : int
    """

    what: str
    of: tuple[str, ...]
    value: object
    unit: str = "CPU s"
    wanted: float | None = None
    at_least: bool = False
    digits: int = 2


def _per_second(one):
    return one["ess"] / one["seconds"]


def _share(name):
    return lambda one: one[name]


def _per_thousand(name):
    return lambda one: 1000 * one["ess"] / one[name]


def _ratio(ours, theirs):
    return lambda one, other: ours(one) / theirs(other)


_FIRST = (
    Row(what="first fit, cold caches", of=("cold",), value=_share("cpu"), wanted=15),
    Row(what="first fit, warm caches", of=("warm",), value=_share("cpu"), wanted=4),
    Row(what="a further fit: other losses", of=("further",), value=_share("seconds"), wanted=0.5),
    Row(
        what="its least bulk ESS",
        of=("further",),
        value=_share("ess"),
        unit="draws",
        wanted=1000,
        at_least=True,
        digits=0,
    ),
    Row(what="the first data again, another seed", of=("further",), value=_share("refit")),
)

_EFFICIENCY = (
    Row(
        what="effective draws per CPU second of sampling",
        of=("efficiency",),
        value=_per_second,
        unit="draws",
        digits=0,
    ),
    Row(
        what="effective draws per 1,000 gradients after tuning",
        of=("efficiency",),
        value=_per_thousand("gradients"),
        unit="draws",
        wanted=200,
        at_least=True,
        digits=0,
    ),
    Row(
        what="effective draws per 1,000 gradients, tuning included",
        of=("efficiency",),
        value=_per_thousand("gradients_with_tuning"),
        unit="draws",
        digits=0,
    ),
    Row(
        what="gradients per draw",
        of=("efficiency",),
        value=lambda one: one["gradients"] / one["draws"],
        unit="",
    ),
)

_LARGER = (
    Row(what=f"omega grid on {GRID_STUDY}", of=("grid",), value=_share("seconds"), wanted=4),
    Row(what="pool of the default studies", of=("pool",), value=_share("seconds"), digits=1),
    Row(
        what="pool, the whole process",
        of=("pool",),
        value=_share("cpu"),
        digits=1,
    ),
    Row(what="reconcile, cold", of=("reconcile cold",), value=_share("cpu"), wanted=240, digits=0),
    Row(
        what="reconcile, fits cached",
        of=("reconcile cached",),
        value=_share("cpu"),
        wanted=20,
        digits=1,
    ),
    Row(
        what=f"{SIMULATIONS} simulations for a calibration",
        of=("calibration",),
        value=_share("seconds"),
        digits=1,
    ),
    Row(
        what="1,000 of them, extrapolated",
        of=("calibration",),
        value=lambda one: one["seconds"] * 1000 / SIMULATIONS,
        wanted=240,
        digits=0,
    ),
)

_BY_ROWS = (
    *(
        Row(
            what=f"fit of {rows:,} rows",
            of=(f"rows {rows}",),
            value=_share("cpu"),
            wanted=600 if rows == max(ROWS) else None,
            digits=1,
        )
        for rows in ROWS
    ),
    Row(
        what=f"its peak memory, {max(ROWS):,} rows",
        of=(f"rows {max(ROWS)}",),
        value=_share("memory"),
        unit="MiB",
        wanted=round(MIB_OF_2_GB),
        digits=0,
    ),
    *(
        Row(
            what=f"gradient per row, {rows:,} rows",
            of=(f"gradient {rows}",),
            value=lambda one, rows=rows: 1e9 * one["compiled"] / rows,
            unit="ns",
            digits=1,
        )
        for rows in ROWS
    ),
    *(
        Row(
            what=f"over NumPy's value alone, {rows:,} rows",
            of=(f"gradient {rows}",),
            value=lambda one: one["compiled"] / one["numpy"],
            unit="times",
            wanted=3,
        )
        for rows in ROWS
    ),
)

_BY_STUDIES = tuple(
    Row(
        what=f"pool of {size} studies",
        of=(f"studies {size}",),
        value=_share("seconds"),
        digits=1,
    )
    for size in POOLED
)


def _sampler_rows(label, name):
    """Return rows of a rival sampler: its own rates, and how many times better ours are."""
    whole = "the whole of a new process"
    return (
        Row(
            what=f"{label}: effective draws per CPU second of sampling",
            of=(name,),
            value=_per_second,
            unit="draws",
        ),
        Row(
            what="scalebayes, times that",
            of=("efficiency", name),
            value=_ratio(_per_second, _per_second),
            unit="times",
            wanted=20 if name == "hand-written" else None,
            at_least=True,
            digits=1,
        ),
        Row(
            what=f"{label}: effective draws per CPU second, {whole}",
            of=(name,),
            value=_per_process,
            unit="draws",
        ),
        Row(
            what="scalebayes, times that",
            of=("warm", name),
            value=_ratio(_per_process, _per_process),
            unit="times",
            wanted=3 if name == "hand-written" else None,
            at_least=True,
            digits=1,
        ),
        Row(
            what=f"{label}: sampling, compiling included",
            of=(name,),
            value=_share("with_compiling"),
            digits=1,
        ),
    )


def _per_process(one):
    return one["ess"] / one["cpu"]


def _bootstrap_rows(draws):
    """Return rows of simple-scaling-laws with so many draws, and a first warm fit over it."""
    name = f"simple-scaling-laws, {draws:,} draws"
    return (
        Row(what=f"{name}: a new process", of=(name,), value=_share("cpu")),
        Row(what=f"{name}: its fit with intervals", of=(name,), value=_share("seconds")),
        Row(
            what=f"scalebayes' new process, {POSTERIOR_DRAWS:,} draws, over that",
            of=(BESIDE, name),
            value=_ratio(_share("cpu"), _share("cpu")),
            unit="times",
            wanted=1,
        ),
    )


_RIVALS = (
    *_sampler_rows("hand-written PyMC, default", "hand-written"),
    *_sampler_rows("hand-written PyMC, PyMC's NUTS", "hand-written, PyMC's NUTS"),
    *_sampler_rows("hand-written NumPyro", "NumPyro"),
    Row(
        what="pair bootstrap, per resample",
        of=("bootstrap",),
        value=lambda one: 1000 * one["seconds"] / one["resamples"],
        unit="CPU ms",
        digits=1,
    ),
    Row(
        what=f"pair bootstrap, {ALL_RESAMPLES:,} resamples",
        of=("bootstrap",),
        value=lambda one: one["seconds"] * ALL_RESAMPLES / one["resamples"],
        digits=1,
    ),
    Row(what="scalebayes: a new process, warm caches", of=(BESIDE,), value=_share("cpu")),
    *_bootstrap_rows(BOOTSTRAP_DRAWS[0]),
    *_bootstrap_rows(BOOTSTRAP_DRAWS[1]),
)

SECTIONS = (
    (
        "The 240 Chinchilla points",
        "A fit is 4 chains of 500 tuning steps and 1,000 draws, its evidence by bridge "
        "sampling, 20 starts of an optimiser that looks for a missed mode, and the pointwise "
        "log likelihood. A first fit is a whole process, imports included. The further fits "
        "follow one in the same process.",
        _FIRST,
    ),
    (
        "The sampler",
        "On the same points, of a further fit. Effective draws are the least bulk ESS over the "
        "free variables and a. A gradient is a leapfrog step of any chain.",
        _EFFICIENCY,
    ),
    (
        "Larger jobs",
        "The omega grid follows a first fit of the same study, whose cost is not in it. The "
        "pool finds the fits of the studies in the cache, and no population. `reconcile` is "
        f"measured once, for it is slow. Of the calibration {SIMULATIONS} simulations are "
        "measured.",
        _LARGER,
    ),
    (
        "Many rows",
        f"Made-up runs of log-uniform N and D under `hoffmann-total`, fitted as any study; "
        f"{max(ROWS):,} rows once. Of more than 10,000 rows the pointwise log likelihood of the "
        "4,000 draws is not kept. Below, one call of the compiled log density with its "
        "gradient, over one of the same density's value alone, written out in vectorised "
        "NumPy.",
        _BY_ROWS,
    ),
    (
        "Many studies",
        "Simulated studies of 36 runs under `hoffmann-total`, each sampled with 4 chains of "
        "500 draws. Pooling alone, of fits that are there, after a pool of four in the same "
        "process.",
        _BY_STUDIES,
    ),
    (
        "Side by side",
        "The same 240 points, in the same run of the suite. The hand-written model has E, A, "
        "B, alpha and beta as they stand in the law, weak priors and Student's t; what samples "
        "it is listed below. Seconds of sampling leave compiling out; the whole of a new "
        "process has imports and compiling, with warm caches, and scalebayes' also all that a "
        "fit does besides sampling. PyMC's own NUTS and NumPyro run once, for they are slow; "
        "of PyMC's own the seconds of sampling are those of the clock that it reports. "
        "The bootstrap refits Huber's loss with SciPy's BFGS and an exact gradient, once per "
        f"resample, from the fit of all points; without `--full` {RESAMPLES} resamples are made "
        f"and {ALL_RESAMPLES:,} extrapolated. simple-scaling-laws makes its default of "
        f"{BOOTSTRAP_DRAWS[0]:,} bootstrap draws, and as many as a fit has draws of the posterior; "
        "it and scalebayes are run by turns.",
        _RIVALS,
    ),
)
