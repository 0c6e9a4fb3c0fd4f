"""Objects that several tests put into the scene."""

import bpy


def as_instance(made, location):
    """The object is in the scene only as the one instance of a collection, which is selected."""
    collection = bpy.data.collections.new("Instanced")
    collection.objects.link(made)
    bpy.context.scene.collection.objects.unlink(made)
    empty = bpy.data.objects.new("Instance", None)
    empty.instance_type, empty.instance_collection = "COLLECTION", collection
    bpy.context.scene.collection.objects.link(empty)
    empty.location = location
    empty.select_set(True)
