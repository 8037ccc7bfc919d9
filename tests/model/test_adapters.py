"""Adapters made by PEFT alone: all they bring is put on, the base within is the base, or they are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from tailora.errors import ModelError
from tailora.model.adapters import put_on
from tests.toys import toy_model


def tied_model() -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = AutoConfig.for_model("llama", vocab_size=258, tie_word_embeddings=True, **sizes)
    return AutoModelForCausalLM.from_config(config).eval()


def says(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 40)[None]).logits


def made(base: Any, folder: Path, change: Callable[[Any], None] = lambda model: None, **config: Any) -> torch.Tensor:
    """Write an adapter as PEFT does, its weights moved and `change` made to the model; returns what the model says."""
    settings = {"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", **config}
    model = get_peft_model(base, LoraConfig(**settings)).eval()
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data.add_(torch.randn_like(weight), alpha=0.05)
    change(model)
    said = says(model)
    model.save_pretrained(folder)
    return said


def more_words(model: Any) -> None:
    model.get_base_model().get_input_embeddings().weight.data.add_(0.05)


CONFIGS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "plain": (toy_model, {}),
    "the head as target, which PEFT saves whole": (toy_model, {"target_modules": ["lm_head", "q_proj"]}),
    "a tied head as target": (tied_model, {"target_modules": ["lm_head", "q_proj"]}),
    "embeddings as target": (toy_model, {"target_modules": ["embed_tokens", "q_proj"]}),
    "embeddings and head trained whole": (toy_model, {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "tied embeddings trained whole": (tied_model, {"modules_to_save": ["embed_tokens"]}),
    "trained tokens": (toy_model, {"trainable_token_indices": [5, 6]}),
    "biases": (toy_model, {"bias": "lora_only"}),
    "DoRA": (toy_model, {"use_dora": True}),
    "some layers, with ranks of their own": (toy_model, {"layers_to_transform": [1], "rank_pattern": {"q_proj": 2}}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", CONFIGS)
def test_an_adapter_made_elsewhere_says_what_it_said_and_its_base_what_the_base_says(kind: str, tmp_path: Path) -> None:
    make, config = CONFIGS[kind]
    said = made(make(), tmp_path, **config)
    model = put_on(make(), tmp_path, "base")
    torch.testing.assert_close(says(model), said, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(said, says(make()), atol=1e-3)
    with model.disable_adapter():
        assert torch.equal(says(model), says(make()))
    torch.testing.assert_close(says(model), said, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [toy_model, tied_model])
def test_weights_of_the_base_that_an_adapter_brings_count_with_it_and_not_without(make: Any, tmp_path: Path) -> None:
    # PEFT saves embeddings that were trained or enlarged with the adapter, and loads them into the base itself.
    said = made(make(), tmp_path, more_words, target_modules=["embed_tokens", "lm_head", "q_proj"])
    model = put_on(make(), tmp_path, "base")
    torch.testing.assert_close(says(model), said, rtol=1e-4, atol=1e-5)
    with model.disable_adapter():
        assert torch.equal(says(model), says(make()))
    torch.testing.assert_close(says(model), said, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_an_enlarged_vocabulary_is_named_and_not_called_another_base(tmp_path: Path) -> None:
    larger = toy_model()
    larger.resize_token_embeddings(260)
    made(larger, tmp_path, target_modules=["embed_tokens", "q_proj"])
    with pytest.raises(ModelError, match=r"embed_tokens.*shape \[260, 32\].*\[258, 32\].*vocabulary") as raised:
        put_on(toy_model(), tmp_path, "base")
    assert "another base" not in str(raised.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("config", "hint"),
    [
        ({"layer_replication": [[0, 2], [0, 2]]}, r"layer_replication = \[\[0, 2\], \[0, 2\]\]"),
        ({"init_lora_weights": "pissa"}, r"init_lora_weights = 'pissa'"),
        ({"init_lora_weights": "olora"}, r"init_lora_weights = 'olora'"),
    ],
)
def test_an_adapter_without_which_the_base_is_no_longer_the_base_is_refused(
    config: dict[str, Any], hint: str, tmp_path: Path
) -> None:
    made(toy_model(), tmp_path, **config)
    with pytest.raises(ModelError, match=rf"without the adapter, base does not say.*{hint}"):
        put_on(toy_model(), tmp_path, "base")


def test_what_peft_raises_over_a_configuration_is_one_paragraph(tmp_path: Path) -> None:
    made(toy_model(), tmp_path)
    config = tmp_path / "adapter_config.json"
    config.write_text(config.read_text().replace('"r": 4', '"r": "many"'))
    with pytest.raises(ModelError, match=r"cannot be (put on base|loaded): [^\n]*\.$"):
        put_on(toy_model(), tmp_path, "base")


def routed_model() -> Any:
    """Return a model of whose shared expert PEFT loses the adapter: findings/peft-loses-shared-experts.sh."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
    config = AutoConfig.for_model(
        "laguna", **sizes, **experts, vocab_size=258, num_key_value_heads=2, shared_expert_intermediate_size=16
    )
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.filterwarnings("ignore")
def test_tensors_that_peft_loses_while_it_loads_are_not_left_out(tmp_path: Path) -> None:
    said = made(routed_model(), tmp_path, target_modules=["q_proj"])
    torch.testing.assert_close(says(put_on(routed_model(), tmp_path, "base")), said, rtol=1e-4, atol=1e-5)
    made(routed_model(), tmp_path, target_modules=["gate_proj"])
    with pytest.raises(ModelError, match=r"of its 4 tensors are not in the model as they are stored.*shared_experts"):
        put_on(routed_model(), tmp_path, "base")
