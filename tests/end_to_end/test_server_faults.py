"""Faults, each in the midst of a job, with the real server, real workers and the real client: no work is lost.

After each fault the job ends with the same result as one that nothing has disturbed, bit for bit.

Other tests make the same faults where they can look closer, with scripted workers and clocks of their own:

    worker killed, stopped, hung, silent before its first beat   tests/backend/server/test_lost_workers.py
    server killed at any point of what it writes; old workers    tests/backend/server/test_recovery.py
    processes killed and stopped, and what they had started      tests/backend/server/test_executors.py
    worker killed around an edited mesh; SIGTERM to a worker;
      a worker whose server is gone; full disk at a checkpoint   tests/backend/server/test_worker.py
    the wall clock jumps under the job manager                   tests/backend/server/test_lost_workers.py
    a reader without credit, or that is slow                     tests/backend/server/test_server.py, test_outbox.py
    all of it in any order                                       tests/backend/server/test_any_order.py
    hostile clients                                              tests/backend/server/test_hostile.py
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
import zmq
from server_process import (
    REPOSITORY,
    SECONDS,
    ServerProcess,
    is_alive,
    state_of,
    submit,
    tiny_job,
    wait_for_notice,
    wait_for_result,
    wait_for_step,
    wait_until,
)

from backend.checkpoint import newest_checkpoint_step
from protocol.client import Client
from protocol.errors import RequestRefused
from protocol.frames import encode
from protocol.messages import ClientHello, Credit, ListJobs, MeshSnapshot, PauseJob, SubmitAccepted, WatchJob

pytestmark = pytest.mark.slow

STEPS = 12
IN_THE_MIDST = 3
"""A fault comes after so many steps: the first ones, in which kernels are loaded, are patient for minutes."""
CHECKPOINT_SECONDS = ("--checkpoint-seconds", "0.5")


def start_server(folder):
    folder.mkdir(exist_ok=True)
    return ServerProcess(folder, *CHECKPOINT_SECONDS).start()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all faults after which it is as it was. Its worker, if it lives, keeps the prior."""
    running = start_server(tmp_path_factory.mktemp("shared") / "server")
    yield running
    running.close()


@pytest.fixture(scope="module")
def undisturbed(server):
    """The result of a job to which nothing has happened."""
    client = server.client()
    result = wait_for_result(client, submit(client, tiny_job("undisturbed", STEPS)))
    assert (result.step, result.is_partial) == (STEPS, False)
    assert len(result.mesh.faces) > 100
    return result


@pytest.fixture
def own_server(tmp_path):
    running = start_server(tmp_path / "server")
    yield running
    running.close()


def assert_same(result, undisturbed):
    """Every array and every texture, to the bit."""
    assert result.step == undisturbed.step
    assert result.mesh == undisturbed.mesh
    assert result.textures == undisturbed.textures


def begin(server, key):
    """A job in the midst of its steps, and the client that watches it."""
    client = server.client()
    job = submit(client, tiny_job(key, STEPS))
    wait_for_step(client, job, IN_THE_MIDST)
    return client, job


def times_begun(server, job):
    return len(server.log("job-begun", job=job))


def test_a_job_whose_worker_is_killed_in_a_step_goes_on_in_another(server, undisturbed):
    client, job = begin(server, "killed")

    os.kill(server.worker, signal.SIGKILL)
    result = wait_for_result(client, job)

    assert_same(result, undisturbed)
    assert state_of(client, job).restarts == 1
    assert server.log("worker-died", job=job)


def test_a_worker_that_is_stopped_and_one_that_hangs_are_killed_and_their_jobs_go_on(server, own_server, undisturbed):
    """Two servers, so that the time until a worker counts as hung, half a minute at least, passes once."""
    faults = ((server, "stopped", signal.SIGSTOP), (own_server, "hung", signal.SIGUSR1))  # see disturbances/
    begun = []
    for each, key, fault in faults:
        begun.append(begin(each, key))
        os.kill(each.worker, fault)

    results = [wait_for_result(client, job) for client, job in begun]

    for (each, *_), (client, job), result in zip(faults, begun, results, strict=True):
        assert_same(result, undisturbed)
        assert state_of(client, job).restarts == 1
        assert each.log("worker-hung", job=job)


def test_a_client_that_vanishes_finds_its_one_job_under_another_socket(server, undisturbed):
    """It does not know whether its job was accepted, and submits it again with the same key."""
    message = tiny_job("vanished", STEPS)
    program = (
        "import sys, time\n"
        "from server_process import *\n"
        "client = Client(sys.argv[1], 'a test', '0')\n"
        "job = submit(client, tiny_job('vanished', int(sys.argv[2])))\n"
        "client.watch(job)\n"
        f"wait_for_step(client, job, {IN_THE_MIDST})\n"
        "print(job, flush=True)\n"
        "time.sleep(1000)\n"
    )
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    vanishing = subprocess.Popen(
        [sys.executable, "-c", program, server.address, str(STEPS)], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip
    first = vanishing.stdout.readline().strip()
    vanishing.kill()
    vanishing.communicate()

    client = server.client()
    client.watch(first)
    again = [client.request(message, SECONDS) for _ in range(2)]
    snapshot = wait_until(
        lambda: [each for each in client.events() if isinstance(each, MeshSnapshot)], "a snapshot for who came back"
    )[0]
    result = wait_for_result(client, first)
    at_the_end = client.request(message, SECONDS)

    assert [(each.job, each.was_known) for each in (*again, at_the_end)] == [(first, True)] * 3
    assert isinstance(at_the_end, SubmitAccepted)
    assert snapshot.is_full
    assert times_begun(server, first) == 1
    assert [each.key for each in client.request(ListJobs(), SECONDS).jobs].count(message.key) == 1
    assert_same(result, undisturbed)


def test_a_disk_that_is_full_at_checkpoints_costs_nothing_once_there_is_room_again(server, undisturbed):
    """The system refuses the server and its worker every write to any file (RLIMIT_FSIZE), as a full disk does.

    The error is EFBIG instead of ENOSPC, and it hits small files too: harder than a disk, and needs no rights.
    """
    client, job = begin(server, "full-disk")
    folder = server.state / "jobs" / job / "run" / "checkpoints"
    wait_until(lambda: newest_checkpoint_step(folder) is not None, "a first checkpoint")  # a fast machine is before it
    processes = (server.worker, server.process.pid)
    before = [resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY)) for pid in processes]
    try:
        step = wait_for_notice(client, job, "could not be written")
        newest = newest_checkpoint_step(folder)
        with pytest.raises(RequestRefused) as refused:
            client.request(tiny_job("no-room", STEPS), SECONDS)
    finally:  # or no other test gets a job from this server
        for pid, limits in zip(processes, before, strict=True):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)

    result = wait_for_result(client, job)

    assert newest < step
    assert refused.value.code == "internal"
    assert "disk cannot be written" in str(refused.value)
    assert times_begun(server, job) == 1
    assert_same(result, undisturbed)


def test_a_watcher_that_never_reads_disturbs_neither_the_job_nor_who_reads(server, undisturbed):
    """It gives endless credit, so that the server has always something to send to it."""
    context = zmq.Context()
    mute = context.socket(zmq.DEALER)
    mute.linger, mute.rcvhwm, mute.rcvbuf = 0, 1, 4096
    mute.connect(server.address)
    client = server.client()
    job = submit(client, tiny_job("mute", STEPS))
    wish = WatchJob(job=job, channels=("progress", "mesh", "colours", "preview"), snapshots_per_second=60.0, credit=64)
    mute.send_multipart(encode(ClientHello(program="mute", software_version="0"), 1))
    mute.send_multipart(encode(wish, 2))
    client.watch(job, ("progress", "mesh"), snapshots_per_second=60.0).result(SECONDS)
    steps = []
    while not steps or steps[-1] < STEPS - 1:
        assert client.wait(SECONDS)
        steps += [each.step for each in client.events() if isinstance(each, MeshSnapshot)]
        with contextlib.suppress(zmq.Again):
            mute.send_multipart(encode(Credit(job=job, more=64)), zmq.NOBLOCK)

    result = wait_for_result(client, job)
    mute.close()
    context.term()

    assert len(set(steps)) > STEPS / 2  # every step that was made while it watched, but for a few at the beginning
    assert_same(result, undisturbed)


@pytest.mark.parametrize("hours", [-3, 40 * 24])
def test_a_clock_that_jumps_does_no_harm(server, undisturbed, hours):
    """Backwards by a few hours, and forwards by more than any time limit; see disturbances/."""
    client, job = begin(server, f"clock{hours}")

    server.clock.write_text(str(3600 * hours))
    result = wait_for_result(client, job)
    state = state_of(client, job)
    server.clock.unlink()

    assert state.changed_at == pytest.approx(time.time() + 3600 * hours, abs=SECONDS)  # so that it did jump
    assert times_begun(server, job) == 1
    assert_same(result, undisturbed)


def test_a_server_that_is_killed_goes_on_with_all_jobs_and_does_none_twice(own_server, undisturbed):
    done = own_server.client()
    first = submit(done, tiny_job("finished", 1))
    wait_for_result(done, first)
    result_file = own_server.state / "jobs" / first / "result.message"
    written = result_file.stat()
    client, running = begin(own_server, "running")
    waiting, paused = (submit(client, tiny_job(key, STEPS)) for key in ("waiting", "paused"))
    client.request(PauseJob(job=paused), SECONDS)
    worker = own_server.worker

    own_server.kill()
    own_server.start()
    steps = wait_for_step(client, running, IN_THE_MIDST)  # the same client: it comes back by itself
    results = [wait_for_result(client, job) for job in (running, waiting)]

    assert steps >= IN_THE_MIDST
    assert not is_alive(worker)
    for result in results:
        assert_same(result, undisturbed)
    assert state_of(client, paused).status == "paused"
    assert [times_begun(own_server, job) for job in (first, running, waiting, paused)] == [1, 2, 1, 0]
    for job in (first, running, waiting):
        assert len(own_server.log("job-finished", job=job)) == 1
    assert (result_file.stat().st_ino, result_file.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_sigterm_ends_the_server_well_and_the_next_one_goes_on_at_the_same_step(own_server, undisturbed):
    client, job = begin(own_server, "sigterm")

    exit_code = own_server.terminate()
    left = own_server.living_workers()
    checkpoints = own_server.state / "jobs" / job / "run" / "checkpoints"
    saved, half_written = newest_checkpoint_step(checkpoints), list(checkpoints.glob("*.partial"))
    made = len((own_server.state / "jobs" / job / "run" / "metrics.jsonl").read_text().splitlines())
    own_server.start()
    result = wait_for_result(client, job)

    assert exit_code == 0
    assert left == []
    assert saved == made  # not a step was lost
    assert half_written == []
    assert state_of(client, job).restarts == 0
    assert_same(result, undisturbed)


def test_a_client_of_a_server_that_is_gone_hears_so_at_once(own_server):
    client = Client(own_server.address, "a test", "0")
    client.request(ListJobs(), SECONDS)

    own_server.kill()
    began = time.monotonic()
    wait_until(lambda: client.connection.state == "lost", "the client's notice that the server is gone", 30.0)
    seconds = time.monotonic() - began
    client.close()

    assert seconds < 4.0  # sooner than by its silence: the connection itself says so
