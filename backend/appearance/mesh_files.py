"""Finished meshes as files: GLB with PBR textures, OBJ with MTL and textures, PLY with vertex colours, STL.

Positions are written as they are (Y up, metres, the front along +Z, as glTF has it). Files appear whole or not at all.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from collections.abc import Iterator

import numpy as np
import trimesh
from jaxtyping import Float, Int, UInt8
from PIL import Image
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import PBRMaterial, SimpleMaterial

from backend.appearance.bake import FinishedMesh
from backend.durable_files import write_whole_file
from backend.errors import BadInput, OutputNotWritable

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
    files = _encoder_for(path)(finished, path.stem)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for suffix, content in files.items():
            write_whole_file(path.with_name(path.stem + suffix) if suffix else path, content)


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
            f"{free / 1e6:.0f} MB are free on the disk of {existing}; {LEAST_FREE_BYTES / 1e6:.0f} MB are needed to be safe"
        )
