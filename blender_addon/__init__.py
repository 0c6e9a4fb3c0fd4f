# SPDX-License-Identifier: GPL-3.0-or-later
"""The Blender extension: asks a Sketchbridge server for meshes and shows them in the scene while they form.

What is registered here is unregistered here, in the reverse order. Nothing is loaded, connected or started before the
user asks for it: the protocol, numpy and pyzmq are imported with the first connection.
"""

from __future__ import annotations

from . import (
    backend_operators,
    handlers,
    history_operators,
    menus,
    operators,
    panel,
    preferences,
    presets,
    properties,
    scene_operators,
    sketch_operators,
    sketch_overlay,
    sketch_panel,
    sketch_updates,
    sketches,
    thumbnails,
)

_PARTS = (
    preferences,
    properties,
    sketches,
    operators,
    scene_operators,
    sketch_operators,
    history_operators,
    backend_operators,
    presets,
    sketch_panel,
    panel,
    menus,
    thumbnails,
    sketch_updates,
    sketch_overlay,
    handlers,
)


def register() -> None:
    for part in _PARTS:
        part.register()


def unregister() -> None:
    for part in reversed(_PARTS):
        part.unregister()
