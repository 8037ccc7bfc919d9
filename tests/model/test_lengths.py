"""What a model makes of a row does not depend on the rows beside it, whatever lengths its configuration names."""

from typing import Any, Literal

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, BigBirdConfig, LlamaConfig

from tailora import recipe
from tailora.model.lengths import borders, last_length
from tailora.model.load import longest_input
from tailora.model.lora import add_lora, trainable
from tailora.model.losses import choose_path, micro_batches, reading_batches, token_nats
from tailora.model.prefix import keep_prefix
from tailora.tasks.generate import Generate
from tailora.text.chat import Sample
from tests.toys import toy_tokenizer

_BORDER = 20
_ROPE = {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [8.0] * 4}
_SIZES = {
    "vocab_size": 258, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "max_position_embeddings": 128, "pad_token_id": 257, "bos_token_id": 256,
    "eos_token_id": 256,
}  # fmt: skip


def phi3(**lora: Any) -> Any:
    """Build a Phi-3 whose rotary factors change beyond 20 tokens, with an adapter that matters."""
    torch.manual_seed(0)
    config = AutoConfig.for_model("phi3", **_SIZES, original_max_position_embeddings=_BORDER, rope_scaling=_ROPE)
    model = AutoModelForCausalLM.from_config(config)
    for weight in model.parameters():
        weight.data.add_(torch.randn_like(weight), alpha=0.1)
    model = add_lora(model.eval(), recipe.Lora(rank=2, **lora), 0).eval()
    for weight in trainable(model).values():
        weight.data.normal_(std=0.1)
    return model


def rows() -> list[Sample]:
    """Return rows on both sides of the border and at it; some begin alike, as rows of one prompt do."""
    numbers = torch.Generator().manual_seed(0)
    lengths = (5, 40, _BORDER - 1, _BORDER, _BORDER + 1, _BORDER + 2, 60, 12)
    start = torch.randint(0, 256, (4,), generator=numbers).tolist()
    tails = [torch.randint(0, 256, (length - 4,), generator=numbers).tolist() for length in lengths]
    return [Sample(start + tail, [(2, length)]) for tail, length in zip(tails, lengths, strict=True)]


def alone(model: Any, sample: Sample) -> float:
    """Return the loss of a row by transformers, on the row alone."""
    labels = [t if flag else -100 for t, flag in zip(sample.tokens, sample.flags(), strict=True)]
    with torch.no_grad():
        loss = model(input_ids=torch.tensor([sample.tokens]), labels=torch.tensor([labels]), use_cache=False).loss
    return float(loss) * sample.targets


@pytest.mark.parametrize("cut", [micro_batches, reading_batches])
@pytest.mark.parametrize("path", ["fast", "plain"])
@pytest.mark.parametrize("most", [1, 64, 10_000])
def test_a_row_costs_the_same_whatever_stands_beside_it(path: Literal["fast", "plain"], most: int, cut: Any) -> None:
    model, samples = phi3(), rows()
    expected = {id(sample): alone(model, sample) for sample in samples}
    assert choose_path(model, path).name == path
    batches = list(cut(model, samples, most))
    assert sum(map(len, batches)) == len(samples) and (most < 100 or len(batches) == 2)
    for batch in batches:
        found = Generate(recipe.Evaluate(), toy_tokenizer()).row_losses(model, batch)
        assert found == pytest.approx([expected[id(sample)] for sample in batch], rel=1e-4)


def test_kept_states_of_frozen_layers_are_those_of_a_row_alone(tmp_path: Any) -> None:
    model, samples = phi3(last_layers=1), rows()
    expected = [alone(model, sample) for sample in samples]
    choose_path(model, "fast")
    assert keep_prefix(model, samples, tmp_path).why == ""
    for batch in micro_batches(model, samples, 10_000):
        with torch.no_grad():
            nats, owner, _ = token_nats(model, batch)
        for number, sample in enumerate(batch):
            assert float(nats[owner == number].sum()) == pytest.approx(expected[samples.index(sample)], rel=1e-4)


@pytest.mark.parametrize("kind", ["type", "rope_type"])
def test_the_borders_of_a_model_are_read_from_its_configuration(kind: str) -> None:
    rope = {kind: "longrope", "short_factor": [1.0] * 4, "long_factor": [8.0] * 4}
    own = LlamaConfig(**_SIZES, rope_scaling={**rope, "original_max_position_embeddings": 30})
    assert [borders(AutoModelForCausalLM.from_config(own)), borders(phi3())] == [[30], [_BORDER]]
    assert borders(AutoModelForCausalLM.from_config(LlamaConfig(**_SIZES))) == []


def test_a_model_with_dynamic_factors_takes_no_row_that_changes_them_for_others() -> None:
    config = LlamaConfig(**_SIZES, rope_scaling={"rope_type": "dynamic", "factor": 4.0})
    longest = longest_input(config, recipe.Model(max_length=1024))
    model = AutoModelForCausalLM.from_config(config).eval()
    for weight in model.parameters():  # as drawn, positions hardly matter
        torch.nn.init.normal_(weight, std=0.3) if weight.dim() > 1 else None

    def read(length: int) -> torch.Tensor:
        with torch.no_grad():
            return model(input_ids=torch.arange(length)[None], use_cache=False).logits[0, :10]

    before = read(10)
    for length in (longest, 10):
        torch.testing.assert_close(read(length), before, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(read(longest + 1), before, atol=1e-2)


def test_bigbird_takes_no_row_for_which_its_sparse_attention_would_be_needed() -> None:
    # (5 + 2 · random blocks) · block size, below which transformers switches to full attention, and never back.
    config = BigBirdConfig(block_size=4, num_random_blocks=3, max_position_embeddings=512)
    assert last_length(config) == (5 + 2 * 3) * 4
    assert last_length(BigBirdConfig(attention_type="original_full", max_position_embeddings=512)) == 512
