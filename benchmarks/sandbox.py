"""Programs per second in each sandbox against a plain subprocess without any, as a Markdown table.

    python benchmarks/sandbox.py [MBPP.jsonl] [--programs N] [--rounds N] [--workers N]

The programs are the reference solutions of MBPP where its file is given, else small ones with three tests. The plain
subprocess is what a short script would do: `python -S -c "<program and asserts>"`, right when it exits with 0.
Rounds alternate between the ways; the table holds medians, and the ratio is the median of the rounds' ratios.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tailora import machine, sandbox

Job = tuple[str, Sequence[sandbox.Test]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mbpp", nargs="?", type=Path, help="the problems of MBPP, as JSON lines")
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=machine.cores())
    asked = parser.parse_args()
    jobs = read_jobs(asked.mbpp)[: asked.programs] if asked.mbpp else small_jobs(asked.programs)
    ways = {"plain subprocess": lambda: run_plainly(jobs, asked.workers)}
    modes: tuple[sandbox.Mode, ...] = ("limits", "jail", "bubblewrap")
    for mode in modes:
        if mode == "limits" or not sandbox.probe(mode):
            ways[mode] = in_sandbox(jobs, asked.workers, mode)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    passed: dict[str, int] = {}
    for _ in range(asked.rounds):
        for way, run in ways.items():
            start = time.perf_counter()
            passed[way] = run()  # type: ignore[no-untyped-call]
            rates[way].append(len(jobs) / (time.perf_counter() - start))
    report(rates, passed, len(jobs), asked.workers)


def small_jobs(count: int) -> list[Job]:
    """Return programs of a few lines that import what such programs import."""
    code = (
        "import math\nfrom collections import Counter\ndef f(x):\n    return math.isqrt(x) + Counter('aab')['a'] + {}"
    )
    tests = ["assert f(4) == {}", "assert f(9) == {}", "assert f(0) == {}"]
    return [
        (code.format(n), [test.format(value + n) for test, value in zip(tests, (4, 5, 2), strict=True)])
        for n in range(count)
    ]


def read_jobs(path: Path) -> list[Job]:
    """Return the reference solutions of MBPP with their asserts."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [(f"{row['code']}\n{row['test_setup_code']}", row["test_list"]) for row in rows]


def run_plainly(jobs: Sequence[Job], workers: int) -> int:
    """Run each program with its asserts in a plain subprocess; return how many exit with 0."""

    def run(job: Job) -> bool:
        code, tests = job
        source = "\n".join([code, *map(str, tests)])
        return subprocess.run([sys.executable, "-S", "-c", source], capture_output=True, timeout=20).returncode == 0

    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(run, jobs))


def in_sandbox(jobs: Sequence[Job], workers: int, mode: sandbox.Mode) -> Callable[[], int]:
    """Return a function that runs the jobs in a sandbox of this mode and counts those that pass."""
    return lambda: sum(
        outcome.status == "passed" for outcome in sandbox.run_many(jobs, workers=workers, seconds=20, within=mode)
    )


def report(rates: dict[str, list[float]], passed: dict[str, int], count: int, workers: int) -> None:
    """Print machine, command and table."""
    about = machine.describe()
    lines = [
        f"{time.strftime('%Y-%m-%d')}, {about['processor']}, {workers} workers on {about['cores']} cores, "
        f"Linux {platform.release()}, Python {platform.python_version()}, user {os.geteuid()}",
        f"`python {' '.join(sys.argv)}`",
        "",
        "| way | programs/s | × plain | ms per program and worker | passed |",
        "|---|---:|---:|---:|---:|",
    ]
    plain = rates["plain subprocess"]
    for way, measured in rates.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(measured, plain, strict=True))
        rate = statistics.median(measured)
        lines.append(f"| {way} | {rate:.0f} | {ratio:.2f} | {1000 * workers / rate:.1f} | {passed[way]} of {count} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
