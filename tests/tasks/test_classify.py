"""The task "classify": losses are those of torch and scikit-learn, whatever the batches."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from transformers import AutoModel, DistilBertConfig

from tailora import recipe
from tailora.errors import DataError, RecipeError, RunError
from tailora.files import Row
from tailora.model.classifier import class_logits
from tailora.model.lora import add_lora
from tailora.model.losses import micro_batches
from tailora.recipe import parse_recipe
from tailora.tasks.classify import Classify, class_weights
from tailora.text.chat import Sample
from tailora.text.label_texts import Texts
from tests.toys import toy_tokenizer

NAMES = ["World", "Sports", "Business"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distilbert")
    torch.manual_seed(0)
    config = DistilBertConfig(vocab_size=258, dim=32, hidden_dim=64, n_layers=2, n_heads=4, max_position_embeddings=64)
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


def task(encoder: Path, **train: Any) -> Classify:
    values = {"name": "x", "task": "classify", "data": {"source": "x"}, "model": {"base": str(encoder)}, "train": train}
    return Classify(parse_recipe(values), toy_tokenizer(), NAMES, {"World": 6, "Sports": 3, "Business": 1})


def samples(count: int = 7) -> list[Sample]:
    return [Sample([(7 * i + j) % 256 for j in range(3 + 5 * i % 17)], [], i % 3) for i in range(count)]


def row(text: str, label: str = "World") -> Row:
    return {"where": "a:1", "prompt": [{"role": "user", "content": text}], "answer": label}


def test_the_loss_is_that_of_torch_and_the_sum_of_the_rows(encoder: Path) -> None:
    plain = task(encoder)
    model, rows = plain.load(recipe.Model(base=str(encoder))), samples()
    with torch.no_grad():
        logits = class_logits(model, rows)
        labels = torch.tensor([sample.label for sample in rows])
        total = plain.loss(model, rows)
    assert total.targets == len(rows)
    assert float(total.nats) == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum")))
    assert float(total.nats) == pytest.approx(sum(plain.row_losses(model, rows)), rel=1e-5)


def test_smoothing_and_weights_change_the_loss_as_torch_has_it(encoder: Path) -> None:
    asked = task(encoder, label_smoothing=0.2, class_weights={"Sports": 3})
    model, rows = asked.load(recipe.Model(base=str(encoder))), samples()
    with torch.no_grad():
        chances = class_logits(model, rows).double().log_softmax(-1)
        found = float(asked.loss(model, rows).nats)
    expected = 0.0
    for line, sample in zip(chances, rows, strict=True):
        loss = -(0.8 * float(line[sample.label]) + 0.2 * float(line.mean()))
        expected += loss * (3 if sample.label == 1 else 1)
    assert found == pytest.approx(expected, rel=1e-5)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = [0] * 6 + [1] * 3 + [2]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    found = class_weights("balanced", NAMES, {"World": 6, "Sports": 3, "Business": 1})
    assert found == pytest.approx(expected.tolist())
    assert sum(found[label] for label in labels) == pytest.approx(len(labels))


def test_a_weight_of_no_class_is_refused() -> None:
    with pytest.raises(RecipeError, match='did you mean "Sports"'):
        class_weights({"Sport": 2.0}, NAMES, {})


def together(batches: Iterator[dict[int, Any]]) -> list[Any]:
    """Return what batches hold, by number."""
    found = {number: value for batch in batches for number, value in batch.items()}
    return [found[number] for number in range(len(found))]


def test_batches_that_are_known_are_not_computed_again(encoder: Path) -> None:
    asked = task(encoder, micro_batch_tokens=8)
    model, rows = asked.load(recipe.Model(base=str(encoder))), samples(20)
    whole = list(asked.states(model, rows))
    known = {number for batch in whole[:3] for number in batch} | set(list(whole[3])[:-1])
    assert [list(batch) for batch in asked.states(model, rows, known)] == [list(batch) for batch in whole[3:]]
    assert len(whole) > 5


def test_probabilities_come_in_the_order_of_rows_whatever_the_batches(encoder: Path) -> None:
    small, large = task(encoder, micro_batch_tokens=8), task(encoder, micro_batch_tokens=4096)
    model, rows = small.load(recipe.Model(base=str(encoder))), samples(20)
    found, expected = (together(of.probabilities(model, rows)) for of in (small, large))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(np.sum(found, 1), 1)
    assert [-math.log(line[sample.label]) for line, sample in zip(found, rows, strict=True)] == pytest.approx(
        small.row_losses(model, rows), rel=1e-4
    )


def test_micro_batches_hold_every_row_once_and_pad_little(encoder: Path) -> None:
    asked = task(encoder)
    model = add_lora(asked.load(recipe.Model(base=str(encoder))), recipe.Lora(rank=2), 0)
    assert asked.choose_path(model, recipe.Train()).name == "fast"
    rows = [Sample([1] * (2 + (37 * i) % 120), [], 0) for i in range(200)]
    batches = list(micro_batches(model, rows, 1024))
    assert sorted(map(id, (sample for batch in batches for sample in batch))) == sorted(map(id, rows))
    slots = sum(len(batch) * max(len(sample.tokens) for sample in batch) for batch in batches)
    assert slots < 1.15 * sum(len(sample.tokens) for sample in rows)
    assert all(len(batch) * max(len(sample.tokens) for sample in batch) <= 1024 for batch in batches)


def test_a_text_that_is_too_long_loses_its_end_and_is_counted() -> None:
    texts = Texts(toy_tokenizer(), NAMES)
    fitting = texts.fit([row("abcdefghij"), row("ab", "Sports")], 6, "train")
    assert [len(sample.tokens) for sample in fitting.samples] == [6, 2]
    assert texts.tokenizer.decode(fitting.samples[0].tokens) == "abcdef"
    assert [sample.label for sample in fitting.samples] == [0, 1]
    budget = fitting.budget
    assert (budget.shortened, budget.cut, budget.tokens, budget.longest, budget.rows) == (1, 4, 8, 10, 2)


def test_special_tokens_in_a_text_are_text() -> None:
    texts = Texts(toy_tokenizer(), NAMES)
    assert texts.tokenizer.eos_token_id not in texts.encode(row("a <end> b")).tokens


def test_a_text_without_tokens_is_refused() -> None:
    with pytest.raises(DataError, match="a:1: the tokenizer makes no token"):
        Texts(toy_tokenizer(), NAMES).encode(row(""))


def test_a_length_that_leaves_no_token_is_refused() -> None:
    with pytest.raises(RunError, match="leaves no token"):
        Texts(toy_tokenizer(), NAMES).fit([row("abc")], 0, "train")


def test_another_order_of_classes_has_another_fingerprint() -> None:
    assert Texts(toy_tokenizer(), NAMES).fingerprint() != Texts(toy_tokenizer(), NAMES[::-1]).fingerprint()
