"""A source → the keys of a recipe that it asks for, and what was seen. Reads its first rows only; writes nothing."""

import itertools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from tailora.data.columns import LABELS, Columns, label_text
from tailora.data.examples import find_columns
from tailora.data.read import Source, locate_source, read_rows, splits_of
from tailora.errors import DataError, some_of
from tailora.recipe import Data

_ROWS, _LONGEST_LABEL = 1000, 60


class Seen(NamedTuple):
    """What a source is for, the keys of `data` that its columns give, and what was seen, by the key it speaks for."""

    task: Literal["generate", "classify"]
    keys: dict[str, str]
    remarks: dict[str, str]
    unset: tuple[str, ...] = ()
    """Keys that the recipe must leave out, so that the splits that come with the source are used."""
    is_clear: bool = True
    """Whether the columns were found."""


def look(source: str) -> Seen:
    """Look at the first rows of a source, or of its training split.

    Raises:
        DataError: when it cannot be read, or has no rows.
    """
    located = locate_source(source)
    if located.hub:
        return Seen("generate", {}, {"data.source": "an id of the hub, which `tailora prepare` fetches; not looked at"})
    splits = splits_of(located)
    head = list(itertools.islice(read_rows(splits.get("train", located)), _ROWS))
    if not head:
        raise DataError(f"{source}: no rows.")
    rows = [row.values for row in head]
    names = list(dict.fromkeys(name for row in rows for name in row))
    known = f"{'the first ' if len(rows) == _ROWS else ''}{len(rows):,} rows with the columns {some_of(names, 20)}"
    remarks = {"data.source": known, **_of_splits(splits)}
    unset = tuple(f"data.{split}" for split in splits if split != "train")
    try:
        columns = find_columns(head, Data(source=source), source, False)
    except DataError as error:
        unclear = {"data.prompt": f"not clear: {' '.join(error.problems)}"}
        return Seen("generate", {}, remarks | unclear, unset, is_clear=False)
    task, of_columns = _named(rows, columns)
    keys = {key.removeprefix("data."): column for key, column in of_columns.items()}
    remarks |= {key: _sample(rows, column) for key, column in of_columns.items()}
    if task == "classify":
        remarks["data.label"] = _labels(rows, keys["label"])
    if columns.messages:
        remarks["data.prompt"] = f"conversations in the column {some_of([columns.messages])}; nothing need be named"
    return Seen(task, keys, remarks, unset)


def _of_splits(splits: dict[str, Source]) -> dict[str, str]:
    """Say where the splits come from that a source brings."""
    return {
        f"data.{split}": f"comes with the source, {some_of(part.parts())}; a share here splits all rows anew"
        for split, part in splits.items()
        if split != "train"
    }


def _named(rows: Sequence[dict[str, Any]], columns: Columns) -> tuple[Literal["generate", "classify"], dict[str, str]]:
    """Return the task and the column of each key: labels are few and short, in a column called so or without name."""
    named = {"data.prompt": columns.prompt, "data.input": columns.input, "data.answer": columns.answer}
    found = {key: name for key, name in named.items() if name}
    answer = columns.answer or ""
    if not (answer.startswith("column_") or answer.strip().lower() in LABELS):
        return "generate", found
    labels = [label_text(row[answer]) for row in rows if row.get(answer) is not None]
    if 2 * len(set(labels)) > len(labels) or max(map(len, labels), default=0) > _LONGEST_LABEL:
        return "generate", found
    return "classify", {"data.label" if key == "data.answer" else key: name for key, name in found.items()}


def _labels(rows: Sequence[dict[str, Any]], column: str) -> str:
    labels = sorted({label_text(row[column]) for row in rows if row.get(column) is not None})
    return f"{some_of([column])}, {len(labels):,} labels: {some_of(labels)}"


def _sample(rows: Sequence[dict[str, Any]], column: str) -> str:
    """Return the name of the column and a text in it, short and on one line."""
    filled = next((str(row[column]) for row in rows if row.get(column)), "nothing in these rows")
    return f"{some_of([column])}, such as: {some_of([filled])}"
