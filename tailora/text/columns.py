"""Source rows → examples: which column is the question, which the answer, and what cannot be used.

An example is a dict: `id`, `where`, `prompt` (the turns before the answer), `answer`, and where the source has them
`tests`, `topic` and the columns that the recipe names.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from tailora.errors import DataError, did_you_mean
from tailora.files import Row, fingerprint, json_line
from tailora.recipe import Data
from tailora.text.read import SourceRow

# Layouts of well-known data sets first: a column such as `text` is the question only where nothing better is there.
_LAYOUTS = (
    ("instruction", "input", "output"),
    ("prompt", None, "completion"),
    ("question", "context", "answer"),
    ("instruction", "context", "response"),
)
_PROMPTS = ("instruction", "prompt", "question", "text", "intent")
_INPUTS = ("input", "context")
_ANSWERS = ("output", "response", "answer", "completion", "code", "snippet", "long_answer")
_CHATS = ("messages", "conversations")
# ShareGPT's words for role and content, and its names of the roles.
_SHARED_ROLES = {"human": "user", "gpt": "assistant", "system": "system", "user": "user", "assistant": "assistant"}
REPEAT = "exact repeat of an earlier row"
# Names that rows of the splits use for something of their own.
_TAKEN = ("where", "cluster", "slice")
# Data sets that name the kind of each task want some kinds kept for the test.
_UNSEEN = "family"
# What data sets write where there is no context.
_PLACEHOLDERS = ("noinput", "no input", "n/a", "none")
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Columns:
    """Where question, context and answer stand, or `messages` instead of the three; and whose values are held back."""

    prompt: str | None = None
    input: str | None = None
    answer: str | None = None
    messages: str | None = None
    unseen: str | None = None


@dataclass
class Kept:
    """Examples that can be used, and how many rows could not, by reason, with the first places."""

    examples: list[Row] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)
    read: int = 0
    unusable_tests: int = 0

    def drop(self, reason: str, where: str) -> None:
        """Count a row that is left out; the first three places are kept to be shown."""
        self.dropped[reason] += 1
        if self.dropped[reason] <= 3:
            self.places.setdefault(reason, []).append(where)


def detect_columns(seen: Iterable[str], data: Data, source: str) -> Columns:
    """Choose the columns among the names `seen`; what the recipe names wins.

    Raises:
        DataError: when a named column is missing or has a name of ours, none fits, or several fit equally well.
    """
    names = list(seen)
    asked = {"prompt": data.prompt, "input": data.input, "answer": data.answer}
    named = asked | {"group": data.group, "unseen": data.unseen or None}
    missing = [
        f'data.{key} = "{name}": {source} has no such column{did_you_mean(name, names)}; it has: {", ".join(names)}.'
        for key, name in named.items()
        if name is not None and name not in names
    ]
    taken = [
        f'data.{key} = "{named[key]}": rows of the splits use this name for something else; rename the column.'
        for key in ("group", "unseen")
        if named[key] in _TAKEN
    ]
    if missing or taken:
        raise DataError(missing + taken)
    chats = [name for name in _CHATS if name in names]
    if chats and not any(asked.values()):
        return Columns(messages=chats[0])
    for prompt, context, answer in _LAYOUTS:
        if prompt in names and answer in names and data.prompt in (None, prompt) and data.answer in (None, answer):
            return Columns(prompt, data.input or (context if context in names else None), answer)
    free = [name for name in names if name not in asked.values()]
    return Columns(
        data.prompt or _only("prompt", _PROMPTS, free, source),
        data.input or next((name for name in _INPUTS if name in free), None),
        data.answer or _only("answer", _ANSWERS, free, source),
    )


def _only(key: str, known: tuple[str, ...], names: list[str], source: str) -> str:
    found = [name for name in known if name in names]
    if len(found) == 1:
        return found[0]
    what = f"several columns could be the {key}: {', '.join(found)}" if found else f"no column looks like the {key}"
    raise DataError(f'{source}: {what}; say which with data.{key} = "…". Columns: {", ".join(names)}.')


def to_examples(rows: Iterable[SourceRow], data: Data, source: str) -> tuple[Columns, Kept]:
    """Turn source rows into examples; rows that cannot be used, and exact repeats, are dropped and counted."""
    rows = list(rows)
    if not rows:
        raise DataError(f"{source}: no rows.")
    # Any row may bring a column that the first one leaves out.
    names = dict.fromkeys(name for row in rows for name in row.values)
    columns = replace(detect_columns(names, data, source), unseen=_unseen_column(names, data))
    kept, seen = Kept(read=len(rows)), set()
    for row in rows:
        example = _chat_example(row, columns, kept) if columns.messages else _plain_example(row, columns, kept)
        if example is None:
            continue
        key = content_key(example)
        example = {"id": str(row.values.get("id", key)), "where": row.where, **example}
        carried = [
            name for name in ("tests", "topic", data.group, columns.unseen) if name in row.values.keys() - example
        ]
        example |= {name: row.values[name] for name in carried}
        if "tests" in example and not _are_tests(example["tests"]):
            kept.unusable_tests += 1
            del example["tests"]
        if key in seen:
            kept.drop(REPEAT, row.where)
        elif not _is_unicode(example):
            kept.drop("half a character (a lone surrogate)", row.where)
        else:
            seen.add(key)
            kept.examples.append(example)
    assert kept.read == len(kept.examples) + kept.dropped.total()
    return columns, kept


def content_key(example: Row) -> str:
    """Return a short hash of what an example asks and answers; equal keys are exact repeats."""
    return fingerprint(*(turn["content"] for turn in example["prompt"]), example["answer"])


def _unseen_column(names: Iterable[str], data: Data) -> str | None:
    if data.unseen is None and _UNSEEN in names:
        return _UNSEEN
    return data.unseen or None


def _are_tests(value: Any) -> bool:
    """Say whether `value` is a list of expressions with the values that they must have."""
    return isinstance(value, list) and all(
        isinstance(case, dict) and isinstance(case.get("input"), str) and "expected" in case for case in value
    )


def _is_unicode(example: Row) -> bool:
    """Say whether every text is made of whole characters; an escape of JSON can spell half of one."""
    try:
        return bool(json_line(example).encode())
    except UnicodeEncodeError:
        return False


def _plain_example(row: SourceRow, columns: Columns, kept: Kept) -> Row | None:
    prompt = _text(row, columns.prompt)
    context = _text(row, columns.input) if columns.input else ""
    context = "" if context.strip().lower().strip("<>.") in _PLACEHOLDERS else context
    answer = _text(row, columns.answer)
    if not prompt.strip() or not answer.strip():
        kept.drop("empty question" if not prompt.strip() else "empty answer", row.where)
        return None
    content = f"{prompt}\n\n{context}" if context.strip() else prompt
    return {"prompt": [{"role": "user", "content": content}], "answer": answer}


def _text(row: SourceRow, column: str | None) -> str:
    value = row.values.get(column or "")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f'{row.where}: column "{column}" holds {type(value).__name__}, not text.')
    return value


def _chat_example(row: SourceRow, columns: Columns, kept: Kept) -> Row | None:
    turns = _plain_turns(row.values.get(columns.messages or ""))
    if not isinstance(turns, list) or not all(_is_turn(turn) for turn in turns):
        raise DataError(
            f'{row.where}: column "{columns.messages}" must be a list of {{"role": "user", "content": "…"}} '
            f"with roles {', '.join(_ROLES)}."
        )
    if len(turns) < 2 or turns[-1]["role"] != "assistant" or not turns[-1]["content"].strip():
        kept.drop("conversation without a final answer", row.where)
        return None
    if not any(turn["role"] == "user" and turn["content"].strip() for turn in turns):
        kept.drop("empty question", row.where)
        return None
    return {"prompt": turns[:-1], "answer": turns[-1]["content"]}


def _plain_turns(turns: Any) -> Any:
    """Return ShareGPT turns ({"from": "human", "value": …}) in our words; anything else as it is."""
    if not isinstance(turns, list) or not all(isinstance(turn, dict) and "from" in turn for turn in turns):
        return turns
    return [{"role": _SHARED_ROLES.get(turn["from"], turn["from"]), "content": turn.get("value")} for turn in turns]


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, dict) and turn.get("role") in _ROLES and isinstance(turn.get("content"), str)
