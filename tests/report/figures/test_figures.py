"""Every kind of figure: what is written on it, how much of it is drawn, and its bytes."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image as mpl_image
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from bench.errors import BenchError, require_suffix
from bench.report.figures.data import (
    Axis,
    Bars,
    Chart,
    Estimate,
    Estimates,
    Frame,
    Histograms,
    Journey,
    Panel,
    Point,
    Regions,
    Scatter,
    Series,
    Spot,
    Strip,
    Strips,
    Trajectories,
)
from bench.report.figures.estimates import estimates
from bench.report.figures.files import SUFFIXES, encode
from bench.report.figures.histograms import histograms
from bench.report.figures.lines import lines
from bench.report.figures.plane import plane
from bench.report.figures.regions import nearest, regions
from bench.report.figures.scatter import scatter
from bench.report.figures.strips import mark, pixels, shortened, strips
from bench.report.figures.style import COLOURS, MARKERS, RIGHT, WRONG
from bench.stats import Figure

CAPTION = "patches, subset 512, linf:8/255, preset quick, n = 64 images."
SHARE = Figure(0.5, 0.375, 0.75)


def series(label: str, *xs: float, aside: bool = False) -> Series:
    return Series(label, tuple(Point(x, SHARE) for x in xs), aside=aside)


CHART = Chart(
    (Panel("", (series("adp, bpda", 1, 5, 10), series("adp, clean", 1, 5, aside=True))),),
    Axis("steps of adp"),
    "accuracy (%)",
    CAPTION,
)
SPOTS = tuple(Spot(f"row-{n}@natural", 1.0 if n < 4 else 10.0 * n, SHARE) for n in range(8))
SCATTER = Scatter(SPOTS, Axis("network calls", log=True), "robust accuracy (%)", CAPTION)


def image(value: float, channels: int = 3) -> np.ndarray:
    return np.full((channels, 4, 4), value, dtype=np.float32)


FRAMES = (
    Frame("clean", image(0.5), "coffee", 0.9),
    Frame("change \N{MULTIPLICATION SIGN} 10", image(0.25)),
    Frame("attacked", image(0.75), "rocket", 0.8, right=False),
    Frame("purified", image(0.5), "coffee", 0.6),
)
STRIPS = Strips(
    (
        Strip("adp@natural", "coffee\n60 % over 10 runs", True, FRAMES),
        Strip("none@natural", "rocket\n80 %", False, FRAMES[:3], purified=False),
    ),
    CAPTION,
)
SAMPLE = np.linspace(0, 1, 64)
BARS = (
    Bars("natural", SAMPLE),
    Bars("attacked", SAMPLE + 1, attacked=True),
    Bars("natural, purified", SAMPLE, purified=True),
    Bars("attacked, purified", SAMPLE + 1, attacked=True, purified=True),
)
HISTOGRAMS = Histograms((("bpda", BARS), ("square", BARS)), "norm of the score (l2)", CAPTION)
JOURNEY = Journey(np.zeros(2), np.array([[1.0, 1.0], [0.5, 0.5]]), (True, False, True))
PLANE = Trajectories((JOURNEY, JOURNEY), ("coffee", "rocket"), CAPTION)
WAYS = (JOURNEY, Journey(np.zeros(2), np.array([[2.0, 0.0], [2.0, 1.0]]), (True, False, False)))
REGIONS = Regions((("pixels", WAYS), ("features", WAYS)), ("bpda", "square"), CAPTION)
NUMBERS = (Estimate("clean", 0.5, 0.4, 0.6), Estimate("bpda", 0.25, 0.2, 0.3, attacked=True))
ESTIMATES = Estimates((("none@natural", NUMBERS), ("none@madry", NUMBERS)), "nats", CAPTION)
DRAWN = {
    "lines": lambda: lines(CHART),
    "scatter": lambda: scatter(SCATTER),
    "strips": lambda: strips(STRIPS),
    "histograms": lambda: histograms(HISTOGRAMS),
    "plane": lambda: plane(PLANE),
    "regions": lambda: regions(REGIONS),
    "estimates": lambda: estimates(ESTIMATES),
}


def legend(figure: Drawing) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("kind", DRAWN)
def test_svg_bytes_are_the_same_each_time(kind: str) -> None:
    first, second = (encode(DRAWN[kind](), ".svg") for _ in range(2))
    assert first == second
    assert b"<svg" in first
    assert b"<dc:date>" not in first


@pytest.mark.parametrize("kind", DRAWN)
def test_the_caption_is_below_everything(kind: str) -> None:
    figure = DRAWN[kind]()
    written = figure.get_supxlabel().replace("\n", " ")
    assert written == CAPTION
    assert encode(figure, ".png").startswith(b"\x89PNG")


def test_lines_have_a_series_each_with_its_interval() -> None:
    figure = lines(CHART)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "steps of adp"
    assert axes.get_ylabel() == "accuracy (%)"
    assert legend(figure) == ["adp, bpda", "adp, clean"]
    first, second = axes.containers
    assert list(first[0].get_xdata()) == [1, 5, 10]
    assert list(first[0].get_ydata()) == [50, 50, 50]
    (bars,) = first[2]
    low, high = bars.get_segments()[0][:, 1]
    assert (low, high) == (37.5, 75)
    assert second[0].get_linestyle() == "--"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "5", "10"]


def test_panels_share_a_legend_and_their_axes() -> None:
    both = (Panel("fog", CHART.panels[0].series), Panel("snow", CHART.panels[0].series))
    figure = lines(replace(CHART, panels=both))
    assert [axes.get_title() for axes in figure.axes] == ["fog", "snow"]
    assert legend(figure) == ["adp, bpda", "adp, clean"]


def test_an_upper_bound_is_hollow() -> None:
    bound = Series("adp", (Point(1, SHARE), Point(2, SHARE, bound=True)))
    figure = lines(replace(CHART, panels=(Panel("", (bound,)),)))
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert [np.asarray(line.get_xdata()).tolist() for line in hollow] == [[2]]


def test_every_series_has_a_look_of_its_own() -> None:
    many = tuple(series(f"row {n}", 1, 2) for n in range(12))
    figure = lines(replace(CHART, panels=(Panel("", many),)))
    looks = {(to_hex(c[0].get_color()), c[0].get_marker()) for c in figure.axes[0].containers}
    assert len(looks) == 12
    assert len({*COLOURS}) * len({*MARKERS}) == 56


def test_a_log_axis_has_its_values_as_ticks() -> None:
    chart = replace(CHART, axis=Axis("eot", log=True, ticks=((1.0, "1"), (10.0, "ten"))))
    (axes,) = lines(chart).axes
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "5", "ten"]


def test_labels_of_points_do_not_overlap() -> None:
    figure = scatter(SCATTER)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    labels = [text for text in axes.texts if text.get_text()]
    assert {label.get_text() for label in labels} == {spot.label for spot in SPOTS}
    boxes = [Text.get_window_extent(label) for label in labels]  # without their lines
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[place + 1 :])
        assert axes.get_window_extent().contains(box.x0, box.y0)
        assert axes.get_window_extent().contains(box.x1, box.y1)


def test_a_strip_shows_pixels_and_says_what_they_are_called() -> None:
    figure = strips(STRIPS)
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 4 + 3
    assert all(axes.images[0].get_interpolation() == "nearest" for axes in shown)
    texts = [text for axes in shown for text in axes.texts]
    assert [text.get_text() for text in texts[:2]] == [
        f"{mark(True)} coffee\n90 %",
        f"{mark(False)} rocket\n80 %",
    ]
    assert [to_hex(text.get_color()).upper() for text in texts[:2]] == [RIGHT, WRONG]
    names = [text.get_text() for axes in figure.axes if not axes.images for text in axes.texts]
    assert names[0] == "adp@natural"
    assert names[1].endswith("60 % over 10 runs")
    # Purified images stand last; a row without a purification ends where it ends.
    places = [axes.get_subplotspec() for axes in shown]
    columns = [place.colspan.start for place in places if place is not None]
    assert columns == [1, 2, 3, 4, 1, 2, 3]


def test_pixels_of_one_channel_are_grey() -> None:
    assert pixels(image(0.5, 1)).shape == (4, 4)
    assert pixels(image(2.0)).max() == 1
    assert shortened("immunohistochemistry", 8) == "immunoh…"
    assert shortened("rocket", 8) == "rocket"


def test_a_png_is_as_large_as_a_column(tmp_path: Path) -> None:
    drawn = mpl_image.imread(io.BytesIO(encode(lines(CHART), ".png")))
    assert drawn.shape[1] == 560


def test_histograms_are_densities_over_common_bins() -> None:
    figure = histograms(HISTOGRAMS)
    assert [axes.get_title() for axes in figure.axes] == ["bpda", "square"]
    assert legend(figure) == [bars.label for bars in BARS]
    assert figure.axes[0].get_xlabel() == "norm of the score (l2)"
    assert figure.axes[0].get_ylabel() == "density"
    heights, edges = np.histogram(SAMPLE, bins=30, range=(0, 2), density=True)
    filled = figure.axes[0].patches[0].get_path().vertices
    assert np.asarray(filled)[:, 1].max() == pytest.approx(heights.max())
    assert np.ptp(np.asarray(filled)[:, 0]) == pytest.approx(edges[-1] - edges[0])


def test_the_plane_has_a_way_and_three_points_for_each_image() -> None:
    figure = plane(PLANE)
    (axes,) = figure.axes
    assert len(axes.lines) == 2
    assert len(axes.collections) == 6
    colours = [np.asarray(points.get_facecolor())[0] for points in axes.collections[:3]]
    faces = [to_hex(tuple(colour)).upper() for colour in colours]
    assert faces == [RIGHT, WRONG, RIGHT]
    assert {text.get_text() for text in axes.texts} == {"coffee", "rocket"}


def test_a_place_counts_as_its_nearest_point() -> None:
    points, right = np.array([[0.0, 0.0], [4.0, 0.0]]), [True, False]
    found = nearest(points, right, np.array([-1.0, 1.9, 2.1, 9.0]), np.array([0.0, 5.0]))
    assert found.tolist() == [[True, True, False, False]] * 2


def test_regions_have_a_way_for_each_attack_and_one_clean_point() -> None:
    figure = regions(REGIONS)
    assert [axes.get_title() for axes in figure.axes] == ["pixels", "features"]
    for axes in figure.axes:
        assert len(axes.lines) == 2
        assert np.asarray(axes.lines[0].get_xdata()).tolist() == [1.0, 0.5]
    assert legend(figure) == ["natural", "bpda", "square", "classified right", "classified wrong"]


def test_estimates_are_bars_with_their_value_and_range() -> None:
    (axes,) = estimates(ESTIMATES).axes
    widths = [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]
    assert widths == [0.5, 0.25, 0.5, 0.25]
    assert [np.asarray(line.get_xdata()).tolist() for line in axes.lines[:2]] == [
        [0.4, 0.6],
        [0.2, 0.3],
    ]
    texts = [text.get_text().strip() for text in axes.texts]
    assert texts == ["none@natural", "0.50", "0.25", "none@madry", "0.50", "0.25"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["clean", "bpda"] * 2


def test_other_suffixes_are_refused() -> None:
    require_suffix(Path("x.svg"), SUFFIXES)
    with pytest.raises(BenchError, match=r"one of \.png, \.svg; did you mean '\.png'"):
        require_suffix(Path("x.pgn"), SUFFIXES)
