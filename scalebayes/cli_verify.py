"""The command `verify`: whether a saved result is as it was written."""

from pathlib import Path
from typing import Annotated

import typer

import scalebayes as sb
from scalebayes.console import NOT_READ_OR_SAVED, print_json
from scalebayes.options import Json


def verify(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="A file that fit or pool wrote, or a folder that reconcile wrote."
        ),
    ],
    as_json: Json = False,
):
    """Check that a saved result is as it was written, and say what it was made with.

    Of each file: intact, changed, missing, or not in the manifest; then versions and seed recorded,
    and whether the bundled data are those that were used. Exit code 4 where it is damaged.
    """
    found = sb.verify(path)
    if as_json:
        facts = {"path": found.path, "intact": found.intact}
        print_json(found.rows(), **facts, same_versions=found.same_versions)
    else:
        typer.echo(found.text())
    if not found.intact:
        raise typer.Exit(NOT_READ_OR_SAVED)
