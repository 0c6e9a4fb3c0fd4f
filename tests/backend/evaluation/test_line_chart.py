"""Lines as SVG: drawn where their numbers say, refused where they are none."""

import xml.etree.ElementTree as ElementTree

import pytest

from backend.evaluation.line_chart import HEIGHT, WIDTH, Chart, Line, round_ticks

SVG = "{http://www.w3.org/2000/svg}"


def chart(*lines, **parts):
    return Chart("A <title>", "time", "size", [0.0, 1.0, 3.0], lines, **parts)


def points(element):
    return [tuple(map(float, point.split(","))) for point in element.get("points").split()]


def test_places_and_values_are_to_scale():
    root = ElementTree.fromstring(chart(Line("a", [0.0, 5.0, 10.0])).svg())

    (x0, y0), (x1, y1), (x2, y2) = points(root.find(f"{SVG}polyline"))
    assert x1 - x0 == pytest.approx((x2 - x0) / 3, abs=0.2)
    assert y0 - y1 == pytest.approx((y0 - y2) / 2, abs=0.2)
    assert 0 < x0 < x2 < WIDTH
    assert 0 < y2 < y0 < HEIGHT


def test_a_band_lies_around_its_line():
    root = ElementTree.fromstring(chart(Line("a", [2.0, 2.0, 2.0], [1.0, 1.0, 1.0], [4.0, 4.0, 4.0])).svg())

    line, band = (points(root.find(f"{SVG}{name}")) for name in ("polyline", "polygon"))
    heights = [y for _, y in band]
    assert min(heights) < line[0][1] < max(heights)
    assert len(band) == 6


def test_words_are_escaped_and_every_line_is_named():
    text = chart(Line("a & b", [1.0, 2.0, 3.0]), Line("c", [1.0, 1.0, 1.0])).svg()

    assert "A &lt;title&gt;" in text
    assert "a &amp; b" in text
    assert len(ElementTree.fromstring(text).findall(f"{SVG}polyline")) == 2


def test_a_legend_of_many_names_stays_inside():
    lines = [Line(f"a rather long name, number {number}", [1.0, 2.0, 3.0]) for number in range(5)]

    boxes = ElementTree.fromstring(chart(*lines).svg()).findall(f"{SVG}rect")[1:]  # the first is the ground

    assert len(boxes) == 5
    assert max(float(box.get("x")) for box in boxes) < WIDTH - 100
    assert len({box.get("y") for box in boxes}) > 1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.25, 0.5, 0.75, 1.0]),
        (0.0, 38.0, [0.0, 10.0, 20.0, 30.0, 40.0]),
        (0.78, 1.15, [0.7, 0.8, 0.9, 1.0, 1.1, 1.2]),
        (2.0, 2.0, [2.0, 2.5]),
    ],
)
def test_ticks_are_round_and_enclose_the_range(low, high, expected):
    assert round_ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, float("nan"), 2.0]])
def test_lines_without_one_number_for_each_place_are_refused(values):
    with pytest.raises(ValueError, match="the line 'a'"):
        chart(Line("a", values)).svg()
