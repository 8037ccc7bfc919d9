"""Source rows → examples: what is asked and answered, and a count of what cannot be used.

An example is a dict: `id`, `where`, `prompt` (the turns before the answer), `answer`, and where the source has them
`context` (how many characters at the end of the question are context, which may be shortened), `tests`, `topic`,
`domain` and the columns that the recipe names.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tailora.data.columns import (
    CHATS,
    INPUTS,
    LABELS,
    OTHER_INPUTS,
    Carried,
    Columns,
    carried_columns,
    columns_by_value,
    detect_columns,
    label_text,
    nested_lists,
)
from tailora.data.read import SourceRow
from tailora.data.records import TURN_KEYS, FaultError, Notices, Problems
from tailora.data.rows import content_key, normalise
from tailora.errors import DataError, did_you_mean, some_of
from tailora.files import Row, fingerprint
from tailora.recipe import Data

REPEAT = "exact repeat of an earlier row"
_HEAD = 1000
# What data sets write where there is no context.
_PLACEHOLDERS = ("noinput", "no input", "n/a", "none")
# Columns that mean something beyond question and answer, and the keys of an answer in the way of SQuAD.
_USED_ELSEWHERE = ("id", "tests", "topic", "domain", "family", "program_stub")
_SQUAD = ("text", "answer_start", "answer_end", "answer_id")
_EARLIER = "history"  # LLaMA-Factory's name of the turns before
# Columns that each hold one of the options of a question: opa, option_b, choice 3, D.
_OPTION = re.compile(r"[a-e]|(?:op|option|choice|ending)[ _]?[a-e0-9]")
_LISTED = re.compile(r"\s*\[\s*(['\"]).*(['\"])\s*\]\s*", re.DOTALL)
_SPELLED = re.compile(r"""\s*\{\s*(['"])text\1\s*:""")
_ROLES = ("system", "user", "assistant")
# ShareGPT's words for role and content, and its names of the roles.
_SHARED_ROLES = {"human": "user", "gpt": "assistant"}
# How data sets say that an answer in the middle is not to be learned.
_WEIGHTS = ("weight", "loss_weight", "train")


class _Unusable(Exception):
    """A row that is left out and counted; the message is the reason."""


@dataclass
class Kept:
    """What became of the rows read: how many were dropped and why, what was noticed, and how columns were used."""

    read: int = 0
    dropped: Notices = field(default_factory=Notices)
    notices: Notices = field(default_factory=Notices)
    columns: Counter[Columns] = field(default_factory=Counter)
    group: str | None = None
    """Name of the column in the examples that `data.group` means; `holdout` likewise."""
    holdout: str | None = None
    unusable_tests: int = 0
    seen: set[int] = field(default_factory=set)
    ids: set[int] = field(default_factory=set)


def to_examples(
    rows: Iterable[SourceRow],
    data: Data,
    source: str,
    kept: Kept,
    domain: str | None = None,
    labelled: bool = False,
) -> Iterator[Row]:
    """Yield the examples of source rows as they come; rows that cannot be used, and exact repeats, are counted.

    `labelled` rows are answered by a label, which need not be text.

    Raises:
        DataError: when the columns cannot be found, and at the end for the first twenty rows that must be mended.
    """
    problems = Problems()
    rows = _until_refused(rows, problems)
    head = list(itertools.islice(rows, _HEAD))
    if not head:
        problems.refuse()
        raise DataError(f"{source}: no rows.")
    carried = carried_columns(dict.fromkeys(name for row in head for name in row.values), data)
    try:
        mapping = _Mapping(head, data, source, kept.notices, labelled, carried)
    except DataError as error:
        problems.take(error)
        problems.refuse()
        raise
    kept.group, kept.holdout = carried.group or kept.group, carried.holdout or kept.holdout
    for row in itertools.chain(head, rows):
        kept.read += 1
        try:
            columns = mapping.columns_of(row)
            example = _example(row, columns, kept.notices, labelled)
        except DataError as error:
            problems.take(error)
        except _Unusable as reason:
            kept.dropped.add(str(reason), row.where)
        else:
            kept.columns[columns] += 1
            if complete := _completed(example, row, carried, kept):
                yield complete | ({"domain": domain} if domain else {})
    problems.refuse()


def _until_refused(rows: Iterable[SourceRow], problems: Problems) -> Iterator[SourceRow]:
    """Yield rows; what their reader says at their end joins the problems of the rows themselves."""
    try:
        yield from rows
    except DataError as error:
        problems.take(error)


class _Mapping:
    """Finds the columns of each row; rows with other names may map in another way, which is noticed."""

    def __init__(
        self, head: list[SourceRow], data: Data, source: str, notices: Notices, labelled: bool, carried: Carried
    ) -> None:
        self._source, self._notices, self._labelled = source, notices, labelled
        self._used_elsewhere = {*_USED_ELSEWHERE, *carried.names}
        self._may_lose_input = data.input is not None
        self._may_lose_references = data.answer is not None or data.label is not None
        self._usual = find_columns(head, data, source, labelled)
        if self._usual.messages and any(isinstance(row.values.get("label"), bool) for row in head):
            raise DataError(
                f"{source}: the column label marks good and bad answers (KTO), and tailora learns from all answers it "
                "gets. Keep the rows whose label is true, and leave the column out."
            )
        self._known: dict[frozenset[str], Columns | None] = {}

    def columns_of(self, row: SourceRow) -> Columns:
        """Return the columns of a row; raise DataError when it lacks what an example needs."""
        # Where data sets of two layouts were joined, a row has null in the column of the other one.
        names = frozenset(name for name, value in row.values.items() if value is not None or name.lower() not in CHATS)
        if names not in self._known:
            self._known[names] = self._detect([name for name in row.values if name in names])
        columns = self._known[names]
        if columns is None:
            lacking = " and ".join(sorted(self._usual.required() - names))
            had = some_of([name if name in names else f"{name} (null)" for name in row.values], 20)
            raise FaultError(row.where, f"the row lacks {lacking}.", f"It has: {had or 'nothing'}.")
        if columns.required() != self._usual.required():
            self._notices.add("rows with other columns", row.where, [spell(columns)])
        self._note_unused(row, columns)
        return columns

    def _note_unused(self, row: SourceRow, columns: Columns) -> None:
        """Count columns that are not used; raise DataError for a context or references that would be lost."""
        unused = [name for name in row.values if name not in columns.used() | self._used_elsewhere]
        filled = {name.strip().lower(): name for name in unused if _is_filled(row.values[name])}
        references = filled.get("answers") if (columns.answer or "").strip().lower() == "answer" else None
        answer = _of(row, columns.answer)
        more = [text for text in _references(row.values[references]) or () if text != answer] if references else []
        if more and not self._may_lose_references:
            raise FaultError(
                row.where,
                f"the column {references} is filled beside {columns.answer} and would not be read. Name it with "
                f'data.answer = "{references}" where it holds reference answers, or write data.answer = '
                f'"{columns.answer}" to leave it out.',
            )
        lost = next(iter(_lost(row, columns, filled)), None)
        if lost and not self._may_lose_input:
            known = f'Name it with data.input = "{lost}"' if _are_texts(row.values[lost]) else "Write it as text"
            known = "Write question and options into one column" if _OPTION.fullmatch(lost.strip().lower()) else known
            raise FaultError(
                row.where,
                f"the column {lost} is filled and would not be read. {known}, or write data.input = "
                f'"{columns.input or ""}" to leave it out.',
            )
        if unused:
            self._notices.add("columns that are not used", row.where, unused)

    def _detect(self, names: list[str]) -> Columns | None:
        if self._usual.required() <= set(names):
            return self._usual
        try:
            return detect_columns(names, Data(source=self._source), self._source, self._labelled)
        except DataError:
            return None


def _lost(row: SourceRow, columns: Columns, filled: dict[str, str]) -> list[str]:
    """Return which of the `filled` columns that are not used, by their names in small letters, a question is about."""
    has_context = columns.messages or _is_filled(_of(row, columns.input))
    lost = [filled[name] for name in (*INPUTS, _EARLIER) if name in filled]
    # A number called "support" counts something.
    others = [filled[name] for name in OTHER_INPUTS if name in filled and not has_context]
    lost += [name for name in others if not isinstance(row.values[name], int | float)]
    if columns.messages:
        return lost
    options = [filled[name] for name in filled if _OPTION.fullmatch(name) and isinstance(row.values[filled[name]], str)]
    lost += options if len(options) > 1 else []
    # Some data sets keep the whole row as one text beside its parts, and most tell in `source` where a row is from.
    asked, text = (normalise(str(_of(row, name))) for name in (columns.prompt, filled.get("text")))
    lost += [filled["text"]] if "text" in filled and asked not in text and not has_context else []
    is_target = (columns.answer or "").strip().lower() == "target"
    return lost + ([filled["source"]] if is_target and "source" in filled and not has_context else [])


def find_columns(head: Sequence[SourceRow], data: Data, source: str, labelled: bool) -> Columns:
    """Return the columns of the first rows of a source, by their names, or by what stands in them without names.

    Raises:
        DataError: when a named column is missing, none fits, or several fit equally well.
    """
    names = dict.fromkeys(name for row in head for name in row.values)
    are_named = not names or not all(name.startswith("column_") for name in names)
    if not are_named and not (data.prompt and (data.label or data.answer)):
        return columns_by_value([row.values for row in head], source, data.label)
    try:
        return detect_columns(names, data, source, labelled)
    except DataError:
        nested = nested_lists(head[0].values)
        if not nested or data.prompt or data.answer or data.label:
            raise
        raise DataError(
            f"{source}: the rows are nested: none of their columns is the question or the answer, and lists of objects "
            f"stand inside them, in {head[0].where} at {some_of(nested, 4)}. Write one row for each object that is to "
            "be learned, with question and answer in columns of their own; or name columns with data.prompt and "
            "data.answer."
        ) from None


def spell(columns: Columns) -> str:
    """Return the columns as "prompt = question, answer = reply"."""
    return ", ".join(f"{key} = {some_of([name])}" for key, name in vars(columns).items() if name is not None)


def _example(row: SourceRow, columns: Columns, notices: Notices, labelled: bool) -> Row:
    if labelled:
        example = _answered(row, columns, notices, True)
        return example | {"answer": label_text(example["answer"])}
    example = _answered(row, columns, notices, False)
    system = _text(_of(row, columns.system), row, columns.system, notices)
    if not system.strip():
        return example
    if example["prompt"][0]["role"] == "system":
        notices.add("system prompts in a column beside a system turn, which wins", row.where)
        return example
    return example | {"prompt": [{"role": "system", "content": system}, *example["prompt"]]}


def _answered(row: SourceRow, columns: Columns, notices: Notices, labelled: bool) -> Row:
    if columns.messages:
        return _conversation(row.where, _turns(row, columns.messages), notices)
    asked, answer = _of(row, columns.prompt), _of(row, columns.answer)
    if labelled or (columns.answer or "").strip().lower() in LABELS:
        answer = _one_label(row, columns.answer or "", notices)
    references = _references(answer)
    if isinstance(asked, list) or (references is None and isinstance(answer, list | dict)):
        return _prompted(row, columns, answer, notices)
    prompt = _text(asked, row, columns.prompt, notices)
    context = _said(_context(row, columns, notices), row, notices)
    if references is not None:
        answer = _first_of(references, row, notices)
    elif isinstance(answer, str) and _SPELLED.match(answer):
        raise FaultError(
            row.where,
            f'column "{columns.answer}" holds an object that was written as text, as pandas does in CSV; save the rows '
            "as JSON lines or Parquet.",
        )
    elif labelled and isinstance(answer, int | float):
        answer = label_text(answer)
    else:
        answer = _text(answer, row, columns.answer, notices)
        answer = label_text(answer) if labelled else answer
    if not prompt.strip() or not answer.strip():
        raise _Unusable("empty question" if not prompt.strip() else "empty answer")
    several = {"answers": references} if references is not None and len(references) > 1 else {}
    if not context.strip():
        return {"prompt": [{"role": "user", "content": prompt}], "answer": answer, **several}
    content = f"{prompt}\n\n{context}"
    return {"prompt": [{"role": "user", "content": content}], "answer": answer, "context": len(context), **several}


def _of(row: SourceRow, column: str | None) -> Any:
    """Return what a row has in a column; a column without a name, such as the index that pandas writes, is one too."""
    return None if column is None else row.values.get(column)


def _is_filled(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else bool(value)


def _are_texts(value: Any) -> bool:
    """Say whether a value can be read as context."""
    return all(isinstance(part, str) for part in value) if isinstance(value, list) else isinstance(value, str | int)


def _references(answer: Any) -> list[str] | None:
    """Return the reference answers of a row in the way of SQuAD, each once; None where it has one answer."""
    texts = _squad_text(answer)
    if isinstance(texts, str):
        return None if texts is answer else [texts]
    texts = [_squad_text(text) for text in texts] if isinstance(texts, list) else None
    if texts is None or not all(text is None or isinstance(text, str) for text in texts):
        return None
    return list(dict.fromkeys(text for text in texts if text and text.strip()))


def _squad_text(answer: Any) -> Any:
    return answer["text"] if isinstance(answer, dict) and {"text"} <= answer.keys() <= set(_SQUAD) else answer


def _one_label(row: SourceRow, column: str, notices: Notices) -> Any:
    """Return the one label of a row, which may stand alone in a list."""
    label = row.values.get(column)
    if isinstance(label, list):
        if len(label) > 1:
            raise FaultError(
                row.where,
                f'column "{column}" holds several labels, and a row is learned with one; write one, or all of them as '
                'one text for task = "generate".',
                f"{len(label)} here.",
            )
        notices.add("labels that stand alone in a list, read as that label", row.where)
        label = label[0] if label else None
    if isinstance(label, list | dict):
        raise FaultError(
            row.where,
            f'column "{column}" holds {"an object" if isinstance(label, dict) else "lists"} and no label; say which '
            'column has the label (data.label = "…") or the answer (data.answer = "…").',
            f"It has the keys {', '.join(label)}." if isinstance(label, dict) else "",
        )
    return label


def _first_of(references: list[str], row: SourceRow, notices: Notices) -> str:
    if len(references) > 1:
        notices.add("rows with several reference answers: the first is learned, all are kept for scoring", row.where)
    return references[0] if references else ""


def _context(row: SourceRow, columns: Columns, notices: Notices) -> str:
    """Return the context of a row, which may be a list of passages."""
    passages = _of(row, columns.input)
    if isinstance(passages, list) and passages and all(isinstance(passage, str) for passage in passages):
        notices.add("contexts in several passages, joined by a blank line", row.where)
        return "\n\n".join(passages)
    return "" if passages == [] else _text(passages, row, columns.input, notices)


def _said(context: str, row: SourceRow, notices: Notices) -> str:
    """Return `context`, or nothing where it only says that there is none."""
    if context.strip().lower().strip("<>.") not in _PLACEHOLDERS:
        return context
    notices.add("contexts that say there is none, read as empty", row.where)
    return ""


def _text(value: Any, row: SourceRow, column: str | None, notices: Notices) -> str:
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        notices.add("numbers in the columns of question, context or answer, read as text", row.where)
        return str(value)
    if not isinstance(value, str):
        raise FaultError(
            row.where,
            f'column "{column}" holds {type(value).__name__}, not text; write it as text, or name another column.',
            f"It has the keys {', '.join(map(str, value))}." if isinstance(value, dict) else "",
        )
    if _LISTED.fullmatch(value):
        notices.add("lists that were written as text, read as they stand", row.where, [column or ""])
    return value


def _prompted(row: SourceRow, columns: Columns, answer: Any, notices: Notices) -> Row:
    """Read turns in the column of the question, and one turn of the assistant in that of the answer (TRL's way)."""
    asked, named, answered = _of(row, columns.prompt), columns.prompt or "", columns.answer or ""
    turns = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    answers = [{"role": "assistant", "content": answer}] if isinstance(answer, str) else answer
    answers = [answers] if isinstance(answers, dict) else answers
    if not isinstance(turns, list):
        raise FaultError(row.where, f'column "{named}" must be text or a list of turns.', f"{_kind(asked)} here.")
    if not isinstance(answers, list) or len(answers) != 1 or not _is_turn(answers[0]):
        raise FaultError(
            row.where,
            f'column "{answered}" must be text, a list of reference answers as texts, or one turn of the assistant '
            '{"role": "assistant", "content": "…"}.',
            f"{_kind(answer)} here.",
        )
    said = [*_numbered(row.where, named, turns), _Said(row.where, answered, answers[0])]
    return _conversation(row.where, said, notices)


def _kind(value: Any) -> str:
    """Say what a value is, for a message."""
    if isinstance(value, list):
        return f"A list of {len(value):,}{f', the first {_kind(value[0]).lower()}' if value else ''}"
    if isinstance(value, dict):
        return f"An object with the keys {', '.join(map(str, value))}"
    return "Null" if value is None else f"A value of type {type(value).__name__}"


class _Said(NamedTuple):
    """A turn as the file has it, where it stands, and in which column."""

    where: str
    column: str
    turn: Any


def _numbered(where: str, column: str, turns: list[Any]) -> list[_Said]:
    return [_Said(f"{where} (turn {number})", column, turn) for number, turn in enumerate(turns, start=1)]


def _conversation(where: str, said: list[_Said], notices: Notices) -> Row:
    turns = [_turn(turn, where, notices) for turn in said]
    _refuse_disorder(said, turns)
    if len(turns) < 2 or turns[-1]["role"] != "assistant" or not turns[-1]["content"].strip():
        raise _Unusable("conversation without a final answer")
    if not any(turn["role"] == "user" and turn["content"].strip() for turn in turns):
        raise _Unusable("empty question")
    if not turns[-1].get("learn", True):
        raise _Unusable("final answer that is marked as not to be learned")
    return {"prompt": turns[:-1], "answer": turns[-1]["content"]}


def _turns(row: SourceRow, column: str) -> list[_Said]:
    turns = row.values.get(column)
    if not isinstance(turns, list):
        raise FaultError(
            row.where,
            f'column "{column}" must be a list of {{"role": "user", "content": "…"}} with roles {", ".join(_ROLES)}.',
            f"{_kind(turns)} here.",
        )
    return _numbered(row.where, column, turns)


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, dict) and any(set(pair) <= turn.keys() for pair in TURN_KEYS)


def _turn(said: _Said, where: str, notices: Notices) -> Row:
    """Return one turn in our words; ShareGPT says {"from": "human", "value": …} instead."""
    if not _is_turn(said.turn):
        cause = f'column "{said.column}": a turn must be {{"role": "user", "content": "…"}}.'
        raise FaultError(said.where, cause, f"{_kind(said.turn)} here.")
    # Where data sets of two layouts were joined, a turn has null under the keys of the other one.
    turn = {key: value for key, value in said.turn.items() if value is not None}
    keys = next((pair for pair in TURN_KEYS if set(pair) <= turn.keys()), None)
    if keys is None:
        pair = max(TURN_KEYS, key=lambda pair: len(turn.keys() & set(pair)))
        null = " and ".join(key for key in pair if key not in turn)
        cause = f'column "{said.column}": {null} is null; write it as text, or leave such conversations out.'
        raise FaultError(said.where, cause, f"Filled are: {', '.join(turn) or 'none'}.")
    role, content = (turn[key] for key in keys)
    role = _SHARED_ROLES.get(role, role) if isinstance(role, str) else role
    if role not in _ROLES:
        raise FaultError(
            said.where,
            f'column "{said.column}": the role is none of {", ".join(_ROLES)}. Calls of tools cannot be learned yet: '
            "leave such conversations out.",
            f"It is {role!r}{did_you_mean(str(role), [*_ROLES, *_SHARED_ROLES])}.",
        )
    extra = turn.keys() - {*keys, *_WEIGHTS}
    if extra:
        notices.add("keys of turns that are not used", where, sorted(extra))
    plain = {"role": role, "content": _content(said, content)}
    return plain if role != "assistant" or _is_learned(turn) else plain | {"learn": False}


def _content(said: _Said, content: Any) -> str:
    """Return the text of a turn, which may come in parts such as {"type": "text", "text": "…"}."""
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text", part.get("value")) if isinstance(part, dict) else part for part in parts]
    if any(isinstance(part, dict) and part.get("type", "text") != "text" for part in parts):
        kinds = {str(part.get("type")) for part in parts if isinstance(part, dict)} - {"text"}
        cause = f'column "{said.column}": a turn holds what is no text; only text can be used.'
        raise FaultError(said.where, cause, f"It holds {', '.join(sorted(kinds))}.")
    wrong = [type(text).__name__ for text in texts if not isinstance(text, str)]
    if wrong:
        cause = f'column "{said.column}": the content is {wrong[0]}, not text; drop the turn, or write it as text.'
        raise FaultError(said.where, cause)
    return "".join(map(str, texts))


def _is_learned(turn: Row) -> bool:
    return all(turn.get(key) not in (0, False) for key in _WEIGHTS)


def _refuse_disorder(said: list[_Said], turns: list[Row]) -> None:
    """Raise DataError unless an optional system turn comes first, and user and assistant take turns after it."""
    for turn_said, (before, turn) in zip(said[1:], itertools.pairwise(turns), strict=True):
        named = f'column "{turn_said.column}"'
        if turn["role"] == "system":
            cause = f"{named}: a system turn can only be the first; put its text into a user turn."
            raise FaultError(turn_said.where, cause)
        if before["role"] == turn["role"]:
            cause = f"{named}: a turn follows another turn of the {turn['role']}; join the two."
            raise FaultError(turn_said.where, cause)
    if len(turns) > 2 and turns[0]["role"] == "assistant":
        cause = f'column "{said[0].column}": the assistant speaks first; begin with a user turn.'
        raise FaultError(said[0].where, cause)


def _completed(example: Row, row: SourceRow, carried: Carried, kept: Kept) -> Row | None:
    """Give an example its id, place and columns; None, and a count, when it repeats an earlier one."""
    key = content_key(example)
    if int(key, 16) in kept.seen:
        kept.dropped.add(REPEAT, row.where)
        return None
    kept.seen.add(int(key, 16))
    name = str(row.values.get("id", key))
    if name != key:
        known = int(fingerprint(name), 16)
        if known in kept.ids:
            kept.notices.add("ids that stand twice; a hash of the content takes their place", row.where)
            name = key
        kept.ids.add(known)
    extra = {new: row.values[old] for old, new in carried.names.items() if old in row.values and new not in example}
    if "tests" in extra and not are_tests(extra["tests"]):
        kept.unusable_tests += 1
        del extra["tests"]
    return {"id": name, "where": row.where, **example, **extra}


def are_tests(value: Any) -> bool:
    """Say whether `value` is a list of expressions with the values that they must have, or of asserts as text."""
    if not isinstance(value, list):
        return False
    texts = [case for case in value if isinstance(case, str)]
    cases = [case for case in value if isinstance(case, dict) and isinstance(case.get("input"), str)]
    are_asserts = not texts or any("assert" in text for text in texts)
    return are_asserts and len(texts) + sum("expected" in case for case in cases) == len(value)
