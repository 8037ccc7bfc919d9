"""Tables → records: CSV with any usual delimiter, with or without a header, Parquet, and Arrow of `datasets`."""

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tailora.data.formats.text_stream import lines
from tailora.data.records import ROW_CAP, Fault, FaultError, Note, Record, Records
from tailora.errors import some_of

_DELIMITERS = ",\t;|"
# With this line before the header Excel says which delimiter follows; it is no row.
_ANNOUNCED = re.compile(r'"?sep=([,;\t|:^~])"?[ \t]*\r?\n', re.IGNORECASE)
_SAMPLE_CHARACTERS, _SAMPLE_RECORDS = 1 << 16, 50
# Names of columns are short; what is longer is a text.
_LONGEST_NAME = 100
_BATCH = 256


class _Layout(NamedTuple):
    delimiter: str
    even: float
    """Share of the first records that have as many fields as the very first."""
    records: list[list[str]]


def is_table(head: str) -> bool:
    """Say whether text without a telling name is a table: two records or more, all of the same two or more fields.

    Prose may have a comma in each line too, but with a blank after it.
    """
    layout = _layout(head)
    blanks = any(field.startswith(" ") for record in layout.records for field in record)
    return layout.even == 1 and len(layout.records) > 1 and not blanks


def csv_records(path: Path, head: str, texts: Iterator[str]) -> Records:
    """Yield the records of a table; `head` is the first piece of `texts`.

    Raises:
        DataError: where the text cannot be read on.
    """
    layout = _layout(head)
    found = _records(path, texts, layout.delimiter)
    if _ANNOUNCED.match(head):
        next(found)
    where, first = next(found, (f"{path}:1", []))
    if not first:
        raise FaultError(where, "a table without a header and without rows.")
    names, headless = first, _no_header(layout.records)
    if headless:
        names = [f"column_{number}" for number in range(1, len(first) + 1)]
        found = itertools.chain([(where, first)], found)
        yield Note(f"no header, since {headless}: the columns are {_listed(names)}; else name them in line 1", where)
    _refuse_bad_header(where, names)
    names = [name or f"column_{number}" for number, name in enumerate(names, start=1)]
    for where, fields in found:
        if len(fields) == len(names):
            yield Record(where, dict(zip(names, fields, strict=True)))
        else:
            yield _miscounted(where, len(fields), names, layout.delimiter)


def _layout(head: str) -> _Layout:
    """Choose the delimiter that gives the first records the same number of fields, two at least, most evenly."""
    announced = _ANNOUNCED.match(head)
    head = head[announced.end() :] if announced else head
    sample = head[:_SAMPLE_CHARACTERS]
    if len(sample) < len(head):
        sample = sample[: sample.rfind("\n") + 1] or head
    layouts = [_split(sample, delimiter) for delimiter in (announced[1] if announced else _DELIMITERS)]
    return max(layouts, key=lambda layout: (layout.even, len(layout.records[0]) if layout.records else 0))


def _split(sample: str, delimiter: str) -> _Layout:
    records: list[list[str]] = []
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter, strict=True)
    with suppress(csv.Error):  # the sample may end inside a quoted field; what is wrong is said later, with its line
        records += itertools.islice((record for record in reader if record), _SAMPLE_RECORDS)
    width = len(records[0]) if records else 0
    same = sum(len(record) == width for record in records)
    return _Layout(delimiter, same / len(records) if width > 1 else 0.0, records)


def _no_header(records: list[list[str]]) -> str:
    """Say why the first record must be data; an empty string when it may be a header.

    A word above a column of numbers is a name, whatever stands beside it. Without such a column, a number above
    numbers, or a field too long for a name, is data.
    """
    first, *others = records or [[]]
    columns = list(itertools.zip_longest(first, *(other[: len(first)] for other in others), fillvalue=""))
    numbers = [bool(others) and all(map(_is_number, below)) for _, *below in columns]
    if any(number and not _is_number(name) for name, number in zip(first, numbers, strict=True)):
        return ""
    for name, number in zip(first, numbers, strict=True):
        if number:
            return f"the first line has the number {name} above numbers"
        if len(name) > _LONGEST_NAME:
            return f"the first line holds a text of {len(name):,} characters"
    return ""


def _is_number(field: str) -> bool:
    try:
        return math.isfinite(float(field))
    except ValueError:
        return False


def _refuse_bad_header(where: str, names: list[str]) -> None:
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise FaultError(where, "columns that stand twice; give each a name of its own:", f"{some_of(twice)}.")


def _miscounted(where: str, found: int, names: list[str], delimiter: str) -> Fault:
    name = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}.get(delimiter, f"a {delimiter!r}")
    return Fault(
        where,
        f"another number of fields than the {len(names)} of the header ({_listed(names)}); quote fields that hold "
        f"{name} or line breaks.",
        f"{found} fields here.",
    )


def _listed(names: list[str]) -> str:
    return some_of(names) if len(names) <= 8 else f"{some_of(names[:7], 7)}, …, {some_of(names[-1:])}"


def _records(path: Path, texts: Iterable[str], delimiter: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the records with the place where each begins; blank lines are none."""
    # The module refuses fields above 128 KiB unless told otherwise, and keeps the limit for the whole process.
    csv.field_size_limit(ROW_CAP)
    line, size = 1, 0

    def measured() -> Iterator[str]:
        nonlocal size
        for text in lines(path, texts, ""):
            if size + len(text) > ROW_CAP and size + len(text.rstrip("\r\n")) > ROW_CAP:
                cause = f"a row of more than {ROW_CAP:,} characters; a quote that opens in it may never be closed."
                raise FaultError(f"{path}:{line}", cause)
            size += len(text)
            yield text

    reader = csv.reader(measured(), delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            if fields:
                yield f"{path}:{line}", fields
            line, size = reader.line_num + 1, 0
    except csv.Error as error:
        raise FaultError(f"{path}:{line}", f"not CSV: {_explain(str(error))}.") from None


def _explain(error: str) -> str:
    if "unexpected end of data" in error:
        return (
            "a quote opens in the record that begins here and is never closed; close it, or double it to mean a quote"
        )
    if "expected after" in error:
        return f'{error}; a quote inside a quoted field is doubled ("")'
    return error


def parquet_records(path: Path, file: BinaryIO) -> Records:
    """Yield the rows of a Parquet file; the place of each is its number, from 1.

    Raises:
        DataError: when the file is damaged.
    """
    import pyarrow.parquet

    def batches() -> Iterator[Any]:
        table = pyarrow.parquet.ParquetFile(file)
        yield table.schema_arrow
        yield from table.iter_batches(batch_size=_BATCH)

    return _arrow_rows(path, "Parquet", batches())


def arrow_records(path: Path, file: BinaryIO) -> Records:
    """Yield the rows of an Arrow stream, as `save_to_disk` of `datasets` writes it, in the same way."""
    import pyarrow

    def batches() -> Iterator[Any]:
        table = pyarrow.ipc.open_stream(file)
        yield table.schema
        for batch in table:
            yield from (batch.slice(start, _BATCH) for start in range(0, batch.num_rows, _BATCH))

    return _arrow_rows(path, "Arrow", batches())


def _arrow_rows(path: Path, kind: str, batches: Iterator[Any]) -> Records:
    """Yield the rows of the batches that follow their schema."""
    number = 0
    try:
        schema = next(batches)
        _refuse_bad_header(str(path), schema.names)
        names = _class_names(schema.metadata or {})
        for batch in batches:
            for number, row in enumerate(batch.to_pylist(), start=number + 1):  # noqa: B020 — it goes on counting
                yield Record(f"{path}:{number}", {**_as_json(row), **_named(row, names)})
    except FaultError:
        raise
    except Exception as error:  # text that is no UTF-8, and whatever else a damaged file brings up
        raise FaultError(str(path), f"the {kind} file is damaged; fetch or write it again.", f"({error})") from None


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of labels by column, where the file was written by `datasets` and says them (ClassLabel)."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            column: list(map(str, feature["names"]))
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _named(row: dict[str, Any], names: dict[str, list[str]]) -> dict[str, str | None]:
    """Return the labels of a row by their names; None for a number that has none, as -1 for no label."""
    return {
        column: known[row[column]] if isinstance(row[column], int) and 0 <= row[column] < len(known) else None
        for column, known in names.items()
        if column in row
    }


def _as_json(value: Any) -> Any:
    """Return `value` with dates and decimals as text; pandas writes a missing number as NaN, so that is null."""
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value if value is None or isinstance(value, str | bool | int | float | bytes) else str(value)
