"""Measured runs -> a Markdown document: every figure with what was wanted of it."""

import statistics

from suite_rows import SECTIONS

HEAD = "| what | measured | wanted | | peak MiB | runs |\n| --- | ---: | ---: | --- | ---: | ---: |"


def document(lines, all_measurements, here, *, full=False):
    """Return the whole document.

    Parameters
    ----------
    lines : list of dict
        From the store.
    all_measurements : sequence of Measurement
    here : dict
        machine, versions and digest.
    full : bool
        Whether --full was asked for.
    """
    runs = {
        one.name: [
            line for line in lines if (line["name"], line["arguments"]) == (one.name, one.arguments)
        ]
        for one in all_measurements
    }
    absent = {
        one.name: f"{one.needs} is not installed"
        for one in all_measurements
        if one.needs and one.needs not in here["versions"]
    }
    tables = [
        f"## {title}\n\n{text}\n\n{table(rows, runs, absent)}" for title, text, rows in SECTIONS
    ]
    return "\n\n".join([_opening(here, full), *tables, _samplers(runs)]).rstrip() + "\n"


def table(rows, runs, absent):
    """Return a Markdown table of rows.

    Parameters
    ----------
    rows : sequence of Row
    runs : dict of list of dict
        Runs of each measurement.
    absent : dict of str
        Why measurements cannot be made.
    """
    return "\n".join([HEAD, *(_line(row, runs, absent) for row in rows)])


def medians(runs):
    """Return the median of every number over runs (dicts)."""
    numbers = {name for name, value in runs[0].items() if isinstance(value, int | float)}
    return {name: statistics.median(one[name] for one in runs) for name in numbers}


def _line(row, runs, absent):
    missing = [name for name in row.of if not runs[name]]
    wanted = _wanted(row)
    if missing:
        why = absent.get(missing[0], "not measured")
        return f"| {row.what} | {why} | {wanted} | | | |"
    value = row.value(*(medians(runs[name]) for name in row.of))
    memory = medians(runs[row.of[0]])["memory"]
    shown = f"{value:,.{row.digits}f} {row.unit}{_range(row, runs)}"
    n = min(len(runs[name]) for name in row.of)
    return f"| {row.what} | {shown} | {wanted} | {_verdict(row, value)} | {memory:.0f} | {n} |"


def _range(row, runs):
    """Return lowest and highest single run, where a row is of one measurement of several runs."""
    if len(row.of) > 1 or len(runs[row.of[0]]) < 2:
        return ""
    values = [row.value(medians([one])) for one in runs[row.of[0]]]
    return f" ({min(values):,.{row.digits}f} to {max(values):,.{row.digits}f})"


def _wanted(row):
    if row.wanted is None:
        return ""
    return f"{'≥' if row.at_least else '≤'} {row.wanted:,g}"


def _verdict(row, value):
    if row.wanted is None:
        return ""
    met = value >= row.wanted if row.at_least else value <= row.wanted
    return "met" if met else "**missed**"


def _opening(here, full):
    versions = ", ".join(f"{name} {version}" for name, version in here["versions"].items())
    return (
        "# What it costs\n\nMade by `python benchmarks/suite.py"
        f"{' --full' * full} -o docs/benchmarks.md`. Each figure is the median of runs in "
        "processes of their own, with the lowest and the highest run in brackets; CPU seconds are "
        "user plus system time of the process and its children, over all threads. Where not said "
        "otherwise the caches of PyTensor and Numba "
        "are those that an earlier process left and no fit is cached.\n\nMeasured on "
        f"{here['machine']}. {versions}."
    )


def _samplers(runs):
    """Return what each sampler's draws are like, of its first run."""
    named = {
        "scalebayes": "efficiency",
        "hand-written PyMC, default": "hand-written",
        "hand-written PyMC, PyMC's NUTS": "hand-written, PyMC's NUTS",
        "hand-written NumPyro": "NumPyro",
    }
    head = (
        "| sampler | least bulk ESS | of | largest R-hat | divergences |\n"
        "| --- | ---: | --- | ---: | ---: |"
    )
    found = [(label, runs[name][0]) for label, name in named.items() if runs[name]]
    lines = [
        f"| {label}{_settings(one)} | {one['ess']:.0f} | {one['least']} | {one['r_hat']:.4f} | "
        f"{one['diverging']} |"
        for label, one in found
    ]
    return "## The draws that were compared\n\nOf each first run.\n\n" + "\n".join([head, *lines])


def _settings(one):
    if "tune" not in one:
        return ""
    sampler = f"{one['sampler']}, " if "sampler" in one else ""
    return f" ({sampler}{one['chain']} chains of {one['tune']:g} + {one['draw']})"
