"""`sketchbridge illusion`: a picture that shows other things when it is turned."""

from __future__ import annotations

from backend.commands.job_command import JobCommand, Task, run_job_command
from backend.commands.picture_job import PICTURE_FOLDER
from backend.picture_config import IllusionSettings
from backend.tasks.illusion import Illusion

ILLUSION = Task(
    name="illusion",
    settings_class=IllusionSettings,
    product=PICTURE_FOLDER,
    make_job=lambda settings, notice: Illusion(settings, notice),
    needed=("prompt", "more_prompts"),
    what_is_needed="say what to see before and after the turn, such as: "
    'sketchbridge illusion "a red mushroom" "a blue mug" -o illusion',
)


def run_illusion_command(command: JobCommand, as_json: bool = False) -> int:
    """See `run_job_command`."""
    return run_job_command(ILLUSION, command, as_json)
