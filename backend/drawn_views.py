"""Views of the loop for which there is a drawing: what a task hands to the loop for the ControlNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from backend.cameras import CameraBatch
from backend.diffusion.control_network import Control
from backend.posed_cameras import PosedCameras


@dataclass(frozen=True)
class DrawnView:
    """One camera and the drawing of what it should see."""

    camera: PosedCameras
    """A single one; its picture is square."""
    azimuth_degrees: float
    elevation_degrees: float
    ink: Float[Tensor, "height width"]
    """How much of each pixel is line, in [0, 1]; row 0 is the top."""
    strength: float = 1.0
    """By what the ControlNet's additions are multiplied, at least 0."""


@dataclass(frozen=True)
class LoopViews:
    """The cameras of one step: random ones, the last of which may have given way to drawn views."""

    cameras: PosedCameras | CameraBatch
    azimuth_degrees: list[float]
    elevation_degrees: list[float]
    control: Control | None

    @classmethod
    def of(cls, random: CameraBatch, drawn: Sequence[DrawnView]) -> LoopViews:
        """The drawn views take the places of the last random ones.

        Raises:
            ValueError: There are more drawn views than random ones.
        """
        azimuths, elevations = random.azimuth_degrees.tolist(), random.elevation_degrees.tolist()
        if not drawn:
            return cls(random, azimuths, elevations, None)
        kept = len(random) - len(drawn)
        if kept < 0:
            raise ValueError(f"{len(drawn)} drawn views do not fit among {len(random)} views")
        device = random.azimuth_degrees.device
        cameras = [PosedCameras.of_orbit(random)[:kept], *(view.camera.to(device) for view in drawn)]
        size = drawn[0].ink.shape
        control = Control(
            torch.cat([torch.zeros(kept, *size, device=device), torch.stack([v.ink for v in drawn]).to(device)]),
            (0.0,) * kept + tuple(view.strength for view in drawn),
        )
        return cls(
            PosedCameras.joined(cameras),
            azimuths[:kept] + [view.azimuth_degrees for view in drawn],
            elevations[:kept] + [view.elevation_degrees for view in drawn],
            control,
        )

    def camera_to_world(self) -> Float[Tensor, "views 16"]:
        """As `CameraBatch.camera_to_world`."""
        return torch.linalg.inv(self.cameras.view_matrices()).flatten(1)
