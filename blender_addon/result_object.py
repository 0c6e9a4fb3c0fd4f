# SPDX-License-Identifier: GPL-3.0-or-later
"""The object that a job's mesh is shown in: made, found again, accepted, discarded.

References to Blender's data do not survive an undo: everything is found anew by its `session_uid`, which does, and
which renaming does not change either. What is not found was undone or deleted by the user, and that is no error.
"""

from __future__ import annotations

from typing import Any

import bpy
from mathutils import Matrix

from .jobs import Frame, Job

NOT_HERE = -1
"""Instead of the `session_uid` of an object that could have been in another file."""


def by_uid(collection: Any, uid: int, name: str = "") -> Any:
    """The member of one of `bpy.data`'s collections with this `session_uid`, or None.

    Args:
        name: As it was called when last seen: looked at first.
    """
    if uid <= 0:
        return None
    if name:
        found = collection.get(name)
        if found is not None and found.session_uid == uid:
            return found
    return next((each for each in collection if each.session_uid == uid), None)


def find(job: Job) -> bpy.types.Object | None:
    """The job's object, if it is there, has a mesh that can be changed, and is in a scene or a collection."""
    placed = job.placed
    found = by_uid(bpy.data.objects, placed.object_uid, placed.object_name)
    if found is None or found.type != "MESH" or found.data.library is not None or not found.users_collection:
        return None
    placed.object_name = found.name
    return found


def collection_of(job: Job) -> bpy.types.Collection | None:
    """The collection that the job's object is in until it is accepted, if that is there."""
    return by_uid(bpy.data.collections, job.placed.collection_uid)


def link(job: Job) -> bpy.types.Object:
    """Makes the job's object, with an empty mesh, in a collection of its own, where its frame is.

    The selection and the active object stay as they are: the user is doing something else.
    """
    placed = job.placed
    scene = by_uid(bpy.data.scenes, placed.scene_uid) or bpy.context.scene or bpy.data.scenes[0]
    name = object_name(job.prompt)
    mesh = bpy.data.meshes.new(name)
    made = bpy.data.objects.new(name, mesh)
    made.matrix_world = matrix_of(placed.frame)
    collection = collection_of(job)
    if collection is None:
        collection = bpy.data.collections.new(f"Sketchbridge: {name}")
        scene.collection.children.link(collection)
    collection.objects.link(made)
    placed.object_uid, placed.object_name = made.session_uid, made.name
    placed.collection_uid, placed.material_uid = collection.session_uid, 0
    placed.topology, placed.written = None, None
    _hide_initial(job, is_hidden=True)
    return made


def matrix_of(frame: Frame) -> Matrix:
    """4 x 4, for an object's `matrix_world`."""
    rows = frame.rows
    return Matrix((rows[0:4], rows[4:8], rows[8:12], (0.0, 0.0, 0.0, 1.0)))


def object_name(prompt: str) -> str:
    """A name for Blender's outliner: the prompt's beginning, at a word. Blender's names have at most 63 bytes."""
    words = " ".join(prompt.split())
    while len(words.encode()) > 40:
        words = words.rsplit(" ", 1)[0] if " " in words else words[:-1]
    return words or "Sketchbridge"


def _hide_initial(job: Job, is_hidden: bool) -> None:
    for uid in job.placed.hidden_uids:
        initial = by_uid(bpy.data.objects, uid)
        for layer in () if initial is None else _view_layers_of(initial):
            initial.hide_set(is_hidden, view_layer=layer)


def _view_layers_of(found: bpy.types.Object) -> list[bpy.types.ViewLayer]:
    return [layer for scene in found.users_scene for layer in scene.view_layers if found.name in layer.objects]


def accept(job: Job, is_asset: bool = False) -> None:
    """Makes the job's object an ordinary one, in the collection in which the job's own was, and removes that.

    Args:
        is_asset: Whether to mark it as an asset as well.
    """
    found, collection = find(job), collection_of(job)
    if found is None:
        return
    if collection is not None:
        _move_out(collection)
    if is_asset:
        found.asset_mark()
        if not bpy.app.background:  # where it would be rendered here and now, instead of beside everything else
            found.asset_generate_preview()


def _move_out(collection: bpy.types.Collection) -> None:
    parents = [scene.collection for scene in bpy.data.scenes if collection.name in scene.collection.children]
    parents += [each for each in bpy.data.collections if collection.name in each.children]
    for parent in parents:
        for each in collection.objects:  # whatever else the user has put there stays in the scene, too
            if each.name not in parent.objects:
                parent.objects.link(each)
        for child in collection.children:
            if child.name not in parent.children:
                parent.children.link(child)
    if parents:
        bpy.data.collections.remove(collection)


def discard(job: Job) -> None:
    """Removes the job's object, and its mesh and collection if nothing else uses them; shows what was hidden for it."""
    found, collection = find(job), collection_of(job)
    if found is not None:
        mesh = found.data
        bpy.data.objects.remove(found)
        if mesh.users == 0:
            bpy.data.meshes.remove(mesh)
    if collection is not None and not collection.objects and not collection.children:
        bpy.data.collections.remove(collection)
    _hide_initial(job, is_hidden=False)


def look(job: Job) -> None:
    """Notes what the scene has of the job: after undo, redo, or another file, it may be another thing than before."""
    found = find(job)
    if found is None:
        job.shown = "nothing"
    elif job.placed.material_uid and by_uid(bpy.data.materials, job.placed.material_uid) in found.data.materials[:]:
        job.shown = "result"
    else:
        job.shown = "mesh"
    if found is not None and not job.is_active and collection_of(job) not in found.users_collection:
        job.shown = "accepted"
