"""Bytes of a file → its text, a piece at a time. Knows gzip, encodings and what is no text; knows nothing of rows."""

import codecs
import gzip
import io
import itertools
import os
import re
import shlex
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tailora.data.records import ROW_CAP, FaultError

PARQUET = b"PAR1"

_PIECE = 1 << 20
_GZIP = b"\x1f\x8b"
# Text shrinks three to tenfold, and 1,032-fold is the most that gzip can do, so 200-fold is no data set any more.
# Small files may be as repetitive as they like.
_LARGEST_RATIO, _ALWAYS_ALLOWED = 200, 64 << 20

_OTHER_KINDS = {
    b"version https://git-lfs.github.com/spec": "a git-LFS pointer, not the data itself; run `git lfs pull` beside it",
    b"PK\x03\x04": "a ZIP archive or an Excel sheet; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel sheet; save it as CSV",
    b"BZh": "packed with bzip2; unpack it with `bunzip2`",
    b"\xfd7zXZ\x00": "packed with xz; unpack it with `unxz`",
    b"\x28\xb5\x2f\xfd": "packed with zstd; unpack it with `unzstd`",
    _GZIP: "gzip inside gzip; unpack it once with `gunzip`",
    b"%PDF": "a PDF; only text of rows can be read",
    b"SQLite format 3": "an SQLite database; export the table as CSV",
    b"ARROW1": "an Arrow file; save it as Parquet",
}
_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")
# Longer marks first, since that of UTF-16 begins that of UTF-32.
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32LE",
    codecs.BOM_UTF32_BE: "UTF-32BE",
    codecs.BOM_UTF16_LE: "UTF-16LE",
    codecs.BOM_UTF16_BE: "UTF-16BE",
}
# Where the zero bytes of a first character below U+0100 stand (RFC 4627, section 3).
_ZEROS: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "UTF-32LE",
    (True, True, True, False): "UTF-32BE",
    (False, True, False, True): "UTF-16LE",
    (True, False, True, False): "UTF-16BE",
}


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """Open a regular file; a pipe or device, which could block for ever, is not touched.

    Raises:
        DataError: when it may not be read, is no regular file, or has changed by the end of the block.
    """
    try:
        if not path.is_file():
            raise FaultError(str(path), f"this is {kind_of(path)}; copy what it holds into a file and name that.")
        with path.open("rb") as file:
            before = _state(os.fstat(file.fileno()))
            yield file
            if not path.exists() or _state(path.stat()) != before:
                changed = "the file changed while it was read; wait until its writer is done, then run again."
                raise FaultError(str(path), changed)
    except OSError as error:
        raise FaultError(str(path), f"the file cannot be read: {error.strerror or error}.") from None


def _state(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def kind_of(path: Path) -> str:
    """Say what stands at `path` where a regular file should."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return "not there any more"
    kinds = {stat.S_IFIFO: "a pipe (FIFO)", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def is_gzip(file: io.BufferedReader) -> bool:
    """Say whether the next bytes are gzip; does not move the file."""
    return file.peek(2).startswith(_GZIP)


def pieces(path: Path, file: io.BufferedReader) -> Iterator[bytes]:
    """Yield the bytes of an open file about a MiB at a time, unpacked where they are gzip.

    Raises:
        DataError: when the gzip is damaged, or grows beyond 200 times its size.
    """
    if is_gzip(file):
        return _unpacked(path, file)
    return iter(lambda: file.read(_PIECE), b"")


def _unpacked(path: Path, file: io.BufferedReader) -> Iterator[bytes]:
    size, total = os.fstat(file.fileno()).st_size, 0
    most = max(_ALWAYS_ALLOWED, _LARGEST_RATIO * size)
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            while piece := unpacked.read(_PIECE):
                total += len(piece)
                if total > most:
                    raise FaultError(
                        str(path),
                        f"{size:,} bytes of gzip unpack to more than {most:,}, {_LARGEST_RATIO} times as much and more "
                        "than text ever does; if you trust the file, unpack it with `gunzip` yourself.",
                    )
                yield piece
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FaultError(str(path), f"the gzip is damaged ({error}); fetch or write the file again.") from None


def refuse_other_kinds(path: Path, head: bytes) -> None:
    """Raise DataError naming what the file is, and the remedy, when its first bytes are not UTF-8 text."""
    kind = next((kind for mark, kind in _OTHER_KINDS.items() if head.startswith(mark)), None)
    if head.lstrip()[:9].lower().startswith(_MARKUP):
        kind = "a web page (HTML or XML), perhaps an error page; open it to see why, then fetch the data again"
    if head and not head.strip(b"\0"):
        kind = "nothing but zero bytes, as a crash leaves them; fetch or write the file again"
    if kind:
        raise FaultError(str(path), f"this is {kind}.")
    mark = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    wide = mark or _ZEROS.get(tuple(byte == 0 for byte in head[:4]))
    if wide:
        raise FaultError(str(path), f"this is {wide}, not UTF-8; save it as UTF-8:", _iconv(path, wide))


def texts(path: Path, content: Iterable[bytes]) -> Iterator[str]:
    r"""Yield the text a piece at a time, without its byte-order mark; no piece ends between `\r` and `\n`.

    Raises:
        DataError: at the first byte that is not UTF-8.
    """
    plain: Any = codecs.getincrementaldecoder("utf-8-sig")()
    decoder = io.IncrementalNewlineDecoder(plain, translate=False)
    line, column, is_ascii = 1, 1, True
    for piece in itertools.chain(content, [b""]):
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            before = error.object[: error.start]
            line, column = place_after(before.decode("utf-8-sig", "replace"), line, column)
            where = f"{path}:{line}:{column}"
            raise (_not_utf8(where, path, error, is_ascii) if piece else _cut_off(where, error, is_ascii)) from None
        if text:
            is_ascii = is_ascii and text.isascii()
            yield text
        line, column = place_after(text, line, column)


def place_after(text: str, line: int, column: int) -> tuple[int, int]:
    """Return line and column, from 1, of what follows `text` when `text` begins at `line` and `column`."""
    breaks = text.count("\n")
    return line + breaks, len(text) - text.rfind("\n") if breaks else column + len(text)


def _cut_off(where: str, error: UnicodeDecodeError, is_ascii: bool) -> FaultError:
    guess = f" If it is whole, it is {_guess_encoding(error.object)}; save it as UTF-8." if is_ascii else ""
    cause = "the file ends inside a character, so its end is missing; fetch or write it again."
    return FaultError(where, cause + guess)


def _not_utf8(where: str, path: Path, error: UnicodeDecodeError, is_ascii: bool) -> FaultError:
    # What stands in the same line may be valid UTF-8 by accident.
    begin = error.object.rfind(b"\n", 0, error.start) + 1
    byte, guess = error.object[error.start], _guess_encoding(error.object[begin : error.start + 2000])
    remedy = f"Save the file as UTF-8: {_iconv(path, guess)}"
    if not is_ascii or not error.object[:begin].isascii():
        remedy = "The lines before it are UTF-8, so this part comes from elsewhere; write it anew."
    return FaultError(where, f"byte 0x{byte:02x} is not UTF-8; it looks like {guess}.", remedy)


def _guess_encoding(sample: bytes) -> str:
    """Guess from the line of the first wrong byte and what follows; enough to propose a command, not to decode by."""
    runs = re.findall(rb"[\x80-\xff]+", sample)
    high = b"".join(runs)
    if len(high) < 2 * len(runs):  # accents among plain letters
        return "WINDOWS-1252"
    if high.count(0x82) + high.count(0x83) > 0.2 * len(high):  # the lead bytes of kana
        return "SHIFT_JIS"
    try:
        # A double-byte text falls apart at the ends of Cyrillic words, since a space cannot be a second byte.
        sample[: sample.rfind(b"\n") + 1 or None].decode("gb18030")
    except UnicodeDecodeError:
        return "WINDOWS-1251"
    return "GB18030"


def _iconv(path: Path, encoding: str) -> str:
    unpack = f"gunzip -c {shlex.quote(str(path))} | " if path.suffix == ".gz" else ""
    old = "" if unpack else f"{shlex.quote(str(path))} "
    new = path.with_name(f"utf8-{path.name.removesuffix('.gz')}")
    return f"{unpack}iconv -f {encoding} -t UTF-8 {old}> {shlex.quote(str(new))}"


def lines(path: Path, content: Iterable[str], ends: str | None) -> Iterator[str]:
    r"""Yield lines with their ends, which are `\n` alone, or also `\r` and `\r\n` when `ends` is empty.

    Raises:
        DataError: for a line beyond 64 MiB.
    """
    held: list[str] = []
    length, number = 0, 1
    for text in content:
        for part in io.StringIO(text, newline=ends):
            held.append(part)
            length += len(part)
            ended = part.endswith(("\n", "\r") if ends == "" else "\n")
            # The end of a line may have two characters, and belongs to no row.
            if length > ROW_CAP and (not ended or len("".join(held).rstrip("\r\n")) > ROW_CAP):
                raise FaultError(
                    f"{path}:{number}", f"a line of more than {ROW_CAP:,} characters; write one row a line."
                )
            if ended:
                yield "".join(held)
                held, length, number = [], 0, number + 1
    if held:
        yield "".join(held)
