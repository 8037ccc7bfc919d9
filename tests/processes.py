"""Real processes of the command line that start quickly: forked from a server that has imported torch already."""

import multiprocessing
import os
import resource
import socket
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_LOADED_ONCE = [
    "transformers.models.llama.modeling_llama",
    "peft",
    "accelerate",
    "torch.distributed.fsdp",
    "tailora.cli",
    "tailora.pipeline",
    "tests.processes",
]


def start_tailora(
    *words: str, output: Path, largest_file: int | None = None, environment: Mapping[str, str] | None = None
) -> ForkServerProcess:
    """Start `tailora …` with stdout and stderr in `output`, no file larger than `largest_file` bytes allowed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LOADED_ONCE)
    process = context.Process(target=_be_tailora, args=(words, output, largest_file, dict(environment or {})))
    process.start()
    return process


def start_together(count: int, *words: str, output: Path, own: Sequence[str] = ()) -> list[ForkServerProcess]:
    """Start `tailora …` in `count` processes as torchrun does, each with its word of `own`.

    Process i writes to `output` with .i appended.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1]), "WORLD_SIZE": str(count)}
    return [
        start_tailora(
            *words,
            *own[number : number + 1],
            output=output.with_name(f"{output.name}.{number}"),
            environment=shared | {"RANK": str(number), "LOCAL_RANK": str(number), "OMP_NUM_THREADS": "1"},
        )
        for number in range(count)
    ]


def _be_tailora(words: tuple[str, ...], output: Path, largest_file: int | None, environment: dict[str, str]) -> None:
    from tailora.cli import main

    os.environ.update(environment)

    target = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(target, stream)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    sys.argv = ["tailora", *words]
    main()
