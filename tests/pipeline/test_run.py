import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from sacrebleu.metrics.chrf import CHRF
from transformers import AutoModelForCausalLM

from tailora.errors import DataError, ModelError, RunError
from tailora.evaluation.compare import compare
from tailora.pipeline import evaluate, prepare, report, train
from tailora.recipe import Recipe, describe_recipe, load_recipe
from tailora.run import Run
from tailora.tasks.generate import METRICS
from tests.rows import read, write
from tests.runs import every_stage
from tests.toys import save_toy

MakeRecipe = Callable[..., Recipe]


def test_a_run_leaves_every_file_that_the_design_names(finished: Path) -> None:
    for file in (
        "recipe.toml", "run.json",
        "prepare/train.jsonl", "prepare/val.jsonl", "prepare/test.jsonl", "prepare/card.json",
        "train/adapter/adapter_config.json", "train/adapter/adapter_model.safetensors", "train/adapter/README.md",
        "train/adapter/tokenizer.json", "train/log.jsonl",
        "evaluate/base/predictions.jsonl", "evaluate/tuned/predictions.jsonl", "evaluate/base/scores.json",
        "evaluate/comparison.json", "report/report.html", "report/report.md",
        "report/figures/loss.svg", "report/figures/loss.png", "report/figures/loss.csv",
    ):  # fmt: skip
        assert (finished / file).stat().st_size > 0, file
    assert not list(finished.glob("*.partial"))
    stages = read(finished / "run.json")["stages"]
    assert list(stages) == ["prepare", "train", "evaluate", "report"]
    assert all(stage["seconds"] >= 0 and stage["peak_memory_bytes"] > 0 for stage in stages.values())


def test_rows_read_are_rows_kept_plus_rows_dropped(finished: Path) -> None:
    card = read(finished / "prepare" / "card.json")
    assert card["rows"] == {"read": 60, "kept": 60, "dropped": 0}
    assert sum(card["splits"].values()) == 60
    assert sum(card["slices"].values()) == card["splits"]["test"]


def test_every_aggregate_can_be_recomputed_from_the_predictions(finished: Path) -> None:
    comparison = read(finished / "evaluate" / "comparison.json")
    both = {side: read(finished / "evaluate" / side / "predictions.jsonl") for side in ("base", "tuned")}
    assert [row["id"] for row in both["base"]] == [row["id"] for row in both["tuned"]]
    test = {row["id"]: row for row in read(finished / "prepare" / "test.jsonl")}
    for side, rows in both.items():
        scores = read(finished / "evaluate" / side / "scores.json")
        by_hand = {
            "pass@1": sum(row["passed"] for row in rows) / len(rows),
            "answer NLL": sum(row["nats"] for row in rows) / sum(row["targets"] for row in rows),
            "bits per byte": sum(row["bits"] for row in rows) / sum(row["bytes"] for row in rows),
            "chrF": CHRF()
            .corpus_score([row["output"] for row in rows], [[test[row["id"]]["answer"] for row in rows]])
            .score,
            "token accuracy": sum(row["right"] for row in rows) / sum(row["targets"] for row in rows),
        }
        for name, value in by_hand.items():
            (entry,) = [m for m in comparison["metrics"] if (m["metric"], m["slice"]) == (name, "all")]
            assert scores[name] == pytest.approx(value)
            assert entry[side] == pytest.approx(value)


def test_tuned_is_measurably_likelier_on_what_it_was_trained_for(finished: Path) -> None:
    comparison = read(finished / "evaluate" / "comparison.json")
    (entry,) = [m for m in comparison["metrics"] if (m["metric"], m["slice"]) == ("bits per byte", "all")]
    assert entry["verdict"] == "better"
    assert entry["high"] < 0


def test_base_against_base_shows_no_difference(finished: Path) -> None:
    rows = read(finished / "evaluate" / "base" / "predictions.jsonl")
    comparison = compare(METRICS, rows, rows)
    assert {entry["verdict"] for entry in comparison["metrics"]} == {"no detectable difference"}
    assert {entry["difference"] for entry in comparison["metrics"]} == {0.0}


def test_sides_that_answered_other_questions_are_not_compared(finished: Path) -> None:
    rows = read(finished / "evaluate" / "base" / "predictions.jsonl")
    with pytest.raises(RunError, match="same questions"):
        compare(METRICS, rows, rows[::-1])


def test_plain_peft_loads_the_adapter_and_the_best_validation_loss_is_real(finished: Path, workshop: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(workshop / "toy-0", dtype=torch.float32)
    model = PeftModel.from_pretrained(base, finished / "train" / "adapter").eval()
    nats, targets = 0.0, 0
    for row in read(finished / "prepare" / "val.jsonl"):  # the plain template, spelled out
        prompt = f"### Question\n{row['prompt'][0]['content']}\n\n### Answer\n".encode()
        answer = row["answer"].encode()
        tokenizer = json.loads((finished / "train" / "adapter" / "tokenizer.json").read_text())
        numbers = tokenizer["model"]["vocab"]
        ids = [numbers[letter] for letter in map(_byte_letter, prompt + answer)] + [256]
        labels = [-100] * len(prompt) + ids[len(prompt) :]
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
        nats, targets = nats + float(loss) * (len(answer) + 1), targets + len(answer) + 1
    assert read(finished / "train" / "stage.json")["fitted"]["best_val_loss"] == pytest.approx(nats / targets, rel=1e-4)


def _byte_letter(byte: int) -> str:
    """Return the letter that stands for a byte in byte-level tokenizers; printable ASCII stands for itself."""
    return chr(byte) if 33 <= byte <= 126 else chr(256 + byte if byte <= 32 else -1)


def test_a_finished_run_is_not_done_again(finished: Path, make_recipe: MakeRecipe) -> None:
    watched = [*finished.glob("prepare/*"), *finished.glob("train/**/*"), *finished.glob("evaluate/**/*")]
    before = {path: path.stat().st_mtime_ns for path in watched}
    every_stage(make_recipe(), finished.parent)
    assert {path: path.stat().st_mtime_ns for path in watched} == before


def test_two_runs_of_one_recipe_are_equal(finished: Path, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    evaluate(Run.open(make_recipe(), tmp_path))
    for file in ("prepare/train.jsonl", "prepare/test.jsonl", "train/adapter/adapter_model.safetensors",
                 "evaluate/tuned/predictions.jsonl", "evaluate/comparison.json"):  # fmt: skip
        assert (tmp_path / "toy" / file).read_bytes() == (finished / file).read_bytes(), file


def test_changed_data_is_not_mixed_into_a_run(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    asked = make_recipe()
    source.write_bytes(Path(asked.data.source).read_bytes())
    asked = make_recipe(**{"data.source": str(source)})
    prepare(Run.open(asked, tmp_path / "runs"))
    with source.open("a") as file:
        file.write('{"id": "new", "instruction": "x", "input": "", "output": "y", "family": "add", "author": "z"}\n')
    with pytest.raises(RunError, match=r"rows\.jsonl has changed.*--fresh"):
        prepare(Run.open(asked, tmp_path / "runs"))


def test_an_adapter_is_not_evaluated_on_another_base_of_the_same_shape(
    make_recipe: MakeRecipe, workshop: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for file in (workshop / "toy-0").iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    asked = make_recipe(**{"model.base": str(base)})
    train(Run.open(asked, tmp_path / "runs"))
    (base / "model.safetensors").write_bytes((workshop / "toy-1" / "model.safetensors").read_bytes())
    with pytest.raises(RunError, match="but the base model has changed"):
        evaluate(Run.open(asked, tmp_path / "runs"))


def test_rows_that_do_not_fit_are_counted_and_none_fitting_is_refused(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    train(Run.open(make_recipe(**{"model.max_length": 95}), tmp_path))
    tokens = read(tmp_path / "toy" / "train" / "stage.json")["tokens"]
    rows = len(read(tmp_path / "toy" / "prepare" / "train.jsonl"))
    assert 0 < tokens["train"]["too_long"] < rows and tokens["train"]["shortened"] > 0
    assert tokens["train"]["rows"] + tokens["train"]["too_long"] == rows
    with pytest.raises(RunError, match=r"0 of \d+ train rows fit into max_length = 16 tokens; the shortest has \d+"):
        train(Run.open(make_recipe(name="none", **{"model.max_length": 16}), tmp_path))
    assert not (tmp_path / "none" / "train").exists()


def test_report_needs_an_evaluation(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="tailora prepare"):
        report(Run.open(make_recipe(), tmp_path))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_training_leaves_no_finished_stage_and_the_next_start_is_clean(
    finished: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = tmp_path / "toy.toml"
    recipe.write_text(describe_recipe(make_recipe()))
    command = [sys.executable, "-m", "tailora", "train", str(recipe), "--runs", str(tmp_path / "runs")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = tmp_path / "runs" / "toy" / "train.partial" / "log.jsonl"
    for _ in range(1200):
        if log.exists() and process.poll() is None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "runs" / "toy" / "train").exists()
    train(Run.open(make_recipe(), tmp_path / "runs"))
    adapter = "toy/train/adapter/adapter_model.safetensors"
    assert (tmp_path / "runs" / adapter).read_bytes() == (finished.parent / adapter).read_bytes()


class _Active(HTMLParser):
    """Collects every tag and attribute that could run or load something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "link", "form", "base", "svg"):
            self.found.append(tag)
        self.found += [f"{tag} {k}={v}" for k, v in attrs if k.startswith("on") or "javascript:" in (v or "")]
        self.found += [
            f"{tag} {k}" for k, v in attrs if k in ("src", "href") and not (v or "").startswith("data:image/")
        ]


def test_a_data_set_of_payloads_leaves_no_active_content_in_the_report(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    payload = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`{{7*7}}</pre>\x1b[31m```\n# heading $x^2$"
    rows = [
        {"id": f"{payload}{i}", "instruction": f"{payload} {i}", "input": payload, "output": f"{payload} {i} " * 3,
         "topic": f"{payload}{i % 3}", "family": f"{payload}{i % 4}", "tests": [{"input": payload, "expected": 1}]}
        for i in range(40)
    ]  # fmt: skip
    source = write(tmp_path / "payload.jsonl", rows)
    page = every_stage(
        make_recipe(**{"data.source": source, "model.max_length": 1024, "train.epochs": 1}), tmp_path / "runs"
    )
    html = page.read_text("utf-8")
    parser = _Active()
    parser.feed(html)
    assert parser.found == []
    assert "&lt;script&gt;" in html  # the payload is shown, as text
    assert "default-src 'none'" in html
    assert "{{7*7}}" in html  # and never evaluated
    assert "\x1b" not in (page.parent / "report.md").read_text() + html
    assert _outside_fences((page.parent / "report.md").read_text()).replace("\\<", "").count("<script") == 0


def _outside_fences(markdown: str) -> str:
    """Return what a Markdown reader would not take for code (CommonMark 0.31, section 4.5)."""
    outside, fence = [], ""
    for line in markdown.split("\n"):
        ticks = line[: len(line) - len(line.lstrip("`"))]
        if fence:
            fence = "" if line.strip("` ") == "" and len(ticks) >= len(fence) else fence
        elif len(ticks) >= 3:
            fence = ticks
        else:
            outside.append(line)
    return "\n".join(outside)


def test_forgetting_is_the_paired_cost_of_the_general_text(finished: Path, workshop: Path) -> None:
    entries = read(finished / "evaluate" / "comparison.json")["forgetting"]
    assert [entry["slice"] for entry in entries] == ["all", "code", "english", "german"] * 2
    assert {entry["metric"] for entry in entries[4:]} == {"general text, tokens"}
    base = read(finished / "evaluate" / "base" / "general.jsonl")
    assert entries[0]["base"] == pytest.approx(sum(row["bits"] for row in base) / sum(row["bytes"] for row in base))
    # A toy model with random weights and one token a byte knows nothing: about log2(258) bits a byte.
    assert entries[0]["base"] == pytest.approx(math.log2(258), rel=0.05)
    assert entries[0]["forgotten"] == pytest.approx(entries[0]["tuned"] / entries[0]["base"] - 1)


def test_more_than_one_row_in_twenty_unusable_stops_and_repeats_do_not_count(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    rows = [{"prompt": f"question {i}", "completion": f"answer {i}"} for i in range(100)]

    def written(chosen: list[dict[str, str]]) -> Recipe:
        return make_recipe(**{"data.source": write(tmp_path / "rows.jsonl", chosen), "data.holdout": ""})

    prepare(Run.open(written(rows + rows), tmp_path / "doubled"))
    assert read(tmp_path / "doubled" / "toy" / "prepare" / "card.json")["rows"]["dropped"] == 100
    prepare(
        Run.open(written(rows + [{"prompt": f"no answer {i}", "completion": ""} for i in range(5)]), tmp_path / "few")
    )
    with pytest.raises(
        DataError, match=r"6 of 106 rows cannot be used, more than 5%: 6 empty answer \(.*rows\.jsonl:101"
    ):
        prepare(
            Run.open(
                written(rows + [{"prompt": f"no answer {i}", "completion": ""} for i in range(6)]), tmp_path / "many"
            )
        )


def test_a_run_over_several_sources_reports_them_with_their_domains(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    asked = make_recipe()
    rows = Path(asked.data.source).read_text().splitlines(keepends=True)
    (tmp_path / "one.jsonl").write_text("".join(rows[:30]))
    (tmp_path / "two.jsonl").write_text("".join(rows[30:]))
    sources = {"<first>": str(tmp_path / "one.jsonl"), "second": str(tmp_path / "two.jsonl")}
    asked = make_recipe(**{"data.source": sources, "data.weights": {"second": 2}, "train.epochs": 1})
    page = every_stage(asked, tmp_path / "runs")
    assert (page.parent / "figures" / "domains.png").exists()
    assert "one.jsonl" in page.read_text("utf-8") and "<first>" not in page.read_text("utf-8")
    assert load_recipe(str(page.parents[1] / "recipe.toml")).data == asked.data


def test_tests_that_were_not_run_leave_pass_at_1_absent_with_the_reason() -> None:
    scores = {"nats": 1.0, "bits": 1.0, "targets": 1, "bytes": 1, "parses": True, "exact": True, "chrf": 1.0}
    tests = {"status": "not run", "detail": "no sandbox; --unsafe-exec runs programs with limits only (jail: none)"}
    rows = [
        {"id": str(i), "prompt_hash": "", "slice": None, "cluster": str(i), "passed": None, "tests": tests, **scores}
        for i in range(3)
    ]
    comparison = compare(METRICS, rows, rows)
    assert comparison["absent"]["pass@1"] == f"the tests were not run: {tests['detail']}"
    assert comparison["primary"] == "bits per byte"


def test_39_a_tokenizer_with_tokens_that_the_model_does_not_know_is_refused(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    base = save_toy(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(200)
    model.config.pad_token_id = model.config.bos_token_id = model.config.eos_token_id = 0
    model.save_pretrained(base)
    with pytest.raises(ModelError, match="writes token 256, but the model has embeddings for 200 only"):
        train(Run.open(make_recipe(**{"model.base": str(base)}), tmp_path / "runs"))


def test_the_users_own_prompts_stand_in_the_report_the_lost_ones_first(
    finished: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "toy")
    asked = [
        {"id": "1", "prompt": "Say hello", "expected": None, "base": "Hi", "tuned": "def", "regressed": None},
        {"id": "2", "prompt": "Capital of <France>?", "expected": "Paris", "base": "Paris", "tuned": "x = 1",
         "regressed": True},
    ]  # fmt: skip
    write(tmp_path / "toy" / "evaluate" / "prompts.jsonl", asked)
    page = report(Run.open(make_recipe(), tmp_path))
    html = page.read_text("utf-8")
    assert "1 of 2 prompts have an expected answer; tuning lost 1 of them" in html
    assert html.index("Capital of &lt;France&gt;?") < html.index("Say hello")
    assert "lost by tuning" in (page.parent / "report.md").read_text("utf-8")


def test_the_report_holds_the_largest_gains_and_every_metric(finished: Path) -> None:
    html = (finished / "report" / "report.html").read_text("utf-8")
    comparison = read(finished / "evaluate" / "comparison.json")
    for entry in comparison["metrics"]:
        assert f"<td>{entry['metric']}</td>" in html
    shown = comparison["largest"]
    assert any(shown.values())
    for row in (row for rows in shown.values() for row in rows):
        assert row["id"] in html
