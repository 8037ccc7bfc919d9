"""Each cell of method × first weights × kind of layer begins at the base and is saved as it computes, or is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM

from tailora import recipe
from tailora.errors import ModelError
from tailora.model.lora import add_lora, save_adapter, trainable
from tailora.model.losses import choose_path, token_nats
from tailora.model.proofs import add_proved_lora, few_rows, logits, prove_rows, prove_saved, prove_start
from tailora.text.chat import Sample
from tests.toys import toy_model, toy_samples

SIZES = {
    "vocab_size": 258, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
# kind of layer → architecture, changes, targets
LAYERS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "linear": ("llama", {}, "all-linear"),
    "Conv1D": ("gpt2", {}, ["c_attn", "c_proj"]),
    "head": ("llama", {"tie_word_embeddings": False}, ["lm_head", "q_proj"]),
    "tied head": ("gemma3_text", {"tie_word_embeddings": True}, ["lm_head", "q_proj"]),
    "embedding": ("llama", {"tie_word_embeddings": False}, ["embed_tokens", "q_proj"]),
    "tied embedding": ("llama", {"tie_word_embeddings": True}, ["embed_tokens"]),
    "embedding and tied head": ("llama", {"tie_word_embeddings": True}, ["embed_tokens", "lm_head"]),
    "positions": ("gpt2", {}, ["wpe", "c_attn"]),
    "norm": ("llama", {}, ["input_layernorm", "q_proj"]),
    "block": ("llama", {}, ["mlp"]),
    "convolution": ("mamba", {"intermediate_size": 64, "state_size": 4, "time_step_rank": 2}, ["conv1d"]),
    "router": ("mixtral", EXPERTS, ["gate", "q_proj"]),
    "experts": ("mixtral", EXPERTS, ["experts"]),
}
CELLS = [
    ("lora", "zero"), ("rslora", "zero"), ("dora", "zero"), ("adalora", "zero"), ("lora", "pissa"), ("lora", "olora"),
    ("rslora", "olora"),
]  # fmt: skip
IN_EMBEDDINGS = {"embedding", "tied embedding", "embedding and tied head", "positions"}
NOT_LINEAR = {"norm", "block", "convolution", "experts"}


def is_refused(layer: str, method: str, init: str) -> bool:
    """Say of which cells PEFT or the mathematics allow nothing: written down by hand, cell by cell."""
    return (
        layer in NOT_LINEAR  # PEFT adapts no such layer, or not in this architecture
        or (layer == "router" and (method, init) not in {("lora", "zero"), ("rslora", "zero")})
        or (layer in IN_EMBEDDINGS and (init != "zero" or method == "adalora"))  # PEFT begins there at zero, or not
        or (layer == "Conv1D" and init == "olora")  # PEFT takes its weight the wrong way round
        # The padding row of the embedding is zero and stands in the head too, and DoRA divides by its length.
        or (layer in {"tied head", "embedding and tied head"} and method == "dora")
    )


def base(layer: str) -> Any:
    kind, changes, _ = LAYERS[layer]
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SIZES, **changes})).eval()


def settings(layer: str, method: Any, init: Any) -> recipe.Lora:
    return recipe.Lora(rank=4, alpha=6, method=method, init=init, targets=LAYERS[layer][2])


def says(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 40)[None]).logits


@pytest.mark.parametrize("layer", LAYERS)
def test_each_cell_is_what_plain_peft_computes_from_its_files_or_is_refused_in_a_paragraph(
    layer: str, tmp_path: Path
) -> None:
    untouched = says(base(layer))
    for method, init in CELLS:
        asked = settings(layer, method, init)
        if is_refused(layer, method, init):
            with pytest.raises(ModelError, match=r"lora\.(targets|init|method)[^\n]*(Name|Use) [^\n]*\.$"):
                add_proved_lora(base(layer), asked, 0, toy_samples(3))
            continue
        model = add_proved_lora(base(layer), asked, 0, toy_samples(3)).eval()
        torch.testing.assert_close(says(model), untouched, rtol=1e-4, atol=1e-5)
        choose_path(model, "auto")
        token_nats(model, toy_samples(3)).nats.sum().backward()
        for weight in trainable(model).values():
            assert weight.grad is not None
            weight.data.add_(torch.randn_like(weight), alpha=0.05)
        save_adapter(model, tmp_path / method / init)
        plain = PeftModel.from_pretrained(base(layer), tmp_path / method / init).eval()
        torch.testing.assert_close(says(plain), says(model), rtol=1e-4, atol=1e-5)
        with plain.disable_adapter():
            assert torch.equal(says(plain), untouched)


@pytest.mark.parametrize(
    ("method", "init"), [("lora", "zero"), ("dora", "zero"), ("adalora", "zero"), ("lora", "pissa")]
)
def test_proving_an_adapter_leaves_its_weights_and_random_numbers_as_they_were(method: Any, init: Any) -> None:
    asked, models, states = recipe.Lora(rank=4, method=method, init=init), [], []
    for add in (lambda m: add_lora(m, asked, 7), lambda m: add_proved_lora(m, asked, 7, toy_samples(3))):
        models.append(add(toy_model()).state_dict())
        states.append(torch.get_rng_state())
    assert models[0].keys() == models[1].keys() and torch.equal(*states)
    for one, two in zip(models[0].values(), models[1].values(), strict=True):
        assert torch.equal(one, two)


def test_a_fresh_adapter_that_changes_what_the_model_says_is_refused() -> None:
    before = logits(toy_model(), [[1, 2, 3]])
    model = add_lora(toy_model(), recipe.Lora(rank=4), 0)
    prove_start(model, before, [[1, 2, 3]], "asked")
    next(w for name, w in trainable(model).items() if "lora_B" in name).data.fill_(0.1)
    with pytest.raises(ModelError, match=r"asked: with a fresh adapter.*does not say what its base says"):
        prove_start(model, before, [[1, 2, 3]], "asked")


def test_an_adapter_that_says_something_else_on_a_fresh_base_is_refused() -> None:
    rows = [[1, 2, 3], [4, 5, 6, 7]]
    model, before = add_lora(toy_model(), recipe.Lora(rank=4), 0), logits(toy_model(), rows)
    prove_saved(model, toy_model(), before, rows, "asked")
    with pytest.raises(ModelError, match=r"asked: the adapter as saved, put on a fresh base"):
        prove_saved(model, toy_model(seed=1), before, rows, "asked")


def test_a_base_that_is_broken_before_any_training_is_named_as_such() -> None:
    broken = toy_model()
    broken.model.norm.weight.data[0] = float("nan")
    with pytest.raises(ModelError, match=r"model\.base: .*not finite, before any training"):
        add_proved_lora(broken, recipe.Lora(rank=4), 0, toy_samples(3))


def test_a_loss_that_depends_on_the_rows_beside_it_is_refused() -> None:
    model, samples = toy_model(), toy_samples(6)
    prove_rows(model, lambda _, rows: [float(len(row.tokens)) for row in rows], samples)
    with pytest.raises(ModelError, match=r"LlamaForCausalLM loses something else on a row beside others"):
        prove_rows(model, lambda _, rows: [float(max(len(row.tokens) for row in rows)) for _ in rows], samples)


def test_what_a_library_raises_over_rows_is_one_paragraph() -> None:
    def fails(model: Any, rows: list[Sample]) -> list[float]:
        raise KeyError("attention_mask\n  at line 3")

    with pytest.raises(ModelError, match=r"LlamaForCausalLM fails on your rows: [^\n]*Choose another base model\."):
        prove_rows(toy_model(), fails, toy_samples(2))


def test_rows_of_both_sides_of_each_border_are_tried() -> None:
    rope = {
        "rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [8.0] * 4, "rope_theta": 10000.0,
        "original_max_position_embeddings": 20,
    }  # fmt: skip
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SIZES, rope_parameters=rope))
    lengths = [30, 21, 20, 19, 25, 5, 22]
    samples = [Sample([3] * length, [(1, length)]) for length in lengths]
    assert [len(sample.tokens) for sample in few_rows(model, samples)] == [5, 19, 21, 22]
    assert [len(sample.tokens) for sample in few_rows(toy_model(), samples)] == [5, 19]


def test_a_model_that_looks_ahead_is_refused_before_it_learns_to() -> None:
    config = AutoConfig.for_model(
        "bert", **{k: v for k, v in SIZES.items() if k not in ("head_dim", "num_key_value_heads")}
    )
    for decodes in (True, False):
        config.is_decoder = decodes
        model = AutoModelForCausalLM.from_config(config).eval()
        for weight in model.parameters():  # as drawn, attention hardly matters
            torch.nn.init.normal_(weight, std=0.3) if weight.dim() > 1 else None
        if decodes:
            add_proved_lora(model, recipe.Lora(rank=2), 0, toy_samples(3))
            continue
        with pytest.raises(ModelError, match=r"BertLMHeadModel says at a token depends on the tokens behind it"):
            add_proved_lora(model, recipe.Lora(rank=2), 0, toy_samples(3))
