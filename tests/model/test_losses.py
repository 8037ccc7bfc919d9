"""The fast path computes what PEFT with eager attention computes on one row at a time."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from tailora import recipe
from tailora.errors import ModelError
from tailora.model.load import freeze_dtype
from tailora.model.lora import add_lora, fuse_lora, save_adapter, trainable
from tailora.model.losses import choose_path, micro_batches, recompute_activations, token_nats
from tailora.text.chat import Sample
from tests.toys import toy_model, toy_samples

SIZES = {
    "vocab_size": 258, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128, "pad_token_id": 257, "bos_token_id": 256,
    "eos_token_id": 256,
}  # fmt: skip
# Rows have up to 40 tokens, so a window of 8 matters in every one.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "qwen3": {},
    "gemma2": {
        "sliding_window": 8, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 8,
    },
    "gemma3_text": {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "mistral": {"sliding_window": 8},
    "phi": {"num_key_value_heads": 4},
    "gpt_neox": {},
    "gpt2": {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
}  # fmt: skip


def base_model(kind: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SIZES, **ARCHITECTURES.get(kind, {}), **changes})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    for parameter in model.parameters():  # random biases and norms too, so that none can be forgotten
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return model.eval()


def adapted(kind: str, targets: Any = "all-linear", rslora: bool = False, **changes: Any) -> Any:
    """Return a model with adapters that matter: B starts at zero and would hide the gradient of A."""
    config = LoraConfig(r=4, lora_alpha=6, target_modules=targets, use_rslora=rslora, task_type="CAUSAL_LM")
    model = get_peft_model(base_model(kind, **changes), config)
    for number, weight in enumerate(trainable(model).values()):
        torch.manual_seed(number)
        weight.data.normal_(std=0.1)
    return model.eval()


def by_the_book(model: Any, samples: list[Sample]) -> tuple[list[float], list[torch.Tensor]]:
    """Return row losses and adapter gradients by PEFT, eager attention and transformers' loss, one row at a time."""
    losses = []
    for sample in samples:
        labels = [token if flag else -100 for token, flag in zip(sample.tokens, sample.flags(), strict=True)]
        loss = model(input_ids=torch.tensor([sample.tokens]), labels=torch.tensor([labels])).loss * sample.targets
        loss.backward()
        losses.append(loss.item())
    return losses, collected(model)


def ours(model: Any, samples: list[Sample]) -> tuple[list[float], list[torch.Tensor]]:
    nats, owner, _ = token_nats(model, samples)
    nats.sum().backward()
    return [nats[owner == row].sum().item() for row in range(len(samples))], collected(model)


def collected(model: Any) -> list[torch.Tensor]:
    gradients = [weight.grad.double() for weight in trainable(model).values()]
    model.zero_grad()
    return gradients


def distance(actual: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """Return |actual − expected| / |expected| over all gradients as one vector."""
    apart = sum(float((a - e).square().sum()) for a, e in zip(actual, expected, strict=True))
    return float((apart / sum(float(e.square().sum()) for e in expected)) ** 0.5)


def assert_equal(actual: Any, expected: Any) -> None:
    assert actual[0] == pytest.approx(expected[0], rel=1e-5)
    assert distance(actual[1], expected[1]) < 1e-5
    for mine, theirs in zip(actual[1], expected[1], strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_fast_path_gives_the_losses_and_gradients_of_peft_row_by_row(kind: str) -> None:
    model, samples = adapted(kind), toy_samples(6)
    expected = by_the_book(model, samples)
    assert choose_path(model, "auto").name == "fast"
    assert_equal(ours(model, samples), expected)


def test_every_lora_layer_of_every_architecture_is_fused() -> None:
    for kind in ARCHITECTURES:
        fused, all_layers = fuse_lora(adapted(kind))
        assert fused == all_layers > 0


def test_the_scale_of_rslora_is_kept() -> None:
    model, samples = adapted("llama", rslora=True), toy_samples(3)
    expected = by_the_book(model, samples)
    choose_path(model, "fast")
    assert_equal(ours(model, samples), expected)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_plain_path_gives_the_same(kind: str) -> None:
    model, samples = adapted(kind), toy_samples(6)
    expected = by_the_book(model, samples)
    assert choose_path(model, "plain").name == "plain"
    assert_equal(ours(model, samples), expected)


def test_recomputed_activations_give_the_same_gradients_from_less_kept_memory() -> None:
    kept: list[int] = []

    def count(tensor: torch.Tensor) -> torch.Tensor:
        kept[-1] += tensor.numel()
        return tensor

    results = []
    for recompute in (False, True):
        model = adapted("mistral")
        choose_path(model, "fast")
        if recompute:
            recompute_activations(model)
        model.train()
        kept.append(0)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            results.append(ours(model, toy_samples(6)))
    assert_equal(results[1], results[0])
    assert kept[1] < kept[0] / 2


def test_a_long_row_goes_through_another_kernel_and_gives_the_same() -> None:
    samples = [*toy_samples(2), Sample([(7 * i) % 250 for i in range(1100)], [(900, 1100)])]
    for kind in ("llama", "mistral", "gemma2"):
        model = adapted(kind, max_position_embeddings=2048)
        expected = by_the_book(model, samples)
        choose_path(model, "fast")
        assert_equal(ours(model, samples), expected)


def test_in_bfloat16_gradients_are_as_near_the_truth_as_those_of_peft() -> None:
    samples, settings = toy_samples(6), recipe.Model(dtype="bfloat16")
    _, truth = by_the_book(adapted("llama"), samples)
    apart = {}
    for path in ("plain", "fast"):
        model = adapted("llama")
        freeze_dtype(model, settings)
        assert choose_path(model, path).name == path  # type: ignore[arg-type]
        apart[path] = distance(ours(model, samples)[1], truth)
    assert 0 < apart["fast"] < 1.1 * apart["plain"] < 0.1


def test_dropout_in_attention_is_drawn_from_the_seed_and_off_outside_training() -> None:
    model, samples = adapted("llama", attention_dropout=0.5), toy_samples(4)
    expected = by_the_book(model, samples)
    assert choose_path(model, "auto").name == "fast"
    assert_equal(ours(model, samples), expected)
    model.train()
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(ours(model, samples)[0])
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] != pytest.approx(expected[0], rel=1e-5)


def test_lora_dropout_is_left_to_peft() -> None:
    model = add_lora(toy_model(), recipe.Lora(rank=4, dropout=0.5), 0)
    assert choose_path(model, "auto")[:2] == ("fast", "14 of 14 LoRA layers compute as in PEFT (dropout)")
    model.train()
    for weight in trainable(model).values():
        weight.data.normal_()
    with torch.no_grad():
        assert not torch.equal(token_nats(model, toy_samples(2)).nats, token_nats(model, toy_samples(2)).nats)


def test_what_keeps_layers_from_being_fused_is_what_is_said() -> None:
    model = add_lora(toy_model(), recipe.Lora(rank=4, method="dora"), 0)
    assert choose_path(model, "auto").why == "14 of 14 LoRA layers compute as in PEFT (DoRA)"
    model = add_lora(toy_model(), recipe.Lora(rank=4, targets=["q_proj", "embed_tokens"]), 0)
    assert choose_path(model, "auto").why.endswith("1 of 3 LoRA layers compute as in PEFT (adapters on Embedding)")


def test_a_switched_off_adapter_leaves_the_base() -> None:
    model, base, samples = adapted("llama"), base_model("llama"), toy_samples(3)
    choose_path(model, "fast")
    with torch.no_grad(), model.disable_adapter():
        off = token_nats(model, samples).nats
    with torch.no_grad():
        torch.testing.assert_close(off, token_nats(base, samples).nats, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(off, token_nats(model, samples).nats, rtol=1e-3)


def test_an_adapter_trained_on_the_fast_path_gives_the_same_logits_under_plain_peft_and_merged(tmp_path: Path) -> None:
    model, tokens = adapted("gpt2"), torch.arange(30)[None]
    choose_path(model, "fast")
    save_adapter(model, tmp_path / "adapter")
    with torch.no_grad():
        logits = model(input_ids=tokens).logits
        plain = PeftModel.from_pretrained(base_model("gpt2"), tmp_path / "adapter").eval()
        torch.testing.assert_close(plain(input_ids=tokens).logits, logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model.merge_and_unload()(input_ids=tokens).logits, logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "target", "changes", "why"),
    [
        ("mamba", "in_proj", {}, "FlashAttention"),
        ("lfm2", "q_proj", {"layer_types": ["conv", "full_attention"]}, "of the kind conv"),
        ("granite", "q_proj", {"logits_scaling": 2.0}, "paths differ"),
    ],
)
def test_a_model_that_the_fast_path_would_get_wrong_takes_the_plain_one(
    kind: str, target: str, changes: Any, why: str
) -> None:
    model = get_peft_model(base_model(kind, **changes), LoraConfig(r=2, target_modules=[target]))
    path = choose_path(model, "auto")
    assert path.name == "plain"
    assert why in path.why
    with pytest.raises(ModelError, match=r'train\.kernels = "fast" does not apply'):
        choose_path(model, "fast")


def test_a_trained_head_takes_the_plain_path() -> None:
    model = adapted("llama", targets=["q_proj", "lm_head"])
    assert "output head is trained" in choose_path(model, "auto").why


def test_a_choice_leaves_no_gradient_and_no_change_of_mode() -> None:
    model = adapted("llama").train()
    choose_path(model, "auto")
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_packed_batches_are_not_padded_and_padded_ones_are() -> None:
    samples = [Sample([1] * length, [(1, length)]) for length in (30, 10, 10, 10)]
    model = adapted("llama")
    assert len(list(micro_batches(model, samples, 60))) == 2
    choose_path(model, "fast")
    assert len(list(micro_batches(model, samples, 60))) == 1
