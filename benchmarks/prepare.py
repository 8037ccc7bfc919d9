"""Rows a second and peak memory of `prepare`, beside `datasets.map` doing the tokenization alone.

    python benchmarks/prepare.py                     # 25,000 and 250,000 rows, three rounds, a table
    python benchmarks/prepare.py --rows 25000 --rounds 1

Rows are questions and answers made of random words, with the lengths of programming answers, 2 % repeats and 2 %
near repeats. Each contender runs in a process of its own, in turns; memory is the peak of that process and what it
starts, imports included. The two do different work: `prepare` reads, audits, compares and splits; `datasets.map`
reads and tokenizes with two processes.
"""

import argparse
import json
import platform
import random
import resource
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks import record
from tailora.machine import cores, describe
from tailora.run import Run

CONTENDERS = ("tailora prepare", "datasets.map")
WORDS = ["def", "return", "list", "value", "count", "for", "in", "if", "not", "the", "of", "number", "string", "write"]


def write_rows(path: Path, count: int) -> None:
    numbers = random.Random(count)

    def words(least: int, most: int) -> list[str]:
        return [numbers.choice(WORDS) + (str(numbers.randrange(1000)) if numbers.random() < 0.3 else "")
                for _ in range(numbers.randint(least, most))]  # fmt: skip

    recent: list[list[str]] = []
    with path.open("w") as file:
        for i in range(count):
            asked = words(10, 60)
            if recent and i % 50 == 0:
                asked = list(numbers.choice(recent))
            elif recent and i % 50 == 1:
                asked = list(numbers.choice(recent))
                asked[numbers.randrange(len(asked))] = "other"
            recent = [*recent[-200:], asked]
            answer = "```python\n" + " ".join(words(20, 150)) + "\n```"
            file.write(json.dumps({"instruction": " ".join(asked), "input": "", "output": answer}) + "\n")


def prepare_rows(path: Path, folder: Path) -> None:
    from tailora.pipeline import prepare
    from tailora.recipe import parse_recipe

    prepare(Run.open(parse_recipe({"name": "bench", "data": {"source": str(path)}}), folder))


def tokenize_rows(path: Path, folder: Path) -> None:
    from datasets import disable_progress_bars, load_dataset
    from transformers import AutoTokenizer

    from tailora.model.locate import bundled_models

    disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(bundled_models()["tailora-tiny"])
    rows = load_dataset("json", data_files=str(path), split="train", cache_dir=str(folder))
    rows.map(
        lambda batch: tokenizer([a + b for a, b in zip(batch["instruction"], batch["output"], strict=True)]),
        batched=True,
        num_proc=2,
    )


def measure(contender: str, path: Path) -> dict[str, float]:
    """Run one contender in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--contender", contender, "--data", path, "--folder", folder]
        return record.alone("prepare", words) or sys.exit(1)


def child(contender: str, path: Path, folder: Path) -> None:
    started = time.perf_counter()
    (prepare_rows if contender == CONTENDERS[0] else tokenize_rows)(path, folder)
    seconds = time.perf_counter() - started
    own, others = (resource.getrusage(who).ru_maxrss * 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    record.tell({"seconds": seconds, "bytes": max(own, others)})


def table(results: dict[int, dict[str, list[dict[str, float]]]], command: str) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("datasets", "tokenizers", "numpy"))
    lines = [
        f"{date.today()}, {describe()['processor']}, {cores()} cores, Python {platform.python_version()}, {versions}, "
        f"`{command}`",
        "",
        "| rows | contender | rows/s | seconds | peak MB | rows/s as a ratio |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for rows, by_name in results.items():
        peer = median(entry["seconds"] for entry in by_name[CONTENDERS[1]])
        for name, entries in by_name.items():
            seconds = median(entry["seconds"] for entry in entries)
            peak = max(entry["bytes"] for entry in entries) / 2**20
            lines.append(
                f"| {rows:,} | {name} | {rows / seconds:,.0f} | {seconds:.1f} | {peak:,.0f} | {peer / seconds:.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[25_000, 250_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.contender, asked.data, asked.folder)
        return
    results: dict[int, dict[str, list[dict[str, float]]]] = {}
    for count in asked.rows:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.jsonl"
            write_rows(path, count)
            results[count] = {name: [] for name in CONTENDERS}
            for _ in range(asked.rounds):
                for name in CONTENDERS:
                    results[count][name].append(measure(name, path))
    command = f"python benchmarks/prepare.py --rows {' '.join(map(str, asked.rows))} --rounds {asked.rounds}"
    sys.stdout.write(table(results, command) + "\n")


if __name__ == "__main__":
    main()
