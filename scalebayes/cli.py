"""The command line: arguments -> the calls that a script would make.

Heavy imports stay inside the commands, so that `--help` is quick.
"""

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
    writable,
    write_csv,
)
from scalebayes.cli_calibrate import calibrate
from scalebayes.cli_compare import compare
from scalebayes.cli_models import models
from scalebayes.cli_pool import pool
from scalebayes.cli_report import report
from scalebayes.console import Commands, end, given, print_json, print_text, sentence
from scalebayes.errors import InputError
from scalebayes.options import (
    Cache,
    Chains,
    Columns,
    Context,
    Cores,
    Counting,
    Discrepant,
    Draws,
    Family,
    FitFile,
    Json,
    LossUnit,
    Seed,
    Tied,
    Tune,
    Units,
    Vocabulary,
    Window,
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
    runs: Annotated[str, typer.Argument(help="A CSV file, or the name of a bundled study.")],
    model: Annotated[str, typer.Option("-m", "--model")] = "hoffmann-total",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="STUDY-MODEL.nc here.")] = None,
    columns: Columns = None,
    units: Units = None,
    loss_unit: LossUnit = None,
    counting: Counting = None,
    vocab_size: Vocabulary = None,
    tied: Tied = None,
    context_length: Context = None,
    drop_missing: Annotated[bool, typer.Option(help="Leave out incomplete rows.")] = False,
    dedupe: Annotated[bool, typer.Option(help="Leave out repeated rows.")] = False,
    prior_dominated_ok: Annotated[bool, typer.Option(help="Accept fewer than 8 runs.")] = False,
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
    cache: Cache = True,
    as_json: Json = False,
):
    """Fit a scaling law to runs: the posterior of its coefficients, saved for other commands."""
    facts = {"counting": counting, "vocab_size": vocab_size, "context_length": context_length}
    switches = {"drop_missing": drop_missing, "dedupe": dedupe}
    switches |= {"prior_dominated_ok": prior_dominated_ok}
    options = given(**facts, tied=tied) | {name: True for name, on in switches.items() if on}
    options |= given(columns=read_pairs(columns, "--columns"), units=read_pairs(units, "--units"))
    from scalebayes.isoflop import windowed

    study = read_study(runs, options, loss_unit=loss_unit, window=window)
    hypothesis = sb.load_hypothesis(model)
    suffix = "-with-literature" if with_literature else ""
    path = writable(out or Path(f"{study.name}-{hypothesis.name}{suffix}.nc"))
    settings = given(draws=draws, tune=tune, chains=chains, cores=cores)
    settings |= {"literature": with_literature, "random_seed": seed, "cache": cache}
    result = sb.fit(study, hypothesis, **settings)
    _show_fit(result, _classical(windowed(study, hypothesis), result), as_json=as_json)
    sb.save_fit(result, path)
    typer.echo(f"Saved to {path}", err=True)
    end(result.attrs["converged"] and not result.attrs.get("problems_alone"))


@app.command(epilog="Example: scalebayes optimal sweep-hoffmann-total.nc -C 1e21 -C 1e24")
def optimal(
    path: FitFile,
    compute: Annotated[list[float], typer.Option("-C", "--compute", help="Budget in FLOP.")],
    counting: Counting = None,
    flops: Annotated[
        str | None,
        typer.Option(
            help="What C counts: 6ND (with that N), 6ND:body, 6ND:body+head, 6ND:total, kaplan, "
            "porian-attention, deepseek or hoffmann-f."
        ),
    ] = None,
    architecture: Family = None,
    discrepancy: Discrepant = True,
    seed: Seed = 1,
    as_json: Json = False,
):
    """Give the compute-optimal parameters, tokens and tokens per parameter at each budget.

    Without --counting and --flops: in three conventions side by side, wherever the shape of the
    models is known; it is the study's own unless --architecture gives one. First as if the law held
    exactly, then (in the first convention) with how far laws have missed beyond their data. The law
    isoflop knows its own count alone, and no discrepancy.
    """
    from scalebayes.literature_report import with_its_own

    result, family = load_study_fit(path), read_architecture(architecture)
    asked = {"counting": counting, "flops": flops}
    texts, rows = [], []
    for label, one in with_its_own(result).items():
        text, some = _optima(one, compute, asked, family, seed=seed if discrepancy else None)
        texts.append(f"{label}: {text}" if label else text)
        rows += [row | {"posterior": label} if label else row for row in some]
    if as_json:
        print_json(rows, result)
    else:
        print_text("\n\n".join(texts), result)
    end(result.attrs["converged"])


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


@app.command(epilog="Example: scalebayes studies --json")
def studies(as_json: Json = False):
    """List the published studies that are bundled."""
    from scalebayes import formatting

    table = sb.studies().reset_index()
    if as_json:
        print_json(table.to_dict("records"))
        return
    shown = ["study", "n_used", "n_rows", "counting", "corpus", "citation"]
    typer.echo(formatting.frame_text(table[shown]))


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
    cache: Cache = True,
    as_json: Json = False,
):
    """Fit the published studies and show why their compute-optimal answers differ."""
    settings = given(draws=draws, tune=tune, chains=chains, cores=cores)
    result = sb.reconcile(out=out, studies=study or None, random_seed=seed, cache=cache, **settings)
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
    app(args=argv, prog_name="scalebayes")


def _optima(result, compute, asked, family, *, seed):
    """Return text and rows of the optima: in three conventions where none was asked for.

    With a seed also those with the discrepancy, in the first convention.
    """
    from scalebayes import discrepancy_report, formatting
    from scalebayes.discrepant_optimum import with_discrepancy, with_ratio_literature
    from scalebayes.optimum import extrapolation_decades
    from scalebayes.report import optimal_conventions

    known = family or ("study" if result.attrs.get("architecture") else None)
    known = None if result.attrs["law"] == "isoflop" else known  # its own count alone
    if known is not None and set(asked.values()) == {None}:
        answers = optimal_conventions(result, compute, architecture=known)
        text = formatting.conventions_text(answers, result)
    else:
        where = {**asked, "flops": asked["flops"] or "6ND", "architecture": family}
        best = sb.optimal(result, compute=compute, **where)
        answers = [(best, extrapolation_decades(result, compute, **where))]
        text = formatting.optimal_text(*answers[0], result)
    rows = [formatting.optimal_rows(*answer, result) for answer in answers]
    if seed is not None and result.attrs["law"] != "isoflop":
        best = answers[0][0]
        both = with_discrepancy(result, best, random_seed=seed)
        parts = both, result, with_ratio_literature(result, best, random_seed=seed)
        text += "\n\n" + discrepancy_report.discrepant_text(*parts)
        rows.append(discrepancy_report.discrepant_rows(*parts))
    return text, [row for some in rows for row in some]


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
