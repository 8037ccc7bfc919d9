"""A family: one kind of programming task, told in several phrasings and varied by its settings.

Knows how a family becomes rows. Does not know any task, and never runs an answer: what a test expects comes
from an oracle that the family brings along.
"""

import itertools
import math
import operator
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any, NamedTuple, TypedDict

Setting = Mapping[str, Any]

ROWS_PER_FAMILY = 36
MOST_SETTINGS = 20
COLUMNS = ("id", "topic", "family", "instruction", "input", "output", "tests")
OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
}


GATHERERS: Mapping[str, Callable[[Iterable[Any]], Any]] = {
    "sum": sum,
    "product": math.prod,
    "max": max,
    "min": min,
    "and": all,
    "or": any,
}
METHODS: Mapping[str, Callable[[str], str]] = {
    "lower": str.lower,
    "upper": str.upper,
    "title": str.title,
    "strip": str.strip,
}


class Case(NamedTuple):
    """A Python expression that calls the answer, and the JSON value it must give."""

    input: str
    expected: Any


class Row(TypedDict):
    """One line of the data set; the keys stand in the order of COLUMNS."""

    id: str
    topic: str
    family: str
    instruction: str
    input: str
    output: str
    tests: list[dict[str, Any]]


@dataclass(frozen=True)
class Family:
    """One kind of task. All texts are string.Template: `$word` is replaced by the setting's word."""

    topic: str
    name: str
    settings: Sequence[Setting]
    phrasings: str
    """Instructions, separated by blank lines; line breaks inside one are only for the reader."""
    answer: str
    tests: Callable[[Setting], list[Case]]
    input: str = ""


def table(columns: str, *records: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Settings written out one by one: column names, then one tuple per setting."""
    return [dict(zip(columns.split(), record, strict=True)) for record in records]


def grid(**axes: Sequence[Any]) -> list[dict[str, Any]]:
    """Settings as the product of all axes."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def calls(name: str, oracle: Callable[..., Any], *arguments: tuple[Any, ...], form: str = "{}") -> list[Case]:
    """One test per tuple of arguments; `form` wraps the call, for example "list({})"."""
    return [Case(form.format(f"{name}({', '.join(map(repr, values))})"), oracle(*values)) for values in arguments]


def split_phrasings(family: Family) -> list[str]:
    """The family's instruction templates, each on one line."""
    return [" ".join(paragraph.split()) for paragraph in family.phrasings.strip().split("\n\n")]


def ask(phrasing: str, setting: Setting) -> str:
    """The phrasing with the setting's words; "a $word" turns into "an ..." where the word wants it."""

    def article(match: re.Match[str]) -> str:
        vowel = str(setting[match[1]]).startswith(tuple("aeioAEIO"))
        return match[0] + "n" * vowel

    return Template(re.sub(r"(?<![\w$`])[Aa](?= \$(\w+))", article, phrasing)).substitute(setting)


def choose_settings(family: Family, seed: int) -> list[Setting]:
    """All settings, or MOST_SETTINGS of them where there are more, in their written order."""
    if len(family.settings) <= MOST_SETTINGS:
        return list(family.settings)
    chosen = _randomness(family, seed).sample(range(len(family.settings)), MOST_SETTINGS)
    return [family.settings[index] for index in sorted(chosen)]


def make_rows(family: Family, seed: int) -> list[Row]:
    """ROWS_PER_FAMILY rows: the settings in turn, each time in a phrasing that it has not had yet."""
    settings = choose_settings(family, seed)
    randomness = _randomness(family, seed)
    turns = -(-ROWS_PER_FAMILY // len(settings))
    told = [randomness.sample(split_phrasings(family), turns) for _ in settings]
    places = [divmod(number, len(settings)) for number in range(ROWS_PER_FAMILY)]
    pairs = [(settings[which], told[which][turn]) for turn, which in places]
    return [_row(family, number, *pair) for number, pair in enumerate(pairs, start=1)]


def _row(family: Family, number: int, setting: Setting, phrasing: str) -> Row:
    return Row(
        id=f"{family.topic}/{family.name}/{number:02d}",
        topic=family.topic,
        family=family.name,
        instruction=ask(phrasing, setting),
        input=Template(family.input.strip("\n")).substitute(setting),
        output=f"```python\n{Template(family.answer.strip()).substitute(setting)}\n```",
        tests=[case._asdict() for case in family.tests(setting)],
    )


def _randomness(family: Family, seed: int) -> random.Random:
    return random.Random(f"{seed}/{family.name}")
