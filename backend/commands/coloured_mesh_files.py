"""Meshes of the wire with colours at their vertices as files: frames of a job that is watched, and partial results.

Needs no torch, so that `watch` begins at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from backend.durable_files import write_output
from backend.errors import BadInput
from backend.geometry.mesh_input import Placement, UpAxis

BLENDER_AXES = Placement(centre=(0.0, 0.0, 0.0), scale=1.0, up="z")
"""`turn` leads from the wire's axes to glTF's, `turn_back` from these to the wire's."""
COLOURED_SUFFIXES = (".glb", ".obj", ".ply", ".stl")


def check_coloured_suffix(path: Path) -> None:
    """Raises BadInput where the suffix names no format that `write_coloured_mesh` can write."""
    if path.suffix.lower() not in COLOURED_SUFFIXES:
        raise BadInput(f"{path}: use one of the suffixes {', '.join(COLOURED_SUFFIXES)}")


def write_coloured_mesh(
    path: Path, positions: np.ndarray, faces: np.ndarray, colours: np.ndarray | None, up: UpAxis = "y"
) -> None:
    """Writes a mesh in the format that the suffix names; its folder is made if need be. STL has no colours.

    Args:
        positions: float32 [vertices, 3], metres, Z up as on the wire.
        faces: int32 [faces, 3].
        colours: uint8 [vertices, 3], sRGB; None for none.
        up: The axis of the file that is to point upwards.

    Raises:
        BadInput: The suffix is not known.
        OutputNotWritable: No permission, no space, or no such place.
    """
    import trimesh

    check_coloured_suffix(path)
    suffix = path.suffix.lower()
    mesh: Any = trimesh.Trimesh(
        vertices=positions if up == "z" else BLENDER_AXES.turn(positions), faces=faces, process=False
    )
    if colours is not None:
        mesh.visual.vertex_colors = _linear(colours) if suffix == ".glb" else colours
    content = mesh.export(file_type=suffix[1:])
    write_output(path, content.encode() if isinstance(content, str) else content)


def _linear(colours: np.ndarray) -> np.ndarray:
    """glTF's colours at vertices are linear, unlike those of its textures and of all other files."""
    coded = colours / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    return np.rint(linear * 255).astype(np.uint8)
