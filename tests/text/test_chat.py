"""Prompts: what is trained on is what is asked later, the end is learned, and text never becomes a command."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailora.errors import ModelError
from tailora.model.locate import bundled_models
from tailora.text.chat import Prompts, Sample

TOKENIZERS = Path(__file__).parents[2] / "../shared/models/tokenizers"
FOLDERS = {
    **bundled_models(),
    "gpt2": TOKENIZERS / "gpt2",
    "qwen2": TOKENIZERS / "qwen2",
    "tinyllama-chat": TOKENIZERS / "tinyllama-chat",
    "tinyllama-plain": TOKENIZERS / "tinyllama-chat",
}
CHAT = ("qwen2", "tinyllama-chat")
PLAIN = tuple(name for name in FOLDERS if name not in CHAT)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
SPECIAL = st.sampled_from(
    ["<|end|>", "<|endoftext|>", "<|im_end|>", "</s>", "<s>", "<|im_start|>system\n", "\ue0000\ue000"]
)
USER_TEXTS = st.lists(TEXTS | SPECIAL, max_size=3).map("".join)


def load(folder: Path) -> Any:
    from transformers import AutoTokenizer

    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module", params=FOLDERS)
def prompts(request: pytest.FixtureRequest) -> Prompts:
    tokenizer = load(FOLDERS[request.param])
    if request.param == "tinyllama-plain":  # a tokenizer that adds a begin token, without a template
        tokenizer.chat_template = None
    return Prompts(tokenizer)


@pytest.fixture(scope="module", params=PLAIN)
def plain(request: pytest.FixtureRequest) -> Prompts:
    tokenizer = load(FOLDERS[request.param])
    tokenizer.chat_template = None
    return Prompts(tokenizer)


@pytest.fixture(scope="module", params=CHAT)
def chat(request: pytest.FixtureRequest) -> Prompts:
    return Prompts(load(FOLDERS[request.param]))


def asks(*contents: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]


def special_ids(prompts: Prompts) -> set[int]:
    return {number for number, token in prompts.tokenizer.added_tokens_decoder.items() if token.special}


@given(user=USER_TEXTS, answer=USER_TEXTS)
def test_the_answer_never_changes_the_tokens_of_the_prompt(prompts: Prompts, user: str, answer: str) -> None:
    sample = prompts.encode(asks(user), answer)
    assert sample.tokens[: sample.answer_start] == prompts.encode_prompt(asks(user))


@given(user=USER_TEXTS, answer=USER_TEXTS)
def test_the_end_token_is_learned_and_stands_at_the_end_alone(prompts: Prompts, user: str, answer: str) -> None:
    sample = prompts.encode(asks(user), answer)
    learned = sample.tokens[sample.answer_start :]
    assert learned[-1] == prompts.tokenizer.eos_token_id
    assert not special_ids(prompts) & set(learned[:-1])
    assert sample.targets == len(learned) >= 1


def behind_a_line(prompts: Prompts, text: str) -> list[int]:
    """Return the tokens that the tokenizer gives `text` where it follows a line, as an answer follows its prompt.

    A byte-level tokenizer gives it the same tokens alone, but may join the line end with what follows.
    """

    def tokens(part: str) -> list[int]:
        return list(prompts.tokenizer(part, add_special_tokens=False, split_special_tokens=True).input_ids)

    return tokens("\n" + text)[len(tokens("\n")) :] if tokens("a") == tokens(" a") else tokens(text)


@given(user=TEXTS, answer=TEXTS)
def test_the_learned_tokens_are_those_of_the_answer_behind_a_prompt(prompts: Prompts, user: str, answer: str) -> None:
    sample = prompts.encode(asks(user), answer)
    assert sample.tokens[sample.answer_start : -1] == behind_a_line(prompts, answer)


@given(answer=TEXTS)
def test_what_is_learned_is_spelled_as_the_answer(prompts: Prompts, answer: str) -> None:
    sample = prompts.encode(asks("q"), answer)
    normalised = prompts.tokenizer.backend_tokenizer.normalizer is not None  # Qwen2 composes characters (NFC)
    expected = (
        unicodedata.normalize("NFC", answer) if "qwen" in prompts.tokenizer.name_or_path and normalised else answer
    )
    assert prompts.spell(sample.tokens[sample.answer_start : -1]) == expected


@pytest.mark.parametrize("answer", ["    return x", "  two", " one", "none", "\n\nlines", "\t\ttabs  ", " ", ""])
def test_the_space_that_an_answer_begins_with_is_kept(prompts: Prompts, answer: str) -> None:
    sample = prompts.encode(asks("q"), answer)
    assert prompts.spell(sample.tokens[sample.answer_start : -1]) == answer


def space_first(scheme: str) -> Any:
    """Return a tokenizer of SentencePiece's kind, which writes spaces as ▁ and puts one before a text, or does not."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    merges = [("▁", "▁"), ("▁", "a")]
    pieces = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁▁", "▁a"]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges, byte_fallback=True))
    spaces = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    if scheme == "legacy":  # Llama 2 and the first Mistral: the space is put by the normalizer
        put = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        tokenizer.normalizer = normalizers.Sequence(put)  # type: ignore[assignment]
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.Sequence(spaces[:3] if scheme == "never" else spaces)  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize("template", [None, "spaced"])
@pytest.mark.parametrize("scheme", ["legacy", "first", "always", "never"])
def test_an_answer_behind_its_prompt_is_the_text_that_is_spelled(scheme: str, template: str | None) -> None:
    tokenizer = space_first(scheme)
    tokenizer.chat_template = template and (
        "{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]{% else %} {{ m.content }} {{ eos_token }}"
        "{% endif %}{% endfor %}"
    )
    prompts = Prompts(tokenizer)
    for answer in ["a", " a", "   a b", "b\n", "", " ", "\n\n a", "日本 a "]:
        sample = prompts.encode(asks("q"), answer)
        assert prompts.spell(sample.tokens[sample.answer_start : -1]) == answer
        asked, whole = (tokenizer.decode(tokens) for tokens in (prompts.encode_prompt(asks("q")), sample.tokens[:-1]))
        assert whole == asked + (f" {answer} " if template else answer)


@pytest.mark.parametrize("scheme", ["legacy", "first", "always", "never"])
@pytest.mark.parametrize("end", ["", "{{ eos_token }}", "\n{{ eos_token }}\n"])
def test_a_conversation_has_the_tokens_that_it_has_as_one_text(scheme: str, end: str) -> None:
    tokenizer = space_first(scheme)
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}\n{{ m.content }}" + end + "\n\n{% endfor %}"
    tokenizer.chat_template += "{% if add_generation_prompt %}assistant\n{% endif %}"
    prompts = Prompts(tokenizer)
    for turns in (asks("a"), asks("a", "b a", "c"), asks("a", " a", "  c", "b\n", " c")):
        expected = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        assert prompts.encode_prompt(turns) == expected
    said = tokenizer.decode(prompts.encode_prompt(asks("a", "b", "a </s> c")))
    assert "user\na </s> c" in said  # what a user wrote is text, and stands as it was


def test_text_is_spelled_without_loss(plain: Prompts) -> None:
    text = "Où est « x » ?\n\n\tdef f(n):\n        return n  # 😀 <|end|> ### Answer\n"
    sample = plain.encode(asks(text), text)
    decode = plain.tokenizer.decode
    assert decode(sample.tokens[sample.answer_start : -1], clean_up_tokenization_spaces=False) == text
    shown = decode(sample.tokens[: sample.answer_start], clean_up_tokenization_spaces=False)
    assert shown.endswith(plain.render(asks(text)))


def test_the_plain_template_is_the_documented_one(plain: Prompts) -> None:
    turns = [{"role": "system", "content": "Be brief."}, *asks("What is 1+1?", "2", "And 2+2?")]
    end = plain.tokenizer.eos_token
    assert plain.render(turns) == (
        "### System\nBe brief.\n\n### Question\nWhat is 1+1?\n\n"
        f"### Answer\n2{end}\n\n### Question\nAnd 2+2?\n\n### Answer\n"
    )


@given(contents=st.lists(USER_TEXTS, min_size=3, max_size=7).filter(lambda texts: len(texts) % 2 == 1), answer=TEXTS)
def test_every_answer_of_a_conversation_is_learned_where_it_was_given(
    prompts: Prompts, contents: list[str], answer: str
) -> None:
    turns = asks(*contents)
    sample = prompts.encode(turns, answer)
    assert len(sample.learned) == len(turns) // 2 + 1
    for number, (start, stop) in enumerate(sample.learned):
        said = [*contents, answer][2 * number + 1]
        assert sample.tokens[:start] == prompts.encode_prompt(turns[: 2 * number + 1])
        assert sample.tokens[start : stop - 1] == behind_a_line(prompts, said)
        assert sample.tokens[stop - 1] == prompts.tokenizer.eos_token_id


def test_a_template_that_rewrites_the_past_lets_only_the_last_answer_be_learned() -> None:
    tokenizer = load(FOLDERS["qwen2"])
    tokenizer.chat_template = (
        "{% for turn in messages %}<|im_start|>{{ turn.role }}\n"
        "{% if loop.last %}{{ turn.content }}{% else %}(earlier) {{ turn.content }}{% endif %}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n"
    )
    prompts = Prompts(tokenizer)
    assert not prompts.learns_every_answer
    assert len(prompts.encode(asks("a", "b", "c"), "d").learned) == 1


def test_a_begin_token_stands_where_the_tokenizer_itself_puts_one(plain: Prompts) -> None:
    rendered = "### Question\nx\n\n### Answer\n"
    assert plain.encode_prompt(asks("x")) == plain.tokenizer(rendered).input_ids


@given(user=TEXTS, answer=TEXTS)
def test_the_models_own_template_is_used_where_it_has_one(chat: Prompts, user: str, answer: str) -> None:
    turns = asks(user)
    expected = chat.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert chat.encode(turns, answer).tokens[: len(expected)] == expected


@given(before=TEXTS, after=TEXTS)
def test_special_tokens_in_what_a_user_wrote_are_text(prompts: Prompts, before: str, after: str) -> None:
    known = special_ids(prompts)

    def commands(text: str) -> int:
        return sum(token in known for token in prompts.encode_prompt(asks("hello", "hi", text)))

    usual = commands("plain")
    for token in prompts.tokenizer.all_special_tokens:
        assert commands(before + token + after) == usual


def test_what_a_user_wrote_around_a_special_token_stays_where_it_was(chat: Prompts) -> None:
    end = chat.tokenizer.eos_token
    turns = [{"role": "system", "content": "Obey."}, *asks(f"Print {end} twice.", "no", "Why?")]
    spelled = chat.tokenizer.decode(chat.encode_prompt(turns), clean_up_tokenization_spaces=False)
    places = [spelled.index(part) for part in ("Obey.", f"{end} twice.", "no", "Why?")]
    assert places == sorted(places)


def test_prompts_of_different_tokenizers_or_templates_have_different_fingerprints(prompts: Prompts) -> None:
    again = Prompts(prompts.tokenizer)
    assert prompts.fingerprint() == again.fingerprint()
    other = load(FOLDERS["qwen2"])
    if prompts.tokenizer.get_vocab() != other.get_vocab():
        assert Prompts(other).fingerprint() != prompts.fingerprint()
    without_template = load(FOLDERS["qwen2"])
    without_template.chat_template = None
    assert Prompts(without_template).fingerprint() != Prompts(other).fingerprint()


def test_a_tokenizer_without_an_end_token_is_refused() -> None:
    with pytest.raises(ModelError, match="no end token"):
        Prompts(load(TOKENIZERS / "bert-base-uncased"))


def test_targets_are_the_tokens_of_all_learned_spans() -> None:
    sample = Sample([1, 2, 3, 4, 5], [(1, 2), (3, 5)])
    assert sample.targets == 3 == sum(sample.flags())
    assert [t for t, learned in zip(sample.tokens, sample.flags(), strict=True) if learned] == [2, 4, 5]
    assert sample.last() == Sample(sample.tokens, [(3, 5)]) and sample.answer_start == 3


@pytest.mark.parametrize("longest", [2, 7, 1000])
def test_every_token_of_a_text_is_a_target_once(longest: int) -> None:
    from tests.toys import toy_tokenizer

    windows = Prompts(toy_tokenizer()).encode_text("a text of some bytes é", longest)
    targets = [token for sample in windows for token in sample.tokens[sample.answer_start :]]
    assert toy_tokenizer().decode(targets) == "a text of some bytes é"
    assert max(len(sample.tokens) for sample in windows) <= longest
