"""Meshes on the wire, and their 16-bit form.

The wire speaks Blender: right-handed, Z up, metres, faces counter-clockwise from outside, colours sRGB-coded with 8
bits a channel, textures with V upwards (the first row of a picture is at V = 1). The front of an object looks along -Y.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from .arrays import Array, Png
from .errors import LocalProtocolError
from .fields import Many, Number, Record, record

FARTHEST_METRES = 1e6
"""Blender's float32 coordinates are no use beyond; a centimetre is lost from 100 km on."""
QUANTISED_STEPS = 65535

Positions = Annotated[np.ndarray, Array("float32", "vertices 3", -FARTHEST_METRES, FARTHEST_METRES)]
Faces = Annotated[np.ndarray, Array("int32", "faces 3")]
Colours = Annotated[np.ndarray, Array("uint8", "vertices 3")]
Coordinate = Annotated[float, Number(-FARTHEST_METRES, FARTHEST_METRES)]
Point = Annotated[tuple[Coordinate, ...], Many(3, 3)]


@record
class InputMesh(Record):
    """A mesh from the client: what a job begins with, or what a user has edited. Need not be closed."""

    positions: Positions
    """Metres."""
    faces: Faces
    """Indices of vertices, counter-clockwise from outside; at least one face."""
    colours: Colours | None = None
    """sRGB, one per vertex."""
    locked: Annotated[np.ndarray, Array("uint8", "vertices", 0, 1)] | None = None
    """1 where the surface, and its colours if `colours` are given, must stay as it is, 0 where it may change. Of an
    edited mesh they take the place of earlier ones."""
    uv: Annotated[np.ndarray, Array("float32", "faces 3 2", -1e4, 1e4)] | None = None
    """One per corner of each face, V upwards; a texture task keeps them where it can."""

    def _check(self) -> None:
        check_faces(self.faces, len(self.positions), "faces")
        if len(self.faces) == 0:
            raise LocalProtocolError.at("faces", self.faces, "at least one face")


@record
class ResultMesh(Record):
    """A finished mesh. Vertices on seams of the texture are doubled."""

    positions: Positions
    """Metres."""
    faces: Faces
    """Indices of vertices, counter-clockwise from outside."""
    normals: Annotated[np.ndarray, Array("float32", "vertices 3", -1.001, 1.001)]
    """Unit normals, equal on both sides of a seam; (0, 0, 0) where there is no surface."""
    uv: Annotated[np.ndarray, Array("float32", "vertices 2", -1e4, 1e4)] | None = None
    """V upwards."""
    source_vertices: Annotated[np.ndarray, Array("int32", "vertices", 0, 2**31 - 1)] | None = None
    """Equal for the doubles of one vertex: whoever welds these has the mesh without seams."""
    colours: Colours | None = None
    """sRGB, one per vertex: the textures' colours, for programs without textures."""

    def _check(self) -> None:
        check_faces(self.faces, len(self.positions), "faces")


@record
class Texture(Record):
    """One picture of a finished mesh's material."""

    use: Literal["base-colour", "metallic-roughness", "normal"]
    """base-colour is sRGB; metallic-roughness is glTF's (roughness in green, metallic in blue), linear; normal is in
    tangent space, linear, green upwards."""
    picture: Annotated[bytes, Png()]
    """The first row is at V = 1."""


@record
class NamedPicture(Record):
    """A picture that a job made."""

    name: Literal["picture", "turntable", "mask", "depth", "normals"]
    """What it shows."""
    picture: Annotated[bytes, Png()]
    """The file."""


def check_faces(faces: np.ndarray, vertices: int, path: str) -> None:
    """Refuses faces that point outside of the vertices.

    Raises:
        LocalProtocolError: With the first bad index and its place.
    """
    # As unsigned numbers the negative ones are large as well: one pass finds both.
    if faces.size == 0 or faces.view(np.uint32).max() < vertices:
        return
    row, corner = np.argwhere((faces < 0) | (faces >= vertices))[0]
    right = f"a vertex from 0 to {vertices - 1}" if vertices else "left out: there are no vertices"
    raise LocalProtocolError.at(f"{path}[{row}, {corner}]", int(faces[row, corner]), right)


def quantise(positions: np.ndarray) -> tuple[np.ndarray, tuple[float, ...], tuple[float, ...]]:
    """Positions with 16 bits a coordinate: half the bytes.

    Args:
        positions: float32 [vertices, 3], metres, finite.

    Returns:
        uint16 [vertices, 3] and the corners of the bounding box that 0 and 65535 stand for. What `dequantise` gives
        differs by at most half a step, 1 / 131070 of the box's side, on each axis, and float32's own rounding.
    """
    if len(positions) == 0:
        return np.zeros((0, 3), np.uint16), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
    low, high = positions.min(axis=0).astype(np.float64), positions.max(axis=0).astype(np.float64)
    step = np.where(high > low, (high - low) / QUANTISED_STEPS, 1.0)
    values = np.rint((positions - low) / step).astype(np.uint16)
    return values, tuple(low.tolist()), tuple(high.tolist())


def dequantise(values: np.ndarray, low: tuple[float, ...], high: tuple[float, ...]) -> np.ndarray:
    """The reverse of `quantise`: float32 [vertices, 3], metres: low + value * (high - low) / 65535."""
    step = (np.array(high) - np.array(low)) / QUANTISED_STEPS
    return (values * step + np.array(low)).astype(np.float32)
