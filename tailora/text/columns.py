"""Which column is the question, which the answer: found by name, or by what stands in columns without names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tailora.errors import DataError, did_you_mean
from tailora.recipe import Data

# Layouts of well-known data sets first: a column such as `text` is the question only where nothing better is there.
_LAYOUTS = (
    ("instruction", "input", "output"),
    ("prompt", None, "completion"),
    ("question", "context", "answer"),
    ("instruction", "context", "response"),
)
_PROMPTS = ("instruction", "prompt", "question", "text", "intent", "sentence")
_INPUTS = ("input", "context")
_ANSWERS = ("output", "response", "answer", "completion", "code", "snippet", "long_answer")
_LABELS = ("label", "labels", "category", "class", "target")
_CHATS = ("messages", "conversations")
# Names that rows of the splits use for something of their own; a column called so is carried as `source_<name>`.
_OURS = ("id", "where", "prompt", "answer", "context", "tests", "cluster", "slice", "leaks")
# Data sets that name the kind of each task want some kinds kept for the test.
_UNSEEN = "family"
_ALWAYS_CARRIED = ("tests", "topic", "domain")
# A column of which few values return often names a class.
_MOST_LABELS, _ROWS_PER_LABEL, _LONGEST_LABEL = 50, 5, 60


@dataclass(frozen=True)
class Columns:
    """Where question, context and answer stand, or `messages` instead of the three."""

    prompt: str | None = None
    input: str | None = None
    answer: str | None = None
    messages: str | None = None

    def used(self) -> set[str]:
        """Return the names of all of them."""
        return {name for name in vars(self).values() if name is not None}

    def required(self) -> set[str]:
        """Return the names without which there is no example."""
        return self.used() - {self.input}

    def is_labelled(self) -> bool:
        """Say whether the answer's column has a name for classes, whose values need not be text."""
        return self.answer in _LABELS


@dataclass(frozen=True)
class Carried:
    """Columns that go along with an example: each with the name that it has there."""

    names: dict[str, str]
    group: str | None
    unseen: str | None


def detect_columns(seen: Iterable[str], data: Data, source: str, labelled: bool = False) -> Columns:
    """Choose the columns among the names `seen`; what the recipe names wins. Labelled rows are answered by a label.

    Raises:
        DataError: when a named column is missing, none fits, or several fit equally well.
    """
    names = list(seen)
    data = _with_label(data, names, source) if labelled else data
    asked = {"prompt": data.prompt, "input": data.input, "answer": data.answer}
    _refuse_missing(asked | {"group": data.group, "unseen": data.unseen or None}, names, source)
    chats = [name for name in _CHATS if name in names]
    if {"chosen", "rejected"} <= set(names) and data.answer is None:
        raise DataError(_preferences(source, next((n for n in (*chats, *_PROMPTS) if n in names), None)))
    if chats and not any(asked.values()):
        return Columns(messages=chats[0])
    for prompt, context, answer in _LAYOUTS:
        if prompt in names and answer in names and data.prompt in (None, prompt) and data.answer in (None, answer):
            return Columns(prompt, data.input or (context if context in names else None), answer)
    free = [name for name in names if name not in asked.values()]
    labels = _LABELS if not set(_ANSWERS) & set(free) else ()
    found = {
        "prompt": data.prompt or _only("prompt", _PROMPTS, free, source),
        "answer": data.answer or _only("label" if labelled else "answer", (*_ANSWERS, *labels), free, source),
    }
    problems = [choice.problem for choice in found.values() if isinstance(choice, _NoChoice)]
    if problems:
        raise DataError(f"{source}: {'; '.join(problems)}. Columns: {', '.join(names)}.")
    context = data.input or next((name for name in _INPUTS if name in free), None)
    return Columns(str(found["prompt"]), context, str(found["answer"]))


def _with_label(data: Data, names: list[str], source: str) -> Data:
    """Return `data` with the column of the labels as that of the answers, where one is named or looks like it."""
    _refuse_missing({"label": data.label}, names, source)
    found = [name for name in _LABELS if name in names and name not in (data.prompt, data.input)]
    if len(found) > 1 and not (data.label or data.answer):
        raise DataError(
            f'{source}: several columns could be the label: {", ".join(found)}; say which with data.label = "…".'
        )
    return data.model_copy(update={"answer": data.label or data.answer or next(iter(found), None)})


@dataclass(frozen=True)
class _NoChoice:
    problem: str


def _only(key: str, known: tuple[str, ...], names: list[str], source: str) -> str | _NoChoice:
    found = [name for name in known if name in names]
    if len(found) == 1:
        return found[0]
    if found:
        return _NoChoice(f'several columns could be the {key}: {", ".join(found)}; say which with data.{key} = "…"')
    strange = [name for name in names if name not in (*_PROMPTS, *_INPUTS, *_ANSWERS)]
    near = [(name, did_you_mean(name.strip().lower(), known)) for name in strange]
    likely = next((f'data.{key} = "{name}"{meant}' for name, meant in near if meant), f'data.{key} = "…"')
    return _NoChoice(f"no column looks like the {key}; say which with {likely}")


def _refuse_missing(asked: dict[str, str | None], names: list[str], source: str) -> None:
    missing = [
        f'data.{key} = "{name}": {source} has no such column{did_you_mean(name, names)}; it has: {", ".join(names)}.'
        for key, name in asked.items()
        if name is not None and name not in names
    ]
    if missing:
        raise DataError(missing)


def _preferences(source: str, prompt: str | None) -> str:
    named = f'data.prompt = "{prompt}" and ' if prompt else ""
    return (
        f"{source}: the columns chosen and rejected are pairs of a better and a worse answer, and tailora learns from "
        f'answers alone. To learn the better ones, write {named}data.answer = "chosen".'
    )


def carried_columns(seen: Iterable[str], data: Data) -> Carried:
    """Return which columns go along with the examples, and under which names."""
    names = list(seen)
    unseen = _UNSEEN if data.unseen is None and _UNSEEN in names else data.unseen or None
    wanted = dict.fromkeys([*_ALWAYS_CARRIED, *(name for name in (data.group, unseen) if name)])
    renamed = {name: f"source_{name}" if name in _OURS and name not in _ALWAYS_CARRIED else name for name in wanted}
    return Carried(renamed, renamed.get(data.group or ""), renamed.get(unseen or ""))


def columns_by_value(rows: Sequence[dict[str, Any]], source: str, label: str | None = None) -> Columns:
    """Choose among columns without names: the one whose few values return often is the label, the others are text.

    With `label` that column is the label, where it is there.

    Raises:
        DataError: when not exactly one column looks like labels, or more than two others do not.
    """
    names = list(rows[0])
    labels = (
        [label]
        if label is not None and label in names
        else [n for n in names if _are_labels([row.get(n) for row in rows])]
    )
    texts = [name for name in names if name not in labels]
    if len(labels) == 1 and 1 <= len(texts) <= 2:
        return Columns(texts[0], texts[1] if len(texts) == 2 else None, labels[0])
    samples = "; ".join(f"{name} has {str(rows[0].get(name))[:40]!r}" for name in names[:8])
    raise DataError(
        f'{source}: the columns have no names, so say which is which with data.prompt = "…" and data.answer = "…": '
        f"{samples}."
    )


def _are_labels(values: list[Any]) -> bool:
    texts = {str(value) for value in values}
    few = 1 < len(texts) <= min(_MOST_LABELS, len(values) / _ROWS_PER_LABEL)
    return few and all(len(text) <= _LONGEST_LABEL for text in texts)


def label_text(value: Any) -> str:
    """Return a label as text; 2, 2.0, "2" and "2.0" are one label."""
    if isinstance(value, str):
        text = value.strip()
        whole, point, rest = text.partition(".")
        return whole if point and whole.lstrip("-").isdecimal() and set(rest) <= {"0"} else text
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
