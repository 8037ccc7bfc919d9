"""Labels: what could mean two things is refused with a remedy, and what means one thing is read as one."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailora.data.labels import name_classes
from tailora.errors import DataError, RecipeError
from tailora.recipe import parse_recipe

NEWS = ["World", "Sports", "Business", "Sci/Tech"]


def seen(**files: str) -> dict[str, Counter[str]]:
    """Return labels as files have them: `a="0 1 1"` is a file with three rows."""
    return {name: Counter(labels.split()) for name, labels in files.items()}


def problems(labels: dict[str, Counter[str]], names: list[str] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        name_classes(labels, names)
    return str(caught.value)


def test_each_file_may_count_in_its_own_way_once_the_names_are_listed() -> None:
    classes = name_classes(seen(train="0 1 2 3", test="1 2 3 4", other="sports World"), NEWS)
    assert classes.names == NEWS
    assert [classes.written["train"][label] for label in "0123"] == NEWS
    assert [classes.written["test"][label] for label in "1234"] == NEWS
    assert classes.written["other"] == {"sports": "Sports", "World": "World"}


def test_without_names_labels_stand_in_order() -> None:
    assert name_classes(seen(a="10 9 2")).names == ["2", "9", "10"]
    assert name_classes(seen(a="b A c")).names == ["A", "b", "c"]
    assert name_classes(seen(train="0 1 2 3", test="1 3")).names == ["0", "1", "2", "3"]


def test_files_that_count_from_other_numbers_are_refused_with_a_remedy() -> None:
    said = problems(seen(train="0 1 2 3", test="1 2 3 4"))
    assert "count from 0 in train and from 1 in test" in said and "data.labels" in said
    said = problems(seen(train="World Sports", test="0 1"))
    assert "as numbers" in said and "data.labels" in said


def test_numbers_that_fit_two_ways_or_none_are_refused() -> None:
    assert "count from 0 as well as from 1" in problems(seen(a="1 2 3"), NEWS)
    assert "fit neither" in problems(seen(a="0 1 2 3 4"), NEWS)
    assert "fit neither" in problems(seen(a="-1 0 1"), NEWS)


def test_a_label_that_is_not_listed_is_refused_with_the_nearest_name() -> None:
    assert 'did you mean "Sports"' in problems(seen(a="World Sport"), NEWS)


def test_spellings_of_one_label_are_refused_unless_names_are_listed() -> None:
    assert "differ in case, spaces or leading zeros alone: 'Sports' (2 rows) and 'sports' (1 rows)" in problems(
        seen(a="Sports Sports sports World")
    )
    assert name_classes(seen(a="Sports sports World"), NEWS).written["a"]["sports"] == "Sports"


def test_one_label_teaches_nothing() -> None:
    assert "one label only" in problems(seen(a="World World"))


@given(st.sampled_from([0, 1]), st.lists(st.text("abcdefgh", min_size=1), min_size=2, unique=True))
def test_numbering_by_any_start_gives_the_names_back(start: int, names: list[str]) -> None:
    numbers = Counter(str(start + place) for place in range(len(names)))
    assert list(name_classes({"a": numbers}, names).written["a"].values()) == names


def test_keys_of_labels_are_refused_for_the_other_task() -> None:
    def refused(task: str, data: Any = None, train: Any = None) -> str:
        values = {"name": "x", "task": task, "data": {"source": "x", **(data or {})}, "train": train or {}}
        with pytest.raises(RecipeError) as caught:
            parse_recipe(values)
        return str(caught.value)

    assert 'data.labels is for task = "classify"' in refused("generate", {"labels": NEWS})
    assert 'train.class_weights is for task = "classify"' in refused("generate", train={"class_weights": "balanced"})
    assert "leave data.answer out" in refused("classify", {"label": "a", "answer": "b"})
    assert "each once" in refused("classify", {"labels": ["World", "world "]})
    assert "balanced" in refused("classify", train={"class_weights": {"World": 0}})
    assert "balanced" in refused("classify", train={"class_weights": "even"})


def test_minus_one_beside_numbers_is_no_class() -> None:
    classes = name_classes({"a": Counter({"0": 5, "1": 5, "2": 5, "-1": 2})})
    assert classes.names == ["0", "1", "2"] and "-1" not in classes.written["a"]
    assert name_classes({"a": Counter({"-1": 5, "1": 5, "-2": 5})}).names == ["-2", "-1", "1"]
    assert name_classes({"a": Counter({"-1": 5, "yes": 5})}).names == ["-1", "yes"]
    assert name_classes({"a": Counter({"-1": 5, "1": 5})}).names == ["-1", "1"]  # a sign, as SVMs have it
    assert name_classes({"a": Counter({"pos": 5, "neg": 5, "-1": 2})}).names == ["neg", "pos"]
    assert name_classes({"a": Counter({"-1": 5, "0": 5, "1": 5})}, ["-1", "0", "1"]).names == ["-1", "0", "1"]


@pytest.mark.parametrize("pair", [("01", "1"), ("007", "7"), ("-0", "0"), ("+1", "1"), ("a\u200b", "a"), ("Ⅳ", "iv")])
def test_labels_that_differ_in_nothing_a_reader_sees_are_not_two_classes(pair: tuple[str, str]) -> None:
    with pytest.raises(DataError, match="leading zeros"):
        name_classes({"a": Counter(dict.fromkeys(pair, 5))})


@pytest.mark.parametrize(
    "labels",
    [
        ("0", "0.5", "1", "1.5"), ("0.25", "3.75"), ("1e-1", "2.5E-1", ".5"), ("-0.5", "0.5"), ("0,5", "1,5"),
        ("1e0", "2"),
    ],
)  # fmt: skip
def test_numbers_with_a_fraction_are_scores_and_no_classes(labels: tuple[str, ...]) -> None:
    found = Counter(dict.fromkeys(labels, 5))
    with pytest.raises(DataError, match="scores, not classes"):
        name_classes({"a": found})


@pytest.mark.parametrize("label", ["yes\nverdict: better", "a\x1b[2Jb", "a\x00", "a\u2028b", "a\rb"])
def test_a_label_that_would_not_stand_on_one_line_is_refused_and_shown_escaped(label: str) -> None:
    for said in (problems({"a": Counter({label: 5, "b": 5})}), problems(seen(a="0 1"), ["x", label])):
        assert "line ends or control characters" in said and repr(label) in said and label not in said


def test_labels_that_need_joiners_or_marks_are_names() -> None:
    names = ["👩‍🔬 science", "क्षेत्र", "می‌خواهم"]
    assert set(name_classes({"a": Counter(dict.fromkeys(names, 5))}).names) == set(names)


def test_labels_that_all_differ_are_no_labels() -> None:
    said = problems({"a": Counter({f"text {i}": 1 for i in range(2000)})})
    assert "all 2,000 rows differ" in said and "data.label" in said and len(said) < 400
    assert len(name_classes({"a": Counter({"x": 1, "y": 1})}).names) == 2


def test_hundreds_of_labels_are_said_in_one_short_line() -> None:
    names = [f"intent number {i}" for i in range(500)]
    unknown = Counter({f"other {i}": 3 for i in range(300)})
    said = problems({"a": unknown}, names)
    assert "300 labels are" in said and "292 more" in said and "492 more" in said and len(said) < 800
    said = problems({"a": Counter({name: 5 for i in range(300) for name in (f"a{i}", f"A{i}")})})
    assert "and 297 more" in said and "\n" not in said
