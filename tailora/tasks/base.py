"""What every task must be able to do, and what a metric is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tailora import recipe
from tailora.errors import RecipeError, did_you_mean
from tailora.files import Row
from tailora.text.chat import Sample
from tailora.text.length_budget import Fitting

if TYPE_CHECKING:  # commands that never load a model ask for metrics too
    from transformers import PreTrainedModel

    from tailora.model.load import Transformer
    from tailora.model.losses import LossSum, Path


@dataclass(frozen=True)
class Metric:
    """A number that base and tuned are compared by, computed from the fields of prediction rows."""

    name: str
    kind: Literal["binary", "mean", "ratio", "corpus"]
    """"binary" and "mean" average over rows; "ratio" divides the sum of `field` by the sum of `per`; "corpus" makes one
    number from counts that are summed over rows, such as an F1 score: `read` returns the counts of a row, `transform`
    maps sums [sample, count] to numbers [sample]."""
    field: str
    """Where a row holds it; None or nothing there means that the metric does not apply to the row."""
    higher_is_better: bool
    per: str = ""
    transform: Callable[[Any], Any] | None = None
    """Applied to a ratio, such as exp for perplexity, or to the sums of "corpus"."""
    read: Callable[[Row], Any] | None = None
    """What to take from a row in which `field` is something else than the number: a number, or counts."""
    meaning: str = ""
    share: bool = False
    """A number from 0 to 1 that is shown in per cent; so is every binary metric."""
    decides: str = ""
    """Why it may give the verdict: the first metric with such a reason and a value does. Empty for all others."""
    written: bool = False
    """Whether it scores what the model writes; likelihoods score what it predicts of the reference."""
    explains: bool = False
    """Shown to explain the others, without a verdict of its own."""
    absent: str = "no row has a value"
    """Why there is no number, where no row has one."""

    def value(self, row: Row) -> Any:
        """Return the number, or the counts, that `row` adds; None where the metric does not apply to it."""
        found = row.get(self.field)
        return found if found is None or self.read is None else self.read(row)


def with_primary(metrics: Sequence[Metric], name: str | None) -> list[Metric]:
    """Return `metrics` with the one called `name` first and giving the verdict; as they are when it is None.

    Raises:
        RecipeError: when there is no such metric.
    """
    known = [metric.name for metric in metrics if not metric.explains]
    if name is None:
        return list(metrics)
    if name not in known:
        raise RecipeError(
            f'evaluate.primary: there is no metric "{name}"{did_you_mean(name, known)}; known: {", ".join(known)}.'
        )
    declared = [
        replace(metric, decides="the recipe declares it (evaluate.primary)")
        for metric in metrics
        if metric.name == name
    ]
    return declared + [metric for metric in metrics if metric.name != name]


class Task(Protocol):
    """How rows become tokens, loss, and scores."""

    metrics: Sequence[Metric]
    prompts: Any
    """What turns rows into tokens, with its `tokenizer`, `remarks()` and `fingerprint()`."""

    def load(self, settings: recipe.Model) -> "PreTrainedModel":
        """Load the base model in float32, ready for an adapter, in evaluation mode."""

    def longest(self, model: "Transformer", settings: recipe.Model) -> int:
        """Return the most tokens that a row may have."""

    def fit(self, rows: Sequence[Row], longest: int, split: str) -> Fitting:
        """Encode rows and make them fit into `longest` tokens."""

    def choose_path(self, model: "Transformer", settings: recipe.Train) -> "Path":
        """Choose how losses of `model` are computed from now on, in place."""

    def encode(self, row: Row) -> Sample:
        """Return the tokens of one prepared row, with what is learned of it."""

    def loss(self, model: "Transformer", samples: list[Sample]) -> "LossSum":
        """Return the summed loss in nats and the number of target tokens."""

    def row_losses(self, model: "Transformer", samples: list[Sample]) -> list[float]:
        """Return the summed loss of each sample in nats, without gradients."""
