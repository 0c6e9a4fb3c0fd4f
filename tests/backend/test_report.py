"""report.html holds everything itself, and nothing that a user wrote becomes markup."""

import html.parser
import re

import numpy as np
import pytest

from backend.report import Report, _linear_ticks, _log_ticks, _short_number, evenly_picked, report_html, write_report
from backend.run_folder import RunFolder

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


class _Tags(html.parser.HTMLParser):
    """Collects what a browser would take for elements, and checks that they are closed in order."""

    EMPTY = ("meta", "img", "line", "polyline")

    def __init__(self):
        super().__init__()
        self.found, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def tags_of(page):
    parser = _Tags()
    parser.feed(page)
    assert parser.open == []
    return parser.found


def metrics_lines(count=60, name="area"):
    return [
        {
            "step": step,
            "stage": "SDS" if step < 40 else "bridge",
            "gradient_norm": 1.0 + step % 3,
            "losses": {name: 0.1 * step},
            "faces": 100 + step,
            "steps_per_second": 5.0,
            "seconds": {"prior": 0.075, "render": 0.025},
        }
        for step in range(1, count + 1)
    ]


def a_report(**changes):
    given = {"prompt": "a red mushroom", "created": "2026-11-23T13:45:00+00:00", "step": 60, "total": 60}
    return Report(**{**given, "elapsed_seconds": 61.0, "metrics": metrics_lines(), **changes})


def test_nothing_a_user_wrote_becomes_markup():
    page = report_html(
        a_report(
            prompt=HOSTILE,
            settings={"prompt": HOSTILE, HOSTILE: 1},
            resolved={"distillation": {"source_suffix": HOSTILE}},
            versions={"platform": HOSTILE, "device": HOSTILE},
            notices=[{"step": HOSTILE, "text": HOSTILE}],
            files=[(HOSTILE, 3)],
            metrics=[*metrics_lines(name=HOSTILE), {"step": 61, "stage": HOSTILE, "seconds": {HOSTILE: 1.0}}],
        )
    )

    found = tags_of(page)
    assert {tag for tag, _ in found}.isdisjoint({"script", "iframe", "object", "link"})
    assert not any(name.startswith("on") for _, attributes in found for name in attributes)
    assert [attributes for tag, attributes in found if tag == "img"] == []
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_page_needs_nothing_from_elsewhere():
    page = report_html(a_report(turntable="data:image/gif;base64,R0lGOD", previews=[(1, "data:image/jpeg;base64,AA")]))

    found = tags_of(page)
    sources = [attributes["src"] for _, attributes in found if "src" in attributes]
    assert len(sources) == 2
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"https?://|@import|url\(", page)
    policy = next(attributes["content"] for tag, attributes in found if "http-equiv" in attributes)
    assert "default-src 'none'" in policy


def test_curves_timings_and_the_stage_are_there():
    page = report_html(a_report())

    for title in ("gradient norm", "area", "steps per second", "faces"):
        assert f"<b>{title}</b>" in page
    assert page.count("<svg") == 4
    assert ">bridge</text>" in page
    assert "75.0 ms" in page  # 0.075 s of every step, of 0.1 s in all
    assert "75 %" in page


def test_a_stopped_run_says_so():
    assert "stopped at 12" in report_html(a_report(step=12))
    assert "stopped at" not in report_html(a_report())


@pytest.mark.parametrize(
    "metrics",
    [
        [],
        [{"step": 1}],
        [{"step": 1, "gradient_norm": None}, {"step": 2, "gradient_norm": None}],
        [{"step": 1, "gradient_norm": 0.0}, {"step": 2, "gradient_norm": 0.0}],
        [{"step": 1, "gradient_norm": 1e-9}, {"step": 2, "gradient_norm": 1e9}, {"step": 3, "gradient_norm": 5.0}],
        [{"step": 5, "losses": None, "seconds": None}, {"step": 6, "losses": {"x": -2.0}}],
        [{"step": 5, "losses": {"x": 3}}, {"step": 6, "losses": {"x": 3}}],
    ],
)
def test_odd_metrics_still_make_a_page(metrics):
    page = report_html(a_report(metrics=metrics))

    tags_of(page)
    assert "nan" not in page.lower().replace("nan-", "")


def test_a_run_folder_becomes_a_report(tmp_path):
    with RunFolder.create(tmp_path, task="text", title="x", settings={"prompt": "a <b>red</b> cone"}) as run:
        for line in metrics_lines():
            run.add_metrics(line)
        for step in range(1, 40):
            run.add_preview(np.full((2, 16, 16, 3), step, dtype=np.uint8), step)
        run.notice("something happened", 3)
        (run.path / "mesh.glb").write_bytes(b"12345")
        (run.path / "previews" / "step-000039.png").write_bytes(b"torn")

        page = write_report(run, 60, 60, 9.0).read_text()

    tags_of(page)
    assert "<h1>a &lt;b&gt;red&lt;/b&gt; cone</h1>" in page
    assert page.count("data:image/jpeg") == 11  # twelve of the 39 previews, of which the torn one is left out
    assert '<a href="mesh.glb">' in page
    assert "something happened" in page


def test_evenly_picked_keeps_both_ends():
    assert evenly_picked(list(range(100)), 4) == [0, 33, 66, 99]
    assert evenly_picked([1, 2], 4) == [1, 2]


def test_ticks_are_round_and_enclose_the_values():
    assert _linear_ticks(0.3, 3.6) == [0, 1, 2, 3, 4]
    assert _linear_ticks(5.0, 5.0)[0] < 5.0 < _linear_ticks(5.0, 5.0)[-1]
    assert _log_ticks(0.02, 300.0) == [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]
    assert [_short_number(value) for value in (0.0, 12_000.0, 0.035, 1.2e-7, 7500.0)] == [
        "0",
        "12k",
        "0.035",
        "1.2e-7",
        "7500",
    ]
