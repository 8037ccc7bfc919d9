"""Source files → rows that say where they stand. Knows JSON, JSONL and CSV; knows nothing of columns."""

import csv
import io
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from tailora.errors import DataError, did_you_mean

_KINDS = (".json", ".jsonl", ".csv")


class SourceRow(NamedTuple):
    """One record as the file has it, and where it stands (`file:line`)."""

    where: str
    values: dict[str, Any]


def bundled_data() -> dict[str, Path]:
    """Return the data sets that travel with the package, by name."""
    folder = Path(str(resources.files("tailora") / "assets" / "data"))
    return {path.parent.name: path for path in sorted(folder.glob("*/rows.jsonl"))}


def locate_source(source: str) -> Path:
    """Return the file behind `data.source`; raise DataError with the nearest names."""
    path, bundled = Path(source), bundled_data()
    if path.is_file():
        return path
    if source in bundled:
        return bundled[source]
    if path.is_dir():
        found = sorted(p.name for p in path.iterdir() if p.suffix in _KINDS)
        raise DataError(
            f"data.source: {source} is a folder; name one file in it: {', '.join(found) or '(no data here)'}."
        )
    beside = [str(p) for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
    raise DataError(
        f"data.source: there is no file {source}{did_you_mean(source, [*beside, *bundled])}; give a JSON, JSONL or "
        f"CSV file, or bundled data: {', '.join(bundled)}."
    )


def read_rows(path: Path) -> Iterator[SourceRow]:
    """Yield every record of a file, in file order.

    Raises:
        DataError: with `file:line` at the first byte or record that cannot be read.
    """
    text = _decode(path)
    if not text.strip():
        raise DataError(f"{path}: the file is empty; it must hold at least one row.")
    if path.suffix.lower() == ".csv":
        return _csv_rows(path, text)
    return _array_rows(path, text) if text.lstrip()[0] == "[" else _line_rows(path, text)


def _decode(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8 "
            "(iconv -f LATIN1 -t UTF-8 old > new)."
        ) from None


def _array_rows(path: Path, text: str) -> Iterator[SourceRow]:
    decoder, position, line = json.JSONDecoder(), text.index("[") + 1, 1
    counted = 0
    while True:
        position = _skip(text, position)
        if text[position : position + 1] == "]":
            return
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}.") from None
        yield SourceRow(f"{path}:{line}", _record(path, line, value))
        position = _skip(text, position)
        if text[position : position + 1] == ",":
            position += 1
        elif text[position : position + 1] != "]":
            raise DataError(f"{path}: the array is not closed; the file may be cut off after line {line}.")


def _skip(text: str, position: int) -> int:
    while text[position : position + 1].isspace():
        position += 1
    return position


def _line_rows(path: Path, text: str) -> Iterator[SourceRow]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}:{number}:{error.colno}: not JSON: {error.msg}; one object a line.") from None
            yield SourceRow(f"{path}:{number}", _record(path, number, value))


def _record(path: Path, line: int, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{path}:{line}: a row must be an object with named columns, got {type(value).__name__}.")
    return value


def _csv_rows(path: Path, text: str) -> Iterator[SourceRow]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader)
        for values in reader:
            if len(values) != len(header):
                raise DataError(
                    f"{path}:{reader.line_num}: {len(values)} fields where the header has {len(header)}; "
                    "quote fields that hold commas or line breaks."
                )
            yield SourceRow(f"{path}:{reader.line_num}", dict(zip(header, values, strict=True)))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not CSV: {error}.") from None
