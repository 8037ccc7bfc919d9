"""The task "classify": an encoder or causal language model with a head learns to label texts."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tailora import recipe
from tailora.data.rows import question
from tailora.errors import RecipeError, did_you_mean
from tailora.files import Row, fingerprint
from tailora.measure.classification import f1_counts, macro_f1, weighted_f1
from tailora.model.classifier import choose_classifier_path, class_logits, load_classifier, longest_row, mean_states
from tailora.model.load import Transformer
from tailora.model.losses import LossSum, Path, micro_batches
from tailora.tasks.base import Metric, with_primary
from tailora.text.batching import results_by_number
from tailora.text.chat import Sample
from tailora.text.label_texts import Texts
from tailora.text.length_budget import Fitting

T = TypeVar("T")


def _counts(row: Row) -> list[int]:
    return f1_counts(row["label"], row["predicted"], len(row["probabilities"]))


METRICS = (
    Metric(
        "accuracy", "binary", "right", True, meaning="the likeliest label is that of the row",
        decides="the share of texts that get their label",
    ),
    Metric(
        "macro F1", "corpus", "label", True, read=_counts, transform=macro_f1, share=True,
        meaning="F1 of each label, each label counting alike",
    ),
    Metric(
        "weighted F1", "corpus", "label", True, read=_counts, transform=weighted_f1, share=True,
        meaning="F1 of each label, each counting by its rows",
    ),
    Metric("NLL", "mean", "nats", False, meaning="nats to encode the label of a row: −ln of its probability"),
    Metric("Brier", "mean", "brier", False, meaning="squared distance of the probabilities from the label, 0 to 2"),
)  # fmt: skip


class Classify:
    """Labels of texts: a loss on the right label, and a probability for every label."""

    def __init__(
        self, asked: recipe.Recipe, tokenizer: PreTrainedTokenizerBase, names: Sequence[str], rows: dict[str, int]
    ) -> None:
        """Take the classes in order, and the number of training rows of each."""
        self.prompts = Texts(tokenizer, names)
        self.metrics: Sequence[Metric] = with_primary(METRICS, asked.evaluate.primary)
        self._asked = asked
        self._weights = class_weights(asked.train.class_weights, names, rows)

    @property
    def names(self) -> list[str]:
        """The classes in order."""
        return self.prompts.names

    def load(self, settings: recipe.Model) -> PreTrainedModel:
        """Load the base model with an untrained head."""
        return load_classifier(settings, self.names, self.prompts.tokenizer.pad_token_id, self._asked.train.seed)

    def longest(self, model: Transformer, settings: recipe.Model) -> int:
        """Return the most tokens that a row may have."""
        return longest_row(model, self.prompts.tokenizer, settings)

    def fit(self, rows: Sequence[Row], longest: int, split: str) -> Fitting:
        """Encode rows and cut them to `longest` tokens."""
        return self.prompts.fit(rows, longest, split)

    def choose_path(self, model: Transformer, settings: recipe.Train) -> Path:
        """Choose how results are computed: with fused LoRA layers where that gives the same numbers."""
        return choose_classifier_path(model, settings.kernels)

    def encode(self, row: Row) -> Sample:
        """Return the tokens of a prepared row and the number of its class."""
        return self.prompts.encode(row)

    def loss(self, model: Transformer, samples: list[Sample]) -> LossSum:
        """Return the summed loss of the labels, smoothed and weighted as the recipe asks, and the number of rows.

        A row weighs what its own label does; the weights of "balanced" have mean 1 over the training rows, so rates
        and norms keep their meaning.
        """
        logits = class_logits(model, samples)
        labels = torch.tensor([sample.label for sample in samples], device=logits.device)
        smoothing = self._asked.train.label_smoothing
        nats = torch.nn.functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        weights = torch.tensor(self._weights, device=logits.device)[labels]
        return LossSum((nats * weights).sum(), len(samples))

    def row_losses(self, model: Transformer, samples: list[Sample]) -> list[float]:
        """Return −ln p of the label of each sample, in nats, neither smoothed nor weighted."""
        with torch.inference_mode():
            chances = class_logits(model, samples).double().log_softmax(-1)
        return [-float(chances[place, sample.label]) for place, sample in enumerate(samples)]

    def probabilities(
        self, model: Transformer, samples: Sequence[Sample], known: Container[int] = ()
    ) -> Iterator[dict[int, list[float]]]:
        """Yield the probability of each class for the samples by number, batch by batch but for those `known`."""
        return self._in_batches(
            model, samples, known, lambda part: class_logits(model, part).double().softmax(-1).tolist()
        )

    def states(
        self, model: Transformer, samples: Sequence[Sample], known: Container[int] = ()
    ) -> Iterator[dict[int, NDArray[np.float32]]]:
        """Yield what the backbone makes of the samples likewise: the mean of its last states over tokens [width]."""
        return self._in_batches(model, samples, known, lambda part: mean_states(model, part).cpu().numpy())

    def _in_batches(
        self,
        model: Transformer,
        samples: Sequence[Sample],
        known: Container[int],
        compute: Callable[[list[Sample]], Iterable[T]],
    ) -> Iterator[dict[int, T]]:
        """Yield what `compute` gives for batches of similar length; those that are `known` as a whole are left out."""
        batches = micro_batches(model, samples, self._asked.train.micro_batch_tokens)
        return results_by_number(samples, batches, known, torch.inference_mode()(compute))

    def text_hash(self, row: Row) -> str:
        """Return a hash of what the model reads of a row."""
        return fingerprint(question(row))


def class_weights(
    asked: Literal["balanced"] | dict[str, float] | None, names: Sequence[str], rows: dict[str, int]
) -> list[float]:
    """Return how much a row of each class counts; "balanced" is rows / (classes · its rows), as in scikit-learn.

    Raises:
        RecipeError: when a weight names no class.
    """
    if asked is None:
        return [1.0] * len(names)
    if asked == "balanced":
        learned = {name: count for name, count in rows.items() if count}
        total = sum(learned.values())
        return [total / (len(learned) * learned[name]) if name in learned else 0.0 for name in names]
    strangers = [name for name in asked if name not in names]
    if strangers:
        raise RecipeError(
            f"train.class_weights names {strangers[0]!r}{did_you_mean(strangers[0], names)}; the labels are "
            f"{', '.join(names)}."
        )
    return [float(asked.get(name, 1.0)) for name in names]
