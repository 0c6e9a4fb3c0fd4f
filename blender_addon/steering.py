# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the panel's values can be changed while a job runs, and which have been."""

from __future__ import annotations

from typing import Any

from .jobs import Job

STEERABLE = {
    "prompt": "prompt",
    "source_words": "source_suffix",
    "target_words": "target_suffix",
    "guidance_scale": "guidance_scale",
    "initial_strength": "mesh_weight",
    "smoothness": "smoothness_weight",
}
"""The panel's name of each value and that of the field of `UpdateJob`."""


def changes_of(job: Job, settings: Any) -> dict[str, Any]:
    """What the panel says otherwise than the job has it, by the fields of `UpdateJob`.

    A guidance of 0 and an empty prompt are no values to send: they stand for what the job has.
    """
    values = {name: getattr(settings, name) for name in STEERABLE}
    is_given = {"guidance_scale": values["guidance_scale"] > 0, "prompt": bool(values["prompt"].strip())}
    return {
        field: values[name]
        for name, field in STEERABLE.items()
        if values[name] != job.steered.get(name) and is_given.get(name, True)
    }
