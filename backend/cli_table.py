"""The command that compares methods: names of options, their help, nothing else. Only typer is imported here."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from backend.cli_options import DeviceOption, JsonOption, PriorOption, given_settings


class StudyName(StrEnum):
    METHODS = "methods"
    DESCRIPTORS = "descriptors"
    SWITCH = "switch"


def add_commands(app: typer.Typer) -> None:
    """Registers `table`."""
    app.command()(table)


def table(
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Where the table and its cells go. Default: table.",
        ),
    ] = Path("table"),
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Some of ddim, sds, nfsd, csd, vsd, bridge, full-bridge and vsd-full-bridge. Default: all.",
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A text file, one prompt a line. Default: 20 of the embedded prior's world."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help="Pictures of each prompt, each from noise of its own. Default: 4.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", help="Of all methods that optimise. Default: 80 for the embedded prior, else 1000."),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Pictures to compare with, in a folder for each prompt such as a-red-mushroom. Default: what the "
            "model samples by DDIM from other noise.",
        ),
    ] = None,
    study: Annotated[
        StudyName | None,
        typer.Option(
            help="methods; or the bridge with five ways to describe the source (descriptors); or with four points "
            "where it begins (switch). Default: methods.",
            show_default=False,
        ),
    ] = None,
    diagnose: Annotated[
        bool,
        typer.Option(
            "--diagnose",
            metavar="",
            help="Two figures more: how far one step of the bridge is from the whole, and each method's source from "
            "the pictures as they are.",
        ),
    ] = False,
    prior: PriorOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compares the methods on the same prompts, seeds and steps, in one table with its pictures.

    Distances to a reference, what a classifier sees, saturation, evaluations of the network, time and memory; as \
table.md, table.csv and table.html. With the embedded prior it takes about 40 minutes of one core. What is done is \
kept: after Ctrl+C the same command goes on.

    [bold]Examples[/bold]

      sketchbridge table
      sketchbridge table --methods ddim,sds,bridge --seeds 2 -o quick-table
      sketchbridge table --study switch -o switch-table
      sketchbridge table --diagnose

    [bold]Exit codes[/bold]: 0 done, 2 wrong input (the message says what would be right), 130 stopped, 1 a bug.
    """
    from backend.commands.table import TableCommand, run_table_command

    settings = given_settings(
        methods=methods, prompts=prompts, seeds=seeds, steps=steps, study=study, prior=prior, device=device
    )
    raise typer.Exit(run_table_command(TableCommand(settings, out, references, diagnose), as_json))
