"""What rows share: a question, an answer, thirteen words in a row, or nearly a question. Knows no files and no splits.

Rows are read one after the other and only numbers of them are kept, about 200 bytes each; where two look near, both
are read again. Paraphrases are not caught: two questions that mean the same in other words look different here.
"""

import functools
import hashlib
import itertools
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailora.data.rows import at, content_key, normalise, question
from tailora.files import Row
from tailora.measure.words import words

Hashes = NDArray[np.uint64]

NEAR = 0.8
"""Jaccard similarity of the 5-word shingles of two texts from which on they count as one."""
_SHINGLE = 5
_PARTED = re.compile(r"(?<!\d) | (?!\d)")  # 1 + 23 is not 12 + 3
_BANDS, _ROWS = 32, 4  # at similarity 0.8 a pair shares no band once in 20 million
_NEIGHBOURS = 50
_GRAM, _FEWEST, _PHRASE = 13, 8, 10
# Shorter answers ("yes", "42") are shared by unrelated questions and say nothing about leakage.
_TELLING_WORDS, _TELLING_CHARACTERS = 8, 60


@dataclass(frozen=True)
class Marks:
    """By what rows are compared, one entry a row: hashes of normalised question and answer, and MinHash bands."""

    keys: list[str]
    questions: Hashes
    letters: Hashes
    """Of the question without its spaces and punctuation, by which some write "log-in" and others "login"."""
    answers: Hashes
    telling: NDArray[np.bool_]
    """Whether an answer is long enough to say that two rows belong together."""
    bands: NDArray[np.uint32]
    values: dict[str, list[str]]
    """Texts of the columns that were asked for."""
    frame: tuple[int, int]
    """With how many words every question begins and ends: the data set's own, by which no two rows are compared."""

    def __len__(self) -> int:
        return len(self.keys)


def mark(rows: Sequence[Row], columns: Sequence[str] = ()) -> Marks:
    """Return what rows are compared by, with the texts of some columns."""
    odd, shift = _permutations()
    frame = _frame(rows)
    keys: list[str] = []
    hashes, bands, telling = bytearray(), bytearray(), bytearray()
    values: dict[str, list[str]] = {column: [] for column in columns}
    for row in rows:
        asked, answered = normalise(question(row)), normalise(row["answer"])
        keys.append(content_key(row))
        hashes += _digest(asked) + _digest(_PARTED.sub("", " ".join(_compared(row)))) + _digest(answered)
        telling.append(len(answered) >= _TELLING_CHARACTERS or len(words(answered)) >= _TELLING_WORDS)
        bands += _bands(_shingles(row, frame), odd, shift).tobytes()
        for column in columns:
            values[column].append(str(row.get(column)))
    digests = np.frombuffer(bytes(hashes), np.uint64).reshape(-1, 3)
    table = np.frombuffer(bytes(bands), np.uint32).reshape(-1, _BANDS)
    questions, letters, answers = digests.T
    return Marks(keys, questions, letters, answers, np.frombuffer(bytes(telling), np.bool_), table, values, frame)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _frame(rows: Iterable[Row]) -> tuple[int, int]:
    begin: list[str] | None = None
    end: list[str] = []
    for row in rows:
        asked = _compared(row)
        if begin is None:
            begin, end = asked, asked[::-1]
        begin, end = _common(begin, asked), _common(end, asked[::-1])
        if not begin and not end:
            break
    return len(begin or ()), len(end)


def _common(one: list[str], other: list[str]) -> list[str]:
    """Return the elements with which both lists begin."""
    differing = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return one[: next(differing, min(len(one), len(other)))]


def _compared(row: Row) -> list[str]:
    """Return the words of the question; where it has none, such as "+ - *", what stands between its spaces."""
    asked = question(row)
    return words(asked) or normalise(asked).split()


def _words(row: Row, frame: tuple[int, int]) -> Hashes:
    """Return a hash of each word of the question, without the frame that all questions have."""
    asked = _compared(row)
    asked = asked[frame[0] : len(asked) - frame[1]] or asked
    return np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in asked], np.uint64)


def _windows(hashes: Hashes, widths: Collection[int]) -> dict[int, Hashes]:
    """Return a hash of each run of as many words, for each of the `widths` that the text has room for."""
    mixed = np.zeros(len(hashes), np.uint64)
    found = {}
    for width in range(1, min(max(widths), len(hashes)) + 1):
        mixed = mixed[: len(hashes) - width + 1]
        mixed = (mixed * np.uint64(0x9E3779B97F4A7C15) + hashes[width - 1 :]) ^ (mixed >> np.uint64(29))
        if width in widths:
            found[width] = mixed
    return found


def _shingles(row: Row, frame: tuple[int, int]) -> Hashes:
    hashes = _words(row, frame)
    width = min(_SHINGLE, len(hashes))
    return np.unique(_windows(hashes, {width})[width]) if len(hashes) else hashes


def _permutations() -> tuple[Hashes, Hashes]:
    numbers = np.random.default_rng(13).integers(1, 2**63, size=(2, _BANDS * _ROWS), dtype=np.uint64)
    return numbers[0] | np.uint64(1), numbers[1]  # odd factors are permutations modulo 2^64


def _bands(shingles: Hashes, odd: Hashes, shift: Hashes) -> NDArray[np.uint32]:
    """Return a hash for each band of the MinHash signature; zeros where there is no word."""
    if not shingles.size:
        return np.zeros(_BANDS, np.uint32)
    # A thousand shingles at a time, so that one endless text does not need 128 times its length.
    parts = [shingles[start : start + 1000] for start in range(0, len(shingles), 1000)]
    smallest = [(odd[:, None] * part[None, :] + shift[:, None]).min(axis=1) for part in parts]
    signature = np.minimum.reduce(smallest).reshape(_BANDS, _ROWS)
    mixed = np.zeros(_BANDS, np.uint64)
    for column in signature.T:
        mixed = (mixed ^ column) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(32)).astype(np.uint32) | np.uint32(1)


class Links:
    """Which numbers hang together: union-find with path halving."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count)

    def find(self, i: int) -> int:
        """Return the number that stands for the group of `i`."""
        parent = self._parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    def join(self, i: int, j: int) -> None:
        """Make the groups of `i` and `j` one."""
        self._parent[self.find(i)] = self.find(j)

    def groups(self) -> list[int]:
        """Return for each number the one that stands for its group."""
        return [self.find(i) for i in range(len(self._parent))]


@dataclass
class Near:
    """Rows with near questions: of each the number of its group, and the pairs by which the groups were found."""

    group: list[int]
    pairs: list[tuple[int, int]] = field(default_factory=list)


def near_groups(rows: Sequence[Row], marks: Marks) -> Near:
    """Group rows whose questions' 5-word shingles have a Jaccard similarity of at least 0.8, or a chain of such.

    Questions that are equal but for case, spaces and punctuation are near, however short.

    Candidates come from MinHash with 128 permutations in 32 bands (Broder 1997; Leskovec, Rajaraman and Ullman,
    Mining of Massive Datasets, section 3.4), at most 50 for a row in a band, and each is checked on its real shingles.
    """
    links, pairs = Links(len(marks)), []
    first: dict[int, int] = {}
    spelled: dict[int, int] = {}
    by_key = sorted(range(len(marks)), key=marks.keys.__getitem__)  # the order of the source must not matter
    for i in by_key:
        for known, hashes in ((first, marks.questions), (spelled, marks.letters)):
            before = known.setdefault(int(hashes[i]), i)
            if links.find(before) != links.find(i):
                pairs.append((before, i))
                links.join(i, before)
    shingles = functools.lru_cache(maxsize=4096)(lambda i: _shingles(rows[i], marks.frame))
    seen: set[int] = set()
    for i, j in _candidates(marks.bands, np.fromiter(first.values(), np.int64, len(first))):
        pair = i * len(marks) + j
        if pair not in seen and links.find(i) != links.find(j):
            seen.add(pair)
            if jaccard(shingles(i), shingles(j)) >= NEAR:
                links.join(i, j)
                pairs.append((i, j))
    pairs = [(min(pair), max(pair)) for pair in pairs]
    return Near(links.groups(), sorted(pairs, key=lambda pair: pair[::-1]))


def _candidates(bands: NDArray[np.uint32], numbers: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield pairs of numbers that share a band."""
    known: set[bytes] = set()
    for band in range(_BANDS):
        column = bands[numbers, band]
        order = numbers[np.argsort(column, kind="stable")]
        starts = np.flatnonzero(np.diff(np.sort(column), prepend=0, append=0))
        for start, stop in itertools.pairwise(starts):
            bucket = order[start:stop]
            if len(bucket) < 2 or bands[bucket[0], band] == 0 or bucket.tobytes() in known:
                continue
            known.add(bucket.tobytes())
            members = bucket.tolist()
            for place, i in enumerate(members):
                yield from ((i, j) for j in members[max(0, place - _NEIGHBOURS) : place][::-1])


def repeats_and_conflicts(marks: Marks) -> tuple[list[int], list[int]]:
    """Return the rows that repeat an earlier one but for case and spacing, and those that answer it otherwise."""
    first: dict[int, int] = {}
    repeats: list[int] = []
    conflicts: list[int] = []
    for i, (asked, answered) in enumerate(zip(marks.questions.tolist(), marks.answers.tolist(), strict=True)):
        before = first.setdefault(asked, i)
        if before != i:
            (repeats if int(marks.answers[before]) == answered else conflicts).append(i)
    return repeats, conflicts


def jaccard(one: Hashes, other: Hashes) -> float:
    """Return the share of elements that two sets of hashes have in common; 0 when both are empty."""
    shared = np.intersect1d(one, other, assume_unique=True).size
    return float(shared / max(1, one.size + other.size - shared))


KINDS = ("same pair", "same question", "near question", "13 words", "same answer")
"""What a held-out row can share with the training split, what tells most first."""


def leaks(
    rows: Sequence[Row], marks: Marks, near: Near, train: Sequence[int], held_out: Sequence[int]
) -> dict[str, set[int]]:
    """Return which held-out rows stand in the training split too, by what they share.

    Kinds: the same question, the same telling answer, both (all normalised); 13 consecutive words of the question
    (fewer where it is shorter, at least 8) that no more than 10 training rows have; a near question. A row may be of
    several kinds.
    """
    held = np.array(held_out, np.int64)
    asked, answered = (np.isin(hashes[held], hashes[list(train)]) for hashes in (marks.questions, marks.answers))
    both = marks.questions * np.uint64(3) + marks.answers
    return {
        "same pair": set(held[asked & answered & np.isin(both[held], both[list(train)])].tolist()),
        "same question": set(held[asked].tolist()),
        "near question": _near_train(rows, marks, near, train, held_out),
        "13 words": _sharing_words(rows, marks, train, held_out),
        "same answer": set(held[answered & marks.telling[held]].tolist()),
    }


def _near_train(
    rows: Sequence[Row], marks: Marks, near: Near, train: Sequence[int], held_out: Sequence[int]
) -> set[int]:
    members: dict[int, list[int]] = {}
    for i in train:
        members.setdefault(near.group[i], []).append(i)
    shingles = functools.lru_cache(maxsize=4096)(lambda i: _shingles(rows[i], marks.frame))
    return {
        i
        for i in held_out
        for j in members.get(near.group[i], ())
        if marks.letters[i] == marks.letters[j] or jaccard(shingles(i), shingles(j)) >= NEAR
    }


def _sharing_words(rows: Sequence[Row], marks: Marks, train: Sequence[int], held_out: Sequence[int]) -> set[int]:
    grams = {width: _Grams() for width in range(_FEWEST, _GRAM + 1)}
    for i, row in zip(held_out, at(rows, held_out), strict=True):
        hashes = _words(row, marks.frame)
        width = min(_GRAM, len(hashes))
        if width >= _FEWEST:
            grams[width].add(i, _windows(hashes, {width})[width])
    asked = {width: known.ready() for width, known in grams.items() if known.owners}
    for row in at(rows, train):
        if asked:
            for width, found in _windows(_words(row, marks.frame), asked.keys()).items():
                asked[width].meet(found)
    return {i for known in asked.values() for i in known.shared()}


class _Grams:
    """Hashes of word runs in held-out rows, and in how many training rows each was met."""

    def __init__(self) -> None:
        self.owners: list[int] = []
        self._cut: list[Hashes] = []

    def add(self, owner: int, hashes: Hashes) -> None:
        self.owners += [owner] * len(hashes)
        self._cut.append(hashes)

    def ready(self) -> "_Grams":
        self._known, self._places = np.unique(np.concatenate(self._cut), return_inverse=True)
        self._cut.clear()
        self._times = np.zeros(len(self._known), np.int64)
        return self

    def meet(self, hashes: Hashes) -> None:
        hashes = np.unique(hashes)
        places = np.minimum(np.searchsorted(self._known, hashes), len(self._known) - 1)
        self._times[places[self._known[places] == hashes]] += 1

    def shared(self) -> set[int]:
        # What many rows begin with is the data set's own phrase, no leak (Brown et al. 2020, appendix C).
        telling = (self._times > 0) & (self._times <= _PHRASE)
        return set(np.array(self.owners)[telling[self._places]].tolist())


def leakage_table(found: dict[str, set[int]], split: str, of: int, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return a line per kind with the number of rows and the first places."""
    return [
        {
            "split": split,
            "kind": kind,
            "rows": len(numbers),
            "of": of,
            "places": [rows[i]["where"] for i in sorted(numbers)[:3]],
        }
        for kind, numbers in found.items()
    ]
