"""The command `check`: a table of runs -> what it can and cannot say, before anything is fitted."""

from typing import Annotated

import typer

import scalebayes as sb
from scalebayes.arguments import read_study, reading_options, typed
from scalebayes.console import print_json
from scalebayes.options import (
    Columns,
    Context,
    Counting,
    Dedupe,
    DropMissing,
    FewRuns,
    Gated,
    Json,
    LossUnit,
    Rows,
    Runs,
    Tied,
    TokensPerStep,
    Units,
    Vocabulary,
    Window,
)


def check(
    runs: Runs,
    compute: Annotated[
        float | None,
        typer.Option("-C", "--compute", help="Budget asked about; the largest unless given."),
    ] = None,
    columns: Columns = None,
    units: Units = None,
    loss_unit: LossUnit = None,
    counting: Counting = None,
    vocab_size: Vocabulary = None,
    tied: Tied = None,
    context_length: Context = None,
    gated: Gated = None,
    rows: Rows = None,
    tokens_per_step: TokensPerStep = None,
    drop_missing: DropMissing = False,
    dedupe: Dedupe = False,
    prior_dominated_ok: FewRuns = False,
    window: Window = None,
    as_json: Json = False,
):
    """Say what a table of runs can and cannot tell about D*/N*, and what to type next.

    Nothing is sampled. Exit code 0 where the table can be used, 2 where it is refused; what the
    codes SB101 ... mean is in docs/codes.md.
    """
    options = reading_options(
        **{"columns": columns, "units": units, "counting": counting, "vocab_size": vocab_size},
        **{"tied": tied, "context_length": context_length, "gated": gated, "rows": rows},
        **{"tokens_per_step": tokens_per_step, "drop_missing": drop_missing, "dedupe": dedupe},
        prior_dominated_ok=prior_dominated_ok,
    )
    from scalebayes.check_report import check_rows, check_text, next_commands

    study = read_study(runs, options, loss_unit=loss_unit, window=window)
    found = sb.check(study, compute=compute)
    commands = next_commands(found, typed(runs, options, loss_unit=loss_unit, window=window))
    if as_json:
        facts = {name: list(getattr(found, name)) for name in ("warnings", "can", "cannot")}
        print_json(check_rows(found), study=found.study, **facts, next=commands)
    else:
        typer.echo(check_text(found, commands))
