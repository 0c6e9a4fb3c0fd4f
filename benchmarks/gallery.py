"""One mesh of every shape on a page to look at: gallery/index.html with turntables, commands, GLBs and scores.

    python benchmarks/gallery.py [--only mug chair] [--contact-sheet] [--made-only]

The meshes are those of seed 0 of benchmarks/mesh_quality.py, so nothing is made twice; none is picked or left out.
`--contact-sheet` also renews docs/pictures/contact-sheet.png, the picture of the README.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent)]

from backend.appearance.mesh_files import MeshFile, read_mesh_file  # noqa: E402
from backend.cameras import turntable_cameras  # noqa: E402
from backend.durable_files import write_whole_file  # noqa: E402
from backend.readable import readable_bytes, readable_seconds  # noqa: E402
from backend.render.rasteriser import choose_rasteriser  # noqa: E402
from backend.render.renderer import render_views  # noqa: E402
from backend.render.shading import headlight  # noqa: E402
from backend.turntable import render_turntable, write_gif  # noqa: E402
from backend.warm_up import compile_kernels  # noqa: E402
from benchmarks.mesh_quality import (  # noqa: E402
    EXPECTED_PARTS,
    TRAINED_PAIRS,
    JudgedMesh,
    appearance_of,
    judge,
    made_or_told,
    part_name,
    progress_line,
)
from benchmarks.mesh_runs import MadeMesh, MeshRun  # noqa: E402
from tools.embedded_world.shapes import SHAPE_NAMES  # noqa: E402

GALLERY = FOLDER.parent / "gallery"
CONTACT_SHEET = FOLDER.parent / "docs" / "pictures" / "contact-sheet.png"
TURNTABLE_PIXELS = 256
SHEET_COLUMNS = 6
SHEET_PIXELS = 192
SHEET_LABEL_PIXELS = 26
SHEET_SUPERSAMPLE = 3
SHEET_BACKGROUND = (0.949, 0.949, 0.941)
SHEET_INK = (84, 88, 96)


@dataclass(frozen=True)
class Exhibit:
    """What the page shows of one mesh; the files lie beside the page."""

    prompt: str
    name: str
    """Of the files NAME.glb and NAME.gif."""
    glb_bytes: int
    judged: JudgedMesh

    @property
    def command(self) -> str:
        quality = "" if self.judged.run.quality == "normal" else f" --quality {self.judged.run.quality}"
        return f'.venv/bin/sketchbridge text "{self.prompt}" -o {self.name}.glb{quality}'


def main() -> None:
    arguments = parsed_arguments()
    torch.set_num_threads(1)
    compile_kernels()
    GALLERY.mkdir(exist_ok=True)
    pairs = [pair for pair in TRAINED_PAIRS if pair[1] in arguments.only]
    exhibits, sheet_views = [], []
    for number, (colour, shape) in enumerate(pairs, start=1):
        run = MeshRun(colour, shape, 0, arguments.quality)
        made = made_or_told(run, arguments.made_only, f"[{number}/{len(pairs)}]")
        if made is None:
            continue
        exhibits.append(exhibit(made, GALLERY))
        # After each, so that there is a page to look at from the first mesh on.
        write_whole_file(GALLERY / "index.html", gallery_html(exhibits).encode())
        if arguments.contact_sheet:
            sheet_views.append((f"{colour} {shape}", three_quarter_view(read_mesh_file(made.path))))
        print(f"[{number}/{len(pairs)}] {progress_line(exhibits[-1].judged)}", flush=True)
    if not exhibits:
        sys.exit("none of these meshes has been made; leave --made-only out to make them")
    if arguments.contact_sheet:
        contact_sheet(sheet_views).save(CONTACT_SHEET, optimize=True)
    print(f"Open {GALLERY / 'index.html'}")


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(SHAPE_NAMES), choices=SHAPE_NAMES, metavar="SHAPE")
    parser.add_argument("--quality", default="normal", choices=("draft", "normal", "high"))
    parser.add_argument("--made-only", action="store_true", help="show what is there, make nothing")
    parser.add_argument("--contact-sheet", action="store_true", help="also renew the picture of the README")
    return parser.parse_args()


def exhibit(made: MadeMesh, folder: Path) -> Exhibit:
    """Puts a mesh and its turntable into the folder, unless this very mesh lies there, and judges it."""
    name = f"{made.run.colour}-{made.run.shape}"
    glb, gif = folder / f"{name}.glb", folder / f"{name}.gif"
    is_new = not (glb.exists() and gif.exists() and glb.read_bytes() == made.path.read_bytes())
    if is_new:
        gif.unlink(missing_ok=True)  # last of the two, so an interrupted run leaves no turntable of another mesh
        shutil.copyfile(made.path, glb)
        read = read_mesh_file(glb)
        rasteriser = choose_rasteriser(torch.device("cpu"))
        write_gif(gif, render_turntable(rasteriser, read.mesh, appearance_of(read), resolution=TURNTABLE_PIXELS))
    return Exhibit(made.run.prompt, name, glb.stat().st_size, judge(made))


# ---------------------------------------------------------------------- the page


def gallery_html(exhibits: Sequence[Exhibit]) -> str:
    """The whole page. It names no file but NAME.gif and NAME.glb of the exhibits, and needs no network."""
    judged = [each.judged for each in exhibits]
    seconds = float(np.median([mesh.seconds for mesh in judged]))
    facts = [
        (str(len(exhibits)), "prompts, one mesh each"),
        (f"{np.mean([mesh.views.shape for mesh in judged]):.0%}", "of views show the shape"),
        (f"{np.mean([mesh.views.colour for mesh in judged]):.0%}", "of views show the colour"),
        (readable_seconds(seconds), "minutes for one, the median"),
    ]
    return _PAGE.format(
        style=_STYLE,
        facts="".join(f"<div><dt>{text}</dt><dd>{value}</dd></div>" for value, text in facts),
        cards="\n".join(_card(each) for each in exhibits),
    )


def _card(each: Exhibit) -> str:
    mesh = each.judged
    title = escape(each.prompt)
    file = escape(each.name, quote=True)
    scores = [
        ("shape", f"{mesh.views.shape:.0%}", mesh.views.shape >= 0.8),
        ("colour", f"{mesh.views.colour:.0%}", mesh.views.colour >= 0.9),
        ("IoU", f"{mesh.overlap.iou:.2f}", mesh.overlap.iou >= 0.6),
        *_part_scores(mesh),
    ]
    badges = "".join(
        f'<li class="{"good" if is_good else "poor"}">{escape(name)} <b>{escape(value)}</b></li>'
        for name, value, is_good in scores
    )
    facts = f"{mesh.surface.faces:,} faces <i>·</i> {readable_seconds(mesh.seconds)} min"
    return (
        f'<article><a class="picture" href="{file}.glb" download>'
        f'<img src="{file}.gif" width="{TURNTABLE_PIXELS}" height="{TURNTABLE_PIXELS}" alt="{title}, turning" '
        f'loading="lazy"></a>'
        f"<h2>{title}</h2><p>{facts}</p><ul>{badges}</ul><code>{escape(each.command)}</code>"
        f'<a class="download" href="{file}.glb" download>{file}.glb <span>{readable_bytes(each.glb_bytes)}</span></a>'
        "</article>"
    )


def _part_scores(mesh: JudgedMesh) -> list[tuple[str, str, bool]]:
    """Name, found / expected, right or not, of the parts that the shape has or has too many of."""
    expected = EXPECTED_PARTS[mesh.run.shape]
    return [
        (part_name(mesh.run.shape, part), f"{found}/{expected[part]}", found == expected[part])
        for part, found in mesh.parts.items()
        if expected[part] or found
    ]


_STYLE = """
:root { --page: #141518; --card: #1d1f23; --ink: #ecedef; --soft: #9a9fa8; --line: #2c2f35; --accent: #f0a35e;
  --good: #8fce9b; --poor: #ef8d7c; color-scheme: dark; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1320px; margin: 0 auto; padding: 72px 28px 96px; }
h1 { font-size: clamp(32px, 4.6vw, 52px); line-height: 1.08; font-weight: 660; letter-spacing: -.025em;
  margin: 0 0 16px; max-width: 18em; text-wrap: balance; }
.lead { color: var(--soft); font-size: 17px; max-width: 44em; margin: 0 0 36px; }
.lead code { color: var(--ink); }
dl { display: flex; flex-wrap: wrap; gap: 16px 56px; margin: 0 0 48px; padding: 22px 0; border: solid var(--line);
  border-width: 1px 0; }
dl div { display: flex; flex-direction: column-reverse; }
dt { color: var(--soft); font-size: 13px; }
dd { margin: 0; font-size: 26px; font-weight: 620; letter-spacing: -.01em; font-variant-numeric: tabular-nums; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(270px, 100%), 1fr)); gap: 22px; }
article { display: flex; flex-direction: column; background: var(--card); border: 1px solid var(--line);
  border-radius: 16px; overflow: hidden; padding-bottom: 18px; }
article > :not(.picture) { margin-left: 18px; margin-right: 18px; }
.picture { display: block; background: #e7e8eb; }
.picture img { display: block; width: 100%; height: auto; aspect-ratio: 1; }
h2 { font-size: 19px; font-weight: 620; letter-spacing: -.01em; margin: 16px 0 0; }
article p { color: var(--soft); font-size: 13px; margin-top: 2px; margin-bottom: 12px;
  font-variant-numeric: tabular-nums; }
i { font-style: normal; opacity: .5; padding: 0 3px; }
ul { list-style: none; padding: 0; margin-top: 0; margin-bottom: 14px; display: flex; flex-wrap: wrap; gap: 6px; }
li { font-size: 12px; color: var(--soft); border: 1px solid var(--line); border-radius: 99px; padding: 1px 9px; }
li b { font-weight: 600; font-variant-numeric: tabular-nums; }
.good b { color: var(--good); } .poor b { color: var(--poor); }
code { font: 12.5px/1.5 ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, monospace; }
article code { display: block; background: #121316; border: 1px solid var(--line); border-radius: 8px;
  padding: 9px 12px; overflow-wrap: anywhere; user-select: all; -webkit-user-select: all; margin-top: auto; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.download { font-size: 13px; margin-top: 12px; } .download span { color: var(--soft); }
footer { color: var(--soft); font-size: 13px; margin-top: 48px; max-width: 62em; }
@media (max-width: 520px) { main { padding: 40px 16px 64px; } dl { gap: 14px 32px; } }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sketchbridge: a gallery</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>One sentence in, a textured mesh out.</h1>
<p class="lead">Each object below came from the words under it and one command, with the model that ships with the
package: no GPU needed, nothing to download, seed 0, the first try of each. Nothing was picked or retouched. Click a
command to select it, paste it, change the words.</p>
<dl>{facts}</dl>
<div class="grid">
{cards}
</div>
<footer>Shape and colour: share of eight views that a classifier, which no optimisation sees, names as asked. IoU:
volume shared with the world&#8217;s own mesh of that name. Parts: found / expected, counted on the solid. Red marks
what misses its bar: 80 % of views for the shape, 90 % for the colour, an IoU of 0.60, every part as often as
expected.</footer>
</main>
</body>
</html>
"""


# ---------------------------------------------------------------------- the README's picture


@torch.no_grad()
def three_quarter_view(read: MeshFile, pixels: int = SHEET_PIXELS) -> np.ndarray:
    """The mesh from the front right and a little above, with its coverage: uint8 [height, width, 4]."""
    cameras = turntable_cameras(1, elevation_degrees=20.0, framing=1.2, first_azimuth_degrees=32.0)
    views = render_views(
        choose_rasteriser(torch.device("cpu")),
        read.mesh,
        appearance_of(read),
        cameras,
        pixels,
        lighting=headlight(cameras, ambient=0.45),
        background=torch.tensor(SHEET_BACKGROUND),
        supersample=SHEET_SUPERSAMPLE,
    )
    picture = torch.cat([views.images, views.masks], dim=-1)[0]
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def contact_sheet(views: Sequence[tuple[str, np.ndarray]], columns: int = SHEET_COLUMNS) -> Image.Image:
    """Labelled views in a grid, each on a soft shadow. Views are uint8 [size, size, 4] over SHEET_BACKGROUND.

    Args:
        columns: At most so many.
    """
    size, margin = views[0][1].shape[0], 16
    height = size + SHEET_LABEL_PIXELS
    rows = -(-len(views) // columns)
    columns = -(-len(views) // rows)  # rows of one length, as far as that goes
    sheet = Image.new("RGB", (columns * size + 2 * margin, rows * height + 2 * margin), _bytes(SHEET_BACKGROUND))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for place, (label, view) in enumerate(views):
        left, top = margin + place % columns * size, margin + place // columns * height
        mask = Image.fromarray(view[..., 3])
        _draw_shadow(sheet, mask, left, top)
        sheet.paste(Image.fromarray(np.ascontiguousarray(view[..., :3])), (left, top), mask)
        draw.text((left + size / 2, top + size + 16), label, fill=SHEET_INK, font=font, anchor="ms")
    return sheet


def _draw_shadow(sheet: Image.Image, mask: Image.Image, left: int, top: int) -> None:
    """A blurred ellipse under the lowest covered pixels."""
    box = mask.getbbox()
    if box is None:
        return
    shadow = Image.new("L", mask.size, 0)
    middle, reach, foot = (box[0] + box[2]) / 2, (box[2] - box[0]) * 0.42, min(box[3] - 4, mask.height - 12)
    ImageDraw.Draw(shadow).ellipse((middle - reach, foot - 7, middle + reach, foot + 7), fill=70)
    shadow = shadow.filter(ImageFilter.GaussianBlur(6))
    sheet.paste((60, 62, 70), (left, top, left + mask.width, top + mask.height), shadow)


def _bytes(colour: tuple[float, float, float]) -> tuple[int, int, int]:
    red, green, blue = (round(255 * value) for value in colour)
    return red, green, blue


if __name__ == "__main__":
    main()
