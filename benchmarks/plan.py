"""How near plans come: `tailora plan`, then `tailora train` and `evaluate`, each in a process of its own.

    python -m benchmarks.plan                       # the bundled model, the 135M shape, a large vocabulary
    python -m benchmarks.plan --shape tailora-tiny --rows 1000
    python -m benchmarks.plan --table               # what has been measured so far

Memory may be measured on a busy machine, time only on a quiet one.
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.train_throughput import build
from tailora.files import read_json
from tailora.model.locate import bundled_models
from tailora.run import Run

RESULTS = record.RESULTS / "plan.jsonl"
SHAPES = ("tailora-tiny", "135m", "gemma-270m")
# What differs from the recipe `demo`: enough steps to show how memory grows, and few enough to be measured often.
KEYS = {
    "tailora-tiny": ["train.epochs=1", "evaluate.rows=64"],
    "135m": ["train.epochs=1", "train.batch_size=8", "evaluate.rows=16", "evaluate.max_new_tokens=64"],
}
KEYS["gemma-270m"] = [*KEYS["135m"], "evaluate.general_passages=2"]
ROWS = {"tailora-tiny": 1000, "135m": 100, "gemma-270m": 100}


def base_of(shape: str, folder: Path) -> str:
    """Return the bundled model by name, or write a model of the shape with random weights and its tokenizer."""
    if shape == "tailora-tiny":
        return shape
    build(shape).bfloat16().save_pretrained(folder)  # as they are published
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bundled_models()["tailora-tiny"] / name, folder / name)
    return str(folder)


def child(verb: str, words: list[str], runs: Path) -> dict[str, Any]:
    """Plan, train or evaluate in this process; returns what was foretold, or what was used."""
    from tailora.pipeline import evaluate, plan, train
    from tailora.recipe import load_recipe

    run = Run.open(load_recipe("demo", words), runs)
    if verb == "plan":
        return asdict(plan(run))
    (train if verb == "train" else evaluate)(run)
    facts: dict[str, Any] = read_json(run.folder / verb / "stage.json")
    return facts


def alone(verb: str, words: list[str], runs: Path) -> dict[str, Any]:
    """Return what `child` returns, in a process whose peak of memory is its own."""
    return record.alone("plan", [verb, *words, "--runs", runs]) or sys.exit(1)


def measure(shape: str, rows: int, words: list[str]) -> dict[str, Any]:
    """Plan and run one shape; returns what was foretold beside what was used."""
    with tempfile.TemporaryDirectory() as folder:
        runs, base = Path(folder) / "runs", base_of(shape, Path(folder) / "base")
        keys = [f"model.base={base}", f"data.limit={rows}", *KEYS[shape], *words]
        planned = alone("plan", keys, runs)
        trained = alone("train", keys, runs)
        evaluated = alone("evaluate", keys, runs)
    used, own = trained["fitted"], trained["plan"]
    row = {
        "shape": shape, "rows": rows, "words": words, "steps": used["steps"],
        "planned_bytes": planned["train"]["peak_bytes"], "used_bytes": used["peak_bytes"],
        "planned_seconds": planned["train"]["seconds"], "used_seconds": used["seconds"],
        "planned_by_train_bytes": own["peak_bytes"], "planned_by_train_seconds": own["seconds"],
        "planned_stage_seconds": planned["train_seconds"], "used_stage_seconds": trained["seconds"],
        "planned_evaluate_seconds": planned["evaluate_seconds"], "used_evaluate_seconds": evaluated["seconds"],
        "planned_evaluate_bytes": planned["evaluate_bytes"], "used_evaluate_bytes": evaluated["peak_memory_bytes"],
        "weights_bytes": 2 * trained["weights"]["all"],
    }  # fmt: skip
    return record.noted(row)


def table() -> str:
    """Return all results as Markdown: what was foretold over what was used."""
    lines = [
        "| shape | steps | memory planned / used | ratio | training planned / used | ratio | evaluation: time ratio "
        "| memory planned / used | when |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in record.kept(RESULTS):
        lines.append(
            f"| {r['shape']} | {r['steps']} | {r['planned_bytes'] / 2**30:.2f} / {r['used_bytes'] / 2**30:.2f} GiB | "
            f"{r['planned_bytes'] / r['used_bytes']:.2f} | {r['planned_seconds']:.0f} / {r['used_seconds']:.0f} s | "
            f"{r['planned_seconds'] / r['used_seconds']:.2f} | "
            f"{r['planned_evaluate_seconds'] / r['used_evaluate_seconds']:.2f} | "
            f"{_evaluation_memory(r)} | {r['when']} |"
        )
    return "\n".join(lines)


def _evaluation_memory(row: dict[str, Any]) -> str:
    if "used_evaluate_bytes" not in row:  # measured before it was noted
        return ""
    planned, used = row["planned_evaluate_bytes"], row["used_evaluate_bytes"]
    return f"{planned / 2**30:.2f} / {used / 2**30:.2f} GiB ({planned / used:.2f})"


def main() -> None:
    """Measure the chosen shapes, or print the table."""
    parser = record.parser(__doc__)
    parser.add_argument("--shape", choices=SHAPES, nargs="+", default=list(SHAPES))
    parser.add_argument("--rows", type=int, help="rows of the bundled data; a number for each shape when left out")
    parser.add_argument("--runs", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="keys of the recipe to change")
    asked = parser.parse_intermixed_args()
    if asked.table:
        sys.stdout.write(table() + "\n")
    elif asked.child:
        record.tell(child(asked.words[0], asked.words[1:], asked.runs))
    else:
        for shape in asked.shape:
            row = measure(shape, asked.rows or ROWS[shape], asked.words)
            record.keep(row, RESULTS, json.dumps(row, indent=2))


if __name__ == "__main__":
    main()
