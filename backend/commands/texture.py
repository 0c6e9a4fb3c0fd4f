"""`sketchbridge texture`: a new texture from a sentence for a mesh that stays as it is."""

from __future__ import annotations

from backend.commands.job_command import JobCommand, Task, run_job_command
from backend.commands.mesh_job import MESH
from backend.config import TextureMeshSettings
from backend.tasks.texture_mesh import TextureMesh

TEXTURE = Task(
    name="texture",
    settings_class=TextureMeshSettings,
    product=MESH,
    make_job=lambda settings, notice: TextureMesh(settings, notice),
    needed=("mesh", "prompt"),
    what_is_needed="say which mesh and what it is to look like, such as: "
    'sketchbridge texture mug.glb "a red mug" -o red-mug.glb',
    file_settings=("mesh",),
)


def run_texture_command(command: JobCommand, as_json: bool = False) -> int:
    """See `run_job_command`."""
    return run_job_command(TEXTURE, command, as_json)
