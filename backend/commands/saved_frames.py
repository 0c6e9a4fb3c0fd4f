"""The meshes and previews of a job that is watched, as numbered files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from backend.commands.coloured_mesh_files import write_coloured_mesh
from backend.durable_files import write_output
from backend.errors import OutputNotWritable
from protocol.messages import MeshSnapshot, Preview

FrameFormat = Literal["glb", "ply"]


class SavedFrames:
    """A folder with step-000120.glb and step-000120-view-1.png: numbered by step, so that a watch that is begun again
    goes on where the last one was, and the pictures and meshes of a step belong together.
    """

    def __init__(self, folder: Path, mesh_format: FrameFormat = "glb") -> None:
        """
        Raises:
            OutputNotWritable: The folder cannot be made.
        """
        self.folder = folder.expanduser()
        self._format = mesh_format
        self._views: dict[str, int] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputNotWritable(f"{self.folder} cannot be made: {error.strerror or error}") from error

    def save_mesh(self, snapshot: MeshSnapshot) -> Path:
        """Writes a full snapshot, with colours if it has some.

        Raises:
            OutputNotWritable: The disk is full or cannot be written.
        """
        path = self.folder / f"step-{snapshot.step:06d}.{self._format}"
        positions = snapshot.metres()
        if positions is None or snapshot.faces is None:
            raise ValueError(f"snapshot {snapshot.number} is not full; the client makes all full that it gives")
        write_coloured_mesh(path, positions, snapshot.faces, snapshot.colours)
        return path

    def save_preview(self, preview: Preview) -> Path:
        """Writes a picture. Views are numbered as they come: their names are the server's, and no part of a path.

        Raises:
            OutputNotWritable: The disk is full or cannot be written.
        """
        number = self._views.setdefault(preview.view, len(self._views) + 1)
        path = self.folder / f"step-{preview.step:06d}-view-{number}.png"
        write_output(path, preview.picture)
        return path
