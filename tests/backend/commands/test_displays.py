"""What a job shows: live in a terminal, in plain lines, or as JSON lines and nothing else on stdout."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from backend.commands import displays
from backend.commands.displays import (
    JobProgress,
    JobResult,
    JobStart,
    JsonLinesDisplay,
    TerminalDisplay,
)
from backend.errors import BadInput


def a_start(first_step=1):
    return JobStart("a [red] mushroom", Path("/runs/x"), 100, first_step, "embedded", "cpu", "portable")


def a_progress(step, gradient_norm=3.25):
    return JobProgress("SDS", step, 100, 9.5, 12.0, gradient_norm, 12_345)


def a_result(is_complete=True):
    return JobResult(
        is_complete=is_complete,
        step=40,
        total=100,
        seconds=61.0,
        faces=12_345,
        run_dir=Path("/runs/x"),
        mesh=Path("/out/m.glb"),
        report=Path("/runs/x/report.html"),
        turntable=None,
        resume_command=None if is_complete else "sketchbridge text --resume /runs/x",
    )


def plain_display():
    stream = io.StringIO()
    return TerminalDisplay(console=Console(file=stream, width=120, highlight=False), output=io.StringIO()), stream


def test_json_lines_are_one_object_each():
    stream = io.StringIO()
    with JsonLinesDisplay(stream) as display:
        display.doing("loading the prior")
        display.started(a_start())
        display.progress(a_progress(1, gradient_norm=float("nan")))
        display.notice("a notice\nin two lines")
        display.preview(Path("/runs/x/previews/step-000001.png"), 1)
        display.finished(a_result())

    events = [json.loads(line, parse_constant=pytest.fail) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["doing", "started", "progress", "notice", "preview", "finished"]
    assert events[1]["prompt"] == "a [red] mushroom"
    assert events[2]["gradient_norm"] is None
    assert events[2]["faces"] == 12_345
    assert events[3]["text"] == "a notice\nin two lines"
    assert events[5]["mesh"] == "/out/m.glb"


def test_json_progress_comes_at_most_four_times_a_second_and_at_the_end(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(displays.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with JsonLinesDisplay(stream) as display:
        for step in range(1, 101):
            display.progress(a_progress(step))
            now[0] += 0.01

    steps = [json.loads(line)["step"] for line in stream.getvalue().splitlines()]
    assert steps == [1, 26, 51, 76, 100]


def test_json_says_what_failed():
    stream = io.StringIO()
    with JsonLinesDisplay(stream) as display:
        display.failed(BadInput("steps must be positive, got -1"), 2, None)

    event = json.loads(stream.getvalue())
    assert event == {
        "event": "failed",
        "kind": "BadInput",
        "message": "steps must be positive, got -1",
        "exit_code": 2,
        "resume_command": None,
    }


def test_what_others_print_does_not_reach_the_json_lines():
    program = """
import os, sys
from pathlib import Path
from backend.commands.displays import JsonLinesDisplay
with JsonLinesDisplay() as display:
    print("from Python")
    os.write(1, b"from C\\n")
    os.system("echo from a child")
    display.notice("ours")
print("afterwards")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.splitlines() == ['{"event": "notice", "text": "ours"}', "afterwards"]
    assert {"from Python", "from C", "from a child"} <= set(done.stderr.splitlines())


def test_a_reader_that_goes_away_does_not_end_the_job():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream, JsonLinesDisplay(stream) as display:
        display.notice("into the void")
        display.notice("and again")


def test_plain_lines_come_every_ten_seconds_and_at_the_end(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(displays.time, "monotonic", lambda: now[0])
    display, stream = plain_display()
    with display:
        display.started(a_start())
        for step in range(1, 101):
            display.progress(a_progress(step))
            now[0] += 0.25

    lines = [line for line in stream.getvalue().splitlines() if line.startswith("SDS")]
    assert [line.split(",")[0] for line in lines] == [f"SDS step {step}/100" for step in (1, 41, 81, 100)]
    assert "9.5 steps/s, 0:12 left, gradient norm 3.25, 12,345 faces" in lines[0]


def test_the_live_line_has_the_numbers_of_the_last_step():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=140, legacy_windows=False, color_system=None)
    display = TerminalDisplay(console=console, output=io.StringIO(), is_stopping=lambda: True)
    with display:
        display.progress(a_progress(40))
        console.print(display._live_line())

    for words in ("SDS", "40/100", "9.5 steps/s", "0:12 left", "|g| 3.25", "12,345 faces", "stopping after this step"):
        assert words in stream.getvalue()


def test_brackets_in_a_prompt_are_no_markup():
    display, stream = plain_display()
    with display:
        display.started(a_start(first_step=41))
        display.notice("the prompt [bold]x[/] was cut")

    assert "a [red] mushroom" in stream.getvalue()
    assert "going on at step 41" in stream.getvalue()
    assert "[bold]x[/]" in stream.getvalue()


def test_a_stopped_job_says_how_to_go_on_and_prints_its_mesh_on_stdout():
    stream, output = io.StringIO(), io.StringIO()
    with TerminalDisplay(console=Console(file=stream, width=120), output=output) as display:
        display.finished(a_result(is_complete=False))

    assert "stopped after step 40 of 100" in stream.getvalue()
    assert "(unfinished)" in stream.getvalue()
    assert "sketchbridge text --resume /runs/x" in stream.getvalue()
    assert output.getvalue() == "/out/m.glb\n"


def test_an_error_of_the_user_has_no_traceback_and_a_bug_has_one():
    display, stream = plain_display()
    with display:
        display.failed(BadInput("steps must be from 1 to 9; got -1"), 2, None)
    assert stream.getvalue() == "error: steps must be from 1 to 9; got -1\n"

    display, stream = plain_display()
    with display:
        try:
            [][1]
        except IndexError as error:
            display.failed(error, 1, "sketchbridge text --resume x")
    assert "Traceback" in stream.getvalue()
    assert "bug in sketchbridge" in stream.getvalue()
    assert "--resume x" in stream.getvalue()
