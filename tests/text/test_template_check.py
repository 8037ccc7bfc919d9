"""Chat templates are code: they run under limits, and what they cannot take is handled and said."""

import datetime
from typing import Any

import pytest

from tailora.errors import DataError, ModelError
from tailora.text.chat import Prompts
from tests.toys import toy_tokenizer

PLAIN = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}[assistant]"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN
SILENT = (
    "{% for m in messages if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}[assistant]"
)
ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}"
    "{% endif %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}[assistant]"
)


def prompts_of(template: str) -> Prompts:
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = template
    return Prompts(tokenizer)


def turns(*parts: str) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, _, content in (part.partition(":") for part in parts)]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ 'a' * (3 * 1024 ** 3) }}", "GiB"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", " s"),
        ("{% for i in range(30000) %}{{ 'a' * 100 }}{% endfor %}", "writes 3,000,000 characters"),
    ],
)
def test_a_template_that_would_take_the_machine_is_refused(template: str, said: str) -> None:
    with pytest.raises(ModelError, match="broken or hostile") as caught:
        prompts_of(template)
    assert said in str(caught.value)


@pytest.mark.parametrize("template", [PLAIN, NO_SYSTEM, "{% generation %}" + PLAIN + "{% endgeneration %}"])
def test_an_honest_template_is_used(template: str) -> None:
    assert prompts_of(template).render(turns("user:u")) == "[user]u<end>[assistant]"


@pytest.mark.parametrize("template", [NO_SYSTEM, SILENT])
def test_39_a_template_without_a_place_for_the_system_turn_gets_it_before_the_question(template: str) -> None:
    prompts = prompts_of(template)
    said = prompts.render(turns("system:s", "user:u"))
    assert said == "[user]s\n\nu<end>[assistant]"
    assert prompts.encode_prompt(turns("system:s", "user:u")) == prompts.encode_prompt(turns("user:s\n\nu"))
    assert any("no place for a system turn" in remark for remark in prompts.remarks())
    assert prompts_of(PLAIN).remarks() == []


def test_turns_that_a_template_refuses_are_named() -> None:
    with pytest.raises(DataError, match="refuses the turns user, user: alternate"):
        prompts_of(ALTERNATING).render(turns("user:a", "user:b"))


GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nBe helpful.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PARTS = (
    "{% for m in messages %}[{{ m.role }}]{% for part in m.content %}{{ part.text }}{% endfor %}{{ eos_token }}"
    "{% endfor %}[assistant]"
)
THINKING = (
    "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}{{ m.content.split('</think>')[-1] | trim }}"
    "{% else %}{{ m.content }}{% endif %}{{ eos_token }}{% endfor %}[assistant]"
)
UNENDED = (
    "{% for m in messages %}<start_of_turn>{{ m.role }}:{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>assistant:{% endif %}"
)
ENDED_BY_THE_NEXT = (
    "{% for m in messages %}{% if m.role == 'user' %}<start_of_turn>{{ m.content }}[/]{% else %}{{ m.content }}"
    "{% if not loop.last %}<end_of_turn>{% endif %}{% endif %}{% endfor %}"
)
INST = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }} {{ eos_token }}"
    "{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}"
)
DATED = "[{{ strftime_now('%d %b %Y') }}]" + PLAIN


def with_tokens(template: str, *tokens: str) -> Any:
    tokenizer = toy_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(tokens)})
    tokenizer.bos_token = "<end>"
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (GEMMA, "<end_of_turn>"),
        (CHATML, "<|im_end|>"),
        (PLAIN, "<end>"),
        ("{{ messages[-1].content }} ### ", "<end>"),
        (ENDED_BY_THE_NEXT, "<end_of_turn>"),
        (UNENDED, "<end>"),
    ],
)
def test_a_turn_ends_with_what_the_template_writes_after_an_answer(template: str, end: str) -> None:
    tokenizer = with_tokens(template, "<start_of_turn>", "<end_of_turn>", "<|im_start|>", "<|im_end|>")
    prompts = Prompts(tokenizer)
    token = tokenizer.convert_tokens_to_ids(end)
    assert prompts.encode(turns("user:u"), "a").tokens[-1] == token
    assert any(f"answers end with {end}," in remark for remark in prompts.remarks()) == (end != "<end>")


def test_every_answer_of_a_conversation_is_learned_with_the_end_of_its_turn() -> None:
    tokenizer = with_tokens(GEMMA, "<start_of_turn>", "<end_of_turn>")
    sample = Prompts(tokenizer).encode(turns("user:q", "assistant:a", "user:r"), "b")
    spelled = [tokenizer.decode(sample.tokens[start:stop]) for start, stop in sample.learned]
    assert spelled == ["a<end_of_turn>", "b<end_of_turn>"]
    # the whole conversation in transformers' own words, up to the line end after the last turn
    whole = tokenizer.apply_chat_template(turns("user:q", "assistant:a", "user:r", "assistant:b"), return_dict=False)
    assert sample.tokens == whole[: len(sample.tokens)]


@pytest.mark.parametrize(("template", "learned"), [(INST, ["a <end>", "b <end>"]), (PLAIN, ["a<end>", "b<end>"])])
def test_an_answer_is_learned_up_to_its_end_whatever_space_the_template_writes_before_it(
    template: str, learned: list[str]
) -> None:
    prompts = prompts_of(template)
    sample = prompts.encode(turns("user:q", "assistant:a", "user:r"), "b")
    assert [prompts.tokenizer.decode(sample.tokens[start:stop]) for start, stop in sample.learned] == learned


def chatml(answer: str, asks: str) -> str:
    """Return a template that writes `answer` for one, and `asks` for it."""
    return (
        "{% for m in messages %}{% if m.role == 'assistant' %}" + answer + "{% else %}<|im_start|>{{ m.role }}\n"
        "{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}" + asks + "{% endif %}"
    )


WRITES = "{{ m.content }}<|im_end|>\n"
LAST = "{% if loop.last and not add_generation_prompt %}"
AROUND = {
    "llama 2": (chatml(" {{ m.content | trim }} {{ eos_token }}", ""), [" a <end>", " b <end>"]),
    "vicuna": (chatml(" ASSISTANT: {{ m.content }}{{ eos_token }}", " ASSISTANT:"), [" a<end>", " b<end>"]),
    "alpaca": (chatml("### Answer\n{{ m.content }}\n### End\n{{ eos_token }}", "### Answer\n"),
               ["a\n### End\n<end>", "b\n### End\n<end>"]),
    "response tokens": (chatml("<|a|><|r|>{{ m.content }}<|/r|><|/a|>", "<|a|>"), ["a<|/r|>", "b<|/r|>"]),
    "thought begun": (chatml("<|a|>" + WRITES, "<|a|><think>\n"), ["a<|im_end|>", "b<|im_end|>"]),
    "empty thought": (chatml("<|a|>" + LAST + "<think>\n\n</think>\n\n{% endif %}" + WRITES, "<|a|>"), ["b<|im_end|>"]),
    "channels": (chatml("<|a|>final<|r|>{{ m.content }}" + LAST + "<|/r|>{% else %}<|/a|>{% endif %}", "<|a|>"),
                 ["b<|/r|>"]),
    "no end": (chatml("\n### Answer\n{{ m.content }}\n\n", "\n### Answer\n"), ["b<end>"]),
    "no request": (chatml("<|a|>" + WRITES, ""), ["a<|im_end|>", "b<|im_end|>"]),
}  # fmt: skip


@pytest.mark.parametrize("name", AROUND)
def test_answers_are_learned_and_asked_for_where_and_up_to_where_the_template_writes_them(name: str) -> None:
    template, learned = AROUND[name]
    tokenizer = with_tokens(template, "<|im_start|>", "<|im_end|>", "<|a|>", "<|/a|>", "<|r|>", "<|/r|>")
    prompts = Prompts(tokenizer)
    asked, said = turns("user:q", "assistant:a", "user:r"), turns("assistant:b")
    for before in (asked[:1], asked):
        sample = prompts.encode(before, "b")
        whole = tokenizer.apply_chat_template([*before, *said], return_dict=False)
        written = sample.tokens[:-1] if name == "no end" else sample.tokens
        assert written == whole[: len(written)]
    assert [tokenizer.decode(sample.tokens[start:stop]) for start, stop in sample.learned] == learned
    assert prompts.spell(sample.tokens[sample.answer_start : -1]) == "b"
    asks = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    differs = prompts.encode_prompt(asked) != asks
    assert any("before an answer" in remark for remark in prompts.remarks()) == differs
    assert any("last answer alone" in remark for remark in prompts.remarks()) == (len(learned) == 1)


@pytest.mark.parametrize(("written", "said"), [("</turn>\n", True), ("\n\n", False), ("</turn>{{ eos_token }}", False)])
def test_it_is_said_where_a_template_ends_answers_with_words_and_no_token(written: str, said: bool) -> None:
    remarks = prompts_of("{% for m in messages %}{{ m.role }}: {{ m.content }}" + written + "{% endfor %}").remarks()
    assert any("'</turn>', which is no token" in remark for remark in remarks) == said


QWEN_3 = chatml(
    "<|a|>{% set parts = m.content.split('</think>') %}{% if loop.last and not add_generation_prompt %}<think>\n"
    "{{ parts[0].split('<think>')[-1] | trim if parts | length > 1 }}\n</think>\n\n{% endif %}"
    "{{ parts[-1].lstrip('\n') }}<|im_end|>\n",
    "<|a|>",
)


@pytest.mark.parametrize(
    ("answer", "learned"),
    [
        ("b", "<think>\n\n</think>\n\nb"),
        ("<think>\nhm\n</think>\n\nb", "<think>\nhm\n</think>\n\nb"),
        ("<think>\n\n</think>\n\nb", "<think>\n\n</think>\n\nb"),
    ],
)
def test_an_empty_thought_gives_way_to_the_thought_of_an_answer(answer: str, learned: str) -> None:
    tokenizer = with_tokens(QWEN_3, "<|im_start|>", "<|im_end|>", "<|a|>")
    tokenizer.add_tokens(["<think>", "</think>"])  # tokens of their own and not special, as Qwen 3 has them
    prompts, asked = Prompts(tokenizer), turns("user:q", "assistant:a", "user:r")
    sample = prompts.encode(asked, answer)
    whole = tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": answer}], return_dict=False)
    assert sample.tokens == whole[: len(sample.tokens)]
    assert [tokenizer.decode(sample.tokens[start:stop]) for start, stop in sample.learned] == [f"{learned}<|im_end|>"]
    asks = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    assert prompts.encode_prompt(asked) == asks  # as it is asked elsewhere
    spelled = prompts.spell(sample.tokens[sample.answer_start : -1])
    assert spelled == answer.removeprefix("<think>\n\n</think>\n\n")


BEGUN = QWEN_3.replace("and not add_generation_prompt", "and true")[: -len("{% endif %}")] + "<think>\n{% endif %}"
SPACED = QWEN_3.replace("%}<think>", "%}{{ '\n' }}<think>", 1)


@pytest.mark.parametrize(
    ("template", "answer", "learned"),
    [
        (BEGUN, "b", "\n</think>\n\nb"),
        (BEGUN, "<think>\nhm\n</think>\n\nb", "hm\n</think>\n\nb"),
        (BEGUN, "<think>hm\n</think>\n\nb", "hm\n</think>\n\nb"),
        (SPACED, "b", "\n<think>\n\n</think>\n\nb"),
        (SPACED, "<think>\nhm\n</think>\n\nb", "\n<think>\nhm\n</think>\n\nb"),
        (SPACED, "\n<think>\nhm\n</think>\n\nb", "\n<think>\nhm\n</think>\n\nb"),
    ],
)
def test_the_thought_of_an_answer_begins_where_the_template_lets_it_begin(
    template: str, answer: str, learned: str
) -> None:
    tokenizer = with_tokens(template, "<|im_start|>", "<|im_end|>", "<|a|>")
    prompts, asked = Prompts(tokenizer), turns("user:q")
    sample = prompts.encode(asked, answer)
    whole = tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": answer}], return_dict=False)
    assert sample.tokens == whole[: len(sample.tokens)]
    assert sample.tokens[: sample.answer_start] == prompts.encode_prompt(asked)
    assert tokenizer.decode(sample.tokens[sample.answer_start : -1]) == learned
    spelled = prompts.spell(sample.tokens[sample.answer_start : -1])
    assert spelled == answer.replace("<think>hm", "<think>\nhm").lstrip()


@pytest.mark.parametrize("template", [QWEN_3, BEGUN, SPACED])
@pytest.mark.parametrize("answer", ["b", "<think>\nhm\n</think>\n\nb"])
def test_special_tokens_that_the_template_writes_inside_answers_are_text_elsewhere(template: str, answer: str) -> None:
    tokenizer = with_tokens(template, "<|im_start|>", "<|im_end|>", "<|a|>", "<think>", "</think>")
    prompts, asked = Prompts(tokenizer), turns("user:q")
    sample = prompts.encode(asked, answer)
    whole = tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": answer}], return_dict=False)
    assert sample.tokens == whole[: len(sample.tokens)]
    assert prompts.spell(sample.tokens[sample.answer_start : -1]) == answer
    thought = tokenizer.convert_tokens_to_ids("<think>")
    assert prompts.encode_prompt(turns("user:<think>")).count(thought) == prompts.encode_prompt(asked).count(thought)


def test_with_a_system_turn_that_moves_to_the_last_question_the_last_answer_alone_is_learned() -> None:
    template = (
        "{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}[INST]{% if loop.last and"
        " messages[0].role == 'system' %}{{ messages[0].content }}:{% endif %}{{ m.content }}[/INST]{% else %}"
        "{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    )
    prompts = prompts_of(template)
    spoken = turns("user:q", "assistant:a", "user:r")
    assert len(prompts.encode(spoken, "b").learned) == 2
    assert len(prompts.encode([*turns("system:s"), *spoken], "b").learned) == 1
    assert any("that begins with a system turn the last" in remark for remark in prompts.remarks())


@pytest.mark.parametrize("written", ["", "{{ m.content[:0] }}"])
def test_what_a_template_writes_for_an_answer_it_does_not_show_ends_none(written: str) -> None:
    tokenizer = with_tokens(chatml(written, "<|im_start|>assistant\n"), "<|im_start|>", "<|im_end|>")
    assert Prompts(tokenizer).end_token == tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("content", "said", "shown"),
    [
        ("{{ m.content }}", " <b> & 'x'\n", True),
        ("{{ m.content | trim }}", "x", True),
        ("{{ m.content | trim }}", "x ", False),
        ("{{ m.content | e }}", "a < b", False),
        ("{{ m.content.split() | join(' ') }}", "a  b", False),
        ("{{ m.content[:9] }}", "0123456789", False),
        ("{{ m.content.replace('/think', '') }}", "x /think", False),
    ],
)
def test_it_is_seen_where_a_template_changes_what_a_user_says(content: str, said: str, shown: bool) -> None:
    prompts = prompts_of(PLAIN.replace("{{ m.content }}", content))
    assert prompts.shows([*turns("system:s", "user:q", "assistant:a"), {"role": "user", "content": said}]) == shown


def test_it_is_seen_where_a_template_forgets_the_oldest_turns() -> None:
    prompts = prompts_of(PLAIN.replace("in messages", "in messages[-3:]"))
    assert prompts.shows(turns("user:q", "assistant:a", "user:r"))
    assert not prompts.shows(turns("user:q", "assistant:a", "user:r", "assistant:b", "user:s"))


def test_an_answer_that_a_template_trims_costs_no_other_answer_of_its_conversation() -> None:
    prompts = prompts_of(PLAIN.replace("{{ m.content }}", "{{ m.content | trim }}"))
    sample = prompts.encode(turns("user:q", "assistant:a", "user:r", "assistant:b\n", "user:s"), "c")
    assert [prompts.tokenizer.decode(sample.tokens[start:stop]) for start, stop in sample.learned] == [
        "a<end>",
        "c<end>",
    ]


def test_a_template_that_reads_contents_as_parts_is_given_parts() -> None:
    prompts = prompts_of(PARTS)
    assert prompts.render(turns("system:s", "user:u", "assistant:a", "user:v")) == (
        "[system]s<end>[user]u<end>[assistant]a<end>[user]v<end>[assistant]"
    )


@pytest.mark.parametrize(
    "template",
    [
        "[user]<end>[assistant]",  # the question nowhere
        "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",  # twice
        "{{ messages[0].content[:1] }}",  # in part
    ],
)
def test_a_template_that_does_not_show_the_question_is_refused(template: str) -> None:
    with pytest.raises(ModelError, match="does not show what a user says"):
        prompts_of(template)


def test_a_template_that_loses_earlier_turns_refuses_conversations_and_no_single_question() -> None:
    prompts = prompts_of("[user]{{ messages[-1].content }}<end>[assistant]")
    assert prompts.render(turns("user:u")) == "[user]u<end>[assistant]"
    with pytest.raises(DataError, match="leaves out or changes what earlier turns say"):
        prompts.encode(turns("user:u", "assistant:a", "user:v"), "b")


def test_what_a_template_makes_of_an_earlier_answer_is_what_the_model_reads() -> None:
    prompts = prompts_of(THINKING)
    spoken = turns("user:u", "assistant:<think>hm</think> a ", "user:v")
    expected = prompts.tokenizer.apply_chat_template(spoken, tokenize=False)
    assert prompts.tokenizer.decode(prompts.encode_prompt(spoken)) == expected
    plainly = turns("user:u", "assistant:a", "user:v")
    assert len(prompts.encode(plainly, "b").learned) == 2 and len(prompts.encode(spoken, "b").learned) == 1


def test_a_date_is_that_of_the_run_and_does_not_change_the_template() -> None:
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = DATED
    monday, friday = (Prompts(tokenizer, datetime.date(2026, 11, day)) for day in (23, 27))
    assert monday.render(turns("user:u")).startswith("[23 Nov 2026]")
    assert friday.render(turns("user:u")).startswith("[27 Nov 2026]")
    assert monday.fingerprint() == friday.fingerprint()
    tokenizer.chat_template = "{% set form = '%d %b' ~ ' %Y' %}[{{ strftime_now(form) }}]" + PLAIN  # no literal
    assert Prompts(tokenizer, datetime.date(2026, 11, 23)).render(turns("user:u")).startswith("[23 Nov 2026]")
    tokenizer.chat_template = DATED.replace("%b", "%B")
    assert Prompts(tokenizer).fingerprint() != monday.fingerprint()


def test_templates_that_differ_for_system_turns_alone_have_different_fingerprints() -> None:
    other = PLAIN.replace("[{{ m.role }}]", "[{{ 'SYS' if m.role == 'system' else m.role }}]")
    assert prompts_of(other).render(turns("user:u")) == prompts_of(PLAIN).render(turns("user:u"))
    assert prompts_of(other).fingerprint() != prompts_of(PLAIN).fingerprint()


def test_of_named_templates_the_default_is_used() -> None:
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = {"default": PLAIN, "tool_use": "{{ tools }}"}
    assert Prompts(tokenizer).render(turns("user:u")) == "[user]u<end>[assistant]"
    tokenizer.chat_template = {"rag": PLAIN, "tool_use": "{{ tools }}"}
    with pytest.raises(ModelError, match=r"rag, tool_use, and none of them is called default"):
        Prompts(tokenizer)


def test_a_system_prompt_that_the_template_writes_by_itself_is_said() -> None:
    prompts = Prompts(with_tokens(CHATML, "<|im_start|>", "<|im_end|>"))
    assert any("'Be helpful.'" in remark for remark in prompts.remarks())
