"""The folder in which a server keeps everything: made for its user alone, and with an id that clients know it by."""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from backend.durable_files import write_whole_file
from backend.errors import BadInput, UnusableState

DATABASE, SERVER_ID, LOG = "jobs.sqlite", "server_id", "log.jsonl"
CONFIG_FILE = "server.toml"
"""Written by whoever runs the server, perhaps before its first start."""
WORKER_CONFIG, WORKER_OUTPUT = "worker.json", "workers.txt"
_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")


def default_state_folder() -> Path:
    """Where a server keeps its jobs if it is not told otherwise, by the customs of the system."""
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", "~")).expanduser() / "sketchbridge" / "server"
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "sketchbridge"


def default_keys_folder() -> Path:
    """Where a server's keys are made if it is not said where: beside its state, which may be given away or deleted."""
    state = default_state_folder()
    return state.with_name(f"{state.name}-keys")


def prepare_state_folder(folder: Path) -> None:
    """Makes the folder, or takes an empty one or one that is a server's already, and closes it to other users.

    Raises:
        BadInput: It holds something else.
        UnusableState: It cannot be made or closed.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A folder of somebody's own, such as a home or /tmp, must not be closed or filled by mistake.
        if not any((folder / name).exists() for name in (DATABASE, SERVER_ID, CONFIG_FILE)) and any(folder.iterdir()):
            raise BadInput(f"{folder} holds something else; choose a new or empty folder with --state")
        if os.name != "nt" and stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise UnusableState(f"the state folder {folder} cannot be used ({error.strerror or error})") from error


def server_id_of(folder: Path) -> str:
    """The random id of this state: job ids mean something only to clients that knew it by the same."""
    path = folder / SERVER_ID
    try:
        found = path.read_text(encoding="ascii").strip()
        if _ID.fullmatch(found):
            return found
        raise UnusableState(f"{path} is damaged; remove it, and clients will take this server for another one")
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableState(f"{path} cannot be read ({error})") from error
    made = secrets.token_hex(16)
    try:
        write_whole_file(path, made.encode())
    except OSError as error:
        raise UnusableState(f"{path} cannot be written ({error.strerror or error})") from error
    return made
