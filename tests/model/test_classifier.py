"""Classifiers of every architecture: the right modules are trained, padding changes nothing, plain PEFT loads them."""

import copy
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    Qwen2Config,
    RobertaConfig,
    T5Config,
)

from tailora import recipe
from tailora.errors import ModelError
from tailora.model.classifier import choose_classifier_path, class_logits, load_classifier, longest_row, mean_states
from tailora.model.load import base_fingerprint, freeze_dtype, load_adapter
from tailora.model.lora import add_lora, save_adapter, trainable
from tailora.model.proofs import add_proved_lora, prove_rows
from tailora.text.chat import Sample
from tests.toys import toy_tokenizer

NAMES = ["World", "Sports", "Business"]
SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 64, "vocab_size": 99,
}  # fmt: skip
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
# Configuration, the modules of the head, and the linear layers of the backbone.
ENCODERS: dict[str, tuple[Any, list[str], str]] = {
    "distilbert": (
        DistilBertConfig(vocab_size=99, dim=32, hidden_dim=64, n_layers=2, n_heads=4, max_position_embeddings=64),
        ["pre_classifier", "classifier"], "k_lin lin1 lin2 out_lin q_lin v_lin",
    ),
    "bert": (BertConfig(**SIZES), ["classifier"], "dense key query value"),
    "roberta": (
        RobertaConfig(**SIZES | {"max_position_embeddings": 66}, pad_token_id=1), ["classifier"],
        "dense key query value"
    ),
    "electra": (
        ElectraConfig(**SIZES, embedding_size=16), ["classifier"], "dense embeddings_project key query value",
    ),
    "deberta-v3": (
        DebertaV2Config(
            **SIZES, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8, share_att_key=True,
            norm_rel_ebd="layer_norm", position_biased_input=False, type_vocab_size=0, pooler_hidden_size=32,
        ),
        ["pooler", "classifier"], "dense key_proj query_proj value_proj",
    ),
    "modernbert": (
        ModernBertConfig(
            **SIZES, **ENDS, cls_token_id=1, sep_token_id=2, global_attn_every_n_layers=2, local_attention=8
        ),
        ["head", "classifier"], "Wi Wo Wqkv",
    ),
}  # fmt: skip
DECODERS: dict[str, tuple[Any, list[str], str]] = {
    "llama": (LlamaConfig(**SIZES), ["score"], "down_proj gate_proj k_proj o_proj q_proj up_proj v_proj"),
    "qwen2": (
        Qwen2Config(**SIZES, num_key_value_heads=2), ["score"],
        "down_proj gate_proj k_proj o_proj q_proj up_proj v_proj"
    ),
    "gpt2": (
        GPT2Config(vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2),
        ["score"], "c_attn c_fc c_proj",
    ),
}  # fmt: skip
ALL = ENCODERS | DECODERS
SETTINGS = recipe.Lora(rank=4)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a checkpoint of each architecture, without a head for labels: encoders bare, decoders with their own."""
    found = {}
    for name, (config, _, _) in ALL.items():
        torch.manual_seed(1)
        kind = AutoModelForCausalLM if name in DECODERS else AutoModel
        found[name] = tmp_path_factory.mktemp(name)
        kind.from_config(config).save_pretrained(found[name])
    return found


def load(folder: Path, seed: int = 0, pad: int | None = None) -> Any:
    declared = 1 if folder.name.startswith("roberta") else 0
    return load_classifier(recipe.Model(base=str(folder)), NAMES, declared if pad is None else pad, seed)


def samples(seed: int = 0) -> list[Sample]:
    numbers = torch.Generator().manual_seed(seed)
    lengths = (3, 17, 9, 30, 4)
    return [Sample(torch.randint(3, 99, (n,), generator=numbers).tolist(), [], i % 3) for i, n in enumerate(lengths)]


def moved(model: Any) -> Any:
    """Give all trained weights values that change what the model says."""
    numbers = torch.Generator().manual_seed(5)
    for weight in trainable(model).values():
        weight.data += 0.1 * torch.randn(weight.shape, generator=numbers)
    return model.eval()


@pytest.mark.parametrize("name", ALL)
def test_head_and_adapters_are_trained_and_nothing_else(name: str, folders: dict[str, Path]) -> None:
    _, head, linear = ALL[name]
    model = add_lora(load(folders[name]), SETTINGS, 0)
    adapted = {path for path, module in model.named_modules() if isinstance(module, LoraLayer)}
    assert {path.rpartition(".")[2] for path in adapted} == set(linear.split())
    trained = trainable(model)
    whole = {
        path.removeprefix("base_model.model.").split(".modules_to_save.")[0] for path in trained if "lora_" not in path
    }
    assert {path.split(".")[0] for path in whole} == set(head)
    for path, weight in model.named_parameters():
        saved, inside = ".modules_to_save." in path, "lora_" in path
        assert weight.requires_grad == (saved or inside), path


def test_some_layers_alone_can_be_chosen(folders: dict[str, Path]) -> None:
    model = add_lora(load(folders["distilbert"]), recipe.Lora(rank=4, targets=["q_lin", "v_lin"]), 0)
    adapted = {path.rpartition(".")[2] for path, module in model.named_modules() if isinstance(module, LoraLayer)}
    assert adapted == {"q_lin", "v_lin"}


@pytest.mark.parametrize("name", ALL)
def test_a_row_does_not_depend_on_the_rows_beside_it(name: str, folders: dict[str, Path]) -> None:
    model = moved(add_lora(load(folders[name]), SETTINGS, 0))
    assert choose_classifier_path(model, "auto").name == "fast"
    rows = samples()
    with torch.no_grad():
        together = class_logits(model, rows)
        alone = torch.cat([model(input_ids=torch.tensor([row.tokens])).logits for row in rows])  # no mask, no padding
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_read_the_last_token_that_is_no_padding(name: str, folders: dict[str, Path]) -> None:
    model, rows = load(folders[name], pad=2), samples()
    with torch.no_grad():
        logits = class_logits(model, rows)
        for row, found in zip(rows, logits, strict=True):
            hidden = model.base_model(input_ids=torch.tensor([row.tokens])).last_hidden_state[0, -1]
            torch.testing.assert_close(found, hidden @ model.score.weight.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_plain_peft_loads_adapter_and_head(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    model = moved(add_lora(load(folders[name]), SETTINGS, 0))
    save_adapter(model, tmp_path)
    torch.manual_seed(99)  # the head of the base is another one: what counts is saved
    base = AutoModelForSequenceClassification.from_pretrained(folders[name], num_labels=3, dtype=torch.float32)
    plain = PeftModel.from_pretrained(base, tmp_path).eval()
    for row in samples():
        with torch.no_grad():
            expected = plain(input_ids=torch.tensor([row.tokens])).logits
            torch.testing.assert_close(class_logits(model, [row]), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_the_frozen_weights_may_be_in_bfloat16(name: str, folders: dict[str, Path]) -> None:
    exact, rounded = (moved(add_lora(load(folders[name]), SETTINGS, 0)) for _ in range(2))
    freeze_dtype(rounded, recipe.Model(dtype="bfloat16"))
    choose_classifier_path(rounded, "auto")
    rows = samples()
    with torch.no_grad():
        apart = (class_logits(rounded, rows) - class_logits(exact, rows)).norm() / class_logits(exact, rows).norm()
    assert 0 < float(apart) < 0.1


def test_without_its_adapter_the_model_is_the_base_with_its_untrained_head(folders: dict[str, Path]) -> None:
    base, rows = load(folders["distilbert"]), samples()
    model = moved(add_lora(load(folders["distilbert"]), SETTINGS, 0))
    with torch.no_grad(), model.disable_adapter():
        torch.testing.assert_close(class_logits(model, rows), class_logits(base, rows))
    assert base.tailora_untrained == ["pre_classifier", "classifier"]


def test_the_head_depends_on_the_seed_alone(folders: dict[str, Path]) -> None:
    heads = [load(folders["bert"], seed).classifier.weight for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("name", ["bert", "llama", "distilbert"])
def test_a_base_is_the_same_whatever_head_it_got_and_another_with_one_other_weight(
    name: str, folders: dict[str, Path]
) -> None:
    models = [load(folders[name], seed) for seed in (0, 1)]
    assert base_fingerprint(models[0]) == base_fingerprint(models[1])
    assert base_fingerprint(add_lora(load(folders[name]), SETTINGS, 0)) == base_fingerprint(models[0])
    with torch.no_grad():
        models[1].base_model.get_input_embeddings().weight[50, 7] += 1
    assert base_fingerprint(models[0]) != base_fingerprint(models[1])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("whole_layer", [False, True])
def test_a_backbone_that_lacks_a_weight_is_refused_by_its_name(
    name: str, whole_layer: bool, folders: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(folders[name], tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    lost = max(key for key, tensor in weights.items() if tensor.dim() == 2 and ".1." in f".{key}")
    kept = {key: tensor for key, tensor in weights.items() if key != lost}
    if whole_layer:
        kept = {key: tensor for key, tensor in kept.items() if key.rpartition(".")[0] != lost.rpartition(".")[0]}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"not whole: \d are missing \(the first is \S*{lost.rpartition('.')[0]}"):
        load(tmp_path)


def save_trained(folder: Path, labels: int) -> None:
    config = copy.deepcopy(ENCODERS["roberta"][0])
    config.num_labels = labels
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)


@pytest.mark.parametrize("lost", ["classifier.dense.bias", "classifier.out_proj.weight"])
def test_a_layer_of_a_trained_head_is_there_as_a_whole_or_new(lost: str, tmp_path: Path) -> None:
    save_trained(tmp_path, labels=3)
    weights = load_file(tmp_path / "model.safetensors")
    del weights[lost]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"not whole: 1 are missing \(the first is {re.escape(lost)}\)"):
        load(tmp_path)


def test_a_head_for_other_labels_is_new(tmp_path: Path) -> None:
    save_trained(tmp_path, labels=5)
    assert load(tmp_path).tailora_untrained == ["classifier"]


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_a_classifier_with_a_weight_that_is_no_number_is_refused(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(folders[name], tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    broken = max(key for key, tensor in weights.items() if tensor.dim() == 2)
    weights[broken][1, 2] = float("nan")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"not finite in 1 of its \d+ weights"):
        load(tmp_path)


def test_an_adapter_saved_and_loaded_is_the_same(folders: dict[str, Path], tmp_path: Path) -> None:
    model = moved(add_lora(load(folders["roberta"]), SETTINGS, 0))
    save_adapter(model, tmp_path)
    again = load_adapter(load(folders["roberta"]), tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(class_logits(again, samples()), class_logits(model, samples()))


def test_a_missing_pooler_is_trained_with_the_head(folders: dict[str, Path], tmp_path: Path) -> None:
    AutoModel.from_config(ENCODERS["bert"][0], add_pooling_layer=False).save_pretrained(tmp_path)
    model = add_lora(load(tmp_path), SETTINGS, 0)
    trained = {name.removeprefix("base_model.model.") for name in trainable(model) if "lora_" not in name}
    assert {name.split(".modules_to_save")[0] for name in trained} == {"classifier", "bert.pooler.dense"}


def test_a_checkpoint_of_another_architecture_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    AutoModel.from_config(ENCODERS["electra"][0]).save_pretrained(tmp_path)
    ENCODERS["bert"][0].save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"not whole: 5 have another shape"):
        load(tmp_path)


def test_a_model_without_a_head_for_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip_vision_model"}')
    with pytest.raises(ModelError):
        load(tmp_path)


def test_roberta_has_fewer_places_than_positions(folders: dict[str, Path]) -> None:
    tokenizer, settings = toy_tokenizer(), recipe.Model(max_length=1024)
    assert longest_row(load(folders["roberta"]), tokenizer, settings) == 64
    assert longest_row(load(folders["bert"]), tokenizer, settings) == 64
    assert longest_row(load(folders["bert"]), tokenizer, recipe.Model(max_length=32)) == 32


def test_the_mean_state_of_a_row_counts_its_own_tokens_alone(folders: dict[str, Path]) -> None:
    model, rows = load(folders["distilbert"]), samples()
    with torch.no_grad():
        found = mean_states(model, rows)
        for row, mean in zip(rows, found, strict=True):
            hidden = model.distilbert(input_ids=torch.tensor([row.tokens])).last_hidden_state[0]
            torch.testing.assert_close(mean, hidden.mean(0), rtol=1e-4, atol=1e-5)


# Encoders with a decoder read the last end token of a row, so a row must have one, as their tokenizers see to.
_SEQ2SEQ = {
    "bart": BartConfig(
        vocab_size=99, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, pad_token_id=0,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=64, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=2,
    ),
    "t5": T5Config(
        vocab_size=99, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, pad_token_id=0, eos_token_id=2,
        decoder_start_token_id=0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", _SEQ2SEQ)
def test_encoders_with_a_decoder_are_trained_and_read_as_transformers_has_them(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    AutoModel.from_config(_SEQ2SEQ[name]).save_pretrained(tmp_path / name)
    rows = [row._replace(tokens=[*row.tokens, 2]) for row in samples()]
    model = moved(add_proved_lora(load(tmp_path / name), SETTINGS, 0, rows))
    assert choose_classifier_path(model, "auto").name == "fast"
    prove_rows(model, lambda network, part: class_logits(network, part)[:, 0].tolist(), rows)
    save_adapter(model, tmp_path / "adapter")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / name, num_labels=3, dtype=torch.float32)
    plain = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        found, means = class_logits(model, rows), mean_states(model, rows)
        for row, logits, mean in zip(rows, found, means, strict=True):
            tokens = torch.tensor([row.tokens])
            torch.testing.assert_close(logits, plain(input_ids=tokens).logits[0], rtol=1e-4, atol=1e-5)
            states = plain.get_base_model().get_encoder()(input_ids=tokens).last_hidden_state[0]
            torch.testing.assert_close(mean, states.mean(0), rtol=1e-4, atol=1e-5)


def test_rows_that_an_architecture_cannot_read_are_said_in_a_paragraph(tmp_path: Path) -> None:
    AutoModel.from_config(_SEQ2SEQ["bart"]).save_pretrained(tmp_path / "bart")
    rows = [samples()[0], samples()[1]._replace(tokens=[5, 2, 6, 2])]  # no end in the first, two in the other
    with pytest.raises(ModelError, match=r"a BartForSequenceClassification cannot read rows of yours: [^\n]*model"):
        add_proved_lora(load(tmp_path / "bart"), SETTINGS, 0, rows)
