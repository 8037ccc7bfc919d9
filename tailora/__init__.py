"""tailora: fine-tune a small language model with LoRA on the machine you have, and prove that it helped.

The names below are imported when they are first used, so that `import tailora` is quick and needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tailora.errors import DataError, ModelError, RecipeError, RunError, TailoraError
    from tailora.pipeline.evaluate import evaluate
    from tailora.pipeline.prepare import prepare
    from tailora.pipeline.report import report
    from tailora.pipeline.train import train
    from tailora.recipe import Recipe, load_recipe
    from tailora.run import Run

__all__ = [
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
]

_HOMES = {
    **dict.fromkeys(("DataError", "ModelError", "RecipeError", "RunError", "TailoraError"), "tailora.errors"),
    **dict.fromkeys(("Recipe", "load_recipe"), "tailora.recipe"),
    **dict.fromkeys(("evaluate", "prepare", "report", "train"), "tailora.pipeline"),
    "Run": "tailora.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tailora' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
