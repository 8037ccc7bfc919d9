"""Pictures of a run: plain numbers in, a matplotlib figure out, saved with the numbers behind it.

Base is grey, tuned is blue, worse is orange: colours that colour-blind readers can tell apart (Okabe & Ito
2008). Figures are made without pyplot: no window, nothing shared between them. Names come from data, so they
are drawn as they are, never as formulas.
"""

import csv
import io
import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tailora.errors import plain
from tailora.files import checked_name, write_bytes, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BASE = "#8C929A"
_TUNED = "#0072B2"
_WORSE = "#D55E00"
_INK = "#30343A"
_FAINT = "#DFE2E6"
_WIDTH = 6.4  # inches, a column of the report
_ROW = 0.38  # inches, one row of a horizontal chart
_MOST_BARS = 12
_LONGEST_LABEL = 28  # characters
_HEADROOM = 1.08

_Filled = TypeVar("_Filled", Sequence[Mapping[str, Any]], Sequence[int], Mapping[str, int])


def loss_curves(points: Sequence[Mapping[str, Any]], unit: str) -> "Figure":
    """Draw the training loss per step as a thin line, validation losses as points with the lowest one named.

    Each point holds `step`, `split` ("train" or "val") and `loss` in the `unit` that the axis names. A loss that is not
    finite leaves a gap. Raises ValueError when there is no finite loss.
    """
    train_steps, train_losses = _curve(points, "train")
    val_steps, val_losses = _curve(points, "val")
    if not any(map(math.isfinite, train_losses + val_losses)):
        raise ValueError("a loss curve needs at least one finite loss")
    figure, axes = _canvas(3.4)
    if train_steps:
        alone = "." if len(train_steps) == 1 else None  # a line needs two
        axes.plot(train_steps, train_losses, color=_BASE, linewidth=0.8, marker=alone, label="training, per step")
    if val_steps:
        axes.plot(val_steps, val_losses, "o-", color=_TUNED, linewidth=1.6, markersize=4.5, label="validation")
        _name_lowest(axes, val_steps, val_losses)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(f"loss ({unit})")
    axes.grid(axis="y", color=_FAINT, linewidth=0.6)
    _key(axes)
    return figure


def comparison_bars(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw base and tuned of each metric as two dots, and beside them their difference with its interval.

    Each row holds `name`, `base` and `tuned` from 0 to 1 (more is better), `low` and `high` of the difference
    (None when it has no interval). A difference whose interval includes zero is grey. Raises ValueError
    without rows.
    """
    figure = _figure(1.0 + _ROW * len(_required(rows, "comparison")))
    scores, changes = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    for axes in (scores, changes):
        _calm(axes)
    for place, row in enumerate(rows):
        _draw_scores(scores, place, row["base"], row["tuned"])
        _draw_change(changes, place, row["tuned"] - row["base"], row["low"], row["high"])
    _name_rows(scores, [row["name"] for row in rows])
    changes.tick_params(axis="y", length=0)
    changes.spines["left"].set_visible(False)
    scores.set_xlim(-0.2, 1.2)  # room for the numbers beside the dots
    scores.set_xticks([0, 0.25, 0.5, 0.75, 1])
    scores.set_xlabel("score")
    reach = max([0.01, *(abs(end) for row in rows for end in _ends(row))]) * _HEADROOM
    changes.set_xlim(-reach, reach)
    changes.axvline(0, color=_INK, linewidth=0.8, zorder=0)
    changes.set_xlabel("tuned − base, 95% CI")
    _key(scores)
    return figure


def length_histogram(
    prompt_lengths: Sequence[int], answer_lengths: Sequence[int], limit: int | None = None
) -> "Figure":
    """Draw how long prompts, answers and both together are, in tokens, and how many rows exceed `limit`.

    The axis ends at the 99th percentile or the limit, whichever is more; longer rows are counted in its
    label. Raises ValueError without rows, or when the two do not pair up.
    """
    import numpy as np

    pairs = zip(_required(prompt_lengths, "histogram"), answer_lengths, strict=True)
    totals = np.array([prompt + answer for prompt, answer in pairs])
    end = max(math.ceil(float(np.quantile(totals, 0.99))), limit or 0, 1) * _HEADROOM
    bins = np.linspace(0, end, 41).tolist()
    figure, axes = _canvas(3.2)
    axes.hist(prompt_lengths, bins, color=_BASE, alpha=0.75, label="prompt")
    axes.hist(answer_lengths, bins, color=_TUNED, alpha=0.75, label="answer")
    axes.hist(totals, bins, histtype="step", color=_INK, linewidth=1.2, label="both")
    if limit is not None:
        over = int((totals > limit).sum())
        axes.axvline(limit, color=_WORSE, linewidth=1.4, linestyle="--", label=f"limit {limit:,}: {over:,} rows longer")
    beyond = int((totals > end).sum())
    axes.set_xlabel(f"tokens ({beyond:,} of {len(totals):,} rows beyond this axis, the longest {totals.max():,})")
    axes.set_ylabel("rows")
    axes.set_xlim(0, end)
    _key(axes)
    return figure


def bars(counts: Mapping[str, int], title: str) -> "Figure":
    """Draw counts as horizontal bars, the largest first; what comes after the twelfth is one bar "n others".

    Raises ValueError without counts.
    """
    ordered = sorted(_required(counts, "bar chart").items(), key=lambda item: (-item[1], item[0]))
    shown, folded = ordered[:_MOST_BARS], ordered[_MOST_BARS:]
    if folded:
        shown.append((f"{len(folded):,} others", sum(count for _, count in folded)))
    figure, axes = _canvas(0.7 + 0.26 * len(shown))
    colours = [_TUNED] * min(len(ordered), _MOST_BARS) + [_BASE] * bool(folded)
    drawn = axes.barh(range(len(shown)), [count for _, count in shown], height=0.7, color=colours)
    axes.bar_label(drawn, [f"{count:,}" for _, count in shown], padding=3, fontsize=8, color=_INK)
    _name_rows(axes, [name for name, _ in shown])
    axes.set_xlim(0, max(1, *(count for _, count in shown)) * 1.12)  # room for the numbers
    axes.set_title(_label(title), fontsize=9, color=_INK, loc="left")
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    return figure


def wins_losses(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw on what share of its rows tuned is better, equal or worse, for each metric, counts inside.

    Each row holds `name`, `wins`, `ties` and `losses`. Raises ValueError without rows, or for a metric of
    zero rows.
    """
    figure, axes = _canvas(0.9 + _ROW * len(_required(rows, "win chart")))
    kinds = [("wins", "tuned better", _TUNED), ("ties", "equal", _FAINT), ("losses", "tuned worse", _WORSE)]
    totals = [sum(row[kind] for kind, _, _ in kinds) for row in rows]
    if 0 in totals:
        raise ValueError(f"{rows[totals.index(0)]['name']} has no wins, ties or losses to draw")
    starts = [0.0] * len(rows)
    for kind, label, colour in kinds:
        shares = [row[kind] / total for row, total in zip(rows, totals, strict=True)]
        drawn = axes.barh(range(len(rows)), shares, left=starts, height=0.66, color=colour, label=label)
        # A segment too narrow for its number stays without; the CSV has it.
        texts = [f"{row[kind]:,}" if share > 0.05 else "" for row, share in zip(rows, shares, strict=True)]
        axes.bar_label(drawn, texts, label_type="center", fontsize=8, color=_INK if kind == "ties" else "white")
        starts = [start + share for start, share in zip(starts, shares, strict=True)]
    _name_rows(axes, [row["name"] for row in rows])
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    axes.set_xlabel("share of test rows")
    _key(axes)
    return figure


def save(figure: "Figure", folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write `<name>.svg`, `<name>.png` and `<name>.csv`, which holds `rows`, the numbers behind; return paths.

    The same figure gives the same bytes under one version of matplotlib. Text that a spreadsheet would take
    for a formula gets a leading quote. Raises RecipeError for a name that is no file name.
    """
    from matplotlib import rc_context

    checked_name(name, "the name of a figure")
    svg, png, table = (folder / f"{name}.{kind}" for kind in ("svg", "png", "csv"))
    picture, pixels = io.StringIO(), io.BytesIO()
    with rc_context({"svg.hashsalt": "tailora"}):  # without salt the ids in the file are random
        figure.savefig(picture, format="svg", metadata={"Date": None})
    figure.savefig(pixels, format="png", dpi=160, metadata={"Software": None})
    write_text(svg, picture.getvalue())
    write_bytes(png, pixels.getvalue())
    write_text(table, _csv(rows))
    return [svg, png, table]


def _curve(points: Sequence[Mapping[str, Any]], split: str) -> tuple[list[int], list[float]]:
    chosen = sorted((point["step"], point["loss"]) for point in points if point["split"] == split)
    return [step for step, _ in chosen], [loss for _, loss in chosen]


def _name_lowest(axes: "Axes", steps: Sequence[int], losses: Sequence[float]) -> None:
    finite = [(loss, step) for step, loss in zip(steps, losses, strict=True) if math.isfinite(loss)]
    if not finite:
        return
    loss, step = min(finite)
    axes.plot([step], [loss], marker="o", markersize=10, markerfacecolor="none", markeredgecolor=_TUNED)
    _write(axes, f"best {loss:.3f}", (step, loss), (0, 12), _TUNED)


def _draw_scores(axes: "Axes", place: int, base: float, tuned: float) -> None:
    axes.plot([base, tuned], [place, place], color=_FAINT, linewidth=3, zorder=1)
    first = place == 0  # one entry per side in the key
    axes.plot([base], [place], "o", color=_BASE, markersize=7, label="base" if first else None)
    axes.plot([tuned], [place], "o", color=_TUNED, markersize=7, label="tuned" if first else None)
    outward = 1 if tuned >= base else -1
    for score, side, colour in ((base, -outward, _INK), (tuned, outward, _TUNED)):
        _write(axes, f"{score:.2f}", (score, place), (8 * side, 0), colour)


def _draw_change(axes: "Axes", place: int, change: float, low: float | None, high: float | None) -> None:
    clear = low is not None and high is not None and (low > 0 or high < 0)
    colour = (_TUNED if change > 0 else _WORSE) if clear else _BASE
    if low is not None and high is not None:
        axes.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
    axes.plot([change], [place], "o", color=colour, markersize=5)
    _write(axes, f"{change:+.3f}".replace("-", "−"), (change, place), (0, 10), _INK)


def _write(axes: "Axes", text: str, point: tuple[float, float], away: tuple[int, int], colour: str) -> None:
    """Write `text` beside a point of the data, `away` to the right and up, on a patch that hides lines."""
    axes.annotate(
        text,
        point,
        xytext=away,
        textcoords="offset points",
        ha={-1: "right", 0: "center", 1: "left"}[(away[0] > 0) - (away[0] < 0)],
        va="center",
        fontsize=8,
        color=colour,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
    )


def _ends(row: Mapping[str, Any]) -> list[float]:
    return [end for end in (row["tuned"] - row["base"], row["low"], row["high"]) if end is not None]


def _required(values: _Filled, what: str) -> _Filled:
    if not values:
        raise ValueError(f"a {what} needs at least one row")
    return values


def _figure(height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH, height), layout="constrained")


def _canvas(height: float) -> "tuple[Figure, Axes]":
    figure = _figure(height)
    axes = figure.subplots()
    _calm(axes)
    return figure, axes


def _calm(axes: "Axes") -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(_BASE)
    axes.tick_params(labelsize=8, color=_BASE, labelcolor=_INK)
    axes.xaxis.label.set(fontsize=8, color=_INK)
    axes.yaxis.label.set(fontsize=8, color=_INK)
    axes.set_axisbelow(True)


def _key(axes: "Axes") -> None:
    # Above the axes, where it can hide no data.
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=4,
        frameon=False,
        fontsize=8,
        labelcolor=_INK,
        borderaxespad=0.2,
        handlelength=1.4,
    )


def _name_rows(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_label(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)  # the first on top
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _label(name: str) -> str:
    line = "".join(c if c.isprintable() else " " for c in name)
    short = line if len(line) <= _LONGEST_LABEL else line[: _LONGEST_LABEL - 1] + "…"
    return short.replace("$", r"\$")


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    # All text in quotes: Python before 3.13 leaves a lone carriage return bare, and it breaks the row.
    table = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    table.writerow([_cell(column) for column in columns])
    table.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return text.getvalue()


_FORMULA = ("=", "+", "-", "@")


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = plain(value)
    # Spreadsheets run text that begins so as a formula; they skip blanks and line ends, and fold wide signs to narrow.
    begin = unicodedata.normalize("NFKC", text).lstrip()[:1]
    return f"'{text}" if begin in _FORMULA or text[:1] in "\t\r\n" else text
