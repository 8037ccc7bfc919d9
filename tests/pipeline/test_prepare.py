"""Preparing: nothing leaks, nothing vanishes, and every real data set becomes a card or an error to act on."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tailora.data.split import Splits
from tailora.errors import DataError
from tailora.files import Row
from tailora.pipeline import prepare
from tailora.present.data import warnings
from tailora.recipe import parse_recipe
from tailora.run import Run
from tests.rows import read, sentence, write

SHARED = Path(__file__).parents[2] / "../shared/data"


def rows_of(count: int, seed: int = 0, **columns: Any) -> list[Row]:
    numbers = random.Random(seed)
    return [{"question": sentence(numbers), "answer": sentence(numbers), **columns} for _ in range(count)]


Prepare = Callable[..., tuple[Splits, Row]]


def contents(splits: Splits) -> list[set[str]]:
    return [{row["prompt"][0]["content"] for row in part} for part in splits]


def test_a_data_set_joined_to_itself_has_the_same_splits_and_says_so(prepared: Prepare) -> None:
    rows = rows_of(200)
    once, _ = prepared({"a.jsonl": rows}, source="a.jsonl")
    twice, card = prepared({"b.jsonl": rows + rows}, source="b.jsonl")
    assert contents(once) == contents(twice)
    assert card["rows"] == {"read": 400, "kept": 200, "dropped": 200}
    assert card["dropped"]["exact repeat of an earlier row"]["rows"] == 200


def test_two_runs_write_the_same_files(prepared: Prepare, tmp_path: Path) -> None:
    rows = rows_of(120) + rows_of(20)
    prepared({"a.jsonl": rows}, source="a.jsonl")
    prepared({"a.jsonl": rows}, source="a.jsonl")
    first, second = (tmp_path / "runs" / f"run-{i}" / "prepare" for i in range(2))
    names = {path.name for path in first.iterdir()}
    assert names == {"train.jsonl", "val.jsonl", "test.jsonl", "card.json", "stage.json"}
    for name in names - {"stage.json"}:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_test_file_that_leaks_is_named_row_by_row_and_its_clean_rows_stay_clean(prepared: Prepare) -> None:
    train, fresh = rows_of(200), rows_of(30, seed=1)
    reworded = [" ".join([*row["question"].split()[:29], "other"]) for row in train[20:30]]
    planted = [
        *train[:10],
        *({"question": row["question"].upper(), "answer": "x"} for row in train[10:20]),
        *({"question": text, "answer": "y"} for text in reworded),
    ]
    splits, card = prepared(
        {"train.jsonl": train, "test.jsonl": fresh + planted}, source="train.jsonl", test="test.jsonl"
    )
    kinds = {row["where"].rpartition(":")[2]: row.get("leaks") for row in splits.test}
    assert [kinds[str(i)] for i in range(1, 31)] == [None] * 30
    assert [kinds[str(i)] for i in range(31, 41)] == ["same pair"] * 10
    assert [kinds[str(i)] for i in range(41, 51)] == ["same question"] * 10
    assert [kinds[str(i)] for i in range(51, 61)] == ["near question"] * 10
    table = {entry["kind"]: entry["rows"] for entry in card["audit"]["leakage"] if entry["split"] == "test"}
    assert table["same pair"] == 10 and table["same question"] == 20 and table["near question"] == 30


def test_a_test_file_that_leaks_whole_is_said(prepared: Prepare) -> None:
    rows = rows_of(100)
    _, card = prepared({"train.jsonl": rows, "test.jsonl": rows[:20]}, source="train.jsonl", test="test.jsonl")
    assert any("all 20 test rows overlap with train" in line for line in warnings(card))


def test_files_for_all_splits_are_used_as_they_are(prepared: Prepare) -> None:
    parts = {f"{name}.jsonl": rows_of(20, seed) for seed, name in enumerate(("train", "val", "test"))}
    splits, _ = prepared(parts, source="train.jsonl", val="val.jsonl", test="test.jsonl")
    assert contents(splits) == [{row["question"] for row in rows} for rows in parts.values()]


def test_several_sources_are_domains_with_weights(prepared: Prepare, tmp_path: Path) -> None:
    files = {"law.jsonl": rows_of(100, 1), "health.jsonl": rows_of(60, 2)}
    sources = {"law": str(tmp_path / "law.jsonl"), "medicine": str(tmp_path / "health.jsonl")}
    splits, card = prepared(files, source=sources, weights={"medicine": 3})
    counts = Counter(row["domain"] for row in splits.train)
    distinct = Counter(domain for domain, _ in {(row["domain"], row["id"]) for row in splits.train})
    assert counts["law"] == distinct["law"] and counts["medicine"] == 3 * distinct["medicine"]
    assert card["domains"]["train"] == dict(counts.most_common())
    listed, _ = prepared(files, source=list(sources.values()))
    assert {row["domain"] for part in listed for row in part} == {"law", "health"}


def test_a_limit_chooses_by_content_and_a_larger_one_keeps_what_a_smaller_one_has(prepared: Prepare) -> None:
    rows = rows_of(200)
    few, card = prepared({"a.jsonl": rows}, source="a.jsonl", limit=50)
    more, _ = prepared({"b.jsonl": rows[::-1] + rows}, source="b.jsonl", limit=80)
    assert card["rows"] == {"read": 200, "kept": 50, "dropped": 150}
    assert sum(map(len, few)) == 50
    assert set().union(*contents(few)) < set().union(*contents(more))


def test_strict_data_refuses_what_else_is_only_shown(prepared: Prepare) -> None:
    clean = rows_of(150)
    prepared({"a.jsonl": clean}, source="a.jsonl", strict=True)
    with pytest.raises(DataError, match=r"data\.strict: dropped, exact repeat.*1 row"):
        prepared({"b.jsonl": clean + clean[:1]}, source="b.jsonl", strict=True)


def test_34_few_rows_are_said_and_too_few_refused(prepared: Prepare) -> None:
    _, card = prepared({"a.jsonl": rows_of(60)}, source="a.jsonl")
    assert any("only 60 rows" in line for line in warnings(card))
    with pytest.raises(DataError, match="at least 10 rows"):
        prepared({"b.jsonl": rows_of(9)}, source="b.jsonl")


def test_problems_of_all_files_are_said_at_once(prepared: Prepare, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepared({}, source=["no-such-a.jsonl", "no-such-b.jsonl"], test="no-such-c.jsonl")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "data.source",
        "data.source",
        "data.test",
    ]
    wrong = [{"question": "q", "answer": True}]
    with pytest.raises(DataError) as caught:
        files = {"a.jsonl": wrong * 2, "b.jsonl": rows_of(20), "c.jsonl": wrong}
        prepared(files, source=[str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")], test="c.jsonl")
    assert len(caught.value.problems) == 2 and "a.jsonl:2 (2 times)" in caught.value.problems[0]


CARDS = {
    "flytech_python_codes_25k_sample/flytech_rows_recovered.json": (356, 356),
    "codealpaca/code_alpaca_2k.json": (2017, 2015),
    "codealpaca/new_codealpaca.json": (4535, 4535),
    "mbpp/mbpp.jsonl": (974, 974),
    "agnews_test/test.csv": (7600, 7600),
    "agnews_seed_val/unit_test.jsonl": (50, 50),
    "medquad/medquad.jsonl.gz#4000": (4000, None),
    "indian_law_qa/ipc_qa.json": (2267, None),
    "llamafactory_demo/alpaca_en_demo.json": (999, 985),
    "llamafactory_demo/alpaca_zh_demo.json": (1000, 992),
    "llamafactory_demo/identity.json": (91, 91),
    "llamafactory_demo/v1_sft_demo.jsonl": (500, 499),
}
ERRORS = {
    "flytech_python_codes_25k_sample/python-codes-25k.json": r"python-codes-25k\.json:620:1: expected a comma",
    "flytech_python_codes_25k_sample/testing.json": r"testing\.json:7:3: not JSON.*need a \[ before the first",
    "llamafactory_demo/c4_demo.jsonl": r"no column looks like the answer.*Columns: text",
    "llamafactory_demo/dpo_en_demo.json": r'data\.answer = "chosen"',
    "llamafactory_demo/kto_en_demo.json": "marks good and bad answers",
    "llamafactory_demo/glaive_toolcall_en_demo.json": r"json:2 \(turn 4\).* times\): .*It is 'function_call'",
    "llamafactory_demo/wiki_demo.txt": "Plain text has no questions and answers",
    "wikitext2/valid.txt": "Plain text has no questions and answers",
}


def located(name: str) -> str:
    path = SHARED / name
    if not Path(str(path).partition("#")[0]).exists():
        pytest.skip(f"{path} is not here")
    return str(path)


@pytest.mark.parametrize("name", CARDS)
def test_a_real_data_set_becomes_a_card(name: str, prepared: Prepare) -> None:
    read, kept = CARDS[name]
    _, card = prepared({}, source=located(name))
    assert card["rows"]["read"] == read == card["rows"]["kept"] + card["rows"]["dropped"]
    assert kept in (None, card["rows"]["kept"])
    assert sum(card["splits"].values()) == card["rows"]["kept"]


@pytest.mark.parametrize("name", ERRORS)
def test_a_data_set_that_cannot_be_used_says_what_to_do(name: str, prepared: Prepare) -> None:
    with pytest.raises(DataError, match=ERRORS[name]):
        prepared({}, source=located(name))


def test_the_fifty_rows_of_a_leaked_test_file_are_all_found(prepared: Prepare) -> None:
    folder = located("agnews_seed_val")
    splits, _ = prepared({}, source=f"{folder}/val.jsonl#2000", test=f"{folder}/unit_test.jsonl")
    sampled = {row["prompt"][0]["content"] for row in [*splits.train, *splits.val]}
    shared = [row for row in splits.test if row["prompt"][0]["content"] in sampled]
    assert shared and all(row["leaks"] == "same pair" for row in shared)


# Puts a data set into the cache of `datasets` as a download from the hub would, and prepares it by its hub id.
FROM_THE_HUB = """
import json, shutil, sys
from pathlib import Path
from datasets import load_dataset
from tailora.pipeline import prepare
from tailora.recipe import parse_recipe
from tailora.run import Run

cache, rows = Path(sys.argv[1]), sys.argv[2]
load_dataset("json", data_files=rows)
(made,) = [path.parent for path in cache.rglob("dataset_info.json")]
kept = cache / "somebody___questions" / "default" / "0.0.0" / made.name
shutil.copytree(made, kept)
(kept / "json-train.arrow").rename(kept / "questions-train.arrow")
info = json.loads((kept / "dataset_info.json").read_text())
info["splits"]["train"]["dataset_name"] = info["dataset_name"] = "questions"
(kept / "dataset_info.json").write_text(json.dumps(info))
prepare(Run.open(parse_recipe({"name": "hub", "data": {"source": "somebody/questions"}}), cache / "runs"))
"""


def offline(tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "HF_DATASETS_CACHE": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
    }
    return subprocess.run([sys.executable, *command], env=environment, cwd=tmp_path, capture_output=True, text=True)


def test_a_data_set_of_the_hub_that_has_every_row_twice_is_found_out(tmp_path: Path) -> None:
    rows = rows_of(60)
    done = offline(tmp_path, "-c", FROM_THE_HUB, str(tmp_path), write(tmp_path / "rows.jsonl", rows + rows))
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "runs" / "hub" / "prepare" / "card.json").read_text("utf-8"))
    assert card["rows"] == {"read": 120, "kept": 60, "dropped": 60}


def test_a_hub_id_that_nobody_gives_is_an_error_to_act_on(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text('name = "hub"\n[data]\nsource = "nobody/nothing"\n')
    done = offline(tmp_path, "-m", "tailora", "prepare", "hub.toml")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "nobody/nothing is no file here, and the data hub does not give us" in done.stderr


@pytest.mark.parametrize(
    ("names", "sizes"),
    [
        (("train.jsonl", "test.jsonl"), {"train": 40, "test": 25}),
        (("train-00000-of-00001.jsonl", "validation.jsonl", "test_v2.jsonl"), {"train": 40, "val": 25, "test": 20}),
        (("Training.jsonl", "dev.jsonl"), {"train": 40, "val": 25}),
    ],
)
def test_files_named_after_splits_are_these_splits(
    names: tuple[str, ...], sizes: dict[str, int], tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    counts = (40, 25, 20)
    for number, (name, count) in enumerate(zip(names, counts, strict=False)):
        rows = [
            {"question": f"file {number} question {i} {'abcdefgh'[i % 8] * 9} {i * 37}", "answer": f"{i}"}
            for i in range(count)
        ]
        write(folder / name, rows)
    recipe = parse_recipe({"name": "split", "data": {"source": str(folder)}})
    prepare(Run.open(recipe, tmp_path))
    splits = {name: read(tmp_path / "split/prepare" / f"{name}.jsonl") for name in ("train", "val", "test")}
    for name, size in sizes.items():
        number = list(sizes).index(name)
        part = [row for row in splits[name] if row["prompt"][0]["content"].startswith(f"file {number} ")]
        assert len(part) == size if name != "train" else part and len(part) <= size
    other = parse_recipe({"name": "anew", "data": {"source": str(folder), "test": 0.2, "val": 0.1}})
    prepare(Run.open(other, tmp_path))
    assert {row["prompt"][0]["content"][:6] for row in read(tmp_path / "anew/prepare/train.jsonl")} >= {
        "file 0",
        "file 1",
    }


def test_lists_of_one_file_named_after_splits_are_these_splits_unless_the_recipe_splits_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = {name: rows_of(count, count) for name, count in (("train", 40), ("validation", 12), ("test", 15))}
    (tmp_path / "rows.json").write_text(json.dumps({"version": 1, **parts}))
    data = {"source": str(tmp_path / "rows.json")}
    with caplog.at_level("INFO", "tailora"):
        splits = prepare(Run.open(parse_recipe({"name": "kept", "data": data}), tmp_path))
    assert contents(splits) == [{row["question"] for row in rows} for rows in parts.values()]
    assert "taken as the test split by its name: rows.json: test" in caplog.text
    again = prepare(Run.open(parse_recipe({"name": "kept", "data": data}), tmp_path))
    assert contents(again) == contents(splits)
    anew = prepare(Run.open(parse_recipe({"name": "anew", "data": data | {"test": 0.3}}), tmp_path))
    assert sum(map(len, anew)) == 67 and contents(anew)[2] != contents(splits)[2]


def test_nested_questions_keep_all_references_and_the_way_to_their_place(prepared: Prepare, tmp_path: Path) -> None:
    texts = [row["question"] for row in rows_of(30)]
    asked = [{"question": text, "answers": [{"text": f"a{i}"}, {"text": f"b{i}"}]} for i, text in enumerate(texts)]
    articles = [{"paragraphs": [{"context": f"c{i}", "qas": [one]}]} for i, one in enumerate(asked)]
    (tmp_path / "squad.json").write_text(json.dumps({"data": articles}))
    splits, card = prepared({}, source=str(tmp_path / "squad.json"))
    rows = [row for part in splits for row in part]
    assert all(row["answers"] == [row["answer"], "b" + row["answer"][1:]] for row in rows)
    ways = {row["where"].rpartition(":")[2] for row in rows}
    assert ways == {f"data[{i}].paragraphs[0].qas[0]" for i in range(30)}
    assert card["rows"] == {"read": 30, "kept": 30, "dropped": 0}
