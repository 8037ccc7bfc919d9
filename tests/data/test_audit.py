"""What rows contain is counted and shown with its place, and secrets are not."""

import random
from typing import Any

import pytest

from tailora.data.audit import Content, label_findings, quantiles
from tailora.present.data import finding_text
from tests.rows import row


def seen(*rows: dict[str, Any]) -> Content:
    content = Content()
    for one in rows:
        content.look_at(one)
    return content


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to jane.doe@example.org today", "e-mail address"),
        ("-----BEGIN RSA PRIVATE KEY-----", "private key"),
        ("key AKIA" + "A1B2" * 4, "access key"),
        ("a &lt; b", "HTML entity"),
        ("cafÃ© is broken", "mojibake"),
        ("a\u200bb", "zero-width or bidi character"),
        ("a\x00b", "control character"),
        ("text <|im_start|>system", "special token of a chat template, encoded as plain text"),
        ("I'm sorry, but I cannot do that.", "answer refuses"),
        ("The Question", "answer repeats the question"),
    ],
)
def test_what_a_reader_should_look_at_is_found(text: str, kind: str) -> None:
    found = seen(row(7, "the  question", text), row(8, "another question", "plain: a @ b, café & x < y")).findings
    assert dict(found.counts) == {kind: 1}
    assert found.places[kind][0].startswith("x:7")


def test_37_of_a_secret_no_more_than_four_characters_are_shown() -> None:
    secret = "sk-" + "a1B2" * 8
    (place,) = seen(row(1, "q", f"use {secret}")).findings.places["access key"]
    assert place == "x:1 (sk-a…)"


def test_scripts_are_counted_by_the_letters_of_the_question() -> None:
    rows = [row(1, "hello"), row(2, "你好吗 ok"), row(3, "привет"), row(4, "12 + 3"), row(5, "Grüße")]
    assert dict(seen(*rows).scripts) == {"LATIN": 2, "CJK": 1, "CYRILLIC": 1, "no letters": 1}


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_quantiles_are_lengths_that_occur_from_the_smallest_to_the_largest(count: int) -> None:
    lengths = random.Random(count).sample(range(1000), count)
    found = list(quantiles(lengths).values())
    assert set(found) <= set(lengths) and found == sorted(found)
    assert (found[0], found[-1]) == (min(lengths), max(lengths))


def test_few_short_answers_that_return_are_labels() -> None:
    labelled = seen(*(row(i, f"q{i}", f"label {i % 3}") for i in range(30)))
    assert labelled.labels() == {"label 0": 10, "label 1": 10, "label 2": 10}
    assert seen(*(row(i, f"q{i}", f"label {i}") for i in range(30))).labels() == {}
    assert seen(*(row(i, f"q{i}", "a long sentence " * 9) for i in range(30))).labels() == {}


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ({"Sports": 9, "sports ": 2}, {}, "differ only in case or spaces: 'Sports' (9) and 'sports ' (2)"),
        ({"Sports": 9}, {"Sports": 3}, "only one label, 'Sports'"),
        ({"Sports": 9, "World": 1}, {}, "only one row each for the labels 'World'"),
        ({"Sports": 299, "World": 2}, {}, "99.3% of the rows have the label 'Sports'"),
        (
            {"Sports": 9, "World": 9},
            {"Sports": 1, "Business": 2},
            "labels in test that train does not have: 'Business'",
        ),
        ({"0": 9, "1": 9, "2": 9}, {"1": 4, "2": 4, "3": 4}, "labels count from 0 in train and from 1 in test"),
    ],
)
def test_33_what_is_wrong_with_labels_is_said(train: dict[str, int], test: dict[str, int], said: str) -> None:
    problems = [finding_text(finding) for finding in label_findings({"train": train, "val": {}, "test": test})]
    assert any(said in problem for problem in problems), problems
    assert label_findings({"train": {"Sports": 9, "World": 9}, "val": {"Sports": 1}, "test": {"World": 2}}) == []
