"""Colours for the parts of a mesh that no camera saw: those of the nearest part that one did.

A texture field is learnt at visible points alone. Under an object and inside of it the field still holds its grey.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy import spatial
from torch import Tensor

from backend.appearance.bake import MaterialField
from backend.appearance.material import Material
from backend.cameras import turntable_cameras
from backend.geometry.triangle_mesh import TriangleMesh
from backend.render.rasteriser import Rasteriser
from backend.render.renderer import FieldAppearance, render_views

SEEN_WITHIN_METRES = 0.03
"""What is nearer than this to a visible point counts as seen; half a cell of a texture field's middle grid."""
_AZIMUTHS, _ELEVATIONS, _PIXELS = 12, 3, 256
_SPACING_METRES = 0.01


class NearestSeen:
    """A texture field that is asked, for points that are not near any of `seen`, at the nearest one of them."""

    def __init__(self, texture_field: MaterialField, seen: Float[Tensor, "points 3"]) -> None:
        self._field = texture_field
        self._seen = seen
        self._tree = spatial.cKDTree(seen.cpu().numpy())

    def __call__(self, positions: Float[Tensor, "points 3"]) -> Material:
        distances, nearest = self._tree.query(positions.detach().cpu().numpy())
        is_unseen = torch.from_numpy(distances > SEEN_WITHIN_METRES).to(positions.device)
        instead = self._seen[torch.from_numpy(nearest).to(positions.device)]
        return self._field(torch.where(is_unseen[:, None], instead, positions))


@torch.no_grad()
def seen_points(
    mesh: TriangleMesh, rasteriser: Rasteriser, elevation_degrees: tuple[float, float]
) -> Float[Tensor, "points 3"]:
    """Points all over what cameras on an orbit see of a mesh, a centimetre apart. None if they see nothing.

    Args:
        elevation_degrees: Lowest and highest position of the cameras.
    """
    seen: list[Tensor] = []

    def keep(positions: Tensor) -> Material:
        seen.append(positions)
        return Material(torch.zeros_like(positions), positions[:, :1] * 0, positions[:, :1] * 0)

    for elevation in np.linspace(*elevation_degrees, _ELEVATIONS):
        cameras = turntable_cameras(_AZIMUTHS, float(elevation), device=mesh.positions.device)
        render_views(rasteriser, mesh, FieldAppearance(keep), cameras, _PIXELS)
    points = torch.cat(seen).cpu().numpy()
    cells = np.rint((points + 1) / _SPACING_METRES).astype(np.int64)  # from 0 to 200 in the ball
    _, first = np.unique(cells @ [2**40, 2**20, 1], return_index=True)  # one number sorts faster than three
    return torch.from_numpy(points[first]).to(mesh.positions.device)
