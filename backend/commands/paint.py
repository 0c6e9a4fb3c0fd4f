"""`sketchbridge paint`: a painting that becomes real."""

from __future__ import annotations

from backend.commands.job_command import JobCommand, Task, run_job_command
from backend.commands.picture_job import PICTURE
from backend.picture_config import PaintSettings
from backend.tasks.painting_to_real import PaintingToReal

PAINT = Task(
    name="paint",
    settings_class=PaintSettings,
    product=PICTURE,
    make_job=lambda settings, notice: PaintingToReal(settings, notice),
    needed=("picture", "prompt"),
    what_is_needed="say which painting and what it shows, such as: "
    'sketchbridge paint painting.png "a red mushroom" -o real.png',
    file_settings=("picture",),
)


def run_paint_command(command: JobCommand, as_json: bool = False) -> int:
    """See `run_job_command`."""
    return run_job_command(PAINT, command, as_json)
