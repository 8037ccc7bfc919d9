"""Files of a finished classifier → what its report shows baselines, labels, calibration, mistakes, figures."""

from collections.abc import Callable
from pathlib import Path

from tailora import files
from tailora.files import Row
from tailora.present import classifier_figures
from tailora.present.format import format_interval, format_p

BASELINE_HEADER = (
    "", "accuracy", "macro F1", "weighted F1", "MCC", "NLL", "Brier", "ECE", "tuned is, in accuracy", "test", "p",
)  # fmt: skip
CLASS_HEADER = ("label", "rows", "precision", "recall", "F1", "F1 of base", "F1 of TF-IDF")
_SHARES = ("accuracy", "macro F1", "weighted F1")
_OTHERS = ("MCC", "NLL", "Brier", "ECE")
_MOST_MISTAKES = 8

Draw = Callable[..., None]


def tell_classifier(run: Path, comparison: Row) -> Row:
    """Return what the templates show of a classifier."""
    scores = {name: _scores(run, name) for name in ("base", "tuned", "tf-idf")}
    tuned = list(files.read_jsonl(run / "evaluate" / "tuned" / "predictions.jsonl"))
    return {
        "head": comparison["head"],
        "baseline_header": BASELINE_HEADER,
        "baselines": [
            ("tuned", *_score_cells(scores["tuned"]), "", "", ""),
            *(_baseline_cells(entry) for entry in comparison["baselines"]),
            ("base", *_score_cells(scores["base"]), "", "", ""),
        ],
        "meanings": {entry["title"]: entry["meaning"] for entry in comparison["baselines"]},
        "class_header": CLASS_HEADER,
        "classes": [_class_cells(*lines) for lines in zip(*(part["classes"] for part in scores.values()), strict=True)],
        "errors": sum(not row["right"] for row in tuned),
        "mistakes": _mistakes(run, tuned),
    }


def draw_classifier(run: Path, draw: Draw) -> None:
    """Draw confusion matrices, calibration, the F1 of each class and the lengths of the texts."""
    scores = {name: _scores(run, name) for name in ("base", "tuned", "tf-idf")}
    names = [line["label"] for line in scores["tuned"]["classes"]]
    sides = {name: scores[name]["confusion"] for name in ("base", "tuned")}
    cells = [
        {"variant": side, "right": names[i], "predicted": names[j], "rows": count}
        for side, matrix in sides.items()
        for i, line in enumerate(matrix)
        for j, count in enumerate(line)
    ]
    draw("confusion", classifier_figures.confusions, cells, sides, names)
    bins = {name: scores[name]["calibration"] for name in ("base", "tuned")}
    points = [{"variant": name, **part} for name, parts in bins.items() for part in parts]
    draw("reliability", classifier_figures.reliability, points, bins)
    classes = [
        {"label": name, **{side: scores[side]["classes"][i]["F1"] for side in scores}} for i, name in enumerate(names)
    ]
    draw("classes", classifier_figures.class_bars, classes, classes, list(scores))
    lengths = list(files.read_jsonl(run / "train" / "lengths.jsonl"))
    limit = files.read_json(run / "train" / "stage.json")["tokens"]["train"]["max_length"]
    draw("lengths", classifier_figures.text_lengths, lengths, [row["prompt"] for row in lengths], limit)


def _scores(run: Path, variant: str) -> Row:
    found: Row = files.read_json(run / "evaluate" / variant / "scores.json")
    return found


def _score_cells(scores: Row) -> tuple[str, ...]:
    return (*(_share(scores[key]) for key in _SHARES), *(_number(scores[key]) for key in _OTHERS))


def _baseline_cells(entry: Row) -> tuple[str, ...]:
    against = entry["accuracies"]
    verdict = {"no detectable difference": "not detectably different"}.get(against["verdict"], against["verdict"])
    return (
        entry["title"],
        *_score_cells(entry),
        f"{verdict}: {format_interval(against)}",
        against["test"],
        format_p(against["p_adjusted"]),
    )


def _class_cells(base: Row, tuned: Row, words: Row) -> tuple[str, ...]:
    own = (_share(tuned[key]) for key in ("precision", "recall", "F1"))
    return (tuned["label"], f"{tuned['rows']:,}", *own, _share(base["F1"]), _share(words["F1"]))


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}".replace("%", " %")


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _mistakes(run: Path, tuned: list[Row]) -> list[Row]:
    """Return the wrong labels that the tuned model was surest of."""
    texts = {row["id"]: row for row in files.read_jsonl(run / "prepare" / "test.jsonl")}
    wrong = sorted((row for row in tuned if not row["right"]), key=lambda row: -row["confidence"])
    return [
        {
            "id": row["id"],
            "text": "\n\n".join(turn["content"] for turn in texts[row["id"]]["prompt"]),
            "said": f"{row['output']} ({_share(row['confidence'])})",
            "reference": f"{row['reference']} ({_share(row['probabilities'][row['label']])})",
        }
        for row in wrong[:_MOST_MISTAKES]
    ]


def class_note(prediction: Row) -> str:
    """Say how sure a classifier was of what it said, and what chance it gave the right label."""
    right = prediction["probabilities"][prediction["label"]]
    return f"{_share(prediction['confidence'])} sure" + (
        "" if prediction["right"] else f"; the right label was given {_share(right)}"
    )
