"""Sources → rows that say where they stand: files, folders, globs, samples. Knows nothing of columns.

What a file is, is seen by its content, never by its name: JSON in all usual layouts (`json_rows`), CSV and Parquet
(`tables`), each also packed with gzip (`content`). Hub ids are read through `datasets`.
"""

import codecs
import glob
import hashlib
import heapq
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from tailora import files
from tailora.data.formats.json_rows import is_alone, json_records, lists_of_splits, outline
from tailora.data.formats.tables import arrow_records, csv_records, is_table, parquet_records
from tailora.data.formats.text_stream import PARQUET, is_gzip, kind_of, opened, pieces, refuse_other_kinds, texts
from tailora.data.records import Fault, FaultError, Note, Notices, Problems, Record, Records, split_named
from tailora.data.row_checks import remarks, what_is_wrong
from tailora.errors import DataError, did_you_mean, some_of

_KINDS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow")
_ARROW = b"\xff\xff\xff\xff"
# Lines of comments, then JSON.
_COMMENT = re.compile(r"\s*(?>(?://|#)[^\n]*\n\s*|/\*(?s:.*?)\*/\s*)+[\[{]")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?::[\w.-]+)?")


class SourceRow(NamedTuple):
    """One record as the file has it, and where it stands.

    That is `file:line`, `file:number` in Parquet, or `file:data[3]`, the way to it, where rows share a line of JSON.
    """

    where: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Source:
    """The files behind a source, or its hub id, and how many of its rows are used."""

    name: str
    files: tuple[Path, ...]
    rows: int | None = None
    left_out: tuple[Path, ...] = ()
    hub: str | None = None
    members: tuple[str, ...] = ()
    """Which lists of a JSON file are meant, where it holds several."""

    def __str__(self) -> str:
        return self.name

    def parts(self) -> list[str]:
        """Return the names of its files, or of the lists in its one file that are meant."""
        if self.members:
            return [f"{path.name}: {member}" for path in self.files for member in self.members]
        return [path.name if split_named(path.name) else f"{path.parent.name}/{path.name}" for path in self.files]

    def sha256(self) -> str:
        """Return the SHA-256 of the file; of several, that of the list which `sha256sum` prints beside them.

        Of a data set of the hub it is that of the fingerprint which `datasets` gives it.
        """
        if self.hub:
            return hashlib.sha256(str(_hub_rows(self.hub)._fingerprint).encode()).hexdigest()
        if len(self.files) == 1:
            return files.sha256(self.files[0])
        listed = "".join(f"{files.sha256(path)}  {path.name}\n" for path in self.files)
        return hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()


def bundled_data() -> dict[str, Path]:
    """Return the data sets that travel with the package, by name."""
    folder = Path(str(resources.files("tailora") / "assets" / "data"))
    return {path.parent.name: path for path in sorted(folder.glob("*/rows.jsonl"))}


def read_general(most: int | None = None) -> list[dict[str, Any]]:
    """Return the bundled general text: passages with `id`, `kind` and `text`, by which forgetting is measured.

    At most `most` passages of each kind; all when left out.
    """
    folder = Path(str(resources.files("tailora") / "assets" / "data" / "general"))
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()[:most]]
    return [json.loads(line) for line in lines]


def splits_of(source: Source) -> dict[str, Source]:
    """Return the splits that a source comes with, as sources.

    They are those that its files are named after ("train.jsonl", "test-00000.parquet", "test/rows.csv"), or the lists
    of one JSON file ({"train": […], "test": […]}). Empty where nothing is called after the training split, or nothing
    after another; files of no split are in "train".
    """
    named: dict[str, list[Path]] = {}
    for file in source.files:
        named.setdefault(_split_of_file(file, source), []).append(file)
    if "train" in named and {"val", "test"} & named.keys():
        named["train"] += named.pop("", [])
        return {
            split: Source(str(named[split][0]) if len(named[split]) == 1 else f"{source} ({split})",
                          tuple(named[split]), source.rows)
            for split in ("train", "val", "test") if split in named
        }  # fmt: skip
    lists = _lists_of_splits(source.files[0]) if len(source.files) == 1 else {}
    return {
        split: Source(f"{source} ({split})", source.files, source.rows, members=tuple(lists[split]))
        for split in ("train", "val", "test") if split in lists and len(lists) > 1
    }  # fmt: skip


def _split_of_file(file: Path, source: Source) -> str:
    """Return the split that a file is named after, or the folder inside the source where it lies."""
    folder = Path(str(source).removesuffix(f"#{source.rows}"))
    return split_named(file.name) or (split_named(file.parent.name) if folder in file.parent.parents else "")


def _lists_of_splits(path: Path) -> dict[str, list[str]]:
    """Return which lists in a JSON file are which split; it is read through where the first piece has such a list."""
    try:
        with opened(path) as file:
            content = pieces(path, file)
            head = next(content, b"")
            if not head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
                return {}
            text = texts(path, itertools.chain([head], content))
            start = next(text, "")
            first = outline(path, iter([start])) if is_alone(start.lstrip()) else {}
            if not any(map(split_named, first)):
                return {}
            return lists_of_splits(outline(path, itertools.chain([start], text)))
    except DataError:  # whoever reads the rows says what is wrong
        return {}


def locate_source(source: str, key: str = "data.source") -> Source:
    """Return the files behind a source: a file, the data files of a folder, a glob, bundled data, or a hub id.

    `rows.jsonl#500` is a sample of 500 rows: those whose contents have the smallest hashes. So it does not depend on
    the order of the rows or the format, and `#500` holds all rows of `#100`. `owner/name:validation` is a split of
    the hub's; `train` when none is named.

    Raises:
        DataError: when there is no such file, with the nearest names, or it may not be read; begins with `key`.
    """
    try:
        name, rows = _sample_size(source)
        if _is_hub_id(name):
            return Source(source, (), rows, hub=name)
        found, left_out = _find(name)
    except OSError as error:
        raise DataError(f"{key}: {source} cannot be read: {error.strerror or error}.") from None
    except DataError as error:
        raise DataError(f"{key}: {error}") from None
    shown = str(found[0]) if len(found) == 1 else name
    return Source(shown if rows is None else f"{shown}#{rows}", tuple(found), rows, tuple(left_out))


def _sample_size(source: str) -> tuple[str, int | None]:
    name, mark, count = source.rpartition("#")
    if not mark or not count.isdecimal() or Path(source).exists():
        return source, None
    if int(count) == 0:
        raise DataError(f"{source} asks for no rows; write how many after the #, such as {name}#500.")
    return name, int(count)


def _is_hub_id(name: str) -> bool:
    """Say whether a name can only mean the hub: `owner/name`, and nothing of that kind lies here."""
    path = Path(name.partition(":")[0])
    looks_like_a_file = name.lower().removesuffix(".gz").endswith(_KINDS)
    return bool(_HUB_ID.fullmatch(name)) and not looks_like_a_file and not path.exists() and not path.parent.exists()


def _find(name: str) -> tuple[list[Path], list[Path]]:
    """Return the files meant by `name`, sorted, and the files beside them that are left out."""
    if not name.strip():
        raise DataError('the name is empty; name a file, such as "rows.jsonl", or bundled data.')
    path, bundled = Path(name), bundled_data()
    if path.is_file():
        return [path], []
    if name in bundled:
        return [bundled[name]], []
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        raise DataError(f"{name} is {kind_of(path)}; copy what it holds into a file and name that.")
    matches = [Path(match) for match in glob.glob(name, recursive=True)]
    if found := sorted(match for match in matches if not match.is_dir()):
        return found, []
    beside = [str(p) for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
    what = "no file matches" if glob.has_magic(name) else "there is no file"
    raise DataError(
        f"{what} {name}{did_you_mean(name, [*beside, *bundled])}; give a file, folder or glob of JSON, JSONL, CSV or "
        f"Parquet, bundled data ({', '.join(bundled)}), or a hub id such as flytech/python-codes-25k."
    )


def _in_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the data files of a folder, and of folders in it that are named after splits; and what else it has."""
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    # Beside the rows that `save_to_disk` of `datasets` writes lies JSON that is about them.
    about = {"dataset_dict.json", *(("state.json", "dataset_info.json") if (folder / "state.json").is_file() else ())}
    inside = [path for path in inside if path.name not in about]
    found = [path for path in inside if path.name.lower().removesuffix(".gz").endswith(_KINDS) and not path.is_dir()]
    left_out = [path for path in inside if path not in found]
    for path in [path for path in inside if path.is_dir() and split_named(path.name)] if not found else []:
        part, rest = _in_folder(path)
        found, left_out = found + part, [*(other for other in left_out if other != path), *rest]
    if not found:
        deeper = " Name the folder in it that has the rows." if any(path.is_dir() for path in inside) else ""
        raise DataError(
            f"{folder} is a folder without data ({', '.join(_KINDS)}, each also .gz); "
            f"it has: {some_of([path.name for path in inside]) or 'nothing'}.{deeper}"
        )
    return found, left_out


def read_rows(source: Source | Path, notices: Notices | None = None) -> Iterator[SourceRow]:
    """Yield the rows of all files of a source, in order; `notices` takes in what its owner should know.

    JSON arrays, JSONL and CSV are read as they come, in memory that does not depend on the size of the file.

    Raises:
        DataError: at the end, with the first twenty causes in all files, each with its count and three places.
    """
    source = Source(str(source), (source,)) if isinstance(source, Path) else source
    notices = Notices() if notices is None else notices
    rows = _all_rows(source, notices)
    return rows if source.rows is None else sample(rows, source.rows, notices, str(source))


def _all_rows(source: Source, notices: Notices) -> Iterator[SourceRow]:
    problems = Problems()
    for path in source.left_out:
        notices.add("in the folder, but not read", str(path))
    readings = (
        [_hub_records(source.hub)] if source.hub else [_file_records(path, source.members) for path in source.files]
    )
    for records in readings:
        try:
            yield from _checked(records, problems, notices)
        except DataError as error:
            problems.take(error)
    problems.refuse()


def sample(rows: Iterable[SourceRow], count: int, notices: Notices, name: str) -> Iterator[SourceRow]:
    """Yield the `count` rows whose contents have the smallest hashes, in the order of the source."""
    chosen = heapq.nsmallest(count, enumerate(rows), key=lambda pair: _content_key(pair[1]))
    if len(chosen) < count:
        notices.add(f"asked for {count:,} rows of {len(chosen):,}; all are used", name)
    yield from (row for _, row in sorted(chosen, key=lambda pair: pair[0]))


def _content_key(row: SourceRow) -> str:
    return files.fingerprint("sample", json.dumps(row.values, sort_keys=True, ensure_ascii=False))


def _file_records(path: Path, members: tuple[str, ...]) -> Records:
    with opened(path) as file:
        zipped, content = is_gzip(file), pieces(path, file)
        head = next(content, b"")
        if head.startswith((PARQUET, _ARROW)):
            read = parquet_records if head.startswith(PARQUET) else arrow_records
            if not zipped:
                file.seek(0)
            yield from read(path, io.BytesIO(head + b"".join(content)) if zipped else file)
            return
        refuse_other_kinds(path, head)
        yield from _text_records(path, texts(path, itertools.chain([head], content)), members)


def _hub_records(name: str) -> Records:
    for number, row in enumerate(_hub_rows(name), start=1):
        yield Record(f"{name}:{number}", row)


def _hub_rows(name: str) -> Any:
    """Return a split of a data set of the hub, from the local cache where it is there; its own code never runs."""
    from datasets import load_dataset

    owned, _, split = name.partition(":")
    try:
        return load_dataset(owned, split=split or "train")
    except Exception as error:  # the many clients below have errors of their own, for one fact: it is not to be had
        raise DataError(
            f"{owned} is no file here, and the data hub does not give us its split {split or 'train'!r}: "
            f"{str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__}. Check the "
            "name and the network, or download the file and name that."
        ) from None


def _text_records(path: Path, content: Iterator[str], members: tuple[str, ...]) -> Records:
    head = next(content, "")
    first, whole = head.lstrip()[:1], itertools.chain([head], content)
    if not first:
        raise FaultError(str(path), "the file is empty; it must hold at least one row.")
    if first in "[{":
        return json_records(path, head, whole, members)
    if _COMMENT.match(head):
        raise FaultError(f"{path}:1", "JSON has no comments; remove the lines and parts that begin with //, /* or #.")
    if {".csv", ".tsv"} & {suffix.lower() for suffix in path.suffixes} or is_table(head):
        return csv_records(path, head, whole)
    raise FaultError(
        f"{path}:1",
        "this is neither JSON, which begins with [ or {, nor a table, whose lines all have as many fields. Plain text "
        'has no questions and answers: write one row a line, such as {"prompt": "…", "answer": "…"}, and name the file '
        ".jsonl.",
        f"It begins with {head.strip()[:40]!r}.",
    )


def _checked(records: Records, problems: Problems, notices: Notices) -> Iterator[SourceRow]:
    """Yield the records that are rows; the others are problems."""
    for record in records:
        match record:
            case Fault():
                problems.add(record)
            case Note(message, where):
                notices.add(message, where)
            case Record(where, value):
                if wrong := what_is_wrong(where, value):
                    problems.add(wrong)
                    continue
                for remark in remarks(value):
                    notices.add(remark, where)
                yield SourceRow(where, value)
