"""Pretrain tailora-tiny: a Llama of about six million weights, on whatever machine this is.

    python -m pretraining.pretrain --corpus DIR --out DIR --seconds 7200

The schedule runs on training seconds (warm-up, stable, linear decay), so the result is finished when the
time is, on a fast machine or a slow one. Stop it at any time with Ctrl-C or SIGTERM and start the same
command again: it goes on from its last checkpoint. The batch of a step depends on the seed and the step only.
"""

import argparse
import json
import math
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SHAPE = {
    "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 4, "max_position_embeddings": 1024, "tie_word_embeddings": True,
}  # fmt: skip
TOKENS_PER_STEP = 8192
WARM_UP_STEPS = 100
DECAY_SHARE = 0.35
MATRIX_LR, OTHER_LR = 4e-3, 6e-3


@dataclass
class Progress:
    """What a checkpoint must carry beside weights and optimizer state."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    log: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Stage:
    """A phase of the data: sequence length, and the share of prose-then-code pages in a batch."""

    length: int
    pairs: float


def stage_at(share: float) -> Stage:
    """Short sequences first; the decay sees the cleanest texts and the longest sequences."""
    if share < 0.15:
        return Stage(length=256, pairs=0.15)
    return Stage(length=512, pairs=0.2) if share < 1 - DECAY_SHARE else Stage(length=1024, pairs=0.4)


def lr_scale(step: int, share: float) -> float:
    """Warm-up, stable, linear decay to zero (WSD, arXiv 2404.06395 §4)."""
    return min(1.0, (step + 1) / WARM_UP_STEPS, max(0.0, (1 - share) / DECAY_SHARE))


class Model:
    """fp32 master weights with a working copy in bf16, Muon on matrices and AdamW on the rest."""

    def __init__(self, vocabulary: int, end: int, pad: int, device: str) -> None:
        torch.manual_seed(0)
        config = LlamaConfig(vocab_size=vocabulary, bos_token_id=end, eos_token_id=end, pad_token_id=pad, **SHAPE)
        master = LlamaForCausalLM(config)
        self.master = [p.detach().float().to(device).requires_grad_() for p in master.parameters()]
        self.network = master.to(device=device, dtype=torch.bfloat16)
        names = [name for name, _ in self.network.named_parameters()]
        pairs = list(zip(names, self.master, strict=True))
        matrices = [p for name, p in pairs if p.ndim == 2 and "embed" not in name]
        others = [p for name, p in pairs if p.ndim != 2 or "embed" in name]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=MATRIX_LR, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=OTHER_LR, weight_decay=0.0, betas=(0.9, 0.95)),
        ]
        self.base_lrs = [MATRIX_LR, OTHER_LR]
        self._compiled = torch.compile(self._loss)

    def _loss(self, tokens: Tensor) -> Tensor:
        hidden = self.network.model(tokens[:, :-1], use_cache=False).last_hidden_state
        logits = F.linear(hidden, self.network.lm_head.weight).float()
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    def step(self, batches: list[Tensor], scale: float) -> float:
        """One optimizer step over equally sized batches; returns the mean loss in nats per token."""
        total = 0.0
        for tokens in batches:
            loss = self._compiled(tokens) / len(batches)
            loss.backward()
            total += loss.item()
        for master, working in zip(self.master, self.network.parameters(), strict=True):
            master.grad = None if working.grad is None else working.grad.float()
            working.grad = None
        torch.nn.utils.clip_grad_norm_(self.master, 1.0)
        for optimizer, lr in zip(self.optimizers, self.base_lrs, strict=True):
            optimizer.param_groups[0]["lr"] = lr * scale
            optimizer.step()
        self._copy_down()
        return total

    def _copy_down(self) -> None:
        with torch.no_grad():
            for master, working in zip(self.master, self.network.parameters(), strict=True):
                working.copy_(master)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must carry of the model."""
        return {"master": self.master, "optimizers": [o.state_dict() for o in self.optimizers]}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        with torch.no_grad():
            for here, saved in zip(self.master, state["master"], strict=True):
                here.copy_(saved)
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self._copy_down()


def sample(corpus: dict[str, np.ndarray], stage: Stage, step: int) -> list[Tensor]:
    """The windows of one step, as batches of at most 4,096 tokens; depends on the stage and the step only."""
    rng = np.random.default_rng([17, step])
    rows = TOKENS_PER_STEP // stage.length
    windows = []
    for from_pairs in rng.random(rows) < stage.pairs:
        tokens = corpus["pairs" if from_pairs else "files"]
        start = rng.integers(0, len(tokens) - stage.length - 1)
        windows.append(tokens[start : start + stage.length + 1].astype(np.int64))
    stacked = torch.from_numpy(np.stack(windows))
    return list(stacked.split(4096 // stage.length))


def save(path: Path, model: Model, progress: Progress) -> None:
    """Write a checkpoint atomically."""
    partial = path.with_suffix(".partial")
    torch.save({**model.state(), "progress": asdict(progress)}, partial)
    partial.replace(path)


def export(model: Model, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model as a transformers directory with bf16 safetensors."""
    model.network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors are written readable by nobody else


def pretrain(corpus_folder: Path, out: Path, seconds: float) -> None:
    out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(corpus_folder / "tokenizer")
    corpus = {name: np.load(corpus_folder / f"{name}.npy", mmap_mode="r") for name in ("files", "pairs")}
    model = Model(len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id, device)
    progress, checkpoint = Progress(), out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        progress = Progress(**state["progress"])
        model.restore(state)
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _: stopped.append(got))

    last_save = progress.seconds
    while progress.seconds < seconds and not stopped:
        started = time.monotonic()
        share = progress.seconds / seconds
        batches = [b.to(device) for b in sample(corpus, stage_at(share), progress.step)]
        loss = model.step(batches, lr_scale(progress.step, share))
        if not math.isfinite(loss):
            raise RuntimeError(f"loss is {loss} at step {progress.step}")
        progress.step, progress.tokens = progress.step + 1, progress.tokens + TOKENS_PER_STEP
        progress.seconds += time.monotonic() - started
        if progress.step % 20 == 0:
            _log(out / "log.jsonl", progress, loss, share)
        if progress.seconds - last_save > 300:
            save(checkpoint, model, progress)
            export(model, tokenizer, out / "model")
            last_save = progress.seconds
    save(checkpoint, model, progress)
    export(model, tokenizer, out / "model")


def _log(path: Path, progress: Progress, loss: float, share: float) -> None:
    row = {"step": progress.step, "tokens": progress.tokens, "seconds": round(progress.seconds), "loss": round(loss, 4)}
    with path.open("a") as file:
        file.write(json.dumps({**row, "share": round(share, 4)}) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args()
    pretrain(args.corpus, args.out, args.seconds)
