"""Real processes: honest programs, broken ones, and ones that cheat."""

import json
import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailora.sandbox import Outcome, run_many, run_tests
from tailora.sandbox.checks import Check, is_right
from tailora.sandbox.worker import decode, encode, find_unfit

ADD = "def f(x):\n    return x + 1"
ONE = [{"input": "f(1)", "expected": 2}]


def returning(expression):
    return f"def f(x):\n    return {expression}"


def test_a_right_program_passes_all_its_tests():
    tests = [{"input": f"f({n})", "expected": n + 1} for n in range(5)]
    assert run_tests(ADD, tests) == Outcome("passed", 5, 5)


def test_a_wrong_value_fails_and_the_other_tests_still_count():
    tests = [
        {"input": "f(1)", "expected": 2},
        {"input": "f(5)", "expected": 7},
        {"input": "f(2)", "expected": 3},
    ]
    assert run_tests(ADD, tests) == Outcome("failed", 2, 3, "f(5) gave 6, expected 7")


def test_an_exception_in_one_test_leaves_the_others():
    tests = [
        {"input": "f(1)", "expected": 2},
        {"input": "f('')", "expected": 2},
        {"input": "f(2)", "expected": 3},
    ]
    outcome = run_tests(ADD, tests)
    assert (outcome.status, outcome.passed) == ("error", 2)
    assert outcome.detail.startswith("TypeError: ")


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        ("raise KeyError('k')", "KeyError: 'k'"),
        ("def f(x) return x", "SyntaxError: "),
        ("\0", "SyntaxError: "),
        ("\ud800", "UnicodeEncodeError: "),
        ("g = 1", "NameError: name 'f' is not defined"),
        ("import numpy", "ModuleNotFoundError: No module named 'numpy'"),
        ("input()", "EOFError: "),
        ("import sys\nsys.exit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("class E(Exception):\n    def __str__(self):\n        raise self\nraise E", "E"),
        ("def f(x):\n    return f(x)", "RecursionError: "),
        ("import os\nos._exit(0)", "ended by itself with exit code 0"),
        ("import os\nos.abort()", "ended by SIGABRT"),
        ("", "the program is empty"),
        (" \n", "the program is empty"),
    ],
)
def test_a_program_that_cannot_answer_is_an_error_that_says_why(code, detail):
    outcome = run_tests(code, ONE)
    assert (outcome.status, outcome.passed, outcome.total) == ("error", 0, 1)
    assert outcome.detail.startswith(detail)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("True", 1),
        ("1", True),
        ("1", 1.0),
        ("1.0", 1),
        ("'1'", 1),
        ("None", False),
        ("(1, 2)", [1, 2]),
        ("[1, True]", [1, 1]),
        ("[1, 2, 3]", [1, 2]),
        ("{1: 2}", {"1": 2}),
        ("{'a': 1.0}", {"a": 1}),
        ("{'a': 1, 'b': 2}", {"a": 1}),
        ("{1, 2}", [1, 2]),
        ("float('nan')", float("nan")),
        ("[float('nan')]", [float("nan")]),
        ("2 ** 20_000", 2),
        ("type('Int', (int,), {})(2)", 2),
        ("type('Str', (str,), {})('a')", "a"),
    ],
)
def test_a_value_of_another_type_is_not_the_value(given, expected):
    assert run_tests(returning(given), [{"input": "f(0)", "expected": expected}]).status == "failed"


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -3,
        10**4000,
        0.1,
        float("inf"),
        "\n\0\u202e\ud800",
        [],
        {},
        {"a": [1, {"b": None}]},
        "x" * 200_000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_json_values_come_back_as_they_are_however_long(value):
    code = returning(repr(value) if value != float("inf") else "float('inf')")
    assert run_tests(code, [{"input": "f(0)", "expected": value}]) == Outcome("passed", 1, 1)


def test_an_object_that_equals_everything_fails():
    code = "class Yes:\n    def __eq__(self, other):\n        return True\ndef f(x):\n    return Yes()"
    assert run_tests(code, ONE) == Outcome("failed", 0, 1, "f(1) gave a value of type Yes, expected 2")


def test_values_nested_too_deep_or_in_a_circle_fail():
    deep = "def f(x):\n    a = []\n    for _ in range(5000):\n        a = [a]\n    return a"
    circle = "def f(x):\n    a = []\n    a.append(a)\n    return a"
    for code in (deep, circle):
        assert run_tests(code, ONE).detail == "f(1) gave a value nested too deep, expected 2"


def test_an_endless_loop_is_stopped_at_the_limit():
    start = time.monotonic()
    tests = [*ONE, {"input": "f(-1)", "expected": 0}]
    outcome = run_tests("def f(x):\n    while x < 0:\n        pass\n    return x + 1", tests, seconds=0.5)
    assert outcome == Outcome("timeout", 1, 2, "stopped at the time limit")
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("bomb", ["bytearray(10 ** 11)", "bytes(10 ** 6)", "object()"])
def test_a_memory_bomb_gets_no_memory(bomb):
    outcome = run_tests(f"x = []\nwhile True:\n    x.append({bomb})", ONE, memory_bytes=128 * 2**20)
    assert outcome == Outcome("error", 0, 1, "MemoryError")


def test_printing_neither_harms_nor_helps():
    noisy = "import sys\nprint('x' * 10 ** 7)\nprint('x' * 10 ** 6, file=sys.stderr)\n" + ADD
    assert run_tests(noisy, ONE).status == "passed"


def test_a_value_far_beyond_the_expected_one_is_cut_off():
    outcome = run_tests(returning("'x' * 10 ** 7"), ONE)
    assert outcome == Outcome("error", 0, 1, "stopped for sending too much")


ALL_PIPES = """
import os
def tell(line):
    for number in range(256):
        try:
            os.write(number, line)
        except OSError:
            pass
"""


@pytest.mark.parametrize("token", ["", "0" * 32, "passed"])
def test_forged_result_lines_do_not_pass(token):
    lines = f'["{token}", 0, "value", 2]\n["{token}", "end", "value", null]\n'
    forged = f"{ALL_PIPES}print('passed')\ntell({lines.encode()!r})\nos._exit(0)"
    assert run_tests(forged, ONE) == Outcome("error", 0, 1, "ended by itself with exit code 0")


def test_rubbish_in_the_result_pipe_does_not_hide_honest_results():
    rubbish = b'\xff[[[{"a":\n' + b"[" * 5000 + b"\n[1]\n5\n[[], [], [], []]\nhalf a line"
    code = f"{ALL_PIPES}\ndef f(x):\n    tell({rubbish!r})\n    return x + 1"
    assert run_tests(code, ONE) == Outcome("passed", 1, 1)


def test_a_flood_in_the_result_pipe_is_stopped():
    start = time.monotonic()
    outcome = run_tests(ALL_PIPES + "while True:\n    tell(b'x' * 4096)", ONE)
    assert outcome == Outcome("error", 0, 1, "stopped for sending too much")
    assert time.monotonic() - start < 4


@pytest.mark.parametrize("ending", [ADD, "os._exit(3)"])
def test_a_child_left_behind_neither_hangs_the_parent_nor_stays(ending):
    code = f"import os, time\nif os.fork() == 0:\n    time.sleep(60)\n    os._exit(0)\n{ending}"
    start = time.monotonic()
    outcome = run_tests(code, ONE, seconds=1, within="limits")
    assert time.monotonic() - start < 3
    assert outcome.status == ("passed" if ending == ADD else "timeout")


def test_a_program_that_closes_its_pipe_and_runs_on_is_stopped_at_the_limit():
    outcome = run_tests("import os, time\nos.closerange(3, 4096)\ntime.sleep(60)", ONE, seconds=0.5)
    assert outcome == Outcome("timeout", 0, 1, "stopped at the time limit")


def test_what_a_program_starts_is_killed_with_it(tmp_path):
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    code = f"""
import os, time
ready, tell = os.pipe()
if os.fork() == 0:
    os.write(os.open({str(fifo)!r}, os.O_WRONLY), b"x")
    os.write(tell, b"x")
    time.sleep(60)
os.read(ready, 1)
"""
    try:
        assert run_tests(code + ADD, ONE, within="limits").status == "passed"
        assert os.read(reading, 1) == b"x"  # it has lived
        assert closes_within(reading, 5)
    finally:
        os.close(reading)


def closes_within(fifo, seconds):
    """Say whether nobody holds the writing end of `fifo` any more, waiting for some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            return os.read(fifo, 1) == b""
        except BlockingIOError:
            time.sleep(0.02)
    return False


@pytest.mark.parametrize(("within", "listed"), [("strong", "PermissionError"), ("limits", ["file"])])
def test_nothing_of_ours_leaks_into_the_program_and_nothing_it_writes_stays(within, listed):
    code = """
import os, sys
def attempt(work):
    try:
        return work()
    except OSError as error:
        return type(error).__name__
def write():
    with open("file", "w") as file:
        file.write("x")
def f(x):
    wrote = attempt(write)
    return [dict(os.environ), wrote in ("OSError", "PermissionError"), attempt(os.listdir), __name__, sys.argv]
"""
    tests = [{"input": "f(0)", "expected": [{}, True, listed, "answer", ["-c"]]}]
    assert run_tests(code, tests, within=within) == Outcome("passed", 1, 1)


def test_the_order_of_a_set_is_the_same_in_every_run():
    tests = [{"input": "''.join(set('abcdefghijklmnop'))", "expected": ""}]
    assert len({run_tests("pass", tests).detail for _ in range(4)}) == 1


def test_dataclasses_and_annotations_work_as_in_a_module():
    lazy = "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n"
    assert run_tests(lazy + "def f(x):\n    return P(x).x + 1", ONE).status == "passed"
    eager = "def f(x: int):\n    return f.__annotations__['x'] is int"
    assert run_tests(eager, [{"input": "f(0)", "expected": True}]).status == "passed"


def test_a_main_guard_does_not_run():
    assert run_tests(ADD + "\nif __name__ == '__main__':\n    input()", ONE).status == "passed"


def test_the_detail_is_one_short_line_without_control_characters():
    detail = run_tests("raise ValueError('a\\x1b[31m\\nb\\u202ec' + 'd' * 1000)", ONE).detail
    assert detail.startswith("ValueError: a [31m b c")
    assert len(detail) <= 200


@pytest.mark.parametrize(
    ("test", "right", "wrong"),
    [
        ("assert f() == 3", ["3", "3.0", "True + 2"], ["4", "'3'", "[3]", "None"]),
        ("assert 3 == f(), 'three'", ["3"], ["4"]),
        ("assert f() == (1, [2])", ["(1, [2])", "(1.0, [2])"], ["[1, [2]]", "(1, (2,))"]),
        ("assert f() == {1, 2}", ["{2, 1}", "frozenset([1, 2])"], ["[1, 2]", "(1, 2)"]),
        ("assert f() == set()", ["set()"], ["{}", "[]", "None"]),
        (
            "assert f() == {'a': {1: 'b'}}",
            ["{'a': {1: 'b'}}", "__import__('collections').OrderedDict(a={1: 'b'})"],
            ["{}"],
        ),
        (
            "assert f() == {'a': 2}",
            ["__import__('collections').Counter('aa')"],
            ["__import__('collections').Counter('a')"],
        ),
        ("assert f() == b'a'", ["b'a'"], ["'a'"]),
        ("assert f() == -1.5 + 2j", ["-1.5 + 2j"], ["-1.5"]),
        ("assert f() is None", ["None"], ["0", "False"]),
        ("assert f() is True", ["True"], ["1"]),
        ("assert f() == True", ["True", "1"], ["2", "'True'"]),
        ("assert f()", ["1", "[0]"], ["0", "''", "None"]),
        ("assert not f()", ["0", "[]"], ["1"]),
        ("assert f() != 3", ["4", "object()"], ["3"]),
        ("assert f() in (1, 'a')", ["1", "1.0", "'a'"], ["2", "None", "[]"]),
        ("assert f() in {1, 2}", ["1"], ["3", "frozenset()"]),
        ("assert f() == set([1, 2])", ["{2, 1}", "frozenset([1, 2])"], ["[1, 2]", "None"]),
        ("assert f() == range(2)", ["range(2)", "range(0, 2, 1)"], ["range(3)", "[0, 1]"]),
        ("assert f() == f()", ["[0]", "1j", "int"], ["object()", "float('nan')"]),
        ("assert f() == f() == 1", ["1"], ["2"]),
        ("assert 1 < f() <= 3", ["2"], ["1", "4"]),
        ("import math\nassert math.isclose(f(), 0.3)", ["0.1 + 0.2"], ["0.31"]),
        ("def check(g):\n    assert g() == 1\n\ncheck(f)", ["1"], ["2"]),
        ("\r\nassert f() == 1  \r\n", ["1"], ["2"]),
    ],
)
def test_an_assert_passes_as_it_does_in_python(test, right, wrong):
    values = [*right, *wrong]
    jobs = [(f"def f():\n    return {value}", [test]) for value in values]
    outcomes = run_many(jobs, workers=1)
    assert dict(zip(values, [o.status == "passed" for o in outcomes], strict=True)) == {
        value: holds(code, test) for value, (code, _) in zip(values, jobs, strict=True)
    }
    assert [o.status for o in outcomes] == ["passed"] * len(right) + ["failed"] * len(wrong)


def holds(code, test):
    """Say whether the test of a harmless program holds, by running both right here."""
    try:
        exec(f"{code}\n{test}", {})
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("test", ["assert g(", "assert g() == 1", "assert f() == 1 / 0", "raise KeyError", "\0"])
def test_a_test_that_cannot_be_evaluated_is_an_error(test):
    assert run_tests("def f():\n    return 1", [test]).status == "error"


def plain(numbers):
    keys = st.integers() | st.text()
    lone = st.sets(keys | numbers, max_size=1).map(lambda parts: [parts, frozenset(parts)])
    return st.recursive(
        st.none() | st.booleans() | st.integers() | numbers | st.text() | st.binary() | lone,
        lambda parts: st.lists(parts) | st.lists(parts).map(tuple) | st.dictionaries(keys, parts),
        max_leaves=8,
    )


@given(plain(st.floats() | st.complex_numbers()))
def test_plain_values_travel_unchanged(value):
    assert find_unfit(value) == ""
    assert repr(decode(json.loads(json.dumps(encode(value))))) == repr(value)


@given(plain(st.floats(allow_nan=False)), plain(st.floats(allow_nan=False)))
def test_values_of_an_assert_are_compared_as_python_does(value, other):
    for expected in (value, other):
        check = Check("f()", expected, "==")
        assert is_right(check, decode(json.loads(json.dumps(encode(value))))) == (value == expected)


def test_a_message_names_an_assert_as_it_was_written():
    tests = ["assert f() == sum([1, 2])", "assert not f()", "assert f() in [1]", "assert f()[0]"]
    outcomes = [run_tests("def f():\n    return [0]", [test]).detail for test in tests]
    assert outcomes == [
        "f() == sum([1, 2]) gave False, expected True",
        "not f() gave False, expected True",
        "f() gave [0], expected one of [1]",
        "f()[0] gave False, expected True",
    ]


MBPP = Path(__file__).parents[3] / "shared" / "data" / "mbpp" / "mbpp.jsonl"


@pytest.mark.skipif(not MBPP.is_file(), reason="the MBPP problems are not here")
def test_reference_solutions_of_mbpp_pass_their_asserts_and_broken_ones_do_not():
    rows = [json.loads(line) for line in MBPP.read_text("utf-8").splitlines()][::16]
    right = [(f"{row['code']}\n{row['test_setup_code']}", row["test_list"]) for row in rows]
    broken = [(re.sub(r"\breturn\b.*", "return 'broken'", code), tests) for code, tests in right]
    outcomes = run_many(right + broken, workers=2, seconds=20)
    assert [outcome for outcome in outcomes[: len(rows)] if outcome.status != "passed"] == []
    assert [outcome for outcome in outcomes[len(rows) :] if outcome.status == "passed"] == []


def test_without_tests_nothing_is_run_and_nothing_passes():
    assert run_tests("raise SystemExit", []) == Outcome("not run", 0, 0, "there are no tests")


def test_a_sandbox_that_does_not_start_blames_nobody():
    outcome = run_tests(ADD, ONE, seconds=0.0001)
    assert (outcome.status, outcome.passed, outcome.total) == ("not run", 0, 1)
    assert outcome.detail.startswith("the sandbox did not start")


def test_many_jobs_keep_their_order_and_report_progress_once_each():
    jobs = [(returning(str(number)), [{"input": "f(0)", "expected": number % 3}]) for number in range(9)]
    ticks = []
    outcomes = run_many(jobs, workers=3, progress=lambda: ticks.append(1))
    assert [outcome.status for outcome in outcomes] == ["passed"] * 3 + ["failed"] * 6
    assert len(ticks) == 9
    assert run_many([], workers=1) == []


def test_a_slow_job_does_not_hold_up_the_others():
    start = time.monotonic()
    outcomes = run_many([("while True: pass", ONE)] * 4, workers=4, seconds=1)
    assert [outcome.status for outcome in outcomes] == ["timeout"] * 4
    assert time.monotonic() - start < 3


def test_open_files_do_not_add_up():
    before = len(os.listdir("/dev/fd"))
    run_many([(ADD, ONE), ("import os; os._exit(1)", ONE)] * 3, workers=2)
    assert len(os.listdir("/dev/fd")) == before


NAMED = "from collections import namedtuple\nP = namedtuple('P', 'x y', defaults=[2, 2])\ndef f(x): return "
ENUMS = "from enum import Enum, IntEnum, IntFlag, StrEnum\n"
RIGHT = {
    "a named tuple": (NAMED + "P(1, 2)", "(1, 2)"),
    "a named tuple in a dict": (NAMED + "{P(1): [P(3)]}", "{(1, 2): [(3, 2)]}"),
    "typing.NamedTuple": ("import typing\nclass P(typing.NamedTuple):\n    x: int\ndef f(x): return P(1)", "(1,)"),
    "IntEnum": (ENUMS + "class C(IntEnum):\n    A = 3\ndef f(x): return C.A", "3"),
    "StrEnum": (ENUMS + "class C(StrEnum):\n    A = 'a'\ndef f(x): return [C.A]", "['a']"),
    "IntFlag": (ENUMS + "class C(IntFlag):\n    A = 1\n    B = 2\ndef f(x): return C.A | C.B", "3"),
    "a Fraction": ("from fractions import Fraction\ndef f(x): return Fraction(1, 2)", "0.5"),
    "a whole Fraction": ("from fractions import Fraction\ndef f(x): return [Fraction(4, 2)]", "[2]"),
    "a Decimal": ("from decimal import Decimal\ndef f(x): return Decimal('1.25')", "1.25"),
    "keys": ("def f(x): return {'a': 1, 'b': 2}.keys()", "{'a', 'b'}"),
    "items": ("def f(x): return {'a': 1}.items()", "{('a', 1)}"),
    "OrderedDict": ("from collections import OrderedDict\ndef f(x): return OrderedDict(a=1)", "{'a': 1}"),
    "Counter": ("from collections import Counter\ndef f(x): return Counter('aab')", "{'a': 2, 'b': 1}"),
    "a subclass of list": ("class L(list): pass\ndef f(x): return L([1, (2,)])", "[1, (2,)]"),
    "a subclass of str": ("class S(str): pass\ndef f(x): return {S('k'): S('v')}", "{'k': 'v'}"),
    "a subclass of float": ("class F(float): pass\ndef f(x): return F(2.5)", "2.5"),
    "a subclass of set": ("class S(set): pass\ndef f(x): return S({1})", "{1}"),
    "bool in a list": ("def f(x): return [True]", "[1]"),
    "complex": ("def f(x): return 1 + 2j", "(1+2j)"),
    "bytes": ("class B(bytes): pass\ndef f(x): return B(b'x')", "b'x'"),
    "bytearray": ("def f(x): return [bytearray(b'x')]", "[b'x']"),
    "memoryview": ("def f(x): return memoryview(b'x')", "b'x'"),
    "UserDict": ("from collections import UserDict\ndef f(x): return UserDict(a=(1,))", "{'a': (1,)}"),
    "UserList": ("from collections import UserList\nclass L(UserList): pass\ndef f(x): return L([1])", "[1]"),
    "UserString": ("from collections import UserString\ndef f(x): return UserString('ab')", "'ab'"),
    "ChainMap": ("from collections import ChainMap\ndef f(x): return ChainMap({1: 2}, {3: 4})", "{1: 2, 3: 4}"),
    "a read-only dict": ("from types import MappingProxyType as M\ndef f(x): return M({1: 2})", "{1: 2}"),
    "ordered keys": ("from collections import OrderedDict as O\ndef f(x): return O(a=1).keys()", "{'a'}"),
    "ordered items": ("from collections import OrderedDict as O\ndef f(x): return O(a=1).items()", "{('a', 1)}"),
    "an infinite Decimal": ("from decimal import Decimal\ndef f(x): return -Decimal('inf')", "-1e999"),
    "an ellipsis": ("def f(x): return [...]", "[...]"),
}
WRONG = {
    "values are no list": ("def f(x): return {'a': 1}.values()", "[1]"),
    "a range is no list": ("def f(x): return range(3)", "[0, 1, 2]"),
    "a deque is no list": ("from collections import deque\ndef f(x): return deque([1])", "[1]"),
    "0.1 is no Decimal of it": ("from decimal import Decimal\ndef f(x): return Decimal('0.1')", "0.1"),
    "a third is no float": ("from fractions import Fraction\ndef f(x): return Fraction(1, 3)", "0.3333333333333333"),
    "an Enum is not its value": (ENUMS + "class C(Enum):\n    A = 3\ndef f(x): return C.A", "3"),
    "no number": ("from decimal import Decimal\ndef f(x): return Decimal('nan')", "1"),
    "a memoryview of numbers": (
        "from array import array\ndef f(x): return memoryview(array('h', [1]))",
        r"b'\x01\x00'",
    ),
    "no ellipsis": ("def f(x): return 1", "..."),
    "a UserList's own __eq__": (
        "from collections import UserList\nclass L(UserList):\n    def __eq__(self, other): return True\n"
        "def f(x): return L()",
        "[1]",
    ),
    "its own __eq__": ("class T(tuple):\n    def __eq__(self, other): return True\ndef f(x): return T()", "(1, 2)"),
    "its own __int__": ("class I(int):\n    def __int__(self): return 5\ndef f(x): return I(3)", "5"),
    "its own __iter__": ("class L(list):\n    def __iter__(self): return iter([1])\ndef f(x): return L([2])", "[1]"),
    "its own items": ("class D(dict):\n    def items(self): return [(1, 1)]\ndef f(x): return D()", "{1: 1}"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_python_calls_equal_passes(name):
    code, literal = RIGHT[name]
    names = {}
    exec(code, names)
    assert eval(f"f(0) == {literal}", names)  # the reference: Python itself
    assert run_tests(code, [f"assert f(0) == {literal}"]).status == "passed"


@pytest.mark.parametrize("name", WRONG)
def test_what_python_calls_different_fails_and_so_does_an_object_that_lies(name):
    code, literal = WRONG[name]
    assert run_tests(code, [f"assert f(0) == {literal}"]).status == "failed"


@pytest.mark.parametrize("expression", ["Fraction(1, 2)", "Decimal('0.1')", "date(2026, 1, 2)", "P(1)", "range(3)"])
def test_equal_values_of_one_type_of_the_standard_library_pass_as_asserts(expression):
    code = (
        "from fractions import Fraction\nfrom decimal import Decimal\nfrom datetime import date\n"
        f"from collections import namedtuple\nP = namedtuple('P', 'x')\ndef f(x):\n    return {expression}"
    )
    assert run_tests(code, [f"assert f(0) == {expression}"]).status == "passed"
    assert run_tests(code, [f"assert [f(0)] == [{expression}]"]).status == "passed"


def test_twenty_threads_fit_into_the_usual_memory_limit():
    code = (
        "import threading, time\nfound = []\n"
        "def work():\n    found.append(len([bytearray(1000) for _ in range(100)]))\n    time.sleep(0.1)\n"
        "def f(x):\n    threads = [threading.Thread(target=work) for _ in range(x)]\n"
        "    [thread.start() for thread in threads]\n    [thread.join() for thread in threads]\n    return len(found)"
    )
    assert run_tests(code, [{"input": "f(20)", "expected": 20}], memory_bytes=512 << 20).status == "passed"


@pytest.mark.parametrize("within", ["strong", "limits"])
def test_a_stop_ends_what_runs_and_does_not_wait_for_it(within):
    endless, hour = "while True: pass", 3600.0  # one that waited would take that long

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_many([(ADD, ONE), (endless, ONE)], workers=2, progress=stop, seconds=hour, within=within)
    assert run_tests(ADD, ONE, within=within) == Outcome("passed", 1, 1)
