"""The command line itself: help that teaches and comes at once."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend import machine
from backend.cli import app

HEAVY = ("torch", "diffusers", "transformers", "numba", "scipy", "trimesh", "numpy", "PIL", "safetensors")


def help_of(*arguments):
    result = CliRunner().invoke(app, [*arguments, "--help"], terminal_width=100)
    assert result.exit_code == 0
    return " ".join(result.output.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["text", "--help"],
        ["texture", "--help"],
        ["sketch", "--help"],
        ["image", "--help"],
        ["illusion", "--help"],
        ["table", "--help"],
        ["--version"],
        ["text"],
        ["text", "x", "--bad"],
    ],
)
def test_help_and_wrong_options_import_nothing_heavy(arguments):
    program = f"""
import sys
from backend.cli import main
sys.argv = ["sketchbridge", *{arguments!r}]
try:
    main()
except SystemExit:
    pass
print(sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


def test_the_help_of_text_has_examples_and_every_option():
    shown = help_of("text")

    assert 'sketchbridge text "a red mushroom" -o mushroom.glb' in shown
    assert "sketchbridge text --resume runs/" in shown
    options = (
        "prior init-mesh quality steps seed faces texture-size run-dir device rasteriser guidance-scale bridge-start "
        "source-suffix target-suffix json resume output"
    )
    for option in options.split():
        assert f"--{option} " in shown


def test_the_help_of_texture_has_examples_and_every_option():
    shown = help_of("texture")

    assert 'sketchbridge texture mug.glb "a red mug" -o red-mug.glb' in shown
    assert "sketchbridge texture --resume runs/" in shown
    options = (
        "prior quality steps seed texture-size run-dir device rasteriser guidance-scale bridge-start source-suffix "
        "target-suffix json resume output up"
    )
    for option in options.split():
        assert f"--{option} " in shown


def test_the_help_of_sketch_has_examples_and_every_option():
    shown = help_of("sketch")

    assert 'sketchbridge sketch "a red mug" --view front=mug.png -o mug.glb' in shown
    assert "sketchbridge sketch --resume runs/" in shown
    options = (
        "view mesh strength lock symmetry sketch-weight prior quality steps seed faces texture-size run-dir device "
        "rasteriser guidance-scale bridge-start source-suffix target-suffix json resume output"
    )
    for option in options.split():
        assert f"--{option} " in shown


@pytest.mark.parametrize(
    ("command", "example", "options"),
    [
        (
            "image",
            'sketchbridge image "a red mushroom" -o mushroom.png',
            "steps seed count run-dir prior method variable guidance-scale bridge-start source-suffix target-suffix",
        ),
        ("edit", '--from "a red mug" --to "a blue mug" -o blue-mug.png', "from to steps seed run-dir prior method"),
        ("paint", 'sketchbridge paint painting.png "a red mushroom" -o real.png', "steps seed run-dir prior"),
        (
            "illusion",
            'sketchbridge illusion "a red mushroom" "a blue mug" -o illusion',
            "transform steps seed run-dir prior method guidance-scale bridge-start source-suffix target-suffix",
        ),
    ],
)
def test_the_help_of_picture_commands_has_examples_and_every_option(command, example, options):
    shown = help_of(command)

    assert example in shown
    assert f"sketchbridge {command} --resume runs/" in shown
    for option in [*options.split(), "json", "resume", "output", "device"]:
        assert f"--{option} " in shown


def test_no_arguments_show_the_help():
    result = CliRunner().invoke(app, [])

    assert "doctor" in result.output
    assert "text" in result.output


def test_the_version_is_that_of_the_distribution():
    result = CliRunner().invoke(app, ["--version"])

    assert result.exit_code == 0
    assert result.output == f"sketchbridge {machine.sketchbridge_version()}\n"


def test_the_options_are_the_settings():
    """Every setting that a user may choose can be chosen here, under its own name, with the same choices."""
    import dataclasses
    import inspect
    from typing import get_args

    from backend import cli, cli_options, cli_pictures, config, picture_config

    for command, settings in (
        (cli.text, config.TextToMeshSettings),
        (cli.texture, config.TextureMeshSettings),
        (cli_pictures.image, picture_config.TextToImageSettings),
    ):
        options = set(inspect.signature(command).parameters)
        assert {field.name for field in dataclasses.fields(settings)} <= options
    assert [up.value for up in cli_options.Up] == list(get_args(config.UpAxis))
    assert [quality.value for quality in cli_options.Quality] == list(get_args(config.Quality))
    assert [device.value for device in cli_options.Device] == list(get_args(config.DeviceChoice))
    assert [name.value for name in cli_options.RasteriserName] == list(get_args(config.RasteriserChoice))
    assert tuple(name.value for name in cli_options.MethodName) == config.METHODS_FOR_MESHES
    assert tuple(name.value for name in cli_options.PictureMethodName) == picture_config.METHODS_FOR_PICTURES
    assert tuple(name.value for name in cli_options.EditMethodName) == picture_config.METHODS_FOR_EDITS
    assert [name.value for name in cli_options.VariableName] == list(get_args(picture_config.Variable))
    assert [name.value for name in cli_options.TransformName] == list(get_args(picture_config.Transform))


def test_the_module_can_be_run():
    source = Path(machine.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "backend", "--version"],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.startswith("sketchbridge ")


def test_the_help_of_table_has_examples_and_every_option():
    shown = help_of("table")

    assert "sketchbridge table --study switch -o switch-table" in shown
    for option in [
        "out",
        "methods",
        "prompts",
        "seeds",
        "steps",
        "references",
        "study",
        "diagnose",
        "prior",
        "device",
        "json",
    ]:
        assert f"--{option} " in shown
