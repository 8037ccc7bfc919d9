"""What benchmarks do with a measurement: take it in a process of its own, note where and with what, keep it, sum it up.

A contender is measured by `python -m benchmarks.<name> … --child`, which ends with the measurement as a line of JSON.
What is measured, and how, is known to the benchmarks alone.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tailora import machine

RESULTS = Path(__file__).parent / "results"


def parser(about: str | None) -> argparse.ArgumentParser:
    """Return a parser for the words of a benchmark with this docstring: `--table`, and `--child` for `alone`."""
    words = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--table", action="store_true", help="the table of what was measured so far")
    words.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return words


def alone(benchmark: str, words: Iterable[object], **environment: str) -> dict[str, Any] | None:
    """Return what the benchmark measures in a process of its own; None where that fails, and stderr says why.

    So the peak of memory is that of what was measured, imports included.
    """
    line = [sys.executable, "-m", f"benchmarks.{benchmark}", *map(str, words), "--child"]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode:
        sys.stderr.write(f"{shlex.join(line[3:])}: failed\n{done.stderr[-3000:]}\n")
        return None
    row: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return row


def tell(row: dict[str, Any]) -> None:
    """Hand a measurement to `alone` in the process that asked for it."""
    sys.stdout.write(json.dumps(row) + "\n")


def noted(row: dict[str, Any], *libraries: str) -> dict[str, Any]:
    """Return `row` with when it was measured, on what machine, with which versions and by which command."""
    import torch

    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        **row,
        "machine": {"processor": machine.describe()["processor"], "cores": machine.cores(), "system": platform.system(),
                    "threads": torch.get_num_threads(), "bfloat16": machine.has_bfloat16()},
        "versions": {name: machine.version(name) for name in ("torch", "transformers", "peft", *libraries)},
        "command": shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
    }  # fmt: skip


def keep(row: dict[str, Any], file: Path, said: str) -> None:
    """Append a measurement to the results in `file` at once, and say a line of it."""
    file.parent.mkdir(exist_ok=True)
    with file.open("a", encoding="utf-8") as results:
        results.write(json.dumps(row) + "\n")
    sys.stdout.write(f"{said}\n")
    sys.stdout.flush()


def kept(file: Path) -> list[dict[str, Any]]:
    """Return the measurements in `file`, oldest first; none where there is no such file."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


class Rounds(NamedTuple):
    """The measurements of one contender, and the rate that counts in each."""

    rows: list[dict[str, Any]]
    rates: list[float]

    @property
    def rate(self) -> float:
        """The median over rounds."""
        return median(self.rates)

    @property
    def peak_bytes(self) -> int:
        """The most that any round held."""
        return max(int(row["peak_bytes"]) for row in self.rows)

    def said(self, digits: int) -> str:
        """Return the median and, in brackets, the range."""
        return f"{self.rate:,.{digits}f} ({min(self.rates):,.{digits}f}–{max(self.rates):,.{digits}f})"


def rounds_of(rows: list[dict[str, Any]], names: Iterable[str], rate: str) -> dict[str, Rounds]:
    """Return the rounds of each contender that has any, in the order of `names`; `rate` is the key that counts."""
    found = {name: [row for row in rows if row["contender"] == name] for name in names}
    return {name: Rounds(rows, [row[rate] for row in rows]) for name, rows in found.items() if rows}
