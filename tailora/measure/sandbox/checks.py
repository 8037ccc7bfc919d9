"""What a test asks of a program, and whether a value that came back is the right one."""

import ast
from typing import Any, Literal, NamedTuple, TypedDict


class Case(TypedDict):
    """A Python expression over the names that the program defines, and the JSON value it must have."""

    input: str
    expected: Any


class Check(NamedTuple):
    """What the child evaluates or executes, and what must come back.

    `exact`: types count too, so that True is not 1, 1 is not 1.0 and a tuple is not a list; else Python's `==`.
    """

    source: str
    expected: Any
    exact: bool = True
    mode: Literal["eval", "exec"] = "eval"


def to_check(test: Case | str) -> Check:
    """Return the check of a test; one given as text is an assert or other statements.

    `assert a == b`, with a literal on one side, is a comparison of values by Python's `==`; `is` counts types. Of
    any other assert only its truth comes back; other statements pass when they reach their end.
    """
    if not isinstance(test, str):
        return Check(test["input"], test["expected"])
    try:
        statements = ast.parse(test.strip()).body
        if len(statements) == 1 and isinstance(statements[0], ast.Assert):
            return _check_of(statements[0].test)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass  # the child says what is wrong with it
    return Check(test, None, mode="exec")


def _check_of(condition: ast.expr) -> Check:
    if isinstance(condition, ast.Compare) and len(condition.ops) == 1:
        exact = isinstance(condition.ops[0], ast.Is)
        if exact or isinstance(condition.ops[0], ast.Eq):
            sides = (condition.left, condition.comparators[0])
            for given, expected in (sides, sides[::-1]):
                try:
                    return Check(ast.unparse(given), ast.literal_eval(expected), exact)
                except (ValueError, TypeError):  # no literal
                    continue
    if isinstance(condition, ast.UnaryOp) and isinstance(condition.op, ast.Not):
        return Check(ast.unparse(condition), True)
    return Check(f"not not ({ast.unparse(condition)})", True)


def is_right(check: Check, value: Any) -> bool:
    """Say whether `value`, made of plain types, is what `check` asks for; NaN is nothing, not even itself."""
    return _same(check.expected, value) if check.exact else bool(check.expected == value)


def _same(expected: Any, value: Any) -> bool:
    if type(expected) is not type(value):
        return False
    if isinstance(expected, list | tuple):
        return len(expected) == len(value) and all(map(_same, expected, value))
    if isinstance(expected, dict):
        return expected.keys() == value.keys() and all(_same(expected[key], value[key]) for key in expected)
    return bool(expected == value)
