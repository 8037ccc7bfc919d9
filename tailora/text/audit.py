"""What is wrong with the rows: near duplicates, leakage between splits, conflicts, secrets, odd characters.

Counts and places in, nothing removed: a finding is shown, and only near duplicates act, by staying in one split.
Paraphrases are not caught: two questions that mean the same in other words look different here.
"""

import re
import unicodedata
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailora.files import Row

Hashes = NDArray[np.uint64]

NEAR = 0.8
"""Jaccard similarity of the 5-word shingles of two texts from which on they count as one."""
_SHINGLE = 5
_BANDS, _ROWS = 32, 4  # at similarity 0.8 a pair shares no band once in 20 million
_GRAM, _FEWEST = 13, 8
_PLACES = 3


@dataclass
class Finding:
    """How often something was found, and the first places."""

    rows: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        """Count one row."""
        self.rows += 1
        if len(self.places) < _PLACES:
            self.places.append(place)


def question(row: Row) -> str:
    """Return all turns before the answer as one text."""
    return "\n".join(turn["content"] for turn in row["prompt"])


def normalise(text: str) -> str:
    """NFKC, lower case, collapsed spaces: texts that a reader would call the same."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def near_pairs(texts: Sequence[str], threshold: float = NEAR) -> Iterator[tuple[int, int, float]]:
    """Yield (i, j, similarity) for texts whose 5-word shingles have a Jaccard similarity of at least `threshold`.

    Candidates come from MinHash with 128 permutations in 32 bands (Broder 1997; Leskovec, Rajaraman and Ullman,
    Mining of Massive Datasets, section 3.4), and each is checked on its real shingles. Within a chain of near texts
    every text is linked to one before it, not to all, so the links are enough to group by.
    """
    shingles = [_shingles(text) for text in texts]
    seen: set[tuple[int, int]] = set()
    for bucket in _buckets(shingles):
        for place, i in enumerate(bucket):
            for j in bucket[max(0, place - 50) : place][::-1]:
                if (j, i) in seen:
                    continue
                seen.add((j, i))
                similarity = _jaccard(shingles[i], shingles[j])
                if similarity >= threshold:
                    yield j, i, similarity
                    break


def _shingles(text: str) -> Hashes:
    words = [zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in normalise(text).split()]
    width = min(_SHINGLE, len(words))
    if not words:
        return np.empty(0, np.uint64)
    table = np.lib.stride_tricks.sliding_window_view(np.array(words, np.uint64), width)
    mixed = np.zeros(len(table), np.uint64)
    for column in table.T:
        mixed = (mixed * np.uint64(0x9E3779B97F4A7C15) + column) ^ (mixed >> np.uint64(29))
    return np.unique(mixed)


def _buckets(shingles: Sequence[Hashes]) -> Iterator[list[int]]:
    numbers = np.random.default_rng(13).integers(1, 2**63, size=(2, _BANDS * _ROWS), dtype=np.uint64)
    odd, shift = numbers[0] | np.uint64(1), numbers[1]  # odd factors are permutations modulo 2^64
    signatures = [_signature(hashes, odd, shift) for hashes in shingles]
    filled = [i for i, hashes in enumerate(shingles) if hashes.size]
    for band in range(_BANDS):
        part = slice(band * _ROWS, (band + 1) * _ROWS)
        members: dict[bytes, list[int]] = defaultdict(list)
        for i in filled:
            members[signatures[i][part].tobytes()].append(i)
        yield from (bucket for bucket in members.values() if len(bucket) > 1)


def _signature(hashes: Hashes, odd: Hashes, shift: Hashes) -> Hashes:
    """Return the smallest hash under each permutation; equal shares of two signatures estimate their similarity."""
    if not hashes.size:
        return np.zeros(len(odd), np.uint64)
    return np.asarray((odd[:, None] * hashes[None, :] + shift[:, None]).min(axis=1), np.uint64)


def _jaccard(one: Hashes, other: Hashes) -> float:
    shared = np.intersect1d(one, other, assume_unique=True).size
    return float(shared / (one.size + other.size - shared))


def leakage(train: Sequence[Row], **held_out: Sequence[Row]) -> list[dict[str, Any]]:
    """Return how many rows of each held-out split stand in train too, by what they share, with the first places.

    Kinds: the same question, the same answer, the same pair (all normalised); 13 consecutive words of the question
    (fewer where it is shorter, at least 8); a near question. Rows of one kind may be rows of another.
    """
    table = []
    for name, rows in held_out.items():
        for kind, found in _shared(rows, train).items():
            table.append({"split": name, "kind": kind, "rows": found.rows, "of": len(rows), "places": found.places})
    return table


def _shared(rows: Sequence[Row], train: Sequence[Row]) -> dict[str, Finding]:
    questions = {normalise(question(row)) for row in train}
    answers = {normalise(row["answer"]) for row in train}
    pairs = {(normalise(question(row)), normalise(row["answer"])) for row in train}
    grams = {gram for row in train for gram in _grams(question(row))}
    found = {kind: Finding() for kind in ("same question", "same answer", "same pair", "13 words", "near question")}
    for row in rows:
        asked, answered = normalise(question(row)), normalise(row["answer"])
        for kind, hit in {
            "same question": asked in questions,
            "same answer": answered in answers,
            "same pair": (asked, answered) in pairs,
            "13 words": any(gram in grams for gram in _grams(question(row))),
        }.items():
            if hit:
                found[kind].add(row["where"])
    for row in _near(rows, train):
        found["near question"].add(row["where"])
    return found


def _grams(text: str) -> Iterator[int]:
    words = normalise(text).split()
    width = min(_GRAM, len(words))
    if width >= _FEWEST:
        yield from (hash(tuple(words[i : i + width])) for i in range(len(words) - width + 1))


def _near(rows: Sequence[Row], train: Sequence[Row]) -> list[Row]:
    texts = [question(row) for row in [*train, *rows]]
    near = {max(pair) - len(train) for *pair, _ in near_pairs(texts) if min(pair) < len(train) <= max(pair)}
    return [rows[i] for i in sorted(near)]


_SECRETS = {
    "e-mail address": re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+\b"),
    "private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "access key": re.compile(
        r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|sk-[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,})\b"
    ),
}
_ODD = {
    "HTML entity": re.compile(r"&(?:[a-z]{2,8}|#\d{2,5}|#x[0-9a-f]{2,5});", re.IGNORECASE),
    "mojibake": re.compile(r"Ã[\x80-\xbf©¨±¼¶¤]|â€[™œ\x9d“”¢]|Â[ \xa0°·]"),
    "zero-width or bidi character": re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"),
    "control character": re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]"),
}
_REFUSAL = re.compile(r"^\W*(?:i'?m sorry|sorry|i can(?:no|')t (?:help|assist|answer)|as an ai\b)", re.IGNORECASE)


def findings(rows: Iterable[Row]) -> dict[str, Finding]:
    """Return what a reader should look at in questions and answers, by kind; nothing is removed or changed."""
    found: dict[str, Finding] = defaultdict(Finding)
    for row in rows:
        asked, answer = question(row), row["answer"]
        for kind, pattern in {**_SECRETS, **_ODD}.items():
            if pattern.search(asked) or pattern.search(answer):
                found[kind].add(row["where"])
        if normalise(asked) == normalise(answer):
            found["answer repeats the question"].add(row["where"])
        if _REFUSAL.match(answer):
            found["answer refuses"].add(row["where"])
    return dict(found)


def conflicts(rows: Iterable[Row]) -> Finding:
    """Return the rows whose question, normalised, was answered otherwise by an earlier row."""
    found = Finding()
    first: dict[str, str] = {}
    for row in rows:
        asked, answered = normalise(question(row)), normalise(row["answer"])
        if first.setdefault(asked, answered) != answered:
            found.add(row["where"])
    return found


def scripts(rows: Iterable[Row]) -> dict[str, int]:
    """Return in how many rows each writing system makes up most of the letters ("LATIN", "CJK", …)."""
    counts: Counter[str] = Counter()
    for row in rows:
        letters = [c for c in question(row)[:2000] if c.isalpha()]
        names = Counter(unicodedata.name(c, "UNKNOWN").split(" ")[0] for c in letters)
        counts[names.most_common(1)[0][0] if names else "no letters"] += 1
    return dict(counts.most_common())
