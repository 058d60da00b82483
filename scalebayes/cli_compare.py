"""The command `compare`: fits, or a study under several hypotheses -> evidence and verdict."""

from pathlib import Path
from typing import Annotated

import typer

import scalebayes as sb
from scalebayes.arguments import read_pairs
from scalebayes.console import asked_executor, end, given, print_json
from scalebayes.errors import InputError
from scalebayes.options import (
    CacheFolder,
    Chains,
    Cores,
    Draws,
    Json,
    NoCache,
    Scheduler,
    Seed,
    Tune,
    Workers,
)


def compare(
    fits: Annotated[
        list[str],
        typer.Argument(
            metavar="FIT...|STUDY...",
            help="Files that fit wrote, of the same rows; or bundled studies, with -m.",
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option("-m", "--model", help="A hypothesis for the bundled studies; two or more."),
    ] = None,
    leave_out: Annotated[
        str,
        typer.Option(
            help="What to leave out and predict: budget,trajectory,largest (some of them), or none."
        ),
    ] = "budget,largest",
    sensitivity: Annotated[
        bool,
        typer.Option(help="Evidence and verdict with every prior half and twice as wide, too."),
    ] = True,
    prior_odds: Annotated[
        list[str] | None,
        typer.Option("--prior-odds", help="Of the hypotheses: total=2,body=1. Equal unless given."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Show probabilities even of fits not converged.")
    ] = False,
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
    """Compare hypotheses on the same runs: evidence, left-out predictions, a verdict in words."""
    from scalebayes.compare_report import comparison_rows, comparison_text

    options = {"random_seed": seed, "cache": not no_cache, **given(cores=cores)}
    with asked_executor(workers, scheduler) as executor:
        options["executor"] = executor
        fitted = _fits(fits, model, **options, **given(draws=draws, tune=tune, chains=chains))
        table = sb.compare(
            fitted,
            prior_odds=_odds(prior_odds),
            leave_out=() if leave_out == "none" else tuple(leave_out.split(",")),
            sensitivity=sensitivity,
            force=force,
            **options,
        )
    converged = bool(table.attrs["converged"])
    if as_json:
        facts = {name: table.attrs[name] for name in ("verdict", "verdicts", "notes")}
        print_json(comparison_rows(table), converged=converged, **facts)
    else:
        typer.echo(comparison_text(table))
    end(converged)


def _fits(names, models, **settings):
    """Return label -> fits: of saved ones, or of every study under every model."""
    saved = [name.endswith(".nc") for name in names]
    if any(saved) and not all(saved):
        msg = f"compare takes files that fit wrote, or bundled studies, not both: {names}."
        raise InputError(msg)
    if all(saved):
        if models:
            msg = f"-m is for bundled studies; {names} are fits already."
            raise InputError(msg)
        return _saved(names)
    if not models or len(set(models)) < 2:
        msg = f"give two hypotheses at least: scalebayes compare {names[0]} -m NAME -m NAME."
        raise InputError(msg)
    studies = [sb.load_study(name) for name in names]
    chosen = {Path(model).stem: sb.load_hypothesis(model) for model in models}
    from scalebayes.progress import step_bar

    pairs = [(study, one) for one in chosen.values() for study in studies]
    with step_bar(None, len(pairs)) as advance:
        made = iter(list(sb.fit_each(pairs, advance=advance, **settings)))
    return {label: [next(made) for _ in studies] for label in chosen}


def _saved(paths):
    """Return label -> fits of files: by hypothesis, or by file where one comes twice."""
    loaded = [sb.load_fit(path) for path in paths]
    labelled = {}
    for one in loaded:
        labelled.setdefault(one.attrs.get("hypothesis_name", ""), []).append(one)
    studies = {one.attrs.get("study") for one in loaded}
    twice = any(len(some) > len(studies) for some in labelled.values())
    if twice or (len(labelled) < 2 and len(studies) < 2):
        return {Path(path).stem: one for path, one in zip(paths, loaded, strict=True)}
    return labelled


def _odds(texts):
    pairs = read_pairs(texts, "--prior-odds")
    try:
        return pairs and {name: float(value) for name, value in pairs.items()}
    except ValueError as error:
        msg = f"--prior-odds: {error}; write it as total=2,body=1."
        raise InputError(msg) from error
