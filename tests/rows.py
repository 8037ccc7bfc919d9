"""Rows of questions and answers, and the files of rows that tests write and read."""

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

WORDS = ("list", "of", "rows", "sort", "count", "word", "split", "answer", "with", "for", "train", "test")


def sentence(numbers: random.Random, words: int = 30, of: Sequence[str] = WORDS) -> str:
    """Draw words with a number each, so that two sentences are never near each other by chance."""
    return " ".join(numbers.choice(of) + str(numbers.randrange(50)) for _ in range(words))


def row(number: int, asked: str, answer: str = "an answer") -> dict[str, Any]:
    """Return a row as it is once it has been read."""
    return {
        "id": str(number),
        "where": f"x:{number}",
        "prompt": [{"role": "user", "content": asked}],
        "answer": answer,
    }


def write(path: Path, rows: Iterable[dict[str, Any]]) -> str:
    """Write rows as JSON lines; returns the path as a recipe names it."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def read(path: Path) -> Any:
    """Return what a JSON file holds, or the rows of a JSONL file."""
    text = path.read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)
