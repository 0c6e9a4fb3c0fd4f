# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene and the panel's settings, as a job for the server. Changes nothing."""

from __future__ import annotations

import random
from typing import Any, Literal

import bpy
from mathutils import Matrix

from . import initial_mesh, sketch_reading, sketches
from .connection import CONNECTION
from .jobs import Frame, Job, Placed, new_key
from .properties import values_of
from .protocol.errors import LocalProtocolError
from .protocol.messages import InputMesh, SubmitJob
from .protocol.settings import Limits, Placement, Settings
from .protocol.sketches import Sketch
from .steering import STEERABLE

_AXES: tuple[Literal["x", "y", "z"], ...] = ("x", "y", "z")
"""The wire's are Blender's; the server turns them into its own."""


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
    placement = None
    if mesh is None:
        placement = _placement_of(context.scene)
    wanted = _sketches_of(context.scene, limits) if settings.task == "sketch" else ()
    key = new_key()
    try:
        request = _request(key, values, mesh, placement, wanted)
    except LocalProtocolError as error:
        raise UnusableRequest(f"The job cannot be asked for: {error}") from None
    job = Job(key=key, task=values["task"], prompt=values["prompt"], settings=values)
    job.steered = {name: values[name] for name in STEERABLE}
    job.locked_corners = initial_mesh.locked_corners(mesh)
    if settings.task == "sketch":
        items = sketches.of(context.scene).items
        job.sent_sketches = {each.name: sketch_reading.sent_of(each, context.scene) for each in items}
    job.placed = Placed(
        frame=_frame_of(initial, context.scene.cursor.location if placement is None else placement.centre),
        scene_uid=context.scene.session_uid,
        hidden_uids=tuple(each.session_uid for each in initial) if settings.hides_initial else (),
    )
    return job, request


def _sketches_of(scene: bpy.types.Scene, limits: Limits | None) -> tuple[Sketch, ...]:
    server = CONNECTION.server
    if server is not None and "sketch" not in server.tasks:
        raise UnusableRequest("This server makes nothing from sketches: choose another task, or another server")
    try:
        return sketch_reading.wire_sketches(scene, limits)
    except sketch_reading.UnusableSketch as error:
        raise UnusableRequest(str(error)) from None


def _placement_of(scene: bpy.types.Scene) -> Placement:
    """Where an object grows that begins with nothing: where it was drawn, else at the 3D cursor."""
    settings = scene.sketchbridge
    if settings.task == "sketch" and sketches.of(scene).fits:
        try:
            drawn = sketch_reading.placement_of(scene)
        except sketch_reading.UnusableSketch as error:
            raise UnusableRequest(str(error)) from None
        if drawn is not None:
            return drawn
    try:
        return Placement(centre=tuple(scene.cursor.location), radius_metres=settings.size_metres / 2)
    except LocalProtocolError as error:
        raise UnusableRequest(f"The job cannot be asked for: {error}") from None


def _request(
    key: str,
    values: dict[str, Any],
    mesh: InputMesh | None,
    placement: Placement | None,
    wanted: tuple[Sketch, ...],
) -> SubmitJob:
    is_sketch_in_3d = values["makes_real"] and mesh is not None and values["task"] != "texture"
    settings = Settings(
        prior=values["prior"].strip() or "embedded",
        quality=values["quality"],
        steps=values["steps"] or None,
        seed=values["seed"],
        texture_size=int(values["texture_size"]),
        faces=values["faces"] if values["faces"] >= 100 else None,
        symmetry=tuple(axis for axis in _AXES if values[f"is_symmetric_{axis}"]),
        to_real=is_sketch_in_3d,
        method=None if values["method"] == "auto" else values["method"],
        guidance_scale=values["guidance_scale"] or None,
        source_suffix=values["source_words"] or None,
        target_suffix=values["target_words"] or None,
    )
    return SubmitJob(
        key=key,
        task="sketch" if is_sketch_in_3d else values["task"],
        prompt=values["prompt"],
        settings=settings,
        mesh=mesh,
        placement=placement,
        sketches=wanted,
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
