"""Every notebook runs from top to bottom with the package of this repository."""

import ast
import importlib.util
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = [
    pytest.param(path, id=path.stem) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
]


def runner():
    spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / "tools/run_notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS)
def test_a_notebook_runs_without_an_error_and_gives_as_many_outputs_as_it_stores(path):
    stored = code_cells(nbformat.read(path, as_version=4))
    fresh = code_cells(runner().without_traces(runner().executed(path)))
    assert [len(cell.outputs) for cell in fresh] == [len(cell.outputs) for cell in stored]


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_a_notebook_defines_no_function_and_stores_a_run_from_its_top_without_errors(path):
    cells = code_cells(nbformat.read(path, as_version=4))
    nodes = [node for cell in cells for node in ast.walk(ast.parse(cell.source))]
    assert not [node for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    kinds = {(one.output_type, one.get("name")) for cell in cells for one in cell.outputs}
    assert not {("error", None), ("stream", "stderr")} & kinds


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_a_stored_notebook_names_no_folder_of_the_machine_it_was_run_on(path):
    text = path.read_text(encoding="utf-8")
    assert not [name for name in ("/home/", "/Users/", "/tmp/", str(Path.home())) if name in text]
