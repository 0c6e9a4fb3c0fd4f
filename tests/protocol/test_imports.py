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
        names |= {(node.module or "").split(".")[0] for node in imports if isinstance(node, ast.ImportFrom)}
        allowed = set(sys.stdlib_module_names) | {"numpy", "protocol"} | ({"zmq"} if path.stem == "client" else set())

        assert names <= allowed, path
