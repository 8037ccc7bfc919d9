"""Files that are either whole or absent: atomic writes, JSON and JSONL, hashes, names that become paths."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tailora.errors import RecipeError, RunError

Row = dict[str, Any]

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
    write_text(path, "".join(json_line(row) for row in rows))


def json_line(row: Row) -> str:
    """Return `row` as one line of JSONL, with its line end."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a file of ours; raise RunError when it is missing or damaged."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{path} is missing; run the stage that writes it first.") from None
    except ValueError as error:  # no JSON, or no UTF-8
        raise RunError(f"{path} is damaged ({error}); run its stage again with --fresh.") from None


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


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(*parts: str) -> str:
    """Return a short stable hash of texts: 16 hex digits, the same on every machine and run."""
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
