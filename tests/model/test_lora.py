from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from tailora import recipe
from tailora.errors import ModelError
from tailora.model.load import base_fingerprint, freeze_dtype, load_adapter, load_base, longest_input
from tailora.model.lora import add_lora, save_adapter, trainable
from tests.toys import save_toy, toy_model


def shaken(model: Any) -> Any:
    """Give the adapter weights that change the model's output."""
    torch.manual_seed(1)
    for weight in trainable(model).values():
        weight.data.normal_(std=0.2)
    return model.eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(40)[None]).logits


def test_a_fresh_adapter_changes_nothing() -> None:
    model = toy_model()
    before = logits(model)
    assert torch.equal(logits(add_lora(model, recipe.Lora(), 0).eval()), before)


def test_all_linear_layers_but_the_head_get_an_adapter() -> None:
    model = add_lora(toy_model(), recipe.Lora(), 0)
    adapted = {name.split(".lora_")[0].rpartition(".")[2] for name in trainable(model)}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_named_targets_are_the_only_ones() -> None:
    model = add_lora(toy_model(), recipe.Lora(targets=["q_proj"]), 0)
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in trainable(model)} == {"q_proj"}


def test_targets_that_do_not_exist_are_named_beside_those_that_do() -> None:
    with pytest.raises(ModelError, match=r"lora\.targets.*q_projection.*q_proj"):
        add_lora(toy_model(), recipe.Lora(targets=["q_projection"]), 0)


def test_rank_alpha_and_seed_decide_the_first_weights() -> None:
    def first(rank: int, seed: int) -> torch.Tensor:
        return next(w for n, w in trainable(add_lora(toy_model(), recipe.Lora(rank=rank), seed)).items() if "_A" in n)

    assert first(8, 0).shape == (8, 32)
    assert torch.equal(first(8, 0), first(8, 0))
    assert not torch.equal(first(8, 0), first(8, 1))


def test_the_saved_adapter_gives_the_same_logits_under_plain_peft(tmp_path: Path) -> None:
    model = shaken(add_lora(toy_model(), recipe.Lora(rank=4, alpha=7), 0))
    save_adapter(model, tmp_path / "adapter")
    plain = PeftModel.from_pretrained(toy_model(), tmp_path / "adapter").eval()
    assert torch.equal(logits(plain), logits(model))
    assert not torch.equal(logits(plain), logits(toy_model()))
    assert (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_mode & 0o044 == 0o044


def test_on_a_bfloat16_base_the_adapter_is_float32_and_off_its_grid(tmp_path: Path) -> None:
    settings = recipe.Model(base=str(save_toy(tmp_path)), dtype="bfloat16")
    model = add_lora(load_base(settings), recipe.Lora(), 0)
    freeze_dtype(model, settings)
    frozen = {w.dtype for w in model.parameters() if not w.requires_grad}
    assert frozen == {torch.bfloat16}
    for name, weight in trainable(model).items():
        assert weight.dtype == torch.float32
        if "lora_A" in name:
            assert not torch.equal(weight, weight.bfloat16().float())


def test_base_and_adapter_survive_a_round_trip_through_our_loaders(tmp_path: Path) -> None:
    settings = recipe.Model(base=str(save_toy(tmp_path / "base")), dtype="float32")
    model = shaken(add_lora(load_base(settings), recipe.Lora(), 0))
    save_adapter(model, tmp_path / "adapter")
    assert torch.equal(logits(load_adapter(load_base(settings), tmp_path / "adapter")), logits(model))


def test_a_damaged_adapter_is_one_sentence(tmp_path: Path) -> None:
    save_adapter(add_lora(toy_model(), recipe.Lora(), 0), tmp_path)
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_adapter(toy_model(), tmp_path)


def test_the_fingerprint_knows_weights_and_not_types_or_adapters() -> None:
    one = base_fingerprint(toy_model(seed=0))
    assert one == base_fingerprint(toy_model(seed=0).to(torch.bfloat16))
    assert one == base_fingerprint(add_lora(toy_model(seed=0), recipe.Lora(), 0))
    assert one != base_fingerprint(toy_model(seed=1))


def test_the_model_limits_the_length_of_an_example() -> None:
    assert longest_input(toy_model().config, recipe.Model(max_length=4096)) == 1024
    assert longest_input(toy_model().config, recipe.Model(max_length=100)) == 100


def test_base_weights_are_never_written_with_the_adapter(tmp_path: Path) -> None:
    save_adapter(add_lora(toy_model(), recipe.Lora(), 0), tmp_path)
    assert all("lora_" in name for name in load_file(tmp_path / "adapter_model.safetensors"))
