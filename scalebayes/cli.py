"""The command line: arguments -> the calls that a script would make.

Heavy imports stay inside the commands, so that `--help` is quick.
"""

import atexit
import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

import scalebayes as sb
from scalebayes.arguments import (
    load_study_fit,
    read_architecture,
    read_pairs,
    read_points,
    read_study,
    reading_options,
    writable,
    write_csv,
)
from scalebayes.cli_cache import cache as cache_command
from scalebayes.cli_calibrate import calibrate
from scalebayes.cli_check import check
from scalebayes.cli_compare import compare
from scalebayes.cli_models import models
from scalebayes.cli_optimal import optimal
from scalebayes.cli_pool import pool
from scalebayes.cli_report import report
from scalebayes.cli_verify import verify
from scalebayes.console import (
    Commands,
    asked_executor,
    end,
    given,
    kept_when_interrupted,
    print_json,
    print_text,
    resumed_from_the_cache,
    sentence,
)
from scalebayes.errors import InputError
from scalebayes.options import (
    CacheFolder,
    Chains,
    Columns,
    Context,
    Cores,
    Counting,
    Dedupe,
    Discrepant,
    Draws,
    DropMissing,
    Family,
    FewRuns,
    FitFile,
    Force,
    Gated,
    Json,
    LossUnit,
    NoCache,
    Rows,
    Runs,
    Scheduler,
    Seed,
    Tied,
    TokensPerStep,
    Tune,
    Units,
    Vocabulary,
    Window,
    Workers,
)

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 good, 2 bad input, 3 not trustworthy, 4 not read or saved, 130 stopped.",
)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
):
    """Bayesian analysis of language-model scaling laws."""
    if version:
        typer.echo(sb.__version__)
        raise typer.Exit


@app.command(
    epilog="Example: scalebayes fit sweep.csv -m hoffmann-total --columns N=params,D=tokens "
    "--units N=B,D=B --loss-unit nats --counting total"
)
def fit(
    runs: Runs,
    model: Annotated[str, typer.Option("-m", "--model")] = "hoffmann-total",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="STUDY-MODEL.nc here.")] = None,
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
    with_literature: Annotated[
        bool,
        typer.Option(
            "--with-literature", help="Pool with the published studies; shown beside these alone."
        ),
    ] = False,
    seed: Seed = 1,
    draws: Draws = None,
    tune: Tune = None,
    chains: Chains = None,
    cores: Cores = None,
    no_cache: NoCache = False,
    cache_folder: CacheFolder = None,
    force: Force = False,
    as_json: Json = False,
):
    """Fit a scaling law to runs: the posterior of its coefficients, saved for other commands."""
    from scalebayes.isoflop import windowed

    options = reading_options(
        **{"columns": columns, "units": units, "counting": counting, "vocab_size": vocab_size},
        **{"tied": tied, "context_length": context_length, "gated": gated, "rows": rows},
        **{"tokens_per_step": tokens_per_step, "drop_missing": drop_missing, "dedupe": dedupe},
        prior_dominated_ok=prior_dominated_ok,
    )

    study = read_study(runs, options, loss_unit=loss_unit, window=window)
    hypothesis = sb.load_hypothesis(model)
    suffix = "-with-literature" if with_literature else ""
    path = writable(out or Path(f"{study.name}-{hypothesis.name}{suffix}.nc"))
    settings = given(draws=draws, tune=tune, chains=chains, cores=cores)
    settings |= {"literature": with_literature, "random_seed": seed, "cache": not no_cache}
    settings |= given(force=force or None)
    with kept_when_interrupted(study.name, path):
        result = sb.fit(study, hypothesis, **settings)
    try:
        sb.save_fit(result, path)
    finally:
        _show_fit(result, _classical(windowed(study, hypothesis), result), as_json=as_json)
    typer.echo(f"Saved to {path}", err=True)
    end(result.attrs["converged"] and not result.attrs.get("problems_alone"))


app.command(epilog="Example: scalebayes optimal sweep-hoffmann-total.nc -C 1e21 -C 1e24 --rule 20")(
    optimal
)


@app.command(epilog="Example: scalebayes predict sweep-hoffmann-total.nc points.csv -o losses.csv")
def predict(
    path: FitFile,
    points: Annotated[Path, typer.Argument(help="CSV with N and D, or body, head and D.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="CSV to write.")] = None,
    columns: Columns = None,
    units: Units = None,
    counting: Counting = None,
    architecture: Family = None,
    discrepancy: Discrepant = True,
    seed: Seed = 1,
    as_json: Json = False,
):
    """Predict the losses of runs that were not made, with and without a run's noise.

    First as if the law held exactly, then with how far laws have missed beyond their data.
    """
    from scalebayes import discrepancy_report, formatting

    path_out = out if out is None else writable(out)
    result = load_study_fit(path)
    table = read_points(points, read_pairs(columns, "--columns"), read_pairs(units, "--units"))
    asked = {"counting": counting, "architecture": read_architecture(architecture)}
    miss = discrepancy and result.attrs["law"] != "isoflop"
    asked["discrepancy"] = "published" if miss else None
    draws = sb.predict(result, table, random_seed=seed, **given(**asked))
    rows, text = (
        formatting.prediction_rows(draws, result),
        formatting.prediction_text(draws, result),
    )
    if miss:
        rows += discrepancy_report.predicted_rows(draws, result)
        text += "\n\n" + discrepancy_report.predicted_text(draws, result)
    if as_json:
        print_json(rows, result)
    else:
        print_text(text, result)
    if path_out is not None:
        write_csv(rows, path_out)
    end(result.attrs["converged"])


app.command(
    epilog="Example: scalebayes compare hoffmann2022-epoch -m hoffmann-total "
    "-m hoffmann-nonembedding"
)(compare)


app.command(epilog="Example: scalebayes pool marin2026-comma marin2026-dclm sweep.nc -o pooled.nc")(
    pool
)


app.command(epilog="Example: scalebayes report sweep-hoffmann-total.nc -o report.html")(report)


app.command(epilog="Example: scalebayes calibrate --forecast --figure forecast.svg")(calibrate)


app.command(
    epilog="Example: scalebayes check sweep.csv --columns N=params,D=tokens --units N=B,D=B "
    "--loss-unit nats --counting total -C 1e24"
)(check)


app.command(epilog="Example: scalebayes verify reconciliation")(verify)


app.command("cache", epilog="Example: scalebayes cache --clear")(cache_command)


@app.command(epilog="Example: scalebayes studies --json")
def studies(as_json: Json = False):
    """List the published studies that are bundled."""
    if as_json:
        print_json(sb.studies().reset_index().to_dict("records"))
        return
    from scalebayes.listing import listed_studies
    from scalebayes.text_table import columns_text

    typer.echo(columns_text(listed_studies()))


app.command(epilog="Example: scalebayes models hoffmann-total --latex")(models)


@app.command(epilog="Example: scalebayes reconcile --out reconciliation")
def reconcile(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write.")] = Path(
        "reconciliation"
    ),
    study: Annotated[
        list[str] | None, typer.Option(help="A study to take; the default set unless given.")
    ] = None,
    seed: Seed = 1,
    draws: Draws = None,
    tune: Tune = None,
    chains: Chains = None,
    cores: Cores = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    no_cache: NoCache = False,
    cache_folder: CacheFolder = None,
    as_json: Json = False,
):
    """Fit the published studies and show why their compute-optimal answers differ."""
    settings = given(draws=draws, tune=tune, chains=chains, cores=cores)
    settings |= {"studies": study or None, "random_seed": seed, "cache": not no_cache}
    with (
        resumed_from_the_cache(cache=not no_cache),
        asked_executor(workers, scheduler) as executor,
    ):
        result = sb.reconcile(out=out, executor=executor, **settings)
    if as_json:
        print_json(result.summary.to_dict("records"), converged=result.converged)
    else:
        typer.echo(result.headline)
    typer.echo(f"Wrote {Path(out) / 'index.html'}", err=True)
    end(result.converged)


def main(argv=None):
    """Run the command line and leave with its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Raises
    ------
    SystemExit
        Always: 0 good, 2 bad input, 3 not trustworthy, 4 cannot read or save, 130 interrupted.
    """
    if argv is None:  # the process is the command's own
        # libraries leave many objects, among which Python would look for cycles as it ends
        atexit.register(gc.freeze)
    app(args=argv, prog_name="scalebayes")


def _classical(study, result):
    """Return the point fit beside a posterior of the Chinchilla law; None and why without one."""
    if result.attrs["law"] != "chinchilla":
        return None
    counting = result.attrs["counting"]
    try:
        return sb.classical_fit(
            study, counting=study.counting if counting == "latent" else counting
        )
    except InputError as error:
        typer.echo(f"no classical fit: {sentence(error)}", err=True)
        return None


def _show_fit(result, classical, *, as_json):
    from scalebayes import formatting

    if as_json:
        evidence = {name: result.attrs[name] for name in ("log_evidence", "log_evidence_se")}
        point = None if classical is None else classical.record()
        rows = formatting.fit_rows(result) + _literature(result, "literature_rows", [])
        print_json(rows, result, classical=point, **evidence)
    else:
        print_text(formatting.fit_text(result, classical=classical), result)
        if result.attrs.get("literature"):
            typer.echo("\n" + _literature(result, "literature_text", ""))


def _literature(result, name, without):
    """Return what a function of `literature_report` says of a fit with literature."""
    if not result.attrs.get("literature"):
        return without
    from scalebayes import literature_report

    return getattr(literature_report, name)(result)


if __name__ == "__main__":
    main(sys.argv[1:])
