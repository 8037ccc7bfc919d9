"""What adapting only the top layers saves, with and without the kept states of the layers below.

    python -m benchmarks.prefix                        a 30-layer shape with random weights, top 15, 10 and 5 layers
    python -m benchmarks.prefix --shape tailora-tiny --top 2

The two ways take turns on the same rows, a step each, and the first step of each does not count. Filling the cache is
said apart: it is paid once and not in every epoch. Each result is appended to `benchmarks/results/prefix.jsonl`.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import record
from benchmarks.train_throughput import RANK, SEED, build, draw_samples
from tailora import recipe

RESULTS = record.RESULTS / "prefix.jsonl"


def measure(shape: str, top: int | None, rows: int, rounds: int) -> dict[str, Any]:
    """Return the seconds of a step with adapters on the `top` layers (None: all), and of one with kept states."""
    from tailora.model.fit import accumulate
    from tailora.model.load import freeze_dtype
    from tailora.model.lora import add_lora
    from tailora.model.losses import LossSum, choose_path, token_nats
    from tailora.model.prefix import keep_prefix

    model = add_lora(build(shape), recipe.Lora(rank=RANK, last_layers=top), SEED)
    freeze_dtype(model, recipe.Model())
    choose_path(model, "fast")
    samples = draw_samples(rows, model.get_input_embeddings().num_embeddings)
    model.train()

    def step() -> float:
        began = time.perf_counter()
        accumulate(model, samples, lambda m, part: LossSum((n := token_nats(m, part).nats).sum(), len(n)), 1024)
        model.zero_grad()
        return time.perf_counter() - began

    found: dict[str, Any] = {"shape": shape, "top": top, "tokens": sum(len(sample.tokens) for sample in samples)}
    plain, kept = [step()], []
    if top is not None:
        began = time.perf_counter()
        found["prefix"] = keep_prefix(model, samples, Path(tempfile.gettempdir()))._asdict()
        found["fill_seconds"] = time.perf_counter() - began
        prefix = model.tailora_prefix
        kept = [step()]
    for _ in range(rounds):
        if top is not None:
            model.tailora_prefix = prefix
            kept.append(step())
            del model.tailora_prefix
        plain.append(step())
    found |= {"seconds": median(plain[1:]), "seconds_kept": median(kept[1:]) if kept else None}
    return record.noted(found)


def main() -> None:
    """Measure all layers, then each number of top layers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="135m", choices=("135m", "0.5b", "tailora-tiny"))
    parser.add_argument("--top", type=int, nargs="+", default=[15, 10, 5])
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    whole = None
    for top in (None, *asked.top):
        row = measure(asked.shape, top, asked.rows, asked.rounds)
        whole = whole or row["seconds"]
        said = f"top {top or 'all':<4} {row['tokens'] / row['seconds']:8,.0f} tokens/s ({whole / row['seconds']:.2f}×)"
        if row["seconds_kept"]:
            said += f"; kept {row['tokens'] / row['seconds_kept']:8,.0f} ({whole / row['seconds_kept']:.2f}×)"
            said += f", filled in {row['fill_seconds']:.1f} s, {row['prefix']['bytes'] / 2**20:.1f} MiB"
        record.keep(row, RESULTS, said)


if __name__ == "__main__":
    main()
