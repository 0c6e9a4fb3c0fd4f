"""`sketchbridge allow`: lets a client in. A running server hears of it by itself."""

from __future__ import annotations

from pathlib import Path

from backend.commands.client_output import ClientOutput
from backend.commands.exit_codes import EXIT_BAD_INPUT, EXIT_DONE
from backend.errors import BadInput, SketchbridgeError
from backend.server.auth import SERVER_KEY_FILE, allow_client, checked_public_key, hex_of


def run_allow_command(name: str, public_key: str, folder: Path, as_json: bool = False) -> int:
    """Adds a client to the list of a server, or gives it another key. Returns the exit code."""
    output = ClientOutput(as_json)
    folder = folder.expanduser()
    try:
        if not (folder / SERVER_KEY_FILE).exists():
            raise BadInput(
                f"{folder} holds no server's keys; name their folder with --keys, or make it: sketchbridge keygen"
            )
        was_known = allow_client(folder, name, public_key)
    except SketchbridgeError as error:
        output.error(error, EXIT_BAD_INPUT)
        return EXIT_BAD_INPUT
    key = hex_of(checked_public_key(public_key))
    text = f"{name} has a new key now" if was_known else f"{name} is allowed"
    output.result(text, name=name, public_key=key, replaced=was_known)
    return EXIT_DONE
