"""Turns → the text and tokens that the model sees. Training and serving use the same functions.

The model's own chat template is used where it has one. Otherwise the plain template applies:

    ### Question            (a system turn stands above, under "### System")
    <the user's text>

    ### Answer
    <the answer><end token>

An answer stands between what the chat template writes before one and the token that it ends one with, else the
tokenizer's EOS. In a conversation every answer is learned that stands there as it did when it was the last. Contents of
assistant turns are encoded apart from the template, in training and in serving, so that what was learned is what is
read later; a template that rewrites them has its way.
"""

import copy
import datetime
import itertools
import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from tailora.errors import DataError, ModelError
from tailora.files import fingerprint
from tailora.text.template_check import chat_template, on_day, try_template

Turns = list[dict[str, Any]]
"""Turns with `role` and `content`; an answer with `learn` false is read and not learned."""

_MARK = "\ue000"  # of Unicode's private use: no template writes it
_HEADINGS = {"system": "### System", "user": "### Question", "assistant": "### Answer"}
_ANY_DAY = datetime.date(2026, 1, 1)  # on which templates that show a date are compared
_MOST_SAID = 300  # characters of what a template says of its own failure
_GUARD = "\n"  # answers are encoded behind it where a tokenizer would lose or add a space at the beginning of a text


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


class _Frame(NamedTuple):
    """What the chat template writes around an answer."""

    end: int
    """The token that ends the turn."""
    surplus: str = ""
    """What the generation prompt ends with and no answer stands behind, such as the beginning of a thought."""
    opening: str = ""
    """What stands before an answer and not in the generation prompt, such as the name of a channel."""
    before: str = ""
    """Spaces next to the answer, which tokenizers join to its first word, or an empty thought: learned with it."""
    replaced: bool = False
    """Whether `before` gives way to what an answer brings in its place, such as a thought."""
    opened: str = ""
    """What the generation prompt ends with and `before` closes: an answer that begins with it does not say it twice."""
    after: str = ""
    """Text between the answer and its end token: learned too."""
    unended: str = ""
    """What ends an answer in words, where no token does, so that EOS takes its place."""

    @property
    def lead(self) -> str:
        """The spaces of `before` that stand before a thought of the answer's own too."""
        return "" if self.opened or not self.replaced else self.before[: -len(self.before.lstrip())]


def _folded(turns: Turns) -> Turns:
    """Put the text of a system turn before the first question."""
    if turns[0]["role"] != "system" or len(turns) == 1:
        return turns
    system, first, *rest = turns
    return [first | {"content": f"{system['content']}\n\n{first['content']}"}, *rest]


class Prompts:
    """Renders and encodes turns for one tokenizer; a chat template that shows a date shows `day`, today by default.

    Raises:
        ModelError: when no answer could end, or the chat template is hostile, or does not show what turns say.
    """

    def __init__(self, tokenizer: Any, day: datetime.date | None = None) -> None:
        if tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no end token, so no answer could ever end; choose another base model.")
        self.tokenizer = tokenizer
        self._undated = chat_template(tokenizer)
        self._template = on_day(self._undated, day or datetime.date.today())
        begins = tokenizer("a").input_ids[:1]
        self._begin = begins if begins == [tokenizer.bos_token_id] else []
        self._special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self._guard = self._needed_guard()
        if self._undated is not None:
            try_template(self._undated, tokenizer.special_tokens_map)
        self._in_parts = self._wants_parts()
        self._takes_system = self._shows([("system", "s"), ("user", "u")])
        self._takes_conversations = self._shows([("user", "u"), ("assistant", "a"), ("user", "v")])
        self._frame = _Frame(int(tokenizer.eos_token_id))
        self._frame = self._found_frame()
        self.end_token = self._frame.end
        inside = "".join((self._frame.before, self._frame.opened, self._frame.after))
        said = [token for token in self._special if token in inside]
        self._said = dict(zip(tokenizer.convert_tokens_to_ids(said), said, strict=True))
        self._keeps = {with_system: self._keeps_what_was_said(with_system) for with_system in (False, True)}

    @property
    def has_chat_template(self) -> bool:
        """Whether the model's own chat template is used, and not the plain one."""
        return self._template is not None

    @property
    def stops(self) -> tuple[str, ...]:
        """Headings at which an answer is over: a base model goes on with the plain template by itself."""
        return () if self.has_chat_template else tuple(f"{heading}\n" for heading in _HEADINGS.values())

    def remarks(self) -> list[str]:
        """Return what a user should know of this tokenizer and template."""
        remarks = []
        if not self.has_chat_template:
            remarks.append("the tokenizer has no chat template; the plain one is used (### Question … ### Answer …)")
        if self.end_token != self.tokenizer.eos_token_id:
            end = self.tokenizer.convert_ids_to_tokens(self.end_token)
            remarks.append(
                f"answers end with {end}, as the chat template ends a turn, not with EOS ({self.tokenizer.eos_token}): "
                f"elsewhere, {end} must stand in eos_token_id of generation_config.json"
            )
        if self._default_system:
            remarks.append(f"the chat template puts a system prompt of its own first: {self._default_system!r}")
        if not self._takes_system:
            remarks.append(
                "the chat template has no place for a system turn, so its text stands before the first question"
            )
        if self._frame.unended:
            remarks.append(
                f"the chat template ends an answer with {self._frame.unended!r}, which is no token of this tokenizer's "
                f"own: answers end with EOS ({self.tokenizer.eos_token}) instead"
            )
        if self._frame.opening or self._frame.surplus:
            remarks.append(
                f"before an answer the chat template writes {self._frame.opening!r} where its generation prompt has "
                f"{self._frame.surplus!r}: answers are learned and asked for behind the former; elsewhere, ask so too"
            )
        if not all(self._keeps.values()):
            some = " that begins with a system turn" if self.learns_every_answer else ""
            remarks.append(
                f"the chat template writes earlier turns in another way than the last, so of a conversation{some} the "
                "last answer alone is learned"
            )
        return remarks

    @property
    def learns_every_answer(self) -> bool:
        """Whether all answers of a conversation without a system turn are learned, and not the last alone."""
        return self._keeps[False]

    def shows(self, turns: Turns) -> bool:
        """Say whether the prompt holds what all turns say as they say it; templates may trim, cut or escape it."""
        if not self.has_chat_template:
            return True
        text, place = self.render(turns), 0
        for turn in turns:
            at = text.find(turn["content"], 0 if turn["role"] == "system" else place)
            if at < 0:
                return False
            place = at + len(turn["content"]) if turn["role"] != "system" else place
        return True

    @property
    def _default_system(self) -> str:
        """The system prompt that the template writes where no system turn is given; empty where it writes none."""
        if not self.has_chat_template or not self._takes_system:
            return ""
        own = self._templated([{"role": "system", "content": _MARK}, {"role": "user", "content": "u"}])
        before, _, after = own.partition(_MARK)
        bare = self._templated([{"role": "user", "content": "u"}])
        written = bare.startswith(before) and bare.endswith(after) and len(bare) > len(before) + len(after)
        return bare[len(before) : len(bare) - len(after)] if written else ""

    def render(self, turns: Turns) -> str:
        """Return the text up to where the answer begins.

        Raises:
            DataError: when the chat template refuses such a conversation.
        """
        if self.has_chat_template:
            if len(turns) > 2 and not self._takes_conversations:
                raise DataError("the chat template of the base model leaves out or changes what earlier turns say.")
            asked = self._templated(turns if self._takes_system else _folded(turns))
            return asked.removesuffix(self._frame.surplus) + self._frame.opening
        ends = {"assistant": self.tokenizer.eos_token}
        parts = [f"{_HEADINGS[turn['role']]}\n{turn['content']}{ends.get(turn['role'], '')}\n\n" for turn in turns]
        return "".join(parts) + f"{_HEADINGS['assistant']}\n"

    def _templated(self, turns: Turns, *, asks: bool = True) -> str:
        """Render with the chat template, up to where an answer begins where it `asks` for one."""
        if self._in_parts:
            turns = [turn | {"content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    turns, chat_template=self._template, tokenize=False, add_generation_prompt=asks
                )
            )
        except Exception as error:  # a template is a program of someone else's, and raises what it likes
            roles = ", ".join(turn["role"] for turn in turns)
            said = " ".join(str(error).split())[:_MOST_SAID] or type(error).__name__
            raise DataError(f"the chat template of the base model refuses the turns {roles}: {said}.") from None

    def _wants_parts(self) -> bool:
        """Say whether the template reads contents as lists of parts; raise ModelError when it shows neither form."""
        self._in_parts = False
        if not self.has_chat_template or self._shows([("user", "u")]):
            return False
        self._in_parts = True
        if self._shows([("user", "u")]):
            return True
        raise ModelError(
            "the chat template of the tokenizer does not show what a user says, once and as it is: the model would not "
            "see the question. Remove chat_template from the tokenizer's files to use the plain template, or choose "
            "another base model."
        )

    def _shows(self, turns: list[tuple[str, str]]) -> bool:
        """Say whether the prompt shows what each of `turns` (role, content) says exactly once, in order."""
        if not self.has_chat_template:
            return True
        marks = [f"{_MARK}{content}{_MARK}" for _, content in turns]
        try:
            text = self._templated(
                [{"role": turn[0], "content": mark} for turn, mark in zip(turns, marks, strict=True)]
            )
        except DataError:
            return False
        return re.findall(f"{_MARK}.*?{_MARK}", text) == marks

    def _found_frame(self) -> _Frame:
        """Return what the chat template writes around the last answer, as far as it shows that."""
        if not self.has_chat_template:
            return self._frame
        asked, said = ({"role": role, "content": f"{_MARK}{role}{_MARK}"} for role in ("user", "assistant"))
        text = self._around(said, [asked, said], asks=False)
        frame = self._frame if text is None else self._found_beginning(self._templated([asked]), asked, text[0])
        ended = frame if text is None else self._found_end(frame, "", text[1])
        if ended is frame:  # some templates end an answer only where another turn follows
            following = self._around(said, [asked, said, asked], asks=True)
            ended = frame if following is None else self._found_end(frame, *following)
        return frame._replace(unended=text[1].strip()) if text and ended is frame else ended

    def _found_beginning(self, prompt: str, asked: dict[str, Any], ahead: str) -> _Frame:
        """Return what the template writes `ahead` of an answer, behind what was `asked`, and not in the `prompt`."""
        alike = len(os.path.commonprefix([prompt, ahead]))  # noqa: RUF071 -- letters of texts, not parts of paths
        if alike < prompt.find(asked["content"]) + len(asked["content"]):
            return self._frame
        opening = ahead[alike:]
        if opening.strip() and self._answered(asked, f"{opening}{_MARK}").startswith(f"{ahead}{_MARK}"):
            opened = self._found_opened(prompt, asked, opening)
            return self._frame._replace(surplus=prompt[alike:], before=opening, replaced=True, opened=opened)
        spaces = opening[len(opening.rstrip(" ")) :]
        return self._frame._replace(surplus=prompt[alike:], opening=opening.removesuffix(spaces), before=spaces)

    def _found_opened(self, prompt: str, asked: dict[str, Any], opening: str) -> str:
        """Return the tag at the end of the `prompt` that the template does not repeat for an answer with a thought."""
        opened = prompt[prompt.rfind("<") :] if "<" in prompt else ""
        thought = f"{_MARK}{opening}{_MARK}"
        return opened if self._answered(asked, f"{opened}{thought}").startswith(f"{prompt}{thought}") else ""

    def _answered(self, asked: dict[str, Any], answer: str) -> str:
        """Return how the template writes a question and its answer; nothing where it refuses them."""
        try:
            return self._templated([asked, {"role": "assistant", "content": answer}], asks=False)
        except DataError:
            return ""

    def _around(self, said: dict[str, Any], turns: Turns, *, asks: bool) -> tuple[str, str] | None:
        """Return what stands before and after what was `said` in the rendered turns; None where it is not shown."""
        try:
            before, shown, after = self._templated(turns, asks=asks).partition(said["content"])
        except DataError:
            return None
        return (before, after) if shown else None

    def _found_end(self, frame: _Frame, before: str, after: str) -> _Frame:
        """Return `frame` with the first token of the template's own `after` an answer, unless one begins a turn."""
        tokens = self._template_tokens(after)
        own = [*self.tokenizer.added_tokens_decoder, frame.end]
        place = next((i for i, token in enumerate(tokens) if token in own), None)
        if place is None or tokens[place] in self._template_tokens(before):
            return frame
        end = self.tokenizer.convert_ids_to_tokens(tokens[place])
        return frame._replace(end=tokens[place], after=after.partition(end)[0])

    def _needed_guard(self) -> list[int]:
        """Return the tokens of `_GUARD` where a text encoded alone does not keep its beginning behind another one."""
        guard = self._plain_tokens(_GUARD)
        behind = [self._decoded([*guard, *self._plain_tokens(text)]) for text in ("a", " a")]
        return [] if behind == [f"{_GUARD}a", f"{_GUARD} a"] else guard

    def _decoded(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def spell(self, answer: list[int]) -> str:
        """Return the text of an answer in tokens, with the spaces that it begins with."""
        runs = ((said, list(run)) for said, run in itertools.groupby(answer, self._said.get))
        text = "".join(said * len(run) if said else self._spelled(run) for said, run in runs)
        text = text.removesuffix(self._frame.after)
        bare = text.removeprefix(self._frame.before)
        return bare if bare != text or not text else self._frame.opened + text.removeprefix(self._frame.lead)

    def _spelled(self, tokens: list[int]) -> str:
        return self._decoded([*self._guard, *tokens]).removeprefix(self._decoded(self._guard))

    def encode_prompt(self, turns: Turns) -> list[int]:
        """Return the tokens up to where the answer begins; special tokens that stand in the turns count as text."""
        return self._read(turns)[0]

    def encode(self, turns: Turns, answer: str) -> Sample:
        """Return prompt, answer and end token. The answer is encoded apart, so it cannot change the prompt's tokens."""
        tokens, earlier = self._read(turns)
        start = len(tokens)
        tokens = [*tokens, *self._answer_tokens(self._framed(answer)), self.end_token]
        return Sample(tokens, [*(earlier if self._keeps[turns[0]["role"] == "system"] else []), (start, len(tokens))])

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
        apart = [index for index, turn in enumerate(turns) if self._is_apart(turn)]
        rendered = self._marked(turns, apart)
        if apart and self.has_chat_template and _filled(rendered, turns) != (real := self.render(turns)):
            # The template rewrites what some of these turns say; only what would act as a command is kept from it.
            apart = [
                index
                for index in apart
                if self._holds_a_command(turns[index]) or _filled(self._marked(turns, [index]), turns) == real
            ]
            rendered = self._marked(turns, apart)
        tokens: list[int] = [] if self.has_chat_template else list(self._begin)
        answers: list[Span] = []
        start: int | None = None
        pieces = re.split(f"{_MARK}(\\d+){_MARK}", rendered)  # template and indices take turns
        framed = self._without_frames(pieces, turns)
        for place, piece in enumerate(pieces):
            if place % 2 == 0:
                is_behind = place and self.has_chat_template
                part = self._behind(self._template_tokens, piece) if is_behind else self._template_tokens(piece)
                if start is not None and part[:1] == [self.end_token]:
                    answers.append((start, len(tokens) + 1))
                tokens += part
                continue
            turn = turns[int(piece)]
            start = len(tokens) if place in framed and turn.get("learn", True) else None
            text = self._framed(turn["content"]) if place in framed else turn["content"]
            is_answer = turn["role"] == "assistant"
            tokens += self._answer_tokens(text) if is_answer else self._behind(self._plain_tokens, text)
        return tokens, answers

    def _framed(self, answer: str) -> str:
        before, tag = self._frame.before, self._frame.opened.rstrip()
        if tag and answer.startswith(tag):
            before, answer = "", answer.removeprefix(tag).removeprefix(self._frame.opened.removeprefix(tag))
        elif self._frame.replaced:
            asked = {"role": "user", "content": "u"}
            empty = self._templated([asked]).removesuffix(self._frame.surplus) + before
            is_empty = self._answered(asked, answer).startswith(empty) and not answer.startswith(before)
            before = before if is_empty else self._frame.lead
            before = "" if answer.startswith(before) and not is_empty else before
        return f"{before}{answer}{self._frame.after}"

    def _without_frames(self, pieces: list[str], turns: Turns) -> set[int]:
        """Take what is learned with answers from the `pieces` around them; return the places of those that had it."""
        framed = set()
        for place in range(1, len(pieces), 2):
            ahead, behind = pieces[place - 1], pieces[place + 1]
            is_answer = turns[int(pieces[place])]["role"] == "assistant"
            if is_answer and ahead.endswith(self._frame.before) and behind.startswith(self._frame.after):
                pieces[place - 1] = ahead.removesuffix(self._frame.before)
                pieces[place + 1] = behind.removeprefix(self._frame.after)
                framed.add(place)
        return framed

    def _marked(self, turns: Turns, apart: list[int]) -> str:
        """Render `turns` with a mark that holds its index in place of each content that is encoded `apart`."""
        return self.render(
            [turn | {"content": f"{_MARK}{i}{_MARK}"} if i in apart else turn for i, turn in enumerate(turns)]
        )

    def _is_apart(self, turn: dict[str, Any]) -> bool:
        """Say whether a turn's content is encoded by itself: an answer, or one that holds what would act as a command.

        It depends on the turn alone, so what stands before it is encoded alike in every conversation.
        """
        return turn["role"] == "assistant" or self._holds_a_command(turn)

    def _holds_a_command(self, turn: dict[str, Any]) -> bool:
        commands = [_MARK, *(self._special if self.has_chat_template else [])]
        return any(command in turn["content"] for command in commands)

    def _keeps_what_was_said(self, with_system: bool) -> bool:
        """Say whether answers stand in later prompts as they did when they were the last; some templates rewrite."""
        if not self._takes_conversations:
            return False
        said = [{"role": ("user", "assistant")[i % 2], "content": letter} for i, letter in enumerate("abcde")]
        lead = [{"role": "system", "content": "s"}] if with_system else []
        try:
            tokens, answers = self._read([*lead, *said])
            asked = [self.encode_prompt([*lead, *said[:count]]) for count in (1, 3)]
        except DataError:  # such turns are refused when a row has them
            return False
        return [tokens[:start] for start, _ in answers] == asked

    def _template_tokens(self, text: str) -> list[int]:
        if self.has_chat_template:
            return list(self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids)
        end = self.tokenizer.eos_token
        if text.startswith(end):  # no user's text begins a piece: a heading or an answer's end does
            return [self.tokenizer.eos_token_id, *self._plain_tokens(text[len(end) :])]
        return self._plain_tokens(text)

    def _answer_tokens(self, text: str) -> list[int]:
        """Return the tokens of an answer, as it stands behind a prompt and not at the beginning of a text.

        Special tokens that the template itself writes inside answers, such as those of a thought, are themselves.
        """
        special = {said: token for token, said in self._said.items()}
        parts = re.split(f"({'|'.join(map(re.escape, special))})", text) if special else [text]
        found = [[special[part]] if part in special else self._behind(self._plain_tokens, part) for part in parts]
        return list(itertools.chain.from_iterable(found))

    def _behind(self, tokens_of: Callable[[str], list[int]], text: str) -> list[int]:
        """Return the tokens of a text that stands behind another one."""
        behind = tokens_of(_GUARD + text) if self._guard else []
        if self._guard and behind[: len(self._guard)] == self._guard:
            return behind[len(self._guard) :]
        return tokens_of(text)

    def _plain_tokens(self, text: str) -> list[int]:
        # Not verbose: it would warn of texts longer than the model, which we cut or leave out ourselves.
        plain = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        return list(plain.input_ids)

    def fingerprint(self) -> str:
        """Return a hash of template and tokenizer: equal fingerprints mean equal tokens for equal turns on one day."""
        undated = copy.copy(self)
        undated._template = on_day(self._undated, _ANY_DAY)
        probe = undated.encode([{"role": "user", "content": "Où est <|end|> 42?\n\ttab"}], "é = [1, 2]\n")
        encoded = f"Sample(tokens={probe.tokens}, learned={probe.learned})"
        shown = undated.render([{"role": "user", "content": "x"}])
        source = [] if self._undated is None else [self._undated]
        return fingerprint(shown, encoded, str(len(self.tokenizer)), *source)


def _filled(rendered: str, turns: Turns) -> str:
    """Return a marked rendering with the contents of the turns in place of their marks."""
    return re.sub(f"{_MARK}(\\d+){_MARK}", lambda mark: str(turns[int(mark[1])]["content"]), rendered)
