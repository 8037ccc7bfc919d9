"""The task "generate": a causal language model learns to answer."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tailora import machine, recipe
from tailora.files import Row
from tailora.measure import metrics, sandbox
from tailora.model.fit import LossSum
from tailora.model.losses import token_nats
from tailora.run import progress
from tailora.tasks.base import Metric
from tailora.text.prompts import Prompts, Sample

# Reference answers count as Python code when at least this share of them parses.
_CODE_SHARE = 0.5

METRICS = (
    Metric("pass@1", "binary", "passed", True, meaning="the first answer passes all tests of its row"),
    Metric("answer NLL", "ratio", "nats", False, per="targets", meaning="nats per token of the reference answer"),
    Metric("perplexity", "ratio", "nats", False, per="targets", transform=np.exp, meaning="exp of the answer NLL"),
    Metric(
        "bits per byte", "ratio", "bits", False, per="bytes", meaning="bits to encode one byte of the reference answer"
    ),
    Metric("parse rate", "binary", "parses", True, meaning="the answer's code is not empty and is valid Python"),
    Metric("exact match", "binary", "exact", True, meaning="the answer equals the reference but for trailing space"),
    Metric("chrF", "mean", "chrf", True, meaning="similarity to the reference, 0–100; not correctness"),
)


class Generate:
    """Answers in text: likelihood of the reference, and what the generated answer is worth."""

    metrics: Sequence[Metric] = METRICS

    def __init__(self, settings: recipe.Evaluate, tokenizer: Any) -> None:
        self.prompts = Prompts(tokenizer)
        self._settings = settings

    def encode(self, row: Row) -> Sample:
        """Return prompt, answer and end token of a prepared row."""
        return self.prompts.encode(row["prompt"], row["answer"])

    def loss(self, model: Any, samples: list[Sample]) -> LossSum:
        """Return the summed negative log-likelihood of answer and end tokens, and their number."""
        nats, _ = token_nats(model, samples)
        return LossSum(nats.sum(), len(nats))

    def row_losses(self, model: Any, samples: list[Sample]) -> list[float]:
        """Return −Σ ln p over each sample's answer and end token, in nats."""
        import torch

        with torch.inference_mode():
            nats, owner = token_nats(model, samples)
            sums = torch.zeros(len(samples), dtype=torch.float64, device=nats.device)
            return sums.index_add_(0, owner, nats.double()).tolist()  # type: ignore[no-any-return]

    def score(self, rows: Sequence[Row], answers: Sequence[str]) -> list[Row]:
        """Return pass, parse, exact match, chrF and fence of each answer; None where a score does not apply."""
        code_expected = _answers_are_code(rows)
        outcomes = self._run_tests(rows, answers)
        return [
            {
                "passed": None if outcome is None or outcome.status == "not run" else outcome.status == "passed",
                "tests": None if outcome is None else {"status": outcome.status, "detail": outcome.detail},
                "parses": metrics.parses(metrics.extract_code(answer)) if code_expected else None,
                "exact": metrics.exact(answer, row["answer"]),
                "chrf": metrics.chrf(answer, row["answer"]),
                "has_fence": metrics.has_fence(answer),
            }
            for row, answer, outcome in zip(rows, answers, outcomes, strict=True)
        ]

    def _run_tests(self, rows: Sequence[Row], answers: Sequence[str]) -> list[sandbox.Outcome | None]:
        numbers = [i for i, row in enumerate(rows) if row.get("tests")]
        jobs = [(metrics.extract_code(answers[i]), rows[i]["tests"]) for i in numbers]
        outcomes: list[sandbox.Outcome | None] = [None] * len(rows)
        if jobs:
            with progress("testing", len(jobs)) as advance:
                finished = sandbox.run_many(
                    jobs,
                    workers=machine.cores(),
                    progress=advance,
                    seconds=self._settings.test_seconds,
                    memory_bytes=self._settings.test_memory_mb * 2**20,
                    within="any" if self._settings.unsafe_exec else "strong",
                )
            outcomes = [None] * len(rows)
            for i, outcome in zip(numbers, finished, strict=True):
                outcomes[i] = outcome
        return outcomes


def nats_to_bits(nats: float) -> float:
    """Return an amount of information given in nats in bits."""
    return nats / math.log(2)


def _answers_are_code(rows: Sequence[Row]) -> bool:
    parsing = sum(metrics.parses(metrics.extract_code(row["answer"])) for row in rows)
    return parsing >= _CODE_SHARE * len(rows)
