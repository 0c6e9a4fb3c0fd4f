# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of a client in a file, as `sketchbridge keygen` writes it.

Read when a connection is made, so that the secret stays in a file that only its owner can read, and out of Blender's
preferences.
"""

from __future__ import annotations

from pathlib import Path


class UnusableKeyFile(Exception):
    """The file is not there, is none, or can be read by others; the message is for the user."""


def read_key_file(path: Path) -> tuple[str, str, str]:
    """The server's public key, and this side's public and secret one. Their form is checked by whoever uses them.

    Raises:
        UnusableKeyFile: See there. What is in the file is not in the message: it may be a secret.
    """
    from .protocol import key_files  # takes longer to load than an extension may take of Blender's start

    try:
        keys = key_files.read_key_file(path)
        if keys.server_public is None:
            raise key_files.no_client_file(path)
    except key_files.UnusableKeyFile as error:
        sentence = str(error)
        raise UnusableKeyFile(sentence[0].upper() + sentence[1:]) from error
    return keys.server_public, keys.public, keys.secret
