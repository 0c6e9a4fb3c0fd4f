"""Cameras that stand and look anywhere, in perspective or orthographic: those that sketches are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from backend.cameras import FAR_METRES, NEAR_METRES, CameraBatch


@dataclass(frozen=True)
class PosedCameras:
    """One entry per view. The camera looks along its own -Z with its own Y up."""

    world_to_camera: Float[Tensor, "views 4 4"]
    """Rotation and place, without scale."""
    half_heights: Float[Tensor, "views"]
    """Half of what the picture's height spans: metres for orthographic views, for others metres at 1 m distance, which
    is the tangent of half the vertical field of view."""
    is_orthographic: Bool[Tensor, "views"]
    shifts: Float[Tensor, "views 2"]
    """By how much of its height the frame is moved to the right and upwards; what it shows moves the other way."""

    @classmethod
    def of_orbit(cls, cameras: CameraBatch) -> PosedCameras:
        """The same cameras."""
        focal_heights = torch.tan(torch.deg2rad(cameras.fov_degrees) / 2)
        nothing = torch.zeros(len(cameras), 2, device=focal_heights.device, dtype=focal_heights.dtype)
        return cls(cameras.view_matrices(), focal_heights, torch.zeros_like(focal_heights, dtype=torch.bool), nothing)

    @classmethod
    def joined(cls, parts: Sequence[PosedCameras]) -> PosedCameras:
        """One after the other."""
        return cls(
            torch.cat([part.world_to_camera for part in parts]),
            torch.cat([part.half_heights for part in parts]),
            torch.cat([part.is_orthographic for part in parts]),
            torch.cat([part.shifts for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.half_heights)

    def __getitem__(self, which: slice) -> PosedCameras:
        return PosedCameras(
            self.world_to_camera[which], self.half_heights[which], self.is_orthographic[which], self.shifts[which]
        )

    def positions(self) -> Float[Tensor, "views 3"]:
        """Where the cameras stand, in metres."""
        rotations, offsets = self.world_to_camera[:, :3, :3], self.world_to_camera[:, :3, 3]
        return -torch.einsum("vji,vj->vi", rotations, offsets)

    def view_matrices(self) -> Float[Tensor, "views 4 4"]:
        """World to camera."""
        return self.world_to_camera

    def projection_matrices(self, aspect: float = 1.0) -> Float[Tensor, "views 4 4"]:
        """Camera to clip space, with y turned over so that row 0 of an image is the top of the scene.

        Args:
            aspect: Width of the image divided by its height.
        """
        flat = self.is_orthographic
        focal = 1.0 / self.half_heights
        zero, one = torch.zeros_like(focal), torch.ones_like(focal)
        right, up = 2 * self.shifts[:, 0] / aspect, 2 * self.shifts[:, 1]
        # Small things seen through a long lens: the depths that are shown go away with the camera.
        distances = self.world_to_camera[:, :3, 3].norm(dim=-1)
        away = torch.where(flat, one, (distances / (FAR_METRES / 2)).clamp(min=1))
        near, far = NEAR_METRES * away, FAR_METRES * away
        depth = far - near
        matrices = torch.zeros(len(self), 4, 4, dtype=focal.dtype, device=focal.device)
        matrices[:, 0, 0] = focal / aspect
        matrices[:, 1, 1] = -focal
        # In perspective w is -z, so that an offset of the picture is a multiple of z.
        matrices[:, 0, 2] = torch.where(flat, zero, right)
        matrices[:, 1, 2] = torch.where(flat, zero, -up)
        matrices[:, 0, 3] = torch.where(flat, -right, zero)
        matrices[:, 1, 3] = torch.where(flat, up, zero)
        matrices[:, 2, 2] = torch.where(flat, -2 / depth, -(far + near) / depth)
        matrices[:, 2, 3] = torch.where(flat, -(far + near) / depth, -2 * far * near / depth)
        matrices[:, 3, 2] = torch.where(flat, zero, -one)
        matrices[:, 3, 3] = torch.where(flat, one, zero)
        return matrices

    def clip_matrices(self, aspect: float = 1.0) -> Float[Tensor, "views 4 4"]:
        """World to clip space."""
        return self.projection_matrices(aspect) @ self.world_to_camera

    def project(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "views points 2"]:
        """Where points appear: x to the right and y downwards, -1 to 1 across the picture. In front of the cameras."""
        homogeneous = torch.cat([points, torch.ones_like(points[:, :1])], dim=-1)
        clip = torch.einsum("vij,pj->vpi", self.clip_matrices(), homogeneous)
        return clip[..., :2] / clip[..., 3:].clamp(min=1e-6)

    def to(self, device: torch.device | str) -> PosedCameras:
        return PosedCameras(
            self.world_to_camera.to(device),
            self.half_heights.to(device),
            self.is_orthographic.to(device),
            self.shifts.to(device),
        )
