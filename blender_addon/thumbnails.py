# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures for the panel: the newest previews of a job, and one that is kept for the history.

Blender's previews are made from files. Live ones are in the session's temporary folder, kept ones beside the history;
both have names that are made here.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import bpy
import bpy.utils.previews

from .history import is_key, user_folder

MOST_PIXELS_A_SIDE = 1024
SECONDS_BETWEEN = 0.5
"""Of two pictures in one place: each is decoded on Blender's main thread, in a millisecond or less."""


class _Shown:
    """Blender's collection of previews, by name, and when each was renewed."""

    previews: Any = None
    renewed_at: dict[str, float] = {}


def show(key: str, place: int, picture: bytes) -> bool:
    """Shows a PNG file in one of the places for previews of a job; says whether there is a picture now."""
    name = _name(key, place)
    if _Shown.previews is None or not is_key(key) or _side_of(picture) > MOST_PIXELS_A_SIDE:
        return False
    now = time.monotonic()
    if now - _Shown.renewed_at.get(name, 0.0) < SECONDS_BETWEEN:
        return True
    path = _shown_path(name)
    if not _write(path, picture):
        return False
    _Shown.renewed_at[name] = now
    _load(name, path)
    tuple(_Shown.previews[name].image_size)  # decodes it now: Blender shows nothing while it does that later
    return True


def hide(key: str, place: int) -> None:
    """Shows nothing in a place any more."""
    name = _name(key, place)
    if _Shown.previews is not None and name in _Shown.previews:
        del _Shown.previews[name]


def keep(key: str, picture: bytes) -> None:
    """Keeps a PNG file as the thumbnail of the job with this key, for later sessions too."""
    if is_key(key) and _side_of(picture) <= 4 * MOST_PIXELS_A_SIDE and _write(_kept_path(key), picture):
        _load(key, _kept_path(key))


def keep_shown(key: str, place: int = 0) -> None:
    """Keeps the newest preview in a place as the job's thumbnail, if there is one."""
    try:
        picture = _shown_path(_name(key, place)).read_bytes()
    except OSError:
        return
    keep(key, picture)


def forget(key: str) -> None:
    """Deletes the thumbnail of a job."""
    if is_key(key):
        _kept_path(key).unlink(missing_ok=True)
    if _Shown.previews is not None and key in _Shown.previews:
        del _Shown.previews[key]


def icon(key: str, place: int | None = None) -> int:
    """The number of the icon with a job's preview in this place, or with its thumbnail; 0 if there is none."""
    name = key if place is None else _name(key, place)
    if _Shown.previews is None or name not in _Shown.previews:
        return 0
    return _Shown.previews[name].icon_id


def load_kept(keys: list[str]) -> None:
    """Shows the thumbnails of earlier sessions. They are read from disk when they are drawn first."""
    folder = user_folder()
    for key in keys:
        if is_key(key) and (path := folder / f"{key}.png").is_file():
            _load(key, path)


def _name(key: str, place: int) -> str:
    return f"{key}-{place}"


def _side_of(picture: bytes) -> int:
    from .protocol.arrays import picture_size  # not needed at Blender's start

    return max(picture_size(picture))


def _shown_path(name: str) -> Path:
    return Path(bpy.app.tempdir) / f"sketchbridge-{name}.png"


def _kept_path(key: str) -> Path:
    return user_folder() / f"{key}.png"


def _write(path: Path, picture: bytes) -> bool:
    """A full disk costs the preview, nothing else."""
    try:
        path.write_bytes(picture)
    except OSError:
        return False
    return True


def _load(name: str, path: Path) -> None:
    if _Shown.previews is None:
        return
    if name in _Shown.previews:
        _Shown.previews[name].reload()
    else:
        _Shown.previews.load(name, str(path), "IMAGE")


def register() -> None:
    _Shown.previews, _Shown.renewed_at = bpy.utils.previews.new(), {}


def unregister() -> None:
    if _Shown.previews is not None:
        bpy.utils.previews.remove(_Shown.previews)
        _Shown.previews = None
