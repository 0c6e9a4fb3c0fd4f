"""A command as somebody types it, in this process, and what it leaves to look at."""

from pathlib import Path

from typer.testing import CliRunner

from backend.cli import app


def sketchbridge(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def messages(result):
    """stderr without line breaks and frames, which depend on the width of the terminal."""
    return " ".join(result.stderr.replace("│", " ").split())


def only_run():
    (run,) = Path("runs").iterdir()
    return run
