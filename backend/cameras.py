"""Cameras on an orbit around the object. Right-handed, Y up; azimuth 0 looks at the front (+Z) and grows towards +X."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from backend.errors import BadInput

NEAR_METRES = 0.1
FAR_METRES = 100.0


@runtime_checkable  # for the type checker of the tests
class Cameras(Protocol):
    """What the renderer asks of cameras: `CameraBatch`, or `PosedCameras`, which stand anywhere."""

    def __len__(self) -> int: ...
    def positions(self) -> Float[Tensor, "views 3"]: ...
    def view_matrices(self) -> Float[Tensor, "views 4 4"]: ...
    def clip_matrices(self) -> Float[Tensor, "views 4 4"]: ...


@dataclass(frozen=True)
class CameraBatch:
    """Perspective cameras that look at the origin, one entry per view."""

    azimuth_degrees: Float[Tensor, "views"]
    elevation_degrees: Float[Tensor, "views"]
    distance_metres: Float[Tensor, "views"]
    fov_degrees: Float[Tensor, "views"]
    """Vertical field of view."""

    def __len__(self) -> int:
        return len(self.azimuth_degrees)

    def positions(self) -> Float[Tensor, "views 3"]:
        """Where the cameras stand, in metres."""
        azimuth, elevation = torch.deg2rad(self.azimuth_degrees), torch.deg2rad(self.elevation_degrees)
        direction = torch.stack(
            [
                torch.cos(elevation) * torch.sin(azimuth),
                torch.sin(elevation),
                torch.cos(elevation) * torch.cos(azimuth),
            ],
            dim=-1,
        )
        return direction * self.distance_metres[:, None]

    def view_matrices(self) -> Float[Tensor, "views 4 4"]:
        """World to camera; the camera looks along its own -Z with its own Y up (OpenGL)."""
        azimuth, elevation = torch.deg2rad(self.azimuth_degrees), torch.deg2rad(self.elevation_degrees)
        zero = torch.zeros_like(azimuth)
        # Written out instead of a cross product with the up vector, which has no answer straight from above.
        right = torch.stack([torch.cos(azimuth), zero, -torch.sin(azimuth)], dim=-1)
        backward = self.positions() / self.distance_metres[:, None]
        up = torch.stack(
            [
                -torch.sin(elevation) * torch.sin(azimuth),
                torch.cos(elevation),
                -torch.sin(elevation) * torch.cos(azimuth),
            ],
            dim=-1,
        )
        matrices = torch.zeros(len(self), 4, 4, dtype=azimuth.dtype, device=azimuth.device)
        matrices[:, :3, :3] = torch.stack([right, up, backward], dim=1)
        matrices[:, 2, 3] = -self.distance_metres  # the origin lies straight ahead, at this distance
        matrices[:, 3, 3] = 1.0
        return matrices

    def camera_to_world(self) -> Float[Tensor, "views 16"]:
        """The matrices from camera to world, row by row: what a model that learns cameras is told."""
        return torch.linalg.inv(self.view_matrices()).flatten(1)

    def projection_matrices(self, aspect: float = 1.0) -> Float[Tensor, "views 4 4"]:
        """Camera to clip space, with y turned over so that row 0 of an image is the top of the scene.

        Args:
            aspect: Width of the image divided by its height.
        """
        focal = 1.0 / torch.tan(torch.deg2rad(self.fov_degrees) / 2)
        matrices = torch.zeros(len(self), 4, 4, dtype=focal.dtype, device=focal.device)
        matrices[:, 0, 0] = focal / aspect
        matrices[:, 1, 1] = -focal
        matrices[:, 2, 2] = -(FAR_METRES + NEAR_METRES) / (FAR_METRES - NEAR_METRES)
        matrices[:, 2, 3] = -2 * FAR_METRES * NEAR_METRES / (FAR_METRES - NEAR_METRES)
        matrices[:, 3, 2] = -1.0
        return matrices

    def clip_matrices(self, aspect: float = 1.0) -> Float[Tensor, "views 4 4"]:
        """World to clip space."""
        return self.projection_matrices(aspect) @ self.view_matrices()

    def to(self, device: torch.device | str) -> CameraBatch:
        return CameraBatch(
            self.azimuth_degrees.to(device),
            self.elevation_degrees.to(device),
            self.distance_metres.to(device),
            self.fov_degrees.to(device),
        )


@dataclass(frozen=True)
class OrbitRange:
    """Where random cameras stand. The defaults are the cameras of the embedded prior's world."""

    elevation_degrees: tuple[float, float] = (-10.0, 60.0)
    fov_degrees: tuple[float, float] = (35.0, 45.0)
    framing: tuple[float, float] = (1.05, 1.35)
    """Half the height of the visible area at the object's centre, in metres; the object fits a ball of radius 0.9.

    The distance follows from it and the field of view, so that a wide lens comes closer instead of making things small.
    """

    def __post_init__(self) -> None:
        for name, low_limit, high_limit in (
            ("elevation_degrees", -90.0, 90.0),
            ("fov_degrees", 1.0, 120.0),
            ("framing", 0.1, 100.0),
        ):
            low, high = getattr(self, name)
            if not low_limit <= low <= high <= high_limit:
                raise BadInput(
                    f"{name} must be an ascending pair within [{low_limit}, {high_limit}], got ({low}, {high})"
                )


def sample_orbit_cameras(
    count: int, generator: torch.Generator, orbit: OrbitRange = OrbitRange(), device: torch.device | str = "cpu"
) -> CameraBatch:
    """Random cameras whose azimuths are stratified: each view gets its own slice of the circle.

    Half of the elevations are uniform in degrees and half uniform on the sphere, as in DreamFusion (section 3.2): the
    first looks at the horizon often enough, the second at everything evenly.
    """
    uniform = torch.rand(6, count, generator=generator)
    offset = uniform[0, :1] * 360.0
    azimuth = (offset + (torch.arange(count) + uniform[1]) * 360.0 / count) % 360.0

    low, high = (torch.deg2rad(torch.tensor(value)) for value in orbit.elevation_degrees)
    even_in_degrees = low + uniform[2] * (high - low)
    even_on_sphere = torch.asin(torch.sin(low) + uniform[2] * (torch.sin(high) - torch.sin(low)))
    elevation = torch.rad2deg(torch.where(uniform[3] < 0.5, even_in_degrees, even_on_sphere))

    fov = orbit.fov_degrees[0] + uniform[4] * (orbit.fov_degrees[1] - orbit.fov_degrees[0])
    framing = orbit.framing[0] + uniform[5] * (orbit.framing[1] - orbit.framing[0])
    distance = framing / torch.tan(torch.deg2rad(fov) / 2)
    # Random numbers come from the CPU generator on every device, so that a seed means the same views everywhere.
    return CameraBatch(azimuth, elevation, distance, fov).to(device)


def turntable_cameras(
    count: int,
    elevation_degrees: float = 20.0,
    framing: float = 1.15,
    fov_degrees: float = 40.0,
    first_azimuth_degrees: float = 0.0,
    device: torch.device | str = "cpu",
) -> CameraBatch:
    """Evenly spaced cameras on a circle, beginning at the front."""
    azimuth = (first_azimuth_degrees + torch.arange(count) * 360.0 / count) % 360.0
    fov = torch.full((count,), fov_degrees)
    distance = framing / torch.tan(torch.deg2rad(fov) / 2)
    return CameraBatch(azimuth, torch.full((count,), elevation_degrees), distance, fov).to(device)
