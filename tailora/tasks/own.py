"""Metrics of the user's own: a function `module:function` from an answer and its row to a number."""

import copy
import importlib
import importlib.util
import inspect
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from tailora.errors import RecipeError, RunError
from tailora.files import Row, fingerprint, sha256
from tailora.tasks.base import Metric


class OwnMetric(NamedTuple):
    """A metric with the function that scores one answer."""

    metric: Metric
    function: Callable[[str, Row], Any]


def load_own(names: Sequence[str]) -> list[OwnMetric]:
    """Return the metrics of `names`, each "module:function"; modules are also found in the current folder.

    A function annotated as `-> bool` is a share of rows, any other a mean. Lower is better where it has an attribute
    `higher_is_better = False`. The first line of its docstring is what the report says of it.

    Raises:
        RecipeError: with one problem for each name that leads to no function.
    """
    own, problems = [], []
    for name in names:
        try:
            own.append(_load(name))
        except RecipeError as error:
            problems += error.problems
    if problems:
        raise RecipeError(problems)
    return own


def _load(name: str) -> OwnMetric:
    module, _, function = name.partition(":")
    try:
        found = getattr(_module(module), function)
        annotation = inspect.signature(found).return_annotation
    except Exception as error:  # whatever a module of the user's raises when it is imported
        raise RecipeError(
            f'evaluate.metrics: "{name}" cannot be used: {type(error).__name__}: {error}. Write "module:function", '
            "with module.py in this folder or installed, and a function of an answer (text) and its row."
        ) from error
    metric = Metric(
        name,
        "binary" if annotation in (bool, "bool") else "mean",
        name,
        getattr(found, "higher_is_better", True),
        meaning=(inspect.getdoc(found) or "a metric of your own").partition("\n")[0].rstrip("."),
        absent="the function returned None for every row",
    )
    return OwnMetric(metric, found)


def _module(name: str) -> ModuleType:
    path = _own_path(name)
    if not path.is_file():
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hash_of_modules(names: Sequence[str]) -> str | None:
    """Return a hash of the files that define the metrics of `names`; None without any."""
    found = [_file(name.partition(":")[0]) for name in names]
    return fingerprint(*(f"{path.name} {sha256(path)}" for path in found if path)) if names else None


def _file(module: str) -> Path | None:
    path = _own_path(module)
    if path.is_file():
        return path
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # a folder of that name that is no package, or one without a spec
        return None
    return Path(spec.origin) if spec and spec.origin and Path(spec.origin).is_file() else None


def _own_path(module: str) -> Path:
    return Path(*module.split(".")).with_suffix(".py")


def score_own(own: Sequence[OwnMetric], answer: str, row: Row) -> Row:
    """Return what each metric says of an answer, by name; None where its function returns None.

    Raises:
        RunError: when a function fails, or returns what is no finite number.
    """
    scores = {}
    for metric, function in own:
        try:
            value = function(answer, copy.deepcopy(row))  # it may change what it is given
            usable = value is None or (
                isinstance(value, bool) if metric.kind == "binary" else math.isfinite(float(value))
            )
        except (Exception, SystemExit) as error:
            raise RunError(
                f'evaluate.metrics: "{metric.name}" failed on row {row.get("id")}: {type(error).__name__}: {error}.'
            ) from error
        if not usable:
            wanted = "True, False or None" if metric.kind == "binary" else "a finite number or None"
            raise RunError(
                f'evaluate.metrics: "{metric.name}" returned {value!r} for row {row.get("id")}; return {wanted}.'
            )
        scores[metric.name] = value if value is None or metric.kind == "binary" else float(value)
    return scores
