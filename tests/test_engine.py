"""Text in, text out: an answer ends where its turn does, and no token reaches an embedding that is not there."""

import pytest
import torch
from transformers import GenerationConfig

from tailora.engine import Engine
from tailora.errors import ModelError
from tailora.model.decode import Limits
from tailora.text.chat import Prompts
from tests.toys import toy_model, toy_tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QUESTIONS = [[{"role": "user", "content": text}] for text in ("a", "a longer question", "third")]


def saying(model: torch.nn.Module, *tokens: int) -> torch.nn.Module:
    """Let `model` say these tokens one after another, whatever it is asked: each makes the next one likeliest."""
    size = model.config.hidden_size
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.model.norm.weight.fill_(1.0)
        for place, token in enumerate(tokens[:-1]):
            model.get_input_embeddings().weight[token, place] = 1.0
            model.lm_head.weight[tokens[place + 1], place] = 100.0
        start = torch.zeros(size)
        start[size - 1] = 1.0
        known = set(tokens[:-1])
        for token in range(model.config.vocab_size):
            if token not in known:
                model.get_input_embeddings().weight[token] = start
        model.lm_head.weight[tokens[0], size - 1] = 100.0
    model.generation_config = GenerationConfig(eos_token_id=model.config.eos_token_id)
    return model


def test_an_answer_ends_with_its_turn_also_where_the_base_declares_another_end() -> None:
    tokenizer = toy_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    model = toy_model()
    model.resize_token_embeddings(len(tokenizer))
    spoken = tokenizer("yes", add_special_tokens=False).input_ids
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    engine = Engine(saying(model, *spoken, end), Prompts(tokenizer))
    answers = engine.answer(QUESTIONS, Limits(20, 200, 4))
    assert [(answer.text, answer.finish) for answer in answers] == [("yes", "end")] * 3


def test_a_base_without_a_template_ends_where_it_begins_a_turn_of_its_own() -> None:
    tokenizer = toy_tokenizer()
    prompts = Prompts(tokenizer)
    heading = tokenizer("# Que", add_special_tokens=False).input_ids  # no letter twice: the model can say it
    engine = Engine(saying(toy_model(), *heading, tokenizer.eos_token_id), prompts)
    stops = tuple(stop[2:7] for stop in prompts.stops)
    assert stops == ("# Sys", "# Que", "# Ans")
    (answers,) = engine.in_batches([prompts.encode_prompt(QUESTIONS[0])], Limits(20, 200, 4), stops=stops)
    assert (answers[0].text, answers[0].finish) == ("", "end")
    tokenizer.chat_template = CHATML
    assert Prompts(tokenizer).stops == ()


def test_padding_beyond_the_embeddings_is_never_read() -> None:
    tokenizer = toy_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<beyond>"})
    model = toy_model()
    assert tokenizer.pad_token_id >= model.config.vocab_size
    plain = Engine(model, Prompts(toy_tokenizer())).answer(QUESTIONS, Limits(5, 200, 4))
    assert Engine(model, Prompts(tokenizer)).answer(QUESTIONS, Limits(5, 200, 4)) == plain


def test_a_token_without_an_embedding_is_refused_before_the_first_pass() -> None:
    tokenizer = toy_tokenizer()
    tokenizer.add_tokens(["strange"])
    with pytest.raises(ModelError, match="writes token 258, but the model has embeddings for 258 only"):
        Engine(toy_model(), Prompts(tokenizer)).answer([[{"role": "user", "content": "strange"}]], Limits(5, 200, 4))
