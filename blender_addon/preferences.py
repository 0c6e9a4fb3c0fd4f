# SPDX-License-Identifier: GPL-3.0-or-later
"""Of this Blender, for all files: which server, with which keys, and how often meshes are wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
from bpy.props import BoolProperty, IntProperty, StringProperty

from . import key_file, local_backend
from .connection import CONNECTION, DEFAULT_ADDRESS


def _rate_changed(preferences: Any, context: Any) -> None:
    CONNECTION.live_per_second = preferences.live_per_second
    if CONNECTION.is_open:
        from .job_control import follow_all

        follow_all()


class SketchbridgePreferences(local_backend.LocalBackendPreferences, bpy.types.AddonPreferences):
    bl_idname = __package__

    address: StringProperty(
        name="Server", default=DEFAULT_ADDRESS, description="Where the Sketchbridge server listens: tcp://HOST:PORT"
    )
    key_file: StringProperty(
        name="Key File",
        subtype="FILE_PATH",
        description="From sketchbridge keygen, with the server's key in it. Instead of the three keys below",
    )
    server_key: StringProperty(
        name="Server's Public Key", description="40 characters; empty for a server on this machine without keys"
    )
    public_key: StringProperty(
        name="Public Key", description="Of this Blender, 40 characters: the server must have it on its list"
    )
    secret_key: StringProperty(
        name="Secret Key", subtype="PASSWORD", description="Of this Blender, 40 characters; give it to nobody"
    )
    is_slow_link: BoolProperty(
        name="Slow Link", default=False, description="Send less: positions in 16 bits, and compressed"
    )
    live_per_second: IntProperty(
        name="Live Updates",
        default=10,
        min=0,
        max=30,
        description="How often a second the mesh in the scene follows the one at the server; 0 shows the result only",
        update=_rate_changed,
    )

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        row = layout.row(align=True)
        row.prop(self, "address")
        row.operator("sketchbridge.connect", text="Test", icon="FILE_REFRESH")
        layout.label(text=CONNECTION.sentence, icon=light_of(CONNECTION.state))
        if CONNECTION.state == "offline":
            layout.operator("sketchbridge.show_online_access")
        layout.prop(self, "is_slow_link")
        layout.prop(self, "live_per_second")
        local_backend.draw(layout.box(), self)
        keys = layout.box().column()
        keys.label(text="Keys, for a server on another machine")
        keys.prop(self, "key_file")
        pasted = keys.column()
        pasted.enabled = not self.key_file
        pasted.prop(self, "server_key")
        pasted.prop(self, "public_key")
        pasted.prop(self, "secret_key")
        pasted.operator("sketchbridge.make_keys")


def light_of(state: str) -> str:
    """The icon for a state of the connection."""
    lights = {"connected": "CHECKMARK", "connecting": "SORTTIME", "lost": "ERROR", "off": "UNLINKED"}
    return lights.get(state, "CANCEL")


def preferences_of(context: bpy.types.Context) -> SketchbridgePreferences:
    return context.preferences.addons[__package__].preferences


def connect(context: bpy.types.Context) -> bool:
    """Connects to the server of the preferences; says whether that is being tried."""
    preferences = preferences_of(context)
    CONNECTION.live_per_second = preferences.live_per_second
    keys = (preferences.server_key, preferences.public_key, preferences.secret_key)
    if preferences.key_file:
        try:
            keys = key_file.read_key_file(Path(bpy.path.abspath(preferences.key_file)).expanduser())
        except key_file.UnusableKeyFile as error:
            CONNECTION.close()
            return CONNECTION.cannot("bad-keys", str(error))
    return CONNECTION.open(preferences.address, keys, preferences.is_slow_link)


def register() -> None:
    bpy.utils.register_class(SketchbridgePreferences)


def unregister() -> None:
    bpy.utils.unregister_class(SketchbridgePreferences)
