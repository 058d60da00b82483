"""The command `pool`: studies, or files of fits -> the population behind them."""

from pathlib import Path
from typing import Annotated

import typer

import scalebayes as sb
from scalebayes.arguments import read_pairs, writable
from scalebayes.console import asked_executor, end, given, print_json, print_text
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


def pool(
    fits: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FIT|STUDY]...",
            help="Files that fit wrote, or bundled studies; the default set unless given.",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("-m", "--model", help="Hypothesis of the bundled studies.")
    ] = "latent-counting",
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            help="Of the new study: warmup=long,schedule=constant,tuning=tuned (some of them)."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="NetCDF file to write.")] = None,
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
    """Pool studies: the population that their scaling exponents come from, and a new study's."""
    from scalebayes.population_report import (
        new_study_row,
        new_study_sentence,
        population_rows,
        population_text,
    )
    from scalebayes.study_cells import check_poolable

    asked = read_pairs(recipe, "--recipe")
    path = out if out is None else writable(out)
    settings = given(draws=draws, tune=tune, chains=chains, cores=cores)
    names = fits or list(sb.DEFAULT_STUDIES)
    hypothesis = sb.load_hypothesis(model)
    check_poolable(hypothesis)
    same = {"random_seed": seed, "cache": not no_cache, **given(cores=cores)}
    with asked_executor(workers, scheduler) as executor:
        fitted = _fits(names, hypothesis, executor=executor, **same)
    result = sb.pool(fitted, random_seed=seed, cache=not no_cache, **settings)
    rows, text = population_rows(result), population_text(result)
    if asked is not None:
        new = sb.new_study(result, asked, random_seed=seed)
        rows.append(new_study_row(new))
        text += f"\n\n{new_study_sentence(new)}"
    if as_json:
        facts = {name: result.attrs[name] for name in ("hypothesis_name", "omega", "problems")}
        converged = bool(result.attrs["converged"])
        print_json(rows, converged=converged, **facts)
    else:
        print_text(text, result)
    if path is not None:
        sb.save_fit(result, path)
        typer.echo(f"Saved to {path}", err=True)
    end(result.attrs["converged"])


def _fits(names, hypothesis, **settings):
    """Return saved fits, and the fits of bundled studies, in the order of their names."""
    from scalebayes.literature import STUDY_SETTINGS
    from scalebayes.progress import step_bar

    saved = {name: sb.load_fit(name) for name in names if Path(name).is_file() or Path(name).suffix}
    pairs = [(sb.load_study(name), hypothesis) for name in names if name not in saved]
    with step_bar(None, len(pairs)) as advance:
        made = iter(list(sb.fit_each(pairs, advance=advance, **STUDY_SETTINGS, **settings)))
    return [saved[name] if name in saved else next(made) for name in names]
