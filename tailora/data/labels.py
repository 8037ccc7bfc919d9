"""Labels as files write them → the names of the classes, in one order. Knows neither texts nor models.

A class may be written by its name, in another case or spacing, or by a number that counts from 0 or from 1. What could
mean two things is refused, never guessed.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tailora.data.rows import normalise
from tailora.errors import DataError, did_you_mean, some_of
from tailora.measure import words

UNLABELLED = "-1"
# Control characters and the line ends of Unicode.
_LINE_ENDS = ("Cc", "Zl", "Zp")
_FEWEST = 10
_NUMBER = re.compile(r"[-+]?\d+")
_FRACTION = re.compile(r"[-+]?(\d*[.,]\d+|\d+[.,]\d*|\d+(?=e))(e[-+]?\d+)?", re.IGNORECASE)

Seen = Mapping[str, Counter[str]]
"""How often each file has each label, as it writes it."""


class Classes(NamedTuple):
    """The names of the classes in order, and of each file which name each label that it writes has."""

    names: list[str]
    written: dict[str, dict[str, str]]


def name_classes(seen: Seen, names: Sequence[str] | None = None) -> Classes:
    """Return the classes behind the labels of some files; `names` are those that the recipe lists, in order.

    Without `names` they are the labels themselves, numbers in their order and texts in that of the alphabet.

    Raises:
        DataError: when labels could mean several classes or none, or there is one class only.
    """
    _refuse(_broken([*(names or ()), *(label for labels in seen.values() for label in labels)]))
    if names is not None:
        written, problems = {}, []
        for file, labels in seen.items():
            named = _named(labels, names)
            written[file] = named.known
            problems += [f"{file}: {problem}" for problem in named.problems]
        _refuse(problems)
        return Classes(list(names), written)
    seen = {file: _without_unlabelled(labels) for file, labels in seen.items()}
    _refuse([*_scores(seen), *_other_spellings(seen), *_other_numbers(seen)])
    found = {label for labels in seen.values() for label in labels}
    if len(found) < 2:
        raise DataError(f"there is one label only, {next(iter(found), None)!r}: nothing can be learned from it.")
    rows = sum(labels.total() for labels in seen.values())
    if rows == len(found) and rows >= _FEWEST:
        raise DataError(
            f"the labels of all {rows:,} rows differ ({some_of(sorted(found))}), so none can be learned: this is "
            'another column. Name that of the label with data.label = "…", or learn texts with task = "generate".'
        )
    ordered = sorted(found, key=int) if _are_numbers(found) else sorted(found, key=lambda label: (label.lower(), label))
    return Classes(ordered, {file: {label: label for label in labels} for file, labels in seen.items()})


class _Named(NamedTuple):
    known: dict[str, str]
    problems: list[str]


def _named(labels: Iterable[str], names: Sequence[str]) -> _Named:
    """Return the name of each label, and what is wrong with the others."""
    by_spelling = {normalise(name): name for name in names}
    known = {label: by_spelling[normalise(label)] for label in labels if normalise(label) in by_spelling}
    others = sorted(set(labels) - known.keys())
    if others and not known and _are_numbers(others):
        return _numbered(sorted(others, key=int), names)
    if not others:
        return _Named(known, [])
    near = did_you_mean(others[0], names) if len(others) == 1 else ""
    found = f"the label {others[0]!r} is" if len(others) == 1 else f"{len(others):,} labels are ({some_of(others)})"
    return _Named(known, [f"{found} not among data.labels{near}; they are: {some_of(names)}."])


def _numbered(labels: list[str], names: Sequence[str]) -> _Named:
    count, lowest, highest = len(names), int(labels[0]), int(labels[-1])
    fitting = [start for start in (0, 1) if start <= lowest and highest < start + count]
    if len(fitting) == 1:
        return _Named({label: names[int(label) - fitting[0]] for label in labels}, [])
    shown = some_of(labels)
    why = "count from 0 as well as from 1" if fitting else f"fit neither 0 to {count - 1} nor 1 to {count}"
    return _Named({}, [f"the labels {shown} {why}, so they do not say which of the {count} data.labels they mean; "
                       "write the names instead."])  # fmt: skip


def _without_unlabelled(labels: Counter[str]) -> Counter[str]:
    """Return `labels` without -1 where the others are two classes or more: so data sets mark rows without a label."""
    others = [label for label in labels if label != UNLABELLED]
    if len(others) < 2 or any(_NUMBER.fullmatch(label) and int(label) < 0 for label in others):
        return labels
    return Counter({label: rows for label, rows in labels.items() if label != UNLABELLED})


def _scores(seen: Seen) -> list[str]:
    """Say which files have numbers with a fraction for labels, which are scores and no classes."""
    problems = []
    for file, labels in seen.items():
        found = [label for label in labels if _FRACTION.fullmatch(label)]
        if found:
            problems.append(
                f"{file}: the labels {', '.join(sorted(found)[:5])} are numbers with a fraction: scores, not classes. "
                'Write the name of a class in place of each range, or learn them as text with task = "generate".'
            )
    return problems


def _spelling(label: str) -> str:
    """Return what labels have in common that are one but for case, spaces and leading zeros."""
    return str(int(label)) if _NUMBER.fullmatch(label) else normalise(words.seen(label))


def _other_spellings(seen: Seen) -> list[str]:
    counts: Counter[str] = sum(seen.values(), Counter())
    alike: dict[str, list[str]] = {}
    for label in counts:
        alike.setdefault(_spelling(label), []).append(label)
    found = [
        " and ".join(f"{word!r} ({counts[word]:,} rows)" for word in spelled)
        for spelled in alike.values()
        if len(spelled) > 1
    ]
    if not found:
        return []
    more = f"; … and {len(found) - 3:,} more" if len(found) > 3 else ""
    return [
        f"labels that differ in case, spaces or leading zeros alone: {'; '.join(found[:3])}{more}. Write them alike, "
        "or list the names in order with data.labels, by which they are read as one."
    ]


def _other_numbers(seen: Seen) -> list[str]:
    """Say which files count from another number, or write names where others write numbers."""
    remedy = 'list the names in order, data.labels = ["…", "…"], by which each file is read in its own way.'
    numbered = {file: sorted(map(int, labels)) for file, labels in seen.items() if _are_numbers(labels)}
    named = [file for file in seen if file not in numbered]
    if numbered and named:
        return [f"{next(iter(numbered))} writes labels as numbers and {named[0]} as names; {remedy}"]
    if not numbered:
        return []
    (most, fullest), *_ = sorted(numbered.items(), key=lambda entry: -len(entry[1]))
    return [
        f"labels count from {fullest[0]} in {most} and from {numbers[0]} in {file}, so the same number means another "
        f"class; {remedy}"
        for file, numbers in numbered.items()
        if not set(numbers) <= set(fullest) and numbers[0] != fullest[0]
    ]


def _broken(labels: Iterable[str]) -> list[str]:
    """Say which labels would not stand on one line, and could pass for a line of our own."""
    found = sorted({repr(label) for label in labels if any(unicodedata.category(c) in _LINE_ENDS for c in label)})
    if not found:
        return []
    return [
        f"labels with line ends or control characters: {some_of(found)}. A label is a name: write each on one line, as "
        'plain text; or learn texts with task = "generate".'
    ]


def _are_numbers(labels: Iterable[str]) -> bool:
    return all(_NUMBER.fullmatch(label) for label in labels)


def _refuse(problems: list[str]) -> None:
    if problems:
        raise DataError(problems)
