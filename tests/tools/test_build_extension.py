"""What is in the extension's zips, and what its sources may import. Needs neither Blender nor the network."""

import ast
import re
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tools.build_extension import (
    PYTHONS,
    CannotBuild,
    Pythons,
    build_dev,
    build_release,
    fetch_wheels,
    release_manifest,
    version,
)

REPOSITORY = Path(__file__).parents[2]
ADDON = REPOSITORY / "blender_addon"
PY311 = PYTHONS[0]


def contents(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def wheels(tmp_path):
    made = {}
    for platform in ("linux-x64", "windows-x64"):
        made[platform] = tmp_path / f"pyzmq-27.3.0-cp311-cp311-{platform.replace('-', '_')}.whl"
        made[platform].write_bytes(platform.encode())
    return made


def test_the_zip_has_every_source_and_a_real_copy_of_the_protocol(tmp_path):
    files = contents(build_dev(tmp_path))

    for folder, inside in ((ADDON, ""), (REPOSITORY / "protocol", "protocol/")):
        for path in folder.glob("*.py"):
            assert files[inside + path.name] == path.read_bytes()
    assert files["blender_manifest.toml"] == (ADDON / "blender_manifest.toml").read_bytes()


def test_the_zip_has_its_licences_and_nothing_that_does_not_belong(tmp_path):
    files = contents(build_dev(tmp_path))

    assert b"GNU GENERAL PUBLIC LICENSE" in files["LICENSE"]
    assert b"Apache License" in files["protocol/LICENSE"]
    allowed = re.compile(r"(protocol/)?(\w+\.py|LICENSE)|blender_manifest\.toml")
    assert [name for name in files if not allowed.fullmatch(name)] == []


def test_the_same_sources_give_the_same_bytes(tmp_path):
    assert build_dev(tmp_path / "a").read_bytes() == build_dev(tmp_path / "b").read_bytes()


def test_a_release_zip_has_the_wheels_unchanged_and_names_them(tmp_path, wheels):
    files = contents(build_release(tmp_path / "out", PY311, wheels, suffix=""))
    manifest = tomllib.loads(files["blender_manifest.toml"].decode())

    assert manifest["platforms"] == ["linux-x64", "windows-x64"]
    assert manifest["wheels"] == sorted(f"./wheels/{wheel.name}" for wheel in wheels.values())
    for wheel in wheels.values():
        assert files[f"wheels/{wheel.name}"] == wheel.read_bytes()


@pytest.mark.parametrize(("pythons", "least", "most"), [(PYTHONS[0], "4.3.0", "5.1.0"), (PYTHONS[1], "5.1.0", None)])
def test_each_zip_is_for_its_own_blenders(pythons, least, most):
    manifest = tomllib.loads(release_manifest(pythons, ["linux-x64"], ["x.whl"]))

    assert (manifest["blender_version_min"], manifest.get("blender_version_max")) == (least, most)
    assert manifest["permissions"].keys() == {"network", "files"}


def test_one_platform_has_a_zip_of_its_own(tmp_path, wheels):
    path = build_release(tmp_path, PY311, {"windows-x64": wheels["windows-x64"]}, suffix="-windows-x64")

    assert path.name == f"sketchbridge-{version()}-py311-windows-x64.zip"
    assert [name for name in contents(path) if name.startswith("wheels/")] == [f"wheels/{wheels['windows-x64'].name}"]


def test_a_folder_with_two_wheels_is_refused(tmp_path):
    from tools.build_extension import fetch_wheel

    pythons = Pythons("py311", "cp311-cp311", "3.11", "4.3.0", None)
    folder = tmp_path / "py311-win_amd64"
    folder.mkdir()
    for end in ("a", "b"):
        (folder / f"pyzmq-27.3.0-cp311-cp311-{end}.whl").touch()

    with pytest.raises(CannotBuild, match="must hold one wheel"):
        fetch_wheel(pythons, "win_amd64", tmp_path)


def test_wheels_that_are_there_are_not_fetched_again(tmp_path, monkeypatch):
    for platform in ("manylinux_2_28_x86_64", "win_amd64"):
        (tmp_path / f"py311-{platform}").mkdir()
        (tmp_path / f"py311-{platform}" / f"pyzmq-27.3.0-cp311-cp311-{platform}.whl").touch()
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("pip was called"))

    found = fetch_wheels(PY311, ("linux-x64", "windows-x64"), tmp_path)

    assert {name: path.parent.name for name, path in found.items()} == {
        "linux-x64": "py311-manylinux_2_28_x86_64",
        "windows-x64": "py311-win_amd64",
    }


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    connection = (ADDON / "connection.py").read_text()

    assert version() == project
    assert f'SOFTWARE_VERSION = "{project}"' in connection


def test_the_add_on_imports_itself_relatively_and_from_others_only_what_blender_has():
    allowed = set(sys.stdlib_module_names) | {"bpy", "gpu", "gpu_extras", "mathutils", "numpy", "zmq", "bl_operators"}
    for path in ADDON.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = {each.name.split(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = {(node.module or "").split(".")[0]}
            else:
                continue
            assert names <= allowed, (path.name, node.lineno)


def test_zeromq_is_never_imported_with_the_add_on():
    for path in ADDON.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "zmq" not in ast.unparse(node), path.name
                assert "client" not in ast.unparse(node), path.name


def test_every_source_says_its_licence():
    for path in ADDON.glob("*.py"):
        assert path.read_text().startswith("# SPDX-License-Identifier: GPL-3.0-or-later\n"), path.name


def test_nothing_but_blender_reaches_the_protocol_through_the_link():
    """The link makes two copies of each class, so the other packages must not know it."""
    assert (ADDON / "protocol").is_symlink()
    for folder in ("backend", "protocol", "tools"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            assert "blender_addon." not in path.read_text(), path
