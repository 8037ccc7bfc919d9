"""Bad files and rows, by their numbers in the list: each is refused with its place and remedy, or counted."""

import gzip
import json
import os
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailora.data.formats.json_rows import RAW
from tailora.data.read import locate_source, read_rows
from tailora.data.records import Fault, FaultError, Notices, Problems
from tailora.errors import DataError

DATA = Path(__file__).parents[3] / "shared" / "data"
ROW = {"question": "what?", "answer": "that"}
LINE = json.dumps(ROW) + "\n"


def saved(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        list(read_rows(path))
    return caught.value.problems


def only(path: Path) -> str:
    (problem,) = problems(path)
    return problem


def values(path: Path) -> list[dict[str, Any]]:
    return [row.values for row in read_rows(path)]


def noticed(path: Path) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    notices = Notices()
    rows = [row.values for row in read_rows(path, notices)]
    return rows, notices.card()


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("desk")


@pytest.fixture
def nobody() -> Iterator[Path]:
    """Give a folder that everybody may enter, and take the rights of the superuser away."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        if os.geteuid() != os.getuid():
            os.seteuid(os.getuid())


# Files


def test_01_a_missing_path_glob_or_empty_folder_is_answered_with_the_nearest_names(tmp_path: Path) -> None:
    saved(tmp_path / "rows.jsonl", LINE)
    for wrong in ("row.jsonl", "row.jsonl#5", "*.json"):
        with pytest.raises(DataError, match=r"did you mean .*rows\.jsonl|no file matches"):
            locate_source(str(tmp_path / wrong))
    for nothing in ("", " ", "#5"):
        with pytest.raises(DataError, match=r"data\.source: the name is empty"):
            locate_source(nothing)
    (tmp_path / "empty").mkdir()
    saved(tmp_path / "empty" / "notes.txt", "")
    with pytest.raises(DataError, match=r"a folder without data .* it has: notes\.txt"):
        locate_source(str(tmp_path / "empty"))


def test_02_a_pipe_or_device_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    for path, kind in ((tmp_path / "pipe.jsonl", "pipe"), (Path("/dev/zero"), "device")):
        assert kind in only(path)
        with pytest.raises(DataError, match=kind):
            locate_source(str(path))
    (tmp_path / "folder.jsonl").mkdir()
    assert "is a folder" in only(tmp_path / "folder.jsonl")


def test_02_a_file_that_may_not_be_read_is_refused(nobody: Path) -> None:
    path = saved(nobody / "rows.jsonl", LINE)
    path.chmod(0)
    (nobody / "locked").mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.seteuid(65534)
    assert "cannot be read: Permission denied" in only(path)
    if os.getuid() == 0:
        with pytest.raises(DataError, match="Permission denied"):
            locate_source(str(nobody / "locked" / "rows.jsonl"))


@pytest.mark.parametrize("content", [b"", b" \r\n\t", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
def test_03_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "the file is empty" in only(saved(tmp_path / "rows.jsonl", content))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_04_07_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path, mark: bytes, end: str) -> None:
    for name, text in {"a.csv": "question,answer\nwhat?,that\n", "a.jsonl": LINE, "a.json": f"[\n{LINE}]"}.items():
        assert values(saved(tmp_path / name, mark + text.replace("\n", end).encode())) == [ROW]


@pytest.mark.parametrize("name", ["a.json", "a.csv"])
@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_05_wide_encodings_are_named_with_the_command(tmp_path: Path, name: str, encoding: str, mark: str) -> None:
    message = only(saved(tmp_path / name, (mark + "[question,answer").encode(encoding)))
    assert f"is {encoding}, not UTF-8" in message and f"iconv -f {encoding} -t UTF-8" in message


@pytest.mark.parametrize(
    ("text", "codec", "name"),
    [
        ("Où est l'été ? Là-bas, près du café.", "cp1252", "WINDOWS-1252"),
        ("Где находится библиотека? Она на площади, рядом со школой.\n", "cp1251", "WINDOWS-1251"),
        ("图书馆在哪里？它在学校旁边。\n", "gb18030", "GB18030"),
        ("としょかんはどこですか？がっこうのとなりです。\n", "shift_jis", "SHIFT_JIS"),
    ],
)
def test_06_bytes_that_are_not_utf8_get_a_place_a_guess_and_a_command(
    tmp_path: Path, text: str, codec: str, name: str
) -> None:
    message = only(saved(tmp_path / "my rows.jsonl", LINE.encode() + b'{"a": "' + text.encode(codec) + b'"}\n'))
    assert "my rows.jsonl:2:" in message and f"looks like {name}" in message
    assert f"iconv -f {name} -t UTF-8 '{tmp_path}/my rows.jsonl' > '{tmp_path}/utf8-my rows.jsonl'" in message


def test_06_a_wrong_byte_far_into_the_file_stands_in_its_line_and_column(tmp_path: Path) -> None:
    row = json.dumps({"question": "x" * 1000, "answer": "y"}).encode() + b"\n"
    message = problems(saved(tmp_path / "long.jsonl", row * 3000 + b'{"a": "\xff"}\n'))[-1]
    assert "long.jsonl:3001:8: byte 0xff" in message


def test_06_iconv_is_not_proposed_for_a_file_that_is_utf8_in_part(tmp_path: Path) -> None:
    message = only(saved(tmp_path / "mixed.jsonl", '{"a": "é"}\n{"a": "'.encode() + b'caf\xe9"}\n'))
    assert "mixed.jsonl:2:11" in message and "iconv -f" not in message and "comes from elsewhere" in message


@given(st.data())
def test_08_a_last_row_that_is_cut_off_is_refused(desk: Path, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(LINE) - 3))
    path = saved(desk / "cut.jsonl", LINE * 2 + LINE[:cut])
    assert "cut.jsonl:3:" in only(path)
    assert "cut" in only(path) or "Near" in only(path)


@pytest.mark.parametrize("name", ["rows", "rows.json", "rows.jsonl", "rows.csv", "rows.txt", "rows.gz"])
def test_09_the_content_and_not_the_name_says_what_a_file_is(tmp_path: Path, name: str) -> None:
    layouts = (
        LINE,
        f"[{LINE}]",
        json.dumps(ROW, indent=2),
        "question,answer\nwhat?,that\n",
        "answer\tquestion\nthat\twhat?",
    )
    for content in layouts:
        assert values(saved(tmp_path / name, content)) == [ROW]
        assert values(saved(tmp_path / name, gzip.compress(content.encode()))) == [ROW]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html><h1>404 Not Found</h1>", "web page"),
        (b"<html>", "web page"),
        (b"PK\x03\x04....", "Excel"),
        (b"%PDF-1.7", "PDF"),
        (b"\0" * 5000, "zero bytes"),
        (gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), "gzip inside gzip"),
        (b"To be, or not to be.\nThat is the question, isn't it?\n", "Plain text has no questions and answers"),
    ],
)
def test_09_what_is_no_data_is_named_with_its_remedy(tmp_path: Path, content: bytes, named: str) -> None:
    assert named in only(saved(tmp_path / "rows.jsonl", content))


def test_09_parquet_is_read_like_json(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [ROW, ROW | {"answer": None}, {"question": "é", "answer": "x" * 5000}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    packed = saved(tmp_path / "rows.gz", gzip.compress((tmp_path / "rows.parquet").read_bytes()))
    assert values(tmp_path / "rows.parquet") == values(packed) == rows
    cut = saved(tmp_path / "cut.parquet", (tmp_path / "rows.parquet").read_bytes()[:-20])
    assert "cut.parquet: the Parquet file is damaged" in only(cut)


@pytest.mark.parametrize("cut", [5, 60, -1, -9])
def test_10_damaged_gzip_is_refused(tmp_path: Path, cut: int) -> None:
    whole = gzip.compress(b"".join(json.dumps({"a": i}).encode() + b"\n" for i in range(100)))
    assert "the gzip is damaged" in problems(saved(tmp_path / "rows.gz", whole[:cut]))[-1]
    flipped = bytearray(whole)
    flipped[-6] ^= 1
    assert "the gzip is damaged" in only(saved(tmp_path / "rows.gz", bytes(flipped)))


def test_10_a_zip_bomb_is_refused_with_its_numbers(tmp_path: Path) -> None:
    line = json.dumps({"a": "x" * 1_000_000}).encode() + b"\n"
    message = only(saved(tmp_path / "bomb.gz", gzip.compress(line * 70, 6)))
    assert "bytes of gzip unpack to more than 67,108,864" in message


def test_11_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    for change in (lambda path: saved(path, LINE), lambda path: path.open("a").write(LINE), Path.unlink):
        path = saved(tmp_path / "rows.jsonl", LINE * 5)
        rows = read_rows(path)
        next(rows)
        change(path)
        with pytest.raises(DataError, match="changed while it was read"):
            list(rows)


@pytest.mark.parametrize("layout", ["lines", "array", "spread", "data", "csv", "gzip"])
def test_12_the_memory_for_reading_does_not_depend_on_the_size_of_the_file(tmp_path: Path, layout: str) -> None:
    row = {"question": "x" * 20_000, "answer": "y\n" * 10}
    contents = {
        "lines": (json.dumps(row) + "\n") * 1000,
        "array": json.dumps([row] * 1000),
        "spread": json.dumps(row, indent=1) * 1000,
        "data": json.dumps({"version": "1", "data": [row] * 1000}),
        "csv": "question,answer\n" + f'{row["question"]},"{row["answer"]}"\n' * 1000,
    }
    content = contents.get(layout, contents["lines"]).encode()
    path = saved(tmp_path / "rows", gzip.compress(content, 1) if layout == "gzip" else content)
    assert len(content) > 20_000_000
    del content, contents
    tracemalloc.start()
    assert sum(1 for _ in read_rows(path)) == 1000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


# Rows


def test_13_a_cause_is_said_once_with_its_count_and_three_places_and_the_text_of_the_line(tmp_path: Path) -> None:
    content = LINE + '{"question": "a\x1b", "answer" "b"}\n' + LINE + '{"question": \n' * 30
    found = problems(saved(tmp_path / "rows.jsonl", content))
    assert len(found) == 2 and "rows.jsonl:2:" in found[0] and r"a\x1b" in found[0] and "\x1b" not in found[0]
    assert "(30 times)" in found[1] and found[1].count("rows.jsonl:") == 3
    assert all(f"rows.jsonl:{line}:" in found[1] for line in (4, 5, 6))


def test_twenty_causes_are_said_and_the_others_counted() -> None:
    found = Problems()
    for number in range(23):
        found.add(Fault("rows.jsonl:1", f"cause {number}"))
        found.take(FaultError("rows.jsonl:2", f"cause {number}"))
    with pytest.raises(DataError) as caught:
        found.refuse()
    said = caught.value.problems
    assert len(said) == 21 and said[-1] == "… and 6 more problems of other kinds."
    assert said[0] == "rows.jsonl:1, rows.jsonl:2 (2 times): cause 0"


@pytest.mark.parametrize(
    "rows",
    [
        [f'{{"question": "{i}", "answer" "{i}"}}' for i in range(30)],  # what stands near
        [f'{{"x{i}": 1, "x{i}": 2}}' for i in range(30)],  # the row's own columns
        [f'{{"x{i}": "\\ud800"}}' for i in range(30)],
        [f'{{"a": 1e{400 + i}}}' for i in range(30)],  # and values
    ],
)
def test_one_cause_is_one_line_whatever_is_special_to_each_row(tmp_path: Path, rows: list[str]) -> None:
    message = only(saved(tmp_path / "my rows.jsonl", LINE + "\n".join(rows)))
    assert "(30 times)" in message and message.count("my rows.jsonl:") == 3


def test_one_cause_in_many_files_is_one_line(tmp_path: Path) -> None:
    for number in range(25):
        saved(tmp_path / f"part {number:02}.jsonl", "" if number else LINE)
    with pytest.raises(DataError) as caught:
        list(read_rows(locate_source(str(tmp_path))))
    (message,) = caught.value.problems
    assert "part 01.jsonl, " in message and "(24 times): the file is empty" in message


def test_13_a_broken_first_line_does_not_hide_that_there_is_one_row_a_line(tmp_path: Path) -> None:
    pair = '{"translation": {"de": "ja", "en": "yes"}}\n'
    for broken in ('{"translation": {"de": x}}\n', '{"translation": {"de": "ja"\n', '{"a" "b"}\n', '{"a": "b\n'):
        found = problems(saved(tmp_path / "a.jsonl", broken + pair + '{"b" 1}\n' + pair))
        assert [problem.split("a.jsonl:")[1][0] for problem in found] == ["1", "3"]


def test_13_problems_of_all_files_are_reported_together(tmp_path: Path) -> None:
    saved(tmp_path / "a.jsonl", "{\n")
    saved(tmp_path / "b.csv", "a,b\n1\n1,2,3\n")
    saved(tmp_path / "c.jsonl", "")
    with pytest.raises(DataError) as caught:
        list(read_rows(locate_source(str(tmp_path))))
    named = [problem.rpartition("/")[2][:7] for problem in caught.value.problems]
    assert [name[0] for name in named] == ["a", "b", "c"]


@pytest.mark.parametrize("value", ["1", '"text"', "null", "[1]", "true"])
def test_14_a_row_that_is_no_object_is_refused(tmp_path: Path, value: str) -> None:
    assert "a.json:2: a row must be an object" in only(saved(tmp_path / "a.json", f"[{LINE},{value}]"))
    assert "a.jsonl:2: a row must be an object" in only(saved(tmp_path / "a.jsonl", f"{LINE}{value}\n"))


@pytest.mark.parametrize(
    ("row", "place", "hint"),
    [
        ('{"a": "b",}', 11, "remove the comma"),
        ('{"a": [1,]}', 10, "remove the comma"),
        ("{'a': 'b'}", 2, "looks like Python"),
        ('{"a": None}', 7, "looks like Python"),
        ('{"a": True}', 7, "looks like Python"),
        ('{"a": undefined}', 7, "write null"),
        ('{"a": 1} # one', 10, "no comments"),
        ('{"a": "say "hello" now"}', 13, r"a quote inside a text is written \""),
        ('{"a": "b" "c": 1}', 11, "a comma is missing"),
        (r'{"a": "C:\path"}', 10, r"written twice, \\"),
        ('{"a": "b', 7, "never closed"),
        ('{"a": ', 7, "cut off"),
    ],
)
def test_15_a_slip_gets_its_place_and_a_hint(tmp_path: Path, row: str, place: int, hint: str) -> None:
    message = only(saved(tmp_path / "a.jsonl", f"{LINE}{row}\n{LINE}"))
    line, column = message.split("a.jsonl:")[1].split(":")[:2]
    # Newer Pythons point at a comma too many, older ones behind it.
    assert line == "2" and abs(int(column) - place) <= 1 and hint in message


def test_15_commas_too_many_around_the_rows_get_a_hint(tmp_path: Path) -> None:
    assert "remove the comma" in only(saved(tmp_path / "a.json", f"[{LINE},\n]"))
    assert "need a [ before the first" in problems(saved(tmp_path / "a.jsonl", f"{LINE[:-1]},\n{LINE}"))[0]
    assert "need a [ before the first" in only(saved(tmp_path / "a.json", f"{json.dumps(ROW, indent=1)},\n{LINE}"))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_15_numbers_that_json_does_not_have_are_refused_row_by_row(tmp_path: Path, value: str) -> None:
    row = f'{{"a": [{value}]}}\n'
    found = only(saved(tmp_path / "a.jsonl", row + LINE + row))
    assert ["a.jsonl:1" in found, "a.jsonl:3" in found, "(2 times)" in found] == [True] * 3
    found = only(saved(tmp_path / "a.json", f"[{row},{LINE},{row}]"))
    assert ["a.json:1" in found, "a.json:3" in found] == [True, True] and value.lstrip("-") in found


def test_16_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    for row in ('{"a": 1, "b": 2, "a": 3}', '{"x": [{"a": 1, "a": 1}]}'):
        assert "a.jsonl:2: keys that stand twice; keep one of each: a." in only(
            saved(tmp_path / "a.jsonl", f"{LINE}{row}\n")
        )


def test_17_control_characters_are_kept_and_counted(tmp_path: Path) -> None:
    texts = ["\\u0000", "\\u001b[0m", "\x07", "\ttab", "line\\n", "\\\\u0000", "\x7f"]
    rows, notices = noticed(saved(tmp_path / "a.jsonl", "".join(f'{{"a": "{text}"}}\n' for text in texts)))
    assert [row["a"] for row in rows] == ["\0", "\x1b[0m", "\x07", "\ttab", "line\n", "\\u0000", "\x7f"]
    path = f"{tmp_path}/a.jsonl"
    assert notices == {
        "rows with control characters": {"rows": 3, "places": [f"{path}:2", f"{path}:3", f"{path}:7"]},
        RAW: {"rows": 2, "places": [f"{path}:3", f"{path}:4"]},
        "rows with the character \\u0000": {"rows": 1, "places": [f"{path}:1"]},
    }


@pytest.mark.parametrize("row", [r'{"a": "\ud83d"}', r'{"a": [{"b": "x\udc00y"}]}', r'{"\ud800": 1}'])
def test_18_half_a_character_is_refused(tmp_path: Path, row: str) -> None:
    assert "a.jsonl:2: a column holds half a character" in only(saved(tmp_path / "a.jsonl", f"{LINE}{row}\n"))
    assert values(saved(tmp_path / "pair.jsonl", r'{"a": "\ud83d\ude00"}')) == [{"a": "😀"}]


def test_19_a_very_long_row_is_read_and_counted_and_an_endless_one_refused(tmp_path: Path) -> None:
    long = {"question": "q", "answer": "x" * 12_000_000}
    for content in (json.dumps(long), json.dumps([long]), f"question,answer\nq,{long['answer']}\n"):
        rows, notices = noticed(saved(tmp_path / "a.csv", content))
        assert rows == [long] and notices["rows of more than 1,000,000 characters"]["rows"] == 1
    endless = '{"question": "' + "x" * (66 << 20)
    assert "more than 67,108,864 characters" in only(saved(tmp_path / "a", f"[{LINE},{endless}"))
    assert "more than 67,108,864 characters" in only(saved(tmp_path / "a", f"{LINE}{endless}"))


@pytest.mark.parametrize("depth", [150, 10_000])
def test_20_deep_nesting_is_refused(tmp_path: Path, depth: int) -> None:
    row = '{"a": ' + "[" * depth + "]" * depth + "}\n"
    assert "nested" in only(saved(tmp_path / "a.jsonl", row + LINE))
    assert "nested" in only(saved(tmp_path / "a.json", f"[{row},{LINE}]"))
    assert "nested" in only(saved(tmp_path / "a.json", f'{{"data": [{row},{LINE}]}}'))


def test_21_rows_of_another_width_are_all_refused_with_the_columns(tmp_path: Path) -> None:
    found = only(saved(tmp_path / "a.csv", 'q,a\n1,2\n3\n4,5,6\n"7\n7",8\n9,9,9\n'))
    assert (
        "a.csv:3, " in found and "a.csv:7 (3 times): another number of fields than the 2 of the header (q, a)" in found
    )
    assert "quote fields that hold commas" in found and found.endswith("In the first: 1 fields here.")


def test_21_a_quote_that_is_not_closed_is_refused_where_its_record_begins(tmp_path: Path) -> None:
    assert "a.csv:3: not CSV: a quote opens" in only(saved(tmp_path / "a.csv", 'q,a\n1,2\n3,"4\n5,6\n7,8\n'))
    assert "a.csv:2: not CSV" in only(saved(tmp_path / "a.csv", 'q,a\n1,"say "hi" now"\n'))


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_21_the_delimiter_is_the_one_that_gives_even_rows(tmp_path: Path, delimiter: str) -> None:
    cells = [["question", "answer"], ["what, who; why", "that"], ["when", "now, or; later"]]
    lines = [delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in row) for row in cells]
    expected = [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]
    assert values(saved(tmp_path / "a", "\n".join(lines))) == expected


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("3,Fears for pensions\n4,The race is on\n", ["column_1", "column_2"]),
        (f"{'Why? ' * 30},Because\nWhat?,That\n", ["column_1", "column_2"]),
        ("text,label\nFears,3\nRace,4\n", ["text", "label"]),
        ("id,2023,2024\n1,5,6\n2,7,8\n", ["id", "2023", "2024"]),
        ("How old are you?,Why?\n12,x\n13,y\n", ["How old are you?", "Why?"]),
        (",question\n0,what\n1,who\n", ["column_1", "question"]),
    ],
)
def test_21_a_table_without_header_is_noticed_and_its_columns_numbered(
    tmp_path: Path, content: str, names: list[str]
) -> None:
    rows, notices = noticed(saved(tmp_path / "a.csv", content))
    headless = names[:2] == ["column_1", "column_2"]
    assert list(rows[0]) == names and len(rows) == content.count("\n") - (not headless)
    assert any("no header" in notice and "column_1, column_2" in notice for notice in notices) == headless


# Files as they are published


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("agnews_seed_val/val.jsonl", 7600),
        ("agnews_test/test.csv", 7600),
        ("agnews_train/train.csv", 18_895),
        ("codealpaca/code_alpaca_2k.json", 2017),
        ("codealpaca/new_codealpaca.json", 4535),
        ("flytech_python_codes_25k_sample/flytech_rows_recovered.json", 356),
        ("indian_law_qa/constitution_qa.json", 4082),
        ("indian_law_qa/crpc_qa.json", 8194),
        ("indian_law_qa/ipc_qa.json", 2267),
        ("llamafactory_demo/alpaca_zh_demo.json", 1000),
        ("llamafactory_demo/c4_demo.jsonl", 300),
        ("llamafactory_demo/dpo_en_demo.json", 300),
        ("llamafactory_demo/glaive_toolcall_en_demo.json", 300),
        ("llamafactory_demo/v1_sft_demo.jsonl", 500),
        ("mbpp/mbpp.jsonl", 974),
        ("medquad/medquad.jsonl.gz", 17_207),
    ],
)
def test_published_files_are_read_whole(path: str, count: int) -> None:
    if not (DATA / path).exists():
        pytest.skip("the shared data is not here")
    assert sum(1 for _ in read_rows(DATA / path)) == count


@pytest.mark.parametrize(
    ("path", "place", "why"),
    [
        (
            "flytech_python_codes_25k_sample/python-codes-25k.json",
            ":620:1: ",
            "the ] that closes the array of line 1, got }",
        ),
        ("flytech_python_codes_25k_sample/testing.json", ":7:3: ", "need a [ before the first and a ] after the last"),
        ("llamafactory_demo/wiki_demo.txt", ":1: ", "Plain text has no questions and answers"),
        ("wikitext2/test.txt", ":1: ", "Plain text has no questions and answers"),
        ("agnews_test/classes.txt", ":1: ", "neither JSON"),
    ],
)
def test_published_files_that_are_broken_or_no_rows_say_so(path: str, place: str, why: str) -> None:
    if not (DATA / path).exists():
        pytest.skip("the shared data is not here")
    message = only(DATA / path)
    assert f"{path}{place}" in message and why in message
