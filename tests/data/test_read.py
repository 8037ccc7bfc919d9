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

from tailora import files
from tailora.data.read import bundled_data, locate_source, read_rows
from tailora.data.records import Notices
from tailora.errors import DataError

# A lone carriage return is a line end to some programs and none to others, so no law is stated for it.
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r"), max_size=12)
SPACES = st.text(" \t\n", max_size=4)


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, str]]:
    # A number above numbers is no name of a column.
    names = draw(st.lists(TEXTS.map("n{}".format), min_size=1, max_size=3, unique=True))
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


def ways(path: Path) -> list[str]:
    return [row.where.removeprefix(f"{path}:") for row in read_rows(path)]


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
    text += data.draw(SPACES) + "]" + data.draw(SPACES)
    path = saved(desk / "spread.json", text)
    shared_line = [f"[{i}]" for i in range(len(rows))]
    assert ways(path) == ([str(line) for line in expected] if "\n" in text.strip() else shared_line)
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
    message = refusal(saved(tmp_path / name, b'["e",\n"x",\n"\xe9t\xe9"]'))
    assert f"{name}:3:2: byte 0xe9 is not UTF-8; it looks like WINDOWS-1252" in message
    assert f"iconv -f WINDOWS-1252 -t UTF-8 {tmp_path / name} > {tmp_path / f'utf8-{name}'}" in message


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


def test_objects_on_one_line_and_over_several_are_rows(tmp_path: Path) -> None:
    packed = saved(tmp_path / "packed.jsonl", '{"a": 1}\n {"a": 2}{"a": 3}\n')
    assert lines(packed) == [1, 2, 2] and values(packed) == [{"a": 1}, {"a": 2}, {"a": 3}]
    spread = saved(tmp_path / "spread.json", '{\n "a": 1\n}\n\n{\n "a": 2}{"a":\n3}\n')
    assert lines(spread) == [1, 5, 6] and values(spread) == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_a_row_of_another_width_is_refused_with_its_line(tmp_path: Path) -> None:
    assert "wide.csv:4: another number of fields than the 2 of the header (a, b)" in refusal(
        saved(tmp_path / "wide.csv", 'a,b\n"1\n1",2\n3,4,5\n')
    )


def test_every_bundled_data_set_is_found_by_name_and_can_be_read() -> None:
    assert "python_qa" in bundled_data()
    for name, path in bundled_data().items():
        assert locate_source(name).files == (path,)
        assert values(path)


def test_a_file_of_ones_own_comes_before_bundled_data(tmp_path: Path) -> None:
    saved(tmp_path / "python_qa", "{}")
    with contextlib.chdir(tmp_path):
        assert locate_source("python_qa").files == (Path("python_qa"),)


def test_a_source_that_is_not_there_is_answered_with_what_is(tmp_path: Path) -> None:
    saved(tmp_path / "rows.jsonl", "{}")
    with pytest.raises(DataError, match=r'did you mean ".*rows\.jsonl"\?.*python_qa'):
        locate_source(str(tmp_path / "row.jsonl"))
    with pytest.raises(DataError, match='did you mean "python_qa"'):
        locate_source("python-qa")


def test_named_rows_carry_their_names_as_ids(tmp_path: Path) -> None:
    path = saved(tmp_path / "named.json", '{"x": {"a": 1},\n "y": {"a": 2, "id": 5}}')
    assert values(path) == [{"id": "x", "a": 1}, {"id": 5, "a": 2}] and lines(path) == [1, 2]


@pytest.mark.parametrize("head", ["", '"version": "1", ', '"info": {"by": "me"}, "tags": ["a"], '])
@pytest.mark.parametrize("tail", ["", ', "split": "train"'])
def test_rows_below_data_are_read_and_what_stands_beside_them_is_noticed(tmp_path: Path, head: str, tail: str) -> None:
    path = saved(tmp_path / "data.json", f'{{{head}"data": [{{"a": 1}},\n{{"a": 2}}]{tail}}}')
    notices = Notices()
    assert [row.values for row in read_rows(path, notices)] == [{"a": 1}, {"a": 2}] and lines(path) == [1, 2]
    assert notices.counts.total() == (head + tail).count('": ') - ('"by"' in head)


def test_lines_whose_values_are_objects_are_rows(tmp_path: Path) -> None:
    rows = [{"translation": {"de": "ja", "en": "yes"}}, {"translation": {"de": "nein", "en": "no"}}]
    assert values(saved(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))) == rows


def test_questions_of_squad_are_rows_and_those_without_answer_have_an_empty_one(tmp_path: Path) -> None:
    answer = [{"text": "Denver", "answer_start": 3}, {"text": "Denver Broncos", "answer_start": 3}]
    asked = [{"id": "1", "question": "Who?", "answers": answer}, {"id": "2", "question": "Why?", "answers": []}]
    article: dict[str, Any] = {"title": "T", "paragraphs": [{"context": "In Denver.", "qas": asked}]}
    shared = {"title": "T", "context": "In Denver."}
    expected = [
        {"id": "1", "question": "Who?", "answers": ["Denver", "Denver Broncos"], **shared},
        {"id": "2", "question": "Why?", "answers": [], **shared},
    ]
    for layout, way in (({"version": "v2.0", "data": [article]}, "data[0]"), ([article], "[0]")):
        for indent in (None, 1):
            path = saved(tmp_path / "squad.json", json.dumps(layout, indent=indent))
            assert values(path) == expected
            assert ways(path) == [f"{way}.paragraphs[0].qas[{number}]" for number in (0, 1)]
    paragraph = [{"context": "In Denver.", "qas": [{"question": "Who?", "answer": "Denver"}]}]
    path = saved(tmp_path / "flat.json", json.dumps(paragraph))
    assert values(path) == [{"context": "In Denver.", "question": "Who?", "answer": "Denver"}]
    article["paragraphs"].append({"context": "Not asked about.", "qas": []})
    assert values(saved(tmp_path / "squad.json", json.dumps([article]))) == expected
    plain = [{"paragraphs": []}, {"paragraphs": ["a"]}, {"paragraphs": [{"qas": 1}]}]
    assert values(saved(tmp_path / "plain.json", json.dumps(plain))) == plain


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) - 1, (1 << 20) + 1])
def test_rows_are_read_whole_wherever_the_pieces_of_the_file_end(tmp_path: Path, size: int) -> None:
    for last in ('"é"', "12345", "-0.5e1", "true", r'"\ud83d\ude00"', '{"b": [null]}'):
        for shift in range(0, 14, 2):
            start = '[{"a": "'
            content = start + "x" * (size - len(start) - 8 - shift) + f'", "b": {last}}},\r\n{{"a": 1}}]'
            assert values(saved(tmp_path / "a.json", content)) == json.loads(content)


def test_a_folder_or_glob_is_read_file_by_file_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b.jsonl", "c.json", "a.csv"):
        saved(tmp_path / name, "a\nx\n" if name == "a.csv" else '{"a": "x"}')
    saved(tmp_path / "README.md", "about")
    notices = Notices()
    rows = list(read_rows(locate_source(str(tmp_path)), notices))
    assert [Path(row.where).name for row in rows] == ["a.csv:2", "b.jsonl:1", "c.json:1"]
    assert notices.places == {"in the folder, but not read": [str(tmp_path / "README.md")]}
    rows = list(read_rows(locate_source(str(tmp_path / "*.json*"))))
    assert [Path(row.where).name for row in rows] == ["b.jsonl:1", "c.json:1"]


def test_the_hash_of_a_source_tells_its_files_apart(tmp_path: Path) -> None:
    saved(tmp_path / "a.jsonl", "{}")
    one = locate_source(str(tmp_path / "a.jsonl"))
    assert one.sha256() == locate_source(str(tmp_path)).sha256() == files.sha256(tmp_path / "a.jsonl")
    saved(tmp_path / "b.jsonl", "{}")
    both = locate_source(str(tmp_path)).sha256()
    (tmp_path / "b.jsonl").rename(tmp_path / "c.jsonl")
    assert len({one.sha256(), both, locate_source(str(tmp_path)).sha256()}) == 3


@given(st.permutations(range(12)), st.integers(1, 15))
def test_a_sample_depends_on_contents_alone_and_keeps_the_order_of_the_file(
    desk: Path, order: list[int], count: int
) -> None:
    def sample(name: str, numbers: list[int], count: int) -> list[int]:
        saved(desk / name, "".join(f'{{"a": {number}}}\n' for number in numbers))
        return [row.values["a"] for row in read_rows(locate_source(f"{desk / name}#{count}"))]

    chosen, larger = sample("one.jsonl", order, count), sample("one.jsonl", order, count + 1)
    assert len(chosen) == min(count, 12) and chosen == [number for number in order if number in chosen]
    assert set(chosen) == set(sample("two.jsonl", sorted(order), count)) and set(chosen) <= set(larger)


def test_a_sample_of_more_rows_than_there_are_takes_all_and_says_so(tmp_path: Path) -> None:
    path, notices = saved(tmp_path / "a.jsonl", '{"a": 1}\n{"a": 1}\n'), Notices()
    assert len(list(read_rows(locate_source(f"{path}#3"), notices))) == 2
    assert "asked for 3 rows of 2" in next(iter(notices.counts))
    with pytest.raises(DataError, match="asks for no rows"):
        locate_source(f"{path}#0")
    saved(tmp_path / "a.jsonl#3", "{}")
    assert len(list(read_rows(locate_source(f"{path}#3")))) == 1
