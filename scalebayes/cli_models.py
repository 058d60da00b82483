"""The command `models`: what can be fitted, and one hypothesis in full."""

import json
from pathlib import Path
from typing import Annotated

import typer

import scalebayes as sb
from scalebayes.arguments import writable
from scalebayes.console import print_json
from scalebayes.errors import InputError
from scalebayes.options import Json, Seed

STUDY = "porian2024-rw-4-cosine"  # has what every hypothesis asks for


def models(
    name: Annotated[
        str | None, typer.Argument(help="A model to show in full, or a TOML file.")
    ] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Its law and priors as LaTeX.")] = False,
    graph: Annotated[
        Path | None, typer.Option(help="Write the graph of its PyMC model: a Graphviz file (.gv).")
    ] = None,
    prior_predictive: Annotated[
        bool,
        typer.Option(
            "--prior-predictive", help="What it expects of a study before it has seen losses."
        ),
    ] = False,
    figure: Annotated[
        Path | None,
        typer.Option(help="With --prior-predictive: draw it too, into a .svg, .png or .pdf file."),
    ] = None,
    study: Annotated[
        str, typer.Option(help="Bundled study that graph and expectations are about.")
    ] = STUDY,
    seed: Seed = 1,
    as_json: Json = False,
):
    """List the hypotheses that can be fitted, or show one: its file, LaTeX, graph, expectations."""
    asked = {"--latex": latex, "--graph": graph is not None, "--prior-predictive": prior_predictive}
    asked["--figure"] = figure is not None
    if name is None:
        _refuse_without_name([option for option, given in asked.items() if given])
        _list_models(as_json=as_json)
        return
    if figure is not None:
        _check_figure(figure, prior_predictive)
    hypothesis = sb.load_hypothesis(name)
    if graph is not None:
        _write_graph(hypothesis, study, writable(graph))
    if latex:
        from scalebayes.model_pages import latex_text

        typer.echo(latex_text(hypothesis).rstrip())
    if prior_predictive:
        _show_expectations(hypothesis, study, seed, as_json=as_json)
    if figure is not None:
        _draw_expectations(hypothesis, study, seed, figure)
    if not any(asked.values()):
        _show_file(name, hypothesis, as_json=as_json)


def _refuse_without_name(options):
    if options:
        msg = f"{', '.join(options)}: of which model? Give its name, such as hoffmann-total."
        raise InputError(msg)


def _check_figure(path, prior_predictive):
    from scalebayes.figure_files import figure_format

    if not prior_predictive:
        msg = f"--figure {path}: it draws what --prior-predictive prints; give both."
        raise InputError(msg)
    figure_format(path)
    writable(path)


def _list_models(*, as_json):
    from scalebayes.formatting import frame_text

    table = sb.hypotheses()
    if as_json:
        print_json(table.to_dict("records"))
    else:
        typer.echo(frame_text(table))


def _write_graph(hypothesis, study, path):
    from scalebayes.model_graph import graph_text

    path.write_text(graph_text(sb.build(study, hypothesis)), encoding="utf-8")
    typer.echo(f"Wrote {path}", err=True)


def _show_expectations(hypothesis, study, seed, *, as_json):
    from scalebayes.model_pages import expectations_text, prior_predictive

    rows = prior_predictive(hypothesis, study, random_seed=seed)
    if as_json:
        print_json(rows)
    else:
        typer.echo(expectations_text(rows, hypothesis))


def _draw_expectations(hypothesis, study, seed, path):
    from scalebayes.figure_files import save_figure

    save_figure(sb.plot_prior_predictive(hypothesis, study, random_seed=seed), path)
    typer.echo(f"Wrote {path}", err=True)


def _show_file(name, hypothesis, *, as_json):
    from scalebayes.hypotheses import models_folder

    bundled = models_folder() / f"{hypothesis.name}.toml"
    path = Path(name) if name.endswith(".toml") else bundled
    if as_json:
        print_json([json.loads(hypothesis.to_json())])
    else:
        typer.echo(path.read_text(encoding="utf-8").rstrip())
