"""How fast a DistilBERT-shaped classifier is trained: tailora beside transformers' Trainer + PEFT.

    python -m benchmarks.classify                                  all contenders, one round
    python -m benchmarks.classify --contender tailora max-128 --rounds 3 --steps 6
    python -m benchmarks.classify --table                          the table of all results so far

Every contender runs in a process of its own and in turn, round by round; each measurement is appended to
`benchmarks/results/classify.jsonl` at once. Rows, their order, the rows of a step, all first weights, the optimizer
(AdamW, constant rate, clip 1) and the modules that are trained are the same for all; dropout is off, so that losses can
be compared.
"""

import itertools
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.steps import Step, steps_of, summed, take_steps, trainer_keys
from tailora import machine
from tailora.text.chat import Sample

RESULTS = record.RESULTS / "classify.jsonl"
RANK, ALPHA, SEED, CLASSES = 8, 16, 0, 4
TARGETS, HEAD = ["q_lin", "v_lin"], ["pre_classifier", "classifier"]
VOCABULARY, MOST = 30522, 128
# Tokens of title and description of the AG News test rows under bert-base-uncased; their mean is 52.7.
QUANTILES = {0: 18, 0.01: 25, 0.1: 36, 0.25: 43, 0.5: 50, 0.75: 59, 0.9: 69, 0.95: 79, 0.99: 122, 0.999: 200, 1: 277}

# name → what is said of it, and its settings ("tailora": the type of frozen weights; others: padding and trainer keys).
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "tailora": ("tailora, defaults", {"dtype": "auto"}),
    "tailora-fp32": ("tailora, float32", {"dtype": "float32"}),
    "dynamic": ("Trainer + PEFT, float32, padded to the longest row of a batch", {"pad": None}),
    "grouped": (
        "Trainer + PEFT, float32, grouped by length",
        {"pad": None, "train_sampling_strategy": "group_by_length"},
    ),
    "max-128": ('Trainer + PEFT, float32, padding="max_length" of 128', {"pad": 128}),
    "max-256": ('Trainer + PEFT, float32, padding="max_length" of 256', {"pad": 256}),
    "dynamic-bf16": (
        "Trainer + PEFT, bf16 autocast, padded to the longest of a batch",
        {"pad": None, "bf16": True},
    ),
    "max-128-bf16": ('Trainer + PEFT, bf16 autocast, padding="max_length" of 128', {"pad": 128, "bf16": True}),
}


def draw_samples(count: int) -> list[Sample]:
    """Draw labelled rows of random tokens, as long as AG News is under BERT's tokenizer, cut at 128 tokens."""
    numbers = random.Random(SEED)
    samples = []
    for _ in range(count):
        length = min(MOST, _length(numbers.random()))
        tokens = [101, *(numbers.randrange(1000, VOCABULARY) for _ in range(length - 2)), 102]
        samples.append(Sample(tokens, [], numbers.randrange(CLASSES)))
    return samples


def _length(share: float) -> int:
    """Return the length below which a share of the 7,600 test rows lies, between measured quantiles."""
    for (low, least), (high, most) in itertools.pairwise(QUANTILES.items()):
        if low <= share <= high:
            return round(least + (most - least) * (share - low) / (high - low))
    raise ValueError(f"{share} is no share")


def build(folder: Path) -> Path:
    """Write a DistilBERT of the usual size with random weights and a head."""
    import torch
    from transformers import AutoModelForSequenceClassification, DistilBertConfig

    torch.manual_seed(SEED)
    config = DistilBertConfig(
        vocab_size=VOCABULARY, num_labels=CLASSES, dropout=0, attention_dropout=0, seq_classif_dropout=0
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return folder


def run_tailora(folder: Path, samples: list[Sample], batch: int, keys: dict[str, Any]) -> list[Step]:
    """Take a step on each `batch` of samples as tailora does."""
    import torch

    from tailora import recipe
    from tailora.model.classifier import choose_classifier_path, class_logits, load_classifier
    from tailora.model.load import choose_attention, freeze_dtype
    from tailora.model.lora import add_lora
    from tailora.model.losses import LossSum

    machine.keep_freed_memory()
    settings = recipe.Model(base=str(folder), dtype=keys["dtype"])
    model = load_classifier(settings, [str(number) for number in range(CLASSES)], 0, SEED)
    model = add_lora(model, recipe.Lora(rank=RANK, alpha=ALPHA, targets=TARGETS), SEED)
    freeze_dtype(model, settings)
    choose_classifier_path(model, "auto")
    choose_attention(model, max(len(sample.tokens) for sample in samples))

    def loss(network: Any, part: list[Sample]) -> LossSum:
        labels = torch.tensor([sample.label for sample in part], device=network.device)
        nats = torch.nn.functional.cross_entropy(class_logits(network, part), labels, reduction="sum")
        return LossSum(nats, len(part))

    return take_steps(model, samples, batch, loss, recipe.Train().micro_batch_tokens, size=len)


def run_trainer(folder: Path, samples: list[Sample], batch: int, keys: dict[str, Any]) -> list[Step]:
    """Take the same steps with transformers' Trainer, rows padded to `pad` tokens or to the longest of a batch."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, modules_to_save=HEAD, task_type="SEQ_CLS")
    torch.manual_seed(SEED)
    model = get_peft_model(model, lora)
    settings = {**trainer_keys(batch, SEED), **{key: value for key, value in keys.items() if key != "pad"}}
    trainer = Trainer(
        model=model, args=TrainingArguments(**settings),
        train_dataset=Dataset.from_list([{"input_ids": s.tokens, "labels": s.label} for s in samples]),
        data_collator=lambda rows: _padded(rows, keys["pad"]),
    )  # fmt: skip
    return steps_of(trainer, itertools.repeat(batch))


def _padded(rows: list[dict[str, Any]], pad: int | None) -> dict[str, Any]:
    import torch

    width = pad or max(len(row["input_ids"]) for row in rows)
    spaces = [width - len(row["input_ids"]) for row in rows]
    return {
        "input_ids": torch.tensor([row["input_ids"] + [0] * n for row, n in zip(rows, spaces, strict=True)]),
        "attention_mask": torch.tensor([[1] * (width - n) + [0] * n for n in spaces]),
        "labels": torch.tensor([row["labels"] for row in rows]),
    }


def measure(name: str, steps: int, batch: int) -> dict[str, Any]:
    """Train one contender for one step to warm up and `steps` that count; returns speed, memory and losses."""
    samples = draw_samples((steps + 1) * batch)
    with tempfile.TemporaryDirectory() as folder:
        run = run_tailora if name.startswith("tailora") else run_trainer
        taken = run(build(Path(folder)), samples, batch, CONTENDERS[name][1])
    return record.noted({"contender": name, "rows_per_step": batch, **summed(taken, "rows")})


def table() -> str:
    """Return the results as Markdown: medians over rounds, ratios to tailora's defaults and to its float32."""
    found = record.rounds_of(record.kept(RESULTS), CONTENDERS, "rows_per_second")
    lines = [
        "| | rows/s (range) | tailora is faster by | its float32 by | peak GB | runs |",
        "|---|---|---|---|---|---|",
    ]
    for name, rounds in sorted(found.items(), key=lambda item: -item[1].rate):
        ratios = [
            f"{found[own].rate / rounds.rate:.2f}×" if own in found else "" for own in ("tailora", "tailora-fp32")
        ]
        lines.append(
            f"| {CONTENDERS[name][0]} | {rounds.said(1)} | {ratios[0]} | {ratios[1]} | "
            f"{rounds.peak_bytes / 1e9:.2f} | {len(rounds.rows)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the chosen contenders in turn, or print the table."""
    parser = record.parser(__doc__)
    parser.add_argument("--contender", choices=CONTENDERS, nargs="+", default=list(CONTENDERS))
    parser.add_argument("--steps", type=int, default=4, help="optimizer steps that count, after one to warm up")
    parser.add_argument("--batch", type=int, default=32, help="rows in an optimizer step")
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    if asked.table:
        sys.stdout.write(f"{table()}\n")
    elif asked.child:
        record.tell(measure(asked.contender[0], asked.steps, asked.batch))
    else:
        for _ in range(asked.rounds):
            for name in asked.contender:
                _measured(name, asked.steps, asked.batch)


def _measured(name: str, steps: int, batch: int) -> None:
    words = ["--steps", steps, "--batch", batch, "--contender", name]
    row = record.alone("classify", words, TOKENIZERS_PARALLELISM="false")
    if row:
        speed, memory = row["rows_per_second"], row["peak_bytes"] / 1e9
        record.keep(row, RESULTS, f"{name:<14} {speed:7.1f} rows/s  {memory:5.2f} GB  {row['losses']}")


if __name__ == "__main__":
    main()
