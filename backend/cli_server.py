"""Commands for whoever runs a server: names of options, their help, nothing else. Only typer is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PANEL = "Running a server"
_JSON_HELP = "One JSON object per line on stdout, for programs."
KeysOption = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        metavar="DIR",
        envvar="SKETCHBRIDGE_KEYS",
        help="The folder with the server's keys and the list of allowed clients.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", metavar="", help=_JSON_HELP)]


def add_commands(app: typer.Typer) -> None:
    """Registers `serve`, `keygen` and `allow`."""
    for command in (serve, keygen, allow):
        app.command(rich_help_panel=PANEL)(command)


def serve(
    listen: Annotated[
        str,
        typer.Option(
            metavar="tcp://HOST:PORT",
            help="Where clients connect. Any other address than that of this machine itself needs --keys.",
        ),
    ] = "tcp://127.0.0.1:5710",
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where jobs, results and the log are kept. Default: ~/.local/state/sketchbridge.",
            show_default=False,
        ),
    ] = None,
    keys: KeysOption = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Models, limits, quotas and devices, see docs/server.md. Default: server.toml in --state, if there.",
            show_default=False,
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="Serve numbers for Prometheus there; without HOST, to this machine only.",
            show_default=False,
        ),
    ] = None,
    checkpoint_seconds: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Between checkpoints of a running job: what is lost at most when a worker dies.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Runs a server: jobs come from Blender or from `sketchbridge submit`, run one per device, and survive restarts.

    [bold]Examples[/bold]

      sketchbridge serve
      sketchbridge serve --state /srv/sketchbridge --metrics 9110
      sketchbridge serve --listen tcp://0.0.0.0:5710 --keys ~/.local/state/sketchbridge-keys

    [bold]Ctrl+C[/bold] or SIGTERM stops: running jobs are kept, and go on at the next start. A second one does not \
wait for that.

    [bold]Exit codes[/bold]: 0 stopped, 2 wrong input, 130 stopped by the second Ctrl+C, 1 a bug.
    """
    from backend.commands.serve import ServeCommand, run_serve_command
    from backend.server.state_folder import default_state_folder

    command = ServeCommand(listen, state or default_state_folder(), keys, config, metrics, checkpoint_seconds)
    raise typer.Exit(run_serve_command(command, as_json))


def keygen(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="For a client: where its keys go.", show_default=False),
    ] = None,
    server_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="For a client: the server's public key, which `sketchbridge serve` shows.",
            show_default=False,
        ),
    ] = None,
    keys: KeysOption = None,
    as_json: JsonOption = False,
) -> None:
    """Makes keys: of a server in the folder --keys, or of a client in FILE. Shows public keys only.

    [bold]Examples[/bold]

      sketchbridge keygen --keys ~/.local/state/sketchbridge-keys
      sketchbridge keygen my.key --server-key 61f8...0c

    [bold]Exit codes[/bold]: 0 done, 2 wrong input.
    """
    from backend.commands.keygen import run_keygen_command
    from backend.server.state_folder import default_keys_folder

    raise typer.Exit(run_keygen_command(file, server_key, keys or default_keys_folder(), as_json))


def allow(
    name: Annotated[str, typer.Argument(metavar="NAME", help="How the log is to call the client.")],
    public_key: Annotated[
        str, typer.Argument(metavar="PUBLIC_KEY", help="What `sketchbridge keygen FILE` has shown on its machine.")
    ],
    keys: KeysOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lets a client in. A server that runs hears of it by itself.

    To shut a client out again, delete its line in the file `allowed` in the folder --keys.

    [bold]Exit codes[/bold]: 0 done, 2 wrong input.
    """
    from backend.commands.allow import run_allow_command
    from backend.server.state_folder import default_keys_folder

    raise typer.Exit(run_allow_command(name, public_key, keys or default_keys_folder(), as_json))
