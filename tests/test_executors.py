"""Many tasks on real processes: their order, their bits, and what a killed one costs."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
from dask_cluster import dask_cluster
from worker_tasks import (
    alive,
    deadly,
    process_of,
    refused,
    runs,
    squared,
    threads,
    versions_changed,
    warned,
)

import scalebayes as sb
from scalebayes.errors import CacheWarning, InputError, StudyError, WorkerLost
from scalebayes.executors import ATTEMPTS, executor, mapped

ROOT = Path(__file__).parent.parent
SQUARES = [item * item for item in range(8)]


@pytest.fixture
def noted(tmp_path):
    """The folder in which tasks note their runs."""
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def kill_when_begun(folder, item, after=0.0):
    """Kill the process that takes up an item, from outside and while it is at it."""

    def kill():
        process = process_of(folder, item)
        time.sleep(after)
        os.kill(process, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_a_function_of_a_script_that_names_the_package_can_travel():
    assert pickle.loads(pickle.dumps(sb)) is sb


def test_here_values_come_one_by_one_in_order(noted):
    values = mapped(partial(squared, folder=noted), range(8))
    assert next(values) == 0
    assert runs(noted) == {0: 1}
    assert list(values) == SQUARES[1:]


def test_two_processes_give_values_in_the_order_of_the_items(noted):
    with executor(workers=2) as two:
        items = [5, 0, 3, 1]
        found = list(mapped(partial(squared, folder=noted, seconds=0.1), items, executor=two))
    assert found == [25, 0, 9, 1]
    assert len({path.name.split("-")[1] for path in noted.iterdir()}) == 2


def test_processes_have_ended_when_the_block_has(noted):
    with executor(workers=1) as one:
        list(mapped(partial(squared, folder=noted), range(2), executor=one))
    assert not alive(process_of(noted, 0))


def test_a_process_that_is_killed_costs_its_own_task_only(noted):
    task = partial(squared, folder=noted, seconds=0.4)
    with executor(workers=2) as two:
        killer = kill_when_begun(noted, 3)
        assert list(mapped(task, range(8), executor=two)) == SQUARES
        killer.join()
    assert runs(noted) == {item: 1 + (item == 3) for item in range(8)}


def test_a_task_that_always_kills_its_process_is_named_and_tried_a_few_times(noted):
    with executor(workers=2) as two:
        task = partial(deadly, folder=noted, victim=3)
        with pytest.raises(WorkerLost, match=f"fit 3: .* process died, {ATTEMPTS} times"):
            list(mapped(task, range(8), executor=two, named="fit {}".format))
        assert list(mapped(abs, [-1], executor=two)) == [1]


def test_a_pool_of_ones_own_serves_and_its_death_is_said(noted):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(mapped(partial(squared, folder=noted), range(8), executor=pool)) == SQUARES
        with pytest.raises(WorkerLost, match=r"\d: no result: .* terminated abruptly"):
            list(mapped(partial(deadly, folder=noted, victim=3), range(8), executor=pool))


@pytest.mark.parametrize("workers", [None, 2])
def test_what_a_task_raises_is_passed_on_and_the_rest_is_not_begun(noted, workers):
    task = partial(refused, folder=noted, victim=2)
    with pytest.raises(StudyError, match="^2 is no study$"):
        if workers is None:
            list(mapped(task, range(200)))
        else:
            with executor(workers=workers) as two:
                list(mapped(task, range(200), executor=two))
    assert len(runs(noted)) < 100


def test_the_number_of_reports_is_that_of_the_items_wherever_they_are_done():
    for workers in (None, 2):
        said = []
        if workers is None:
            list(mapped(abs, range(5), advance=said.append))
        else:
            with executor(workers=workers) as two:
                list(mapped(abs, range(5), executor=two, advance=said.append))
        assert len(said) == 5
        assert said[0] == "0"


def test_an_executor_holds_a_few_tasks_at_a_time_and_each_of_them_in_the_end(monkeypatch):
    monkeypatch.setattr("scalebayes.executors.AHEAD", 3)
    held, most = set(), []

    class Counting(ThreadPoolExecutor):
        def submit(self, *arguments):
            future = super().submit(*arguments)
            held.add(future)
            most.append(sum(not one.done() for one in held))
            return future

    with Counting(2) as pool:
        assert list(mapped(abs, range(0, -20, -1), executor=pool)) == list(range(20))
    assert len(held) == 20
    assert max(most) <= 3


def test_what_a_process_warns_of_is_warned_of_here():
    with executor(workers=1) as one, pytest.warns(CacheWarning, match="the cache is full"):
        assert list(mapped(warned, [7], executor=one)) == [7]


def test_linear_algebra_has_one_thread_in_every_process():
    with executor(workers=1) as one:
        (found, told), *_ = mapped(threads, [0], executor=one)
    assert found == {1}
    assert told == "1"


def test_a_worker_of_other_versions_is_refused_with_what_differs():
    with executor(workers=1) as one:
        list(mapped(versions_changed, [0], executor=one))
        with pytest.raises(InputError, match=r"has other versions: numpy 0\.0 for"):
            list(mapped(abs, [0], executor=one))


def test_what_cannot_be_an_executor_is_refused(monkeypatch):
    with pytest.raises(InputError, match="at least 1, got 0"), executor(workers=0):
        pass
    both = executor(workers=2, scheduler="tcp://127.0.0.1:1")
    with pytest.raises(InputError, match="with a scheduler give none"), both:
        pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    without = executor(scheduler="tcp://127.0.0.1:1")
    with pytest.raises(InputError, match=r"pip install 'scalebayes\[dask\]'"), without:
        pass


@pytest.mark.parametrize("address", ["nonsense", "10.0.0.1:8786", "tcp://10.0.0.1", "tcp://a:b"])
def test_what_is_no_address_is_refused(address):
    with (
        pytest.raises(InputError, match="write it as tcp://HOST:PORT"),
        executor(scheduler=address),
    ):
        pass


def test_an_address_without_a_scheduler_is_said(monkeypatch):
    monkeypatch.setattr("scalebayes.executors.CONNECT_SECONDS", 1)
    nobody = executor(scheduler="tcp://127.0.0.1:9")
    with pytest.raises(InputError, match="no Dask scheduler answers there"), nobody:
        pass


SLEEPING = """
import sys
from functools import partial
from scalebayes.executors import executor, mapped
from worker_tasks import squared

if __name__ == "__main__":
    with executor(workers=2) as two:
        list(mapped(partial(squared, folder=sys.argv[1], seconds=60), range(4), executor=two))
"""


def sleeping(tmp_path, noted):
    """A script whose two processes sleep, and these."""
    script = tmp_path / "script.py"
    script.write_text(SLEEPING)
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    process = subprocess.Popen(
        [sys.executable, script, noted],
        env=os.environ | {"PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return process, [process_of(noted, item) for item in (0, 1)]


def test_an_interrupt_of_the_whole_group_ends_processes_at_once_and_quietly(tmp_path, noted):
    """As a terminal does: Ctrl-C reaches the processes too."""
    process, workers = sleeping(tmp_path, noted)
    os.killpg(process.pid, signal.SIGINT)
    start = time.monotonic()
    said = process.communicate(timeout=30)[1]
    assert time.monotonic() - start < 10
    assert process.returncode == -signal.SIGINT
    assert said.count("Traceback") == 1
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert not any(map(alive, workers))
    assert runs(noted) == {0: 1, 1: 1}


def test_processes_end_with_the_one_that_started_them_even_if_that_is_killed(tmp_path, noted):
    process, workers = sleeping(tmp_path, noted)
    process.kill()
    process.wait()
    process.stderr.close()
    end = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, workers))


@pytest.mark.slow
def test_a_cluster_without_workers_is_said(tmp_path):
    with (
        dask_cluster(tmp_path, workers=0) as (address, _),
        pytest.warns(UserWarning, match="has no workers yet"),
        executor(scheduler=address),
    ):
        pass


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*has no workers yet")
def test_a_dask_worker_that_is_killed_costs_its_own_task_only(tmp_path, noted):
    """In the middle of a task: in the first milliseconds it may not have handed over the last."""
    task = partial(squared, folder=noted, seconds=0.8)
    with dask_cluster(tmp_path) as (address, workers), executor(scheduler=address) as cluster:
        killer = kill_when_begun(noted, 5, after=0.4)
        assert list(mapped(task, range(12), executor=cluster)) == [i * i for i in range(12)]
        killer.join()
        assert sorted(worker.poll() is None for worker in workers) == [False, True]
    assert runs(noted) == {item: 1 + (item == 5) for item in range(12)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*has no workers yet")
def test_a_task_that_kills_dask_workers_and_one_that_raises_are_named(tmp_path, noted):
    with dask_cluster(tmp_path) as (address, _), executor(scheduler=address) as cluster:
        task = partial(refused, folder=noted, victim=2)
        with pytest.raises(StudyError, match="^2 is no study$"):
            list(mapped(task, range(50), executor=cluster))
    environment = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    with (
        dask_cluster(tmp_path / "runs", **environment) as (address, _),
        executor(scheduler=address) as cluster,
        pytest.raises(WorkerLost, match="fit 0: no result: .* workers died"),
    ):
        task = partial(deadly, folder=noted, victim=0)
        list(mapped(task, range(1), executor=cluster, named="fit {}".format))
