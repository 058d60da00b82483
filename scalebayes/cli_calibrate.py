"""The command `calibrate`: do intervals hold what they say, on runs that fits did not see?"""

from pathlib import Path
from typing import Annotated

import typer

import scalebayes as sb
from scalebayes.arguments import writable
from scalebayes.console import end, print_json
from scalebayes.errors import InputError
from scalebayes.options import CacheFolder, Cores, Json, NoCache, Seed


def calibrate(
    forecast: Annotated[
        bool,
        typer.Option("--forecast", help="Fit below a cut in compute, score on the runs above."),
    ] = False,
    study: Annotated[
        list[str] | None, typer.Option(help="A study to take; the default set unless given.")
    ] = None,
    model: Annotated[str, typer.Option("-m", "--model")] = "hoffmann-total",
    few_runs: Annotated[
        bool,
        typer.Option("--few-runs", help="Also what 10 and 30 random runs of each say; slow."),
    ] = False,
    figure: Annotated[Path | None, typer.Option(help="Figure to write: svg, pdf or png.")] = None,
    seed: Seed = 1,
    cores: Cores = None,
    no_cache: NoCache = False,
    cache_folder: CacheFolder = None,
    as_json: Json = False,
):
    """Judge intervals by runs that the fits did not see."""
    from scalebayes import forecast_report
    from scalebayes.figure_files import save_figure
    from scalebayes.forecast import forecast as forecasts
    from scalebayes.forecast import summary
    from scalebayes.forecast_subsamples import subsample_scores
    from scalebayes.progress import step_bar
    from scalebayes.text_table import text_table

    if not forecast:
        msg = "calibrate: say what to judge: --forecast."
        raise InputError(msg)
    path = None if figure is None else writable(figure)
    same = {"random_seed": seed, "cores": cores, "cache": not no_cache}
    n_studies = len(study or sb.DEFAULT_STUDIES)
    with step_bar(None, n_studies * (3 if few_runs else 2)) as advance:
        result = forecasts(study or None, hypothesis=model, advance=advance, **same)
        rows = subsample_scores(result.known, advance=advance, **same) if few_runs else None
    if as_json:
        table = summary(result).reset_index().to_dict("records")
        if rows is not None:
            table += forecast_report.few_runs_summary(rows).reset_index().to_dict("records")
        print_json(table, converged=not result.problems, left_out=result.left_out)
    else:
        typer.echo(text_table(forecast_report.forecast_table(result)))
        typer.echo(f"\n{forecast_report.LEGEND}")
        if rows is not None:
            typer.echo("\n" + text_table(forecast_report.few_runs_table(rows)))
            typer.echo(f"\n{forecast_report.FEW_LEGEND}")
        for label, why in result.left_out.items():
            typer.echo(f"Left out: {label}: {why}")
        for problem in result.problems:
            typer.echo(f"NOT CONVERGED: {problem}")
    if path is not None:
        save_figure(forecast_report.plot_forecast(result), path)
        typer.echo(f"Saved to {path}", err=True)
    end(not result.problems)
