# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of a client in a file, as `sketchbridge keygen` writes it.

Read when a connection is made, so that the secret stays in a file that only its owner can read, and out of Blender's
preferences.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

_FORMAT = "sketchbridge key 1"
_MOST_BYTES = 65_536


class UnusableKeyFile(Exception):
    """The file is not there, is none, or can be read by others; the message is for the user."""


def read_key_file(path: Path) -> tuple[str, str, str]:
    """The server's public key, and this side's public and secret one. Their form is checked by whoever uses them.

    Raises:
        UnusableKeyFile: See there. What is in the file is not in the message: it may be a secret.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MOST_BYTES)
    except OSError as error:
        raise UnusableKeyFile(f"The key file {path} cannot be read: {error.strerror or error}") from error
    if os.name != "nt" and stat.S_IMODE(mode) & 0o077:
        raise UnusableKeyFile(f"Other users can read the secret key in {path}; allow only yourself: chmod 600 {path}")
    try:
        content = json.loads(data)
        keys = tuple(content.get(name) for name in ("server_public", "public", "secret"))
        is_right = content["format"] == _FORMAT
    except (ValueError, KeyError, TypeError, AttributeError):
        is_right, keys = False, ()
    if not is_right or not all(isinstance(key, str) for key in keys[1:]):
        raise UnusableKeyFile(f"{path} is no key file; make one with sketchbridge keygen")
    server, public, secret = keys
    if not isinstance(server, str):
        raise UnusableKeyFile(
            f"{path} names no server, so it is not a client's; make one with: sketchbridge keygen my.key "
            "--server-key KEY, with the key that sketchbridge serve shows"
        )
    return server, str(public), str(secret)
