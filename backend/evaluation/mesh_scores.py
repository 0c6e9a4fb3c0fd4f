"""What is asked of every finished mesh: do its views show what was named, and is its surface fit for use?

Solids are measured in `volume_overlap` and `part_counts`. Nothing here is used in optimisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from backend.appearance.mesh_files import MeshFile
from backend.cameras import CameraBatch, turntable_cameras
from backend.errors import BadInput
from backend.evaluation.classifier import CLASSIFIER_PIXELS, WorldClassifier
from backend.geometry.components import face_components
from backend.geometry.decimate import is_closed
from backend.geometry.triangle_mesh import TriangleMesh
from backend.geometry.unwrap import uv_overlap_fraction
from backend.render.rasteriser import Rasteriser
from backend.render.renderer import Appearance, RenderedViews, TextureImages, VertexColours, render_views
from backend.render.shading import headlight

VIEW_COUNT = 8
BACKGROUND = (0.55, 0.55, 0.55)
_OVERLAP_TEXELS = 1024


@dataclass(frozen=True)
class ViewScores:
    """What the classifier names in pictures that each show the whole object."""

    shape: float
    """Share of the views that are named as the shape that was asked for, 0 to 1."""
    colour: float
    """The same of the colour."""
    seen_as: str
    """The shape that most views are named as."""


@dataclass(frozen=True)
class SurfaceFacts:
    """A mesh as a program would receive it, after vertices at the same position are merged."""

    faces: int
    is_closed: bool
    """Every edge belongs to two faces that turn the same way."""
    components: int
    uv_overlap: float | None
    """Share of the covered texels that lie in more than one face; None without UVs."""


def judging_cameras(count: int = VIEW_COUNT) -> CameraBatch:
    """Evenly spaced cameras whose combination of elevation, azimuth, lens and framing no optimisation draws."""
    return turntable_cameras(count, elevation_degrees=18.0, first_azimuth_degrees=11.0)


@torch.no_grad()
def render_judged_views(
    rasteriser: Rasteriser, mesh: TriangleMesh, appearance: Appearance, resolution: int = CLASSIFIER_PIXELS
) -> RenderedViews:
    """A mesh from the judging cameras, under a light at the camera, before grey."""
    cameras = judging_cameras()
    background = torch.tensor(BACKGROUND)
    light = headlight(cameras)
    return render_views(
        rasteriser, mesh, appearance, cameras, resolution, lighting=light, background=background, supersample=3
    )


@torch.no_grad()
def view_scores(
    classifier: WorldClassifier, images: Float[Tensor, "views height width 3"], shape: str, colour: str
) -> ViewScores:
    """Shares of views that are named right.

    Raises:
        BadInput: The classifier knows no such shape or colour.
    """
    for name, known in ((shape, classifier.shapes), (colour, classifier.colours)):
        if name not in known:
            raise BadInput(f"the classifier does not know {name!r}; it knows {', '.join(known)}")
    shapes, colours = (logits.argmax(dim=1) for logits in classifier(images.clamp(0, 1).permute(0, 3, 1, 2)))
    return ViewScores(
        shape=(shapes == classifier.shapes.index(shape)).float().mean().item(),
        colour=(colours == classifier.colours.index(colour)).float().mean().item(),
        seen_as=classifier.shapes[int(shapes.bincount(minlength=len(classifier.shapes)).argmax())],
    )


def mean_saturation(views: RenderedViews) -> float:
    """Mean HSV saturation, 0 to 1, of the pixels that the object covers whole; 0 where there are none.

    Distillation at a high guidance scale is known to oversaturate (DreamFusion, section 3.2).
    """
    pixels = views.images.clamp(0, 1)[views.masks[..., 0] > 0.99]  # [pixels, 3]
    if len(pixels) == 0:
        return 0.0
    highest, lowest = pixels.amax(dim=-1), pixels.amin(dim=-1)
    return float(((highest - lowest) / highest.clamp(min=1e-6)).mean())


def merged_by_position(mesh: TriangleMesh) -> TriangleMesh:
    """One vertex for all that lie at exactly the same position, as the doubles along the seams of a texture do."""
    return _merged(mesh)[0]


def normals_across_seams(mesh: TriangleMesh) -> Float[Tensor, "vertices 3"]:
    """Unit normals that are equal where vertices are doubled, so that no seam shows under a light."""
    merged, vertex = _merged(mesh)
    return merged.vertex_normals()[vertex]


def appearance_of(read: MeshFile) -> TextureImages | VertexColours:
    """What the file is painted with: its base colour texture, else its vertex colours."""
    if read.uv is not None and read.base_colour is not None:
        return TextureImages(read.uv, read.base_colour.float() / 255, normals_across_seams(read.mesh))
    if read.vertex_colours is not None:
        return VertexColours(read.vertex_colours.float() / 255)
    return VertexColours(torch.full_like(read.mesh.positions, 0.8))


def _merged(mesh: TriangleMesh) -> tuple[TriangleMesh, Tensor]:
    """The merged mesh and, for each vertex of the given one, its number there."""
    positions, numbers = np.unique(mesh.positions.detach().cpu().numpy(), axis=0, return_inverse=True)
    vertex = torch.from_numpy(numbers.reshape(-1))
    return TriangleMesh(torch.from_numpy(positions), vertex[mesh.faces.cpu().long()].int()), vertex


def surface_facts(mesh: TriangleMesh, uv: Float[Tensor, "vertices 2"] | None = None) -> SurfaceFacts:
    """Counts and checks of the surface. The UVs belong to the vertices of the mesh as it is, before merging."""
    merged = merged_by_position(mesh)
    overlap = None
    if uv is not None:
        overlap = uv_overlap_fraction(uv.cpu().numpy(), mesh.faces.cpu().numpy(), _OVERLAP_TEXELS)
    components = 0 if mesh.is_empty else int(face_components(merged).max()) + 1
    return SurfaceFacts(len(mesh.faces), is_closed(merged), components, overlap)
