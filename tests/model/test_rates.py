"""The range test finds where a loss is lowest, and leaves nothing behind."""

import itertools
from typing import Any

import pytest
import torch

from tailora import recipe
from tailora.errors import RunError
from tailora.model.lora import add_lora, trainable
from tailora.model.losses import LossSum
from tailora.model.rates import HIGHEST, LOWEST, STEPS, find_rate
from tailora.tasks.generate import Generate
from tests.toys import toy_model, toy_samples, toy_tokenizer

TASK = Generate(recipe.Evaluate(), toy_tokenizer())


class Distance(torch.nn.Module):
    """One weight that should become `goal`; Adam moves it by the rate at each step, so it arrives at a known time."""

    def __init__(self, goal: float) -> None:
        super().__init__()
        self.weight, self.goal = torch.nn.Parameter(torch.zeros(1)), goal
        self.device = torch.device("cpu")

    def loss(self, model: Any, samples: list[Any]) -> LossSum:
        """Return how far the weight is from its goal, once a target."""
        targets = sum(sample.targets for sample in samples)
        return LossSum((self.weight - self.goal).abs().sum() * targets, targets)


@pytest.mark.parametrize("goal", [0.001, 0.01, 0.1])
def test_the_rate_is_a_tenth_of_the_one_at_which_the_loss_was_lowest(goal: float) -> None:
    model = Distance(goal)
    found = find_rate(model, toy_samples(8), model.loss, recipe.Train(lr="auto", batch_size=4))
    rates = [LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1)) for step in range(STEPS)]
    travelled = itertools.accumulate(rates)
    arrival = next(rate for rate, way in zip(rates, travelled, strict=True) if way >= goal)
    assert arrival / 2 < 10 * found.chosen < arrival * 4  # the mean of the losses is lowest a few steps later


def test_the_weights_the_gradients_and_a_second_test_are_as_before() -> None:
    model = add_lora(toy_model(), recipe.Lora(rank=4), 0)
    before = {name: weight.detach().clone() for name, weight in trainable(model).items()}
    settings = recipe.Train(lr="auto", batch_size=4)
    first = find_rate(model, toy_samples(10), TASK.loss, settings)
    assert all(torch.equal(before[name], weight) for name, weight in trainable(model).items())
    assert all(weight.grad is None for weight in model.parameters())
    assert find_rate(model, toy_samples(10), TASK.loss, settings) == first
    assert LOWEST < first.chosen < HIGHEST and len(first.losses) <= len(first.rates) <= STEPS
    assert f"range test of {len(first.rates)} steps, not tuned" in first.line()


def test_a_loss_that_no_rate_lowers_is_refused() -> None:
    model = Distance(0.0)

    def worse(network: Any, samples: list[Any]) -> LossSum:
        part = model.loss(network, samples)
        return LossSum(part.nats * 0 + next(counted) * part.targets, part.targets)

    counted = itertools.count(1)
    with pytest.raises(RunError, match=r"train\.lr = \"auto\": no rate lowered the loss"):
        find_rate(model, toy_samples(8), worse, recipe.Train(lr="auto", batch_size=4))
