"""Examples → train, validation and test splits that share nothing.

The split is a pure function of contents and seed: neither the order of rows nor repeats in the source change it.
"""

from collections import defaultdict
from collections.abc import Collection
from typing import NamedTuple

from tailora.errors import DataError
from tailora.files import Row, fingerprint
from tailora.recipe import Data
from tailora.text.audit import near_pairs, normalise, question
from tailora.text.columns import content_key

# Shorter answers ("yes", "42") are shared by unrelated questions and say nothing about leakage. Characters count
# too, for languages without spaces.
_TELLING_WORDS, _TELLING_CHARACTERS = 8, 60
_FEWEST_ROWS = 10


class Splits(NamedTuple):
    """Rows to learn from, to choose by, and to judge by; test rows may carry a `slice` such as "unseen family"."""

    train: list[Row]
    val: list[Row]
    test: list[Row]


def split(examples: list[Row], data: Data) -> Splits:
    """Split by groups: rows that share a question, nearly or fully, a telling answer or a `data.group` stay together.

    With `data.unseen`, about a `data.test` share of that column's values goes to the test split alone (slice
    "unseen <column>"), and takes along rows of other values that share with it; these and the other test rows are
    "seen <column>". The group of a test row is its `cluster`, for intervals.

    Raises:
        DataError: when there are too few rows or groups for three splits.
    """
    held_back = _held_back_values(examples, data)
    groups = group_rows(examples, data, held_back)
    for group in groups:
        cluster = min(map(content_key, group))
        group[:] = [row | {"cluster": cluster} for row in group]
    unseen = [g for g in groups if any(_value(row, data.unseen) in held_back for row in g)]
    rest = [g for g in groups if not any(_value(row, data.unseen) in held_back for row in g)]
    test, val, train = _fill(rest, [data.test, data.val], data.seed)
    if len(examples) < _FEWEST_ROWS or not (test and val and train):
        raise DataError(
            f"{len(examples)} rows in {len(groups)} groups are too few to split into train, val and test; "
            f"at least {_FEWEST_ROWS} rows that do not all share a question or answer are needed."
        )
    if data.unseen:
        test += [row for group in unseen for row in group]
        names = {True: f"unseen {data.unseen}", False: f"seen {data.unseen}"}
        test = [row | {"slice": names[_value(row, data.unseen) in held_back]} for row in test]
    return Splits(*(sorted(rows, key=content_key) for rows in (train, val, test)))


def group_rows(examples: list[Row], data: Data, held_back: Collection[str] = ()) -> list[list[Row]]:
    """Return the connected groups of rows that must not be separated; `held_back` are values of `data.unseen`."""
    examples = sorted(examples, key=content_key)  # so that near pairs do not depend on the order of the source
    parent = list(range(len(examples)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    for i, row in enumerate(examples):
        for key in _shared_keys(row, data, held_back):
            parent[find(i)] = find(first.setdefault(key, i))
    for i, j, _ in near_pairs([question(row) for row in examples]):
        parent[find(i)] = find(j)
    groups: dict[int, list[Row]] = defaultdict(list)
    for i, row in enumerate(examples):
        groups[find(i)].append(row)
    return list(groups.values())


def _shared_keys(row: Row, data: Data, held_back: Collection[str]) -> list[str]:
    keys = ["prompt:" + normalise(question(row))]
    answer = normalise(row["answer"])
    if len(answer.split()) >= _TELLING_WORDS or len(answer) >= _TELLING_CHARACTERS:
        keys.append("answer:" + answer)
    if data.group is not None:
        keys.append(f"group:{row.get(data.group)}")
    if _value(row, data.unseen) in held_back:
        # Rows of one unseen value stand or fall together.
        keys.append(f"unseen:{_value(row, data.unseen)}")
    return keys


def _held_back_values(examples: list[Row], data: Data) -> set[str]:
    if data.unseen is None:
        return set()
    values = sorted({str(row.get(data.unseen)) for row in examples})
    if len(values) < 3:
        raise DataError(
            f'data.unseen = "{data.unseen}" has {len(values)} values; at least 3 are needed to keep some back.'
        )
    ranked = sorted(values, key=lambda value: fingerprint(str(data.seed), value))
    return set(ranked[: max(1, round(len(ranked) * data.test))])


def _value(row: Row, column: str | None) -> str | None:
    return None if column is None else str(row.get(column))


def _fill(groups: list[list[Row]], shares: list[float], seed: int) -> list[list[Row]]:
    """Deal groups in an order given by their contents: each part takes what still fits its share, the last the rest."""
    total = sum(map(len, groups))
    parts: list[list[Row]] = [[] for _ in [*shares, 1.0]]
    for group in sorted(groups, key=lambda g: fingerprint(str(seed), min(map(content_key, g)))):
        fits = (i for i, share in enumerate(shares) if len(parts[i]) + len(group) <= max(1, round(share * total)))
        parts[next(fits, len(shares))].extend(group)
    return parts
