"""From where a sketch was drawn: one of the six views, an orbit around the object, or anywhere."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from backend.cameras import CameraBatch
from backend.errors import BadInput
from backend.posed_cameras import PosedCameras

ViewName = Literal["front", "back", "left", "right", "top", "bottom"]
Projection = Literal["perspective", "orthographic"]

FRAMING_METRES = 1.15
"""Half the height of what a picture shows at the object's middle, where nothing else is known."""
FOV_DEGREES = 40.0
_FLAT_DISTANCE_METRES = 4.0  # of orthographic cameras, for which it only has to be outside of the object
VIEW_ANGLES: dict[str, tuple[float, float]] = {
    "front": (0.0, 0.0),
    "right": (90.0, 0.0),
    "back": (180.0, 0.0),
    "left": (270.0, 0.0),
    "top": (0.0, 90.0),
    "bottom": (0.0, -90.0),
}
"""Azimuth and elevation in degrees."""


@dataclass(frozen=True)
class SketchCamera:
    """Built by `preset`, `orbit` and `from_matrix`, which check what they are given."""

    camera_to_world: tuple[float, ...]
    """16 numbers, row by row; the camera looks along its own -Z. Y up, metres."""
    projection: Projection
    half_height: float
    """As in `PosedCameras`."""
    shift: tuple[float, float] = (0.0, 0.0)
    """As in `PosedCameras`."""
    is_placed: bool = True
    """False if scale and place of the picture are free, so that a drawing may be moved to the middle and scaled."""

    @classmethod
    def preset(
        cls, view: str, projection: Projection = "orthographic", fov_degrees: float = FOV_DEGREES
    ) -> SketchCamera:
        """One of the six views; up is +Y, in the view from the top -Z, from the bottom +Z.

        Raises:
            BadInput: There is no such view.
        """
        if view not in get_args(ViewName):
            raise BadInput(f"there is no view {view!r}; there are {', '.join(get_args(ViewName))}")
        azimuth, elevation = VIEW_ANGLES[view]
        return cls.orbit(azimuth, elevation, projection=projection, fov_degrees=fov_degrees)

    @classmethod
    def orbit(
        cls,
        azimuth_degrees: float,
        elevation_degrees: float,
        distance_metres: float | None = None,
        projection: Projection = "perspective",
        fov_degrees: float = FOV_DEGREES,
        height_metres: float | None = None,
    ) -> SketchCamera:
        """A camera that looks at the middle of the object.

        Args:
            azimuth_degrees: 0 at the front (+Z), growing towards +X.
            distance_metres: Of perspective views; None leaves it open.
            height_metres: What the picture's height spans, of orthographic views; None leaves it open.

        Raises:
            BadInput: A number is outside its range.
        """
        _check("azimuth", azimuth_degrees, -360.0, 360.0)
        _check("elevation", elevation_degrees, -90.0, 90.0)
        _check("field of view", fov_degrees, 1.0, 170.0)
        is_flat = projection == "orthographic"
        half_height = FRAMING_METRES if is_flat else math.tan(math.radians(fov_degrees) / 2)
        given = height_metres if is_flat else distance_metres
        if given is not None:
            _check("height" if is_flat else "distance", given, 1e-4, 1e6)
        if is_flat and height_metres is not None:
            half_height = height_metres / 2
        open_distance = _FLAT_DISTANCE_METRES if is_flat else FRAMING_METRES / half_height
        distance = open_distance if is_flat or distance_metres is None else distance_metres
        batch = CameraBatch(*(torch.tensor([value]) for value in (azimuth_degrees, elevation_degrees, distance, 40.0)))
        matrix = tuple(batch.camera_to_world()[0].tolist())
        return cls(matrix, projection, half_height, is_placed=given is not None)

    @classmethod
    def from_matrix(
        cls,
        camera_to_world: Sequence[float],
        projection: Projection = "perspective",
        fov_degrees: float = FOV_DEGREES,
        height_metres: float = 2.0,
        shift: tuple[float, float] = (0.0, 0.0),
    ) -> SketchCamera:
        """A camera that stands anywhere.

        An orthographic one is moved along its axis to before the object, since some stand within it or behind it; what
        it shows stays the same.

        Raises:
            BadInput: The matrix is no rotation with a place, or a number is outside its range.
        """
        matrix = torch.tensor(list(camera_to_world), dtype=torch.float64)
        if matrix.numel() != 16 or not bool(torch.isfinite(matrix).all()):
            raise BadInput(f"a camera matrix has 16 finite numbers, row by row; got {list(camera_to_world)}")
        rotation, last_row = matrix.view(4, 4)[:3, :3], matrix.view(4, 4)[3]
        skew = float((rotation @ rotation.T - torch.eye(3, dtype=torch.float64)).abs().max())
        if skew > 1e-3 or float(torch.linalg.det(rotation)) <= 0 or last_row.tolist() != [0.0, 0.0, 0.0, 1.0]:
            raise BadInput(
                "a camera matrix must be a rotation and a place, without scale or mirroring, with the last row 0 0 0 1"
            )
        _check("field of view", fov_degrees, 1.0, 170.0)
        _check("height", height_metres, 1e-4, 1e6)
        if projection == "perspective":
            return cls(tuple(matrix.tolist()), projection, math.tan(math.radians(fov_degrees) / 2), shift)
        place, backward = matrix.view(4, 4)[:3, 3], matrix.view(4, 4)[:3, 2]
        place += backward * (_FLAT_DISTANCE_METRES - place @ backward)
        return cls(tuple(matrix.tolist()), projection, height_metres / 2, shift)

    @property
    def angles_degrees(self) -> tuple[float, float]:
        """Azimuth in [0, 360) and elevation of the side that the camera looks at the object from."""
        x, y, z = (self.camera_to_world[4 * row + 2] for row in range(3))  # the camera's own +Z, backwards
        return math.degrees(math.atan2(x, z)) % 360.0, math.degrees(math.asin(min(1.0, max(-1.0, y))))

    @property
    def framing_metres(self) -> float:
        """Half of what the picture's height spans at the object's middle, which lies before the camera."""
        if self.projection == "orthographic":
            return self.half_height
        x, y, z = (self.camera_to_world[4 * row + 3] for row in range(3))
        backward = (self.camera_to_world[4 * row + 2] for row in range(3))
        return self.half_height * sum(place * axis for place, axis in zip((x, y, z), backward, strict=True))

    def for_square(self, aspect: float) -> SketchCamera:
        """The camera of the square picture that results when one of this aspect gets a margin on its shorter sides."""
        if aspect <= 1:
            return self
        shift = (self.shift[0] / aspect, self.shift[1] / aspect)
        return dataclasses.replace(self, half_height=self.half_height * aspect, shift=shift)

    def reframed(self, framing_metres: float, centre: tuple[float, float]) -> SketchCamera:
        """A camera from the same side that shows `framing_metres` above and below the object's middle.

        Args:
            centre: Where in the square picture the object's middle lies: x to the right and y upwards, -1 to 1.
        """
        shift = (-centre[0] / 2, -centre[1] / 2)
        if self.projection == "orthographic":
            return dataclasses.replace(self, half_height=framing_metres, shift=shift)
        matrix = list(self.camera_to_world)
        distance = framing_metres / self.half_height
        for row in range(3):
            matrix[4 * row + 3] = matrix[4 * row + 2] * distance
        return dataclasses.replace(self, camera_to_world=tuple(matrix), shift=shift)


def posed(cameras: Sequence[SketchCamera]) -> PosedCameras:
    """All of them as tensors, on the CPU."""
    to_world = torch.tensor([camera.camera_to_world for camera in cameras], dtype=torch.float64).view(-1, 4, 4)
    return PosedCameras(
        torch.linalg.inv(to_world).float(),
        torch.tensor([camera.half_height for camera in cameras], dtype=torch.float32),
        torch.tensor([camera.projection == "orthographic" for camera in cameras]),
        torch.tensor([camera.shift for camera in cameras], dtype=torch.float32),
    )


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise BadInput(f"the {name} of a sketch's camera must be from {low:g} to {high:g}; got {value:g}")
