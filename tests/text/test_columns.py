"""Columns: the question and the answer are found or asked for, and every row is kept or counted."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailora.errors import DataError
from tailora.files import json_line
from tailora.recipe import Data
from tailora.text.columns import Columns, Kept, detect_columns, to_examples
from tailora.text.read import SourceRow

# Each as published: column names, then question, context and answer.
LAYOUTS = {
    "flytech/python-codes-25k": ("instruction input output text", "instruction", "input", "output"),
    "tatsu-lab/alpaca": ("instruction input output text", "instruction", "input", "output"),
    "sahil2801/CodeAlpaca-20k": ("output instruction input", "instruction", "input", "output"),
    "databricks-dolly-15k": ("instruction context response category", "instruction", "context", "response"),
    "mbpp": ("task_id text code test_list", "text", None, "code"),
    "conala": ("question_id intent snippet", "intent", None, "snippet"),
    "question and answer": ("question answer", "question", None, "answer"),
    "TRL": ("prompt completion", "prompt", None, "completion"),
    "squad-like": ("id question context answer", "question", "context", "answer"),
    "pubmed_qa": ("pubid question context long_answer final_decision", "question", "context", "long_answer"),
    "tailora": ("id topic family instruction input output tests", "instruction", "input", "output"),
}
WORDS = st.sampled_from(["", " ", "a", "b", "c"])


def data(**keys: Any) -> Data:
    return Data(source="rows.jsonl", **keys)


def rows_of(*values: dict[str, Any]) -> list[SourceRow]:
    return [SourceRow(f"rows.jsonl:{number}", row) for number, row in enumerate(values, start=1)]


def kept_of(*values: dict[str, Any], **keys: Any) -> Kept:
    return to_examples(rows_of(*values), data(**keys), "rows.jsonl")[1]


def refusal(names: str, **keys: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        detect_columns(names.split(), data(**keys), "rows.jsonl")
    return caught.value.problems


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_columns_of_well_known_data_are_found_in_any_order(layout: str) -> None:
    names, prompt, context, answer = LAYOUTS[layout]
    for order in itertools.islice(itertools.permutations(names.split()), 24):
        assert detect_columns(order, data(), "x") == Columns(prompt, context, answer)


def test_what_the_recipe_names_wins() -> None:
    names = ["instruction", "input", "output", "question", "reply", "note"]
    assert detect_columns(names, data(prompt="question"), "x") == Columns("question", "input", "output")
    assert detect_columns(names, data(prompt="instruction", answer="reply"), "x").answer == "reply"
    assert detect_columns(names, data(input="note"), "x") == Columns("instruction", "note", "output")
    named = data(prompt="note", input="question", answer="reply")
    assert detect_columns(names, named, "x") == Columns("note", "question", "reply")


@pytest.mark.parametrize(
    ("names", "keys", "expected"),
    [
        ("input output", {"prompt": "input"}, Columns("input", None, "output")),
        ("context answer", {"prompt": "context"}, Columns("context", None, "answer")),
        ("text output input", {"answer": "input"}, Columns("text", None, "input")),
        ("question text", {"answer": "text"}, Columns("question", None, "text")),
        ("code output", {"prompt": "code"}, Columns("code", None, "output")),
        ("question input context answer", {"prompt": "input"}, Columns("input", "context", "answer")),
    ],
)
def test_one_column_does_not_serve_twice(names: str, keys: dict[str, str], expected: Columns) -> None:
    assert detect_columns(names.split(), data(**keys), "x") == expected


def test_messages_are_used_unless_columns_are_named() -> None:
    names = ["messages", "question", "answer"]
    assert detect_columns(names, data(), "x") == Columns(messages="messages")
    assert detect_columns(names, data(prompt="question"), "x") == Columns("question", None, "answer")


def test_every_named_column_that_is_missing_is_reported_at_once() -> None:
    wrong = {"prompt": "qestion", "input": "ctx", "answer": "anwser", "group": "patient", "unseen": "tpic"}
    found = refusal("question answer topic", **wrong)
    assert len(found) == len(wrong)
    for problem, (key, name) in zip(found, wrong.items(), strict=True):
        assert f'data.{key} = "{name}"' in problem and "question, answer, topic" in problem
    assert 'did you mean "question"' in found[0] and 'did you mean "answer"' in found[2]


def test_a_question_or_answer_that_could_be_several_columns_is_asked_for() -> None:
    (prompt,) = refusal("instruction text code")
    assert "several columns could be the prompt: instruction, text" in prompt and 'data.prompt = "…"' in prompt
    (answer,) = refusal("text code response")
    assert "several columns could be the answer: response, code" in answer and 'data.answer = "…"' in answer


def test_a_question_or_answer_that_no_column_looks_like_is_asked_for() -> None:
    assert "no column looks like the prompt" in refusal("title answer")[0]
    (answer,) = refusal("question reply")
    assert "no column looks like the answer" in answer and "question, reply" in answer


@given(st.lists(st.fixed_dictionaries({"question": WORDS, "answer": WORDS}), min_size=1))
def test_rows_read_are_rows_kept_plus_rows_dropped(values: list[dict[str, str]]) -> None:
    kept = kept_of(*values)
    distinct = dict.fromkeys((row["question"], row["answer"]) for row in values)
    usable = [pair for pair in distinct if pair[0].strip() and pair[1].strip()]
    assert [(row["prompt"][0]["content"], row["answer"]) for row in kept.examples] == usable
    assert kept.read == len(values) == len(kept.examples) + sum(kept.dropped.values())
    assert kept.dropped["empty question"] == sum(not row["question"].strip() for row in values)
    for reason, count in kept.dropped.items():
        assert len(kept.places[reason]) == min(count, 3)


def test_dropped_rows_are_counted_by_reason_with_their_first_places() -> None:
    whole = {"question": "q", "answer": "a"}
    kept = kept_of(whole, whole, {"question": " "}, {"question": "q", "answer": None}, whole, whole, whole)
    assert dict(kept.dropped) == {"exact repeat of an earlier row": 4, "empty question": 1, "empty answer": 1}
    assert kept.places["exact repeat of an earlier row"] == ["rows.jsonl:2", "rows.jsonl:5", "rows.jsonl:6"]
    assert kept.places["empty question"] == ["rows.jsonl:3"]


def test_the_context_follows_the_question_and_nothing_is_added_without_one() -> None:
    row = {"instruction": "Sum it.", "output": "3"}
    contexts = ["1, 2", "", " ", None]
    kept = kept_of(*(row | {"instruction": f"{i}", "input": context} for i, context in enumerate(contexts)))
    assert [example["prompt"][0]["content"] for example in kept.examples] == ["0\n\n1, 2", "1", "2", "3"]


def test_a_column_that_the_first_row_lacks_is_used_all_the_same() -> None:
    first, second = {"instruction": "a", "output": "b"}, {"instruction": "c", "input": "d", "output": "e"}
    for rows in ((first, second), (second, first)):
        contents = {example["prompt"][0]["content"] for example in kept_of(*rows).examples}
        assert contents == {"a", "c\n\nd"}


def test_texts_are_kept_as_they_are() -> None:
    (example,) = kept_of({"question": " Où ?\n", "answer": "\tdef f():\r\n  pass "}).examples
    assert example["prompt"] == [{"role": "user", "content": " Où ?\n"}]
    assert example["answer"] == "\tdef f():\r\n  pass "


def test_an_example_carries_its_place_its_id_and_the_columns_that_are_used_later() -> None:
    row = {"question": "q", "answer": "a", "id": 7, "topic": "t", "tests": [], "patient": 3, "date": "d", "other": 1}
    (example,) = kept_of(row, group="patient", unseen="date").examples
    plain = {"id": "7", "where": "rows.jsonl:1", "prompt": [{"role": "user", "content": "q"}], "answer": "a"}
    assert example == {**plain, "topic": "t", "tests": [], "patient": 3, "date": "d"}


def test_rows_without_an_id_get_one_from_their_content() -> None:
    pairs = [{"question": q, "answer": a} for q in "pq" for a in "ab"]
    forwards, backwards = kept_of(*pairs), kept_of(*reversed(pairs))
    ids = [row["id"] for row in forwards.examples]
    assert len(set(ids)) == 4 and ids == [row["id"] for row in reversed(backwards.examples)]


@pytest.mark.parametrize("column", ["prompt", "answer"])
def test_a_group_named_like_a_part_of_an_example_leaves_the_example_whole(column: str) -> None:
    (example,) = kept_of({"prompt": "q", "answer": "a"}, group=column).examples
    assert example["prompt"] == [{"role": "user", "content": "q"}] and example["answer"] == "a"


@pytest.mark.parametrize("column", ["where", "slice", "cluster"])
@pytest.mark.parametrize("key", ["group", "unseen"])
def test_a_column_whose_name_means_something_else_in_an_example_is_refused(column: str, key: str) -> None:
    (found,) = refusal(f"question answer {column}", **{key: column})
    assert f'data.{key} = "{column}"' in found and "rename" in found


@pytest.mark.parametrize("value", [1, 1.5, True, ["a"], {"a": "b"}])
def test_a_value_that_is_no_text_is_refused_with_its_place(value: Any) -> None:
    with pytest.raises(DataError, match=r'rows\.jsonl:2: column "answer" holds .*not text'):
        kept_of({"question": "q", "answer": "a"}, {"question": "q", "answer": value})


def test_half_characters_are_dropped_and_counted() -> None:
    fine = {"question": "q", "answer": "😀"}
    broken = [{"question": "\ud83d", "answer": "a"}, {"question": "q", "answer": "\ude00"}]
    kept = kept_of(fine, *broken, fine | {"topic": "\ud83d", "answer": "x"})
    assert len(kept.examples) == 1 and kept.read == 4 and sum(kept.dropped.values()) == 3
    for example in kept.examples:
        json_line(example).encode()


def test_no_rows_are_refused() -> None:
    with pytest.raises(DataError, match="no rows"):
        kept_of()


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_a_conversation_ends_with_the_answer_and_keeps_its_earlier_turns() -> None:
    turns = [turn("system", "s"), turn("user", "u"), turn("assistant", "a"), turn("user", "v"), turn("assistant", "b")]
    (example,) = kept_of({"messages": turns}).examples
    assert example["prompt"] == turns[:-1] and example["answer"] == "b"


@pytest.mark.parametrize(
    "turns",
    [
        [],
        [turn("assistant", "a")],
        [turn("user", "u")],
        [turn("user", "u"), turn("assistant", " ")],
        [turn("system", "s"), turn("assistant", "a")],
        [turn("user", " "), turn("assistant", "a")],
    ],
)
def test_a_conversation_without_question_or_final_answer_is_dropped_and_counted(turns: list[dict[str, str]]) -> None:
    kept = kept_of({"messages": turns})
    assert kept.examples == [] and kept.read == 1 and sum(kept.dropped.values()) == 1


@pytest.mark.parametrize(
    "turns", [None, "text", [1], [{"role": "user"}], [turn("tool", "t")], [{"role": "user", "content": None}]]
)
def test_messages_of_another_shape_are_refused_with_their_place(turns: Any) -> None:
    with pytest.raises(DataError, match=r'rows\.jsonl:1: column "messages" must be a list of'):
        kept_of({"messages": turns})


def test_tests_of_another_shape_are_counted_and_not_carried() -> None:
    good = [{"input": "f()", "expected": None}]
    rows = [
        SourceRow(f"x:{i}", {"prompt": f"p{i}", "completion": f"c{i}", "tests": tests})
        for i, tests in enumerate([good, "assert f() == 1", [{"input": 1, "expected": 2}], ["f()"]])
    ]
    _, kept = to_examples(rows, Data(source="x"), "x")
    assert [example.get("tests") for example in kept.examples] == [good, None, None, None]
    assert kept.unusable_tests == 3


@pytest.mark.parametrize("empty", ["", "  ", "noinput", "No input.", "<noinput>", "N/A", None])
def test_a_placeholder_is_no_context(empty: str | None) -> None:
    rows = [SourceRow("x:1", {"instruction": "Ask.", "input": empty, "output": "Answer."})]
    _, kept = to_examples(rows, Data(source="x"), "x")
    assert kept.examples[0]["prompt"] == [{"role": "user", "content": "Ask."}]


def test_sharegpt_turns_are_messages_in_other_words() -> None:
    turns = [("system", "Be brief."), ("human", "Hi?"), ("gpt", "Hi.")]
    shared = {"conversations": [{"from": role, "value": text} for role, text in turns]}
    roles = {"system": "system", "human": "user", "gpt": "assistant"}
    plain = {"messages": [{"role": roles[role], "content": text} for role, text in turns]}
    examples = [to_examples([SourceRow("x:1", row)], Data(source="x"), "x")[1].examples for row in (shared, plain)]
    assert examples[0] == examples[1]
