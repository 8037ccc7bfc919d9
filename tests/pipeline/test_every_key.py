"""Every key of the recipe has an effect: changing it alone changes the files of its stage, and none before."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tailora.errors import ModelError
from tailora.pipeline import evaluate, prepare, train
from tailora.recipe import Recipe
from tailora.run import Run
from tailora.text.batching import packed_batches, padded_batches
from tailora.text.chat import Sample
from tests.kernels import without
from tests.toys import save_toy

MakeRecipe = Callable[..., Recipe]

PREPARED, ADAPTER = "prepare/train.jsonl", "train/adapter/adapter_model.safetensors"
PREDICTED = "evaluate/tuned/predictions.jsonl"
# key → another value than the plain recipe's, the file that must change, and one that must not.
EFFECTS: dict[str, tuple[Any, str, str | None]] = {
    "data.source": ("fewer.jsonl", PREPARED, None),
    "data.limit": (40, PREPARED, None),
    "data.prompt": ("other_question", PREPARED, None),
    "data.input": ("note", PREPARED, None),
    "data.answer": ("other_answer", PREPARED, None),
    "data.group": ("author", PREPARED, None),
    "data.holdout": ("author", PREPARED, None),
    "data.val": (0.3, PREPARED, None),
    "data.test": (0.3, PREPARED, None),
    "data.seed": (1, PREPARED, None),
    "model.base": ("toy-1", ADAPTER, PREPARED),
    "model.dtype": ("bfloat16", ADAPTER, PREPARED),
    "model.max_length": (96, ADAPTER, PREPARED),
    "lora.rank": (2, ADAPTER, PREPARED),
    "lora.alpha": (8.0, ADAPTER, PREPARED),
    "lora.dropout": (0.5, ADAPTER, PREPARED),
    "lora.targets": (["q_proj"], ADAPTER, PREPARED),
    "lora.method": ("rslora", ADAPTER, PREPARED),
    "lora.init": ("pissa", ADAPTER, PREPARED),
    "lora.lora_plus_ratio": (16.0, ADAPTER, PREPARED),
    "lora.last_layers": (1, ADAPTER, PREPARED),
    "train.epochs": (3, ADAPTER, PREPARED),
    "train.lr": (1e-3, ADAPTER, PREPARED),
    "train.batch_size": (5, ADAPTER, PREPARED),
    "train.warmup": (0.5, ADAPTER, PREPARED),
    "train.weight_decay": (0.5, ADAPTER, PREPARED),
    "train.max_grad_norm": (1e-9, ADAPTER, PREPARED),
    "train.seed": (1, ADAPTER, PREPARED),
    "train.schedule": ("constant", ADAPTER, PREPARED),
    "evaluate.max_new_tokens": (3, PREDICTED, ADAPTER),
    "evaluate.rows": (5, PREDICTED, ADAPTER),
    "evaluate.general_passages": (1, "evaluate/tuned/general.jsonl", ADAPTER),
    "evaluate.primary": ("chrF", "evaluate/comparison.json", PREDICTED),
}
ELSEWHERE = {
    "data.weights": "repeats training rows, in test_prepare",
    "data.strict": "changes no file: it refuses, in test_prepare",
    "name": "names the folder of the run, in test_run",
    "task": "below, with the keys of labels",
    "data.label": "below",
    "data.labels": "below",
    "train.class_weights": "below",
    "train.label_smoothing": "below",
    "model.trust_remote_code": "below",
    "model.quantize": "holds the base in 4 bits, in model/test_quantized",
    "train.micro_batch_tokens": "below: it must not change the result",
    "train.patience": "stops a training, in model/test_fit",
    "train.save_minutes": "decides when checkpoints are made, in model/test_fit; no result depends on it",
    "train.trackers": "sends the log elsewhere, in test_track; no result depends on it",
    "train.kernels": "below: it must not change the result",
    "train.gradient_checkpointing": "below: it must not change the result",
    "train.memory_mb": "refuses a training that needs more, in model/test_trial; no result depends on it",
    "train.processes": "must be the number that was started, in test_devices",
    "train.shard": "splits the base over processes, in test_devices; it must not change the result",
    "evaluate.batch_size": "below: it must not change the result",
    "evaluate.test_seconds": "below",
    "evaluate.test_memory_mb": "below",
    "evaluate.unsafe_exec": "below",
    "evaluate.metrics": "adds scores, in tasks/test_own",
    **dict.fromkeys(("evaluate.samples", "evaluate.temperature", "evaluate.seed"), "below"),
    "evaluate.prompts": "asks more, and changes nothing of the rest, in test_evaluate",
}


def digest(run: Path, file: str) -> str:
    return hashlib.sha256((run / file).read_bytes()).hexdigest()


def test_every_key_stands_in_a_test(make_recipe: MakeRecipe) -> None:
    assert set(EFFECTS) | set(ELSEWHERE) == set(make_recipe().keys())


@pytest.mark.parametrize("key", EFFECTS)
def test_a_key_changes_its_stage_and_none_before(
    key: str, make_recipe: MakeRecipe, finished: Path, workshop: Path, tmp_path: Path
) -> None:
    value, changed, kept = EFFECTS[key]
    if key in ("data.source", "model.base"):
        value = str(workshop / value)
    asked = make_recipe(**{key: value})
    (prepare if changed == PREPARED else evaluate)(Run.open(asked, tmp_path))
    assert digest(tmp_path / "toy", changed) != digest(finished, changed)
    if kept:
        assert digest(tmp_path / "toy", kept) == digest(finished, kept)


def test_micro_tokens_bound_a_forward_pass() -> None:
    samples = [Sample([0] * length, [(1, length)]) for length in (5, 9, 30, 30, 7)]
    padded = [len(batch) * max(len(s.tokens) for s in batch) for batch in padded_batches(samples, 60)]
    packed = [sum(len(s.tokens) for s in batch) for batch in packed_batches(samples, 60)]
    assert max(padded) <= 60 < sum(padded)
    assert max(packed) <= 60 < sum(packed)


@pytest.mark.parametrize("key, value", [("train.kernels", "plain"), ("train.gradient_checkpointing", True)])
def test_a_key_of_speed_changes_the_way_and_not_the_adapter(
    key: str, value: Any, make_recipe: MakeRecipe, finished: Path, tmp_path: Path
) -> None:
    train(Run.open(make_recipe(**{key: value}), tmp_path))
    facts = json.loads((tmp_path / "toy" / "train" / "stage.json").read_text())
    assert facts["path"]["name"] == ("plain" if value == "plain" else "fast")
    adapters = [load_file(run / ADAPTER) for run in (finished, tmp_path / "toy")]
    for name, weight in adapters[0].items():
        torch.testing.assert_close(adapters[1][name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("key", ["evaluate.batch_size"])
def test_a_key_of_speed_changes_no_answer(key: str, make_recipe: MakeRecipe, finished: Path, tmp_path: Path) -> None:
    evaluate(Run.open(make_recipe(**{key: 2}), tmp_path))
    outputs = [
        [json.loads(line)["output"] for line in (run / PREDICTED).read_text().splitlines()]
        for run in (finished, tmp_path / "toy")
    ]
    assert outputs[0] == outputs[1]


def test_keys_of_drawn_answers_change_those_and_nothing_else(
    make_recipe: MakeRecipe, finished: Path, tmp_path: Path
) -> None:
    def rows(**changes: Any) -> list[dict[str, Any]]:
        asked = make_recipe(**{f"evaluate.{key}": value for key, value in changes.items()})
        root = tmp_path / "-".join(map(str, changes.values()))
        shutil.copytree(finished, root / "toy")
        Run.open(asked, root, fresh=True)
        evaluate(Run.open(asked, root))
        return [json.loads(line) for line in (root / "toy" / PREDICTED).read_text().splitlines()]

    two, four = rows(samples=2), rows(samples=4)
    others = [rows(samples=2, temperature=0.1), rows(samples=2, seed=1)]
    assert [row["samples"] for row in two] == [row["samples"][:2] for row in four]
    greedy = [json.loads(line)["output"] for line in (finished / PREDICTED).read_text().splitlines()]
    for changed in (two, *others):
        assert [row["output"] for row in changed] == greedy
        assert all(len(row["samples"]) == 2 and row["sampled_passed"] in (0, 1, 2) for row in changed)
    for changed in others:
        assert [row["samples"] for row in changed] != [row["samples"] for row in two]


def score(make_recipe: MakeRecipe, code: str, **changes: Any) -> Any:
    from tailora.tasks.generate import Generate
    from tests.toys import toy_tokenizer

    task = Generate(make_recipe(**changes).evaluate, toy_tokenizer())
    (row,) = task.score([{"answer": "x = 1", "tests": [{"input": "f()", "expected": 1}]}], [code])
    return row["passed"]


def test_test_seconds_bound_a_program(make_recipe: MakeRecipe) -> None:
    slow = "def f():\n    import time\n    time.sleep(1.5)\n    return 1"
    assert score(make_recipe, slow, **{"evaluate.test_seconds": 20}) is True
    assert score(make_recipe, slow, **{"evaluate.test_seconds": 1}) is False


def test_test_memory_bounds_a_program(make_recipe: MakeRecipe) -> None:
    large = "def f():\n    return len(bytearray(200 * 2**20)) // (200 * 2**20)"
    assert score(make_recipe, large, **{"evaluate.test_memory_mb": 512}) is True
    assert score(make_recipe, large, **{"evaluate.test_memory_mb": 100}) is False


def test_unsafe_exec_runs_programs_where_no_sandbox_holds(tmp_path: Path) -> None:
    # A kernel without Landlock (its first call has number 444 everywhere), and no bubblewrap to be found.
    script = f"""{without(444, 38)}
from tailora import recipe
from tailora.tasks.generate import Generate
from tests.toys import toy_tokenizer
row = {{"answer": "x = 1", "tests": [{{"input": "f()", "expected": 1}}]}}
for allowed in (False, True):
    task = Generate(recipe.Evaluate(unsafe_exec=allowed), toy_tokenizer())
    (score,) = task.score([row], ["f = lambda: 1"])
    print(score["passed"], score["tests"]["detail"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
    )  # fmt: skip
    refused, allowed = done.stdout.splitlines()
    assert refused.startswith("None no sandbox") and "--unsafe-exec" in refused
    assert allowed.startswith("True")


def test_a_model_runs_its_own_code_only_when_that_is_allowed(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    base = save_toy(tmp_path / "base")
    witness = tmp_path / "witness"
    (base / "custom.py").write_text(
        f"open({str(witness)!r}, 'w').close()\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class Configured(LlamaConfig):\n    model_type = 'stranger'\n"
        "class Stranger(LlamaForCausalLM):\n    config_class = Configured\n"
    )
    config = json.loads((base / "config.json").read_text())
    config |= {
        "model_type": "stranger",
        "auto_map": {"AutoConfig": "custom.Configured", "AutoModelForCausalLM": "custom.Stranger"},
    }
    (base / "config.json").write_text(json.dumps(config))
    asked = {"model.base": str(base)}
    with pytest.raises(ModelError):
        evaluate(Run.open(make_recipe(**asked), tmp_path / "off"))
    assert not witness.exists()
    evaluate(Run.open(make_recipe(**asked, **{"model.trust_remote_code": True}), tmp_path / "on"))
    assert witness.exists()
