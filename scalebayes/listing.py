"""The bundled studies as a short list that needs no table to be read.

`data/listing.csv` is written by `tools/bundle_data.py` and holds what `studies.studies` says.
"""

import csv
from importlib import resources

LISTED = ("study", "n_used", "n_rows", "counting", "corpus", "citation")
"""Columns of the list, of those of `studies.studies`."""


def listed_studies():
    """Return name, rows used and in all, counting, corpus and citation of every bundled study.

    Returns
    -------
    dict of str to list of str
        `LISTED` -> texts, one per study.
    """
    with (resources.files("scalebayes") / "data" / "listing.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in LISTED}
