"""What the suite measures: which program, with what in the caches, how often."""

from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
OURS, RIVALS = HERE / "suite_programs.py", HERE / "suite_rivals.py"

GRID_STUDY = "porian2024-rw-4-cosine"
ROWS = (100, 1_000, 10_000, 100_000)
POOLED = (10, 30, 100, 300)
SIMULATIONS, RESAMPLES, ALL_RESAMPLES = 200, 200, 4000
BESIDE = "warm, by turns with simple-scaling-laws"
BOOTSTRAP_DRAWS = (1000, 4000)
"""Of simple-scaling-laws: its default, and as many as a fit has draws of the posterior."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One program, measured several times in new processes.

    Parameters
    ----------
    name : str
        Of the lines in the store.
    part : str
        What --only names.
    file : Path
    program : str
    arguments : dict
    folder : str
        Of the caches, shared by all measurements that name it; "" is an empty one each time.
    before : tuple
        Program and arguments that fill the folder first, unmeasured.
    copied : bool
        Whether each process has a copy of the folder, so that it leaves nothing to the next.
    most_runs : int
        However many are asked for; 0 for as many as asked.
    needs : str
        Library without which it is skipped.
    turns : str
        Measurements that follow each other and have the same word here are run by turns.
    """

    name: str
    part: str
    program: str
    file: Path = OURS
    arguments: dict = field(default_factory=dict)
    folder: str = "warm"
    before: tuple = ("first_fit", {})
    copied: bool = False
    most_runs: int = 0
    needs: str = ""
    turns: str = ""


def measurements(*, full):
    """Return all measurements, in order.

    Parameters
    ----------
    full : bool
        Whether the bootstrap makes all of its resamples.
    """
    return (*_first(), *_larger(), *_by_rows(), *_by_studies(), *_rivals(full))


def _first():
    one = {"part": "first-fit"}
    return (
        Measurement(name="cold", program="first_fit", folder="", before=(), **one),
        Measurement(name="warm", program="first_fit", **one),
        Measurement(name="further", program="further_fit", before=("further_fit", {}), **one),
        Measurement(name="efficiency", part="efficiency", program="efficiency"),
    )


def _larger():
    on = {"study": GRID_STUDY}
    slow = {"part": "reconcile", "program": "reconcile", "most_runs": 1, "folder": "reconcile"}
    return (
        Measurement(
            name="grid", part="grid", program="omega_grid", arguments=on, before=("omega_grid", on)
        ),
        Measurement(
            name="pool",
            part="pool",
            program="default_pool",
            folder="default studies",
            before=("default_fits", {}),
            copied=True,
        ),
        Measurement(name="reconcile cold", before=(), **slow),
        Measurement(name="reconcile cached", before=("reconcile", {}), **slow),
        Measurement(
            name="calibration",
            part="sbc",
            program="calibration",
            arguments={"simulations": SIMULATIONS},
            before=("calibration", {"simulations": 20}),
        ),
    )


def _by_rows():
    fits = (
        Measurement(
            name=f"rows {rows}",
            part="rows",
            program="rows",
            arguments={"rows": rows},
            most_runs=1 if rows == max(ROWS) else 0,
        )
        for rows in ROWS
    )
    gradients = (
        Measurement(
            name=f"gradient {rows}",
            part="rows",
            program="gradient",
            arguments={"rows": rows, "repeats": max(20, 1_000_000 // rows)},
        )
        for rows in ROWS
    )
    return (*fits, *gradients)


def _by_studies():
    return (
        Measurement(
            name=f"studies {size}",
            part="studies",
            program="simulated_pool",
            arguments={"size": size},
            folder="simulated studies",
            before=("simulated_fits", {"size": size}),
        )
        for size in POOLED
    )


def _rivals(full):
    shared = {"part": "rivals", "file": RIVALS}
    resamples = {"resamples": ALL_RESAMPLES if full else RESAMPLES}
    return (
        Measurement(
            name="hand-written", program="hand_written", before=("hand_written", {}), **shared
        ),
        Measurement(
            name="hand-written, PyMC's NUTS",
            program="hand_written",
            arguments={"sampler": "pymc"},
            before=("hand_written", {}),
            most_runs=1,
            **shared,
        ),
        Measurement(
            name="NumPyro", program="numpyro", needs="numpyro", most_runs=1, before=(), **shared
        ),
        Measurement(name="bootstrap", program="pair_bootstrap", arguments=resamples, **shared),
        Measurement(name=BESIDE, part="rivals", program="first_fit", turns="first interval"),
        *(
            Measurement(
                name=f"simple-scaling-laws, {draws:,} draws",
                program="simple_scaling_laws",
                arguments={"draws": draws},
                needs="simple-scaling-laws",
                before=(),
                turns="first interval",
                **shared,
            )
            for draws in BOOTSTRAP_DRAWS
        ),
    )
