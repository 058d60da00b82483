"""The page of fuzzing: each script writes its own part and leaves the others' as they are."""

import re
from pathlib import Path

PARTS = {
    "readers": (
        "Damaged inputs",
        "python benchmarks/fuzz_readers.py -o docs/fuzzing.md",
    ),
    "commands": (
        "Command lines",
        "python benchmarks/fuzz_commands.py -o docs/fuzzing.md",
    ),
    "kills": (
        "Killed while saving",
        "python benchmarks/kill_while_saving.py -o docs/fuzzing.md",
    ),
}
"""Part -> its heading and the command that makes it."""

_START = "# Damaged inputs, senseless commands, killed processes"


def write_page(path, **texts):
    """Write the page with new texts of some parts.

    Parameters
    ----------
    path : Path
    **texts : str
        Markdown by the names of `PARTS`.
    """
    path = Path(path)
    found = parts_of(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found |= texts
    blocks = [_START]
    for name, (heading, command) in PARTS.items():
        if name in found:
            blocks += [f"## {heading}", f"Made by `{command}`.", found[name].strip()]
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def parts_of(page):
    """Return part -> its text on a page."""
    found = {}
    for name, (heading, command) in PARTS.items():
        made_by = re.escape(f"## {heading}\n\nMade by `{command}`.\n\n")
        part = re.search(made_by + r"(.*?)(?=\n## |\Z)", page, re.DOTALL)
        if part:
            found[name] = part.group(1).strip()
    return found
