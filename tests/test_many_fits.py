"""Real fits on several processes and on a Dask cluster: the bits of one process."""

import contextlib
import importlib

import pytest
from dask_cluster import dask_cluster
from fits import hoffmann_fit, thinned_design, user_study
from test_cli import run  # noqa: F401

import scalebayes as sb
from scalebayes.calibrate import calibrate
from scalebayes.errors import NotConvergedWarning, StudyError
from scalebayes.leave_out import budget_labels, groups_of, left_out_scores
from scalebayes.many_fits import fit_each
from scalebayes.prior_width import evidence_at_width
from scalebayes.storage import content_digest

FEW = {"simulations": 20, "draws": 100, "tune": 100, "chains": 2}
SHORT = {"draws": 100, "tune": 100, "chains": 2}


def attrs(fit):
    return fit.attrs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*has no workers yet")
def test_simulations_have_the_same_bits_here_on_processes_and_on_a_cluster(tmp_path):
    found = [calibrate(**FEW)]
    with sb.executor(workers=2) as two:
        found.append(calibrate(**FEW, executor=two))
    with dask_cluster(tmp_path) as (address, _), sb.executor(scheduler=address) as cluster:
        found.append(calibrate(**FEW, executor=cluster))
    first, *others = (one.places.to_numpy().tobytes() for one in found)
    assert set(others) == {first}
    assert len({one.problems for one in found}) == 1
    assert all(one.cpu_seconds > 0 for one in found)


@pytest.mark.slow
def test_fits_refits_and_evidences_have_the_same_bits_on_processes(monkeypatch, tmp_path):
    monkeypatch.setenv("SCALEBAYES_CACHE", str(tmp_path))
    studies = [user_study(seed=seed) for seed in (1, 2, 3)]
    pairs = [(study, "normal-noise") for study in studies]
    fit = hoffmann_fit()
    budgets = dict(list(groups_of(budget_labels(fit)).items())[:3])
    monkeypatch.setattr("scalebayes.prior_width.MAX_EVIDENCE_SE", 1e-6)  # none is reweighted

    def everything(**options):
        fits = [content_digest(one) for one in fit_each(pairs, cache=False, **SHORT, **options)]
        scores = left_out_scores(fit, budgets, cache=False, **options)
        width = evidence_at_width(fit, 2.0, **options)
        return fits, scores.score.tobytes(), scores.se.tobytes(), scores.problems, width

    with pytest.warns(NotConvergedWarning):  # 100 draws are few
        here = everything(cores=1)
    with sb.executor(workers=2) as two, pytest.warns(NotConvergedWarning) as warned:
        there = everything(executor=two)
    assert there == here
    assert len({str(one.message) for one in warned}) == 3


@pytest.mark.slow
def test_a_fit_made_by_a_process_is_in_the_cache_and_what_is_taken_from_it_is_counted(
    monkeypatch, tmp_path, caplog
):
    monkeypatch.setenv("SCALEBAYES_CACHE", str(tmp_path))
    pairs = [(thinned_design("hoffmann2022-epoch", every=4), "normal-noise")]
    settings = {"draws": 500, "tune": 500, "chains": 2}
    with sb.executor(workers=1) as one:
        (made,) = fit_each(pairs, executor=one, **settings)
        with caplog.at_level("INFO", logger="scalebayes.cache"):
            (again,) = fit_each(pairs, executor=one, summary=attrs, **settings)
    assert [record.message.split()[0] for record in caplog.records] == ["hit"]
    assert again == made.attrs
    here = sb.fit(*pairs[0], **settings)
    assert content_digest(here) == content_digest(made)


def test_a_command_takes_processes_or_a_scheduler_not_both(run):  # noqa: F811
    both = ("--workers", "2", "--scheduler", "tcp://127.0.0.1:9")
    end = run("calibrate", "--sbc", "20", *both)
    assert end.code == 2
    assert "with a scheduler give none" in end.err
    assert run("calibrate", "--sbc", "20", "--workers", "0").code == 2


@pytest.mark.parametrize(
    ("command", "target"),
    [
        (("calibrate", "--sbc", "20"), "scalebayes.calibrate.calibrate"),
        (("calibrate", "--forecast"), "scalebayes.forecast.forecast"),
        (("reconcile",), "scalebayes.reconcile"),
        (("pool",), "scalebayes.fit_each"),
        (("compare", "marin2026-dclm", "-m", "kaplan", "-m", "nested"), "scalebayes.fit_each"),
    ],
)
def test_commands_of_many_fits_hand_on_the_executor_asked_for(run, monkeypatch, command, target):  # noqa: F811
    asked = []

    @contextlib.contextmanager
    def executor(*arguments, **options):
        asked.append((arguments, options))
        yield "the executor"

    def fits(*_, executor, **__):
        asked.append(executor)
        raise StudyError("none")

    monkeypatch.setattr(sb, "executor", executor)
    module, name = target.rsplit(".", 1)
    monkeypatch.setattr(importlib.import_module(module), name, fits)
    assert run(*command, "--workers", "3").code == 2
    assert asked == [((3,), {"scheduler": None}), "the executor"]
    assert run(*command, "--scheduler", "tcp://10.0.0.1:8786").code == 2
    assert asked[2:] == [((None,), {"scheduler": "tcp://10.0.0.1:8786"}), "the executor"]
    assert run(*command).code == 2
    assert asked[4:] == [None]
