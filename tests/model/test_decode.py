"""Answers in batches are those of transformers' own `generate` on each prompt alone, whatever the model is made of."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from tailora import machine, recipe
from tailora.model.decode import Decoded, Draw, Limits, batches_of, bytes_of_a_token, decode
from tailora.model.lora import add_lora
from tailora.model.losses import choose_path
from tests.toys import toy_model

PROMPTS = [[1, 2, 3], [9] * 17, [200, 4], [7, 7, 8, 1, 1], [33]]
_SMALL = {
    "vocab_size": 258, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 64, "max_position_embeddings": 128, "bos_token_id": 256, "eos_token_id": 256,
    "pad_token_id": 257,
}  # fmt: skip
# The kinds of positions and memories there are: rotary, learned and linear positions, windows, shared heads, caps,
# experts; and states, which are no cache of keys and values.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 6},
    "gpt_neox": {},
    "gpt2": {"n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 4},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": {"n_layer": 2, "n_head": 4},
    "mixtral": {"num_key_value_heads": 2, "num_local_experts": 4},
    "mamba": {"state_size": 4},
    # Positions are counted from the first token of the input, padding or not.
    "bart": {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 64},
    # Factors change beyond 14 tokens: prompts lie on both sides, and answers cross.
    "phi3": {
        "num_key_value_heads": 2, "original_max_position_embeddings": 14,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [8.0] * 4},
    },
}  # fmt: skip


def model_of(kind: str) -> Any:
    torch.manual_seed(1)
    config = AutoConfig.for_model(kind, **{**_SMALL, **ARCHITECTURES[kind]})
    model = AutoModelForCausalLM.from_config(config).float().eval()
    for weight in model.parameters():  # as drawn, these models say one token again and again
        torch.nn.init.normal_(weight, std=0.3) if weight.dim() > 1 else None
    model.generation_config = GenerationConfig()
    return model


def generated(model: Any, prompt: list[int], ends: Sequence[int], most: int) -> Decoded:
    """Return what transformers says, one prompt at a time."""
    settings = GenerationConfig(do_sample=False, max_new_tokens=most, eos_token_id=list(ends), pad_token_id=257)
    tokens = torch.tensor([prompt])
    with torch.no_grad():
        full = model.generate(input_ids=tokens, attention_mask=torch.ones_like(tokens), generation_config=settings)
    new = full[0, len(prompt) :].tolist()
    return Decoded(new[:-1], ended=True) if new[-1] in ends else Decoded(new, ended=False)


def decode_all(model: Any, prompts: list[list[int]], limits: Limits, ends: Sequence[int] = (256,)) -> list[Decoded]:
    answers: dict[int, Decoded] = {}
    for rows in batches_of([len(prompt) for prompt in prompts], limits.batch_size):
        batch = [Draw(prompts[row]) for row in rows]
        answers |= dict(zip(rows, decode(model, batch, limits, end_tokens=ends, pad_token=257), strict=True))
    return [answers[row] for row in range(len(prompts))]


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_batch_answers_as_generate_does_on_each_prompt_alone(kind: str) -> None:
    model = model_of(kind)
    free = generated(model, PROMPTS[0], [256], 12).tokens
    ends = [256, free[4]]  # a token that some answers reach, so that rows end at different times
    alone = [generated(model, prompt, ends, 12) for prompt in PROMPTS]
    assert {answer.ended for answer in alone} == {True, False}
    assert len({tuple(answer.tokens) for answer in alone}) > 2
    for batch_size in (1, 2, 5):
        assert decode_all(model, PROMPTS, Limits(12, 100, batch_size), ends) == alone


def test_an_adapter_answers_as_pefts_own_layers_do() -> None:
    model = add_lora(toy_model(), recipe.Lora(rank=4), 0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2)
    model.eval()
    expected = [generated(model, prompt, [256], 12) for prompt in PROMPTS]
    choose_path(model, "fast")
    assert decode_all(model, PROMPTS, Limits(12, 100, 3)) == expected
    with model.disable_adapter():
        assert decode_all(model, PROMPTS, Limits(12, 100, 3)) != expected


def test_an_answer_ends_where_the_context_does_and_cuts_no_other_short() -> None:
    model = toy_model()
    answers = decode_all(model, [*PROMPTS, [5] * 20], Limits(12, 20, 6))
    rooms = [min(12, 20 - len(prompt)) for prompt in PROMPTS]
    assert rooms == [12, 3, 12, 12, 12]
    expected = [generated(model, prompt, [256], room) for prompt, room in zip(PROMPTS, rooms, strict=True)]
    assert answers == [*expected, Decoded([], ended=False)]


def test_every_row_stands_in_one_batch_with_rows_of_its_length() -> None:
    assert batches_of([3, 9, 1, 9, 4], 2) == [[1, 3], [4, 0], [2]]
    assert batches_of([], 2) == []


def test_drawn_answers_depend_on_seed_prompt_and_number_and_not_on_the_batch() -> None:
    model = toy_model()
    limits = Limits(8, 100, 1, temperature=1.0, samples=3, seed=5)
    draws = [Draw(prompt, number) for prompt in PROMPTS for number in range(3)]

    def drawn(order: list[Draw], size: int, limits: Limits = limits) -> dict[str, Decoded]:
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        answers = [a for part in parts for a in decode(model, part, limits, end_tokens=[256], pad_token=257)]
        return {str(draw): answer for draw, answer in zip(order, answers, strict=True)}

    alone = drawn(draws, 1)
    assert drawn(draws[::-1], 4) == alone == drawn(draws, 15)
    assert len({tuple(answer.tokens) for answer in alone.values()}) == len(draws)
    assert drawn(draws, 15, limits._replace(seed=6)) != alone


@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_tokens_are_drawn_as_often_as_the_model_says(temperature: float) -> None:
    model, count = toy_model(), 4000
    with torch.no_grad():
        logits = 3 * model(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1].double()
        model.lm_head.weight.mul_(3)
    limits = Limits(1, 100, count, temperature=temperature)
    draws = [Draw(PROMPTS[0], number) for number in range(count)]
    seen = Counter(a.tokens[0] for a in decode(model, draws, limits, end_tokens=[], pad_token=257))
    expected = (torch.softmax(logits / temperature, -1) * count).tolist()
    likely = [token for token in range(258) if expected[token] >= 5]
    rest = count - sum(expected[token] for token in likely)
    found = [seen[token] for token in likely]
    assert chisquare([*found, count - sum(found)], [*(expected[t] for t in likely), rest]).pvalue > 1e-4


def test_a_low_temperature_is_greedy() -> None:
    model = toy_model()
    greedy = decode_all(model, PROMPTS, Limits(8, 100, 5))
    assert decode_all(model, PROMPTS, Limits(8, 100, 5, temperature=1e-4)) == greedy


@pytest.mark.skipif(not machine.forget_peak(), reason="the system does not say what a process has held")
def test_answering_reads_a_large_head_once_for_all_rows() -> None:
    shape = {**_SMALL, "vocab_size": 262_144, "intermediate_size": 32, "num_hidden_layers": 1}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **shape)).to(torch.bfloat16).eval()
    model.requires_grad_(False)  # as the base of an adapter is
    machine.give_back_freed_memory()
    machine.forget_peak()
    before = machine.resident_bytes()
    draws = [Draw([row + 2] * (3 + row)) for row in range(16)]
    decode(model, draws, Limits(1, 128, 16), end_tokens=[1], pad_token=0)
    head = model.get_output_embeddings().weight
    assert machine.held_memory_bytes() - before < 5 * head.nbytes  # copied once a row it takes 16 of them


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_the_cache_takes_as_many_bytes_a_token_as_keys_and_values_have_numbers(kind: str) -> None:
    heads, width = {"llama": (2, 8), "gpt2": (4, 8), "gemma2": (2, 8)}[kind]
    assert bytes_of_a_token(model_of(kind)) == 2 * 2 * heads * width * 4  # layers, keys and values, float32


def test_a_model_without_a_cache_of_keys_takes_nothing_for_a_token() -> None:
    assert bytes_of_a_token(model_of("mamba")) == 0


def test_an_answer_that_crosses_a_border_of_lengths_is_that_of_the_whole_row_read_anew_for_each_token() -> None:
    # transformers' `generate` reads anew at the border for Phi-3 alone; any model may have these factors.
    torch.manual_seed(1)
    rope = {
        "rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [8.0] * 4, "rope_theta": 10000.0,
        "original_max_position_embeddings": 14,
    }  # fmt: skip
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **_SMALL, rope_parameters=rope)).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3) if weight.dim() > 1 else None
    expected = []
    for prompt in PROMPTS:
        row = list(prompt)
        for _ in range(20):
            with torch.no_grad():
                row.append(int(model(input_ids=torch.tensor([row]), use_cache=False).logits[0, -1].argmax()))
        expected.append(Decoded(row[len(prompt) :], ended=False))
    assert decode_all(model, PROMPTS, Limits(20, 128, 5), ends=()) == expected
    drawn = Limits(20, 128, 5, temperature=0.7, samples=1, seed=3)
    assert decode_all(model, PROMPTS, drawn, ends=()) == [decode_all(model, [p], drawn, ends=())[0] for p in PROMPTS]
