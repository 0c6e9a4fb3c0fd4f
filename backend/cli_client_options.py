"""Options of the commands that talk to a server. Only typer is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backend.cli_options import Up

ServerOption = Annotated[
    str,
    typer.Option(
        "--server",
        metavar="tcp://HOST:PORT",
        envvar="SKETCHBRIDGE_SERVER",
        help="Where the server is.",
        rich_help_panel="Server",
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        envvar="SKETCHBRIDGE_KEY",
        help="Your keys, from `sketchbridge keygen`; needed by every server that listens to other machines.",
        rich_help_panel="Server",
    ),
]
ClientJsonOption = Annotated[
    bool,
    typer.Option(
        "--json", metavar="", help="One JSON object per line on stdout, for programs.", rich_help_panel="Server"
    ),
]
DEFAULT_SERVER = "tcp://127.0.0.1:5710"

JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="The job's id; its beginning is enough.", show_default=False)
]
JobsArgument = Annotated[
    list[str], typer.Argument(metavar="JOB...", help="Ids of jobs; their beginnings are enough.", show_default=False)
]
MeshUpOption = Annotated[
    Up | None,
    typer.Option(
        "--up",
        help="Which axis of the file points upwards: y with the front along +Z, as in glTF, or z with the front along "
        "-Y, as Blender writes STL. Default: y.",
        show_default=False,
    ),
]

EXIT_CODES = (
    "[bold]Exit codes[/bold]: 0 done, 2 wrong input or refused by the server, 3 not finished (yet, or cancelled), "
    "4 no server or lost, 5 the job failed, 130 stopped, 1 a bug."
)
