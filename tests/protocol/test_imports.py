"""Blender has numpy and nothing else: the protocol needs no ZeroMQ to be read and written, and never torch."""

import ast
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "protocol"


def modules_after(statement):
    code = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return set(ran.stdout.split())


def root_of(node):
    """The first name of what `from ... import` names; relative ones stay in the package."""
    return "protocol" if node.level == 1 else (node.module or "").split(".")[0]


def test_messages_and_frames_need_neither_zeromq_nor_torch():
    loaded = modules_after("import protocol.messages, protocol.frames, protocol.inbox")

    assert "numpy" in loaded
    assert not loaded & {"zmq", "torch", "jaxtyping", "beartype", "backend", "scipy", "PIL"}


def test_the_client_needs_zeromq_and_no_torch():
    loaded = modules_after("import protocol.client")

    assert "zmq" in loaded
    assert not loaded & {"torch", "jaxtyping", "beartype", "backend"}


def test_only_the_client_names_zeromq_and_all_others_live_on_numpy():
    for path in PACKAGE.glob("*.py"):
        tree = ast.parse(path.read_text())
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {each.name.split(".")[0] for node in imports if isinstance(node, ast.Import) for each in node.names}
        names |= {root_of(node) for node in imports if isinstance(node, ast.ImportFrom)}
        allowed = set(sys.stdlib_module_names) | {"numpy", "protocol"} | ({"zmq"} if path.stem == "client" else set())

        assert names <= allowed, path


def test_the_package_names_itself_only_by_relative_imports():
    """In the Blender extension it is a part of another package, and there is no `protocol` to import from."""
    for path in PACKAGE.glob("*.py"):
        imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]

        assert [node.lineno for node in imports if not node.level and root_of(node) == "protocol"] == [], path
