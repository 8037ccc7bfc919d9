"""How fast LoRA training is, and how much memory it needs: tailora beside TRL and Trainer + PEFT.

    python -m benchmarks.train_throughput --shape 135m                    all contenders, one round
    python -m benchmarks.train_throughput --shape 135m --contender tailora trainer --rounds 3 --steps 4
    python -m benchmarks.train_throughput --table                         the table of all results so far

Every contender runs in a process of its own and in turn, round by round; each measurement is appended to
`benchmarks/results/<shape>.jsonl` at once, so a run can be made in pieces. Rows, their order, the first adapter
weights, the optimizer (AdamW, constant rate, clip 1) and the rows of a step are the same for all, but for the
contenders that pack or sort rows, which choose their own.
"""

import argparse
import json
import math
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tailora import machine
from tailora.text.prompts import Sample

RESULTS = Path(__file__).parent / "results"
LR, RANK, ALPHA, SEED = 2e-4, 16, 32, 0

# As on the hub: SmolLM2-135M and Qwen2.5-0.5B, both with the embedding as their head.
SHAPES: dict[str, dict[str, Any]] = {
    "135m": {
        "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192,
        "rope_theta": 100000.0, "tie_word_embeddings": True,
    },
    "0.5b": {
        "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "max_position_embeddings": 32768,
        "rope_theta": 1000000.0, "tie_word_embeddings": True,
    },
    "tailora-tiny": {},
}  # fmt: skip

# name → what is said of it, and the settings of its trainer ("tailora": recipe keys).
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "tailora": ("tailora, defaults", {}),
    "tailora-recompute": ("tailora, train.recompute", {"recompute": True}),
    "tailora-plain": ("tailora, train.path = plain", {"path": "plain"}),
    "trainer": ("Trainer + PEFT, float32", {}),
    "trainer-grouped": (
        "Trainer + PEFT, float32, grouped by length", {"train_sampling_strategy": "group_by_length"},
    ),
    "trainer-bf16": ("Trainer + PEFT, bf16 weights + autocast", {"bf16": True}),
    "trl": ("TRL, defaults (bf16 autocast, checkpointing)", {}),
    "trl-fp32": ("TRL, defaults but float32", {"bf16": False}),
    "trl-fp32-kept": ("TRL, float32, no checkpointing", {"bf16": False, "gradient_checkpointing": False}),
    "trl-grouped": (
        "TRL, float32, no checkpointing, grouped by length",
        {"bf16": False, "gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"},
    ),
    "trl-padding-free": (
        "TRL, float32, no checkpointing, padding-free",
        {"bf16": False, "gradient_checkpointing": False, "padding_free": True, "max_length": None},
    ),
    "trl-packing": (
        "TRL, float32, no checkpointing, packing (bfd, 2 × 1,024 tokens)",
        {"bf16": False, "gradient_checkpointing": False, "packing": True, "per_device_train_batch_size": 2},
    ),
    "trl-bf16": (
        "TRL, bf16 weights, no checkpointing, grouped by length",
        {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"},
    ),
    "trl-bf16-padding-free": (
        "TRL, bf16 weights, no checkpointing, padding-free",
        {"gradient_checkpointing": False, "padding_free": True, "max_length": None},
    ),
    "trl-bf16-packing": (
        "TRL, bf16 weights, no checkpointing, packing (bfd, 2 × 1,024 tokens)",
        {"gradient_checkpointing": False, "packing": True, "per_device_train_batch_size": 2},
    ),
}  # fmt: skip
_BF16_WEIGHTS = ("trainer-bf16", "trl-bf16", "trl-bf16-padding-free", "trl-bf16-packing")


class Step(NamedTuple):
    """One optimizer step: its wall time, its tokens without padding, and its loss per learned token."""

    seconds: float
    tokens: int
    loss: float


def draw_samples(count: int, vocabulary: int) -> list[Sample]:
    """Draw rows of random tokens: prompts of 20–80, answers log-normal with median 100 (σ = 0.8) cut at 512."""
    numbers = random.Random(SEED)
    samples = []
    for _ in range(count):
        prompt = numbers.randint(20, 80)
        answer = max(1, min(512, round(numbers.lognormvariate(math.log(100), 0.8))))
        tokens = [numbers.randrange(vocabulary) for _ in range(prompt + answer)]
        samples.append(Sample(tokens, [(prompt, prompt + answer)]))
    return samples


def build(shape: str) -> Any:
    """Build the model of a shape in float32: random weights, or the bundled model."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if shape == "tailora-tiny":
        from tailora import recipe
        from tailora.model.load import load_base

        return load_base(recipe.Model())
    torch.manual_seed(SEED)
    values = dict(SHAPES[shape])
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(values.pop("model_type"), **values)).to(
        machine.device()
    )


def run_tailora(model: Any, samples: list[Sample], batch: int, keys: dict[str, Any]) -> list[Step]:
    """Take a step on each `batch` of samples with tailora's engine."""
    import torch

    from tailora import recipe
    from tailora.model.fit import LossSum, accumulate
    from tailora.model.load import freeze_dtype
    from tailora.model.lora import add_lora, trainable
    from tailora.model.losses import choose_path, recompute_activations, token_nats

    machine.keep_freed_memory()
    settings = recipe.Train(**keys)
    model = add_lora(model, recipe.Lora(rank=RANK, alpha=ALPHA), SEED)
    freeze_dtype(model, recipe.Model())
    choose_path(model, settings.path)
    if settings.recompute:
        recompute_activations(model)

    def loss(network: Any, part: list[Sample]) -> LossSum:
        nats = token_nats(network, part).nats
        return LossSum(nats.sum(), len(nats))

    model.train()
    weights = list(trainable(model).values())
    optimizer = torch.optim.AdamW(weights, lr=LR, weight_decay=0.0)
    steps = []
    for start in range(0, len(samples), batch):
        rows, began = samples[start : start + batch], time.perf_counter()
        nats, targets = accumulate(model, rows, loss, settings.micro_tokens)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        wait()
        steps.append(Step(time.perf_counter() - began, sum(len(s.tokens) for s in rows), nats / targets))
    return steps


def run_peer(name: str, model: Any, samples: list[Sample], batch: int, keys: dict[str, Any]) -> list[Step]:
    """Take the same steps with transformers' Trainer or TRL's SFTTrainer."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    torch.manual_seed(SEED)
    model = get_peft_model(model, lora)
    if name in _BF16_WEIGHTS:  # after the adapters, which PEFT would round to bfloat16
        for weight in model.parameters():
            if not weight.requires_grad:
                weight.data = weight.data.to(torch.bfloat16)
    shared = {
        "output_dir": tempfile.mkdtemp(), "per_device_train_batch_size": batch, "num_train_epochs": 1,
        "learning_rate": LR, "lr_scheduler_type": "constant", "weight_decay": 0.0, "max_grad_norm": 1.0,
        "logging_steps": 1, "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "seed": SEED,
        "train_sampling_strategy": "sequential", "dataloader_pin_memory": False, "use_cpu": machine.device() == "cpu",
    }  # fmt: skip
    watch = meter()
    if name.startswith("trl"):
        from trl import SFTConfig, SFTTrainer

        rows = [{"input_ids": s.tokens, "completion_mask": [int(flag) for flag in s.flags()]} for s in samples]
        trainer = SFTTrainer(
            model=model, args=SFTConfig(**{"completion_only_loss": True, **shared, **keys}),
            train_dataset=Dataset.from_list(rows), processing_class=_tokenizer(), callbacks=[watch],
        )  # fmt: skip
    else:
        from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

        rows = [
            {"input_ids": s.tokens, "labels": [t if f else -100 for t, f in zip(s.tokens, s.flags(), strict=True)]}
            for s in samples
        ]
        trainer = Trainer(
            model=model, args=TrainingArguments(**{**shared, **keys}), train_dataset=Dataset.from_list(rows),
            data_collator=DataCollatorForSeq2Seq(_tokenizer(), padding=True), callbacks=[watch],
        )  # fmt: skip
    trainer.data_collator = _counting(trainer.data_collator, watch.tokens)
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return [Step(*step) for step in zip(watch.seconds, watch.tokens, losses, strict=False)]


def _counting(collate: Callable[[Any], Any], tokens: list[int]) -> Callable[[Any], Any]:
    """Return `collate`, which also notes the tokens of each batch before they are padded."""

    def counted(rows: list[dict[str, Any]]) -> Any:
        tokens.append(sum(len(row["input_ids"]) for row in rows))
        return collate(rows)

    return counted


def meter() -> Any:
    """Return a callback of Trainer that notes the seconds of each step."""
    from transformers import TrainerCallback

    class Meter(TrainerCallback):  # type: ignore[misc]
        """Seconds from one step's end to the next, data and bookkeeping included."""

        def __init__(self) -> None:
            self.seconds: list[float] = []
            self.tokens: list[int] = []

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self._last = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            wait()
            now = time.perf_counter()
            self.seconds.append(now - self._last)
            self._last = now

    return Meter()


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<end>": 1}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>")


def wait() -> None:
    """Wait until the GPU has done what it was asked, where there is one."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(shape: str, name: str, steps: int, batch: int) -> dict[str, Any]:
    """Train one contender for one step to warm up and `steps` that count; returns speed, memory and losses."""
    import torch

    peak = gemm_flops()
    model = build(shape)
    vocabulary = model.get_input_embeddings().num_embeddings
    samples = draw_samples((steps + 1) * batch, vocabulary)
    needed = flops_needed(model, samples)
    if name.startswith("tailora"):
        taken = run_tailora(model, samples, batch, CONTENDERS[name][1])
    else:
        taken = run_peer(name, model, samples, batch, CONTENDERS[name][1])
    counted = taken[1:]
    tokens, seconds = sum(step.tokens for step in counted), sum(step.seconds for step in counted)
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "shape": shape, "contender": name, "steps": len(counted), "rows_per_step": batch,
        "tokens": tokens, "seconds": round(seconds, 3),
        "tokens_per_second": tokens / seconds,
        "best_step": max(step.tokens / step.seconds for step in counted),
        "peak_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else machine.peak_memory_bytes(),
        "gemm_flops": peak, "flops_per_token": needed,
        "losses": [round(step.loss, 5) for step in taken],
        "machine": {"processor": machine.describe()["processor"], "cores": machine.cores(), "system": platform.system(),
                    "threads": torch.get_num_threads(), "bfloat16": machine.has_bfloat16()},
        "versions": {name: machine.version(name) for name in ("torch", "transformers", "peft", "trl", "accelerate")},
        "command": " ".join(["python", "-m", "benchmarks.train_throughput", *sys.argv[1:]]),
    }  # fmt: skip


def gemm_flops() -> dict[str, float]:
    """Return the best rate of torch.matmul in FLOP/s, for float32 and, where it is native, bfloat16."""
    import torch

    types = {"float32": torch.float32} | ({"bfloat16": torch.bfloat16} if machine.has_bfloat16() else {})
    size, best = 8192 if torch.cuda.is_available() else 2048, {}
    for name, kind in types.items():
        left, right = (torch.randn(size, size, device=machine.device()).to(kind) for _ in range(2))
        times = []
        for _ in range(8):
            began = time.perf_counter()
            torch.matmul(left, right)
            wait()
            times.append(time.perf_counter() - began)
        best[name] = 2 * size**3 / min(times)
    return best


def flops_needed(model: Any, samples: list[Sample]) -> float:
    """Return the FLOPs that LoRA training cannot avoid, per token of `samples`.

    Frozen layers 2N forward and 2N for the gradient of their input, adapters 6n, causal attention (half of the square)
    three times its forward, the head 4·width·vocabulary on learned tokens. Nothing is computed twice.
    """
    import torch

    head = model.get_output_embeddings()
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    frozen = sum(layer.weight.numel() for layer in layers)
    adapters = sum(RANK * sum(layer.weight.shape) for layer in layers)
    tokens = sum(len(s.tokens) for s in samples)
    learned = sum(s.targets for s in samples)
    heads = model.config.num_attention_heads
    width = heads * getattr(model.config, "head_dim", model.config.hidden_size // heads)
    squares = sum(len(s.tokens) ** 2 for s in samples)
    attention = 6 * squares * width * model.config.num_hidden_layers
    return float(4 * frozen + 6 * adapters + (4 * head.weight.numel() * learned + attention) / tokens)


def table(shape: str) -> str:
    """Return the results of a shape as Markdown, a table for each machine they were measured on."""
    rows = [json.loads(line) for line in (RESULTS / f"{shape}.jsonl").read_text().splitlines()]
    machines: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        machines.setdefault(_machine(row["machine"]), []).append(row)
    return "\n\n".join(f"{name}\n\n{_table(measured)}" for name, measured in machines.items())


def _machine(facts: dict[str, Any]) -> str:
    kind = "with bfloat16" if facts["bfloat16"] else "without bfloat16"
    return f"{facts['processor']}, {facts['cores']} cores, {kind}"


def _table(rows: list[dict[str, Any]]) -> str:
    """Return medians over rounds, and ratios to tailora's with its defaults."""
    limit = max(rate for row in rows for rate in row["gemm_flops"].values())
    by_name = {name: [row for row in rows if row["contender"] == name] for name in CONTENDERS}
    speed = {name: median(r["tokens_per_second"] for r in runs) for name, runs in by_name.items() if runs}
    memory = {name: max(r["peak_bytes"] for r in by_name[name]) for name in speed}
    lines = [
        "| | tokens/s (range) | tailora is faster by | peak GB | tailora needs | share of the GEMM limit | rounds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, value in sorted(speed.items(), key=lambda item: -item[1]):
        runs = by_name[name]
        rates = [r["tokens_per_second"] for r in runs]
        share = median(r["tokens_per_second"] * r["flops_per_token"] for r in runs) / limit
        lines.append(
            f"| {CONTENDERS[name][0]} | {value:,.0f} ({min(rates):,.0f}–{max(rates):,.0f}) | "
            f"{speed['tailora'] / value:.2f}× | {memory[name] / 1e9:.2f} | {memory['tailora'] / memory[name]:.0%} | "
            f"{share:.0%} | {len(runs)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the chosen contenders in turn, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="135m")
    parser.add_argument("--contender", choices=CONTENDERS, nargs="+", default=list(CONTENDERS))
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps that count, after one to warm up")
    parser.add_argument("--batch", type=int, default=8, help="rows in an optimizer step")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--table", action="store_true", help="print the table of what was measured so far")
    asked = parser.parse_args()
    if asked.table:
        for shape in SHAPES:
            if (RESULTS / f"{shape}.jsonl").exists():
                sys.stdout.write(f"\n## {shape}\n\n{table(shape)}\n")
        return
    if asked.child:
        sys.stdout.write(json.dumps(measure(asked.shape, asked.contender[0], asked.steps, asked.batch)) + "\n")
        return
    for _ in range(asked.rounds):
        for name in asked.contender:
            words = ["--shape", asked.shape, "--steps", str(asked.steps), "--batch", str(asked.batch)]
            _append(asked.shape, name, [*words, "--contender", name, "--child"])


def _append(shape: str, name: str, words: list[str]) -> None:
    """Measure in a process of its own, so that the peak of memory is this contender's, imports included."""
    line = [sys.executable, "-m", "benchmarks.train_throughput", *words]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "TOKENIZERS_PARALLELISM": "false"})
    if done.returncode:
        sys.stderr.write(f"{name}: failed\n{done.stderr[-3000:]}\n")
        return
    result = done.stdout.strip().splitlines()[-1]
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{shape}.jsonl").open("a", encoding="utf-8") as file:
        file.write(result + "\n")
    row = json.loads(result)
    sys.stdout.write(
        f"{name:<18} {row['tokens_per_second']:8,.0f} tokens/s  {row['peak_bytes'] / 1e9:6.2f} GB  {row['losses']}\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
