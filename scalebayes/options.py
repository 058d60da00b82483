"""Options that several commands take, with their help."""

import os
from pathlib import Path
from typing import Annotated

import typer


def _use_cache_folder(folder: Path | None):
    """Let every cached result of this process be in a folder, if one is given."""
    if folder is not None:
        os.environ["SCALEBAYES_CACHE"] = str(folder.absolute())
    return folder


Runs = Annotated[
    str,
    typer.Argument(
        metavar="RUNS|STUDY",
        help="A file of runs (.csv, .tsv, .parquet, .jsonl), or the name of a bundled study.",
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--columns", help="Our names for the table's: N=params,D=tokens,loss=ce."),
]
Units = Annotated[
    list[str] | None, typer.Option("--units", help="Units of N and D: N=B,D=B (K, M, B or T).")
]
LossUnit = Annotated[
    str | None, typer.Option(help="nats, bits or log10, per token; required for a file of runs.")
]
Counting = Annotated[
    str | None, typer.Option(help="What N counts: body, body+head, total, or omega as a number.")
]
Vocabulary = Annotated[float | None, typer.Option(help="Tokens in the vocabulary.")]
Tied = Annotated[
    bool | None, typer.Option("--tied/--untied", help="Whether embedding and head are one matrix.")
]
Context = Annotated[float | None, typer.Option(help="Tokens per sequence.")]
Gated = Annotated[
    bool | None,
    typer.Option("--gated/--not-gated", help="Three feed-forward matrices: counts from shapes."),
]
Rows = Annotated[
    str | None,
    typer.Option(help="For a logger's export: last (step of each run) or checkpoints (all)."),
]
TokensPerStep = Annotated[
    float | None, typer.Option(help="With --rows, where no column has the tokens: D = step times.")
]
DropMissing = Annotated[bool, typer.Option("--drop-missing", help="Leave out incomplete rows.")]
Dedupe = Annotated[bool, typer.Option("--dedupe", help="Leave out repeated rows.")]
FewRuns = Annotated[bool, typer.Option("--prior-dominated-ok", help="Accept fewer than 8 runs.")]
Window = Annotated[
    str | None, typer.Option(help="default or none: rows of a bundled study to use.")
]
Seed = Annotated[int, typer.Option(help="Same seed, same numbers.")]
Draws = Annotated[int | None, typer.Option(help="Draws kept per chain; 1000 unless given.")]
Tune = Annotated[int | None, typer.Option(help="Draws per chain to adapt the sampler.")]
Chains = Annotated[int | None, typer.Option(help="Chains; 4 unless given.")]
Cores = Annotated[int | None, typer.Option(help="Chains run at once; changes no number.")]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        help="Processes of this machine that fit at once, half a gigabyte each; changes no number.",
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="tcp://HOST:PORT",
        help="A Dask scheduler whose workers fit, in place of --workers; needs the extra dask.",
    ),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Make every fit anew, and keep none.")]
CacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        callback=_use_cache_folder,
        help="Where fits are kept and looked for; else $SCALEBAYES_CACHE, else the user's cache "
        "folder.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Sample more than 100,000 runs, too.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON: version, converged, rows.")]
FitFile = Annotated[Path, typer.Argument(metavar="FIT", help="A file that fit wrote.")]
Family = Annotated[
    str | None,
    typer.Option(
        "--architecture",
        help="Shape of the models asked about: study, or aspect_ratio=64,vocab_size=32000,"
        "tied=true; context_length=2048 where C counts attention. Needed where N or C is counted "
        "otherwise than in the law.",
    ),
]
Discrepant = Annotated[
    bool,
    typer.Option(
        "--discrepancy/--law-exact",
        help="Show also how far laws have missed beyond their data.",
    ),
]
