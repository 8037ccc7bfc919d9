"""How fast evaluation is: likelihoods beside lm-evaluation-harness, answers beside a loop over `generate`.

Likelihoods are of answers to as many questions, or of "choices": questions with four endings each.

    python -m benchmarks.evaluate                                    all kinds, all contenders, on the bundled model
    python -m benchmarks.evaluate --shape 135m --kind answers --rows 16 --rounds 3
    python -m benchmarks.evaluate --table                            the table of all results so far

Every contender has a process of its own, and they take turns; each measurement is appended to
`benchmarks/results/evaluate-<shape>.jsonl`. All get the same token ids and the same model with the same adapter, so
what is compared is the way from tokens to numbers or tokens. What comes out is compared with tailora's: the largest
relative difference of the likelihoods, and the share of answers with the very same tokens.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.train_throughput import ALPHA, RANK, SEED, SHAPES, build, draw_samples
from tailora import machine, recipe
from tailora.text.chat import Sample

NEW_TOKENS, BATCH, MICRO_TOKENS, LONGEST = 128, 32, 1024, 1024

Task = Callable[[Any, list[Sample]], list[Any]]


def weigh_with_tailora(model: Any, samples: list[Sample]) -> list[Any]:
    """Return the nats of each sample's answer."""
    from tailora.model.losses import reading_batches
    from tailora.tasks.generate import Generate

    machine.keep_freed_memory()
    _choose_path_once(model)
    task = Generate(recipe.Evaluate(), _tokenizer())
    numbers = {id(sample): number for number, sample in enumerate(samples)}
    found: dict[int, float] = {}
    for batch in reading_batches(model, samples, MICRO_TOKENS):
        losses = task.row_losses(model, batch)
        found |= {numbers[id(sample)]: loss for sample, loss in zip(batch, losses, strict=True)}
    return [found[number] for number in range(len(samples))]


def weigh_with_lm_eval(size: int) -> Task:
    """Return what asks lm_eval's backend for transformers in batches of `size`, from tokens, as its tasks do."""

    def weigh(model: Any, samples: list[Sample]) -> list[Any]:
        from lm_eval.models.huggingface import HFLM

        lm = HFLM(pretrained=model, tokenizer=_tokenizer(), batch_size=size, max_length=LONGEST)
        starts = [sample.answer_start for sample in samples]
        pairs = [(("", ""), s.tokens[:start], s.tokens[start:]) for s, start in zip(samples, starts, strict=True)]
        return [-float(likelihood) for likelihood, _ in lm._loglikelihood_tokens(pairs, disable_tqdm=True)]

    return weigh


def _choose_path_once(model: Any) -> None:
    """Choose the path in the rows that warm up, as an evaluation does once at its start."""
    from tailora.model.losses import choose_path

    if not hasattr(model, "tailora_path"):
        choose_path(model, "auto")


def answer_with_tailora(model: Any, samples: list[Sample]) -> list[Any]:
    """Return the new tokens of each prompt."""
    from tailora.model.decode import Draw, Limits, batches_of, decode

    machine.keep_freed_memory()
    _choose_path_once(model)
    limits = Limits(NEW_TOKENS, LONGEST, BATCH)
    found: dict[int, list[int]] = {}
    for rows in batches_of([sample.answer_start for sample in samples], BATCH):
        draws = [Draw(samples[row].tokens[: samples[row].answer_start]) for row in rows]
        answers = decode(model, draws, limits, end_tokens=[_end(model)], pad_token=_end(model))
        found |= {row: answer.tokens for row, answer in zip(rows, answers, strict=True)}
    return [found[number] for number in range(len(samples))]


def answer_with_generate(size: int) -> Task:
    """Return the loop over transformers' `generate`, `size` prompts of similar length at a time."""

    def answer(model: Any, samples: list[Sample]) -> list[Any]:
        import torch
        from transformers import GenerationConfig

        from tailora.model.decode import batches_of

        end, found = _end(model), {}
        settings = GenerationConfig(do_sample=False, max_new_tokens=NEW_TOKENS, eos_token_id=end, pad_token_id=end)
        for rows in batches_of([sample.answer_start for sample in samples], size):
            prompts = [samples[row].tokens[: samples[row].answer_start] for row in rows]
            width = max(map(len, prompts))
            tokens = torch.tensor([[end] * (width - len(p)) + p for p in prompts], device=model.device)
            mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
            with torch.inference_mode():
                full = model.generate(input_ids=tokens, attention_mask=mask, generation_config=settings)
            for row, new in zip(rows, full[:, width:].tolist(), strict=True):
                found[row] = new[: new.index(end)] if end in new else new
        return [found[number] for number in range(len(samples))]

    return answer


_WEIGHING: dict[str, tuple[str, Task]] = {
    "tailora": ("tailora", weigh_with_tailora),
    "lm_eval-1": ("lm_eval, batches of 1 (its default)", weigh_with_lm_eval(1)),
    "lm_eval-8": ("lm_eval, batches of 8", weigh_with_lm_eval(8)),
    "lm_eval-32": ("lm_eval, batches of 32", weigh_with_lm_eval(32)),
}
# kind → name → what it says of itself, and what it does. The first of each kind is ours.
CONTENDERS: dict[str, dict[str, tuple[str, Task]]] = {
    "likelihoods": _WEIGHING,
    "choices": _WEIGHING,
    "answers": {
        "tailora": ("tailora, batches of 32", answer_with_tailora),
        "generate-1": ("a loop over generate", answer_with_generate(1)),
        "generate-32": ("generate, batches of 32 sorted by length", answer_with_generate(32)),
    },
}


def draw_rows(shape: str, count: int, vocabulary: int) -> list[Sample]:
    """Return `count` rows: bundled questions and answers for the bundled model, random tokens for a shape."""
    if shape != "tailora-tiny":
        return draw_samples(count, vocabulary)
    from tailora.data.read import bundled_data
    from tailora.model.load import load_tokenizer
    from tailora.text.chat import Prompts

    prompts = Prompts(load_tokenizer(recipe.Model()))
    lines = bundled_data()["python_qa"].read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines[:: len(lines) // count][:count]]
    return [prompts.encode([{"role": "user", "content": row["instruction"]}], row["output"]) for row in rows]


def draw_choices(shape: str, count: int, vocabulary: int) -> list[Sample]:
    """Return `count` rows, four endings of 5–25 tokens to each question of 60–120, cut from what `draw_rows` draws."""
    numbers, text = random.Random(SEED), [token for row in draw_rows(shape, 64, vocabulary) for token in row.tokens]

    def piece(least: int, most: int) -> list[int]:
        start, length = numbers.randrange(len(text) - most), numbers.randint(least, most)
        return text[start : start + length]

    questions = [piece(60, 120) for _ in range(0, count, 4)]
    pairs = [(questions[number // 4], piece(5, 25)) for number in range(count)]
    return [Sample(asked + said, [(len(asked), len(asked) + len(said))]) for asked, said in pairs]


def _end(model: Any) -> int:
    declared = model.config.eos_token_id
    return declared if isinstance(declared, int) else 0


def _tokenizer() -> Any:
    from tailora.model.load import load_tokenizer

    return load_tokenizer(recipe.Model())  # lm_eval wants one; tokens are given


def measure(shape: str, kind: str, name: str, count: int, dtype: Any) -> dict[str, Any]:
    """Let one contender do two rows to warm up, then all that count; returns speed, memory and what came out."""
    import torch

    from tailora.model.load import freeze_dtype
    from tailora.model.lora import add_lora

    model = add_lora(build(shape).eval(), recipe.Lora(rank=RANK, alpha=ALPHA), SEED).eval()
    with torch.no_grad():
        for weight_name, weight in model.named_parameters():
            if "lora_B" in weight_name:
                weight.normal_(std=1e-3)
    freeze_dtype(model, recipe.Model(dtype=dtype))
    draw = draw_choices if kind == "choices" else draw_rows
    samples = draw(shape, count, model.get_input_embeddings().num_embeddings)
    work = CONTENDERS[kind][name][1]
    work(model, samples[:2])
    began = time.perf_counter()
    found = work(model, samples)
    seconds = time.perf_counter() - began
    row = {
        "shape": shape, "kind": kind, "contender": name, "rows": count, "dtype": str(next(model.parameters()).dtype),
        "seconds": round(seconds, 3),
        "rows_per_second": count / seconds, "peak_bytes": machine.held_memory_bytes(),
        "tokens": sum(map(len, found)) if kind == "answers" else sum(len(s.tokens) for s in samples),
        "found": found,
    }  # fmt: skip
    return record.noted(row, "lm-eval")


def agreement(kind: str, ours: list[Any], theirs: list[Any]) -> float:
    """Return the largest relative difference of likelihoods, or the share of answers with the same tokens."""
    pairs = list(zip(ours, theirs, strict=True))
    if kind != "answers":
        return float(max(abs(a - b) / abs(b) for a, b in pairs))
    return float(sum(a == b for a, b in pairs) / len(pairs))


def table(shape: str, dtype: str = "torch.float32") -> str:
    """Return the results of a shape as Markdown: medians over rounds, and ratios to tailora of the same rows."""
    rows = [row for row in record.kept(_results(shape)) if row["dtype"] == dtype]
    lines = [
        "| | rows | rows/s (range) | tailora is faster by | peak GB | same results | runs |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, contenders in CONTENDERS.items():
        found = record.rounds_of([row for row in rows if row["kind"] == kind], contenders, "rows_per_second")
        for name, rounds in found.items():
            agreed = [row["agreement"] for row in rounds.rows if row["agreement"] is not None]
            same = "" if not agreed else f"{min(agreed):.0%}" if kind == "answers" else f"{max(agreed):.1e} apart"
            lines.append(
                f"| {kind}: {contenders[name][0]} | {rounds.rows[0]['rows']} | {rounds.said(2)} | "
                f"{found['tailora'].rate / rounds.rate:.2f}× | {rounds.peak_bytes / 1e9:.2f} | {same} | "
                f"{len(rounds.rows)} |"
            )
    return "\n".join(lines)


def _results(shape: str) -> Path:
    return record.RESULTS / f"evaluate-{shape}.jsonl"


def main() -> None:
    """Run the chosen contenders in turn, or print the table."""
    parser = record.parser(__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="tailora-tiny")
    parser.add_argument("--kind", choices=CONTENDERS, nargs="+", default=list(CONTENDERS))
    parser.add_argument("--contender", nargs="+", help="all when left out; tailora is always there")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the frozen weights")
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    if asked.table:
        for shape in filter(lambda shape: _results(shape).exists(), SHAPES):
            sys.stdout.write(f"\n## {shape}\n\n{table(shape)}\n")
    elif asked.child:
        record.tell(measure(asked.shape, asked.kind[0], asked.contender[0], asked.rows, asked.dtype))
    else:
        for _ in range(asked.rounds):
            for kind in asked.kind:
                _round(asked, kind)


def _round(asked: argparse.Namespace, kind: str) -> None:
    ours: list[Any] | None = None
    names = asked.contender or list(CONTENDERS[kind])
    for name in ["tailora", *(name for name in names if name != "tailora")]:
        words = ["--shape", asked.shape, "--rows", asked.rows, "--dtype", asked.dtype]
        words += ["--kind", kind, "--contender", name]
        row = record.alone("evaluate", words, TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
        if row is None:
            continue
        found = row.pop("found")
        ours = found if ours is None else ours
        row["agreement"] = None if name == "tailora" else agreement(kind, ours, found)
        said = f"{kind:<12} {name:<12} {row['rows_per_second']:8.2f} rows/s  {row['agreement']}"
        record.keep(row, _results(asked.shape), said)


if __name__ == "__main__":
    main()
