"""Meshes, poses and views for tests and benchmarks of the rasteriser; gradients of rendered images by differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from torch import Tensor

from backend.cameras import CameraBatch, turntable_cameras
from backend.render.rasteriser import Rasteriser

POSE_PARAMETERS = ("x", "y", "z", "scale", "turn about x", "turn about y", "turn about z")
SUPERSAMPLED_PIXELS = 1024


@dataclass(frozen=True)
class Scene:
    positions: Tensor  # [vertices, 3], within a ball of radius 0.9
    faces: Tensor  # [faces, 3], int32
    colours: Tensor  # [vertices, channels], smooth over the surface
    moves: Tensor  # [vertices] bool: what the pose moves; the rest stands still


def cube(subdivisions: int = 0) -> Scene:
    mesh = trimesh.creation.box((1.0, 1.0, 1.0))
    for _ in range(subdivisions):
        mesh = mesh.subdivide()
    return _scene(mesh)


def blob(face_count: int) -> Scene:
    """A bumpy sphere."""
    mesh = _sphere(face_count)
    directions = mesh.vertices
    bumps = np.sin(4 * directions[:, 0] + 1) * np.sin(3 * directions[:, 1] + 2) * np.sin(5 * directions[:, 2])
    mesh.vertices = directions * (0.7 + 0.2 * bumps)[:, None]
    return _scene(mesh)


def torus(around: int, across: int) -> Scene:
    """Two triangles for each of around x across cells; seen at a slant it covers itself."""
    mesh = trimesh.creation.torus(0.6, 0.25, major_sections=around, minor_sections=across)
    mesh.apply_transform(trimesh.transformations.rotation_matrix(1.1, [1.0, 0.3, 0.0]))
    return _scene(mesh)


def sphere_before_sphere(face_count: int) -> Scene:
    """A small sphere that moves, before a large one that does not."""
    near, far = _sphere(face_count // 2), _sphere(face_count // 2)
    near.vertices = near.vertices * 0.25 + [0.05, 0.05, 0.63]
    far.vertices = far.vertices * 0.55 + [0.0, 0.0, -0.25]
    both = _scene(trimesh.util.concatenate([near, far]))
    is_near = torch.arange(len(both.positions)) < len(near.vertices)
    colours = torch.where(is_near[:, None], both.colours, 1.0 - both.colours)
    return Scene(both.positions, both.faces, colours, is_near)


def _sphere(face_count: int) -> trimesh.Trimesh:
    """A unit sphere with about that many faces of about one size: points on a spiral, and their convex hull."""
    count = face_count // 2 + 2
    heights = 1.0 - (2.0 * np.arange(count) + 1.0) / count
    angles = np.arange(count) * np.pi * (3.0 - np.sqrt(5.0))
    radii = np.sqrt(1.0 - heights**2)
    points = np.stack([radii * np.cos(angles), heights, radii * np.sin(angles)], axis=1)
    hull = trimesh.convex.convex_hull(points)
    # In the order of their vertices, as modelled and marched meshes come; a hull's faces are in none.
    hull.faces = hull.faces[np.lexsort(np.sort(hull.faces, axis=1).T[::-1])]
    return hull


def _scene(mesh: trimesh.Trimesh) -> Scene:
    positions = torch.tensor(np.asarray(mesh.vertices), dtype=torch.float32)
    faces = torch.tensor(np.asarray(mesh.faces), dtype=torch.int32)
    waves = positions @ torch.tensor([[2.0, -1.0, 0.5], [1.0, 2.0, -1.5], [-0.5, 1.0, 2.5]])
    colours = 0.55 + 0.4 * torch.sin(waves + torch.tensor([0.0, 1.0, 2.0]))
    return Scene(positions, faces, colours, torch.ones(len(positions), dtype=torch.bool))


def pose_positions(scene: Scene, pose: Tensor) -> Tensor:
    """The positions after scaling, turning and shifting what moves; [vertices, 3].

    Args:
        pose: [7], see POSE_PARAMETERS; zeros change nothing.
    """
    generators = torch.zeros(3, 3, 3, dtype=pose.dtype)
    generators[0, 2, 1] = generators[1, 0, 2] = generators[2, 1, 0] = 1.0
    generators = generators - generators.transpose(1, 2)
    rotation = torch.linalg.matrix_exp(torch.einsum("i,ijk->jk", pose[4:], generators))
    positions = scene.positions.to(pose.dtype)
    posed = (1.0 + pose[3]) * positions @ rotation.T + pose[:3]
    return torch.where(scene.moves[:, None], posed, positions)


def clip_positions(positions: Tensor, cameras: CameraBatch) -> Tensor:
    """[views, vertices, 4]"""
    homogeneous = torch.cat([positions, torch.ones_like(positions[:, :1])], dim=-1)
    return torch.einsum("vij,pj->vpi", cameras.clip_matrices().to(positions.dtype), homogeneous).contiguous()


def render(
    rasteriser: Rasteriser, scene: Scene, pose: Tensor, cameras: CameraBatch, pixels: int, colours: Tensor | None
) -> Tensor:
    """Antialiased images [views, height, width, channels]; without colours the mask."""
    positions = clip_positions(pose_positions(scene, pose), cameras)
    raster, _ = rasteriser.rasterize(positions, scene.faces, (pixels, pixels))
    return rasteriser.antialias(_shade(rasteriser, scene, raster, colours), raster, positions, scene.faces)


def _shade(rasteriser: Rasteriser, scene: Scene, raster: Tensor, colours: Tensor | None) -> Tensor:
    if colours is None:
        return (raster[..., 3:] > 0).float()
    return rasteriser.interpolate(colours[None].contiguous(), raster, scene.faces)[0]


def render_supersampled(
    rasteriser: Rasteriser, scene: Scene, pose: Tensor, cameras: CameraBatch, pixels: int, colours: Tensor | None
) -> Tensor:
    """The same without antialiasing, averaged down from 1024 pixels."""
    positions = clip_positions(pose_positions(scene, pose), cameras)
    raster, _ = rasteriser.rasterize(positions, scene.faces, (SUPERSAMPLED_PIXELS, SUPERSAMPLED_PIXELS))
    image = _shade(rasteriser, scene, raster, colours)
    views, factor = len(cameras), SUPERSAMPLED_PIXELS // pixels
    return image.reshape(views, pixels, factor, pixels, factor, -1).mean(dim=(2, 4))


def four_cameras() -> CameraBatch:
    return turntable_cameras(4, elevation_degrees=25.0, first_azimuth_degrees=15.0)


def smooth_weights(pixels: int, channels: int, seed: int = 0) -> Tensor:
    """Random smooth images [views, pixels, pixels, channels] that turn a picture into one number."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(4, channels, 6, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(pixels, pixels), mode="bicubic", align_corners=False)
    return smooth.permute(0, 2, 3, 1).contiguous()


def gradient_by_backward(
    rasteriser: Rasteriser, scene: Scene, pixels: int, colours: Tensor | None, weights: Tensor
) -> Tensor:
    """Gradient of the weighted sum of the antialiased pictures by the pose; [7]."""
    pose = torch.zeros(7, requires_grad=True)
    (render(rasteriser, scene, pose, four_cameras(), pixels, colours) * weights).sum().backward()
    assert pose.grad is not None
    return pose.grad


def image_changes(
    rasteriser: Rasteriser, scene: Scene, pixels: int, colours: Tensor | None, step: float = 0.01
) -> Tensor:
    """How supersampled pictures, which no rule of antialiasing touches, change with the pose, by central differences.

    Returns:
        [7, views, pixels, pixels, channels]; weighed and summed, the true gradient of the pose.
    """
    cameras = four_cameras()
    changes = []
    with torch.no_grad():
        for shift in step * torch.eye(7):
            ahead = render_supersampled(rasteriser, scene, shift, cameras, pixels, colours)
            behind = render_supersampled(rasteriser, scene, -shift, cameras, pixels, colours)
            changes.append((ahead - behind) / (2 * step))
    return torch.stack(changes)


def agreement(gradient: Tensor, true_gradient: Tensor) -> tuple[float, float]:
    """Cosine, and the length of `gradient` along the true one (1 is right)."""
    product = float(gradient @ true_gradient)
    cosine = product / max(float(gradient.norm() * true_gradient.norm()), 1e-12)
    return cosine, product / float(true_gradient @ true_gradient)
