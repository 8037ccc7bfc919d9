"""The user's own prompts, asked before and after training: from a file, or as they stand in the recipe."""

from collections.abc import Sequence
from pathlib import Path

from tailora.data.examples import are_tests
from tailora.data.read import SourceRow, locate_source, read_rows
from tailora.data.rows import normalise
from tailora.errors import DataError
from tailora.files import Row

_KEYS = ("prompt", "answer", "tests")
_PLAIN = (".txt", ".md")


def read_prompts(asked: str | Sequence[str]) -> list[Row]:
    """Return the prompts as rows with `id`, `where`, `prompt` (turns), and `answer` and `tests` where they are given.

    A file that ends in .txt or .md holds a prompt a line; others hold rows with `prompt`, and where something must not
    be lost, `answer` or `tests`.

    Raises:
        DataError: when the file is not there or a row has no prompt; names the first twenty.
    """
    rows = list(_of_file(asked)) if isinstance(asked, str) else _of_lines("evaluate.prompts", asked)
    problems = [problem for row in rows if (problem := _problem(row))]
    if problems or (asked and not rows):
        raise DataError(problems[:20] or [f"evaluate.prompts: {asked} holds no prompt."])
    return [
        {
            "id": f"prompt-{number}",
            "where": row.where,
            "prompt": [{"role": "user", "content": row.values["prompt"]}],
            **{key: row.values[key] for key in _KEYS[1:] if row.values.get(key)},
        }
        for number, row in enumerate(rows, start=1)
    ]


def _of_file(name: str) -> list[SourceRow]:
    path = Path(name)
    if path.suffix.lower() not in _PLAIN or not path.is_file():
        return list(read_rows(locate_source(name, "evaluate.prompts")))
    try:
        return _of_lines(name, path.read_text("utf-8-sig").splitlines())
    except UnicodeDecodeError as error:
        raise DataError(f"evaluate.prompts: {name} is not UTF-8 ({error.reason} at byte {error.start}).") from None


def _of_lines(name: str, lines: Sequence[str]) -> list[SourceRow]:
    rows = [SourceRow(f"{name}:{number}", {"prompt": line.strip()}) for number, line in enumerate(lines, start=1)]
    return [row for row in rows if row.values["prompt"]]


def _problem(row: SourceRow) -> str | None:
    unknown = row.values.keys() - _KEYS
    if unknown:
        return f"{row.where}: {', '.join(sorted(unknown))} is not known here; a prompt has {', '.join(_KEYS)}."
    if not isinstance(row.values.get("prompt"), str) or not row.values["prompt"].strip():
        return f"{row.where}: there is no prompt; write it as text."
    if not isinstance(row.values.get("answer") or "", str):
        return f"{row.where}: the answer is {type(row.values['answer']).__name__}, not text."
    if not are_tests(row.values.get("tests") or []):
        return f'{row.where}: tests are a list of {{"input": "<expression>", "expected": <value>}} or of asserts.'
    return None


def holds(output: str, expected: str) -> bool:
    """Say whether an expected answer stands in an output, whatever its case and spacing."""
    return normalise(expected) in normalise(output)
