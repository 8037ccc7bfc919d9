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


def read_general() -> list[dict[str, Any]]:
    """Return the bundled general text: passages with `id`, `kind` and `text`, by which forgetting is measured."""
    folder = Path(str(resources.files("tailora") / "assets" / "data" / "general"))
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]
    return [json.loads(line) for line in lines]


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
    line, counted, position = 1, 0, _skip(text, text.index("[") + 1)
    while text[position : position + 1] != "]":
        line, counted = line + text.count("\n", counted, position), position
        record, position = _record(path, line, text, position)
        yield SourceRow(f"{path}:{line}", record)
        position = _skip(text, position)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
        elif text[position : position + 1] != "]":
            raise DataError(f"{path}: the array is not closed; the file may be cut off after line {line}.")
    rest = _skip(text, position + 1)
    if rest < len(text):
        line += text.count("\n", counted, rest)
        raise DataError(f"{path}:{line}: there is more after the end of the array; a file may hold one array only.")


def _line_rows(path: Path, text: str) -> Iterator[SourceRow]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            record, end = _record(path, number, line, _skip(line, 0))
            rest = _skip(line, end)
            if rest < len(line):
                raise DataError(f"{path}:{number}:{rest + 1}: there is more after the object; write one object a line.")
            yield SourceRow(f"{path}:{number}", record)


def _record(path: Path, line: int, text: str, position: int) -> tuple[dict[str, Any], int]:
    """Return the object that begins at `position` of `text`, on `line` of the file, and the position after it."""
    try:
        value, end = json.JSONDecoder(parse_constant=_refuse).raw_decode(text, position)
    except json.JSONDecodeError as error:
        within = line + text.count("\n", position, error.pos)
        raise DataError(f"{path}:{within}:{error.colno}: not JSON: {error.msg}.") from None
    except ValueError as error:
        raise DataError(f"{path}:{line}: not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}:{line}: a row must be an object with named columns, got {type(value).__name__}.")
    return value, end


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no value of JSON; write null, or leave the key out")


def _skip(text: str, position: int) -> int:
    while text[position : position + 1].isspace():
        position += 1
    return position


def _csv_rows(path: Path, text: str) -> Iterator[SourceRow]:
    records = _csv_records(path, text)
    first, header = next(records)
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}:{first}: columns that stand twice: {', '.join(twice)}; give each a name of its own.")
    for line, values in records:
        if len(values) != len(header):
            raise DataError(
                f"{path}:{line}: {len(values)} fields where the header has {len(header)}; "
                "quote fields that hold commas or line breaks."
            )
        yield SourceRow(f"{path}:{line}", dict(zip(header, values, strict=True)))


def _csv_records(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the records with the line where each begins; blank lines are none."""
    # The module refuses fields above 128 KiB unless told otherwise; the whole file is in memory already.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader, line = csv.reader(io.StringIO(text, newline=""), strict=True), 1
    try:
        for values in reader:
            if values:
                yield line, values
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{line}: not CSV: {error}.") from None
