"""A base in 4 bits: really 4 bits in memory, and trained without losing gradients. Needs the extra `qlora`."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tailora import machine, recipe
from tailora.errors import ModelError
from tailora.model.fit import validate
from tailora.model.load import base_fingerprint, freeze_dtype, load_adapter, load_base
from tailora.model.lora import add_lora, count_weights, save_adapter, trainable
from tailora.model.losses import choose_path, token_nats
from tailora.model.proofs import add_proved_lora
from tailora.tasks.generate import Generate
from tests.toys import save_toy, toy_samples, toy_tokenizer

TASK = Generate(recipe.Evaluate(), toy_tokenizer())
needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason='needs bitsandbytes (pip install "tailora[qlora]")'
)


def _repacks() -> bool:
    """Say whether bitsandbytes would repack weights here: on a processor with AVX512-BF16."""
    cpuinfo = Path("/proc/cpuinfo")
    return machine.device() == "cpu" and cpuinfo.exists() and "avx512_bf16" in cpuinfo.read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model whose linear layers make up most of it, as in real ones."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=258, hidden_size=128, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=256, eos_token_id=256, pad_token_id=257, bos_token_id=256,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("base")
    LlamaForCausalLM(config).save_pretrained(folder)
    toy_tokenizer().save_pretrained(folder)
    return folder


def adapted(folder: Path, **changes: Any) -> Any:
    settings = recipe.Model(base=str(folder), quantize="nf4", dtype="float32")
    model = add_lora(load_base(settings), recipe.Lora(rank=4, **changes), 0)
    freeze_dtype(model, settings)
    for number, weight in enumerate(trainable(model).values()):
        torch.manual_seed(number)
        weight.data.add_(torch.randn_like(weight), alpha=0.05)
    return model


def gradients(model: Any) -> dict[str, torch.Tensor]:
    model.train()
    model.zero_grad()
    token_nats(model, toy_samples(4)).nats.sum().backward()
    return {name: weight.grad.clone() for name, weight in trainable(model).items()}


@needs_bitsandbytes
def test_the_linear_layers_are_four_bits_each_in_memory(folder: Path) -> None:
    model = load_base(recipe.Model(base=str(folder), quantize="nf4"))
    whole = load_base(recipe.Model(base=str(folder)))
    linear = [name for name, module in whole.model.named_modules() if isinstance(module, torch.nn.Linear)]
    weights = sum(whole.model.get_submodule(name).weight.numel() for name in linear)
    held = 0
    for name in linear:
        weight = model.model.get_submodule(name).weight
        assert weight.dtype == torch.uint8
        held += weight.numel() * weight.element_size()
    assert held == weights / 2
    assert count_weights(model)["all"] == sum(weight.numel() for weight in whole.parameters())
    assert model.get_output_embeddings().weight.is_floating_point()


@needs_bitsandbytes
@pytest.mark.parametrize("path", ["auto", "plain"])
def test_an_evaluation_before_training_takes_no_gradient_away(folder: Path, path: Any) -> None:
    fresh, used = adapted(folder), adapted(folder)
    for model in (fresh, used):
        choose_path(model, path)
    validate(used, toy_samples(4), TASK.loss, 1000)
    used.generate(input_ids=torch.arange(8)[None], max_new_tokens=2, pad_token_id=257)
    expected = gradients(fresh)
    for name, gradient in gradients(used).items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-5)


@needs_bitsandbytes
@pytest.mark.skipif(not _repacks(), reason="needs a processor with AVX512-BF16")
def test_without_the_guard_an_evaluation_takes_gradients_away(folder: Path) -> None:
    # If this fails, bitsandbytes has been mended, and `keep_gradients` is no longer needed.
    found = []
    for is_used in (False, True):
        model = adapted(folder)
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = True
        if is_used:
            validate(model, toy_samples(4), TASK.loss, 1000)
        found.append(gradients(model))
    apart = {name: (found[1][name] - whole).norm() / whole.norm() for name, whole in found[0].items()}
    assert max(apart.values()) > 0.1


@needs_bitsandbytes
def test_no_layer_may_repack_itself(folder: Path) -> None:
    from bitsandbytes.nn import Linear4bit

    layers = [module for module in adapted(folder).modules() if isinstance(module, Linear4bit)]
    assert len(layers) == 3 * 7
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)


@needs_bitsandbytes
@pytest.mark.parametrize("method", ["lora", "rslora", "dora", "adalora"])
def test_an_adapter_for_a_four_bit_base_survives_a_round_trip(folder: Path, method: str, tmp_path: Path) -> None:
    model, tokens = adapted(folder, method=method).eval(), torch.arange(30)[None]
    save_adapter(model, tmp_path)
    loaded = load_adapter(load_base(recipe.Model(base=str(folder), quantize="nf4", dtype="float32")), tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(input_ids=tokens).logits, model(input_ids=tokens).logits, rtol=1e-4, atol=1e-4
        )


@needs_bitsandbytes
def test_a_four_bit_base_has_a_fingerprint_of_its_own_that_stays(folder: Path) -> None:
    prints = {base_fingerprint(load_base(recipe.Model(base=str(folder), quantize="nf4"))) for _ in range(2)}
    assert len(prints) == 1
    assert prints != {base_fingerprint(load_base(recipe.Model(base=str(folder))))}


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is there")
def test_without_bitsandbytes_the_command_that_installs_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r'pip install "tailora\[qlora\]"'):
        load_base(recipe.Model(base=str(save_toy(tmp_path)), quantize="nf4"))


@needs_bitsandbytes
def test_the_reason_why_a_layer_in_4_bits_is_not_fused_is_that_and_no_other(folder: Path) -> None:
    model = adapted(folder)
    assert choose_path(model, "auto").why == "21 of 21 LoRA layers compute as in PEFT (a base in 4 bits)"


@needs_bitsandbytes
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_an_adapter_of_a_base_in_4_bits_is_proved_to_be_what_is_saved(folder: Path, method: Any) -> None:
    base = load_base(recipe.Model(base=str(folder), quantize="nf4", dtype="float32"))
    model = add_proved_lora(base, recipe.Lora(rank=4, method=method), 0, toy_samples(3))
    assert len(trainable(model)) == 21 * (3 if method == "dora" else 2)
