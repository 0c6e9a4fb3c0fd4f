"""`sketchbridge serve`: runs the server until it is told to stop."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.commands.client_output import ClientOutput
from backend.commands.exit_codes import EXIT_BAD_INPUT, EXIT_BUG, EXIT_DONE, EXIT_STOPPED
from backend.commands.stop_signals import StopSignals
from backend.errors import BadInput, SketchbridgeError
from backend.server.auth import hex_of
from backend.server.configuration import ServerConfig, read_configuration
from backend.server.metrics import MetricsServer
from backend.server.server import Server, ServerOptions
from backend.server.state_folder import CONFIG_FILE, LOG

SECONDS_TO_STOP = 30.0
_SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True)
class ServeCommand:
    """What the command line asked for."""

    listen: str
    state: Path
    keys: Path | None = None
    config: Path | None = None
    """None for server.toml in the state folder, if it is there."""
    metrics: str | None = None
    checkpoint_seconds: float | None = None


def run_serve_command(command: ServeCommand, as_json: bool = False) -> int:
    """Serves until SIGTERM or Ctrl+C, which let the jobs be kept; a second one does not wait for that.

    Returns the exit code; errors are shown, not raised.
    """
    output = ClientOutput(as_json)
    try:
        with StopSignals() as stop, stop.asking_first():
            return _serve(command, output, stop)
    except SketchbridgeError as error:
        output.error(error, EXIT_BAD_INPUT)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt as interrupt:
        output.error(interrupt, EXIT_STOPPED)
        return EXIT_STOPPED


def _serve(command: ServeCommand, output: ClientOutput, stop: StopSignals) -> int:
    seconds = command.checkpoint_seconds
    if seconds is not None and not 0.1 <= seconds <= 86_400.0:
        raise BadInput(f"--checkpoint-seconds is {seconds:g}; it must be from 0.1 to 86400")
    _allow_many_files()
    options = ServerOptions(
        state=command.state.expanduser().absolute(),
        listen=command.listen,
        keys=command.keys.expanduser().absolute() if command.keys is not None else None,
        config=_configuration(command),
        checkpoint_seconds=seconds,
    )
    server = Server(options)
    server.start()
    metrics = None
    try:
        if command.metrics is not None:
            metrics = MetricsServer(command.metrics, server.observe)
        _show_start(server, options, metrics, output)
        while not stop.is_requested:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            if not server.is_alive:
                error = server.failure or RuntimeError(f"a thread has ended; {options.state / LOG} says more")
                output.error(error, EXIT_BUG)
                return EXIT_BUG
        _say(output, "stopping: running jobs are kept", event="stopping")
    finally:
        if metrics is not None:
            metrics.close()
        server.stop(SECONDS_TO_STOP)
    _say(output, "stopped", event="stopped")
    return EXIT_DONE


def _configuration(command: ServeCommand) -> ServerConfig:
    if command.config is not None:
        return read_configuration(command.config.expanduser())
    path = command.state.expanduser() / CONFIG_FILE
    return read_configuration(path) if path.exists() else ServerConfig()


def _show_start(server: Server, options: ServerOptions, metrics: MetricsServer | None, output: ClientOutput) -> None:
    public = hex_of(server.server_public) if server.server_public is not None else None
    facts: dict[str, Any] = {
        "address": server.address,
        "server_public_key": public,
        "devices": [each.name for each in server.devices],
        "state": str(options.state),
        "metrics": metrics.address if metrics is not None else None,
    }
    lines = [f"listening at {server.address}, computing on {', '.join(each.title for each in server.devices)}"]
    lines.append(f"jobs and log in {options.state}")
    if public is not None:
        lines.append(f"encrypted; this server's public key is {public}")
    if metrics is not None:
        lines.append(f"metrics at http://{metrics.address}/metrics")
    _say(output, "\n".join(lines), event="started", **facts)


def _say(output: ClientOutput, text: str, **facts: Any) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody looks on any more
        output.result(text, **facts)


def _allow_many_files() -> None:
    """Every connection is an open file; the system's first limit is often 1024, and the hard one far more."""
    if sys.platform == "win32":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if most == resource.RLIM_INFINITY else min(most, 65_536)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
