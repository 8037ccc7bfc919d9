"""How near plans come: `tailora plan`, then `tailora train` and `evaluate`, each in a process of its own.

    python -m benchmarks.plan                       # the bundled model and the 135M shape
    python -m benchmarks.plan --shape tailora-tiny --rows 1000
    python -m benchmarks.plan --table               # what has been measured so far

Memory may be measured on a busy machine, time only on a quiet one.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.train_throughput import build
from tailora import machine
from tailora.model.load import bundled_models

RESULTS = Path(__file__).parent / "results" / "plan.jsonl"
SHAPES = ("tailora-tiny", "135m")
# What differs from the recipe `demo`: enough steps to show how memory grows, and few enough to be measured often.
KEYS = {
    "tailora-tiny": ["train.epochs=1", "evaluate.rows=64"],
    "135m": ["train.epochs=1", "train.batch_size=8", "evaluate.rows=16", "evaluate.max_new_tokens=64"],
}
ROWS = {"tailora-tiny": 1000, "135m": 100}


def base_of(shape: str, folder: Path) -> str:
    """Return the bundled model by name, or write a model of the shape with random weights and its tokenizer."""
    if shape == "tailora-tiny":
        return shape
    build(shape).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bundled_models()["tailora-tiny"] / name, folder / name)
    return str(folder)


def child(verb: str, words: list[str], runs: Path) -> dict[str, Any]:
    """Plan, train or evaluate in this process; returns what was foretold, or what was used."""
    from tailora.pipeline import evaluate, plan, train
    from tailora.recipe import load_recipe

    recipe = load_recipe("demo", words)
    if verb == "plan":
        return asdict(plan(recipe, runs))
    (train if verb == "train" else evaluate)(recipe, runs)
    facts: dict[str, Any] = json.loads((runs / recipe.name / verb / "stage.json").read_text())
    return facts


def in_its_own_process(verb: str, words: list[str], runs: Path) -> dict[str, Any]:
    """Return what `child` returns, in a process whose peak of memory is its own."""
    line = [sys.executable, "-m", "benchmarks.plan", "--child", verb, "--runs", str(runs), *words]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{verb} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(shape: str, rows: int, words: list[str]) -> dict[str, Any]:
    """Plan and run one shape; returns what was foretold beside what was used."""
    with tempfile.TemporaryDirectory() as folder:
        runs, base = Path(folder) / "runs", base_of(shape, Path(folder) / "base")
        keys = [f"model.base={base}", f"data.limit={rows}", *KEYS[shape], *words]
        planned = in_its_own_process("plan", keys, runs)
        trained = in_its_own_process("train", keys, runs)
        evaluated = in_its_own_process("evaluate", keys, runs)
    used, own = trained["fitted"], trained["plan"]
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "shape": shape, "rows": rows, "words": words, "steps": used["steps"],
        "planned_bytes": planned["train"]["peak_bytes"], "used_bytes": used["peak_bytes"],
        "planned_seconds": planned["train"]["seconds"], "used_seconds": used["seconds"],
        "planned_by_train_bytes": own["peak_bytes"], "planned_by_train_seconds": own["seconds"],
        "planned_stage_seconds": planned["train_seconds"], "used_stage_seconds": trained["seconds"],
        "planned_evaluate_seconds": planned["evaluate_seconds"], "used_evaluate_seconds": evaluated["seconds"],
        "machine": {"processor": machine.describe()["processor"], "cores": machine.cores()},
        "versions": {name: machine.version(name) for name in ("torch", "transformers", "peft")},
    }  # fmt: skip


def table() -> str:
    """Return all results as Markdown: what was foretold over what was used."""
    lines = [
        "| shape | steps | memory planned / used | ratio | training planned / used | ratio | evaluation ratio | when |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for line in RESULTS.read_text().splitlines():
        r = json.loads(line)
        lines.append(
            f"| {r['shape']} | {r['steps']} | {r['planned_bytes'] / 2**30:.2f} / {r['used_bytes'] / 2**30:.2f} GiB | "
            f"{r['planned_bytes'] / r['used_bytes']:.2f} | {r['planned_seconds']:.0f} / {r['used_seconds']:.0f} s | "
            f"{r['planned_seconds'] / r['used_seconds']:.2f} | "
            f"{r['planned_evaluate_seconds'] / r['used_evaluate_seconds']:.2f} | {r['when']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure the chosen shapes, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, nargs="+", default=list(SHAPES))
    parser.add_argument("--rows", type=int, help="rows of the bundled data; a number for each shape when left out")
    parser.add_argument("--table", action="store_true", help="print the table of what was measured so far")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="keys of the recipe to change")
    asked = parser.parse_intermixed_args()
    if asked.table:
        sys.stdout.write(table() + "\n")
    elif asked.child:
        sys.stdout.write(json.dumps(child(asked.child, asked.words, asked.runs)) + "\n")
    else:
        for shape in asked.shape:
            result = measure(shape, asked.rows or ROWS[shape], asked.words)
            RESULTS.parent.mkdir(exist_ok=True)
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
            sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
