"""`sketchbridge keygen`: keys for a server that listens to other machines, and for its clients. Shows no secret."""

from __future__ import annotations

import shlex
from pathlib import Path

from backend.commands.client_output import ClientOutput
from backend.commands.exit_codes import EXIT_BAD_INPUT, EXIT_DONE
from backend.errors import BadInput, SketchbridgeError
from backend.server.auth import SERVER_KEY_FILE, checked_public_key, make_key_pair, write_key_file


def run_keygen_command(file: Path | None, server_key: str | None, folder: Path, as_json: bool = False) -> int:
    """Makes the keys of a server in a folder, or those of a client in a file. Returns the exit code.

    Args:
        file: For a client; None for a server.
        server_key: The server's public key, needed for a client.
        folder: For a server.
    """
    output = ClientOutput(as_json)
    try:
        if file is None:
            _make_server_keys(folder.expanduser(), server_key, output)
        else:
            _make_client_keys(file.expanduser(), server_key, output)
    except SketchbridgeError as error:
        output.error(error, EXIT_BAD_INPUT)
        return EXIT_BAD_INPUT
    return EXIT_DONE


def _make_server_keys(folder: Path, server_key: str | None, output: ClientOutput) -> None:
    if server_key is not None:
        raise BadInput("--server-key is for a client's keys: name a file for them, such as my.key")
    keys, path = make_key_pair(), folder / SERVER_KEY_FILE
    write_key_file(path, keys)
    quoted = shlex.quote(str(folder))
    lines = [
        f"The server's keys are in {path}. Nobody else needs that file.",
        "",
        "For each client, on its own machine:",
        f"  sketchbridge keygen my.key --server-key {keys.public_hex}",
        "and here, with the public key that this shows:",
        f"  sketchbridge allow NAME PUBLIC_KEY --keys {quoted}",
        "",
        "Then start the server:",
        f"  sketchbridge serve --listen tcp://0.0.0.0:5710 --keys {quoted}",
    ]
    output.result("\n".join(lines), file=path, public_key=keys.public_hex)


def _make_client_keys(path: Path, server_key: str | None, output: ClientOutput) -> None:
    if server_key is None:
        raise BadInput(
            f"a client's keys need the server's public key: sketchbridge keygen {shlex.quote(str(path))} "
            "--server-key KEY, with the key that `sketchbridge serve` shows when it starts"
        )
    keys = make_key_pair(checked_public_key(server_key))
    write_key_file(path, keys)
    lines = [
        f"Your keys are in {path}. Nobody else needs that file.",
        "",
        "On the server's machine:",
        f"  sketchbridge allow NAME {keys.public_hex} --keys DIR",
        "Then here:",
        f"  sketchbridge jobs --server tcp://HOST:5710 --key {shlex.quote(str(path))}",
    ]
    output.result("\n".join(lines), file=path, public_key=keys.public_hex)
