"""Real processes of the command line that start quickly: forked from a server that has imported torch already."""

import multiprocessing
import os
import resource
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_LOADED_ONCE = [
    "transformers.models.llama.modeling_llama",
    "peft",
    "tailora.cli",
    "tailora.pipeline",
    "tests.processes",
]


def start_tailora(*words: str, output: Path, largest_file: int | None = None) -> ForkServerProcess:
    """Start `tailora …` with stdout and stderr in `output`, no file larger than `largest_file` bytes allowed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LOADED_ONCE)
    process = context.Process(target=_be_tailora, args=(words, output, largest_file))
    process.start()
    return process


def _be_tailora(words: tuple[str, ...], output: Path, largest_file: int | None) -> None:
    from tailora.cli import main

    target = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(target, stream)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    sys.argv = ["tailora", *words]
    main()
