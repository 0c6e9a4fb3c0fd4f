"""The commands that make pictures: names of options, their help, nothing else. Only typer is imported here."""

from __future__ import annotations

from typing import Annotated, Any

import typer
import typer.core

from backend.cli_options import (
    BridgeStartOption,
    DeviceOption,
    EditMethodName,
    FolderOutputOption,
    GuidanceScaleOption,
    JsonOption,
    MethodOption,
    MoreWords,
    PictureArgument,
    PictureMethodName,
    PictureOutputOption,
    PictureStepsOption,
    PriorOption,
    ResumeOption,
    RunDirOption,
    SeedOption,
    SourceSuffixOption,
    TargetSuffixOption,
    TransformName,
    VariableName,
    given_settings,
)


def add_commands(app: typer.Typer) -> None:
    """Registers `image`, `edit`, `paint` and `illusion`."""
    app.command(no_args_is_help=True, cls=_ImageCommand)(image)
    app.command(no_args_is_help=True, cls=_EditCommand)(edit)
    app.command(no_args_is_help=True, cls=_PaintCommand)(paint)
    app.command(no_args_is_help=True, cls=_IllusionCommand)(illusion)


def _usage(*pieces: str) -> type[typer.core.TyperCommand]:
    """A command whose usage line shows what to type most often, without `more_words`."""

    class Command(typer.core.TyperCommand):
        def collect_usage_pieces(self, ctx: Any) -> list[str]:
            return [*pieces, "[OPTIONS]"]

    return Command


_ImageCommand = _usage("PROMPT", "[-o FILE]")
_EditCommand = _usage("IMAGE", "--from PROMPT", "--to PROMPT", "[-o FILE]")
_PaintCommand = _usage("IMAGE", "PROMPT", "[-o FILE]")
_IllusionCommand = _usage("PROMPT", "PROMPT", "[PROMPT [PROMPT]]", "[-o DIR]")


def image(
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="What to draw, in quotes.", show_default=False)
    ] = None,
    more_words: MoreWords = None,
    output: PictureOutputOption = None,
    resume: ResumeOption = None,
    steps: PictureStepsOption = None,
    seed: SeedOption = None,
    count: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="How many pictures, each from noise of its own: FILE-0, FILE-1, ... and FILE-sheet."
        ),
    ] = None,
    run_dir: RunDirOption = None,
    prior: PriorOption = None,
    method: Annotated[
        PictureMethodName | None,
        typer.Option(
            help="ddim samples, as one does with a diffusion model; all others optimise the picture as they do a "
            "mesh. Default: bridge.",
            show_default=False,
            rich_help_panel="Model and method",
        ),
    ] = None,
    variable: Annotated[
        VariableName | None,
        typer.Option(
            help="What is optimised: the model's latents, or the pixels through its encoder. Default: latent.",
            show_default=False,
            rich_help_panel="Model and method",
        ),
    ] = None,
    guidance_scale: GuidanceScaleOption = None,
    bridge_start: BridgeStartOption = None,
    source_suffix: SourceSuffixOption = None,
    target_suffix: TargetSuffixOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draws a picture from a sentence.

    [bold]Examples[/bold]

      sketchbridge image "a red mushroom" -o mushroom.png
      sketchbridge image "a red mushroom" -o mushroom.png --method sds --count 4
      sketchbridge image "a red mushroom" -o sampled.png --method ddim --steps 50
      sketchbridge image --resume runs/2026-11-23-a-red-mushroom

    [bold]Ctrl+C[/bold] stops after the current step, keeps the state and the picture so far, and says how to go on.

    [bold]Exit codes[/bold]: 0 done, 2 wrong input (the message says what would be right), 130 stopped, 1 a bug.
    """
    if prompt is not None and more_words:
        words = " ".join([prompt, *more_words])
        raise typer.BadParameter(f'put the prompt in quotes: sketchbridge image "{words}"', param_hint="PROMPT")
    from backend.commands.image import run_image_command
    from backend.commands.job_command import JobCommand

    settings = given_settings(
        prompt=prompt,
        prior=prior,
        steps=steps,
        seed=seed,
        count=count,
        variable=variable,
        device=device,
        method=method,
        guidance_scale=guidance_scale,
        bridge_start=bridge_start,
        source_suffix=source_suffix,
        target_suffix=target_suffix,
    )
    raise typer.Exit(run_image_command(JobCommand(settings, output, run_dir, resume), as_json))


def edit(
    picture: PictureArgument = None,
    more_words: MoreWords = None,
    source_prompt: Annotated[
        str | None, typer.Option("--from", metavar="PROMPT", help="What the picture shows, in quotes.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--to", metavar="PROMPT", help="What it is to show instead, in quotes.")
    ] = None,
    output: PictureOutputOption = None,
    resume: ResumeOption = None,
    steps: PictureStepsOption = None,
    seed: SeedOption = None,
    run_dir: RunDirOption = None,
    prior: PriorOption = None,
    method: Annotated[
        EditMethodName | None,
        typer.Option(
            help="dds, delta denoising, keeps what the two prompts have in common; bridge goes further. Default: dds.",
            show_default=False,
            rich_help_panel="Model and method",
        ),
    ] = None,
    guidance_scale: GuidanceScaleOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Changes in a picture what differs between two sentences.

    [bold]Examples[/bold]

      sketchbridge edit mug.png --from "a red mug" --to "a blue mug" -o blue-mug.png
      sketchbridge edit mug.jpg --from "a red mug" --to "a red vase" -o vase.png --method bridge
      sketchbridge edit --resume runs/2026-11-23-a-blue-mug

    [bold]Ctrl+C[/bold] stops after the current step, keeps the state and the picture so far, and says how to go on.

    [bold]Exit codes[/bold]: 0 done, 2 wrong input (the message says what would be right), 130 stopped, 1 a bug.
    """
    if more_words:
        raise typer.BadParameter(
            f'put each prompt in quotes: sketchbridge edit {picture} --from "a red mug" --to "a blue mug"',
            param_hint="--from and --to",
        )
    from backend.commands.edit import run_edit_command
    from backend.commands.job_command import JobCommand

    settings = given_settings(
        picture=picture,
        source_prompt=source_prompt,
        prompt=prompt,
        prior=prior,
        steps=steps,
        seed=seed,
        device=device,
        method=method,
        guidance_scale=guidance_scale,
    )
    raise typer.Exit(run_edit_command(JobCommand(settings, output, run_dir, resume), as_json))


def paint(
    picture: PictureArgument = None,
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="What it shows, in quotes.", show_default=False)
    ] = None,
    more_words: MoreWords = None,
    output: PictureOutputOption = None,
    resume: ResumeOption = None,
    steps: PictureStepsOption = None,
    seed: SeedOption = None,
    run_dir: RunDirOption = None,
    prior: PriorOption = None,
    source_suffix: SourceSuffixOption = None,
    target_suffix: TargetSuffixOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Makes a painting real: moves it from "PROMPT, painting" to "PROMPT".

    [bold]Examples[/bold]

      sketchbridge paint painting.png "a red mushroom" -o real.png
      sketchbridge paint sketch.jpg "a house" -o house.png --source-suffix ", pencil drawing"
      sketchbridge paint --resume runs/2026-11-23-a-red-mushroom

    [bold]Ctrl+C[/bold] stops after the current step, keeps the state and the picture so far, and says how to go on.

    [bold]Exit codes[/bold]: 0 done, 2 wrong input (the message says what would be right), 130 stopped, 1 a bug.
    """
    if prompt is not None and more_words:
        words = " ".join([prompt, *more_words])
        raise typer.BadParameter(
            f'put the prompt in quotes: sketchbridge paint {picture} "{words}"', param_hint="PROMPT"
        )
    from backend.commands.job_command import JobCommand
    from backend.commands.paint import run_paint_command

    settings = given_settings(
        picture=picture,
        prompt=prompt,
        prior=prior,
        steps=steps,
        seed=seed,
        device=device,
        source_suffix=source_suffix,
        target_suffix=target_suffix,
    )
    raise typer.Exit(run_paint_command(JobCommand(settings, output, run_dir, resume), as_json))


def illusion(
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", help="What each view shows, each in quotes.", show_default=False),
    ] = None,
    output: FolderOutputOption = None,
    resume: ResumeOption = None,
    transform: Annotated[
        TransformName | None,
        typer.Option(
            help="From one view to the next: half a turn (2 prompts), quarter turns (2 to 4), upside down in a mirror "
            "(2), or two transparencies, one of which is turned on the other by quarters (2 to 4). "
            "Default: rotate-180.",
            show_default=False,
        ),
    ] = None,
    steps: PictureStepsOption = None,
    seed: SeedOption = None,
    run_dir: RunDirOption = None,
    prior: PriorOption = None,
    method: MethodOption = None,
    guidance_scale: GuidanceScaleOption = None,
    bridge_start: BridgeStartOption = None,
    source_suffix: SourceSuffixOption = None,
    target_suffix: TargetSuffixOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draws one picture that shows something else when it is turned.

    [bold]Examples[/bold]

      sketchbridge illusion "a red mushroom" "a blue mug" -o illusion
      sketchbridge illusion "a tree" "a rocket" "a cone" --transform rotate-90 -o three
      sketchbridge illusion "a red mug" "a green tree" --transform overlay -o transparencies
      sketchbridge illusion --resume runs/2026-11-23-a-red-mushroom-a-blue-mug

    [bold]Ctrl+C[/bold] stops after the current step, keeps the state and the picture so far, and says how to go on.

    [bold]Exit codes[/bold]: 0 done, 2 wrong input (the message says what would be right), 130 stopped, 1 a bug.
    """
    from backend.commands.illusion import run_illusion_command
    from backend.commands.job_command import JobCommand

    first, others = (prompts[0], prompts[1:]) if prompts else (None, [])
    settings = given_settings(
        prompt=first,
        more_prompts=others or None,
        transform=transform,
        prior=prior,
        steps=steps,
        seed=seed,
        device=device,
        method=method,
        guidance_scale=guidance_scale,
        bridge_start=bridge_start,
        source_suffix=source_suffix,
        target_suffix=target_suffix,
    )
    raise typer.Exit(run_illusion_command(JobCommand(settings, output, run_dir, resume), as_json))
