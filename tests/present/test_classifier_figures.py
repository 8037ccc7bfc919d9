"""Pictures of classifiers hold what they are given, for two classes and for many."""

import pytest

from tailora.present.classifier_figures import class_bars, confusions, reliability, text_lengths
from tailora.present.figures import save


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_confusion_matrices_are_shares_of_each_line(classes: int) -> None:
    matrix = [[i + j for j in range(classes)] for i in range(classes)]
    figure = confusions({"base": matrix, "tuned": matrix}, [f"$label {i}$" for i in range(classes)])
    first, _ = figure.axes
    shares = first.images[0].get_array()
    assert shares.shape == (classes, classes)
    assert shares.sum(axis=1).tolist() == pytest.approx([1.0] * classes)


def test_a_class_without_rows_is_a_line_of_zeros() -> None:
    (axes,) = confusions({"tuned": [[3, 1], [0, 0]]}, ["a", "b"]).axes
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0.0, 0.0]]


def test_reliability_draws_accuracy_over_confidence() -> None:
    bins = [{"rows": 3, "confidence": 0.4, "accuracy": 0.5}, {"rows": 3, "confidence": 0.9, "accuracy": 1.0}]
    (axes,) = reliability({"base": bins, "tuned": bins}).axes
    assert axes.lines[1].get_xydata().tolist() == [[0.4, 0.5], [0.9, 1.0]]


def test_every_class_has_a_bar_for_each_variant() -> None:
    rows = [{"label": "a", "base": 0.2, "tuned": 0.9}, {"label": "b", "base": None, "tuned": 0.5}]
    (axes,) = class_bars(rows, ["base", "tuned"]).axes
    assert [patch.get_width() for patch in axes.patches] == [0.2, 0, 0.9, 0.5]


def test_nothing_to_draw_is_an_error() -> None:
    for draw in (
        lambda: confusions({}, []),
        lambda: reliability({}),
        lambda: class_bars([], []),
        lambda: text_lengths([], 1),
    ):
        with pytest.raises(ValueError, match="at least one"):
            draw()


def test_pictures_can_be_saved(tmp_path: object) -> None:
    from pathlib import Path

    for number, figure in enumerate((text_lengths([3, 4, 9], 8), confusions({"x": [[1, 0], [0, 1]]}, ["a", "<b>"]))):
        for path in save(figure, Path(str(tmp_path)), f"picture-{number}", [{"a": 1}]):
            assert path.stat().st_size > 0
