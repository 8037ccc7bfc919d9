"""A whole run on labelled texts: what the files say is true, and every key of labels has an effect."""

import hashlib
import json
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from scipy.stats import binomtest
from sklearn import metrics
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, DistilBertConfig

from tailora.errors import DataError, ModelError, RecipeError, RunError
from tailora.evaluation.other_rows import evaluate_adapter, evaluate_on, recipe_of_adapter, recipe_on
from tailora.pipeline import evaluate, prepare, train
from tailora.pipeline.show import count_tokens, seen_by_model
from tailora.present.comparison import sentences
from tailora.present.data import other_rows_lines, read_card
from tailora.present.training import training_lines
from tailora.recipe import Recipe, describe_recipe
from tailora.run import Run
from tests.processes import JOURNAL, await_lines, lines_in, start_tailora
from tests.rows import read, write
from tests.runs import every_stage
from tests.toys import save_toy, toy_tokenizer

MakeRecipe = Callable[..., Recipe]
ADAPTER, PREPARED = "train/adapter/adapter_model.safetensors", "prepare/train.jsonl"
WORDS = {
    "Sports": ["goal", "match", "team", "score", "coach", "league"],
    "Business": ["bank", "profit", "market", "shares", "trade", "price"],
    "World": ["vote", "border", "army", "treaty", "minister", "crisis"],
}


def write_texts(path: Path, count: int = 90) -> None:
    """Write texts of three labels, a word of the label among words of none; labels also as numbers from 1."""
    numbers, rows = random.Random(0), []
    for i in range(count):
        label = list(WORDS)[i % 3]
        text = " ".join(f"w{numbers.randrange(300)}" for _ in range(3))
        words = f"{numbers.choice(WORDS[label])} {numbers.choice(WORDS[label])} {text}"
        rows.append({"text": words, "label": label, "number": i % 3 + 1, "even": str(i % 2)})
    write(path, rows)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    write_texts(folder / "texts.jsonl")
    save_toy(folder / "toy")
    return folder


@pytest.fixture(scope="module")
def make(place: Path, make_recipe: MakeRecipe) -> MakeRecipe:
    """Return a function from changed keys ("train.lr"=…) to a small recipe."""
    return partial(
        make_recipe,
        name="texts",
        task="classify",
        data={"source": str(place / "texts.jsonl"), "val": 0.2, "test": 0.2},
        model={"base": str(place / "toy"), "dtype": "float32", "max_length": 64},
        train={"epochs": 10, "lr": 1e-2, "batch_size": 8},
        evaluate={},
    )


@pytest.fixture(scope="module")
def trained(make: MakeRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(Run.open(make(), tmp_path_factory.mktemp("runs"))).folder


def test_the_loss_falls_below_that_of_chance(trained: Path) -> None:
    fitted = read(trained / "train/stage.json")["fitted"]
    assert fitted["best_val_loss"] < 0.8 < fitted["first_val_loss"]
    assert any("nats per row" in line for line in training_lines(trained))


def test_plain_peft_computes_the_best_validation_loss_from_the_adapter(trained: Path, place: Path) -> None:
    assert_val_loss_is_that_of_plain_peft(trained, place)


def assert_val_loss_is_that_of_plain_peft(trained: Path, place: Path) -> None:
    labels = read(trained / "train/adapter/tailora.json")["labels"]
    assert labels == ["Business", "Sports", "World"]
    base = AutoModelForSequenceClassification.from_pretrained(place / "toy", num_labels=3, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, trained / "train/adapter").eval()
    tokenizer = AutoTokenizer.from_pretrained(trained / "train/adapter")
    nats = 0.0
    rows = read(trained / "prepare/val.jsonl")
    for row in rows:
        ids = torch.tensor([tokenizer(row["prompt"][0]["content"]).input_ids])
        with torch.no_grad():
            nats -= float(model(input_ids=ids).logits[0].log_softmax(-1)[labels.index(row["answer"])])
    assert read(trained / "train/stage.json")["fitted"]["best_val_loss"] == pytest.approx(nats / len(rows), rel=1e-3)


@pytest.mark.parametrize(
    ("key", "value", "changed"),
    [
        ("data.label", "even", PREPARED),
        ("data.labels", ["World", "Sports", "Business"], ADAPTER),
        ("train.class_weights", {"World": 5}, ADAPTER),
        ("train.label_smoothing", 0.3, ADAPTER),
        ("train.seed", 1, ADAPTER),
        ("lora.targets", ["q_proj"], ADAPTER),
        ("train.epochs", 9, ADAPTER),
    ],
)
def test_a_key_changes_what_comes_out(
    key: str, value: Any, changed: str, make: MakeRecipe, trained: Path, tmp_path: Path
) -> None:
    asked = make(**{key: value})
    if changed == PREPARED:
        prepare(Run.open(asked, tmp_path))
    else:
        train(Run.open(asked, tmp_path))
    digests = [hashlib.sha256((folder / changed).read_bytes()).hexdigest() for folder in (trained, tmp_path / "texts")]
    assert digests[0] != digests[1]


def test_the_same_recipe_gives_the_same_adapter(make: MakeRecipe, trained: Path, tmp_path: Path) -> None:
    train(Run.open(make(), tmp_path))
    assert (tmp_path / "texts" / ADAPTER).read_bytes() == (trained / ADAPTER).read_bytes()


@pytest.mark.parametrize(
    ("key", "value"),
    [("train.kernels", "plain"), ("train.micro_batch_tokens", 64), ("train.gradient_checkpointing", True)],
)
def test_keys_of_speed_do_not_change_what_is_learned(key: str, value: Any, make: MakeRecipe, tmp_path: Path) -> None:
    few = {"train.epochs": 2, "train.lr": 1e-3}  # rounding differences grow with every step
    folders = [
        train(Run.open(make(**few, **more), tmp_path / str(i))).folder for i, more in enumerate(({}, {key: value}))
    ]
    losses = [read(folder / "train/stage.json")["fitted"]["best_val_loss"] for folder in folders]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_what_the_model_sees_can_be_shown(make: MakeRecipe, trained: Path) -> None:
    row = read(trained / PREPARED)[0]
    pieces, line = seen_by_model(Run.open(make(), trained.parent), 0)
    assert pieces == [(row["prompt"][0]["content"], False), (f" → {row['answer']}", True)]
    assert row["id"] in line
    assert "54 rows" in (line := count_tokens(Run.open(make(), trained.parent))[0]) and "masked" not in line


def test_an_adapter_does_not_meet_classes_in_another_order(make: MakeRecipe, trained: Path) -> None:
    with pytest.raises(RunError, match=r"prepare is done, but data\.labels has changed"):
        train(Run.open(make(**{"data.labels": ["World", "Sports", "Business"]}), trained.parent))


@pytest.mark.parametrize("lora", [{"method": "rslora"}, {"method": "dora"}, {"method": "adalora"}, {"init": "pissa"}])
def test_every_method_saves_its_head_for_plain_peft(
    lora: dict[str, Any], make: MakeRecipe, place: Path, tmp_path: Path
) -> None:
    asked = make(**{f"lora.{key}": value for key, value in lora.items()}, **{"train.epochs": 6})
    folder = train(Run.open(asked, tmp_path)).folder
    assert_val_loss_is_that_of_plain_peft(folder, place)


@pytest.fixture(scope="module")
def finished(make: MakeRecipe, trained: Path) -> Path:
    """Return the folder of a finished run."""
    return every_stage(make(), trained.parent).parents[1]


def test_a_run_leaves_the_files_of_every_variant_and_baseline(finished: Path) -> None:
    for variant in ("base", "tuned", "majority", "tf-idf", "probe"):
        rows = read(finished / "evaluate" / variant / "predictions.jsonl")
        assert len(rows) == 18 and all(sum(row["probabilities"]) == pytest.approx(1) for row in rows)
    for name in ("confusion", "reliability", "classes", "lengths", "loss", "scores", "wins"):
        for kind in ("svg", "png", "csv"):
            assert (finished / f"report/figures/{name}.{kind}").stat().st_size > 0
    for page in ("report.html", "report.md"):
        text = (finished / "report" / page).read_text("utf-8")
        assert "chance" in text and "TF-IDF" in text and "Most confident mistakes" in text
        assert "chrF" not in text and "Generated programs" not in text


def test_every_score_can_be_recomputed_from_the_predictions(finished: Path) -> None:
    comparison = read(finished / "evaluate/comparison.json")
    both = {side: read(finished / f"evaluate/{side}/predictions.jsonl") for side in ("base", "tuned")}
    assert [row["id"] for row in both["base"]] == [row["id"] for row in both["tuned"]]
    for side, rows in both.items():
        labels, said = [row["label"] for row in rows], [row["predicted"] for row in rows]
        chances = [row["probabilities"] for row in rows]
        by_hand = {
            "accuracy": metrics.accuracy_score(labels, said),
            "macro F1": metrics.f1_score(labels, said, average="macro"),
            "weighted F1": metrics.f1_score(labels, said, average="weighted"),
            "NLL": metrics.log_loss(labels, chances, labels=[0, 1, 2]),
        }
        scores = read(finished / f"evaluate/{side}/scores.json")
        for name, value in by_hand.items():
            (entry,) = [e for e in comparison["metrics"] if (e["metric"], e["by"]) == (name, "all")]
            assert scores[name] == pytest.approx(value)
            assert entry[side] == pytest.approx(value)


def test_the_verdict_is_that_of_accuracy_and_every_baseline_has_its_test(finished: Path) -> None:
    comparison = read(finished / "evaluate/comparison.json")
    assert (comparison["primary"], comparison["verdict"], comparison["head"]) == ("accuracy", "better", "untrained")
    tuned = read(finished / "evaluate/tuned/predictions.jsonl")
    for entry in comparison["baselines"]:
        rows = read(finished / "evaluate" / entry["name"] / "predictions.jsonl")
        wins = sum(t["right"] and not b["right"] for t, b in zip(tuned, rows, strict=True))
        losses = sum(b["right"] and not t["right"] for t, b in zip(tuned, rows, strict=True))
        found = entry["accuracies"]
        assert (found["wins"], found["losses"], found["test"]) == (wins, losses, "exact McNemar")
        expected = binomtest(min(wins, losses), wins + losses).pvalue if wins + losses else 1.0
        assert found["p_value"] == pytest.approx(expected)
        assert found["p_adjusted"] >= found["p_value"]


def test_the_majority_says_the_commonest_training_label(finished: Path) -> None:
    counts = Counter(row["answer"] for row in read(finished / PREPARED))
    rows = read(finished / "evaluate/majority/predictions.jsonl")
    assert {counts[row["output"]] for row in rows} == {max(counts.values())}


def test_what_a_reader_must_know_is_said(finished: Path) -> None:
    lines = sentences(read(finished / "evaluate/comparison.json"))
    assert lines[0].startswith("tuned is better than base: accuracy")
    assert "the base model's head is untrained, so it scores at chance level" in lines
    for name in ("the majority class", "TF-IDF", "a linear probe"):
        assert any(name in line and "accuracy" in line for line in lines), name


def test_kills_change_no_number(make: MakeRecipe, tmp_path: Path) -> None:
    slow = {"train.micro_batch_tokens": 16, "train.epochs": 1}
    whole = train(Run.open(make(**slow), tmp_path / "whole")).folder
    folder = Path(shutil.copytree(whole, tmp_path / "killed" / "texts"))
    evaluate(Run.open(make(**slow), whole.parent))
    (tmp_path / "slow.toml").write_text(describe_recipe(make(**slow)))
    journal, killed = folder / JOURNAL, 0
    while True:
        words = ("evaluate", str(tmp_path / "slow.toml"), "--runs", str(folder.parent))
        process, before = start_tailora(*words, output=tmp_path / "out.txt"), lines_in(journal)
        if killed < 3:
            await_lines([process], journal, before + 4)
            process.kill()
        process.join(60)
        if process.exitcode != -signal.SIGKILL:
            break
        killed += 1
        assert lines_in(journal) > before
    assert process.exitcode == 0 and killed >= 2, (tmp_path / "out.txt").read_text()
    assert "already computed" in (tmp_path / "out.txt").read_text()
    for file in ("base/predictions.jsonl", "tuned/predictions.jsonl", "probe/predictions.jsonl", "comparison.json"):
        assert (folder / "evaluate" / file).read_bytes() == (whole / "evaluate" / file).read_bytes()
    assert not (folder / "evaluate" / "journal.jsonl").exists()


def test_rows_of_the_test_split_may_be_few(make: MakeRecipe, trained: Path, tmp_path: Path) -> None:
    comparison = evaluate(Run.open(make(**{"evaluate.rows": 5, "train.epochs": 1}), tmp_path))
    assert comparison["rows"]["not_asked"] == 13 and comparison["metrics"][0]["n"] == 5


def test_another_metric_may_decide(make: MakeRecipe, tmp_path: Path) -> None:
    comparison = evaluate(Run.open(make(**{"evaluate.primary": "macro F1", "train.epochs": 1}), tmp_path))
    assert comparison["primary"] == "macro F1"
    with pytest.raises(RecipeError, match="macro F1"):
        evaluate(Run.open(make(**{"evaluate.primary": "macroF1"}), tmp_path / "other"))


# Adapters made elsewhere, and other texts.


@pytest.fixture(scope="module")
def course(place: Path) -> Path:
    """Return a DistilBERT with an adapter as courses make it: rank 8 on q_lin and v_lin, the head saved whole."""
    torch.manual_seed(0)
    sizes = {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 128}
    config = DistilBertConfig(vocab_size=258, pad_token_id=257, **sizes)
    AutoModel.from_config(config).save_pretrained(place / "bert")
    toy_tokenizer().save_pretrained(place / "bert")
    base = AutoModelForSequenceClassification.from_pretrained(place / "bert", num_labels=3, dtype=torch.float32)
    settings = LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, lora_dropout=0.1, target_modules=["q_lin", "v_lin"])
    model = get_peft_model(base, settings)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=0.02)
    rows, order = read(place / "texts.jsonl"), list(WORDS)  # the order of a data set, not of the alphabet
    tokens = [torch.tensor([toy_tokenizer()(row["text"]).input_ids]) for row in rows]
    for step in range(60):
        loss = model(input_ids=tokens[step], labels=torch.tensor([order.index(rows[step]["label"])])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(place / "course")
    return place / "course"


def labels_by_peft(place: Path, rows: list[Any]) -> list[str]:
    """Return the label of each text by transformers and PEFT alone."""
    base = AutoModelForSequenceClassification.from_pretrained(place / "bert", num_labels=3, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, place / "course").eval()
    found = []
    for row in rows:
        tokens = torch.tensor([toy_tokenizer()(row["prompt"][0]["content"]).input_ids])
        with torch.no_grad():
            found.append(list(WORDS)[int(model(input_ids=tokens).logits.argmax())])
    return found


def test_a_classifier_made_elsewhere_is_compared_with_its_base(course: Path, place: Path, tmp_path: Path) -> None:
    texts, names = str(place / "texts.jsonl"), json.dumps(list(WORDS))
    asked = recipe_of_adapter(
        course, str(place / "bert"), texts, "course", [f"data.labels={names}", "data.label=label"]
    )
    assert asked.task == "classify"
    comparison, done = evaluate_adapter(asked, course, tmp_path)
    predictions = read(done.folder / "evaluate/tuned/predictions.jsonl")
    rows = {row["id"]: row for row in read(done.folder / "prepare/test.jsonl")}
    expected = labels_by_peft(place, [rows[row["id"]] for row in predictions])
    assert [row["output"] for row in predictions] == expected and len(set(expected)) > 1
    accuracy = next(entry for entry in comparison["metrics"] if entry["metric"] == "accuracy")
    right = [label == rows[row["id"]]["answer"] for label, row in zip(expected, predictions, strict=True)]
    assert accuracy["tuned"] == pytest.approx(sum(right) / len(right))
    assert comparison["baselines"] == [] and comparison["clean"]["rows"] is None
    assert f"labels, in the adapter's order: {', '.join(WORDS)}" in other_rows_lines(read_card(done.folder))
    assert sentences(comparison)


def test_labels_of_an_adapter_that_names_none_are_numbers_or_must_be_listed(
    course: Path, place: Path, tmp_path: Path
) -> None:
    texts, base = str(place / "texts.jsonl"), str(place / "bert")

    def asked(name: str, *overrides: str) -> Recipe:
        return recipe_of_adapter(course, base, texts, name, overrides)

    with pytest.raises(DataError, match=r"does not name its 3 labels.*'Business'.*data\.labels="):
        evaluate_adapter(asked("a", "data.label=label"), course, tmp_path)
    with pytest.raises(RecipeError, match=r"tells 3 labels apart, and 2 are named: one, two"):
        evaluate_adapter(asked("b", 'data.labels=["one", "two"]'), course, tmp_path)
    _, done = evaluate_adapter(asked("c", "data.label=even"), course, tmp_path)
    assert {row["reference"] for row in read(done.folder / "evaluate/tuned/predictions.jsonl")} == {"0", "1"}


def test_a_head_that_nobody_brings_is_refused(course: Path, place: Path, tmp_path: Path) -> None:
    adapter = shutil.copytree(course, tmp_path / "headless")
    tensors = load_file(adapter / "adapter_model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if ".classifier." not in name}
    asked = ['data.labels=["World", "Sports", "Business"]']
    save_file({name: tensor for name, tensor in kept.items() if "lora_" in name}, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="classifier without its head"):
        evaluate_adapter(
            recipe_of_adapter(adapter, str(place / "bert"), str(place / "texts.jsonl"), "x", asked), adapter, tmp_path
        )
    # What PEFT 0.21 saves by itself has `pre_classifier` too, whose name ends alike; an adapter may have less.
    config = read(adapter / "adapter_config.json")
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"modules_to_save": None}))
    save_file(
        {name: tensor for name, tensor in tensors.items() if "pre_classifier" not in name},
        adapter / "adapter_model.safetensors",
    )
    with pytest.raises(ModelError, match=r"neither it nor .* brings the layer pre_classifier"):
        evaluate_adapter(
            recipe_of_adapter(adapter, str(place / "bert"), str(place / "texts.jsonl"), "y", asked), adapter, tmp_path
        )


def test_the_classifier_of_a_run_labels_other_texts_beside_its_baselines(
    trained: Path, make: MakeRecipe, place: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "texts")
    write_texts(tmp_path / "more.jsonl", 120)
    comparison, done = evaluate_on(Run.load(folder), recipe_on(make(), str(tmp_path / "more.jsonl")))
    assert [entry["name"] for entry in comparison["baselines"]] == ["majority", "tf-idf", "probe"]
    assert comparison["names"] == ["Business", "Sports", "World"]
    assert any(row.get("leaks") for row in read(done.folder / "prepare/test.jsonl"))  # ninety are those of the run
    again, _ = evaluate_on(Run.load(folder), recipe_on(make(), str(tmp_path / "more.jsonl")))
    assert again == comparison
    write(tmp_path / "strange.jsonl", [{"text": "a w1 b", "label": "Weather"}, {"text": "b w2 c", "label": "Sports"}])
    with pytest.raises(DataError, match=r"'Weather' is not among data\.labels"):
        evaluate_on(Run.load(folder), recipe_on(make(), str(tmp_path / "strange.jsonl")))
