"""What a test asks of a program, and whether a value that came back is the right one."""

import ast
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal, NamedTuple, TypedDict

from tailora.sandbox.worker import EQUAL, find_unfit


class Case(TypedDict):
    """A Python expression over the names that the program defines, and the JSON value it must have."""

    input: str
    expected: Any


class Check(NamedTuple):
    """What the child evaluates or executes, and what must come back.

    `relation` of the value to `expected`: "is" counts types too, so that True is not 1, 1 is not 1.0 and a tuple is not
    a list; "==" and "in" are Python's.
    """

    source: str
    expected: Any
    relation: Literal["is", "==", "in"] = "is"
    mode: Literal["eval", "exec"] = "eval"
    told: str = ""
    """How messages name it, where that is not `source`."""


def to_check(test: Case | str) -> Check:
    """Return the check of a test; one given as text is an assert or other statements.

    `assert a == b`, with a literal on one side, is a comparison of values by Python's `==`, and `assert a in b` with a
    literal b one by `in`; `is` counts types. Of any other assert only its truth comes back; other statements pass when
    they reach their end. What these compare by `==` in the child is compared by its `is_equal`.
    """
    if not isinstance(test, str):
        return Check(test["input"], test["expected"])
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):  # the child says what is wrong with it
        tree = ast.parse(test.strip())
        if len(tree.body) == 1 and isinstance(tree.body[0], ast.Assert):
            return _check_of(tree.body[0].test)
        return Check(_with_equal(tree), None, mode="exec")
    return Check(test, None, mode="exec")


def _check_of(condition: ast.expr) -> Check:
    if isinstance(condition, ast.Compare) and len(condition.ops) == 1:
        for given, relation, literal in _readings(condition):
            with suppress(ValueError, TypeError):  # no literal
                expected = ast.literal_eval(literal)
                if not find_unfit(expected):  # an ellipsis is a literal, and does not travel
                    return Check(ast.unparse(given), expected, relation)
    told = ast.unparse(condition)
    if isinstance(condition, ast.UnaryOp) and isinstance(condition.op, ast.Not):
        return Check(_with_equal(condition), True, told=told)
    return Check(f"not not ({_with_equal(condition)})", True, told=told)


def _readings(compared: ast.Compare) -> Iterator[tuple[ast.expr, Literal["is", "==", "in"], ast.expr]]:
    """Yield how a comparison may be read: what is asked of the program, its relation, and what may be a literal."""
    left, right = compared.left, compared.comparators[0]
    match compared.ops[0]:
        case ast.Eq():
            yield from ((left, "==", right), (right, "==", left))
        case ast.Is():
            yield from ((left, "is", right), (right, "is", left))
        case ast.In():
            yield left, "in", right


class _Guarded(ast.NodeTransformer):
    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        match node.ops:
            case [ast.Eq() | ast.NotEq() as operator]:
                name = ast.Name(EQUAL, ast.Load())
                equal = ast.Call(name, [node.left, *node.comparators], [])
                return equal if isinstance(operator, ast.Eq) else ast.UnaryOp(ast.Not(), equal)
        return node


def _with_equal(tree: ast.AST) -> str:
    """Return the source of `tree` with each `a == b` asked of `is_equal`: an object's own `__eq__` may say anything."""
    return ast.unparse(_Guarded().visit(tree))


def is_right(check: Check, value: Any) -> bool:
    """Say whether `value`, made of plain types, is what `check` asks for; NaN is nothing, not even itself."""
    with suppress(Exception):  # what cannot be compared, such as a list in a set, is not right
        if check.relation == "is":
            return _same(check.expected, value)
        return bool(check.expected == value if check.relation == "==" else value in check.expected)
    return False


def _same(expected: Any, value: Any) -> bool:
    if type(expected) is not type(value):
        return False
    if isinstance(expected, list | tuple):
        return len(expected) == len(value) and all(map(_same, expected, value))
    if isinstance(expected, dict):
        return expected.keys() == value.keys() and all(_same(expected[key], value[key]) for key in expected)
    return bool(expected == value)
