"""Source rows → leak-free splits and a data card."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tailora import files
from tailora.errors import DataError, RunError
from tailora.files import Row
from tailora.measure import metrics
from tailora.recipe import Recipe
from tailora.run import RUNS, Run
from tailora.text import audit
from tailora.text.columns import REPEAT, Columns, Kept, to_examples
from tailora.text.read import Source, locate_source, read_rows
from tailora.text.records import Notices
from tailora.text.split import Splits, split

_MOST_LOST = 0.05
_QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)


def prepare(recipe: Recipe, root: Path = RUNS) -> Splits:
    """Read, clean and split the data of `recipe` into `<run>/prepare/`; returns at once when that is done.

    Raises:
        DataError: for a source that cannot be read, columns that cannot be found, or too few rows.
        RunError: when the source has changed since the splits were made.
    """
    run = Run.open(recipe, root)
    source = locate_source(recipe.data.source)
    if run.is_done("prepare"):
        return _load_splits(run, source)
    notices = Notices()
    columns, kept = to_examples(read_rows(source, notices), recipe.data, str(source))
    _refuse_losses(kept, source)
    splits = split(kept.examples, recipe.data.model_copy(update={"unseen": columns.unseen}))
    with run.stage("prepare") as stage:
        for name, rows in splits._asdict().items():
            files.write_jsonl(stage.folder / f"{name}.jsonl", rows)
        card = make_card(source, columns, kept, splits) | {"notices": notices.card()}
        files.write_json(stage.folder / "card.json", card)
    return splits


def _refuse_losses(kept: Kept, source: Source) -> None:
    """Raise DataError when more than 5 % of the rows are unusable; repeats lose nothing and do not count."""
    lost = {reason: count for reason, count in kept.dropped.items() if reason != REPEAT}
    if sum(lost.values()) > _MOST_LOST * kept.read:
        raise DataError(
            f"{source}: {sum(lost.values()):,} of {kept.read:,} rows cannot be used, more than {_MOST_LOST:.0%}: "
            + "; ".join(f"{count:,} {reason} ({', '.join(kept.places[reason])} …)" for reason, count in lost.items())
            + ". Repair the file, or name other columns with data.prompt, data.input and data.answer."
        )


def _load_splits(run: Run, source: Source) -> Splits:
    folder = run.folder / "prepare"
    if files.read_json(folder / "card.json")["source"]["sha256"] != source.sha256():
        raise RunError(
            f"{run.folder}: {source} has changed since prepare was done. Choose another name, or add --fresh."
        )
    return Splits(*(list(files.read_jsonl(folder / f"{name}.jsonl")) for name in Splits._fields))


def make_card(source: Source, columns: Columns, kept: Kept, splits: Splits) -> dict[str, Any]:
    """Return what a reader must know of the data: counts, drops with reasons and places, lengths, topics."""
    named = splits._asdict()
    return {
        "source": {"path": str(source), "sha256": source.sha256()},
        "columns": {key: name for key, name in vars(columns).items() if name is not None},
        "rows": {"read": kept.read, "kept": len(kept.examples), "dropped": kept.dropped.total()},
        "dropped": {
            reason: {"rows": count, "places": kept.places[reason]} for reason, count in kept.dropped.most_common()
        },
        "splits": {name: len(rows) for name, rows in named.items()},
        "slices": dict(Counter(row["slice"] for row in splits.test if "slice" in row)),
        "clusters": {name: len({row["cluster"] for row in rows}) for name, rows in named.items()},
        "topics": {
            name: dict(Counter(str(row["topic"]) for row in rows if "topic" in row).most_common())
            for name, rows in named.items()
        },
        "characters": {"prompt": quantiles(map(prompt_length, kept.examples)), "answer": quantiles(
            len(row["answer"]) for row in kept.examples
        )},
        "audit": _audit(kept.examples, splits),
        "rows_with_tests": sum(bool(row.get("tests")) for row in kept.examples),
        "rows_with_unusable_tests": kept.unusable_tests,
        "earlier_assistant_turns": sum(
            turn["role"] == "assistant" for row in kept.examples for turn in row["prompt"]
        ),
    }  # fmt: skip


def _audit(examples: list[Row], splits: Splits) -> dict[str, Any]:
    """Return what the rows themselves show: near duplicates, leakage, conflicts, odd content, writing, code."""
    answers = [row["answer"] for row in examples]
    near = list(audit.near_pairs([audit.question(row) for row in examples]))
    return {
        "near_questions": {
            "rows": len({j for _, j, _ in near}),
            "places": [f"{examples[i]['where']} ~ {examples[j]['where']}" for i, j, _ in near[:3]],
        },
        "leakage": audit.leakage(splits.train, val=splits.val, test=splits.test),
        "conflicts": asdict(audit.conflicts(examples)),
        "findings": {kind: asdict(found) for kind, found in audit.findings(examples).items()},
        "scripts": audit.scripts(examples),
        "code": {
            "fenced": sum(map(metrics.has_fence, answers)),
            "parse_as_they_are": sum(map(metrics.parses, answers)),
            "parse_unfenced": sum(metrics.parses(metrics.extract_code(answer)) for answer in answers),
        },
    }


def prompt_length(row: Row) -> int:
    """Return the characters of all turns before the answer."""
    return sum(len(turn["content"]) for turn in row["prompt"])


def quantiles(lengths: Iterable[int]) -> dict[str, int]:
    """Return minimum, quartiles, 95 % and maximum, each a length that occurs."""
    ordered = sorted(lengths)
    return {f"{share:.0%}": ordered[round(share * (len(ordered) - 1))] for share in _QUANTILES}


def seen_by_model(recipe: Recipe, number: int, root: Path = RUNS) -> tuple[str, str, str]:
    """Return training row `number` as text of its tokens: what is read, what is learned, and a line of counts.

    Raises:
        DataError: when there is no such row.
    """
    from tailora.model.load import load_tokenizer
    from tailora.text.prompts import Prompts

    rows = prepare(recipe, root).train
    if number >= len(rows):
        raise DataError(f"there is no training row {number}; the last one is {len(rows) - 1}.")
    tokenizer = load_tokenizer(recipe.model)
    sample = Prompts(tokenizer).encode(rows[number]["prompt"], rows[number]["answer"])
    prompt, learned = sample.tokens[: sample.answer_start], sample.tokens[sample.answer_start :]
    counts = (
        f"{rows[number]['id']}: {len(prompt)} prompt tokens, {len(learned)} learned tokens (the end token included)"
    )
    return tokenizer.decode(prompt), tokenizer.decode(learned), counts
