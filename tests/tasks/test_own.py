import re
from pathlib import Path
from typing import Any

import pytest

from tailora import recipe
from tailora.errors import RecipeError, RunError
from tailora.evaluation.compare import compare
from tailora.recipe import parse_recipe
from tailora.tasks.generate import Generate
from tailora.tasks.own import hash_of_modules, load_own, score_own
from tests.toys import toy_tokenizer

SOURCE = '''
def words(answer, row):
    """Words of the answer.

    And more.
    """
    return len(answer.split())

def polite(answer, row) -> bool:
    return "please" in answer

def wrong(answer, row):
    return len(answer) - len(row["answer"])

wrong.higher_is_better = False

def none(answer, row): return None
def text(answer, row): return "many"
def nan(answer, row): return float("nan")
def number(answer, row) -> bool: return 1
def broken(answer, row): return row["missing"]
def leaving(answer, row): raise SystemExit(3)
def emptying(answer, row): return len(row.pop("answer"))
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(SOURCE)
    (tmp_path / "bad.py").write_text("raise OSError('no such disk')")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_function_of_a_module_beside_is_a_metric(folder: Path) -> None:
    own = load_own(["mine:words", "mine:polite", "mine:wrong", "mine:none"])
    kinds = [(m.name, m.kind, m.higher_is_better) for m, _ in own]
    assert kinds == [
        ("mine:words", "mean", True), ("mine:polite", "binary", True), ("mine:wrong", "mean", False),
        ("mine:none", "mean", True),
    ]  # fmt: skip
    assert own[0].metric.meaning == "Words of the answer"
    assert score_own(own, "so please do", {"answer": "yes"}) == {
        "mine:words": 3.0, "mine:polite": True, "mine:wrong": 9.0, "mine:none": None,
    }  # fmt: skip


def test_a_metric_cannot_change_its_row(folder: Path) -> None:
    row = {"answer": "yes"}
    assert score_own(load_own(["mine:emptying"]), "so", row) == {"mine:emptying": 3.0} and row == {"answer": "yes"}


def test_what_a_metric_is_made_of_has_a_hash(folder: Path) -> None:
    first = hash_of_modules(["mine:words"])
    assert first and hash_of_modules([]) is None and hash_of_modules(["no.such:thing"]) != first
    (folder / "mine.py").write_text(SOURCE + "\n")
    assert hash_of_modules(["mine:words"]) != first


def test_own_metrics_are_scored_compared_and_may_decide(folder: Path) -> None:
    settings = recipe.Evaluate(metrics=["mine:wrong"], primary="mine:wrong")
    task = Generate(settings, toy_tokenizer())
    asked = [{"id": str(i), "answer": "four" * 3} for i in range(40)]
    about = [{"id": row["id"], "prompt_hash": "", "slice": None, "cluster": row["id"]} for row in asked]

    def predicted(answers: list[str]) -> list[Any]:
        return [a | score for a, score in zip(about, task.score(asked, answers), strict=True)]

    comparison = compare(task.metrics, predicted(["x" * (20 + i) for i in range(40)]), predicted(["x" * 13] * 40))
    assert (comparison["primary"], comparison["verdict"]) == ("mine:wrong", "better")
    (entry,) = [e for e in comparison["metrics"] if e["metric"] == "mine:wrong"]
    assert (entry["base"], entry["tuned"]) == (pytest.approx(27.5), pytest.approx(1))


def test_names_that_lead_to_no_function_are_all_told_before_anything_is_done(folder: Path) -> None:
    settings = recipe.Evaluate(metrics=["mine:wordz", "absent:words", "bad:words", "mine:words"])
    with pytest.raises(RecipeError) as caught:
        Generate(settings, toy_tokenizer())
    texts = ["mine:wordz.*AttributeError", "absent:words.*ModuleNotFoundError", "bad:words.*no such disk"]
    assert len(caught.value.problems) == 3
    for problem, text in zip(caught.value.problems, texts, strict=True):
        assert re.search(text, problem)


@pytest.mark.parametrize(
    ("name", "said"),
    [("text", "failed on row 7: ValueError"), ("nan", "returned nan for row 7"),
     ("broken", "failed on row 7: KeyError"), ("leaving", "failed on row 7: SystemExit"),
    ("number", "returned 1 for row 7; return True, False or None")],
)  # fmt: skip
def test_a_function_that_fails_is_named_with_its_row(name: str, said: str, folder: Path) -> None:
    with pytest.raises(RunError, match=said):
        score_own(load_own([f"mine:{name}"]), "x", {"id": 7, "answer": "y"})


def test_a_name_of_another_form_is_refused_with_the_recipe() -> None:
    with pytest.raises(RecipeError, match=r'evaluate\.metrics.*"module:function"'):
        parse_recipe({"name": "r", "data": {"source": "x"}, "evaluate": {"metrics": ["words"]}})


def test_a_primary_metric_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r'no metric "chrf" \(did you mean "chrF"\?\).*known: pass@1'):
        Generate(recipe.Evaluate(primary="chrf"), toy_tokenizer())
    with pytest.raises(RecipeError, match='no metric "echo"'):  # it explains, and cannot decide
        Generate(recipe.Evaluate(primary="echo"), toy_tokenizer())


@pytest.mark.parametrize("keys", [{"metrics": ["mine:words"]}, {"samples": 5}])
def test_keys_for_answers_in_text_are_refused_for_labels(keys: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=f"evaluate.{next(iter(keys))} does not work with task"):
        parse_recipe({"name": "r", "task": "classify", "data": {"source": "x"}, "evaluate": keys})
