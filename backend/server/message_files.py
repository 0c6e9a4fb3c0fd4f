"""Messages of the wire protocol as files: written whole or not at all, and checked before they are believed.

    magic      8 bytes     "SBframes"
    version    uint32      1
    count      uint32      of frames
    checksum   uint32      CRC-32 of all that follows
    unused     uint32      0
    lengths    uint64 each, in bytes
    frames     each begins at a multiple of 8 bytes, with zeros before it

All numbers are little-endian. The frames are those that ZeroMQ carries: a JSON header and raw arrays.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from backend.durable_files import sync_folder, write_whole_file
from backend.errors import DamagedRun
from protocol.errors import ProtocolError, RemoteProtocolError, UnknownMessage
from protocol.frames import MOST_FRAMES, MOST_HEADER_BYTES, ReceiveLimits, decode, encode
from protocol.messages import Message

FORMAT_VERSION = 1
MOST_FILE_BYTES = 2**32 + 2**16
"""A message has at most 4 GiB, by the greatest `message_bytes` of a server's limits."""
_MAGIC = b"SBframes"
_HEAD = struct.Struct("<8sIIII")
_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 8
_LIMITS = ReceiveLimits(message_bytes=MOST_FILE_BYTES)  # what is stored has been within the server's own limits


def write_message(path: Path, message: Message | Sequence[Any]) -> int:
    """Writes a message, or the frames of one, so that it survives the power going off from then on.

    Args:
        message: A message, or byte frames as `protocol.frames.encode` makes or as ZeroMQ gives them.

    Returns:
        The size of the file in bytes.

    Raises:
        OSError: The disk is full or cannot be written; an earlier file is still there then.
        ValueError: There is no frame, or there are more than a message can have.
    """
    frames: Sequence[Any] = encode(message) if isinstance(message, Message) else message
    views = [memoryview(each).cast("B") for each in frames]
    if not 1 <= len(views) <= MOST_FRAMES:
        raise ValueError(f"a message of {len(views)} frames was given; it must have 1 to {MOST_FRAMES}")
    parts: list[bytes | memoryview] = [_LENGTH.pack(len(view)) for view in views]
    for view in views:
        parts += [view, bytes(-len(view) % _ALIGNMENT)]
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    content = b"".join([_HEAD.pack(_MAGIC, FORMAT_VERSION, len(views), checksum, 0), *parts])
    write_whole_file(path, content)
    sync_folder(path.parent)
    return len(content)


def read_frames(path: Path) -> list[memoryview]:
    """The frames of a message, as read-only views of one buffer.

    Raises:
        DamagedRun: The file is missing, cut off, changed, or no such file.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MOST_FILE_BYTES:
                raise DamagedRun(f"{path} has {size} bytes; a message has at most {MOST_FILE_BYTES}")
            content = memoryview(file.read())
    except OSError as error:
        raise DamagedRun(f"{path} cannot be read ({error.strerror or error})") from error
    checksum = _check_head(path, content)
    places = list(_places(path, content))
    if zlib.crc32(content[_HEAD.size :]) != checksum:
        raise DamagedRun(f"{path} is damaged: its content is not what was written")
    return [content[start:end] for start, end in places]


def read_fields(path: Path, message_type: type[Message]) -> dict[str, Any]:
    """What the header of a message says in `fields`, as JSON: without its arrays, which may be large, and without
    looking at their checksum.

    Raises:
        DamagedRun: The file is missing, cut off, no such file, or no message of this type.
    """
    check_message_file(path)
    try:
        with path.open("rb") as file:
            start = memoryview(file.read(_HEAD.size + MOST_FRAMES * _LENGTH.size + MOST_HEADER_BYTES))
        _, _, count, _, _ = _HEAD.unpack_from(start)
        (length,) = _LENGTH.unpack_from(start, _HEAD.size)
        begin = _HEAD.size + count * _LENGTH.size
        header = json.loads(bytes(start[begin : begin + length]))
        name, fields = header["type"], dict(header.get("fields", {}))
    except OSError as error:
        raise DamagedRun(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedRun(f"{path} is damaged: its header is none") from error
    if name != message_type.__name__:
        raise DamagedRun(f"{path} holds no {message_type.__name__}")
    return fields


def read_message(path: Path) -> Message:
    """The message in a file; its arrays are read-only views of what was read.

    Raises:
        DamagedRun: The file is missing or damaged, or holds nothing that this version's protocol allows.
    """
    frames = read_frames(path)
    try:
        try:
            return decode(frames, "client", _LIMITS).message
        except UnknownMessage:
            return decode(frames, "server", _LIMITS).message
    except ProtocolError as error:
        path_inside = f" at {error.path}" if isinstance(error, RemoteProtocolError) and error.path else ""
        raise DamagedRun(f"{path} holds no message of this version{path_inside}: {error}") from error


def check_message_file(path: Path) -> None:
    """Looks at the first bytes and the size only: finds what is missing or cut off, not what was changed.

    Raises:
        DamagedRun: It is missing, cut off, or no such file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_HEAD.size + MOST_FRAMES * _LENGTH.size)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise DamagedRun(f"{path} cannot be read ({error.strerror or error})") from error
    _check_head(path, memoryview(start))
    for _ in _places(path, memoryview(start), size):
        pass


def _check_head(path: Path, content: memoryview) -> int:
    """The checksum that the file names."""
    if len(content) < _HEAD.size:
        raise DamagedRun(f"{path} is cut off after {len(content)} bytes")
    magic, version, count, checksum, _ = _HEAD.unpack_from(content)
    if magic != _MAGIC:
        raise DamagedRun(f"{path} is no stored message")
    if version != FORMAT_VERSION:
        raise DamagedRun(f"{path} is a stored message of version {version}; this server reads version {FORMAT_VERSION}")
    if not 1 <= count <= MOST_FRAMES:
        raise DamagedRun(f"{path} is damaged: it has {count} frames, a message has 1 to {MOST_FRAMES}")
    return int(checksum)


def _places(path: Path, content: memoryview, size: int | None = None) -> Iterator[tuple[int, int]]:
    """Where each frame begins and ends; the last one must end with the file, whose `size` may exceed `content`."""
    size = len(content) if size is None else size
    _, _, count, _, _ = _HEAD.unpack_from(content)
    start = _HEAD.size + count * _LENGTH.size
    if start > len(content):
        raise DamagedRun(f"{path} is cut off after {size} bytes")
    lengths = [_LENGTH.unpack_from(content, _HEAD.size + index * _LENGTH.size)[0] for index in range(count)]
    needed = start + sum(length + -length % _ALIGNMENT for length in lengths)
    if needed != size:
        raise DamagedRun(f"{path} has {size} bytes; by its own account it must have {needed}")
    for length in lengths:
        yield start, start + length
        start += length + -length % _ALIGNMENT
