"""`sketchbridge image`: pictures from a sentence."""

from __future__ import annotations

from backend.commands.job_command import JobCommand, Task, run_job_command
from backend.commands.picture_job import PICTURES
from backend.picture_config import TextToImageSettings
from backend.tasks.text_to_image import TextToImage

IMAGE = Task(
    name="image",
    settings_class=TextToImageSettings,
    product=PICTURES,
    make_job=lambda settings, notice: TextToImage(settings, notice),
    needed=("prompt",),
    what_is_needed='say what to draw, such as: sketchbridge image "a red mushroom" -o mushroom.png',
)


def run_image_command(command: JobCommand, as_json: bool = False) -> int:
    """See `run_job_command`."""
    return run_job_command(IMAGE, command, as_json)
