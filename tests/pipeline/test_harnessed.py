"""Tasks of lm-evaluation-harness give the scores that its own backend for transformers gives, base and tuned."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tailora.errors import DataError, RecipeError, RunError
from tailora.evaluation.other_rows import evaluate_adapter, evaluate_on, recipe_of_adapter, recipe_on
from tailora.present.comparison import sentences
from tailora.present.data import other_rows_lines, read_card
from tailora.recipe import Recipe, describe_recipe
from tailora.run import Run
from tests.rows import read, write

MakeRecipe = Callable[..., Recipe]
LONG = {"model.max_length": 1024}  # as much as the harness's backend reads
COMMON = "dataset_path: json\ndataset_kwargs: {{data_files: {{test: {rows}}}, cache_dir: {cache}}}\ntest_split: test\n"
TASKS = {
    "pick": """\
output_type: multiple_choice
num_fewshot: 2
fewshot_split: test
doc_to_text: "Which program is meant by: {{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: right
target_delimiter: "\\n"
should_decontaminate: true
doc_to_decontamination_query: question
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "say": """\
output_type: generate_until
doc_to_text: "{{question}} "
doc_to_target: "{{choices[right]}}"
generation_kwargs: {until: ["e"], max_gen_toks: 12}
metric_list: [{metric: exact_match}, {metric: chrf}]
""",
    "weigh": """\
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_target: "{{choices[right]}}"
metric_list: [{metric: perplexity, aggregation: perplexity, higher_is_better: false}, {metric: acc}]
""",
    "read": """\
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}} {{choices}}"
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
""",
}


@pytest.fixture(scope="module")
def trained(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of a finished run."""
    return Path(shutil.copytree(finished, tmp_path_factory.mktemp("harnessed") / "toy"))


@pytest.fixture(scope="module")
def tasks(trained: Path) -> Path:
    """Return a folder with a task of each kind about the same questions, some of which are the run's training rows."""
    learned, tested = (read(trained / "prepare" / f"{name}.jsonl") for name in ("train", "test"))
    rows = [
        {
            "question": row["prompt"][0]["content"],
            "choices": [row["answer"], f"def f{i}(): pass", "1"],
            "right": 0,
        }
        for i, row in enumerate([*learned[:4], *tested[:8]])
    ]
    for place, row in enumerate(rows):
        row["choices"] = row["choices"][-(place % 3) :] + row["choices"][: -(place % 3)]
        row["right"] = place % 3
    write(trained / "rows.jsonl", rows)
    head = COMMON.format(rows=trained / "rows.jsonl", cache=trained / "cache")
    for name, text in TASKS.items():
        (trained / f"{name}.yaml").write_text(f"task: {name}\n{head}{text}")
    return trained


def named(tasks: Path, *names: str) -> str:
    return "lm_eval:" + ",".join(str(tasks / f"{name}.yaml") for name in names)


@pytest.fixture(scope="module")
def met(trained: Path, tasks: Path, make_recipe: MakeRecipe) -> tuple[Any, Path]:
    """Return the comparison on all tasks, and its folder."""
    comparison, run = evaluate_on(Run.load(trained), recipe_on(make_recipe(**LONG), named(tasks, *TASKS), "harnessed"))
    return comparison, run.folder / "evaluate"


@pytest.fixture(scope="module")
def theirs(trained: Path, tasks: Path, workshop: Path) -> dict[str, Any]:
    """Return what the harness's own backend says, one request at a time, of base and tuned."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    tokenizer = AutoTokenizer.from_pretrained(workshop / "toy-0")
    base = AutoModelForCausalLM.from_pretrained(workshop / "toy-0", dtype=torch.float32)
    model = PeftModel.from_pretrained(base, trained / "train" / "adapter").eval()

    def ask() -> Any:
        lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1)
        manager = TaskManager(include_path=str(tasks), include_defaults=False)
        return lm_eval.simple_evaluate(model=lm, tasks=list(TASKS), task_manager=manager, bootstrap_iters=0)

    tuned = ask()
    with model.disable_adapter():
        return {"tuned": tuned, "base": ask()}


@pytest.mark.parametrize("variant", ["base", "tuned"])
def test_scores_and_responses_are_those_of_the_harness_itself(
    met: tuple[Any, Path], theirs: dict[str, Any], variant: str
) -> None:
    scores = read(met[1] / variant / "scores.json")
    for task in TASKS:
        expected = {k: v for k, v in theirs[variant]["results"][task].items() if isinstance(v, float | int)}
        assert scores["lm_eval"][task] == pytest.approx(expected, rel=1e-5) and len(expected) >= 2
    rows = {row["id"]: row for row in read(met[1] / variant / "predictions.jsonl")}
    compared = 0
    for task in TASKS:
        for sample in theirs[variant]["samples"][task]:
            ours = rows[f"{task}/{sample['doc_id']}"]["responses"]
            assert len(ours) == len(sample["resps"])
            for (mine,), (expected,) in zip(ours, sample["resps"], strict=True):
                if isinstance(expected, tuple | list):
                    assert mine[0] == pytest.approx(expected[0], rel=1e-5, abs=1e-4) and mine[1] == expected[1]
                else:
                    assert mine == (pytest.approx(expected, rel=1e-5) if isinstance(expected, float) else expected)
                compared += 1
    assert compared == 12 * (3 + 1 + 1 + 1)


def test_the_table_pairs_rows_and_its_numbers_are_those_of_the_harness(
    met: tuple[Any, Path], theirs: dict[str, Any]
) -> None:
    comparison, _ = met
    whole = {entry["metric"]: entry for entry in comparison["metrics"] if entry["by"] == "all"}
    pairs = {
        "pick acc": "acc", "pick acc_norm": "acc_norm", "say exact_match": "exact_match",
        "weigh perplexity": "perplexity",
        "read word_perplexity": "word_perplexity", "read bits_per_byte": "bits_per_byte",
    }  # fmt: skip
    for name, metric in pairs.items():
        task = name.split()[0]
        for variant in ("base", "tuned"):
            expected = theirs[variant]["results"][task][f"{metric},none"]
            assert whole[name][variant] == pytest.approx(expected, rel=1e-4), name
        assert whole[name]["n"] == 12
    assert not whole["weigh perplexity"]["share"] and whole["pick acc"]["kind"] == "binary"
    chrf = [theirs[variant]["results"]["say"]["chrf,none"] for variant in ("base", "tuned")]
    assert f"chrf: base {chrf[0]:.4g}, tuned {chrf[1]:.4g}" in comparison["absent"]["say chrf"]
    assert comparison["primary"] == "pick acc"


def test_the_chance_of_the_right_choice_is_a_softmax_over_the_choices(met: tuple[Any, Path], tasks: Path) -> None:
    rights = [row["right"] for row in read(tasks / "rows.jsonl")]
    rows = [row for row in read(met[1] / "tuned" / "predictions.jsonl") if row["id"].startswith("pick/")]
    assert len(rows) == 12
    for row in rows:
        logs = torch.tensor([response[0][0] for response in row["responses"]], dtype=torch.float64)
        expected = logs.softmax(-1)[rights[int(row["id"].split("/")[1])]].item()
        assert row["pick p(right)"] == pytest.approx(expected)


def test_questions_of_the_training_rows_are_marked_and_clean_ones_compared_apart(
    met: tuple[Any, Path], trained: Path
) -> None:
    comparison, folder = met
    leaks = {row["id"]: row["leaks"] for row in read(folder / "tuned" / "predictions.jsonl")}
    assert all(leaks[f"pick/{number}"] for number in range(4))
    assert 0 < comparison["clean"]["rows"] < comparison["clean"]["of"] == 48
    lines = sentences(comparison)
    assert any("lm-evaluation-harness 0.4" in line for line in lines)


def test_an_adapter_needs_no_run_and_rows_may_be_a_sample(
    trained: Path, tasks: Path, workshop: Path, tmp_path: Path
) -> None:
    words = ["evaluate.primary=pick acc_norm", "model.dtype=float32"]
    source = named(tasks, "pick") + "#5," + str(tasks / "weigh.yaml")
    asked = recipe_of_adapter(trained / "train" / "adapter", str(workshop / "toy-0"), source, None, words)
    assert asked.name == "adapter-on-pick-weigh"
    comparison, run = evaluate_adapter(asked, trained / "train" / "adapter", tmp_path)
    assert comparison["primary"] == "pick acc_norm" and comparison["clean"]["rows"] is None
    assert {(entry["metric"].split()[0], entry["n"]) for entry in comparison["metrics"]} == {("pick", 5), ("weigh", 12)}
    assert any("17 rows read: 17 kept" in line for line in other_rows_lines(read_card(run.folder)))


def test_requests_that_are_too_long_lose_their_beginning_and_are_counted(
    trained: Path, tasks: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(**{"model.max_length": 100})
    comparison, _ = evaluate_on(Run.load(trained), recipe_on(recipe, named(tasks, "pick"), "short"))
    counted = comparison["harness"]
    assert 0 < counted["cut"] <= counted["requests"] == 12 * 3
    assert any("lost their beginning" in line for line in sentences(comparison))


def test_a_kill_changes_no_number(
    met: tuple[Any, Path], trained: Path, tasks: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = tmp_path / "toy.toml"
    recipe.write_text(describe_recipe(make_recipe(**LONG)))
    partial = trained / "evaluate-on" / "killed" / "evaluate.partial" / "journal.jsonl"

    place = [
        "--runs",
        str(trained.parent),
        "--on",
        named(tasks, *TASKS),
        "--name",
        "killed",
        "train.micro_batch_tokens=256",
    ]
    # Processes of their own, not forks of one server: those share a lock of tqdm, and one that is killed may hold it.
    command = [sys.executable, "-m", "tailora", "evaluate", str(recipe), *place]
    with (tmp_path / "out.txt").open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        while process.poll() is None and not (partial.exists() and partial.read_bytes().count(b"\n") > 3):
            time.sleep(0.001)
        process.kill()
    assert partial.exists() and not (trained / "evaluate-on" / "killed" / "evaluate").exists()
    with (tmp_path / "out.txt").open("w") as output:
        code = subprocess.run(command, stdout=output, stderr=output, timeout=300).returncode
    assert code == 0, (tmp_path / "out.txt").read_text()
    assert "already computed" in (tmp_path / "out.txt").read_text()
    comparison = read(trained / "evaluate-on" / "killed" / "evaluate" / "comparison.json")
    assert [e["verdict"] for e in comparison["metrics"]] == [e["verdict"] for e in met[0]["metrics"]]
    for entry, expected in zip(comparison["metrics"], met[0]["metrics"], strict=True):
        assert (entry["base"], entry["tuned"]) == pytest.approx((expected["base"], expected["tuned"]), rel=1e-4)


def test_what_cannot_be_asked_is_said(trained: Path, tasks: Path, make_recipe: MakeRecipe) -> None:
    def ask(source: str, **changes: Any) -> None:
        evaluate_on(Run.load(trained), recipe_on(make_recipe(**changes), source, "refused"), fresh=True)

    with pytest.raises(DataError, match=r"there is no file .*nowhere\.yaml"):
        ask(f"lm_eval:{tasks}/nowhere.yaml")
    with pytest.raises(DataError, match="name tasks, such as"):
        ask("lm_eval:pick#many")
    with pytest.raises(RecipeError, match='name task and metric, such as "pick acc"'):
        ask(named(tasks, "pick"), **{"evaluate.primary": "chrF"})
    (tasks / "odd.yaml").write_text((tasks / "say.yaml").read_text().replace("task: say", "task: odd").replace(
        "max_gen_toks: 12", "max_gen_toks: 12, num_beams: 3"))  # fmt: skip
    with pytest.raises(RunError, match="num_beams, which tailora does not know"):
        ask(named(tasks, "odd"))
    with pytest.raises(DataError, match="pick is named twice"):
        (tasks / "again").mkdir()
        shutil.copy(tasks / "pick.yaml", tasks / "again" / "pick.yaml")
        ask(named(tasks, "pick", "again/pick"))
    (tasks / "broken.yaml").write_text((tasks / "say.yaml").read_text().replace("rows.jsonl", "gone.jsonl"))
    with pytest.raises(DataError, match="the harness cannot load this"):
        ask(named(tasks, "broken"))
    (tasks / "strange.yaml").write_text((tasks / "say.yaml").read_text().replace("metric: exact_match", "metric: sari"))
    with pytest.raises(DataError, match=r"sari not found in the evaluate library.*Metrics from the hub are not run"):
        ask(named(tasks, "strange"))
    (tasks / "wrong.yaml").write_text(
        (tasks / "pick.yaml").read_text().replace("doc_to_choice: ", "doc_to_choice: nothing")
    )
    with pytest.raises(DataError, match="the harness cannot load this: SyntaxError"):
        ask(named(tasks, "wrong"))
    assert not (trained / "evaluate-on" / "refused" / "evaluate").exists()
