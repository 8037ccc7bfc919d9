"""Columns: the question and the answer are found or asked for, and every row is kept or counted."""

import itertools
from typing import Any

import pytest

from tailora.data.columns import Columns, columns_by_value, detect_columns, label_text
from tailora.errors import DataError
from tailora.recipe import Data

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


def data(**keys: Any) -> Data:
    return Data(source="rows.jsonl", **keys)


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
    wrong = {"prompt": "qestion", "input": "ctx", "answer": "anwser", "group": "patient", "holdout": "tpic"}
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
    (both,) = refusal("heading body")
    assert "no column looks like the prompt" in both and "no column looks like the answer" in both
    assert "no column looks like the prompt" in refusal("heading answer")[0]
    (answer,) = refusal("question reply")
    assert "no column looks like the answer" in answer and "question, reply" in answer


def test_a_context_is_proposed_as_the_question_where_nothing_else_is() -> None:
    assert 'data.prompt = "Context"' in refusal("Context Response")[0]
    assert 'data.prompt = "input"' in refusal("input output")[0]


def test_25_a_name_that_is_nearly_right_is_pointed_out() -> None:
    (found,) = refusal("Qestion anwser")
    assert 'data.prompt = "Qestion" (did you mean "question"?)' in found
    assert 'data.answer = "anwser" (did you mean "answer"?)' in found


def test_the_likeliest_column_is_proposed_and_none_for_two_keys() -> None:
    (found,) = refusal("prom anser instrukction")
    assert 'data.prompt = "instrukction"' in found and 'data.answer = "anser"' in found
    (found,) = refusal("respons")
    assert found.count('= "respons"') <= 1


@pytest.mark.parametrize("name", ["review", "content", "Message", "TEXT", " Sentence ", "tweet"])
@pytest.mark.parametrize("label", ["label", "Sentiment", "CATEGORY"])
def test_names_of_texts_and_labels_are_known_in_any_case(name: str, label: str) -> None:
    assert detect_columns([name, label], data(), "x", labelled=True) == Columns(name, None, label)


def test_text_and_label_are_question_and_answer() -> None:
    assert detect_columns(["text", "label"], data(), "x") == Columns("text", None, "label")
    assert detect_columns(["label", "sentence", "idx"], data(), "x") == Columns("sentence", None, "label")
    assert detect_columns(["question", "answer", "label"], data(), "x").answer == "answer"


def test_pairs_of_better_and_worse_answers_are_no_answers_unless_one_is_chosen() -> None:
    (found,) = refusal("prompt chosen rejected")
    assert 'data.prompt = "prompt" and data.answer = "chosen"' in found
    assert detect_columns(["prompt", "chosen", "rejected"], data(answer="chosen"), "x").answer == "chosen"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_of_columns_without_names_the_one_whose_values_return_is_the_label(order: tuple[int, ...]) -> None:
    values = [(str(i % 4), f"title {i}", f"a longer text about {i}") for i in range(60)]
    names = [f"column_{number}" for number in range(1, 4)]
    rows = [dict(zip(names, (row[place] for place in order), strict=True)) for row in values]
    found = columns_by_value(rows, "x")
    assert found.answer == names[order.index(0)]
    assert [found.prompt, found.input] == [name for name in names if name != found.answer]


@pytest.mark.parametrize("columns", [("a", "b"), ("t", "u")])
def test_columns_without_names_that_could_mean_anything_are_asked_for(columns: tuple[str, str]) -> None:
    kinds = {
        "a": lambda i: f"{i % 2}",
        "b": lambda i: f"{i % 3}",
        "t": lambda i: f"text {i}",
        "u": lambda i: f"more {i}",
    }
    rows = [{f"column_{n}": kinds[kind](i) for n, kind in enumerate(columns, start=1)} for i in range(60)]
    with pytest.raises(DataError, match=r"say which is which with data\.prompt.*column_1 has"):
        columns_by_value(rows, "x")


@pytest.mark.parametrize(
    ("value", "label"),
    [(2, "2"), (2.0, "2"), ("2", "2"), ("2.0", "2"), (" 2 ", "2"), ("-1.00", "-1"), (2.5, "2.5"), ("v2.0", "v2.0")],
)
def test_33_a_label_is_the_same_however_it_is_written(value: Any, label: str) -> None:
    assert label_text(value) == label
