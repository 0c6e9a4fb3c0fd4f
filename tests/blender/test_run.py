"""run.sh where Blender's module cannot be had: it says why and what to do, and fails only where that is asked for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TOOLS = ("dirname", "grep", "id", "rm", "sh", "tail", "touch")
NOWHERE = "http://127.0.0.1:9/simple"


@pytest.fixture
def run(tmp_path):
    """Runs it in a copy of the repository that has nothing, on a machine without Python."""
    shutil.copytree(HERE, tmp_path / "tests" / "blender", ignore=lambda folder, names: {*names} - {"run.sh"})
    (tmp_path / "constraints.txt").write_text("pyzmq==27.3.0\npytest==9.0.0\n")
    (tmp_path / "bin").mkdir()
    for name in TOOLS:
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))

    def run(*arguments, **environment):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BPY", "BLENDER", "PIP"))}
        return subprocess.run(
            ["/bin/sh", tmp_path / "tests" / "blender" / "run.sh", *arguments],
            env=kept | {"PATH": str(tmp_path / "bin"), "PIP_CONFIG_FILE": os.devnull} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_without_the_right_python_it_is_skipped_with_what_to_do(run):
    ran = run("5.0.1")

    assert ran.returncode == 0
    assert ran.stdout == (
        "The tests in Blender (5.0.1) were skipped: it needs Python 3.11; install it, or say where it is with "
        "BPY_PYTHON=/path/to/python3.11\n"
    )


def test_without_the_registry_it_is_skipped_and_auto_takes_the_version_that_there_is_a_python_for(run, tmp_path):
    chosen = "5.0.1" if sys.version_info < (3, 12) else "5.2.3"

    ran = run("auto", BPY_PYTHON=sys.executable, PIP_INDEX_URL=NOWHERE, PIP_RETRIES="0")

    assert ran.returncode == 0
    assert ran.stdout.startswith(f"The tests in Blender ({chosen}) were skipped: pip cannot install it: ")
    assert f"No matching distribution found for bpy=={chosen}" in ran.stdout
    assert not list(tmp_path.glob(".venv*/.installed"))  # the next time it is tried again


def test_where_it_is_required_a_skip_is_a_failure(run):
    assert run("5.0.1", BLENDER_TESTS="required").returncode == 1


def test_it_can_be_switched_off(run):
    ran = run("5.0.1", BLENDER_TESTS="off", BPY_PYTHON=sys.executable)

    assert (ran.returncode, ran.stdout) == (0, "The tests in Blender (5.0.1) were skipped: BLENDER_TESTS is off\n")


def test_another_wish_is_refused(run):
    ran = run("5.0.1", BLENDER_TESTS="maybe")

    assert (ran.returncode, ran.stdout) == (2, "BLENDER_TESTS is maybe; it must be try, required or off\n")
