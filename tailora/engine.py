"""Text in, text out: a model that answers. Knows how to batch; does not know what answers are for."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tailora.model.decode import Limits, decode_greedy
from tailora.text.prompts import Prompts, Turns


class Answer(NamedTuple):
    """What the model said, and why it stopped: "end" by itself, "length" at the token limit."""

    text: str
    finish: str


class Engine:
    """A loaded model with the prompts of its tokenizer."""

    def __init__(self, model: Any, prompts: Prompts) -> None:
        self._model = model
        self._prompts = prompts

    def answer(
        self,
        conversations: Sequence[Turns],
        limits: Limits,
        advance: Callable[[int], None] = lambda count: None,
    ) -> list[Answer]:
        """Answer each conversation greedily; a row's answer does not depend on the rows beside it."""
        tokenizer = self._prompts.tokenizer
        decoded = decode_greedy(
            self._model,
            [self._prompts.encode_prompt(turns) for turns in conversations],
            limits,
            end_tokens=self._end_tokens(),
            pad_token=tokenizer.pad_token_id,
            advance=advance,
        )
        return [
            Answer(tokenizer.decode(d.tokens, skip_special_tokens=True), "end" if d.ended else "length")
            for d in decoded
        ]

    def _end_tokens(self) -> list[int]:
        declared = self._model.generation_config.eos_token_id
        declared = declared if isinstance(declared, list) else [declared]
        return sorted({self._prompts.tokenizer.eos_token_id, *(token for token in declared if token is not None)})
