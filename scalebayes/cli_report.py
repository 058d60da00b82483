"""The command `report`: files of results -> one page, and Markdown to paste."""

from pathlib import Path
from typing import Annotated

import typer

import scalebayes as sb
from scalebayes.arguments import read_architecture, writable
from scalebayes.console import end, given, print_json
from scalebayes.errors import InputError
from scalebayes.options import CacheFolder, Cores, Counting, Family, Json, NoCache, Seed


def report(
    fits: Annotated[
        list[Path],
        typer.Argument(
            metavar="FIT...",
            help="A file that fit or pool wrote; several files of fits of the same runs are "
            "compared.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The page to write.")] = Path(
        "report.html"
    ),
    markdown: Annotated[
        Path | None, typer.Option(help="Write its sentences and tables as Markdown, too.")
    ] = None,
    counting: Counting = None,
    architecture: Family = None,
    leave_out: Annotated[
        str | None,
        typer.Option(
            help="Where fits are compared: what to leave out and predict, as in compare, or none."
        ),
    ] = None,
    seed: Seed = 1,
    cores: Cores = None,
    no_cache: NoCache = False,
    cache_folder: CacheFolder = None,
    as_json: Json = False,
):
    """Write a result's report: one self-contained page of figures, tables and how to redo it.

    Of a fit, a population that pool wrote, or several fits of the same runs, which are compared.
    """
    paths = [writable(path) for path in (out, *([markdown] if markdown else []))]
    if len(set(paths)) < len(paths):
        msg = f"--markdown {markdown}: the page goes there already; choose another file."
        raise InputError(msg)
    result = _results(fits)
    options = {} if len(fits) == 1 else {"cache": not no_cache, **given(cores=cores)}
    if leave_out is not None:
        if len(fits) == 1:
            msg = "--leave-out is for several fits, which are compared."
            raise InputError(msg)
        options["leave_out"] = () if leave_out == "none" else tuple(leave_out.split(","))
    asked = {"counting": counting, "architecture": read_architecture(architecture)}
    made = sb.report(result, out, markdown=markdown, random_seed=seed, **asked, **options)
    if as_json:
        facts = {"sentences": made.sentences, "warnings": made.warnings}
        print_json(made.rows, converged=made.converged, **facts)
    else:
        _print(made)
    for path in paths:
        typer.echo(f"Wrote {path}", err=True)
    end(made.converged)


def _results(paths):
    """Return the one result of a file, or label -> fit of several."""
    loaded = [sb.load_fit(path) for path in paths]
    if len(paths) == 1:
        return loaded[0]
    names = [str(one.attrs.get("hypothesis_name", "")) for one in loaded]
    stems = [path.stem for path in paths]
    labels = names if len(set(names)) == len(names) else stems
    if len(set(labels)) < len(labels):
        msg = f"two of the files have the same name and hypothesis: {stems}; rename one of them."
        raise InputError(msg)
    return dict(zip(labels, loaded, strict=True))


def _print(made):
    for line in made.warnings:
        typer.secho(line, fg="red", bold=True)
    typer.echo("\n".join(made.sentences))
