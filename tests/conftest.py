"""What several test files share: recipes drawn at random, and the command line in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st

# Two test processes run beside each other; with two threads each, torch would wait more than compute.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

# The machine decides how long an example takes, so no example has a deadline.
settings.register_profile("tailora", deadline=None, max_examples=50)
settings.load_profile("tailora")

Command = Callable[..., subprocess.CompletedProcess[str]]

_ANY_TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
_SHARE = st.floats(0.01, 0.3)


@pytest.fixture(scope="session")
def recipe_values() -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy of valid recipes as they come out of TOML: any text, any subset of keys."""
    positive = st.floats(1e-9, 1e9)
    sections = {
        "model": {"base": _ANY_TEXT, "dtype": st.sampled_from(["auto", "float32", "bfloat16"])},
        "lora": {
            "rank": st.integers(1),
            "alpha": positive,
            "targets": st.just("all-linear") | st.lists(_ANY_TEXT, min_size=1),
        },
        "train": {"lr": positive, "warmup": st.floats(0, 0.99), "seed": st.integers(-(2**63), 2**63 - 1)},
        "evaluate": {"rows": st.integers(2), "test_seconds": positive},
    }
    data = {
        "prompt": _ANY_TEXT,
        "group": _ANY_TEXT,
        "val": _SHARE,
        "test": _SHARE,
        "seed": st.integers(-(2**63), 2**63 - 1),
    }
    return st.fixed_dictionaries(
        {
            "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True),
            "data": st.fixed_dictionaries({"source": _ANY_TEXT}, optional=data),
        },
        optional={name: st.fixed_dictionaries({}, optional=keys) for name, keys in sections.items()},
    )


@pytest.fixture(scope="session")
def offline() -> dict[str, str]:
    """Return an environment in which no network can be reached and no hub cache is found."""
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    return (
        kept
        | nowhere
        | {
            "HF_HOME": "/nonexistent/hub",
            "TAILORA_CACHE": "/nonexistent/cache",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "80",
        }
    )


@pytest.fixture
def tailora(tmp_path: Path, offline: dict[str, str]) -> Command:
    """Return a function that runs `python -m tailora …` in `tmp_path`, without a network."""

    def command(*words: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, *python, "-m", "tailora", *words]
        return subprocess.run(line, cwd=tmp_path, env=offline, capture_output=True, text=True, timeout=60)

    return command
