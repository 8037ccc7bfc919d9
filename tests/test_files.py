"""Files of ours are whole or absent, hold what was written, and say so when they do not."""

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailora import files
from tailora.errors import RunError, plain

TEXTS = st.text(st.characters(exclude_categories=("Cs",)))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
ROWS = st.dictionaries(TEXTS, VALUES, max_size=4)

REWRITE_FOR_EVER = """
import sys
from pathlib import Path
from tailora.files import write_text
print("ready", flush=True)
while True:
    for letter in "ab":
        write_text(Path(sys.argv[1]), letter * 2_000_000)
"""


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shelf")


def test_a_file_is_replaced_and_not_rewritten_below_its_readers(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    files.write_text(path, "old text")
    with path.open() as reader:
        files.write_text(path, "new")
        assert reader.read() == "old text"
    assert path.read_text() == "new"


def test_a_reader_never_sees_half_a_file_and_a_killed_writer_leaves_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    whole = {letter * 2_000_000 for letter in "ab"}
    path.write_text("a" * 2_000_000)
    with subprocess.Popen([sys.executable, "-c", REWRITE_FOR_EVER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        seen, until = set(), time.monotonic() + 20
        while seen != whole and time.monotonic() < until:
            for _ in range(50):
                seen.add(path.read_text())
        writer.kill()
    assert seen == whole
    assert path.read_text() in whole


@given(st.text() | st.sampled_from(["a\r\nb\rc\n", "\ufeff", "\x00"]))
def test_text_is_written_byte_for_byte_or_not_at_all(shelf: Path, text: str) -> None:
    path = shelf / "deep" / "er" / "text.txt"
    files.write_text(path, "before")
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        encoded = b"before"
        with pytest.raises(UnicodeEncodeError):
            files.write_text(path, text)
    else:
        files.write_text(path, text)
    assert path.read_bytes() == encoded
    assert list(path.parent.iterdir()) == [path]


def test_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "new" / "picture.png"
    files.write_bytes(path, bytes(range(256)))
    assert path.read_bytes() == bytes(range(256))
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_midway_leaves_the_old_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    (path / "inside").mkdir(parents=True)  # a folder cannot be replaced by a file
    with pytest.raises(OSError, match="taken"):
        files.write_text(path, "new")
    assert list(tmp_path.iterdir()) == [path] and (path / "inside").is_dir()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("depth", [lambda n: {"a": n}, lambda n: {"a": [{"b": n}]}])
def test_what_is_no_number_is_refused_and_the_old_file_stays(tmp_path: Path, number: float, depth: Any) -> None:
    path = tmp_path / "scores.json"
    files.write_json(path, {"old": True})
    for write, value in ((files.write_json, depth(number)), (files.write_jsonl, [{"fine": 1}, depth(number)])):
        with pytest.raises(ValueError, match="JSON compliant"):
            write(path, value)
    assert files.read_json(path) == {"old": True}
    assert list(tmp_path.iterdir()) == [path]


@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), VALUES))
def test_json_reads_back_as_it_was_written(shelf: Path, value: dict[str, Any]) -> None:
    files.write_json(shelf / "value.json", value)
    assert files.read_json(shelf / "value.json") == json.loads((shelf / "value.json").read_bytes()) == value


@given(st.lists(ROWS, max_size=4))
def test_jsonl_reads_back_as_it_was_written_one_row_a_line(shelf: Path, rows: list[dict[str, Any]]) -> None:
    path = shelf / "rows.jsonl"
    files.write_jsonl(path, rows)
    assert list(files.read_jsonl(path)) == rows
    assert path.read_bytes().count(b"\n") == len(rows)
    assert b"".join(files.json_line(row).encode() for row in rows) == path.read_bytes()


def test_a_missing_file_of_ours_is_named(tmp_path: Path) -> None:
    for read in (files.read_json, lambda path: list(files.read_jsonl(path))):
        with pytest.raises(RunError, match=r"gone\.jsonl is missing"):
            read(tmp_path / "gone.jsonl")


@pytest.mark.parametrize("damage", [b'{"a": ', b"", b'{"a": "\xff"}', b"\x00\x00", b"{}}"])
def test_a_damaged_file_of_ours_is_named_with_its_line(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(damage)
    with pytest.raises(RunError, match=r"rows\.jsonl.* is damaged"):
        files.read_json(path)
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n' + damage + b"\n{}\n")
    with pytest.raises(RunError, match=r"rows\.jsonl:3 is damaged"):
        list(files.read_jsonl(path))


@given(st.binary())
def test_a_hash_is_that_of_the_bytes(shelf: Path, content: bytes) -> None:
    files.write_bytes(shelf / "content", content)
    assert files.sha256(shelf / "content") == hashlib.sha256(content).hexdigest()


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    code = "from tailora.files import fingerprint; print(fingerprint('Où', 'b'))"
    prints = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert prints == {files.fingerprint("Où", "b")}


@given(st.lists(st.text(max_size=5), min_size=1, max_size=3), st.lists(st.text(max_size=5), min_size=1, max_size=3))
def test_fingerprints_are_equal_only_for_equal_parts(one: list[str], other: list[str]) -> None:
    assert (files.fingerprint(*one) == files.fingerprint(*other)) == (one == other)
    assert len(files.fingerprint(*one)) == 16 and int(files.fingerprint(*one), 16) >= 0


def test_parts_of_a_fingerprint_cannot_run_into_each_other() -> None:
    assert files.fingerprint("ab", "c") != files.fingerprint("a", "bc") != files.fingerprint("a", "b", "c")


def test_a_manifest_that_does_not_list_all_files_is_not_believed(tmp_path: Path) -> None:
    with files.whole_folder(tmp_path / "whole") as folder:
        (folder / "a").write_text("a")
    assert files.damage(tmp_path / "whole") is None
    for content in ("{}", "[]", "null", '{"b": "x"}'):
        (tmp_path / "whole" / files.MANIFEST).write_text(content)
        assert files.damage(tmp_path / "whole") is not None


@pytest.mark.parametrize("content", ["[]", "null", '"x"', "1", "[" * 100_000, "{", b"\xff", ""])
def test_a_file_that_holds_no_object_is_damaged(content: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RunError, match=r"x\.json is damaged"):
        files.read_json(path)


def test_a_key_that_a_file_lacks_is_damage_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("{}")
    with pytest.raises(RunError, match="says nothing of 'finished'"):
        files.read_json(path)["finished"]
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(RunError, match=r"pipe\.json is no file"):
        files.read_json(tmp_path / "pipe.json")


@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), VALUES), st.data())
def test_a_sealed_file_reads_back_and_no_other_value_in_it_is_believed(
    shelf: Path, value: dict[str, Any], data: st.DataObject
) -> None:
    path = shelf / "sealed.json"
    files.write_sealed(path, value)
    found = files.read_json(path)
    assert {key: found[key] for key in value} == json.loads(json.dumps(value))
    if value:
        key = data.draw(st.sampled_from(sorted(value)))
        other = data.draw(VALUES.filter(lambda other: json.dumps(other) != json.dumps(value[key])))
        files.write_json(path, {**found, key: other})
        with pytest.raises(RunError, match=r"sealed\.json is damaged"):
            files.read_json(path)


@pytest.mark.parametrize("name", ["rows.jsonl", "inside/rows.jsonl"])
def test_a_file_that_a_record_lists_is_read_while_it_is_as_listed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "stage" / name
    files.write_jsonl(path, [{"a": 1}, {"a": 2}])
    files.write_jsonl(path.with_name("other.jsonl"), [{"a": 1}])
    files.write_sealed(tmp_path / "stage" / files.RECORD, {"files": {name: files.sha256(path)}})
    assert list(files.read_jsonl(path)) == list(files.RowFile.open(path)) == [{"a": 1}, {"a": 2}]
    for changed in (path, path.with_name("other.jsonl")):
        changed.write_bytes(changed.read_bytes().replace(b"1", b"3"))
    assert list(files.read_jsonl(path.with_name("other.jsonl"))) == [{"a": 3}]  # nobody has vouched for it
    for read in (lambda: list(files.read_jsonl(path)), lambda: files.RowFile.open(path)):
        with pytest.raises(RunError, match="is not what its stage has written there"):
            read()


def test_names_that_are_not_utf_8_are_written_and_read(tmp_path: Path) -> None:
    rows = [{"path": os.fsdecode(b"rows-\xff.jsonl")}]
    files.write_json(tmp_path / "a.json", rows[0])
    files.write_jsonl(tmp_path / "a.jsonl", rows)
    assert files.read_json(tmp_path / "a.json") == rows[0] and list(files.read_jsonl(tmp_path / "a.jsonl")) == rows


def test_a_name_that_is_not_utf_8_can_be_shown() -> None:
    assert plain(os.fsdecode(b"rows-\xff.jsonl")) == "rows-\\udcff.jsonl"


def test_the_longest_name_that_a_file_can_have_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    files.write_text(path, "text")
    assert path.read_text() == "text" and list(tmp_path.iterdir()) == [path]
    assert not files.is_file(tmp_path / ("n" * 256))


@pytest.mark.parametrize(
    "write",
    [lambda path: files.write_bytes(path, bytes(5000)), lambda path: files.write_jsonl(path, [{"a": 5000 * "a"}])],
)
def test_a_write_that_finds_no_room_is_said_and_leaves_the_old_file(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(RunError, match="there is no room to write it") as raised:
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(raised.value, OSError) and files.lacks_space(raised.value)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("read", [files.read_json, lambda path: list(files.read_jsonl(path)), files.RowFile.open])
def test_no_reader_waits_for_a_pipe(read: Callable[[Path], Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows")
    with pytest.raises(RunError, match="rows is no file"):
        read(tmp_path / "rows")
