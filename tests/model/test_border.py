"""What others wrote: whatever stands in one of their files, it is used or refused in a paragraph, never a traceback."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaForSequenceClassification

from tailora.errors import DataError, ModelError, TailoraError
from tailora.evaluation.other_rows import recipe_of_adapter
from tailora.model import adapters, load
from tailora.model.border import check_base, read_labels
from tailora.model.classifier import class_logits, load_classifier
from tailora.model.locate import locate_base
from tailora.recipe import Evaluate, Model, Train
from tailora.tasks.generate import Generate
from tailora.text.chat import Prompts
from tests.toys import save_toy, toy_model, toy_tokenizer

ODD: list[Any] = [None, 0, -1, 1.5, True, "many", "", [], {}, [None], {"a": []}, 10**12]
MORE_KEYS = {
    "config.json": ["quantization_config", "rope_scaling", "text_config", "id2label", "layer_types", "auto_map"],
    "tokenizer_config.json": ["chat_template", "added_tokens_decoder", "model_max_length", "bos_token"],
    "generation_config.json": ["temperature"],
    "adapter_config.json": ["a_config"],
    "tailora.json": [],
    "tokenizer.json": [],
    "model.safetensors.index.json": [],
    "special_tokens_map.json": ["eos_token"],
    "added_tokens.json": ["<end>"],
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    settings = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    get_peft_model(toy_model(), settings).save_pretrained(folder)
    prints = {"base": load.base_fingerprint(toy_model()), "prompts": "p"}
    (folder / "tailora.json").write_text(json.dumps(prints))
    return folder


@pytest.fixture(scope="module")
def labelling(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an adapter of a classifier, with the labels beside it."""
    folder = tmp_path_factory.mktemp("labelling")
    model = LlamaForSequenceClassification.from_pretrained(base, num_labels=2)
    get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], task_type="SEQ_CLS")).save_pretrained(folder)
    model.config.save_pretrained(folder)
    (folder / "tailora.json").write_text(json.dumps({"labels": ["no", "yes"]}))
    return folder


def answer(base: Path, adapter: Path | None = None) -> None:
    """Do with a base and an adapter what an evaluation does."""
    settings = Model(base=str(base), dtype="float32")
    if adapter:
        recipe_of_adapter(adapter, str(base), "rows.jsonl")
    task = Generate(Evaluate(), load.load_tokenizer(settings))
    model = task.load(settings)
    task.longest(model, settings)
    if adapter:
        model = adapters.put_on(model, adapter, "base")
    task.choose_path(model, Train())
    sample = task.prompts.encode([{"role": "user", "content": "a"}], "b")
    load.refuse_unknown_ids(model, [sample.tokens])
    task.row_losses(model, [sample])


def label(base: Path, adapter: Path) -> None:
    asked = recipe_of_adapter(adapter, str(base), "rows.jsonl")
    names = read_labels(adapter) or [str(number) for number in range(adapters.count_labels(adapter))]
    model = adapters.put_on(load_classifier(asked.model, names, 0, 0), adapter, "base")
    class_logits(model, load.short_rows(model))


def changed(folder: Path, name: str, into: Path, value: Any) -> Path:
    """Return a copy of a model's folder in which the file `name` holds `value`."""
    shutil.copytree(folder, into, copy_function=os.link, dirs_exist_ok=True)
    (into / name).unlink(missing_ok=True)
    (into / name).write_text(json.dumps(value))
    return into


def use_odd(
    folder: Path, name: str, use: Callable[[Path], None], scratch: Path, keys: Sequence[str] | None = None
) -> int:
    """Use copies of `folder` with each odd value in place of a file and of each of its keys; count those refused."""
    whole = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
    use(folder)
    contents = [*ODD, *({**whole, key: odd} for key in keys or [*whole, *MORE_KEYS[name]] for odd in ODD)]
    refused = 0
    for number, content in enumerate(contents):
        copy = changed(folder, name, scratch / str(number), content)
        try:
            use(copy)
        except TailoraError as error:
            refused += 1
            assert "\n" not in "".join(error.problems) and len(str(error)) < 900, content
        shutil.rmtree(copy)
    return refused


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer_config.json", "tokenizer.json", "generation_config.json",
             "model.safetensors.index.json", "special_tokens_map.json", "added_tokens.json"],
)  # fmt: skip
def test_any_value_in_a_file_of_a_base_is_used_or_refused_in_a_paragraph(name: str, base: Path, tmp_path: Path) -> None:
    assert use_odd(base, name, answer, tmp_path) > 5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["adapter_config.json", "tailora.json"])
def test_any_value_in_a_file_of_an_adapter_is_used_or_refused_in_a_paragraph(
    name: str, base: Path, adapter: Path, tmp_path: Path
) -> None:
    assert use_odd(adapter, name, lambda folder: answer(base, folder), tmp_path) > 5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["config.json", "tailora.json"])
def test_any_labels_beside_an_adapter_are_used_or_refused_in_a_paragraph(
    name: str, base: Path, labelling: Path, tmp_path: Path
) -> None:
    if name == "config.json":
        labelling = changed(labelling, "tailora.json", tmp_path / "unnamed", {})
    keys = {"config.json": ["id2label"], "tailora.json": ["labels", "base", "prompts"]}[name]
    assert use_odd(labelling, name, lambda folder: label(base, folder), tmp_path, keys) > 5


@pytest.mark.parametrize(
    ("name", "key", "value", "said"),
    [
        ("config.json", "num_attention_heads", 0, "num_attention_heads is 0; write a whole number from 1 to 4096"),
        ("config.json", "vocab_size", "many", 'vocab_size is "many"; write a whole number of at least 1'),
        ("config.json", "num_hidden_layers", 10**12, "num_hidden_layers is 1000000000000; write a whole number from 1"),
        ("config.json", "id2label", {"x": "no"}, 'id2label is {"x": "no"}; write labels by number'),
        ("tokenizer_config.json", "eos_token", 3, "eos_token is 3; write the text of a token"),
        ("adapter_config.json", "r", None, "r is null; write a whole number from 1"),
        ("adapter_config.json", "r", 0, "r is 0; write a whole number from 1"),
        ("adapter_config.json", "lora_alpha", "many", 'lora_alpha is "many"; write a number'),
        ("adapter_config.json", "target_modules", 7, "target_modules is 7; write a list of names of layers"),
        ("tailora.json", "base", "0123456789abcdef", "train again, or take the key out"),
    ],
)
def test_a_refusal_names_the_file_the_key_what_stands_there_and_what_to_write(
    name: str, key: str, value: Any, said: str, base: Path, adapter: Path, tmp_path: Path
) -> None:
    of_base = (base / name).exists() and name != "tailora.json"
    folder = base if of_base else adapter
    copy = changed(folder, name, tmp_path / "copy", json.loads((folder / name).read_text()) | {key: value})
    with pytest.raises(ModelError) as raised:
        answer(*([copy] if of_base else [base, copy]))
    assert str(copy / name) in str(raised.value) and said in str(raised.value)


def test_half_a_character_in_a_file_is_refused_before_a_tokenizer_meets_it(base: Path, tmp_path: Path) -> None:
    settings = json.loads((base / "tokenizer_config.json").read_text()) | {"chat_template": "\ud800{{ messages }}"}
    copy = changed(base, "tokenizer_config.json", tmp_path / "copy", settings)
    with pytest.raises(ModelError, match=r"tokenizer_config\.json is no JSON that can be read.*surrogates"):
        answer(copy)


def test_all_wrong_values_of_a_file_are_named_at_once(base: Path, tmp_path: Path) -> None:
    config = json.loads((base / "config.json").read_text()) | {"vocab_size": 0, "hidden_size": "x", "architectures": 1}
    with pytest.raises(ModelError) as raised:
        locate_base(str(changed(base, "config.json", tmp_path / "copy", config)))
    assert [problem.split(": ")[1].split()[0] for problem in raised.value.problems] == [
        "vocab_size", "hidden_size", "architectures",
    ]  # fmt: skip


def test_a_vocabulary_smaller_than_the_weights_is_refused(base: Path, tmp_path: Path) -> None:
    config = json.loads((base / "config.json").read_text()) | {"vocab_size": 200, "pad_token_id": None}
    with pytest.raises(ModelError, match=r"lm_head\.weight: \[258, 32\] in the file, \[200, 32\] by config\.json"):
        answer(changed(base, "config.json", tmp_path / "copy", config))


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("pytorch_model.bin", "no .safetensors file"),
        ("model.pt", "no .safetensors file"),
        ("../model.safetensors", "outside of the model's folder"),
        ("/tmp/model.safetensors", "outside of the model's folder"),
        ("a/../../model.safetensors", "outside of the model's folder"),
        ("..\\model.safetensors", "outside of the model's folder"),
        (7, "no .safetensors file"),
    ],
)
def test_weights_in_other_formats_or_other_places_are_refused(file: Any, said: str, base: Path, tmp_path: Path) -> None:
    weights = load_file(base / "model.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, file)}
    copy = changed(base, "model.safetensors.index.json", tmp_path / "copy", index)
    (copy / "model.safetensors").unlink()
    torch.save(weights, copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=said):
        load.load_base(Model(base=str(copy)))


def test_weights_in_several_files_are_those_of_one(base: Path, tmp_path: Path) -> None:
    load.load_base(Model(base=str(base))).save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    models = [load.load_base(Model(base=str(folder))) for folder in (base, tmp_path)]
    assert load.base_fingerprint(models[0]) == load.base_fingerprint(models[1])


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"])
def test_a_pipe_among_the_files_of_a_base_is_not_waited_for(name: str, base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "copy")
    (tmp_path / "copy" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "copy" / name)
    with pytest.raises(ModelError, match=rf"{name} is no regular file"):
        locate_base(str(tmp_path / "copy"))


def test_a_base_that_is_an_adapter_as_well_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    # transformers puts the adapter on by itself, so that the base would be the tuned model.
    shutil.copytree(base, tmp_path, dirs_exist_ok=True)
    shutil.copytree(adapter, tmp_path, dirs_exist_ok=True)
    with pytest.raises(ModelError, match="holds an adapter"):
        check_base(tmp_path)


def test_a_base_whose_weights_are_no_numbers_is_refused_by_their_name(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] = float("inf")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"not finite in 1 of .* the first is model\.layers\.1\.mlp\.up_proj\.weight"):
        load.load_base(Model(base=str(tmp_path)))


def test_a_model_trained_whole_that_lacks_a_weight_is_not_completed(base: Path, tmp_path: Path) -> None:
    toy_model(seed=1).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"not whole: 1 are missing \(the first is model\.norm\.weight\)"):
        load.load_adapter(load.load_base(Model(base=str(base))), tmp_path)


def test_one_other_bit_in_any_weight_is_another_base() -> None:
    # Values are compared in bfloat16, so the lowest bit that counts is the seventh of the mantissa.
    known = load.base_fingerprint(toy_model())
    numbers = torch.Generator().manual_seed(0)
    for name, weight in toy_model().named_parameters():
        model = toy_model()
        place = int(torch.randint(weight.numel(), (1,), generator=numbers))
        flat = dict(model.named_parameters())[name].data.flatten()
        flat.view(torch.int32)[place] ^= 1 << 16
        assert load.base_fingerprint(model) != known, name


def test_the_first_adapter_of_a_classifier_fits_its_base_whatever_seed_its_head_had(
    base: Path, labelling: Path, tmp_path: Path
) -> None:
    prints = [load.base_fingerprint(load_classifier(Model(base=str(base)), ["no", "yes"], 0, seed)) for seed in (5, 0)]
    copy = changed(labelling, "tailora.json", tmp_path / "copy", {"base": prints[0], "labels": ["no", "yes"]})
    label(base, copy)
    assert prints[0] == prints[1]


def test_weights_that_are_no_safetensors_are_said_in_a_paragraph(base: Path, labelling: Path, tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"\x80\x02}q\x00.", b"\xff" * 64)):
        copy = changed(labelling, "tailora.json", tmp_path / str(number), {})
        (copy / "adapter_model.safetensors").unlink()
        (copy / "adapter_model.safetensors").write_bytes(content)
        with pytest.raises(ModelError, match="cannot be loaded"):
            label(base, copy)


@pytest.mark.parametrize("fails", ["{{ 1 + 'a' }}", "{{ none.x.y }}", "{{ 1 / 0 }}", "{{ messages[9]['role'] }}"])
def test_whatever_a_template_raises_over_some_turns_is_said_in_a_paragraph(fails: str) -> None:
    tokenizer = toy_tokenizer()
    shows = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}[assistant]"
    tokenizer.chat_template = f"{{% if messages|length > 3 %}}{fails}{{% endif %}}{shows}"
    prompts = Prompts(tokenizer)
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user", "assistant", "user")]
    assert prompts.render(turns[:1]) == "[user]x<end>[assistant]"
    with pytest.raises(DataError, match="the chat template of the base model refuses the turns user, assistant, user"):
        prompts.render(turns)
    tokenizer.chat_template = fails + shows
    with pytest.raises(ModelError, match="does not show what a user says"):
        Prompts(tokenizer)


@pytest.mark.parametrize("adds", [True, False])
def test_a_begin_token_is_written_where_the_loaded_tokenizer_writes_one_whatever_its_settings_say(
    adds: bool, base: Path, tmp_path: Path
) -> None:
    # transformers follows tokenizer.json: add_bos_token alone adds nothing where that has no such rule.
    settings = json.loads((base / "tokenizer_config.json").read_text())
    copy = changed(
        base, "tokenizer_config.json", tmp_path / "copy", settings | {"bos_token": "<end>", "add_bos_token": adds}
    )
    tokenizer = load.load_tokenizer(Model(base=str(copy)))
    own = tokenizer("### Question").input_ids
    assert Prompts(tokenizer).encode_prompt([{"role": "user", "content": "a"}])[: len(own)] == own


def test_weights_of_an_adapter_in_another_format_are_not_looked_for(base: Path, adapter: Path, tmp_path: Path) -> None:
    copy = changed(adapter, "tailora.json", tmp_path / "copy", {})
    weights = load_file(copy / "adapter_model.safetensors")
    (copy / "adapter_model.safetensors").unlink()
    torch.save(weights, copy / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        load.load_adapter(load.load_base(Model(base=str(base))), copy)


LOAD_FROM_HUB = """
from tailora.errors import ModelError
from tailora.model.load import load_base
from tailora.recipe import Model
try:
    load_base(Model(base="acme/toy"))
except ModelError as error:
    print(error)
"""


def test_weights_of_a_hub_in_another_format_are_refused_as_those_of_a_folder(base: Path, tmp_path: Path) -> None:
    hub = tmp_path / "hub" / "models--acme--toy"
    snapshot = Path(shutil.copytree(base, hub / "snapshots" / ("0" * 40)))
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("0" * 40)
    weights = load_file(snapshot / "model.safetensors")
    (snapshot / "model.safetensors").unlink()
    torch.save(weights, snapshot / "pytorch_model.bin")
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "pytorch_model.bin")}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD_FROM_HUB], env=environment, capture_output=True, text=True, check=True
    )
    assert "no .safetensors file: other formats can run code and are not read" in done.stdout
