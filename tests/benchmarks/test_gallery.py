"""The gallery's page, its files, and the README's picture. No mesh is made."""

from __future__ import annotations

import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from painted_glb import made_mesh

from backend.appearance.mesh_files import read_mesh_file
from backend.evaluation.mesh_scores import SurfaceFacts, ViewScores
from backend.evaluation.volume_overlap import VolumeOverlap
from benchmarks import gallery
from benchmarks.gallery import Exhibit, contact_sheet, gallery_html, three_quarter_view
from benchmarks.mesh_quality import JudgedMesh
from benchmarks.mesh_runs import MeshRun


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attributes)
        if "href" in values:
            self.links.append(values["href"] or "")
        if "src" in values:
            self.images.append(values["src"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def chair(**changes) -> JudgedMesh:
    mesh = JudgedMesh(
        run=MeshRun("purple", "chair"),
        seconds=165.0,
        cpu_seconds=140.0,
        views=ViewScores(0.875, 1.0, "chair"),
        overlap=VolumeOverlap(0.71, 2.0, 1.0),
        parts={"legs": 3, "tunnels": 0, "backs": 1},
        surface=SurfaceFacts(20_124, True, 1, 0.0),
        saturation=0.7,
    )
    return replace(mesh, **changes)


def shown(mesh: JudgedMesh) -> Exhibit:
    return Exhibit(mesh.run.prompt, f"{mesh.run.colour}-{mesh.run.shape}", 1_234_567, mesh)


def test_a_card_shows_the_turntable_the_command_the_file_and_the_scores():
    page = Page(gallery_html([shown(chair())]))

    assert page.images == ["purple-chair.gif"]
    assert set(page.links) == {"purple-chair.glb"}
    assert '.venv/bin/sketchbridge text "a purple chair" -o purple-chair.glb' in page.text
    for words in (
        "20,124 faces",
        "2:45 min",
        "shape 88%",
        "colour 100%",
        "IoU 0.71",
        "legs 3/4",
        "backs 1/1",
        "1.2 MB",
    ):
        assert words in page.text


def test_the_page_needs_no_script_and_nothing_from_elsewhere():
    html = gallery_html([shown(chair()), shown(chair(run=MeshRun("orange", "mug"), parts={"tunnels": 1}))])

    assert not {"script", "link", "iframe"} & Page(html).tags
    assert "http" not in html
    assert "url(" not in html


def test_what_misses_its_bar_is_marked_and_what_is_absent_as_expected_is_not_shown():
    html = gallery_html([shown(chair())])

    assert '<li class="poor">legs <b>3/4</b></li>' in html
    assert '<li class="good">backs <b>1/1</b></li>' in html
    assert "tunnels" not in html
    assert '<li class="good">handles <b>1/1</b></li>' in gallery_html(
        [shown(chair(run=MeshRun("orange", "mug"), parts={"tunnels": 1}))]
    )


def test_the_command_names_a_quality_other_than_the_default():
    assert shown(chair(run=MeshRun("purple", "chair", 0, "draft"))).command.endswith(" --quality draft")


def test_an_exhibit_is_two_files_that_are_made_again_only_for_another_mesh(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "TURNTABLE_PIXELS", 32)
    (tmp_path / "made").mkdir()
    (tmp_path / "gallery").mkdir()
    star = made_mesh("yellow", "star", tmp_path / "made")

    first = gallery.exhibit(star, tmp_path / "gallery")
    gif = tmp_path / "gallery" / "yellow-star.gif"
    with Image.open(gif) as animation:
        assert (animation.n_frames, animation.size) == (40, (32, 32))
    gif.write_bytes(b"kept")
    second = gallery.exhibit(star, tmp_path / "gallery")

    assert (tmp_path / "gallery" / "yellow-star.glb").read_bytes() == star.path.read_bytes()
    assert gif.read_bytes() == b"kept"
    assert first == second

    heart = replace(star, path=made_mesh("pink", "heart", tmp_path / "made").path)
    gallery.exhibit(heart, tmp_path / "gallery")
    assert gif.read_bytes() != b"kept"


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (6, 6, 1), (7, 4, 2), (18, 6, 3)])
def test_the_contact_sheet_has_a_place_for_every_view(count, columns, rows):
    view = np.zeros((48, 48, 4), dtype=np.uint8)
    view[10:40, 10:40] = (200, 30, 30, 255)

    sheet = contact_sheet([("red cube", view)] * count)

    assert sheet.size == (columns * 48 + 32, rows * (48 + 26) + 32)
    colours = np.asarray(sheet).reshape(-1, 3)
    assert int((colours == (200, 30, 30)).all(axis=1).sum()) == count * 30 * 30


def test_a_three_quarter_view_shows_the_whole_mesh_before_the_soft_background(tmp_path):
    view = three_quarter_view(read_mesh_file(made_mesh("blue", "car", tmp_path).path), pixels=48)

    coverage = view[..., 3]
    assert 0.1 < coverage.mean() / 255 < 0.7
    assert not np.concatenate([coverage[0], coverage[-1], coverage[:, 0], coverage[:, -1]]).any()
    red, _, blue = view[coverage == 255][:, :3].mean(axis=0)
    assert blue > 2 * red
    assert view[0, 0, :3].tolist() == [242, 242, 240]
