"""A run: the folder that holds everything that happened, and the stages that write it.

A stage works in `<stage>.partial/` and the folder is renamed when it is whole, so a stage folder that exists is
finished. Its `stage.json` says which recipe values made it; `run.json` gathers all of them. A run refuses to mix:
a finished stage made from other values is an error until it is made again (`--fresh`) or the run gets a new name.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tailora import files, machine
from tailora.errors import RunError
from tailora.recipe import Recipe, Section, toml_line

# The parts of the recipe that decide a stage's result, in the order in which the stages run.
STAGES: dict[str, tuple[str, ...]] = {
    "prepare": ("task", "data"),
    "train": ("task", "data", "model", "lora", "train"),
    "evaluate": ("task", "data", "model", "lora", "train", "evaluate"),
    "report": ("task", "data", "model", "lora", "train", "evaluate"),
}


RUNS = Path("runs")


@dataclass
class Stage:
    """A stage at work: the folder it fills, its log, and the facts it leaves for `run.json`."""

    folder: Path
    facts: dict[str, Any] = field(default_factory=dict)

    def log(self, row: files.Row) -> None:
        """Append one row to the stage's `log.jsonl`."""
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(files.json_line(row))


@dataclass(frozen=True)
class Run:
    """A run folder that belongs to one recipe."""

    folder: Path
    recipe: Recipe

    @classmethod
    def open(cls, recipe: Recipe, root: Path = RUNS, *, fresh: bool = False) -> "Run":
        """Return the run of `recipe` below `root`, made if it does not exist.

        With `fresh`, finished stages made from other values are removed, and those that follow them.

        Raises:
            RunError: when a finished stage was made from other values; names the first differing key.
        """
        run = cls(root / files.checked_name(recipe.name, "name"), recipe)
        run.folder.mkdir(parents=True, exist_ok=True)
        stale = [stage for stage in STAGES if run.is_done(stage) and run._difference(stage)]
        if stale and not fresh:
            raise RunError(f"{run.folder}: {run._difference(stale[0])}")
        if stale:
            run.forget(stale[0])
        files.write_text(run.folder / "recipe.toml", _asked(recipe))
        run._gather()
        return run

    def is_done(self, stage: str) -> bool:
        """A stage is done when its folder exists; unfinished work lies in `<stage>.partial`."""
        return (self.folder / stage).is_dir()

    def require(self, stage: str) -> None:
        """Raise RunError when `stage` has not been done."""
        if not self.is_done(stage):
            raise RunError(f"{self.folder}: {stage} has not been done; `tailora {stage} <recipe>` does it.")

    def forget(self, stage: str) -> None:
        """Remove `stage` and all that follows, the last first: killed midway, no result outlives what it came from."""
        for name in reversed(list(STAGES)[list(STAGES).index(stage) :]):
            partial = self._clear(name)
            if self.is_done(name):
                (self.folder / name).rename(partial)  # a folder that is half removed must not count as done
                shutil.rmtree(partial)

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Work on a stage in its partial folder; the folder gets its name only if the block succeeds."""
        partial = self._clear(name)
        partial.mkdir(parents=True)
        stage, started = Stage(partial), time.monotonic()
        yield stage
        record = {
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - started, 2),
            "peak_memory_bytes": machine.peak_memory_bytes(),
            "recipe": self._values(name),
            **stage.facts,
        }
        files.write_json(partial / "stage.json", record)
        partial.rename(self.folder / name)
        self._gather()

    def facts(self, stage: str) -> dict[str, Any]:
        """Return what a finished stage recorded: seconds, peak memory, fingerprints and its own facts."""
        self.require(stage)
        record: dict[str, Any] = files.read_json(self.folder / stage / "stage.json")
        return record

    def _clear(self, stage: str) -> Path:
        """Remove the unfinished work of `stage` and return the folder for new work."""
        partial = self.folder / f"{stage}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        return partial

    def _values(self, stage: str) -> dict[str, Any]:
        return {k: v for k, v in self.recipe.keys().items() if k.split(".")[0] in STAGES[stage]}

    def _difference(self, stage: str) -> str | None:
        """Say how the recipe differs from the one that made `stage`, or return None when it does not."""
        made = self.facts(stage)["recipe"]
        for key, value in self._values(stage).items():
            if key not in made or made[key] != value:
                return (
                    f"{stage} was made with {key} = {made.get(key)!r}, the recipe says {value!r}. "
                    'Choose another name (name="…"), or add --fresh to make it again.'
                )
        return None

    def _gather(self) -> None:
        """Write `run.json` from the recipe, this machine and the records of the finished stages."""
        stages = {stage: self.facts(stage) for stage in STAGES if self.is_done(stage)}
        resolved = self.recipe.model_dump(mode="json")
        run = {"recipe": resolved, "machine": machine.describe(), "stages": stages}
        files.write_json(self.folder / "run.json", run)


def _asked(recipe: Recipe) -> str:
    """The keys that the user set, overrides included, as TOML that makes the same run again."""
    top, sections = [], []
    for name in Recipe.model_fields:
        value = getattr(recipe, name)
        if name not in recipe.model_fields_set:
            continue
        if isinstance(value, Section):
            chosen = {k: getattr(value, k) for k in type(value).model_fields if k in value.model_fields_set}
            sections += ["", f"[{name}]", *(toml_line(k, v) for k, v in chosen.items() if v is not None)]
        else:
            top.append(toml_line(name, value))
    return "\n".join(top + sections) + "\n"


def tell(verb: str, line: str) -> None:
    """Say what a stage finds out before its end; the command line shows it, others handle the logger `tailora`."""
    logging.getLogger(f"tailora.{verb}").info(line)


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[..., None]]:
    """Show a bar with the time left on stderr, where that is a terminal.

    Yields a function `advance(count=1, note="")`.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        shown = bar.add_task(description, total=total, note="")

        def advance(count: int = 1, note: str | None = None) -> None:
            if note is not None:
                bar.update(shown, note=note)
            bar.advance(shown, count)

        yield advance
