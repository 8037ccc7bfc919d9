"""What the readers of the formats hand over, and the two ledgers that it ends up in. Knows no format."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tailora.errors import DataError, some_of

ROW_CAP = 64 << 20
"""Most characters of one row, as it is written; a longer one is a missing line end or quote, and fills the memory."""

TURN_KEYS = (("role", "content"), ("from", "value"))
"""What a turn of a conversation has; the second pair is ShareGPT's."""

_PLACES, _PROBLEMS, _NAMES = 3, 20, 20


_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def split_named(name: str) -> str:
    """Return the split that a file or list is named after ("test-00000.parquet" → "test"); empty where none."""
    word = re.match(r"[^\W_]*", name.lower())
    return _SPLITS.get(word[0] if word else "", "")


class Record(NamedTuple):
    """A value of a file, not looked at yet, and where it stands."""

    where: str
    value: Any


class Fault(NamedTuple):
    """A problem: where it stands, what is wrong in words that hold for all of its kind, and what is this one's own."""

    where: str
    cause: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.cause}{f' {self.detail}' if self.detail else ''}"


class FaultError(DataError):
    """One fault, after which its row or file cannot be read on."""

    def __init__(self, where: str, cause: str, detail: str = "") -> None:
        self.fault = Fault(where, cause, detail)
        super().__init__(str(self.fault))


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
    names: dict[str, dict[str, None]] = field(default_factory=dict)
    """What a kind was about in any row, such as the columns, in the order in which it was met."""

    def add(self, kind: str, place: str, names: Iterable[str] = ()) -> None:
        """Count one row."""
        self.counts[kind] += 1
        if names:
            self.names.setdefault(kind, {}).update(dict.fromkeys(names))
        if self.counts[kind] <= _PLACES:
            self.places.setdefault(kind, []).append(place)

    def total(self) -> int:
        """Return how often anything was counted."""
        return self.counts.total()

    def card(self) -> dict[str, dict[str, Any]]:
        """Return them as the data card has them, the most frequent first."""
        return {
            self._named(kind): {"rows": rows, "places": self.places[kind]} for kind, rows in self.counts.most_common()
        }

    def _named(self, kind: str) -> str:
        return f"{kind}: {some_of(list(self.names[kind]), _NAMES)}" if kind in self.names else kind


@dataclass
class _Cause:
    """How often a cause was met, its first three places, and the details of the first of them."""

    detail: str
    count: int = 0
    places: list[str] = field(default_factory=list)
    differs: bool = False

    def said(self, cause: str) -> str:
        more = " …" if self.count > len(self.places) else ""
        where = ", ".join(self.places) + (f"{more} ({self.count:,} times)" if self.count > 1 else "")
        first = " In the first:" if self.differs else ""
        return f"{f'{where}: ' if where else ''}{cause}{f'{first} {self.detail}' if self.detail else ''}"


@dataclass
class Problems:
    """What must be mended, collected so that it can be said at once: one line a cause, with its count and three places.

    The first twenty causes are kept, and how many problems had another one.
    """

    causes: dict[str, _Cause] = field(default_factory=dict)
    more: int = 0

    def add(self, fault: Fault) -> None:
        """Take in a problem."""
        if fault.cause not in self.causes and len(self.causes) == _PROBLEMS:
            self.more += 1
            return
        known = self.causes.setdefault(fault.cause, _Cause(fault.detail))
        known.count += 1
        known.differs = known.differs or fault.detail != known.detail
        if fault.where and len(known.places) < _PLACES:
            known.places.append(fault.where)

    def take(self, error: DataError) -> None:
        """Take in what an error says; what it does not say as a fault is a cause of its own."""
        if isinstance(error, FaultError):
            self.add(error.fault)
        else:
            for message in error.problems:
                self.add(Fault("", message))

    def refuse(self) -> None:
        """Raise DataError if there is any problem."""
        said = [known.said(cause) for cause, known in self.causes.items()]
        if self.more:
            said.append(f"… and {self.more:,} more problems of other kinds.")
        if said:
            raise DataError(said)
