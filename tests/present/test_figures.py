"""Pictures hold the numbers they were given, survive odd data, and come out the same twice."""

import csv
import itertools
import math
import re
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from tailora.present import figures

POINTS = [{"step": step, "split": "train", "loss": 3 / step} for step in range(1, 21)] + [
    {"step": 10, "split": "val", "loss": 0.9},
    {"step": 20, "split": "val", "loss": 0.7},
]
SCORES = [
    {"name": "passes", "base": 0.25, "tuned": 0.5, "low": 0.125, "high": 0.375},
    {"name": "parses", "base": 1.0, "tuned": 0.75, "low": -0.5, "high": 0.25},
    {"name": "one row", "base": 0.0, "tuned": 1.0, "low": None, "high": None},
]
WINS = [
    {"name": "passes", "wins": 5, "ties": 3, "losses": 2},
    {"name": "chrF", "wins": 0, "ties": 0, "losses": 4},
]
EVERY = {
    "loss": lambda: figures.loss_curves(POINTS, "nats per token"),
    "comparison": lambda: figures.comparison_bars(SCORES),
    "lengths": lambda: figures.length_histogram([3, 5, 8], [10, 20, 400], limit=64),
    "bars": lambda: figures.bars({"a": 3, "b": 1}, "Counts"),
    "wins": lambda: figures.wins_losses(WINS),
}


def lines(axes):
    return [tuple(map(tuple, line.get_xydata())) for line in axes.lines]


def texts(figure):
    return {text.get_text() for axes in figure.axes for text in axes.texts}


@pytest.mark.parametrize("name", EVERY)
def test_a_figure_is_saved_as_svg_png_and_the_numbers_behind_it(name, tmp_path):
    paths = figures.save(EVERY[name](), tmp_path, name, WINS)
    assert [path.name for path in paths] == [f"{name}.svg", f"{name}.png", f"{name}.csv"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert ElementTree.parse(paths[0]).getroot().tag.endswith("svg")
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    with paths[2].open(newline="") as table:
        assert list(csv.DictReader(table)) == [{key: str(value) for key, value in row.items()} for row in WINS]


@pytest.mark.parametrize("name", EVERY)
def test_the_same_numbers_give_the_same_bytes(name, tmp_path):
    first = figures.save(EVERY[name](), tmp_path / "1", name, [])
    second = figures.save(EVERY[name](), tmp_path / "2", name, [])
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert b"<dc:date>" not in first[0].read_bytes()


@pytest.mark.parametrize("name", EVERY)
def test_no_two_texts_of_a_figure_overlap_and_none_is_cut_off(name):
    figure = EVERY[name]()
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for axes in figure.axes for text in written(axes) if text.get_text()]
    assert len(boxes) > 3
    for one, other in itertools.combinations(boxes, 2):
        apart = one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 or other.y1 <= one.y0
        assert apart, (one, other)
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1 for box in boxes)


def written(axes):
    """Return the texts that these axes show; matplotlib also keeps labels of ticks that are out of sight."""
    yield from axes.texts
    yield from (axes.title, axes._left_title)
    if axes.get_legend():
        yield from axes.get_legend().get_texts()
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_visible():
            yield axis.label
            low, high = sorted(axis.get_view_interval())
            for tick, value in zip(axis.get_major_ticks(), axis.get_majorticklocs(), strict=True):
                if tick.label1.get_visible() and low <= value <= high:
                    yield tick.label1


def test_pyplot_stays_untouched():
    EVERY["loss"]()
    assert "matplotlib.pyplot" not in sys.modules


def test_loss_curves_draw_both_splits_in_step_order_and_name_the_best():
    figure = figures.loss_curves(POINTS[::-1], "nats per row")
    assert figure.axes[0].get_ylabel() == "loss (nats per row)"
    drawn_lines = lines(figure.axes[0])
    assert drawn_lines[0] == tuple((step, 3 / step) for step in range(1, 21))
    assert drawn_lines[1] == ((10, 0.9), (20, 0.7))
    assert drawn_lines[2] == ((20, 0.7),)
    assert texts(figure) == {"best 0.700"}


def test_a_loss_that_is_not_finite_is_a_gap_and_never_the_best():
    figure = figures.loss_curves([*POINTS, {"step": 30, "split": "val", "loss": math.nan}], "nats per token")
    assert texts(figure) == {"best 0.700"}
    assert texts(figures.loss_curves(POINTS[:20], "nats per token")) == set()


def test_the_comparison_draws_dots_differences_and_intervals():
    scores, changes = figures.comparison_bars(SCORES).axes
    dots = [point[0][0] for point in lines(scores) if len(point) == 1]
    assert dots == [0.25, 0.5, 1.0, 0.75, 0.0, 1.0]
    found = [tuple(x for x, _ in line) for line in lines(changes)]
    assert found == [(0.125, 0.375), (0.25,), (-0.5, 0.25), (-0.25,), (1.0,), (0, 0)]
    low, high = changes.get_xlim()
    assert low == -high
    assert high > 1
    assert texts(changes.figure) == {"0.25", "0.50", "1.00", "0.75", "0.00", "+0.250", "−0.250", "+1.000"}


def test_the_histogram_counts_every_row_up_to_its_end_and_says_how_many_are_beyond():
    prompts, answers = list(range(1000)), [1] * 1000
    axes = figures.length_histogram(prompts, answers, limit=500).axes[0]
    heights = sum(bar.get_height() for bar in axes.containers[0])
    assert heights == 1000
    assert "0 of 1,000 rows beyond this axis, the longest 1,000" in axes.get_xlabel()
    assert "limit 500: 500 rows longer" in [text.get_text() for text in axes.get_legend().get_texts()]
    outlier = figures.length_histogram([*prompts, 10**6], [*answers, 1]).axes[0]
    assert "1 of 1,001 rows beyond this axis, the longest 1,000,001" in outlier.get_xlabel()
    assert outlier.get_xlim()[1] < 1200


def test_bars_are_ordered_and_the_rest_is_folded_without_losing_a_count():
    counts = {f"kind {number}": number for number in range(1, 21)}
    axes = figures.bars(counts, "Kinds").axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    widths = [bar.get_width() for bar in axes.containers[0]]
    assert names == [f"kind {number}" for number in range(20, 8, -1)] + ["8 others"]
    assert widths == [*range(20, 8, -1), sum(range(1, 9))]
    assert [label.get_text() for label in figures.bars({"a": 0}, "None").axes[0].get_yticklabels()] == ["a"]


def test_wins_and_losses_are_shares_with_their_counts():
    axes = figures.wins_losses(WINS).axes[0]
    shares = [[bar.get_width() for bar in container] for container in axes.containers]
    assert shares == [[0.5, 0], [pytest.approx(0.3), 0], [pytest.approx(0.2), 1]]
    assert {text.get_text() for text in axes.texts} - {""} == {"5", "3", "2", "4"}


@pytest.mark.parametrize("name", ["$x^{", "$\\foo$", "a\nb\x1b[31m", "n" * 500, "<script>", "100 % & more"])
def test_names_from_data_are_drawn_as_they_are(name, tmp_path):
    figures.save(figures.bars({name: 3, "b": 1}, name), tmp_path, "bars", [])
    figures.save(figures.comparison_bars([{**SCORES[0], "name": name}]), tmp_path, "scores", [])
    assert "<script" not in (tmp_path / "bars.svg").read_text()


def test_cells_that_a_spreadsheet_would_run_get_a_quote_and_numbers_stay_numbers(tmp_path):
    rows = [
        {"=key": text, "n": -1.5}
        for text in ("=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "  =1", "\n=1", "＝1", "\u200b=1", "plain", 'a "b", c')
    ]
    path = figures.save(figures.bars({"a": 1}, "t"), tmp_path, "odd", [*rows, {"late": None}])[2]
    with path.open(newline="") as table:
        cells = list(csv.reader(table))
    assert cells[0] == ["'=key", "n", "late"]
    assert [row[0] for row in cells[1:]] == [
        "'=1+1",
        "'+1",
        "'-1",
        "'@x",
        "'\t=1",
        "'=1",
        "'  =1",
        "'\n=1",
        "'＝1",
        "'=1",
        "plain",
        'a "b", c',
        "",
    ]
    assert {row[1] for row in cells[1:-1]} == {"-1.5"}


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a" * 65])
def test_a_name_that_leaves_its_folder_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match="name of a figure"):
        figures.save(figures.bars({"a": 1}, "t"), tmp_path, name, [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.loss_curves([], "nats per token"),
        lambda: figures.loss_curves([{"step": 1, "split": "train", "loss": math.nan}], "nats per token"),
        lambda: figures.comparison_bars([]),
        lambda: figures.length_histogram([], []),
        lambda: figures.length_histogram([1, 2], [1]),
        lambda: figures.bars({}, "t"),
        lambda: figures.wins_losses([]),
        lambda: figures.wins_losses([{"name": "x", "wins": 0, "ties": 0, "losses": 0}]),
    ],
)
def test_no_data_is_refused_rather_than_drawn_as_an_empty_frame(draw):
    with pytest.raises(ValueError):
        draw()


def test_svg_text_ids_are_not_random(tmp_path):
    svg = figures.save(EVERY["bars"](), tmp_path, "a", [])[0].read_text()
    again = figures.save(EVERY["bars"](), tmp_path, "b", [])[0].read_text()
    assert re.findall(r'id="(.*?)"', svg) == re.findall(r'id="(.*?)"', again)
