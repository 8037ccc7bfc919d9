"""JSON values out of a text that comes in pieces, held to the standard. Knows no rows.

Only the value that is being parsed is in memory. What is whole JSON but not what the standard allows is a fault of the
value, after which reading goes on.
"""

import json
import math
import re
from collections.abc import Iterator
from json import JSONDecodeError
from pathlib import Path
from typing import Any, NamedTuple

from tailora.data.formats.text_stream import place_after
from tailora.data.records import ROW_CAP, Fault, FaultError

_SPACES = re.compile(r"[ \t\n\r]*")
# The longest thing that looks wrong when its end is missing: half of "-Infinity", or of two escapes.
_LONGEST_TOKEN = 16
# What the message says, what stands before the place and, behind the mark, what stands there.
_HINTS = {
    r",\0[}\]]|\0,\s*[}\]]": "remove the comma before the closing bracket",
    r"\}\0,": "rows with commas between them need a [ before the first and a ] after the last",
    r"\0'": 'JSON quotes with " alone; this looks like Python, where json.dumps(row) writes JSON',
    r"\0(None|True|False)\b": "this looks like Python; write null, true or false, or use json.dumps(row)",
    r"\0(undefined|nan)\b": "write null",
    r"\0(//|/\*|#)": "JSON has no comments; remove it",
    r"^Unterminated": "the text that begins here is never closed; the row is cut off, or a quote is missing",
    r"^Invalid control": r"write a line break inside a text as \n; or the quote that closes the text is missing",
    r"^Invalid \\": r"a backslash inside a text is written twice, \\",
    r"\0\s*$": "it is cut off here",
    r'"\0\w': r"a quote inside a text is written \"",
    r'["}\]\d]\0"': "a comma is missing",
}


class Decoded(NamedTuple):
    """A value, the position behind it, and what in it the standard does not allow: what is wrong, and where in it.

    `is_raw` is the one such thing that is let pass: a tab or another control character inside a text.
    """

    value: Any
    end: int
    faults: list[tuple[str, str]]
    is_raw: bool


class Decoder:
    """Python's decoder, held to the standard: what it lets pass (NaN, a key twice, 1e999) is a fault of the row."""

    def __init__(self) -> None:
        self._faults: list[tuple[str, str]] = []
        hooks: Any = {
            "object_pairs_hook": self._object,
            "parse_constant": self._constant,
            "parse_float": self._float,
        }
        self._strict = json.JSONDecoder(**hooks)
        self._lenient = json.JSONDecoder(**hooks, strict=False)

    def decode(self, text: str, position: int) -> Decoded:
        """Decode the value that begins at `position`; raise JSONDecodeError where it cannot go on."""
        try:
            return self._decode(self._strict, text, position)
        except JSONDecodeError as error:
            # A raw tab or escape character is unambiguous, and counted later; a line break may be a missing quote.
            if error.msg.startswith("Invalid control") and text[error.pos] not in "\r\n":
                return self._decode(self._lenient, text, position)._replace(is_raw=True)
            raise

    def _decode(self, decoder: json.JSONDecoder, text: str, position: int) -> Decoded:
        self._faults = []
        try:
            value, end = decoder.raw_decode(text, position)
        except JSONDecodeError:
            raise
        except RecursionError:
            raise JSONDecodeError("Brackets are nested too deeply", text, position) from None
        except ValueError as error:  # an integer of thousands of digits
            raise JSONDecodeError(str(error).partition(";")[0], text, position) from None
        return Decoded(value, end, self._faults, False)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            names = [name for name, _ in pairs]
            twice = ", ".join(sorted({name for name in names if names.count(name) > 1}))
            self._faults.append(("keys that stand twice; keep one of each:", f"{twice}."))
        return row

    def _constant(self, constant: str) -> None:
        self._faults.append(("a value that JSON does not have; write null, or leave the key out:", f"{constant}."))

    def _float(self, digits: str) -> float:
        number = float(digits)
        if math.isinf(number):
            self._faults.append(("a number is too large; write it as text:", f"{digits[:40]}."))
        return number


def may_be_cut_off(error: JSONDecodeError) -> bool:
    """Say whether more text could mend the error."""
    return error.msg.startswith("Unterminated") or error.pos >= len(error.doc) - _LONGEST_TOKEN


def fault_of(error: JSONDecodeError, where: str) -> Fault:
    """Say what is wrong, what to do if that is known, and what stands there, escaped."""
    before, here = error.doc[max(0, error.pos - 25) : error.pos], error.doc[error.pos : error.pos + 25]
    scene = f"{error.msg}|{_without_mark(before).rstrip()}\0{_without_mark(here)}"
    hint = next((f"; {hint}" for pattern, hint in _HINTS.items() if re.search(pattern, scene)), "")
    return Fault(where, f"not JSON: {error.msg.removesuffix(' at').rstrip(': ')}{hint}.", _near(before + here))


def _near(text: str) -> str:
    return f"Near {text!r}."


def _without_mark(text: str) -> str:
    return text.replace("\0", "?")


class Cursor:
    """A window on the text of a file that moves forward and holds little more than the value being parsed."""

    def __init__(self, path: Path, texts: Iterator[str], *, is_one_line: bool = False) -> None:
        self._path, self._texts, self._decoder = path, texts, Decoder()
        self._is_one_line = is_one_line
        self._window, self._position = "", 0
        self._line, self._column = 1, 1

    def where(self, way: str = "") -> str:
        """Return the place of the next character: `file:line`, or the `way` to it where all rows stand in one line."""
        return self.inside(way if self._is_one_line and way else str(self._line))

    def peek(self) -> str:
        """Move to the next character that is not blank and return it; an empty string at the end of the file."""
        while True:
            match = _SPACES.match(self._window, self._position)
            assert match is not None
            self._advance(match.end())
            if self._position < len(self._window) or not self._more():
                return self._window[self._position : self._position + 1]

    def take(self, wanted: str, meaning: str) -> str:
        """Move past one of the characters `wanted` and return it."""
        found = self.peek()
        if not found or found not in wanted:
            raise self.refusal(f"expected {meaning}, got {found or 'the end of the file; it may be cut off'}")
        self._advance(self._position + 1)
        return found

    def value(self) -> Decoded:
        """Move past the next value and return it."""
        self.peek()
        while True:
            try:
                decoded = self._decoder.decode(self._window, self._position)
            except JSONDecodeError as error:
                if not may_be_cut_off(error) or not self._more():
                    line, column = place_after(self._window[self._position : error.pos], self._line, self._column)
                    raise FaultError(*fault_of(error, f"{self._path}:{line}:{column}")) from None
            else:
                # A number at the end of the window may go on behind it.
                if decoded.end < len(self._window) or not self._more():
                    if decoded.end - self._position > ROW_CAP:
                        raise self._too_long()
                    self._advance(decoded.end)
                    return decoded

    def inside(self, way: str) -> str:
        """Return the place that `way` leads to from the top of the file: `file:data[3]`."""
        return f"{self._path}:{way}"

    def key(self) -> str:
        """Move past the next key and its colon; return it."""
        if self.peek() != '"':
            raise self.refusal("not JSON: expected a key in double quotes; a comma before } is one too many")
        key = str(self.value().value)
        self.take(":", "a colon after the key")
        return key

    def refusal(self, what: str) -> FaultError:
        """Return the error that says `what` about the next character."""
        around = self._window[max(0, self._position - 25) : self._position + 25]
        return FaultError(f"{self._path}:{self._line}:{self._column}", f"{what}.", _near(around))

    def _too_long(self) -> FaultError:
        return self.refusal(f"a row of more than {ROW_CAP:,} characters; a bracket or quote may be missing")

    def _advance(self, end: int) -> None:
        passed = self._window[self._position : end]
        self._line, self._column = place_after(passed, self._line, self._column)
        self._position = end

    def _more(self) -> bool:
        """Double what lies ahead, so that a long value is not parsed again for each piece; False at the end."""
        ahead = self._window[self._position :]
        if len(ahead) > ROW_CAP:
            raise self._too_long()
        wanted, parts = max(1, min(len(ahead), ROW_CAP + 1 - len(ahead))), [ahead]
        while wanted > 0 and (text := next(self._texts, "")):
            parts.append(text)
            wanted -= len(text)
        if len(parts) > 1:
            self._window, self._position = "".join(parts), 0
        return len(parts) > 1
