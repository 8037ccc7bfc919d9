"""Writes the data set: `python -m authoring.python_qa.write` makes rows.jsonl and its data card anew.

The same sources always give the same bytes. It does not check the answers; tests/authoring does.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path

from authoring.python_qa.families import all_families
from authoring.python_qa.family import Row, make_rows

SEED = 0
FOLDER = Path(__file__).resolve().parents[2] / "tailora" / "assets" / "data" / "python_qa"

CARD = """\
# python_qa

{rows} short Python questions with a reference answer and executable tests: {families} kinds of task
("families") from {topics} topics.

**How it was made.** Every task family was written for this project, with the help of an AI assistant: the
phrasings of the question, the reference answer, the settings that vary it (a field name, a threshold, an
operator, an order, ...) and an independent oracle (or hand-written values) for what the tests expect. A
generator fills the settings into the phrasings. No text was taken from another data set or a website. The
sources are in `authoring/python_qa/families`; `python -m authoring.python_qa.write` makes both files again,
byte for byte.

**What it is not.** Settings of one family resemble each other by design, so a random split puts
near-copies on both sides: split by `family` to measure what carries over to new kinds of task.
Questions are in English only, answers are short functions or classes for Python 3.11, standard library only.

## Columns of rows.jsonl

| column | meaning |
| --- | --- |
| `id` | topic/family/number, stable |
| `topic` | one of the topics below |
| `family` | the kind of task; no two families share the shape of an answer |
| `instruction` | the question; it names the function or class that the answer must define |
| `input` | code or data that the question refers to; mostly empty |
| `output` | the reference answer, one fenced Python block |
| `tests` | list of `{{"input", "expected"}}`: `input`, evaluated after the answer, gives `expected` |

## Rows per topic

| topic | families | rows |
| --- | ---: | ---: |
{counts}
| all | {families} | {rows} |

## Licence

CC0-1.0: no rights reserved.
"""


def all_rows() -> list[Row]:
    """Every row of the data set, in file order."""
    return [row for family in all_families() for row in make_rows(family, SEED)]


def rows_text(rows: list[Row]) -> str:
    """The rows as JSON Lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def card_text(rows: list[Row]) -> str:
    """The data card, with its counts taken from the rows."""
    topic_rows = Counter(row["topic"] for row in rows)
    topic_families = Counter(topic for topic, _ in {(row["topic"], row["family"]) for row in rows})
    return CARD.format(
        rows=len(rows),
        families=topic_families.total(),
        topics=len(topic_rows),
        counts="\n".join(f"| {topic} | {topic_families[topic]} | {count} |" for topic, count in topic_rows.items()),
    )


def write_atomically(path: Path, text: str) -> None:
    """Replace the file in one step, so that a reader never meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)


def main() -> None:
    """Write rows.jsonl and README.md."""
    rows = all_rows()
    write_atomically(FOLDER / "rows.jsonl", rows_text(rows))
    write_atomically(FOLDER / "README.md", card_text(rows))
    sys.stdout.write(f"{len(rows)} rows in {FOLDER}\n")


if __name__ == "__main__":
    main()
