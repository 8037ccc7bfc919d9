"""Which layers get an adapter: on each architecture all linear ones of the backbone, and no other."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from tailora import recipe
from tailora.errors import ModelError
from tailora.model.lora import add_lora, trainable
from tailora.model.targets import linear_layers, stacked_experts
from tests.toys import toy_model

SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
LLAMA = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
# architecture → its linear layers, as its paper or its code in transformers names them, and sizes of its own
LAYERS: dict[str, tuple[set[str], dict[str, Any]]] = {
    "llama": (LLAMA, {"tie_word_embeddings": True}),
    "mistral": (LLAMA, {}),
    "qwen2": (LLAMA, {}),
    "qwen3": (LLAMA, {}),
    "gemma2": (LLAMA, {}),
    "phi": ({"q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"}, {"num_key_value_heads": 4}),
    "phi3": ({"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}, {}),
    "gpt2": ({"c_attn", "c_proj", "c_fc"}, {}),
    "gpt_neox": ({"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}, {}),
    "opt": ({"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"}, {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "bloom": ({"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}, {}),
    "mamba": ({"in_proj", "x_proj"}, {"intermediate_size": 64, "state_size": 4, "time_step_rank": 2}),
    "granitemoe": (
        {"q_proj", "k_proj", "v_proj", "o_proj"}, {"num_local_experts": 4, "num_experts_per_tok": 2},
    ),
}  # fmt: skip
CLASSIFIERS = {
    "distilbert": (
        {"q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"},
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    ),
    "bert": ({"query", "key", "value", "dense"}, {}),
    "llama": (LLAMA, {}),
}  # fmt: skip


def build(kind: str, changes: dict[str, Any], auto: Any = AutoModelForCausalLM) -> Any:
    torch.manual_seed(0)
    return auto.from_config(AutoConfig.for_model(kind, **{**SIZES, **changes})).eval()


@pytest.mark.parametrize("kind", LAYERS)
def test_all_linear_layers_of_the_backbone_get_an_adapter_and_each_of_them_is_trained(kind: str) -> None:
    expected, changes = LAYERS[kind]
    model = build(kind, changes)
    assert {name.rpartition(".")[2] for name in linear_layers(model)} == expected
    model = add_lora(model, recipe.Lora(rank=2), 0)
    for name, weight in trainable(model).items():
        if "lora_B" in name:  # zero at first, it would hide the gradient of A
            weight.data.fill_(0.01)
    model(input_ids=torch.arange(3, 40)[None]).logits.square().sum().backward()
    assert len(trainable(model)) >= 2 * 2 * len(expected)  # A and B, in two layers
    for name, weight in trainable(model).items():
        assert weight.grad is not None and weight.grad.abs().max() > 0, f"{name} is never called"


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_no_head_of_a_classifier_gets_an_adapter(kind: str) -> None:
    expected, changes = CLASSIFIERS[kind]
    names = linear_layers(build(kind, changes, AutoModelForSequenceClassification))
    assert {name.rpartition(".")[2] for name in names} == expected


def test_pefts_own_all_linear_fails_where_ours_does_not() -> None:
    # If this fails, PEFT has learned it, and a comment in targets.py is out of date.
    with pytest.raises(ValueError, match="out_proj"):
        get_peft_model(build("mamba", LAYERS["mamba"][1]), LoraConfig(target_modules="all-linear"))


def test_pefts_automatic_targets_fail_for_distilbert_and_ours_do_not() -> None:
    model = build("distilbert", CLASSIFIERS["distilbert"][1], AutoModelForSequenceClassification)
    with pytest.raises(ValueError, match="target_modules"):
        get_peft_model(model, LoraConfig(task_type="SEQ_CLS"))
    assert not {"pre_classifier", "classifier"} & set(linear_layers(model))


def test_experts_that_lie_in_one_stack_are_counted_as_left_out() -> None:
    model = build("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2})
    assert {name.rpartition(".")[2] for name in linear_layers(model)} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert stacked_experts(model) == 2 * 4 * 3 * 32 * 48  # layers, experts, matrices of an expert
    assert stacked_experts(toy_model()) == 0


def test_only_the_top_layers_get_an_adapter_and_plain_peft_understands_the_configuration() -> None:
    model = add_lora(toy_model(), recipe.Lora(rank=2, top_layers=1), 0)
    assert {name.partition("layers.")[2][0] for name in trainable(model)} == {"1"}
    assert model.peft_config["default"].layers_to_transform == [1]
    assert len(trainable(model)) == 2 * 7


def test_more_top_layers_than_there_are_is_refused_with_their_number() -> None:
    with pytest.raises(ModelError, match=r"top_layers = 3: the model has 2 layers"):
        add_lora(toy_model(), recipe.Lora(top_layers=3), 0)
