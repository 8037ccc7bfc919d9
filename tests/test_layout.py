"""The plan of the house holds: imports point down, the front door is the agreed one, and importing does nothing."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tailora

PACKAGE = Path(tailora.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# A module or package of `tailora` and its floor; the front door and `python -m` stand above the house.
FLOORS = {
    "cli": 9,
    "selftest": 9,
    "pipeline": 8,
    "evaluation": 7,
    "present": 6,
    "engine": 6,
    "tasks": 5,
    "model": 4,
    "text": 3,
    "data": 2,
    "measure": 1,
    "sandbox": 1,
    "provenance": 0,
    "recipe": 1,
    "run": 1,
    "track": 1,
    "machine": 0,
    "files": 0,
    "errors": 0,
}
PUBLIC = {
    "DataError",
    "ModelError",
    "Recipe",
    "RecipeError",
    "Run",
    "RunError",
    "TailoraError",
    "evaluate",
    "load_recipe",
    "prepare",
    "report",
    "train",
}
HEAVY = ("torch", "transformers", "peft")
MAY_BE_HEAVY = ("model", "tasks", "engine")  # these rooms load torch as they are imported
# All but what is asked before there is a model to load: by commands that need none, and to refuse a wrong recipe.
LIGHT = {
    *("tailora.model", "tailora.tasks"),
    *(f"tailora.model.{name}" for name in ("border", "cache", "devices", "forecast", "inventory")),
    *(f"tailora.model.{name}" for name in ("lengths", "locate", "packaged", "schedule")),
    *(f"tailora.tasks.{name}" for name in ("base", "harness", "harness_requests", "own")),
}
LATE = {"from peft import PeftModel"}  # PEFT takes seconds more, and a base without an adapter never needs it


def room(module: str) -> str | None:
    """Return the part of the house that `module` belongs to; None for the front door."""
    name = module.split(".")[1] if "." in module else None
    return None if name == "__main__" else name


def imported(module: str, *, for_types: bool = True) -> Iterator[str]:
    """Yield every module of ours that `module` imports, wherever in the file, but not `for_types` alone if unwanted."""
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    if not for_types:
        tree.body = [node for node in tree.body if not _is_for_types(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "tailora")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            if node.module and node.module.split(".")[0] == "tailora":
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from (name if name in MODULES else node.module for name in whole)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in MODULES} - {None} == FLOORS.keys()


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    own = room(module)
    for name in imported(module):
        target = room(name)
        if own is None or own == target:
            continue
        assert target is not None, f"{module} imports the front door"
        alone = own in ("measure", "data", "text", "model", "tasks", "pipeline")
        down = FLOORS[target] < FLOORS[own] if alone else FLOORS[target] <= FLOORS[own]
        assert down, f"{module} (floor {FLOORS[own]}) imports {name} (floor {FLOORS[target]})"


def test_no_imports_go_round_in_a_circle() -> None:
    graph = {module: [n for n in imported(module, for_types=False) if n != module] for module in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_pipeline_holds_verbs_alone() -> None:
    modules = {name.rpartition(".")[2] for name in MODULES if name.startswith("tailora.pipeline.")}
    assert modules == {"prepare", "train", "evaluate", "report", "plan", "show"}


@pytest.mark.parametrize("module", [name for name in MODULES if name != "tailora.__main__"])
def test_a_module_does_no_work_of_its_own_at_import(module: str) -> None:
    # The command line registers its commands; everything else defines names and no more.
    definitions = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    for node in ast.parse(MODULES[module].read_text("utf-8")).body:
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        registers = module == "tailora.cli" and isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        assert isinstance(node, definitions) or text or registers or _is_for_types(node), f"{module}:{node.lineno}"


def test_no_module_of_the_library_prints() -> None:
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            assert not (isinstance(node, ast.Name) and node.id == "print"), f"{module}:{node.lineno}"


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)


def test_importing_every_module_says_nothing_and_writes_nothing_and_torch_comes_with_models_alone(
    tmp_path: Path,
) -> None:
    names = [name for name in MODULES if name != "tailora.__main__"]
    light = [name for name in names if name in LIGHT or room(name) not in MAY_BE_HEAVY]
    # Where bitsandbytes is installed PEFT imports it, and it warns of a kernel; the command line silences that too.
    lines = ["import importlib, logging, sys", "logging.getLogger('bitsandbytes').setLevel(logging.ERROR)"]
    lines += [f"for name in {light}: importlib.import_module(name)"]
    lines += [f"assert not sys.modules.keys() & set({HEAVY}), sys.modules.keys() & set({HEAVY})"]
    lines += [f"for name in {names}: importlib.import_module(name)"]
    done = run("\n".join(lines), tmp_path)
    assert done.stdout == done.stderr == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) in MAY_BE_HEAVY and name not in LIGHT])
def test_a_module_that_may_load_torch_imports_at_its_top(module: str) -> None:
    for function in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(function, ast.FunctionDef):
            late = [ast.unparse(node) for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
            assert set(late) <= LATE, f"{module}:{function.lineno}"


def test_the_public_names_are_the_agreed_ones() -> None:
    assert set(tailora.__all__) == set(dir(tailora)) == PUBLIC
    with pytest.raises(AttributeError, match="evaluat"):
        tailora.evaluat  # noqa: B018


def test_every_public_name_can_be_used_and_none_needs_torch(tmp_path: Path) -> None:
    code = f"import sys, tailora\nfor name in {sorted(PUBLIC)}: assert callable(getattr(tailora, name)), name\n"
    run(code + f"assert not sys.modules.keys() & set({HEAVY})", tmp_path)


def test_importing_tailora_loads_nothing_of_others(tmp_path: Path) -> None:
    run(f"import sys, tailora; assert not sys.modules.keys() & set({(*HEAVY, 'numpy', 'pydantic', 'rich')})", tmp_path)
