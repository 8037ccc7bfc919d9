"""Python programs as syntax trees: is a text code, and are two programs the same but for docstrings and locals?"""

import ast
from collections.abc import Iterable, Iterator

from tailora.measure.metrics import parse

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_BINDING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, *_COMPREHENSIONS)
# Where a node holds a name that can be a local one.
_NAMES: dict[type[ast.AST], str] = {
    ast.Name: "id",
    ast.arg: "arg",
    ast.FunctionDef: "name",
    ast.AsyncFunctionDef: "name",
    ast.ExceptHandler: "name",
    ast.MatchAs: "name",
    ast.MatchStar: "name",
    ast.MatchMapping: "rest",
}
# What prose and labels parse as: "Paris", "yes, no", "see [1]", "pass", "Note: important".
_ALSO_PROSE = (ast.Expr, ast.Pass, ast.Break, ast.Continue, ast.Return, ast.AnnAssign)
_ONLY_CODE = (ast.Call, ast.Lambda, *_COMPREHENSIONS)


def is_code(text: str) -> bool:
    """Say whether `text` is Python and more than words or labels that happen to parse, such as "yes" or "pass"."""
    tree = parse(text)
    return tree is not None and any(
        isinstance(node, _ONLY_CODE) or (isinstance(node, ast.stmt) and not isinstance(node, _ALSO_PROSE))
        for node in ast.walk(tree)
    )


def same_program(answer: str, reference: str) -> bool:
    """Say whether two programs have the same syntax tree but for docstrings and the names of locals.

    Layout, comments and quotes are no part of a tree. Locals are what a function binds, its parameters included but
    for those that are passed by keyword; they are numbered in order of appearance. Names of functions, classes,
    attributes and of the module are what others call a program by, so they must agree. What does not parse is the
    same as nothing.
    """
    trees = [parse(answer), parse(reference)]
    if not all(trees):
        return False
    try:
        ours, theirs = (_shape(tree) for tree in trees if tree)
    except RecursionError:  # deeper than can be walked, though not than can be parsed
        return answer == reference
    return ours == theirs


def _shape(tree: ast.Module) -> str:
    by_keyword: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _drop_docstring(node)
        elif isinstance(node, ast.keyword) and node.arg:
            by_keyword.add(node.arg)
        elif isinstance(node, ast.arguments):
            by_keyword.update(arg.arg for arg in node.kwonlyargs)
        elif isinstance(node, ast.Constant):
            node.kind = None  # u"x" is "x"
    _Locals(by_keyword).number(tree, [])
    return ast.dump(tree)


def _drop_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    match node.body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            node.body = rest or [ast.Pass()]  # a body is never empty


class _Locals:
    """Gives the locals of a program numbers for names, in place, as they appear."""

    def __init__(self, kept: set[str]) -> None:
        self._kept = kept
        self._count = 0
        self._done: set[ast.AST] = set()

    def number(self, node: ast.AST, scopes: list[dict[str, str]]) -> None:
        """Rename what stands in and below `node`; `scopes` map the names bound around it, the innermost last."""
        if node in self._done:
            return
        self._done.add(node)
        if type(node) in _NAMES and (name := getattr(node, _NAMES[type(node)])):
            setattr(node, _NAMES[type(node)], self._new_name(name, scopes))
        elif isinstance(node, ast.Nonlocal):
            node.names = [self._new_name(name, scopes) for name in node.names]
        for part in _evaluated_outside(node):
            self.number(part, scopes)
        inner = [*scopes, dict.fromkeys(_bound(node) - self._kept, "")] if isinstance(node, _BINDING) else scopes
        for child in ast.iter_child_nodes(node):
            self.number(child, inner)

    def _new_name(self, name: str, scopes: list[dict[str, str]]) -> str:
        for scope in reversed(scopes):
            if name in scope:
                if not scope[name]:
                    scope[name], self._count = f"local {self._count}", self._count + 1
                return scope[name]
        return name


def _evaluated_outside(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a function or comprehension that do not see its names."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        decorators = getattr(node, "decorator_list", [])
        yield from (part for part in (*decorators, *node.args.defaults, *node.args.kw_defaults) if part)
    elif isinstance(node, _COMPREHENSIONS):
        yield node.generators[0].iter


def _bound(scope: ast.AST) -> set[str]:
    """Return the names that a function or comprehension binds itself."""
    bound: set[str] = set()
    elsewhere: set[str] = set()
    for node in _own_nodes(ast.iter_child_nodes(scope)):
        if isinstance(node, ast.Global | ast.Nonlocal):
            elsewhere.update(node.names)
        elif type(node) in _NAMES and not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)):
            bound.add(getattr(node, _NAMES[type(node)]))
    return bound - elsewhere


def _own_nodes(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield nodes and what stands below them, but not what stands in a scope of its own."""
    for node in nodes:
        yield node
        if not isinstance(node, (*_BINDING, ast.ClassDef)):
            yield from _own_nodes(ast.iter_child_nodes(node))
