import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tailora import recipe
from tailora.errors import RunError
from tailora.model.fit import LossSum, accumulate, fit, validate
from tailora.model.lora import add_lora, trainable
from tailora.run import Stage
from tailora.tasks.generate import Generate
from tests.toys import toy_model, toy_samples, toy_tokenizer

TASK = Generate(recipe.Evaluate(), toy_tokenizer())


def adapted(seed: int = 0) -> Any:
    return add_lora(toy_model(), recipe.Lora(rank=4), seed)


def gradients(micro_tokens: int) -> list[torch.Tensor]:
    model = adapted()
    for name, weight in trainable(model).items():
        if "lora_B" in name:  # B starts at zero and would hide the gradient of A
            torch.manual_seed(len(name))
            weight.data.normal_(std=0.1)
    accumulate(model, toy_samples(9), TASK.loss, micro_tokens)
    return [weight.grad.clone() for weight in trainable(model).values()]


@pytest.mark.parametrize("micro_tokens", [1, 50, 130])
def test_micro_batching_does_not_change_the_gradient(micro_tokens: int) -> None:
    for whole, cut in zip(gradients(10_000), gradients(micro_tokens), strict=True):
        assert whole.abs().max() > 0
        torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-7)


def test_the_gradient_is_that_of_the_mean_over_answer_tokens() -> None:
    model, samples = adapted(), toy_samples(5)
    accumulate(model, samples, TASK.loss, 100)
    ours = [weight.grad.clone() for weight in trainable(model).values()]
    model.zero_grad()
    labels = [[t if flag else -100 for t, flag in zip(s.tokens, s.flags(), strict=True)] for s in samples]
    count = sum(s.targets for s in samples)
    for sample, label in zip(samples, labels, strict=True):  # transformers' own loss, one unpadded row at a time
        loss = model(input_ids=torch.tensor([sample.tokens]), labels=torch.tensor([label])).loss
        (loss * sample.targets / count).backward()
    for mine, theirs in zip(ours, trainable(model).values(), strict=True):
        torch.testing.assert_close(mine, theirs.grad, rtol=1e-4, atol=1e-7)


def train_toy(folder: Path, model: Any, **settings: Any) -> Any:
    folder.mkdir(parents=True)
    chosen = recipe.Train(**{"epochs": 2, "lr": 5e-3, "batch_size": 4, **settings})
    fitted = fit(model, toy_samples(10), toy_samples(4, seed=1), TASK.loss, chosen, Stage(folder))
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return fitted, rows, {name: weight.detach().clone() for name, weight in trainable(model).items()}


def test_the_same_seed_gives_the_same_adapter_and_another_seed_another(tmp_path: Path) -> None:
    weights = [train_toy(tmp_path / str(i), adapted(seed), seed=seed)[2] for i, seed in enumerate([3, 3, 4])]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_training_lowers_the_loss_on_what_it_sees(tmp_path: Path) -> None:
    model = adapted()
    before = validate(model, toy_samples(10), TASK.loss, recipe.Train())
    train_toy(tmp_path / "run", model, epochs=10)
    _, rows, _ = train_toy(tmp_path / "again", model, epochs=1)
    assert rows[1]["loss"] < before


def test_every_step_and_every_validation_is_logged(tmp_path: Path) -> None:
    fitted, rows, _ = train_toy(tmp_path / "run", adapted())
    assert [row["step"] for row in rows if row["split"] == "train"] == [1, 2, 3, 4, 5, 6]  # ⌈10 / 4⌉ steps an epoch
    assert [row["epoch"] for row in rows if row["split"] == "val"] == [0, 1, 2]
    assert fitted.steps == 6
    assert fitted.tokens == 2 * sum(len(s.tokens) for s in toy_samples(10))


def test_the_best_validated_weights_are_kept(tmp_path: Path) -> None:
    model = adapted()
    fitted, rows, _ = train_toy(tmp_path / "run", model, epochs=20, lr=0.05)
    losses = {row["epoch"]: row["loss"] for row in rows if row["split"] == "val"}
    assert fitted.best_val_loss == min(losses.values()) == losses[fitted.best_epoch]
    assert fitted.best_epoch < 20  # by then the few random rows have been learned by heart
    assert validate(model, toy_samples(4, seed=1), TASK.loss, recipe.Train()) == pytest.approx(fitted.best_val_loss)


def test_a_loss_that_is_not_finite_stops_before_it_touches_a_weight(tmp_path: Path) -> None:
    model = adapted()
    before = {name: weight.detach().clone() for name, weight in trainable(model).items()}

    def broken(network: Any, samples: list[Any]) -> LossSum:
        part = TASK.loss(network, samples)
        return part if not network.training else LossSum(part.nats * float("nan"), part.targets)

    with pytest.raises(RunError, match=r"step 1: loss nan.*train\.lr"):
        fit(model, toy_samples(8), toy_samples(2), broken, recipe.Train(), Stage(tmp_path))
    assert all(torch.equal(before[name], weight) for name, weight in trainable(model).items())


def test_the_attention_kernel_changes_speed_and_not_the_loss() -> None:
    from tailora.model.load import choose_attention

    fused, plain, samples = toy_model(), toy_model(), toy_samples(6)
    choose_attention(fused, 100_000)
    choose_attention(plain, 30)
    assert (fused.config._attn_implementation, plain.config._attn_implementation) == ("sdpa", "eager")
    assert TASK.row_losses(plain, samples) == pytest.approx(TASK.row_losses(fused, samples), rel=1e-5)
