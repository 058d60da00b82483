"""Ctrl-C and kill, sent to real processes: what was sampled is kept, what was saved stays whole."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fits import thinned_design, user_study
from test_cli import run  # noqa: F401

import scalebayes as sb
from scalebayes import gate
from scalebayes.errors import SamplingInterrupted

SHORT = {"draws": 100, "tune": 200, "chains": 2, "cores": 1, "cache": False}
ROOT = Path(__file__).parent.parent

# The command line; says on stdout when nutpie is called, whose fourth call takes minutes.
COMMAND = """
import sys
from scalebayes import cli, nuts
sample, calls = nuts.nutpie.sample, []

def announced(*args, **options):
    calls.append(1)
    if len(calls) == 4:
        options["draws"] = 400000
    print("sampling", flush=True)
    return sample(*args, **options)

nuts.nutpie.sample = announced
cli.main(sys.argv[1:])
"""
LONG = ("--draws", "400000", "--tune", "100", "--cores", "1", "--no-cache")


def started(folder, *arguments, code=COMMAND):
    """A process in a folder, cache and all."""
    environment = os.environ | {"SCALEBAYES_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stopped(process, *, samplings=1, after=3.0, signals=(signal.SIGINT,), gap=0.0):
    """Send signals some seconds after nutpie was called so many times; code, stderr, seconds."""
    try:
        for _ in range(samplings):
            assert process.stdout.readline() == "sampling\n", process.stderr.read()
        time.sleep(after)
        for one in signals:
            process.send_signal(one)
            time.sleep(gap)
        start = time.monotonic()
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, said, time.monotonic() - start


@pytest.mark.slow
def test_an_interrupted_fit_is_kept_beside_its_place_and_says_how_many_draws(tmp_path):
    process = started(tmp_path, "fit", "hoffmann2022-epoch", *LONG, "-o", "x.nc")
    code, said, _ = stopped(process)
    assert code == 130
    n = int(re.search(r"interrupted: (\d+) of 1600000 draws kept in x.nc.partial", said).group(1))
    partial = sb.load_fit(tmp_path / "x.nc.partial")
    assert partial["partial"].sizes["sample"] == partial.attrs["n_draws"] == n > 0
    assert not any(np.isnan(x).any() for x in partial["partial"].data_vars.values())
    assert float(partial["partial"]["alpha"].median()) == pytest.approx(0.345, abs=0.02)
    assert partial.attrs["converged"] == 0
    assert not (tmp_path / "x.nc").exists()


@pytest.mark.slow
def test_no_command_takes_an_interrupted_fit_for_a_fit(tmp_path):
    process = started(tmp_path, "fit", "hoffmann2022-epoch", *LONG, "-o", "x.nc")
    stopped(process)
    for command in (["optimal", "x.nc.partial", "-C", "1e24"], ["report", "x.nc.partial"]):
        refused = started(tmp_path, *command)
        said = refused.communicate(timeout=120)[1]
        assert refused.returncode == 2, said
        assert "partial fit" in said
    assert not (tmp_path / "report.html").exists()


@pytest.mark.slow
def test_an_interrupted_counting_grid_keeps_the_values_of_omega_it_has_done(tmp_path):
    settings = ("-m", "latent-counting", "--draws", "1000", "--tune", "300", "--no-cache")
    process = started(tmp_path, "fit", "marin2026-dclm", *settings, "-o", "x.nc")
    code, said, _ = stopped(process, samplings=4, after=0.1)
    assert code == 130
    assert re.search(r"interrupted: \d+ draws at \d values of omega kept in x.nc.partial", said)
    draws = sb.load_fit(tmp_path / "x.nc.partial")["partial"].to_dataset()
    whole = draws["omega"].groupby(draws["omega"]).count()
    assert (whole >= 4000).sum() >= 3
    assert set(np.unique(draws["omega"])) <= {0.0, 1 / 16, 1 / 4, 1 / 2, 1.0, 2.0, 3.0}


@pytest.mark.slow
def test_a_second_interrupt_ends_the_process_at_once_and_touches_no_saved_fit(tmp_path):
    (tmp_path / "x.nc").write_bytes(b"an earlier fit")
    process = started(tmp_path, "fit", "hoffmann2022-epoch", *LONG, "-o", "x.nc")
    code, _, seconds = stopped(process, signals=(signal.SIGINT, signal.SIGINT), gap=0.05)
    assert code in (130, -signal.SIGINT)  # a shell says 130 of either
    assert seconds < 2
    assert (tmp_path / "x.nc").read_bytes() == b"an earlier fit"


@pytest.mark.slow
def test_a_killed_fit_leaves_the_earlier_one_as_it_was(tmp_path):
    (tmp_path / "x.nc").write_bytes(b"an earlier fit")
    process = started(tmp_path, "fit", "hoffmann2022-epoch", *LONG, "-o", "x.nc")
    code, _, _ = stopped(process, signals=(signal.SIGKILL,))
    assert code == -signal.SIGKILL
    assert (tmp_path / "x.nc").read_bytes() == b"an earlier fit"


SAVING = """
import sys
from pathlib import Path
import xarray as xr
from scalebayes.storage import save_fit
E = ("draw", [float(i) for i in range(9999)])
tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"E": E})})
print("sampling", flush=True)
for i in range(100000):
    tree.attrs = {"i": i}
    save_fit(tree, Path("fit.nc"))
"""


def test_a_process_killed_while_saving_leaves_a_whole_file(tmp_path):
    found = []
    for after in (0.31, 0.47, 0.83):
        code, _, _ = stopped(started(tmp_path, code=SAVING), after=after, signals=(signal.SIGKILL,))
        assert code == -signal.SIGKILL
        found.append(sb.load_fit(tmp_path / "fit.nc").attrs["i"])
    assert max(found) > 0


@pytest.mark.slow
def test_chains_are_threads_so_that_there_is_no_worker_to_lose(tmp_path):
    arguments = ("fit", "hoffmann2022-epoch", *LONG, "--cores", "2", "-o", "x.nc")
    process = started(tmp_path, *arguments)
    assert process.stdout.readline() == "sampling\n"
    time.sleep(2)
    tasks = list(Path(f"/proc/{process.pid}/task").iterdir())
    children = [child for task in tasks for child in (task / "children").read_text().split()]
    code, _, _ = stopped(process, samplings=0, after=0)
    assert len(tasks) > 2
    assert children == []
    assert code == 130


def interrupted_fit(study, hypothesis="normal-noise", **settings):
    with pytest.raises(SamplingInterrupted) as stop:
        sb.fit(study, hypothesis, **SHORT | settings)
    return stop.value.partial


def stop_at_call(monkeypatch, name, n, error=KeyboardInterrupt):
    """Make the n-th call of a function of `gate` an interruption."""
    function, calls = getattr(gate, name), []

    def stopping(*args, **options):
        calls.append(1)
        if len(calls) == n:
            raise error
        return function(*args, **options)

    monkeypatch.setattr(gate, name, stopping)


@pytest.mark.slow
def test_an_interruption_after_the_draws_keeps_all_of_them(monkeypatch):
    stop_at_call(monkeypatch, "bridge_evidence", 1)
    partial = interrupted_fit(user_study())
    assert partial.attrs["n_draws"] == partial.attrs["draws_asked"] == 200
    draws = partial["partial"]
    assert sorted(zip(draws["chain"].values, draws["draw"].values, strict=True)) == [
        (chain, draw) for chain in range(2) for draw in range(100)
    ]


@pytest.mark.slow
def test_a_second_attempt_without_draws_leaves_those_of_the_first(monkeypatch):
    stop_at_call(monkeypatch, "sample", 2, SamplingInterrupted(chains=()))
    partial = interrupted_fit(user_study())  # 100 draws never pass the gate
    assert partial.attrs["n_draws"] == 200


@pytest.mark.slow
def test_draws_under_reference_priors_are_not_taken_for_those_of_the_hypothesis(monkeypatch):
    stop_at_call(monkeypatch, "ascended", 1)  # the gate's look at a reference posterior
    study = thinned_design("hoffmann2022-epoch", every=4)
    partial = interrupted_fit(study, "latent-counting")
    draws = partial["partial"].to_dataset()
    counted = draws["omega"].groupby(draws["omega"]).count()
    assert partial.attrs["n_omega"] == len(counted)
    assert (counted == 200).all()


@pytest.mark.parametrize(
    ("options", "said"), [((), "goes on from there"), (("--no-cache",), "nothing is kept")]
)
def test_an_interrupted_reconciliation_says_what_is_kept(run, monkeypatch, options, said):  # noqa: F811
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setitem(vars(sb), "reconcile", interrupted)
    done = run("reconcile", *options)
    assert done.code == 130
    assert said in done.err


def test_an_interruption_before_any_draw_keeps_nothing_and_says_so(monkeypatch):
    stop_at_call(monkeypatch, "sample", 1)
    assert interrupted_fit(user_study()) is None
