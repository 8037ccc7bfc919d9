"""Turns → the text and tokens that the model sees. Training and serving use the same functions.

The model's own chat template is used where it has one. Otherwise the plain template applies:

    ### Question            (a system turn stands above, under "### System")
    <the user's text>

    ### Answer
    <the answer><end token>

In a conversation every answer is learned, each with the end token that follows it. Contents of assistant turns are
encoded apart from the template, in training and in serving, so that what was learned is what is read later.
"""

import re
from typing import Any, NamedTuple

from tailora.errors import DataError, ModelError
from tailora.files import fingerprint
from tailora.text.templates import try_template

Turns = list[dict[str, Any]]
"""Turns with `role` and `content`; an answer with `learn` false is read and not learned."""

_MARK = "\ue000"  # of Unicode's private use: no template writes it
_HEADINGS = {"system": "### System", "user": "### Question", "assistant": "### Answer"}


Span = tuple[int, int]


class Sample(NamedTuple):
    """One example in tokens, and the half-open spans of them that are learned: answers with their end tokens."""

    tokens: list[int]
    learned: list[Span]
    label: int | None = None
    """Number of its class, where that is learned and no token."""

    @property
    def targets(self) -> int:
        """What bears loss: tokens, or the label."""
        return 1 if self.label is not None else sum(stop - start for start, stop in self.learned)

    @property
    def answer_start(self) -> int:
        """Where the last answer begins."""
        return self.learned[-1][0]

    def flags(self) -> list[bool]:
        """Return for each token whether it is learned."""
        flags = [False] * len(self.tokens)
        for start, stop in self.learned:
            flags[start:stop] = [True] * (stop - start)
        return flags

    def last(self) -> "Sample":
        """Return the same tokens with the last answer alone as target, as it is judged."""
        return Sample(self.tokens, self.learned[-1:])


def _folded(turns: Turns) -> Turns:
    """Put the text of a system turn before the first question."""
    if turns[0]["role"] != "system" or len(turns) == 1:
        return turns
    system, first, *rest = turns
    return [first | {"content": f"{system['content']}\n\n{first['content']}"}, *rest]


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
        if self.has_chat_template:
            try_template(tokenizer)
        self._takes_system = self._shows_the_system_turn()
        self.learns_every_answer = self._keeps_what_was_said()

    def remarks(self) -> list[str]:
        """Return what a user should know of this tokenizer and template."""
        remarks = []
        if not self.has_chat_template:
            remarks.append("the tokenizer has no chat template, so the plain one is used (### Question … ### Answer …)")
        if not self._takes_system:
            remarks.append(
                "the chat template has no place for a system turn, so its text stands before the first question"
            )
        if not self.learns_every_answer:
            remarks.append(
                "the chat template rewrites earlier turns, so of a conversation the last answer alone is learned"
            )
        return remarks

    def render(self, turns: Turns) -> str:
        """Return the text up to where the answer begins.

        Raises:
            DataError: when the chat template refuses such a conversation.
        """
        if self.has_chat_template:
            return self._templated(turns if self._takes_system else _folded(turns))
        ends = {"assistant": self.tokenizer.eos_token}
        parts = [f"{_HEADINGS[turn['role']]}\n{turn['content']}{ends.get(turn['role'], '')}\n\n" for turn in turns]
        return "".join(parts) + f"{_HEADINGS['assistant']}\n"

    def _templated(self, turns: Turns) -> str:
        from jinja2 import TemplateError

        try:
            return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        except TemplateError as error:
            roles = ", ".join(turn["role"] for turn in turns)
            raise DataError(f"the chat template of the base model refuses the turns {roles}: {error}.") from None

    def _shows_the_system_turn(self) -> bool:
        if not self.has_chat_template:
            return True
        try:
            turns = [{"role": "system", "content": f"{_MARK}s"}, {"role": "user", "content": "u"}]
            return f"{_MARK}s" in self._templated(turns)
        except DataError:
            return False

    def encode_prompt(self, turns: Turns) -> list[int]:
        """Return the tokens up to where the answer begins; special tokens that stand in the turns count as text."""
        return self._read(turns)[0]

    def encode(self, turns: Turns, answer: str) -> Sample:
        """Return prompt, answer and end token. The answer is encoded apart, so it cannot change the prompt's tokens."""
        tokens, earlier = self._read(turns)
        start = len(tokens)
        tokens = [*tokens, *self._plain_tokens(answer), self.tokenizer.eos_token_id]
        return Sample(tokens, [*(earlier if self.learns_every_answer else []), (start, len(tokens))])

    def encode_text(self, text: str, longest: int) -> list[Sample]:
        """Cut plain text into windows of at most `longest` tokens; each token is a target once.

        A window begins with the token before its targets, the first with the begin token, or the end token where there
        is none; the last reaches back for as many as have room. These are the rolling windows of lm-evaluation-harness
        for a model of `longest` - 1 tokens.
        """
        bos, tokens = self.tokenizer.bos_token_id, self._plain_tokens(text)
        tokens = [self.tokenizer.eos_token_id if bos is None else bos, *tokens]
        windows = []
        for start in range(1, len(tokens), longest - 1):
            stop = min(start + longest - 1, len(tokens))
            first = max(0, stop - longest)
            windows.append(Sample(tokens[first:stop], [(start - first, stop - first)]))
        return windows

    def _read(self, turns: Turns) -> tuple[list[int], list[Span]]:
        """Return the tokens of `turns` up to where the answer begins, and the spans of the answers before it."""
        turns = turns if self._takes_system else _folded(turns)
        marked = [
            turn | {"content": f"{_MARK}{i}{_MARK}"} if self._is_apart(turn) else turn for i, turn in enumerate(turns)
        ]
        tokens: list[int] = [] if self.has_chat_template else list(self._begin)
        answers: list[Span] = []
        start: int | None = None
        for place, piece in enumerate(re.split(f"{_MARK}(\\d+){_MARK}", self.render(marked))):
            if place % 2 == 0:  # template and numbers take turns
                part = self._template_tokens(piece)
                if start is not None:
                    answers.append((start, len(tokens) + (part[:1] == [self.tokenizer.eos_token_id])))
                tokens += part
            else:
                turn = turns[int(piece)]
                start = len(tokens) if turn["role"] == "assistant" and turn.get("learn", True) else None
                tokens += self._plain_tokens(turn["content"])
        return tokens, answers

    def _is_apart(self, turn: dict[str, Any]) -> bool:
        """Say whether a turn's content is encoded by itself: an answer, or one that holds what would act as a command.

        It depends on the turn alone, so what stands before it is encoded alike in every conversation.
        """
        commands = [_MARK, *(self._special if self.has_chat_template else [])]
        return turn["role"] == "assistant" or any(command in turn["content"] for command in commands)

    def _keeps_what_was_said(self) -> bool:
        """Say whether an answer stands in later prompts where it was written; some templates rewrite the past."""
        turns = [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ]
        before = self.encode_prompt(turns[:1])
        tokens, answers = self._read(turns)
        return tokens[: len(before)] == before and bool(answers) and answers[0][0] == len(before)

    def _template_tokens(self, text: str) -> list[int]:
        if self.has_chat_template:
            return list(self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids)
        end = self.tokenizer.eos_token
        if text.startswith(end):  # no user's text begins a piece: a heading or an answer's end does
            return [self.tokenizer.eos_token_id, *self._plain_tokens(text[len(end) :])]
        return self._plain_tokens(text)

    def _plain_tokens(self, text: str) -> list[int]:
        # Not verbose: it would warn of texts longer than the model, which we cut or leave out ourselves.
        plain = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        return list(plain.input_ids)

    def fingerprint(self) -> str:
        """Return a hash of template and tokenizer: equal fingerprints mean equal tokens for equal turns."""
        probe = self.encode([{"role": "user", "content": "Où est <|end|> 42?\n\ttab"}], "é = [1, 2]\n")
        encoded = f"Sample(tokens={probe.tokens}, learned={probe.learned})"
        return fingerprint(self.render([{"role": "user", "content": "x"}]), encoded, str(len(self.tokenizer)))
