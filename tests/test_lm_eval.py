"""Likelihoods are those of lm-evaluation-harness 0.4.13 on the same texts, asked through its own tasks, to 1e-6."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch

from tailora import recipe
from tailora.data.read import bundled_data, read_general
from tailora.model import load
from tailora.model.lora import add_lora
from tailora.model.losses import choose_path, reading_batches
from tailora.tasks.generate import Generate, Reading, nats_to_bits
from tailora.text.chat import Sample

PAIRS = """\
task: pairs
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}, cache_dir: {cache}}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{{{before}}}}"
doc_to_target: "{{{{after}}}}"
target_delimiter: ""
metric_list: [{{metric: perplexity, aggregation: perplexity, higher_is_better: false}}]
"""
CHOICES = """\
task: choices
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}, cache_dir: {cache}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{endings}}}}"
doc_to_target: 0
target_delimiter: " "
metric_list: [{{metric: acc}}]
"""
TEXTS = """\
task: texts
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}, cache_dir: {cache}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list:
  - metric: word_perplexity
  - metric: byte_perplexity
  - metric: bits_per_byte
"""
Ask = Callable[[str, list[dict[str, Any]], int], Any]


@pytest.fixture(scope="module")
def task() -> Generate:
    return Generate(recipe.Evaluate(), load.load_tokenizer(recipe.Model()))


@pytest.fixture(scope="module")
def model() -> Any:
    """Return the bundled model in float32 with an adapter that says something."""
    model = add_lora(load.load_base(recipe.Model()), recipe.Lora(rank=4), 0).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.02)
    return model


@pytest.fixture
def ask(model: Any, task: Generate, tmp_path: Path) -> Ask:
    """Return a function that lets lm_eval evaluate rows by a task of its own kind, with a model of some length."""
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    def evaluated(template: str, rows: list[dict[str, Any]], max_length: int) -> Any:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "task.yaml").write_text(template.format(path=path, cache=tmp_path / "cache"))
        lm = HFLM(pretrained=model, tokenizer=task.prompts.tokenizer, batch_size=4, max_length=max_length)
        manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
        name = template.split()[1]
        return lm_eval.simple_evaluate(model=lm, tasks=[name], task_manager=manager, bootstrap_iters=0)

    return evaluated


def weigh(model: Any, task: Generate, samples: list[Sample], path: str) -> list[float]:
    """Return the nats of each sample, in packed batches."""
    return [reading.nats for reading in read(model, task, samples, path)]


def read(model: Any, task: Generate, samples: list[Sample], path: str) -> list[Reading]:
    choose_path(model, path)  # type: ignore[arg-type]
    numbers = {id(sample): number for number, sample in enumerate(samples)}
    found: dict[int, Reading] = {}
    for batch in reading_batches(model, samples, 1024):
        readings = task.row_readings(model, batch)
        found |= {numbers[id(sample)]: reading for sample, reading in zip(batch, readings, strict=True)}
    choose_path(model, "plain")
    return [found[number] for number in range(len(samples))]


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_the_likelihood_of_answers_is_that_of_lm_eval(model: Any, task: Generate, ask: Ask, path: str) -> None:
    lines = bundled_data()["python_qa"].read_text("utf-8").splitlines()[::200]
    asked: list[dict[str, str]] = []
    samples: list[Sample] = []
    for row in map(json.loads, lines):
        turns = [{"role": "user", "content": row["instruction"]}]
        before, after = task.prompts.render(turns), row["output"] + task.prompts.tokenizer.eos_token
        sample = task.prompts.encode(turns, row["output"])
        # lm_eval counts the line end before an answer as part of it, since it moves spaces there.
        start = sample.answer_start - 1
        assert task.prompts.tokenizer.decode(sample.tokens[start : start + 1]) == "\n"
        asked.append({"before": before, "after": after})
        samples.append(Sample(sample.tokens, [(start, len(sample.tokens))]))
    results = ask(PAIRS, asked, 1024)
    theirs = [logged["resps"][0][0][0] for logged in sorted(results["samples"]["pairs"], key=lambda s: s["doc_id"])]
    ours = weigh(model, task, samples, path)
    assert len(ours) >= 20
    assert [-nats for nats in ours] == pytest.approx([float(value) for value in theirs], rel=1e-6)
    perplexity = results["results"]["pairs"]["perplexity,none"]
    assert math.exp(sum(ours) / len(ours)) == pytest.approx(perplexity, rel=1e-5)


def test_the_likelihood_of_choices_and_whether_each_is_the_likeliest_text_is_that_of_lm_eval(
    model: Any, task: Generate, ask: Ask
) -> None:
    lines = bundled_data()["python_qa"].read_text("utf-8").splitlines()[:40:2]
    rows = list(map(json.loads, lines))
    # One that is easily guessed, and questions of the bundled data.
    asked: list[dict[str, Any]] = [
        {"question": "for i in range(10):\n    print(i)\n\nfor i in", "endings": ["range", "a"]}
    ]
    for number, row in enumerate(rows):
        words = [rows[(number + step) % len(rows)]["output"].split() for step in range(3)]
        # Endings of several words, one that begins another, two alike and one of a single token.
        endings = [*(" ".join(said[:6]) for said in words), " ".join(words[0][:3]), " ".join(words[0][:6]), "a"]
        asked.append({"question": row["instruction"], "endings": endings})
    encode = task.prompts.tokenizer.encode
    samples = []
    for row in asked:
        start = len(encode(row["question"]))
        for ending in row["endings"]:
            tokens = encode(f"{row['question']} {ending}")
            samples.append(Sample(tokens, [(start, len(tokens))]))
    results = ask(CHOICES, asked, 1024)
    logged = sorted(results["samples"]["choices"], key=lambda s: s["doc_id"])
    theirs = [choice[0] for answered in logged for choice in answered["resps"]]
    ours = read(model, task, samples, "fast")
    assert [-reading.nats for reading in ours] == pytest.approx([float(value) for value, _ in theirs], rel=1e-6)
    guessed = [reading.right == sample.targets for reading, sample in zip(ours, samples, strict=True)]
    assert guessed == [str(greedy) == "True" for _, greedy in theirs]
    assert {True, False} == set(guessed)


@pytest.mark.parametrize("longest", [1024, 65])
def test_the_cost_of_plain_text_is_that_of_lm_eval(model: Any, task: Generate, ask: Ask, longest: int) -> None:
    passages = [passage["text"] for passage in read_general()[::8]]
    cut = [task.prompts.encode_text(text, longest) for text in passages]
    assert (max(map(len, cut)) > 1) is (longest == 65)
    losses = iter(weigh(model, task, [sample for samples in cut for sample in samples], "fast"))
    nats = [sum(next(losses) for _ in samples) for samples in cut]
    results = ask(TEXTS, [{"text": text} for text in passages], longest - 1)["results"]["texts"]
    size, words = sum(len(text.encode()) for text in passages), sum(len(re.split(r"\s+", text)) for text in passages)
    assert nats_to_bits(sum(nats)) / size == pytest.approx(results["bits_per_byte,none"], rel=1e-6)
    assert math.exp(sum(nats) / size) == pytest.approx(results["byte_perplexity,none"], rel=1e-6)
    # The exponential of a sum of many words; its logarithm is what is equal to 1e-6.
    assert sum(nats) / words == pytest.approx(math.log(results["word_perplexity,none"]), rel=1e-6)
