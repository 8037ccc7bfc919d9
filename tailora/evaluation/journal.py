"""What a long stage has computed so far, on disk: a line for each batch, so that a killed one goes on after the last.

The first line says what the values are made from; nothing else goes on with them.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from tailora import files
from tailora.errors import Stopped
from tailora.files import fingerprint
from tailora.provenance import require_same
from tailora.run import Stage, progress, stop_requests, tell

NAME = "journal.jsonl"
_FORMAT = 2


class Journal:
    """Values by number, in parts with names; open it within `Stage` work that may be resumed."""

    def __init__(self, stage: Stage, stop: Callable[[], int | None]) -> None:
        self._path, self._stop = stage.folder / NAME, stop
        self._parts: dict[str, dict[int, Any]] = {}
        self._started, self._earlier = time.monotonic(), 0.0
        lines = self._whole_lines(stage)
        if lines:
            _require_same(stage, lines[0])
            for line in lines[1:]:
                self._parts.setdefault(line["part"], {}).update(zip(line["numbers"], line["values"], strict=True))
                self._earlier = line["seconds"]
            stage.seconds += self._earlier
            count = sum(map(len, self._parts.values()))
            tell("evaluate", f"resuming: {count:,} answers and likelihoods are already computed")
        else:
            self._append({"format": _FORMAT, "made_from": stage.made_from})

    def known(self, part: str) -> Mapping[int, Any]:
        """Return what an earlier process has computed of a part, by number."""
        return MappingProxyType(self._parts.get(part, {}))

    def collect(self, part: str, batches: Iterator[dict[int, Any]], total: int, verb: str) -> list[Any]:
        """Take in the values of `batches` as they come, and return all `total` of the part in order.

        Raises:
            Stopped: after the batch in which a signal asked for it; everything up to there is saved.
        """
        found = self._parts.setdefault(part, {})
        with progress(verb, total, len(found)) as advance:
            for values in batches:
                new = len(values.keys() - found.keys())
                found |= values
                seconds = round(self._earlier + time.monotonic() - self._started, 2)
                self._append({"part": part, "numbers": [*values], "values": [*values.values()], "seconds": seconds})
                advance(new)
                if number := self._stop():
                    raise Stopped("interrupted; progress saved. Run the same command to resume.", number)
        return [found[number] for number in range(total)]

    def _append(self, row: files.Row) -> None:
        with self._path.open("ab") as file:
            file.write(_signed(row))
            file.flush()
            os.fsync(file.fileno())

    def _whole_lines(self, stage: Stage) -> list[Any]:
        """Return the lines that are as they were written, and remove the others; none without the first."""
        if not self._path.exists():
            return []
        lines = self._path.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if _is_whole(line)]
        if lines and lines[0] not in whole:
            whole = []
        if lost := len(lines) - len(whole):
            files.write_bytes(self._path, b"".join(whole))
            stage.say(f"{lost:,} lines of {NAME} are damaged and were removed; they are computed again")
        return [json.loads(line)["row"] for line in whole]


def _signed(row: files.Row) -> bytes:
    """Return `row` as a line with a hash of it: a value that was changed on disk must not count."""
    return files.json_line({"row": row, "hash": fingerprint(files.json_line(row))}).encode()


def _is_whole(line: bytes) -> bool:
    try:
        return line == _signed(json.loads(line)["row"])
    except (ValueError, RecursionError, TypeError, KeyError):  # no JSON, no UTF-8, or something else than we write
        return False


@contextlib.contextmanager
def journal(stage: Stage) -> Iterator[Journal]:
    """Open the journal of a stage; the first SIGINT or SIGTERM within ends it after a whole batch.

    Raises:
        RunError: when it was begun with other values than `stage.made_from`; names the first that differs.
    """
    with stop_requests() as stop:
        yield Journal(stage, stop)


def _require_same(stage: Stage, header: Any) -> None:
    require_same(
        {"journal format": header.get("format"), **header.get("made_from", {})},
        {"journal format": _FORMAT, **stage.made_from},
        f"{stage.folder}: this evaluation was interrupted",
        'Put that back to resume, choose another name (name="…"), or start anew with --fresh.',
    )
