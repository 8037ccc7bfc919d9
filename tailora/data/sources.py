"""The sources of a recipe → examples on disk, with what was kept, dropped and noticed."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tailora.data.examples import REPEAT, Kept, to_examples
from tailora.data.labels import UNLABELLED, Classes, name_classes
from tailora.data.read import Source, locate_source, read_rows, splits_of
from tailora.data.rows import content_key
from tailora.errors import DataError
from tailora.files import Row, RowFile, fingerprint
from tailora.recipe import Data, Recipe

BEYOND = "beyond data.limit"
"""A reason for dropping rows that the user has asked for."""
_MOST_LOST = 0.05

Sources = dict[str, list[tuple[str | None, Source]]]
"""The sources of the rows to be split ("train") and of splits with files of their own, each with its domain."""


def locate_sources(data: Data) -> Sources:
    """Return the sources of a recipe; raise DataError for every one that is not there."""
    named = {"train": data.sources()} | {
        key: [(None, name)] for key, name in {"val": data.val, "test": data.test}.items() if isinstance(name, str)
    }
    sources: Sources = {}
    problems: list[str] = []
    for split, names in named.items():
        for domain, name in names:
            try:
                source = locate_source(name, "data.source" if split == "train" else f"data.{split}")
                sources.setdefault(split, []).append((domain, source))
            except DataError as error:
                problems += error.problems
    if problems:
        raise DataError(problems)
    return _split_by_name(sources, data)


def _split_by_name(sources: Sources, data: Data) -> Sources:
    """Take files of one source that are named after splits as these, but for a split that the recipe chooses itself."""
    if len(sources["train"]) > 1:
        return sources
    ((domain, source),) = sources["train"]
    found = splits_of(source)
    chosen = {split for split in ("val", "test") if split in data.model_fields_set}
    if not found or chosen & found.keys():
        return sources
    return {split: [(domain if split == "train" else None, part)] for split, part in found.items()} | {
        split: listed for split, listed in sources.items() if split != "train"
    }


def read_examples(
    sources: Sources, recipe: Recipe, path: Path
) -> tuple[RowFile, dict[str, range], Kept, Classes | None]:
    """Write the examples of all sources to `path`; returns them with the row numbers of splits with their own files."""
    kept, own, problems = Kept(), {}, []
    parts = []
    for split, listed in sources.items():
        try:
            parts.append(_read_split(listed, recipe, kept, path.with_suffix(f".{split}"), split == "train"))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    _refuse_losses(kept, ", ".join(str(source) for listed in sources.values() for _, source in listed))
    classes = name_classes(_labels_by_file(parts), recipe.data.labels) if recipe.task == "classify" else None
    start, named = 0, []
    for split, part in zip(sources, parts, strict=True):
        named.append(
            RowFile.write(path.with_suffix(f".{split}-named"), _named(part, classes, kept)) if classes else part
        )
        own[split] = range(start, start := start + len(named[-1]))
    rows = RowFile.write(path, (row for part in named for row in part))
    for part in {part.path: part for part in [*parts, *named]}.values():
        part.path.unlink()
    if classes:
        _refuse_losses(kept, ", ".join(str(source) for listed in sources.values() for _, source in listed))
    assert kept.read == len(rows) + kept.dropped.total()
    del own["train"]
    return rows, own, kept, classes


def _labels_by_file(parts: list[RowFile]) -> dict[str, Counter[str]]:
    seen: dict[str, Counter[str]] = {}
    for part in parts:
        for row in part:
            seen.setdefault(_file(row), Counter())[row["answer"]] += 1
    return seen


def _file(row: Row) -> str:
    return str(row["where"]).rpartition(":")[0]


def _named(rows: Iterable[Row], classes: Classes, kept: Kept) -> Iterator[Row]:
    """Yield the rows with the names of their classes as answers; another spelling is noticed, no label is dropped."""
    for row in rows:
        name = classes.written[_file(row)].get(row["answer"])
        if name is None:
            kept.dropped.add(f"marked as unlabelled ({UNLABELLED}; a class where data.labels names it)", row["where"])
            continue
        if name != row["answer"] and name.lower() == row["answer"].lower():
            kept.notices.add("labels that data.labels spells otherwise, read as it does", row["where"])
        yield row | {"answer": name}


def _read_split(
    listed: list[tuple[str | None, Source]], recipe: Recipe, kept: Kept, path: Path, limited: bool
) -> RowFile:
    """Write the examples of some sources, from which repeats are dropped, and of which `data.limit` may choose."""
    kept.seen.clear()
    kept.ids.clear()
    rows, data = RowFile.write(path, _all_examples(listed, recipe, kept)), recipe.data
    if not limited or data.limit is None or len(rows) <= data.limit:
        return rows
    ranked = sorted((fingerprint("limit", content_key(row)), i) for i, row in enumerate(rows))
    for _, i in ranked[data.limit :]:
        kept.dropped.add(BEYOND, rows[i]["where"])
    chosen = RowFile.write(path.with_suffix(".limited"), rows.pick(sorted(i for _, i in ranked[: data.limit])))
    path.unlink()
    return chosen


def _all_examples(listed: list[tuple[str | None, Source]], recipe: Recipe, kept: Kept) -> Iterator[Row]:
    problems: list[str] = []
    labelled = recipe.task == "classify"
    for domain, source in listed:
        try:
            rows = read_rows(source, kept.notices)
            yield from to_examples(rows, recipe.data, str(source), kept, domain, labelled)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)


def _refuse_losses(kept: Kept, source: str) -> None:
    """Raise DataError when more than 5 % of the rows are unusable; repeats and `data.limit` lose nothing."""
    lost = {reason: count for reason, count in kept.dropped.counts.items() if reason not in (REPEAT, BEYOND)}
    if sum(lost.values()) > _MOST_LOST * kept.read:
        places = kept.dropped.places
        raise DataError(
            f"{source}: {sum(lost.values()):,} of {kept.read:,} rows cannot be used, more than {_MOST_LOST:.0%}: "
            + "; ".join(f"{count:,} {reason} ({', '.join(places[reason])} …)" for reason, count in lost.items())
            + ". Repair the file, or name other columns with data.prompt, data.input and data.answer."
        )
