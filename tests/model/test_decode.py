from typing import Any

import torch

from tailora.model.decode import Decoded, Limits, decode_greedy
from tests.toys import toy_model

PROMPTS = [[1, 2, 3], [9] * 17, [200, 4], [7, 7, 8, 1, 1], [33]]


def reference(model: Any, prompt: list[int], ends: list[int], most: int) -> Decoded:
    """Greedy decoding without cache, padding or batches."""
    new: list[int] = []
    while len(new) < most:
        with torch.no_grad():
            token = int(model(input_ids=torch.tensor([prompt + new]), use_cache=False).logits[0, -1].argmax())
        if token in ends:
            return Decoded(new, ended=True)
        new.append(token)
    return Decoded(new, ended=False)


def decode(model: Any, ends: list[int], batch_size: int) -> list[Decoded]:
    return decode_greedy(
        model,
        PROMPTS,
        Limits(12, 100, batch_size),
        end_tokens=ends,
        pad_token=257,
        advance=lambda n: None,
    )


def test_a_batch_answers_as_each_prompt_alone_would() -> None:
    model = toy_model()
    free = reference(model, PROMPTS[0], [], 12).tokens
    ends = [256, free[4]]  # a token that some answers reach, so that rows end at different times
    alone = [reference(model, prompt, ends, 12) for prompt in PROMPTS]
    assert {answer.ended for answer in alone} == {True, False}
    for batch_size in (1, 2, 5):
        assert decode(model, ends, batch_size) == alone


def test_progress_counts_every_row_once() -> None:
    done: list[int] = []
    decode_greedy(
        toy_model(),
        PROMPTS,
        Limits(2, 100, 2),
        end_tokens=[256],
        pad_token=257,
        advance=done.append,
    )
    assert done == [2, 2, 1]


def test_an_answer_ends_where_the_context_does_and_cuts_no_other_short() -> None:
    model = toy_model()
    answers = decode_greedy(
        model, PROMPTS, Limits(12, 20, 5), end_tokens=[256], pad_token=257,
        advance=lambda count: None,
    )  # fmt: skip
    rooms = [min(12, 20 - len(prompt)) for prompt in PROMPTS]
    assert rooms == [12, 3, 12, 12, 12]
    assert answers == [reference(model, prompt, [256], room) for prompt, room in zip(PROMPTS, rooms, strict=True)]
