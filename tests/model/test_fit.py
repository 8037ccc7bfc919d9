import itertools
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tailora import recipe
from tailora.errors import RunError, Stopped
from tailora.model.fit import accumulate, fit, validate
from tailora.model.lora import add_lora, trainable
from tailora.model.losses import LossSum
from tailora.run import Stage
from tailora.tasks.generate import Generate
from tailora.text.batching import epoch_batches
from tests.toys import toy_model, toy_samples, toy_tokenizer

TASK = Generate(recipe.Evaluate(), toy_tokenizer())


def adapted(seed: int = 0) -> Any:
    return add_lora(toy_model(), recipe.Lora(rank=4), seed)


def gradients(micro_batch_tokens: int) -> list[torch.Tensor]:
    model = adapted()
    for name, weight in trainable(model).items():
        if "lora_B" in name:  # B starts at zero and would hide the gradient of A
            torch.manual_seed(len(name))
            weight.data.normal_(std=0.1)
    accumulate(model, toy_samples(9), TASK.loss, micro_batch_tokens)
    return [weight.grad.clone() for weight in trainable(model).values()]


@pytest.mark.parametrize("micro_batch_tokens", [1, 50, 130])
def test_micro_batching_does_not_change_the_gradient(micro_batch_tokens: int) -> None:
    for whole, cut in zip(gradients(10_000), gradients(micro_batch_tokens), strict=True):
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
    before = validate(model, toy_samples(10), TASK.loss, 2048)
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
    assert validate(model, toy_samples(4, seed=1), TASK.loss, 2048) == pytest.approx(fitted.best_val_loss)


def poisoned(rows: set[int], *, only_training: bool = False) -> Any:
    """Return the task's loss, which is NaN for the given rows of `toy_samples(12)`."""
    bad = [toy_samples(12)[row] for row in rows]

    def loss(network: Any, samples: list[Any]) -> LossSum:
        part = TASK.loss(network, samples)
        hit = any(sample in bad for sample in samples) and (network.training or not only_training)
        return LossSum(part.nats * float("nan"), part.targets) if hit else part

    return loss


def fit_poisoned(folder: Path, model: Any, loss: Any, **settings: Any) -> Any:
    chosen = recipe.Train(**{"epochs": 1, "batch_size": 2, **settings})
    ids = [f"row-{number}" for number in range(12)]
    return fit(model, toy_samples(12), toy_samples(2, seed=1), loss, chosen, Stage(folder), ids)


def test_a_step_that_is_not_finite_changes_no_weight_and_is_counted_and_logged(tmp_path: Path) -> None:
    fitted = fit_poisoned(tmp_path, adapted(), poisoned({5}), epochs=3)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    skipped = [row for row in rows if row["split"] == "skipped"]
    assert fitted.skipped == len(skipped) == 3  # once an epoch
    assert all(5 in row["rows"] and row["loss"] == "nan" for row in skipped)
    assert fitted.steps == 18 and len([row for row in rows if row["split"] == "train"]) == 15


def test_skipping_a_step_is_as_if_its_rows_had_not_been_there(tmp_path: Path) -> None:
    taken = []

    def seen(network: Any, samples: list[Any]) -> LossSum:
        part = poisoned({5})(network, samples)
        if network.training and (tmp_path / "log.jsonl").exists():  # the trial before is no step
            taken.append({name: weight.detach().clone() for name, weight in trainable(network).items()})
        return part

    fit_poisoned(tmp_path, adapted(), seen, lr=1e-2)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    (skipped,) = [row["step"] for row in rows if row["split"] == "skipped"]
    # Each step of two rows is one micro-batch.
    same = [all(torch.equal(a[name], b[name]) for name in a) for a, b in itertools.pairwise(taken)]
    assert [step for step, unchanged in enumerate(same, start=1) if unchanged] == [skipped] * (skipped < len(taken))


@pytest.mark.parametrize("only_training", [False, True])
def test_too_many_bad_steps_in_a_row_stop_and_name_step_and_rows(tmp_path: Path, only_training: bool) -> None:
    model = adapted()
    before = {name: weight.detach().clone() for name, weight in trainable(model).items()}
    with pytest.raises(RunError, match=r"stopped at step 3: 3 steps in a row .*train\.lr") as caught:
        fit_poisoned(tmp_path, model, poisoned(set(range(12)), only_training=only_training), lr=1e-2)
    first = [row for rows in list(epoch_batches(12, 2, 0, 1))[:3] for row in rows]
    assert f"ows{' with such a loss' * (not only_training)}: {', '.join(f'row-{row}' for row in first)}. " in str(
        caught.value
    )
    assert all(torch.equal(before[name], weight) for name, weight in trainable(model).items())


def test_weights_that_have_diverged_are_never_kept(tmp_path: Path) -> None:
    model = adapted()
    with pytest.raises(RunError, match=r"after epoch 1: the validation loss is (nan|inf).*train\.lr"):
        train_toy(tmp_path / "run", model, lr=1e30, batch_size=10, warmup=0)
    newest_best = max((tmp_path / "run" / "checkpoints").iterdir()) / "best.safetensors"
    assert all(tensor.isfinite().all() for tensor in load_file(newest_best).values())


def test_patience_ends_a_training_that_gains_nothing(tmp_path: Path) -> None:
    plain, rows, _ = train_toy(tmp_path / "plain", adapted(), epochs=12, lr=0.05)
    losses = [row["loss"] for row in rows if row["split"] == "val"]
    stale = [epoch - losses.index(min(losses[: epoch + 1])) for epoch in range(len(losses))]
    for patience in (1, 3):
        fitted, cut, _ = train_toy(tmp_path / str(patience), adapted(), epochs=12, lr=0.05, patience=patience)
        assert fitted.epochs == stale.index(patience) < plain.epochs == 12
        assert [row["loss"] for row in cut] == [row["loss"] for row in rows][: len(cut)]


def test_zero_save_minutes_make_a_checkpoint_after_every_step_and_two_are_kept(tmp_path: Path) -> None:
    seen: set[str] = set()

    def watching(network: Any, samples: list[Any]) -> LossSum:
        kept = {path.name for path in (tmp_path / "checkpoints").glob("step-*")}
        assert len(kept) <= 2
        seen.update(kept)
        return TASK.loss(network, samples)

    fit_poisoned(tmp_path, adapted(), watching, save_minutes=0)
    kept = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {"step-5", "step-6-validated"}
    assert seen == {"step-0", "step-0-validated", "step-1", "step-2", "step-3", "step-4", "step-5"}


def interrupting(every: int) -> Any:
    """Return the task's loss; at each so many calls, in training or validation, a SIGTERM comes if it is waited for."""
    calls = itertools.count(1)

    def loss(network: Any, samples: list[Any]) -> LossSum:
        if next(calls) % every == 0 and signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            signal.raise_signal(signal.SIGTERM)
        return TASK.loss(network, samples)

    return loss


def fit_again_and_again(folder: Path, loss: Any, **settings: Any) -> tuple[Any, dict[str, torch.Tensor], int]:
    """Train until nothing interrupts it; returns how it went, the weights, and the number of starts."""
    folder.mkdir()
    chosen = recipe.Train(**{"epochs": 8, "lr": 0.05, "batch_size": 4, **settings})
    for start in itertools.count(1):
        model = add_lora(toy_model(), recipe.Lora(rank=4, dropout=0.1), chosen.seed)
        try:
            fitted = fit(model, toy_samples(10), toy_samples(4, seed=1), loss, chosen, Stage(folder))
        except Stopped as stopped:
            assert stopped.signal == signal.SIGTERM
        else:
            return replace(fitted, seconds=0.0, peak_bytes=0), trainable(model), start
    raise AssertionError


@pytest.mark.parametrize("patience", [None, 3])
def test_stops_change_neither_the_weights_that_are_kept_nor_when_patience_ends(
    tmp_path: Path, patience: int | None
) -> None:
    asked = {
        "patience": patience,
        "micro_batch_tokens": 64,
    }  # so that a step or validation can be interrupted in its middle
    whole, weights, starts = fit_again_and_again(tmp_path / "whole", TASK.loss, **asked)
    assert starts == 1 and 0 < whole.best_epoch < whole.epochs  # so that the best weights outlive a start
    cut, cut_weights, starts = fit_again_and_again(tmp_path / "cut", interrupting(every=17), **asked)
    assert starts > 3 and cut == whole
    assert all(torch.equal(weights[name], cut_weights[name]) for name in weights)


def too_much(limit: int) -> Any:
    """Return a loss that runs out of memory, as a GPU does, when a micro-batch has more than `limit` tokens."""

    def loss(network: Any, samples: list[Any]) -> LossSum:
        part = TASK.loss(network, samples)
        if len(samples) * max(len(sample.tokens) for sample in samples) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return part

    return loss


def test_out_of_memory_halves_the_micro_batch_before_the_first_step_and_not_the_result(tmp_path: Path) -> None:
    finals = []
    for name, loss in (("small", TASK.loss), ("tight", too_much(64))):
        model, stage = adapted(), Stage(tmp_path / name)
        stage.folder.mkdir()
        chosen = recipe.Train(epochs=2, batch_size=5, lr=1e-2, micro_batch_tokens=64 if name == "small" else 512)
        fit(model, toy_samples(12), toy_samples(4, seed=1), loss, chosen, stage)
        finals.append({name: weight.detach().clone() for name, weight in trainable(model).items()})
        said = stage.facts.get("notes", [])
    assert said == [
        f"out of memory: train.micro_batch_tokens {now} → {now // 2}; optimizer steps hold the same rows"
        for now in (512, 256, 128)
    ]
    assert all(torch.equal(finals[0][name], finals[1][name]) for name in finals[0])


def test_a_step_that_runs_out_of_memory_midway_is_taken_again_from_its_beginning(tmp_path: Path) -> None:
    states: list[torch.Tensor] = []
    calls = itertools.count(1)

    def full_in_the_middle(network: Any, samples: list[Any]) -> LossSum:
        part = TASK.loss(network, samples)
        if not (folder / "log.jsonl").exists():  # the trial, and the first validation
            return part
        states.append(torch.get_rng_state())
        torch.rand(3)  # as dropout would draw
        if next(calls) == fails:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return part

    logs = []
    # Two calls a step: the fourth is in the middle of step 2.
    for fails in (0, 4):
        states.clear()
        calls = itertools.count(1)
        folder = tmp_path / str(fails)
        folder.mkdir()
        fit_poisoned(folder, adapted(), full_in_the_middle, batch_size=6, micro_batch_tokens=100)
        logs.append([json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()])
    assert torch.equal(states[4], states[2]) and not torch.equal(states[3], states[2])
    assert [row["split"] for row in logs[0]] == [row["split"] for row in logs[1]]
    for whole, again in zip(*logs, strict=True):
        for key in {"loss", "grad_norm"} & whole.keys():
            assert again[key] == pytest.approx(whole[key], rel=1e-3)


def test_a_row_that_no_memory_holds_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    longest = max(len(sample.tokens) for sample in toy_samples(12))
    with pytest.raises(RunError, match=rf"a row of {longest} tokens does not fit.*model\.max_length"):
        fit_poisoned(tmp_path, adapted(), too_much(longest - 1))
    assert not list(tmp_path.iterdir())


def test_the_attention_kernel_changes_speed_and_not_the_loss() -> None:
    from tailora.model.load import choose_attention

    fused, plain, samples = toy_model(), toy_model(), toy_samples(6)
    choose_attention(fused, 100_000)
    choose_attention(plain, 30)
    assert (fused.config._attn_implementation, plain.config._attn_implementation) == ("sdpa", "eager")
    assert TASK.row_losses(plain, samples) == pytest.approx(TASK.row_losses(fused, samples), rel=1e-5)
