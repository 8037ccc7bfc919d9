"""Text in, text out: a model that answers. Knows how to batch; does not know what answers are for."""

from collections.abc import Callable, Container, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from tailora.model.decode import Decoded, Draw, Limits, batches_of, decode
from tailora.model.load import Transformer, padding_id, refuse_unknown_ids
from tailora.text.chat import Prompts, Turns


class Answer(NamedTuple):
    """What the model said, and why it stopped: "end" by itself, "length" at the token limit."""

    text: str
    finish: str


class Engine:
    """A loaded model with the prompts of its tokenizer."""

    def __init__(self, model: Transformer, prompts: Prompts) -> None:
        self._model = model
        self._prompts = prompts

    def answer(
        self,
        conversations: Sequence[Turns],
        limits: Limits,
        advance: Callable[[int], None] = lambda count: None,
    ) -> list[Answer]:
        """Answer each conversation once; a row's answer does not depend on the rows beside it."""
        return [first for first, *_ in self.sample(conversations, limits._replace(samples=1), advance)]

    def sample(
        self,
        conversations: Sequence[Turns],
        limits: Limits,
        advance: Callable[[int], None] = lambda count: None,
    ) -> list[list[Answer]]:
        """Answer each conversation `limits.samples` times; `advance` is called with the answers of each batch."""
        found: dict[int, Answer] = {}
        prompts = [self._prompts.encode_prompt(turns) for turns in conversations]
        for answers in self.in_batches(prompts, limits):
            found |= answers
            advance(len(answers))
        turns = range(0, len(found), limits.samples)
        return [[found[number] for number in range(start, start + limits.samples)] for start in turns]

    def in_batches(
        self, prompts: Sequence[list[int]], limits: Limits, known: Container[int] = (), stops: Sequence[str] = ()
    ) -> Iterator[dict[int, Answer]]:
        """Yield the answers to prompts in tokens by number, batch by batch; those `known` as a whole are left out.

        Answer i is the one numbered i mod `limits.samples` to prompt i div `limits.samples`. What stands in a batch
        depends on the prompts and limits alone, so work that was interrupted goes on to the same answers. An answer
        ends before the first of `stops` that it says.
        """
        refuse_unknown_ids(self._model, prompts)
        draws = [Draw(prompt, number) for prompt in prompts for number in range(limits.samples)]
        for numbers in batches_of([len(draw.prompt) for draw in draws], limits.batch_size):
            if any(number not in known for number in numbers):
                decoded = decode(
                    self._model, [draws[number] for number in numbers], limits,
                    end_tokens=self._end_tokens(), pad_token=padding_id(self._model, self._prompts.tokenizer),
                    is_over=partial(self._says, stops) if stops else None,
                )  # fmt: skip
                yield {number: self._spoken(answer, stops) for number, answer in zip(numbers, decoded, strict=True)}

    def _says(self, stops: Sequence[str], tokens: list[int]) -> bool:
        """Say whether one of `stops` stands in the newest tokens, of which a character takes four at most."""
        tail = tokens[-4 * max(map(len, stops)) - 4 :]
        text = self._prompts.spell(tail)
        return any(stop in text for stop in stops)

    def _spoken(self, decoded: Decoded, stops: Sequence[str]) -> Answer:
        text = self._prompts.spell(decoded.tokens)
        places = [place for stop in stops if (place := text.find(stop)) >= 0]
        return Answer(text[: min(places)] if places else text, "end" if decoded.ended or places else "length")

    def _end_tokens(self) -> list[int]:
        declared = self._model.generation_config.eos_token_id
        declared = declared if isinstance(declared, list) else [declared]
        own = {self._prompts.tokenizer.eos_token_id, self._prompts.end_token}
        return sorted(own | {token for token in declared if token is not None})
