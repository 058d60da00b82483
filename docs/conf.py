"""Settings of the documentation: `make docs` writes docs/_build/html/index.html."""

import html
import shutil
import subprocess
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

import scalebayes as sb
from scalebayes.hypotheses import models_folder

HERE = Path(__file__).parent
GENERATED = HERE / "generated"

project = "scalebayes"
author = "The scalebayes authors"
copyright = "the scalebayes authors"
release = version = installed_version("scalebayes")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx-mathjax-offline",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_nb",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
root_doc = "index"
smartquotes = False  # options begin with two hyphens

myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebooks store a run of their own, which the tests repeat

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say it in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False
default_role = "code"

html_theme = "furo"
html_title = f"scalebayes {release}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_sphinx = False


def commands_page():
    """Return the reference of every command, from the command line itself."""
    command = [sys.executable, "-m", "typer", "scalebayes.cli", "utils", "docs"]
    shown = subprocess.run([*command, "--name", "scalebayes"], check=True, capture_output=True)
    text = html.unescape(shown.stdout.decode()).replace("```console", "```text")
    lines = [line for line in text.splitlines() if "-completion" not in line]
    return "\n".join(lines).replace("# `scalebayes`", "# Command reference", 1)


def hypotheses_page():
    """Return every file of `models/` with what it says of itself."""
    head = (
        "# Hypotheses\n\nEach is a small file; a path to a file of your own works wherever a name "
        "does. Formulas: [](../statistics.md).\n"
    )
    files = {name: Path(str(models_folder() / f"{name}.toml")) for name in sb.hypotheses()["name"]}
    parts = [f"## {name}\n\n```toml\n{path.read_text()}```\n" for name, path in files.items()]
    return "\n".join([head, *parts])


GENERATED.mkdir(exist_ok=True)
(GENERATED / "commands.md").write_text(commands_page(), encoding="utf-8")
(GENERATED / "hypotheses.md").write_text(hypotheses_page(), encoding="utf-8")

# Notebooks live beside the package; Sphinx reads only what lies in its own folder.
NOTEBOOKS = HERE / "notebooks"
NOTEBOOKS.mkdir(exist_ok=True)
for path in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
    shutil.copyfile(path, NOTEBOOKS / path.name)
