# SPDX-License-Identifier: GPL-3.0-or-later
"""Which vertex groups objects have, by name. The panel asks at every redraw: it only looks names up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import bpy


def names_of(objects: Iterable[bpy.types.Object]) -> list[str]:
    """Of all the objects and of what they instance, each name once, in the order of the alphabet."""
    return sorted({group.name for each in _with_instanced(objects) for group in each.vertex_groups})


def is_in(objects: Iterable[bpy.types.Object], name: str) -> bool:
    """Whether one of the objects, or of what they instance, has a group of this name."""
    return any(name in each.vertex_groups for each in _with_instanced(objects))


def _with_instanced(objects: Iterable[bpy.types.Object]) -> Iterator[bpy.types.Object]:
    for each in objects:
        yield each
        if each.instance_collection is not None:
            yield from each.instance_collection.all_objects
