"""Which column is the question, which the answer: found by name, or by what stands in columns without names."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tailora.data.records import TURN_KEYS
from tailora.errors import DataError, did_you_mean, some_of
from tailora.recipe import Data

# Layouts of well-known data sets first: a column such as `text` is the question only where nothing better is there.
_LAYOUTS = (
    ("instruction", "input", "output"),
    ("prompt", None, "completion"),
    ("question", "context", "answer"),
    ("instruction", "context", "response"),
)
_PROMPTS = ("instruction", "prompt", "question", "text", "intent", "sentence")
# Names that hold the text to be answered or labelled where none of those is there.
_OTHER_PROMPTS = (
    "review", "content", "message", "comment", "tweet", "title", "headline", "utterance", "document", "query",
)  # fmt: skip
INPUTS = ("input", "context")
# Other names of what a question is about: which of them is meant is asked, since none is read by itself.
OTHER_INPUTS = (
    "inputs", "user_input", "input_text", "context_text", "passage", "passages", "paragraph", "paragraphs", "article",
    "document", "documents", "story", "dialogue", "schema", "choices", "options", "table", "tables", "facts",
    "evidence", "hint", "support", "background", "knowledge", "premise", "hypothesis", "sentence2", "question2",
    "text2", "image", "images", "audio",
)  # fmt: skip
SYSTEMS = ("system", "system_prompt")
_ANSWERS = ("output", "response", "answer", "answers", "completion", "code", "snippet", "long_answer")
LABELS = ("label", "labels", "category", "class", "target", "sentiment")
CHATS = ("messages", "conversations")
# Names that rows of the splits use for something of their own; a column called so is carried as `source_<name>`.
_OURS = ("id", "where", "prompt", "answer", "context", "tests", "cluster", "slice", "leaks")
_ALIKE = 0.6
_MOST_NAMES = 20
# Data sets that name the kind of each task want some kinds kept for the test.
_UNSEEN = "family"
_ALWAYS_CARRIED = ("tests", "topic", "domain", "program_stub")
# A column of which few values return often names a class.
_MOST_LABELS, _ROWS_PER_LABEL, _LONGEST_LABEL = 50, 5, 60


@dataclass(frozen=True)
class Columns:
    """Where question, context and answer stand, or `messages` instead of the three, and the system prompt."""

    prompt: str | None = None
    input: str | None = None
    answer: str | None = None
    messages: str | None = None
    system: str | None = None

    def used(self) -> set[str]:
        """Return the names of all of them."""
        return {name for name in vars(self).values() if name is not None}

    def required(self) -> set[str]:
        """Return the names without which there is no example."""
        return self.used() - {self.input, self.system}


@dataclass(frozen=True)
class Carried:
    """Columns that go along with an example: each with the name that it has there."""

    names: dict[str, str]
    group: str | None
    holdout: str | None


def detect_columns(seen: Iterable[str], data: Data, source: str, labelled: bool = False) -> Columns:
    """Choose the columns among the names `seen`; what the recipe names wins. Labelled rows are answered by a label.

    Raises:
        DataError: when a named column is missing, none fits, or several fit equally well.
    """
    names = list(seen)
    data = _with_label(data, names, source) if labelled else data
    asked = {"prompt": data.prompt, "input": data.input or None, "answer": data.answer}
    _refuse_missing(asked | {"group": data.group, "holdout": data.holdout or None}, names, source)
    chats = _among(CHATS, names)
    if len(_among(("chosen", "rejected"), names)) == 2 and data.answer is None:
        raise DataError(_preferences(source, next(iter([*chats, *_among(_PROMPTS, names)]), None)))
    system = None if labelled else next(iter(_among(SYSTEMS, [n for n in names if n not in asked.values()])), None)
    if chats and not any(asked.values()):
        return Columns(messages=chats[0], system=system)
    free = [name for name in names if name not in asked.values()]
    layout = _layout(names, data)
    if layout:
        prompt, context, answer = layout
        beside = [name for name in free if name not in (prompt, answer)]
        return Columns(prompt, _context(data, context, beside), answer, system=system)
    labels = LABELS if not _among(_ANSWERS, free) else ()
    prompts = _PROMPTS if _among(_PROMPTS, free) else _OTHER_PROMPTS
    found = {
        "prompt": data.prompt or _only("prompt", prompts, free),
        "answer": data.answer or _only("label" if labelled else "answer", (*_ANSWERS, *labels), free),
    }
    problems = _problems(found)
    if problems:
        raise DataError(f"{source}: {'; '.join(problems)}. Columns: {some_of(names, _MOST_NAMES)}.")
    return Columns(str(found["prompt"]), _context(data, None, free), str(found["answer"]), system=system)


def _among(known: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the columns called like one of `known`, in the order of those; case and outer spaces do not count."""
    return [name for word in known for name in names if name.strip().lower() == word]


def _layout(names: Sequence[str], data: Data) -> tuple[str, str | None, str] | None:
    """Return the columns of the first well-known layout that is there: question, the name of its context, answer."""
    for prompt, context, answer in _LAYOUTS:
        prompts, answers = _among((prompt,), names), _among((answer,), names)
        if prompts and answers and data.prompt in (None, prompts[0]) and data.answer in (None, answers[0]):
            return prompts[0], context, answers[0]
    return None


def _context(data: Data, usual: str | None, free: Sequence[str]) -> str | None:
    """Return the column of the context: the one that is named, that of the layout, or any that is called so."""
    if data.input is not None:
        return data.input or None
    return next(iter(_among([usual, *INPUTS] if usual else INPUTS, free)), None)


def _with_label(data: Data, names: list[str], source: str) -> Data:
    """Return `data` with the column of the labels as that of the answers, where one is named or looks like it."""
    _refuse_missing({"label": data.label}, names, source)
    found = [name for name in _among(LABELS, names) if name not in (data.prompt, data.input)]
    if len(found) > 1 and not (data.label or data.answer):
        raise DataError(
            f'{source}: several columns could be the label: {", ".join(found)}; say which with data.label = "…".'
        )
    return data.model_copy(update={"answer": data.label or data.answer or next(iter(found), None)})


@dataclass(frozen=True)
class _NoChoice:
    problem: str
    proposed: str | None


def _only(key: str, known: tuple[str, ...], names: list[str]) -> str | _NoChoice:
    found = _among(known, names)
    if len(found) == 1:
        return found[0]
    if found:
        return _NoChoice(
            f'several columns could be the {key}: {", ".join(found)}; say which with data.{key} = "…"', None
        )
    inputs = _among(INPUTS, names) if key == "prompt" else []
    if inputs:
        return _NoChoice(f'no column looks like the prompt; say which with data.prompt = "{inputs[0]}"', inputs[0])
    strange = [name for name in names if not _among((*_PROMPTS, *INPUTS, *_ANSWERS), [name])]
    known = (*_PROMPTS, *_OTHER_PROMPTS) if known == _OTHER_PROMPTS else known
    likely = max(strange, key=lambda name: _likeness(name, known), default=None)
    if likely is None or _likeness(likely, known) < _ALIKE:
        return _NoChoice(f'no column looks like the {key}; say which with data.{key} = "…"', None)
    return _NoChoice(
        f'no column looks like the {key}; say which with data.{key} = "{likely}"'
        f"{did_you_mean(likely.strip().lower(), known)}",
        likely,
    )


def _likeness(name: str, known: Iterable[str]) -> float:
    return max(difflib.SequenceMatcher(None, name.strip().lower(), word).ratio() for word in known)


def _problems(found: dict[str, "str | _NoChoice"]) -> list[str]:
    """Return what is wrong with the choices; one column is not proposed for two of them."""
    problems, proposed = [], set()
    for key, choice in found.items():
        if isinstance(choice, str):
            continue
        again = choice.proposed is not None and choice.proposed in proposed
        problems.append(f'no column looks like the {key}; say which with data.{key} = "…"' if again else choice.problem)
        proposed.add(choice.proposed)
    return problems


def _refuse_missing(asked: dict[str, str | None], names: list[str], source: str) -> None:
    missing = [
        f'data.{key} = "{name}": {source} has no such column{did_you_mean(name, names)}; it has: '
        f"{some_of(names, _MOST_NAMES)}."
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
    holdout = _UNSEEN if data.holdout is None and _UNSEEN in names else data.holdout or None
    wanted = dict.fromkeys([*_ALWAYS_CARRIED, *(name for name in (data.group, holdout) if name)])
    renamed = {name: f"source_{name}" if name in _OURS and name not in _ALWAYS_CARRIED else name for name in wanted}
    return Carried(renamed, renamed.get(data.group or ""), renamed.get(holdout or ""))


def nested_lists(row: dict[str, Any]) -> list[str]:
    """Return the ways to lists of objects inside a row, each with the names in it; lists of turns are none."""
    found, waiting = [], list(row.items())
    while waiting:
        way, item = waiting.pop(0)
        if isinstance(item, list) and item and isinstance(item[0], dict):
            item, inside = item[0], f"{way}[0]"
            if not any(set(pair) <= item.keys() for pair in TURN_KEYS):
                found.append(f"{way} ({', '.join(list(item)[:8])})")
            way = inside
        if isinstance(item, dict):
            waiting += [(f"{way}.{key}", inner) for key, inner in item.items()]
    return found


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
