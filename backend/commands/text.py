"""`sketchbridge text`: a textured mesh from a sentence."""

from __future__ import annotations

from backend.commands.job_command import JobCommand, Task, run_job_command
from backend.commands.mesh_job import MESH
from backend.config import TextToMeshSettings
from backend.tasks.text_to_mesh import TextToMesh

TEXT = Task(
    name="text",
    settings_class=TextToMeshSettings,
    product=MESH,
    make_job=lambda settings, notice: TextToMesh(settings, notice),
    needed=("prompt",),
    what_is_needed='say what to make, such as: sketchbridge text "a red mushroom" -o mushroom.glb',
    file_settings=("init_mesh",),
)


def run_text_command(command: JobCommand, as_json: bool = False) -> int:
    """See `run_job_command`."""
    return run_job_command(TEXT, command, as_json)
