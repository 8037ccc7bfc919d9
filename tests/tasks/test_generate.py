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


def test_the_tokens_found_likeliest_are_those_of_the_largest_logit() -> None:
    model, samples = toy_model(), toy_samples(6)
    for sample, reading in zip(samples, TASK.row_readings(model, samples), strict=True):
        with torch.no_grad():
            guesses = model(input_ids=torch.tensor([sample.tokens])).logits[0].argmax(-1).tolist()
        learned = range(sample.answer_start, len(sample.tokens))
        assert reading.right == sum(guesses[place - 1] == sample.tokens[place] for place in learned)


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
    written = {*scores, "nats", "bits", "targets", "bytes", "right", "finish"}
    assert {metric.field for metric in METRICS} | {metric.per for metric in METRICS if metric.per} <= written


def test_code_without_tests_is_run_and_missing_modules_stand_apart() -> None:
    rows = [{"answer": "print(1)"}] * 5
    answers = ["print(2)", "print(undefined)", "import no_such_module", "raise SystemExit(3)", ""]
    found = [(score["runs"], score["lacks_module"]) for score in TASK.score(rows, answers)]
    assert found == [(True, False), (False, False), (None, True), (False, False), (False, False)]
    (tested,) = TASK.score([{"answer": "x = 1", "tests": [{"input": "x", "expected": 1}]}], ["x = 1"])
    assert (tested["passed"], tested["runs"], tested["lacks_module"]) == (True, None, None)
    (prose,) = TASK.score([{"answer": "Paris is the capital."}], ["print(1)"])
    assert prose["runs"] is None


def test_prose_is_scored_as_prose_and_code_as_code() -> None:
    (text,) = TASK.score([{"answer": "The capital is Paris."}], ["It is the capital, Paris!"])
    assert text["token_f1"] == pytest.approx(2 * 3 / 7) and text["squad_exact"] is False
    assert 0 < text["rouge_l"] < 1 and text["same_program"] is None
    (code,) = TASK.score([{"answer": "```python\ndef f(x):\n    return x\n```"}], ["def f(y):\n    return y"])
    assert code["same_program"] is True and code["exact"] is False and code["token_f1"] is None
    (label,) = TASK.score([{"answer": "positive"}], ["negative"])  # parses as Python, and is none
    assert label["parses"] is None and label["squad_exact"] is False


def test_what_explains_a_regression_is_scored() -> None:
    row = {"answer": "four", "prompt": [{"role": "user", "content": "Say the word that follows three, please."}]}
    echo, empty, loop = TASK.score([row] * 3, ["Say the word that follows three, please", " \n", "so it goes on " * 9])
    assert [score["echoes"] for score in (echo, empty, loop)] == [True, False, False]
    assert [score["empty"] for score in (echo, empty, loop)] == [False, True, False]
    assert empty["repetition"] is None and loop["repetition"] > 0.8
    assert (echo["length"], echo["reference_length"]) == (39, 4)


def test_sampled_answers_are_run_and_make_pass_at_k() -> None:
    task = Generate(recipe.Evaluate(samples=5), toy_tokenizer())
    rows = [{"answer": "f = lambda: 1", "tests": [{"input": "f()", "expected": 1}]}, {"answer": "no tests"}]
    right, wrong = "f = lambda: 1", "f = lambda: 2"
    tested, free = task.score(rows, [wrong, ""], [[right, wrong, right, wrong, wrong], [""] * 5])
    assert tested["passed"] is False and tested["sampled_passed"] == 2
    assert tested["samples"] == [right, wrong, right, wrong, wrong]
    assert free["sampled_passed"] is None
    by_name = {metric.name: metric for metric in task.metrics}
    assert by_name["sampled pass@1"].value(tested) == pytest.approx(2 / 5)
    assert by_name["sampled pass@5"].value(tested) == pytest.approx(1)
    assert by_name["sampled pass@5"].value(free) is None


@pytest.mark.parametrize(("samples", "ks"), [(0, []), (1, [1]), (3, [1, 3]), (7, [1, 5]), (20, [1, 5, 10])])
def test_pass_at_k_is_told_for_the_usual_k(samples: int, ks: list[int]) -> None:
    names = [metric.name for metric in Generate(recipe.Evaluate(samples=samples), toy_tokenizer()).metrics]
    assert [name for name in names if name.startswith("sampled")] == [f"sampled pass@{k}" for k in ks]


def test_topic_and_domain_go_along_with_the_scores() -> None:
    (score,) = TASK.score([{"answer": "x", "topic": "lists", "domain": "code"}], ["x"])
    assert (score["topic"], score["domain"]) == ("lists", "code")
