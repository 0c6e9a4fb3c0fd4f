# SPDX-License-Identifier: GPL-3.0-or-later
"""The material of a result: a Principled BSDF with packed image textures, or with the colours of the vertices.

Pictures arrive as PNG files and are packed as they are: nothing is decoded or encoded on Blender's main thread, and
nothing is written to disk.
"""

from __future__ import annotations

import bpy

from .protocol.messages import Finished, Texture
from .scene_mesh import COLOUR_ATTRIBUTE

_SPACES = {"base-colour": "sRGB", "metallic-roughness": "Non-Color", "normal": "Non-Color"}


class UnreadablePicture(Exception):
    """Blender cannot read a texture that the server has sent; the message is for the user."""


def make_material(name: str, finished: Finished) -> bpy.types.Material:
    """A material for the finished mesh, whose UV map and colour attribute it uses.

    Raises:
        UnreadablePicture: A texture is no picture. Nothing is left behind.
    """
    images = _images_of(name, finished.textures)
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0, 0):  # always so from then on, and to say it is deprecated
        material.use_nodes = True
    tree = material.node_tree
    shader = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Roughness"].default_value = 0.7  # a matt surface, as the embedded prior's world is
    builder = _Builder(tree, shader)
    if "base-colour" in images:
        builder.base_colour(images["base-colour"])
    elif finished.mesh is not None and finished.mesh.colours is not None:
        builder.vertex_colours()
    if "metallic-roughness" in images:
        builder.metallic_roughness(images["metallic-roughness"])
    if "normal" in images:
        builder.normal(images["normal"])
    return material


def _images_of(name: str, textures: tuple[Texture, ...]) -> dict[str, bpy.types.Image]:
    images: dict[str, bpy.types.Image] = {}
    for texture in textures:
        image = bpy.data.images.new(f"{name} {texture.use}", 8, 8)
        image.source = "FILE"
        image.pack(data=texture.picture, data_len=len(texture.picture))
        images[texture.use] = image
        if 0 in image.size[:]:
            for each in images.values():
                bpy.data.images.remove(each)
            raise UnreadablePicture(
                f"The server sent a {texture.use} texture that is no readable PNG file; ask for the result again"
            )
        image.colorspace_settings.name = _SPACES[texture.use]
    return images


class _Builder:
    """Adds nodes to the left of the shader, one row for each texture."""

    def __init__(self, tree: bpy.types.NodeTree, shader: bpy.types.Node) -> None:
        self._tree, self._shader = tree, shader

    def _node(self, kind: str, x: float, y: float) -> bpy.types.Node:
        node = self._tree.nodes.new(kind)
        node.location = (self._shader.location.x + x, self._shader.location.y + y)
        return node

    def _picture(self, image: bpy.types.Image, y: float) -> bpy.types.Node:
        node = self._node("ShaderNodeTexImage", -600, y)
        node.image = image
        return node

    def base_colour(self, image: bpy.types.Image) -> None:
        node = self._picture(image, 0)
        self._tree.links.new(node.outputs["Color"], self._shader.inputs["Base Color"])
        self._tree.nodes.active = node  # what Solid mode shows as the texture

    def vertex_colours(self) -> None:
        node = self._node("ShaderNodeVertexColor", -300, 0)
        node.layer_name = COLOUR_ATTRIBUTE
        self._tree.links.new(node.outputs["Color"], self._shader.inputs["Base Color"])

    def metallic_roughness(self, image: bpy.types.Image) -> None:
        """glTF's: roughness in green, metallic in blue."""
        node, parts = self._picture(image, -300), self._node("ShaderNodeSeparateColor", -300, -300)
        self._tree.links.new(node.outputs["Color"], parts.inputs["Color"])
        self._tree.links.new(parts.outputs["Green"], self._shader.inputs["Roughness"])
        self._tree.links.new(parts.outputs["Blue"], self._shader.inputs["Metallic"])

    def normal(self, image: bpy.types.Image) -> None:
        node, bump = self._picture(image, -600), self._node("ShaderNodeNormalMap", -300, -600)
        self._tree.links.new(node.outputs["Color"], bump.inputs["Color"])
        self._tree.links.new(bump.outputs["Normal"], self._shader.inputs["Normal"])
