"""Arrays and pictures as fields: which type, shape and range they must have. Looks at them, never changes them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .errors import LocalProtocolError
from .fields import ArraySink, ArraySource, Axes, Kind, plain

DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "int32": np.dtype("<i4"),
    "uint16": np.dtype("<u2"),
    "uint8": np.dtype("u1"),
}
"""All that arrays on the wire can be. Little-endian."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}  # numpy makes the name anew each time
MOST_ALONG = {"vertices": 5_000_000, "faces": 10_000_000, "points": 200_000, "strokes": 20_000}
"""How long the named axes can be. A server may allow less, and says so in its hello."""
MOST_PICTURE_BYTES = 256 * 2**20
"""A PNG of 8192 x 8192 pixels that cannot be compressed."""
_PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def name_of(dtype: np.dtype[Any]) -> str:
    """How the wire calls it, such as "float32"."""
    return _NAMES.get(dtype) or dtype.name


@dataclass(frozen=True)
class ArrayShape:
    """How an array is shown in errors."""

    dtype: str
    shape: tuple[int, ...]

    def __repr__(self) -> str:
        return f"an array {self.dtype} {list(self.shape)}"


@dataclass(frozen=True)
class Array(Kind):
    """An array in a frame of its own, row by row.

    All arrays of one record agree on the axes that have a name.
    """

    dtype: str
    """One of `DTYPES`, or several with | between them."""
    shape: str
    """Lengths and names of axes with spaces between them: "vertices 3"."""
    low: float | None = None
    """Least value allowed. Given together with `high`; NaN and infinity are then refused too."""
    high: float | None = None

    most_arrays = 1

    @cached_property
    def dtypes(self) -> tuple[str, ...]:
        return tuple(self.dtype.split("|"))

    @cached_property
    def axes(self) -> tuple[str, ...]:
        return tuple(self.shape.split())

    def describe(self) -> str:
        values = "" if self.low is None or self.high is None else f", {plain(self.low)} to {plain(self.high)}"
        return f"an array {' or '.join(self.dtypes)} [{', '.join(self.axes)}]{values}"

    def checked(self, value: Any, path: str, axes: Axes) -> np.ndarray:
        if not isinstance(value, np.ndarray):
            raise LocalProtocolError.at(path, value, self.describe())
        name = name_of(value.dtype)
        self.check_description(name, value.shape, path, axes)
        if value.dtype != DTYPES[name]:
            raise LocalProtocolError.at(path, value, f"{self.describe()}, little-endian")
        self._check_values(value, path)
        view = np.ascontiguousarray(value).view()
        view.flags.writeable = False
        return view

    def check_description(self, dtype: str, shape: tuple[int, ...], path: str, axes: Axes) -> None:
        """Refuses a wrong type, number of axes or length, and enters the named axes into `axes`."""
        if dtype not in self.dtypes or len(shape) != len(self._lengths):
            raise LocalProtocolError.at(path, ArrayShape(dtype, shape), self.describe())
        for (name, fixed, most), length in zip(self._lengths, shape, strict=True):
            if fixed is not None and length != fixed:
                raise LocalProtocolError.at(path, ArrayShape(dtype, shape), self.describe())
            if fixed is None and not length == axes.setdefault(name, length) <= most:
                right = f"{axes[name]} {name} as the others" if axes[name] != length else f"at most {most} {name}"
                raise LocalProtocolError.at(path, ArrayShape(dtype, shape), f"{self.describe()}, with {right}")

    @cached_property
    def _lengths(self) -> tuple[tuple[str, int | None, int], ...]:
        """Name, fixed length and greatest length of each axis."""
        return tuple((name, int(name) if name.isdigit() else None, MOST_ALONG.get(name, 0)) for name in self.axes)

    def to_json(self, value: Any, arrays: ArraySink) -> dict[str, int]:
        return arrays.put(value)

    def from_json(self, value: Any, path: str, arrays: ArraySource) -> Any:
        return arrays.take(value, path, self)

    def _check_values(self, value: np.ndarray, path: str) -> None:
        if self.low is None or self.high is None or value.size == 0:
            return
        with np.errstate(invalid="ignore"):
            # Two passes and no temporary array; NaN comes through min and max, and compares as false.
            if self.low <= value.min() and value.max() <= self.high:
                return
            place = np.argwhere(~((value >= self.low) & (value <= self.high)))[0]
        where = f"{path}[{', '.join(str(index) for index in place)}]"
        number = value[tuple(place)].item()
        raise LocalProtocolError.at(where, number, f"a number from {plain(self.low)} to {plain(self.high)}")


@dataclass(frozen=True)
class Png(Kind):
    """The bytes of a PNG file, in a frame of their own.

    Only the first bytes are looked at, for the size in pixels: decoding is for a process that may be killed.
    """

    most_side: int = 8192

    most_arrays = 1

    def describe(self) -> str:
        return f"a PNG file of at most {self.most_side} x {self.most_side} pixels"

    def checked(self, value: Any, path: str, axes: Axes) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview) or not self._is_png(value):
            raise LocalProtocolError.at(path, value, self.describe())
        return bytes(value)

    def to_json(self, value: Any, arrays: ArraySink) -> dict[str, int]:
        return arrays.put(np.frombuffer(value, np.uint8))

    def from_json(self, value: Any, path: str, arrays: ArraySource) -> Any:
        return arrays.take(value, path, self)

    def _is_png(self, value: bytes | bytearray | memoryview) -> bool:
        start = bytes(value[:24])
        if not start.startswith(_PNG_START) or not 24 < len(value) <= MOST_PICTURE_BYTES:
            return False
        width, height = struct.unpack(">II", start[16:])
        return 1 <= width <= self.most_side and 1 <= height <= self.most_side


def picture_size(png: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the start of a checked PNG file."""
    width, height = struct.unpack(">II", png[16:24])
    return width, height
