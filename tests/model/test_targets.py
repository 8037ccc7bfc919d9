"""Which layers get an adapter: on each architecture all linear ones of the backbone, and no other."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from tailora import recipe
from tailora.errors import ModelError
from tailora.model.load import longest_input
from tailora.model.lora import add_lora, save_adapter, trainable
from tailora.model.losses import choose_path, token_nats
from tailora.model.proofs import add_proved_lora
from tailora.model.targets import astray, layer_stack, linear_layers, stacked_experts, unreached
from tests.toys import toy_model, toy_samples

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
    model = add_lora(toy_model(), recipe.Lora(rank=2, last_layers=1), 0)
    assert {name.partition("layers.")[2][0] for name in trainable(model)} == {"1"}
    assert model.peft_config["default"].layers_to_transform == [1]
    assert len(trainable(model)) == 2 * 7


def test_more_top_layers_than_there_are_is_refused_with_their_number() -> None:
    with pytest.raises(ModelError, match=r"last_layers = 3: the model has 2 layers"):
        add_lora(toy_model(), recipe.Lora(last_layers=3), 0)


# Models that also see: Gemma 3 from 4B on, and others that transformers loads where a language model is asked for.
_TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def seeing_model() -> Any:
    """Build a Gemma 3 with a tower for images of as many layers as the text has, with the same names in part."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "gemma3",
        text_config={**SIZES, "vocab_size": 258, "head_dim": 8, "sliding_window": 8, "num_key_value_heads": 2},
        vision_config={**_TOWER, "image_size": 28, "patch_size": 7}, mm_tokens_per_image=4,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"]])
def test_only_layers_that_a_text_reaches_get_an_adapter_and_plain_peft_agrees(targets: Any, tmp_path: Path) -> None:
    model = add_proved_lora(seeing_model(), recipe.Lora(rank=2, targets=targets), 0, toy_samples(3, seed=1))
    names = {name.partition(".lora_")[0] for name in trainable(model)}
    assert all(".language_model." in name for name in names)
    assert len(names) == 2 * (7 if targets == "all-linear" else 2)
    assert astray(seeing_model(), targets) == (0 if targets == "all-linear" else 2 * 2)
    for weight in trainable(model).values():
        weight.data.add_(torch.randn_like(weight), alpha=0.1)
    samples = toy_samples(4)
    expected = [float(sum(token_nats(model, [sample]).nats.tolist())) for sample in samples]
    assert choose_path(model, "fast").name == "fast"
    nats, owner, _ = token_nats(model, samples)
    nats.sum().backward()
    assert [float(nats[owner == n].sum()) for n in range(4)] == pytest.approx(expected, rel=1e-5)
    assert all(weight.grad.abs().max() > 0 for weight in trainable(model).values())
    save_adapter(model, tmp_path)
    plain = PeftModel.from_pretrained(seeing_model(), tmp_path).eval()
    tokens = torch.arange(3, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(plain(input_ids=tokens).logits, model(input_ids=tokens).logits, rtol=1e-4, atol=1e-5)


def test_a_name_that_only_the_tower_has_is_refused() -> None:
    with pytest.raises(ModelError, match=r"lora\.targets = \['fc1'\]: no text reaches model\.vision_tower"):
        add_lora(seeing_model(), recipe.Lora(rank=2, targets=["fc1"]), 0)


def test_the_settings_of_the_text_are_those_that_count() -> None:
    model = seeing_model()
    assert longest_input(model.config, recipe.Model(max_length=4096)) == SIZES["max_position_embeddings"]
    stack = layer_stack(model)
    assert stack is not None and stack.name == "model.language_model.layers"
    model = add_lora(model, recipe.Lora(rank=2, last_layers=1), 0)
    assert {name.partition(".layers.")[2][0] for name in trainable(model)} == {"1"}


def test_layers_of_experts_that_a_text_did_not_ask_are_reached_all_the_same() -> None:
    class Experts(torch.nn.Module):
        """A list of layers of which a text asks the first, as mixtures of experts have."""

        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.experts = torch.nn.ModuleList([inner, torch.nn.Linear(32, 32), torch.nn.Linear(32, 32)])
            self.idle = torch.nn.Linear(32, 32)

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return self.experts[0](hidden)

    model = toy_model()
    model.model.layers[0].mlp = Experts(model.model.layers[0].mlp)
    assert unreached(model) == {"model.layers.0.mlp.idle"}
