"""Reading: every record of a file, with the place where it stands, or a refusal that names the place."""

import contextlib
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailora.errors import DataError
from tailora.text.read import bundled_data, locate_source, read_rows

# A lone carriage return is a line end to some programs and none to others, so no law is stated for it.
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r"), max_size=12)
SPACES = st.text(" \t\n", max_size=4)


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, str]]:
    names = draw(st.lists(TEXTS.filter(str.strip), min_size=1, max_size=3, unique=True))
    return draw(st.lists(st.fixed_dictionaries(dict.fromkeys(names, TEXTS)), min_size=1, max_size=5))


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("desk")


def saved(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def values(path: Path) -> list[dict[str, Any]]:
    return [row.values for row in read_rows(path)]


def lines(path: Path) -> list[int]:
    places = [row.where.rpartition(":") for row in read_rows(path)]
    assert {place[0] for place in places} <= {str(path)}
    return [int(place[2]) for place in places]


def as_csv(names: list[str], rows: list[dict[str, str]], line_end: str) -> str:
    sheet = io.StringIO()
    writer = csv.writer(sheet, quoting=csv.QUOTE_ALL, lineterminator=line_end)
    writer.writerows([names, *([row[name] for name in names] for row in rows)])
    return sheet.getvalue()


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        values(path)
    return str(caught.value)


@given(tables(), st.sampled_from([None, 0, 1, "\t"]), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_json_jsonl_and_csv_give_equal_rows(
    desk: Path, rows: list[dict[str, str]], indent: Any, line_end: str, marked: bool
) -> None:
    mark = "\ufeff" if marked else ""
    array = saved(desk / "rows.json", mark + json.dumps(rows, indent=indent).replace("\n", line_end))
    by_line = saved(desk / "rows.jsonl", mark + "".join(json.dumps(row) + line_end for row in rows))
    sheet = saved(desk / "rows.csv", mark + as_csv(list(rows[0]), rows, line_end))
    assert values(array) == values(by_line) == values(sheet) == rows


@given(st.data())
def test_a_row_of_an_array_stands_where_its_brace_opens(desk: Path, data: st.DataObject) -> None:
    text, expected = data.draw(SPACES) + "[", []
    rows = [{"a": i, "b": ["x\ny"]} for i in range(data.draw(st.integers(0, 5)))]
    for i, row in enumerate(rows):
        text += ("," if i else "") + data.draw(SPACES)
        expected.append(text.count("\n") + 1)
        text += json.dumps(row, indent=data.draw(st.sampled_from([None, 1]))) + data.draw(SPACES)
    path = saved(desk / "spread.json", text + data.draw(SPACES) + "]" + data.draw(SPACES))
    assert lines(path) == expected
    assert values(path) == rows


@given(st.lists(SPACES.map(lambda space: space + '{"a": 1}\n'), min_size=1))
def test_a_row_of_jsonl_stands_on_its_line(desk: Path, pieces: list[str]) -> None:
    expected = [i for i, line in enumerate("".join(pieces).split("\n"), start=1) if "{" in line]
    assert lines(saved(desk / "gaps.jsonl", "".join(pieces))) == expected


@given(tables(), st.sampled_from(["\n", "\r\n"]))
def test_a_row_of_csv_stands_where_its_first_field_begins(
    desk: Path, rows: list[dict[str, str]], line_end: str
) -> None:
    names = list(rows[0])
    before = [as_csv(names, rows[:i], line_end) for i in range(len(rows))]
    path = saved(desk / "places.csv", as_csv(names, rows, line_end))
    assert lines(path) == [text.count("\n") + 1 for text in before]


def test_blank_lines_are_no_rows(desk: Path) -> None:
    assert lines(saved(desk / "a.jsonl", '\n{"a": "1"}\n\n  \n{"a": "2"}\n\n')) == [2, 5]
    sheet = saved(desk / "a.csv", "a,b\n\n1,2\n\n3,4\n\n")
    assert lines(sheet) == [3, 5]
    assert values(sheet) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_the_flytech_layout_reads_like_the_json_module_reads_it(desk: Path) -> None:
    rows = [{"instruction": "Ünïcode?", "input": "", "output": "```python\nprint('é')\n```", "text": "all"}] * 3
    path = saved(desk / "flytech.json", "[\n" + ",\n".join("\t" + json.dumps(row, indent=4) for row in rows) + "\n]\n")
    assert values(path) == json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv"])
@pytest.mark.parametrize("content", ["", " \n\t\n", "\ufeff"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str, content: str) -> None:
    assert f"{name}: the file is empty" in refusal(saved(tmp_path / name, content))


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv"])
def test_a_byte_that_is_not_utf8_is_shown_with_its_line(tmp_path: Path, name: str) -> None:
    message = refusal(saved(tmp_path / name, '["é",\n"x",\n"'.encode() + b'\xe9t\xe9"]'))
    assert f"{name}:3: byte 0xe9 is not UTF-8" in message


@given(st.data())
def test_an_array_that_is_cut_off_anywhere_is_refused(desk: Path, data: st.DataObject) -> None:
    rows = [{"question": "é?", "answer": "[1,\n2]"}, {"question": "}", "answer": "x"}]
    whole = json.dumps(rows, indent=data.draw(st.sampled_from([None, 2])), ensure_ascii=False).encode()
    cut = data.draw(st.integers(0, len(whole) - 1))
    refusal(saved(desk / "cut.json", whole[:cut]))


@given(st.data())
def test_jsonl_that_is_cut_off_inside_a_row_is_refused_with_its_line(desk: Path, data: st.DataObject) -> None:
    row = b'{"question": "what?", "answer": "that"}'
    cut = data.draw(st.integers(1, len(row) - 1))
    assert "cut.jsonl:3:" in refusal(saved(desk / "cut.jsonl", row + b"\n" + row + b"\n" + row[:cut]))


@pytest.mark.parametrize("end", ["3", '3,"4', '3,"4\n5,6\n', '3,"4" x'])
def test_csv_that_is_cut_off_inside_a_row_is_refused_with_its_line(tmp_path: Path, end: str) -> None:
    message = refusal(saved(tmp_path / "cut.csv", "a,b\n1,2\n" + end))
    assert any(f"cut.csv:{line}:" in message for line in (3, 4))


@pytest.mark.parametrize("rest", ["{}", "]", "[{}]", "x", ","])
def test_what_follows_an_array_is_not_passed_over(tmp_path: Path, rest: str) -> None:
    assert "two.json:2" in refusal(saved(tmp_path / "two.json", f'[{{"a": 1}}]\n{rest}\n'))


@pytest.mark.parametrize("value", ["1", '"text"', "null", "[1]", "true"])
def test_a_row_that_is_no_object_is_refused_with_its_line(tmp_path: Path, value: str) -> None:
    array = refusal(saved(tmp_path / "rows.json", f'[{{"a": 1}},\n\n{value}]'))
    by_line = refusal(saved(tmp_path / "rows.jsonl", f'{{"a": 1}}\n\n{value}\n'))
    assert "rows.json:3: a row must be an object" in array
    assert "rows.jsonl:3: a row must be an object" in by_line


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1" * 5000, "{'a': 1}", "1,"])
def test_what_json_does_not_know_is_refused_with_its_line(tmp_path: Path, value: str) -> None:
    assert "rows.json:2" in refusal(saved(tmp_path / "rows.json", f'[{{"a": 1}},\n{{"a": {value}}}]'))
    assert "rows.jsonl:2" in refusal(saved(tmp_path / "rows.jsonl", f'{{"a": 1}}\n{{"a": {value}}}\n'))


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    message = refusal(saved(tmp_path / "twice.csv", "question,answer,answer\n1,2,3\n"))
    assert "twice.csv:1:" in message and "answer" in message


def test_a_long_field_is_read(tmp_path: Path) -> None:
    assert values(saved(tmp_path / "long.csv", "a\n" + "x" * 200_000)) == [{"a": "x" * 200_000}]


def test_more_than_one_object_on_a_line_is_refused_with_its_place(tmp_path: Path) -> None:
    assert "two.jsonl:2:11: " in refusal(saved(tmp_path / "two.jsonl", '{"a": 1}\n {"a": 1} {"a": 2}\n'))


def test_a_row_of_another_width_is_refused_with_its_line(tmp_path: Path) -> None:
    assert "wide.csv:4: 3 fields where the header has 2" in refusal(
        saved(tmp_path / "wide.csv", 'a,b\n"1\n1",2\n3,4,5\n')
    )


def test_every_bundled_data_set_is_found_by_name_and_can_be_read() -> None:
    assert "python_qa" in bundled_data()
    for name, path in bundled_data().items():
        assert locate_source(name) == path
        assert values(path)


def test_a_file_of_ones_own_comes_before_bundled_data(tmp_path: Path) -> None:
    saved(tmp_path / "python_qa", "{}")
    with contextlib.chdir(tmp_path):
        assert locate_source("python_qa") == Path("python_qa")


def test_a_source_that_is_not_there_is_answered_with_what_is(tmp_path: Path) -> None:
    saved(tmp_path / "rows.jsonl", "{}")
    with pytest.raises(DataError, match=r'did you mean ".*rows\.jsonl"\?.*python_qa'):
        locate_source(str(tmp_path / "row.jsonl"))
    with pytest.raises(DataError, match='did you mean "python_qa"'):
        locate_source("python-qa")
    with pytest.raises(DataError, match=r"is a folder; name one file in it: rows\.jsonl"):
        locate_source(str(tmp_path))
