"""The user's own prompts are read from wherever they stand, and what is not a prompt is said with its place."""

from pathlib import Path

import pytest

from tailora.data.user_prompts import holds, read_prompts
from tailora.errors import DataError
from tests.rows import write


def asked(rows: list[dict]) -> list[str]:
    return [row["prompt"][-1]["content"] for row in rows]


def test_prompts_are_read_from_a_list_a_text_file_and_rows(tmp_path: Path) -> None:
    lines = ["What is 2 + 2?", "Écris une fonction."]
    (tmp_path / "prompts.txt").write_text(f"\ufeff{lines[0]}\r\n\n   \n{lines[1]}\n", "utf-8")
    rows = [{"prompt": lines[0], "answer": "4"}, {"prompt": lines[1], "tests": ["assert f()"], "answer": None}]
    of_rows = read_prompts(write(tmp_path / "prompts.jsonl", rows))
    inline = read_prompts(lines)
    assert asked(inline) == asked(read_prompts(str(tmp_path / "prompts.txt"))) == lines
    assert asked(of_rows) == lines
    assert [row.get("answer") for row in of_rows] == ["4", None]
    assert [row.get("tests") for row in of_rows] == [None, ["assert f()"]]
    assert [row["id"] for row in of_rows] == ["prompt-1", "prompt-2"]
    assert read_prompts([]) == []


@pytest.mark.parametrize(
    "content, said",
    [
        ('{"prompt": "a"}\n{"question": "b"}', "prompts.jsonl:2: question is not known here"),
        ('{"prompt": " "}', "prompts.jsonl:1: there is no prompt"),
        ('{"prompt": ["a"]}', "prompts.jsonl:1: there is no prompt"),
        ('{"prompt": "a", "answer": 4}', "the answer is int, not text"),
        ('{"prompt": "a", "tests": ["unit"]}', "tests are a list of"),
    ],
)
def test_what_is_no_prompt_is_named_with_its_place(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "prompts.jsonl").write_text(content)
    with pytest.raises(DataError, match=said):
        read_prompts(str(tmp_path / "prompts.jsonl"))


def test_a_file_that_is_not_there_or_holds_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"evaluate\.prompts: there is no file .*promts\.txt"):
        read_prompts(str(tmp_path / "promts.txt"))
    (tmp_path / "prompts.txt").write_text("\n \n")
    with pytest.raises(DataError, match="holds no prompt"):
        read_prompts(str(tmp_path / "prompts.txt"))


def test_an_expected_answer_is_found_whatever_its_case_and_spacing() -> None:
    assert holds("It is\n  PARIS, of course", "is paris")
    assert not holds("It is Lyon", "Paris")
