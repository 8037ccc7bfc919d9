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
    """What must be mended, collected so that it can be said at once: one line a cause, with its count and three places.

    A message is "place: cause"; the first twenty causes are kept, and how many problems had another one.
    """

    causes: dict[str, list[str]] = field(default_factory=dict)
    """The first three places of each cause, in the order in which they were met."""
    counts: Counter[str] = field(default_factory=Counter)
    more: int = 0

    def add(self, *messages: str) -> None:
        """Take in problems."""
        for message in messages:
            place, cause = _place_and_cause(message)
            if cause not in self.causes and len(self.causes) == _PROBLEMS:
                self.more += 1
                continue
            places = self.causes.setdefault(cause, [])
            self.counts[cause] += 1
            if len(places) < _PLACES:
                places.append(place)

    def refuse(self) -> None:
        """Raise DataError if there is any problem."""
        said = []
        for cause, places in self.causes.items():
            count = self.counts[cause]
            where = (
                places[0]
                if count == 1
                else f"{', '.join(places)}{' …' if count > len(places) else ''} ({count:,} times)"
            )
            said.append(f"{where}: {cause}" if where else cause)
        if self.more:
            said.append(f"… and {self.more:,} more problems of other kinds.")
        if said:
            raise DataError(said)


def _place_and_cause(message: str) -> tuple[str, str]:
    """Split a message behind its place, such as "rows.jsonl:3"; the place is empty where it begins with none."""
    place, colon, cause = message.partition(": ")
    return (place, cause) if colon and " " not in place else ("", message)
