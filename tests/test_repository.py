"""Rules about the repository itself: what a fresh clone needs is in it, and what the README shows exists."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def test_constraints_are_plain_versions():
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]

    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+-]+", pin) for pin in pins), pins
    names = [pin.split("==")[0].lower() for pin in pins]
    assert len(names) == len(set(names))


def test_every_direct_dependency_is_constrained():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower().replace("_", "-") for requirement in wanted}
    pinned = (REPOSITORY / "constraints.txt").read_text().lower().replace("_", "-")

    assert [name for name in sorted(names) if f"\n{name}==" not in pinned] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text())
    local = [link for link in links if not link.startswith("http")]

    assert [link for link in local if not (document.parent / link).exists()] == []


def test_the_readme_opens_with_one_sentence_one_picture_and_the_two_commands():
    text = (REPOSITORY / "README.md").read_text()

    assert text.index("![") < text.index("make demo") < text.index("make test") < 1000


def test_the_names_in_the_readme_are_those_of_the_world():
    from tools.embedded_world.colours import COLOUR_NAMES
    from tools.embedded_world.shapes import SHAPE_NAMES

    text = " ".join((REPOSITORY / "README.md").read_text().split())

    assert ", ".join(SHAPE_NAMES) in text
    assert ", ".join(COLOUR_NAMES) in text


def test_the_backend_imports_without_the_developers_tools():
    code = "import sys, backend.cli, backend.tasks.text_to_mesh; sys.exit('tools' in sys.modules)"

    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
