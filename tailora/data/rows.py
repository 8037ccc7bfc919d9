"""A row as a text: what it asks, what it is compared by, and rows by their numbers."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from tailora.files import Row, RowFile, fingerprint


def question(row: Row) -> str:
    """Return all turns before the answer as one text."""
    return "\n".join(turn["content"] for turn in row["prompt"])


def normalise(text: str) -> str:
    """NFKC, lower case, collapsed spaces: texts that a reader would call the same."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def content_key(row: Row) -> str:
    """Return a short hash of what a row asks and answers; equal keys are exact repeats."""
    return fingerprint(*(turn["content"] for turn in row["prompt"]), row["answer"])


def at(rows: Sequence[Row], numbers: Iterable[int]) -> Iterator[Row]:
    """Yield the rows with these numbers, from memory or from disk."""
    return rows.pick(numbers) if isinstance(rows, RowFile) else (rows[i] for i in numbers)
