"""Run files → what a report shows, and its pages from the templates."""

import base64
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tailora import files
from tailora.errors import plain
from tailora.files import Row
from tailora.measure.metrics import chrf_signature
from tailora.model.forecast import gib
from tailora.present import figures
from tailora.present.classifier import class_note, draw_classifier, tell_classifier
from tailora.present.comparison import (
    COMPARISON_HEADER,
    CONFINED,
    absent_lines,
    caution_text,
    comparison_cells,
    contradicted,
    primary_entry,
    sentences,
)
from tailora.present.data import budget_line, budget_warnings, card_table, read_card
from tailora.present.format import format_effect, format_value
from tailora.present.training import loss_unit, model_table, training_lines, usage
from tailora.recipe import method_title
from tailora.run import STAGES, Run, warn

_MOST_PROMPTS = 40
_MOST_TO_KNOW = 3


def tell(run: Run, folder: Path) -> dict[str, Any]:
    """Return everything that the templates show."""
    comparison = files.read_json(run.folder / "evaluate" / "comparison.json")
    entries = comparison["metrics"] + comparison["forgetting"]
    verdict, *know = sentences(comparison)
    record, trained = files.read_json(run.folder / "run.json"), run.facts("train")
    return {
        "name": run.recipe.name,
        "recipe": run.recipe.model_dump(mode="json"),
        "source": run.recipe.data.shown(),
        "asked": (run.folder / "recipe.toml").read_text("utf-8"),
        "verdict": "mixed" if contradicted(comparison) else comparison["verdict"],
        "method": method_title(run.recipe.lora),
        "model": model_table(run.recipe, trained),
        "prompt": comparison.get("prompt"),
        "usage": usage(run.recipe),
        "headline": verdict,
        "to_know": know[:_MOST_TO_KNOW],
        "details": know[_MOST_TO_KNOW:],
        "header": COMPARISON_HEADER,
        "comparison": _table(e for e in comparison["metrics"] if _is_first(e, comparison)),
        "slices": _table(e for e in comparison["metrics"] if not _is_first(e, comparison)),
        "forgetting": _table(comparison["forgetting"]),
        "meanings": {entry["metric"]: entry["meaning"] for entry in entries},
        "breakdown": [_part_cells(*part) for part in comparison["breakdown"].items()],
        "explanations": _explanation_cells(comparison["explanations"]),
        "cautions": sorted({f"* {entry['slice']}: {caution_text(entry)}" for entry in entries if entry["caution"]}),
        "programs_ran": any(entry["metric"] in ("pass@1", "runs clean") for entry in comparison["metrics"]),
        "lacking": absent_lines(comparison["absent"]),
        "primary": comparison["primary"],
        "primary_is_written": primary_entry(comparison)["written"],
        "chrf_signature": chrf_signature(),
        "confined": CONFINED[comparison["sandbox"]],
        "training": [
            *training_lines(run.folder),
            budget_line(trained["tokens"]["train"], run.recipe.task),
            *budget_warnings(trained["tokens"]),
            *trained["remarks"],
        ],
        "card": card_table(read_card(run.folder)),
        "machine": record["machine"],
        "stages": [_stage_cells(name, record["stages"][name]) for name in STAGES if name in record["stages"]],
        "examples": _examples(run, comparison),
        "prompts": _prompts(run),
        "classifier": tell_classifier(run.folder, comparison) if run.recipe.task == "classify" else None,
        "figures": _draw(run, comparison, folder),
    }


def _is_first(entry: Row, comparison: Row) -> bool:
    """Say whether an entry stands in the first table: all rows by every metric, and slices by the one that decides."""
    return bool(entry["by"] == "all" or entry["metric"] == comparison["primary"])


def _table(entries: Iterable[Row]) -> list[Row]:
    """Return the lines of a comparison table: cells, the metric, and whether they stand for all rows."""
    entries = list(entries)
    lines = zip(entries, comparison_cells(entries), strict=True)
    return [{"cells": cells, "metric": entry["metric"], "is_whole": entry["by"] == "all"} for entry, cells in lines]


def _part_cells(column: str, part: Row) -> Row:
    others = part["others"]
    return {
        "column": column,
        "cells": _table(part["entries"]),
        "few": any(entry["caution"] for entry in part["entries"]),
        "others": f"{others['groups']:,} more with {others['rows']:,} rows are not shown" if others["groups"] else "",
    }


def _explanation_cells(entries: list[Row]) -> list[tuple[str, str, str, str, str]]:
    """Return what the answers look like: a name, base, tuned, their difference, and what it means."""
    return [
        (
            entry["metric"],
            format_value(entry, entry["base"]),
            format_value(entry, entry["tuned"]),
            format_effect(entry),
            entry["meaning"],
        )
        for entry in entries
    ]


def _stage_cells(name: str, record: Row) -> tuple[str, str, str, str]:
    peak = record["peak_memory_bytes"]
    memory = "not known on this system" if peak is None else gib(peak)
    return name, f"{record['seconds']:,.1f} s", memory, record["finished"]


def _draw(run: Run, comparison: Row, folder: Path) -> dict[str, str]:
    """Save all figures with the numbers behind them; returns each SVG as text, by name."""
    drawn: dict[str, str] = {}

    def draw(name: str, figure: Callable[..., Any], rows: list[Row], *data: Any) -> None:
        svg, _, _ = figures.save(figure(*data), folder, name, rows)
        drawn[name] = svg.read_text("utf-8")

    log, damage = files.read_log(run.folder / "train" / "log.jsonl")
    if damage:
        warn("report", f"figure of losses: {damage}")
    draw("loss", figures.loss_curves, log, log, loss_unit(run.recipe.task))
    shares = [
        {"name": e["metric"] if e["by"] == "all" else f"{e['metric']}, {e['slice']}", **_dots(e)}
        for e in comparison["metrics"]
        if e["share"] and e["higher_is_better"] and (e["by"] == "all" or e["metric"] == comparison["primary"])
    ]
    if shares:
        draw("scores", figures.comparison_bars, shares, shares)
    outcomes = [
        {"name": e["metric"], **{k: e[k] for k in ("wins", "ties", "losses")}}
        for e in comparison["metrics"]
        if e["by"] == "all"
    ]
    draw("wins", figures.wins_losses, outcomes, outcomes)
    for column, part in comparison["breakdown"].items():
        rows = [{"name": e["slice"], **_dots(e)} for e in part["entries"] if e["share"] and e["higher_is_better"]]
        if rows:
            draw(f"by-{column}", figures.comparison_bars, rows, rows)
    if run.recipe.task == "classify":
        draw_classifier(run.folder, draw)
    else:
        _draw_lengths(run, draw)
    for name, title, counts in _card_counts(read_card(run.folder)):
        if counts:
            draw(name, figures.bars, [{name: key, "rows": count} for key, count in counts.items()], counts, title)
    return drawn


def _draw_lengths(run: Run, draw: Callable[..., None]) -> None:
    lengths = list(files.read_jsonl(run.folder / "train" / "lengths.jsonl"))
    prompts, answers = ([row[part] for row in lengths] for part in ("prompt", "answer"))
    tokens = run.facts("train")["tokens"]["train"]
    near = tokens["max_length"] < 2 * tokens["longest"]  # a limit far off would only squeeze the picture
    limit = tokens["max_length"] if near else None
    draw("lengths", figures.length_histogram, lengths, prompts, answers, limit)


def _dots(entry: Row) -> Row:
    return {key: entry[key] for key in ("base", "tuned", "low", "high")}


def _card_counts(card: Row) -> list[tuple[str, str, dict[str, int]]]:
    """Return what the data card counts, as pictures: a name, a title and the bars."""
    audit = card["audit"]
    shared = {
        "duplicate prompts": audit["repeats"]["rows"],
        "near-duplicate prompts": audit["near_questions"]["rows"],
        "conflicting answers": audit["conflicts"]["rows"],
        **{f"{leak['split']}: {leak['kind']} as in train": leak["rows"] for leak in audit["leakage"]},
    }
    dropped = {f"dropped: {reason}": entry["rows"] for reason, entry in card["dropped"].items()}
    return [
        ("rows", "rows read", {**card["splits"], **dropped}),
        ("shared", "duplicates and contamination", {kind: rows for kind, rows in shared.items() if rows}),
        ("domains", "training rows by domain", card["domains"]["train"]),
        ("labels", "training rows by label", card["labels"].get("train", {})),
        ("topics", "training rows by topic", card["topics"]["train"]),
    ]


def _examples(run: Run, comparison: Row) -> list[Row]:
    """Return answers before and after: where tuned gained and lost most by the primary metric, and where it did not."""
    test = {row["id"]: row for row in files.read_jsonl(run.folder / "prepare" / "test.jsonl")}
    base, tuned = (
        {row["id"]: row for row in files.read_jsonl(run.folder / "evaluate" / variant / "predictions.jsonl")}
        for variant in ("base", "tuned")
    )
    entry = primary_entry(comparison)
    counts = {"gained": entry["wins"], "lost": entry["losses"], "unchanged": entry["ties"]}
    return [
        {
            "kind": kind,
            "rows": count,
            "shown": [
                _example(test[row["id"]], base[row["id"]], tuned[row["id"]])
                | {f"{side}_value": format_value(entry, row[side]) for side in ("base", "tuned")}
                for row in comparison["largest"][kind]
            ],
        }
        for kind, count in counts.items()
    ]


def _example(row: Row, base: Row, tuned: Row) -> Row:
    return {
        "id": row["id"],
        "slice": row.get("slice"),
        "question": "\n\n".join(turn["content"] for turn in row["prompt"]),
        "reference": row["answer"],
        "base": base["output"],
        "tuned": tuned["output"],
        "base_note": _note(base),
        "tuned_note": _note(tuned),
    }


def _note(prediction: Row) -> str:
    if "probabilities" in prediction:
        return class_note(prediction)
    cut = "; cut at the length limit" if prediction["finish"] == "length" else ""
    tests = prediction["tests"]
    if tests is None:
        return f"chrF {prediction['chrf']:.0f}{cut}"
    return f"tests {tests['status']}{': ' + tests['detail'] if tests['detail'] else ''}{cut}"


def _prompts(run: Run) -> Row | None:
    """Return the user's own prompts with both answers, those first that tuning lost; None where there were none."""
    path = run.folder / "evaluate" / "prompts.jsonl"
    if not path.exists():
        return None
    rows = sorted(files.read_jsonl(path), key=lambda row: not row.get("regressed"))  # stable: the rest as asked
    return {
        "asked": len(rows),
        "expected": sum(row.get("regressed") is not None for row in rows),
        "lost": sum(bool(row.get("regressed")) for row in rows),
        "shown": rows[:_MOST_PROMPTS],
    }


def render(name: str, story: dict[str, Any], *, escape: bool) -> str:
    """Return a template of `assets/report` filled with a story; all text is escaped for HTML with `escape`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tailora", "assets/report"),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: plain(value) if type(value) is str else value,
    )
    environment.filters |= {"fenced": _fenced, "data_uri": _data_uri, "inline": _inline}
    return environment.get_template(name).render(story)


def _fenced(text: str, language: str = "") -> str:
    """Put text in a Markdown fence longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _inline(text: str) -> str:
    """Make text safe for a line or a table cell of Markdown: no line ends, no bars, no markup."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
