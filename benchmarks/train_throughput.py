"""How fast LoRA training is, and how much memory it needs: tailora beside TRL and Trainer + PEFT.

    python -m benchmarks.train_throughput --shape 135m                    all contenders, one round
    python -m benchmarks.train_throughput --shape 135m --contender tailora trainer --rounds 3 --steps 4
    python -m benchmarks.train_throughput --table                         the table of all results so far

Every contender runs in a process of its own and in turn, round by round; each measurement is appended to
`benchmarks/results/<shape>.jsonl` at once, so a run can be made in pieces. Rows, their order, the first adapter
weights, the optimizer (AdamW, constant rate, clip 1) and the rows of a step are the same for all, but for the
contenders that pack or sort rows, which choose their own.
"""

import math
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import record
from benchmarks.steps import Step, steps_of, summed, take_steps, trainer_keys, wait
from tailora import machine
from tailora.text.chat import Sample

RANK, ALPHA, SEED = 16, 32, 0

# As on the hub: SmolLM2-135M, Qwen2.5-0.5B and Gemma 3 270M, all with the embedding as their head.
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
    # Gemma 3 270M: almost two thirds of its weights are the embedding.
    "gemma-270m": {
        "model_type": "gemma3_text", "vocab_size": 262144, "hidden_size": 640, "intermediate_size": 2048,
        "num_hidden_layers": 18, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
        "max_position_embeddings": 32768, "sliding_window": 512, "query_pre_attn_scalar": 256,
        "tie_word_embeddings": True,
    },
    "tailora-tiny": {},
    "smollm2-135m-instruct": {},
    "gemma-3-270m": {},
}  # fmt: skip
# Real models (`tailora models get`) and the shapes with random weights that are to be as fast.
SAME_SHAPE = {"smollm2-135m-instruct": "135m", "gemma-3-270m": "gemma-270m"}

# name → what is said of it, and the settings of its trainer ("tailora": recipe keys).
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "tailora": ("tailora, defaults", {}),
    "tailora-recompute": ("tailora, train.gradient_checkpointing", {"gradient_checkpointing": True}),
    "tailora-plain": ("tailora, train.kernels = plain", {"kernels": "plain"}),
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
    """Build the model of a shape in float32: random weights, or those of a bundled or packaged model."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if not SHAPES[shape]:
        from tailora import recipe
        from tailora.model.load import load_base

        return load_base(recipe.Model(base=shape))
    torch.manual_seed(SEED)
    values = dict(SHAPES[shape])
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(values.pop("model_type"), **values)).to(
        machine.device()
    )


def run_tailora(model: Any, samples: list[Sample], batch: int, keys: dict[str, Any]) -> list[Step]:
    """Take a step on each `batch` of samples with tailora's engine."""
    from tailora import recipe
    from tailora.model.load import freeze_dtype
    from tailora.model.lora import add_lora
    from tailora.model.losses import LossSum, choose_path, recompute_activations, token_nats

    machine.keep_freed_memory()
    machine.keep_few_kernels()
    settings = recipe.Train(**keys)
    model = add_lora(model, recipe.Lora(rank=RANK, alpha=ALPHA), SEED)
    freeze_dtype(model, recipe.Model())
    choose_path(model, settings.kernels)
    if settings.gradient_checkpointing:
        recompute_activations(model)

    def loss(network: Any, part: list[Sample]) -> LossSum:
        nats = token_nats(network, part).nats
        return LossSum(nats.sum(), len(nats))

    return take_steps(model, samples, batch, loss, settings.micro_batch_tokens, _tokens)


def _tokens(rows: list[Sample]) -> int:
    return sum(len(sample.tokens) for sample in rows)


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
    settings = trainer_keys(batch, SEED)
    if name.startswith("trl"):
        from trl import SFTConfig, SFTTrainer

        rows = [{"input_ids": s.tokens, "completion_mask": [int(flag) for flag in s.flags()]} for s in samples]
        trainer = SFTTrainer(
            model=model, args=SFTConfig(**{"completion_only_loss": True, **settings, **keys}),
            train_dataset=Dataset.from_list(rows), processing_class=_tokenizer(),
        )  # fmt: skip
    else:
        from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

        rows = [
            {"input_ids": s.tokens, "labels": [t if f else -100 for t, f in zip(s.tokens, s.flags(), strict=True)]}
            for s in samples
        ]
        trainer = Trainer(
            model=model, args=TrainingArguments(**{**settings, **keys}), train_dataset=Dataset.from_list(rows),
            data_collator=DataCollatorForSeq2Seq(_tokenizer(), padding=True),
        )  # fmt: skip
    sizes: list[int] = []
    trainer.data_collator = _counting(trainer.data_collator, sizes)
    return steps_of(trainer, sizes)


def _counting(collate: Callable[[Any], Any], tokens: list[int]) -> Callable[[Any], Any]:
    """Return `collate`, which also notes the tokens of each batch before they are padded."""

    def counted(rows: list[dict[str, Any]]) -> Any:
        tokens.append(sum(len(row["input_ids"]) for row in rows))
        return collate(rows)

    return counted


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<end>": 1}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>")


def measure(shape: str, name: str, steps: int, batch: int) -> dict[str, Any]:
    """Train one contender for one step to warm up and `steps` that count; returns speed, memory and losses."""
    peak = gemm_flops()
    model = build(shape)
    vocabulary = model.get_input_embeddings().num_embeddings
    samples = draw_samples((steps + 1) * batch, vocabulary)
    needed = flops_needed(model, samples)
    if name.startswith("tailora"):
        taken = run_tailora(model, samples, batch, CONTENDERS[name][1])
    else:
        taken = run_peer(name, model, samples, batch, CONTENDERS[name][1])
    row = {
        "shape": shape, "contender": name, "rows_per_step": batch, **summed(taken, "tokens"),
        "gemm_flops": peak, "flops_per_token": needed,
        "weights_bytes": sum(weight.nbytes for weight in model.parameters()),
    }  # fmt: skip
    if name.startswith("tailora"):
        row["head"] = head_shares(model, samples[batch:], needed, sum(step.seconds for step in taken[1:]))
    return record.noted(row, "trl", "accelerate")


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
    tokens = _tokens(samples)
    learned = sum(s.targets for s in samples)
    heads = model.config.num_attention_heads
    width = heads * getattr(model.config, "head_dim", model.config.hidden_size // heads)
    squares = sum(len(s.tokens) ** 2 for s in samples)
    attention = 6 * squares * width * model.config.num_hidden_layers
    return float(4 * frozen + 6 * adapters + (4 * head.weight.numel() * learned + attention) / tokens)


def head_shares(model: Any, samples: list[Sample], flops: float, seconds: float) -> dict[str, float]:
    """Return the shares of the output head in the `flops` needed a token of `samples`, and in the `seconds` they took.

    The head is timed by itself, forward and back, on as many targets at a time as a pass of 1,024 tokens has.
    """
    import torch

    from tailora.model.head import Head, token_losses

    layer, learned = model.get_output_embeddings(), sum(sample.targets for sample in samples)
    head = Head(layer.weight.detach(), layer.bias, getattr(model.config, "final_logit_softcapping", None))
    most = round(1024 * learned / _tokens(samples))
    hidden = torch.randn(most, layer.weight.shape[1], device=model.device).to(layer.weight.dtype).requires_grad_()
    targets = torch.randint(0, len(layer.weight), (most,), device=model.device)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        token_losses(head, hidden, targets).sum().backward()
        wait()
        times.append(time.perf_counter() - began)
    needed = 4 * layer.weight.numel() * learned / _tokens(samples)
    return {"flops": needed / flops, "time": median(times) / most * learned / seconds}


def table(shape: str) -> str:
    """Return the results of a shape as Markdown, a table for each machine they were measured on."""
    machines: dict[str, list[dict[str, Any]]] = {}
    for row in record.kept(_results(shape)):
        machines.setdefault(_machine(row["machine"]), []).append(row)
    return "\n\n".join(f"{name}\n\n{_table(measured)}" for name, measured in machines.items())


def _results(shape: str) -> Path:
    return record.RESULTS / f"{shape}.jsonl"


def _machine(facts: dict[str, Any]) -> str:
    kind = "with bfloat16" if facts["bfloat16"] else "without bfloat16"
    return f"{facts['processor']}, {facts['cores']} cores, {kind}"


def _table(rows: list[dict[str, Any]]) -> str:
    """Return medians over rounds, and ratios to tailora's with its defaults."""
    limit = max(rate for row in rows for rate in row["gemm_flops"].values())
    found = record.rounds_of(rows, CONTENDERS, "tokens_per_second")
    ours = found["tailora"]
    lines = [
        "| | tokens/s (range) | tailora is faster by | peak GB | tailora needs | share of the GEMM limit | rounds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rounds in sorted(found.items(), key=lambda item: -item[1].rate):
        share = median(row["tokens_per_second"] * row["flops_per_token"] for row in rounds.rows) / limit
        lines.append(
            f"| {CONTENDERS[name][0]} | {rounds.said(0)} | {ours.rate / rounds.rate:.2f}× | "
            f"{rounds.peak_bytes / 1e9:.2f} | {ours.peak_bytes / rounds.peak_bytes:.0%} | {share:.0%} | "
            f"{len(rounds.rows)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the chosen contenders in turn, or print the table."""
    parser = record.parser(__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="135m")
    parser.add_argument("--contender", choices=CONTENDERS, nargs="+", default=list(CONTENDERS))
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps that count, after one to warm up")
    parser.add_argument("--batch", type=int, default=8, help="rows in an optimizer step")
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    if asked.table:
        for shape in filter(lambda shape: _results(shape).exists(), SHAPES):
            sys.stdout.write(f"\n## {shape}\n\n{table(shape)}\n")
    elif asked.child:
        record.tell(measure(asked.shape, asked.contender[0], asked.steps, asked.batch))
    else:
        for _ in range(asked.rounds):
            for name in asked.contender:
                _measured(asked.shape, name, asked.steps, asked.batch)


def _measured(shape: str, name: str, steps: int, batch: int) -> None:
    words = ["--shape", shape, "--steps", steps, "--batch", batch, "--contender", name]
    row = record.alone("train_throughput", words, TOKENIZERS_PARALLELISM="false")
    if row:
        speed, memory = row["tokens_per_second"], row["peak_bytes"] / 1e9
        said = f"{name:<18} {speed:8,.0f} tokens/s  {memory:6.2f} GB  {row['losses']}"
        record.keep(row, _results(shape), said)


if __name__ == "__main__":
    main()
