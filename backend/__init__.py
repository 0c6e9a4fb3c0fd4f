"""Optimises textured meshes with score distillation. Does not know that Blender exists."""
