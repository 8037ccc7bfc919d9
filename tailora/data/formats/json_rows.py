"""Text → records: JSON arrays, one object a line, objects one after the other, and objects that hold the rows.

A broken line is a fault, after which reading goes on. A broken array ends there, since nobody can say where its next
row begins.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from json import JSONDecodeError
from pathlib import Path
from typing import Any, NamedTuple

from tailora.data.formats.json_values import Cursor, Decoded, Decoder, fault_of, may_be_cut_off
from tailora.data.formats.text_stream import lines
from tailora.data.records import TURN_KEYS, Fault, FaultError, Note, Record, Records, split_named
from tailora.errors import DataError

RAW = "rows with a raw tab or control character inside a text of JSON, which the standard forbids; kept"
# An object with a text or turns under one of these names is a row, whatever lists it has.
_OF_ROWS = ("instruction", "prompt", "question", "text", "messages", "conversations")
_ROWS, _LIST, _EMPTY, _OBJECT, _VALUE = "rows", "list", "empty list", "object", "value"


def json_records(path: Path, head: str, texts: Iterator[str], members: Sequence[str] = ()) -> Records:
    """Yield the records of JSON text that begins with `[` or `{`; `head` is the first piece of `texts`.

    Of an object that holds lists of rows, those called as `members` say are read; without any, those that can be rows.

    Raises:
        DataError: where the text cannot be read on.
    """
    start = head.lstrip(" \t\r\n")
    cursor = Cursor(path, texts, is_one_line="\n" not in start.rstrip())
    if start.startswith("["):
        return _array(cursor)
    inside = outline(path, iter([start])) if is_alone(start) else {}
    if lists := members or _lists_of_rows(path, inside):
        return _members(cursor, lists)
    if next(iter(inside.values()), _VALUE) == _OBJECT and not _is_row(inside):
        return _named_rows(cursor)
    return _one_a_line(path, texts) if _is_one_a_line(start) else _one_after_the_other(cursor)


def is_alone(start: str) -> bool:
    """Say whether the object that begins a text may be all of it, as far as its first piece says."""
    try:
        end = Decoder().decode(start, 0).end
    except JSONDecodeError as error:
        # It goes on behind the first piece; or nothing is known, since it is nested too deeply.
        return may_be_cut_off(error) or error.pos == 0
    return not start[end:].strip()


def outline(path: Path, texts: Iterator[str]) -> dict[str, str]:
    """Return what each member of an object holds: rows (a list of objects), another list, an object, a value.

    Where the text breaks off it is what was seen until then.
    """
    found: dict[str, str] = {}
    cursor = Cursor(path, texts)
    with suppress(DataError):  # whoever reads the rows says what is wrong
        mark = cursor.take("{", "{")
        while mark != "}":
            _pass_over(cursor, cursor.key(), found)
            mark = cursor.take(",}", "a comma and the next key, or }")
    return found


def _pass_over(cursor: Cursor, key: str, found: dict[str, str]) -> None:
    """Move past the value of a key, and write into `found` what it holds, as far as it can be read."""
    # A list whose first element cannot be read counts as rows, so that its reader says what is wrong.
    found[key] = {"[": _ROWS, "{": _OBJECT}.get(cursor.peek(), _VALUE)
    if found[key] != _ROWS:
        cursor.value()
        return
    kinds: set[str] = set()
    for element in _elements(cursor, key):
        kinds.add(_kind(element.decoded.value))
        found[key] = next(kind for kind in (_VALUE, _ROWS, _LIST) if kind in kinds)
    found[key] = found[key] if kinds else _EMPTY


def _kind(element: Any) -> str:
    """Say what a list is by one element of it; a list of turns is the value of one row."""
    if not isinstance(element, dict):
        return _LIST
    return _VALUE if any(set(pair) <= element.keys() for pair in TURN_KEYS) else _ROWS


def _is_row(inside: Mapping[str, str]) -> bool:
    return any(kind == _VALUE and key.lower() in _OF_ROWS for key, kind in inside.items())


def lists_of_splits(inside: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the lists of rows in an `outline` that are named after splits, by split; empty where none is to train."""
    named: dict[str, list[str]] = {}
    for key, kind in inside.items():
        if _is_split(key, kind):
            named.setdefault(split_named(key), []).append(key)
    return named if "train" in named else {}


def _is_split(key: str, kind: str) -> bool:
    return kind in (_ROWS, _EMPTY) and bool(split_named(key))


def _lists_of_rows(path: Path, inside: Mapping[str, str]) -> list[str]:
    """Return the names of the lists that are the rows; raise DataError where that is not plain."""
    lists = [key for key, kind in inside.items() if kind == _ROWS]
    lists = lists or [key for key, kind in inside.items() if kind == _EMPTY and (key == "data" or split_named(key))]
    if "data" in lists:
        return ["data"]
    if splits := lists_of_splits(inside):
        return [key for keys in splits.values() for key in keys]
    if _is_row(inside):
        return []
    if len(lists) > 1:
        raise FaultError(
            str(path),
            "nested: several lists could be the rows; write the one to learn from into a file of its own. They stand "
            "at:",
            f"{', '.join(map(_step, lists))}.",
        )
    if len(inside) > 1 and set(inside.values()) == {_LIST}:
        raise _columnar(str(path), list(inside))
    return lists


def _columnar(where: str, columns: list[str]) -> FaultError:
    return FaultError(
        where,
        "nested: whole columns stand beside each other; write one object a row, as pandas does with "
        'to_json(orient="records", lines=True). The columns are:',
        f"{', '.join(columns[:8])}{', …' if len(columns) > 8 else ''}.",
    )


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
            decoded = decoder.decode(text, position)
        except JSONDecodeError as error:
            yield fault_of(error, f"{where}:{error.pos + 1}")
            return
        yield from _faults_or_rows(where, where, decoded)
        position = len(text) - len(text[decoded.end :].lstrip(" \t\r"))


def _one_after_the_other(cursor: Cursor) -> Records:
    while cursor.peek():
        where = cursor.where()
        yield from _faults_or_rows(where, where, cursor.value())


def _array(cursor: Cursor) -> Records:
    yield from _rows(cursor, "")
    if cursor.peek():
        raise cursor.refusal("there is more after the end of the array; a file may hold one array only")


class _Element(NamedTuple):
    where: str
    inside: str
    """Where it stands inside the file: `data[3]`."""
    decoded: Decoded


def _elements(cursor: Cursor, name: str) -> Iterator[_Element]:
    """Yield the elements of the array that comes next, which is called `name`."""
    cursor.take("[", "[")
    opened = cursor.where().rpartition(":")[2]
    if cursor.peek() == "]":
        cursor.take("]", "]")
        return
    meaning = f"a comma and the next row, or the ] that closes the array of line {opened}"
    mark, number = ",", 0
    while mark == ",":
        if cursor.peek() == "]":
            raise cursor.refusal("not JSON: remove the comma before the closing bracket")
        inside = f"{name}[{number}]"
        yield _Element(cursor.where(inside), inside, cursor.value())
        mark, number = cursor.take(",]", meaning), number + 1


def _rows(cursor: Cursor, name: str) -> Records:
    for where, inside, decoded in _elements(cursor, name):
        yield from _faults_or_rows(where, cursor.inside(inside), decoded)


def _members(cursor: Cursor, lists: Sequence[str]) -> Records:
    """Yield the rows of the lists of an object that are called so, as in {"data": […]}."""
    # Several splits of one file are read one by one, and what stands beside them is said once.
    splits = {split_named(name) for name in lists} - {""}
    is_said = not splits or "train" in splits
    found: dict[str, str] = {}
    mark = cursor.take("{", "{")
    while mark != "}":
        cursor.peek()
        line, key = cursor.where(), cursor.key()
        if key in lists and cursor.peek() == "[":
            yield from _rows(cursor, _step(key))
        else:
            _pass_over(cursor, key, found)
            if is_said and not (splits and _is_split(key, found[key])):
                yield _beside(key, line)
        mark = cursor.take(",}", "a comma and the next key, or }")
    _refuse_more(cursor)


def _beside(key: str, where: str) -> Note:
    return Note(f'"{key}" stands beside the rows and is not read', where)


def _named_rows(cursor: Cursor) -> Records:
    """Yield the rows of {"id1": {…}, …}, each with its key as `id`."""
    mark = cursor.take("{", "{")
    while mark != "}":
        cursor.peek()
        line, key = cursor.where(), cursor.key()
        where, decoded = cursor.where(_step(key)), cursor.value()
        if not isinstance(decoded.value, dict):
            yield _beside(key, line)
        elif decoded.value and all(name.isdecimal() for name in decoded.value):
            raise _columnar(where, [key])
        else:
            named = decoded._replace(value={"id": key} | decoded.value)
            yield from _faults_or_rows(where, cursor.inside(_step(key)), named)
        mark = cursor.take(",}", "a comma and the next key, or }")
    _refuse_more(cursor)


def _refuse_more(cursor: Cursor) -> None:
    if cursor.peek():
        raise cursor.refusal("there is more after the object that holds the rows")


def _step(key: str) -> str:
    """Return a key as it stands in a path; a colon ends the name of the file, so none follows."""
    return key if re.fullmatch(r"[\w-]+", key) else f"[{json.dumps(key)}]".replace(":", "\\u003a")


def _faults_or_rows(where: str, inside: str, decoded: Decoded) -> Records:
    """Yield what a value gives: its faults, or the one row that it is, or those inside it, each with its own place."""
    for cause, detail in decoded.faults:
        yield Fault(where, cause, detail)
    if decoded.faults:
        return
    if decoded.is_raw:
        yield Note(RAW, where)
    for step, row in _unnested(decoded.value):
        yield Record(f"{inside}{step}" if step else where, row)


def _unnested(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the questions of an article or paragraph of SQuAD with the way to each, or the value itself."""
    if not isinstance(value, dict) or not _has_questions(value):
        yield "", value
        return
    shared = {"title": value["title"]} if "title" in value else {}
    paragraphs = [("", value)] if "qas" in value else [
        (f".paragraphs[{number}]", paragraph) for number, paragraph in enumerate(value["paragraphs"])
    ]  # fmt: skip
    for way, paragraph in paragraphs:
        context = {"context": paragraph["context"]} if "context" in paragraph else {}
        for number, asked in enumerate(paragraph["qas"]):
            answers = [answer.get("text") if isinstance(answer, dict) else answer for answer in _answers(asked)]
            given = {} if "answer" in asked and not answers else {"answers": answers}
            yield f"{way}.qas[{number}]", {**shared, **context, **asked, **given}


def _has_questions(value: dict[str, Any]) -> bool:
    paragraphs = [value] if "qas" in value else value.get("paragraphs")
    if not paragraphs or not _are_objects(paragraphs) or not all(_are_objects(p.get("qas")) for p in paragraphs):
        return False
    return all(isinstance(_answers(asked), list) for p in paragraphs for asked in p["qas"])


def _answers(asked: dict[str, Any]) -> Any:
    return asked.get("answers") or []


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)
