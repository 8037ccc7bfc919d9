import math

import pytest
import torch

from tailora import recipe
from tailora.tasks.generate import METRICS, Generate, nats_to_bits
from tests.toys import toy_model, toy_samples, toy_tokenizer

TASK = Generate(recipe.Evaluate(), toy_tokenizer())


def test_row_losses_are_the_summed_log_probabilities_of_answer_and_end() -> None:
    model, samples = toy_model(), toy_samples(6)
    for sample, loss in zip(samples, TASK.row_losses(model, samples), strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([sample.tokens])).logits[0].double()
        expected = 0.0
        for position in range(sample.answer_start, len(sample.tokens)):
            row = logits[position - 1]
            expected -= float(row[sample.tokens[position]]) - math.log(sum(math.exp(value) for value in row.tolist()))
        assert loss == pytest.approx(expected, rel=1e-5)


def test_the_training_loss_is_the_sum_of_the_row_losses() -> None:
    model, samples = toy_model(), toy_samples(6)
    total = TASK.loss(model, samples)
    assert total.nats.item() == pytest.approx(sum(TASK.row_losses(model, samples)), rel=1e-5)
    assert total.targets == sum(len(s.tokens) - s.answer_start for s in samples)


def test_a_bit_is_ln_2_nats() -> None:
    assert nats_to_bits(math.log(8)) == pytest.approx(3)


def test_answers_are_run_against_the_tests_of_their_row() -> None:
    row = {"answer": "def f(x):\n    return x + 1", "tests": [{"input": "f(1)", "expected": 2}]}
    right, wrong, text = TASK.score([row] * 3, ["```python\nf = lambda x: 1 + x\n```", "def f(x): return x", "no code"])
    assert [right["passed"], wrong["passed"], text["passed"]] == [True, False, False]
    assert [right["has_fence"], wrong["has_fence"]] == [True, False]
    assert [right["parses"], text["parses"]] == [True, False]
    assert wrong["tests"]["status"] == "failed"


def test_scores_that_do_not_apply_are_absent_and_not_zero() -> None:
    (scores,) = TASK.score([{"answer": "Paris is the capital."}], ["Paris is the capital.  "])
    assert scores["passed"] is None
    assert scores["parses"] is None
    assert scores["exact"] is True
    assert scores["chrf"] > 99


def test_every_metric_reads_a_field_that_scoring_or_likelihood_writes() -> None:
    (scores,) = TASK.score([{"answer": "x = 1"}], ["x = 1"])
    written = {*scores, "nats", "bits", "targets", "bytes"}
    assert {metric.field for metric in METRICS} | {metric.per for metric in METRICS if metric.per} <= written
