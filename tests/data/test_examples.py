"""Examples: every row becomes one, or is counted, or is named with what to mend; cases 22 to 31 of the bad inputs."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailora.data.examples import Kept, to_examples
from tailora.data.read import SourceRow
from tailora.errors import DataError
from tailora.files import Row
from tailora.recipe import Data

WORDS = st.sampled_from(["", " ", "a", "b", "c"])


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def kept_of(*values: dict[str, Any], **keys: Any) -> tuple[list[Row], Kept]:
    rows = [SourceRow(f"rows.jsonl:{number}", row) for number, row in enumerate(values, start=1)]
    kept = Kept()
    return list(to_examples(rows, Data(source="rows.jsonl", **keys), "rows.jsonl", kept)), kept


def examples_of(*values: dict[str, Any], **keys: Any) -> list[Row]:
    return kept_of(*values, **keys)[0]


def refusals(*values: dict[str, Any], **keys: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        kept_of(*values, **keys)
    return caught.value.problems


@given(st.lists(st.fixed_dictionaries({"question": WORDS, "answer": WORDS}), min_size=1))
def test_rows_read_are_rows_kept_plus_rows_dropped(values: list[dict[str, str]]) -> None:
    examples, kept = kept_of(*values)
    distinct = dict.fromkeys((row["question"], row["answer"]) for row in values)
    usable = [pair for pair in distinct if pair[0].strip() and pair[1].strip()]
    assert [(row["prompt"][0]["content"], row["answer"]) for row in examples] == usable
    assert kept.read == len(values) == len(examples) + kept.dropped.total()
    assert kept.dropped.counts["empty question"] == sum(not row["question"].strip() for row in values)
    for reason, count in kept.dropped.counts.items():
        assert len(kept.dropped.places[reason]) == min(count, 3)


def test_dropped_rows_are_counted_by_reason_with_their_first_places() -> None:
    whole = {"question": "q", "answer": "a"}
    _, kept = kept_of(
        whole, whole, {"question": " ", "answer": "a"}, {"question": "q", "answer": None}, whole, whole, whole
    )
    assert dict(kept.dropped.counts) == {"exact repeat of an earlier row": 4, "empty question": 1, "empty answer": 1}
    assert kept.dropped.places["exact repeat of an earlier row"] == ["rows.jsonl:2", "rows.jsonl:5", "rows.jsonl:6"]
    assert kept.dropped.places["empty question"] == ["rows.jsonl:3"]


def test_the_context_follows_the_question_and_nothing_is_added_without_one() -> None:
    row = {"instruction": "Sum it.", "output": "3"}
    contexts = ["1, 2", "", " ", None]
    examples = examples_of(*(row | {"instruction": f"{i}", "input": context} for i, context in enumerate(contexts)))
    assert [example["prompt"][0]["content"] for example in examples] == ["0\n\n1, 2", "1", "2", "3"]


def test_a_column_that_the_first_row_lacks_is_used_all_the_same() -> None:
    first, second = {"instruction": "a", "output": "b"}, {"instruction": "c", "input": "d", "output": "e"}
    for rows in ((first, second), (second, first)):
        contents = {example["prompt"][0]["content"] for example in examples_of(*rows)}
        assert contents == {"a", "c\n\nd"}


def test_texts_are_kept_as_they_are() -> None:
    (example,) = examples_of({"question": " Où ?\n", "answer": "\tdef f():\r\n  pass "})
    assert example["prompt"] == [{"role": "user", "content": " Où ?\n"}]
    assert example["answer"] == "\tdef f():\r\n  pass "


def test_an_example_carries_its_place_its_id_and_the_columns_that_are_used_later() -> None:
    row = {"question": "q", "answer": "a", "id": 7, "topic": "t", "tests": [], "patient": 3, "date": "d", "other": 1}
    (example,) = examples_of(row, group="patient", holdout="date")
    plain = {"id": "7", "where": "rows.jsonl:1", "prompt": [{"role": "user", "content": "q"}], "answer": "a"}
    assert example == {**plain, "topic": "t", "tests": [], "patient": 3, "date": "d"}


def test_rows_without_an_id_get_one_from_their_content() -> None:
    pairs = [{"question": q, "answer": a} for q in "pq" for a in "ab"]
    forwards, backwards = examples_of(*pairs), examples_of(*reversed(pairs))
    ids = [row["id"] for row in forwards]
    assert len(set(ids)) == 4 and ids == [row["id"] for row in reversed(backwards)]


@pytest.mark.parametrize("column", ["id", "where", "prompt", "answer", "slice", "cluster", "leaks"])
@pytest.mark.parametrize("key", ["group", "holdout"])
def test_29_a_column_named_like_a_part_of_an_example_goes_along_under_another_name(column: str, key: str) -> None:
    row = {"prompt": "q", "answer": "a", column: "theirs"} | {"prompt": "q", "answer": "a"}
    (example,), kept = kept_of(row, **{key: column})
    assert example["prompt"] == [{"role": "user", "content": "q"}] and example["answer"] == "a"
    assert example[f"source_{column}"] == row[column]
    assert getattr(kept, key) == f"source_{column}"


def test_26_a_value_that_is_no_text_is_refused_with_its_place() -> None:
    found = refusals(
        {"question": "q", "answer": "a"}, {"question": "q", "answer": True}, {"question": False, "answer": "a"}
    )
    assert found[0].startswith('rows.jsonl:2: column "answer" holds ') and "not text" in found[0]
    assert found[1].startswith('rows.jsonl:3: column "question" holds bool')


@pytest.mark.parametrize(("value", "text"), [(1, "1"), (1.5, "1.5"), (2.0, "2.0"), (-3, "-3")])
def test_a_number_is_read_as_it_is_written_and_counted(value: Any, text: str) -> None:
    (example,), kept = kept_of({"question": "q", "answer": value})
    assert example["answer"] == text and kept.notices.total() == 1


@pytest.mark.parametrize("value", [{"a": "b"}, [{"role": "assistant", "content": "a"}] * 2, ["a", 1]])
def test_26_a_list_that_is_no_turn_is_refused_with_its_place(value: Any) -> None:
    (found,) = refusals({"question": "q", "answer": "a"}, {"question": "q", "answer": value})
    assert found.startswith("rows.jsonl:2: ")


def test_22_a_row_without_a_required_column_is_named_with_what_it_has() -> None:
    (found,) = refusals({"question": "q", "answer": "a"}, {"question": "r", "note": "n"})
    assert found == "rows.jsonl:2: the row lacks answer. It has: question, note."


def test_23_rows_of_other_columns_are_used_where_all_of_them_map_and_noticed() -> None:
    examples, kept = kept_of({"question": "q", "answer": "a"}, {"prompt": "r", "completion": "b"})
    assert [(row["prompt"][0]["content"], row["answer"]) for row in examples] == [("q", "a"), ("r", "b")]
    assert any("rows with other columns" in kind for kind in kept.notices.counts)


def test_24_columns_that_are_not_used_are_noticed_once() -> None:
    _, kept = kept_of(*({"question": f"q{i}", "answer": "a", "date": "d", "url": "u"} for i in range(5)))
    assert {kind: entry["rows"] for kind, entry in kept.notices.card().items()} == {
        "columns that are not used: date, url": 5
    }


def test_columns_that_are_not_used_are_one_notice_whichever_a_row_has() -> None:
    _, kept = kept_of(*({"question": f"q{i}", "answer": "a", f"x{i}": 1} for i in range(30)))
    ((kind, entry),) = kept.notices.card().items()
    assert kind.startswith("columns that are not used: x0, x1, ") and kind.endswith("… and 10 more")
    assert entry == {"rows": 30, "places": ["rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:3"]}


def test_27_null_is_no_text_and_drops_the_row() -> None:
    _, kept = kept_of(
        {"question": "q", "answer": "a"}, {"question": None, "answer": "b"}, {"question": "r", "answer": None}
    )
    assert dict(kept.dropped.counts) == {"empty question": 1, "empty answer": 1}


def test_ids_that_stand_twice_are_noticed_and_become_different() -> None:
    examples, kept = kept_of(*({"id": "same", "question": f"q{i}", "answer": "a"} for i in range(3)))
    assert len({row["id"] for row in examples}) == 3 and kept.notices.total() == 2


def test_an_answer_is_never_changed_whatever_its_column_is_called() -> None:
    answers = ["2.0", " World ", "007", "N/A", "None"]
    for name in ("label", "class", "category", "target", "output"):
        rows = [{"text": f"t{i}", name: answer} for i, answer in enumerate(answers)]
        assert [row["answer"] for row in examples_of(*rows)] == answers


def test_a_context_that_says_there_is_none_is_counted() -> None:
    contexts = ["None", "n/a", "<noinput>", "No input.", "none of these"]
    rows = [{"instruction": f"q{i}", "input": text, "output": "a"} for i, text in enumerate(contexts)]
    examples, kept = kept_of(*rows)
    assert [row.get("context", 0) for row in examples] == [0, 0, 0, 0, len("none of these")]
    assert kept.notices.counts["contexts that say there is none, read as empty"] == 4


@pytest.mark.parametrize(
    ("question", "context", "answer"),
    [
        ("instruction", "input", "response"), ("instruction", "context", "output"), ("prompt", "context", "completion"),
        ("question", "input", "answer"), ("prompt", "input", "response"), ("question", "context", "output"),
        ("Instruction", "Input", "Output"), ("text", "context", "answer"),
    ],
)  # fmt: skip
def test_a_context_is_read_whatever_layout_it_stands_in(question: str, context: str, answer: str) -> None:
    (example,) = examples_of({question: "Sum it.", context: "1, 2", answer: "3"})
    assert example["prompt"][0]["content"] == "Sum it.\n\n1, 2" and example["answer"] == "3"


def test_a_filled_context_that_would_be_lost_is_an_error_and_a_choice_is_none() -> None:
    row = {"instruction": "q", "input": "1", "context": "2", "output": "a"}
    (found,) = refusals(row)
    assert 'data.input = "context"' in found and 'data.input = "input" to leave it out' in found
    (example,), _ = kept_of(row, input="input")
    assert example["prompt"][0]["content"] == "q\n\n1"
    (example,), _ = kept_of(row, input="")
    assert example["prompt"][0]["content"] == "q"
    assert len(examples_of({"instruction": "q", "input": "1", "context": "  ", "output": "a"})) == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("passage", "p"), ("Article", "p"), ("document", "p"), ("schema", "CREATE TABLE t"), ("inputs", "1, 2"),
        ("choices", ["a", "b"]), ("history", [["q", "a"]]), ("options", {"A": "a"}), ("table", {"rows": [["1"]]}),
        ("facts", ["a", "b"]), ("Evidence", "p"), ("user_input", "p"), ("text", "p"), ("image", "a.png"),
    ],
)  # fmt: skip
def test_what_a_question_is_about_is_not_lost_whatever_its_column_is_called(column: str, value: Any) -> None:
    row = {"question": "q", column: value, "answer": "a"}
    (found,) = refusals(row)
    assert f"the column {column} is filled and would not be read" in found and 'data.input = ""' in found
    if f'data.input = "{column}"' in found:  # a remedy that is named works
        (example,), _ = kept_of(row, input=column)
        assert example["prompt"][0]["content"].startswith("q\n\n")
    assert len(examples_of({"question": "q", column: None, "answer": "a"})) == 1
    (found,) = refusals(row | {"context": ""})
    assert 'data.input = "context" to leave it out' in found
    assert len(kept_of(row | {"context": ""}, input="context")[0]) == 1
    if column != "history":
        assert len(examples_of({"question": "q", column: value, "context": "c", "answer": "a"})) == 1


def test_a_text_that_is_the_whole_row_and_where_a_row_is_from_are_no_context() -> None:
    row: dict[str, Any] = {"instruction": "Correct it.", "output": "He goes."}
    (example,) = examples_of(
        row | {"support": 3, "text": "### Task\n Correct  it.\n### Answer\nHe goes.", "source": "a forum"}
    )
    assert example["prompt"][0]["content"] == "Correct it."
    pair = {"instruction": "Correct it.", "source": "He go.", "target": "He goes."}
    (found,) = refusals(pair)
    assert 'Name it with data.input = "source"' in found
    assert kept_of(pair, input="source")[0][0]["prompt"][0]["content"] == "Correct it.\n\nHe go."


@pytest.mark.parametrize("names", ["abcd", ("opa", "opb"), ("option_1", "option_2"), ("Choice A", "Choice B")])
def test_options_in_columns_of_their_own_are_not_lost(names: Any) -> None:
    row = {"question": "q", **dict.fromkeys(names, "x"), "answer": "b"}
    assert "Write question and options into one column" in refusals(row)[0]
    assert len(kept_of(row, input="")[0]) == 1
    assert len(examples_of({"question": "q", names[0]: "x", "answer": "b"})) == 1  # no options, but a name


@pytest.mark.parametrize("column", ["system", "system_prompt", "System"])
def test_a_system_prompt_in_a_column_is_the_system_turn(column: str) -> None:
    system = {"role": "system", "content": "Be brief."}
    (example,) = examples_of({column: "Be brief.", "question": "q", "input": "c", "response": "a"})
    assert example["prompt"] == [system, turn("user", "q\n\nc")] and example["context"] == 1
    turns = [turn("user", "q"), turn("assistant", "a")]
    (example,) = examples_of({column: "Be brief.", "messages": turns})
    assert example["prompt"] == [system, turn("user", "q")]
    (example,), kept = kept_of({column: "Be brief.", "messages": [turn("system", "Be long."), *turns]})
    assert example["prompt"][0]["content"] == "Be long." and kept.notices.total() == 1
    assert examples_of({column: " ", "question": "q", "answer": "a"})[0]["prompt"] == [turn("user", "q")]


def test_all_references_of_a_row_are_kept_and_the_first_is_learned() -> None:
    squad = {"text": ["in Paris", "Paris", "in Paris"], "answer_start": [1, 4, 1]}
    (example,), kept = kept_of({"question": "Where?", "context": "c", "answers": squad})
    assert example["answer"] == "in Paris" and example["answers"] == ["in Paris", "Paris"]
    assert kept.notices.total() == 1
    (listed,) = examples_of({"question": "Where?", "answers": ["here", "there"]})
    assert (listed["answer"], listed["answers"]) == ("here", ["here", "there"])
    (one,) = examples_of({"question": "Where?", "answers": {"text": ["x"], "answer_start": [0]}})
    assert one["answer"] == "x" and "answers" not in one
    _, kept = kept_of({"question": "Where?", "answers": {"text": [], "answer_start": []}})
    assert dict(kept.dropped.counts) == {"empty answer": 1}


@pytest.mark.parametrize(
    ("answers", "kept"),
    [
        (["", "b", "c"], ["b", "c"]), ({"text": [" ", "b"], "answer_start": [0, 1]}, ["b"]), ([None, "b"], ["b"]),
        ([{"text": ""}, {"text": "b"}], ["b"]),
    ],
)  # fmt: skip
def test_an_empty_reference_hides_no_other(answers: Any, kept: list[str]) -> None:
    (example,) = examples_of({"question": "q", "answers": answers})
    assert [example["answer"], example.get("answers", kept)] == [kept[0], kept]


@pytest.mark.parametrize("spelled", [str, json.dumps, lambda value: str(value).replace("[0]", "array([0])")])
def test_references_that_were_written_as_text_are_refused(spelled: Any) -> None:
    (found,) = refusals({"question": "q", "answers": spelled({"text": ["a"], "answer_start": [0]})})
    assert "an object that was written as text" in found
    assert len(examples_of({"question": "q", "answers": "{'name': 1}"})) == 1


def test_a_column_without_a_name_is_no_part_of_an_example() -> None:
    (example,), kept = kept_of({"": "0", "question": "q", "answer": "a"})
    assert example["prompt"] == [turn("user", "q")] and "context" not in example
    assert kept.notices.total() == 1


def test_references_beside_an_answer_are_not_lost() -> None:
    row = {"question": "q", "answer": "a", "answers": ["a", "b"]}
    (found,) = refusals(row)
    assert 'data.answer = "answers"' in found and 'data.answer = "answer" to leave it out' in found
    (example,), _ = kept_of(row, answer="answers")
    assert example["answers"] == ["a", "b"]
    (example,), _ = kept_of(row, answer="answer")
    assert example["answer"] == "a" and "answers" not in example
    assert len(examples_of(row | {"answers": ["a"]})) == 1  # nothing would be lost


@pytest.mark.parametrize("spelled", ['["a", "b"]', "['a', 'b']", "['a' 'b']"])
def test_a_list_that_was_written_as_text_is_read_as_it_stands_and_counted(spelled: str) -> None:
    for row in ({"question": "q", "answers": spelled}, {"question": "q", "context": spelled, "answer": "a"}):
        (example,), kept = kept_of(row)
        assert spelled in (example["answer"], example["prompt"][0]["content"].removeprefix("q\n\n"))
        assert kept.notices.total() == 1
    assert kept_of({"question": "q", "answer": f"x = {spelled}"})[1].notices.total() == 0


def test_a_context_in_passages_is_joined_and_counted() -> None:
    (example,), kept = kept_of({"question": "q", "context": ["one", "two"], "answer": "a"})
    assert example["prompt"][0]["content"] == "q\n\none\n\ntwo" and kept.notices.total() == 1


def test_the_column_that_groups_rows_is_used() -> None:
    _, kept = kept_of({"question": "q", "answer": "a", "patient": "p1"}, group="patient")
    assert kept.notices.total() == 0


def test_the_context_is_the_end_of_the_question() -> None:
    (example,) = examples_of({"instruction": "Sum it.", "input": "1, 2", "output": "3"})
    content = example["prompt"][0]["content"]
    assert content[len(content) - example["context"] :] == "1, 2"


def test_marks_of_good_and_bad_answers_are_no_answers() -> None:
    turns = [turn("user", "q"), turn("assistant", "a")]
    (found,) = refusals({"messages": turns, "label": True}, {"messages": turns, "label": False})
    assert "label marks good and bad answers" in found


def test_no_rows_are_refused() -> None:
    with pytest.raises(DataError, match="no rows"):
        kept_of()


def test_a_conversation_ends_with_the_answer_and_keeps_its_earlier_turns() -> None:
    turns = [turn("system", "s"), turn("user", "u"), turn("assistant", "a"), turn("user", "v"), turn("assistant", "b")]
    (example,) = examples_of({"messages": turns})
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
        [turn("user", "u"), turn("assistant", "a") | {"weight": 0}],
    ],
)
def test_30_a_conversation_without_question_or_final_answer_is_dropped_and_counted(turns: list[dict[str, str]]) -> None:
    examples, kept = kept_of({"messages": turns})
    assert examples == [] and kept.read == kept.dropped.total() == 1


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        (None, ": the row lacks messages. It has: messages (null)"),
        ("text", ': column "messages" must be a list'),
        ([1], ' (turn 1): column "messages": a turn must be'),
        ([turn("user", "u"), {"role": "assistant"}], ' (turn 2): column "messages": a turn must be'),
        ([turn("tool", "t")], "turn 1): … the role is none of system, user, assistant. … It is 'tool'."),
        ([turn("user", "u"), turn("assitant", "a")], "turn 2): … It is 'assitant' (did you mean \"assistant\"?)"),
        ([turn("user", "u"), {"role": "assistant", "content": None}], "turn 2): … content is null"),
        ([turn("user", "u"), {"role": None, "content": "a"}], "turn 2): … role is null"),
        ([turn("user", "u"), {"role": "assistant", "content": 3}], "turn 2): … the content is int"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}], "turn 1): … It holds image_url"),
        ([turn("user", "u"), turn("user", "v"), turn("assistant", "a")], "turn 2): … follows another turn of the user"),
        ([turn("user", "u"), turn("system", "s"), turn("assistant", "a")], "turn 2): … a system turn"),
        ([turn("assistant", "a"), turn("user", "u"), turn("assistant", "b")], "turn 1): … the assistant speaks first"),
    ],
)
def test_28_messages_of_another_shape_are_refused_with_the_turn(turns: Any, said: str) -> None:
    (found,) = refusals({"messages": turns})
    assert found.startswith("rows.jsonl:1") and all(part in found for part in said.split("…"))


def test_28_all_wrong_rows_are_said_at_once_whatever_turn_is_wrong() -> None:
    turns = [turn("user", "u"), turn("assistant", "a")]
    (found,) = refusals(*({"messages": [*turns * (i % 3), turn(f"tool{i}", str(i))]} for i in range(30)))
    places = "rows.jsonl:1 (turn 1), rows.jsonl:2 (turn 3), rows.jsonl:3 (turn 5) … (30 times): "
    assert found.startswith(places) and found.endswith("In the first: It is 'tool0'.")


def test_turns_of_two_joined_layouts_are_read_by_the_keys_that_are_filled() -> None:
    shared = [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]
    plain = [turn("user", "v"), turn("assistant", "b")]
    empty = dict.fromkeys(("role", "content", "from", "value"))
    examples, kept = kept_of({"messages": [empty | t for t in shared]}, {"messages": [empty | t for t in plain]})
    assert [row["answer"] for row in examples] == ["a", "b"] and kept.notices.total() == 0
    joined = [{"messages": plain, "conversations": None}, {"messages": None, "conversations": shared}]
    assert [row["answer"] for row in examples_of(*joined)] == ["b", "a"]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("answers", {"name": ["a"], "count": [1]}, 'column "answers" must be text … with the keys name, count'),
        ("answers", [1, 2], 'column "answers" must be text … A list of 2, the first a value of type int'),
        ("labels", {"name": ["spam"], "value": [0.1]}, 'column "labels" holds an object … name, value … data.answer'),
        ("labels", ["a", "b"], 'column "labels" holds several labels … 2 here'),
    ],
)
def test_a_value_that_is_no_answer_is_refused_under_the_name_of_its_column(column: str, value: Any, said: str) -> None:
    (found,) = refusals({"text": "q", column: value})
    assert all(part.strip() in found for part in said.split("…")) and "turns" not in found


def test_a_row_with_several_labels_is_refused_and_one_in_a_list_is_read() -> None:
    rows = [SourceRow(f"a:{i}", {"text": f"t{i}", "labels": labels}) for i, labels in enumerate(([1], ["x"], [2.0]))]
    kept = Kept()
    found = [row["answer"] for row in to_examples(rows, Data(source="a"), "a", kept, labelled=True)]
    assert found == ["1", "x", "2"] and kept.notices.total() == 3
    with pytest.raises(DataError, match='column "labels" holds several labels'):
        list(
            to_examples(
                [SourceRow("a:1", {"text": "t", "labels": [1, 2]})], Data(source="a"), "a", Kept(), labelled=True
            )
        )


def test_references_are_read_as_squad_writes_them_in_its_files() -> None:
    answers = [{"text": "in Paris", "answer_start": 1}, {"text": "Paris", "answer_start": 4}]
    (example,) = examples_of({"question": "Where?", "answers": answers})
    assert (example["answer"], example["answers"]) == ("in Paris", ["in Paris", "Paris"])


def test_rows_whose_rows_are_lists_inside_them_are_called_nested_with_the_way_to_those() -> None:
    tat = {"table": {"uid": "1"}, "paragraphs": [{"text": "p"}], "questions": [{"question": "q", "answer": "a"}]}
    (found,) = refusals(tat)
    assert "nested" in found and "questions (question, answer)" in found and "paragraphs (text)" in found
    assert "in rows.jsonl:1 at" in found
    (found,) = refusals({"tree": "1", "prompt": {"text": "q", "replies": [{"text": "a", "replies": [{"text": "b"}]}]}})
    assert "prompt.replies (text, replies)" in found and "prompt.replies[0].replies (text)" in found


def test_parts_of_text_are_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "value": "b"}]
    (example,) = examples_of({"messages": [{"role": "user", "content": parts}, turn("assistant", "c")]})
    assert example["prompt"] == [turn("user", "ab")]


def test_turns_as_prompt_and_completion_are_a_conversation() -> None:
    asked, answer = [turn("user", "u")], [turn("assistant", "a")]
    for completion in (answer, answer[0], "a"):
        (example,) = examples_of({"prompt": asked, "completion": completion})
        assert (example["prompt"], example["answer"]) == (asked, "a")


@pytest.mark.parametrize("mark", [{"weight": 0}, {"loss_weight": 0.0}, {"train": False}])
def test_an_answer_that_is_not_to_be_learned_says_so(mark: dict[str, Any]) -> None:
    turns = [turn("user", "u"), turn("assistant", "a") | mark, turn("user", "v"), turn("assistant", "b")]
    (example,) = examples_of({"messages": turns})
    assert [t.get("learn", True) for t in example["prompt"]] == [True, False, True]


def test_tests_of_another_shape_are_counted_and_not_carried() -> None:
    good = [{"input": "f()", "expected": None}]
    rows = [
        SourceRow(f"x:{i}", {"prompt": f"p{i}", "completion": f"c{i}", "tests": tests})
        for i, tests in enumerate([good, "assert f() == 1", [{"input": 1, "expected": 2}], ["f()"]])
    ]
    kept = Kept()
    examples = list(to_examples(rows, Data(source="x"), "x", kept))
    assert [example.get("tests") for example in examples] == [good, None, None, None]
    assert kept.unusable_tests == 3


@pytest.mark.parametrize("empty", ["", "  ", "noinput", "No input.", "<noinput>", "N/A", None])
def test_a_placeholder_is_no_context(empty: str | None) -> None:
    (example,) = examples_of({"instruction": "Ask.", "input": empty, "output": "Answer."})
    assert example["prompt"] == [{"role": "user", "content": "Ask."}]


def test_sharegpt_turns_are_messages_in_other_words() -> None:
    turns = [("system", "Be brief."), ("human", "Hi?"), ("gpt", "Hi.")]
    shared = {"conversations": [{"from": role, "value": text} for role, text in turns]}
    roles = {"system": "system", "human": "user", "gpt": "assistant"}
    plain = {"messages": [{"role": roles[role], "content": text} for role, text in turns]}
    assert examples_of(shared) == examples_of(plain)


def test_what_a_reader_refuses_and_what_is_wrong_with_rows_are_said_at_once() -> None:
    def rows(first: dict[str, Any]) -> Iterator[SourceRow]:
        yield SourceRow("a:1", first)
        raise DataError(["a:2: not JSON"])

    for first, said in (({"question": "q", "answer": True}, 'a:1: column "answer"'), ({"x": "y"}, "no column looks")):
        with pytest.raises(DataError) as caught:
            list(to_examples(rows(first), Data(source="a"), "a", Kept()))
        assert len(caught.value.problems) == 2
        assert any(said in problem for problem in caught.value.problems) and "a:2: not JSON" in caught.value.problems


def test_the_name_of_a_column_never_breaks_a_line_or_moves_the_cursor() -> None:
    name = "note\nverdict: better\x1b[2J"
    _, kept = kept_of({"question": "q", "answer": "a", name: "n"})
    said = [*kept.notices.card(), *refusals({"question": "q", name: "n"})]
    said += refusals({"question": "q", "answer": "a"}, {"question": "q", name: "n"})
    assert len(said) == 3 and all(r"note\nverdict" in text and "\n" not in text and "\x1b" not in text for text in said)
