"""The task "generate": a causal language model learns to answer."""

import datetime
import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tailora import machine, recipe, sandbox
from tailora.data.code_benchmarks import STUB, completed
from tailora.files import Row
from tailora.measure import metrics, prose, syntax
from tailora.model.load import Transformer, load_base, longest_input
from tailora.model.losses import LossSum, Path, choose_path, token_nats
from tailora.run import progress
from tailora.tasks.base import Metric, with_primary
from tailora.tasks.own import load_own, score_own
from tailora.text.chat import Prompts, Sample
from tailora.text.length_budget import Fitting, fit_rows

# Reference answers count as Python code when at least this share of them is.
_CODE_SHARE = 0.5
# The k of pass@k, as far as there are so many sampled answers.
_KS = (1, 5, 10, 100)
# A program that reaches its end passes this one.
_SMOKE_TEST = ["pass"]
_FAILED = ("failed", "error", "timeout")
_IMPORT_ERRORS = ("ImportError", "ModuleNotFoundError")
_NO_CODE = "fewer than half of the reference answers are Python code"
_CODE = "most reference answers are Python code and are compared as such"
_NO_SMOKE = "no program was run without tests"
_NO_HITS = "the evaluation did not record it"

METRICS = (
    Metric(
        "pass@1", "binary", "passed", True, written=True, meaning="the greedy answer passes all tests of its row",
        decides="the rows bring tests, and running is the strongest evidence",
    ),
    Metric(
        "bits per byte", "ratio", "bits", False, per="bytes", meaning="bits to encode one byte of the reference answer",
        decides="no tests were run; likelihood sees the smallest differences",
    ),
    Metric("answer NLL", "ratio", "nats", False, per="targets", meaning="nats per token of the reference answer"),
    Metric("perplexity", "ratio", "nats", False, per="targets", transform=np.exp, meaning="exp of the answer NLL"),
    Metric(
        "token accuracy", "ratio", "right", True, per="targets", share=True, absent=_NO_HITS,
        meaning="share of the reference's tokens that the model finds likeliest, given those before",
    ),
    Metric(
        "runs clean", "binary", "runs", True, written=True, absent=_NO_SMOKE,
        meaning="the answer's code runs to its end without an error: a smoke test, not correctness",
    ),
    Metric(
        "parse rate", "binary", "parses", True, written=True, absent=_NO_CODE,
        meaning="the answer's code is not empty and is valid Python",
    ),
    Metric(
        "AST match", "binary", "same_program", True, written=True, absent=_NO_CODE,
        meaning="the code has the reference's syntax tree but for docstrings and names of locals",
    ),
    Metric(
        "exact match", "binary", "exact", True, written=True,
        meaning="the answer equals the reference but for trailing space",
    ),
    Metric(
        "SQuAD exact match", "binary", "squad_exact", True, written=True, absent=_CODE,
        meaning="the answer has the reference's words but for case, punctuation and articles",
    ),
    Metric(
        "token F1", "mean", "token_f1", True, written=True, share=True, absent=_CODE,
        meaning="words shared with the reference, normalised as for SQuAD",
    ),
    Metric(
        "ROUGE-L", "mean", "rouge_l", True, written=True, share=True, absent=_CODE,
        meaning="F1 of the longest common subsequence of words with the reference",
    ),
    Metric(
        "chrF", "corpus", "chrf_counts", True, written=True, transform=metrics.chrf_of,
        meaning="character n-grams shared with the reference, 0–100, over all rows; similarity is not correctness",
    ),
    Metric(
        "code fence", "binary", "has_fence", True, explains=True, absent=_NO_CODE,
        meaning="answers with a code fence",
    ),
    Metric(
        "missing module", "binary", "lacks_module", False, explains=True, absent=_NO_SMOKE,
        meaning="answers whose code imports what the sandbox does not have; not counted by runs clean",
    ),
    Metric(
        "length ratio", "ratio", "length", False, per="reference_length", explains=True,
        meaning="characters of the answers by those of the references",
    ),
    Metric(
        "repetition", "mean", "repetition", False, share=True, explains=True,
        absent="no answer has four words",
        meaning="word 4-grams that the answer has said before",
    ),
    Metric("empty", "binary", "empty", False, explains=True, meaning="answers that are blank"),
    Metric(
        "cut off", "binary", "finish", False, read=lambda row: row["finish"] == "length", explains=True,
        meaning="answers that hit the limit of tokens",
    ),
    Metric(
        "echo", "binary", "echoes", False, explains=True, absent="no question has three words",
        meaning="answers that repeat the first eight words of the question",
    ),
)  # fmt: skip


class Reading(NamedTuple):
    """What a model makes of a sample: its loss in nats, and the tokens that it found likeliest among the learned."""

    nats: float
    right: int


class Generate:
    """Answers in text: likelihood of the reference, and what the generated answer is worth."""

    def __init__(
        self, settings: recipe.Evaluate, tokenizer: PreTrainedTokenizerBase, day: datetime.date | None = None
    ) -> None:
        self.prompts = Prompts(tokenizer, day)
        self._settings = settings
        self._own = load_own(settings.metrics)
        first, *rest = METRICS
        known = [first, *_sampled_metrics(settings.samples), *rest, *(own.metric for own in self._own)]
        self.metrics: Sequence[Metric] = with_primary(known, settings.primary)

    def load(self, settings: recipe.Model) -> PreTrainedModel:
        """Load the causal language model."""
        return load_base(settings)

    def longest(self, model: Transformer, settings: recipe.Model) -> int:
        """Return the most tokens that prompt and answer may have together."""
        return longest_input(model.config, settings)

    def fit(self, rows: Sequence[Row], longest: int, split: str) -> Fitting:
        """Encode rows and make them fit into `longest` tokens; answers are never cut."""
        return fit_rows(rows, self.prompts, longest, split)

    def choose_path(self, model: Transformer, settings: recipe.Train) -> Path:
        """Choose how losses are computed: packed where that gives the same numbers."""
        return choose_path(model, settings.kernels)

    def encode(self, row: Row) -> Sample:
        """Return prompt, answer and end token of a prepared row."""
        return self.prompts.encode(row["prompt"], row["answer"])

    def loss(self, model: Transformer, samples: list[Sample]) -> LossSum:
        """Return the summed negative log-likelihood of answer and end tokens, and their number."""
        nats = token_nats(model, samples).nats
        return LossSum(nats.sum(), len(nats))

    def row_losses(self, model: Transformer, samples: list[Sample]) -> list[float]:
        """Return −Σ ln p over each sample's answer and end token, in nats."""
        return [reading.nats for reading in self.row_readings(model, samples)]

    def row_readings(self, model: Transformer, samples: list[Sample]) -> list[Reading]:
        """Return the loss of each sample's answer and end token, and how many of them the model found likeliest."""
        with torch.inference_mode():
            nats, owner, right = token_nats(model, samples)
            assert right is not None  # which is so where no gradients are kept
            sums = torch.zeros(2, len(samples), dtype=torch.float64, device=nats.device)
            sums[0].index_add_(0, owner, nats.double())
            sums[1].index_add_(0, owner, right.double())
        return [Reading(loss, int(hits)) for loss, hits in zip(*sums.tolist(), strict=True)]

    def score(
        self,
        rows: Sequence[Row],
        answers: Sequence[str],
        samples: Sequence[Sequence[str]] | None = None,
        *,
        as_code: bool | None = None,
    ) -> list[Row]:
        """Return what the metrics read of each answer; None where a metric does not apply to the row.

        `samples` are further answers to each row, drawn at random: how many of them pass makes pass@k. Answers are
        compared `as_code` or as prose; as most references of these rows are, when left out.
        """
        drawn = samples or [()] * len(rows)
        as_code = are_code(rows) if as_code is None else as_code
        outcomes = self._run(rows, [[answer, *more] for answer, more in zip(answers, drawn, strict=True)], as_code)
        return [
            {
                **_ran(outcome[:1], bool(row.get("tests"))),
                **(_ran_samples(more, outcome[1:]) if samples else {}),
                **_compared(answer, row.get("answers") or [row["answer"]], as_code),
                **_as_text(answer, row),
                **score_own(self._own, answer, row),
                **{name: row[name] for name in ("topic", "domain") if name in row},
            }
            for row, answer, more, outcome in zip(rows, answers, drawn, outcomes, strict=True)
        ]

    def unsolved(self, rows: Sequence[Row]) -> list[str]:
        """Return the ids of rows whose own reference answer fails their tests: one of the two is wrong there."""
        tested = [row for row in rows if row.get("tests")]
        outcomes = self._run(tested, [[row["answer"]] for row in tested], as_code=False)
        return [row["id"] for row, (outcome,) in zip(tested, outcomes, strict=True) if outcome.status in _FAILED]

    def _run(self, rows: Sequence[Row], answers: Sequence[Sequence[str]], as_code: bool) -> list[list[sandbox.Outcome]]:
        """Return the outcome of each answer to a row with tests, and of the first one to a row of code without.

        A program that comes again in its row is not run again.
        """
        tests = [row.get("tests") or (_SMOKE_TEST if as_code else []) for row in rows]
        judged = [given if row.get("tests") else given[:1] for row, given in zip(rows, answers, strict=True)]
        codes = [
            [completed(metrics.extract_code(answer), row.get(STUB)) for answer in (given if asked else [])]
            for row, given, asked in zip(rows, judged, tests, strict=True)
        ]
        programs = {(i, code): tests[i] for i, given in enumerate(codes) for code in given}
        if not programs:
            return [[] for _ in rows]
        with progress("testing", len(programs)) as advance:
            finished = sandbox.run_many(
                [(code, asked) for (_, code), asked in programs.items()],
                workers=machine.cores(),
                progress=advance,
                seconds=self._settings.test_seconds,
                memory_bytes=self._settings.test_memory_mb * 2**20,
                within="any" if self._settings.unsafe_exec else "strong",
            )
        found = dict(zip(programs, finished, strict=True))
        return [[found[i, code] for code in given] for i, given in enumerate(codes)]


def nats_to_bits(nats: float) -> float:
    """Return an amount of information given in nats in bits."""
    return nats / math.log(2)


def are_code(rows: Sequence[Row]) -> bool:
    """Say whether at least half of the reference answers are Python, which decides how answers are compared."""
    code = sum(syntax.is_code(metrics.extract_code(row["answer"])) for row in rows)
    return code >= _CODE_SHARE * len(rows)


def _sampled_metrics(samples: int) -> list[Metric]:
    """Return unbiased pass@k for the usual k up to `samples`, and for `samples` itself where that is below five."""
    ks = sorted({k for k in _KS if k <= samples} | ({samples} if 0 < samples < 5 else set()))
    return [
        Metric(
            f"sampled pass@{k}", "mean", "sampled_passed", True, share=True, read=partial(_pass_at_k, k=k),
            meaning=f"chance that one of {k} sampled answers passes, estimated from {samples}"
            if k > 1
            else f"chance that a sampled answer passes, estimated from {samples}",
        )
        for k in ks
    ]  # fmt: skip


def _pass_at_k(row: Row, k: int) -> float:
    return metrics.pass_at_k(len(row["samples"]), row["sampled_passed"], k)


def _ran(outcomes: Sequence[sandbox.Outcome], tested: bool) -> Row:
    """Say how the greedy answer did, with tests or without; None is what is not known, since it was not run."""
    found: Row = {"passed": None, "tests": None, "runs": None, "lacks_module": None}
    for outcome in outcomes:
        well = None if outcome.status == "not run" else outcome.status == "passed"
        if tested:
            found |= {"passed": well, "tests": {"status": outcome.status, "detail": outcome.detail}}
        elif well is not None:
            lacks = outcome.status == "error" and outcome.detail.startswith(_IMPORT_ERRORS)
            found |= {"runs": None if lacks else well, "lacks_module": lacks}
    return found


def _ran_samples(samples: Sequence[str], outcomes: Sequence[sandbox.Outcome]) -> Row:
    known = bool(outcomes) and all(outcome.status != "not run" for outcome in outcomes)
    passed = sum(outcome.status == "passed" for outcome in outcomes) if known else None
    return {"samples": list(samples), "sampled_passed": passed}


def _compared(answer: str, references: Sequence[str], as_code: bool) -> Row:
    """Compare an answer with the references, as programs or as prose; what does not apply is None.

    Of several references the one that an answer is nearest to counts, for each score by itself (Rajpurkar et al. 2016).
    """
    code = metrics.extract_code(answer) if as_code else ""
    programs = [metrics.extract_code(reference) for reference in references] if as_code else []
    return {
        "exact": any(metrics.exact(answer, reference) for reference in references),
        "parses": metrics.parses(code) if as_code else None,
        "same_program": any(syntax.same_program(code, program) for program in programs) if as_code else None,
        "has_fence": metrics.has_fence(answer) if as_code else None,
        "squad_exact": None if as_code else any(prose.squad_exact(answer, reference) for reference in references),
        "token_f1": None if as_code else max(prose.token_f1(answer, reference) for reference in references),
        "rouge_l": None if as_code else max(prose.rouge_l(answer, reference) for reference in references),
    }


def _as_text(answer: str, row: Row) -> Row:
    """Return what is scored of any answer: similarity, and what explains a regression."""
    counts = metrics.chrf_counts(answer, row["answer"])
    asked = next((turn["content"] for turn in reversed(row.get("prompt", [])) if turn["role"] == "user"), "")
    return {
        "chrf": float(metrics.chrf_of(np.array([counts], dtype=np.float64))[0]),
        "chrf_counts": counts,
        "length": len(answer),
        "reference_length": len(row["answer"]),
        "repetition": prose.repetition(answer),
        "empty": not answer.strip(),
        "echoes": prose.echoes(answer, asked),
    }
