"""What the result looks like: rendered by Workbench, which needs no graphics card, and compared with a golden picture.

`UPDATE_GOLDEN=1 make test-blender` writes it anew; look at it before it is kept.
"""

import os
from pathlib import Path

import bpy
import numpy as np
from job_server import picture_of
from mathutils import Matrix

from blender_addon.protocol.messages import ResultMesh, Texture

GOLDEN = Path(__file__).parent / "golden" / "cube.png"
SIDE = 96
RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 30), (30, 30, 220), (240, 240, 240)
QUARTERS = np.array([[RED, GREEN], [BLUE, WHITE]], np.uint8).repeat(32, 0).repeat(32, 1)
"""Red and green above, blue and white below. The first row is at V = 1."""


def cube():
    """From -1 to 1, with the whole texture on each side: seen from outside, U runs to the right and V upwards."""
    front = np.array([[-1, -1, -1], [1, -1, -1], [1, -1, 1], [-1, -1, 1]], np.float32)
    turns = [Matrix.Rotation(np.radians(degrees), 3, "Z") for degrees in (0, 90, 180, 270)]
    turns += [Matrix.Rotation(np.radians(degrees), 3, "X") for degrees in (90, -90)]
    corners = np.concatenate([front @ np.array(turn, np.float32).T for turn in turns]).round().astype(np.float32)
    normals = np.repeat([np.array(turn, np.float32) @ (0, -1, 0) for turn in turns], 4, axis=0).astype(np.float32)
    faces = np.concatenate([np.array([[0, 1, 2], [0, 2, 3]]) + 4 * side for side in range(6)]).astype(np.int32)
    uv = np.tile(np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32), (6, 1))
    first = {tuple(corner): index for index, corner in reversed(list(enumerate(corners.tolist())))}
    sources = np.array([first[tuple(corner)] for corner in corners.tolist()], np.int32)
    return ResultMesh(positions=corners, faces=faces, normals=normals, uv=uv, source_vertices=sources)


def rendered(path, turn):
    """Pixels [row, column, 3], the first row on top, by Workbench with flat light: the texture's own colours."""
    scene = bpy.context.scene
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.type, camera.data.ortho_scale = "ORTHO", 4.0
    camera.matrix_world = turn @ Matrix.Translation((0, -10, 0)) @ Matrix.Rotation(np.radians(90), 4, "X")
    scene.collection.objects.link(camera)
    scene.camera = camera
    scene.render.engine = "BLENDER_WORKBENCH"
    scene.render.resolution_x = scene.render.resolution_y = SIDE
    scene.render.image_settings.file_format = "PNG"
    scene.render.film_transparent = False
    scene.view_settings.view_transform = "Standard"
    scene.display.shading.light, scene.display.shading.color_type = "FLAT", "TEXTURE"
    scene.display.render_aa = "OFF"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    return pixels_of(path)


def pixels_of(path):
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"  # the numbers of the file
    pixels = np.empty(image.size[0] * image.size[1] * 4, np.float32)
    image.pixels.foreach_get(pixels)
    width, height = image.size
    bpy.data.images.remove(image)
    return pixels.reshape(height, width, 4)[::-1, :, :3]


def finished_cube(connected, server):
    job = connected.generate("a cube")
    server.finish(job.job, mesh=cube(), textures=(Texture(use="base-colour", picture=picture_of(QUARTERS)),))
    connected.until(lambda: job.shown == "result")
    assert len(connected.object.data.vertices) == 8


def test_the_texture_stands_upright_and_is_not_mirrored(connected, server, tmp_path):
    finished_cube(connected, server)

    pixels = rendered(tmp_path / "front.png", Matrix())

    # The cube is half as wide as the picture: its quarters are in the middle of these.
    found = [[pixels[row, column] * 255 for column in (36, 60)] for row in (36, 60)]
    np.testing.assert_allclose(found, [[RED, GREEN], [BLUE, WHITE]], atol=3)


def test_the_result_looks_like_the_golden_picture(connected, server, tmp_path):
    finished_cube(connected, server)
    turn = Matrix.Rotation(np.radians(30), 4, "Z") @ Matrix.Rotation(np.radians(-25), 4, "X")

    new = tmp_path / "cube.png"
    pixels = rendered(new, turn)

    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_bytes(new.read_bytes())
    error = np.abs(pixels - pixels_of(GOLDEN)).mean()
    if error > 0.01:
        GOLDEN.with_name("cube-new.png").write_bytes(new.read_bytes())
    assert error <= 0.01, f"it differs by {error:.4f}; see {GOLDEN.with_name('cube-new.png')}"
