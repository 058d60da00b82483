"""Mutate single operators and numbers in six modules, and write which changes no test notices.

    python tools/mutants.py [-o docs/mutation.md] [--modules counting laws ...] [--page-only]

mutmut makes the mutants of each module and runs the fast tests of its own test files on every one,
in a folder `mutants` of a temporary copy, never in this checkout. Mutants of messages are not made.
Survivors are listed with their reason where `mutants_reasons.toml` has one: by module, then by what
the mutant changes, since numbers move with every edit.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from itertools import groupby
from operator import itemgetter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("scalebayes", "models", "tests", "benchmarks", "tools", "docs", "pyproject.toml")
MODULES = {
    "counting": ("counting",),
    "laws": ("laws", "isoflop"),
    "optimum": ("optimum", "optimum_edges"),
    "studies": ("studies", "studies_edges", "tables", "long_tables", "sizes"),
    "hypotheses": ("hypotheses",),
    "gate": ("gate",),
}
"""Module -> its test files, without `test_` and ending."""

WANTED = 0.85
KILLED, SURVIVED = ("killed", "timeout", "segfault", "caught by type check"), ("survived",)
UNEXPLAINED = "not looked at"
REASONS_FILE = Path(__file__).with_name("mutants_reasons.toml")

_SETTINGS = """
[tool.mutmut]
source_paths = ["scalebayes"]
only_mutate = ["scalebayes/{module}.py"]
also_copy = ["models", "docs", "benchmarks", "tools"]
do_not_mutate_patterns = ['^\\s*(msg = )?f?"', '^\\s*msg = ', 'raise \\w+\\(']
pytest_add_cli_args = ["-m", "not slow", "-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = [{tests}]
timeout_multiplier = 30.0
timeout_constant = 10.0
"""

# a loaded machine must not make a test miss its time
_NO_DEADLINE = """
from hypothesis import settings

settings.register_profile("mutants", deadline=None)
settings.load_profile("mutants")
"""


def main():
    """Run the mutants of the modules asked for and write the page of all results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "docs" / "mutation.md")
    parser.add_argument("--modules", nargs="*", default=list(MODULES), choices=MODULES)
    parser.add_argument("--page-only", action="store_true", help="the page of the results so far")
    parser.add_argument(
        "--results", type=Path, default=Path("mutants.json"), help="results by module"
    )
    options = parser.parse_args()
    found = json.loads(options.results.read_text()) if options.results.is_file() else {}
    for module in () if options.page_only else options.modules:
        found[module] = results_of(module)
        options.results.write_text(json.dumps(found, indent=1))
    text = page(found)
    print(text)
    options.out.write_text(text + "\n", encoding="utf-8")


def results_of(module):
    """Return mutant -> what became of it, and what it changes where it survived."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        place = prepared(Path(folder), module)
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        environment |= {"SCALEBAYES_CACHE": str(place / "cache")}

        def mutmut(*words):
            command = [sys.executable, "-m", "mutmut", *words]
            return subprocess.run(
                command, cwd=place, env=environment, capture_output=True, text=True, check=False
            )

        ran = mutmut("run", "--max-children", "1")
        listed = mutmut("results", "--all", "true").stdout
        states = dict(re.findall(r"^\s*(\S+__mutmut_\d+): (.+)$", listed, re.MULTILINE))
        if not states:
            sys.exit(f"{module}: mutmut made nothing:\n{ran.stdout[-3000:]}{ran.stderr[-2000:]}")
        return {
            name: {"state": state, "change": change_of(mutmut("show", name).stdout)}
            if state in SURVIVED
            else {"state": state}
            for name, state in states.items()
        }


def prepared(folder, module):
    """Copy the package into a folder and tell mutmut what to do there."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("*.pyc", "_build"))
        else:
            shutil.copy(source, folder / name)
    (folder / "tests" / "conftest.py").write_text(_NO_DEADLINE, encoding="utf-8")
    tests = ", ".join(f'"tests/test_{name}.py"' for name in MODULES[module])
    settings = _SETTINGS.format(module=module, tests=tests)
    with (folder / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write(settings)
    return folder


def change_of(diff):
    """Return the lines that a mutant takes away and puts in, on one line."""
    lines = [line for line in diff.splitlines() if re.match(r"[-+](?![-+])", line)]
    return " → ".join(line[1:].strip() for line in lines)


def read_reasons():
    """Return (module, change) -> why no test can or need notice it."""
    groups = tomllib.loads(REASONS_FILE.read_text(encoding="utf-8"))
    return {
        (module, change): group["why"]
        for module, some in groups.items()
        for group in some
        for change in group["changes"]
    }


def page(found):
    """Return the page of mutants, in Markdown."""
    columns = ("module", "mutants", "killed", "survived", "no test", "score")
    lines = [columns, ["---"] + ["---:"] * 5]
    for module, mutants in found.items():
        states = [one["state"] for one in mutants.values()]
        killed, survived = (sum(s in kind for s in states) for kind in (KILLED, SURVIVED))
        untested = len(states) - killed - survived
        counts = (len(states), killed, survived, untested)
        lines.append([module, *map(str, counts), f"{killed / len(states):.1%}"])
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    missing = [name for name in MODULES if name not in found]
    survivors = survivors_of(found)
    explained = sum(why != UNEXPLAINED for _, _, _, why in survivors)
    text = (
        "Each mutant is one changed operator, number, name or argument; messages are not mutated. "
        "Killed: some fast test of the module's own test files, which `MODULES` of the tool names, "
        "fails. A mutant meets only the tests that run its function, and of tests with a common "
        f"fixture only the first. Wanted: {WANTED:.0%}. Survivors with a reason: {explained} of "
        f"{len(survivors)}." + (f" Not run so far: {', '.join(missing)}." if missing else "")
    )
    return "\n\n".join(
        (
            "# Mutants",
            "Made by `make mutants` (`python tools/mutants.py -o docs/mutation.md`).",
            table,
            textwrap.fill(text, 100),
            "## Survivors",
            "By module, under the reason for which no test notices them.",
            *listed(survivors),
        )
    )


def survivors_of(found):
    """Return module, name, change and reason of each mutant that survived."""
    reasons = read_reasons()
    return [
        (module, name, one["change"], reasons.get((module, one["change"]), UNEXPLAINED))
        for module, mutants in found.items()
        for name, one in mutants.items()
        if one["state"] in SURVIVED
    ]


def listed(survivors):
    """Yield the paragraphs of Markdown that list survivors."""
    for module, of_module in groupby(survivors, key=itemgetter(0)):
        yield f"### {module}"
        changes = {}
        for _, name, change, why in of_module:
            changes.setdefault(why, []).append((change, name.removeprefix(f"scalebayes.{module}.")))
        for why, some in changes.items():
            yield why
            yield "\n".join(f"- `{change}` ({name})" for change, name in some)


if __name__ == "__main__":
    main()
