"""`sketchbridge submit`: names of options, their help, nothing else. Only typer is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from backend.cli_client_options import (
    DEFAULT_SERVER,
    EXIT_CODES,
    ClientJsonOption,
    KeyOption,
    MeshUpOption,
    ServerOption,
)
from backend.cli_options import (
    BlockoutOption,
    BridgeStartOption,
    DeviceOption,
    GuidanceScaleOption,
    LockOption,
    LookArgument,
    MeshArgument,
    MethodOption,
    MoreWords,
    PictureStepsOption,
    Quality,
    RasteriserOption,
    SeedOption,
    SketchWeightOption,
    SourceSuffixOption,
    StepsOption,
    StrengthOption,
    SymmetryOption,
    TargetSuffixOption,
    TextureSizeOption,
    ToRealOption,
    ViewsOption,
    given_settings,
)

QualityOption = Annotated[
    Quality | None, typer.Option(help="How fine the mesh, how many steps. Default: normal.", show_default=False)
]
FacesOption = Annotated[
    int | None, typer.Option(metavar="N", help="At most so many faces in the result. Default: no limit.")
]
WaitOption = Annotated[bool, typer.Option("--wait", metavar="", help="Watch the job until it ends.")]
ResultOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="With --wait: where to write the result; its suffix chooses the format, as in the local command.",
    ),
]
PriorityOption = Annotated[
    int, typer.Option(metavar="N", help="From -10 to 10: which of your jobs begins first.", rich_help_panel="Server")
]
ServedPriorOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="One of the server's diffusion models, which `sketchbridge status` names. Default: embedded.",
        rich_help_panel="Model and method",
    ),
]
LoraOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="One of the server's adapters of these models.", rich_help_panel="Model and method"
    ),
]
EnvironmentOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="One of the server's lights.", rich_help_panel="Model and method"),
]

submit = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]}
)


@submit.callback()
def _submit() -> None:
    """Gives a job to a server: [bold]text[/bold], [bold]sketch[/bold], [bold]texture[/bold] or [bold]image[/bold].

    Prints the job's id on stdout and ends; with --wait it shows the job until its end, and with -o it fetches the \
result too. The job is on the server's disk: it goes on when you leave, and after the server was started anew.
    """


def _usage(*pieces: str) -> type[typer.core.TyperCommand]:
    """A command whose usage line shows what to type most often, without `more_words`."""

    class Command(typer.core.TyperCommand):
        def collect_usage_pieces(self, ctx: Any) -> list[str]:
            return [*pieces, "[OPTIONS]"]

    return Command


@submit.command(no_args_is_help=True, cls=_usage("PROMPT", "[--wait -o FILE]"), epilog=EXIT_CODES)
def text(
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="What to make, in quotes.", show_default=False)
    ] = None,
    more_words: MoreWords = None,
    waits: WaitOption = False,
    output: ResultOption = None,
    quality: QualityOption = None,
    steps: StepsOption = None,
    seed: SeedOption = None,
    init_mesh: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Begin with this mesh, where it is, instead of a ball around the origin."),
    ] = None,
    up: MeshUpOption = None,
    faces: FacesOption = None,
    symmetry: SymmetryOption = None,
    texture_size: TextureSizeOption = None,
    prior: ServedPriorOption = None,
    lora: LoraOption = None,
    environment: EnvironmentOption = None,
    method: MethodOption = None,
    guidance_scale: GuidanceScaleOption = None,
    bridge_start: BridgeStartOption = None,
    source_suffix: SourceSuffixOption = None,
    target_suffix: TargetSuffixOption = None,
    device: DeviceOption = None,
    rasteriser: RasteriserOption = None,
    priority: PriorityOption = 0,
    server: ServerOption = DEFAULT_SERVER,
    key: KeyOption = None,
    as_json: ClientJsonOption = False,
) -> None:
    """A textured mesh from a sentence.

    [bold]Examples[/bold]

      sketchbridge submit text "a red mushroom"
      sketchbridge submit text "a red mushroom" --wait -o mushroom.glb
      sketchbridge submit text "a mug" --init-mesh blockout.stl --up z --server tcp://gpu-box:5710 --key my.key
    """
    _require_quotes(prompt, more_words, "text")
    settings = given_settings(
        prior=prior,
        lora=lora,
        environment=environment,
        quality=quality,
        steps=steps,
        seed=seed,
        faces=faces,
        symmetry=symmetry,
        texture_size=texture_size,
        method=method,
        guidance_scale=guidance_scale,
        bridge_start=bridge_start,
        source_suffix=source_suffix,
        target_suffix=target_suffix,
        device=device,
        rasteriser=rasteriser,
    )
    given = {"task": "text", "prompt": prompt, "settings": settings, "mesh": init_mesh, "up": up, "waits": waits}
    _run(server, key, as_json, given | {"output": output, "priority": priority})


@submit.command(no_args_is_help=True, cls=_usage("MESH", "PROMPT", "[--wait -o FILE]"), epilog=EXIT_CODES)
def texture(
    mesh: MeshArgument = None,
    prompt: LookArgument = None,
    more_words: MoreWords = None,
    waits: WaitOption = False,
    output: ResultOption = None,
    up: MeshUpOption = None,
    quality: QualityOption = None,
    steps: StepsOption = None,
    seed: SeedOption = None,
    symmetry: SymmetryOption = None,
    texture_size: TextureSizeOption = None,
    prior: ServedPriorOption = None,
    lora: LoraOption = None,
    environment: EnvironmentOption = None,
    method: MethodOption = None,
    guidance_scale: GuidanceScaleOption = None,
    bridge_start: BridgeStartOption = None,
    source_suffix: SourceSuffixOption = None,
    target_suffix: TargetSuffixOption = None,
    device: DeviceOption = None,
    rasteriser: RasteriserOption = None,
    priority: PriorityOption = 0,
    server: ServerOption = DEFAULT_SERVER,
    key: KeyOption = None,
    as_json: ClientJsonOption = False,
) -> None:
    """A new texture from a sentence, for a mesh whose shape, place and size stay as they are.

    The file that is written has the axes of the one that was read, but a GLB, which is Y up always.

    [bold]Examples[/bold]

      sketchbridge submit texture mug.glb "a red mug" --wait -o red-mug.glb
      sketchbridge submit texture print.stl "a green vase" --up z --quality high
    """
    _require_quotes(prompt, more_words, f"texture {mesh}")
    settings = given_settings(
        prior=prior,
        lora=lora,
        environment=environment,
        quality=quality,
        steps=steps,
        seed=seed,
        symmetry=symmetry,
        texture_size=texture_size,
        method=method,
        guidance_scale=guidance_scale,
        bridge_start=bridge_start,
        source_suffix=source_suffix,
        target_suffix=target_suffix,
        device=device,
        rasteriser=rasteriser,
    )
    given = {"task": "texture", "prompt": prompt, "settings": settings, "mesh": mesh, "up": up, "waits": waits}
    _run(server, key, as_json, given | {"output": output, "priority": priority})


@submit.command(no_args_is_help=True, cls=_usage("PROMPT", "[--wait -o FILE]"), epilog=EXIT_CODES)
def image(
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="What to draw, in quotes.", show_default=False)
    ] = None,
    more_words: MoreWords = None,
    waits: WaitOption = False,
    output: ResultOption = None,
    init_picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Begin with the middle square of this picture instead of noise."),
    ] = None,
    steps: PictureStepsOption = None,
    seed: SeedOption = None,
    prior: ServedPriorOption = None,
    lora: LoraOption = None,
    method: MethodOption = None,
    guidance_scale: GuidanceScaleOption = None,
    bridge_start: BridgeStartOption = None,
    source_suffix: SourceSuffixOption = None,
    target_suffix: TargetSuffixOption = None,
    device: DeviceOption = None,
    priority: PriorityOption = 0,
    server: ServerOption = DEFAULT_SERVER,
    key: KeyOption = None,
    as_json: ClientJsonOption = False,
) -> None:
    """A picture from a sentence.

    [bold]Examples[/bold]

      sketchbridge submit image "a red mushroom" --wait -o mushroom.png
      sketchbridge submit image "a red mushroom" --init-picture sketch.jpg
    """
    _require_quotes(prompt, more_words, "image")
    settings = given_settings(
        prior=prior,
        lora=lora,
        steps=steps,
        seed=seed,
        method=method,
        guidance_scale=guidance_scale,
        bridge_start=bridge_start,
        source_suffix=source_suffix,
        target_suffix=target_suffix,
        device=device,
    )
    given = {"task": "image", "prompt": prompt, "settings": settings, "picture": init_picture, "waits": waits}
    _run(server, key, as_json, given | {"output": output, "priority": priority})


@submit.command(
    no_args_is_help=True,
    cls=_usage("PROMPT", "--view SIDE=FILE ...|--mesh FILE", "[--wait -o FILE]"),
    epilog=EXIT_CODES,
)
def sketch(
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="What it is, in quotes.", show_default=False)
    ] = None,
    more_words: MoreWords = None,
    view: ViewsOption = None,
    waits: WaitOption = False,
    output: ResultOption = None,
    mesh: BlockoutOption = None,
    up: MeshUpOption = None,
    strength: StrengthOption = None,
    to_real: ToRealOption = False,
    lock: LockOption = None,
    sketch_weight: SketchWeightOption = None,
    quality: QualityOption = None,
    steps: StepsOption = None,
    seed: SeedOption = None,
    faces: FacesOption = None,
    symmetry: SymmetryOption = None,
    texture_size: TextureSizeOption = None,
    prior: ServedPriorOption = None,
    lora: LoraOption = None,
    environment: EnvironmentOption = None,
    method: MethodOption = None,
    guidance_scale: GuidanceScaleOption = None,
    bridge_start: BridgeStartOption = None,
    source_suffix: SourceSuffixOption = None,
    target_suffix: TargetSuffixOption = None,
    device: DeviceOption = None,
    rasteriser: RasteriserOption = None,
    priority: PriorityOption = 0,
    server: ServerOption = DEFAULT_SERVER,
    key: KeyOption = None,
    as_json: ClientJsonOption = False,
) -> None:
    """A textured mesh that fits drawings and looks like a sentence.

    Drawings are read and checked here, and sent as strokes or as black and white pictures. With --mesh, dist and \
height of a view are metres of the mesh's file.

    [bold]Examples[/bold]

      sketchbridge submit sketch "a red mug" --view front=mug.png --wait -o mug.glb
      sketchbridge submit sketch "a red mug" --view front=front.jpg --view left=left.svg
      sketchbridge submit sketch "a blue car" --mesh blockout.obj --to-real --wait -o car.glb
      sketchbridge submit sketch "a house" --view az=30,el=20@house.png --mesh blockout.obj --strength 0.7
    """
    _require_quotes(prompt, more_words, "sketch")
    settings = given_settings(
        to_real=to_real or None,
        prior=prior,
        lora=lora,
        environment=environment,
        quality=quality,
        steps=steps,
        seed=seed,
        faces=faces,
        symmetry=symmetry,
        texture_size=texture_size,
        method=method,
        guidance_scale=guidance_scale,
        bridge_start=bridge_start,
        source_suffix=source_suffix,
        target_suffix=target_suffix,
        device=device,
        rasteriser=rasteriser,
    )
    given = {"task": "sketch", "prompt": prompt, "settings": settings, "mesh": mesh, "up": up, "waits": waits}
    given |= given_settings(views=tuple(view or ()), strength=strength, sketch_weight=sketch_weight)
    _run(server, key, as_json, given | {"lock": lock, "output": output, "priority": priority})


def _require_quotes(prompt: str | None, more_words: list[str] | None, command: str) -> None:
    if prompt is not None and more_words:
        words = " ".join([prompt, *more_words])
        raise typer.BadParameter(
            f'put the prompt in quotes: sketchbridge submit {command} "{words}"', param_hint="PROMPT"
        )


def _run(server: str, key: Path | None, as_json: bool, given: dict[str, Any]) -> None:
    from backend.commands.server_connection import ServerOptions
    from backend.commands.submit_job import run_submit_command

    up = None if given.get("up") is None else str(given["up"])
    raise typer.Exit(run_submit_command(ServerOptions(server, key, as_json), given | {"up": up}))
