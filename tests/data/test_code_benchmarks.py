"""MBPP and HumanEval are read as their authors lay them out, and what is made of them passes its own tests."""

import json
from pathlib import Path
from typing import Any

import pytest

from tailora import sandbox
from tailora.data.code_benchmarks import HUMANEVAL, MBPP, as_programs, completed
from tailora.data.examples import Kept, are_tests, to_examples
from tailora.data.read import SourceRow
from tailora.recipe import Data

SHARED = Path(__file__).parents[3] / "shared" / "data" / "mbpp" / "mbpp.jsonl"
OF_MBPP = {
    "task_id": 7, "text": "Write a function to double.", "code": "def twice(x):\r\n  return TWO * x",
    "test_list": ["assert twice(2) == 4", "assert twice(0) == 0"], "test_setup_code": "TWO = 2",
    "challenge_test_list": [],
}  # fmt: skip
SANITIZED = {
    "task_id": 8, "prompt": "Write a root.", "code": "import math\ndef root(x):\n  return math.isqrt(x)",
    "test_list": ["assert math.isclose(root(9), 3)"], "test_imports": ["import math"],
}  # fmt: skip
OF_HUMANEVAL = {
    "task_id": "HumanEval/53", "prompt": 'def add(x: int, y: int):\n    """Add two numbers."""\n',
    "canonical_solution": "    return x + y\n", "entry_point": "add",
    "test": "METADATA = {}\n\ndef check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate(0, 1) == 1",
}  # fmt: skip


def examples(*values: dict[str, Any]) -> tuple[list[dict[str, Any]], Kept]:
    kept = Kept()
    rows = (SourceRow(f"rows:{number}", row) for number, row in enumerate(values, start=1))
    return list(to_examples(as_programs(rows, kept.notices), Data(source="rows"), "rows", kept)), kept


@pytest.mark.parametrize("values", [OF_MBPP, SANITIZED, OF_HUMANEVAL], ids=["mbpp", "sanitized", "humaneval"])
def test_the_reference_passes_its_tests_and_a_wrong_answer_does_not(values: dict[str, Any]) -> None:
    (row,), kept = examples(values)
    assert kept.unusable_tests == 0
    wrong = row["answer"].replace("return", "return 1 +")
    right, broken = sandbox.run_many([(row["answer"], row["tests"]), (wrong, row["tests"])], workers=1, within="any")
    assert (right.status, broken.status) == ("passed", "failed")


def test_the_layout_is_noticed_and_the_question_shows_what_its_authors_show() -> None:
    (mbpp, humaneval), kept = examples(OF_MBPP, OF_HUMANEVAL)
    assert kept.notices.counts[MBPP] == kept.notices.counts[HUMANEVAL] == 1
    assert mbpp["id"] == "7" and humaneval["id"] == "HumanEval/53"
    asked = mbpp["prompt"][0]["content"]
    assert asked.startswith(OF_MBPP["text"]) and all(test in asked for test in OF_MBPP["test_list"])
    assert OF_HUMANEVAL["prompt"].strip() in humaneval["prompt"][0]["content"]
    assert OF_HUMANEVAL["canonical_solution"] not in humaneval["prompt"][0]["content"]


@pytest.mark.parametrize(
    ("test", "tests"),
    [
        (OF_HUMANEVAL["test"], ["METADATA = {}", "assert add(2, 3) == 5", "assert add(0, 1) == 1"]),
        (
            "import math\ndef check(f):\n    assert math.isclose(f(1), 2), 'one'",
            ["import math", "assert math.isclose(add(1), 2), 'one'"],
        ),
        ("def check(f):\n    for x in (1, 2):\n        assert f(x) == x", None),
        ("def check(f):\n    assert f(1) == 1\ncheck(len)", None),
        ("def check(f): assert f(1) ==", None),
    ],
)
def test_asserts_of_humaneval_stand_alone_where_there_is_nothing_else(test: str, tests: list[str] | None) -> None:
    (row,), _ = examples({**OF_HUMANEVAL, "test": test})
    assert row["tests"] == (tests or [test, "check(add)"])


def test_other_rows_stay_as_they_are() -> None:
    plain = {"text": "a", "code": "b"}
    rows = [SourceRow("x:1", plain), SourceRow("x:2", {**plain, "test_list": []})]
    kept = Kept()
    assert list(as_programs(rows, kept.notices)) == rows and not kept.notices.total()


@pytest.mark.parametrize(
    "tests, good",
    [
        ([{"input": "f()", "expected": 1}], True),
        (["assert f() == 1", "x = 2"], True),
        (["assert f() == 1", {"input": "f()", "expected": None}], True),
        (["unit", "integration"], False),
        ([{"input": "f()"}], False),
        (["assert f() == 1", 7], False),
        ("assert f() == 1", False),
        (None, False),
    ],
)
def test_tests_are_expressions_with_values_or_asserts(tests: Any, good: bool) -> None:
    assert are_tests(tests) is good


@pytest.mark.skipif(not SHARED.is_file(), reason="the MBPP problems are not here")
def test_all_of_mbpp_is_read_and_its_references_pass() -> None:
    rows, kept = examples(*map(json.loads, SHARED.read_text("utf-8").splitlines()))
    assert len(rows) == 974 and kept.unusable_tests == 0
    some = rows[::40]
    outcomes = sandbox.run_many([(row["answer"], row["tests"]) for row in some], workers=2, within="any")
    assert [row["id"] for row, outcome in zip(some, outcomes, strict=True) if outcome.status != "passed"] == []


STUB_OF_ADD = 'from typing import List\n\n\ndef add(x: int, y: int) -> int:\n    """Add."""\n'


@pytest.mark.parametrize(
    "code",
    [
        "    return x + y\n",
        "return x + y",
        "z = x\n    return z + y",
        "z = x\nreturn z + y",
        "def add(x, y):\n    return x + y",
        STUB_OF_ADD + "    return x + y",
    ],
)
def test_a_body_alone_stands_behind_the_beginning_of_its_function(code: str) -> None:
    names: dict[str, Any] = {}
    exec(completed(code, STUB_OF_ADD), names)
    assert names["add"](2, 3) == 5


def test_without_a_stub_a_program_stays_as_it_is() -> None:
    assert completed("return 1", None) == "return 1"
