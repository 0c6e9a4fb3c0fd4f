"""Messages to byte frames and back: a JSON header, then the raw arrays. Opens no socket.

Nothing is believed: sizes are compared before data is touched, decompression is bounded, and every error is a
`ProtocolError`. Arrays are not copied on either side, but for what is compressed or not contiguous.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, cast

import numpy as np

from .arrays import DTYPES, MOST_PICTURE_BYTES, Array, ArrayShape, Png, name_of
from .errors import (
    Described,
    LocalProtocolError,
    RemoteProtocolError,
    UnknownMessage,
    VersionMismatch,
    shortened,
)
from .fields import Choice, Whole, most_arrays_of, record_from_json, record_to_json
from .messages import MESSAGE_TYPES, PROTOCOL_VERSION, Message, Side

Compression = Literal["none", "zlib"]
Frame = bytes | bytearray | memoryview

MOST_HEADER_BYTES = 2**20
MOST_DEPTH = 12
"""Of lists and objects inside each other in the header; the deepest message needs 7."""
MOST_REQUEST_ID = 2**53 - 1
MOST_AXES = 3
LEAST_COMPRESSED_BYTES = 4096
"""Smaller arrays are not compressed."""
_HEADER_KEYS = ("protocol", "type", "request", "fields", "arrays")
_ARRAY_KEYS = ("dtype", "shape", "bytes", "encoding")
_REQUEST, _VERSION, _LENGTH = Whole(1, MOST_REQUEST_ID), Whole(1, 1_000_000), Whole(0, 2**40)
_DTYPE, _ENCODING = Choice(tuple(DTYPES)), Choice(("raw", "zlib"))
_STRING_OR_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
MOST_FRAMES = 1 + max(most_arrays_of(each) for each in MESSAGE_TYPES.values())
"""Of any message."""


@dataclass(frozen=True)
class ReceiveLimits:
    """How much a message may hold, after decompression. A server sets its own."""

    array_bytes: int = MOST_PICTURE_BYTES
    """Of one array."""
    message_bytes: int = 2**30
    """Of all frames and arrays together."""


DEFAULT_LIMITS = ReceiveLimits()


@dataclass(frozen=True)
class Received:
    """A message that arrived."""

    message: Message
    request: int | None
    """The id of a request, or of the request that this answers; None for what was sent unasked."""


def encode(message: Message, request: int | None = None, compression: Compression = "none") -> list[Frame]:
    """The frames of a message: the header and one per array.

    The arrays' frames are views of the arrays: leave these alone until the frames are sent.

    Args:
        request: A number of the sender's for a request; for an answer, that of the request.
        compression: "zlib" compresses arrays (not pictures) where it makes them smaller, if both sides have said that
            they can.

    Raises:
        LocalProtocolError: The header is too large.
    """
    arrays = _OutgoingArrays(compression)
    header: dict[str, Any] = {"protocol": PROTOCOL_VERSION, "type": type(message).__name__}
    if request is not None:
        header["request"] = _REQUEST.checked(request, "request", {})
    header["fields"] = record_to_json(message, arrays)
    header["arrays"] = arrays.descriptions
    text = json.dumps(header, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    if len(text) > MOST_HEADER_BYTES:
        raise LocalProtocolError.at("header", text, f"at most {MOST_HEADER_BYTES} bytes")
    return [text, *arrays.frames]


def decode(frames: Sequence[Any], sent_by: Side, limits: ReceiveLimits = DEFAULT_LIMITS) -> Received:
    """The message of these frames.

    Args:
        frames: Bytes, memoryviews or ZeroMQ frames. Arrays of the message are read-only views of them.
        sent_by: Which side they come from: it may send some messages only.

    Raises:
        RemoteProtocolError: They are no message, or one that is not allowed; `VersionMismatch` or `UnknownMessage`
            where it is that. Its `request` is set if it could be read.
    """
    request: int | None = None
    try:
        views = _views(frames, limits)
        header = _parsed_header(views[0])
        request = _request_of(header)
        _check_version(header)
        message_class = _message_class(header, sent_by)
        _refuse_unknown_keys(header, _HEADER_KEYS, "header")
        arrays = _IncomingArrays(header.get("arrays", []), views[1:], most_arrays_of(message_class), limits)
        message = record_from_json(message_class, header.get("fields", {}), "", arrays)
        arrays.check_all_taken()
    except RemoteProtocolError as error:
        error.request = request
        raise
    except LocalProtocolError as error:
        remote = RemoteProtocolError(str(error), path=error.path, value=error.value, right=error.right)
        remote.request = request
        raise remote from None
    return Received(cast(Message, message), request)


class _OutgoingArrays:
    """Collects the arrays of a message while its fields are written."""

    def __init__(self, compression: Compression) -> None:
        self.descriptions: list[dict[str, Any]] = []
        self.frames: list[Frame] = []
        self._compression = compression

    def put(self, array: np.ndarray) -> dict[str, int]:
        frame, encoding = _bytes_of(array), "raw"
        if self._compression == "zlib" and array.dtype != np.uint8 and len(frame) >= LEAST_COMPRESSED_BYTES:
            packed = zlib.compress(_byte_planes(array), 1)
            if len(packed) < len(frame):
                frame, encoding = packed, "zlib"
        description = {"dtype": name_of(array.dtype), "shape": list(array.shape), "bytes": len(frame)}
        self.descriptions.append(description | ({} if encoding == "raw" else {"encoding": encoding}))
        self.frames.append(frame)
        return {"array": len(self.frames) - 1}


@dataclass(frozen=True)
class _Description:
    """What the header says of an array, checked against its frame."""

    dtype: str
    shape: tuple[int, ...]
    encoding: str
    size: int
    """Bytes after decompression."""


class _IncomingArrays:
    """Hands out the arrays of a message while its fields are read, each once."""

    def __init__(self, described: Any, frames: list[memoryview], most: int, limits: ReceiveLimits) -> None:
        if not isinstance(described, list) or len(described) > most:
            raise LocalProtocolError.at("arrays", described, f"a list of at most {most} for this message type")
        if len(described) != len(frames):
            right = f"as many as arrays are described, {len(described)}"
            raise LocalProtocolError.at("frames after the header", len(frames), right)
        self._frames = frames
        self._descriptions = [
            _checked_description(each, frame, f"arrays[{index}]", limits)
            for index, (each, frame) in enumerate(zip(described, frames, strict=True))
        ]
        total = sum(each.size for each in self._descriptions)
        if total > limits.message_bytes:
            raise LocalProtocolError.at(
                "arrays", Described(f"{total} bytes"), f"at most {limits.message_bytes} bytes together"
            )
        self._left = set(range(len(frames)))

    def take(self, reference: Any, path: str, kind: Array | Png) -> Any:
        index = reference.get("array") if isinstance(reference, dict) and len(reference) == 1 else None
        if type(index) is not int or index not in self._left:
            right = 'an object {"array": index} with the index of an array that no other field has'
            raise LocalProtocolError.at(path, reference, right)
        self._left.remove(index)
        description, frame = self._descriptions[index], self._frames[index]
        if isinstance(kind, Png):
            return _picture(description, frame, path, kind)
        kind.check_description(description.dtype, description.shape, path, {})
        return _array(description, frame, path)

    def check_all_taken(self) -> None:
        if self._left:
            index = min(self._left)
            raise LocalProtocolError.at(f"arrays[{index}]", Described("used by no field"), "in the place of one field")


def _views(frames: Sequence[Any], limits: ReceiveLimits) -> list[memoryview]:
    """The frames as flat bytes, if there are not too many and they are not too large."""
    if not 1 <= len(frames) <= MOST_FRAMES:
        raise LocalProtocolError.at("the number of frames", len(frames), f"from 1 to {MOST_FRAMES}")
    views = [memoryview(each).cast("B") for each in frames]
    total = sum(len(each) for each in views)
    if total > limits.message_bytes:
        raise LocalProtocolError.at("the message", Described(f"{total} bytes"), f"at most {limits.message_bytes} bytes")
    return views


def _parsed_header(view: memoryview) -> dict[str, Any]:
    """The header's JSON: UTF-8, one object, no key twice, no NaN, not too deep."""
    if len(view) > MOST_HEADER_BYTES:
        raise LocalProtocolError.at("the header", Described(f"{len(view)} bytes"), f"at most {MOST_HEADER_BYTES} bytes")
    data = bytes(view)
    _check_depth(data)
    try:
        # Given bytes, json would guess UTF-16 and UTF-32 too.
        header = _HEADER_JSON.decode(data.decode())
    except (ValueError, RecursionError) as error:  # of Unicode, of JSON, or a number with thousands of digits
        if isinstance(error, LocalProtocolError):
            raise
        raise LocalProtocolError(
            f"the header is no JSON in UTF-8: {shortened(str(error))}", path="header", right="one JSON object in UTF-8"
        ) from None
    if not isinstance(header, dict):
        raise LocalProtocolError.at("the header", header, "a JSON object")
    return header


def _check_depth(data: bytes) -> None:
    if data.count(b"[") + data.count(b"{") <= MOST_DEPTH:
        return  # as in most headers
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(data):  # brackets in strings are text
        found = match[0]
        depth += 1 if found in (b"[", b"{") else -1 if found in (b"]", b"}") else 0
        if depth > MOST_DEPTH:
            raise LocalProtocolError.at(
                "the header", Described(f"nested {depth} deep"), f"nested at most {MOST_DEPTH} deep"
            )


def _object_of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        double = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise LocalProtocolError.at("a key of the header", double, "there once only")
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise LocalProtocolError.at("a number of the header", Described(name), "finite")


_HEADER_JSON = json.JSONDecoder(object_pairs_hook=_object_of_pairs, parse_constant=_refuse_constant)


def _request_of(header: dict[str, Any]) -> int | None:
    request = header.get("request")
    return None if request is None else _REQUEST.checked(request, "request", {})


def _check_version(header: dict[str, Any]) -> None:
    version = _VERSION.checked(header.get("protocol", Described("missing")), "protocol", {})
    if version == PROTOCOL_VERSION:
        return
    older = "this" if version > PROTOCOL_VERSION else "the other"
    raise VersionMismatch(
        f"the other side speaks protocol {version} and this one protocol {PROTOCOL_VERSION}: "
        f"update Sketchbridge on {older} side",
        path="protocol",
        value=str(version),
        right=str(PROTOCOL_VERSION),
    )


def _message_class(header: dict[str, Any], sent_by: Side) -> type[Message]:
    name = header.get("type")
    found = MESSAGE_TYPES.get(name) if isinstance(name, str) else None
    if found is not None and sent_by in found.sent_by:
        return found
    known = Choice(tuple(each for each, message in MESSAGE_TYPES.items() if sent_by in message.sent_by))
    error = LocalProtocolError.at("type", name, f"what a {sent_by} may send: {known.describe()}")
    raise UnknownMessage(str(error), path="type", value=error.value, right=error.right)


def _refuse_unknown_keys(given: dict[str, Any], known: tuple[str, ...], path: str) -> None:
    for name in given:
        if name not in known:
            raise LocalProtocolError.at(f"a key of {path}", name, f"one of {', '.join(known)}")


def _checked_description(given: Any, frame: memoryview, path: str, limits: ReceiveLimits) -> _Description:
    """What the header says of an array, if its frame has the size that follows from it."""
    if not isinstance(given, dict):
        raise LocalProtocolError.at(path, given, f"an object with {', '.join(_ARRAY_KEYS)}")
    _refuse_unknown_keys(given, _ARRAY_KEYS, path)
    dtype = _DTYPE.checked(given.get("dtype"), f"{path}.dtype", {})
    encoding = _ENCODING.checked(given.get("encoding", "raw"), f"{path}.encoding", {})
    shape = given.get("shape")
    if not isinstance(shape, list) or not 1 <= len(shape) <= MOST_AXES:
        raise LocalProtocolError.at(f"{path}.shape", shape, f"a list of 1 to {MOST_AXES} lengths")
    lengths = tuple(_LENGTH.checked(each, f"{path}.shape", {}) for each in shape)
    size = math.prod(lengths) * DTYPES[dtype].itemsize  # Python's numbers do not overflow
    if size > limits.array_bytes:
        raise LocalProtocolError.at(path, Described(f"{size} bytes"), f"at most {limits.array_bytes} bytes")
    if type(given.get("bytes")) is not int or given["bytes"] != len(frame):
        raise LocalProtocolError.at(f"{path}.bytes", given.get("bytes"), f"the length of its frame, {len(frame)}")
    if encoding == "raw" and size != len(frame):
        raise LocalProtocolError.at(f"{path}.shape", shape, f"that of an array of {len(frame)} bytes")
    return _Description(dtype, lengths, encoding, size)


def _array(description: _Description, frame: memoryview, path: str) -> np.ndarray:
    """A read-only array over the frame's bytes, or over the decompressed ones."""
    dtype = DTYPES[description.dtype]
    if description.encoding == "zlib":
        array = _from_byte_planes(_decompressed(frame, description.size, path), dtype)
    else:
        array = np.frombuffer(frame, dtype)
    if not array.flags.aligned:  # ZeroMQ hands out small frames at any address
        array = array.copy()
    array = array.reshape(description.shape)
    array.flags.writeable = False
    return array


def _picture(description: _Description, frame: memoryview, path: str, kind: Png) -> memoryview:
    if description.dtype != "uint8" or len(description.shape) != 1 or description.encoding != "raw":
        shown = ArrayShape(description.dtype, description.shape)
        raise LocalProtocolError.at(path, shown, f"{kind.describe()}, as an array uint8 [bytes], not compressed")
    return frame


def _decompressed(frame: memoryview, size: int, path: str) -> bytes:
    """Exactly `size` bytes, or an error; never more in memory, whatever the frame would give."""
    machine = zlib.decompressobj()
    try:
        data = machine.decompress(frame, size + 1)
    except zlib.error as error:
        raise LocalProtocolError.at(path, Described(f"damaged ({error})"), "zlib data (RFC 1950)") from None
    if len(data) != size or not machine.eof or machine.unused_data:
        right = f"zlib data of exactly {size} bytes"
        raise LocalProtocolError.at(path, Described("zlib data of another size"), right)
    return data


def _bytes_of(array: np.ndarray) -> Frame:
    return np.ascontiguousarray(array).data.cast("B") if array.size else b""


def _byte_planes(array: np.ndarray) -> bytes:
    """First bytes of all numbers, then all second ones, and so on: zlib then finds far more that repeats."""
    return np.ascontiguousarray(array).view(np.uint8).reshape(-1, array.itemsize).T.tobytes()


def _from_byte_planes(data: bytes, dtype: np.dtype[Any]) -> np.ndarray:
    planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).reshape(-1).view(dtype)
