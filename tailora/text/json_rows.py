"""Text → records: JSON arrays, one object a line, objects one after the other, and objects that hold the rows.

A broken line is a fault, after which reading goes on. A broken array ends there, since nobody can say where its next
row begins.
"""

import re
from collections.abc import Iterator
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from tailora.text.content import lines
from tailora.text.json_values import Cursor, Decoder, explain, may_be_cut_off
from tailora.text.records import Fault, Note, Record, Records

_TEXT = r'"(?:[^"\\]|\\.)*"'
# An object that begins so holds the rows instead of being one: {"id1": {… or, after other members, "data": [{….
_NAMED_ROWS = re.compile(rf"\{{\s*{_TEXT}\s*:\s*\{{")
_OTHER = rf"{_TEXT}|[\w.+-]+|\{{[^{{}}]*\}}|\[[^\[\]]*\]"
_DATA_ROWS = re.compile(rf'\{{\s*(?:{_TEXT}\s*:\s*(?:{_OTHER})\s*,\s*)*"data"\s*:\s*\[\s*\{{')


def json_records(path: Path, head: str, texts: Iterator[str]) -> Records:
    """Yield the records of JSON text that begins with `[` or `{`; `head` is the first piece of `texts`.

    Raises:
        DataError: where the text cannot be read on.
    """
    start = head.lstrip(" \t\r\n")
    if start.startswith("["):
        return _array(Cursor(path, texts))
    if _is_alone(start) and (_DATA_ROWS.match(start) or _NAMED_ROWS.match(start)):
        return _members(Cursor(path, texts), wrapped=bool(_DATA_ROWS.match(start)))
    return _one_a_line(path, texts) if _is_one_a_line(start) else _one_after_the_other(Cursor(path, texts))


def _is_alone(start: str) -> bool:
    try:
        _, end, _ = Decoder().decode(start, 0)
    except JSONDecodeError as error:
        # It goes on behind the first piece; or nothing is known, since it is nested too deeply.
        return may_be_cut_off(error) or error.pos == 0
    return not start[end:].strip()


def _is_one_a_line(start: str) -> bool:
    """Say so when the first line ends an object or the second begins one: a broken line must not hide the layout."""
    first, _, rest = start.partition("\n")
    return first.rstrip().endswith(("}", "},")) or rest.startswith("{")


def _one_a_line(path: Path, texts: Iterator[str]) -> Records:
    decoder = Decoder()
    for number, line in enumerate(lines(path, texts, "\n"), start=1):
        yield from _line_records(f"{path}:{number}", line, decoder)


def _line_records(where: str, line: str, decoder: Decoder) -> Records:
    text = line.rstrip("\r\n")
    position = len(text) - len(text.lstrip(" \t\r"))
    while position < len(text):
        try:
            value, position, faults = decoder.decode(text, position)
        except JSONDecodeError as error:
            yield Fault(f"{where}:{error.pos + 1}: {explain(error)}.")
            return
        yield from _faults_or_rows(where, value, faults)
        position = len(text) - len(text[position:].lstrip(" \t\r"))


def _one_after_the_other(cursor: Cursor) -> Records:
    while cursor.peek():
        yield from _next_rows(cursor)


def _array(cursor: Cursor) -> Records:
    yield from _elements(cursor)
    if cursor.peek():
        raise cursor.refusal("there is more after the end of the array; a file may hold one array only")


def _elements(cursor: Cursor) -> Records:
    cursor.take("[", "[")
    opened = cursor.where.rpartition(":")[2]
    if cursor.peek() == "]":
        cursor.take("]", "]")
        return
    meaning = f"a comma and the next row, or the ] that closes the array of line {opened}"
    mark = ","
    while mark == ",":
        if cursor.peek() == "]":
            raise cursor.refusal("not JSON: remove the comma before the closing bracket")
        yield from _next_rows(cursor)
        mark = cursor.take(",]", meaning)


def _members(cursor: Cursor, wrapped: bool) -> Records:
    """Yield the rows of {"data": […]} when they are `wrapped`, else of {"id1": {…}, …}, each with its key as `id`."""
    mark = cursor.take("{", "{")
    while mark != "}":
        where, key = cursor.key()
        if wrapped and key == "data" and cursor.peek() == "[":
            yield from _elements(cursor)
        else:
            value, _, faults = cursor.value()
            if wrapped or not isinstance(value, dict):
                yield Note(f'"{key}" stands beside the rows and is not read', where)
            else:
                yield from _faults_or_rows(where, {"id": key} | value, faults)
        mark = cursor.take(",}", "a comma and the next key, or }")
    if cursor.peek():
        raise cursor.refusal("there is more after the object that holds the rows")


def _next_rows(cursor: Cursor) -> Records:
    cursor.peek()
    where = cursor.where
    value, _, faults = cursor.value()
    yield from _faults_or_rows(where, value, faults)


def _faults_or_rows(where: str, value: Any, faults: list[str]) -> Records:
    yield from (Fault(f"{where}: {fault}.") for fault in faults)
    if not faults:
        yield from (Record(where, row) for row in _unnested(value))


def _unnested(value: Any) -> Iterator[Any]:
    """Yield the questions of an article of SQuAD, or the value itself; a question without answers has an empty one."""
    if not _is_article(value):
        yield value
        return
    for paragraph in value["paragraphs"]:
        for asked in paragraph["qas"]:
            answers = asked.get("answers") or [{}]
            row = {"id": asked.get("id"), "title": value.get("title"), "question": asked.get("question")}
            yield row | {"context": paragraph.get("context"), "answer": answers[0].get("text", "")}


def _is_article(value: Any) -> bool:
    paragraphs = value.get("paragraphs") if isinstance(value, dict) else None
    if not paragraphs or not _are_objects(paragraphs) or not all(_are_objects(p.get("qas")) for p in paragraphs):
        return False
    return all(_are_objects(asked.get("answers") or []) for p in paragraphs for asked in p["qas"])


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)
