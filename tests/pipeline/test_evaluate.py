"""Evaluations go on where they were stopped, meet other rows and adapters made elsewhere, and say what they refuse."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tailora.errors import DataError, ModelError, RecipeError, RunError
from tailora.evaluation.other_rows import evaluate_adapter, evaluate_on, recipe_of_adapter, recipe_on
from tailora.model.load import load_base
from tailora.pipeline import evaluate
from tailora.present.comparison import sentences
from tailora.present.data import other_rows_lines, read_card
from tailora.recipe import Model as ModelSettings
from tailora.recipe import Recipe, describe_recipe
from tailora.run import Run
from tests.processes import JOURNAL, await_lines, lines_in, start_tailora
from tests.rows import read, write
from tests.toys import save_toy

MakeRecipe = Callable[..., Recipe]
RESULTS = [f"{variant}/{file}" for variant in ("base", "tuned") for file in ("predictions.jsonl", "general.jsonl")]


def digests(folder: Path) -> dict[str, str]:
    """Return what an evaluation wrote, apart from times."""
    return {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in (*RESULTS, "comparison.json")}


@pytest.fixture
def trained(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of a finished run, without its evaluation."""
    run = shutil.copytree(finished, tmp_path / "runs" / "toy")
    for stage in ("evaluate", "report"):
        shutil.rmtree(run / stage)
    return run


# Interruptions


SHORT = {"model.max_length": 192}  # the general text is cut into short windows, which is quicker
SLOW = {"evaluate.batch_size": 1, "evaluate.max_new_tokens": 24}


def start(run: Path, recipe: Path, *words: str) -> Any:
    return start_tailora("evaluate", str(recipe), "--runs", str(run.parent), *words, output=run.parent / "out.txt")


@pytest.fixture
def slow_recipe(make_recipe: MakeRecipe, tmp_path: Path) -> Path:
    (tmp_path / "slow.toml").write_text(describe_recipe(make_recipe(**SLOW)))
    return tmp_path / "slow.toml"


@pytest.fixture(scope="module")
def whole(finished: Path, make_recipe: MakeRecipe, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the results of an evaluation that nothing has interrupted."""
    run = shutil.copytree(finished, tmp_path_factory.mktemp("whole") / "toy")
    shutil.rmtree(run / "evaluate")
    shutil.rmtree(run / "report")
    evaluate(Run.open(make_recipe(**SLOW), run.parent))
    return digests(run / "evaluate")


def test_kills_at_random_instants_change_no_number(trained: Path, slow_recipe: Path, whole: dict[str, str]) -> None:
    numbers, killed, seen = random.Random(3), 0, [0]
    while True:
        process = start(trained, slow_recipe)
        if killed < 6:
            await_lines([process], trained / JOURNAL, lines_in(trained / JOURNAL) + numbers.randrange(2, 12))
            time.sleep(numbers.uniform(0, 0.01))
            process.kill()
        process.join(60)
        if process.exitcode != -signal.SIGKILL:
            break
        killed += 1
        seen.append(lines_in(trained / JOURNAL))
    assert process.exitcode == 0, (trained.parent / "out.txt").read_text()
    assert killed >= 4 and seen == sorted(set(seen))  # every start went further than the one before
    assert digests(trained / "evaluate") == whole
    assert not (trained / "evaluate" / "journal.jsonl").exists()
    assert not (trained / "evaluate.partial").exists()


def interrupted(trained: Path, recipe: Path, sent: signal.Signals = signal.SIGKILL) -> Any:
    process = start(trained, recipe)
    await_lines([process], trained / JOURNAL, 8)
    os.kill(process.pid, sent)
    process.join(60)
    return process


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_after_a_whole_batch_with_its_code(
    trained: Path, slow_recipe: Path, whole: dict[str, str], sent: signal.Signals, code: int
) -> None:
    assert interrupted(trained, slow_recipe, sent).exitcode == code
    said = (trained.parent / "out.txt").read_text().splitlines()
    assert said[-1] == "interrupted; progress saved. Run the same command to resume."
    start(trained, slow_recipe).join(60)
    assert re.search(r"resuming: \d+ answers", (trained.parent / "out.txt").read_text())
    assert digests(trained / "evaluate") == whole


def test_a_torn_line_is_computed_again(trained: Path, slow_recipe: Path, whole: dict[str, str]) -> None:
    interrupted(trained, slow_recipe)
    journal = trained / "evaluate.partial" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-7])
    process = start(trained, slow_recipe)
    process.join(60)
    assert "are damaged and were removed" in (trained.parent / "out.txt").read_text()
    assert digests(trained / "evaluate") == whole


def test_an_interrupted_evaluation_is_not_continued_with_other_values(trained: Path, slow_recipe: Path) -> None:
    interrupted(trained, slow_recipe)
    process = start(trained, slow_recipe, "evaluate.max_new_tokens=9")
    process.join(60)
    said = (trained.parent / "out.txt").read_text()
    assert process.exitcode == 2
    assert "evaluate.max_new_tokens has changed since (24, now 9)" in said and "--fresh" in said
    process = start(trained, slow_recipe, "evaluate.max_new_tokens=9", "--fresh")
    process.join(60)
    assert process.exitcode == 0


def test_an_interrupted_evaluation_is_not_continued_with_another_adapter(trained: Path, slow_recipe: Path) -> None:
    interrupted(trained, slow_recipe)
    path = trained / "train" / "adapter" / "adapter_model.safetensors"
    save_file({name: 2 * tensor for name, tensor in load_file(path).items()}, path)
    process = start(trained, slow_recipe)
    process.join(60)
    assert (
        process.exitcode == 2 and "is not what its stage has written there" in (trained.parent / "out.txt").read_text()
    )


# The user's own prompts


def test_own_prompts_stand_side_by_side_and_what_was_lost_is_named(
    trained: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    free = make_recipe(**{"evaluate.prompts": ["Write `add` with 7.", "What is this?"]})
    evaluate(Run.open(free, trained.parent))
    first = read(trained / "evaluate" / "prompts.jsonl")
    assert [row["prompt"] for row in first] == ["Write `add` with 7.", "What is this?"]
    assert all(row["regressed"] is None and row["expected"] is None for row in first)
    assert first[0]["base"] != first[0]["tuned"]
    part = first[0]["base"][-3:]  # something that base says and tuned does not
    assert part.strip() and part not in first[0]["tuned"]
    rows = [
        {"prompt": first[0]["prompt"], "answer": part},
        {"prompt": first[1]["prompt"], "answer": "nobody says this"},
        {"prompt": first[0]["prompt"], "tests": ["assert 1 == 2"]},
        {"prompt": first[1]["prompt"]},
    ]
    name = write(tmp_path / "prompts.jsonl", rows)
    shutil.rmtree(trained / "evaluate")
    comparison = evaluate(Run.open(make_recipe(**{"evaluate.prompts": name}), trained.parent))
    assert comparison["prompts"] == {"asked": 4, "expected": 3, "regressed": ["prompt-1"]}
    again = read(trained / "evaluate" / "prompts.jsonl")
    assert [row["base"] for row in again] == [first[i]["base"] for i in (0, 1, 0, 1)]
    assert [(row["base_right"], row["tuned_right"]) for row in again] == [
        (True, False), (False, False), (False, False), (None, None),
    ]  # fmt: skip


def test_prompts_that_have_changed_are_not_taken_for_the_old_ones(
    trained: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text("What is 1?\n")
    asked = make_recipe(**{"evaluate.prompts": str(tmp_path / "prompts.txt")})
    evaluate(Run.open(asked, trained.parent))
    (tmp_path / "prompts.txt").write_text("What is 2?\n")
    with pytest.raises(RunError, match=r"evaluate\.prompts has changed.*--fresh"):
        evaluate(Run.open(asked, trained.parent))


def test_a_metric_that_has_changed_is_not_taken_for_the_old_one(
    trained: Path, make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "changing.py").write_text("def size(answer, row): return len(answer)\n")
    asked = make_recipe(**{"evaluate.metrics": ["changing:size"]})
    evaluate(Run.open(asked, trained.parent))
    assert evaluate(Run.open(asked, trained.parent))
    (tmp_path / "changing.py").write_text("def size(answer, row): return 2 * len(answer)\n")
    with pytest.raises(RunError, match=r"evaluate\.metrics has changed.*--fresh"):
        evaluate(Run.open(asked, trained.parent))


def test_rows_whose_reference_fails_their_own_tests_are_named(
    trained: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    rows = [
        {
            "id": f"row {i}", "question": f"Write f{i}.",
            "answer": f"def f{i}(): return {i}", "tests": [f"assert f{i}() == 2"],
        }
        for i in range(4)
    ]  # fmt: skip
    comparison, _ = evaluate_on(
        Run.load(trained), recipe_on(make_recipe(**SHORT), write(tmp_path / "wrong.jsonl", rows))
    )
    assert sorted(comparison["unsolved"]) == ["row 0", "row 1", "row 3"]
    (line,) = [line for line in sentences(comparison) if "fail their own tests" in line]
    assert "3 rows" in line and "row 3" in line


def test_likelihoods_that_are_no_numbers_end_the_evaluation_in_words(
    workshop: Path, make_recipe: MakeRecipe, finished: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(workshop / "toy-0", broken)
    tensors = load_file(broken / "model.safetensors")
    for name, factor in (("model.norm.weight", 1e38), ("lm_head.weight", 1e5)):  # numbers, whose products are none
        tensors[name] = tensors[name] * factor
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    adapter = shutil.copytree(finished / "train" / "adapter", tmp_path / "adapter")
    (adapter / "tailora.json").unlink()
    source = write(tmp_path / "rows.jsonl", [{"question": f"What is {i}?", "answer": f"it is {i}"} for i in range(3)])
    with pytest.raises(RunError, match=r"likelihood that is no number.*float32"):
        evaluate_adapter(recipe_of_adapter(adapter, str(broken), source), adapter, tmp_path / "runs")


# Other rows for the adapter of a run


def test_a_runs_adapter_meets_other_rows_and_leaks_are_marked(
    finished: Path, trained: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    learned = read(trained / "prepare" / "train.jsonl")[:3]
    seen = [
        {"task_id": i, "text": row["prompt"][0]["content"], "code": row["answer"].split("\n", 1)[1]}
        for i, row in enumerate(learned)
    ]
    new = [
        {
            "task_id": 10 + i, "text": f"Quite another question number {i}, of which nothing was ever said.",
            "code": f"def g{i}(): return {i}", "test_list": [f"assert g{i}() == {i}"], "test_setup_code": "",
        }
        for i in range(4)
    ]  # fmt: skip
    source = write(tmp_path / "my problems.jsonl", [{"question": r["text"], "answer": r["code"]} for r in seen])
    other = recipe_on(make_recipe(**SHORT), source)
    assert other.name == "my-problems"
    before = digests(finished / "evaluate")
    comparison, run = evaluate_on(Run.load(trained), other)
    assert run.folder == trained / "evaluate-on" / "my-problems"
    assert not (trained / "evaluate").exists()  # nothing of the run's own evaluation is touched
    assert {row["leaks"] for row in read(run.folder / "evaluate" / "base" / "predictions.jsonl")} == {"same question"}
    assert any("the prompt 3" in line for line in other_rows_lines(read_card(run.folder)))
    comparison, run = evaluate_on(
        Run.load(trained), recipe_on(make_recipe(**SHORT), write(tmp_path / "mbpp.jsonl", new))
    )
    assert comparison["primary"] == "pass@1" and comparison["rows"]["rows"] == 4
    assert {row["leaks"] for row in read(run.folder / "evaluate" / "tuned" / "predictions.jsonl")} == {None}
    assert any("contamination" in line and line.endswith(": none") for line in other_rows_lines(read_card(run.folder)))
    assert any(
        "the layout of MBPP" in line and line.endswith("4 rows") for line in other_rows_lines(read_card(run.folder))
    )
    assert digests(finished / "evaluate") == before


def test_other_rows_give_the_numbers_of_the_runs_own_evaluation(
    finished: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    run = shutil.copytree(finished, tmp_path / "toy")
    rows = [
        {"prompt": row["prompt"], "completion": row["answer"], "tests": row["tests"]}
        for row in read(run / "prepare" / "test.jsonl")
    ]
    _, other = evaluate_on(Run.load(run), recipe_on(make_recipe(**SHORT), write(tmp_path / "same.jsonl", rows)))

    def numbers(folder: Path, variant: str) -> list[Any]:
        found = read(folder / "evaluate" / variant / "predictions.jsonl")
        return sorted((r["prompt_hash"], r["output"], r["passed"], round(r["nats"], 3)) for r in found)

    for variant in ("base", "tuned"):
        assert numbers(other.folder, variant) == numbers(finished, variant)


def test_columns_of_other_rows_can_be_named_and_the_runs_own_are_not_asked_of_them(
    trained: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    rows = [{"topic sentence": f"say {i}", "reply": f"it is {i}"} for i in range(4)]
    source = write(tmp_path / "odd.jsonl", rows)
    asked = make_recipe(**{"data.prompt": "topic sentence", "data.answer": "reply"})
    with pytest.raises(DataError, match="no column looks like the prompt"):
        evaluate_on(Run.load(trained), recipe_on(asked, source))
    words = ["data.prompt=topic sentence", "data.answer=reply"]
    comparison, _ = evaluate_on(Run.load(trained), recipe_on(asked, source, "odd", words))
    assert comparison["rows"]["rows"] == 4


def test_changed_rows_are_refused_until_they_are_asked_for_anew(
    trained: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    rows = [{"question": f"What is {i}?", "answer": f"it is {i}"} for i in range(5)]
    asked = recipe_on(make_recipe(**SHORT), write(tmp_path / "rows.jsonl", rows))
    evaluate_on(Run.load(trained), asked)
    write(tmp_path / "rows.jsonl", rows[:4])
    with pytest.raises(RunError, match="rows has changed since"):
        evaluate_on(Run.load(trained), asked)
    assert evaluate_on(Run.load(trained), asked, fresh=True)[0]["rows"]["rows"] == 4


def test_a_run_without_an_adapter_meets_no_rows(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="tailora prepare"):
        evaluate_on(
            Run(tmp_path / "toy", make_recipe()),
            recipe_on(make_recipe(**SHORT), write(tmp_path / "r.jsonl", [{"question": "a"}])),
        )
    assert not (tmp_path / "toy").exists()


# Adapters from elsewhere


@pytest.fixture
def foreign(workshop: Path, tmp_path: Path) -> Path:
    """Return an adapter as PEFT alone saves it: rank 2 on two kinds of layers, its B not zero."""
    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(workshop / "toy-0", dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    model.save_pretrained(tmp_path / "foreign")
    return tmp_path / "foreign"


@pytest.fixture
def rows(tmp_path: Path) -> str:
    return write(tmp_path / "rows.jsonl", [{"question": f"What is {i}?", "answer": f"it is {i}"} for i in range(12)])


def test_an_adapter_of_peft_is_compared_with_its_base_without_a_run(
    foreign: Path, rows: str, workshop: Path, tmp_path: Path
) -> None:
    asked = recipe_of_adapter(
        foreign, None, rows, None, ["evaluate.max_new_tokens=4", "model.dtype=float32", "model.max_length=192"]
    )
    assert asked.model.base == str(workshop / "toy-0") and asked.name == "foreign-on-rows"
    comparison, run = evaluate_adapter(asked, foreign, tmp_path / "runs")
    assert run.folder == tmp_path / "runs" / "foreign-on-rows" and comparison["rows"]["rows"] == 12
    assert any("are unknown" in line for line in other_rows_lines(read_card(run.folder)))
    assert comparison["clean"] == {"rows": None, "of": 12}  # nobody has looked, so none is called clean
    assert not any("are clean" in line for line in sentences(comparison))
    base, other = (AutoModelForCausalLM.from_pretrained(workshop / "toy-0", dtype=torch.float32) for _ in range(2))
    models = {"base": base.eval(), "tuned": PeftModel.from_pretrained(other, foreign).eval()}
    test = {row["id"]: row for row in read(run.folder / "prepare" / "test.jsonl")}
    for variant, model in models.items():
        for row in read(run.folder / "evaluate" / variant / "predictions.jsonl"):
            asked_row = test[row["id"]]
            prompt = f"### Question\n{asked_row['prompt'][0]['content']}\n\n### Answer\n"
            assert row["nats"] == pytest.approx(_nats(model, prompt, asked_row["answer"]), rel=1e-4)


def _nats(model: Any, prompt: str, answer: str) -> float:
    from tests.toys import toy_tokenizer

    tokenizer = toy_tokenizer()
    before, after = tokenizer(prompt).input_ids, [*tokenizer(answer).input_ids, 256]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([before + after])).logits[0, len(before) - 1 : -1]
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(after), reduction="sum"))


def test_an_adapter_that_does_not_fit_its_base_is_refused(foreign: Path, rows: str, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.toys import toy_tokenizer

    def base_of(name: str, **changes: int) -> str:
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, **changes}
        config = LlamaConfig(vocab_size=258, num_attention_heads=4, eos_token_id=256, pad_token_id=257, **sizes)
        LlamaForCausalLM(config).save_pretrained(tmp_path / name)
        toy_tokenizer().save_pretrained(tmp_path / name)
        return str(tmp_path / name)

    for name, base, said in (
        ("wide", base_of("wide", hidden_size=64), r"does not fit .*wide: size mismatch"),
        ("flat", base_of("flat", num_hidden_layers=1), r"does not fit .*flat: 4 of its 8 tensors have no place"),
    ):
        asked = recipe_of_adapter(foreign, base, rows, name)
        with pytest.raises(ModelError, match=said):
            evaluate_adapter(asked, foreign, tmp_path / "runs")
        assert not (tmp_path / "runs" / name / "evaluate").exists()


def test_an_adapter_with_lost_or_broken_tensors_is_refused(foreign: Path, rows: str, workshop: Path) -> None:
    from safetensors.torch import load_file, save_file

    whole = load_file(foreign / "adapter_model.safetensors")
    first = min(whole)
    changes = {
        f"is not whole: it lacks 1 of 8 tensors, the first is {first}": {k: v for k, v in whole.items() if k != first},
        f"not finite in 1 of its 8 tensors, the first is {first}": whole | {first: whole[first] / 0},
    }
    for said, tensors in changes.items():
        save_file(tensors, foreign / "adapter_model.safetensors")
        asked = recipe_of_adapter(foreign, str(workshop / "toy-0"), rows, "broken")
        with pytest.raises(ModelError, match=said):
            evaluate_adapter(asked, foreign, foreign.parent / "runs", fresh=True)


def test_what_is_no_adapter_for_answers_is_said_before_a_model_is_loaded(
    foreign: Path, rows: str, workshop: Path, tmp_path: Path
) -> None:
    base, config = str(workshop / "toy-0"), read(foreign / "adapter_config.json")

    def refused(**changes: Any) -> str:
        folder = tmp_path / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(foreign, folder)
        (folder / "adapter_config.json").write_text(json.dumps(config | changes))
        with pytest.raises(ModelError) as error:
            evaluate_adapter(recipe_of_adapter(folder, base, rows), folder, tmp_path / "runs")
        return str(error.value)

    assert "for the task TOKEN_CLS" in refused(task_type="TOKEN_CLS")
    assert "classifier without its head" in refused(task_type="SEQ_CLS")
    assert "prompt tuning" in refused(peft_type="PREFIX_TUNING", num_virtual_tokens=4)
    nameless = tmp_path / "nameless"
    shutil.copytree(foreign, nameless)
    (nameless / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))
    with pytest.raises(RecipeError, match="does not say which base"):
        recipe_of_adapter(nameless, None, rows)
    (foreign / "adapter_model.safetensors").rename(foreign / "adapter_model.bin")
    assert "has no adapter_model.safetensors" in refused() and "adapter_model.bin" in refused()
    with pytest.raises(ModelError, match="is no adapter"):
        evaluate_adapter(recipe_of_adapter(tmp_path, base, rows), tmp_path, tmp_path / "runs")


def test_an_adapter_of_ours_is_refused_on_other_weights_of_the_same_shape(
    trained: Path, rows: str, tmp_path: Path
) -> None:
    adapter, other = trained / "train" / "adapter", save_toy(tmp_path / "other", seed=1)
    with pytest.raises(RunError, match="the adapter is trained, but the base model has changed"):
        evaluate_adapter(recipe_of_adapter(adapter, str(other), rows), adapter, tmp_path / "runs")


# The command line


def test_the_command_line_shows_what_was_found_and_where_it_lies(trained: Path, rows: str, foreign: Path) -> None:
    output = trained.parent / "out.txt"

    def said(*words: str) -> str:
        process = start_tailora("evaluate", *words, "evaluate.max_new_tokens=4", output=output)
        process.join(60)
        assert process.exitcode == 0, output.read_text()
        return " ".join(output.read_text().split())

    found = said(str(trained), "--on", rows, "model.max_length=192")
    assert "12 rows read: 12 kept, 0 dropped" in found and "bits per byte" in found
    assert f"answers, scores and comparison: {trained / 'evaluate-on' / 'rows' / 'evaluate'}" in found
    found = said(
        "--adapter",
        str(foreign),
        "--data",
        rows,
        "--runs",
        str(trained.parent),
        "--name",
        "elsewhere",
        "model.max_length=192",
    )
    assert str(trained.parent / "elsewhere" / "evaluate") in found
    assert (trained.parent / "elsewhere" / "evaluate" / "comparison.json").exists()
    found = said(str(trained))  # the folder of a run stands for its recipe
    assert (trained / "evaluate" / "comparison.json").exists()


def test_keys_without_effect_on_other_rows_are_refused_and_prompts_are_asked_where_named(
    make_recipe: Callable[..., Recipe],
) -> None:
    recipe = make_recipe(**SHORT)
    for override in ("data.limit=3", "lora.rank=64", "train.lr=1"):
        with pytest.raises(RecipeError, match=rf"{override.partition('=')[0]}: no effect here"):
            recipe_on(recipe, "rows.jsonl", None, [override])
    asked = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"prompts": ["Hello"]})})
    assert recipe_on(asked, "rows.jsonl").evaluate.prompts == []
    words = ['evaluate.prompts=["Hello"]', "model.max_length=64", "train.kernels=padded", "name=other"]
    assert recipe_on(asked, "rows.jsonl", None, words).evaluate.prompts == ["Hello"]


def test_a_base_that_lacks_a_weight_is_refused_and_not_completed(tmp_path: Path) -> None:
    folder = save_toy(tmp_path / "base")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 are missing \(the first is model\.layers\.1\.mlp\.up_proj\.weight\)"):
        load_base(ModelSettings(base=str(folder)))
