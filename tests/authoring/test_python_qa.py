"""Laws of the bundled data set python_qa. The answers are our own code, so they run in this process."""

import ast
import json
from collections import Counter, defaultdict
from functools import cache
from itertools import permutations
from string import Template
from typing import Any

from authoring.python_qa import write
from authoring.python_qa.families import all_families
from authoring.python_qa.family import COLUMNS, Row, ask, split_phrasings


@cache
def rows() -> tuple[Row, ...]:
    return tuple(json.loads(line) for line in (write.FOLDER / "rows.jsonl").read_text("utf-8").splitlines())


def code(row: Row) -> str:
    fence, body, end = "```python\n", row["output"], "\n```"
    assert body.startswith(fence) and body.endswith(end), row["id"]
    return body[len(fence) : -len(end)]


def representatives() -> dict[str, list[Row]]:
    """The rows of each family, one per distinct answer."""
    found: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows():
        found[row["family"]].setdefault(row["output"], row)
    return {family: list(by_output.values()) for family, by_output in found.items()}


def same(got: Any, expected: Any) -> bool:
    """Equality with exact types, through all levels."""
    if type(got) is not type(expected):
        return False
    if isinstance(got, list):
        return len(got) == len(expected) and all(map(same, got, expected))
    if isinstance(got, dict):
        return (
            list(map(type, got)) == [str] * len(got)
            and got.keys() == expected.keys()
            and all(same(got[key], expected[key]) for key in got)
        )
    return bool(got == expected)


def passes(source: str | ast.Module, tests: list[dict[str, Any]]) -> bool:
    namespace: dict[str, Any] = {"__name__": "answer"}
    try:
        exec(compile(source, "<answer>", "exec"), namespace)
        return all(same(eval(test["input"], namespace), test["expected"]) for test in tests)
    except Exception:  # a wrong answer may fail in any way
        return False


class Erase(ast.NodeTransformer):
    """Blank out identifiers; constants and annotations too, unless only names are to go."""

    def __init__(self, constants: bool = True) -> None:
        self.constants = constants

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Visit the children first, then blank out this node."""
        super().generic_visit(node)
        for field in ("id", "attr", "name", "arg", "asname", "module"):
            if isinstance(getattr(node, field, None), str):
                setattr(node, field, "_")
        if self.constants:
            if isinstance(node, ast.Constant):
                node.value, node.kind = 0, None
            if isinstance(node, ast.arg):
                node.annotation = None
            if isinstance(node, ast.FunctionDef):
                node.returns = None
        return node


def skeleton(source: str, constants: bool = True) -> str:
    return ast.dump(Erase(constants).visit(ast.parse(source)))


def replace_bodies(source: str, make_body: Any) -> ast.Module:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body = make_body(node)
    return ast.fix_missing_locations(tree)


def defined_names(source: str) -> list[str]:
    return [n.name for n in ast.parse(source).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]


def test_generator_gives_the_committed_bytes() -> None:
    made = write.all_rows()
    assert write.rows_text(made) == (write.FOLDER / "rows.jsonl").read_text("utf-8")
    assert write.card_text(made) == (write.FOLDER / "README.md").read_text("utf-8")


def test_counts_are_as_promised() -> None:
    assert len(rows()) >= 3400
    assert len(representatives()) >= 90
    assert len({row["topic"] for row in rows()}) >= 14
    assert {name: len(found) for name, found in representatives().items() if len(found) < 14} == {}
    assert sum(len({row["input"] for row in found} - {""}) > 0 for found in representatives().values()) >= 8


def test_families_have_one_name_and_six_phrasings() -> None:
    names = Counter(family.name for family in all_families())
    assert [name for name, count in names.items() if count > 1] == []
    assert [f.name for f in all_families() if len(set(split_phrasings(f))) < 6] == []


def test_every_phrasing_tells_every_setting_apart() -> None:
    confused = []
    for family in all_families():
        for phrasing in split_phrasings(family):
            asked = {ask(phrasing + family.input, s) for s in family.settings}
            answers = {Template(family.answer).substitute(s) for s in family.settings}
            if not len(asked) == len(answers) == len(family.settings):
                confused.append((family.name, phrasing))
    assert confused == []


def test_columns_are_exact() -> None:
    for row in rows():
        assert tuple(row) == COLUMNS
        assert all(isinstance(row[column], str) for column in COLUMNS[:-1])  # type: ignore[literal-required]
        assert row["id"].startswith(f"{row['topic']}/{row['family']}/")
        assert 3 <= len(row["tests"]) <= 5, row["id"]
        assert all(list(test) == ["input", "expected"] for test in row["tests"])


def test_ids_and_prompts_are_unique() -> None:
    assert len({row["id"] for row in rows()}) == len(rows())
    assert len({(row["instruction"], row["input"]) for row in rows()}) == len(rows())


def test_question_names_what_the_tests_call() -> None:
    for row in rows():
        assert any(f"`{name}" in row["instruction"] for name in defined_names(code(row))), row["id"]
        assert all(any(name in test["input"] for name in defined_names(code(row))) for test in row["tests"])


def test_answers_are_fenced_short_and_parse() -> None:
    for row in rows():
        ast.parse(code(row))
        assert len(row["output"]) <= 600, row["id"]
        assert max(map(len, code(row).splitlines())) <= 100, row["id"]
        assert "$" not in row["instruction"] or "$" in row["output"], row["id"]


def test_answers_pass_their_own_tests() -> None:
    assert [row["id"] for row in rows() if not passes(code(row), row["tests"])] == []


def test_answers_that_return_nothing_fail() -> None:
    empty = ast.parse("return None").body
    answers = [r for found in representatives().values() for r in found]
    assert [r["id"] for r in answers if passes(replace_bodies(code(r), lambda _: empty), r["tests"])] == []


def test_answers_that_echo_their_argument_fail() -> None:
    def echo(function: ast.FunctionDef) -> list[ast.stmt]:
        names = [argument.arg for argument in function.args.args] or ["None"]
        return ast.parse(f"return {names[-1]}").body

    answers = [r for found in representatives().values() for r in found]
    assert [r["id"] for r in answers if passes(replace_bodies(code(r), echo), r["tests"])] == []


def test_tests_do_not_all_expect_the_same() -> None:
    assert [r["id"] for r in rows() if len({json.dumps(t["expected"]) for t in r["tests"]}) < 2] == []


def test_tests_tell_the_settings_of_a_family_apart() -> None:
    confused = []
    for found in representatives().values():
        for one, other in permutations(found, 2):
            source = code(one)
            for mine, theirs in zip(defined_names(source), defined_names(code(other)), strict=False):
                source = source.replace(mine, theirs)
            if passes(source, other["tests"]) and skeleton(source, False) != skeleton(code(other), False):
                confused.append((one["id"], other["id"]))
    assert confused == []


def test_families_differ_in_more_than_names_and_constants() -> None:
    owners: dict[str, set[str]] = defaultdict(set)
    for row in rows():
        owners[skeleton(code(row))].add(row["family"])
    assert [families for families in owners.values() if len(families) > 1] == []
