"""Plant mistakes that are easily made, one at a time, and see which fast test catches each.

    python tools/planted_mistakes.py [-o docs/planted_mistakes.md] [--only PART_OF_A_NAME]

Each mistake is written into a temporary copy of the package, never into this checkout, and the
fast tests of the files named beside it are run there until one fails. Last, the tests that failed
are run in a copy without any mistake, where all of them must pass. Exit code 1 where a mistake is
not caught.
"""

import argparse
import importlib
import json
import os
import re
import shutil
import sys
import tempfile
import textwrap
import warnings
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("scalebayes", "models", "tests", "benchmarks", "tools", "docs", "pyproject.toml")
LEFT_BEHIND = shutil.ignore_patterns("*.pyc", "_build", "*.svg")
FAST = ("-m", "not slow", "-x", "-q", "--no-header", "-p", "no:cacheprovider")

IMPORTED = ("pytest", "hypothesis", "pandas", "xarray", "scipy.stats", "h5py", "pymc", "nutpie")
"""What tests import and no mistake is in: imported once, for all."""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A mistake: what it is, the module it is in, the text and what stands in its place.

    `tests` are the test files, without `test_` and ending, whose fast tests should catch it.
    """

    name: str
    module: str
    right: str
    wrong: str
    tests: tuple[str, ...]

    def planted(self, source):
        """Return a module's text with the mistake in it."""
        if source.count(self.right) != 1:
            msg = f"{self.name}: {self.right!r} occurs {source.count(self.right)} times, not once."
            raise ValueError(msg)
        return source.replace(self.right, self.wrong)


MISTAKES = (
    Mistake(
        name="5 instead of 6 in C = 6 N D",
        module="laws",
        right="FLOP_PER_PARAMETER_AND_TOKEN = 6.0",
        wrong="FLOP_PER_PARAMETER_AND_TOKEN = 5.0",
        tests=("optimum",),
    ),
    Mistake(
        name="alpha and beta swapped in the exponent of N*",
        module="optimum",
        right="    return beta / (alpha + beta)\n",
        wrong="    return alpha / (alpha + beta)\n",
        tests=("optimum",),
    ),
    Mistake(
        name="alpha and beta swapped in the size of N*",
        module="optimum",
        right="((alpha / beta) ** q * A / B)",
        wrong="((beta / alpha) ** q * A / B)",
        tests=("optimum",),
    ),
    Mistake(
        name="alpha and beta swapped in the law",
        module="laws",
        right="    return E + A / N**alpha + B / D**beta\n",
        wrong="    return E + A / N**beta + B / D**alpha\n",
        tests=("laws",),
    ),
    Mistake(
        name="log10 for ln of the losses",
        module="build",
        right='"observed_log_loss": np.log(loss),',
        wrong='"observed_log_loss": np.log10(loss),',
        tests=("build",),
    ),
    Mistake(
        name="log2 for ln: a bit taken for a nat",
        module="sweeps",
        right='"bits": math.log(2),',
        wrong='"bits": math.log2(2),',
        tests=("tables",),
    ),
    Mistake(
        name="a lost Jacobian of the run effects",
        module="noise_density",
        right=" * (effects[j] ** 2 + LOG_2_PI) + math.log(widths[j])",
        wrong=" * (effects[j] ** 2 + LOG_2_PI)",
        tests=("written_density",),
    ),
    Mistake(
        name="a lost Jacobian of a scale sampled as its logarithm",
        module="written_density",
        right="- math.log(scale) - 0.5 * square + x",
        wrong="- math.log(scale) - 0.5 * square",
        tests=("written_density",),
    ),
    Mistake(
        name="sigma squared for sigma in the model",
        module="noise",
        right="    return sqrt(sigma**2 + relative_loss_se**2)",
        wrong="    return sigma**2 + relative_loss_se**2",
        tests=("build",),
    ),
    Mistake(
        name="sigma for sigma squared in the compiled density",
        module="noise_density",
        right="square[i] = scale[i] ** 2 + runs[3, i] ** 2",
        wrong="square[i] = scale[i] + runs[3, i] ** 2",
        tests=("written_density",),
    ),
    Mistake(
        name="a study dropped from the default set",
        module="studies",
        right='    "marin2026-comma",\n    "marin2026-dclm",\n',
        wrong='    "marin2026-comma",\n',
        tests=("studies",),
    ),
    Mistake(
        name="the last study dropped from the population",
        module="population_density",
        right="for i in range(int(data[0])):",
        wrong="for i in range(int(data[0]) - 1):",
        tests=("population_density",),
    ),
    Mistake(
        name="the sign of the embedding term in run tables",
        module="counting",
        right='body + omega * _column(runs, "head")',
        wrong='body - omega * _column(runs, "head")',
        tests=("counting",),
    ),
    Mistake(
        name="the sign of the embedding term along a family",
        module="counting",
        right="CountTerms(linear=omega_of(counting, architecture) * architecture.gamma)",
        wrong="CountTerms(linear=-omega_of(counting, architecture) * architecture.gamma)",
        tests=("counting",),
    ),
    Mistake(
        name="two vocabulary matrices where they are tied",
        module="architecture",
        right="return (1.0 if self.tied else 2.0) + positions",
        wrong="return (2.0 if self.tied else 1.0) + positions",
        tests=("counting",),
    ),
    Mistake(
        name="attention charged twice in Porian's FLOP",
        module="counting",
        right="return CountTerms(square=attention, linear",
        wrong="return CountTerms(square=2 * attention, linear",
        tests=("counting",),
    ),
    Mistake(
        name="one anchor for N and D",
        module="laws",
        right="log_B = log_term_D + beta * math.log(ANCHOR_D)",
        wrong="log_B = log_term_D + beta * math.log(ANCHOR_N)",
        tests=("laws",),
    ),
    Mistake(
        name="q on the wrong side in the nested law",
        module="laws",
        right="(B / D**beta) ** (1 / q)) ** q",
        wrong="(B / D**beta) ** q) ** (1 / q)",
        tests=("laws",),
    ),
    Mistake(
        name="alpha_N and alpha_D swapped in Kaplan's law",
        module="laws",
        right="(alpha_N / alpha_D) + D_c / D) ** alpha_D",
        wrong="(alpha_D / alpha_N) + D_c / D) ** alpha_D",
        tests=("laws",),
    ),
    Mistake(
        name="nu one too small",
        module="build",
        right='known["nu"] = 1 + latents["nu_minus_one"]',
        wrong='known["nu"] = latents["nu_minus_one"]',
        tests=("build",),
    ),
    Mistake(
        name="the share of E in place of the rest",
        module="laws",
        right='log_loss + log1p(-latents["offset_share"])',
        wrong='log_loss + log1p(-latents["size_share"])',
        tests=("laws",),
    ),
    Mistake(
        name="the noise grows with D/N instead of falling",
        module="noise",
        right="(math.log(RATIO) + log_N - log_D)",
        wrong="(math.log(RATIO) - log_N + log_D)",
        tests=("build",),
    ),
    Mistake(
        name="the two halves of the bridge not weighed by their sizes",
        module="evidence",
        right="np.log(from_posterior.mean()) - share",
        wrong="np.log(from_posterior.mean()) + 1.0",
        tests=("evidence",),
    ),
    Mistake(
        name="the bridge's proposal without its normalisation",
        module="evidence",
        right="at_proposal = density.values(points) - proposal.logpdf(points)",
        wrong="at_proposal = density.values(points)",
        tests=("evidence",),
    ),
    Mistake(
        name="the interim prior not divided out in the population",
        module="mixtures",
        right="left = precision - np.eye(2)",
        wrong="left = precision",
        tests=("mixtures",),
    ),
    Mistake(
        name="Shapley weights of the wrong sets",
        module="attribution",
        right="math.factorial(size) * math.factorial(n - size - 1)",
        wrong="math.factorial(size) * math.factorial(n - size)",
        tests=("attribution",),
    ),
    Mistake(
        name="ln for log10 in decades beyond the data",
        module="discrepancy",
        right="low, high = np.log10(limits[0]), np.log10(limits[1])",
        wrong="log, low, high = np.log([compute, limits[0], limits[1]])",
        tests=("discrepancy",),
    ),
    Mistake(
        name="the gate passes what has not mixed",
        module="diagnostics",
        right='*_failing(names, r_hat, "R-hat", lambda value: value < MAX_R_HAT),',
        wrong='*_failing(names, r_hat, "R-hat", lambda value: value > 0),',
        tests=("diagnostics",),
    ),
    Mistake(
        name="divergences are not counted",
        module="diagnostics",
        right='divergences = int(np.sum(stats["diverging"]))',
        wrong="divergences = 0",
        tests=("diagnostics",),
    ),
    Mistake(
        name="a window's limits on the wrong side",
        module="studies",
        right='values < limit if side == "at least" else values > limit',
        wrong='values > limit if side == "at least" else values < limit',
        tests=("studies",),
    ),
    Mistake(
        name="compute wasted with E left in the reducible loss",
        module="regret",
        right='reducible = self.lowest - self.values.get("E", 0.0)',
        wrong="reducible = self.lowest",
        tests=("regret",),
    ),
    Mistake(
        name="variance for standard deviation in a Normal prior",
        module="priors",
        right='"Normal": lambda mu, sigma: stats.norm(mu, sigma),',
        wrong='"Normal": lambda mu, sigma: stats.norm(mu, sigma**2),',
        tests=("priors",),
    ),
)


def main():
    """Plant every mistake, print the table and, where asked, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="also write the page to this file")
    parser.add_argument("--only", default="", help="part of the names of the mistakes to plant")
    parser.add_argument(
        "--results", type=Path, help="what was caught so far; an interrupted run goes on from there"
    )
    parser.add_argument("--page-only", action="store_true", help="the page of the results so far")
    options = parser.parse_args()
    chosen = [one for one in MISTAKES if options.only in one.name]
    known = {}
    if options.results and options.results.is_file():
        known = json.loads(options.results.read_text(encoding="utf-8"))
    if not options.page_only:
        plant(chosen, known, options.results)
    caught = {one: known.get(one.name) for one in chosen}
    text = page(caught)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    sys.exit(int(not all(caught.values())))


def plant(chosen, known, results):
    """Plant mistakes whose test is not known yet; write what is known to a file as it grows."""
    for one in chosen:
        if not known.get(one.name):
            known[one.name] = failed_test(one, [f"test_{name}.py" for name in one.tests])
        print(f"{one.name}: {known[one.name] or 'NOT CAUGHT'}", file=sys.stderr, flush=True)
        if results:
            results.write_text(json.dumps(known, indent=1), encoding="utf-8")
    print("without a mistake:", file=sys.stderr, flush=True)
    broken = failed_test(None, sorted({known[one.name] for one in chosen} - {""}))
    if broken:
        sys.exit(f"{broken} fails without a mistake, too")


def failed_test(mistake, tests):
    """Return the first fast test that fails in a copy of the package, "" where none does.

    Parameters
    ----------
    mistake : Mistake or None
        What is planted in the copy.
    tests : sequence of str
        Files of tests, or single ones (file::test).
    """
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        copy = copied(Path(folder))
        if mistake is not None:
            path = copy / "scalebayes" / f"{mistake.module}.py"
            text = mistake.planted(path.read_text(encoding="utf-8"))
            path.write_text(text, encoding="utf-8")
        code, told = run_there(copy, [f"tests/{one}" for one in tests])
    if code == 0:
        return ""
    found = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", told, re.MULTILINE)
    if not found:
        sys.exit(f"the tests did not run:\n{told[-3000:]}")
    return found.group(1).partition("[")[0]


def run_there(copy, tests):
    """Run fast tests of a copy in a child process that has other packages imported already.

    Parameters
    ----------
    copy : Path
    tests : sequence of str

    Returns
    -------
    code : int
        pytest's exit code.
    told : str
        What it printed.
    """
    for name in IMPORTED:
        importlib.import_module(name)
    output = copy / "output.txt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with idle threads about
        child = os.fork()
    if child == 0:
        code = 99
        try:
            with output.open("w", encoding="utf-8") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            code = _tested(copy, tests)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), output.read_text(encoding="utf-8", errors="replace")


def _tested(copy, tests):
    os.chdir(copy)
    os.environ |= {"PYTHONPATH": str(copy), "SCALEBAYES_CACHE": str(copy / "cache")}
    sys.path.insert(0, str(copy))
    package = importlib.import_module("scalebayes")
    if not Path(package.__file__).is_relative_to(copy):
        sys.exit(f"{package.__file__} is not the copy")
    code = int(importlib.import_module("pytest").main([*FAST, *tests]))
    sys.stdout.flush()
    return code


def copied(folder):
    """Copy what the tests need into a folder and return it."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=LEFT_BEHIND)
        else:
            shutil.copy(source, folder / name)
    return folder


def page(caught):
    """Return the page of mistakes and the tests that caught them, in Markdown."""
    said = {"": "**not caught**", None: "not planted yet"}
    rows = [
        f"| {one.name} | `{one.module}.py` | {said.get(test, f'`{test}`')} |"
        for one, test in caught.items()
    ]
    planted = [test for test in caught.values() if test is not None]
    text = (
        f"{sum(map(bool, planted))} of {len(planted)} mistakes planted so far are caught. Each was "
        "written into a copy of the package, and the fast tests of one or two files were run there "
        "until one failed: the one named here."
    )
    if len(planted) == len(caught):  # `plant` ends with this check
        text += " Without a mistake all of these pass."
    return "\n\n".join(
        (
            "# Planted mistakes",
            "Made by `make mistakes` (`python tools/planted_mistakes.py -o "
            "docs/planted_mistakes.md`).",
            textwrap.fill(text, 100),
            "\n".join(("| mistake | planted in | caught by |", "| --- | --- | --- |", *rows)),
        )
    )


if __name__ == "__main__":
    main()
