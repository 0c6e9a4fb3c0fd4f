"""`serve`, `keygen` and `allow`, as somebody types them; `serve` as a real process."""

import json
import os
import signal
import stat
import subprocess
import sys
import urllib.request

import pytest
from typer.testing import CliRunner

from backend.cli import app
from backend.server.auth import read_key_file
from protocol.client import Client
from protocol.messages import ListJobs

SECONDS = 60.0


class Served:
    """A server in a process of its own."""

    def __init__(self, *options):
        command = [sys.executable, "-m", "backend", "serve", "--listen", "tcp://127.0.0.1:*", "--json", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # A test run in the background of a script hands on that SIGINT is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        self.started = json.loads(self.process.stdout.readline() or "{}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def stop(self, signal_number):
        """The exit code and the events that it said at the end."""
        self.process.send_signal(signal_number)
        said, self.errors = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, [json.loads(line)["event"] for line in said.splitlines()]


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(tmp_path, number):
    with Served("--state", str(tmp_path / "state"), "--metrics", "0") as served:
        with Client(served.started["address"], "a test", "0") as client:
            total = client.request(ListJobs(), SECONDS).total
        with urllib.request.urlopen(f"http://{served.started['metrics']}/metrics", timeout=SECONDS) as answer:
            metrics = answer.read().decode()
        exit_code, said = served.stop(number)

    assert total == 0
    assert 'sketchbridge_jobs{status="running"} 0.0' in metrics
    assert (exit_code, said, served.errors) == (0, ["stopping", "stopped"], "")


def test_the_server_process_does_not_load_torch(tmp_path):
    """A server that only moves bytes has no use for gigabytes."""
    with Served("--state", str(tmp_path / "state")) as served:
        maps = f"/proc/{served.process.pid}/maps"
        if not os.path.exists(maps):
            pytest.skip("no /proc")
        with open(maps) as file:
            loaded = file.read()

    assert "zmq" in loaded
    assert "torch" not in loaded


def test_a_second_one_on_the_same_state_says_so_and_exits_2(tmp_path):
    with Served("--state", str(tmp_path / "state")) as first, Served("--state", str(tmp_path / "state")) as second:
        _, errors = second.process.communicate(timeout=SECONDS)
        exit_code, _ = first.stop(signal.SIGTERM)

    assert second.process.returncode == 2
    assert "--state" in errors
    assert exit_code == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--listen", "tcp://0.0.0.0:5710"], "sketchbridge keygen"),
        (["--keys", "nothing-here"], "sketchbridge keygen"),
        (["--metrics", "x"], "127.0.0.1:9110"),
        (["--checkpoint-seconds", "-1"], "0.1 to 86400"),
        (["--config", "missing.toml"], "cannot be read"),
        (["--listen", "127.0.0.1:5710"], "tcp://127.0.0.1:5710"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_served(tmp_path, monkeypatch, options, sentence):
    monkeypatch.chdir(tmp_path)
    defaults = [] if "--listen" in options else ["--listen", "tcp://127.0.0.1:*"]

    result = run("serve", "--state", tmp_path / "state", *defaults, *options)

    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_a_configuration_in_the_state_folder_is_read(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "server_id").write_text("an-old-server")
    (tmp_path / "state" / "server.toml").write_text("[limits]\nvertices = -5\n")

    result = run("serve", "--state", tmp_path / "state", "--listen", "tcp://127.0.0.1:*")

    assert result.exit_code == 2
    assert "limits.vertices is -5" in " ".join(result.stderr.split())


def test_from_no_keys_to_an_encrypted_request(tmp_path):
    made = json.loads(run("keygen", "--keys", tmp_path / "keys", "--json").stdout)
    own = json.loads(run("keygen", tmp_path / "my.key", "--server-key", made["public_key"], "--json").stdout)
    allowed = run("allow", "ann", own["public_key"], "--keys", tmp_path / "keys")

    with Served("--state", str(tmp_path / "state"), "--keys", str(tmp_path / "keys")) as served:
        listed = run("jobs", "--server", served.started["address"], "--key", tmp_path / "my.key", "--json")
        refused = run("jobs", "--server", served.started["address"], "--json")
        served.stop(signal.SIGTERM)

    assert served.started["server_public_key"] == made["public_key"]
    assert allowed.stdout == "ann is allowed\n"
    assert listed.exit_code == 0
    assert refused.exit_code == 4
    for path in (tmp_path / "my.key", tmp_path / "keys" / "server.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_secret_is_shown(tmp_path):
    server = run("keygen", "--keys", tmp_path / "keys")
    public = server.stdout.split("--server-key ")[1].split()[0]
    client = run("keygen", tmp_path / "my.key", "--server-key", public)

    for path in (tmp_path / "keys" / "server.key", tmp_path / "my.key"):
        secret = read_key_file(path).secret
        assert secret not in server.output + client.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["keygen", "my.key"], "--server-key KEY"),
        (["keygen", "my.key", "--server-key", "abc"], "64 hexadecimal digits"),
        (["keygen", "--keys", "keys", "--server-key", "00"], "name a file"),
        (["keygen", "--keys", "there"], "not overwritten"),
        (["allow", "ann", "abc", "--keys", "there"], "64 hexadecimal digits"),
        (["allow", "../ann", "00" * 32, "--keys", "there"], "the name"),
        (["allow", "ann", "00" * 32, "--keys", "nothing-here"], "sketchbridge keygen"),
    ],
)
def test_wrong_arguments_are_told_with_what_would_be_right(tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    run("keygen", "--keys", "there")

    result = run(*arguments)

    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())
    assert not (tmp_path / "my.key").exists()
