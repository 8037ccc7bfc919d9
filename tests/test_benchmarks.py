"""The benchmark runs, and counts what it says it counts."""

import json
import subprocess
import sys

import pytest
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import evaluate
from benchmarks.train_throughput import RANK, draw_samples, flops_needed
from tailora import recipe
from tailora.model.lora import add_lora
from tailora.model.losses import choose_path, token_nats
from tailora.text.chat import Sample
from tests.toys import toy_model


def test_rows_have_the_lengths_that_are_promised() -> None:
    samples = draw_samples(3000, 100)
    prompts = [s.answer_start for s in samples]
    answers = sorted(s.targets for s in samples)
    assert (min(prompts), max(prompts)) == (20, 80)
    assert answers[1500] == pytest.approx(100, rel=0.1)
    assert answers[-1] == 512
    assert sum(answers) / sum(len(s.tokens) for s in samples) == pytest.approx(0.72, abs=0.03)


def test_the_operations_that_cannot_be_avoided_are_fewer_than_torch_counts_and_not_by_much() -> None:
    # Not avoided by us: scores of the half of the square that is masked, and gradients through padding of none.
    samples = [Sample([i % 250 for i in range(128)], [(1, 128)])]
    model = toy_model()
    needed = flops_needed(model, samples) * 128
    model = add_lora(model, recipe.Lora(rank=RANK), 0)
    choose_path(model, "fast")
    with FlopCounterMode(display=False) as counter:
        token_nats(model, samples).nats.sum().backward()
    assert needed * 0.9 < counter.get_total_flops() < needed * 1.3


def test_a_contender_is_measured_in_a_process_of_its_own() -> None:
    line = [sys.executable, "-m", "benchmarks.train_throughput", "--shape", "tailora-tiny", "--contender", "tailora"]
    done = subprocess.run(
        [*line, "--steps", "1", "--batch", "2", "--child"], capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["tokens"] == sum(len(sample.tokens) for sample in draw_samples(4, 4096)[2:])
    assert result["tokens_per_second"] > 0 < result["peak_bytes"]
    assert len(result["losses"]) == 2


def test_evaluation_contenders_find_the_same_on_the_same_rows() -> None:
    model = toy_model()
    samples = [Sample([(7 * place + row) % 250 for place in range(9 + row)], [(4, 9 + row)]) for row in range(3)]
    ours = evaluate.answer_with_tailora(model, samples)
    assert evaluate.agreement("answers", ours, evaluate.answer_with_generate(1)(model, samples)) == 1
    assert evaluate.agreement("answers", ours, [*ours[:2], []]) == pytest.approx(2 / 3)
    assert evaluate.agreement("likelihoods", [1.0, 2.2], [1.0, 2.0]) == pytest.approx(0.1)
