"""The budget: contexts are shortened, answers never, and every token is counted."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailora.errors import ModelError, RunError
from tailora.files import Row
from tailora.text.chat import Prompts
from tailora.text.length_budget import fit_rows
from tests.toys import toy_tokenizer

PROMPTS = Prompts(toy_tokenizer())  # one token a byte
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60)


def example(question: str, context: str, answer: str) -> Row:
    content = f"{question}\n\n{context}" if context else question
    row = {"where": "x:1", "prompt": [{"role": "user", "content": content}], "answer": answer}
    return row | ({"context": len(context)} if context else {})


def tokens_of(row: Row) -> int:
    return len(PROMPTS.encode(row["prompt"], row["answer"]).tokens)


@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, st.text(max_size=80), TEXTS), min_size=1, max_size=8), st.integers(60, 200))
def test_rows_fit_whole_or_with_less_context_or_are_counted(texts: list[tuple[str, str, str]], longest: int) -> None:
    rows = [example(*parts) for parts in texts] + [example("q", "", "a")]
    found = fit_rows(rows, PROMPTS, longest, "train")
    assert all(len(sample.tokens) <= longest for sample in found.samples)
    assert found.budget.rows + found.budget.too_long == len(rows)
    kept = iter(zip(found.rows, found.samples, strict=True))
    shortened = cut = 0
    for row in rows:
        bare = (
            row | {"prompt": [row["prompt"][0] | {"content": row["prompt"][0]["content"][: -row["context"] or None]}]}
            if "context" in row
            else row
        )
        if tokens_of(bare) > longest:
            continue
        after, sample = next(kept)
        assert after["answer"] == row["answer"]
        assert row["prompt"][0]["content"].startswith(after["prompt"][0]["content"])
        shortened += after["prompt"] != row["prompt"]
        cut += tokens_of(row) - len(sample.tokens)
    assert next(kept, None) is None
    assert (found.budget.shortened, found.budget.cut) == (shortened, cut)
    assert found.budget.tokens == sum(len(sample.tokens) for sample in found.samples)
    assert found.budget.targets == sum(len(row["answer"].encode()) + 1 for row in found.rows)


def test_no_more_context_is_cut_than_must_be() -> None:
    row = example("q", "c" * 100, "a")
    whole = tokens_of(row)
    for longest in range(whole - 99, whole):
        found = fit_rows([row], PROMPTS, longest, "train")
        assert len(found.samples[0].tokens) == longest and found.budget.cut == whole - longest


def test_40_none_fitting_is_refused_with_the_shortest() -> None:
    rows = [example("q" * 50, "", "a"), example("q" * 40, "", "a" * 30)]
    lengths = [tokens_of(row) for row in rows]
    shortest = min(len(PROMPTS.encode_prompt(row["prompt"])) for row in rows)
    with pytest.raises(
        RunError, match=rf"0 of 2 train rows fit .* has {min(lengths)}, its shortest prompt {shortest}\."
    ):
        fit_rows(rows, PROMPTS, 20, "train")


def test_a_length_is_suggested_at_which_99_of_100_rows_fit_whole() -> None:
    rows = [example("q", "", "a" * length) for length in range(1, 101)]
    lengths = sorted(map(tokens_of, rows))
    found = fit_rows(rows, PROMPTS, 64, "train").budget
    assert found.suggested is not None and found.suggested % 64 == 0
    assert found.suggested - 64 < lengths[98] <= found.suggested
    assert fit_rows(rows, PROMPTS, lengths[98], "train").budget.suggested is None


class Forgetful(Prompts):
    """Encodes a prompt in another way once it is asked again, as a tokenizer with a state would."""

    def encode_prompt(self, turns: Any) -> list[int]:
        """Add a token that `encode` does not have."""
        return [*super().encode_prompt(turns), 7]


def test_39_prompts_that_are_asked_otherwise_than_they_were_learned_are_refused() -> None:
    with pytest.raises(ModelError, match="x:1: the answer changes the tokens of its prompt"):
        fit_rows([example("q", "", "a")], Forgetful(toy_tokenizer()), 100, "train")


def test_39_tokens_that_the_tokenizer_does_not_know_are_counted() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(
        models.WordLevel({"<unk>": 0, "<end>": 1, "known": 2, "Question": 3, "Answer": 4, "#": 5}, "<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", unk_token="<unk>")
    rows = [example("known strange known", "", "odd known")]
    assert fit_rows(rows, Prompts(tokenizer), 100, "train").budget.unknown == 2


def test_an_end_token_is_not_unknown_though_gpt_2_names_it_so() -> None:
    tokenizer = toy_tokenizer()
    tokenizer.unk_token = tokenizer.eos_token
    assert fit_rows([example("q", "", "a")], Prompts(tokenizer), 100, "train").budget.unknown == 0
