"""Finished meshes as files: GLB with PBR textures, OBJ with MTL and textures, PLY with vertex colours, STL.

Positions are written as they are: Y up, metres, the front along +Z, as glTF has it; or those of the file that the mesh
came from. Files appear whole or not at all.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import PBRMaterial

from backend.appearance.bake import FinishedMesh
from backend.durable_files import write_whole_file
from backend.errors import BadInput, OutputNotWritable, UnreadableMesh
from backend.geometry.triangle_mesh import TriangleMesh

LEAST_FREE_BYTES = 200_000_000
"""A mesh of a few 100,000 faces with textures of 2048 needs a tenth of this; the rest is for what else happens."""


def write_mesh(path: Path | str, finished: FinishedMesh) -> None:
    """Writes a mesh in the format that the suffix names: .glb, .obj (with .mtl and .png beside it), .ply or .stl.

    A folder that does not exist is made. Files that exist are replaced, each in one step, the named one last.

    Raises:
        BadInput: The suffix is not known.
        OutputNotWritable: No permission, no space, or no such place.
    """
    path = Path(path).expanduser()
    files = _encoder_for(path)(finished, path)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_whole_file(path.with_name(name), content)


def check_output_path(path: Path | str) -> None:
    """Finds out before hours of work whether a mesh can be written to a path. Leaves nothing behind.

    Raises:
        BadInput: The suffix is not known.
        OutputNotWritable: The path is a folder, or its folder cannot be made or written, or less than 200 MB are free.
    """
    path = Path(path).expanduser()
    _encoder_for(path)
    if path.is_dir():
        raise OutputNotWritable(f"{path} is a folder; name a file in it, such as {path / 'mesh.glb'}")
    folder = path.absolute().parent
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise OutputNotWritable(f"{path} cannot be written: {existing} is a file, not a folder")
    with _explained(path):
        # The only sure test: permissions, read-only disks and quotas all have their own ways to say no.
        probe = existing / f".sketchbridge-probe-{os.getpid()}"
        try:
            probe.touch()
        finally:
            probe.unlink(missing_ok=True)
        if path.exists() and not os.access(path, os.W_OK):
            raise OutputNotWritable(f"{path} exists and must not be overwritten (its permissions say so)")
        free = shutil.disk_usage(existing).free
    if free < LEAST_FREE_BYTES:
        raise OutputNotWritable(
            f"{free / 1e6:.0f} MB are free on the disk of {existing}; to be safe, "
            f"{LEAST_FREE_BYTES / 1e6:.0f} MB are needed"
        )


@dataclass(frozen=True)
class MeshFile:
    """What a file holds, in the backend's conventions."""

    mesh: TriangleMesh
    name: str
    uv: Float[Tensor, "vertices 2"] | None
    """Row 0 of the textures is at v = 0."""
    base_colour: UInt8[Tensor, "height width 3"] | None
    metallic_roughness: UInt8[Tensor, "height width 3"] | None
    """Roughness in green, metallic in blue."""
    vertex_colours: UInt8[Tensor, "vertices 3"] | None
    material: Any
    """trimesh's material, None without texture."""


def read_mesh_file(path: Path | str) -> MeshFile:
    """Reads a file that `write_mesh` wrote, for tests and benchmarks: what is checked is then what users get.

    Raises:
        UnreadableMesh: The file holds no mesh, or several.
    """
    scene = trimesh.load_scene(path, process=False)
    if len(scene.geometry) != 1:
        raise UnreadableMesh(f"{path} holds {len(scene.geometry)} meshes; one was expected")
    (name,) = scene.graph.nodes_geometry
    loaded = next(iter(scene.geometry.values()))
    mesh = TriangleMesh(
        torch.tensor(np.asarray(loaded.vertices), dtype=torch.float32), torch.tensor(np.asarray(loaded.faces)).int()
    )
    uv = base_colour = metallic_roughness = vertex_colours = material = None
    if isinstance(loaded.visual, TextureVisuals) and loaded.visual.uv is not None:
        uv = torch.tensor(_flipped(np.asarray(loaded.visual.uv)), dtype=torch.float32)
        material = loaded.visual.material
        base_colour = _image_tensor(getattr(material, "baseColorTexture", None) or getattr(material, "image", None))
        metallic_roughness = _image_tensor(getattr(material, "metallicRoughnessTexture", None))
    elif isinstance(loaded.visual, ColorVisuals) and loaded.visual.kind == "vertex":
        vertex_colours = torch.tensor(np.asarray(loaded.visual.vertex_colors)[:, :3])
    return MeshFile(mesh, name, uv, base_colour, metallic_roughness, vertex_colours, material)


def _glb(finished: FinishedMesh, path: Path) -> dict[str, bytes]:
    material = PBRMaterial(
        name="baked",
        baseColorFactor=[255, 255, 255, 255],
        baseColorTexture=_image(finished.textures.base_colour),
        metallicFactor=1.0,  # factors multiply the texture
        roughnessFactor=1.0,
        metallicRoughnessTexture=_image(finished.textures.metallic_roughness),
    )
    mesh = trimesh.Trimesh(
        vertices=finished.written_positions.numpy(),
        faces=finished.mesh.faces.numpy(),
        vertex_normals=finished.written_normals.numpy(),
        visual=TextureVisuals(uv=_flipped(finished.uv.numpy()), material=material),
        process=False,
    )
    name = _object_name(finished.name)
    scene = trimesh.Scene()
    scene.add_geometry(mesh, node_name=name, geom_name=name)
    content = trimesh.exchange.gltf.export_glb(scene, include_normals=True, tree_postprocessor=_keep_one_node)
    return {path.name: content}


def _keep_one_node(tree: dict[str, Any]) -> None:
    """Takes the frame out that trimesh puts around the object: one object in the file, one in Blender's outliner."""
    tree["nodes"] = [{"name": node["name"], "mesh": node["mesh"]} for node in tree["nodes"] if "mesh" in node]
    tree["scenes"] = [{"nodes": list(range(len(tree["nodes"])))}]
    tree["scene"] = 0
    tree["asset"]["generator"] = "Sketchbridge, with trimesh"


def _obj(finished: FinishedMesh, path: Path) -> dict[str, bytes]:
    # Readers of OBJ stop at the first blank of a file name.
    stem = re.sub(r"[^\w.-]+", "_", path.stem)
    textures = finished.textures
    roughness, metallic = textures.metallic_roughness[..., 1], textures.metallic_roughness[..., 2]
    images = {"base_colour": textures.base_colour, "roughness": roughness, "metallic": metallic}
    mesh = trimesh.Trimesh(
        vertices=finished.written_positions.numpy(),
        faces=finished.mesh.faces.numpy(),
        vertex_normals=finished.written_normals.numpy(),
        visual=TextureVisuals(uv=_flipped(finished.uv.numpy()), material=PBRMaterial(name="baked")),
        process=False,
    )
    text = trimesh.exchange.obj.export_obj(
        mesh, include_normals=True, include_texture=True, write_texture=False, header="Sketchbridge, with trimesh"
    )
    # trimesh names a material library of its own, which cannot hold roughness and metallic.
    lines = [line for line in text.split("\n") if not line.startswith(("mtllib", "usemtl"))]
    first_vertex = next(number for number, line in enumerate(lines) if line.startswith("v "))
    lines[first_vertex:first_vertex] = [f"mtllib {stem}.mtl", f"o {_object_name(finished.name)}", "usemtl baked"]
    library = "\n".join(
        [
            "newmtl baked",
            "Ka 0 0 0",
            "Kd 1 1 1",
            "Ks 0 0 0",
            "d 1",
            "illum 2",
            f"map_Kd {stem}_base_colour.png",
            f"map_Pr {stem}_roughness.png",
            f"map_Pm {stem}_metallic.png",
            "",
        ]
    )
    files = {f"{stem}_{name}.png": _png(image) for name, image in images.items()}
    return files | {f"{stem}.mtl": library.encode(), path.name: "\n".join(lines).encode()}


def _ply(finished: FinishedMesh, path: Path) -> dict[str, bytes]:
    whole, first = _merged(finished)
    whole.visual = ColorVisuals(whole, vertex_colors=finished.vertex_colours.numpy()[first])
    return {path.name: trimesh.exchange.ply.export_ply(whole, vertex_normal=True)}


def _stl(finished: FinishedMesh, path: Path) -> dict[str, bytes]:
    whole, _ = _merged(finished)
    return {path.name: trimesh.exchange.stl.export_stl(whole)}


_ENCODERS: dict[str, Callable[[FinishedMesh, Path], dict[str, bytes]]] = {
    ".glb": _glb,
    ".obj": _obj,
    ".ply": _ply,
    ".stl": _stl,
}
"""By suffix: a function from a mesh and its path to the contents of files, by name; the named file comes last."""


def _encoder_for(path: Path) -> Callable[[FinishedMesh, Path], dict[str, bytes]]:
    encoder = _ENCODERS.get(path.suffix.lower())
    if encoder is None:
        what = f"the suffix {path.suffix!r}" if path.suffix else "a name without suffix"
        raise BadInput(f"{path}: {what} names no format that can be written; use one of {', '.join(_ENCODERS)}")
    return encoder


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns errors of the operating system into sentences."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "the disk is full"
        elif error.errno in (errno.EACCES, errno.EPERM):
            reason = f"no permission to write in {path.absolute().parent}"
        elif error.errno == errno.EROFS:
            reason = "the disk is read-only"
        else:
            reason = error.strerror or str(error)
        raise OutputNotWritable(f"{path} cannot be written: {reason}") from error


def _merged(finished: FinishedMesh) -> tuple[trimesh.Trimesh, np.ndarray]:
    """The mesh as it was before seams doubled vertices, and for each of its vertices one of the doubled ones."""
    _, first, whole_vertex = np.unique(finished.source_vertices.numpy(), return_index=True, return_inverse=True)
    mesh = trimesh.Trimesh(
        vertices=finished.written_positions.numpy()[first],
        faces=whole_vertex[finished.mesh.faces.numpy()],
        vertex_normals=finished.written_normals.numpy()[first],
        process=False,
    )
    return mesh, first


def _flipped(uv: np.ndarray) -> np.ndarray:
    """Between v = 0 at row 0, as here and in glTF, and v = 1 at row 0, as in OBJ and in trimesh's meshes."""
    return np.stack([uv[:, 0], 1 - uv[:, 1]], axis=-1)


def _object_name(name: str) -> str:
    """A name without line breaks, of a length that Blender keeps (63 bytes)."""
    printable = "".join(character if character.isprintable() else " " for character in name)
    return " ".join(printable.split()).encode()[:63].decode(errors="ignore").strip() or "mesh"


def _image(texels: Tensor) -> Image.Image:
    return Image.fromarray(texels.numpy())


def _png(texels: Tensor) -> bytes:
    buffer = io.BytesIO()
    _image(texels).save(buffer, format="PNG")
    return buffer.getvalue()


def _image_tensor(image: Image.Image | None) -> Tensor | None:
    return None if image is None else torch.tensor(np.asarray(image.convert("RGB")))
