"""Builds the Blender extension into dist/: a zip for each range of Pythons, smaller ones for one platform each, and one
without wheels for a Blender whose Python has pyzmq already.

Two zips of one id, since Blender refuses a zip with wheels for two versions of Python. What goes in is the source tree
of blender_addon with a real copy of protocol/, where the tree has a link, and pyzmq's wheels as they are published. The
same sources and wheels give the same bytes.

    python -m tools.build_extension
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
ADDON, PROTOCOL = REPOSITORY / "blender_addon", REPOSITORY / "protocol"
WHEELS = REPOSITORY / ".cache" / "wheels"
PYZMQ = "27.3.0"
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # of a zip; the time of a build is not in it


@dataclass(frozen=True)
class Pythons:
    """The Blenders whose Python takes the same wheels."""

    name: str
    tag: str
    """Of the wheels: Python and ABI."""
    python_version: str
    """One that takes them, as pip wants it."""
    blender_min: str
    blender_max: str | None
    """The first one that is too new."""


PYTHONS = (
    Pythons("py311", "cp311-cp311", "3.11", "4.3.0", "5.1.0"),
    Pythons("abi3", "cp312-abi3", "3.13", "5.1.0", None),
)
# Blender's names of the platforms, and pip's. One wheel serves both kinds of Mac.
PLATFORMS = {
    "linux-x64": "manylinux_2_28_x86_64",
    "linux-arm64": "manylinux_2_28_aarch64",
    "windows-x64": "win_amd64",
    "windows-arm64": "win_arm64",
    "macos-arm64": "macosx_11_0_arm64",
    "macos-x64": "macosx_10_15_x86_64",
}
COMMON_PLATFORMS = ("linux-x64", "windows-x64", "macos-arm64", "macos-x64")
"""In the zip for everybody; the others would make it too large, and have their own."""


class CannotBuild(Exception):
    """Something that the extension is built from is missing. The message says what."""


def build_all(out: Path, wheels: Path = WHEELS) -> list[Path]:
    """Builds every zip; fetches wheels that are not in `wheels` yet.

    Raises:
        CannotBuild: A wheel cannot be had.
    """
    made = [build_dev(out)]
    for pythons in PYTHONS:
        found = fetch_wheels(pythons, tuple(PLATFORMS), wheels)
        made.append(build_release(out, pythons, {name: found[name] for name in COMMON_PLATFORMS}, suffix=""))
        for name, wheel in found.items():
            made.append(build_release(out, pythons, {name: wheel}, suffix=f"-{name}"))
    return made


def build_dev(out: Path) -> Path:
    """The zip without wheels, for every platform and Python. It shows in the panel if pyzmq is missing."""
    path = out / f"sketchbridge-{version()}-dev.zip"
    _write_zip(path, {"blender_manifest.toml": _manifest_text().encode()} | dict(_sources()))
    return path


def build_release(out: Path, pythons: Pythons, wheels: dict[str, Path], suffix: str) -> Path:
    """A zip with wheels.

    Args:
        wheels: By Blender's name of the platform.
    """
    names = sorted({wheel.name for wheel in wheels.values()})
    path = out / f"sketchbridge-{version()}-{pythons.name}{suffix}.zip"
    files = {"blender_manifest.toml": release_manifest(pythons, sorted(wheels), names).encode()} | dict(_sources())
    files |= {f"wheels/{wheel.name}": wheel.read_bytes() for wheel in wheels.values()}
    _write_zip(path, files)
    return path


def release_manifest(pythons: Pythons, platforms: list[str], wheels: list[str]) -> str:
    """The manifest of the source tree, for these Blenders, platforms and files of wheels."""
    lines = [f'blender_version_min = "{pythons.blender_min}"']
    if pythons.blender_max is not None:
        lines.append(f'blender_version_max = "{pythons.blender_max}"')
    lines.append(f"platforms = {json.dumps(platforms)}")  # lists of plain names are the same in JSON and TOML
    lines += ["wheels = [", *(f'    "./wheels/{name}",' for name in wheels), "]"]
    given = 'blender_version_min = "4.3.0"'
    text = _manifest_text()
    if text.count(given) != 1:
        raise CannotBuild(f"blender_addon/blender_manifest.toml must have the line {given} once")
    return text.replace(given, "\n".join(lines))


def version() -> str:
    """Of the extension, from its manifest."""
    return str(tomllib.loads(_manifest_text())["version"])


def _manifest_text() -> str:
    return (ADDON / "blender_manifest.toml").read_text(encoding="utf-8")


def _sources() -> Iterator[tuple[str, bytes]]:
    """Name in the zip and content of every file but the manifest and the wheels."""
    yield "LICENSE", (REPOSITORY / "LICENSES" / "GPL-3.0-or-later.txt").read_bytes()
    yield "protocol/LICENSE", (REPOSITORY / "LICENSE").read_bytes()
    for folder, inside in ((ADDON, ""), (PROTOCOL, "protocol/")):
        for path in sorted(folder.rglob("*")):
            is_ours = "__pycache__" not in path.parts and "protocol" not in path.relative_to(folder).parts
            if path.is_file() and is_ours and path.suffix != ".pyc" and path.name != "blender_manifest.toml":
                yield inside + path.relative_to(folder).as_posix(), path.read_bytes()


def _write_zip(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".tmp")
    with zipfile.ZipFile(half, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EARLIEST)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(".whl") else zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name])
    half.replace(path)


def fetch_wheels(pythons: Pythons, platforms: tuple[str, ...], wheels: Path = WHEELS) -> dict[str, Path]:
    """pyzmq's wheels by Blender's names of the platforms; see `fetch_wheel`.

    Raises:
        CannotBuild: One cannot be had.
    """
    return {name: fetch_wheel(pythons, PLATFORMS[name], wheels) for name in platforms}


def fetch_wheel(pythons: Pythons, platform: str, wheels: Path) -> Path:
    """pyzmq's wheel for one platform, from the folder `wheels` or, by pip, from the package registry into it.

    Args:
        platform: pip's name.
    """
    folder = wheels / f"{pythons.name}-{platform}"
    pattern = f"pyzmq-{PYZMQ}-{pythons.tag}-*.whl"
    if not list(folder.glob(pattern)):
        wanted = ["--platform", platform, "--python-version", pythons.python_version, "--implementation", "cp"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", *wanted]
        ran = subprocess.run([*command, "--dest", str(folder), f"pyzmq=={PYZMQ}"], capture_output=True, text=True)
        if ran.returncode != 0:
            raise CannotBuild(f"pip cannot get pyzmq {PYZMQ} for {platform}:\n{ran.stderr.strip()[-1000:]}")
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise CannotBuild(f"{folder} must hold one wheel {pattern}; it holds {sorted(each.name for each in found)}")
    return found[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=REPOSITORY / "dist", help="the folder for the zips")
    parser.add_argument("--dev-only", action="store_true", help="only the zip without wheels; needs no network")
    parser.add_argument("--wheels-only", action="store_true", help="no zip: only fetch the wheels that the tests need")
    given = parser.parse_args()
    try:
        if given.wheels_only:
            for pythons in PYTHONS:
                fetch_wheels(pythons, COMMON_PLATFORMS)
            return
        made = [build_dev(given.out)] if given.dev_only else build_all(given.out)
    except CannotBuild as error:
        sys.exit(str(error))
    for path in made:
        print(f"{path.stat().st_size / 1e6:6.2f} MB  {path}")


if __name__ == "__main__":
    main()
