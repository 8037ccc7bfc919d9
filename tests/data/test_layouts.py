"""Layouts: rows are found inside files and folders where that is plain; else the way to them is shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from tailora.data.read import locate_source, read_rows, splits_of
from tailora.data.records import ROW_CAP, Notices
from tailora.errors import DataError

ROWS = [{"question": f"q{i}", "answer": f"a{i}"} for i in range(6)]


def saved(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def values(source: Any) -> list[dict[str, Any]]:
    return [row.values for row in read_rows(source)]


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        values(path)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "validation", "test"), ("training", "dev")])
@pytest.mark.parametrize("indent", [None, 1])
def test_lists_named_after_splits_are_these_splits(names: tuple[str, ...], indent: int | None, tmp_path: Path) -> None:
    parts = dict(zip(names, (ROWS[:3], ROWS[3:5], ROWS[5:]), strict=False))
    path = saved(tmp_path / "rows.json", json.dumps({"version": 1, **parts}, indent=indent))
    splits = splits_of(locate_source(str(path)))
    ours = {"train": "train", "training": "train", "validation": "val", "dev": "val", "test": "test"}
    assert {split: values(source) for split, source in splits.items()} == {
        ours[name.lower()]: rows for name, rows in parts.items()
    }
    assert values(path) == [row for rows in parts.values() for row in rows]  # where the recipe splits anew


def test_what_stands_beside_the_splits_of_a_file_is_said_once(tmp_path: Path) -> None:
    path = saved(tmp_path / "rows.json", {"version": 1, "train": ROWS, "labels": ["a"], "test": ROWS[:1]})
    notices = Notices()
    for source in splits_of(locate_source(str(path))).values():
        assert list(read_rows(source, notices))
    assert sorted(notices.counts) == [
        f'"{key}" stands beside the rows and is not read' for key in ("labels", "version")
    ]
    assert notices.total() == 2


@pytest.mark.parametrize("other", [["text"], {"a": 1}, "rows.csv"])
def test_what_is_named_after_a_split_and_holds_no_rows_is_said(other: Any, tmp_path: Path) -> None:
    for more in ({}, {"validation": ROWS}):
        path, notices = saved(tmp_path / "rows.json", {"train": ROWS, "test": other, **more}), Notices()
        for source in [*splits_of(locate_source(str(path))).values()] or [path]:
            assert list(read_rows(source, notices))
        assert dict(notices.counts) == {'"test" stands beside the rows and is not read': 1}


@pytest.mark.parametrize("content", [{"train": ROWS}, {"data": ROWS, "test": ROWS}, ROWS, {"a": {"train": ROWS}}])
def test_a_file_without_lists_for_two_splits_has_none(content: Any, tmp_path: Path) -> None:
    assert splits_of(locate_source(str(saved(tmp_path / "rows.json", content)))) == {}


def test_a_split_that_lies_far_into_a_file_is_found(tmp_path: Path) -> None:
    long = [row | {"answer": "x" * 500_000} for row in ROWS]
    path = saved(tmp_path / "rows.json", {"train": long, "test": ROWS[:2]})
    assert values(splits_of(locate_source(str(path)))["test"]) == ROWS[:2]


def test_folders_named_after_splits_are_these_splits(tmp_path: Path) -> None:
    for split, rows in (("train", ROWS[:4]), ("test", ROWS[4:])):
        (tmp_path / split).mkdir()
        saved(tmp_path / split / "rows.json", rows)
    saved(tmp_path / "README.md", "about")
    source = locate_source(str(tmp_path))
    assert {split: values(part) for split, part in splits_of(source).items()} == {"train": ROWS[:4], "test": ROWS[4:]}
    assert [path.name for path in source.left_out] == ["README.md"]
    assert splits_of(source)["test"].parts() == ["test/rows.json"]
    (tmp_path / "train").rename(tmp_path / "easy")
    (tmp_path / "test").rename(tmp_path / "hard")
    with pytest.raises(DataError, match=r"it has: README\.md, easy, hard\. Name the folder in it"):
        locate_source(str(tmp_path))


def test_what_save_to_disk_writes_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = [{"text": f"t{i}", "label": i % 2} for i in range(600)]
    named = [row | {"label": ["no", "yes"][int(row["label"])]} for row in rows]
    whole = datasets.Dataset.from_list(rows, features=features)
    whole.save_to_disk(str(tmp_path / "one"))
    source = locate_source(str(tmp_path / "one"))
    assert values(source) == named and source.left_out == () and splits_of(source) == {}
    assert [row.where.rpartition(":")[2] for row in read_rows(source)] == [str(i) for i in range(1, 601)]
    parts = {"train": whole.select(range(400)), "test": whole.select(range(400, 600))}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "dict"))
    found = splits_of(locate_source(str(tmp_path / "dict")))
    assert {split: values(part) for split, part in found.items()} == {"train": named[:400], "test": named[400:]}
    arrow = next((tmp_path / "one").glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes()[:900])
    assert "the Arrow file is damaged" in refusal(arrow)


@pytest.mark.parametrize("indent", [None, 1])
def test_the_one_list_of_objects_in_a_file_is_its_rows(indent: int | None, tmp_path: Path) -> None:
    path = saved(
        tmp_path / "rows.json", json.dumps({"info": {"by": "x"}, "examples": ROWS, "tags": ["a"]}, indent=indent)
    )
    assert values(path) == ROWS
    ways = [row.where.removeprefix(f"{path}:") for row in read_rows(path)]
    assert ways[2] == ("examples[2]" if indent is None else "14")


@pytest.mark.parametrize("turns", [[{"role": "user", "content": "q"}], [{"from": "human", "value": "q"}]])
def test_a_conversation_is_a_row_and_not_a_list_of_rows(turns: list[dict[str, str]], tmp_path: Path) -> None:
    for names in (["messages"], ["conversations"], ["prompt", "completion"], ["chosen", "rejected"]):
        row = dict.fromkeys(names, turns)
        assert values(saved(tmp_path / "one.json", json.dumps(row, indent=1))) == [row]


def test_a_first_line_longer_than_a_piece_of_the_file_is_a_row_like_the_others(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q" * 400_000}, {"role": "assistant", "content": "a"}] * 4
    for row in ({"messages": turns}, {"question": "q", "passages": [{"text": "p" * 400_000}] * 4}):
        path = saved(tmp_path / "rows.jsonl", (json.dumps(row) + "\n") * 2)
        assert values(path) == [row, row]


@pytest.mark.parametrize(
    "more",
    [
        {"answers": [{"text": "a", "answer_start": 0}]},
        {"answers": {"text": ["a"], "answer_start": [0]}},
        {"answer": "a", "tests": [{"input": "f()", "expected": 1}], "sources": [{"url": "u"}]},
    ],
)
def test_the_only_row_of_a_file_is_a_row_whatever_lists_it_has(more: dict[str, Any], tmp_path: Path) -> None:
    for row in ({"question": "q", **more}, {**more, "question": "q"}):
        for indent in (None, 1):
            assert values(saved(tmp_path / "one.json", json.dumps(row, indent=indent))) == [row]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"easy": ROWS, "hard": ROWS}, "nested: several lists could be the rows; … They stand at: easy, hard."),
        ({"question": ["a", "b"], "answer": ["c", "d"]}, "nested: whole columns … are: question, answer."),
        (
            {"question": {"0": "a", "1": "b"}, "answer": {"0": "c", "1": "d"}},
            'nested: whole columns … orient="records"',
        ),
    ],
)
def test_rows_that_could_be_several_things_are_called_nested(content: Any, said: str, tmp_path: Path) -> None:
    message = refusal(saved(tmp_path / "rows.json", content))
    assert all(part.strip() in message for part in said.split("…"))


def test_a_name_in_a_place_never_ends_the_name_of_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "rows.json", {"a:b": ROWS[0], "c d": ROWS[1], "e": ROWS[2]})
    places = [row.where for row in read_rows(path)]
    assert [place.rpartition(":")[0] for place in places] == [str(path)] * 3
    assert [place.rpartition(":")[2] for place in places] == ['["a\\u003ab"]', '["c d"]', "e"]


def one_row(kind: str, size: int) -> str:
    """Return a row of `size` characters as it is written, in a file of that kind."""
    start, end = ("q,", "") if kind == "csv" else ('{"question": "q", "answer": "', '"}')
    row = start + "x" * (size - len(start) - len(end)) + end
    other = '{"question": "p", "answer": "b"}'
    return {
        "array": f"[{other},{row},{other}]",
        "member": f'{{"train": [{other},{row}]}}',
        "lines": f"{other}\n{row}\n{other}\n",
        "csv": f"question,answer\np,b\n{row}\r\np,b\n",
    }[kind]


@pytest.mark.parametrize("kind", ["array", "member", "lines", "csv"])
def test_a_row_of_64_mib_is_read_and_one_character_more_is_not(kind: str, tmp_path: Path) -> None:
    path = saved(tmp_path / f"rows.{'csv' if kind == 'csv' else 'json'}", one_row(kind, ROW_CAP))
    assert sum(1 for _ in read_rows(path)) in (2, 3)
    assert "more than 67,108,864 characters" in refusal(saved(path, one_row(kind, ROW_CAP + 1)))


def test_a_row_of_parquet_has_no_more_characters_than_another(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for more in (0, 1):
        row = {"q": "x" * (ROW_CAP // 2), "a": "x" * (ROW_CAP // 2 + more)}
        parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "rows.parquet")
        if more:
            assert "rows.parquet:1: a row of more than 67,108,864" in refusal(tmp_path / "rows.parquet")
        else:
            assert sum(1 for _ in read_rows(tmp_path / "rows.parquet")) == 1


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["sep=;", '"sep=;"', "SEP=;"])
def test_the_line_of_excel_that_names_the_delimiter_is_no_row(mark: str, end: str, tmp_path: Path) -> None:
    for name in ("rows.csv", "rows"):
        path = saved(tmp_path / name, end.join([mark, "question;answer", "q, r;a", "s;b", ""]))
        assert values(path) == [{"question": "q, r", "answer": "a"}, {"question": "s", "answer": "b"}]
        assert [row.where for row in read_rows(path)] == [f"{path}:3", f"{path}:4"]


@pytest.mark.parametrize("comment", ["// rows\n", "/* rows\n of today */ ", "# rows\n// [1]\n"])
def test_comments_in_json_are_named_as_such(comment: str, tmp_path: Path) -> None:
    rows = json.dumps(ROWS)
    assert "JSON has no comments" in refusal(saved(tmp_path / "rows.json", comment + rows))
    assert "JSON has no comments" in refusal(saved(tmp_path / "rows.json", rows.replace("[", f"[{comment}", 1)))


def test_text_that_only_begins_like_a_comment_is_read_in_no_time(tmp_path: Path) -> None:
    assert "Plain text" in refusal(saved(tmp_path / "rows.txt", "# " * 200_000))
    assert "Plain text" in refusal(saved(tmp_path / "rows.txt", "/**/" * 100_000))


@pytest.mark.parametrize("before", ["é", "e"])
@pytest.mark.parametrize("cut", ["é", "日", "😀"])
def test_a_file_cut_inside_a_character_is_not_to_be_converted(before: str, cut: str, tmp_path: Path) -> None:
    for missing in range(1, len(cut.encode())):
        path = tmp_path / "rows.jsonl"
        path.write_bytes(f'{{"question": "{before}", "answer": "{cut}'.encode()[:-missing])
        message = refusal(path)
        assert "ends inside a character" in message and "iconv" not in message
        assert ("If it is whole" in message) == (before == "e")


def test_one_line_of_mixed_encodings_is_not_to_be_converted(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_bytes('[{"a": "é"}, '.encode() + b" " * (1 << 20) + b'{"a": "caf\xe9 x"}]')
    assert "iconv" not in refusal(tmp_path / "rows.json")


@pytest.mark.parametrize("layout", ["[{}]", "{}\n", '{{"data": [{}]}}', '{{"id1": {}}}'])
def test_a_raw_tab_inside_a_text_of_json_is_kept_and_counted_in_every_layout(layout: str, tmp_path: Path) -> None:
    path, notices = saved(tmp_path / "rows", layout.format('{"a": "x\ty", "b": {"c": 1}}')), Notices()
    (row,) = read_rows(path, notices)
    assert row.values["a"] == "x\ty"
    ((kind, entry),) = notices.card().items()
    assert "raw tab" in kind and entry == {"rows": 1, "places": [row.where]}
