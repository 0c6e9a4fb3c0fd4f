"""The connection light: what it says when there is no server, another one, or none that may be asked."""

import socket
import sys
import threading
import time

import bpy
import pytest
import zmq
from job_server import JobServer
from recording_layout import drawn

from blender_addon import connection, panel
from blender_addon.connection import CONNECTION
from blender_addon.jobs import JOBS
from blender_addon.protocol.client import Client
from blender_addon.protocol.messages import CancelJob, WatchJob


def connect(address):
    bpy.context.preferences.addons["blender_addon"].preferences.address = address
    bpy.ops.sketchbridge.connect()


def test_no_server(blender, impatient):
    connect("tcp://127.0.0.1:1")
    blender.until(lambda: CONNECTION.state in ("lost", "refused"))

    assert "127.0.0.1:1" in CONNECTION.sentence
    assert bpy.ops.sketchbridge.connect.poll()


def test_another_program_on_the_port(blender):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def talk():
            accepted, _ = other.accept()
            accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100)

        threading.Thread(target=talk, daemon=True).start()
        connect(f"tcp://127.0.0.1:{other.getsockname()[1]}")
        blender.until(lambda: CONNECTION.state in ("lost", "refused"))

    assert CONNECTION.sentence.startswith(("No server answers at", "The server at"))


def test_another_machine_needs_online_access(blender):
    with pytest.raises(RuntimeError):
        connect("tcp://gpu.example.org:5710")

    assert CONNECTION.state == "offline"
    assert CONNECTION.sentence.startswith("gpu.example.org is another machine, and Blender's online access is off")
    assert not CONNECTION.is_open


@pytest.mark.parametrize("address", ["tcp://", "http://127.0.0.1:80", "tcp://127.0.0.1:port", ""])
def test_no_address(blender, address):
    with pytest.raises(RuntimeError):
        connect(address)

    assert CONNECTION.state == "bad-address"
    assert "like tcp://127.0.0.1:5710" in CONNECTION.sentence


def test_a_key_that_is_none(blender):
    blender.preferences.server_key = "short"
    with pytest.raises(RuntimeError):
        connect("tcp://127.0.0.1:5710")

    assert CONNECTION.sentence == "the key server_public is 'short'; it must be text of 40 characters (Z85)"
    blender.preferences.server_key = ""


def use_keys(preferences, server=b"", public=b"", secret=b""):
    preferences.server_key, preferences.public_key = server.decode(), public.decode()
    preferences.secret_key = secret.decode()


def test_a_server_with_keys_and_what_is_said_without_the_right_ones(blender, impatient):
    public, secret = zmq.curve_keypair()
    own = zmq.curve_keypair()
    another, _ = zmq.curve_keypair()
    with JobServer(secret_key=secret) as server:
        connect(server.address)
        blender.until(lambda: CONNECTION.state in ("lost", "refused"))
        assert CONNECTION.sentence == f"The server at {server.address} ended the connection: it may want keys"

        use_keys(blender.preferences, another, *own)
        connect(server.address)
        blender.until(lambda: CONNECTION.state in ("lost", "refused"))
        assert CONNECTION.sentence == f"The server at {server.address} ended the connection: it may want other keys"
        assert "preferences.addon_show" in drawn(panel.SKETCHBRIDGE_PT_main).operators

        use_keys(blender.preferences, public, *own)
        connect(server.address)
        blender.until(lambda: CONNECTION.is_connected)
        use_keys(blender.preferences)


def test_a_server_of_another_version(blender, server):
    sentence = "This server speaks version 2 of the protocol, and you speak 1: update Sketchbridge in Blender."
    server.refusals["ClientHello"] = ("wrong-version", sentence)

    connect(server.address)
    blender.until(lambda: CONNECTION.state == "refused")

    layout = drawn(panel.SKETCHBRIDGE_PT_main)
    assert sentence in CONNECTION.sentence
    assert {"connect", "preferences.addon_show"} <= set(layout.operators)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("127.0.0.1:6000", "tcp://127.0.0.1:6000"),
        (" localhost ", "tcp://localhost:5710"),
        ("tcp://[::1]:5710", "tcp://[::1]:5710"),
        ("ipc:///tmp/x", "ipc:///tmp/x"),
    ],
)
def test_addresses_may_be_typed_shortly(typed, meant):
    assert connection.with_scheme(typed) == meant


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("tcp://127.0.0.1:5710", ("127.0.0.1", 5710)),
        ("tcp://studio:6000", ("studio", 6000)),
        ("tcp://[::1]:5710", ("::1", 5710)),
        ("ipc:///tmp/x", ("", 0)),
        ("tcp://studio", ("", 0)),
        ("", ("", 0)),
    ],
)
def test_where_an_address_leads(address, endpoint):
    assert connection.tcp_endpoint(address) == endpoint


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("192.168.1.4", False),
        ("x", False),
    ],
)
def test_which_hosts_are_this_machine(host, is_here):
    assert connection.is_loopback(host) is is_here


def test_a_blender_without_zeromq_says_so_and_nothing_else_fails(blender, monkeypatch):
    for name in [name for name in sys.modules if name == "zmq" or name.startswith("zmq.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "zmq", None)
    monkeypatch.delitem(sys.modules, "blender_addon.protocol.client", raising=False)

    with pytest.raises(RuntimeError):
        connect("tcp://127.0.0.1:5710")

    assert CONNECTION.state == "no-zmq"
    assert CONNECTION.sentence.startswith("pyzmq is missing. Install the release zip")


def test_testing_again_after_the_server_has_started(blender, server, impatient):
    connect("tcp://127.0.0.1:1")
    blender.until(lambda: CONNECTION.state in ("lost", "refused"))

    connect(server.address)
    blender.until(lambda: CONNECTION.is_connected)

    assert not JOBS.problem


def test_disconnecting_does_not_wait_for_the_thread(connected, server, monkeypatch):
    may_end, close = threading.Event(), Client.close
    monkeypatch.setattr(Client, "close", lambda client: may_end.wait(10) and close(client))

    bpy.ops.sketchbridge.disconnect()

    assert not CONNECTION.is_open
    assert not may_end.is_set()
    may_end.set()


def test_switching_the_add_on_off_does_not_wait_for_a_server_that_hangs(connected, server):
    connected.generate()
    server.is_silent = True

    start = time.perf_counter()
    bpy.ops.preferences.addon_disable(module="blender_addon")
    seconds = time.perf_counter() - start
    bpy.ops.preferences.addon_enable(module="blender_addon")

    assert seconds < 3.0  # a second on a quiet machine: benchmarks/blender_ticks.py measures it


def test_a_button_is_free_again_when_the_connection_is_ended_before_the_answer(connected, server):
    job = connected.generate()
    server.set_state(job.job, "running")
    connected.until(lambda: job.status == "running")
    server.is_silent = True
    bpy.ops.sketchbridge.pause()
    assert not bpy.ops.sketchbridge.pause.poll()

    bpy.ops.sketchbridge.disconnect()
    connected.until(lambda: job.asked == "")

    assert bpy.ops.sketchbridge.pause.poll()
    bpy.ops.sketchbridge.pause()
    assert job.sentence == "There is no connection to the server: press Connect"


def test_testing_the_connection_does_not_lose_the_running_job(connected, server):
    job = connected.generate()
    server.send_mesh(job.job)
    connected.until(lambda: job.shown == "mesh")

    bpy.ops.sketchbridge.connect()
    connected.until(lambda: len(server.of(WatchJob)) == 2)
    server.finish(job.job)

    connected.until(lambda: job.shown == "result")


def test_a_job_of_another_server_is_not_asked_about_at_this_one(connected, server):
    job = connected.generate()
    with JobServer() as other:
        connected.connect(other.address)

        bpy.ops.sketchbridge.cancel()
        connected.tick_for(0.05)

        assert job.sentence.startswith("This job is at another server")
        assert other.of(CancelJob) == []
        assert job.is_active
