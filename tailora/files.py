"""Files and folders that are either whole or absent: atomic writes, JSON and JSONL, hashes, names that become paths.

What is finished is vouched for: the record of a stage (`stage.json`) holds the SHA-256 of each file in its folder, and
a seal on itself. Who reads one of them here hears when it is not what was written.
"""

import errno
import functools
import hashlib
import json
import os
import re
import shutil
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, overload

from tailora.errors import RecipeError, RunError

Row = dict[str, Any]

MANIFEST = "manifest.json"
RECORD = "stage.json"
_SEAL, _LISTED = "seal", "files"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk full, quota used up, larger than this process may write
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def checked_name(name: str, what: str) -> str:
    """Return `name` if it may become a path below our own folders; raise RecipeError otherwise."""
    if not _NAME.fullmatch(name):
        raise RecipeError(
            f"{what} is {name!r}; use at most 64 letters, digits, dots, dashes and underscores, "
            "beginning with a letter or digit, such as 'python-qa'."
        )
    return name


def checked_text(value: Any) -> Any:
    """Return `value` when the texts in it can be written as UTF-8; raise RecipeError for a name of a file that cannot.

    Such names come from the command line, where bytes that are no UTF-8 stand for themselves.
    """
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise RecipeError(f"{value!r} is a name that is not UTF-8, so no file can say it; rename it.") from None
    return value


def is_file(path: Path) -> bool:
    """Say whether there is a regular file at `path`, which may be too long for a name."""
    try:
        return path.is_file()
    except OSError:
        return False


class NoRoom(RunError, OSError):
    """A file cannot be written, since the disk or a quota is full; what was there before is as it was."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path}: there is no room to write it ({error.strerror}). Make room, then try again.")
        self.errno, self.strerror = error.errno, error.strerror

    def __str__(self) -> str:
        return self.problems[0]


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file so that `path` is never seen half written; raise NoRoom when the disk is full."""
    partial = path.with_name(f".{fingerprint(path.name)}.{os.getpid()}.partial")  # as short for the longest name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if lacks_space(error):
            raise NoRoom(path, error) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` so that `path` is never seen half written."""
    with _new_file(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, its line ends as they are, so that `path` is never seen half written."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused."""
    write_bytes(path, _json(value, indent=2))


def write_sealed(path: Path, values: dict[str, Any]) -> None:
    """Write `values` as `write_json` does, with a hash of them by which `read_json` sees that none was changed."""
    write_json(path, {**values, _SEAL: _seal(json.loads(_json(values)))})


def _seal(values: dict[str, Any]) -> str:
    return fingerprint(json.dumps({key: values[key] for key in values if key != _SEAL}, sort_keys=True))


def write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    """Write one JSON object a line; NaN and infinity are refused."""
    RowFile.write(path, rows)


def json_line(row: Row) -> str:
    """Return `row` as one line of JSONL, with its line end."""
    return _json(row).decode()


def _json(value: Any, indent: int | None = None) -> bytes:
    # A name of a file that is not UTF-8 holds lone surrogates, which JSON can say in escapes alone.
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent) + "\n"
    return text.encode("utf-8", "backslashreplace")


class Record(dict[str, Any]):
    """What a JSON file holds; a key that is not there is damage to the file, told as such."""

    def __init__(self, path: Path, values: dict[str, Any]) -> None:
        super().__init__(values)
        self._path = path

    def __missing__(self, key: str) -> Any:
        raise RunError(f"{self._path} is damaged (it says nothing of {key!r}); run its stage again with --fresh.")


def read_json(path: Path) -> Record:
    """Read an object from a file; raise RunError when it is missing, damaged or no object. Pipes are not waited for."""
    require_unchanged(path)
    found = Record(path, _parsed(path.read_bytes(), str(path)))
    if _SEAL in found and found[_SEAL] != _seal(found):
        raise RunError(
            f"{path} is damaged (a value in it was changed after it was written); copy it back, or run its stage again "
            "with --fresh."
        )
    return found


def read_jsonl(path: Path) -> Iterator[Row]:
    """Yield the rows of a JSONL file of ours; raise RunError when it is missing or damaged."""
    require_unchanged(path)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            yield _parsed(line, f"{path}:{number}")


def read_log(path: Path) -> tuple[list[Row], str]:
    """Return the rows of a log that can be read, and what is wrong with it; an empty text when it is as it was written.

    A log feeds figures only, so what is damaged in it costs nothing else.
    """
    rows, lines = [], path.read_bytes().splitlines() if path.is_file() else []
    for line in lines:
        with suppress(RunError):
            row = _parsed(line, str(path))
            if isinstance(row.get("step"), int) and isinstance(row.get("split"), str) and "loss" in row:
                rows.append(row)
    damaged = len(lines) - len(rows)
    if damaged or not lines:
        return rows, f"{path}: {damaged:,} of its {len(lines):,} lines are damaged and left out"
    return rows, "" if _is_unchanged(path) else f"{path} was changed since its stage wrote it"


def _parsed(text: bytes, where: str) -> Row:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, nested too deep
        raise RunError(f"{where} is damaged ({error}); run its stage again with --fresh.") from None
    if not isinstance(found, dict):
        raise RunError(f"{where} is damaged (it holds no object); run its stage again with --fresh.")
    return found


def hashes(folder: Path, leave_out: Iterable[str] = ()) -> dict[str, str]:
    """Return the SHA-256 of all files below `folder`, by their paths there, but for what begins with `leave_out`."""
    found = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name.as_posix(): sha256(path) for name, path in found.items() if name.parts[0] not in leave_out}


def require_unchanged(path: Path) -> None:
    """Raise RunError when `path` is no readable file, or another one than the stage that wrote it has recorded."""
    if not path.is_file():
        what = "is no file" if path.exists() else "is missing; run the stage that writes it first"
        raise RunError(f"{path} {what}.")
    if not os.access(path, os.R_OK):
        raise RunError(f"{path} cannot be read; you have not the right to.")
    if not _is_unchanged(path):
        raise RunError(
            f"{path} is not what its stage has written there: it was changed or damaged since. Copy it back from where "
            "the run came from, or run the stage again with --fresh."
        )


def _is_unchanged(path: Path) -> bool:
    """Say whether a file has the hash that the record of its stage gives it; true where none does."""
    for folder in (path.parent, path.parent.parent):
        record = folder / RECORD
        if record != path and record.is_file():
            listed = read_json(record).get(_LISTED)
            return not isinstance(listed, dict) or listed.get(path.relative_to(folder).as_posix()) in (
                None,
                sha256(path),
            )
    return True


class RowFile(Sequence[Row]):
    """The rows of a JSONL file of ours, each read when it is asked for: memory holds eight bytes a row.

    Raises RunError when the file is missing or a row is damaged.
    """

    def __init__(self, path: Path, starts: "array[int]") -> None:
        self.path = path
        self._starts = starts

    @classmethod
    def open(cls, path: Path) -> "RowFile":
        """Find where the rows of an existing file begin."""
        require_unchanged(path)
        starts, place = array("Q"), 0
        with path.open("rb") as lines:
            for line in lines:
                starts.append(place)
                place += len(line)
        return cls(path, starts)

    @classmethod
    def write(cls, path: Path, rows: Iterable[Row]) -> "RowFile":
        """Write rows as they come; until the last one is written, `path` does not exist."""
        starts = array("Q")
        with _new_file(path) as file:
            for row in rows:
                starts.append(file.tell())
                file.write(_json(row))
        return cls(path, starts)

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, number: int) -> Row: ...
    @overload
    def __getitem__(self, number: slice) -> list[Row]: ...
    def __getitem__(self, number: int | slice) -> Row | list[Row]:
        with self.path.open("rb") as file:
            if isinstance(number, slice):
                return [self._read(file, i) for i in range(len(self))[number]]
            return self._read(file, range(len(self))[number])

    def __iter__(self) -> Iterator[Row]:
        return read_jsonl(self.path)

    def pick(self, numbers: Iterable[int]) -> Iterator[Row]:
        """Yield the rows with these numbers, in the order asked for."""
        with self.path.open("rb") as file:
            for number in numbers:
                yield self._read(file, number)

    def _read(self, file: BinaryIO, number: int) -> Row:
        file.seek(self._starts[number])
        return _parsed(file.readline(), f"{self.path}:{number + 1}")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex; computed once in a process while the file is not touched."""
    status = path.stat()
    return _sha256_at(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _sha256_at(path: Path, size: int, mtime: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(*parts: str) -> str:
    """Return a short stable hash of texts: 16 hex digits, the same on every machine and run."""
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Fill a folder that is seen as `path` only when it is whole and on disk, and that can be checked later.

    Yields the folder to fill. A manifest with the SHA-256 of each file is written last, then the folder is renamed;
    killed before that, a hidden folder beside it is all that is left.
    """
    partial = path.with_name(f".{path.name}.partial")
    remove_folder(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        write_json(partial / MANIFEST, {file.name: sha256(file) for file in sorted(partial.iterdir())})
    except BaseException:
        remove_folder(partial)
        raise
    sync_tree(partial)
    partial.rename(path)
    sync(path.parent)


def hash_of_weights(folder: Path) -> str:
    """Return a hash of the weights in `folder` and of what says how they are used."""
    parts = [*folder.glob("*.safetensors"), *folder.glob("*config.json")]
    return fingerprint(*(f"{path.name} {sha256(path)}" for path in sorted(parts) if path.is_file()))


def damage(folder: Path) -> str | None:
    """Say what is wrong with a folder made by `whole_folder`, or return None when each file is as it was written."""
    try:
        manifest = read_json(folder / MANIFEST)
    except RunError:
        return f"{MANIFEST} is missing or damaged"
    held = {file.name for file in folder.iterdir()} - {MANIFEST}
    if not isinstance(manifest, dict) or not manifest or held - manifest.keys():
        return f"{MANIFEST} does not list all files"
    for name, digest in manifest.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if sha256(folder / name) != digest:
            return f"{name} has changed since it was written"
    return None


def remove_folder(path: Path) -> None:
    """Remove a folder where there is one; killed midway, nothing half removed is left under its name."""
    if path.is_dir():
        hidden = path.with_name(f".{path.name.lstrip('.')}.removed")
        shutil.rmtree(hidden, ignore_errors=True)
        path.rename(hidden)
        shutil.rmtree(hidden)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until everything in `folder` is on disk, the folder itself included."""
    for path in sorted(folder.rglob("*"), reverse=True):
        sync(path)
    sync(folder)


def lacks_space(error: OSError) -> bool:
    """Say whether a write failed because there is no room for it."""
    return error.errno in _NO_SPACE
