"""Files and folders that are either whole or absent: atomic writes, JSON and JSONL, hashes, names that become paths."""

import errno
import hashlib
import json
import os
import re
import shutil
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

from tailora.errors import RecipeError, RunError

Row = dict[str, Any]

MANIFEST = "manifest.json"
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


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` so that `path` is never seen half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, its line ends as they are, so that `path` is never seen half written."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    """Write one JSON object a line; NaN and infinity are refused."""
    RowFile.write(path, rows)


def json_line(row: Row) -> str:
    """Return `row` as one line of JSONL, with its line end."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


class Record(dict[str, Any]):
    """What a JSON file holds; a key that is not there is damage to the file, told as such."""

    def __init__(self, path: Path, values: dict[str, Any]) -> None:
        super().__init__(values)
        self._path = path

    def __missing__(self, key: str) -> Any:
        raise RunError(f"{self._path} is damaged (it says nothing of {key!r}); run its stage again with --fresh.")


def read_json(path: Path) -> Record:
    """Read an object from a file; raise RunError when it is missing, damaged or no object. Pipes are not waited for."""
    if not path.is_file():
        what = "is no file" if path.exists() else "is missing; run the stage that writes it first"
        raise RunError(f"{path} {what}.")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:  # no JSON, no UTF-8, nested too deep, not readable
        raise RunError(f"{path} is damaged ({error}); run its stage again with --fresh.") from None
    if not isinstance(found, dict):
        raise RunError(f"{path} is damaged (it holds no object); run its stage again with --fresh.")
    return Record(path, found)


def read_jsonl(path: Path) -> Iterator[Row]:
    """Yield the rows of a JSONL file of ours; raise RunError when it is missing or damaged."""
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):  # noqa: B007 — the error below names the line
                yield json.loads(line)
    except FileNotFoundError:
        raise RunError(f"{path} is missing; run the stage that writes it first.") from None
    except ValueError as error:
        raise RunError(f"{path}:{number} is damaged ({error}); run its stage again with --fresh.") from None


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
        starts, place = array("Q"), 0
        try:
            with path.open("rb") as lines:
                for line in lines:
                    starts.append(place)
                    place += len(line)
        except FileNotFoundError:
            raise RunError(f"{path} is missing; run the stage that writes it first.") from None
        return cls(path, starts)

    @classmethod
    def write(cls, path: Path, rows: Iterable[Row]) -> "RowFile":
        """Write rows as they come; until the last one is written, `path` does not exist."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial, starts = path.with_name(f".{path.name}.{os.getpid()}.partial"), array("Q")
        try:
            with partial.open("wb") as file:
                for row in rows:
                    starts.append(file.tell())
                    file.write(json_line(row).encode())
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
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

    def _read(self, file: Any, number: int) -> Row:
        file.seek(self._starts[number])
        try:
            row: Row = json.loads(file.readline())
        except ValueError as error:
            raise RunError(
                f"{self.path}:{number + 1} is damaged ({error}); run its stage again with --fresh."
            ) from None
        return row


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
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
    return fingerprint(*(f"{path.name} {sha256(path)}" for path in sorted(parts)))


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
