"""Files that appear whole or not at all, whatever happens to the process, the disk or the power."""

from __future__ import annotations

import os
from pathlib import Path

from backend.errors import OutputNotWritable


def write_whole_file(path: Path, content: bytes) -> None:
    """Writes beside the file, waits until it is on the disk, and renames. An earlier file stays until then.

    Raises:
        OSError: The disk is full or cannot be written; nothing is left behind then.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def write_output(path: Path, content: bytes) -> None:
    """Writes a file that a user has asked for, whole; its folder is made if need be.

    Raises:
        OutputNotWritable: No permission, no space, or no such place.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole_file(path, content)
    except OSError as error:
        raise OutputNotWritable(f"{path} cannot be written: {error.strerror or error}") from error


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder durable, on the systems where a folder can be opened for it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
