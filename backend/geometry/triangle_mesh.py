"""Triangle meshes as two tensors. Right-handed, Y up, metres; faces counter-clockwise seen from outside."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class TriangleMesh:
    """A triangle mesh whose positions may carry gradients.

    The front of an object looks along +Z, as in glTF. Files are written as they are (glTF is Y up too).
    """

    positions: Float[Tensor, "vertices 3"]
    faces: Int[Tensor, "faces 3"]
    """int32, the type that rasterisers take; use `faces.long()` to index."""

    def __post_init__(self) -> None:
        if self.faces.dtype != torch.int32:
            raise ValueError(f"faces must be int32, got {self.faces.dtype}")

    @property
    def is_empty(self) -> bool:
        return len(self.faces) == 0

    def face_normals(self) -> Float[Tensor, "faces 3"]:
        """Normals of the faces with twice the area of the face as their length; differentiable."""
        corners = self.positions[self.faces.long()]  # [faces, 3 corners, 3]
        return torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])

    def vertex_normals(self) -> Float[Tensor, "vertices 3"]:
        """Unit normals, the area-weighted mean of the faces around each vertex; differentiable.

        A vertex without any area around it gets the normal (0, 0, 0).
        """
        face_normals = self.face_normals()
        summed = torch.zeros_like(self.positions)
        for corner in range(3):
            summed = summed.index_add(0, self.faces[:, corner].long(), face_normals)
        return torch.nn.functional.normalize(summed, dim=-1, eps=1e-12)

    def detach(self) -> TriangleMesh:
        return TriangleMesh(self.positions.detach(), self.faces)

    def to(self, device: torch.device | str) -> TriangleMesh:
        return TriangleMesh(self.positions.to(device), self.faces.to(device))


def random_places(
    mesh: TriangleMesh, count: int, generator: torch.Generator
) -> tuple[Int[Tensor, "places"], Float[Tensor, "places 3"]]:
    """Places spread evenly over the surface: the face of each, and the weights of its three corners.

    Args:
        generator: On the CPU, as what is returned.
    """
    areas = mesh.face_normals().norm(dim=-1).double().cpu()
    uniform = torch.rand(count, 3, generator=generator)
    # By the running sum of areas: torch's multinomial takes no more than 2^24 faces.
    running = areas.cumsum(0)
    faces = torch.searchsorted(running, uniform[:, 0].double() * running[-1]).clamp(max=len(areas) - 1)
    root = uniform[:, 1].sqrt()
    weights = torch.stack([1 - root, root * (1 - uniform[:, 2]), root * uniform[:, 2]], dim=-1)  # uniform on a triangle
    return faces, weights
