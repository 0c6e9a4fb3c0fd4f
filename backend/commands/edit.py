"""`sketchbridge edit`: a picture that shows one thing instead of another."""

from __future__ import annotations

from backend.commands.job_command import JobCommand, Task, run_job_command
from backend.commands.picture_job import PICTURE
from backend.picture_config import EditSettings
from backend.tasks.edit_picture import EditPicture

EDIT = Task(
    name="edit",
    settings_class=EditSettings,
    product=PICTURE,
    make_job=lambda settings, notice: EditPicture(settings, notice),
    needed=("picture", "source_prompt", "prompt"),
    what_is_needed="say which picture, what it shows and what it is to show, such as: "
    'sketchbridge edit mug.png --from "a red mug" --to "a blue mug" -o blue-mug.png',
    file_settings=("picture",),
)


def run_edit_command(command: JobCommand, as_json: bool = False) -> int:
    """See `run_job_command`."""
    return run_job_command(EDIT, command, as_json)
