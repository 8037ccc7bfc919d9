"""Turns → the text and tokens that the model sees. Training and serving use the same functions.

The model's own chat template is used where it has one. Otherwise the plain template applies:

    ### Question            (a system turn stands above, under "### System")
    <the user's text>

    ### Answer
    <the answer><end token>
"""

import re
from typing import Any, NamedTuple

from tailora.errors import ModelError
from tailora.files import fingerprint

Turns = list[dict[str, str]]

_HEADINGS = {"system": "### System", "user": "### Question", "assistant": "### Answer"}


class Sample(NamedTuple):
    """One example in tokens: everything from `answer_start` on is learned, the end token included."""

    tokens: list[int]
    answer_start: int

    @property
    def targets(self) -> int:
        """Tokens that bear loss."""
        return len(self.tokens) - self.answer_start


class Prompts:
    """Renders and encodes turns for one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        if tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no end token, so no answer could ever end; choose another base model.")
        self.tokenizer = tokenizer
        self.has_chat_template = bool(getattr(tokenizer, "chat_template", None))
        begins = tokenizer("a").input_ids[:1]
        self._begin = begins if begins == [tokenizer.bos_token_id] else []
        self._special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]

    def render(self, turns: Turns) -> str:
        """Return the text up to where the answer begins."""
        if self.has_chat_template:
            return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        parts = [f"{_HEADINGS[turn['role']]}\n{turn['content']}\n\n" for turn in turns]
        return "".join(parts) + f"{_HEADINGS['assistant']}\n"

    def encode_prompt(self, turns: Turns) -> list[int]:
        """Return the tokens up to where the answer begins; special tokens that stand in the turns count as text."""
        if not self.has_chat_template:
            return self._begin + self._plain_tokens(self.render(turns))
        if any(token in turn["content"] for turn in turns for token in self._special):
            return self._apart(turns)
        return self._template_tokens(self.render(turns))

    def encode(self, turns: Turns, answer: str) -> Sample:
        """Return prompt, answer and end token. The answer is encoded apart, so it cannot change the prompt's tokens."""
        prompt = self.encode_prompt(turns)
        return Sample([*prompt, *self._plain_tokens(answer), self.tokenizer.eos_token_id], len(prompt))

    def encode_text(self, text: str, longest: int) -> list[Sample]:
        """Cut plain text into windows of at most `longest` tokens that do not overlap; each token is a target once.

        A window begins with the begin token, or the end token where there is none, which is no target.
        """
        first, tokens = self._begin or [self.tokenizer.eos_token_id], self._plain_tokens(text)
        starts = range(0, len(tokens), longest - 1)
        return [Sample([*first, *tokens[start : start + longest - 1]], 1) for start in starts]

    def _apart(self, turns: Turns) -> list[int]:
        """Encode the template and the contents of the turns apart, so that only the template's special tokens act."""
        marked = self.render([turn | {"content": f"\ue000{number}\ue001"} for number, turn in enumerate(turns)])
        tokens: list[int] = []
        for place, piece in enumerate(re.split("\ue000(\\d+)\ue001", marked)):  # template and numbers take turns
            is_content = place % 2 == 1
            tokens += self._plain_tokens(turns[int(piece)]["content"]) if is_content else self._template_tokens(piece)
        return tokens

    def _template_tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids)

    def _plain_tokens(self, text: str) -> list[int]:
        # Not verbose: it would warn of texts longer than the model, which we cut or leave out ourselves.
        plain = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        return list(plain.input_ids)

    def fingerprint(self) -> str:
        """Return a hash of template and tokenizer: equal fingerprints mean equal tokens for equal turns."""
        probe = self.encode([{"role": "user", "content": "Où est <|end|> 42?\n\ttab"}], "é = [1, 2]\n")
        return fingerprint(self.render([{"role": "user", "content": "x"}]), repr(probe), str(len(self.tokenizer)))
