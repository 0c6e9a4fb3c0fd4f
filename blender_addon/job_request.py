# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene and the panel's settings, as a job for the server. Changes nothing."""

from __future__ import annotations

import random
from typing import Any

import bpy
from mathutils import Matrix

from . import initial_mesh
from .jobs import Frame, Job, Placed, new_key
from .properties import values_of
from .protocol.errors import LocalProtocolError
from .protocol.messages import InputMesh, SubmitJob
from .protocol.settings import Limits, Placement, Settings
from .steering import STEERABLE


class UnusableRequest(Exception):
    """The scene or the settings make no job. The message says what to do."""


def make_job(context: bpy.types.Context, limits: Limits | None = None) -> tuple[Job, SubmitJob]:
    """The job that the panel describes, with a new key.

    Args:
        limits: Of the server, if it is known.

    Raises:
        UnusableRequest: Something is missing, or the selection cannot be used.
    """
    settings = context.scene.sketchbridge
    values = values_of(settings)
    if not settings.prompt.strip():
        raise UnusableRequest("The prompt is empty: write what to make, such as: a red mushroom")
    if settings.is_new_seed:
        values["seed"] = random.randrange(2**31)
    mesh: InputMesh | None = None
    initial: list[bpy.types.Object] = []
    if settings.begin_with == "SELECTED" or settings.task == "texture":
        try:
            mesh, initial = initial_mesh.read_selected(context, settings.locked_group, limits)
        except initial_mesh.UnusableSelection as error:
            raise UnusableRequest(str(error)) from None
    key = new_key()
    try:
        request = _request(key, values, mesh, context.scene.cursor.location)
    except LocalProtocolError as error:
        raise UnusableRequest(f"The job cannot be asked for: {error}") from None
    job = Job(key=key, task=values["task"], prompt=values["prompt"], settings=values)
    job.steered = {name: values[name] for name in STEERABLE}
    job.placed = Placed(
        frame=_frame_of(initial, context.scene.cursor.location),
        scene_uid=context.scene.session_uid,
        hidden_uids=tuple(each.session_uid for each in initial) if settings.hides_initial else (),
    )
    return job, request


def _request(key: str, values: dict[str, Any], mesh: InputMesh | None, cursor: Any) -> SubmitJob:
    settings = Settings(
        prior=values["prior"].strip() or "embedded",
        quality=values["quality"],
        steps=values["steps"] or None,
        seed=values["seed"],
        texture_size=int(values["texture_size"]),
        faces=values["faces"] if values["faces"] >= 100 else None,
        method=None if values["method"] == "auto" else values["method"],
        guidance_scale=values["guidance_scale"] or None,
        source_suffix=values["source_words"] or None,
        target_suffix=values["target_words"] or None,
    )
    placement = None
    if mesh is None:
        placement = Placement(centre=tuple(cursor), radius_metres=values["size_metres"] / 2)
    return SubmitJob(
        key=key, task=values["task"], prompt=values["prompt"], settings=settings, mesh=mesh, placement=placement
    )


def _frame_of(initial: list[bpy.types.Object], cursor: Any) -> Frame:
    """Of the active object that it begins with, without its scale; else at the 3D cursor."""
    if not initial:
        return frame_from(Matrix.Translation(cursor))
    place, turn, _ = initial[0].matrix_world.decompose()
    return frame_from(Matrix.Translation(place) @ turn.to_matrix().to_4x4())


def frame_from(matrix: Matrix) -> Frame:
    """The frame of a matrix that turns and moves only."""
    return Frame(tuple(float(number) for row in matrix[:3] for number in row))
