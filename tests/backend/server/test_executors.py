"""Workers as real processes, each a small script that speaks the link, under a real JobManager."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from small_server import ROOT, Server

from backend.server import link
from backend.server.executors import LocalExecutor, WorkerProcess
from backend.server.processes import find_processes_with, is_same_process, start_mark

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.fixture
def address():
    folder = Path(tempfile.mkdtemp())  # pytest's own paths are too long for a socket
    yield link.link_address(folder)
    shutil.rmtree(folder)


@pytest.fixture
def start(tmp_path, address):
    servers = []

    def start(*given, **environment):
        servers.append(Server(tmp_path / "state", address, *given, **environment))
        return servers[-1]

    yield start
    for server in servers:
        for worker in server.executor._running.values():  # of servers that were left as if killed
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        if not server.socket.closed:
            server.leave()


def processes_of(server, job):
    """The numbers of the processes that ran the job, in order."""
    return [int(line) for line in (server.store.job_folder(job) / "run" / "processes").read_text().split()]


def test_a_job_runs_to_its_end_and_the_worker_stays_for_the_next(start):
    server = start()
    jobs = [server.submit("key-000001"), server.submit("key-000002")]

    server.until(lambda: all(server.state(job).status == "finished" for job in jobs))

    assert [server.state(job).step for job in jobs] == [10, 10]
    assert processes_of(server, jobs[0]) == processes_of(server, jobs[1])
    server.close()


@pytest.mark.parametrize(
    ("habit", "loss"),
    [("dies", "worker-died"), ("exits", "worker-died"), ("is-stopped", "worker-hung"), ("hangs", "worker-hung")],
)
def test_a_job_goes_on_in_another_process_when_its_worker_is_lost(start, habit, loss):
    server = start(habit)
    job = server.submit()

    server.until(lambda: server.state(job).status == "finished")

    assert (server.state(job).step, server.state(job).restarts) == (10, 1)
    assert len(server.listener.logged(loss)) == 1
    first, second = processes_of(server, job)
    assert first != second
    assert start_mark(first) == ""
    server.close()


def test_what_a_lost_worker_had_started_is_killed_with_it(start, tmp_path):
    child_file = tmp_path / "child"
    server = start("waits-with-child", CHILD_FILE=str(child_file))
    job = server.submit()

    server.until(lambda: server.state(job).restarts == 1)

    child = int(child_file.read_text())
    server.until(lambda: start_mark(child) == "", seconds=5)
    server.close()


def test_a_new_server_kills_the_stopped_worker_of_a_killed_one_and_goes_on(start):
    old = start("is-stopped", PATIENCE="60")
    job = old.submit()
    old.until(lambda: old.state(job).step == 5)
    (left_over,) = old.store.workers()
    old.leave()

    new = start()
    assert not is_same_process(left_over.pid, left_over.start_mark)
    new.until(lambda: new.state(job).status == "finished")

    assert new.state(job).step == 10
    assert len(processes_of(new, job)) == 2
    new.close()


def test_nothing_is_lost_and_nothing_runs_twice_when_the_server_is_killed(start, tmp_path, address):
    command = [sys.executable, str(Path(__file__).parent / "small_server.py"), str(tmp_path / "state"), address]
    paths = os.pathsep.join(str(ROOT / folder) for folder in (".", "tests", "tests/protocol"))
    killed = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths, "PATIENCE": "60"})
    deadline = time.monotonic() + 60
    while not any(each.read_text() == "5" for each in tmp_path.glob("state/jobs/*/run/count")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.kill()
    killed.wait()

    new = start()
    jobs = [record.job for record in new.store.jobs()]
    new.until(lambda: all(new.state(job).status == "finished" for job in jobs))

    assert [new.state(job).step for job in jobs] == [10, 10, 10]
    assert [len(processes_of(new, job)) for job in jobs] == [2, 1, 1]  # the first was stopped in its middle
    assert start_mark(processes_of(new, jobs[0])[0]) == ""
    new.close()


def test_shutting_down_ends_workers_cleanly_and_the_next_server_goes_on(start):
    old = start()
    job = old.submit()
    old.until(lambda: old.state(job).step >= 2)

    old.close()
    assert [line["exit_code"] for line in old.listener.logged("worker-ended")] == [0]
    assert old.store.job_folder(job).joinpath("run", "count").exists()
    new = start()
    new.until(lambda: new.state(job).status == "finished")

    assert new.state(job).restarts == 0
    new.close()


@pytest.mark.parametrize(
    ("device", "visible_to_server", "visible_to_worker"),
    [("cuda:3", "", "3"), ("cuda:1", "4,7", "7"), ("cuda", "4,7", "4,7"), ("cpu", "4,7", "")],
)
def test_each_worker_sees_its_own_gpu_alone(tmp_path, device, visible_to_server, visible_to_worker):
    executor = LocalExecutor(
        (device,),
        lambda: "-",
        lambda worker, order: None,
        output_file=tmp_path / "log",
        command=("sh", "-c", "echo gpus=$CUDA_VISIBLE_DEVICES"),
        environment={"CUDA_VISIBLE_DEVICES": visible_to_server},
    )

    executor.start("0f", device)
    while not executor.poll():
        time.sleep(0.01)

    assert (tmp_path / "log").read_text() == f"gpus={visible_to_worker}\n"


def test_a_process_number_that_was_given_to_another_process_is_not_killed():
    executor = LocalExecutor(("cpu",), lambda: "", lambda worker, order: None)

    # This very process, with another start time: had it been taken for the worker, the test would end here.
    assert not executor.kill_left_over(WorkerProcess("0f", "cpu", os.getpid(), "another start"))


def test_a_worker_whose_number_was_not_stored_is_found_by_its_name(tmp_path):
    executor = LocalExecutor(
        ("cpu",),
        lambda: "-",
        lambda worker, order: None,
        command=(sys.executable, "-c", "import time; time.sleep(1000)"),
    )
    started = executor.start("0123456789abcdef", "cpu")
    deadline = time.monotonic() + 10
    while not find_processes_with("--name", "0123456789abcdef") and time.monotonic() < deadline:
        time.sleep(0.01)  # until the new process has its own command line

    assert executor.kill_left_over(WorkerProcess("0123456789abcdef", "cpu"))

    assert start_mark(started.pid) == ""
    assert executor.poll() == [("0123456789abcdef", -9)]


def test_a_mark_stays_the_same_while_a_process_lives():
    assert start_mark(os.getpid()) == start_mark(os.getpid()) != ""
    assert is_same_process(os.getpid(), start_mark(os.getpid()))
    assert not is_same_process(2**22 + 1, "")  # above the greatest number that Linux gives


def test_a_log_that_cannot_be_written_costs_no_worker(tmp_path):
    executor = LocalExecutor(
        ("cpu",), lambda: "-", lambda worker, order: None, output_file=tmp_path / "missing" / "log", command=("true",)
    )
    executor.start("0f", "cpu")
    ended = []
    while not ended:
        ended = executor.poll()

    assert ended == [("0f", 0)]
