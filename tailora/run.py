"""A run: the folder that holds everything that happened, and the stages that write it.

A stage works in `<stage>.partial/` and the folder is renamed when it is whole, so a stage folder that exists is
finished. Its `stage.json` says which recipe values made it; `run.json` gathers all of them. A run refuses to mix:
a finished stage made from other values is an error until it is made again (`--fresh`) or the run gets a new name.
Only one process at a time writes a run.
"""

import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from tailora import files, machine
from tailora.errors import RunError
from tailora.provenance import difference
from tailora.recipe import Recipe, Section, load_recipe, toml_line


class Rule(NamedTuple):
    """What a stage comes after, and the parts of the recipe that it adds to those which decide its result."""

    keys: tuple[str, ...] = ()
    after: str | None = None
    beside: tuple[str, ...] = ()
    """Folders of the run that hold results of it, which are forgotten with it."""


# The stages in the order in which they run; what follows from what, and what makes which stale, follows from this.
STAGES: dict[str, Rule] = {
    "prepare": Rule(keys=("task", "data")),
    "train": Rule(keys=("model", "lora", "train"), after="prepare", beside=("evaluate-on",)),
    "evaluate": Rule(keys=("evaluate",), after="train"),
    "report": Rule(after="evaluate"),
}

# Keys that change no result: what was made with one value of them is not made again for another.
NEUTRAL = ("train.save_minutes", "train.trackers", "train.processes", "train.memory_mb")

# Not listed in the record of a stage, since they may go when it is finished.
_UNLISTED = ("checkpoints", "journal.jsonl")

RUNS = Path("runs")

# What asks for a stop; a signal that the shell has made to be ignored, as nohup does, stays ignored.
_STOPS = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))


@dataclass
class Stage:
    """A stage at work: the folder it fills, its log, and the facts it leaves for `run.json`."""

    folder: Path
    facts: dict[str, Any] = field(default_factory=dict)
    made_from: dict[str, Any] = field(default_factory=dict)
    """What its result depends on: recipe values by key, and what the stage adds, such as fingerprints."""
    listeners: list[Callable[[files.Row], None]] = field(default_factory=list)
    """Called with each row of the log."""
    seconds: float = 0.0
    """Spent on it by earlier processes that were interrupted."""
    writes: bool = True
    """False in a process that only helps another: it keeps no log, says nothing and saves nothing."""

    def log(self, row: files.Row) -> None:
        """Append one row to the stage's `log.jsonl`."""
        if not self.writes:
            return
        with self._log.open("a", encoding="utf-8") as file:
            file.write(files.json_line(row))
        for listener in self.listeners:
            listener(row)

    def log_bytes(self) -> int:
        """Return the length of the log, once that much of it is on disk."""
        if not self.writes or not self._log.exists():
            return 0
        files.sync(self._log)
        return self._log.stat().st_size

    def cut_log(self, length: int) -> None:
        """Drop what was logged after the first `length` bytes; a log that has lost rows is said, and goes on."""
        found = self._log.stat().st_size if self._log.exists() else 0
        if found < length:
            self.say(f"log.jsonl has lost rows ({found:,} of {length:,} bytes are left): its figure will lack them")
            with self._log.open("ab") as log:
                log.write(b"\n")  # what is written next begins a line
        elif found:
            os.truncate(self._log, length)

    def say(self, line: str) -> None:
        """Tell the user something at once, and keep it among the facts."""
        if not self.writes:
            return
        self.facts.setdefault("notes", []).append(line)
        warn(self.folder.name.removesuffix(".partial"), line)

    @property
    def _log(self) -> Path:
        return self.folder / "log.jsonl"


class _Record(BaseModel):
    """What the record of every stage says."""

    finished: datetime
    seconds: float
    recipe: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A run folder that belongs to one recipe."""

    folder: Path
    recipe: Recipe

    @classmethod
    def open(
        cls, recipe: Recipe, root: Path = RUNS, *, fresh: bool = False, stages: Sequence[str] = tuple(STAGES)
    ) -> "Run":
        """Return the run of `recipe` below `root`, made if it does not exist.

        With `fresh`, finished stages made from other values are removed, and those that follow them. Rows that were
        prepared from other values, and on which nothing was trained, are prepared again.

        Raises:
            RunError: when a finished stage among `stages` was made from other values; names the first differing key.
                Or when there is something to change and another process works on the run.
        """
        run = cls(root / files.checked_name(recipe.name, "name"), recipe)
        try:
            run.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(run.folder, error) from error
        done = [stage for stage in STAGES if run.is_done(stage)]
        stale = {stage: changed for stage in done if (changed := run._difference(stage))}
        fresh = fresh or (list(stale) == ["prepare"] and not run._is_trained())
        if not fresh and (blocking := [stage for stage in stale if stage in stages]):
            raise RunError(
                f"{run.folder}: {blocking[0]} is done, but {stale[blocking[0]]}. "
                'Choose another name (name="…"), or make it again with `tailora run … --fresh`.'
            )
        if (fresh and stale) or (not stale and not run._is_described()):
            with run.lock():
                if stale:
                    run.forget(next(iter(stale)))
                files.write_text(run.folder / "recipe.toml", _asked(recipe))
                run._gather()
        return run

    @classmethod
    def load(cls, folder: Path) -> "Run":
        """Return the run in `folder`, wherever that was copied to, by the recipe which lies in it.

        Raises:
            RecipeError: when there is no recipe, or it is damaged.
        """
        return cls(folder, load_recipe(str(folder / "recipe.toml"), [f"name={folder.resolve().name}"]))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep all other processes from writing this run; a holder may take it again. Freed by the end of the process.

        Raises:
            RunError: at once when another process holds it, with its number; when the folder cannot be written, or a
                write finds no room.
        """
        import filelock

        folder = self.folder.resolve()
        lock, holder = filelock.FileLock(folder / ".lock", timeout=0, is_singleton=True), folder / ".lock.pid"
        try:
            lock.acquire()
        except filelock.Timeout:
            number = holder.read_text() if holder.is_file() else "unknown"
            raise RunError(
                f"{self.folder}: process {number} is writing this run; wait until it has ended, or choose another name."
            ) from None
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        try:
            if lock.lock_counter == 1:
                files.write_text(holder, str(os.getpid()))
            yield
        except OSError as error:
            if not files.lacks_space(error):
                raise
            free = shutil.disk_usage(folder).free / 2**20
            raise RunError(
                f"{self.folder}: there is no room to write ({error.strerror}; {free:,.1f} MiB free). What "
                "was saved before is whole: make room, then run the same command to resume."
            ) from error
        finally:
            lock.release()

    def _is_trained(self) -> bool:
        """Say whether something was trained on the prepared rows, or begun."""
        return self.is_done("train") or self._partial("train").is_dir()

    def is_done(self, stage: str) -> bool:
        """A stage is done when its folder exists; unfinished work lies in `<stage>.partial`."""
        return (self.folder / stage).is_dir()

    def require(self, stage: str) -> None:
        """Raise RunError when `stage` has not been done."""
        if not self.is_done(stage):
            if self.is_done("evaluate"):
                raise RunError(
                    f"{self.folder}: an evaluation of other rows has no {stage} of its own and gets no report; "
                    f"its scores and its comparison are in {self.folder / 'evaluate'}."
                )
            raise RunError(f"{self.folder}: {stage} has not been done; `tailora {stage} <recipe>` does it.")

    def forget(self, stage: str) -> None:
        """Remove `stage` and all that follows, the last first: killed midway, no result outlives what it came from."""
        with self.lock():
            for name in reversed(_from(stage)):
                for folder in STAGES[name].beside:
                    files.remove_folder(self.folder / folder)
                partial = self._clear(name)
                if self.is_done(name):
                    (self.folder / name).rename(partial)  # a folder that is half removed must not count as done
                    shutil.rmtree(partial)

    @contextmanager
    def stage(self, name: str, *, resume: bool = False) -> Iterator[Stage]:
        """Work on a stage in its partial folder; the folder gets its name only if the block succeeds.

        With `resume`, what an interrupted process left in the partial folder is still there.
        """
        with self.lock():
            partial = self._partial(name) if resume else self._clear(name)
            partial.mkdir(parents=True, exist_ok=True)
            stage, started = Stage(partial, made_from=self._values(name)), time.monotonic()
            yield stage
            record = {
                "files": files.hashes(partial, _UNLISTED),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(stage.seconds + time.monotonic() - started, 2),
                "peak_memory_bytes": machine.peak_memory_bytes(),
                "recipe": self._values(name),
                **stage.facts,
            }
            files.write_sealed(partial / files.RECORD, record)
            files.sync_tree(partial)
            partial.rename(self.folder / name)
            files.sync(self.folder)
            self._gather()

    def facts(self, stage: str) -> dict[str, Any]:
        """Return what a finished stage recorded: seconds, peak memory, fingerprints and its own facts."""
        self.require(stage)
        return _read_record(self.folder / stage / files.RECORD)

    def _partial(self, stage: str) -> Path:
        return self.folder / f"{stage}.partial"

    def _clear(self, stage: str) -> Path:
        """Remove the unfinished work of `stage` and return the folder for new work."""
        shutil.rmtree(self._partial(stage), ignore_errors=True)
        return self._partial(stage)

    def _values(self, stage: str) -> dict[str, Any]:
        """Return the recipe values that decide the result of `stage`."""
        sections = _sections(stage)
        keys = self.recipe.keys().items()
        return {key: value for key, value in keys if key.split(".")[0] in sections and key not in NEUTRAL}

    def _is_described(self) -> bool:
        """Say whether `recipe.toml` and `run.json` are there and hold this recipe."""
        asked = self.folder / "recipe.toml"
        same = asked.is_file() and asked.read_bytes() == _asked(self.recipe).encode()
        return same and (self.folder / "run.json").exists()

    def _difference(self, stage: str) -> str | None:
        """Say how the recipe differs from the one that made `stage`, or return None when it does not."""
        return difference(self.facts(stage)["recipe"], self._values(stage))

    def _gather(self) -> None:
        """Write `run.json` from the recipe, this machine and the records of the finished stages."""
        stages = {stage: self.facts(stage) for stage in STAGES if self.is_done(stage)}
        resolved = self.recipe.model_dump(mode="json")
        run = {"recipe": resolved, "machine": machine.describe(), "stages": stages}
        files.write_sealed(self.folder / "run.json", run)


def _sections(stage: str) -> set[str]:
    """Return the parts of the recipe that decide the result of `stage`, those of what comes before it included."""
    rule = STAGES[stage]
    return {*rule.keys, *(_sections(rule.after) if rule.after else ())}


def _from(stage: str) -> list[str]:
    """Return `stage` and all that follow from it, in order."""
    following = [stage]
    for name, rule in STAGES.items():  # in order, so what a stage comes after was met before it
        if rule.after in following:
            following.append(name)
    return following


def _unwritable(folder: Path, error: OSError) -> RunError:
    return RunError(f"{folder}: cannot be written ({error.strerror}); name another folder for runs with --runs.")


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


def day_of(folder: Path) -> date | None:
    """Return the day on which the run in `folder` was prepared, which its prompts show; None before that."""
    record = folder / "prepare" / files.RECORD
    return _Record.model_validate(_read_record(record)).finished.date() if record.is_file() else None


def _read_record(path: Path) -> dict[str, Any]:
    found = files.read_json(path)
    try:
        _Record.model_validate(found)
    except ValidationError as error:
        keys = ", ".join(dict.fromkeys(str(problem["loc"][0]) for problem in error.errors()))
        raise RunError(
            f"{path} is damaged ({keys} is missing or no such value); run its stage again with --fresh."
        ) from None
    return found


def tell(verb: str, line: str) -> None:
    """Say what a stage finds out before its end; the command line shows it, others handle the logger `tailora`."""
    logging.getLogger(f"tailora.{verb}").info(line)


def note(verb: str, line: str) -> None:
    """Say what is good to know and needs no action; the command line shows it with --verbose."""
    logging.getLogger(f"tailora.{verb}").debug(line)


def warn(verb: str, line: str) -> None:
    """Say what the user may have to act on."""
    logging.getLogger(f"tailora.{verb}").warning(line)


def _is_ignored(number: int) -> bool:
    return number not in (signal.SIGINT, signal.SIGTERM) and signal.getsignal(number) == signal.SIG_IGN


@contextmanager
def stop_requests() -> Iterator[Callable[[], int | None]]:
    """Catch the first SIGINT, SIGTERM or SIGHUP, so that work can be saved; the second ends the process at once.

    Yields a function that returns the signal that came, or None. Only the main thread can be asked.
    """
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(number)
        for each in before:
            signal.signal(each, signal.SIG_DFL)

    watched = _STOPS if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, remember) for number in watched if not _is_ignored(number)}
    try:
        yield lambda: came[0] if came else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def progress(description: str, total: int, done: int = 0) -> Iterator[Callable[..., None]]:
    """Show a bar with the time left on stderr, where that is a terminal; `done` of `total` are done before.

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
    with Progress(*columns, console=console, disable=machine.place().number > 0 or not console.is_terminal) as bar:
        shown = bar.add_task(description, total=total, completed=done, note="")

        def advance(count: int = 1, note: str | None = None) -> None:
            if note is not None:
                bar.update(shown, note=note)
            bar.advance(shown, count)

        yield advance
