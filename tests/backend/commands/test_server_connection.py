"""From options to a connected client, and from what goes wrong to an exit code."""

import os
import threading
import time

import pytest
import zmq
from fake_job_server import FakeJobServer

from backend.commands import server_connection
from backend.commands.client_output import ClientOutput
from backend.commands.exit_codes import EXIT_BAD_INPUT, EXIT_BUG, EXIT_DONE, EXIT_STOPPED, EXIT_UNREACHABLE
from backend.commands.server_connection import (
    ServerOptions,
    answer_of,
    client_keys,
    connect,
    find_job,
    find_jobs,
    list_jobs,
    run_client_command,
)
from backend.errors import BadInput
from backend.server.auth import KeyPair, make_key_pair, write_key_file
from examples import job_state
from protocol.client import Timing
from protocol.errors import RequestRefused, ServerUnreachable
from protocol.messages import PauseJob, Refused

IMPATIENT = Timing(heartbeat=0.1, lost_after=0.5, hello=0.4, first_retry=0.05, longest_retry=0.1)


def write_client_key(path, server_public="rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"):
    keys = make_key_pair(server_public)
    write_key_file(path, keys)
    return keys


def test_a_server_that_is_not_there_is_exit_code_4_and_says_how_to_start_one(capfd):
    code = run_client_command(ServerOptions("tcp://127.0.0.1:9"), lambda *_: EXIT_DONE, timing=IMPATIENT)

    assert code == EXIT_UNREACHABLE
    said = capfd.readouterr().err
    assert "no server answers at tcp://127.0.0.1:9" in said
    assert "sketchbridge serve" in said
    assert "trying again" not in said


def test_an_address_that_is_none_is_exit_code_2(capfd):
    code = run_client_command(ServerOptions("gpu-box"), lambda *_: EXIT_DONE)

    assert code == EXIT_BAD_INPUT
    assert "the server's address is 'gpu-box'; it must be like tcp://127.0.0.1:5710" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInput("no"), EXIT_BAD_INPUT),
        (RequestRefused("too-many", "no more jobs"), EXIT_BAD_INPUT),
        (KeyboardInterrupt(), EXIT_STOPPED),
        (ZeroDivisionError("a bug"), EXIT_BUG),
    ],
)
def test_every_kind_of_error_has_its_exit_code(error, code, capfd):
    def work(client, output):
        raise error

    with FakeJobServer() as server:
        assert run_client_command(ServerOptions(server.address), work) == code

    assert ("Traceback" in capfd.readouterr().err) == (code == EXIT_BUG)


def test_programs_are_told_of_an_error_too(capfd):
    run_client_command(ServerOptions("gpu-box", as_json=True), lambda *_: EXIT_DONE)

    said = capfd.readouterr().out
    assert said.startswith('{"event": "error", "message": "the server\'s address is')
    assert said.endswith('"exit_code": 2}\n')


def test_keys_open_a_server_that_wants_them(tmp_path):
    server_keys = zmq.curve_keypair()
    write_client_key(tmp_path / "my.key", server_keys[0].decode())

    with FakeJobServer(keys=(server_keys[1], server_keys[0])) as server:
        options = ServerOptions(server.address, tmp_path / "my.key")
        assert run_client_command(options, lambda client, _: len(list_jobs(client, ClientOutput()))) == 0


def test_a_server_that_wants_keys_is_not_reached_without_them(capfd):
    server_keys = zmq.curve_keypair()

    with FakeJobServer(keys=(server_keys[1], server_keys[0])) as server:
        code = run_client_command(ServerOptions(server.address), lambda *_: EXIT_DONE)

    assert code == EXIT_UNREACHABLE
    assert "it may want keys" in capfd.readouterr().err


def test_a_key_file_without_a_server_says_how_to_make_one(tmp_path):
    keys = make_key_pair()
    write_key_file(tmp_path / "my.key", KeyPair(keys.public, keys.secret))

    with pytest.raises(BadInput, match=r"my\.key names no server.*sketchbridge keygen my\.key --server-key KEY"):
        client_keys(tmp_path / "my.key")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such bits")
def test_a_key_file_that_others_can_read_is_refused_before_anything_is_sent(tmp_path, capfd):
    write_client_key(tmp_path / "my.key")
    (tmp_path / "my.key").chmod(0o644)

    options = ServerOptions("tcp://127.0.0.1:9", tmp_path / "my.key")

    assert run_client_command(options, lambda *_: EXIT_DONE) == EXIT_BAD_INPUT
    assert "chmod 600" in capfd.readouterr().err


def test_all_pages_of_the_list_are_read():
    jobs = [job_state(job=f"job-{number}") for number in range(230)]

    with FakeJobServer(*jobs) as server, connect(ServerOptions(server.address)) as client:
        found = list_jobs(client, ClientOutput())

    assert found == jobs
    assert [message.offset for message, _ in server.heard if hasattr(message, "offset")] == [0, 100, 200]


@pytest.mark.parametrize(
    ("beginning", "found"), [("red", "red-mushroom-7f3a"), ("blue-1", "blue-1"), ("blue-12", "blue-12")]
)
def test_the_beginning_of_an_id_is_enough_and_a_whole_id_wins(beginning, found):
    jobs = [job_state(job=job) for job in ("blue-12", "blue-1", "red-mushroom-7f3a")]

    with FakeJobServer(*jobs) as server, connect(ServerOptions(server.address)) as client:
        assert find_job(client, beginning, ClientOutput()).job == found


@pytest.mark.parametrize(
    ("beginning", "sentence"),
    [
        ("blue", "2 jobs begin with 'blue': blue-12, blue-1; give more of the id"),
        ("green", "no job of yours begins with 'green' on tcp://"),
        ("../x", "'../x' is no id of a job"),
        ("", "'' is no id of a job"),
    ],
)
def test_a_beginning_that_names_no_job_or_several_is_refused(beginning, sentence):
    jobs = [job_state(job=job) for job in ("blue-12", "blue-1")]

    with FakeJobServer(*jobs) as server, connect(ServerOptions(server.address)) as client:
        with pytest.raises(BadInput) as raised:
            find_job(client, beginning, ClientOutput())
        assert sentence in str(raised.value)


def test_a_job_named_twice_is_found_once():
    with FakeJobServer(job_state(job="blue-1")) as server, connect(ServerOptions(server.address)) as client:
        assert len(find_jobs(client, ["blue", "blue-1"], ClientOutput())) == 1


def test_a_refusal_is_raised_as_one():
    with FakeJobServer() as server, connect(ServerOptions(server.address)) as client:
        server.answers["PauseJob"] = Refused(code="wrong-state", sentence="it has ended")
        with pytest.raises(RequestRefused, match="it has ended"):
            answer_of(client, PauseJob(job="a"), ClientOutput())


def test_an_answer_comes_at_once():
    """Polling for it would cost a tenth of a second for each request, with 230 jobs three times."""
    with FakeJobServer() as server, connect(ServerOptions(server.address)) as client:
        began = time.monotonic()
        for _ in range(20):
            list_jobs(client, ClientOutput())

    assert time.monotonic() - began < 1.0


def test_a_connection_that_is_lost_during_a_request_is_told_of(capfd):
    first = FakeJobServer()
    first.answers["PauseJob"] = None
    second = []
    with connect(ServerOptions(first.address), IMPATIENT) as client:
        answer = client.ask(PauseJob(job="a"), 20.0)
        first.wait_for(lambda: first.of(PauseJob))
        first.close()
        restart = threading.Timer(0.5, lambda: second.append(FakeJobServer(job_state(job="a"), address=first.address)))
        restart.start()
        state = server_connection.wait_for_answer(client, answer, ClientOutput())
    restart.join()
    second[0].close()

    assert state.status == "paused"
    assert f"{first.address}; trying again" in capfd.readouterr().err.replace(" was lost", "")


def test_a_server_that_stays_away_during_a_long_request_is_given_up(monkeypatch):
    monkeypatch.setattr(server_connection, "SECONDS_LOST", 0.3)
    server = FakeJobServer()
    server.answers["PauseJob"] = None
    with connect(ServerOptions(server.address), IMPATIENT) as client:
        answer = client.ask(PauseJob(job="a"), 1000.0)
        server.wait_for(lambda: server.of(PauseJob))
        server.close()
        with pytest.raises(ServerUnreachable):
            server_connection.wait_for_answer(client, answer, ClientOutput())
