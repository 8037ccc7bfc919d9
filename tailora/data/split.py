"""Rows → train, validation and test splits that share nothing.

The split is a pure function of contents and seed: neither the order of rows nor repeats in the source change it.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from tailora.data.near_duplicates import Links, Marks, Near
from tailora.data.rows import at
from tailora.errors import DataError
from tailora.files import Row, fingerprint
from tailora.recipe import Data

_FEWEST_ROWS = 10


class Splits(NamedTuple):
    """Rows to learn from, to choose by, and to judge by; test rows may carry a `slice` such as "unseen family"."""

    train: Sequence[Row]
    val: Sequence[Row]
    test: Sequence[Row]


class Division(NamedTuple):
    """Which rows stand in which split, by number; of each row its cluster, and of test rows the slice."""

    train: list[int]
    val: list[int]
    test: list[int]
    clusters: list[str]
    slices: dict[int, str]

    def numbers(self) -> dict[str, list[int]]:
        """Return the row numbers of each split by its name."""
        return {name: getattr(self, name) for name in Splits._fields}

    def rows(self, name: str, rows: Sequence[Row]) -> Iterator[Row]:
        """Yield the rows of a split, each with its cluster and slice."""
        numbers = self.numbers()[name]
        for i, row in zip(numbers, at(rows, numbers), strict=True):
            row = row | {"cluster": self.clusters[i]}
            yield row | {"slice": self.slices[i]} if i in self.slices else row


def divide(
    marks: Marks, near: Near, data: Data, own: dict[str, range] | None = None, labels: Sequence[str] | None = None
) -> Division:
    """Split by groups: rows that share a question, nearly or fully, a telling answer or a `data.group` stay together.

    With `data.holdout`, about a `data.test` share of that column's values goes to the test split alone (slice
    "unseen <column>"), and takes along rows of other values that share with it; these and the other test rows are
    "seen <column>". The group of a row is its `cluster`, for intervals. `own` are the numbers of rows that come from
    files of their own: {"test": range(900, 1000)}. What they share with the others is not separated, but leakage.
    With a test file of its own, "unseen" are the values that train does not have. With `labels`, one a row, each split
    has its share of the rows of each label, as far as groups allow, and train has a row of every label.

    Raises:
        DataError: when there are too few rows or groups for the splits, or values of `data.holdout`.
    """
    own = own or {}
    rest = [i for i in range(len(marks)) if not any(i in numbers for numbers in own.values())]
    held_back = _held_back_values(marks, rest, data) if "test" not in own else set()
    groups = group_rows(marks, near, rest, data, held_back)
    clusters = _clusters(
        marks, [*groups, *(g for numbers in own.values() for g in group_rows(marks, near, numbers, data))]
    )
    values = marks.values.get(data.holdout or "", [])
    unseen = [g for g in groups if any(values[i] in held_back for i in g)] if held_back else []
    usual = [g for g in groups if not any(values[i] in held_back for i in g)] if held_back else groups
    wanted = [name for name in ("test", "val") if name not in own]
    *dealt, train = _fill(usual, [getattr(data, name) for name in wanted], data.seed, marks.keys, labels)
    parts = {name: list(numbers) for name, numbers in own.items()} | dict(zip(wanted, dealt, strict=True))
    if len(rest) < _FEWEST_ROWS or not (parts["test"] and parts["val"] and train):
        named = ", ".join(["train", *wanted[::-1]])
        raise DataError(
            f"{len(rest)} rows in {len(groups)} groups are too few to split into {named}; at least {_FEWEST_ROWS} rows "
            "that do not all share a question or answer are needed."
        )
    parts["test"] += [i for group in unseen for i in group]
    slices = _slices(values, parts["test"], held_back, train, data) if data.holdout else {}
    ordered = {name: sorted(part, key=marks.keys.__getitem__) for name, part in {**parts, "train": train}.items()}
    return Division(ordered["train"], ordered["val"], ordered["test"], clusters, slices)


def _slices(
    values: list[str], test: list[int], held_back: Collection[str], train: list[int], data: Data
) -> dict[int, str]:
    learned = {values[i] for i in train}
    unseen = {i for i in test if (values[i] in held_back if held_back else values[i] not in learned)}
    return {i: f"{'unseen' if i in unseen else 'seen'} {data.holdout}" for i in test}


def group_rows(
    marks: Marks, near: Near, numbers: Sequence[int], data: Data, held_back: Collection[str] = ()
) -> list[list[int]]:
    """Return the connected groups of rows that must not be separated; `held_back` are values of `data.holdout`."""
    links = Links(len(marks))
    first: dict[str, int] = {}
    for i in numbers:
        for key in _shared_keys(marks, near, i, data, held_back):
            links.join(i, first.setdefault(key, i))
    groups: dict[int, list[int]] = defaultdict(list)
    for i in numbers:
        groups[links.find(i)].append(i)
    return list(groups.values())


def _shared_keys(marks: Marks, near: Near, i: int, data: Data, held_back: Collection[str]) -> list[str]:
    keys = [f"near:{near.group[i]}"]  # rows with one question are one group of near ones
    if marks.telling[i]:
        keys.append(f"answer:{marks.answers[i]}")
    if data.group is not None:
        keys.append(f"group:{marks.values[data.group][i]}")
    if data.holdout is not None and marks.values[data.holdout][i] in held_back:
        # Rows of one unseen value stand or fall together.
        keys.append(f"unseen:{marks.values[data.holdout][i]}")
    return keys


def _clusters(marks: Marks, groups: list[list[int]]) -> list[str]:
    clusters = [""] * len(marks)
    for group in groups:
        name = min(marks.keys[i] for i in group)
        for i in group:
            clusters[i] = name
    return clusters


def _held_back_values(marks: Marks, numbers: Sequence[int], data: Data) -> set[str]:
    if data.holdout is None:
        return set()
    values = sorted({marks.values[data.holdout][i] for i in numbers})
    if len(values) < 3:
        raise DataError(
            f'data.holdout = "{data.holdout}" has {len(values)} values; at least 3 are needed to keep some back.'
        )
    ranked = sorted(values, key=lambda value: fingerprint(str(data.seed), value))
    assert isinstance(data.test, float)
    return set(ranked[: max(1, round(len(ranked) * data.test))])


def _fill(
    groups: list[list[int]], shares: list[float], seed: int, keys: list[str], labels: Sequence[str] | None = None
) -> list[list[int]]:
    """Deal groups in an order given by their contents: each part takes what still fits its share, the last the rest.

    With `labels` a group fits where it fits the share of each of its labels, and leaves a row of each to the last part.
    """
    named = ["" for _ in keys] if labels is None else labels
    rows = Counter(named[i] for group in groups for i in group)
    kept = Counter(dict.fromkeys(rows, 0 if labels is None else 1))
    room = [_quotas(rows, share) for share in shares]
    parts: list[list[int]] = [[] for _ in [*shares, 1.0]]
    for group in sorted(groups, key=lambda g: fingerprint(str(seed), min(keys[i] for i in g))):
        wanted = Counter(named[i] for i in group)
        spared = wanted <= rows - kept
        part = next((part for part, left in enumerate(room) if spared and wanted <= left), len(shares))
        parts[part].extend(group)
        if part < len(shares):
            room[part] -= wanted
            rows -= wanted
    return parts


def _quotas(rows: Counter[str], share: float) -> Counter[str]:
    """Return how many rows of each label make a `share` of all rows, one at least: rounded by largest remainder."""
    exact = {label: share * count for label, count in rows.items()}
    quotas = Counter({label: int(count) for label, count in exact.items()})
    ranked = sorted(exact, key=lambda label: (quotas[label] - exact[label], label))
    for label in ranked[: max(1, round(share * rows.total())) - quotas.total()]:
        quotas[label] += 1
    return quotas


def weighted(numbers: list[int], domains: Sequence[str], weights: dict[str, float], keys: list[str]) -> list[int]:
    """Return training rows as often as an epoch sees them: those of a domain of weight 2 twice, of 0.5 every second.

    Which rows of a broken weight come once more depends on their contents alone.

    Raises:
        DataError: when a weight names a domain that no row has.
    """
    strangers = [name for name in weights if name not in set(domains)]
    if strangers:
        raise DataError(
            f"data.weights names {', '.join(strangers)}, but the domains are {', '.join(sorted(set(domains)))}."
        )
    counts = Counter(domains[i] for i in numbers)
    chosen: list[int] = []
    for domain, weight in weights.items():
        ranked = sorted((i for i in numbers if domains[i] == domain), key=lambda i: fingerprint("weight", keys[i]))
        chosen += [ranked[turn % len(ranked)] for turn in range(round(weight * counts[domain]))] if ranked else []
    return sorted([i for i in numbers if domains[i] not in weights] + chosen, key=keys.__getitem__)
