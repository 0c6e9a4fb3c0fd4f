"""From the options of the client's commands to a connected client, and from what goes wrong to an exit code."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.commands.client_output import ClientOutput
from backend.commands.exit_codes import EXIT_BAD_INPUT, EXIT_BUG, EXIT_DONE, EXIT_STOPPED, EXIT_UNREACHABLE
from backend.commands.stop_signals import StopSignals
from backend.errors import BadInput, SketchbridgeError
from backend.machine import sketchbridge_version
from backend.server.auth import read_key_file
from protocol.client import Client, CurveKeys, Timing
from protocol.errors import LocalProtocolError, RemoteProtocolError, RequestRefused, ServerUnreachable
from protocol.inbox import ConnectionChanged
from protocol.key_files import no_client_file
from protocol.messages import JobState, ListJobs, Message, ServerHello

TIMING = Timing(hello=5.0)
"""A little more patient than Blender, where nobody waits for the answer."""
SECONDS_LOST = 60.0
"""How long a server that answers a request may stay away, where the request itself has more time than that."""
_JOB_ID_BEGINNING = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True)
class ServerOptions:
    """Which server, as whom, and how to talk about it."""

    address: str
    key_file: Path | None = None
    """None for a server without keys, which is one on this machine."""
    as_json: bool = False


def run_client_command(
    options: ServerOptions,
    work: Callable[[Client, ClientOutput], int],
    output: ClientOutput | None = None,
    timing: Timing = TIMING,
) -> int:
    """Connects, does the work, and closes the connection. Returns the exit code; errors are shown, not raised."""
    output = output or ClientOutput(options.as_json)
    try:
        with StopSignals(), connect(options, timing) as client:
            return work(client, output)
    except KeyboardInterrupt as interrupt:
        output.error(interrupt, EXIT_STOPPED)
        return EXIT_STOPPED
    except BrokenPipeError:
        # Whoever read has read enough, such as `head`. What is left in the buffer must not be tried again at the exit.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        return EXIT_DONE
    except Exception as error:
        code = _exit_code_of(error)
        output.error(error, code)
        return code


def connect(options: ServerOptions, timing: Timing = TIMING) -> Client:
    """A client that is connected.

    Raises:
        BadInput: The key file cannot be used.
        LocalProtocolError: The address is none.
        ServerUnreachable: Nobody answers there, or not to this client.
    """
    keys = client_keys(options.key_file) if options.key_file is not None else None
    version = sketchbridge_version()
    client = Client(options.address, f"sketchbridge {version}"[:200], version[:64], keys=keys, timing=timing)
    try:
        while (connection := client.connection).state == "connecting":
            client.wait(0.1)
            client.events()
        if connection.state == "refused":
            raise ServerUnreachable(_without_retry(connection.sentence))
        if connection.state != "connected":
            reason = _without_retry(connection.sentence)
            raise ServerUnreachable(f"{reason}. Is it running? It is started by: sketchbridge serve")
    except BaseException:
        client.close()
        raise
    return client


def server_of(client: Client) -> ServerHello:
    """What the server has said of itself.

    Raises:
        ServerUnreachable: The connection is lost at the moment.
    """
    server = client.connection.server
    if server is None:
        raise ServerUnreachable(_without_retry(client.connection.sentence))
    return server


def client_keys(path: Path) -> CurveKeys:
    """The keys in a client's key file.

    Raises:
        BadInput: It is not there, may be read by others, holds no keys, or none of a server.
    """
    keys = read_key_file(path.expanduser())
    if keys.server_public is None:
        raise BadInput(str(no_client_file(path)))
    return CurveKeys(server_public=keys.server_public, public=keys.public, secret=keys.secret)


def answer_of(client: Client, message: Message, output: ClientOutput, seconds: float = 10.0) -> Any:
    """The answer to a request. A connection that is lost meanwhile is told of at once.

    Raises:
        ProtocolError: As `Client.ask` says.
    """
    return wait_for_answer(client, client.ask(message, seconds), output)


def wait_for_answer(client: Client, answer: Future[Any], output: ClientOutput) -> Any:
    """Like `answer_of`, for what was asked already."""
    heard_at = time.monotonic()
    while True:
        try:
            return answer.result(0.1)
        except TimeoutError:
            for event in client.events():
                if isinstance(event, ConnectionChanged):
                    output.say(event.sentence)
        if client.connection.state == "connected":
            heard_at = time.monotonic()
        elif time.monotonic() - heard_at >= SECONDS_LOST:
            raise ServerUnreachable(_without_retry(client.connection.sentence))


def list_jobs(client: Client, output: ClientOutput) -> list[JobState]:
    """All jobs of this client, newest first."""
    found: dict[str, JobState] = {}
    asked = 0
    while True:
        page = answer_of(client, ListJobs(offset=asked), output)
        found |= {each.job: each for each in page.jobs if each.job not in found}  # new ones move the pages on
        asked += len(page.jobs)
        if not page.jobs or asked >= page.total:
            return list(found.values())


def find_job(client: Client, beginning: str, output: ClientOutput) -> JobState:
    """The one job whose id is this, or begins so.

    Raises:
        BadInput: There is none, or more than one.
    """
    return find_jobs(client, [beginning], output)[0]


def find_jobs(client: Client, beginnings: list[str], output: ClientOutput) -> list[JobState]:
    """Like `find_job`, for several, in their order; none is there twice."""
    jobs = list_jobs(client, output)
    found: dict[str, JobState] = {}
    for beginning in beginnings:
        if not _JOB_ID_BEGINNING.fullmatch(beginning):
            raise BadInput(f"{beginning!r} is no id of a job, such as red-mushroom-7f3a; see: sketchbridge jobs")
        matching = [job for job in jobs if job.job == beginning] or [
            job for job in jobs if job.job.startswith(beginning)
        ]
        if not matching:
            raise BadInput(f"no job of yours begins with {beginning!r} on {client.address}; see: sketchbridge jobs")
        if len(matching) > 1:
            names = ", ".join(job.job for job in matching[:5]) + (", ..." if len(matching) > 5 else "")
            raise BadInput(f"{len(matching)} jobs begin with {beginning!r}: {names}; give more of the id")
        found[matching[0].job] = matching[0]
    return list(found.values())


def _exit_code_of(error: Exception) -> int:
    if isinstance(error, ServerUnreachable | RemoteProtocolError):
        return EXIT_UNREACHABLE
    if isinstance(error, SketchbridgeError | LocalProtocolError | RequestRefused):
        return EXIT_BAD_INPUT
    return EXIT_BUG


def _without_retry(sentence: str) -> str:
    """Commands do not try again where Blender does."""
    return sentence.removesuffix("; trying again")
