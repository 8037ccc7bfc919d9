"""What lm-evaluation-harness asks of a model, and how much of that was cut."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tailora.text.chat import Sample

if TYPE_CHECKING:
    from tailora.model.decode import Limits
    from tailora.tasks.generate import Reading


class Asked(NamedTuple):
    """How a model is asked: likelihoods of samples in nats, and answers to prompts in tokens, each up to a stop."""

    weigh: Callable[[list[Sample]], list["Reading"]]
    answer: Callable[[list[list[int]], "Limits", list[str]], list[str]]


@dataclass
class Cut:
    """Requests to a model, and those of them which lost their beginning since they were too long."""

    requests: int = 0
    cut: int = 0
