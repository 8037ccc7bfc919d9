"""Programs that are the same compile to the same bytecode, whatever their locals are called."""

import ast
import dis
import io
import json
import keyword
import random
import tokenize
from importlib import resources
from types import CodeType

import pytest

from tailora.measure.metrics import extract_code
from tailora.measure.syntax import is_code, same_program


def bytecode(source):
    """Return what a program compiles to without docstrings (-OO): locals are numbers there, other names stay."""

    def shape(code):
        inner = tuple(shape(c) if isinstance(c, CodeType) else (type(c), c) for c in code.co_consts)
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_nlocals, code.co_flags)
        # Where a docstring stood, the compiler leaves an instruction that does nothing.
        steps = tuple((step.opname, step.arg) for step in dis.get_instructions(code) if step.opname != "NOP")
        return steps, inner, code.co_names, counts

    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None  # else the names of parameters are constants of the function around
    return shape(compile(tree, "", "exec", optimize=2))


SAME = [
    ("def f(a, b):\n    return a + b", "def f(x, y):\n    'Add.'\n    return x + y  # sum"),
    ("def f(n):\n    for i in range(n):\n        print(i)", "def f(m):\n    for k in range(m):\n        print(k)"),
    ("def f(s):\n    return [c for c in s if c]", "def f(text):\n    return [x for x in text if x]"),
    ("f = lambda x: x * 2", "f = lambda value: (value * 2)"),
    ("class A:\n    'Doc.'\n    def g(self):\n        return self.x", "class A:\n    def g(me):\n        return me.x"),
    ("def f():\n    try:\n        g()\n    except E as e:\n        h(e)",
     "def f():\n    try:\n        g()\n    except E as error:\n        h(error)"),
    ("print('a')", 'print("a")'),
    ("def f(*a, **k):\n    return a, k", "def f(*args, **rest):\n    return args, rest"),
    ("def f(x):\n    match x:\n        case [a, *b]:\n            return a, b",
     "def f(y):\n    match y:\n        case [c, *d]:\n            return c, d"),
    ("def f(x):\n    'only a docstring'", "def f(x):\n    pass"),
]  # fmt: skip
OTHER = [
    ("def f(a, b):\n    return a - b", "def f(a, b):\n    return b - a"),
    ("def f(a):\n    return a", "def g(a):\n    return a"),
    ("def f(x):\n    return y", "def f(y):\n    return y"),
    ("def f(x):\n    return g(x)", "def f(x):\n    return h(x)"),
    ("def f(x):\n    global n\n    n = x", "def f(x):\n    global m\n    m = x"),
    ("def f(x):\n    return x.a", "def f(x):\n    return x.b"),
    ("def f(*, key):\n    return key", "def f(*, other):\n    return other"),
    ("def f(a):\n    return 'a'", "def f(a):\n    return 'b'"),
    ("n = 1\nprint(n)", "m = 1\nprint(m)"),
    ("x = 1", "x = 1.0"),
    ("def f(x):\n    return [x for x in x]", "def f(x):\n    return [y for y in y]"),
    ("def f(a):\n    return a\nf(a=1)", "def f(b):\n    return b\nf(b=1)"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_locals_docstrings_and_layout_do_not_count(one, other):
    assert same_program(one, other) and same_program(other, one)
    if "def f(x):\n    'only" not in one:  # the compiler writes a docstring alone in another way than `pass`
        assert bytecode(one) == bytecode(other)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_everything_else_counts(one, other):
    assert not same_program(one, other) and not same_program(other, one)
    assert same_program(one, one) and same_program(other, other)


def test_nested_functions_and_closures_are_locals_too():
    one = "def f(n):\n    def g(k):\n        nonlocal n\n        n = n + k\n        return n\n    return g"
    other = "def f(a):\n    def inner(b):\n        nonlocal a\n        a = a + b\n        return a\n    return inner"
    assert same_program(one, other)
    assert not same_program(one, other.replace("return inner", "return a"))


@pytest.mark.parametrize("broken", ["", "def f(:", "x = 'open"])
def test_what_does_not_parse_is_the_same_as_nothing(broken):
    assert not same_program(broken, broken)
    assert not same_program(broken, "x = 1")


def renamed(code, name):
    """Rename every token `name`; nothing is known of scopes here."""
    tokens = [(t.type, "renamed" if t.string == name else t.string) for t in tokenize_all(code)]
    return tokenize.untokenize(tokens)


def annotations(code):
    """Return the names in annotations, which `bytecode` leaves out."""
    found = [getattr(node, "annotation", None) or getattr(node, "returns", None) for node in ast.walk(ast.parse(code))]
    return {node.id for part in found if part for node in ast.walk(part) if isinstance(node, ast.Name)}


def tokenize_all(code):
    return list(tokenize.generate_tokens(io.StringIO(code).readline))


def test_a_renamed_program_is_the_same_exactly_when_its_bytecode_is():
    path = resources.files("tailora") / "assets" / "data" / "python_qa" / "rows.jsonl"
    answers = [extract_code(json.loads(line)["output"]) for line in path.read_text("utf-8").splitlines()]
    draw, found = random.Random(0), {True: 0, False: 0}
    for code in draw.sample(answers, 400):
        names = sorted({t.string for t in tokenize_all(code) if t.type == tokenize.NAME} - set(keyword.kwlist))
        names = [name for name in names if name not in annotations(code)]
        other = renamed(code, draw.choice(names))
        same = same_program(code, other)
        assert same == (bytecode(code) == bytecode(other)), (code, other)
        found[same] += 1
    assert min(found.values()) > 50


@pytest.mark.parametrize("code", ["x = 1", "print(1)", "def f(): pass", "import os", "lambda x: x", "[i for i in x]"])
def test_programs_are_code(code):
    assert is_code(code)


@pytest.mark.parametrize(
    "text", ["Paris", "yes, no", "4", "2.0", "pass", "Note: important", "see [1]", "", "well-known"]
)
def test_labels_and_words_that_happen_to_parse_are_no_code(text):
    assert not is_code(text)
