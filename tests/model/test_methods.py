"""Every method starts at the base, is saved as an adapter that plain PEFT reads, and does what its paper says."""

import itertools
import json
import math
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, PeftModel, get_peft_model

import tailora
from tailora import recipe
from tailora.errors import ModelError, RunError, Stopped
from tailora.model.adalora import Ranks
from tailora.model.fit import fit
from tailora.model.load import base_fingerprint, load_adapter
from tailora.model.lora import adalora_ranks, add_lora, rate_groups, save_adapter, saved_adapter, trainable
from tailora.model.losses import LossSum, choose_path, token_nats
from tailora.model.targets import linear_layers
from tailora.run import Stage
from tailora.tasks.generate import Generate
from tailora.text.batching import epoch_batches
from tests.toys import toy_model, toy_samples, toy_tokenizer

TASK = Generate(recipe.Evaluate(), toy_tokenizer())
METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"method": "rslora"},
    "dora": {"method": "dora"},
    "adalora": {"method": "adalora"},
    "pissa": {"init": "pissa"},
    "olora": {"init": "olora"},
    "rslora-pissa": {"method": "rslora", "init": "pissa"},
    "top": {"last_layers": 1},
    "plus": {"lora_plus_ratio": 16.0},
    "full": {"method": "full"},
}
ADAPTERS = [name for name in METHODS if name != "full"]


def adapted(name: str, **changes: Any) -> Any:
    return add_lora(toy_model(), recipe.Lora(**{"rank": 4, "alpha": 6, **METHODS[name], **changes}), 0).eval()


def shaken(model: Any) -> Any:
    """Move every trained weight away from where it began; of AdaLoRA's ranks some are silent, of one layer all."""
    torch.manual_seed(1)
    for number, (name, weight) in enumerate(trainable(model).items()):
        weight.data.add_(torch.randn_like(weight), alpha=0.05)
        if ".lora_E." in name:
            weight.data[: number % 5] = 0
    layers = [weight for name, weight in trainable(model).items() if ".lora_E." in name]
    if layers:
        layers[0].data.zero_()
    return model


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(40)[None]).logits


@pytest.mark.parametrize("name", METHODS)
def test_every_method_begins_at_the_base(name: str) -> None:
    torch.testing.assert_close(logits(adapted(name)), logits(toy_model()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_saved_adapter_gives_the_same_logits_on_the_untouched_base_under_plain_peft(
    name: str, tmp_path: Path
) -> None:
    model = shaken(adapted(name))
    save_adapter(model, tmp_path)
    plain = PeftModel.from_pretrained(toy_model(), tmp_path).eval()
    torch.testing.assert_close(logits(plain), logits(model), rtol=1e-4, atol=1e-5)
    with plain.disable_adapter():
        assert torch.equal(logits(plain), logits(toy_model()))
    assert not torch.allclose(logits(plain), logits(toy_model()), atol=1e-3)


@pytest.mark.parametrize("name", ["lora", "rslora", "dora", "adalora", "pissa"])
def test_a_saved_adapter_can_be_merged_by_plain_peft(name: str, tmp_path: Path) -> None:
    model = shaken(adapted(name))
    save_adapter(model, tmp_path)
    merged = PeftModel.from_pretrained(toy_model(), tmp_path).merge_and_unload().eval()
    torch.testing.assert_close(logits(merged), logits(model), rtol=1e-4, atol=1e-5)


def test_two_processes_write_one_configuration_alike(tmp_path: Path) -> None:
    save_adapter(adapted("lora"), tmp_path)
    names = json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"]
    assert names == sorted(names)


def test_a_whole_model_is_loaded_over_its_base_and_can_be_switched_off(tmp_path: Path) -> None:
    model = shaken(adapted("full"))
    save_adapter(model, tmp_path)
    loaded = load_adapter(toy_model(), tmp_path)
    assert torch.equal(logits(loaded), logits(model))
    with loaded.disable_adapter():
        assert torch.equal(logits(loaded), logits(toy_model()))
    assert torch.equal(logits(loaded), logits(model))
    assert not trainable(loaded)


def test_a_whole_model_trains_every_weight() -> None:
    assert len(trainable(adapted("full"))) == len(list(toy_model().parameters()))


def test_a_rank_beyond_the_smallest_weight_is_refused_where_the_base_is_taken_apart() -> None:
    with pytest.raises(ModelError, match=r"lora\.rank = 20 is more than the 16"):
        adapted("pissa", rank=20)


def test_pissa_begins_with_the_largest_singular_values() -> None:
    base = toy_model().model.layers[0].mlp.up_proj.weight
    layer = adapted("pissa").get_base_model().model.layers[0].mlp.up_proj
    left, values, right = torch.linalg.svd(base)
    expected = left[:, :4] @ torch.diag(values[:4]) @ right[:4]
    torch.testing.assert_close(layer.get_delta_weight("default"), expected, rtol=1e-4, atol=1e-5)


def test_rslora_scales_by_the_root_of_the_rank_and_takes_the_fast_path() -> None:
    rooted, plain = shaken(adapted("rslora")), shaken(adapted("lora", alpha=6 * math.sqrt(4)))
    torch.testing.assert_close(logits(rooted), logits(plain))
    assert choose_path(rooted, "fast")[:2] == ("fast", "")


def test_adalora_takes_the_fast_path_which_computes_what_peft_computes() -> None:
    model, samples = shaken(adapted("adalora")), toy_samples(4)
    expected = token_nats(model, samples).nats
    grads = torch.autograd.grad(expected.sum(), list(trainable(model).values()))
    assert choose_path(model, "fast")[:2] == ("fast", "")
    found = token_nats(model, samples).nats
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(torch.autograd.grad(found.sum(), list(trainable(model).values())), grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_with_plus_the_first_step_of_b_is_that_many_times_the_step_of_a(tmp_path: Path) -> None:
    model = shaken(adapted("lora", lora_plus_ratio=16.0))
    before = {name: weight.detach().clone() for name, weight in trainable(model).items()}
    assert [factor for factor, _ in rate_groups(model)] == [1.0, 16.0]
    settings = recipe.Train(epochs=1, batch_size=10, lr=1e-4, warmup=0, schedule="constant")
    fit(model, toy_samples(10), toy_samples(4), TASK.loss, settings, Stage(tmp_path))
    for name, weight in trainable(model).items():
        # Adam's first step is its rate times the sign of the gradient (Kingma & Ba 2015, section 2.1).
        step = (weight - before[name]).abs().median().item()
        assert step == pytest.approx(16e-4 if "lora_B" in name else 1e-4, rel=0.05), name


# AdaLoRA.


def spread(model: Any) -> Counter[int]:
    return Counter(adalora_ranks(model).values())


def fit_to_the_end(name: str, folder: Path, loss: Any = TASK.loss, **changes: Any) -> Any:
    """Train until nothing interrupts it; returns how it went, the model, and the number of starts."""
    folder.mkdir()
    settings = recipe.Train(**{"epochs": 10, "lr": 0.02, "batch_size": 4, **changes})
    for start in itertools.count(1):
        model = adapted(name)
        try:
            fitted = fit(model, toy_samples(10), toy_samples(4, seed=1), loss, settings, Stage(folder))
        except Stopped:
            continue
        return fitted, model, start
    raise AssertionError


def test_adalora_ends_with_ranks_that_differ_and_use_up_the_budget(tmp_path: Path) -> None:
    assert spread(shaken(adapted("adalora"))).total() == 14
    fitted, model, _ = fit_to_the_end("adalora", tmp_path / "run")
    ranks = adalora_ranks(model)
    assert sum(ranks.values()) == pytest.approx(4 * 14, abs=1)  # 14 layers, and rank 4 was asked for
    assert len(set(ranks.values())) > 1
    assert fitted.best_epoch > 5  # the weights kept are of a time when the budget was met
    config, tensors = saved_adapter(model)
    shapes = {n: t.shape[0] for n, t in tensors.items() if "lora_A" in n}
    assert {n.removeprefix("base_model.model.").removesuffix(".lora_A.weight"): r for n, r in shapes.items()} == {
        name: max(1, rank) for name, rank in ranks.items()
    }
    assert config.rank_pattern == {name: max(1, rank) for name, rank in ranks.items()}


def test_adalora_is_trained_as_peft_prescribes_step_by_step(tmp_path: Path) -> None:
    samples, settings = (
        toy_samples(10),
        {"epochs": 7, "lr": 0.01, "schedule": "constant", "warmup": 0, "max_grad_norm": 1e9},
    )
    fitted, model, _ = fit_to_the_end("adalora", tmp_path / "run", **settings)
    config = AdaLoraConfig(
        init_r=6, target_r=4, lora_alpha=6 * 6 / 4, total_step=21, tinit=2, tfinal=8, deltaT=1,
        target_modules=linear_layers(toy_model()), task_type="CAUSAL_LM",
    )  # fmt: skip
    base = toy_model()
    torch.manual_seed(0)
    reference = get_peft_model(base, config)
    optimizer = torch.optim.AdamW(trainable(reference).values(), lr=0.01, weight_decay=0.0)
    step = 0
    for epoch in range(1, fitted.best_epoch + 1):
        for rows in epoch_batches(10, 4, 0, epoch):
            step, targets = step + 1, sum(samples[row].targets for row in rows)
            for sample in (samples[row] for row in rows):
                labels = [t if flag else -100 for t, flag in zip(sample.tokens, sample.flags(), strict=True)]
                part = reference(input_ids=torch.tensor([sample.tokens]), labels=torch.tensor([labels])).loss
                (part * sample.targets / targets).backward()  # the penalty in it is weighted with 1 over the rows
            optimizer.step()
            reference.base_model.update_and_allocate(step)
            optimizer.zero_grad()
    assert adalora_ranks(model) == adalora_ranks(reference)
    for key, weight in trainable(reference).items():
        torch.testing.assert_close(trainable(model)[key], weight, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", ["adalora", "pissa", "plus", "dora", "full"])
def test_stops_change_no_byte_of_what_a_method_ends_with(name: str, tmp_path: Path) -> None:
    calls = itertools.count(1)

    def interrupting(network: Any, samples: list[Any]) -> LossSum:
        if next(calls) % 11 == 0 and signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            signal.raise_signal(signal.SIGTERM)
        return TASK.loss(network, samples)

    _, whole, starts = fit_to_the_end(name, tmp_path / "whole", epochs=7)
    assert starts == 1
    _, cut, starts = fit_to_the_end(name, tmp_path / "cut", interrupting, epochs=7)
    assert starts > 2
    assert adalora_ranks(whole) == adalora_ranks(cut)
    assert all(torch.equal(weight, trainable(cut)[key]) for key, weight in trainable(whole).items())
    assert all(torch.equal(one, two) for one, two in zip(whole.parameters(), cut.parameters(), strict=True))


def test_the_penalty_that_is_added_is_the_one_peft_adds_to_its_loss() -> None:
    tokens = torch.arange(30)[None]
    model = shaken(adapted("adalora"))
    model(input_ids=tokens, labels=tokens).loss.backward()
    theirs = {name: weight.grad.clone() for name, weight in trainable(model).items()}
    model.zero_grad()
    model.get_base_model()(input_ids=tokens, labels=tokens).loss.backward()  # below PEFT, the loss is the loss alone
    Ranks(model, 100).penalise()
    for name, weight in trainable(model).items():
        torch.testing.assert_close(weight.grad, theirs[name], rtol=1e-4, atol=1e-6)


def test_the_penalty_of_adalora_is_in_no_loss_and_its_saved_adapter_takes_labels(tmp_path: Path) -> None:
    model, (sample,) = shaken(adapted("adalora")), toy_samples(1)
    tokens = torch.tensor([sample.tokens])
    labels = torch.tensor([[t if flag else -100 for t, flag in zip(sample.tokens, sample.flags(), strict=True)]])
    with torch.no_grad():
        true = model.get_base_model()(input_ids=tokens, labels=labels).loss
        with_penalty = model(input_ids=tokens, labels=labels).loss
        ours = token_nats(model, [sample]).nats.mean()
    torch.testing.assert_close(ours, true, rtol=1e-5, atol=1e-6)
    assert with_penalty > true + 0.1
    save_adapter(model, tmp_path)
    loaded = PeftModel.from_pretrained(toy_model(), tmp_path).eval()
    torch.testing.assert_close(loaded(input_ids=tokens, labels=labels).loss, true, rtol=1e-4, atol=1e-5)


def test_too_few_steps_for_adalora_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"at least 20 steps.*has 6\. Raise train\.epochs"):
        fit_to_the_end("adalora", tmp_path / "run", epochs=2)
    assert not list((tmp_path / "run").iterdir())


# What goes wrong silently elsewhere.


def test_an_adapter_is_not_put_on_a_base_of_the_same_shape_with_other_weights(tmp_path: Path) -> None:
    save_adapter(shaken(adapted("lora")), tmp_path)
    (tmp_path / "tailora.json").write_text(json.dumps({"base": base_fingerprint(toy_model())}))
    load_adapter(toy_model(), tmp_path)
    PeftModel.from_pretrained(toy_model(seed=1), tmp_path)  # plain PEFT does not notice
    with pytest.raises(ModelError, match="base model with other weights"):
        load_adapter(toy_model(seed=1), tmp_path)


def test_pefts_svd_combination_which_keeps_the_rank_of_a_single_adapter_is_not_used() -> None:
    for path in Path(tailora.__file__).parent.rglob("*.py"):
        assert "add_weighted_adapter" not in path.read_text("utf-8"), path
