"""The package as a whole: what may import what, what must not be there, what is shipped."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "scalebayes"

# A module imports only from those before it. A new module gets its place here.
ORDER = (
    *(
        "importing",
        "errors",
        "executors",
        "codes",
        "machine_code",
        "vector_math",
        "progress",
        "laws",
        "noise",
        "coordinates",
        "architecture",
        "counting",
        "flops",
        "first_order",
    ),
    *("surface", "fitted_law", "optimum"),
    *("table_files", "column_hints", "tables", "long_tables", "sizes", "sweeps"),
    *("study", "studies", "published"),
    *("regressions", "designs", "frontiers", "instruments", "classical", "priors", "hypotheses"),
    *(
        "isoflop",
        "design_information",
        "check",
        "likelihoods",
        "build",
        "noise_density",
        "additive_density",
        "isoflop_density",
    ),
    *("written_density", "compiled", "nuts", "sampling"),
    *("diagnostics", "evidence"),
    *(
        "gate",
        "counting_grid",
        "stored_trees",
        "seal",
        "storage",
        "manifest",
        "trees",
        "partial_fits",
        "verify",
        "fit",
        "expectation",
        "mixtures",
        "recipes",
        "study_cells",
    ),
    *("verdicts", "leave_out", "prior_width", "hypothesis_table"),
    *("population_density", "population_model", "population_draws"),
    *("pooled_draws", "pooled_studies"),
    *("population_trees", "population_checks"),
    *("omega_by_group_model", "omega_by_group_density", "omega_by_group"),
    *("new_study", "population"),
    *("discrepancy", "ratio_literature", "predict", "discrepant_optimum"),
    *("equal_loss", "regret", "recommend", "inference_optimum"),
    *("joined_study", "literature", "fitting", "many_fits"),
    *("synthesis_slope", "synthesis_data", "synthesis_model", "synthesis_density"),
    *("synthesis_draws", "synthesis"),
    *("scores", "held_out", "discrepancy_evidence", "discrepancy_model", "forecast"),
    *("forecast_stacking", "forecast_subsamples"),
    *(
        "simulate",
        "calibrate",
        "calibrate_population",
        "comparison",
        "compare",
        "predictive_checks",
        "law_views",
        "small_multiples",
        "check_plots",
        "surface_plots",
        "residual_plots",
        "posterior_plots",
        "omega_plots",
        "study_plots",
        "ratio_plots",
        "exponent_plots",
        "population_plots",
        "synthesis_plots",
    ),
    *(
        "listing",
        "text_table",
        "spreadsheet",
        "json_rows",
        "report",
        "population_report",
        "compare_report",
        "literature_report",
        "population_findings",
        "synthesis_report",
        "findings",
    ),
    *("attribution", "recipe_chain", "replays", "advice", "gap_record", "gap"),
    *("draw_texts", "gap_findings", "gap_tables", "gap_plots"),
    *("page", "figure_files", "gap_sections", "reconcile_page", "reconcile", "plan"),
    *(
        "model_graph",
        "model_pages",
        "prior_plots",
        "plots",
        "formatting",
        "discrepancy_report",
        "decision_report",
        "markdown",
        "report_parts",
        "fit_facts",
        "fit_findings",
        "fit_page",
        "population_page",
        "comparison_page",
        "reporting",
        "arguments",
        "options",
        "console",
    ),
    *(
        "calibration_report",
        "forecast_report",
        "check_report",
        "cli_models",
        "cli_optimal",
        "cli_pool",
        "cli_check",
        "cli_compare",
        "cli_cache",
        "cli_calibrate",
        "cli_report",
        "cli_verify",
        "cli",
    ),
)
MAY_IMPORT_PYMC = {
    *("likelihoods", "build", "nuts", "sampling", "compiled", "fit", "population", "discrepancy"),
    *("simulate", "population_model", "omega_by_group_model", "model_graph"),
    *("synthesis_model", "discrepancy_model"),
}
SAMPLERS = {"pymc", "pytensor", "nutpie"}
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}

SOURCES = sorted(path for path in PACKAGE.glob("*.py") if path.stem != "__init__")
MODULES = [pytest.param(path, id=path.stem) for path in SOURCES]


def imported(path):
    """Every module that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "scalebayes":
            yield from (f"scalebayes.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            yield node.module


def top_levels(path):
    return {name.partition(".")[0] for name in imported(path)}


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def named(requirement):
    """The name of a required distribution."""
    return re.split("[<>=]", requirement)[0]


def package_imports(path):
    return {name.split(".")[1] for name in imported(path) if name.startswith("scalebayes.")}


@pytest.mark.parametrize("path", MODULES)
def test_a_module_imports_only_from_those_before_it(path):
    assert path.stem in ORDER, "give the module its place in ORDER"
    allowed = set(ORDER[: ORDER.index(path.stem)])
    assert package_imports(path) <= allowed


@pytest.mark.parametrize("path", MODULES)
def test_only_modules_that_build_or_sample_import_pymc(path):
    assert path.stem in MAY_IMPORT_PYMC or not top_levels(path) & SAMPLERS


@pytest.mark.parametrize("path", MODULES)
def test_nothing_is_unpickled_or_run_from_text(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {node.func.id for node in calls if isinstance(node.func, ast.Name)}
    keywords = {keyword.arg for node in calls for keyword in node.keywords}
    assert not top_levels(path) & UNSAFE_MODULES
    assert not called & {"eval", "exec"}
    assert "allow_pickle" not in keywords


def test_hypotheses_types_and_commands_are_shipped():
    project = pyproject()
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["scalebayes"]
    assert wheel["force-include"] == {"models": "scalebayes/models"}
    assert list((ROOT / "models").glob("*.toml"))
    assert (PACKAGE / "py.typed").is_file()
    assert project["project"]["scripts"] == {"scalebayes": "scalebayes.cli:main"}


def test_every_dependency_has_a_lower_and_an_upper_bound():
    project = pyproject()["project"]
    extras = project["optional-dependencies"].values()
    for requirement in [*project["dependencies"], *(one for extra in extras for one in extra)]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+,<[\d.]+", requirement), requirement


def test_everything_imported_is_a_declared_dependency():
    project = pyproject()["project"]
    declared = set(map(named, project["dependencies"]))
    asked_for = set(map(named, project["optional-dependencies"]["dask"]))  # `executor` says so
    used = set().union(*map(top_levels, SOURCES)) - set(sys.stdlib_module_names) - {"scalebayes"}
    pulled_in = {"arviz_base", "arviz_stats", "arviz_plots"}  # what arviz is made of
    named_otherwise = {"sklearn": "scikit-learn"}
    needed = {named_otherwise.get(name, name) for name in used}
    assert needed <= declared | pulled_in | asked_for


def test_dask_is_an_extra_that_the_tests_install_in_the_same_versions():
    extras = pyproject()["project"]["optional-dependencies"]
    assert set(map(named, extras["dask"])) == {"distributed"}
    assert set(extras["dask"]) <= set(extras["test"])


def test_the_three_interpreters_are_named_for_uv_and_pyenv():
    assert (ROOT / ".python-version").read_text().split() == ["3.13", "3.12", "3.11"]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_no_lock_file_is_tracked():
    command = ["git", "ls-files", "uv.lock", "*.lock"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert listed.stdout == ""


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["--version"]])
def test_help_comes_without_the_heavy_imports(arguments):
    code = (
        "import sys\nfrom scalebayes.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'pymc', 'pytensor', 'pandas', 'xarray', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_what_a_written_form_needs_comes_without_pymc():
    code = (
        "import sys\nimport numpy as np\nimport scalebayes.fitting\n"
        "from scalebayes.build import run_data\nfrom scalebayes.compiled import log_density\n"
        "from scalebayes.hypotheses import load_hypothesis\n"
        "from scalebayes.studies import load_study\n"
        "hypothesis = load_hypothesis('hoffmann-total')\n"
        "data = run_data(load_study('hoffmann2022-epoch'), hypothesis)\n"
        "assert np.isfinite(log_density(data, hypothesis).values(np.zeros((1, 7))))\n"
        "heavy = {'pymc', 'pytensor', 'sklearn'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def bare_checkout(folder):
    """A copy of what the set-up needs, without .venv."""
    for name in ("pyproject.toml", "Makefile", "tools"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)


def run_make(folder, *arguments, path):
    environment = {"PATH": str(path), "HOME": str(folder / "nobody")}
    command = [shutil.which("make"), "--no-print-directory", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def path_without_python(tmp_path):
    """A folder of the few tools that the set-up calls, with no Python among them."""
    tools = tmp_path / "tools on path"
    tools.mkdir()
    for name in ("sh", "cat", "cksum", "sed", "head", "tail", "dirname", "basename", "rm"):
        (tools / name).symlink_to(shutil.which(name))
    return tools


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_machine_without_python_is_told_what_to_do(tmp_path, path_without_python):
    bare_checkout(tmp_path)
    done = run_make(tmp_path, "test", path=path_without_python)
    assert done.returncode != 0
    assert "needs CPython 3.12, 3.13 or 3.14" in done.stderr
    assert "uv python install 3.13" in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_an_interpreter_that_fails_is_passed_over_and_named(tmp_path, path_without_python):
    bare_checkout(tmp_path)
    shim = path_without_python / "python3.13"
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.13: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    done = run_make(tmp_path, "venv", path=path_without_python)
    assert done.returncode != 0
    assert f"{shim} pyenv: python3.13: command not found" in done.stderr
