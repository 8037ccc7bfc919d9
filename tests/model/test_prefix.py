"""Kept hidden states of frozen layers change neither losses nor gradients; where they would, they are not used."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tailora import recipe
from tailora.model.fit import fit
from tailora.model.lora import add_lora, trainable
from tailora.model.losses import choose_path, token_nats
from tailora.model.prefix import keep_prefix
from tailora.run import Stage
from tailora.tasks.generate import Generate
from tests.model.test_losses import base_model
from tests.toys import toy_samples, toy_tokenizer

TASK = Generate(recipe.Evaluate(), toy_tokenizer())
LAYERS = 4


def adapted(kind: str = "llama", top: int = 1, **changes: Any) -> Any:
    model = add_lora(base_model(kind, num_hidden_layers=LAYERS, **changes), recipe.Lora(rank=4, last_layers=top), 0)
    for number, weight in enumerate(trainable(model).values()):
        torch.manual_seed(number)
        weight.data.normal_(std=0.1)
    choose_path(model, "auto")
    return model.eval()


def measured(model: Any, samples: list[Any]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    model.zero_grad()
    nats = token_nats(model, samples).nats
    nats.sum().backward()
    return nats.detach(), [weight.grad.clone() for weight in trainable(model).values()]


@pytest.mark.parametrize("kind", ["llama", "qwen3", "mistral", "phi", "gpt_neox"])
@pytest.mark.parametrize("top", [1, 3])
def test_losses_and_gradients_are_those_of_the_whole_model(kind: str, top: int, tmp_path: Path) -> None:
    model, samples = adapted(kind, top), toy_samples(6)
    nats, gradients = measured(model, samples)
    kept = keep_prefix(model, samples, tmp_path)
    assert not kept.why and (kept.layers, kept.of) == (LAYERS - top, LAYERS)
    ran = []
    lowest = next(module for module in model.modules() if isinstance(module, torch.nn.ModuleList))[0]
    lowest.register_forward_hook(lambda *_: ran.append(1))
    again, again_gradients = measured(model, samples)
    assert not ran  # so the frozen layers are really skipped
    torch.testing.assert_close(again, nats, rtol=1e-5, atol=1e-5)
    for ours, whole in zip(again_gradients, gradients, strict=True):
        torch.testing.assert_close(ours, whole, rtol=1e-4, atol=1e-5)


def test_rows_that_were_not_kept_are_computed_as_ever(tmp_path: Path) -> None:
    model, others = adapted(), toy_samples(5, seed=3)
    nats, _ = measured(model, others)
    keep_prefix(model, toy_samples(6), tmp_path)
    assert torch.equal(measured(model, others)[0], nats)
    mixed = measured(model, [*others, *toy_samples(2)])[0]
    torch.testing.assert_close(mixed[: len(nats)], nats, rtol=1e-5, atol=1e-5)


def test_the_bytes_are_those_of_all_tokens_and_a_file_holds_the_same_numbers(tmp_path: Path) -> None:
    samples = toy_samples(6)
    tokens = sum(len(sample.tokens) for sample in samples)
    results = []
    for most in (10**9, 0):
        model = adapted()
        kept = keep_prefix(model, [*samples, *samples], tmp_path, most)  # a row that comes twice is kept once
        assert kept.bytes == tokens * 32 * 4
        assert kept.place == ("memory" if most else "a file on disk")
        assert f"{kept.bytes / 2**20:,.1f} MiB" in kept.line()
        results.append(measured(model, samples)[0])
    assert torch.equal(*results)
    assert not list(tmp_path.iterdir())  # the file has no name and is gone with the process


@pytest.mark.parametrize(
    ("kind", "changes", "why"),
    [
        ("gemma2", {}, "several kinds"),
        ("gpt2", {}, "does more with its input"),
        ("llama", {"attention_dropout": 0.1}, "dropout"),
    ],
)
def test_a_model_that_it_would_get_wrong_is_computed_whole_and_the_reason_is_said(
    kind: str, changes: Any, why: str, tmp_path: Path
) -> None:
    model, samples = adapted(kind, **changes), toy_samples(3)
    nats, _ = measured(model, samples)
    kept = keep_prefix(model, samples, tmp_path)
    assert why in kept.why and "computed anew at each step" in kept.line()
    assert torch.equal(measured(model, samples)[0], nats)


def test_a_whole_training_ends_in_the_same_weights(tmp_path: Path) -> None:
    finals = []
    for name in ("plain", "kept"):
        model, stage = adapted(), Stage(tmp_path / name)
        stage.folder.mkdir()
        train, val = toy_samples(10), toy_samples(4, seed=1)
        if name == "kept":
            assert not keep_prefix(model, [*train, *val], stage.folder).why
        fit(model, train, val, TASK.loss, recipe.Train(epochs=2, batch_size=4, lr=5e-3), stage)
        finals.append(trainable(model))
    for name, weight in finals[0].items():
        torch.testing.assert_close(finals[1][name], weight, rtol=1e-3, atol=1e-4)
