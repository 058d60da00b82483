"""The command `calibrate`: do intervals hold what they say, on runs that fits did not see?"""

from pathlib import Path
from typing import Annotated

import typer

import scalebayes as sb
from scalebayes.arguments import writable
from scalebayes.console import asked_executor, end, print_json
from scalebayes.errors import InputError
from scalebayes.options import CacheFolder, Cores, Json, NoCache, Scheduler, Seed, Workers

LEAST_P = 0.01
"""Adjusted p of uniformity below which a quantity is said not to be calibrated."""


def calibrate(
    forecast: Annotated[
        bool,
        typer.Option("--forecast", help="Fit below a cut in compute, score on the runs above."),
    ] = False,
    sbc: Annotated[
        int | None,
        typer.Option(
            "--sbc",
            metavar="N",
            help="Simulate N studies from the prior, and see whether posteriors hold the truth.",
        ),
    ] = None,
    population: Annotated[
        bool,
        typer.Option("--population", help="With --sbc: simulate five studies each time, and pool."),
    ] = False,
    study: Annotated[
        list[str] | None,
        typer.Option(
            help="A study to take; the default set unless given, with --sbc hoffmann2022-epoch."
        ),
    ] = None,
    model: Annotated[str, typer.Option("-m", "--model")] = "hoffmann-total",
    few_runs: Annotated[
        bool,
        typer.Option("--few-runs", help="Also what 10 and 30 random runs of each say; slow."),
    ] = False,
    figure: Annotated[Path | None, typer.Option(help="Figure to write: svg, pdf or png.")] = None,
    seed: Seed = 1,
    cores: Cores = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    no_cache: NoCache = False,
    cache_folder: CacheFolder = None,
    as_json: Json = False,
):
    """Judge intervals by runs that the fits did not see, or by truths that were simulated."""
    path = None if figure is None else writable(figure)
    if forecast == (sbc is not None):
        msg = "calibrate: say what to judge: --forecast or --sbc N, one of them."
        raise InputError(msg)
    if population and sbc is None:
        raise InputError("calibrate: --population goes with --sbc N.")
    if sbc is not None:
        with asked_executor(workers, scheduler) as executor:
            result = _simulated(sbc, study, model, population, seed=seed, executor=executor)
        _show_simulated(result, path=path, as_json=as_json)
        return
    from scalebayes import forecast_report
    from scalebayes.figure_files import save_figure
    from scalebayes.forecast import SHARES, summary
    from scalebayes.forecast import forecast as forecasts
    from scalebayes.forecast_subsamples import subsample_scores
    from scalebayes.progress import step_bar
    from scalebayes.text_table import text_table

    same = {"random_seed": seed, "cores": cores, "cache": not no_cache}
    n_studies = len(study or sb.DEFAULT_STUDIES)
    steps = n_studies * (2 + len(SHARES) + few_runs)
    with asked_executor(workers, scheduler) as executor, step_bar(None, steps) as advance:
        many = {"executor": executor, "advance": advance}
        result = forecasts(study or None, hypothesis=model, **many, **same)
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


def _simulated(simulations, study, model, population, *, seed, executor):
    """Return a simulation-based calibration."""
    from scalebayes.calibrate import calibrate as fits
    from scalebayes.calibrate_population import calibrate_population as populations
    from scalebayes.progress import step_bar

    if study is not None and len(study) != 1:
        raise InputError("calibrate: --sbc takes one study, whose runs are simulated.")
    design = study[0] if study else "hoffmann2022-epoch"
    with step_bar(None, simulations) as advance:
        many = {"executor": executor, "advance": advance}
        calibrated = populations if population else fits
        return calibrated(model, design, simulations=simulations, random_seed=seed, **many)


def _show_simulated(result, *, path, as_json):
    """Show a simulation-based calibration; exit code 3 where it finds fault."""
    from scalebayes import calibration_report
    from scalebayes.calibrate import calibration_table
    from scalebayes.figure_files import save_figure
    from scalebayes.text_table import text_table

    table = calibration_table(result)
    good = bool((table["p_holm"] >= LEAST_P).all())
    if as_json:
        rows = table.reset_index().to_dict("records")
        print_json(rows, converged=good, flagged=sum(map(bool, result.problems)))
    else:
        verdict = "No quantity deviates" if good else "NOT CALIBRATED: some quantity deviates"
        typer.echo(f"{verdict} (adjusted p {'all at least' if good else 'below'} {LEAST_P}).")
        typer.echo(calibration_report.calibration_sentence(result))
        typer.echo("\n" + text_table(calibration_report.calibration_texts(result)))
        typer.echo(f"\n{calibration_report.LEGEND}")
    if path is not None:
        save_figure(calibration_report.plot_calibration(result), path)
        typer.echo(f"Saved to {path}", err=True)
    end(good)
