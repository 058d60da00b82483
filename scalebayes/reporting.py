"""Any result -> its report: one HTML page that needs nothing else, and Markdown."""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from scalebayes.comparison_page import comparison_report
from scalebayes.errors import InputError, ResultError
from scalebayes.fit_page import check_fit, fit_report
from scalebayes.population_page import population_report


def report(
    result, out=None, *, markdown=None, counting=None, architecture=None, random_seed=1, **options
):
    """Return the report of a fit, of fits of the same runs, or of a population.

    Parameters
    ----------
    result : DataTree, or mapping of str to DataTree
        What `fit`, `load_fit` or `pool` returned; or label -> fit, which are compared.
    out, markdown : path, optional
        Files to write: the page, and its Markdown. Older ones are replaced only by whole new ones.
    counting, architecture
        Of the optima, as in `optimum.optimal`; without them total with shapes as the runs', where
        those are known, else the law's own count.
    random_seed : int
        Of the discrepancy and of refits in a comparison.
    **options
        Of `compare.compare`, for fits to compare; or `table`, what it returned.

    Returns
    -------
    Report
        html, markdown, sentences, warnings, rows and converged. The same result gives the same
        bytes.

    Raises
    ------
    InputError
        When the result is none of these, or options do not go with it.
    ResultError
        When a file cannot be written.
    """
    where = {"counting": counting, "architecture": architecture, "random_seed": random_seed}
    if isinstance(result, xr.DataTree):
        if options:
            msg = f"{sorted(options)}: only fits that are compared take these."
            raise InputError(msg)
        made = _report_of_one(result, where)
    else:
        made = _report_of_several(result, where, options)
    for path, text in ((out, made.html), (markdown, made.markdown)):
        if path is not None:
            write_text(path, text)
    return made


def write_text(path, text):
    """Write a text file; an older one is replaced only by a complete new one.

    Raises
    ------
    ResultError
        When it cannot be written; the old file is then as it was.
    """
    path = Path(path)
    part = None
    try:
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(part, 0o644)
        os.replace(part, path)
    except OSError as error:
        if part is not None:
            with contextlib.suppress(OSError):
                os.unlink(part)
        msg = f"{path}: cannot be written ({error.strerror})."
        raise ResultError(msg) from error


def _report_of_one(result, where):
    if result.attrs.get("kind") != "population":
        check_fit(result, "report")
        return fit_report(result, **where)
    if where["counting"] is not None or where["architecture"] is not None:
        msg = "counting and architecture: a population's report has its own, and takes none."
        raise InputError(msg)
    return population_report(result)


def _report_of_several(fits, where, options):
    if not isinstance(fits, Mapping) or not fits:
        msg = f"report takes a fit, a population, or a mapping of label to fit; got {type(fits)}."
        raise InputError(msg)
    for label, fit in fits.items():
        if not isinstance(fit, xr.DataTree):
            msg = f"{label}: a report compares single fits of the same runs, got {type(fit)}."
            raise InputError(msg)
        check_fit(fit, label)
    if len(fits) == 1:
        return _report_of_one(next(iter(fits.values())), where)
    return comparison_report(dict(fits), **where, **options)
