"""Pictures of classifiers: confusion, calibration and scores by class, in the manner of `figures`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tailora.present.figures import _BASE, _FAINT, _INK, _ROW, _TUNED, _WIDTH, _calm, _canvas, _key, _label, _name_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_NUMBERED = 12  # classes up to which each cell of a confusion matrix says its number
_MOST_CLASSES = 30


def confusions(matrices: Mapping[str, Sequence[Sequence[int]]], names: Sequence[str]) -> "Figure":
    """Draw confusion matrices side by side: a line for each right class, a column for each predicted one.

    Colours are shares of a line, so that rare classes are seen as well as common ones. Raises ValueError without
    matrices.
    """
    from matplotlib.figure import Figure

    if not matrices:
        raise ValueError("confusion matrices need at least one variant")
    shown = min(len(names), _MOST_CLASSES)
    figure = Figure(figsize=(_WIDTH, 1.3 + min(3.4, max(1.6, 0.36 * shown))), layout="constrained")
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    for place, (axes, (title, matrix)) in enumerate(zip(panels, matrices.items(), strict=True)):
        _draw_confusion(axes, matrix, names if shown == len(names) else None, first=place == 0)
        axes.set_title(_label(title), fontsize=9, color=_INK, loc="left")
    return figure


def _draw_confusion(axes: "Axes", matrix: Sequence[Sequence[int]], names: Sequence[str] | None, *, first: bool) -> None:
    shares = [[count / max(1, sum(line)) for count in line] for line in matrix]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if names is None:
        axes.set_xticks([])
        axes.set_yticks([])
    else:
        axes.set_xticks(range(len(names)), [_label(name) for name in names], rotation=45, ha="right", fontsize=7)
        axes.set_yticks(range(len(names)), [_label(name) for name in names] if first else [], fontsize=7)
    if len(matrix) <= _MOST_NUMBERED:
        for i, line in enumerate(matrix):
            for j, count in enumerate(line):
                colour = "white" if shares[i][j] > 0.5 else _INK
                axes.text(j, i, f"{count:,}", ha="center", va="center", fontsize=7, color=colour)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xlabel("predicted", fontsize=8, color=_INK)
    if first:
        axes.set_ylabel("right", fontsize=8, color=_INK)


def reliability(variants: Mapping[str, Sequence[Mapping[str, float]]]) -> "Figure":
    """Draw accuracy over confidence, a point for each bin of rows; on the diagonal confidence is deserved.

    Each bin holds `rows`, `confidence` and `accuracy`. Raises ValueError without bins.
    """
    if not any(variants.values()):
        raise ValueError("a reliability diagram needs at least one bin")
    figure, axes = _canvas(3.4)
    axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1.2, zorder=1)
    for (name, bins), colour in zip(variants.items(), (_BASE, _TUNED, _INK), strict=False):
        sure, right = ([part[key] for part in bins] for key in ("confidence", "accuracy"))
        axes.plot(sure, right, "o-", color=colour, markersize=4, linewidth=1, label=name)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("mean confidence of a bin of rows")
    axes.set_ylabel("accuracy")
    _key(axes)
    return figure


def class_bars(classes: Sequence[Mapping[str, Any]], variants: Sequence[str]) -> "Figure":
    """Draw the F1 of each class as a bar for each variant; a class that a variant never meets has none.

    Each class holds `label` and, by variant, its F1 or None. Raises ValueError without classes.
    """
    if not classes:
        raise ValueError("bars by class need at least one class")
    shown = classes[:_MOST_CLASSES]
    figure, axes = _canvas(0.8 + _ROW * len(shown))
    height = 0.8 / len(variants)
    for number, (variant, colour) in enumerate(zip(variants, (_BASE, _TUNED, _INK), strict=False)):
        places = [place - 0.4 + height * (number + 0.5) for place in range(len(shown))]
        axes.barh(places, [row[variant] or 0 for row in shown], height=0.9 * height, color=colour, label=variant)
    _name_rows(axes, [row["label"] for row in shown])
    axes.set_xlim(0, 1)
    more = (
        f" ({len(classes) - len(shown)} more classes are in the numbers behind it)" if len(classes) > len(shown) else ""
    )
    axes.set_xlabel(f"F1{more}")
    _calm(axes)
    _key(axes)
    return figure


def text_lengths(lengths: Sequence[int], limit: int) -> "Figure":
    """Draw how long texts are in tokens, with the limit at which they are cut. Raises ValueError without texts."""
    if not lengths:
        raise ValueError("a histogram needs at least one text")
    figure, axes = _canvas(2.6)
    axes.hist(lengths, bins=min(40, max(1, len(set(lengths)))), color=_TUNED, label="texts")
    if limit < 2 * max(lengths):  # a limit far off would only squeeze the picture
        axes.axvline(limit, color=_INK, linewidth=1.2, linestyle="--", label=f"cut at {limit:,}")
    axes.set_xlabel("tokens")
    axes.set_ylabel("rows")
    _key(axes)
    return figure
