# SPDX-License-Identifier: GPL-3.0-or-later
"""The local backend from Blender: its preferences, Start and Stop, its log, and its start when a job needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
from bpy.props import BoolProperty, StringProperty

from . import history
from .backend_process import BACKEND, CannotStart, find_python, is_answering, readable
from .connection import CONNECTION, DEFAULT_ADDRESS, is_loopback, tcp_endpoint, with_scheme
from .jobs import JOBS

LOG_NAME = "backend.txt"


def note_how_it_ends(preferences: Any, context: Any = None) -> None:
    """Keeps what the preferences say of it for its end, when they may be gone."""
    _Ending.stops = preferences.stops_backend


class _Ending:
    stops = True


class LocalBackendPreferences:
    """The part of the preferences about a server on this machine."""

    backend_python: StringProperty(
        name="Python",
        subtype="FILE_PATH",
        description="The Python that has Sketchbridge installed, or the folder of its environment, such as .venv",
    )
    backend_folder: StringProperty(
        name="Jobs In", subtype="DIR_PATH", description="Where the local backend keeps its jobs; empty for its default"
    )
    starts_backend: BoolProperty(
        name="Start When Needed",
        default=True,
        description="Start the local backend when a job wants it, if no server answers at the address above",
    )
    stops_backend: BoolProperty(
        name="Stop with Blender",
        default=True,
        description="Stop the local backend at the end of Blender. Otherwise its jobs go on without you",
        update=note_how_it_ends,
    )


def draw(layout: Any, preferences: Any) -> None:
    """The part of the preferences' page about it."""
    layout.label(text="A server on this machine, started by Blender")
    layout.prop(preferences, "backend_python")
    layout.prop(preferences, "backend_folder")
    layout.prop(preferences, "starts_backend")
    layout.prop(preferences, "stops_backend")
    row = layout.row(align=True)
    row.operator("sketchbridge.start_backend", icon="PLAY")
    row.operator("sketchbridge.stop_backend", icon="SNAP_FACE")
    row.operator("sketchbridge.show_backend_log", icon="TEXT")
    icons = {"starting": "SORTTIME", "running": "CHECKMARK", "ended": "ERROR"}
    layout.label(text=BACKEND.sentence, icon=icons.get(BACKEND.state, "UNLINKED"))
    if BACKEND.lines:
        lines = layout.box().column(align=True)
        lines.scale_y = 0.75
        for line in BACKEND.lines:
            lines.label(text=readable(line)[:160])


def start(preferences: Any) -> None:
    """Starts it as the preferences say.

    Raises:
        CannotStart: They cannot be followed; the message says why.
    """
    address = with_scheme(preferences.address)
    host, port = tcp_endpoint(address)
    if not host or not is_loopback(host):
        raise CannotStart(
            f"The local backend serves this machine only, and the server is {address or 'nowhere'}; set it to "
            f"{DEFAULT_ADDRESS}"
        )
    if preferences.key_file or preferences.server_key:
        raise CannotStart("The local backend has no keys; clear the key file and the server's public key")
    _refuse_while_stopping()
    if is_answering(host, port):
        raise CannotStart(f"Something answers at {address} already: press Test, or set another port")
    folder = bpy.path.abspath(preferences.backend_folder)
    BACKEND.start(
        find_python(bpy.path.abspath(preferences.backend_python)),
        address,
        history.user_folder() / LOG_NAME,
        Path(folder) if folder else None,
    )
    note_how_it_ends(preferences)


def start_if_needed(preferences: Any) -> None:
    """Starts it for a job, where the user wants that and no server is there yet.

    Raises:
        CannotStart: It was to be started, and cannot be.
    """
    if CONNECTION.is_connected:
        return
    address = with_scheme(preferences.address)
    host, port = tcp_endpoint(address)
    is_wanted = preferences.starts_backend and preferences.backend_python and host and is_loopback(host)
    if not is_wanted or BACKEND.is_alive:
        return
    _refuse_while_stopping()
    if not is_answering(host, port):
        start(preferences)


def _refuse_while_stopping() -> None:
    if BACKEND.is_stopping:
        raise CannotStart("The local backend is still stopping, which takes some seconds; press the button again then")


def look() -> bool:
    """Sees how it stands, and tells jobs that wait for it if it has ended; says whether anything has changed."""
    before = BACKEND.state
    has_changed = BACKEND.look()
    if BACKEND.state == "ended" and before != "ended":
        for job in JOBS.by_key.values():
            if job.status == "submitting":
                job.status, job.sentence = "failed", BACKEND.sentence
        JOBS.problem = BACKEND.sentence
    return has_changed


def let_go() -> None:
    """At the end of Blender, or of the extension in it."""
    if BACKEND.is_alive and _Ending.stops:
        BACKEND.stop()
    BACKEND.leave()
