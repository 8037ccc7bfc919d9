"""What every task must be able to do, and what a metric is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tailora.files import Row
from tailora.model.fit import LossSum
from tailora.text.prompts import Prompts, Sample


@dataclass(frozen=True)
class Metric:
    """A number that base and tuned are compared by, computed from the fields of prediction rows."""

    name: str
    kind: Literal["binary", "mean", "ratio"]
    """"binary" and "mean" average `field` over rows; "ratio" divides its sum by the sum of `per`."""
    field: str
    higher_is_better: bool
    per: str = ""
    transform: Callable[[Any], Any] | None = None
    """Applied to a ratio, such as exp for perplexity."""
    meaning: str = ""


class Task(Protocol):
    """How rows become tokens, loss, and scores."""

    metrics: Sequence[Metric]
    prompts: Prompts

    def encode(self, row: Row) -> Sample:
        """Return the tokens of one prepared row, with the place where its answer begins."""

    def loss(self, model: Any, samples: list[Sample]) -> LossSum:
        """Return the summed loss in nats and the number of target tokens."""

    def row_losses(self, model: Any, samples: list[Sample]) -> list[float]:
        """Return the summed loss of each sample in nats, without gradients."""

    def score(self, rows: Sequence[Row], answers: Sequence[str]) -> list[Row]:
        """Return the scores of each answer; None where a score does not apply, with the reason in `absent`."""
