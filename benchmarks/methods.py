"""What each LoRA method costs and gives, on the bundled model and data, through one recipe.

    python -m benchmarks.methods                        every method that has no result yet, one after another
    python -m benchmarks.methods --method dora adalora  these, also when they have one
    python -m benchmarks.methods --table                write the table of all results into METHODS.md

Each method runs in a process of its own, so that the peak of memory is its own. A result is appended to
`benchmarks/results/methods.jsonl` at once, and an interrupted training goes on from its checkpoint.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import record
from tailora.files import read_json
from tailora.run import Run

RESULTS, PAGE = record.RESULTS / "methods.jsonl", Path(__file__).parent / "METHODS.md"
_MARKS = ("<!-- table -->", "<!-- end of table -->")

# The same rows, order, steps and rank for all; one answer token is generated, since likelihood is what is compared.
SHARED = [
    "data.limit=1500", "data.val=0.1", "data.test=0.3", "train.epochs=3", "train.batch_size=32", "train.lr=5e-3",
    "lora.rank=16", "evaluate.max_new_tokens=1", "evaluate.rows=400", "train.save_minutes=1000",
]  # fmt: skip
# name → what is said of it, and its recipe keys; rates other than the shared one are what the methods' rules give.
METHODS: dict[str, tuple[str, list[str]]] = {
    "lora": ("LoRA", []),
    "lora-auto": ('LoRA, train.lr = "auto"', ["train.lr=auto"]),
    "rslora": ("rsLoRA", ["lora.method=rslora"]),
    "dora": ("DoRA", ["lora.method=dora"]),
    "lora-plus": ("LoRA+ (16)", ["lora.lora_plus_ratio=16", "train.lr=1.25e-3"]),
    "pissa": ("PiSSA", ["lora.init=pissa"]),
    "olora": ("OLoRA", ["lora.init=olora", "train.lr=1e-3"]),
    "adalora": ("AdaLoRA, four times the rate", ["lora.method=adalora", "train.lr=2e-2"]),
    "top-2": ("LoRA, top 2 layers, prefix kept", ["lora.last_layers=2"]),
    "attention": ("LoRA, q_proj and v_proj only", ['lora.targets=["q_proj","v_proj"]']),
    "qlora": ("QLoRA (NF4)", ["model.quantize=nf4"]),
    "full": ("full, a tenth of the rate", ["lora.method=full", "train.lr=5e-4"]),
    "full-auto": ('full, train.lr = "auto"', ["lora.method=full", "train.lr=auto"]),
}
HEADER = (
    "| method | rate | validation loss | bits per byte, tuned | difference to base (95 % interval) | weights trained | "
    "peak GB | seconds | saved MB |"
)


def measure(name: str, runs: Path, extra: list[str]) -> dict[str, Any]:
    """Train and evaluate one method; returns its row."""
    from tailora.pipeline import evaluate
    from tailora.recipe import load_recipe

    said, keys = METHODS[name]
    comparison = evaluate(Run.open(load_recipe("demo", [*SHARED, *keys, *extra, f"name={name}"]), runs))
    folder = runs / name / "train"
    facts = read_json(folder / "stage.json")
    (bits,) = [e for e in comparison["metrics"] if (e["metric"], e["slice"]) == ("bits per byte", "all")]
    row = {
        "method": name, "said": said, "keys": [*SHARED, *keys, *extra], "lr": facts["lr"],
        "val_loss": [facts["fitted"]["first_val_loss"], facts["fitted"]["best_val_loss"]],
        "bits_per_byte": {key: bits[key] for key in ("base", "tuned", "difference", "low", "high", "n")},
        "trainable": facts["weights"]["trainable"], "weights": facts["weights"]["all"],
        "peak_bytes": facts["peak_memory_bytes"], "seconds": facts["fitted"]["seconds"],
        "steps": facts["fitted"]["steps"], "path": facts["path"],
        "saved_bytes": sum(file.stat().st_size for file in (folder / "adapter").glob("*.safetensors")),
        "ranks": facts.get("ranks"), "prefix": facts.get("prefix"),
    }  # fmt: skip
    row = record.noted(row, "bitsandbytes")
    row["machine"]["threads"] = os.environ.get("OMP_NUM_THREADS")
    return row


def results() -> dict[str, dict[str, Any]]:
    """Return the newest row of each method, in the order of METHODS."""
    newest = {row["method"]: row for row in record.kept(RESULTS)}
    return {name: newest[name] for name in METHODS if name in newest}


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return the rows as Markdown, with AdaLoRA's ranks below."""
    lines = [HEADER, "|" + "---|" * HEADER.count(" |")]
    for row in rows.values():
        bits = row["bits_per_byte"]
        lines.append(
            f"| {row['said']} | {row['lr']:g} | {row['val_loss'][1]:.4f} | {bits['tuned']:.4f} | "
            f"{bits['difference']:+.4f} ({bits['low']:+.4f} … {bits['high']:+.4f}) | {row['trainable']:,} | "
            f"{row['peak_bytes'] / 1e9:.2f} | {row['seconds']:,.0f} | {row['saved_bytes'] / 1e6:.2f} |"
        )
    first = next(iter(rows.values()))
    lines += [
        "",
        f"Base: {first['bits_per_byte']['base']:.4f} bits per byte, validation loss {first['val_loss'][0]:.4f}; "
        f"n = {first['bits_per_byte']['n']:,} test rows; {first['steps']} steps.",
        "",
        f"{first['machine']['processor']}, {first['machine']['cores']} cores, OMP_NUM_THREADS = "
        f"{first['machine']['threads']}, {first['when'][:10]}; "
        + ", ".join(f"{name} {version}" for name, version in first["versions"].items() if version)
        + ".",
    ]
    return "\n".join(lines + _rank_lines(rows))


def _rank_lines(rows: dict[str, dict[str, Any]]) -> list[str]:
    ranks = (rows.get("adalora") or {}).get("ranks")
    if not ranks:
        return []
    by_kind: dict[str, list[int]] = {}
    for name, rank in ranks.items():
        by_kind.setdefault(name.rpartition(".")[2], []).append(rank)
    counted = ", ".join(f"{count} × {rank}" for rank, count in sorted(Counter(ranks.values()).items()))
    lines = ["", f"AdaLoRA's final ranks ({sum(ranks.values())} in {len(ranks)} layers: {counted}), from first to "
             "last layer:", "", "| layer | ranks |", "|---|---|"]  # fmt: skip
    return lines + [f"| {kind} | {' '.join(map(str, found))} |" for kind, found in by_kind.items()]


def main() -> None:
    """Measure the chosen methods, or write the table."""
    parser = record.parser(__doc__)
    parser.add_argument("--method", choices=METHODS, nargs="+")
    parser.add_argument("--runs", type=Path, default=Path("runs/methods"), help="where the runs lie")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="keys for all, such as data.limit=300"
    )
    asked = parser.parse_args()
    if asked.child:
        record.tell(measure(asked.method[0], asked.runs, asked.set))
    elif asked.table:
        text = PAGE.read_text("utf-8")
        before, after = text.partition(_MARKS[0])[0], text.partition(_MARKS[1])[2]
        PAGE.write_text(f"{before}{_MARKS[0]}\n\n{table(results())}\n\n{_MARKS[1]}{after}", "utf-8")
    else:
        for name in asked.method or [name for name in METHODS if name not in results()]:
            _measured(name, asked.runs, asked.set)


def _measured(name: str, runs: Path, extra: list[str]) -> None:
    row = record.alone("methods", ["--method", name, "--runs", runs, *(["--set", *extra] if extra else [])])
    if row:
        said = f"{name:<12} {row['bits_per_byte']['tuned']:.4f} bits per byte  {row['seconds']:6.0f} s"
        record.keep(row, RESULTS, said)


if __name__ == "__main__":
    main()
