# SPDX-License-Identifier: GPL-3.0-or-later
"""The tab in the sidebar. Drawing only reads, and reads Python objects: it is done at every redraw of the viewport."""

from __future__ import annotations

from typing import Any

import bpy

from . import sketch_panel, sketches, thumbnails, vertex_groups
from .backend_process import BACKEND
from .connection import CONNECTION
from .jobs import JOBS, STATUS_TITLES, Job
from .preferences import light_of, preferences_of
from .steering import changes_of

MOST_IN_HISTORY = 8
_LETTERS_A_LINE = 33
"""In a sidebar as wide as Blender makes it."""
_PIXELS_A_LETTER, _PIXELS_AROUND = 6.0, 80
"""At a resolution scale of 1, on average: of Blender's own font, and of tabs, margins and an icon."""


def progress_text(job: Job) -> str:
    """How far a job is, in one line: Bridge, step 120 of 250, 0:30 left."""
    if job.status == "queued":
        before = job.queue_position or 0
        return "Waiting: next" if before == 0 else f"Waiting: {before} before it"
    parts = [
        STATUS_TITLES[job.status] if job.status != "running" or not job.stage else job.stage[:1].upper() + job.stage[1:]
    ]
    if job.total_steps:
        parts.append(f"step {job.step} of {job.total_steps}")
    if job.seconds_left is not None and job.status == "running":
        minutes, seconds = divmod(round(job.seconds_left), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    return ", ".join(parts)


def speed_text(job: Job) -> str:
    """How fast a job runs, and on what: 4.2 steps a second on cuda:0. Empty while neither is known."""
    parts = []
    speed = job.steps_per_second
    if job.status == "running" and speed > 0:
        parts.append(f"{speed:.1f} steps a second" if speed >= 1 else f"{1 / speed:.1f} s a step")
    if job.device:
        parts.append(f"on {job.device}" if parts else f"On {job.device}")
    return " ".join(parts)


def letters_a_line(context: bpy.types.Context) -> int:
    """How many letters fit in a line of the region that is drawn."""
    if context.region is None:
        return _LETTERS_A_LINE
    width = context.region.width / context.preferences.system.ui_scale
    return max(16, int((width - _PIXELS_AROUND) / _PIXELS_A_LETTER))


def wrapped(text: str, letters: int = _LETTERS_A_LINE) -> list[str]:
    """A sentence in lines, since a label is one line that is cut off."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= letters:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _draw_sentence(layout: Any, text: str, icon: str = "NONE") -> None:
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(wrapped(text, letters_a_line(bpy.context))):
        column.label(text=line, icon=icon if number == 0 else "BLANK1" if icon != "NONE" else "NONE")


class _InTab:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Sketchbridge"


class SKETCHBRIDGE_PT_main(_InTab, bpy.types.Panel):
    bl_idname = "SKETCHBRIDGE_PT_main"
    bl_label = "Sketchbridge"

    def draw_header_preset(self, context: bpy.types.Context) -> None:
        row = self.layout.row(align=True)
        row.menu("SKETCHBRIDGE_MT_presets", text="", icon="PRESET")
        row.operator("sketchbridge.add_preset", text="", icon="ADD")

    def draw(self, context: bpy.types.Context) -> None:
        layout, job = self.layout, JOBS.current
        _draw_connection(layout, context)
        settings = context.scene.sketchbridge
        layout.prop(settings, "task", text="")
        layout.prop(settings, "prompt", text="", placeholder="What to make: a red mushroom")
        if settings.task == "sketch":
            sketch_panel.draw_sketches(layout, context, _draw_sentence)
        _draw_beginning(layout, settings, context)
        _draw_symmetry(layout, settings)
        if job is None or not job.is_active:
            row = layout.row()
            row.scale_y = 1.5
            row.operator("sketchbridge.generate", icon="PLAY")
        if JOBS.problem:
            _draw_sentence(layout.box(), JOBS.problem, "ERROR")
        if job is not None:
            _draw_job(layout.box(), job, settings)


def _draw_connection(layout: Any, context: bpy.types.Context) -> None:
    row = layout.split(factor=0.7, align=True)
    server = CONNECTION.server
    if BACKEND.state == "starting" and not CONNECTION.is_connected:
        row.label(text="Starting the local backend", icon="SORTTIME")
        return
    text = server.device if CONNECTION.is_connected and server else CONNECTION.state.capitalize()
    row.label(text="Not connected" if CONNECTION.state == "off" else text, icon=light_of(CONNECTION.state))
    row.operator("sketchbridge.connect", text="Test" if CONNECTION.is_open else "Connect")
    if CONNECTION.state not in ("off", "connected", "connecting"):
        _draw_sentence(layout, CONNECTION.sentence)
    if CONNECTION.state == "offline":
        layout.operator("sketchbridge.show_online_access", icon="PREFERENCES")
    elif CONNECTION.state in ("lost", "refused", "bad-address", "bad-keys") and server is None:
        layout.operator("preferences.addon_show", text="Open Preferences", icon="PREFERENCES").module = __package__


def _draw_beginning(layout: Any, settings: Any, context: bpy.types.Context) -> None:
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    if settings.task == "texture":
        column.label(text="For the selected mesh", icon="MESH_DATA")
    else:
        column.prop(settings, "begin_with")
    if settings.task != "texture" and settings.begin_with == "NOTHING":
        own = sketches.of(context.scene)
        if settings.task == "sketch":
            column.prop(own, "fits")
        if settings.task == "text" or not own.fits:
            column.prop(settings, "size_metres")
        return
    if settings.task != "texture":
        column.prop(settings, "initial_strength")
        column.prop(settings, "makes_real")
    row = column.row()
    name = settings.locked_group
    row.alert = bool(name) and not vertex_groups.is_in(context.selected_objects, name)
    row.prop(settings, "locked_group", icon="GROUP_VERTEX")
    column.prop(settings, "hides_initial")


def _draw_symmetry(layout: Any, settings: Any) -> None:
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    row = column.row(align=True, heading="Symmetry")
    for axis in "xyz":
        row.prop(settings, f"is_symmetric_{axis}", text=axis.upper(), toggle=True)


def _draw_job(layout: Any, job: Job, settings: Any) -> None:
    row = layout.row()
    row.label(text=job.title)
    if job.is_active:
        row.operator("sketchbridge.new_job", text="", icon="ADD")
        layout.progress(text=progress_text(job), factor=job.share, type="BAR")
        _draw_sentence(layout, speed_text(job))
        _draw_running(layout, job, settings)
    else:
        layout.label(text="Accepted" if job.shown == "accepted" else STATUS_TITLES[job.status])
    if job.sentence:
        _draw_sentence(layout, job.sentence, "ERROR" if job.status == "failed" else "INFO")
    _draw_views(layout, job)
    _draw_in_scene(layout, job)


def _draw_running(layout: Any, job: Job, settings: Any) -> None:
    row = layout.row(align=True)
    row.scale_y = 1.3
    if job.status == "paused":
        row.operator("sketchbridge.resume", icon="PLAY")
    else:
        row.operator("sketchbridge.pause", icon="PAUSE")
    row.operator("sketchbridge.cancel", icon="X")
    if job.can_steer and changes_of(job, settings):
        layout.operator("sketchbridge.steer", text="Apply Changes", icon="FILE_REFRESH")


def _draw_views(layout: Any, job: Job) -> None:
    icons = [number for number in (thumbnails.icon(job.key, place) for place in range(len(job.views))) if number]
    if icons:
        grid = layout.grid_flow(columns=2, even_columns=True, align=True)
        for number in icons:
            grid.template_icon(icon_value=number, scale=4.0)


def _draw_in_scene(layout: Any, job: Job) -> None:
    """What became of the mesh in the scene, and what can be done about it."""
    if job.is_held:
        _draw_sentence(
            layout, "The mesh is being edited: the newest one waits until you are back in Object mode", "INFO"
        )
    if job.has_edit:
        _draw_sentence(layout, "You have edited the mesh: nothing is written over it until you choose", "INFO")
    if (job.is_held or job.has_edit) and job.is_active:
        layout.operator("sketchbridge.send_edit", icon="EXPORT")
    if job.has_edit:
        layout.operator("sketchbridge.drop_edit", icon="LOOP_BACK")
    if job.shown == "nothing" and (job.was_placed or job.is_put_away) and job.job:
        _draw_sentence(layout, "It is not in the scene: undone, deleted, or another file was opened", "INFO")
        layout.operator("sketchbridge.put_back", icon="LOOP_BACK")
    if job.shown == "mesh" and job.status == "finished" and job.placed.material_uid:
        layout.operator("sketchbridge.put_back", text="Show the Result", icon="LOOP_BACK")
    if job.shown in ("mesh", "result"):
        row = layout.row(align=True)
        if not job.is_active:
            row.operator("sketchbridge.accept", icon="CHECKMARK")
        row.operator("sketchbridge.discard", icon="TRASH")
        layout.operator("sketchbridge.show_colours", icon="SHADING_TEXTURE")
    if job.status == "failed" and job.request is not None:
        layout.operator("sketchbridge.try_again", icon="FILE_REFRESH")


class SKETCHBRIDGE_PT_advanced(_InTab, bpy.types.Panel):
    bl_idname = "SKETCHBRIDGE_PT_advanced"
    bl_label = "Advanced"
    bl_parent_id = "SKETCHBRIDGE_PT_main"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings = self.layout, context.scene.sketchbridge
        layout.use_property_split = True
        layout.use_property_decorate = False
        for name in ("prior", "quality", "method", "guidance_scale", "steps"):
            layout.prop(settings, name)
        row = layout.row(align=True)
        row.prop(settings, "seed")
        row.prop(settings, "is_new_seed", text="", icon="FILE_REFRESH")
        for name in ("source_words", "target_words", "smoothness", "faces", "texture_size", "marks_as_asset"):
            layout.prop(settings, name)
        layout.prop(preferences_of(context), "live_per_second")


class SKETCHBRIDGE_PT_history(_InTab, bpy.types.Panel):
    bl_idname = "SKETCHBRIDGE_PT_history"
    bl_label = "History"
    bl_parent_id = "SKETCHBRIDGE_PT_main"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        jobs = JOBS.newest_first
        if not jobs:
            self.layout.label(text="Jobs will be listed here")
        for job in jobs[:MOST_IN_HISTORY]:
            _draw_entry(self.layout.row(align=True), job)
        if len(jobs) > MOST_IN_HISTORY:
            self.layout.label(text=f"and {len(jobs) - MOST_IN_HISTORY} older ones")


def _draw_entry(row: Any, job: Job) -> None:
    icon = thumbnails.icon(job.key)
    if icon:
        row.template_icon(icon_value=icon, scale=2.0)
    texts = row.column(align=True)
    texts.label(text=job.title)
    texts.label(text=f"{STATUS_TITLES.get(job.status, job.status)}, seed {job.settings.get('seed', 0)}")
    row.operator("sketchbridge.show_job", text="", icon="HIDE_OFF").key = job.key
    row.operator("sketchbridge.reuse_settings", text="", icon="COPYDOWN").key = job.key
    row.operator("sketchbridge.delete_job", text="", icon="TRASH").key = job.key


_CLASSES = (SKETCHBRIDGE_PT_main, SKETCHBRIDGE_PT_advanced, SKETCHBRIDGE_PT_history)
register, unregister = bpy.utils.register_classes_factory(_CLASSES)
