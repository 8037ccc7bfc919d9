"""A model as lm-evaluation-harness asks one: its backend for transformers, with our engine below."""

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, TextIO

from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from transformers import PreTrainedTokenizerBase

from tailora.errors import DataError, RunError
from tailora.model.decode import Limits
from tailora.model.load import Transformer
from tailora.tasks.harness_requests import Asked, Cut
from tailora.text.chat import Sample

# What a task may say of how answers are made; the last three mean nothing where the likeliest token is taken.
_KNOWN = {"until", "do_sample", "temperature", "max_gen_toks"}
_OF_CHANCE = {"top_p", "top_k", "min_p"}


class HarnessModel(HFLM):  # type: ignore[misc]
    """What the harness takes for a model; `counted` holds what was cut. Progress is shown on `screen`."""

    def __init__(
        self, model: Transformer, tokenizer: PreTrainedTokenizerBase, limits: Limits, asked: Asked, screen: TextIO
    ) -> None:
        # A window and the token that it foretells last fill the model; all windows of a text come at once.
        longest = limits.longest - 1
        super().__init__(pretrained=model, tokenizer=tokenizer, max_length=longest, batch_size=sys.maxsize)
        self.counted = Cut()
        self._limits, self._asked, self._screen = limits, asked, screen

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        samples = [self._sample(context, answer) for _, context, answer in requests]
        with contextlib.redirect_stderr(self._screen):
            readings = self._asked.weigh(samples)
        pairs = zip(readings, samples, strict=True)
        return [(-reading.nats, reading.right == sample.targets) for reading, sample in pairs]

    def _sample(self, context: list[int], answer: list[int]) -> Sample:
        if not answer:
            raise DataError("the tokenizer makes no token of an answer, so it has no likelihood.")
        tokens = self._shortened(context + answer, self._limits.longest)
        return Sample(tokens, [(max(1, len(tokens) - len(answer)), len(tokens))])

    def _shortened(self, tokens: list[int], longest: int) -> list[int]:
        self.counted.requests += 1
        self.counted.cut += len(tokens) > longest
        return tokens[-longest:]

    def generate_until(self, requests: Any, **_: Any) -> list[str]:
        """Return the answer to each request."""
        found: dict[int, str] = {}
        for numbers in _alike([request.args for request in requests]):
            prompts = [requests[number].args[0] for number in numbers]
            found |= zip(numbers, self._answers(prompts, requests[numbers[0]].args[1], numbers[0]), strict=True)
        return [found[number] for number in range(len(requests))]

    def _answers(self, prompts: list[str], wishes: dict[str, Any], first: int) -> list[str]:
        way = _way(wishes, self.max_gen_toks)
        room = self._limits.longest - way["max_gen_toks"]
        if room < 1:
            raise RunError(
                f"a task wants answers of {way['max_gen_toks']:,} tokens, and the model reads "
                f"{self._limits.longest:,}; raise model.max_length."
            )
        tokens = [self._shortened(self.tok_encode(prompt), room) for prompt in prompts]
        most = self._limits._replace(max_new_tokens=way["max_gen_toks"], temperature=way["temperature"], seed=first)
        with contextlib.redirect_stderr(self._screen):
            return self._asked.answer(tokens, most, way["until"])


def _alike(requests: Sequence[tuple[str, dict[str, Any]]]) -> list[list[int]]:
    """Return the numbers of requests that are answered in one way; one that is repeated is drawn anew each time."""
    times: Counter[str] = Counter()
    groups: dict[tuple[int, str], list[int]] = {}
    for number, (prompt, wishes) in enumerate(requests):
        way = json.dumps(wishes, sort_keys=True, default=str)
        groups.setdefault((times[way + prompt], way), []).append(number)
        times[way + prompt] += 1
    return list(groups.values())


def _way(wishes: dict[str, Any], most: int) -> dict[str, Any]:
    """Return how answers are made, in the harness's words; raise RunError when ours are not made in that way."""
    way: dict[str, Any] = {"temperature": 0.0, **normalize_gen_kwargs(wishes, most)}
    strange = way.keys() - _KNOWN - (set() if way["do_sample"] else _OF_CHANCE)
    if strange:
        raise RunError(f"a task makes answers by {', '.join(sorted(strange))}, which tailora does not know.")
    return way
