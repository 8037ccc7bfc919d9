"""Chat templates are code: they run under limits, and what they cannot take is handled and said."""

from typing import Any

import pytest

from tailora.errors import DataError, ModelError
from tailora.text.prompts import Prompts
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
