"""Rows of program benchmarks in their own layouts → the columns that all rows have: prompt, answer, tests."""

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from tailora.data.read import SourceRow
from tailora.data.records import Notices

MBPP = "the layout of MBPP: the tests stand below the question, as its authors ask it"
HUMANEVAL = "the layout of HumanEval: the question is to complete the function, the answer is all of it"

STUB = "program_stub"
"""Column with the beginning of the function that an answer completes."""


def as_programs(rows: Iterable[SourceRow], notices: Notices) -> Iterator[SourceRow]:
    """Yield rows of MBPP and HumanEval with prompt, answer and tests; others as they are. Each layout is noticed.

    MBPP (Austin et al. 2021, arXiv 2108.07732, section 3): `text` or `prompt`, `code`, `test_list`, and what runs
    before the tests, `test_setup_code` or `test_imports`. HumanEval (Chen et al. 2021, arXiv 2107.03374): `prompt`,
    `canonical_solution`, `test`, `entry_point`.
    """
    for row in rows:
        for notice, layout in ((MBPP, _mbpp), (HUMANEVAL, _humaneval)):
            if values := layout(row.values):
                notices.add(notice, row.where)
                row = SourceRow(row.where, values)
                break
        yield row


def _mbpp(values: dict[str, Any]) -> dict[str, Any] | None:
    asked, tests = values.get("text") or values.get("prompt"), values.get("test_list")
    if not (isinstance(asked, str) and isinstance(values.get("code"), str) and isinstance(tests, list) and tests):
        return None
    listed = "\n".join(map(str, tests))
    before = [values.get("test_setup_code"), *(values.get("test_imports") or [])]
    setup = [text for text in before if isinstance(text, str) and text.strip()]
    return {
        **_named(values),
        "prompt": f"{asked}\nYour code should pass these tests:\n\n{listed}",
        "answer": values["code"],
        "tests": [*setup, *tests],
    }


def completed(code: str, stub: str | None) -> str:
    """Return `code`, behind the beginning of its function where it only goes on with that, as HumanEval has it."""
    names = re.findall(r"^def\s+(\w+)", stub or "", re.MULTILINE)
    if not names or re.search(rf"^def\s+{names[-1]}\b", code, re.MULTILINE):
        return code
    begun = f"{(stub or '').rstrip()}\n"
    for body in (code, f"    {code}", textwrap.indent(code, "    ")):  # the first line may have lost its indent
        with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            compile(begun + body, "<answer>", "exec", dont_inherit=True)  # parsing alone lets a `return` stand anywhere
            return begun + body
    return code


def _humaneval(values: dict[str, Any]) -> dict[str, Any] | None:
    wanted = ("prompt", "canonical_solution", "test", "entry_point")
    if not all(isinstance(values.get(name), str) for name in wanted):
        return None
    stub = values["prompt"]
    return {
        **_named(values),
        "prompt": f"Complete this function; write all of it, with its imports.\n\n```python\n{stub.rstrip()}\n```",
        "answer": f"{stub}{values['canonical_solution']}",
        STUB: stub,
        "tests": _asserts(values["test"], values["entry_point"]) or [values["test"], f"check({values['entry_point']})"],
    }


def _asserts(test: str, entry_point: str) -> list[str]:
    """Return what stands before `def check(candidate)`, and each assert in it; empty where it holds anything else.

    What an assert that stands alone expects is compared outside of the program, which cannot read it there.
    """
    try:
        *before, check = ast.parse(test).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    if not (isinstance(check, ast.FunctionDef) and check.name == "check" and len(check.args.args) == 1):
        return []
    if not all(isinstance(statement, ast.Assert) for statement in check.body):
        return []
    candidate = check.args.args[0].arg
    for node in ast.walk(check):
        if isinstance(node, ast.Name) and node.id == candidate:
            node.id = entry_point
    return [*map(ast.unparse, [*before, *check.body])]


def _named(values: dict[str, Any]) -> dict[str, Any]:
    name = values.get("task_id", values.get("id"))
    return {} if name is None else {"id": str(name)}
