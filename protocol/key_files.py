"""The file that holds a key pair, as `sketchbridge keygen` writes it: its format, and reading it on either side."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ProtocolError

FORMAT = "sketchbridge key 1"
_MOST_BYTES = 1 << 16


class UnusableKeyFile(ProtocolError):
    """The file is not there, is none, or can be read by others. The message shows nothing of what is in it."""


@dataclass(frozen=True)
class KeyFile:
    """What is in one; the form of the keys is checked by whoever uses them."""

    public: str
    secret: str = field(repr=False)
    server_public: str | None = None
    """In a client's file: the server that it is for."""


def read_key_file(path: Path) -> KeyFile:
    """The keys of a file.

    Raises:
        UnusableKeyFile: See there.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MOST_BYTES)
    except OSError as error:
        raise UnusableKeyFile(f"the key file {path} cannot be read: {error.strerror or error}") from error
    if os.name != "nt" and stat.S_IMODE(mode) & 0o077:
        raise UnusableKeyFile(f"other users can read the secret key in {path}; allow only yourself: chmod 600 {path}")
    try:
        content = json.loads(data)
        keys = KeyFile(content["public"], content["secret"], content.get("server_public"))
        is_right = content["format"] == FORMAT
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise no_key_file(path) from None
    texts = [keys.public, keys.secret] + ([] if keys.server_public is None else [keys.server_public])
    if not is_right or not all(isinstance(each, str) for each in texts):
        raise no_key_file(path)
    return keys


def no_key_file(path: Path) -> UnusableKeyFile:
    """What is said of a file that holds something else."""
    return UnusableKeyFile(f"{path} is no key file; make one with sketchbridge keygen")


def no_client_file(path: Path) -> UnusableKeyFile:
    """What is said of a file whose keys are for no server, where a client's is needed."""
    return UnusableKeyFile(
        f"{path} names no server, so it is not a client's; make keys with: "
        "sketchbridge keygen my.key --server-key KEY, with the key that `sketchbridge serve` shows"
    )
