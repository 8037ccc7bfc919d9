"""Real processes of the command line that start quickly: forked from a server that has imported torch already."""

import multiprocessing
import os
import resource
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from tailora.recipe import Recipe, describe_recipe
from tailora.run import Run

LOG, JOURNAL = "train.partial/log.jsonl", "evaluate.partial/journal.jsonl"  # of stages that have not finished
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


@dataclass
class Bench:
    """Runs of one recipe, each in a folder of its own where the data is already prepared."""

    folder: Path
    recipe: Path
    prepared: Path

    @classmethod
    def of(cls, recipe: Recipe, folder: Path) -> "Bench":
        """Write the recipe and prepare its data in `folder`."""
        from tailora.pipeline import prepare

        (folder / "toy.toml").write_text(describe_recipe(recipe))
        prepare(Run.open(recipe, folder / "prepared"))
        return cls(folder, folder / "toy.toml", folder / "prepared")

    def new_run(self, name: str) -> Path:
        """Return the folder of a new run, to be trained."""
        return shutil.copytree(self.prepared, self.folder / name) / "toy"

    def line(self, run: Path, verb: str = "train") -> tuple[str, ...]:
        """Return the words after `tailora`."""
        return (verb, str(self.recipe), "--runs", str(run.parent))

    def start(self, run: Path, *words: str, verb: str = "train", **limits: Any) -> ForkServerProcess:
        """Start the command on `run`; what it says goes to out.txt beside it."""
        return start_tailora(*self.line(run, verb), *words, output=run.parent / "out.txt", **limits)

    def start_together(self, run: Path, count: int, *words: str, **how: Any) -> list[ForkServerProcess]:
        """Start `tailora train` on `run` in so many processes; what they say goes to out.0, out.1, … beside it."""
        return start_together(count, *self.line(run), *words, output=run.parent / "out", **how)

    def finish(self, run: Path, *words: str, **how: Any) -> tuple[int, str]:
        """Let the command run to its end; returns its exit code and what it said."""
        (code,) = exit_codes([self.start(run, *words, **how)])
        return code, (run.parent / "out.txt").read_text()

    def finish_together(self, run: Path, count: int, *words: str, **how: Any) -> tuple[list[int], str]:
        """Let so many processes run to their end; returns their exit codes and what they said."""
        return exit_codes(self.start_together(run, count, *words, **how)), output_of(run)

    def interrupted(self, name: str, rows: int = 8, count: int = 1, words: Sequence[str] = ()) -> Path:
        """Return a run whose training, in `count` processes, was killed when so many rows stood in its log."""
        run = self.new_run(name)
        processes = [self.start(run, *words)] if count == 1 else self.start_together(run, count, *words)
        await_lines(processes, run / LOG, rows)
        for process in processes:
            process.kill()
            process.join(60)
        assert processes[0].exitcode == -signal.SIGKILL and not (run / "train").exists(), output_of(run)
        return run


def exit_codes(processes: Sequence[Any]) -> list[int]:
    """Wait for the processes to end; returns the exit code of each."""
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def output_of(run: Path) -> str:
    """Return what all processes on `run` have said."""
    return "".join(path.read_text() for path in sorted(run.parent.glob("out.*")))


def lines_in(file: Path) -> int:
    """Return how many whole lines stand in a file that is being written; 0 where there is none yet."""
    return file.read_bytes().count(b"\n") if file.exists() else 0


def await_lines(processes: Sequence[Any], file: Path, count: int) -> None:
    """Wait until so many lines stand in a file, or a process has ended."""
    while lines_in(file) < count and all(process.is_alive() for process in processes):
        time.sleep(0.001)
