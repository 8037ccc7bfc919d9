"""What the readers of the formats hand over, and the two ledgers that it ends up in. Knows no format."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tailora.errors import DataError

ROW_CAP = 64 << 20
"""Most characters of one row; a longer one is a missing line end or quote, and would fill the memory."""

_PLACES, _PROBLEMS = 3, 20


class Record(NamedTuple):
    """A value of a file, not looked at yet, and where it stands."""

    where: str
    value: Any


class Fault(NamedTuple):
    """A problem after which the file can be read on; the message begins with its place."""

    message: str


class Note(NamedTuple):
    """Something about a file that its owner should know."""

    message: str
    where: str


Records = Iterator[Record | Fault | Note]


@dataclass
class Notices:
    """What was found or dropped though it stops nothing: in how many rows, by kind, and the first three places."""

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, place: str) -> None:
        """Count one row."""
        self.counts[kind] += 1
        if self.counts[kind] <= _PLACES:
            self.places.setdefault(kind, []).append(place)

    def total(self) -> int:
        """Return how often anything was counted."""
        return self.counts.total()

    def card(self) -> dict[str, dict[str, Any]]:
        """Return them as the data card has them, the most frequent first."""
        return {kind: {"rows": rows, "places": self.places[kind]} for kind, rows in self.counts.most_common()}


@dataclass
class Problems:
    """What must be mended, collected so that it can be said at once: the first twenty, and how many more."""

    first: list[str] = field(default_factory=list)
    more: int = 0

    def add(self, *messages: str) -> None:
        """Take in problems in the order in which they were met."""
        room = _PROBLEMS - len(self.first)
        self.first += messages[:room]
        self.more += len(messages[room:])

    def refuse(self) -> None:
        """Raise DataError if there is any problem."""
        if self.first:
            raise DataError([*self.first, f"… and {self.more:,} more problems."] if self.more else self.first)
