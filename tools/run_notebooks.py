"""Run every notebook of notebooks/ from top to bottom, in place, and keep its outputs.

    python tools/run_notebooks.py

What differs from one run to the next without a change of result (times, warnings on the standard
error stream, into how many pieces the standard output was cut) is not stored.
"""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
SECONDS = 1800


def executed(path):
    """Return a notebook with the outputs of a fresh run, started in the repository's folder.

    Parameters
    ----------
    path : Path

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        When a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(ROOT)}},
    )
    client.execute()
    return notebook


def without_traces(notebook):
    """Return a notebook without metadata of its run and without the standard error stream."""
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return notebook


def main():
    """Run the notebooks and write them back."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        nbformat.write(without_traces(executed(path)), path)


if __name__ == "__main__":
    main()
