"""All task families, one module per topic; a module lists its families in FAMILIES."""

import importlib
import pkgutil

from authoring.python_qa.family import Family


def all_families() -> list[Family]:
    """Every family of every topic module, modules in alphabetical order."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__, f"{__name__}."))
    return [family for module in modules for family in importlib.import_module(module).FAMILIES]
