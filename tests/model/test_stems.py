"""What rows begin with alike is computed once, and each row loses what transformers says of it alone."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tailora.model.losses import choose_path, reading_batches, token_nats
from tailora.model.packing import pack_shared
from tailora.model.prefix import keep_prefix
from tailora.text.chat import Sample
from tailora.text.shared_prefixes import LEAST, inputs
from tests.model.test_losses import ARCHITECTURES, adapted, base_model

# Lengths around the least that is shared; rows of up to three of them fit into the 128 positions of the models.
PIECES = st.sampled_from([1, 2, LEAST - 1, LEAST, LEAST + 1, 40])


def drawn(seed: Any, count: int) -> list[int]:
    numbers = random.Random(str(seed))
    return [numbers.randrange(250) for _ in range(count)]


def learned_from(tokens: list[int], start: int) -> Sample:
    return Sample(tokens, [(start, len(tokens))])


def questions() -> list[Sample]:
    """Return two questions with endings under one template, and a row that has nothing in common with them."""
    template = drawn("template", 30)
    rows = [learned_from(drawn("other", 20), 5)]
    for number, question in enumerate([drawn("first", 25), drawn("second", 37)]):
        stem = template + question
        rows += [learned_from(stem + drawn(f"{number} {ending}", 3 + ending), len(stem)) for ending in range(4)]
    return random.Random(0).sample(rows, len(rows))  # the order in which they come is another


def alone(model: Any, samples: Sequence[Sample]) -> tuple[list[float], list[list[bool]]]:
    """Return the loss of each row and whether its tokens were the likeliest, from logits of the row alone."""
    losses, right = [], []
    for sample in samples:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([sample.tokens])).logits[0]
        tokens, learned = torch.tensor(sample.tokens), torch.tensor(sample.flags()).nonzero()[:, 0]
        chosen = logits.log_softmax(-1)[learned - 1]
        losses.append(-chosen.gather(1, tokens[learned, None]).sum().item())
        right.append((chosen.argmax(-1) == tokens[learned]).tolist())
    return losses, right


def read(model: Any, samples: Sequence[Sample]) -> tuple[list[float], list[list[bool]]]:
    with torch.inference_mode():
        nats, owner, right = token_nats(model, samples)
    assert right is not None and owner.tolist() == sorted(owner.tolist())
    rows = range(len(samples))
    return [nats[owner == row].sum().item() for row in rows], [right[owner == row].tolist() for row in rows]


def assert_read(model: Any, samples: Sequence[Sample], expected: tuple[list[float], list[list[bool]]]) -> None:
    losses, right = read(model, samples)
    assert losses == pytest.approx(expected[0], rel=1e-6)
    assert right == expected[1]


def count_read(model: Any) -> list[int]:
    """Return a list that grows by the tokens of each pass through `model`."""
    counts: list[int] = []
    model.get_input_embeddings().register_forward_hook(lambda layer, args, output: counts.append(args[0].numel()))
    return counts


def laid_once(samples: Sequence[Sample]) -> int:
    """Return how many different beginnings rows have, which is what a tree without any waste holds."""
    rows = [tuple(inputs(sample)) for sample in samples]
    return len({row[:length] for row in rows for length in range(1, len(row) + 1)})


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_rows_under_one_template_lose_what_they_lose_alone(kind: str) -> None:
    model, samples = adapted(kind), questions()
    expected = alone(model, samples)
    path = choose_path(model, "auto")
    assert path.shares
    assert_read(model, samples, expected)


def test_a_template_and_its_questions_are_read_once_and_only_without_gradients() -> None:
    model, samples = adapted("llama"), questions()
    choose_path(model, "fast")
    counts = count_read(model)
    read(model, samples)
    token_nats(model, samples)
    # The template, two questions and all that follows but the last tokens, which nothing is asked of.
    assert counts == [30 + 25 + 37 + 2 * (2 + 3 + 4 + 5) + 19, sum(len(sample.tokens) for sample in samples)]
    assert counts[0] == laid_once(samples)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_forest_of_rows_loses_what_its_rows_lose_alone(data: Any, readers: Any) -> None:
    model, plain = readers[data.draw(st.sampled_from(sorted(readers)))]
    samples = []
    for _ in range(data.draw(st.integers(1, 8))):
        # Tokens of a piece follow from its place and number alone, so rows that draw the same ones share them.
        pieces = data.draw(st.lists(st.tuples(st.integers(0, 1), PIECES), min_size=1, max_size=3))
        tokens = [0, *(token for place, piece in enumerate(pieces) for token in drawn((place, piece[0]), piece[1]))]
        start = data.draw(st.integers(1, len(tokens) - 1))
        samples.append(learned_from(tokens, data.draw(st.sampled_from([1, start, len(tokens) - 1]))))
    assert_read(model, samples, alone(plain, samples))


@pytest.fixture(scope="module")
def readers() -> dict[str, tuple[Any, Any]]:
    """Return models that share beginnings: windows, soft caps and learned positions; and the same in plain."""
    found = {}
    for kind in ("llama", "mistral", "gemma2", "gpt2"):
        model = base_model(kind).requires_grad_(False)
        assert choose_path(model, "fast").shares
        found[kind] = (model, base_model(kind))
    return found


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=8), min_size=1, max_size=12))
def test_a_packed_tree_holds_every_beginning_once(rows: list[list[int]]) -> None:
    samples = [learned_from([*row, 0], len(row)) for row in rows]
    packed, places = pack_shared(samples, least=1)
    assert len(packed.tokens) == laid_once(samples)
    for row, place in zip(rows, places, strict=True):
        assert packed.tokens[place].tolist() == row
        assert packed.positions[place].tolist() == list(range(len(row)))


def test_equal_rows_beginnings_of_rows_and_shared_answers_keep_their_own_numbers() -> None:
    model, tokens = adapted("mistral"), drawn("row", 60)
    ends = [learned_from([*tokens, token], 60) for token in (1, 2, 3, 1)]  # one state says them all
    spans = Sample(tokens, [(20, 25), (40, 60)])
    samples = [learned_from(tokens, 30), *ends, learned_from(tokens[:40], 1), learned_from(tokens, 30), spans]
    expected = alone(model, samples)
    choose_path(model, "fast")
    counts = count_read(model)
    assert_read(model, samples, expected)
    assert counts == [60]
    for sample, *numbers in zip(samples, *expected, strict=True):
        assert_read(model, [sample], tuple([number] for number in numbers))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2"])
def test_long_rows_share_beginnings_too(kind: str) -> None:
    model, stem = adapted(kind, max_position_embeddings=2048), drawn("stem", 700)
    rows = [stem + drawn(number, count) for number, count in enumerate((20, 500, 1100, 380))]
    samples = [learned_from(row, 690) for row in [*rows, rows[2] + drawn("end", 30), stem + stem]]
    expected = alone(model, samples)
    choose_path(model, "fast")
    assert_read(model, samples, expected)


def test_a_row_without_targets_has_no_numbers() -> None:
    model, samples = adapted("llama"), [Sample([1, 2, 3], []), *questions()]
    expected = alone(model, samples)
    choose_path(model, "fast")
    assert_read(model, samples, expected)
    assert read(model, samples[:1]) == ([0.0], [[]])


def test_a_model_that_loses_the_branches_on_its_way_is_read_row_by_row() -> None:
    model, samples = adapted("llama"), questions()
    expected = alone(model, samples)

    def forget(layer: Any, args: Any, named: dict[str, Any]) -> Any:
        return args, {name: value for name, value in named.items() if name != "branches"}

    model.get_base_model().base_model.register_forward_pre_hook(forget, with_kwargs=True)
    path = choose_path(model, "auto")
    assert (path.name, path.shares) == ("fast", False)
    assert_read(model, samples, expected)


def test_the_plain_path_and_kept_layers_do_not_share(tmp_path: Path) -> None:
    model, samples = adapted("llama"), questions()
    expected = alone(model, samples)
    assert not choose_path(model, "plain").shares
    assert_read(model, samples, expected)
    model.peft_config["default"].layers_to_transform = [1]
    for name, weight in model.named_parameters():
        if "layers.0." in name:
            weight.requires_grad_(False)
    choose_path(model, "fast")
    assert keep_prefix(model, samples, tmp_path).bytes
    counts = count_read(model)
    assert_read(model, samples, expected)
    assert counts == []  # what was kept stands for what the first layer gives, token by token


def test_dropout_in_attention_is_drawn_for_shared_rows_too() -> None:
    model, samples = adapted("llama", attention_dropout=0.5), questions()
    expected = alone(model, samples)
    choose_path(model, "fast")
    assert_read(model, samples, expected)
    model.train()
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.append(read(model, samples)[0])
    assert losses[0] == losses[1] != losses[2]


def test_a_switched_off_adapter_leaves_what_the_base_loses() -> None:
    model, plain, samples = adapted("llama"), base_model("llama"), questions()
    choose_path(model, "fast")
    with model.disable_adapter():
        assert_read(model, samples, alone(plain, samples))


@given(drafts=st.lists(st.tuples(st.integers(0, 2), PIECES, PIECES), max_size=30), budget=st.integers(20, 200))
@settings(deadline=None)
def test_batches_for_reading_stay_within_the_budget_and_hold_every_row_once(
    drafts: list[tuple[int, int, int]], budget: int, readers: Any
) -> None:
    samples = [learned_from(drawn(number, first) + drawn(second, second), first) for number, first, second in drafts]
    batches = list(reading_batches(readers["llama"][0], samples, budget))
    assert sorted(id(sample) for batch in batches for sample in batch) == sorted(map(id, samples))
    for batch in batches:
        assert len(batch) == 1 or len(pack_shared(batch)[0].tokens) <= budget
    assert batches == list(reading_batches(readers["llama"][0], samples, budget))


def test_rows_that_begin_alike_meet_in_one_batch_however_they_are_strewn() -> None:
    model = base_model("llama").requires_grad_(False)
    stems = [drawn(number, 50) for number in range(6)]
    samples = [
        learned_from(stems[number] + drawn((number, ending), 5), 50) for ending in range(4) for number in range(6)
    ]
    by_rows = list(reading_batches(model, samples, 70))
    choose_path(model, "fast")
    batches = list(reading_batches(model, samples, 70))
    assert len(by_rows) == len(samples)
    assert len(batches) == 6
    assert all(len({tuple(sample.tokens[:50]) for sample in batch}) == 1 for batch in batches)
